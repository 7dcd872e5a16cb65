"""A population's symbolic equations: compiled once to NumPy functions, evaluated whenever parameter values change.

Axis letters: n states, N neurons, p parameters, G events, S = 1 if all neurons share a value, else N.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import sympy as sp

from ..adjoint.propagator import numeric
from ..errors import EngineError
from ..plan import PopulationRecord

AT_SPIKE = ("a", "gdot", "dg_dp", "dh_dx", "dh_dp")


class Compiled:
    """The functions of one population; the threshold of its event is g = slope(p) . x + offset(p).

    Raises:
        EngineError: for a threshold that is not linear in the state.
    """

    def __init__(self, record: PopulationRecord) -> None:
        self.record = record
        d = record.derived
        self.constants = {"x0": d.x0, "dx0_dp": d.dx0_dp}
        for r, e in d.receptors.items():
            self.constants |= {f"e_{r}": e, f"de_{r}": e.jacobian(d.p) if d.p else sp.zeros(e.rows, 0)}
        if record.spiking:
            self._compile_event()
        self.functions = {n: numeric(m, d.p) for n, m in self.constants.items()}
        A, b = d.A, d.b
        self.generators: dict[str, Callable[..., np.ndarray]] = {"": self._generator(A, b)}
        for n in d.dynamic_params:
            s = d.p[d.params.index(n)]
            self.generators[n] = self._generator(A.diff(s), b.diff(s))

    def _generator(self, A: sp.Matrix, b: sp.Matrix) -> Callable[..., np.ndarray]:
        d, n = self.record.derived, self.record.derived.A.rows
        symbols = [d.p[d.params.index(name)] for name in d.dynamic_params]
        matrix = sp.Matrix(sp.BlockMatrix([[A, b], [sp.zeros(1, n), sp.zeros(1, 1)]]))
        return numeric(matrix, symbols)

    def _compile_event(self) -> None:
        d = self.record.derived
        event, every = d.events[0], (*d.x, *d.p)
        if event.dg_dx.has(*d.x):
            raise EngineError(
                f"{self.record.name!r}: the threshold {event.g} of {d.model.name} is not linear in the state; "
                "reference_event needs one that is"
            )
        self.constants |= {"slope": event.dg_dx, "offset": sp.Matrix([event.g.subs(dict.fromkeys(d.x, 0))])}
        self.reset = sp.lambdify(list(every), list(event.h), "math")
        self.at_spike = {n: numeric(_matrix(getattr(event, n)), every) for n in AT_SPIKE}


def _matrix(value: sp.Expr | sp.Matrix) -> sp.Matrix:
    return value if isinstance(value, sp.MatrixBase) else sp.Matrix([value])


class Equations:
    """Numbers of one population for given values, parameter -> (1,) or (N,).

    x0 (n, N), dx0_dp (n, p, N). direction: receptor -> e (n, N); d_direction: receptor -> de/dp (n, p, N).
    slope (n, N), offset (N,) of the threshold. M (S, n + 1, n + 1): generator [[A, b], [0, 0]]; dM: parameter -> dM/dp.
    """

    def __init__(self, compiled: Compiled, values: Mapping[str, np.ndarray]) -> None:
        d, self.size, self._compiled = compiled.record.derived, compiled.record.size, compiled
        self.values = [np.broadcast_to(values[n], (self.size,)) for n in d.params]
        wide = {n: self._wide(n) for n in compiled.functions}
        self.x0, self.dx0_dp = wide["x0"][:, 0], wide["dx0_dp"]
        self.direction = {r: wide[f"e_{r}"][:, 0] for r in d.receptors}
        self.d_direction = {r: wide[f"de_{r}"] for r in d.receptors}
        if compiled.record.spiking:
            self.slope, self.offset = wide["slope"][:, 0], wide["offset"][0, 0]
        used = [np.asarray(values[n], dtype=np.float64) for n in d.dynamic_params]
        M = {n: f(*used) for n, f in compiled.generators.items()}
        self.M, self.dM = M.pop("") if used else M.pop("")[None], M

    def _wide(self, name: str) -> np.ndarray:
        """A function of parameters for all neurons, (rows, cols, N)."""
        value = self._compiled.functions[name](*self.values)
        value = np.broadcast_to(value, (self.size, *value.shape[-2:]))
        return np.ascontiguousarray(np.moveaxis(value, 0, -1))

    def threshold(self, series: np.ndarray, neurons: np.ndarray) -> np.ndarray:
        """g of power coefficients (K, n, G) of trajectories of `neurons` (G,): (K, G)."""
        g = np.einsum("kig,ig->kg", series, self.slope[:, neurons])
        g[0] += self.offset[neurons]
        return g

    def reset(self, x: np.ndarray, neuron: int) -> np.ndarray:
        """h(x-) of one neuron, (n,)."""
        return np.array(self._compiled.reset(*x.tolist(), *(v[neuron] for v in self.values)), dtype=np.float64)

    def at_spike(self, name: str, x: np.ndarray, neurons: np.ndarray) -> np.ndarray:
        """a, gdot, dg_dp, dh_dx or dh_dp at x- (n, G) of `neurons` (G,): (G, rows, cols)."""
        value = self._compiled.at_spike[name](*x, *(v[neurons] for v in self.values))
        return np.broadcast_to(value, (len(neurons), *value.shape[-2:]))
