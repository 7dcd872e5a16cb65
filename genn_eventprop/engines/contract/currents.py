"""Currents of a batch: what they drive neurons with in every piece of the trial, and their gradients from dL/du.

A piece is a step of the grid, or with exact spike times the time between two changes of the current. The drive of
neuron i is u_i(t) = sum_j w_ij c_j(t - delay); over a piece it is its mean, and where a current is linear a slope as
well. Both are linear in c: u = P C W, with P the sparse matrix of the pieces, so that

    dL/dW = (P C)^T dL/du,    dL/dC = P^T dL/du W^T.

Products with W (`current_products.py`) are for the whole batch, on the shorter of the two time axes.

Axis letters: B samples, V values of a current, P pieces, M channels, N neurons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ...errors import EngineError
from ...plan import ConnectionRecord, CurrentRecord, Plan
from .current_products import Product, product
from .data import Data
from .parameters import Tables, Values

if TYPE_CHECKING:
    from ...data.currents import Currents


def why_not_carried(plan: Plan) -> str:
    """Why a trial cannot go on where another ended, if a current of the first would still be on its way."""
    late = next((c.name for c in plan.currents_into if c.delay), "")
    if late:
        return (
            f"currents on their way are not carried from trial to trial: connection {late!r} has a delay; use delay=0"
        )
    linear = next((c.name for c in plan.currents if c.linear), "")
    if linear:
        return (
            f"the line from the last value of current {linear!r} to the next trial's first is unknown; use "
            "interpolation='constant'"
        )
    return ""


Drives = dict[tuple[str, str], np.ndarray]
"""(population, receptor) -> (B, P, N)."""
LEAST = 1e-9
"""Of a value's time: where grids that should meet are apart by less, they meet."""


class Pieces:
    """Values of a current -> its means, and slopes, over pieces of the trial: two sparse matrices (P, V).

    Args:
        first, values: the number of the first value, and V. delay: ms by which the current comes later. edges: (P + 1,)
            ms where pieces begin and end, ascending.
    """

    def __init__(self, current: CurrentRecord, first: int, values: int, delay: float, edges: np.ndarray) -> None:
        self.P, self.V, h = len(edges) - 1, values, current.dt
        began = edges - delay  # on the time axis of the current
        ends = h * np.arange(first, first + values + 1)
        cuts = np.union1d(began, ends)
        cuts = cuts[(cuts >= max(began[0], ends[0])) & (cuts <= min(began[-1], ends[-1]))]
        length, middle = np.diff(cuts), (cuts[1:] + cuts[:-1]) / 2
        inside = length > LEAST * h
        length, middle = length[inside], middle[inside]
        piece = np.searchsorted(began, middle, side="right") - 1
        k = np.minimum((middle / h).astype(np.int64) - first, values - 1)
        share = length / np.diff(edges)[piece]
        self.means, self.slopes = (piece, k, share), (piece[:0], k[:0], share[:0])
        if current.linear:
            rising = k + 1 < values  # the last value holds
            part = np.where(rising, middle / h - (first + k), 0.0)
            later, slope = np.minimum(k + 1, values - 1), np.where(rising, share / h, 0.0)
            twice, both = np.concatenate([piece, piece]), np.concatenate([k, later])
            self.means = twice, both, np.concatenate([share * (1 - part), share * part])
            self.slopes = twice, both, np.concatenate([-slope, slope])

    def mean(self, x: np.ndarray) -> np.ndarray:
        """(B, V, n) -> (B, P, n)."""
        into, of, share = self.means
        return _product(x, into, of, share, self.P)

    def slope(self, x: np.ndarray) -> np.ndarray:
        """(B, V, n) -> (B, P, n), per ms."""
        into, of, share = self.slopes
        return _product(x, into, of, share, self.P)

    def transposed(self, by_mean: np.ndarray, by_slope: np.ndarray | None) -> np.ndarray:
        """dL/dc (B, V, n) from those by means and slopes (B, P, n)."""
        into, of, share = self.means
        out = _product(by_mean, of, into, share, self.V)
        if by_slope is not None:
            into, of, share = self.slopes
            out += _product(by_slope, of, into, share, self.V)
        return out


