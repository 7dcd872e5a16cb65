"""`native` with exact spike times: several losses, each of a population of its own, against `reference_event`."""

from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Dense, Network, Normal, Param, engines, losses
from genn_eventprop.losses import TimeWeight
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.plan import make_plan
from support.exact import spikes
from support.problems import several
from support.sweeps import sweep

T = 50.0
DRIVEN = TimeWeight("linear", (5.2, 40.0), 15.0, 20.0)

# main loss of an output that does not spike; losses of a refractory layer, of a spiking one and of a second output
MIXED = {
    "V all along the trial": (
        losses.PerStepCrossEntropy, lambda o: losses.SquaredError(o, weight=DRIVEN), losses.SpikeCountCrossEntropy,
        lambda o: losses.IntegratedVoltageCrossEntropy(o, "exponential", window=(7.3, 31.1)),
    ),
    "maxima": (
        lambda o: losses.SquaredError(o, "max"), lambda o: losses.SquaredError(o, "integral"),
        lambda o: losses.FirstSpikeCrossEntropy(o, silent="end"), losses.MaxVoltageCrossEntropy,
    ),
    "ends": (
        lambda o: losses.IntegratedVoltageCrossEntropy(o, DRIVEN), losses.EndVoltageCrossEntropy,
        lambda o: losses.IntegratedVoltageCrossEntropy(o, "sigmoid"), lambda o: losses.SquaredError(o, "end"),
    ),
}  # fmt: skip


def learned(*names):
    return {
        n: Param(v, trainable=True) for n, v in {"tau_mem": 18.0, "tau_syn": 4.0, "t_ref": 2.3}.items() if n in names
    }


def mixed(name, dt=1.0):
    """Two layers that reach each other, both read, and two outputs; targets by name, some missing."""
    net = Network()
    first = net.population(LIFRefractory(**learned("tau_mem", "tau_syn", "t_ref")), 9, name="first")
    second = net.population(LIF(**learned("tau_mem")), 5, name="second")
    output = net.population(LI(**learned("tau_syn")), 4, name="output")
    other = net.population(LI(**learned("tau_mem", "tau_syn")), 3, name="other")
    net.connect(net.input(7), first, Dense(Normal(0.9, 0.6)))
    net.connect(first, second, Dense(Normal(0.6, 0.4)), delay=1.3)
    net.connect(second, first, Dense(Normal(0.2, 0.2)))
    net.connect(first, output, Dense(Normal(0.3, 0.4)))
    net.connect(second, other, Dense(Normal(0.3, 0.4)), delay=0.7)
    main, *others = (make(p) for make, p in zip(MIXED[name], (output, first, second, other)))
    asked = [0.7 * (main.against("wanted") if main.compares == "targets" else main)]
    asked += [f * each.against(each.population.name) for f, each in zip((0.5, 2.0, 1.5), others)]
    plan = make_plan(net, asked, dt=dt, duration=T, spike_times="exact")
    events, rng = spikes(), np.random.default_rng(4)
    named = {}
    for each in plan.losses:
        K = each.n_classes
        drawn = rng.integers(0, K, 3) if each.compares == "labels" else rng.normal(0.2, 0.3, (3, K))
        if each.answer and each is not plan.loss:
            drawn[1] = -1 if each.compares == "labels" else np.nan
        named |= {each.answer: drawn} if each.answer else {}
    return plan, replace(events, targets=named)


def run(plan, events, engine, dtype="float64"):
    made = engines.create(plan, plan.network.initial_parameters(3), engine=engine, dtype=dtype, threads=1)
    result = made.run(made.load(events), np.arange(len(events)), training=True)
    gradients = {k: np.array(v, np.float64) for k, v in made.gradients.items()}
    made.close()
    return result, gradients


def check_same(plan, events, tolerance, dtype="float64", reference=None):
    (want, gradients), (got, mine) = (
        run(reference or plan, events, "reference_event"),
        run(plan, events, "native", dtype),
    )
    assert all(count.sum() > 10 for count in want.spike_counts.values())
    for name, counts in want.spike_counts.items():
        np.testing.assert_array_equal(got.spike_counts[name], counts)
    np.testing.assert_allclose(got.loss, want.loss, rtol=tolerance)
    assert list(got.parts) == list(want.parts) == [loss.output for loss in plan.losses]
    for name, part in want.parts.items():
        np.testing.assert_allclose(got.parts[name].loss, part.loss, rtol=tolerance)
        np.testing.assert_allclose(got.parts[name].readout, part.readout, rtol=10 * tolerance, atol=tolerance)
        np.testing.assert_array_equal(got.parts[name].prediction, part.prediction)
    for name, gradient in gradients.items():
        assert gradient.any(), f"{name} has no gradient: the comparison would be empty"
        assert np.linalg.norm(mine[name] - gradient) < tolerance * np.linalg.norm(gradient), name


@pytest.mark.ci
@pytest.mark.parametrize("in_python", [False, True])
def test_losses_of_every_layer(in_python):
    check_same(*several(in_python, "exact"), 1e-9)


@pytest.mark.ci
@pytest.mark.parametrize("name", sweep(MIXED, ("V all along the trial", "maxima")))
def test_readouts_of_populations_that_reach_each_other(name):
    plan, events = mixed(name)
    check_same(plan, events, 1e-9)
    check_same(mixed(name, 5.0)[0], events, 1e-9, reference=plan)


@pytest.mark.ci
@pytest.mark.parametrize("name", sweep(MIXED, ("ends",)))
def test_float32(name):
    check_same(*mixed(name), 1e-3, "float32")
