"""One step of dt between events in NumPy float64: exact, Runge-Kutta or exponential Euler.

Formulas: docs/equations.md, section 6, "Nonlinear dynamics". `adjoint/scheme.py` says which states are propagated
exactly (z) and how the others (y) are stepped. Axis letters: B samples, n states, N neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from ...adjoint import Derived, Propagator
from ...adjoint.propagator import numeric
from ...adjoint.scheme import linear_part
from ...modelling.removable import NUMPY
from ...plan import PopulationRecord

phi1 = NUMPY["phi1"]


class Step:
    """The step of one population in one of its modes.

    Args:
        record: the population. mode: index into `Derived.modes`. values: parameter -> (1,) or (N,). dt: ms.
    """

    def __init__(self, record: PopulationRecord, mode: int, values: Mapping[str, np.ndarray], dt: float) -> None:
        d, field = record.derived, record.derived.modes[mode]
        self.d, self.dt, self.values = d, dt, [values[n] for n in d.params]
        self.scheme = d.scheme
        # z: states whose equations are linear in themselves and need no other state, so P steps them exactly; y: the
        # rest
        self.z = list(record.exact_states)
        self.y = [i for i in range(len(d.states)) if i not in self.z]
        part = linear_part(d, field, record.exact_states)
        self._f, self._J = map(self._function, _functions(d, mode).values())
        propagate, n = Propagator(part, values), len(self.z) + 1

        def of_each(matrices: np.ndarray) -> np.ndarray:
            return np.broadcast_to(matrices, (record.size, n, n))

        # stages need z at the middle and the end of the step
        self.P, self.PH = of_each(propagate(dt)), of_each(propagate(dt / 2))

    def _function(self, evaluate: Callable[..., np.ndarray]) -> Any:
        def at(x: np.ndarray) -> np.ndarray:
            """x (B, n, N) -> (rows, cols, B, N)."""
            out = evaluate(*(x[:, i] for i in range(x.shape[1])), *self.values)
            return np.moveaxis(out, (-2, -1), (0, 1))

        return at

    def _propagate(self, P: np.ndarray, x: np.ndarray) -> np.ndarray:
        """z part of x after P (N, nz + 1, nz + 1): (B, nz, N)."""
        n = len(self.z)
        return np.einsum("sij,bjs->bis", P[:, :n, :n], x[:, self.z]) + P[:, :n, n].T

    def _join(self, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        x = np.zeros((y.shape[0], len(self.y) + len(self.z), y.shape[2]))
        x[:, self.y], x[:, self.z] = y, z
        return x

    def _field(self, x: np.ndarray) -> np.ndarray:
        """f of the y states, (B, ny, N)."""
        return self._f(x)[self.y, 0].swapaxes(0, 1)

    def stages(self, x: np.ndarray) -> list[np.ndarray]:
        """States (B, n, N) at which f is evaluated in a step from x: none, one (its middle), or four."""
        if not self.y:
            return []
        y, h = x[:, self.y], self.dt
        middle = self._propagate(self.PH, x)
        if self.scheme == "exponential_euler":
            return [self._join(y, middle)]
        one = self._join(y, x[:, self.z])
        two = self._join(y + h / 2 * self._field(one), middle)
        three = self._join(y + h / 2 * self._field(two), middle)
        return [one, two, three, self._join(y + h * self._field(three), self._propagate(self.P, x))]

    def advance(self, x: np.ndarray) -> np.ndarray:
        """Phi(x), (B, n, N)."""
        z, stages = self._propagate(self.P, x), self.stages(x)
        y = x[:, self.y]
        if len(stages) == 4:
            k = [self._field(s) for s in stages]
            y = y + self.dt / 6 * (k[0] + 2 * k[1] + 2 * k[2] + k[3])
        elif stages:
            y = y + self.dt * phi1(self.dt * self._diagonal(stages[0])) * self._field(stages[0])
        return self._join(y, z)

    def _diagonal(self, x: np.ndarray) -> np.ndarray:
        J = self._J(x)
        return np.stack([J[i, i] for i in self.y], axis=1)


@lru_cache(maxsize=256)
def _functions(d: Derived, mode: int) -> dict[str, Callable[..., np.ndarray]]:
    """f and its Jacobian J, compiled once a model."""
    field = d.modes[mode]
    return {name: numeric(matrix, (*d.x, *d.p)) for name, matrix in (("f", field.f), ("J", field.df_dx))}
