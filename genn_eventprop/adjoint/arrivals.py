"""What an arrival changes in the dynamics: f(x - w e) - f(x), which D of the arrival is made of (docs/equations.md).

Where f is a polynomial along the receptor's direction e this is a sum over powers of the weight,

    f(x - w e) - f(x) = sum over k of w^k (-1)^k / k! (e . d/dx)^k f(x),

so that a spike forms its D from one adjoint row of the target for each power, where f is linear from a single one. The
expansion is around the state x behind the arrivals, since a step starts there and the backward pass knows it. Other f
are evaluated again at every synapse of a spike (`evaluated_change`), or `engines/contract/features.py` refuses them.
"""

from __future__ import annotations

from functools import lru_cache

import sympy as sp

from .derive import Derived

HIGHEST = 4  # power of a weight; every power costs a row


@lru_cache(maxsize=256)
def powers_along(d: Derived, receptor: str) -> tuple[int, ...] | None:
    """The powers of w in f(x - w e) - f(x), in any mode; None if it is no polynomial, or one beyond `HIGHEST`."""
    changes = [_changes(d, receptor, m) for m in range(len(d.modes))]
    if any(len(each) > HIGHEST for each in changes):
        return None
    longest = max(map(len, changes))
    return tuple(k + 1 for k in range(longest) if any(k < len(each) and any(each[k]) for each in changes))


def change_along(d: Derived, receptor: str, power: int) -> list[sp.Matrix]:
    """The factor of w^power in f(x - w e) - f(x) at the state x behind the arrival, (n,) in every mode."""
    changes = [_changes(d, receptor, m) for m in range(len(d.modes))]
    return [each[power - 1] if power <= len(each) else sp.zeros(len(d.states), 1) for each in changes]


def evaluated_change(d: Derived, receptor: str, weight: sp.Symbol) -> list[sp.Matrix]:
    """f(x - w e) - f(x) at the state x behind the arrival, (n,) in every mode, for any f."""
    before = dict(zip(d.x, sp.Matrix(d.x) - weight * d.receptors[receptor]))
    return [mode.f.subs(before, simultaneous=True) - mode.f for mode in d.modes]


def is_linear_along(d: Derived, receptor: str) -> bool:
    """Whether f(x - w e) - f(x) is linear in w in every mode."""
    powers = powers_along(d, receptor)
    return powers is not None and not set(powers) - {1}


@lru_cache(maxsize=4096)  # a model with other values of its parameters has the same expressions
def _vanishes(v: sp.Expr) -> bool:
    # cheap tests first: simplify takes seconds for long expressions
    return bool(v == 0 or sp.expand(v) == 0 or sp.simplify(v) == 0)


@lru_cache(maxsize=256)
def _changes(d: Derived, receptor: str, mode: int) -> tuple[sp.Matrix, ...]:
    """The factors of w, w^2, ...; one more than `HIGHEST` if there are more that are not zero."""
    e, factors = d.receptors[receptor], list[sp.Matrix]()
    factor = d.modes[mode].f
    for k in range(1, HIGHEST + 2):  # one beyond the highest: tells a polynomial from one that goes on
        factor = -(factor.jacobian(d.x) * e) / k
        if all(_vanishes(v) for v in factor):
            break
        factors.append(factor)
    return tuple(factors)
