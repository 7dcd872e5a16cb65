"""Births of spikes in continuous time, for `reference_event`; docs/spike_birth.md has the mathematics.

A candidate is the largest maximum of g below zero in an interval between own spikes: a stationary point inside a
segment, or a kink at an arrival. The trial then runs again with every candidate as a `Birth`: it cuts the trajectory
there, and those of its targets where its spike would have arrived, without changing any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ....adjoint.birth import FARTHEST, hazard
from ....plan import Plan
from .population import PopulationModel
from .records import Recording, Segments
from .series import at, bernstein, derivative, largest_inside


@dataclass(frozen=True)
class Candidate:
    """A spike of a neuron that was not born at `time` ms. rise: dg/dt there, of a kink; 0 at a stationary maximum."""

    population: str
    neuron: int
    time: float
    hazard: float
    rise: float


def candidates(
    plan: Plan, models: Mapping[str, PopulationModel], recording: Recording, noise: Mapping[str, int]
) -> list[Candidate]:
    """All of a trial, in no order; noise: see `ReferenceEvent.threshold_noise`."""
    spiking = (p.name for p in plan.populations if plan.births(p.name))
    return [c for n in spiking for c in _of_population(plan.spike_birth, n, models[n], recording, noise.get(n))]


def _of_population(
    sigma: float, name: str, model: PopulationModel, recording: Recording, noise: int | None
) -> list[Candidate]:
    seg, neurons, x0 = recording.segments[name], np.arange(model.size), model.equations.x0
    above, at_start = (np.zeros(len(seg.neuron)), 0.0) if noise is None else (seg.x[noise], x0[noise])
    width = -sigma * (model.equations.threshold(0, x0, neurons) + at_start)
    series = model.flow.series(seg.x, seg.neuron, seg.mode, seg.span)
    g = model.equations.threshold_series(0, series, seg.neuron, seg.length / seg.span)
    begins = {spike.after for spike in recording.own_events[name]}
    search = _Search(seg, g, np.isin(seg.mode, model.events[0].modes))
    order, out = np.lexsort((seg.start, seg.neuron)), list[Candidate]()
    for mine in np.split(order, np.flatnonzero(np.diff(seg.neuron[order])) + 1):
        n = int(seg.neuron[mine[0]])
        first = [i for i, s in enumerate(mine) if i == 0 or int(s) in begins]
        for part in np.split(mine, first[1:]):
            best, time, rise = search.largest(part, -FARTHEST * float(width[n]))
            if time is not None:
                of_mean = np.array(best + above[part[0]])  # one draw holds for the whole interval
                out.append(Candidate(name, n, time, float(hazard(of_mean, width[n])), rise))
    return out


class _Search:
    """Maxima of g on segments; g: (ORDER + 1, G) coefficients, each over its whole segment. possible: (G,)."""

    def __init__(self, seg: Segments, g: np.ndarray, possible: np.ndarray) -> None:
        self.seg, self.g, self.possible, self.bounds = seg, g, possible, bernstein(g)
        slope, ones = derivative(g), np.ones(g.shape[1])
        self.end, self.slope_start, self.slope_end = at(g, ones), at(slope, 0 * ones), at(slope, ones)

    def largest(self, part: np.ndarray, best: float) -> tuple[float, float | None, float]:
        """(g, time, rise) of the largest maximum above `best` in the segments of an interval; time None: none."""
        time: float | None = None
        rise = 0.0
        part = part[
            self.seg.length[part] > 0
        ]  # of arrivals of one instant, the slopes before and behind all of them count
        for s, following in zip(part, [*part[1:], -1]):
            if not self.possible[s]:
                continue
            u, value = largest_inside(self.g[:, s], self.bounds[:, s], best)
            if u is not None:
                best, time, rise = value, float(self.seg.start[s] + u * self.seg.length[s]), 0.0
            # the end of an interval is a spike, and that of the trial is followed by nothing
            turns = following >= 0 and self.slope_end[s] > 0 >= self.slope_start[following]
            if turns and self.end[s] > best:
                best, time = float(self.end[s]), float(self.seg.end[s])
                rise = float(self.slope_end[s] / self.seg.length[s])
        return best, time, rise
