"""A model as GeNN-style code snippets, forward and adjoint: what `genn-eventprop show` prints, and what hand-written code
is checked against. Engines take the same equations as statements of `program`.

Names inside the snippets: the model's states and parameters, ``lambda_<state>`` for the adjoint, ``P_<i>_<j>`` and
``c_<i>`` for the exact propagator over dt and ``Q_<receptor>_<i>`` for -A e (numbers computed on the host), ``dl_dt`` for dL/dt_k plus all feedback D,
``inv_gdot`` for 1 / gdot, ``grad_<param>`` for parameter gradients.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import sympy as sp

from ..adjoint import Derived
from ..modelling.expressions import symbol
from ..modelling.handwritten import plain
from ..plan.coefficients import feedback_symbols, has_exact_step, propagator, propagator_derivative
from .printer import GENN, Dialect, assignments, expression
from .step_text import StepText, pick, step_text


@dataclass(frozen=True)
class Snippets:
    """Text of one model in one dialect.

    sim_code: one step forwards. threshold: g; threshold_condition_code: g >= 0. reset_code: at a spike.
    adjoint_sim_code: one step backwards. adjoint_jump_code: at a spike, with the states in `jump_states` from right
    before it. feedback: receptor -> q with D = w q for an arrival of weight w. direction: receptor -> lambda . e, the
    gradient of a unit weight. stages: where f is not linear, code that parameter_rates and adjoint_sim_code build on; it
    reads the states at the start of the step and lambda at its end. parameter_rates: parameter -> what one step adds to its gradient. jump_gradients: code
    that adds to ``grad_<param>`` at a spike, before the jump changes lambda.
    """

    model: str
    dialect: str
    states: tuple[str, ...]
    params: tuple[str, ...]
    sim_code: str
    threshold: str
    threshold_condition_code: str
    reset_code: str
    adjoint_sim_code: str
    adjoint_jump_code: str
    jump_states: tuple[str, ...]
    feedback: dict[str, str]
    direction: dict[str, str]
    parameter_rates: dict[str, str]
    jump_gradients: dict[str, str]
    stages: str = ""

    def sections(self) -> list[tuple[str, str]]:
        """(title, code) in reading order, for `genn-eventprop show` and the golden files."""
        parts = [
            ("sim_code", self.sim_code), ("threshold_condition_code", self.threshold_condition_code),
            ("reset_code", self.reset_code), ("adjoint_sim_code, stages", self.stages),
            ("adjoint_sim_code", self.adjoint_sim_code),
            ("adjoint_jump_code", self.adjoint_jump_code),
        ]  # fmt: skip
        parts += [(f"feedback of receptor {r}: D = w *", code) for r, code in self.feedback.items()]
        parts += [(f"weight gradient of receptor {r}: dL/dw +=", code) for r, code in self.direction.items()]
        parts += [(f"gradient of {n}, each step: +=", code) for n, code in self.parameter_rates.items()]
        parts += [(f"gradient of {n}, each spike: +=", code) for n, code in self.jump_gradients.items()]
        return [(title, code) for title, code in parts if code]


def derive_snippets(d: Derived, dialect: Dialect = GENN, learned: tuple[str, ...] | None = None) -> Snippets:
    """Snippets of a model; a step that is not an exact propagator comes from `step_text`.

    Args:
        learned: parameters to write gradients for; all of them if None.
    """
    learned = d.params if learned is None else learned
    lam = sp.Matrix([symbol(f"lambda_{s}") for s in d.states])
    step = _linear_step(d, lam, dialect, learned) if has_exact_step(d) else step_text(d, dialect, learned)
    event = d.events[0] if d.events else None
    jump, gradients, reset, g = "", {}, "", ""
    if event is not None:
        g = expression(event.g, dialect)
        reset = assignments(dict(zip(d.states, event.h)), dialect)
        rate = (symbol("dl_dt") + lam.dot(event.a)) * symbol("inv_gdot")
        after = event.dh_dx.T * lam - event.dg_dx * rate
        jump = assignments(dict(zip((str(v) for v in lam), after)), dialect)
        for i, n in enumerate(d.params):
            change = lam.dot(event.dh_dp[:, i]) - event.dg_dp[i] * rate
            if n in learned and change != 0:
                gradients[n] = expression(change, dialect)
    derived = Snippets(
        model=d.model.name, dialect=dialect.name, states=d.states, params=d.params,
        sim_code=step.forward,
        threshold=g, threshold_condition_code=f"{g} >= {expression(sp.Integer(0), dialect)}" if g else "",
        reset_code=reset,
        stages=step.stages, adjoint_sim_code=step.adjoint,
        adjoint_jump_code=jump, jump_states=tuple(str(s) for s in event.jump_states(d.x)) if event else (),
        feedback={r: feedback_text(d, r, lam, dialect) for r in d.receptors},
        direction={r: expression(e.dot(lam), dialect) for r, e in d.receptors.items()},
        parameter_rates=step.rates, jump_gradients=gradients,
    )  # fmt: skip
    return _with_handwritten(d, derived, dialect)


def _linear_step(d: Derived, lam: sp.Matrix, dialect: Dialect, learned: tuple[str, ...]) -> StepText:
    P, c = propagator(d)
    return StepText(
        forward=assignments(dict(zip(d.states, P * sp.Matrix(d.x) + c)), dialect), stages="",
        rates={n: expression(_rate(d, n, lam), dialect) for n in learned if n in d.dynamic_params},
        adjoint=assignments(dict(zip((str(v) for v in lam), P.T * lam)), dialect),
    )  # fmt: skip


def feedback_text(d: Derived, receptor: str, lam: sp.Matrix, dialect: Dialect) -> str:
    """-(df/dx e) . lambda in the neuron's mode; it may use the states at the arrival, after it."""
    if has_exact_step(d):
        return expression(feedback_symbols(d, receptor).dot(lam), dialect)
    return pick([-(m.df_dx * d.receptors[receptor]).dot(lam) for m in d.modes], dialect)


def _with_handwritten(d: Derived, derived: Snippets, dialect: Dialect) -> Snippets:
    """Hand-written code in place of the derived one; dt in it has the dialect's name."""
    written = {n: re.sub(r"\bdt\b", dialect.step, plain(code)) for n, code in d.model.snippets.items()}
    if "adjoint_jump_code" in written:
        # it may read other states than the derived jump does
        used = set(
            re.findall(r"[A-Za-z_]\w*", " ".join([written["adjoint_jump_code"], *derived.jump_gradients.values()]))
        )
        derived = replace(derived, jump_states=tuple(s for s in d.states if s in used))
    return replace(derived, **written)  # type: ignore[arg-type]


def _rate(d: Derived, param: str, lam: sp.Matrix) -> sp.Expr:
    """lambda^T (dP/dparam x + dc/dparam) with the coefficients of `plan.coefficients`; x from the step's start."""
    dP, dc = propagator_derivative(d, param)
    total = sp.Integer(0)
    for i in range(len(d.states)):
        for j in range(len(d.states)):
            total += lam[i] * dP[i, j] * d.x[j]
        total += lam[i] * dc[i]
    return total
