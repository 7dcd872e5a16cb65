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
from .series import LEAST_CHANGE, ORDER, at, basis, bernstein, derivative, largest_inside

PROBES = np.linspace(0.0, 1.0, 65)
"""Where in a segment it is asked whether g rises: a long one may end with slopes that are rounding."""


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
        self.end, self.slope_end = at(g, ones), at(slope, ones)
        # 1 where g rises, -1 where it falls, 0 where its slope is rounding
        # ORDER: a slope is up to this much larger than differences of Bernstein coefficients
        along = basis(PROBES) @ slope
        turns = np.sign(along) * (np.abs(along) > LEAST_CHANGE * ORDER * np.abs(g).max(axis=0))
        self.turn_start = turns[0]
        last = len(PROBES) - 1 - (turns[::-1] != 0).argmax(axis=0)
        self.turn_end = turns[last, np.arange(g.shape[1])]

    def largest(self, part: np.ndarray, best: float) -> tuple[float, float | None, float]:
        """(g, time, rise) of the largest maximum above `best` in the segments of an interval; time None: none."""
        time: float | None = None
        # rises: whether g does just before the segment; where its slope is 0, but for rounding, it goes on as before
        rise, rises = 0.0, False
        # of arrivals of one instant, the slopes before and behind all of them count
        part = part[self.seg.length[part] > 0]
        # the end of an interval is a spike, that of the trial followed by nothing
        for before, s in zip([-1, *part], part):
            rose, rises = rises, rises if self.turn_start[s] == 0 else bool(self.turn_start[s] > 0)
            if rose and not rises and self.end[before] > best:
                best, time = float(self.end[before]), float(self.seg.end[before])
                rise = max(float(self.slope_end[before] / self.seg.length[before]), 0.0)
            if not self.possible[s]:
                rises = False
                continue
            u, value = largest_inside(self.g[:, s], self.bounds[:, s], best, rises)
            if u is not None:
                best, time, rise = value, float(self.seg.start[s] + u * self.seg.length[s]), 0.0
            rises = rises if self.turn_end[s] == 0 else bool(self.turn_end[s] > 0)
        return best, time, rise
