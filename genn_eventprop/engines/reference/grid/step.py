"""One step of dt between events, forwards and transposed, in NumPy float64: exact, Runge-Kutta or exponential Euler.

Formulas: docs/equations.md, section 6, "Nonlinear dynamics".

`adjoint/scheme.py` says which states are propagated exactly (z) and how the others (y) are stepped. The adjoint is the
transpose of the same step, through its stages. Axis letters: B samples, n states, N neurons, p parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import sympy as sp

from ....adjoint import Derived, Propagator
from ....adjoint.propagator import numeric
from ....adjoint.scheme import linear_part
from ....modelling.removable import NUMPY
from ....plan import PopulationRecord

phi1, phi1_slope = NUMPY["phi1"], NUMPY["phi1_slope"]


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
        self.learned = [n for n in record.trainable if d.params.index(n) in _columns(field.df_dp)]
        compiled = _functions(d, mode)
        self._f, self._J, self._da = (self._function(compiled[name]) for name in ("f", "J", "da"))
        self._Fp, self._dap = (self._function(compiled[name]) if d.p else None for name in ("Fp", "dap"))
        propagate, n = Propagator(part, values), len(self.z) + 1

        def of_each(matrices: np.ndarray) -> np.ndarray:
            return np.broadcast_to(matrices, (record.size, n, n))

        # stages need z at the middle and the end of the step
        self.P, self.PH = of_each(propagate(dt)), of_each(propagate(dt / 2))
        learned = [n for n in self.learned if n in part.dynamic_params]
        self.dP = {name: of_each(propagate.step_derivative(name, dt)) for name in learned}
        self.dPH = {name: of_each(propagate.step_derivative(name, dt / 2)) for name in learned}

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

    def _transposed(self, P: np.ndarray, lam: np.ndarray) -> np.ndarray:
        """P^T lam for lam (B, nz, N): without the constant column, which does not depend on z."""
        n = len(self.z)
        return np.einsum("sij,bis->bjs", P[:, :n, :n], lam)

    def _by_param(self, dP: np.ndarray, lam: np.ndarray, x: np.ndarray) -> np.ndarray:
        """lam . (dP z + dc), (B, N)."""
        n = len(self.z)
        return np.einsum("bis,sij,bjs->bs", lam, dP[:, :n, :n], x[:, self.z]) + (lam * dP[:, :n, n].T).sum(1)

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

    def retreat(
        self, lam: np.ndarray, x: np.ndarray, source: np.ndarray | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """(dPhi/dx)^T lam and lam . dPhi/dp.

        Args:
            lam: (B, n, N) at the end of the step. x: (B, n, N) at its start.
            source: (stages, B, n, N) further derivatives by the states at the stages, for readouts.

        Returns:
            lambda at the start, and parameter -> (B, N), what the step adds to dL/dp.
        """
        z_lam = lam[:, self.z]
        # The transpose of this very step, stages computed anew from x: another discretisation of the adjoint equation
        # would not be the gradient of what ran, and would add an error to it.
        rates = {n: self._by_param(dP, z_lam, x) for n, dP in self.dP.items()}
        new = np.zeros_like(lam)
        new[:, self.z] = self._transposed(self.P, z_lam)
        stages = self.stages(x)
        if len(stages) == 4:
            self._runge_kutta(new, rates, lam, x, stages, source)
        elif stages:
            self._euler(new, rates, lam, x, stages[0], source)
        return new, rates

    def _runge_kutta(self, new: Any, rates: Any, lam: Any, x: Any, stages: Any, source: Any) -> None:
        """mu_s = dL/dk_s from the last stage to the first; v_s = J(Y_s)^T mu_s goes to what Y_s was made of."""
        h, y_lam = self.dt, lam[:, self.y]
        share, back = (h / 6, h / 3, h / 3, h / 6), (0.0, h, h / 2, h / 2)
        total, above = y_lam.copy(), np.zeros_like(y_lam)
        z_end, z_middle = np.zeros_like(lam[:, self.z]), np.zeros_like(lam[:, self.z])
        for s in (3, 2, 1, 0):
            mu = share[s] * y_lam + back[3 - s] * above
            v = np.einsum("ijbs,bis->bjs", self._J(stages[s])[self.y], mu)
            if source is not None:
                v = v + source[s]
            self._direct(rates, mu, stages[s])
            above = v[:, self.y]
            total += above
            # z of stage s is the exact flow from the start to the stage's time: what the stage says of it goes back by
            # P^T
            if s == 0:
                new[:, self.z] += v[:, self.z]
            elif s == 3:
                z_end += v[:, self.z]
            else:
                z_middle += v[:, self.z]
        new[:, self.y] = total
        self._from_nodes(new, rates, x, ((self.P, self.dP, z_end), (self.PH, self.dPH, z_middle)))

    def _euler(self, new: Any, rates: Any, lam: Any, x: Any, stage: Any, source: Any) -> None:
        """y_i + h phi1(h a_i) f_i, differentiated by everything."""
        h, y_lam = self.dt, lam[:, self.y]
        a, f = h * self._diagonal(stage), self._field(stage)
        # two ways: through f, and through a = df_i/dy_i, which scales the step. Without the second the gradient is
        # wrong where the rate depends on the state, as near the threshold of an exponential model
        by_f, by_a = h * phi1(a) * y_lam, h * h * phi1_slope(a) * f * y_lam
        v = np.einsum("ijbs,bis->bjs", self._J(stage)[self.y], by_f)
        v = v + np.einsum("ijbs,bis->bjs", self._da(stage)[self.y], by_a)
        if source is not None:
            v = v + source[0]
        self._direct(rates, by_f, stage)
        if self._dap is not None:
            through_a = np.einsum("ipbs,bis->pbs", self._dap(stage)[self.y], by_a)
            self._add(rates, through_a)
        new[:, self.y] = y_lam + v[:, self.y]
        self._from_nodes(new, rates, x, ((self.PH, self.dPH, v[:, self.z]),))

    def _direct(self, rates: dict[str, np.ndarray], mu: np.ndarray, x: np.ndarray) -> None:
        """mu . df/dp at a stage."""
        if self._Fp is not None:
            self._add(rates, np.einsum("ipbs,bis->pbs", self._Fp(x)[self.y], mu))

    def _add(self, rates: dict[str, np.ndarray], values: np.ndarray) -> None:
        for n in self.learned:
            rates[n] = rates.get(n, 0.0) + values[self.d.params.index(n)]

    def _from_nodes(self, new: np.ndarray, rates: dict[str, np.ndarray], x: np.ndarray, nodes: Any) -> None:
        """Adjoints of z at the middle or the end of the step, taken back to its start."""
        for P, dP, v in nodes:
            new[:, self.z] += self._transposed(P, v)
            for n in dP:
                rates[n] = rates[n] + self._by_param(dP[n], v, x)


@lru_cache(maxsize=256)
def _functions(d: Derived, mode: int) -> dict[str, Callable[..., np.ndarray]]:
    """f, its Jacobian J, df/dp (Fp), and the derivatives of J's diagonal by states (da) and parameters (dap).

    Compiled once a model.
    """
    field = d.modes[mode]
    diagonal = sp.Matrix([field.df_dx[i, i] for i in range(len(d.states))])
    matrices = {"f": field.f, "J": field.df_dx, "da": diagonal.jacobian(d.x)}
    matrices |= {"Fp": field.df_dp, "dap": diagonal.jacobian(d.p)} if d.p else {}
    return {name: numeric(matrix, (*d.x, *d.p)) for name, matrix in matrices.items()}


def _columns(df_dp: sp.Matrix) -> set[int]:
    """The parameters on which f depends."""
    return {j for j in range(df_dp.cols) if any(df_dp[i, j] != 0 for i in range(df_dp.rows))}
