"""A trial one step a call, for a network that runs alone: the forward pass, with memory for as long as delays are.

Input of a step: `COUNT` numbers in `SPIKES`, of the inputs that spike, and the means of all currents over the step.
Rows of spikes, of waiting inputs and of currents are used again as soon as nothing can arrive from them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sympy as sp

from ..losses import LossRecord
from ..modelling.expressions import symbol
from ..plan import ConnectionRecord
from .loss_changes import N
from .lower import SOURCE, Body, Lowering
from .nodes import (
    NEURON,
    STEP,
    Access,
    Add,
    Block,
    Buffer,
    Leave,
    Let,
    Range,
    Set,
    When,
    at_least,
    choose,
    name,
    remainder,
)
from .passes import flags, without_unused
from .trial import Trial

COUNT, EVENT, J = symbol("count"), symbol("event"), symbol("j")
SPIKES = Buffer("spikes", ("count",), "int", "argument")
READOUT, SCORE = (Buffer(n, ("outputs",), "double", "argument") for n in ("readout", "score"))
ACTIVITY = Buffer("activity", (), "double", "state")
DIVERGED = -3
"""What a step returns if a state has left its dynamics."""


class Stream(Lowering):
    """The loops of `reset`, `step` and `readout`.

    Args:
        delays: of every connection, in steps; 0 where its synapses have delays of their own. scales: connection, or
            connection of currents, -> what its stored weights are multiplied with. activity: of the input, what a spike
            adds to it and what is left of it after a step; None where the loss does not depend on it.
    """

    def __init__(
        self, trial: Trial, delays: Sequence[int], weights: dict[str, Buffer], scales: dict[str, float],
        activity: tuple[float, float] | None,
    ) -> None:  # fmt: skip
        super().__init__(trial)
        plan, self.delays, self.scales, self.activity = trial.plan, delays, scales, activity
        self.buffers |= weights
        inputs = set(self._inputs())
        self.ring = max((d for i, d in enumerate(delays) if i not in inputs), default=0) + 2
        self.spikes = {b.name: Buffer(b.name, (self.ring, *b.axes[-1:]), b.kind) for b in trial.spikes.values()}
        self.waits = max((delays[i] for i in inputs), default=0) + 1
        self.waiting = Buffer("input", (self.waits, plan.input.size), "short")
        ends = np.cumsum([0, *(c.size for c in plan.currents)]).tolist()
        self.first, channels = {c.name: at for c, at in zip(plan.currents, ends)}, ends[-1]
        self.now = Buffer("currents", (channels,))
        self.flowing = Buffer("flowing", (1 + max((c.delay_steps for c in plan.currents_into), default=0), channels))
        self.drives = {
            (p.name, r): Buffer(f"p{i}_{r}_drive", (p.size,)) for i, p in enumerate(plan.populations) for r in p.drives
        }  # fmt: skip
        new = (SPIKES, READOUT, SCORE, ACTIVITY, self.waiting, self.now, self.flowing, *self.drives.values())
        self.buffers |= self.spikes | {b.name: b for b in new}

    # the frame

    def reset(self) -> Body:
        return self._finished([Let(STEP, 0, "long"), *self.operations(self.trial.begin)])

    def step(self) -> Body:
        body = self._currents() if self.drives else []
        body += self._wait() if self.waits > 1 else []
        if self.activity is None:
            return self._finished([*body, *super().step()])
        jump, left = map(sp.Float, self.activity)
        body.append(Block((Add(ACTIVITY.at(), jump * COUNT),), double=True))
        return self._finished([*body, *super().step(), Block((Set(ACTIVITY.at(), left * ACTIVITY.at()),), double=True)])

    def readout(self) -> Body:
        """Readouts and scores of all outputs, infinite where an output has none."""
        loss, s, r, infinity = self.plan.loss, self.trial.readout.s, name("t", "r"), name("o", "infinity")
        value, score = r, score_of(loss, self.plan.duration, r)
        if loss.readout in ("first_spike", "spike_times"):
            valid = at_least(self.buffers[f"{s.prefix}w_first"].at(N), 0)
            value, score = choose(valid, value, infinity), choose(valid, score, -infinity)
        each = (
            Let(r, self.buffers[f"{s.prefix}w_r"].at(N), "double"),
            Set(READOUT.at(N), value),
            Set(SCORE.at(N), score),
        )
        outputs = Block((Range(N, 0, s.N, each),), double=True)
        return self._finished([*self.operations(self.trial.end), outputs])

    def _finished(self, body: Body) -> Body:
        return without_unused(flags(body, self._row, again=True))

    def _row(self, spikes: Buffer, step: sp.Basic, word: sp.Basic) -> sp.Expr:
        return self.spikes[spikes.name].at(remainder(step, self.ring), word)

    def stop(self, population: int, state: int) -> Body:
        return [Leave(DIVERGED)]

    # elements

    def access(self, a: Access) -> Access:
        of = a.buffer.name
        if of in ("activity", "activity_before"):
            return Access(ACTIVITY, ())
        return Access(self.buffers[of], (NEURON,)) if of.endswith("_drive") else a

    def weight(self, i: int) -> sp.Expr:
        scale = self.scales.get(self.plan.connections[i].name)
        stored = super().weight(i)
        return stored if scale is None else sp.Float(scale) * stored

    # input

    def _wait(self) -> Body:
        """Counts the spikes of a step that arrive later."""
        rows, inputs = self.waiting.axes
        at, now = remainder(STEP, rows), (Set(self.waiting.at(remainder(STEP, rows), N), 0),)
        count = Add(self.waiting.at(at, SPIKES.at(EVENT)), 1)
        return [Range(N, 0, inputs, now), Range(EVENT, 0, COUNT, (count,))]

    def input_arrivals(self, i: int, body: Body) -> Body:
        """Code for the spikes of this step, or for those of an earlier one."""
        c, delay = self.plan.connections[i], self.delays[i]
        if not delay:
            return [Range(EVENT, 0, COUNT, self._of_channel(i, SPIKES.at(EVENT), body))]
        channel = SOURCE + c.channels[0] if c.channels else SOURCE
        count = self.waiting.at(remainder(STEP - delay, self.waiting.axes[0]), channel)
        sources = Range(SOURCE, 0, c.pre, (Range(EVENT, 0, count, body),))
        return [When(at_least(STEP, delay), (sources,))]

    def _currents(self) -> Body:
        """The drives of all neurons, from the currents of this step and of earlier ones."""
        rows, channels = self.flowing.axes
        keep = Set(self.flowing.at(remainder(STEP, rows), J), self.now.at(J))
        body: Body = [Range(J, 0, channels, (keep,))]
        for b in self.drives.values():
            body.append(Range(N, 0, b.axes[0], (Set(b.at(N), 0),)))
        for k, c in enumerate(self.plan.currents_into):
            arriving = self._current(k, c)
            body.append(When(at_least(STEP, c.delay_steps), (arriving,)) if c.delay_steps else arriving)
        return body

    def _current(self, k: int, c: ConnectionRecord) -> Range:
        """What one connection adds to drives."""
        from_, w, s, drive = symbol("from"), symbol("w"), symbol("s"), self.drives[c.target, c.receptor]
        stored, scale = self.buffers[f"k{k}_weight"], self.scales.get(f"k{k}")
        value = lambda at: stored.at(at) if scale is None else sp.Float(scale) * stored.at(at)  # noqa: E731
        add = Add(drive.at(N), from_ * w)
        if f"k{k}_start" in self.buffers:
            start, target, of = (self.buffers[f"k{k}_{n}"] for n in ("start", "target", "weight_of"))
            one = (Let(N, target.at(s), "int"), Let(w, value(of.at(s))), add)
            each = Range(s, start.at(J), start.at(J + 1), one)
        else:
            each = Range(N, 0, c.post, (Let(w, value(J * c.post + N)), add))
        row = remainder(STEP - c.delay_steps, self.flowing.axes[0])
        arriving = Let(from_, self.flowing.at(row, J + self.first[c.source]))
        return Range(J, 0, c.pre, (arriving, each))


def score_of(loss: LossRecord, duration: float, r: sp.Expr) -> sp.Expr:
    """The score of an output with the readout r, which decides."""
    values = {"T": sp.Float(duration), **{k: sp.Float(v) for k, v in loss.constants.items()}, "r": r}
    return loss.expressions[0].xreplace({sp.Symbol(k, real=True): v for k, v in values.items()})
