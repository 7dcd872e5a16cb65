"""What `TimeWeight` of weights.h needs of the time weight of a loss, as a struct."""

from __future__ import annotations

from ..program.scope import Scope
from .printer import DOUBLE, expression
from .statements import constants, indent


def weight_struct(s: Scope, name: str, source: str, at: str, dt: str, mark: str = "", more: str = "") -> str:
    """The struct of the loss that reads a population.

    Args:
        source: declares the struct of the host's numbers, a parameter. at: what stands before these, such as "args.". dt: ms
            between knots, "" for none. mark: stands before functions. more: members besides.
    """
    loss, pre = s.plan.loss, s.of_loss
    driven = loss.weight.input_tau is not None
    doubles = {
        "opens": f"{at}{pre}window_start",
        "closes": f"{at}{pre}window_end",
        "T": f"{at}duration",
        "tiny": f"1e-12 * {at}duration",
    }
    doubles |= {n: f"{at}{pre}activity_{n}" for n in ("rate", "jump") if driven} | ({"dt": dt} if dt else {})
    body = more + constants("bool", {"driven": driven, "knots": bool(dt)})
    body += f"double {', '.join(doubles)};\nint64_t terms;  // coefficients of w\n"
    arguments = "[[maybe_unused]] double t, [[maybe_unused]] double T"
    body += f"{mark}static double w({arguments}) {{ return {expression(loss.weight.expr, DOUBLE, {})}; }}\n"
    body += f"{mark}static {name} of({source}) {{ return {{{', '.join(doubles.values())}, int64_t({at}{pre}series_size)}}; }}\n"
    return f"struct {name} {{\n{indent(body)}}};\n"
