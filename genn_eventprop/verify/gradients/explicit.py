"""What a readout itself says of the time of a spike, besides what its states say: dl_p/dt, and l(x-) - l(x+).

A readout of spikes is a function of spike times alone. It is evaluated by the engine, with the output replaced by
neurons that spike when they are told to (`RELAY`), on a grid fine enough that differences of spike times are
derivatives. Of readouts of V the built-in ones are told here in a few lines: an integral, V in between two instants,
and the maximum at an arrival. One's own readout of V can be checked where no event makes V jump.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from ...adjoint import derive
from ...data import Events
from ...engines.contract.data import Data
from ...engines.contract.engine import Engine
from ...errors import EngineError, SettingError
from ...losses import LossRecord
from ...losses.kinds import READOUTS
from ...modelling import NeuronModel, Param
from ...plan import ConnectionRecord, InputRecord, Plan, PopulationRecord
from ...plan.coefficients import integrand_weight
from .delay_groups import DelayGroup
from .probes import repeated
from .simulation import Simulation

RELAY = NeuronModel(
    name="Relay",
    state={"V": 0.0},
    params={"tau_mem": Param(20.0, "ms")},
    dynamics={"V": "-V / tau_mem"},
    threshold="V - 0.5",
    reset={"V": 0.0},
    input="V",
)
FINER = 16  # steps of a fine grid in one of the plan's
SPREAD = 1e-4  # of a readout, the step of differences of the outer loss

STENCILS = {
    0: {-3: -1 / 60, -2: 3 / 20, -1: -3 / 4, 1: 3 / 4, 2: -3 / 20, 3: 1 / 60},
    -1: {0: 49 / 20, -1: -6.0, -2: 15 / 2, -3: -20 / 3, -4: 15 / 4, -5: -6 / 5, -6: 1 / 6},
}
"""Offset -> factor of a first derivative of order 6: between, and behind."""


class Explicit:
    """Of every loss of a plan, for the batch mean.

    Args:
        trial: a run of the equations with the same spikes.
    """

    def __init__(
        self, plan: Plan, engine: Engine, make: Callable[[Plan, Mapping[str, np.ndarray]], Engine], events: Events,
        trial: Simulation, data: Data,
    ) -> None:  # fmt: skip
        self.plan, self.engine, self.make = plan, engine, make
        self.events, self.trial, self.data = events, trial, data
        self.B = len(events)
        self.samples = np.arange(self.B)
        self.losses = {loss.output: loss for loss in plan.losses}
        self.of_times = {name: self._times(loss) for name, loss in self.losses.items() if _of_spikes(loss)}
        for loss in self.losses.values():
            self._check(loss)

    def samples_steps(self, population: str) -> bool:
        """Whether a loss looks at V of single steps there, so that it matters whether V moves before it or after."""
        readouts = self.losses[population].readouts if population in self.losses else ()
        return any(READOUTS[r].reads_state and (r == "max" or not READOUTS[r].everywhere) for r in readouts)

    def own(self, population: str, step: int, b: int, n: int, before: np.ndarray, after: np.ndarray) -> float:
        """Of an own spike; before, after: (B, n, N) states."""
        if population in self.of_times:
            return self.of_times[population].get((b, n, step), 0.0)
        if population not in self.losses:
            return 0.0
        loss, v = self.losses[population], self.v(population)
        V, jumped = before[b, v], after[b, v]
        if loss.readout == "integral":
            at = float(self._at(loss)[step])
            return float(at * self._slope(loss)[b, n] * (V - jumped)[n])
        if loss.readout == "voltage":
            return self._pointwise(loss, step, b, V) - self._pointwise(
                loss, step, b, np.where(np.arange(len(V)) == n, jumped, V)
            )
        return 0.0

    def arrival(self, c: DelayGroup, step: int, b: int, w: np.ndarray, e: np.ndarray) -> float:
        """Of an arrival of weights w (N,) through a connection; e (n, N)."""
        if c.target not in self.losses:
            return 0.0
        loss, v = self.losses[c.target], self.v(c.target)
        if loss.readout == "integral":
            return float(-self._at(loss)[step] * (self._slope(loss)[b] * e[v] * w).sum())
        if loss.readout == "voltage" and e[v].any():
            V = self._before(c.target, step)[0][b, v]
            return self._pointwise(loss, step, b, V) - self._pointwise(loss, step, b, V + w * e[v])
        if loss.readout == "max":
            return float((self._kinks(loss, step)[b] * np.minimum(w, 0.0)).sum())
        return 0.0

    def _check(self, loss: LossRecord) -> None:
        """Raise `SettingError` where nothing here says what the readout does with the time of a spike."""
        p = self.plan.population(loss.output)
        moves = any(
            np.any(self.trial._vector(p, "direction", c.receptor)[self.v(p.name)])
            for c in self.trial.connections.into(p.name)
        )
        mine = [r for r in loss.readouts if not READOUTS[r].everywhere and READOUTS[r].reads_state]
        jumps = p.spiking or moves
        where = f"the loss of {loss.output!r}"
        if mine and jumps:
            raise SettingError(
                f"{where} reads {mine[0]!r}, a readout of V of its own, where V jumps at spikes: what that says of the "
                "time of a spike cannot be measured on the grid; check it on an output that never spikes, whose input "
                "acts on a current"
            )
        if loss.readout == "max" and moves:
            raise SettingError(f"{where}: the maximum of V where arrivals move V at once is not covered by this check")
        if loss.also and (jumps or "max" in loss.readouts) and not _of_spikes(loss):
            raise SettingError(
                f"{where} reads several readouts in one pass, some of V, where V has jumps or kinks; check "
                "each by itself"
            )

    def v(self, population: str) -> int:
        """The index of the state that losses read."""
        p = self.plan.population(population)
        v = p.derived.model.readout
        return p.derived.states.index(v) if v in p.derived.states else 0

    def _at(self, loss: LossRecord) -> np.ndarray:
        """(T + 1,) w / T at every step."""
        return integrand_weight(self.plan.read_at(loss.output))

    # readouts of spikes

    def _times(self, loss: LossRecord) -> dict[tuple[int, int, int], float]:
        """(sample, neuron, step) of every own spike -> dL/dt, from runs of the engine on spikes that it is told."""
        p, dt = self.plan.population(loss.output), self.plan.dt / FINER
        spikes = self.trial.traces[p.name].spikes
        last = self.plan.n_steps * FINER
        trains = [[(k * FINER, n) for k, n in zip(*np.nonzero(spikes[:, b]))] for b in range(self.B)]
        cases: list[tuple[tuple[int, int, int] | None, float, int, list[tuple[int, int]]]]
        cases = [(None, 0.0, b, train) for b, train in enumerate(trains)]
        for b, train in enumerate(trains):
            for i, (k, n) in enumerate(train):
                stencil = STENCILS[0 if k + 3 <= last else -1]
                for offset, factor in stencil.items():
                    moved = [*train[:i], (k + offset, n), *train[i + 1 :]]
                    cases.append(((b, int(n), k // FINER), factor / dt, b, moved))
        told = [
            (np.array([(k - 1) * dt for k, _ in x]), np.array([n for _, n in x], dtype=np.int64))
            for x in (sorted(train) for *_, train in cases)
        ]
        events = repeated(self.events, np.array([b for _, _, b, _ in cases]), told, p.size)
        found = self._on_relays(loss, p, events)
        self._agrees(loss, found[: self.B])
        slopes: dict[tuple[int, int, int], float] = {}
        for (key, factor, _, _), value in zip(cases, found):
            if key is not None:
                slopes[key] = slopes.get(key, 0.0) + factor * float(value) / self.B
        return slopes

    def _on_relays(self, loss: LossRecord, p: PopulationRecord, events: Events) -> np.ndarray:
        """(S,) this loss of samples whose input says when each output spikes, one fine step before it does."""
        relay = PopulationRecord(p.name, p.size, derive(RELAY), dict(RELAY.params), frozenset(), ())
        tell = ConnectionRecord(
            name="tell", source="told", target=p.name, pre=p.size, post=p.size, receptor="input", delay=0.0,
            delay_steps=0, trainable=False, form="dense", weight_shape=(p.size, p.size),
        )  # fmt: skip
        plan = replace(
            self.plan, input=InputRecord("told", p.size), populations=(relay,), connections=(tell,), loss=loss,
            auxiliary=(), trainable=(), limits={}, decays={}, pushes=(),
        ).on_grid(self.plan.n_steps * FINER)  # fmt: skip
        values = {"tell.weight": np.eye(p.size), f"{p.name}.tau_mem": np.array([20.0])}
        engine = self.make(plan, values)
        return np.asarray(engine.run(engine.load(events), np.arange(len(events))).loss, np.float64)

    def _agrees(self, loss: LossRecord, found: np.ndarray) -> None:
        """Raise `EngineError` unless the loss is a function of spike times alone."""
        result = self.engine.run(self.data, self.samples)
        own = result.parts[loss.output].loss * loss.factor if self.plan.auxiliary else result.loss
        if not np.allclose(found, own, rtol=1e-9, atol=1e-9):
            raise EngineError(
                f"the loss of {loss.output!r} is {float(np.mean(own)):.9g} in the trial, and "
                f"{float(np.mean(found)):.9g} where the same spikes come without it: {loss.readout!r} is no function "
                "of spike times alone; register it with reads_state=True"
            )

    # readouts of V

    def _slope(self, loss: LossRecord) -> np.ndarray:
        """(B, K) dL/dr of the batch mean, by differences of the outer loss."""
        result = self.engine.run(self.data, self.samples)
        r = np.asarray(result.parts[loss.output].readout if self.plan.auxiliary else result.readout, np.float64)
        y, T = self.data.for_loss(loss).targets_of(self.samples), self.plan.duration
        valid, slope = np.isfinite(r), np.zeros_like(r)
        for n in range(r.shape[1]):
            by = np.where(np.arange(r.shape[1]) == n, SPREAD, 0.0)
            value = {m: loss.evaluate(r + m * by, valid, y, T)[0] for m in (-2, -1, 1, 2)}
            slope[:, n] = (8 * (value[1] - value[-1]) - (value[2] - value[-2])) / (12 * SPREAD)
        return slope * loss.factor / self.B

    def _pointwise(self, loss: LossRecord, step: int, b: int, V: np.ndarray) -> float:
        """w / T l(V) at an instant, of the step that begins there."""
        y = self.data.for_loss(loss).targets_of(self.samples)[b]
        if loss.compares == "targets":
            y = np.where(np.isnan(y[min(step + 1, self.plan.n_steps)]), np.nan, y[step])
        value = loss.pointwise(V[None], np.asarray(y)[None], self.plan.duration)[0][0]
        return float(value * self._at(loss)[step] * loss.factor / self.B)

    def _before(self, population: str, step: int) -> tuple[np.ndarray, np.ndarray]:
        """(B, n, N) states before the arrivals of a step, and after them."""
        after = self.trial.traces[population].x[step]
        return after - self.trial._arrivals(self.plan.population(population), step), after

    @cached_property
    def _largest(self) -> dict[str, np.ndarray]:
        """(B, N) the step at which V is largest, before arrivals."""
        found = {}
        for name in self.losses:
            v = self.v(name)
            V = [self._before(name, k)[0][:, v] for k in range(self.plan.n_steps)]
            found[name] = np.argmax(np.stack([*V, self.trial.populations[name].x[:, v]]), axis=0)
        return found

    def _kinks(self, loss: LossRecord, step: int) -> np.ndarray:
        """(B, N) of a unit of negative weight: dL/dr dV/dt before arrivals that end the rise of V, shared by them."""
        name, v = loss.output, self.v(loss.output)
        pop, (before, after) = self.trial.populations[name], self._before(name, step)
        mode = self.trial.traces[name].modes[step]
        rises, goes_on = pop.f(before, mode)[:, v], pop.f(after, mode)[:, v]
        kink = (self._largest[name] == step) & (rises > 0) & (goes_on <= 0)
        total = np.zeros(kink.shape)
        for c in self.trial.connections.into(name):
            total += self.trial._source_spikes(c, step - c.delay_steps) @ np.minimum(c.weight, 0.0)
        if not kink.any():
            return np.zeros(kink.shape)
        return np.where(kink & (total < 0), self._slope(loss) * rises / np.where(total < 0, total, 1.0), 0.0)


def _of_spikes(loss: LossRecord) -> bool:
    return not any(READOUTS[r].reads_state for r in loss.readouts)


def by_sign(by: np.ndarray, v: int) -> Sequence[tuple[np.ndarray, float]]:
    """Shifts (n, N) as those that lower state v and the opposite of those that raise it: (shift, factor)."""
    lowers = by[v] <= 0
    parts = [(np.where(lowers, by, 0.0), 1.0), (np.where(lowers, 0.0, -by), -1.0)]
    return [(part, factor) for part, factor in parts if part.any()] or [(by, 1.0)]