def _product(x: np.ndarray, into: np.ndarray, of: np.ndarray, share: np.ndarray, size: int) -> np.ndarray:
    """(B, size, n) whose row into[e] is the sum of share[e] x[:, of[e]] over e."""
    out = np.zeros((x.shape[0], size, x.shape[2]), x.dtype)
    order = np.argsort(into, kind="stable")
    into, of, share = into[order], of[order], share[order].astype(x.dtype)
    first = np.flatnonzero(np.diff(into, prepend=-1))
    if len(into):
        rows = x[:, of] if np.all(share == 1) else x[:, of] * share[:, None]
        out[:, into[first]] = rows if len(first) == len(into) else np.add.reduceat(rows, first, axis=1)
    return out


class CurrentBatch:
    """The currents of one batch, on their way to the neurons and back.

    Args:
        dtype: of drives and products. part: only these steps of the recording whose intervals the samples are; with
            exact spike times from the first to the last of these times, in ms, which are edges.

    Attributes:
        edges: population -> see `Pieces`: steps of the grid, or with exact spike times where its currents change.
        means: the drives of populations at the middle of pieces. slopes: per ms, of the drives that have a slope state.
    """

    def __init__(
        self, plan: Plan, parameters: Values, tables: Tables, data: Data, samples: np.ndarray, dtype: np.dtype,
        part: tuple[float, ...] | None = None,
    ) -> None:  # fmt: skip
        self.plan, B = plan, len(samples) if part is None else 1
        records = {c.name: c for c in plan.currents if any(x.source == c.name for x in plan.currents_into)}
        if part is None:
            parts = {n: (0, data.currents[n].values[samples]) for n in records}
        else:
            parts = {n: self._part(c, data.currents[n], samples, part) for n, c in records.items()}
        self._values = {n: np.asarray(values, dtype) for n, (_, values) in parts.items()}
        self._first = {n: first for n, (first, _) in parts.items()}
        self.edges = {c.target: self._edges(c.target, part) for c in plan.currents_into}
        self._pieces = {
            c.name: Pieces(records[c.source], parts[c.source][0], self._values[c.source].shape[1], c.delay,
                           self.edges[c.target])
            for c in plan.currents_into
        }  # fmt: skip
        # copies: gradients of the currents are asked for later, when an optimiser may have changed the weights
        self._weights: dict[str, Product] = {
            c.name: product(c, parameters[c.weight], dtype, lambda c=c: tables.of(c, parameters))  # type: ignore[misc]
            for c in plan.currents_into
        }
        sizes = {p.name: p.size for p in plan.populations}
        self.means: Drives = {}
        self.slopes: Drives = {}
        for c in plan.currents_into:
            key, shape = (c.target, c.receptor), (B, len(self.edges[c.target]) - 1, sizes[c.target])
            total = self.means.setdefault(key, np.zeros(shape, dtype))
            with np.errstate(over="ignore", invalid="ignore"):  # found below
                total += self._led(c, self._pieces[c.name].mean)
            if not np.isfinite(total).all():
                sample, piece, neuron = (int(n) for n in np.argwhere(~np.isfinite(total))[0])
                time = self.edges[c.target][piece]
                raise EngineError(
                    f"connection {c.name!r}: current times weight is too large for {dtype} at neuron {neuron} in "
                    f"sample {samples[sample]} at {time:g} ms; scale the currents, or check the weights"
                )
            if plan.population(c.target).drives[c.receptor][1]:
                rising = self.slopes.setdefault(key, np.zeros(shape, dtype))
                rising += self._led(c, self._pieces[c.name].slope)

    def _part(
        self, c: CurrentRecord, current: Currents, intervals: np.ndarray, part: tuple[float, ...]
    ) -> tuple[int, np.ndarray]:
        """The first value that acts in a part of a recording, and all that do (1, V, M); at least one."""
        delays = [x.delay for x in self.plan.currents_into if x.source == c.name]
        dt = self.plan.dt if self.plan.spike_times == "grid" else 1.0
        each, every = current.n_steps, current.n_steps * len(intervals)
        # one more on either side: where a line goes to, and what rounding puts elsewhere
        last = min(max(math.ceil((part[-1] * dt - min(delays)) / c.dt) + 2, 1), every)
        first = min(max(math.floor((part[0] * dt - max(delays)) / c.dt) - 1, 0), last - 1)
        some = range(first // each, (last - 1) // each + 1)
        parts = [current.values[intervals[j], max(first - j * each, 0) : last - j * each] for j in some]
        return first, np.concatenate(parts)[None]

    def _edges(self, population: str, part: tuple[float, ...] | None) -> np.ndarray:
        plan = self.plan
        if plan.spike_times == "grid":
            first, last = (0, plan.n_steps) if part is None else part
            return plan.dt * np.arange(first, last + 1)
        dt = {c.name: c.dt for c in plan.currents}
        into = [c for c in plan.currents_into if c.target == population]
        numbers = {c.source: self._first[c.source] + np.arange(self._values[c.source].shape[1] + 1) for c in into}
        cuts = np.unique(np.concatenate([c.delay + dt[c.source] * numbers[c.source] for c in into]))
        least, fixed = LEAST * min(dt[c.source] for c in into), np.array((0.0, plan.duration) if part is None else part)
        inside = cuts[(cuts > fixed[0] + least) & (cuts < fixed[-1] - least)]
        inside = inside[np.diff(inside, prepend=fixed[0]) > least]
        for time in fixed[1:-1]:
            inside = inside[abs(inside - time) > least]
        return np.sort(np.concatenate([inside, fixed]))

    @property
    def starts(self) -> Drives:
        """The drives at the start of pieces."""
        return {
            key: u - self._half(key) * self.slopes[key] if key in self.slopes else u for key, u in self.means.items()
        }

    def _half(self, key: tuple[str, str]) -> np.ndarray:
        """(P, 1) half the length of pieces."""
        return np.diff(self.edges[key[0]])[:, None] / 2

    def gradients_from_starts(self, by_start: Drives, by_slope: Drives, every: bool = False) -> dict[str, np.ndarray]:
        """`gradients`, from those by the drives at the start of pieces and by their slopes from there."""
        return self.gradients(by_start, {k: v - self._half(k) * by_start[k] for k, v in by_slope.items()}, every)

    def _short(self, c: ConnectionRecord) -> bool:
        """Whether the current has no more values than the trial has pieces, so that products come before pieces."""
        return self._pieces[c.name].V <= self._pieces[c.name].P

    def _led(self, c: ConnectionRecord, over: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        values, weight = self._values[c.source], self._weights[c.name]
        return over(weight.ahead(values)) if self._short(c) else weight.ahead(over(values))

    def gradients(self, by_mean: Drives, by_slope: Drives | None = None, every: bool = False) -> dict[str, np.ndarray]:
        """dL/dw of learned weights of currents, in their shapes, from dL/d(mean) and dL/d(slope) of the drives.

        These also serve `of_currents` afterwards.

        Args:
            every: also of weights that are not learned.
        """
        self._by = by_mean, by_slope or {}
        out: dict[str, np.ndarray] = {}
        for c in (c for c in self.plan.currents_into if c.trainable or every):
            values, pieces, weight = self._values[c.source], self._pieces[c.name], self._weights[c.name]
            mean, slope = self._of(c)
            if self._short(c):
                gradient = weight.by_weight(values, pieces.transposed(mean, slope))
            else:
                gradient = weight.by_weight(pieces.mean(values), mean)
                gradient = gradient if slope is None else gradient + weight.by_weight(pieces.slope(values), slope)
            out[c.weight] = out.get(c.weight, 0) + gradient
        return out

    def _of(self, c: ConnectionRecord) -> tuple[np.ndarray, np.ndarray | None]:
        key = c.target, c.receptor
        return self._by[0][key], self._by[1].get(key)

    @cached_property
    def of_currents(self) -> Mapping[str, np.ndarray]:
        """Current -> (B, V, M) dL/dc, after `gradients`."""
        out: dict[str, np.ndarray] = {}
        for c in self.plan.currents_into:
            (mean, slope), pieces, weight = self._of(c), self._pieces[c.name], self._weights[c.name]
            if self._short(c):
                by_value = weight.back(pieces.transposed(mean, slope))
            else:
                by_value = pieces.transposed(weight.back(mean), None if slope is None else weight.back(slope))
            out[c.source] = out.get(c.source, 0) + by_value
        return out
