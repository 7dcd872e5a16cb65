"""Losses: gradients against central differences, silent outputs, predictions, and what is refused."""

import numpy as np
import pytest

from genn_eventprop import Network, NeuronModel, losses
from genn_eventprop.errors import LossError
from genn_eventprop.losses import Loss
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF

T = 60.0


def outputs(model=LIF, size=4):
    return Network().population(model(), size, name="output")


LOSSES = {
    "exponential": lambda: losses.FirstSpikeCrossEntropy(outputs(), tau0=4.0, tau1=20.0, alpha=0.1),
    "inverse": lambda: losses.FirstSpikeCrossEntropy(outputs(), tau0=4.0, alpha=3.0, form="inverse"),
    "exponential end": lambda: losses.FirstSpikeCrossEntropy(outputs(), tau0=4.0, tau1=20.0, silent="end"),
    "inverse end": lambda: losses.FirstSpikeCrossEntropy(outputs(), tau0=4.0, form="inverse", silent="end"),
    "max": lambda: losses.MaxVoltageCrossEntropy(outputs(LI)),
    "integral": lambda: losses.IntegratedVoltageCrossEntropy(outputs(LI), "exponential"),
    "own": lambda: Loss(outputs(), "first_spike", "constant", "log(1 + r)", "k * sin(r / T)", {"k": 0.3}),
}


def batch(loss, seed=0, silent=0.3):
    rng = np.random.default_rng(seed)
    B, K = 40, loss.n_classes
    times = loss.readout == "first_spike"
    valid = rng.random((B, K)) > silent if times else np.ones((B, K), bool)
    r = np.where(valid, rng.uniform(5.0, 50.0, (B, K)), T) if times else rng.normal(0.0, 1.0, (B, K))
    return r, valid, rng.integers(0, K, B)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_equals_central_differences(name):
    loss = LOSSES[name]()
    r, valid, labels = batch(loss)
    value, gradient = loss.evaluate(r, valid, labels, T)
    assert value.shape == (40,) and gradient.shape == r.shape
    h = 1e-5
    for c in range(loss.n_classes):
        step = np.where(valid[:, c], h, 0.0)[:, None] * (np.arange(loss.n_classes) == c)
        difference = (loss.evaluate(r + step, valid, labels, T)[0] - loss.evaluate(r - step, valid, labels, T)[0]) / (
            2 * h
        )
        np.testing.assert_allclose(np.where(valid[:, c], gradient[:, c], 0.0), difference, atol=2e-9)
    assert np.abs(gradient).max() > 1e-3


def test_values_are_those_of_the_papers():
    """-log softmax(-t / tau0)_y + alpha (exp(t_y / tau1) - 1), or + alpha / (1.01 T - t_y); voltages likewise."""
    t, valid, y = np.array([[10.0, 12.0, 9.0, 30.0]]), np.ones((1, 4), bool), np.array([1])
    p = np.exp(-t[0] / 0.5) / np.exp(-t[0] / 0.5).sum()
    value = losses.FirstSpikeCrossEntropy(outputs()).evaluate(t, valid, y, T)[0]
    np.testing.assert_allclose(value, -np.log(p[1]) + 3e-3 * (np.exp(12.0 / 6.4) - 1), rtol=1e-13)
    value = losses.FirstSpikeCrossEntropy(outputs(), form="inverse").evaluate(t, valid, y, T)[0]
    np.testing.assert_allclose(value, -np.log(p[1]) + 3e-3 / (1.01 * T - 12.0), rtol=1e-13)
    v = np.array([[0.3, -0.2, 1.1, 0.0]])
    for make in (losses.MaxVoltageCrossEntropy, losses.IntegratedVoltageCrossEntropy):
        value, gradient = make(outputs(LI)).evaluate(v, valid, y, T)
        q = np.exp(v) / np.exp(v).sum()
        np.testing.assert_allclose(value, -np.log(q[0, 1]), rtol=1e-13)
        np.testing.assert_allclose(gradient, q - np.eye(4)[y], rtol=1e-13)


