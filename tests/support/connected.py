"""Networks with every kind of connectivity and delays, and the same networks out of dense parts with one delay each."""

from __future__ import annotations

import math

import numpy as np

from genn_eventprop import (
    Conv2D,
    Delay,
    Dense,
    Events,
    FanIn,
    Grouped,
    Network,
    Normal,
    OneToOne,
    Pool2D,
    Sparse,
    Uniform,
    losses,
)
from genn_eventprop.engines.contract.parameters import Tables, of_synapses
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan

KINDS = ("dense", "probability", "fan_in", "pairs", "one_to_one", "conv", "pool", "channels", "grouped")
DELAYS = (None, 1.5, "synaptic", "axonal", "dendritic")

LOSSES = {
    "integral": losses.IntegratedVoltageCrossEntropy, "max": losses.MaxVoltageCrossEntropy,
    "first_spike": losses.FirstSpikeCrossEntropy, "end": losses.EndVoltageCrossEntropy,
    "voltage": losses.PerStepCrossEntropy, "voltage of spiking": losses.PerStepCrossEntropy,
}  # fmt: skip


def between(kind, weight, rng, shape=(3, 4, 2)):
    """(connectivity, shape of source, shape of target) of a kind."""
    M = math.prod(shape)
    conv = Conv2D(weight, kernel=(2, 3), channels=3, stride=(1, 2), padding=(0, 1))
    pools = {"pool": Pool2D(2, 12.0), "channels": Pool2D((2, 3), 12.0, stride=1, per_channel=True)}
    pairs = np.array([(j, i) for j in range(M) for i in range(7) if (j * 7 + i) % 3 == 0 and j != 2 and i != 4])
    return {
        "dense": lambda: (Dense(weight), (M,), (7,)),
        "probability": lambda: (Sparse(weight, probability=0.3), (M,), (7,)),
        "fan_in": lambda: (Sparse(weight, fan_in=4), (M,), (7,)),
        "pairs": lambda: (Sparse(weight, pairs=rng.permutation(pairs)), (M,), (7,)),
        "one_to_one": lambda: (OneToOne(weight), (M,), (M,)),
        "conv": lambda: (conv, shape, conv.output_shape(shape)),
        "pool": lambda: (pools["pool"], shape, pools["pool"].output_shape(shape)),
        "channels": lambda: (pools["channels"], shape, pools["channels"].output_shape(shape)),
        "grouped": lambda: (Grouped(weight, 2), (M,), (6,)),
    }[kind]()


def delayed(delays, low=0.0, high=6.0):
    return Delay(Uniform(low, high), kind=delays, max=8.0) if isinstance(delays, str) else delays or 0.0


def network(kind, delays=None, *, loss="integral", seed=0, model=None, recurrent=True, shape=(3, 4, 2), drive=8.0):
    """Input -> hidden by `kind`, hidden to itself sparsely, hidden -> output densely, all with such delays."""
    rng = np.random.default_rng(seed)
    connectivity, source, target = between(kind, FanIn(3.0, drive), rng, shape)
    net = Network()
    inp = net.input(source[0]) if len(source) == 1 else net.input(shape=source)
    of = {"size": target[0]} if len(target) == 1 else {"shape": target}
    hidden = net.population((model or LIF)(), name="hidden", **of)
    spiking = loss in ("first_spike", "voltage of spiking")
    output = net.population(LIF() if spiking else LI(), 3, name="output")
    net.connect(inp, hidden, connectivity, delay=delayed(delays))
    if recurrent:
        net.connect(hidden, hidden, Sparse(Normal(0.0, 0.3), probability=0.4), delay=delayed(delays))
    net.connect(hidden, output, Dense(FanIn(3.0, 14.0) if spiking else Normal(0.4, 0.4)), delay=delayed(delays))
    return net, LOSSES[loss](output)


def events(net, duration, n_samples=3, seed=1, spikes=(60, 100)):
    rng, M = np.random.default_rng(seed), net.inputs[0].size
    samples = []
    for _ in range(n_samples):
        n = int(rng.integers(*spikes))
        samples.append((np.sort(rng.uniform(0, duration - 1, n)), rng.integers(0, M, n)))
    return Events.from_samples(samples, n_channels=M, labels=rng.integers(0, 3, n_samples))


def split(net, make_loss, values, **grid):
    """The same network out of dense connections with one delay each: (plan, values, parts).

    parts: (name of the dense connection, record of its origin, mask (M, N), where (M, N) its weights come from).
    """
    plan = make_plan(net, make_loss(net.populations[-1]), **grid)
    other, parts, given = Network(), [], {}
    places = {net.inputs[0].name: other.input(net.inputs[0].size)}
    for p in net.populations:
        places[p.name] = other.population(p.neuron, p.size, name=p.name)
        given |= {k: v for k, v in values.items() if k.startswith(f"{p.name}.") and k.split(".")[1] in p.model.params}
    for c in plan.connections:
        table = None if c.form == "dense" else Tables(plan).of(c, values)
        at = np.full((c.pre, c.post), -1)
        if table is None:
            at[...] = np.arange(at.size).reshape(at.shape)
        else:
            at[table.source, table.target] = table.weights
        delays = np.full(at.shape, c.delay)
        if c.delays:
            own = of_synapses(c, values[c.delays_name], table)
            if table is None:
                delays = own
            else:
                delays[table.source, table.target] = own
        for k, d in enumerate(np.unique(delays[at >= 0])):
            here = (at >= 0) & (delays == d)
            name = f"{c.name}_{k}"
            weight = np.where(here, values[c.weight].ravel()[at], 0.0)
            other.connect(places[c.source], places[c.target], Dense(weight), delay=d, name=name)
            given[f"{name}.weight"] = weight
            parts.append((name, c, here, at))
    return make_plan(other, make_loss(other.populations[-1]), **grid), given, parts


def gathered(plan, gradients, parts, what="weight"):
    """Gradients of the parts as gradients of the weights that they come from."""
    total = {c.weight: np.zeros(c.weight_shape) for c in plan.connections}
    for name, c, here, at in parts:
        np.add.at(total[c.weight].reshape(-1), at[here], gradients[f"{name}.{what}"][here])
    return total
