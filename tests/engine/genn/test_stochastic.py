"""Noise and dropout of the genn engine are those of the reference, on real GeNN and on the harness."""

import numpy as np
import pytest

from genn_eventprop.engines.reference.grid.engine import ReferenceClock
from support import genn_harness as harness
from support import stochastic
from support.on_genn import on_genn
from support.sweeps import sweep

CASES = {
    **stochastic.CASES,
    "modes, no reset": {"model": "LIFRefractory", "noise": 0.1, "dropout": 0.3},
    "delta synapses, mean counts": {
        "model": "LIFDelta", "scale": 0.3, "dropout": 0.4, "dropped_reset": True, "regularised": "batch",
    },
}  # fmt: skip
SOME = ("dropout", "both", "both with reset, mean counts", "nonlinear")  # the others on one side only, builds take long
QUICK = (*SOME, "counts of a sample, reset", "delta synapses", "modes")


@pytest.fixture(params=["harness", "side by side", pytest.param("pygenn", marks=pytest.mark.needs_genn)])
def make(request):
    made = []

    def engine(plan, values):
        if request.param == "pygenn":
            made.append(on_genn(plan, values, dtype="float64"))
        else:
            group = 1 if request.param == "harness" else 3
            made.append(harness.HarnessEngine(plan, values, dtype="float64", batch_size=group))
        return made[-1]

    engine.on = request.param
    yield engine
    for e in made:
        e.close()


@pytest.mark.one_in(21)
@pytest.mark.parametrize("case", sweep(CASES, QUICK))
def test_genn_equals_the_reference(make, case):
    if make.on != "harness" and case not in SOME:
        pytest.skip("run on the harness, one example at a time")
    plan, events = stochastic.network(**CASES[case]), stochastic.random_events()
    values = plan.network.initial_parameters(4)
    engines = [ReferenceClock(plan, values), make(plan, values)]
    data = [e.load(events) for e in engines]
    for epoch, samples in ((2, np.arange(7)), (3, np.array([5, 0]))):
        for engine in engines:
            engine.seed, engine.epoch = 11, epoch
        results = [e.run(d, samples, training=True, record_spikes=True) for e, d in zip(engines, data)]
        stochastic.compare(results, engines)
    quiet = [e.run(d, np.array([5, 0])).spike_counts["hidden"] for e, d in zip(engines, data)]
    assert np.array_equal(*quiet) and not np.array_equal(quiet[0], results[0].spike_counts["hidden"])