def test_large_scores_do_not_overflow():
    v, valid = np.array([[1e4, -1e4, 0.0, 1e4]]), np.ones((1, 4), bool)
    value, gradient = losses.MaxVoltageCrossEntropy(outputs(LI)).evaluate(v, valid, np.array([1]), T)
    np.testing.assert_allclose(value, 2e4 + np.log(2.0))
    np.testing.assert_allclose(gradient, [[0.5, -1.0, 0.0, 0.5]])
    late = np.array([[0.0, 1400.0, 700.0, 3.0]])
    value, gradient = losses.FirstSpikeCrossEntropy(outputs(), tau0=0.1).evaluate(late, valid, np.array([0]), 1400.0)
    assert np.isfinite(value).all() and np.isfinite(gradient).all()


def test_excluded_silent_outputs_leave_the_softmax():
    """Wunderlich & Pehle: three classes spoke, so three share the probability; a silent right class contributes 0."""
    loss = losses.FirstSpikeCrossEntropy(outputs(), tau0=2.0)
    t = np.array([[10.0, 12.0, T, 11.0], [10.0, T, 9.0, 11.0], [T, T, T, T]])
    valid = t < T
    value, gradient = loss.evaluate(t, valid, np.array([1, 1, 1]), T)
    three = loss.evaluate(t[:1, [0, 1, 3]], valid[:1, [0, 1, 3]], np.array([1]), T)
    np.testing.assert_allclose(value[0], three[0][0], rtol=1e-14)
    np.testing.assert_allclose(gradient[0, [0, 1, 3]], three[1][0], rtol=1e-14)
    assert gradient[0, 2] == 0.0
    assert value[1] == value[2] == 0.0 and not gradient[1:].any()


def test_silent_at_the_end_counts_as_t():
    """Loss shaping: a silent output has t = T in the softmax, and the silent right class keeps its term."""
    loss = losses.FirstSpikeCrossEntropy(outputs(), tau0=20.0, tau1=30.0, alpha=0.1, silent="end")
    t = np.array([[10.0, 12.0, 999.0, 11.0]])
    valid = t < T
    at_end = np.array([[10.0, 12.0, T, 11.0]])
    value, gradient = loss.evaluate(t, valid, np.array([2]), T)
    p = np.exp(-at_end[0] / 20.0) / np.exp(-at_end[0] / 20.0).sum()
    np.testing.assert_allclose(value, -np.log(p[2]) + 0.1 * (np.exp(T / 30.0) - 1), rtol=1e-13)
    np.testing.assert_allclose(gradient[0, :2], -p[:2] / 20.0, rtol=1e-12)


def test_the_push_is_the_slope_of_the_term_at_the_end():
    exponential = losses.FirstSpikeCrossEntropy(outputs(), tau1=6.4, alpha=3e-3, silent="end")
    inverse = losses.FirstSpikeCrossEntropy(outputs(), alpha=3.0, form="inverse", silent="end")
    r, valid, y = np.array([[9.0, T, T, 30.0]] * 2), np.array([[True, False, False, True]] * 2), np.array([1, 0])
    of_right = np.array([[0, 1, 0, 0], [0, 0, 0, 0]])  # only a silent right class is pushed
    np.testing.assert_allclose(exponential.push(r, valid, y, T), 3e-3 / 6.4 * np.exp(T / 6.4) * of_right, rtol=1e-13)
    np.testing.assert_allclose(inverse.push(r, valid, y, T), 3.0 / (0.01 * T) ** 2 * of_right, rtol=1e-12)


