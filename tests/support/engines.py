"""Engines on the time grid, and their comparison with `reference_clock`; `tests/engine/conftest.py` has the fixture."""

import numpy as np

from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.c99.engine import C99Engine
from genn_eventprop.engines.contract.features import FEATURES
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.engines.registry import OWN, all_engines
from support.clocked import relative
from support.cuda_shim import ShimEngine
from support.genn_harness import HarnessEngine


class Native(NativeEngine):
    """On two threads."""

    def __init__(self, plan, values, **settings):
        super().__init__(plan, values, **{"threads": 2, **settings})


ENGINES = {"native": Native, "c99": C99Engine, "cuda": ShimEngine, "genn": HarnessEngine}
ENGINES |= {kind.name: kind for kind in all_engines() if kind.name not in OWN and "grid" in kind.features}


def refused(kind, plan):
    """The features of the plan that an engine does not have."""
    return [name for name, needs in FEATURES.items() if name not in kind.features[plan.spike_times] and needs(plan)]


def run(engine, events, **how):
    engine.seed, engine.epoch = 11, 2  # of noise and dropout
    return engine.run(engine.load(events), np.arange(len(events)), **{"training": True, "record_spikes": True, **how})


def check_same(got, want, engine, clock, tolerance, without_gradient=()):
    """Spikes, loss, readout, prediction, guard and gradients of two engines after `run`."""
    assert set(got.spikes) == set(want.spikes)
    for name, spikes in want.spikes.items():
        assert spikes.time.size > 5, f"{name} is silent: the comparison would be empty"
        np.testing.assert_array_equal(got.spike_counts[name], want.spike_counts[name])
        for field in ("sample", "time", "neuron"):
            np.testing.assert_array_equal(getattr(got.spikes[name], field), getattr(spikes, field))
    np.testing.assert_allclose(got.loss, want.loss, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(got.readout, want.readout, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(got.prediction, want.prediction)
    assert set(got.parts) == set(want.parts)
    for name, part in want.parts.items():
        np.testing.assert_allclose(got.parts[name].loss, part.loss, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(got.parts[name].readout, part.readout, rtol=tolerance, atol=tolerance)
        np.testing.assert_array_equal(got.parts[name].prediction, part.prediction)
    assert got.guarded == want.guarded
    assert set(engine.gradients) == set(clock.gradients)
    for key, gradient in clock.gradients.items():
        assert engine.gradients[key].shape == gradient.shape
        assert gradient.any() or key in without_gradient, f"{key} has no gradient: the comparison would be empty"
        assert relative(engine.gradients[key], gradient) < tolerance, key


def compare(kind, plan, events, tolerance=1e-9, without_gradient=(), **settings):
    """Run an engine and the reference; returns both with their results, (engine, result, reference, result)."""
    values = plan.network.initial_parameters(3)
    double = {"dtype": "float64"} if "dtype" in getattr(kind, "options", ["dtype"]) else {}
    engine, clock = kind(plan, values, **{**double, **settings}), ReferenceClock(plan, values)
    got, want = run(engine, events), run(clock, events)
    check_same(got, want, engine, clock, tolerance, without_gradient)
    engine.close()
    return engine, got, clock, want
