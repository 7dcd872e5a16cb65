"""What generated C++ reads of connections besides dense weights: tables of synapses, and delays in steps.

Offsets are those of codegen/cpp/connectivity.hpp: delay * NP + target, NP the padded number of targets.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...codegen.cpp import padded
from ...errors import Refusal
from ...modelling.connectivity import Synapses
from ...plan import ConnectionRecord, Plan, clock
from ...program.connectivity.windows import window_values
from ..contract.parameters import Tables, Values, delay_steps, of_synapses
from .memory import aligned

INT = np.int32


class NativeTables:
    """values: arrays and numbers by their names in generated code; ahead: the longest delay there may be, in steps, at
    most the trial, unless it is part of a recording."""

    def __init__(self, plan: Plan, of_recording: bool = False) -> None:
        self.plan, self._tables = plan, Tables(plan)
        self.connections = {i: c for i, c in enumerate(plan.connections) if not (c.by_rows or c.windows)}
        delayed = [int(clock.to_steps(c.delays.limit, plan.dt)) for c in plan.connections if c.delays is not None]
        self.ahead = max(delayed, default=0) if of_recording else min(max(delayed, default=0), plan.n_steps)
        for c in self.connections.values():
            if (plan.n_steps + self.ahead) * padded(c.post) >= 1 << 31:
                raise Refusal(
                    f"connection {c.name!r}: {plan.n_steps} steps of {c.post} neurons are more than native counts with "
                    "tables of synapses or individual delays; use a larger dt or a shorter trial"
                )
        if self.ahead >= 1 << 16:
            raise Refusal(
                f"native keeps delays of less than 65536 steps, these are up to {self.ahead}; use a larger dt"
            )
        self.values: dict[str, Any] = {"ahead": self.ahead}
        for i, c in enumerate(plan.connections):
            self.values |= window_values(c, i) if c.windows else {}
        self._order: dict[str, np.ndarray] = {}
        self._seen: dict[str, tuple[Synapses | None, np.ndarray]] = {}

    def refresh(self, parameters: Values) -> None:
        """Follow the values of weights, delays and pairs."""
        for i, c in self.connections.items():
            table = None if c.form == "dense" else self._tables.of(c, parameters)
            delays = parameters[c.delays_name] if c.delays is not None else np.zeros(0)
            known = self._seen.get(c.name)
            if known is None or known[0] is not table or not np.array_equal(known[1], delays):
                self._seen[c.name] = (table, delays.copy())
                self._make(i, c, table, parameters)
            if c.dendritic:
                self._sort(i, c, parameters[c.weight])
            if table is not None:
                weight = parameters[c.weight].reshape(-1)
                self.values[f"c{i}_weight"] = weight if table.weight_of is None else weight[table.weight_of]

    def _make(self, i: int, c: ConnectionRecord, table: Synapses | None, parameters: Values) -> None:
        """Arrays of a connection that follow from pairs and delays, by the ends of their names: see connectivity.hpp,
        and delays.hpp for dense weights."""
        steps = None
        if c.delays is not None:
            steps = np.minimum(delay_steps(c, parameters, self.plan.dt), self.ahead).astype(INT)
        if table is not None:
            arrays = self._listed(c, table, steps)
            self.values[f"c{i}_own"] = table.weight_of is None
        else:
            assert steps is not None
            arrays = self._dense(c, steps)
        for tail, array in arrays.items():
            kind = array.dtype if array.dtype == np.uint16 else INT
            self.values[f"c{i}_{tail}"] = np.ascontiguousarray(array, kind)

    def _dense(self, c: ConnectionRecord, steps: np.ndarray) -> dict[str, np.ndarray]:
        """Of dense weights with individual delays.

        Where delays belong to targets, rows are sorted by delay (`_sort`), and offsets lead from one order to the other
        and from step to step, a row of the targets a step: `back` from a target to its place in sorted rows, its delay
        before; `late` from a sorted place to itself, its delay before; `forth` from a sorted place to the target, its
        delay later.
        """
        width = padded(c.post)
        if c.axonal:
            return {"delays": steps}
        full = np.zeros((*steps.shape[:-1], width), INT)  # idle lanes have weight 0 and delay 0
        full[..., : c.post] = steps
        target = np.arange(width, dtype=INT)
        if c.dendritic:
            order = self._order[c.name] = np.argsort(steps, kind="stable")
            place, sorted_ = target.copy(), target.copy()  # of every target in sorted rows, and the reverse
            place[order], sorted_[: c.post] = target[: c.post], order
            late = full[sorted_] * width
            tables = {"back": place - full * width, "late": target - late, "forth": sorted_ + late}
            return {"delays": full, "order": sorted_, **tables}
        return {"delays": full.astype(np.uint16)}

    def _sort(self, i: int, c: ConnectionRecord, weight: np.ndarray) -> None:
        """Weights, targets in the order of their delays: what arrives at a step then is in few lines of the cache."""
        name = f"c{i}_sorted"
        if name not in self.values:
            self.values[name] = aligned((c.pre, padded(c.post)), weight.dtype)
        to = self.values[name][:, : c.post]
        np.take(weight.reshape(c.pre, c.post), self._order[c.name], axis=1, out=to, mode="clip")  # "raise" is slower

    def _listed(self, c: ConnectionRecord, table: Synapses, steps: np.ndarray | None) -> dict[str, np.ndarray]:
        """Of a table: the `offset` of a synapse has its delay in it, so that one addition leads to its place in the row
        of sums of the step at which it arrives."""
        arrays = {"start": table.start, "offset": table.target, "weight_of": table.weights, "delay_of": table.weights}
        if c.delays is not None and steps is not None:
            arrays["offset"] = of_synapses(c, steps, table) * padded(c.post) + table.target
            at = {"synaptic": table.weights, "axonal": table.source, "dendritic": table.target}
            arrays["delay_of"] = at[c.delays.kind]
        return arrays
