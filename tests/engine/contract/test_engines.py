"""One suite for all engines on the time grid: what each computes is what `reference_clock` computes.

A part of the problems on each by default; all of them with `-m slow`. What only one engine has is tested in its files.
"""

import numpy as np
import pytest

from genn_eventprop import Events, regularisers
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.errors import EngineError
from genn_eventprop.plan import make_plan
from support.clocked import build, random_events, relative
from support.engines import ENGINES, compare, refused, run
from support.problems import every_problem

PROBLEMS = every_problem()
WITHOUT_GRADIENT = {
    "neurons: refractory output": ("output.t_ref",),  # the loss reads first spikes
    # spikes of delta synapses are where arrivals are: only the rest depends on weights
    "random: delta synapses": ("input_hidden.weight", "hidden_hidden.weight"),
}
QUICK = {
    "native": (
        "loss: per step", "loss: per step of spiking, input-driven", "loss: squared error of V", "loss: end of spiking",
        "loss: spike count", "loss: spike times, missing ones count", "loss: own formula of first spikes",
        "neurons: refractory output", "neurons: bursting", "neurons: two spikes", "neurons: delta",
        "neurons: delta max", "neurons: delta per step", "neurons: refractory spike times", "neurons: quadratic",
        "neurons: exponential, Euler",
        "neurons: conductance", "neurons: every function, Euler", "shape: feed-forward, first end",
        "shape: feed-forward, integral sigmoid", "shape: recurrent, first", "shape: recurrent, max",
        "shape: recurrent, integral exponential", "shape: deep, max", "shape: skip, first",
        "shape: skip, integral of spiking", "random: noise", "random: both with reset, mean counts",
        "random: counts of a sample, reset", "random: delta synapses", "random: modes", "losses: several",
        "losses: several, one in Python", "inputs: two, tables and delays",
        "weights: shared",
    ),
    "c99": (
        "loss: per step", "loss: integral, input-driven, of spiking", "loss: spike times, missing ones count",
        "loss: own formula of first spikes", "loss: absolute error", "neurons: bursting", "neurons: delta max",
        "neurons: every function, Euler", "neurons: conductance", "shape: recurrent, first inverse end",
        "shape: skip, integral of spiking", "random: both with reset, mean counts", "random: delta synapses",
        "losses: several", "inputs: two", "weights: shared, in a table", "loss: squared error of V of spiking",
    ),
    "cuda": (
        "loss: integral, input-driven, of spiking", "neurons: bursting", "neurons: conductance",
        "random: both with reset, mean counts", "loss: spike count", "losses: several, one in Python",
        "inputs: two, tables and delays", "weights: shared, in a table", "neurons: delta per step",
    ),
    "genn": (
        "neurons: two spikes", "shape: recurrent, first inverse end", "random: both with reset, mean counts",
        "losses: several", "inputs: two, tables and delays",
    ),
}  # fmt: skip
QUICK |= {name: QUICK["c99"] for name in ENGINES if name not in QUICK}  # of other packages
CASES = [
    pytest.param(engine, name, marks=[] if name in QUICK[engine] else [pytest.mark.slow])
    for engine in ENGINES for name in PROBLEMS
]  # fmt: skip


def test_the_default_part_is_a_part():
    assert all(set(names) <= set(PROBLEMS) for names in QUICK.values()) and QUICK.keys() == ENGINES.keys()


@pytest.mark.one_in(48)
@pytest.mark.parametrize(("engine", "name"), CASES, indirect=["engine"])
def test_every_problem_is_as_on_the_clocked_reference(engine, name):
    plan, events = PROBLEMS[name]()
    if refused(engine, plan):
        with pytest.raises(EngineError, match=f"{engine.name} (runs|cannot|has no)"):
            engine(plan, plan.network.initial_parameters(3))
        return
    tolerance = 1e-10 if engine.name == "native" and name.startswith(("shape", "random")) else 1e-9
    made, _, clock, want = compare(engine, plan, events, tolerance, WITHOUT_GRADIENT.get(name, ()))
    assert np.nanstd(want.loss) > 0


@pytest.mark.one_in(4)
def test_noise_and_dropout_rest_without_training(engine):
    plan, events = PROBLEMS["random: both with reset, mean counts"]()
    values = plan.network.initial_parameters(3)
    made, clock = engine(plan, values, dtype="float64"), ReferenceClock(plan, values)
    quiet = [run(e, events, training=False).spike_counts["hidden"] for e in (made, clock)]
    np.testing.assert_array_equal(*quiet)
    assert not np.array_equal(quiet[1], run(clock, events).spike_counts["hidden"])
    made.close()


@pytest.mark.one_in(4)
def test_float32(engine):
    plan = build("recurrent", "integral exponential", "learned", 1.5)
    values, events = plan.network.initial_parameters(3), random_events(plan)
    if engine.name == "genn":
        pytest.skip("the harness computes in float64")
    made, clock = engine(plan, values, dtype="float32"), ReferenceClock(plan, values)
    got, want = run(made, events), run(clock, events)
    np.testing.assert_array_equal(got.spike_counts["hidden"], want.spike_counts["hidden"])
    np.testing.assert_allclose(got.loss, want.loss, rtol=1e-5)
    for key, gradient in clock.gradients.items():
        assert relative(made.gradients[key], gradient) < 1e-4, key
    made.close()


@pytest.mark.one_in(4)
def test_regularisers_of_counts_and_of_the_layer(engine):
    plan = build("recurrent", "integral", "fixed", 1.5)
    hidden = plan.network.populations[0]
    terms = [
        regularisers.SpikeCount(hidden, target=1.0, strength=1e-2),
        regularisers.LayerRate(hidden, most=5.0, strength=1e-2),
        regularisers.SpikeCount(hidden, target=1.0, strength=1e-2, mean="batch"),
    ]
    plan = make_plan(plan.network, plan.asked, dt=plan.dt, duration=plan.duration, regularisers=terms)
    compare(engine, plan, random_events(plan))


@pytest.mark.one_in(4)
def test_dynamics_that_diverge_are_an_error_that_says_where(engine):
    plan, events = PROBLEMS["neurons: quadratic"]()
    values = plan.network.initial_parameters(3)
    values[plan.connections[0].weight][:] = 1e30
    messages = []
    for made in (ReferenceClock(plan, values), engine(plan, values, dtype="float64")):
        with pytest.raises(EngineError, match="diverged in sample 0 at") as error:
            run(made, events)
        messages.append(str(error.value))
        made.close()
    assert messages[0].split("(")[0] == messages[1].split("(")[0]


def test_samples_without_spikes_and_without_labels(engine):
    """No input at all: loss of a uniform softmax, no prediction, no gradient of the weights; training needs labels."""
    plan = build("feed-forward", "integral", "fixed", 0.0)
    silent = Events.from_samples([([], []), ([], [])], n_channels=7, labels=[1, 2])
    unlabelled = Events.from_samples([([1.0], [0])], n_channels=7)
    values = plan.network.initial_parameters(3)
    for made in (ReferenceClock(plan, values), engine(plan, values, dtype="float64")):
        result = run(made, silent)
        np.testing.assert_allclose(result.loss, np.log(4.0))
        assert result.spike_counts["hidden"].sum() == 0 and result.spikes["hidden"].time.size == 0
        assert not any(np.any(g) for g in made.gradients.values())
        result = run(made, unlabelled, training=False)
        assert np.isnan(result.loss[0]) and result.spike_counts["hidden"].sum() == 0
        assert result.prediction[0] == -1  # all outputs are the same
        with pytest.raises(EngineError, match="needs a label for every sample"):
            run(made, unlabelled)
        made.close()
