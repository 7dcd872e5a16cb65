"""Runs what docs/extend.md adds, in a copy of the package with its diffs: gradients against a reference, and the check
that the recipes end with.

`python extended.py readout|outer|connectivity|engine`, with the copy first on the path; exit status 0 if they agree.
"""

import sys

import numpy as np

from genn_eventprop import Dense, Events, Network, Normal, Uniform
from genn_eventprop.engines import create
from genn_eventprop.losses import Function, Loss
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.verify import check_network
from support.genn_harness import HarnessEngine

B, CHANNELS, HIDDEN, OUTPUTS = 7, 6, 13, 3


def events(targets=None):
    rng = np.random.default_rng(0)
    samples = [(np.sort(rng.uniform(0.0, 30.0, 40)), rng.integers(0, CHANNELS, 40)) for _ in range(B)]
    labels = rng.integers(0, OUTPUTS, B)
    return Events.from_samples(samples, CHANNELS, labels=labels, targets=targets)


def network(output, recurrent=None, channels=CHANNELS, hidden=HIDDEN, weight=0.9):
    net = Network()
    hidden, out = net.population(LIF(), hidden, "hidden"), net.population(output, OUTPUTS, "output")
    net.connect(net.input(channels), hidden, Dense(Normal(weight, 0.4)))
    if recurrent is not None:
        net.connect(hidden, hidden, recurrent, delay=1.0)
    net.connect(hidden, out, Dense(Normal(0.6 * weight / 0.9, 0.4)))
    return net, out


def gradients(net, loss, data, engine, parameters=None, spike_times="grid"):
    """(Result, parameter -> gradient)."""
    plan = make_plan(net, loss, duration=40.0, dt=0.5, spike_times=spike_times)
    values = parameters or net.initial_parameters(3)
    if engine == "genn":  # what it gives to pygenn, run without pygenn
        made = HarnessEngine(plan, values, dtype="float64")
    else:
        made = create(plan, values, engine=engine, dtype="float64")
    result = made.run(made.load(data), np.arange(B), training=True)
    return result, {name: np.array(g) for name, g in made.gradients.items()}


def agree(found, wanted):
    for name, want in wanted.items():
        assert np.abs(want).max() > 0, f"{name}: no gradient"
        np.testing.assert_allclose(found[name], want, rtol=1e-9, atol=1e-9 * np.abs(want).max(), err_msg=name)


def proven(loss, output, engine="native", recurrent=None, exact=True):
    """The check that the recipe ends with, on a small network: with exact spike times, and on a grid."""
    net, out = network(output, recurrent, channels=3, hidden=5, weight=2.0)
    rng = np.random.default_rng(0)
    samples = [(np.sort(rng.uniform(0.0, 10.0, 10)), rng.integers(0, 3, 10)) for _ in range(2)]
    few = Events.from_samples(samples, 3, labels=[0, 2], n_classes=3)
    for how in ({"spike_times": "exact"}, {"dt": 1.0}) if exact else ({"dt": 1.0},):
        report = check_network(net, loss(out), events=few, duration=16.0, engine=engine, seed=3, **how)
        assert report.passed, report.text()


def readout():
    """On the grid, and with exact spike times."""
    readout_in("grid", "reference_clock", RUNS_READOUTS)
    readout_in("exact", "reference_event", ["native"])
    proven(lambda out: Loss(out, "last_spikes", score="-r"), LIF())
    a_flipped_sign_is_found()


def a_flipped_sign_is_found():
    from genn_eventprop.program.readouts.last_spikes import LastSpikes

    right = LastSpikes.time_gradient

    def wrong(self, event, before):
        self.DR = -self.DR
        try:
            return right(self, event, before)
        finally:
            self.DR = -self.DR

    LastSpikes.time_gradient = wrong
    try:
        proven(lambda out: Loss(out, "last_spikes", score="-r"), LIF())
    except AssertionError as error:
        assert "relative error" in str(error)
    else:
        raise AssertionError("a wrong sign of dL/dt passes the check")
    finally:
        LastSpikes.time_gradient = right


