"""Populations of one neuron with parameters in every form, against the references."""

from __future__ import annotations

import numpy as np
import pytest

from genn_eventprop import Dense, Network, Param, engines, losses
from genn_eventprop.data import Events
from genn_eventprop.models.alif import ALIF
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.models.se_adlif import SEAdLIF
from genn_eventprop.plan import make_plan

MODELS = {"lif": LIF, "refractory": LIFRefractory, "alif": ALIF, "seadlif": SEAdLIF}


def parameter(value: float, form: str) -> object:
    """One value as a number, an array of one, or learned, shared by the population or of each neuron."""
    if form == "learned":
        return Param(value, "ms", trainable=True)
    if form == "shared":
        return Param(value, "ms", trainable=True, shared=True)
    return np.array([value]) if form == "array" else value


def regressor(model: str, hidden: str, output: str) -> tuple[Network, losses.Loss]:
    """One hidden neuron and one output, whose time constants come as `hidden` and `output` say."""
    net = Network()
    inp = net.input(3)
    one = net.population(MODELS[model](tau_mem=parameter(18.0, hidden)), 1, "hidden")
    out = net.population(LI(tau_mem=parameter(15.0, output), tau_syn=parameter(4.0, output)), 1, "output")
    net.connect(inp, one, Dense(np.array([[2.5], [1.5], [2.0]])))
    net.connect(one, out, Dense(np.array([[0.7]])))
    return net, losses.SquaredError(out, "end")


def outcome(net: Network, loss: losses.Loss, spike_times: str, engine: str) -> tuple[engines.Result, dict]:
    rng = np.random.default_rng(4)
    samples = [(np.sort(rng.uniform(0, 28, 20)), rng.integers(0, 3, 20)) for _ in range(3)]
    events = Events.from_samples(samples, n_channels=3, targets=np.array([[0.1], [0.3], [np.nan]]))
    plan = make_plan(net, loss, dt=0.5, duration=30.0, spike_times=spike_times)
    made = engines.create(plan, net.initial_parameters(1), engine=engine, dtype="float64", threads=1)
    result = made.run(made.load(events), [0, 1, 2], training=True)
    gradients = {k: np.array(v) for k, v in made.gradients.items()}
    made.close()
    return result, gradients


FORMS = [("number", "number"), ("array", "number"), ("number", "learned"), ("learned", "array"), ("shared", "learned")]
MODES = [
    ("lif", "exact"),
    ("refractory", "exact"),
    ("alif", "exact"),
    ("seadlif", "exact"),
    ("lif", "grid"),
    ("seadlif", "grid"),
]
QUICK = [
    ("lif", "exact", "number", "learned"), ("lif", "exact", "shared", "array"),
    ("refractory", "exact", "learned", "array"),
    ("alif", "exact", "array", "number"), ("seadlif", "grid", "learned", "array"),
]  # fmt: skip
EVERY = [(m, t, h, o) for m, t in MODES for h, o in FORMS if (m, t, h, o) not in QUICK]


@pytest.mark.one_in(6)
@pytest.mark.parametrize(
    ("model", "spike_times", "hidden", "output"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in EVERY)],
)
def test_one_neuron_is_run_as_the_reference_runs_it(model, spike_times, hidden, output):
    net, loss = regressor(model, hidden, output)
    reference = "reference_event" if spike_times == "exact" else "reference_clock"
    truth, expected = outcome(net, loss, spike_times, reference)
    result, gradients = outcome(net, loss, spike_times, "native")
    assert truth.spike_counts["hidden"].sum() >= 6
    assert np.array_equal(result.spike_counts["hidden"], truth.spike_counts["hidden"])
    np.testing.assert_allclose(result.loss, truth.loss, rtol=1e-9)
    for name, gradient in expected.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-8, atol=1e-12, err_msg=name)
