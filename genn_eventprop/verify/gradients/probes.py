"""A plan with probes: input channels of its own that shift any state of any neuron, at any step.

Every neuron gets receptors that move each of its states by themselves, and an event that sends no spike, to shift a
state at a step before anything arrives there: an arrival of the step before says by how much and that it is due. So
forward runs of any engine, as they are, show how a loss depends on every state at fixed spikes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ...adjoint import derive
from ...data import Events
from ...modelling import Event, NeuronModel
from ...plan import ConnectionRecord, InputRecord, Plan, PopulationRecord

PREFIX = "probe_"
DUE = "probe_due"


@dataclass(frozen=True, eq=False)
class Shift:
    """States of one population that move by `by` (n, N): with the arrivals of `step`, or `before` them."""

    population: str
    step: int
    by: np.ndarray
    before: bool = False


@dataclass(frozen=True, eq=False)
class Probe:
    """Shifts in the trial of one sample."""

    sample: int
    shifts: tuple[Shift, ...]


@lru_cache(maxsize=256)
def probed(model: NeuronModel) -> NeuronModel:
    """The neuron with its probes; hand-written snippets are left out, which are for its own states."""
    shifts = {f"{PREFIX}{s}": 0.0 for s in model.state}
    event = Event("probe", f"{DUE} - 0.5", {s: f"{s} + {PREFIX}{s}" for s in model.state} | {DUE: 0.0}, emits=False)
    receptors = {f"shift_{s}": {s: 1} for s in (*model.state, *shifts, DUE)}
    return replace(
        model, name=f"{model.name}Probed", state={**model.state, **shifts, DUE: 0.0},
        dynamics={**model.dynamics, **shifts, DUE: 0.0}, threshold=None, reset=None, events=(*model.events, event),
        input={**model.receptors, **receptors}, snippets={},
    )  # fmt: skip


class Probes:
    """`plan` with room for probes, one channel for every step of each.

    Args:
        probes: what is shifted.
    """

    def __init__(self, plan: Plan, probes: Sequence[Probe]) -> None:
        self.probes, self.inputs = probes, plan.input.size
        self.dt = plan.dt
        self.places = [(i, step) for i, p in enumerate(probes) for step in sorted({_step(s) for s in p.shifts})]
        self.channel = {place: q for q, place in enumerate(self.places)}
        self.plan = self._extended(plan)

    def _extended(self, plan: Plan) -> Plan:
        M, Q = self.inputs, len(self.places)
        parts = plan.input.parts or ((plan.input.name, (0, M)),)
        source = InputRecord(f"{plan.input.name}+probe", M + Q, (*parts, ("probe", (M, M + Q))))
        connections = [
            replace(c, source=source.name, channels=c.channels or (0, M)) if c.source == plan.input.name else c
            for c in plan.connections
        ]
        populations = []
        for p in plan.populations:
            moved = self._shifted(p)
            populations.append(replace(p, derived=derive(probed(p.derived.model))) if moved else p)
            connections += [self._connection(source.name, p, s, M, Q) for s in moved]
        return replace(plan, input=source, populations=tuple(populations), connections=tuple(connections))

    def _shifted(self, p: PopulationRecord) -> list[str]:
        """The states that some probe moves in a population."""
        own = [s for s in p.derived.states if not s.startswith(PREFIX)]
        shifts = [s for probe in self.probes for s in probe.shifts if s.population == p.name]
        found = {s: any(x.by[i].any() for x in shifts if not x.before) for i, s in enumerate(own)}
        found |= {PREFIX + s: any(x.by[i].any() for x in shifts if x.before) for i, s in enumerate(own)}
        found[DUE] = any(x.before for x in shifts)
        return [s for s, moved in found.items() if moved]

    def _connection(self, source: str, p: PopulationRecord, state: str, M: int, Q: int) -> ConnectionRecord:
        return ConnectionRecord(
            name=f"probe_{p.name}_{state}", source=source, target=p.name, pre=Q, post=p.size,
            receptor=f"shift_{state}", delay=0.0, delay_steps=0, trainable=False, form="dense",
            weight_shape=(Q, p.size), channels=(M, M + Q),
        )  # fmt: skip

    def weights(self, scale: float) -> dict[str, np.ndarray]:
        """Values of the probes' connections, for shifts `scale` times as large as they say."""
        found: dict[str, np.ndarray] = {}
        for p in self.plan.populations:
            own = [s for s in p.derived.states if not s.startswith(PREFIX)]
            found |= {f"probe_{p.name}_{s}.weight": np.zeros((len(self.places), p.size)) for s in self._shifted(p)}
            for i, probe in enumerate(self.probes):
                for x in (x for x in probe.shifts if x.population == p.name):
                    q = self.channel[i, _step(x)]
                    for j, s in enumerate(own):
                        name = f"probe_{p.name}_{PREFIX if x.before else ''}{s}.weight"
                        if name in found:
                            found[name][q] += scale * x.by[j]
                    if x.before:
                        found[f"probe_{p.name}_{DUE}.weight"][q] = 1.0 * np.any(x.by != 0, axis=0)
        return found

    def events(self, events: Events) -> Events:
        """The trial of every probe, one sample each: the input of its sample, and what it shifts."""
        samples = []
        for i, probe in enumerate(self.probes):
            times, channels = events.sample(probe.sample)
            own = [(q, step) for (j, step), q in self.channel.items() if j == i]
            times = np.concatenate([times, [step * self.dt for _, step in own]])
            channels = np.concatenate([channels, [self.inputs + q for q, _ in own]]).astype(np.int64)
            order = np.argsort(times, kind="stable")
            samples.append((times[order], channels[order]))
        which = np.array([p.sample for p in self.probes], dtype=np.int64)
        return repeated(events, which, samples, self.inputs + len(self.places))


def repeated(
    events: Events, which: np.ndarray, samples: Sequence[tuple[np.ndarray, np.ndarray]], channels: int
) -> Events:
    """Samples with the labels and targets of samples `which` of others."""
    labels = None if events.labels is None else np.asarray(events.labels)[which]
    targets = None if events.targets is None else np.asarray(events.targets)[which]
    return Events.from_samples(samples, channels, labels=labels, targets=targets, n_classes=events.n_classes)


def _step(shift: Shift) -> int:
    """The step at which a shift arrives."""
    return shift.step - 1 if shift.before else shift.step