def readout_in(spike_times, reference, engines):
    """dL/dt of every spike, from dL/dr, handed to the reference as targets of a squared error of spike times."""

    def outer(r, y):
        return np.sum(np.sin(r), axis=1), np.cos(r)

    net, out = network(LIF())
    loss = Loss(out, "last_spikes", outer=Function(outer), score="-r")
    plan = make_plan(net, Loss(out, "count"), duration=40.0, dt=0.5, spike_times=spike_times)
    engine = create(plan, net.initial_parameters(3), engine=reference)
    first = engine.run(engine.load(events()), np.arange(B), record_spikes=True)
    spikes, most = first.spikes["output"], int(first.spike_counts["output"].max())
    assert most > 3  # some have more spikes than are read, and some fewer
    targets, r = np.full((B, OUTPUTS, most), np.nan), np.full((B, OUTPUTS), np.inf)
    for b in range(B):
        for n in range(OUTPUTS):
            times = spikes.time[(spikes.sample == b) & (spikes.neuron == n)]
            if len(times):
                r[b, n] = times[-3:].mean()
                slope = np.where(np.arange(len(times)) >= len(times) - 3, np.cos(r[b, n]) / min(len(times), 3), 0.0)
                targets[b, n, : len(times)] = times - slope  # L = (t - target)^2 / 2
    each = Loss(out, "spike_times", outer="squared_error")
    wanted = gradients(net, each, events(targets), reference, spike_times=spike_times)[1]
    for engine in engines:
        result, found = gradients(net, loss, events(), engine, spike_times=spike_times)
        np.testing.assert_allclose(result.readout, r, rtol=1e-12)
        agree(found, wanted)


def outer():
    """In the trial, on the grid and with exact spike times, and in NumPy, of V and of spikes; and by hand."""
    r, y = np.array([[1.0, 0.3, 0.9], [0.2, 0.1, 3.0]]), np.array([0, 2])
    loss, slope = Loss(network(LI())[1], "end", outer="hinge").record.evaluate(r, np.ones(r.shape, bool), y, 1.0)
    np.testing.assert_allclose(loss, [0.3 + 0.9, 0.0])
    np.testing.assert_allclose(slope, [[-2.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    of_v, of_spikes = (("c99", "grid"), ("native", "exact")), (("native", "grid"), ("genn", "grid"))
    for output, read, margin, engines in ((LI(), "max", 0.5, of_v), (LIF(), "first_spike", 3.0, of_spikes)):
        net, out = network(output)
        loss = Loss(out, read, outer="hinge", constants={"margin": margin})
        result, wanted = gradients(net, loss, events(), "reference_clock")
        exact, of_times = gradients(net, loss, events(), "reference_event", spike_times="exact")
        for engine, spike_times in engines:
            same, found = gradients(net, loss, events(), engine, spike_times=spike_times)
            truth, slopes = (result, wanted) if spike_times == "grid" else (exact, of_times)
            np.testing.assert_allclose(same.loss, truth.loss, rtol=1e-12, atol=1e-12)
            agree(found, slopes)
    proven(lambda out: Loss(out, "max", outer="hinge", constants={"margin": 0.5}), LI())


def connectivity():
    """Against dense connections with the same weights; dL/d(weight of a distance) is the sum over its synapses."""
    for spike_times, engine in (("grid", "reference_clock"), ("exact", "native")):
        connectivity_in(spike_times, engine)
    from genn_eventprop.modelling.connectivity import Ring

    proven(lambda out: Loss(out, "integral"), LI(), recurrent=Ring(Uniform(-0.3, 0.3), radius=2))


def connectivity_in(spike_times, engine):
    from genn_eventprop.modelling.connectivity import Ring

    net, out = network(LI(), Ring(Uniform(-0.3, 0.3), radius=2))
    parameters = net.initial_parameters(3)
    result, found = gradients(net, Loss(out, "integral"), events(), engine, parameters, spike_times)
    distance = (np.arange(HIDDEN) - np.arange(HIDDEN)[:, None] + 2) % HIDDEN
    weights = parameters["hidden_hidden.weight"]
    assert weights.shape == (5,)
    dense = np.where(distance < 5, weights[np.minimum(distance, 4)], 0.0)
    net, out = network(LI(), Dense(dense))
    given = parameters | {"hidden_hidden.weight": dense}
    same, wanted = gradients(net, Loss(out, "integral"), events(), engine, given, spike_times)
    each = wanted["hidden_hidden.weight"]
    wanted["hidden_hidden.weight"] = np.array([each[distance == d].sum() for d in range(5)])
    np.testing.assert_allclose(result.loss, same.loss, rtol=1e-12)
    agree(found, wanted)


def engine():
    net, out = network(LI())
    result, wanted = gradients(net, Loss(out, "integral"), events(), "reference_clock")
    same, found = gradients(net, Loss(out, "integral"), events(), "c99_threads")
    np.testing.assert_allclose(same.loss, result.loss, rtol=1e-12)
    np.testing.assert_array_equal(same.spike_counts["hidden"], result.spike_counts["hidden"])
    agree(found, wanted)
    proven(lambda out: Loss(out, "integral"), LI(), engine="c99_threads", exact=False)


RUNS_READOUTS = ("c99", "native", "genn")

if __name__ == "__main__":
    {"readout": readout, "outer": outer, "connectivity": connectivity, "engine": engine}[sys.argv[1]]()
