"""`reference_clock`: the loops of a trial run by Python in float64; defines what grid engines do. Clear, not fast.

Step k takes the state at k dt, adds the spikes due at k dt, propagates by dt and tests g >= 0 at (k + 1) dt. A spike
that crosses there has step k + 1, resets there, and reaches its targets there plus delay; one at step T/dt counts and
has its jump, but no targets. Backwards, all feedback sums of a step are formed from the adjoint before any jump of
that step. On the grid the slope gdot of a spike is the secant (g_{k+1} - g_k) / dt, positive by construction.

`source.py` says what the nodes of loops mean. Finite differences of forward runs (`verify.gradients`) and
`reference_event` at small steps prove that the loops are right; they share no code with `program`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import sympy as sp

from ....errors import EngineError
from ....modelling.expressions import parse
from ....plan import ConnectionRecord, Plan, PopulationRecord, clock
from ....program.lower import ARRIVAL, INPUT, NOW, SOURCE, TROUBLE, Body, Lowering
from ....program.nodes import (
    NEURON,
    SAMPLE,
    STEP,
    Buffer,
    Code,
    Entries,
    Kernel,
    Leave,
    Range,
    Set,
    Statement,
    When,
    above,
    at_least,
)
from ....program.nodes import (
    diverged as left_dynamics,
)
from ....program.operations import FeedInput
from ....program.trial import Trial, make_trial
from ...contract.currents import why_not_carried
from ...contract.data import Data
from ...contract.engine import Availability
from ...contract.program_engine import Arrays, LoopEngine
from ...contract.result import Result, Spikes
from ...contract.slices import BatchShard
from ...contract.split import spike_numbers
from ...contract.state import TrialState
from .source import Program

FIRST = Buffer("first", ("batch", "rows"), "long", "host")
"""Of every step, number of its first input spike, beginning with the steps before the trial."""


BEGIN, STEP_END, END = range(3)
"""When a program calls its host."""


class Loops(Lowering):
    """The loops of a trial whose input spikes are found by their steps; spikes of `before` steps before it arrive, too.

    carry: it may go on from another one.
    """

    def __init__(self, trial: Trial, before: int, carry: bool, hooks: bool) -> None:
        super().__init__(trial)
        self.before, self.carry, self.hooks = before, carry, hooks
        self.buffers[FIRST.name] = FIRST

    def _of_step(self, step: sp.Expr, body: Body) -> Range:
        """Code for the spikes `INPUT` of a step."""
        first, last = (FIRST.at(SAMPLE, step + self.before + k) for k in (0, 1))
        return Range(INPUT, first, last, tuple(body), kind="long")

    def input_arrivals(self, i: int, body: Body) -> Body:
        spike = self._of_channel(i, self.buffers["channels"].at(INPUT), body)
        return [self._of_step(STEP - self.delay(i), spike)]

    def _arrivals(self, i: int, body: Body) -> Body:
        if self._from_input(i):
            return self.input_arrivals(i, body)
        spikes = self.trial.spikes[self.plan.numbers[self.plan.connections[i].source]]
        return [Entries(SOURCE, spikes, STEP if self.trial.delays[i] else STEP - self.delay(i), tuple(body))]

    def in_time(self, i: int, body: Body) -> Body:
        if self.carry:  # spikes of before the trial that arrived before it
            body = [When(at_least(ARRIVAL, 0), tuple(body))]
        return super().in_time(i, body)

    def forward(self) -> Body:
        begin, *rest = super().forward()
        if not self.carry:
            return [begin, *rest]
        return [begin, Code(f"hook({BEGIN})", (), ()), *self._on_their_way(), *rest, Code(f"hook({END})", (), ())]

    def _on_their_way(self) -> Body:
        """Spikes of before the trial, through delays of their own."""
        body: Body = []
        for o in self.trial.arrivals:
            if self.trial.delays[o.connection]:
                _, *put = self.at_spike(o)
                body.append(self._sent(o.connection, put, -self.before, sp.Integer(0)))
        return body

    def _sent(self, i: int, body: Body, start: int, stop: sp.Expr) -> Range:
        c = self.plan.connections[i]
        if self._from_input(i):
            spikes: Statement = self._of_step(NOW, self._of_channel(i, self.buffers["channels"].at(INPUT), body))
        else:
            spikes = Entries(SOURCE, self.trial.spikes[self.plan.numbers[c.source]], NOW, body)
        return Range(NOW, sp.Integer(start), stop, (spikes,), kind="long")

    def each_sent(self, i: int, body: Body) -> Body:
        return [self._sent(i, body, -self.before if self.carry else 0, self.n_steps)]

    def feed_input(self, o: FeedInput) -> Body:
        (loop,) = super().feed_input(o)
        assert isinstance(loop, Range)
        source, _, *body = loop.body
        return [Range(NOW, sp.Integer(0), self.n_steps, (self._of_step(NOW, [source, *body]),), kind="long")]

    def kernel(self, kernel: Kernel, population: int, after: Iterable[Statement] = ()) -> Body:
        if self.hooks and any(kernel is o.kernel for o in self.trial.advance):
            x = self.trial.scopes[population].x
            body = list(kernel.body)
            end = next(k for k, s in enumerate(body) if isinstance(s, When) and isinstance(s.condition, left_dynamics))
            hook = Code(f"hook({STEP_END}, {population}, [{', '.join(['{}'] * len(x))}])", tuple(x), tuple(x))
            kernel = Kernel((*body[:end], hook, *body[end:]), kernel.table)
        return super().kernel(kernel, population, after)

    def _full(self) -> Body:
        body: Body = []
        for i, p in enumerate(self.plan.populations):
            if p.derived.events and self.trial.scopes[i].adjoint:
                happened = self.buffers[f"p{i}_w_happened"].at(NEURON)
                full = (Set(TROUBLE.at(3), happened), Leave(sp.Integer(-1 - i)))
                body.append(self._neurons(i, [When(above(happened, self.buffers[f"p{i}_room"].at()), full)]))
        return body


class ReferenceClock(LoopEngine):
    """See the module."""

    name = "reference_clock"
    generates = False
    records = True
    observes = frozenset({"grid"})
    options = ("slope_floor",)
    rounded: Callable[[np.ndarray], np.ndarray] | None = None
    """What every step does to the states (B, n, N) at its end, to see what a number format costs."""
    threshold_noise: Mapping[str, str] = {}
    """Where thresholds are drawn: population -> by how much they lie above their means, an expression of its states.

    Then the hazards of spikes that are not born are those of the means, and gradients average to that of the expected
    loss (benchmarks/spike_birth.py)."""

    @classmethod
    def availability(cls) -> Availability:
        return Availability(cls.name, True, "NumPy float64, spikes on the grid; slow, for checking")

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], *, slope_floor: float = 0.0) -> None:
        super().__init__(plan, parameters, slope_floor=slope_floor, dtype="float64")
        self.before = max((_longest(c, plan) for c in plan.connections), default=0)
        self._start: TrialState | None = None
        self._carry = False
        self._kept = Arrays()

    @property
    def trial(self) -> Trial:  # type: ignore[override]
        return self._program(False)[0]

    def _program(self, split: bool) -> tuple[Trial, Program]:
        drawn = tuple(sorted(self.threshold_noise.items()))
        return program_of(self._running_plan, split, self._carry, self.rounded is not None, drawn, self.before)

    def buffers(self, split: bool) -> Iterable[Buffer]:
        return self._program(split)[1].buffers.values()

    def call(self, arguments: Arrays, split: bool, stored: Arrays) -> tuple[int, Arrays]:
        _, program = self._program(split)
        arrays = self._arrays(program, arguments | self._lists(arguments), stored)
        with np.errstate(all="ignore"):
            return int(program.run(arrays, int(arguments["batch"]), self._hook(arrays)) or 0), arrays

    def _arrays(self, program: Program, arguments: Arrays, stored: Arrays) -> Arrays:
        lengths, arrays = self.lengths(arguments), Arrays()
        for name, b in program.buffers.items():
            kind, value = np.dtype(KINDS.get(b.kind, np.int64)), arguments.get(name)
            value = stored.get(name) if value is None else value
            axes = [a if isinstance(a, int) else lengths.get(a, -1) for a in b.axes]
            if name in program.spikes:
                arrays[name] = np.zeros((axes[0], self.before + axes[1], axes[2]), bool) if value is None else value
            elif value is not None:
                array = np.asarray(value, kind)
                arrays[name] = array.reshape(axes) if -1 not in axes and array.size == np.prod(axes) else array
            else:
                arrays[name] = np.zeros([1] * len(axes) if b.role == "host" else axes, kind)
        return arrays

    def _hook(self, arrays: Arrays) -> Callable[..., None]:
        """What a program calls where a trial that goes on begins and ends, and with all states at the end of a step."""

        def hook(when: int, population: int = -1, states: Sequence[np.ndarray] = ()) -> None:
            if when == BEGIN:
                self._go_on(arrays)
            elif when == END:  # the way back goes through the modes again
                self._kept = arrays | {n: a.copy() for n, a in arrays.items() if n.endswith(("_w_mode", "_w_until"))}
            else:
                assert self.rounded is not None
                size = self.plan.populations[population].size
                rounded = self.rounded(np.stack([x.reshape(-1, size) for x in states], axis=1))
                for i, x in enumerate(states):
                    x[...] = rounded[:, i].reshape(-1)

        return hook

    def _lists(self, arguments: Arrays) -> Arrays:
        """The input spikes of a batch by sample and step, after those of the trial before."""
        numbers, sample = spike_numbers(arguments["offsets"], arguments["samples"])
        steps, channels = arguments["steps"][numbers].astype(np.int64), arguments["channels"][numbers]
        B, places = int(arguments["batch"]), {}
        if self._start is not None:
            sent = self._start.sent[self.plan.input.name][:-1].astype(np.int64)
            k, b, m = np.nonzero(sent)
            k, b, m = (np.repeat(i, sent[k, b, m]) for i in (k, b, m))
            order = np.argsort(np.append(b, sample), kind="stable")
            steps, channels = np.append(k - len(sent), steps)[order], np.append(m, channels)[order]
            sample = np.append(b, sample)[order]
            starts = np.searchsorted(sample, np.arange(B))
            places = {"input_start": starts, "input_spikes": len(sample)}
        rows = self.before + self.plan.n_steps + 1
        first = np.searchsorted(sample * rows + steps + self.before, np.arange(B * rows)).reshape(B, rows)
        offsets = np.searchsorted(sample, np.arange(B + 1))
        return {
            "steps": steps, "channels": channels, "offsets": offsets, "samples": np.arange(B), FIRST.name: first,
            **places,
        }  # fmt: skip

    def _spikes(self, out: Arrays) -> Mapping[str, Spikes]:
        spikes = {}
        for i, p in enumerate(self.plan.populations):
            if p.spiking:
                b, k, n = np.nonzero(out[f"p{i}_spikes"][:, self.before + 1 :])
                spikes[p.name] = Spikes(b, (k + 1) * self.plan.dt, n)
        return spikes

    # trials that go on

    def why_stateless(self) -> str:
        return why_not_carried(self.plan)

    def run_from(
        self, data: Data, samples: Any, state: TrialState | None, *, training: bool = False, record_spikes: bool = False
    ) -> tuple[Result, TrialState]:
        if why := self.why_stateless():
            raise EngineError(why)
        self._start, self._carry = state, True
        try:
            result = self.run(data, samples, training=training, record_spikes=record_spikes)
            return result, self._end()
        finally:
            self._start, self._carry = None, False

    def _make_call(self, part: BatchShard, stochastic: bool) -> Arrays:
        return super()._make_call(part, stochastic) | {"rows": self.before + self.plan.n_steps + 1}

    def _arguments(self, data: Data, batch: np.ndarray, part: BatchShard, stochastic: bool) -> Arrays:
        return super()._arguments(data, batch, part, stochastic) | {"fresh": int(self._start is None)}

    def _go_on(self, arrays: Arrays) -> None:
        state = self._start
        for i, p in enumerate(self.plan.populations if state is not None else ()):
            assert state is not None
            for k, v in enumerate(p.derived.states):
                arrays[f"p{i}_x_{v}"][...] = state.states[p.name][:, k]
            for name, value in (("mode", state.modes), ("until", state.until)):
                if f"p{i}_w_{name}" in arrays:
                    arrays[f"p{i}_w_{name}"][...] = value[p.name]
            if p.spiking:
                arrays[f"p{i}_spikes"][:, : self.before + 1] = state.sent[p.name].swapaxes(0, 1) > 0

    def _end(self) -> TrialState:
        """How the trials of the last run ended."""
        arrays, K, states, modes, until, sent = self._kept, self.plan.n_steps, {}, {}, {}, {}
        for i, p in enumerate(self.plan.populations):
            states[p.name] = np.stack([arrays[f"p{i}_x_{v}"] for v in p.derived.states], axis=1)
            none = np.zeros((len(states[p.name]), p.size), np.int64)
            modes[p.name], ends = arrays.get(f"p{i}_w_mode", none), arrays.get(f"p{i}_w_until", none - 1)
            until[p.name] = np.where(ends < 0, -1, ends - K)
            if p.spiking:
                sent[p.name] = arrays[f"p{i}_spikes"][:, K:].swapaxes(0, 1).astype(float)
        B = len(arrays["samples"])
        counts = np.zeros((self.before + K + 1, B, self.plan.input.size))
        of = np.repeat(np.arange(B), np.diff(arrays["offsets"]))
        np.add.at(counts, (arrays["steps"] + self.before, of, arrays["channels"]), 1.0)
        return TrialState(states, modes, until, sent | {self.plan.input.name: counts[K:]})


def _longest(c: ConnectionRecord, plan: Plan) -> int:
    """Steps of the longest delay that a connection may come to have."""
    return c.delay_steps if c.delays is None else int(clock.to_steps(c.delays.limit, plan.dt))


def _derived(p: PopulationRecord) -> PopulationRecord:
    """A population whose model has no hand-written sections."""
    if not p.derived.model.snippets:
        return p
    model = replace(p.derived.model, snippets={}, threshold=None, reset=None)
    return replace(p, derived=replace(p.derived, model=model))


@lru_cache(maxsize=64)
def program_of(
    plan: Plan, split: bool, carry: bool, hooks: bool, drawn: tuple[tuple[str, str], ...], before: int
) -> tuple[Trial, Program]:
    """The trial of a plan, by its equations alone, and its loops."""
    plan = replace(plan, populations=tuple(map(_derived, plan.populations)))
    names = {p.name: dict(zip(p.derived.states, p.derived.x)) for p in plan.populations}
    noise = {n: parse(text, names[n], f"thresholds of {n}") for n, text in drawn}
    trial = make_trial(plan, split=split, carry=carry, record=True, evaluates=True, drawn=noise)
    loops = Loops(trial, before, carry, hooks)
    body, spikes = loops.sample(), {b.name for b in trial.spikes.values()}
    sizes = {f"p{i}_spikes": p.size for i, p in enumerate(plan.populations)}
    buffers = {
        n: replace(b, axes=(*b.axes[:-1], sizes[n]), kind="bool") if n in spikes else b
        for n, b in loops.buffers.items()
    }
    parted = {n for n, b in buffers.items() if "batch" not in b.axes and b.role in PARTED and b != TROUBLE}
    return trial, Program(body, buffers, parted, spikes, before)


PARTED = ("state", "stored", "scratch", "result")
"""Roles of buffers that every sample has a part of."""
KINDS = {"real": np.float64, "double": np.float64, "key": np.uint64}
