"""The part of a random network that is compiled in, so that many sets of numbers can run on one library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from genn_eventprop.modelling import Event, Mode, NeuronModel, Param
from genn_eventprop.models import ZOO

from .dice import Dice

SIZES = (1, 2, 3, 7, 15, 16, 17, 33)
SMALL = (1, 2, 3, 7)
OUTPUTS = (1, 2, 3, 7, 16, 17)
KINDS = ("number", "array", "learned", "shared")  # of a parameter; learned: one a neuron, shared: one for all
READOUTS = ("LI", "LIAdaptive", "LIDelta", "LIBoth")
WEIGHTS = ("constant", "linear", "exponential", "sigmoid", "input", "1 + sin(t / 7) / 2", "exp(-t / T) * (1 - t / T)")

STARTED = NeuronModel(
    name="Started",
    state={"V": "v_start", "I": "i_start"},
    params={**ZOO["LIF"].params, "v_start": Param(0.3), "i_start": Param(0.2)},
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input="I",
)
"""LIF that starts anywhere, also close to its threshold."""

LI_DELTA = NeuronModel(
    name="LIDelta", state={"V": 0.0}, params={"tau_mem": Param(20.0, "ms")}, dynamics={"V": "-V / tau_mem"}, input="V"
)
"""A readout whose V jumps at every arrival."""

LI_BOTH = NeuronModel(
    name="LIBoth",
    state={"V": 0.0, "I": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms")},
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn"},
    input={"delta": "V", "current": "I"},
)
"""A readout with a delta synapse beside one with a current."""

QIF_DELTA = NeuronModel(
    name="QIFDelta",
    state={"V": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "v_crit": Param(1.0), "v_peak": Param(5.0), "v_reset": Param(-1.0)},
    dynamics={"V": "V * (V - v_crit) / tau_mem"},
    threshold="V - v_peak",
    reset={"V": "v_reset"},
    input="V",
)
"""QIF with delta synapses: V' is not linear in what arrivals move."""

