"""What kernels read with exact spike times: the flows of `native`, and how a time integral weighs events in a step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...plan import Plan
from ...plan.series import DEGREE, SERIES
from ...plan.synapse_tables import Tables
from ...program.connectivity.windows import window_values
from ..contract.host_losses import prefixed_losses
from ..native.exact import ExactTables
from ..native.routes import route_arrays


class ExactValues:
    """Arrays and numbers by their names in generated code, for a thread a neuron (`codegen/cuda/exact.py`) or event by
    event (`events.py`), which reads what `native` does."""

    def __init__(self, plan: Plan, slope_floor: float, dtype: np.dtype, tolerance: float, events: bool) -> None:
        self.plan, self._events = plan, events
        self.tolerance = tolerance
        table_dtype = None if events else np.dtype(np.float64)
        self._tables = ExactTables(plan, slope_floor, dtype, tolerance, table_dtype)
        self._seen: dict[int, bytes] = {}
        self.values: dict[str, Any] = {}

    @property
    def steps(self) -> int:
        """In how many a trial is cut."""
        return self._tables.steps

    def refresh(self, parameters: Mapping[str, np.ndarray], seen: dict[int, bytes]) -> None:
        """Follow parameters of neurons; seen: their values, by population."""
        if self._seen == seen:
            return
        self._tables.refresh(parameters)
        self._seen = dict(seen)
        self.values = self._tables.values | self._tables.weights() | {"exact_points": self.steps + 1}
        if self._events:
            return
        for prefix, loss in prefixed_losses(self.plan):
            p = self.plan.population(loss.output)
            i, A = self.plan.populations.index(p), self.values[f"x_p{self.plan.populations.index(p)}_A"]
            if "integral" in loss.readouts and len(A) == 1:  # neurons that differ have no series in common
                v = p.derived.states.index(p.derived.model.readout)
                ends = loss.weight.ends(self.plan.duration)
                u, edges = integral_tables(A[0], self.values[f"{prefix}weight_series"], v, self.plan.duration, ends)
                self.values |= {f"p{i}_u": u, f"p{i}_edges": edges}


class ExactRoutes:
    """Connections other than dense weights with one delay, see `engines/native/routes.py`; by names in generated code.

    most: number of a connection -> most routes of a source.
    """

    def __init__(self, plan: Plan, tables: Tables, events: bool) -> None:
        self.plan, self._tables, self._events = plan, tables, events
        self._seen: dict[str, Any] = {}
        self.values: dict[str, Any] = {}
        for i, c in enumerate(plan.connections):
            self.values |= window_values(c, i) if events and c.windows else {}
        self.most: dict[int, int] = {}

    def refresh(self, parameters: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Follow the pairs of tables; weights and delays are read where they are."""
        for i, c in enumerate(self.plan.connections):
            if c.delays:
                self.values[f"c{i}_delays"] = parameters[c.delays_name]
            if self._events and c.windows:  # taken as windows, without a table
                continue
            table = None if c.form == "dense" else self._tables.of(c, parameters)
            if c.by_rows or (c.name in self._seen and self._seen[c.name] is table):
                continue
            self._seen[c.name] = table
            made = route_arrays(c, table)
            self.most[i] = int(np.diff(made["start"]).max(initial=1))
            made["group"] = np.argsort(made["place"], kind="stable")
            counts = np.bincount(made["place"], minlength=math.prod(c.weight_shape))
            made["group_start"] = np.append(0, np.cumsum(counts))
            self.values |= {f"c{i}_routes": len(made["delay_of"]), f"c{i}_ends": len(made["first"])}
            self.values |= {f"limit_c{i}": c.delays.limit} if c.delays else {}
            self.values |= {f"c{i}_{n}": np.ascontiguousarray(v, np.int32) for n, v in made.items()}
        return self.values


def integral_tables(
    A: np.ndarray, series: np.ndarray, v: int, duration: float, window: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """u(s) = int_s^delta w P_V / T dt of every step, as series in the time to the end of a piece of it.

    A step has a piece before the window opens and one inside; u is 0 behind it. In the time to the end of a piece
    du/dv = A^T u + w e_V, as in codegen/cpp/exact/integral.hpp, so the coefficients follow from each other.

    Args:
        A: (n, n + 1) of x' = A x + b, b in the last column. series: (K, `SERIES`) w / T of every step, in powers of the
            time to its end or that of the window, see `plan.series.weight_series`. v: number of the state that is read.
        window: ms from and to which w is not 0.

    Returns:
        ((K + 1, 2, `DEGREE` + 1, n + 2) coefficients of u and, last, of w / T; (K + 1, 2) ends of both pieces in a
        step). The last row is empty: kernels index it by points of time.
    """
    K, n = len(series), len(A)
    delta = duration / K
    start, tiny = np.arange(K) * delta, 1e-12 * delta
    open_, close = window[0] - start, np.minimum(window[1] - start, delta)
    close = np.where(window[1] - start < delta - tiny, close, delta)
    never = (close <= tiny) | (open_ >= delta)  # of this step nothing counts
    open_, close = np.where(open_ > tiny, open_, 0.0), np.where(never, -1.0, close)
    u = np.zeros((K + 1, 2, DEGREE + 1, n + 2))
    u[:K, 1, :SERIES, n + 1] = np.where(never[:, None], 0.0, series)
    _follow(u[:K, 1], A, v)
    # the piece before begins with u where the window opens
    late = np.where(never, 0.0, close - open_)[:, None] ** np.arange(DEGREE + 1)
    u[:K, 0, 0, : n + 1] = np.einsum("kq,kqj->kj", late, u[:K, 1, :, : n + 1])
    _follow(u[:K, 0], A, v)
    return u, np.append(np.stack([open_, close], axis=1), [[0.0, -1.0]], axis=0)


def _follow(u: np.ndarray, A: np.ndarray, v: int) -> None:
    """Fills in coefficients of u (K, `DEGREE` + 1, n + 2) after the first one; w is there."""
    n = len(A)
    for q in range(DEGREE):
        u[:, q + 1, : n + 1] = u[:, q, :n] @ A
        u[:, q + 1, v] += u[:, q, n + 1]
        u[:, q + 1, : n + 1] /= q + 1
