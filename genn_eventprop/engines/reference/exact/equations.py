"""A population's symbolic equations: compiled once to NumPy functions, evaluated whenever parameter values change.

Axis letters: n states, p parameters, N neurons, L = C N lanes (see `flow.py`), G pieces or events with their lanes,
S = 1 if all lanes share a value, else L.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy as sp

from ....adjoint.propagator import numeric
from ....modelling.expressions import numpy_function
from ....plan import PopulationRecord
from .flow import CurvedMode, Flow, LinearMode, ModeFlow, apart
from .series import POINTS, basis, stretch, to_coefficients

Function = Callable[..., list[Any]]


class Compiled:
    """The NumPy functions of one population.

    An event's threshold is either linear in the state, g = slope(p) . x + offset(p), and then a polynomial where the
    states are, or any function of the state.
    """

    def __init__(self, record: PopulationRecord) -> None:
        self.record = record
        d = record.derived
        self.symbols = (*d.x, *d.p)
        constants = {"x0": d.x0, "dx0_dp": d.dx0_dp}
        for r, e in d.receptors.items():
            constants |= {f"e_{r}": e, f"de_{r}": e.jacobian(d.p) if d.p else sp.zeros(e.rows, 0)}
        self.linear_g = [not e.dg_dx.has(*d.x) for e in d.events]
        for i, e in enumerate(d.events):
            if self.linear_g[i]:
                offset = e.g.subs(dict.fromkeys(d.x, 0))
                constants |= {f"slope_{i}": e.dg_dx, f"offset_{i}": sp.Matrix([offset])}
        self.constants = {n: numeric(m, d.p) for n, m in constants.items()}
        self._compile_modes()
        self._compile_events()

    def _compile_modes(self) -> None:
        d = self.record.derived
        self.f = [self._function(m.f) for m in d.modes]
        self.df_dx = [self._function(m.df_dx) for m in d.modes]
        self.df_dp = [self._function(m.df_dp) for m in d.modes]
        self.generators = [self._generator(i) if m.linear(d.x) else None for i, m in enumerate(d.modes)]

    def _generator(self, mode: int) -> Callable[..., np.ndarray]:
        d = self.record.derived
        m, n = d.modes[mode], len(d.states)
        symbols = [d.p[d.params.index(name)] for name in d.dynamic_params]
        matrix = sp.Matrix(sp.BlockMatrix([[m.df_dx, m.b(d.x)], [sp.zeros(1, n), sp.zeros(1, 1)]]))
        return numeric(matrix, symbols)

    def _compile_events(self) -> None:
        """g, dg/dx, dg/dp, h and its derivatives of every event; gdot and a of every mode that it can happen in."""
        events = self.record.derived.events
        self.g = [self._function(sp.Matrix([e.g])) for e in events]
        self.h = [self._function(e.h) for e in events]
        parts = ("dg_dx", "dg_dp", "dh_dx", "dh_dp")
        self.jump = [{n: numeric(getattr(e, n), self.symbols) for n in parts} for e in events]
        self.gdot = [{m: numeric(sp.Matrix([v]), self.symbols) for m, v in e.gdots.items()} for e in events]
        self.a = [{m: numeric(v, self.symbols) for m, v in e.jumps.items()} for e in events]

    def _function(self, matrix: sp.Matrix) -> Function:
        """The entries, row by row, as one NumPy function of states and parameters."""
        return numpy_function(list(self.symbols), list(matrix), cse=True)


class Equations:
    """Numbers of one population for parameter values, parameter -> (1,), (N,) or (L,).

    x0 (n, L), dx0_dp (n, p, L). direction: receptor -> e (n, L); d_direction: receptor -> de/dp (n, p, L).
    slope (events, n, L): dg/dx of thresholds linear in the state, nan of others.
    """

    def __init__(self, compiled: Compiled, values: Mapping[str, np.ndarray], lanes: int) -> None:
        d, self.size, self._compiled = compiled.record.derived, lanes, compiled
        self.n = len(d.states)
        self.parameters = {n: np.asarray(values[n], dtype=np.float64) for n in d.params}
        self.values = [np.resize(v, lanes) for v in self.parameters.values()]
        self.x0, self.dx0_dp = self._by_lane("x0")[:, 0], self._by_lane("dx0_dp")
        self.direction = {r: self._by_lane(f"e_{r}")[:, 0] for r in d.receptors}
        self.d_direction = {r: self._by_lane(f"de_{r}") for r in d.receptors}
        linear = compiled.linear_g  # of others slope and offset are nan, so that a use by mistake shows
        nothing = np.full((self.n, lanes), np.nan)
        self.slope = [self._by_lane(f"slope_{i}")[:, 0] if ok else nothing for i, ok in enumerate(linear)]
        self.offset = [self._by_lane(f"offset_{i}")[0, 0] if ok else nothing[0] for i, ok in enumerate(linear)]

    def _by_lane(self, name: str) -> np.ndarray:
        """A function of parameters for all lanes, (rows, cols, L)."""
        value = self._compiled.constants[name](*self.values)
        value = np.broadcast_to(value, (self.size, *value.shape[-2:]))
        return np.ascontiguousarray(np.moveaxis(value, 0, -1))

    def flow(self, duration: float) -> Flow:
        """The flow in all modes; no piece is longer than `duration` ms."""
        d = self._compiled.record.derived
        used = [self.parameters[n] for n in d.dynamic_params]
        modes: list[ModeFlow] = []
        for i, generator in enumerate(self._compiled.generators):
            if generator is None:
                field, jacobian = (
                    self._evaluator(self._compiled.f[i], None),
                    self._evaluator(self._compiled.df_dx[i], self.n),
                )
                modes.append(CurvedMode(field, jacobian, self.n, self._compiled.record.size, duration))
            else:
                # one generator if all parameters are shared: then one series serves all lanes
                M = generator(*used) if used else generator()[None]
                modes.append(LinearMode(M if len(M) == 1 else np.resize(M, (self.size, *M.shape[1:])), duration))
        return Flow(modes, self.n)

    def _evaluator(self, function: Function, columns: int | None) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """(x (n, ..., G), lanes) -> the entries of `function`: (rows, ..., G), or (rows, columns, ..., G)."""

        def evaluate(x: np.ndarray, lanes: np.ndarray) -> np.ndarray:
            entries = function(*x, *(v[lanes] for v in self.values))
            out = np.empty((len(entries), *x.shape[1:]))
            for i, entry in enumerate(entries):  # an entry that is constant comes as one number: it is broadcast here
                out[i] = entry
            return out if columns is None else out.reshape(-1, columns, *x.shape[1:])

        return evaluate

    def field(self, x: np.ndarray, lanes: np.ndarray, mode: np.ndarray) -> np.ndarray:
        """dx/dt at x (n, G) of `lanes` in `mode` (G,): (n, G)."""
        return self._by_mode(self._compiled.f, x, lanes, mode, None)

    def df_dp(self, x: np.ndarray, lanes: np.ndarray, mode: np.ndarray) -> np.ndarray:
        """At x (n, Q, G): (n, p, Q, G)."""
        return self._by_mode(self._compiled.df_dp, x, lanes, mode, len(self.values))

    def _by_mode(
        self, functions: list[Any], x: np.ndarray, lanes: np.ndarray, mode: np.ndarray, columns: int | None
    ) -> np.ndarray:
        shape = x.shape if columns is None else (self.n, columns, *x.shape[1:])
        out = np.zeros(shape)
        # each mode has its function; the lanes in it are gathered, so that no function sees a state of another mode
        for m, i in apart(mode):
            out[..., i] = self._evaluator(functions[m], columns)(x[..., i], lanes[i])
        return out

    def threshold(self, event: int, x: np.ndarray, lanes: np.ndarray) -> np.ndarray:
        """g at x (n, ..., G): (..., G)."""
        return self._evaluator(self._compiled.g[event], None)(x, lanes)[0]

    def is_linear(self, event: int) -> bool:
        """Whether a threshold is linear in the state."""
        return self._compiled.linear_g[event]

    def threshold_rounding(self, event: int, x: np.ndarray, lanes: np.ndarray) -> np.ndarray:
        """(G,) sum_i |dg/dx_i x_i|, by which rounding of the states x (n, G) is passed on to g."""
        return np.abs(self._slopes(event, x, lanes) * x).sum(axis=0)

    def threshold_rate(self, event: int, x: np.ndarray, lanes: np.ndarray, mode: np.ndarray) -> np.ndarray:
        """(G,) dg/dt at x (n, G) along the dynamics of `mode` (G,)."""
        return (self._slopes(event, x, lanes) * self.field(x, lanes, mode)).sum(axis=0)

    def _slopes(self, event: int, x: np.ndarray, lanes: np.ndarray) -> np.ndarray:
        """(n, G) dg/dx."""
        slopes = self._compiled.jump[event]["dg_dx"](*x, *(v[lanes] for v in self.values))
        return slopes.reshape(len(lanes), -1).T

    def threshold_series(self, event: int, series: np.ndarray, lanes: np.ndarray, part: np.ndarray) -> np.ndarray:
        """Coefficients (K, G) of g along trajectories (K, n, G), on the first `part` (G,) of them."""
        if self._compiled.linear_g[event]:
            g = np.einsum("kig,ig->kg", series, self.slope[event][:, lanes])
            g[0] += self.offset[event][lanes]
            return g if np.all(part == 1) else stretch(g, part)
        # g at the 21 Chebyshev points, interpolated: exact to rounding where x and g are smooth on the piece
        x = np.einsum("gqk,kng->nqg", basis(part[:, None] * POINTS), series)
        with np.errstate(all="ignore"):
            return to_coefficients() @ self.threshold(event, x, lanes)

    def reset(self, event: int, x: np.ndarray, lanes: np.ndarray) -> np.ndarray:
        """h(x-) at x (n, G): (n, G)."""
        return self._evaluator(self._compiled.h[event], None)(x, lanes)

    def threshold_slopes(self, event: int, x: np.ndarray, lane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """dg_dx (n,), dg_dp (p,) at x (n, 1) of one lane (1,)."""
        arguments = (*x, *(v[lane] for v in self.values))
        jump = self._compiled.jump[event]
        return jump["dg_dx"](*arguments).reshape(-1), jump["dg_dp"](*arguments).reshape(-1)

    def jump(self, event: int, mode: int, x: np.ndarray, lanes: np.ndarray) -> dict[str, np.ndarray]:
        """dg_dx (G, n), dg_dp (G, p), dh_dx (G, n, n), dh_dp (G, n, p), gdot (G,), a (G, n) at x- (n, G) in `mode`."""
        arguments = (*x, *(v[lanes] for v in self.values))
        c = self._compiled
        out = {n: f(*arguments) for n, f in c.jump[event].items()}
        out |= {"gdot": c.gdot[event][mode](*arguments), "a": c.a[event][mode](*arguments)}
        for n in ("dg_dx", "dg_dp", "gdot", "a"):  # columns of one entry
            out[n] = out[n].reshape(len(lanes), -1)
        return out | {"gdot": out["gdot"][:, 0]}