SQUARED_LI = NeuronModel(
    name="SquaredLI",
    state={"V": 0.0, "I": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms")},
    dynamics={"V": "(I * I - V) / tau_mem", "I": "-I / tau_syn"},
    input="I",
)
"""V' has the square of the current that arrivals move."""

SQUARED_LIF = NeuronModel(
    name="SquaredLIF",
    state=SQUARED_LI.state,
    params={**SQUARED_LI.params, "v_thresh": Param(1.0), "v_reset": Param(0.0)},
    dynamics=SQUARED_LI.dynamics,
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input="I",
)

CUBIC_DELTA = NeuronModel(
    name="CubicDelta",
    state={"V": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "v_thresh": Param(1.0), "v_reset": Param(0.0)},
    dynamics={"V": "-(V + 0.3 * V**3) / tau_mem"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input="V",
)
EIF_DELTA = NeuronModel(
    name="EIFDelta",
    state={"V": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "v_thresh": Param(1.0), "v_reset": Param(0.0)},
    dynamics={"V": "(0.1 * (exp(V) - 1) - V) / tau_mem"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input="V",
)
"""V' is no polynomial of what arrivals move."""

BENT = {m.name: m for m in (QIF_DELTA, CUBIC_DELTA, SQUARED_LIF, SQUARED_LI, EIF_DELTA)}
"""Models whose dynamics are not linear along a receptor: the time of an arrival has a gradient of its own there."""

TWO_PHASES = NeuronModel(
    name="TwoPhases",
    state={"V": "v_reset", "I": 0.0},
    params={**ZOO["LIF"].params, "t_abs": Param(2.0, "ms"), "t_rel": Param(4.0, "ms")},
    dynamics=ZOO["LIF"].dynamics,
    events=[Event("spike", "V - v_thresh", {"V": "v_reset"}, modes=("free", "relative"), next_mode="absolute")],
    modes=[
        Mode("absolute", {"V": "0"}, lasts="t_abs", then="relative"),
        Mode("relative", {"V": "(I / 2 - V) / tau_mem"}, lasts="t_rel"),
    ],
    input="I",
    drives={"I_ext": {"V": "1 / tau_mem"}},
)
"""A refractory period of V that stands still, then one in which V follows half of the current."""

UP_AND_DOWN = NeuronModel(
    name="UpAndDown",
    state={"V": 0.0, "I": 0.0},
    params={**ZOO["LIF"].params, "v_up": Param(0.5)},
    dynamics=ZOO["LIF"].dynamics,
    events=[
        Event("up", "V - v_up", emits=False, modes=("free",), next_mode="up"),
        Event("spike", "V - v_thresh", {"V": "v_reset"}, modes=("up",), next_mode="free"),
        Event("down", "v_up / 2 - V", emits=False, modes=("up",), next_mode="free"),
    ],
    modes=[Mode("up", {"V": "(3 * I / 2 - V) / tau_mem"})],
    input="I",
    drives={"I_ext": {"V": "1 / tau_mem"}},
)
"""A state of the neuron that begins and ends with events which send nothing."""

FALLING = NeuronModel(
    name="Falling",
    state={"V": 0.0, "I": 0.0},
    params={**ZOO["LIF"].params, "v_down": Param(-0.3), "t_fall": Param(3.0, "ms")},
    dynamics=ZOO["LIF"].dynamics,
    events=[Event("spike", "V - v_thresh", {"I": "I / 2"}, modes=("free",), next_mode="falling")],
    modes=[Mode("falling", {"V": "(v_down - V) / tau_syn", "I": "-I / tau_mem"}, lasts="t_fall")],
    input="I",
    drives={"I_ext": {"V": "1 / tau_mem"}},
)
"""After a spike other equations, which no input enters, bring V down."""

DELTA_REFRACTORY = NeuronModel(
    name="DeltaRefractory",
    state={"V": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "t_ref": Param(3.0, "ms"), "v_thresh": Param(1.0), "v_reset": Param(0.0)},
    dynamics={"V": "-V / tau_mem"},
    events=[Event("spike", "V - v_thresh", {"V": "v_reset"}, modes=("free",), next_mode="refractory")],
    modes=[Mode("refractory", {"V": "-2 * V / tau_mem"}, lasts="t_ref")],
    input="V",
)
"""Arrivals move V in a period in which it cannot spike."""

QIF_REFRACTORY = NeuronModel(
    name="QIFRefractory",
    state=ZOO["QIF"].state,
    params={**ZOO["QIF"].params, "t_ref": Param(2.0, "ms")},
    dynamics=ZOO["QIF"].dynamics,
    events=[Event("spike", "V - v_peak", {"V": "v_reset"}, next_mode="refractory")],
    modes=[Mode("refractory", {"V": "0"}, lasts="t_ref")],
    input=ZOO["QIF"].input,
    drives=ZOO["QIF"].drives,
)
"""Nonlinear, and at rest after a spike."""

MODAL = {m.name: m for m in (TWO_PHASES, UP_AND_DOWN, FALLING, DELTA_REFRACTORY, QIF_REFRACTORY)}
"""Models with modes, drawn by `with_modes` alone; LIFRefractory of the zoo is among the others."""
BORN = ("LIF", "ALIF", "LIFRefractory", "LIFAlpha", "LIFDoubleExponential", "EIF", "QIF", "AdEx", "Started",
        "TwoPhases", "Falling", "QIFRefractory")  # fmt: skip
"""Models whose spikes can be born (docs/spike_birth.md)."""
MODELS: dict[str, NeuronModel] = {
    **ZOO, "Started": STARTED, "LIDelta": LI_DELTA, "LIBoth": LI_BOTH, **BENT, **MODAL,
}  # fmt: skip
NONLINEAR = ("LIFConductance", "QIF", "Theta", "EIF", "AdEx", "Izhikevich", "IzhikevichFast", "IzhikevichBursting",
             "BalancedRF", *BENT, "QIFRefractory")  # fmt: skip
LINEAR = [n for n in MODELS if n not in NONLINEAR]  # written down, since deriving all of them takes seconds
SPIKING = [n for n, m in MODELS.items() if m.spiking and n not in MODAL]
AT_ONCE = ["LIFDelta", "QIFDelta", "CubicDelta", "EIFDelta", "DeltaRefractory"]  # arrivals move the threshold
NAMES = ("hidden0", "hidden1", "hidden2"), ("h", "h_I", "counts")
"""Of hidden populations: plain ones, and such that together with a state make one name of the generated code."""


@dataclass(frozen=True)
class Wiring:
    """A connection whose synapses are not all of them, or with individual delays; see `wiring`.

    delays: their kind, "" for the one delay of the layer. learned: these delays are. window: kernel, padding, stride.
    groups: of a convolution. fixed: weights of a pool are not learned. per_channel: they are one a channel. share:
    another connection has the same weights; its own kind of delays, "number" for a single one, None: there is none.
    """

    kind: str
    delays: str = ""
    learned: bool = False
    window: tuple[int, int, int] = (0, 0, 0)
    fixed: bool = False
    per_channel: bool = False
    share: str | None = None
    groups: int = 1

    def __str__(self) -> str:
        late = f", {'learned ' if self.learned else ''}{self.delays} delays" if self.delays else ""
        marks = f"{', fixed' * self.fixed}{', per channel' * self.per_channel}"
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        again = "" if self.share is None else f", shared with {self.share or 'no'} delays"
        return f"[{self.kind}{' {} {} {}'.format(*self.window) if self.window[0] else ''}{groups}{marks}{late}{again}]"


@dataclass(frozen=True)
class Layer:
    """A population: model, size, kind of every parameter, and how it hangs in the network.

    delayed, looped, loop_delayed: whether its connections have delays. twins: all neurons alike. awkward_names: its
    states are called like variables of the generated code. shape, wiring, loop_wiring: of a network with connectivity.
    sharp: values in the place of the model's, by name.
    """

    name: str
    model: str
    size: int
    kinds: Mapping[str, str]
    looped: bool = False
    loop_delayed: bool = False
    delayed: bool = False
    skip: bool = False
    awkward_names: bool = False
    twins: bool = False
    learned_weights: bool = True
    noise: float = 0.0
    dropout: float = 0.0
    dropped_reset: bool = False
    shape: tuple[int, ...] | None = None
    wiring: Wiring | None = None
    loop_wiring: Wiring | None = None
    sharp: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        marks = [
            m for m in ("looped", "delayed", "skip", "awkward_names", "twins", "noise", "dropout") if getattr(self, m)
        ]
        kinds = " ".join(f"{n}:{k}" for n, k in self.kinds.items() if k != "number")
        marks += [str(self.wiring)] if self.wiring else []
        marks += [f"loop {self.loop_wiring}"] if self.looped and self.loop_wiring else []
        marks += [f"{name}={value:.4g}" for name, value in self.sharp.items()]
        return " ".join([f"{self.size} {self.model}", *marks, *([f"({kinds})"] if kinds else [])])


@dataclass(frozen=True)
class Layout:
    """Channels, hidden layers and output, the loss by name with its settings, a regulariser of spikes.

    image: shape of the channels, for windows over them.
    """

    spike_times: str
    channels: int
    hidden: tuple[Layer, ...]
    output: Layer
    loss: str
    settings: Mapping[str, str] = field(default_factory=dict)
    regulariser: str = ""
    image: tuple[int, ...] | None = None

    def __str__(self) -> str:
        layers = [f"{self.channels} channels", *map(str, self.hidden), str(self.output)]
        said = ", ".join([self.loss, *self.settings.values(), *([self.regulariser] if self.regulariser else [])])
        return f"{self.spike_times}: {' - '.join(layers)}; {said}"


def draw_layout(dice: Dice, spike_times: str) -> Layout:
    """A layout for `spike_times` "grid" or "exact"."""
    exact = spike_times == "exact"
    loss, settings = draw_loss(dice)
    spiking = [n for n in SPIKING if n not in BENT]
    names = dice.pick(NAMES) if dice.bernoulli(0.1) else NAMES[0]
    n_hidden = dice.pick((0, 1, 2, 3))
    large = dice.pick(range(n_hidden)) if n_hidden else 0  # one layer of any size is enough
    hidden = tuple(
        draw_layer(dice, names[i], _model(dice, spiking), dice.pick(SIZES if i == large else SMALL), i, exact)
        for i in range(n_hidden)
    )
    options = _outputs(loss, settings, spiking, exact)
    model = dice.pick(options)
    if not exact and dice.bernoulli(0.2):
        model = dice.pick(_bent_outputs(loss, settings) or options)
    output = replace(draw_layer(dice, "output", model, dice.pick(OUTPUTS), len(hidden), exact), dropout=0.0)
    if settings.get("silent") == "end":
        output = replace(output, awkward_names=False)  # the push needs a tau_mem by name
    if loss == "several":
        also = [n for n in beside(model, settings["readout"]) if dice.bernoulli(0.6)]
        settings["also"] = " ".join(also or beside(model, settings["readout"])[:1])
    pushed = SPIKING if hidden else []
    regulariser = (
        dice.pick(("", "SpikeCount", "LayerRate", "SpikeCount batch")) if pushed and dice.bernoulli(0.3) else ""
    )
    return Layout(spike_times, dice.pick((1, 2, 5, 16, 17)), hidden, output, loss, settings, regulariser)


def with_modes(layout: Layout, dice: Dice) -> Layout:
    """The layout with models that have modes in half of its spiking layers; losses of integrals and of V(t) keep their
    output."""
    read = layout.settings.get("readout", layout.loss)
    of_spikes = read in ("first_spike", "spike_count", "spike_time_error", "count", "end")
    layers = [
        replace(layer, **_modal(dice, layer))
        if MODELS[layer.model].spiking and (layer is not layout.output or of_spikes) and dice.bernoulli(0.5) else layer
        for layer in (*layout.hidden, layout.output)
    ]  # fmt: skip
    return replace(layout, hidden=tuple(layers[:-1]), output=layers[-1])


def _modal(dice: Dice, layer: Layer) -> dict[str, Any]:
    model, odd = dice.pick(list(MODAL)), dice.bernoulli(0.6)
    kinds = {n: dice.pick(KINDS) if odd else "number" for n in MODELS[model].params}
    late = layer.loop_delayed or (layer.looped and model in AT_ONCE)
    return {"model": model, "kinds": kinds, "loop_delayed": late, "awkward_names": False}


def with_births(layout: Layout, dice: Dice) -> Layout:
    """The layout with models whose spikes can be born."""
    layers = [
        replace(layer, dropout=0.0, awkward_names=False, **({} if layer.model in BORN else _born(dice)))
        if MODELS[layer.model].spiking else layer
        for layer in (*layout.hidden, layout.output)
    ]  # fmt: skip
    return replace(layout, hidden=tuple(layers[:-1]), output=layers[-1])


def _born(dice: Dice) -> dict[str, Any]:
    model = dice.pick(BORN)
    return {"model": model, "kinds": {n: dice.pick(KINDS) for n in MODELS[model].params}}


def with_sharp_spikes(layout: Layout, dice: Dice) -> Layout:
    """The layout with exponential neurons in its spiking layers, whose spikes rise within 0.2 to 5 mV to a peak of up
    to 60 times as much; recovery of AdEx from 1 ms on, with large jumps."""
    layers = [
        replace(layer, **_sharp(dice)) if MODELS[layer.model].spiking else layer
        for layer in (*layout.hidden, layout.output)
    ]
    return replace(layout, hidden=tuple(layers[:-1]), output=layers[-1])


def _sharp(dice: Dice) -> dict[str, Any]:
    model, rng = dice.pick(("AdEx", "EIF")), dice.numbers()
    params = MODELS[model].params
    delta_t = float(10 ** rng.uniform(np.log10(0.2), np.log10(5.0)))
    values = {"delta_t": delta_t, "v_peak": params["v_thresh"].value + delta_t * float(10 ** rng.uniform(0.5, 1.78))}
    if model == "AdEx":
        values |= {"tau_w": float(10 ** rng.uniform(0.0, 2.3)), "b": float(10 ** rng.uniform(1.0, 2.8))}
    kinds = {n: dice.pick(KINDS) for n in params}
    return {"model": model, "kinds": kinds, "awkward_names": False, "sharp": values}


def _model(dice: Dice, spiking: list[str]) -> str:
    """Of a hidden layer."""
    return dice.pick([n for n in BENT if MODELS[n].spiking] if dice.bernoulli(0.2) else spiking)


def _bent_outputs(loss: str, settings: Mapping[str, str]) -> list[str]:
    """Those of `BENT` that can be the output of a loss; integrals are of linear models."""
    read = settings.get("readout", {"spike_count": "count", "spike_time_error": "spike_times"}.get(loss, loss))
    if read in ("integral", "per_step", "voltage_error"):
        return []
    if read == "max":
        return ["SquaredLI"]
    of_spikes = read in ("first_spike", "count", "spike_times")
    return [n for n, model in BENT.items() if model.spiking or not of_spikes]


def _outputs(loss: str, settings: Mapping[str, str], spiking: list[str], exact: bool) -> list[str]:
    """Models that can be the output of a loss; on a grid integrals are of linear models in one mode."""
    if settings.get("readout", loss) in ("first_spike", "spike_time_error", "spike_count", "count"):
        of_push = [n for n in spiking if "tau_mem" in MODELS[n].params]
        return of_push if settings.get("silent") == "end" else spiking
    if "max" in (loss, settings.get("readout")):
        return list(READOUTS)
    one_mode = [n for n in spiking if exact or (n in LINEAR and not MODELS[n].modes)]
    return [*READOUTS, *READOUTS, *(spiking if "end" in (loss, settings.get("readout")) else one_mode)]


def beside(model: str, readout: str) -> tuple[str, ...]:
    """What else can be read of a population in the same pass."""
    all_of_them = ("first_spike", "count", "end", "trace") if MODELS[model].spiking else ("end", "max", "trace")
    return tuple(n for n in all_of_them if n != readout)


def draw_loss(dice: Dice) -> tuple[str, dict[str, str]]:
    """Its name, as `networks.make_loss` knows it, and settings that are text."""
    loss = dice.pick(
        ("integral", "max", "end", "per_step", "first_spike", "spike_count", "voltage_error", "spike_time_error",
         "error", "own", "several")
    )  # fmt: skip
    settings: dict[str, str] = {}
    if loss in ("error", "own", "several"):
        settings["readout"] = dice.pick(("integral", "end", "max", "first_spike"))
    if "integral" in (loss, settings.get("readout")) or loss in ("per_step", "voltage_error"):
        settings["weight"] = dice.pick(WEIGHTS)
    if loss == "first_spike":
        settings["form"] = dice.pick(("exponential", "inverse"))
    if loss in ("first_spike", "spike_time_error"):
        settings["silent"] = dice.pick(("exclude", "end"))
    if loss == "own":
        settings["compares"] = dice.pick(("labels", "targets"))
    return loss, settings


def draw_layer(dice: Dice, name: str, model: str, size: int, before: int, exact: bool) -> Layer:
    """A population with `before` layers in front of it."""
    at_once = model in AT_ONCE
    spiking = MODELS[model].spiking
    looped = spiking and dice.bernoulli(0.4)
    odd = dice.bernoulli(0.6)
    return Layer(
        name, model, size, {n: dice.pick(KINDS) if odd else "number" for n in MODELS[model].params},
        looped=looped,
        loop_delayed=looped and (at_once or dice.bernoulli(0.5)),
        delayed=dice.bernoulli(0.3),
        skip=before > 1 and dice.bernoulli(0.3),
        awkward_names=model == "LIF" and dice.bernoulli(0.15),
        twins=dice.bernoulli(0.15),
        learned_weights=dice.bernoulli(0.85),
        noise=0.01 if not exact and spiking and dice.bernoulli(0.1) else 0.0,
        dropout=0.2 if not exact and spiking and dice.bernoulli(0.1) else 0.0,
        dropped_reset=dice.bernoulli(0.5),
    )  # fmt: skip
