"""Random networks with currents as inputs, beside spikes or alone, and their data."""

import numpy as np

from genn_eventprop import Conv2D, Dense, Events, Network, Normal, OneToOne, Param, Sparse, losses
from genn_eventprop.data import Currents
from genn_eventprop.models import LI, LIF
from genn_eventprop.plan import make_plan

LOSSES = (losses.IntegratedVoltageCrossEntropy, losses.EndVoltageCrossEntropy, losses.MaxVoltageCrossEntropy)


def learned(model, **values):
    """The model with its time constants learned."""
    return model(
        **{n: Param(values.get(n, p.value), "ms", trainable=True) for n, p in model.params.items() if n[:3] == "tau"}
    )


def network(seed, *, model=LIF, interpolation="any", spikes=True, tiny=False, loss=None, dt=0.5, duration=25.0,
            spike_times="grid", scale=1.0):  # fmt: skip
    """(plan, data): one or two currents on time grids of their own, through weights of several kinds and with delays,
    into a recurrent hidden population and straight to the outputs; `tiny`: one of everything, for one step."""
    rng, net = np.random.default_rng(seed), Network()
    pick = lambda *values: values[rng.integers(len(values))]  # noqa: E731
    M, N, K = (1, 1, 1) if tiny else (int(rng.integers(1, 5)), 9, 3)
    duration = dt if tiny else duration
    how = lambda: pick("constant", "linear") if interpolation == "any" else interpolation  # noqa: E731
    hidden = net.population(learned(model), N, name="hidden", shape=None if tiny else (3, 3, 1))
    output = net.population(learned(LI, tau_mem=12.0), K, name="output")
    drives = [*model.drives, *model.receptors]
    stim = net.current(M, dt=pick(1.0, 0.7, 2.5, dt), name="stim", interpolation=how())
    net.connect(
        stim,
        hidden,
        Dense(Normal(1.2 * scale / M, 0.4 * scale)),
        receptor=drives[0],
        delay=pick(0.0, 0.3) if tiny else 1.5 * rng.integers(2),
    )
    net.connect(stim, output, Dense(Normal(0.1, 0.1)), receptor="input", trainable=pick(True, False))
    sources = [stim]
    if not tiny:
        image = net.current(dt=pick(0.4, 3.0), name="image", shape=(3, 3, 1), interpolation=how())
        kind = pick(
            Sparse(Normal(0.2 * scale, 0.2 * scale), probability=0.5),
            OneToOne(Normal(0.5 * scale, 0.3)),
            Conv2D(Normal(0.1 * scale, 0.1 * scale), 3, 1, padding=1),
            Dense(Normal(0.1 * scale, 0.1 * scale), mask=rng.random((9, N)) < 0.5),
        )
        net.connect(image, hidden, kind, receptor=drives[-1], delay=pick(0.0, 0.9))
        sources.append(image)
        net.connect(hidden, hidden, Dense(Normal(0.0, 0.2)), receptor=[*model.receptors][0], delay=pick(0.0, 1.0))
    net.connect(hidden, output, Dense(Normal(0.2, 0.3)))
    parts = {}
    if spikes:
        inp = net.input(3, name="spikes")
        net.connect(inp, hidden, Dense(Normal(0.4 * scale, 0.3)), receptor=[*model.receptors][0])
        samples = [(np.sort(rng.uniform(0, duration, n)), rng.integers(0, 3, n)) for n in (8, 0, 5)]
        parts["spikes"] = Events.from_samples(samples, 3)
    labels = rng.integers(0, K, 3)
    for c in sources:
        V = max(1, int(rng.uniform(0.6, 1.0) * duration / c.dt))
        values = rng.normal(1.0, 1.0, (3, V, c.size))
        values[1] = 0  # an empty sample
        parts[c.name] = Currents(values, c.dt, labels=labels)
    make = LOSSES[seed % len(LOSSES)] if loss is None else loss
    plan = make_plan(net, make(output), dt=dt, duration=duration, spike_times=spike_times)
    return plan, parts if len(parts) > 1 else parts["stim"]


def with_values(data, name, values):
    """The same data with other values of one current; float64 values are kept as they are."""
    old = data if isinstance(data, Currents) else data[name]
    new = Currents.trusted(values, old.dt, labels=old.labels)
    return new if isinstance(data, Currents) else {**data, name: new}


def differences(engine, plan, data, parameters, h=1e-5, count=2, seed=0):
    """name -> (indices, central differences of the mean loss of samples 0, 1, 2) of some of every parameter and
    current, by an engine whose parameters are then `parameters` again."""
    rng = np.random.default_rng(seed)
    parts = {"stim": data} if isinstance(data, Currents) else data

    def loss(values, data):
        for name in plan.trainable:
            engine.parameters[name][...] = values[name]
        return engine.run(engine.load(data), [0, 1, 2]).loss.mean()

    def slopes(value, shifted):
        live = np.flatnonzero(value.ravel())  # no weights that a mask leaves out
        live = np.arange(value.size) if len(live) == 0 else live
        at, out = rng.choice(live, min(count, len(live)), replace=False), []
        for i in at:
            moved = [value.copy(), value.copy()]
            for s, v in zip((h, -h), moved):
                v.ravel()[i] += s
            out.append((loss(*shifted(moved[0])) - loss(*shifted(moved[1]))) / (2 * h))
        return at, np.array(out)

    found = {n: slopes(parameters[n], lambda v, n=n: ({**parameters, n: v}, data)) for n in plan.trainable}
    for name, part in parts.items():
        if isinstance(part, Currents):
            values = part.values.astype(np.float64)
            found[name] = slopes(values, lambda v, n=name: (parameters, with_values(data, n, v)))
    loss(parameters, data)
    return found


def assert_differences(engine, found, rtol=1e-5, atol=1e-8):
    """The gradients of an engine, after a training run of samples 0, 1, 2, are what `differences` found."""
    every = {**engine.gradients, **engine.current_gradients}
    for name, (at, slopes) in found.items():
        np.testing.assert_allclose(np.ravel(every[name])[at], slopes, rtol=rtol, atol=atol, err_msg=name)
