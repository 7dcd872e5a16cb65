"""`spike_birth`: the jump of the adjoint at a spike that was not born, against the loss of a trial in which it was."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Events, Network, OneToOne, losses
from genn_eventprop.adjoint.birth import hazard
from genn_eventprop.compile import compile_network
from genn_eventprop.errors import EngineError, PlanError
from genn_eventprop.models.alif import ALIF
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_delta import LIFDelta

SIGMA, T = 0.1, 30.0
TIMES = np.array([1.0, 4.0, 5.5, 9.0, 12.0])
GRID = np.linspace(0.0, T, 30001)
LOSSES = {
    "integral": losses.IntegratedVoltageCrossEntropy,
    "end": losses.EndVoltageCrossEntropy,
    "first_spike": lambda o: losses.FirstSpikeCrossEntropy(o, silent="end"),
    "count": losses.SpikeCountCrossEntropy,
}


def engine_of(weights, loss, engine="reference_event", dt=0.01, spike_birth=SIGMA, thresholds=1.0, delay=0.0):
    """Five inputs, four hidden neurons, three outputs, one sample of class 1."""
    net = Network()
    source = net.input(5)
    hidden = net.population(LIF(v_thresh=np.broadcast_to(thresholds, 4)), 4, name="hidden")
    output = net.population((LIF if loss in ("first_spike", "count") else LI)(), 3, name="output")
    net.connect(source, hidden, Dense(weights[0]), name="in")
    net.connect(hidden, output, Dense(weights[1]), delay=delay, name="out")
    times = "exact" if engine == "reference_event" else "grid"
    made = compile_network(
        net, LOSSES[loss](output), duration=T, dt=dt, engine=engine, spike_times=times, spike_birth=spike_birth
    )
    sample = (TIMES, np.arange(5))
    return made, made.load(Events.from_samples([sample], n_channels=5, labels=[1]))


def kernel(t):
    """(time, 5): V of a unit weight from each input, tau_mem 20 ms, tau_syn 5 ms."""
    s = np.maximum(np.asarray(t)[..., None] - TIMES, 0.0)
    return (np.exp(-s / 20) - np.exp(-s / 5)) / 3


def silent(seed, out=1.0):
    """Weights with which no hidden neuron spikes, but all are within 3 sigma of it."""
    rng = np.random.default_rng(seed)
    first = rng.uniform(0.2, 1.0, (5, 4))
    V = (kernel(GRID) @ first).max(axis=0)
    return first * rng.uniform(0.75, 0.95, 4) / V, rng.normal(0, out, (4, 3))


@pytest.mark.parametrize("loss", ["integral", "end"])
def test_a_birth_is_worth_what_a_run_with_it_says(loss):
    """Of each neuron dL/dw = h (L with its spike at the maximum - L) dV_m/dw, for readouts that are linear."""
    weights = silent(3)
    made, data = engine_of(weights, loss, delay=1.5)
    quiet = float(made.run(data, [0], training=True).loss[0])
    V = kernel(GRID) @ weights[0]
    for n in range(4):
        m = float(V[:, n].max())
        loud, events = engine_of(weights, loss, delay=1.5, thresholds=np.where(np.arange(4) == n, m - 1e-6, 1.0))
        change = float(loud.run(events, [0]).loss[0]) - quiet
        expected = float(hazard(np.array(m - 1.0), SIGMA)) * change * kernel(GRID[V[:, n].argmax()])
        np.testing.assert_allclose(made.gradients["in.weight"][:, n], expected, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize(("engine", "dt"), [("reference_event", 1.0), ("reference_clock", 0.01), ("native", 0.01)])
@pytest.mark.one_in(3)
def test_a_maximum_that_an_arrival_ends_moves_with_it(engine, dt):
    """dL/d(delay) = h (L with its spike at the kink - L) dV/dt before it: nothing else depends on the delay."""
    delays, first, second = np.array([2.0, 4.0]), np.array([7.5, 7.0]), np.array([-9.0, -12.0])
    onto = np.array([[1.0, 0.3, -0.5], [-0.4, 0.8, 0.2]])

    def trial(thresholds=1.0):
        net = Network()
        hidden = net.population(LIF(v_thresh=np.broadcast_to(thresholds, 2)), 2, name="hidden")
        output = net.population(LI(), 3, name="output")
        late = Delay(delays, kind="axonal", max=9.0, trainable=True)
        net.connect(net.input(2), hidden, Dense([first, second]), delay=late, name="in")
        net.connect(hidden, output, Dense(onto), delay=1.0, name="out")
        loss = losses.EndVoltageCrossEntropy(output)
        times = "exact" if engine == "reference_event" else "grid"
        options = {"dtype": "float64"} if engine == "native" else {}
        made = compile_network(
            net, loss, duration=T, dt=dt, engine=engine, spike_times=times, spike_birth=SIGMA, **options
        )
        data = made.load(Events.from_samples([(np.array([1.0, 3.0]), np.arange(2))], n_channels=2, labels=[1]))
        return made, float(made.run(data, [0], training=True).loss[0])

    made, quiet = trial()
    s = 4.0  # from the arrival of the first input, at 3 ms, to that of the second one, at 7 ms
    V, rise = first * (np.exp(-s / 20) - np.exp(-s / 5)) / 3, first * (np.exp(-s / 5) / 5 - np.exp(-s / 20) / 20) / 3
    assert (V < 1).all() and (hazard(V - 1, SIGMA) > 0.01).all()
    worth = np.zeros(2)
    for n in range(2):
        _, loud = trial(np.where(np.arange(2) == n, V - 1e-6, 1.0))
        worth[n] = hazard(V[n] - 1, SIGMA) * (loud - quiet)
    # the first delay moves the rise under the kink, the second one the kink
    np.testing.assert_allclose(made.gradients["in.delay"], [-worth @ rise, worth @ rise], rtol=2e-3)


@pytest.mark.ci
def test_the_expected_loss_moves_with_an_arrival_that_ends_the_rise():
    """One neuron under every quantile of its threshold, side by side: dE[L]/d(delay) of what ends the rise."""
    N, step = 3000, 0.1

    def trial(thresholds, delay, engine, times="exact", dt=1.0, **settings):
        net, count = Network(), len(thresholds)
        source, hidden = net.input(2), net.population(LIF(v_thresh=thresholds), count, name="hidden")
        output = net.population(LI(), count, name="output")
        net.connect(source, hidden, Dense(np.outer([7.0, 0.0], np.ones(count))), name="up")
        late = Delay(delay, max=9.0, trainable=True)
        net.connect(source, hidden, Dense(np.outer([0.0, -12.0], np.ones(count))), delay=late, name="down")
        net.connect(hidden, output, OneToOne(1.0) if count > 1 else Dense(1.0))  # dense: L with the spike is known
        loss = losses.SquaredError(output, readout="end")
        made = compile_network(net, loss, duration=20.0, dt=dt, engine=engine, spike_times=times, **settings)
        data = made.load(Events.from_samples([(np.zeros(2), np.arange(2))], 2, targets=np.full((1, count), 0.3)))
        return made, made.run(data, [0], training="spike_birth" in settings)

    drawn = np.array([1 + SIGMA * NormalDist().inv_cdf((i + 0.5) / N) for i in range(N)])
    mean = [trial(drawn, 4.0 + h, "native", dtype="float64")[1] for h in (step, -step)]
    expected = (mean[0].loss[0] - mean[1].loss[0]) / (2 * step * N)
    silent = 1 - mean[0].spike_counts["hidden"].mean()
    assert 0.3 < silent < 0.95 and abs(expected) > 1e-3
    for engine in [("reference_event",), ("reference_clock", "grid", 0.02), ("c99", "grid", 0.02)]:
        made, result = trial(np.ones(1), 4.0, *engine, spike_birth=SIGMA)
        assert result.spike_counts["hidden"].sum() == 0
        np.testing.assert_allclose(silent * made.gradients["down.delay"].sum(), expected, rtol=0.03)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("seed", range(4))
def test_the_grid_agrees_with_exact_time_at_kinks_as_dt_falls(seed):
    """Two layers; of both signs, so that arrivals end rises of V, and in the second layer those of spikes do."""
    rng = np.random.default_rng(seed)
    times, channels = np.sort(rng.choice(np.arange(10, 200), 14, replace=False)) / 10, rng.integers(0, 7, 14)
    delays = rng.integers(3, 40, 7) / 10, rng.integers(3, 40, 6) / 10
    weights = rng.normal(1.0, 2.5, (7, 6)), rng.normal(0.5, 2.5, (6, 5)), rng.normal(0, 1.0, (5, 3))

    def gradients(engine, times_of, dt, **options):
        net = Network()
        hidden, deep = (net.population(LIF(), n, name=name) for n, name in ((6, "hidden"), (5, "deep")))
        output = net.population(LI(), 3, name="output")
        late = [Delay(d, kind="axonal", max=9.0, trainable=True) for d in delays]
        net.connect(net.input(7), hidden, Dense(weights[0]), delay=late[0], name="in")
        net.connect(hidden, deep, Dense(weights[1]), delay=late[1], name="up")
        net.connect(deep, output, Dense(weights[2]), delay=1.0, name="out")
        loss = losses.EndVoltageCrossEntropy(output)
        made = compile_network(
            net, loss, duration=T, dt=dt, engine=engine, spike_times=times_of, spike_birth=0.3, **options
        )
        data = made.load(Events.from_samples([(times, channels)], n_channels=7, labels=[1]))
        made.run(data, [0], training=True)
        return {n: g.copy() for n, g in made.gradients.items()}

    exact = gradients("reference_event", "exact", 1.0)
    made = gradients("native", "grid", 0.005, dtype="float64")
    for name, gradient in exact.items():
        assert np.linalg.norm(made[name] - gradient) < 0.04 * np.linalg.norm(gradient), name


@pytest.mark.one_in(2)
@pytest.mark.parametrize("loss", list(LOSSES))
def test_references_agree_as_dt_falls(loss):
    """Some hidden neurons spike, and the outputs whose spikes are read."""
    spikes = loss in ("first_spike", "count")
    weights = silent(5, 0.6)
    weights = weights[0] * 1.15, weights[1] + 1.5 * spikes
    exact, data = engine_of(weights, loss)
    exact.run(data, [0], training=True)
    made, data = engine_of(weights, loss, "reference_clock", 0.05)
    made.run(data, [0], training=True)
    for name, gradient in exact.gradients.items():
        assert np.linalg.norm(gradient) > 0.01
        assert np.linalg.norm(made.gradients[name] - gradient) < 0.02 * np.linalg.norm(gradient), name


@pytest.mark.parametrize("engine", ["reference_event", "reference_clock"])
def test_off_changes_nothing_and_on_reaches_silence(engine):
    weights = silent(3)
    on, off = (engine_of(weights, "integral", engine, 0.1, sigma) for sigma in (SIGMA, 0.0))
    for made, data in (on, off):
        made.run(data, [0], training=True)
    assert not off[0].gradients["in.weight"].any() and on[0].gradients["in.weight"].all()


def test_what_cannot_have_births_is_refused_by_name():
    def plan(model, sigma=SIGMA, engine="reference_clock"):
        net = Network()
        hidden, output = net.population(model(), 2, name="hidden"), net.population(LI(), 2, name="output")
        net.connect(net.input(1), hidden, Dense(1.0), receptor=next(iter(model.receptors)))
        net.connect(hidden, output, Dense(1.0))
        loss = losses.IntegratedVoltageCrossEntropy(output)
        return compile_network(net, loss, duration=10.0, dt=1.0, engine=engine, spike_times="grid", spike_birth=sigma)

    with pytest.raises(PlanError, match="spike_birth is the noise of thresholds .* got -1"):
        plan(LIF, -1)
    with pytest.raises(EngineError, match="genn has no spike_birth; set spike_birth=0, or use engine='native'$"):
        plan(LIF, engine="genn")
    with pytest.raises(PlanError, match="spikes of population .hidden.: LIFDelta has receptors whose arrivals move"):
        plan(LIFDelta)
    plan(ALIF)
