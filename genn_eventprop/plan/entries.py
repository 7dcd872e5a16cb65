"""Names of the numbers in a step: entries of the exact part's propagators over dt and dt / 2, in every mode.

In mode "free" P_V_I is the entry of P(dt) that takes I to V, c_V the constant part, PH_V_I and cH_V those of half a
step, dP_tau_mem_V_I their derivatives. In mode number 2 they are P2_V_I, c2_V, PH2_V_I ... Rows of a mode that are
those of mode "free" have the same names, so that they are computed and stored once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import sympy as sp

from ..adjoint import Derived
from ..adjoint.scheme import LinearPart, exact_part, linear_part
from ..modelling.expressions import symbol

HALF = "H"


@dataclass(frozen=True)
class Entry:
    """One named number: of mode `mode`, span "" (dt) or "H" (dt / 2), row i, column j (None: the constant part).

    param: differentiated by it, if not None.
    """

    name: str
    mode: int
    span: str
    i: int
    j: int | None
    param: str | None = None


def is_plain(d: Derived) -> bool:
    """True if a step is one exact propagator: linear dynamics and no modes."""
    return len(d.modes) == 1 and len(exact_part(d)) == len(d.states)


@lru_cache(maxsize=256)
def parts(d: Derived) -> tuple[LinearPart, ...]:
    """The exact part in every mode."""
    kept = exact_part(d)
    return tuple(linear_part(d, m, kept) for m in d.modes)


def propagator(d: Derived, mode: int = 0, span: str = "") -> tuple[sp.Matrix, sp.Matrix]:
    """P (n, n) and c (n,) of the exact part as symbols, 0 where one state cannot reach another, 1 where it stands."""
    part = parts(d)[mode]
    n = len(part.states)
    P, c = sp.zeros(n, n), sp.zeros(n, 1)
    for i, s in enumerate(part.states):
        m = "" if _same_row(d, mode, i) else str(mode)
        if not any(part.A[i, :]) and part.b[i] == 0:
            P[i, i] = 1
            continue
        for j, r in enumerate(part.states):
            if part.coupling[i][j]:
                P[i, j] = symbol(f"P{span}{m}_{s}_{r}")
        if any(part.coupling[i][j] and part.b[j] != 0 for j in range(n)):
            c[i] = symbol(f"c{span}{m}_{s}")
    return P, c


def derivative(d: Derived, param: str, mode: int = 0, span: str = "") -> tuple[sp.Matrix, sp.Matrix]:
    """dP/dparam (n, n) and dc/dparam (n,) as symbols, 0 where they vanish."""
    part = parts(d)[mode]
    pattern, constant = derivative_pattern(part, param)
    n = len(part.states)
    dP, dc = sp.zeros(n, n), sp.zeros(n, 1)
    for i, s in enumerate(part.states):
        m = "" if _same_row(d, mode, i) else str(mode)
        for j, r in enumerate(part.states):
            if pattern[i][j]:
                dP[i, j] = symbol(f"dP{span}{m}_{param}_{s}_{r}")
        if constant[i]:
            dc[i] = symbol(f"dc{span}{m}_{param}_{s}")
    return dP, dc


@lru_cache(maxsize=256)
def entries(d: Derived, learned: tuple[str, ...]) -> tuple[Entry, ...]:
    """Every named number of a step, in a fixed order; `learned`: parameters to differentiate by."""
    found: dict[str, Entry] = {}
    spans = ("",) if len(exact_part(d)) == len(d.x) else ("", HALF)
    for mode in range(len(d.modes)):
        for span in spans:
            for param in (None, *(n for n in learned if n in parts(d)[mode].dynamic_params)):
                P, c = propagator(d, mode, span) if param is None else derivative(d, param, mode, span)
                for i in range(P.rows):
                    for j in range(P.cols):
                        if P[i, j].is_Symbol:
                            found.setdefault(str(P[i, j]), Entry(str(P[i, j]), mode, span, i, j, param))
                for i in range(P.rows):
                    if c[i].is_Symbol:
                        found.setdefault(str(c[i]), Entry(str(c[i]), mode, span, i, None, param))
    return tuple(sorted(found.values(), key=lambda e: (e.mode, e.span, e.param is not None)))


def _same_row(d: Derived, mode: int, i: int) -> bool:
    """Whether state i moves in `mode` as it does in mode "free"."""
    free, here = parts(d)[0], parts(d)[mode]
    reached = [j for j in range(len(free.states)) if free.coupling[i][j] or here.coupling[i][j]]
    return all(free.A[j, :] == here.A[j, :] and free.b[j] == here.b[j] for j in reached)


def derivative_pattern(part: LinearPart, param: str) -> tuple[list[list[bool]], list[bool]]:
    """Where dP/dparam (n, n) and dc/dparam (n,) can be non-zero: i reaches k, dA_kl != 0, l reaches j."""
    p = part.p[part.params.index(param)]
    n, reach = len(part.states), part.coupling
    touched = [[part.A[k, l].diff(p) != 0 for l in range(n)] for k in range(n)]
    db = [v.diff(p) != 0 for v in part.b]
    pattern = [
        [any(reach[i][k] and touched[k][l] and reach[l][j] for k in range(n) for l in range(n)) for j in range(n)]
        for i in range(n)
    ]
    constant = [
        any(pattern[i][j] and part.b[j] != 0 for j in range(n)) or any(reach[i][k] and db[k] for k in range(n))
        for i in range(n)
    ]
    return pattern, constant


def feedback_symbols(d: Derived, receptor: str) -> sp.Matrix:
    """-A e (n,) as symbols, zero where it is."""
    q = d.A * d.receptors[receptor]
    return sp.Matrix([symbol(f"Q_{receptor}_{s}") if v != 0 else 0 for s, v in zip(d.states, q)])
