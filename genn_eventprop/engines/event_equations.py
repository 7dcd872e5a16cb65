"""A population's symbolic equations as NumPy functions, and its own event with a threshold linear in the state."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import sympy as sp

from ..adjoint.propagator import numeric
from ..errors import EngineError
from ..plan import PopulationRecord


class Equations:
    """Derived expressions of one population for given parameter values (parameter -> (1,) or (N,)).

    x0 (n, N). direction: receptor -> e (n, N); d_direction: receptor -> de/dp (n, p, N).
    """

    def __init__(self, record: PopulationRecord, values: Mapping[str, np.ndarray]) -> None:
        self.record, self.derived = record, record.derived
        d, self.size = record.derived, record.size
        self.values = [np.broadcast_to(values[n], (self.size,)) for n in d.params]
        self.x0 = self._wide(d.x0, d.p)[..., 0].T.copy()
        self.dx0_dp = np.moveaxis(self._wide(d.dx0_dp, d.p), 0, -1)
        self.direction = {r: self._wide(e, d.p)[..., 0].T.copy() for r, e in d.receptors.items()}
        self.d_direction = {
            r: np.moveaxis(self._wide(e.jacobian(d.p) if d.p else sp.zeros(len(d.x), 0), d.p), 0, -1)
            for r, e in d.receptors.items()
        }

    def _wide(self, matrix: sp.Matrix, symbols: tuple[sp.Symbol, ...]) -> np.ndarray:
        """A function of parameters for all neurons, (N, rows, cols)."""
        value = numeric(matrix, symbols)(*self.values)
        return np.broadcast_to(value, (self.size, *matrix.shape))


class SpikeEquations:
    """The own event of a population: threshold g = slope . x + offset, reset h, and what its jump needs.

    Raises:
        EngineError: for a threshold that is not linear in the state.
    """

    def __init__(self, equations: Equations) -> None:
        d, self.equations = equations.derived, equations
        self.event = event = d.events[0]
        if event.dg_dx.has(*d.x):
            raise EngineError(
                f"{equations.record.name!r}: the threshold {event.g} of {d.model.name} is not linear in the state; "
                "reference_event needs one that is"
            )
        offset = sp.Matrix([event.g.subs(dict.fromkeys(d.x, 0))])
        self.slope = equations._wide(event.dg_dx, d.p)[..., 0].T.copy()
        self.offset = equations._wide(offset, d.p)[:, 0, 0].copy()
        self._h = sp.lambdify([*d.x, *d.p], list(event.h), "math")
        every = (*d.x, *d.p)
        names = ("a", "gdot", "dg_dp", "dh_dx", "dh_dp")
        self._functions = {n: numeric(_matrix(getattr(event, n)), every) for n in names}

    def threshold(self, series: np.ndarray, neurons: np.ndarray) -> np.ndarray:
        """g of states or of their power coefficients (ORDER + 1, n, G): (ORDER + 1, G)."""
        g = np.einsum("kig,ig->kg", series, self.slope[:, neurons])
        g[0] += self.offset[neurons]
        return g

    def reset(self, x: np.ndarray, neuron: int) -> np.ndarray:
        """h(x-) of one neuron, (n,)."""
        return np.array(self._h(*x.tolist(), *(v[neuron] for v in self.equations.values)), dtype=np.float64)

    def at(self, name: str, x: np.ndarray, neurons: np.ndarray) -> np.ndarray:
        """a, gdot, dg_dp, dh_dx or dh_dp at x- (n, G) of `neurons` (G,): (G, rows, cols)."""
        value = self._functions[name](*x, *(v[neurons] for v in self.equations.values))
        return value if value.ndim == 3 else np.broadcast_to(value, (len(neurons), *value.shape[-2:]))


def _matrix(value: sp.Expr | sp.Matrix) -> sp.Matrix:
    return value if isinstance(value, sp.MatrixBase) else sp.Matrix([value])
