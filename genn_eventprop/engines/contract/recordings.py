"""Whole recordings in bounded memory: a trial in pieces (`program.pieces`), whose states are kept or computed again.

A recording is one sample, or several that follow each other (`Data.follows`), the intervals of the recording: each has
a readout and a loss of its own, and nothing else starts anew with it. The gradient is that of the mean of all losses,
through everything that crosses from piece to piece, and so that of one long trial. Recordings run one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ...errors import EngineError
from ...plan import Plan
from ...plan.synapse_tables import ring_steps
from ...program.nodes import Buffer
from ...program.outer import on_host
from ...program.pieces import ROWS, SPIKE_ROWS, Crossing
from ...program.readouts.voltage import OF_ARRIVALS
from .checkpoints import Advance, Drop, Keep, Reverse, actions, runs
from .data import Data
from .program_engine import ProgramEngine
from .result import Result, Spikes
from .slices import BatchShard

Arrays = dict[str, Any]
DEFAULT_STEPS = 1000
"""Steps of a piece, if nobody says."""


class PieceProgram(Protocol):
    """What a target makes of `program.pieces`."""

    @property
    def crossing(self) -> Crossing: ...
    @property
    def buffers(self) -> Mapping[str, Buffer]: ...

    def shape(self, b: Buffer, arguments: Mapping[str, Any]) -> tuple[int, ...]:
        """Of a buffer."""

    def arrays(self, arguments: Arrays, stored: Arrays) -> Arrays:
        """Every array of a call: an argument, else one that is stored, else new memory, all 0."""

    def call(self, arrays: Arrays, arguments: Arrays) -> int:
        """Run a piece of one sample; -1 - i if a list of population i is too short, else 0, or what `check_status`
        takes."""


@dataclass(frozen=True)
class Forecast:
    """What a recording needs.

    Attributes:
        pieces: of how many steps the longest has `steps`. states: how many are kept at a time. bytes: of these and of
            what one piece needs, or `held` of them. runs: of all its steps forwards, for one backwards; 1 if nothing
            runs again. held: about how many pieces need not run again, with exact spike times.
    """

    pieces: int
    steps: int
    states: int
    bytes: int
    runs: float
    held: int = 1

    def __str__(self) -> str:
        return (
            f"{self.pieces} pieces of up to {self.steps} steps, {self.states} states kept: {self.bytes / 1e6:.1f} MB; "
            f"every step runs forwards {self.runs:.2f} times"
        )


@dataclass(frozen=True)
class Piece:
    first: int
    last: int
    interval: int
    closes: bool


@dataclass
class State:
    """What a piece leaves to the next: values of buffers, and the spikes of the last steps."""

    values: Arrays
    sent: Arrays


@dataclass
class Run:
    """One recording on its way."""

    data: Data
    samples: np.ndarray
    pieces: list[Piece]
    arguments: Arrays
    intervals: list[Arrays]  # arguments of each interval, and its rows
    read: dict[int, Arrays] = field(default_factory=dict)  # interval -> what it leaves to the way back
    out: list[Arrays] = field(default_factory=list)  # of each interval
    spikes: dict[str, list[tuple[np.ndarray, ...]]] = field(default_factory=dict)
    seen: int = 0  # pieces that have run
    both: bool = False  # whether it runs backwards, too
    reversible: dict[int, Any] = field(default_factory=dict)  # pieces that can run backwards -> what that needs


def why_no_recordings(plan: Plan, several: bool = False) -> str:
    """Why a plan cannot run whole recordings in pieces; empty if it can. several: with several intervals."""
    if on_host(plan):
        return "a loss in Python is not run on whole recordings; use a built-in loss"
    if plan.spike_times == "exact":
        return ""
    heard = [loss.output for loss in plan.losses if loss.readout == "voltage" and loss.weight.input_tau is not None]
    for c in plan.connections if several else ():
        p = plan.population(c.target)
        moved = p.name in heard and p.derived.receptors[c.receptor][p.derived.states.index(p.derived.model.readout)]
        if moved and (c.source != plan.input.name or c.learns_delays):
            return (
                f"V of output {p.name!r} jumps at arrivals through {c.name!r}: a loss of V(t) whose weight follows the "
                "input is then not run where a recording has several labels; use a synapse with a current"
            )
    return ""


def recordings_of(data: Data, samples: np.ndarray) -> list[np.ndarray]:
    """The samples of every recording, in order.

    Raises:
        EngineError: a recording is not complete.
    """
    if data.follows is None:
        return [np.array([s]) for s in samples]
    on = data.follows[samples]
    starts = np.flatnonzero(~on)
    whole = np.append(data.follows, False)
    if (
        len(starts) == 0
        or starts[0] != 0
        or (on[1:] & (np.diff(samples) != 1)).any()
        or any(whole[i + 1] for i in samples[np.append(starts[1:], len(samples)) - 1])
    ):
        raise EngineError("a batch of recordings needs all chunks of each, one after the other")
    return np.split(samples, starts[1:])


def starts(data: Data, samples: np.ndarray) -> np.ndarray:
    """(B,) whether a sample of a batch begins a recording."""
    return np.ones(len(samples), bool) if data.follows is None else ~data.follows[samples]


def piece_shape(engine: ProgramEngine, b: Buffer, arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """Of a buffer of a piece."""
    of_data = {"spikes": 0, "samples": 1, "input_spikes": 0}  # arrays of the host, which come with a call
    lengths = {**engine.lengths({**arguments, **of_data}), **of_data, **{n: arguments[n] for n in (ROWS, SPIKE_ROWS)}}
    return b.shape(lengths)


class RecordingRunner:
    """Runs recordings on an engine.

    Args:
        chunk: steps of a piece; None: `DEFAULT_STEPS`, or an interval if it is shorter. memory: bytes that the states
            which are kept, and a piece, may take.
    """

    def __init__(self, engine: ProgramEngine, program: PieceProgram, chunk: int | None, memory: float) -> None:
        self.engine, self.plan, self.program, self.memory = engine, engine.plan, program, memory
        self.crossing, n = program.crossing, self.plan.n_steps
        self.steps = min(chunk or DEFAULT_STEPS, n)
        delays = (ring_steps(c, self.plan.dt) if c.delays else c.delay_steps for c in self.plan.connections)
        self.before = max(delays, default=0)
        self.rows = self.steps + self.before + 10  # `shift_by_delay` of native reads up to 8 rows behind the last
        self.places = {n: b.axes.index(ROWS) for n, b in program.buffers.items() if ROWS in b.axes}
        self.stored: Arrays = {}
        self._lengths_before: tuple[int, ...] = ()
        self._known: dict[tuple[int, ...], Forecast] = {}  # of recordings of as many intervals and target times
        self._of_currents: Arrays = {}  # gradients of the weights of currents, of all pieces so far

    # how long, how much

    def pieces(self, intervals: int) -> list[Piece]:
        """Those of a recording, none of which reaches over the end of an interval."""
        n, length = self._interval_and_piece()
        starts = [(j, first) for j in range(intervals) for first in range(0, n, length)]
        return [Piece(j * n + i, j * n + min(i + length, n), j, i + length >= n) for j, i in starts]

    def _interval_and_piece(self) -> tuple[int, int]:
        """Steps of each."""
        return self.plan.n_steps, self.steps

    def forecast(self, intervals: int, targets: Mapping[str, int] | None = None) -> Forecast:
        """What a recording of so many intervals needs.

        Args:
            targets: lengths of the lists of target times, by the names of their axes.

        Raises:
            EngineError: `memory` is less than the least.
        """
        arguments = self._common(BatchShard.whole(1, 1), True) | self._lengths(intervals * self.plan.n_steps)
        arguments |= {f"{prefix}n_targets": 0 for prefix, _ in self.engine._losses} | dict(targets or {})
        memory = {n: b for n, b in self.program.buffers.items() if not b.is_input}
        size = {n: math.prod(self._shape(b, arguments)) * self.engine.kind(b).itemsize for n, b in memory.items()}
        spikes = [b for b in memory.values() if SPIKE_ROWS in b.axes]
        state = sum(size[n] for n in self.crossing.forward)
        state += sum(4 * (self.before + 1) * int(b.axes[-1]) for b in spikes)
        read = intervals * sum(size[n] for n in self.crossing.read)
        host = [n for n in self.places if n not in memory]
        weights = sum(8 * np.size(arguments[n]) for n in host if n in arguments)  # w(t), in float64 at the host
        rows = (self.program.buffers[n] for n in host if n not in arguments)  # of currents, and a copy of them
        piece = sum(size.values()) + sum(2 * 8 * math.prod(self._shape(b, arguments)) for b in rows)
        return self._forecast(len(self.pieces(intervals)), self.steps, state, piece + read + weights + 3 * state)

    def _forecast(self, pieces: int, steps: int, state: int, fixed: int) -> Forecast:
        """With states of so many bytes, and what is needed besides. steps: of the longest piece."""
        states = min(pieces - 1, int((self.memory - fixed) // max(state, 1)))
        if states < 0:
            raise EngineError(
                f"memory={self.memory / 1e6:g} MB is too little for pieces of {self.steps} steps: they need "
                f"{fixed / 1e6:.3g} MB; use shorter pieces (chunk=) or more memory"
            )
        return Forecast(pieces, steps, states, fixed + states * state, runs(pieces, states) / pieces)

    def _lengths(self, n_steps: int) -> Arrays:
        return {
            "n_steps": n_steps,
            ROWS: self.rows,
            SPIKE_ROWS: self.steps + self.before + 1,
            "steps_before": self.before,
        }

    def _shape(self, b: Buffer, arguments: Mapping[str, Any]) -> tuple[int, ...]:
        return self.program.shape(b, arguments)

    # a batch

    def run(self, data: Data, samples: np.ndarray, training: bool, record_spikes: bool) -> Result:
        """A batch: all samples of each of its recordings. Their gradients are in the engine, if `training`."""
        number = int(np.count_nonzero(starts(data, samples)))
        whole = BatchShard.whole(number, self.engine.slices_of(number))
        result = self.run_part(data, samples, whole, training, record_spikes)
        if training:
            self.engine.collect_recordings(self.stored, whole)
            self.engine._complete()
        return result

    def run_part(
        self, data: Data, samples: np.ndarray, part: BatchShard, training: bool, record_spikes: bool = False
    ) -> Result:
        """Some recordings of a batch; their gradients are in `stored`, or where the engine has them."""
        engine, every = self.engine, recordings_of(data, samples)
        recordings = every[part.samples]
        if why := why_no_recordings(self.plan, several=max(map(len, recordings)) > 1):
            raise EngineError(why)
        self.stored, self._lengths_before, self._known, self._of_currents = {}, (), {}, {}
        begun = [self._begin(data, samples, r, training, len(every)) for r in recordings]
        for k, run in enumerate(begun):
            run.arguments |= engine.of_recording(part.samples.start + k, part)
        self._regularise(begun, training)
        for run in begun:
            for _ in self._sweep(run, record_spikes) if not training else self._both_ways(run, record_spikes):
                pass
        for name, gradient in self._of_currents.items():
            engine.gradients[name][...] = gradient
        return self._result(data, np.concatenate(recordings), begun, training, record_spikes)

    def _common(self, part: BatchShard, stochastic: bool) -> Arrays:
        engine = self.engine
        return {**engine._of_call(part, stochastic), **engine._of_neurons(), **engine._of_synapses(), "batch": 1}

    def _begin(self, data: Data, batch: np.ndarray, samples: np.ndarray, training: bool, recordings: int) -> Run:
        engine, n = self.engine, self.plan.n_steps
        arguments = self._common(BatchShard.whole(1, 1), training) | self._lengths(len(samples) * n)
        for i, c in enumerate(self.plan.connections):
            if c.delays is not None:  # a delay may be longer than an interval
                arguments[f"c{i}_ring"] = min(ring_steps(c, self.plan.dt), len(samples) * n)
        arguments |= engine.random_keys(data, samples[:1])
        arguments |= {"samples": np.zeros(1, np.int64), "whole_batch": recordings, "n_targets": 0}
        arguments["several"] = int(len(samples) > 1)
        for current in self.plan.currents if len(samples) > 1 else ():
            if abs(data.currents[current.name].duration - self.plan.duration) > 1e-6 * current.dt:
                raise EngineError(
                    f"current {current.name!r} has {data.currents[current.name].duration:g} ms in every chunk of "
                    f"{self.plan.duration:g} ms; cut it with data.currents.chunks"
                )
        arguments["number"] = int(data.numbers_of(samples[:1])[0])
        place = {int(s): k for k, s in enumerate(batch)}
        intervals = [engine.of_losses(data, batch, slice(k, k + 1)) for k in (place[int(s)] for s in samples)]
        return Run(data, samples, self.pieces(len(samples)), arguments, intervals)

    def _regularise(self, begun: list[Run], training: bool) -> None:
        """Strengths of regularisers, which count over a whole recording; a mean over the batch needs a run before."""
        counts = None
        if training and any(r.mean == "batch" for _, _, terms in self.engine._pushes for r in terms):
            for run in begun:
                for _ in self._sweep(run, False):
                    pass
            counts = {
                n: np.concatenate([run.out[-1][b] for run in begun]).astype(np.int64) for n, b in self.engine._counters
            }
            for run in begun:
                run.read, run.out, run.seen = {}, [], 0
        for run in begun:
            run.arguments["counted"] = len(run.samples) * self.plan.duration
            run.arguments |= self.engine._regularisers(run.arguments, training and counts is not None, counts)

    # one recording

    def _sweep(self, run: Run, record_spikes: bool) -> Iterator[int]:
        """Forwards alone."""
        state = None
        for k in range(len(run.pieces)):
            state = self._forward(run, k, state, record_spikes)
            yield k

    def _both_ways(self, run: Run, record_spikes: bool) -> Iterator[int]:
        """Forwards and backwards, by the order of `checkpoints`."""
        states: dict[int, State | None] = {0: None}  # those that `checkpoints` has kept, by the pieces they begin
        state: State | None = None
        adjoint: State | None = None
        run.both, last = True, len(run.pieces)  # last: what is still to run backwards
        for action in actions(len(run.pieces), self._expected(run).states):
            if isinstance(action, Advance):
                if all(k in run.reversible for k in range(action.stop - 1, last)):
                    continue  # no state of these is needed any more
                state = states[action.start]
                for k in range(action.start, action.stop):
                    state = self._forward(run, k, state, record_spikes, adjoint if k == action.stop - 1 else None)
            elif isinstance(action, Keep):
                states[action.piece] = state
            elif isinstance(action, Drop):
                del states[action.piece]
            elif isinstance(action, Reverse):
                adjoint, last = self._backward(run, action.piece, adjoint), action.piece
                yield action.piece

    def _expected(self, run: Run) -> Forecast:
        targets = {n: v for n, v in run.intervals[0].items() if n.endswith("n_targets")}
        key = len(run.samples), *targets.values()
        if key not in self._known:
            self._known[key] = self.forecast(len(run.samples), targets)
        return self._known[key]

    def _arguments(self, run: Run, k: int) -> Arrays:
        piece, n = run.pieces[k], self.plan.n_steps
        start = piece.interval * n
        arguments = run.arguments | run.intervals[piece.interval]
        for name, axis in self.places.items():
            if self.program.buffers[name].role == "host" and name in arguments:
                values = np.asarray(arguments[name])
                rows = np.minimum(piece.first - start + np.arange(self.rows), values.shape[axis] - 1)
                arguments[name] = np.take(values, rows, axis)
        steps, channels = self._input(run, piece.first - self.before, piece.last)
        arguments |= {"steps": steps, "channels": channels, "offsets": np.array([0, len(steps)])}
        arguments |= self._of_arrivals(run, piece.first)
        if self.plan.currents_into:
            arguments |= self.engine._drives(run.data, run.samples, (piece.first, piece.last))
        return arguments | {
            "first_step": piece.first, "last_step": piece.last, "interval": start, "closes": int(piece.closes),
            **{f"p{i}_room": room for i, room in enumerate(self.engine.room)},
        }  # fmt: skip

    def _of_arrivals(self, run: Run, first: int) -> Arrays:
        """What losses of V(t) depend on at the arrivals of steps from `first` on, each of the interval of its step."""
        n, values = self.plan.n_steps, Arrays()
        steps = np.minimum(first + np.arange(self.rows), len(run.samples) * n - 1)
        interval, row = steps // n - steps[0] // n, steps % n
        intervals = run.intervals[steps[0] // n : steps[-1] // n + 1]
        for prefix, loss in self.engine._losses:
            of = f"{prefix}{OF_ARRIVALS}"
            if f"{of}sample_weight" not in self.program.buffers:
                continue
            values[f"{of}integrand_weight"] = np.asarray(run.arguments[f"{prefix}integrand_weight"])[row]
            for what in ("sample_weight", *(["labels"] if loss.compares == "labels" else [])):
                values[f"{of}{what}"] = np.concatenate([each[f"{prefix}{what}"] for each in intervals])[interval]
            if loss.compares == "targets":  # none where the step that begins has none
                series = np.concatenate([each[f"{prefix}targets"] for each in intervals])
                series = np.where(np.isnan(series[:, 1:]), np.nan, series[:, :-1])
                values[f"{of}targets"] = series[interval, row]
        return values

    def _input(self, run: Run, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Input spikes of steps first ... last - 1 of the recording: nothing else of the data is read."""
        n, data, parts = self.plan.n_steps, run.data, self._spikes_within(run, first, last)
        spikes = [(data.steps[a:b] + np.int32(j * n), np.asarray(data.channels[a:b], np.int32)) for j, a, b in parts]
        steps, channels = (np.concatenate(each) for each in zip(*spikes))
        return steps, channels

    def _spikes_within(self, run: Run, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """Interval, first input spike and the one behind the last, of each interval with steps first ... last - 1."""
        n, data = self.plan.n_steps, run.data
        for j in range(max(first, 0) // n, (last - 1) // n + 1):
            start, stop = (int(data.offsets[run.samples[j] + k]) for k in (0, 1))
            a, b = (data.first_spike(step - j * n, start, stop) for step in (first, last))
            yield j, a, b

    def _forward(
        self, run: Run, k: int, state: State | None, record_spikes: bool, adjoint: State | None = None
    ) -> State:
        """Runs a piece; adjoint: of the next piece, whose rows are needed behind it if it then runs backwards."""
        piece, crossing, spikes = run.pieces[k], self.crossing, self._spikes()
        arguments = self._arguments(run, k) | {"back": 0}
        length, status = piece.last - piece.first, -1
        while status < 0:
            arrays = self.program.arrays(arguments, self._fitting(arguments))
            for name in (*crossing.rows, *spikes, *(crossing.forward if state is None else ())):
                arrays[name].fill(0)
            for name, value in state.values.items() if state is not None else ():
                arrays[name][...] = value
            for name, value in state.sent.items() if state is not None else ():
                arrays[name][:, : self.before + 1] = value
            for name, rows in adjoint.sent.items() if adjoint is not None else ():
                arrays[name][:, length : length + self.before + 1] = rows
            status = self.program.call(arrays, arguments)
            self.stored = arrays
            if status < 0:
                arguments |= self.engine.grow_room(-1 - status, arrays["trouble"][3])
        self.engine.check_status(status, arrays, [run.arguments["number"]])
        left = {n: arrays[n].copy() for n in crossing.forward}
        sent = {n: arrays[n][:, length : length + self.before + 1].copy() for n in spikes}
        if k == run.seen:
            self._first_time(run, piece, arrays, record_spikes)
        return State(left, sent)

    def _fitting(self, arguments: Arrays) -> Arrays:
        """Memory of the last call, but for lists that have become longer."""
        lengths = tuple(arguments[n] for n in arguments if n.endswith(("_room", "_ring", "n_targets")))
        if lengths != self._lengths_before:
            fits = lambda n, a: a.shape == self._shape(self.program.buffers[n], arguments)  # noqa: E731
            memory = [n for n, b in self.program.buffers.items() if not b.is_input and b.axes]
            self.stored = {n: self.stored[n] for n in memory if n in self.stored and fits(n, self.stored[n])}
            self._lengths_before = lengths
        return self.stored

    def _spikes(self) -> list[str]:
        return [n for n, b in self.program.buffers.items() if SPIKE_ROWS in b.axes]

    def _backward(self, run: Run, k: int, adjoint: State | None) -> State:
        """Runs the piece back that has just run forwards; adjoint: what the next piece has left, None at the end."""
        piece, crossing, arrays = run.pieces[k], self.crossing, self.stored
        for name, value in run.read[piece.interval].items():
            arrays[name][...] = value
        for name, value in adjoint.values.items() if adjoint is not None else ():
            arrays[name][...] = value
        arguments = self._arguments(run, k) | {"back": 1}
        arrays = self.program.arrays(arguments, arrays)
        self.program.call(arrays, arguments)
        self.stored = arrays
        if self.plan.currents_into:
            self._add_to_currents(self.engine.gradients_of_currents(arrays))
        # rows of the steps from here on
        rows = {n: arrays[n][:, : self.before + 1].copy() for n in crossing.rows}
        return State({n: arrays[n].copy() for n in crossing.back}, rows)

    def _add_to_currents(self, gradients: Arrays) -> None:
        """In float64, whatever the engine's numbers: there may be thousands of pieces."""
        for name, gradient in gradients.items():
            self._of_currents[name] = self._of_currents.get(name, 0) + gradient.astype(np.float64)

    # results

    def _first_time(self, run: Run, piece: Piece, arrays: Arrays, record_spikes: bool) -> None:
        """What a piece says when it has run for the first time."""
        run.seen += 1
        if piece.closes:
            run.read[piece.interval] = {n: arrays[n].copy() for n in self.crossing.read}
            every = self.program.buffers.items()
            out = [n for n, b in every if b.role == "result" and b.axes and b.kind != "bits" and ROWS not in b.axes]
            run.out.append({n: arrays[n].copy() for n in out})
        if record_spikes:
            self._keep_spikes(run, piece, arrays)

    def _keep_spikes(self, run: Run, piece: Piece, arrays: Arrays) -> None:
        """Those of a piece: interval, step in it and neuron."""
        for i in (i for i, p in enumerate(self.plan.populations) if p.spiking):
            rows = arrays[f"p{i}_spikes"][0, self.before + 1 : self.before + 1 + piece.last - piece.first]
            flags = np.unpackbits(np.ascontiguousarray(rows).view(np.uint8), axis=-1, bitorder="little")
            k, n = np.nonzero(flags[..., : self.plan.populations[i].size])
            step = k + 1 + piece.first - piece.interval * self.plan.n_steps
            run.spikes.setdefault(self.plan.populations[i].name, []).append((np.full(len(k), piece.interval), step, n))

    def _result(
        self, data: Data, samples: np.ndarray, begun: list[Run], training: bool, record_spikes: bool
    ) -> Result:  # fmt: skip
        engine = self.engine
        rows = [out for run in begun for out in run.out]
        out = {n: np.concatenate([row[n] for row in rows]) for n in rows[0]}
        counts = {}
        for name, buffer in engine._counters:  # they go on over a recording
            each = [np.diff([row[buffer][0] for row in run.out], axis=0, prepend=0) for run in begun]
            counts[name] = np.concatenate(each).astype(np.int64)
        guarded = sum(int(v[-1:].sum()) for run in begun for n, v in run.out[-1].items() if n.endswith("guarded"))
        spikes = self._recorded(begun) if record_spikes else None
        parts = engine._loss_parts(out, data, samples)
        return Result.of_losses(self.plan, parts, counts, guarded if training else 0, spikes)

    def _recorded(self, begun: list[Run]) -> dict[str, Spikes]:
        first, spikes = 0, dict[str, list[tuple[np.ndarray, ...]]]()
        unit = self.plan.dt if self.plan.spike_times == "grid" else 1.0
        for run in begun:
            for name, lists in run.spikes.items():
                spikes.setdefault(name, []).extend((j + first, step, n) for j, step, n in lists)
            first += len(run.samples)
        return {
            name: Spikes(*(np.concatenate(x) * unit for x, unit in zip(zip(*lists), (1, unit, 1))))
            for name, lists in spikes.items()
        }


class InPieces(ProgramEngine):
    """An engine that runs whole recordings."""

    runs_recordings = frozenset({"grid"})

    @property
    def runner(self) -> type[RecordingRunner]:
        return RecordingRunner

    @property
    def _pieces(self) -> PieceProgram:
        """A piece of a trial."""
        raise NotImplementedError

    def why_no_recordings(self) -> str:
        return why_no_recordings(self.plan)

    def recordings(self, chunk: int | None, memory: float) -> RecordingRunner:
        if why := self.why_no_recordings():
            raise EngineError(why)
        return self.runner(self, self._pieces, chunk, memory)
