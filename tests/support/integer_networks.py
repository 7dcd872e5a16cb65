"""Random integer networks of a profile, for comparisons bit for bit."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from genn_eventprop import Delay, Dense, Network, Normal, Sparse, Uniform
from genn_eventprop.integer import IntegerNetwork, IntegerTrial, Profile
from genn_eventprop.integer.profile import as_profile
from genn_eventprop.models import ALIF, LI, LIF, LIFRelativeReset

READS = ("max", "end", "integral", "first_spike", "count")


def draw(profile: Profile | str, structure: int, number: int = 0) -> tuple[IntegerNetwork, np.ndarray]:
    """(a random network, input spike counts (B, T, M)); weights reach from silent to saturating.

    Args:
        structure: what is compiled in. number: other weights, delays, time constants and inputs.
    """
    p, net = as_profile(profile), Network()
    rng = np.random.default_rng([structure, zlib.crc32(p.name.encode())])
    sizes, dt = rng.integers(1, 12, 4), float(rng.choice([0.5, 1.0, 2.0]))
    inputs = [net.input(int(sizes[0]), name="a")] + ([net.input(3, name="b")] if rng.random() < 0.3 else [])
    models = [LIF, LIFRelativeReset] + ([ALIF] if p.adaptation else [])
    hidden = [_population(net, rng, models, int(n), f"h{i}") for i, n in enumerate(sizes[1 : 2 + rng.integers(2)])]
    spiking = bool(rng.random() < 0.5)
    output = _population(net, rng, [LIF] if spiking else [LI], int(sizes[3]), "output")
    strength = 10 ** rng.uniform(-0.3, 1.5)
    ends = [(i, hidden[0]) for i in inputs] + list(zip(hidden, [*hidden[1:], output]))
    ends += [(h, h) for h in hidden if rng.random() < 0.5]
    for k, (source, target) in enumerate(ends):
        weight = Normal(0.3 * strength, strength)
        kind: Any = Dense(weight) if rng.random() < 0.7 else Sparse(weight, probability=0.5)
        delay: Any = 0.0
        if p.max_delay != 0 and rng.random() < 0.5:
            kinds = ("synaptic", "axonal", "dendritic")
            delay = Delay(Uniform(0, 9), max=10.0, kind=str(rng.choice(kinds))) if rng.random() < 0.5 else 3.0
        net.connect(source, target, kind, delay=delay, name=f"c{k}")
    parameters = net.initial_parameters(structure)
    steps, reads = int(rng.integers(5, 60)), READS if spiking else READS[:3]
    kind = str(rng.choice(reads))
    weighted = kind == "integral" and rng.random() < 0.5
    rng = np.random.default_rng([structure, number, zlib.crc32(p.name.encode())])
    for name, value in parameters.items() if number else ():
        if name.endswith(".weight"):
            parameters[name] = value * rng.normal(1.0, 1.0, value.shape)
        elif name.endswith(".delay"):
            parameters[name] = rng.uniform(0, 10, value.shape)
        elif not name.endswith((".pairs", ".v_reset")):
            parameters[name] = value * rng.uniform(0.7, 1.5, value.shape)
    weights = rng.uniform(-1, 1, steps) if weighted else None
    integers = net.quantise(profile, parameters, dt=dt).reading("output", kind, steps, weights)
    counts = rng.poisson(10 ** rng.uniform(-1.5, 0.5), (3, steps, integers.n_channels))
    return integers, counts.clip(0, 255).astype(np.uint8)


def _population(net: Network, rng: np.random.Generator, models: list[Any], size: int, name: str) -> Any:
    model = models[rng.integers(len(models))]
    tau_mem, tau_syn = rng.uniform(3, 40), rng.uniform(1, 20)
    each = rng.random() < 0.3  # time constants of every neuron
    values: dict[str, Any] = {
        "tau_mem": Uniform(tau_mem, 2 * tau_mem) if each else tau_mem,
        "tau_syn": tau_mem if rng.random() < 0.1 and not each else tau_syn,
    }
    if model is not LI:
        values["v_thresh"] = Uniform(0.5, 1.5) if each else float(rng.uniform(0.5, 2))
    return net.population(model(**values), size, name)


def differences(a: IntegerTrial, b: IntegerTrial) -> list[str]:
    """What is not equal in two trials."""
    names = [
        f"{what} of {name}"
        for what in ("spikes", "V", "I")
        for name in getattr(a, what)
        if not np.array_equal(getattr(a, what)[name], getattr(b, what)[name])
    ]
    pairs = {"limited": (a.limited, b.limited), "readout": (a.readout, b.readout), "classes": (a.classes, b.classes)}
    return names + [name for name, (x, y) in pairs.items() if not np.array_equal(x, y)]


def draw_for_xylo(seed: int) -> tuple[IntegerNetwork, np.ndarray]:
    """A random network that fits on Xylo: inputs, hidden neurons with recurrent weights, spiking outputs."""
    rng = np.random.default_rng([seed, 77])
    net, sizes = Network(), rng.integers(1, 20, 3)
    source = net.input(int(sizes[0]))
    hidden = _population(net, rng, [LIF, LIFRelativeReset], int(sizes[1]), "hidden")
    output = _population(net, rng, [LIF], int(sizes[2]), "output")
    strength = 10 ** rng.uniform(-0.3, 1.5)
    for a, b in ((source, hidden), (hidden, hidden), (hidden, output)):
        net.connect(a, b, Dense(Normal(0.2 * strength, strength)))
    parameters = net.initial_parameters(int(rng.integers(1 << 30)))
    counts = rng.poisson(10 ** rng.uniform(-1.5, 1), (1, int(rng.integers(5, 80)), int(sizes[0])))
    return net.quantise("xylo", parameters, dt=1.0), counts.clip(0, 255).astype(np.uint8)


def run_xylosim(xylosim: Any, network: IntegerNetwork, counts: np.ndarray) -> IntegerTrial:
    """The same network in xylosim (module ``xylosim.v2``), with spikes and states of every step."""
    hidden, output = network.populations

    def synapses(c: Any) -> list[list[Any]]:
        return [[xylosim.XyloSynapse(i, 0, int(w)) for i, w in enumerate(row)] for row in c.weight]

    def each(p: Any, what: str) -> list[int]:
        return [int(v) for v in np.broadcast_to(getattr(p, what), p.size)]

    first, recurrent, last = (
        next(c for c in network.connections if (c.source, c.target) == ends) for ends in ((-1, 0), (0, 0), (0, 1))
    )
    # the layer has pointers to the synapses alone: these lists keep them alive
    ways = [synapses(c) for c in (first, recurrent, last)]
    layer = xylosim.XyloLayer(
        synapses_in=ways[0], synapses_rec=ways[1], synapses_out=ways[2],
        aliases=[[]] * hidden.size, threshold=each(hidden, "threshold"), threshold_out=each(output, "threshold"),
        has_bias=False, bias=[0] * hidden.size, bias_out=[0] * output.size,
        weight_shift_inp=_shift(first), weight_shift_rec=_shift(recurrent), weight_shift_out=_shift(last),
        dash_mem=each(hidden, "decay_V"), dash_mem_out=each(output, "decay_V"),
        dash_syns=[[d] for d in each(hidden, "decay_I")], dash_syns_out=[[d] for d in each(output, "decay_I")],
        name="random",
    )  # fmt: skip
    layer.evolve(counts[0].tolist())
    spikes = {"hidden": layer.rec_recurrent_spikes, "output": layer.rec_out_spikes}
    V = {"hidden": layer.rec_v_mem, "output": layer.rec_v_mem_out}
    current = {"hidden": layer.rec_i_syn, "output": layer.rec_i_syn_out}
    return IntegerTrial(
        {n: np.array(v, np.uint8)[None] for n, v in spikes.items()},
        {n: np.array(v, np.int32).T[None] for n, v in V.items()},
        {n: np.array(v, np.int32).T[None] for n, v in current.items()}, np.zeros(1, np.int64), None, None,
    )  # fmt: skip


def _shift(c: Any) -> int:
    return int(c.gain[0]).bit_length() - 1
