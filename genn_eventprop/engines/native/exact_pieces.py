"""Whole recordings with exact spike times: pieces are steps of the trial, what crosses is what C++ says it is.

See `codegen/cpp/exact/piece.hpp`; times of events are those of the recording.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...codegen.cpp import padded
from ...codegen.cpp.exact.arguments import BACK, READ, ROOM, SIZES, STATE
from ...plan import Plan
from ...plan.changes import ROOM as CHANGES_ROOM
from ...plan.changes import as_arrivals
from ...plan.closed_form import why_no_closed_form
from ..contract.recordings import Forecast, Piece, RecordingRunner, Run, State
from ..contract.slices import BatchShard
from .changes import Changes
from .exact import ExactTables
from .pieces import NativePieces

Arrays = dict[str, Any]
RATE = 20.0
"""Spikes a second of every channel and neuron that a forecast assumes, as long as nothing has run."""
EVENT = 40
"""Bytes of an event in a log."""
BESIDES = 48e6
"""Bytes of code, and of input that is read ahead."""
CROSSING = (STATE, BACK, READ)
OF_INPUT = {"times": np.empty(0), "channels": np.empty(0, np.int32), "offsets": np.zeros(2, np.int64)}
"""What the way back needs of the input: nothing."""


def why_no_exact_pieces(plan: Plan) -> str:
    """Why exact spike times have no pieces of a plan; empty if they have."""
    if why := why_no_closed_form(as_arrivals(plan)[0]):
        return (
            "with exact spike times whole recordings need neurons with a closed form between events, but "
            f"{why}; use spike_times='grid'"
        )
    return ""


class ExactRunner(RecordingRunner):
    """See `RecordingRunner`; steps of `Piece` are those of exact time, whose number may change with parameters.

    As many of the last pieces as fit into `memory` keep what they need to run backwards, each in a slot of its own.
    """

    room = 0  # of what crosses, in numbers of 8 bytes
    engine: Any  # a NativeEngine, which imports this module
    program: NativePieces
    _called: Arrays  # arguments of the last new piece
    _least = 0  # bytes that are needed besides slots

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._sizes = [0]  # of slots so far, in bytes
        engine, (plan, self._jumps) = self.engine, as_arrivals(self.plan)
        self._tables = (
            ExactTables(plan, engine.slope_floor, engine.dtype, engine.tolerance) if self._jumps else engine._exact
        )

    def _common(self, part: BatchShard, stochastic: bool) -> Arrays:
        arguments = super()._common(part, stochastic)
        if self._jumps:
            self._tables.refresh(self.engine.parameters)
            arguments |= self._tables.values
        return arguments

    def _exact_steps(self) -> int:
        self._tables.refresh(self.engine.parameters)
        return self._tables.steps

    def _interval_and_piece(self) -> tuple[int, int]:
        n = self._exact_steps()
        length = min(math.ceil(self.steps * n / self.plan.n_steps), self._steps_of_changes(self.plan.duration / n))
        return n, max(1, length)

    def forecast(self, intervals: int, targets: Mapping[str, int] | None = None) -> Forecast:
        """As of the base; spikes in transit and events of a piece are what `RATE` makes of them."""
        plan, itemsize, pieces = self.plan, self.engine.dtype.itemsize, self.pieces(intervals)
        longest = max(p.last - p.first for p in pieces)
        ms = plan.duration / self._exact_steps() * longest
        state = back = piece = 0.0
        for p in plan.populations:
            row = len(p.derived.states) * padded(p.size) * itemsize
            state += 2 * row + 16 * p.size
            back += 2 * row + (len(p.trainable) + 1) * padded(p.size) * itemsize
            piece += row * (longest + 1) * p.stores_states
        spikes = {plan.input.name: plan.input.size} | {p.name: p.size for p in plan.populations if p.spiking}
        for c in plan.connections:
            sent = spikes[c.source] * RATE / 1000 * (c.post if c.delays else 1)  # a ms
            late = c.delay + (float(np.max(self.engine.parameters[c.delays_name])) if c.delays else 0.0)
            state += 24 * sent * late
            piece += EVENT * sent * ms
        state, piece = max(state, 8.0 * self.room), max(self._sizes) or piece
        changing = {p.name: 3 * CHANGES_ROOM * padded(p.size) * itemsize for p in plan.populations}
        back += sum(changing[j.population] for j in self._jumps)
        fixed = back + (intervals + 3) * 8 * max(self.room // 8, 64) + 3 * state
        least = self._forecast(len(pieces), longest, int(state), int(fixed + piece))
        self._least = least.bytes - int(piece)
        held = max(1, min(least.pieces, int((self.memory - BESIDES - self._least) // max(piece, 1))))
        again = max(least.pieces, round(least.runs * least.pieces) - held + 1)
        return replace(least, bytes=self._least + int(held * piece), runs=again / least.pieces, held=held)

    def _lengths(self, n_steps: int) -> Arrays:
        """Of an interval alone: there are no rows of steps; what crosses is as long as C++ says (`ROOM`)."""
        return {"n_steps": self.plan.n_steps}

    def _arguments(self, run: Run, k: int) -> Arrays:
        plan, piece, n = self.plan, run.pieces[k], int(run.arguments["exact_steps"])
        arguments, ms, every = run.arguments | run.intervals[piece.interval], plan.duration / n, len(run.samples)
        times = run.data.times
        assert times is not None
        late = max((c.delay for c in plan.connections if c.source == plan.input.name), default=0.0)
        first, last = piece.first * ms - late, piece.last * ms
        grid = math.floor(first / plan.dt) - 1, min(math.ceil(last / plan.dt) + 1, every * plan.n_steps)
        parts = [
            (times[a:b] + j * plan.duration, np.asarray(run.data.channels[a:b], np.int32))
            for j, a, b in self._spikes_within(run, *grid)
        ]
        at, channels = (np.concatenate(each) for each in zip(*parts))
        if self._jumps:
            changes = self._changes(run, k)
            at, channels = np.concatenate([at, changes.times]), np.concatenate([channels, changes.channels])
            order = np.argsort(at, kind="stable")
            at, channels = at[order], channels[order]
            arguments |= changes.weights
        arguments |= {"times": at, "channels": channels, "offsets": np.array([0, len(at)])}
        if any(loss.weight.input_tau is not None for loss in plan.losses):
            start, stop = (int(run.data.offsets[run.samples[piece.interval] + i]) for i in (0, 1))
            arguments |= {"heard_times": np.asarray(times[start:stop]), "n_heard": stop - start}
        before = piece.interval * n
        arguments |= self._tables.weights(piece.first - before, piece.last - before)
        return arguments | {
            "first_step": piece.first - before, "last_step": piece.last - before, "steps_before": before,
            "all_steps": every * n, "whole_duration": every * plan.duration, "closes": int(piece.closes),
        }  # fmt: skip

    def _forward(
        self, run: Run, k: int, state: State | None, record_spikes: bool, adjoint: State | None = None
    ) -> State:
        slot, first = self._slot(run, k), k == run.seen
        arguments = self._arguments(run, k) | {"back": 0, "record": record_spikes and first, "slot": slot}
        while True:
            arguments[ROOM] = self.room
            arrays = self._arrays(arguments)
            if state is not None:
                _fill(arrays[STATE], state.values[STATE])
            self.program.call(arrays, arguments)
            *crossing, piece = arrays[SIZES].tolist()
            if max(crossing) <= self.room:
                break
            self.room = max(crossing) + max(crossing) // 4
        self._sizes[slot] = max(self._sizes[slot], 8 * piece)
        if run.both:
            counts = {b: arrays[b].copy() for _, b in self.engine._counters}
            apart = [f"{prefix}weight_series" for prefix, _ in self.engine._losses]
            apart += [f"c{j.connection}_weight" for j in self._jumps]  # made again
            run.reversible[k] = {n: v for n, v in arguments.items() if n not in apart} | OF_INPUT, counts
        if first:
            self._called = arguments
            self._first_time(run, run.pieces[k], arrays, record_spikes)
        return State({STATE: arrays[STATE][: crossing[0]].copy()}, {})

    # currents

    def _steps_of_changes(self, step: float) -> int:
        """In how many steps of so many ms currents change as often as there is room for."""
        into = {(c.target, c.source, c.delay) for c in self.plan.currents_into}
        dt = {c.name: c.dt for c in self.plan.currents}
        rates = [sum(1 / dt[source] for target, source, _ in into if target == p) for p, _, _ in into]
        return int((CHANGES_ROOM - 2 - len(into)) / (1 + step * max(rates))) if rates else self.plan.n_steps

    def _changes(self, run: Run, k: int) -> Changes:
        """Of piece k."""
        every, n, piece = len(run.samples), int(run.arguments["exact_steps"]), run.pieces[k]
        # as `piece_span.hpp` has them
        steps = tuple(every * self.plan.duration * i / (every * n) for i in range(piece.first, piece.last + 1))
        batch = self.engine._batch_of_currents(run.data, run.samples, steps)
        return Changes(batch, steps, self._jumps, self.engine.dtype)

    def _add_changes(self, changes: Changes, gradient: np.ndarray) -> None:
        """Adds the gradient of weights of currents by a piece that has run backwards, and clears that of changes."""
        by_jump = {}
        for j in self._jumps:
            offset, rows, columns = self.program.gradients[j.weight]
            of_jump = gradient[offset : offset + rows * columns].reshape(rows, columns)
            size = self.plan.population(j.population).size
            by_jump[j] = of_jump[:, :size].astype(np.float64)
            of_jump[...] = 0
        self._add_to_currents(changes.gradients(by_jump))

    def _arrays(self, arguments: Arrays) -> Arrays:
        """Of a call, with those of the one before where they are long enough."""
        stored = {n: a for n, a in self.stored.items() if n not in CROSSING or len(a) == self.room}
        self.stored = self.program.arrays(arguments, stored)
        return self.stored

    def _slot(self, run: Run, k: int) -> int:
        """Where piece k runs: a free slot, a new one if `memory` has room for it, or that of the first other one."""
        used = {arguments["slot"] for arguments, _ in run.reversible.values()}
        free = [i for i in range(len(self._sizes)) if i not in used]
        if free:
            return free[0]
        if self._room():
            self._sizes.append(0)
            return len(self._sizes) - 1
        return int(run.reversible.pop(min(run.reversible))[0]["slot"])

    def _room(self) -> bool:
        """Whether there is room for another slot."""
        return sum(self._sizes) + max(self._sizes) * 5 // 4 <= self.memory - BESIDES - self._least

    def _backward(self, run: Run, k: int, adjoint: State | None) -> State:
        """The trajectory and the events of a piece are in its slot, in C++. Arrays, in which others have run since, get
        back what the pass reads: spike counts behind the piece, losses and readings of its interval, the adjoint.
        """
        arguments, counts = run.reversible.pop(k)
        first, last = arguments["first_step"], arguments["last_step"]
        arguments |= self._tables.weights(first, last) | {"back": 1, "record": False, ROOM: self.room}
        changes = self._changes(run, k) if self._jumps else None
        arguments |= changes.weights if changes else {}
        arrays = self._arrays(arguments)
        interval = run.pieces[k].interval
        losses = {name: run.out[interval][name] for name in (f"{prefix}loss" for prefix, _ in self.engine._losses)}
        for name, value in {**counts, **losses}.items():
            arrays[name][...] = value
        _fill(arrays[READ], run.read[interval][READ])
        if adjoint is not None:
            _fill(arrays[BACK], adjoint.values[BACK])
        self.program.call(arrays, arguments)
        if changes:
            self._add_changes(changes, arguments["slices"][0])
        return State({BACK: arrays[BACK][: int(arrays[SIZES][1])].copy()}, {})

    def _first_time(self, run: Run, piece: Piece, arrays: Arrays, record_spikes: bool) -> None:
        super()._first_time(run, piece, arrays, record_spikes)
        if piece.closes:
            run.read[piece.interval] = {READ: arrays[READ][: int(arrays[SIZES][2])].copy()}

    def _keep_spikes(self, run: Run, piece: Piece, arrays: Arrays) -> None:
        """Spikes of a piece; C++ has times of the recording, a `Result` those of the interval."""
        begins = self._called["whole_duration"] * self._called["steps_before"] / self._called["all_steps"]
        for i, p in enumerate(p for p in self.plan.populations if p.spiking):
            _, time, neuron = self.program.copied(i)
            run.spikes.setdefault(p.name, []).append((np.full(len(time), piece.interval), time - begins, neuron))


def _fill(array: np.ndarray, values: np.ndarray) -> None:
    array[: len(values)] = values
