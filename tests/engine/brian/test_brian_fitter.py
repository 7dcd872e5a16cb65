"""Fits with the interface of brian2modelfitting, to data that Brian made."""

from __future__ import annotations

import numpy as np
import pytest

from genn_eventprop.errors import SettingError
from support.extras import needs

b2 = needs("brian2")
from brian2 import Equations, ms, mV, nA, nF, nS  # noqa: E402

from genn_eventprop.interop.brian import GammaFactor, MSEMetric, SpikeFitter, TraceFitter  # noqa: E402

EL, VT, leak = -70 * mV, -50 * mV, 2 * mV
MODEL = """
dv/dt = (gL * (EL - v) + I) / C : volt
gL : siemens (constant)
C : farad (constant)
"""
STEPS = np.repeat([[0.0, 1.0, 0.2], [0.0, 1.6, 0.0]], 200, axis=1) * nA
SPIKING = {"threshold": "v > VT", "reset": "v = EL - leak", "param_init": {"v": "EL"}}
TRUE = {"gL": 30 * nS, "C": 0.5 * nF}
BOUNDS = {"gL": [10 * nS, 90 * nS], "C": [0.1 * nF, 2 * nF]}


@pytest.fixture(autouse=True)
def _numpy_target():
    b2.prefs.codegen.target = "numpy"
    yield


def spike_fitter(**settings):
    fitter = SpikeFitter(
        MODEL, {"I": STEPS}, [[], []], 0.1 * ms, n_samples=9, **{**SPIKING, "method": "exact", **settings}
    )
    fitter.output = [np.asarray(t) for t in fitter.generate_spikes(TRUE)]
    return fitter


def test_spikes_are_fitted_with_few_simulations():
    fitter = spike_fitter()
    best, error = fitter.fit(metric=GammaFactor(delta=1 * ms), n_rounds=3, callback=None, **BOUNDS)
    assert error == 0 and fitter.simulations < 400
    assert [len(t) for t in fitter.generate_spikes()] == [len(t) for t in fitter.output]
    assert abs(best["C"] / TRUE["C"] - 1) < 0.05 and b2.have_same_dimensions(best["gL"], nS)
    rows, columns = fitter.results(), fitter.results("dict", use_units=False)
    assert rows[0].keys() == {"gL", "C", "error"} and len(columns["error"]) == len(rows)


@pytest.mark.parametrize("spikes", [False, True], ids=["passive", "spiking"])
def test_traces_are_fitted(spikes, capsys):
    more = {**SPIKING, "method": "exact"} if spikes else {"method": "exponential_euler", "param_init": {"v": EL}}
    zero = {"v": np.zeros(STEPS.shape) * mV} | ({"spikes": [[], []]} if spikes else {})
    fitter = TraceFitter(Equations(MODEL), {"I": STEPS}, zero, 0.1 * ms, n_samples=6, **more)
    fitter.output["v"] = fitter.generate("v", TRUE)
    if spikes:
        fitter.output["spikes"] = fitter.generate("spikes", TRUE)
    best, error = fitter.fit(None, MSEMetric(t_start=1 * ms), **BOUNDS)
    assert capsys.readouterr().out.startswith("Round 0: best parameters C=")
    near = 0.02 if spikes else 1e-6  # Brian's spikes are late by up to a step, and so is V after them
    assert all(abs(best[n] / TRUE[n] - 1) < near for n in TRUE)
    traces = fitter.generate_traces()
    assert traces.shape == STEPS.shape and b2.have_same_dimensions(traces, mV)
    mean = float(np.mean(np.asarray(traces - fitter.output["v"])[:, 10:] ** 2))
    np.testing.assert_allclose(float(error), mean, rtol=1e-6, atol=1e-20)


