"""Networks that were wrong once, each the smallest that shows its fault. None may be wrong again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from genn_eventprop.data import Events
from genn_eventprop.losses import LOSSES
from genn_eventprop.modelling import Array, Delay, Dense, Network, NeuronModel, Param, Sparse, Uniform
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.models.qif import QIF
from genn_eventprop.plan import make_plan
from genn_eventprop.verify.engines import Case

from .layout import LI_BOTH, LI_DELTA, STARTED
from .networks import awkward_names

Neuron = Any


def network(
    text: str, hidden: Neuron, size: int, output: Neuron, classes: int, loss: str, *, spike_times: str = "exact",
    weights: Mapping[str, float] | None = None, dt: float = 1.0, duration: float = 30.0, rows: int = 0,
    times: tuple[float, ...] = (1.0, 2.0, 5.0, 6.5, 11.0), names: tuple[str, str] = ("hidden", "output"),
    weight: str = "", birth: float = 0.0,
) -> Case:  # fmt: skip
    """3 channels to `hidden` to `output`; weights: connection -> a number, "loop" for one from hidden to itself; rows:
    of a target series; weight: of the loss in time; birth: `spike_birth`."""
    w = {"in": 1.5, "out": 1.0} | dict(weights or {})
    rng, net = np.random.default_rng(1), Network()
    inp = net.input(3)
    first, last = net.population(hidden, size, names[0]), net.population(output, classes, names[1])
    spread = np.array([[1.6], [0.9], [1.3]]) if "loop" in w else rng.uniform(0.8, 1.2, (3, size))
    net.connect(inp, first, Dense(Array(w["in"] * spread * np.ones((3, size)))))
    net.connect(first, last, Dense(Array(w["out"] * rng.uniform(0.5, 1.5, (size, classes)))))
    if "loop" in w:
        net.connect(first, first, Dense(w["loop"]))
    of_loss: dict[str, Any] = {"weight": weight} if weight else {}
    told: dict[str, Any] = {"dt": dt, "duration": duration, "spike_times": spike_times, "spike_birth": birth}
    plan = make_plan(net, LOSSES[loss](last, **of_loss), **told)
    samples = [(np.array(times), np.arange(len(times)) % 3)]
    targets = rng.uniform(0.1, 0.4, (1, rows, classes)) if rows else None
    events = Events.from_samples(samples, 3, [0], n_classes=classes, targets=targets)
    return Case(text, plan, net.initial_parameters(1), events, tune=False, strict=True)


def missing_targets() -> Case:
    """Every third row of the targets of an output that spikes is missing."""
    case = network(
        "missing targets of an output that spikes", LIF(), 3, LIF(), 2, "voltage_error", spike_times="grid", rows=31,
        weights={"in": 5.0, "out": 3.0},
    )  # fmt: skip
    events = case.events
    assert events.targets is not None
    targets = np.where(np.arange(31)[:, None] % 3 == 0, np.nan, events.targets)
    return replace(case, events=replace(events, targets=targets))


def learned(model: NeuronModel, **values: Any) -> Neuron:
    """Every parameter learned, one a neuron."""
    params = {n: Param(values.get(n, p.value), p.unit, trainable=True) for n, p in model.params.items()}
    return model(**params)


def spike_at_the_end(number: int) -> Case:
    """T is the time of the hidden neuron's spike `number`, found by the reference."""
    from genn_eventprop.engines.reference.exact.engine import ReferenceEvent

    text = f"spike {number} at T"
    inputs = (1.0, 2.0, 5.0, 6.5, 11.0)

    def case(duration: float) -> Case:
        times = tuple(t for t in inputs if t < duration)
        return network(text, LIF(), 1, LI(), 2, "sum", weights={"in": 9.0}, dt=duration, duration=duration, times=times)

    long = case(30.0)
    engine = ReferenceEvent(long.plan, long.parameters)
    result = engine.run(engine.load(long.events), [0], record_spikes=True)
    assert result.spikes is not None
    return case(float(result.spikes["hidden"].time[number]))


def joined_names() -> Case:
    """Population `h` with state `I_b` beside `h_I` with state `b`."""

    def model(current: str) -> NeuronModel:
        return NeuronModel(
            name=f"With_{current}", state={"V": 0.0, current: 0.0},
            params={"tau": Param(20.0, "ms"), "tau_s": Param(5.0, "ms")},
            dynamics={"V": f"({current} - V) / tau", current: f"-{current} / tau_s"},
            threshold="V - 1", reset={"V": "0"}, input=current,
        )  # fmt: skip

    return network(
        "joined names", model("I_b")(), 2, model("b")(), 2, "spike_count", spike_times="grid", names=("h", "h_I")
    )


def delayed_inputs() -> Case:
    """Two inputs, whose synapses have delays of their own, onto one layer."""
    rng, net = np.random.default_rng(3), Network()
    left, right = net.input(2, name="left"), net.input(3, name="right")
    hidden, output = net.population(LIF(), 6, "hidden"), net.population(LI(), 2, "output")
    for source in (left, right):
        weights = Array(rng.uniform(0.8, 2.0, (source.size, 6)))
        net.connect(source, hidden, Dense(weights), delay=Delay(Uniform(0.0, 4.0), max=6.0, trainable=True))
    net.connect(hidden, output, Dense(Array(rng.uniform(0.5, 1.5, (6, 2)))))
    plan = make_plan(net, LOSSES["sum"](output), dt=1.0, duration=20.0, spike_times="grid")
    channels = np.arange(12) % 5
    events = Events.from_samples([(np.sort(rng.uniform(0, 15, 12)), channels)], 5, [0], n_classes=2)
    return Case("two inputs with delays", plan, net.initial_parameters(1), events, tune=False, strict=True)