def test_predictions():
    first = losses.FirstSpikeCrossEntropy(outputs())
    t = np.array([[10.0, 9.0, T, 20.0], [T, T, T, 50.0], [T, T, T, T]])
    np.testing.assert_array_equal(first.predict(t, t < T, T), [1, 3, -1])
    end = losses.FirstSpikeCrossEntropy(outputs(), silent="end")
    np.testing.assert_array_equal(end.predict(t, t < T, T), [1, 3, -1])
    v = np.array([[-1.0, -3.0, -0.5, -2.0]])
    np.testing.assert_array_equal(losses.MaxVoltageCrossEntropy(outputs(LI)).predict(v, v < 9.0, T), [2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.FirstSpikeCrossEntropy(outputs(LI)), r"first-spike loss needs spikes, but 'output' .* LI"),
        (lambda: losses.MaxVoltageCrossEntropy(outputs()), r"needs an output that cannot spike; 'output'.*use LI\(\)"),
        (lambda: losses.FirstSpikeCrossEntropy(outputs(), form="linear"), r"form='linear': choose one of exponential"),
        (lambda: losses.FirstSpikeCrossEntropy(outputs(), tau0=0.0), r"tau0 and tau1 must be positive times in ms"),
        (lambda: losses.FirstSpikeCrossEntropy(outputs(), tau1=-6.4), r"tau0 and tau1 must be positive times in ms"),
        (lambda: losses.FirstSpikeCrossEntropy(outputs(), alpha=np.nan), r"constant alpha must be finite, got nan"),
        (lambda: losses.FirstSpikeCrossEntropy(outputs(), silent="ignore"), r"silent='ignore': choose 'exclude'"),
        (lambda: losses.IntegratedVoltageCrossEntropy(outputs(LI), "expo"), r"unknown symbol 'expo'.*one of constant"),
        (lambda: Loss(outputs(), "spikes"), r"unknown readout 'spikes' \(.*known: count, end, first_spike"),
        (lambda: Loss(outputs(), "integral", score="r / tau"), r"loss score: unknown symbol 'tau'"),
        (lambda: Loss(outputs(), "integral", term="import os"), r"loss term: 'import os' is not an expression"),
        (lambda: Loss(outputs(), "integral", constants={"T": 1.0}), r"loss constant 'T': .*another name"),
        (lambda: Loss(outputs(), "integral", constants={"dt": 1.0}), r"loss constant 'dt': .*another name"),
        (lambda: Loss(outputs(), "integral", constants={"r": 1.0}), r"loss constant 'r': .*another name"),
        (lambda: Loss(outputs(), "integral", constants={"tau 0": 1.0}), r"loss constant 'tau 0': .*another name"),
    ],
)  # fmt: skip
def test_wrong_losses_say_what_and_where(make, message):
    with pytest.raises(LossError, match=message):
        make()


def test_losses_need_the_state_that_they_read():
    silent = NeuronModel("Odd", {"U": 0.0}, {}, {"U": "-U"}, "U - 1", {"U": 0}, readout="V")
    with pytest.raises(LossError, match="'output': Odd has no state 'V' to read"):
        losses.IntegratedVoltageCrossEntropy(outputs(silent))
    with pytest.raises(LossError, match="pushes V by tau_mem, which Odd does not have; use silent='exclude'"):
        losses.FirstSpikeCrossEntropy(outputs(silent), silent="end")
    assert losses.FirstSpikeCrossEntropy(outputs(silent)).n_classes == 4


def test_outer_loss_in_sympy_or_as_a_function():
    import sympy as sp

    r0, y0, t, T_ = sp.symbols("r0 y0 t T")
    given = losses.OwnLoss(outputs(LI), "integral", (r0 - y0) ** 2, weight=sp.exp(-2 * t / T_))
    text = losses.OwnLoss(outputs(LI), "integral", "(r0 - y0)**2", weight="exp(-2 * t / T)")
    values = [loss.evaluate(*batch(loss), T) for loss in (given, text)]
    np.testing.assert_array_equal(values[0][0], values[1][0])
    np.testing.assert_array_equal(values[0][1], values[1][1])
    assert sp.simplify(given.weight.expr - text.weight.expr) == 0
    bare = losses.OwnLoss(outputs(LI), "end", lambda r, y: ((r**2).sum(1), 2 * r))
    assert bare.outer.compares == "labels"
    with pytest.raises(LossError, match="must return arrays of numbers"):
        words = losses.OwnLoss(outputs(LI), "end", lambda r, y: (["a"] * len(r), r))
        words.evaluate(*batch(words), T)
    with pytest.raises(LossError, match="a loss that is not finite"):  # and no warning of NumPy
        log = losses.OwnLoss(outputs(LI), "end", "log(r0)")
        log.evaluate(*batch(log), T)