def test_the_metrics_are_those_of_the_documentation():
    gamma = GammaFactor(delta=2 * ms)
    data = [np.array([0.01, 0.05, 0.09])]
    exact, late, none = ([data], [[data[0] + 0.0019]], [[np.empty(0)]])
    assert gamma.errors(exact, data, 0.1)[0] == pytest.approx(0) == pytest.approx(gamma.errors(late, data, 0.1)[0])
    rate = 30.0  # no spike at all: 1 + 2, and what chance would give
    chance = 2 * 0.002 * 3 * rate / (0.5 * (1 - 2 * 0.002 * rate) * 3)
    assert gamma.errors(none, data, 0.1)[0] == pytest.approx(3 + chance)
    assert MSEMetric(t_start=0.2 * ms, normalization=2.0).errors(np.full((1, 1, 4), 6.0), np.zeros((1, 4)), 1e-4) == 9.0


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"gL": [1 * nS, 2 * nS]}, "give bounds for the parameter 'C'"),
        ({**BOUNDS, "tau": [1 * ms, 2 * ms]}, "the model has no parameter 'tau' to fit"),
        ({**BOUNDS, "C": [1 * nS, 2 * nS]}, "the bounds of 'C' have another unit than the model, farad"),
        ({**BOUNDS, "C": [2 * nF, 1 * nF]}, "must be \\[low, high\\]"),
        ({**BOUNDS, "optimizer": "DE"}, "has its own optimiser"),
        ({**BOUNDS, "metric": MSEMetric()}, "is a GammaFactor"),
        ({**BOUNDS, "callback": "words"}, "callback is 'text'"),
    ],
)
def test_what_a_fit_cannot_use_is_named(arguments, message):
    fitter = SpikeFitter(MODEL, {"I": STEPS}, [[], []], 0.1 * ms, **SPIKING)
    with pytest.raises(SettingError, match=message):
        fitter.fit(**arguments)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"input": STEPS}, "input is a dictionary of one variable"),
        ({"output": {"v": STEPS[:1]}}, "output 'v' has the shape"),
        ({"output": {"w": STEPS}}, "the model has no variable 'w'"),
        ({"output": {"v": STEPS, "m": STEPS}}, "output is a dictionary of one variable"),
        ({"threshold": "v > VT", "reset": "v = EL"}, "add them to output="),
        ({"param_init": {"u": 3}}, "the model has no variable 'u'"),
    ],
)
def test_what_a_fitter_cannot_use_is_named(change, message):
    settings = {"input": {"I": STEPS}, "output": {"v": np.zeros(STEPS.shape) * mV}, "dt": 0.1 * ms, **change}
    with pytest.raises(SettingError, match=message):
        TraceFitter(MODEL, **settings)


def test_refine_goes_on_from_given_parameters(capsys):
    """By runs of Brian, without a fit before it; after one its bounds and its best parameters are taken."""
    model = "dv/dt = (I - v) / tau : 1\ntau : second (constant)"
    drive = np.repeat([[0.0, 1.0, 0.0]], 100, axis=1)
    fitter = TraceFitter(model, {"I": drive}, {"v": drive}, 0.1 * ms, method="exponential_euler")
    fitter.output["v"] = fitter.generate("v", params={"tau": 7 * ms}).reshape(1, -1)
    with pytest.raises(SettingError, match="give bounds for the parameter 'tau'"):
        fitter.refine({"tau": 9 * ms})
    best, error = fitter.refine({"tau": 9 * ms}, tau=[1 * ms, 50 * ms], calc_gradient=True)
    assert float(best["tau"] / ms) == pytest.approx(7, rel=1e-6) and error < 1e-12
    assert capsys.readouterr().out.startswith("Refined: tau=7")
    again, _ = fitter.refine(t_start=5 * ms, callback=None)
    assert float(again["tau"] / ms) == pytest.approx(7, rel=1e-6) and len(fitter.results()) == 2


def test_nothing_fitted_nothing_generated():
    with pytest.raises(SettingError, match="nothing has been fitted yet"):
        SpikeFitter(MODEL, {"I": STEPS}, [[], []], 0.1 * ms, **SPIKING).generate_spikes()
