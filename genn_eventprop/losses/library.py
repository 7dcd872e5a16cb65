"""The losses by name."""

from __future__ import annotations

from ..errors import LossError
from ..modelling.network import Population
from .loss import Loss
from .readout import TimeWeight


def FirstSpikeCrossEntropy(
    population: Population,
    *,
    tau0: float = 0.5,
    tau1: float = 6.4,
    alpha: float = 3e-3,
    form: str = "exponential",
    silent: str = "exclude",
) -> Loss:
    """Cross-entropy of first spike times t_c: L = -log softmax(-t / tau0)_y + extra(t_y).

    Args:
        tau0: ms, sharpness of the softmax.
        tau1: ms, of the exponential extra term.
        alpha: strength of the extra term, which pulls the right class's spike to the front.
        form: "exponential": alpha (exp(t_y / tau1) - 1) (Wunderlich & Pehle 2021, equation 9; `first_spike_exp`);
            "inverse": alpha / (1.01 T - t_y) (Nowotny, Turner, Knight 2025; `first_spike`).
        silent: see `Loss`.
    """
    terms = {"exponential": "alpha * (exp(r / tau1) - 1)", "inverse": "alpha / (1.01 * T - r)"}
    if form not in terms:
        raise LossError(f"form={form!r}: choose one of {', '.join(terms)}")
    if not (tau0 > 0 and tau1 > 0):
        raise LossError(f"tau0 and tau1 must be positive times in ms, got {tau0} and {tau1}")
    constants = {"tau0": tau0, "alpha": alpha} | ({"tau1": tau1} if form == "exponential" else {})
    return Loss(
        population, "first_spike", score="-r / tau0", term=terms[form], constants=constants, silent=silent
    )  # fmt: skip


def MaxVoltageCrossEntropy(population: Population) -> Loss:
    """Cross-entropy of the maxima over time, r_c = max_t V_c(t); Wunderlich & Pehle 2021, equation 11 (`max`)."""
    return Loss(population, "max")


def IntegratedVoltageCrossEntropy(population: Population, weight: str | TimeWeight = "constant") -> Loss:
    """Cross-entropy of weighted integrals, r_c = 1/T int_0^T w(t) V_c(t) dt (`sum`, `sum_weigh_*`).

    Args:
        weight: w(t): "constant", "linear", "exponential", "sigmoid", or an expression in t and T.

    Source: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852, table 1.
    """
    return Loss(population, "integral", weight=weight if isinstance(weight, TimeWeight) else TimeWeight(weight))
