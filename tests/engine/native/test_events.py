"""Modes, several and silent events, delta synapses on the grid: `native` equals `reference_clock`."""

import numpy as np

from genn_eventprop import Dense, Events, Network, NeuronModel, Normal, Param, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.modelling.neuron import Event
from genn_eventprop.plan import make_plan
from genn_eventprop.verify.gradients.simulation import Simulation
from support.eventful import BURSTING, DELTA, REFRACTORY, build, random_events


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def check_same(plan, tolerance=1e-9, dtype="float64", zero=()):
    events, values = random_events(plan), plan.network.initial_parameters(1)
    clock, native = ReferenceClock(plan, values), NativeEngine(plan, values, dtype=dtype, threads=1)
    every = np.arange(len(events))
    want = clock.run(clock.load(events), every, training=True, record_spikes=True)
    got = native.run(native.load(events), every, training=True, record_spikes=True)
    native.close()
    for name in want.spikes:
        assert want.spike_counts[name].sum() > 10
        np.testing.assert_array_equal(got.spikes[name].time, want.spikes[name].time)
        np.testing.assert_array_equal(got.spikes[name].neuron, want.spikes[name].neuron)
    np.testing.assert_allclose(got.loss, want.loss, rtol=tolerance)
    assert got.guarded == want.guarded
    for key, gradient in clock.gradients.items():
        if key in zero:
            continue
        assert gradient.any(), f"the gradient of {key} is zero: the comparison would be empty"
        assert relative(native.gradients[key], gradient) < tolerance, key
    return clock


def test_float32_agrees_to_its_precision():
    check_same(build(REFRACTORY, 1.5, 1.0), tolerance=1e-4, dtype="float32")


def test_arrivals_put_neurons_across_and_silent_events_happen():
    """What the cases above are about does happen in them."""
    delta, bursting = build(DELTA, 0.15, 0.3, layers=2, delay=0.0), build(BURSTING, 1.5, 1.0, duration=60.0)
    for plan, check in ((delta, "pushed"), (bursting, "fired")):
        clock = ReferenceClock(plan, plan.network.initial_parameters(1))
        trial = Simulation(plan, clock.parameters, clock.load(random_events(plan)), np.arange(3))
        traces = [trial.traces[p.name] for p in plan.populations if p.derived.events]
        if check == "pushed":
            assert all((t.events[0].fired & t.events[0].caused_by_arrivals).sum() > 5 for t in traces)
            assert all((t.events[0].fired & ~t.events[0].caused_by_arrivals).sum() > 5 for t in traces)
        else:
            assert all(e.fired.any() for e in traces[0].events) and (traces[0].ended >= 0).any()


def test_a_refractory_neuron_is_silent_for_whole_steps():
    """t_ref 3.1 ms at 0.5 ms is 6 steps: driven hard, a neuron spikes every 6 steps of rest and one of rise."""
    net = Network()
    output = net.population(REFRACTORY(tau_mem=1.0, tau_syn=1000.0), 1, name="output")
    net.connect(net.input(1), output, Dense(np.array([[1000.0]])))
    plan = make_plan(net, losses.FirstSpikeCrossEntropy(output), dt=0.5, duration=20.0)
    events = Events.from_samples([([0.0], [0])], n_channels=1, labels=[0])
    for engine in (ReferenceClock(plan, net.initial_parameters(0)), NativeEngine(plan, net.initial_parameters(0))):
        times = engine.run(engine.load(events), [0], record_spikes=True).spikes["output"].time
        np.testing.assert_allclose(np.diff(times), 3.5)


def test_a_population_that_only_has_silent_events():
    model = NeuronModel(
        name="Mute", state={"V": 0.0}, params={"tau_mem": Param(15.0, "ms")}, dynamics={"V": "-V / tau_mem"}, input="V",
        events=[Event("turn", "V - 1", {"V": 0.0}, emits=False)],
    )  # fmt: skip
    net = Network()
    output = net.population(model(), 3, name="output")
    net.connect(net.input(4), output, Dense(Normal(0.1, 0.2)))
    plan = make_plan(net, losses.EndVoltageCrossEntropy(output), dt=0.5, duration=15.0)
    values, found = net.initial_parameters(0), []
    values["input_output.weight"][:] = 0.4
    events = Events.from_samples([(np.arange(0.0, 14.0, 0.5), np.arange(28) % 4)], n_channels=4, labels=[1])
    for engine in (ReferenceClock(plan, values), NativeEngine(plan, values, dtype="float64")):
        result = engine.run(engine.load(events), [0], training=True)
        found.append((result.loss, engine.gradients["input_output.weight"].copy()))
    assert result.readout.max() < 1.0 < 0.4 * 4  # there were events
    assert found[0][1].any()
    for got, want in zip(found[1], found[0]):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)