def delays_of_sources() -> Case:
    """Learned delays of sources in a table, to outputs whose V jumps, with a loss of V."""
    rng, net = np.random.default_rng(4), Network()
    inp, output = net.input(3), net.population(LI_DELTA(), 2, "output")
    late = Delay(Uniform(0.0, 4.0), kind="axonal", max=6.0, trainable=True)
    net.connect(inp, output, Sparse(Uniform(0.5, 1.5), probability=0.7), delay=late)
    plan = make_plan(net, LOSSES["avg_xentropy"](output), dt=1.0, duration=20.0, spike_times="grid")
    events = Events.from_samples([(np.sort(rng.uniform(0, 15, 12)), np.arange(12) % 3)], 3, [0], n_classes=2)
    return Case("delays of sources", plan, net.initial_parameters(1), events, tune=False, strict=True)


def kink_of_one_of_two_arrivals() -> Case:
    """A spike reaches the output twice in one instant: V falls by the first arrival, and would rise by the second."""
    net = Network()
    inp, hidden, output = net.input(2), net.population(QIF(), 2, "hidden"), net.population(LI_BOTH(), 2, "output")
    net.connect(inp, hidden, Dense(Array(np.array([[40.0, 0.0], [0.0, 40.0]]))))
    late = Delay(1.0, kind="dendritic", max=3.0, trainable=True)
    delta, current = np.array([[0.0, 0.0], [-0.5, -0.3]]), np.array([[3.0, 2.0], [1.0, 1.5]])
    for receptor, weights in (("delta", delta), ("current", current)):
        net.connect(hidden, output, Dense(Array(weights)), receptor=receptor, delay=late, name=receptor)
    plan = make_plan(net, LOSSES["max"](output), dt=1.0, duration=10.0, spike_times="exact")
    events = Events.from_samples([(np.array([1.0, 3.0]), np.array([0, 1]))], 2, [0], n_classes=2)
    return Case("kink of one of two arrivals", plan, net.initial_parameters(1), events, tune=False, strict=True)


def _known() -> dict[str, Callable[[], Case]]:
    grid: dict[str, Any] = {"spike_times": "grid"}
    own = Param(np.array([20.0]), "ms")
    cases: dict[str, Callable[[], Case]] = {}

    def add(text: str, *args: Any, **options: Any) -> None:
        cases[text] = lambda: network(text, *args, **options)

    add("one LIF with learned parameters", learned(LIF), 1, LI(), 2, "sum")
    add("one LIF with an array", LIF(tau_mem=own), 1, LI(), 2, "sum")
    add("one LI with learned parameters", LIF(), 3, learned(LI), 1, "sum")
    for rows in (2, 16, 62, 300):
        add(f"{rows} rows of targets for 30 steps", LIF(), 3, LI(), 2, "voltage_error", rows=rows)
    for w in (-1.0, -2.0, -3.0):
        often = tuple(np.sort(np.random.default_rng(2).uniform(0, 50, 40)))
        weights = {"loop": w}
        add(f"8 LIF alike, recurrent with {w:g}", LIF(), 8, LI(), 2, "sum", weights=weights, times=often, duration=60.0)
    for times in ("exact", "grid"):
        for start in (1.0, 1.5):
            add(f"V starts at {start:g}, {times}", STARTED(v_start=start), 2, LI(), 2, "sum", spike_times=times)
    strong = {"in": 6.0}
    add("t_ref of one step and a half", LIFRefractory(t_ref=0.3), 2, LI(), 2, "sum", dt=0.2, weights=strong, **grid)
    add("a learned time constant that a refractory period stops", learned(LIFRefractory), 2, LI(), 2, "sum")
    for number in (0, 1):
        cases[f"spike {number} at T"] = partial(spike_at_the_end, number)
    for loss in ("sum", "max", "end", "avg_xentropy"):
        add(f"no weight at all, {loss}", LIF(), 2, LI(), 3, loss, weights={"in": 0.0, "out": 0.0})
        add(f"no weight at all, {loss}, grid", LIF(), 2, LI(), 3, loss, weights={"in": 0.0, "out": 0.0}, **grid)
    add("no weight at all, spike_count", LIF(), 2, LIF(), 3, "spike_count", weights={"in": 0.0, "out": 0.0})
    cases["states spikes and history_input"] = lambda: network(
        "states spikes and history_input", awkward_names()(), 2, LI(), 2, "sum", **grid
    )
    for weight in ("", "1 + sin(t / 7) / 2"):
        slow, name = LIF(tau_mem=5000.0, tau_syn=350.0), f"V(t) of slow outputs{weight and ', weighted'}"
        add(name, LIF(), 3, slow, 2, "voltage_error", rows=16, weights={"in": 5.0, "out": 1500.0}, weight=weight)
    told = {"weights": {"in": 5.0, "out": 5.0}, "weight": "1 + sin(t / 7) / 2", "duration": 60.0, "birth": 0.4}
    add("V of an output that gives birth to spikes", LIF(), 3, QIF(), 6, "sum", **told)
    cases["missing targets of an output that spikes"] = missing_targets
    cases["joined names"] = joined_names
    cases["two inputs with delays"] = delayed_inputs
    cases["delays of sources"] = delays_of_sources
    cases["kink of one of two arrivals"] = kink_of_one_of_two_arrivals
    return cases


KNOWN = _known()
