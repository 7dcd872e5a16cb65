"""Currents of pieces of a recording with exact spike times: arrivals forwards, and dL/du from lambda backwards.

A step begins with a change, from 0. Of number i, at t_i, from where u = u_i + v_i (t - t_i), with G and H the gradients
of the jumps of u and v, which are 0 at the start of a step for i + 1,

    dL/du_i = G_i - G_(i+1),    dL/dv_i = H_i - H_(i+1) - (t_(i+1) - t_i) G_(i+1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...codegen.cpp import padded
from ...errors import EngineError
from ...plan.changes import ROOM, Jumps
from ..contract.currents import CurrentBatch, Drives
from .memory import aligned

Arrays = dict[str, Any]


class Changes:
    """Of one piece.

    Args:
        batch: its currents. steps: (K + 1,) ms, between which its steps are; they are among the edges.

    Attributes:
        times, channels: of the arrivals, in order. weights: their weights, by the names of arrays.
    """

    def __init__(
        self, batch: CurrentBatch, steps: tuple[float, ...], jumps: tuple[Jumps, ...], dtype: np.dtype
    ) -> None:
        self.batch, self._jumps, self.weights = batch, jumps, Arrays()
        # (P, 1) 1 for changes that begin a step, 0 for others
        self._begin = {p: np.isin(edges[:-1], steps)[:, None] for p, edges in batch.edges.items()}
        starts, slopes, times, channels = batch.starts, batch.slopes, [np.empty(0)], [np.empty(0, np.int32)]
        for j in jumps:
            key, edges = (j.population, j.receptor), batch.edges[j.population]
            u = starts[key][0].astype(np.float64)
            v = slopes[key][0].astype(np.float64) if key in slopes else np.zeros_like(u)
            # an arrival adds to u (or v) what it has there minus what it had right before: u rises with v in between
            of, before = (v, v) if j.slope else (u, u + np.diff(edges)[:, None] * v)
            jump = of - np.where(self._begin[j.population], 0, np.roll(before, 1, axis=0))
            if len(jump) > ROOM:
                raise EngineError(
                    f"currents into {j.population!r} change more than {ROOM} times in a piece of a recording from "
                    f"{edges[0]:g} ms to {edges[-1]:g} ms; use currents with a longer dt"
                )
            full = aligned((len(jump), padded(jump.shape[1])), dtype)
            full[:, : jump.shape[1]] = jump
            self.weights[f"c{j.connection}_weight"] = full
            times.append(edges[:-1])
            channels.append(j.first + np.arange(len(jump), dtype=np.int32))
        order = np.argsort(np.concatenate(times), kind="stable")
        self.times, self.channels = np.concatenate(times)[order], np.concatenate(channels)[order]

    def gradients(self, by_jump: Mapping[Jumps, np.ndarray]) -> Arrays:
        """Those of the weights of currents; by_jump: (`ROOM`, N) G and H."""
        by: dict[bool, Drives] = {False: {}, True: {}}
        following = dict[Jumps, np.ndarray]()
        for j in self._jumps:
            key, edges = (j.population, j.receptor), self.batch.edges[j.population]
            # the arrays have room for `ROOM` changes, of which this piece has fewer
            by_change = by_jump[j][: len(edges) - 1]
            following[j] = np.roll(np.where(self._begin[j.population], 0, by_change), -1, axis=0)
            by_drive = by_change - following[j]
            if j.slope:
                of_u = next(k for k in self._jumps if (k.population, k.receptor, k.slope) == (*key, False))
                by_drive = by_drive - np.diff(edges)[:, None] * following[of_u]
            by[j.slope][key] = by_drive[None]
        return self.batch.gradients_from_starts(by[False], by[True])
