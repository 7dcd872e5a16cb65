"""The record of the forward run of one trial, for the readouts and the backward pass.

Axis letters: n states, N neurons, C copies, G segments.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ....plan import ConnectionRecord
from .routes import Route


# eq=False here and below: each record is one event, compared by identity, not by its arrays
@dataclass(eq=False)
class Arrival:
    """Spike `source` (a `Spike`, or the index of an input spike) arrives through the synapses of `route`.

    A `Birth` as source: it would have arrived, and moves nothing.

    neurons (P,): those whose pieces end and begin here, the targets or the whole population. lanes (S,): positions of
    the targets among them. before, after: (P,) their segments. extra: a further term of D, added backwards: a kink, or
    E of own events that this arrival caused.
    """

    connection: ConnectionRecord
    route: Route
    neurons: np.ndarray
    lanes: np.ndarray
    source: Spike | int | Birth
    time: float
    before: np.ndarray
    after: np.ndarray
    extra: float = 0.0


@dataclass(eq=False)
class Spike:
    """Own event number `event` of one neuron, at `time` ms (`times` (C,) of all copies), in mode `mode`, x- (n,).

    cause: what put g above zero in the same instant (an arrival of a delta synapse, a change of mode), None if the flow
    did; shares: how E is divided among all such causes, adding up to 1. before, after: segments, of the first copy.
    Backwards, feedback: sum of D over all arrivals and ends of modes that it scheduled; extra: E of events it caused.
    """

    population: str
    neuron: int
    event: int
    time: float
    times: np.ndarray
    mode: int
    x: np.ndarray
    index: int
    before: int
    after: int
    cause: Cause | None
    shares: tuple[tuple[Cause, float], ...] = ()
    feedback: float = 0.0
    extra: float = 0.0


@dataclass(eq=False)
class Birth:
    """A spike that was not born, with its hazard; rise: see `Candidate`.

    Backwards, change: what its arrivals would add to L to first order; moved: by how much they would change readouts
    that are linear in them, output population -> (K,).
    """

    population: str
    neuron: int
    time: float
    hazard: float
    rise: float
    before: int
    after: int
    change: float = 0.0
    moved: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(eq=False)
class ModeEnd:
    """A timed mode of one neuron ends; `source` began it. feedback, extra: as of `Spike`."""

    population: str
    neuron: int
    mode: int
    source: Spike | ModeEnd
    time: float
    before: int
    after: int
    feedback: float = 0.0
    extra: float = 0.0


@dataclass(eq=False)
class Change:
    """The currents of a population change, for the `number`-th time: segments of all its neurons end and begin."""

    population: str
    number: int
    before: np.ndarray
    after: np.ndarray


@dataclass(frozen=True, eq=False)
class Drive:
    """The currents into one population in one trial.

    times (P,): when they change, in ms. states (S,): which states stand for them and for their slopes; values
    (P, S, L): what these become.
    """

    times: np.ndarray
    states: list[int]
    values: np.ndarray


@dataclass(eq=False)
class Renewal:
    """Segments that end because their polynomial does: nothing happens, lambda passes through."""

    population: str
    before: np.ndarray
    after: np.ndarray


Cause = Arrival | Spike | ModeEnd
Record = Arrival | Spike | ModeEnd | Renewal | Birth | Change


@dataclass(eq=False)
class Segments:
    """Segments of a population: neuron = lane (G,), start, end, span (G,) in ms, x (n, G) at the start, mode (G,).

    length: (G,) ms, end - start also where that is below the rounding of times.
    """

    neuron: np.ndarray
    start: np.ndarray
    end: np.ndarray
    x: np.ndarray
    mode: np.ndarray
    span: np.ndarray
    length: np.ndarray

    def part(self, ids: np.ndarray | slice, end: np.ndarray | None = None) -> Segments:
        """Some of the segments, perhaps ending earlier."""
        start, stop = self.start[ids], self.end[ids] if end is None else end
        length = self.length[ids] if end is None else stop - start
        return Segments(self.neuron[ids], start, stop, self.x[:, ids], self.mode[ids], self.span[ids], length)


def locate(seg: Segments, size: int, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of every time (R,) and neuron, flat: the segment that holds it, the earlier one at a boundary, and ms from its
    start."""
    order = np.argsort(seg.neuron, kind="stable")  # segments are numbered in the order in which they begin
    first = np.searchsorted(seg.neuron[order], np.arange(size + 1))
    ids = np.empty((len(times), size), np.int64)
    for k in range(size):
        of_neuron = order[first[k] : first[k + 1]]
        ids[:, k] = of_neuron[np.minimum(np.searchsorted(seg.end[of_neuron], times), len(of_neuron) - 1)]
    return ids.ravel(), np.repeat(times, size) - seg.start[ids.ravel()]


@dataclass(eq=False)
class Recording:
    """One trial: its events in order, and the segments of every population.

    last: the last segment of every lane. spikes: the own events that sent a spike. own_events: all of them, in order.
    changed: (C,) copies that would have made other events, so that no difference may be taken.
    """

    events: list[Record]
    segments: dict[str, Segments]
    last: dict[str, np.ndarray]
    spikes: dict[str, list[Spike]]
    own_events: dict[str, list[Spike]]
    changed: np.ndarray

    def order(self) -> dict[str, list[tuple[str, int]]]:
        """Population -> (own event or connection, neuron) in order of time."""
        out: dict[str, list[tuple[str, int]]] = {name: [] for name in self.segments}
        for e in self.events:
            if isinstance(e, Spike):
                out[e.population].append(("", e.neuron))
            elif isinstance(e, Arrival):
                out[e.connection.target].append((e.connection.name, e.route.source))
        return out
