"""Trials looked at closely: voltages and adjoints over time, spikes; one at will, or some at chosen epochs of a run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..atomic import replaced_file
from ..data.events.storage import UNREADABLE, open_npz, read_arrays
from ..engines import Engine, ReferenceClock, Spikes
from ..errors import SettingError, suggest
from ..losses.outer import UnavailableLoss
from ..plan import Plan
from .callbacks import Callback

if TYPE_CHECKING:
    from ..data import Events
    from .trainer import Trainer


class Runnable(Protocol):
    """A `Trainer`, or a model loaded from a run folder."""

    @property
    def plan(self) -> Plan: ...
    @property
    def engine(self) -> Engine: ...


@dataclass(frozen=True, eq=False)
class Trial:
    """One trial on the time grid.

    Args:
        times: (T,) ms, start of every step.
        states: population -> state ("V", "lambda_V", ...) -> (T, N).
        spikes: population -> `Spikes` of this trial.
        input_times, input_channels: (E,) ms and channel of every input spike.
        n_inputs: number of input channels.
        label: of the sample, -1 without one.
        thresholds: population -> its v_thresh, where all its neurons have the same one.
        output: the population that decides; "": the last one.
    """

    times: np.ndarray
    states: dict[str, dict[str, np.ndarray]]
    spikes: Mapping[str, Spikes]
    input_times: np.ndarray
    input_channels: np.ndarray
    n_inputs: int
    label: int
    thresholds: Mapping[str, float] = field(default_factory=dict)
    output: str = ""

    @property
    def decides(self) -> str:
        """The output, by its name."""
        return self.output if self.output in self.states else list(self.states)[-1]


def record_trial(model: Runnable, events: Events, index: int) -> Trial:
    """Record sample `index` with the model's current weights, on `reference_clock` in float64.

    A network with exact spike times is recorded on a grid of at most 0.05 ms.

    Adjoints (``lambda_V``...) are there if the sample has a label and the loss is not an `UnavailableLoss`; they belong
    to this sample's loss alone.
    """
    plan = clock_plan(model)
    engine = ReferenceClock(plan, model.engine.parameters)
    sample = events[index : index + 1]
    data = engine.load(sample)
    label = int(data.labels[0])
    scored = bool(data.scored(np.array([0]))[0]) and not isinstance(plan.loss.outer, UnavailableLoss)
    recorded = engine.record(data, [0], adjoint=scored)
    spikes = engine.run(data, [0], record_spikes=True).spikes or {}
    states = {name: {state: values[0] for state, values in part.items()} for name, part in recorded.items()}
    times = np.arange(plan.n_steps) * plan.dt
    inputs = np.asarray(sample.times), np.asarray(sample.channels), plan.input.size
    return Trial(times, states, spikes, *inputs, label, _thresholds(plan), plan.output.name)


def _thresholds(plan: Plan) -> dict[str, float]:
    values = {p.name: np.unique(p.params["v_thresh"].value) for p in plan.populations if "v_thresh" in p.params}
    return {name: float(value[0]) for name, value in values.items() if len(value) == 1}


def clock_plan(model: Runnable) -> Plan:
    """The model's plan on a grid that `reference_clock` can step through."""
    plan = model.plan
    if plan.spike_times == "grid":
        return plan
    return plan.on_grid(plan.n_steps * max(1, math.ceil(plan.dt / 0.05)))


class Record(Callback):
    """Records chosen samples after chosen epochs: spikes, and any state or adjoint of chosen populations.

    Spikes are those of the trainer's own engine (exact times where it has them); states and adjoints come from
    `record_trial`, that is from `reference_clock` with the same weights. Each epoch goes to
    ``recordings/epoch-0001.npz`` of the run folder, to be read with `load_recording`; without a run folder it stays
    in `recordings`, epoch -> sample -> `Trial`.

    Args:
        events: a data set; samples: numbers of samples in it.
        epochs: after which epochs, counted from 1; None: after every one.
        populations: names, None for all. states: e.g. ``("V", "lambda_V")``; () for spikes alone, which costs little.

    Raises:
        SettingError: an unknown population, state or sample.
    """

    checkpointed = False
    first_rank_only = True

    def __init__(
        self,
        events: Events,
        samples: Iterable[int],
        *,
        epochs: Iterable[int] | None = None,
        populations: Iterable[str] | None = None,
        states: Iterable[str] = (),
    ) -> None:
        self.events, self.samples, self.states = events, tuple(int(i) for i in samples), tuple(states)
        self.epochs = None if epochs is None else frozenset(epochs)
        self.populations = None if populations is None else tuple(populations)
        self.recordings: dict[int, dict[int, Trial]] = {}
        outside = [i for i in self.samples if not 0 <= i < len(events)]
        if outside:
            raise SettingError(f"Record: no sample {outside[0]} in a data set of {len(events)}")

    def start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        states_of = {
            p.name: (*p.derived.states, *(f"lambda_{s}" for s in p.derived.states)) for p in trainer.plan.populations
        }
        for name in self.populations or ():
            if name not in states_of:
                raise SettingError(f"Record: no population {name!r} ({suggest(name, states_of)})")
        self.recorded = {name: states_of[name] for name in self.populations or states_of}
        every = {state for states in self.recorded.values() for state in states}
        for state in self.states:
            if state not in every:
                raise SettingError(
                    f"Record: no state {state!r} in {', '.join(self.recorded)} ({suggest(state, every)})"
                )

    def end_epoch(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        epoch = int(metrics["epoch"])
        if self.epochs is not None and epoch not in self.epochs:
            return
        trials = {index: self._trial(trainer, index) for index in self.samples}
        if trainer.folder is None:
            self.recordings[epoch] = trials
        else:
            save_recording(trainer.folder.path / "recordings" / f"epoch-{epoch:04d}.npz", trials)

    def _trial(self, trainer: Trainer, index: int) -> Trial:
        sample = self.events[index : index + 1]
        data = trainer.engine.load(sample)
        spikes = trainer.engine.run(data, [0], record_spikes=True).spikes or {}
        spikes = {name: s for name, s in spikes.items() if name in self.recorded}
        if not self.states:
            inputs = np.asarray(sample.times), np.asarray(sample.channels), trainer.plan.input.size
            return Trial(np.zeros(0), {}, spikes, *inputs, int(data.labels[0]))
        trial = record_trial(trainer, self.events, index)
        states = {
            name: {s: v for s, v in trial.states[name].items() if s in self.states}
            for name, has in self.recorded.items() if set(has) & set(self.states)
        }  # fmt: skip
        return dataclasses.replace(trial, states=states, spikes=spikes)


def save_recording(path: Path, trials: Mapping[int, Trial]) -> None:
    """Write trials, sample number -> `Trial`, as one npz, in one step."""
    arrays: dict[str, np.ndarray] = {}
    for index, trial in trials.items():
        for name in ("times", "input_times", "input_channels", "n_inputs", "label"):
            arrays[f"{index}/{name}"] = np.asarray(getattr(trial, name))
        for name, part in trial.states.items():
            arrays |= {f"{index}/states/{name}/{state}": values for state, values in part.items()}
        for name, s in trial.spikes.items():
            arrays |= {f"{index}/spikes/{name}/{field}": getattr(s, field) for field in ("sample", "time", "neuron")}
    with replaced_file(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load_recording(path: Path | str) -> dict[int, Trial]:
    """Sample number -> `Trial`, as `save_recording` wrote them.

    Raises:
        SettingError: no such file, or not a recording.
    """
    try:
        with open_npz(Path(path)) as file:
            arrays = read_arrays(file, file.files, Path(path))
        parts: dict[int, dict[str, Any]] = {}
        for key, value in arrays.items():
            index, *rest = key.split("/")
            part = parts.setdefault(int(index), {"states": {}, "spikes": {}})
            if len(rest) == 1:
                part[rest[0]] = int(value) if rest[0] in ("n_inputs", "label") else value
            else:
                part[rest[0]].setdefault(rest[1], {})[rest[2]] = value
        for part in parts.values():
            part["spikes"] = {name: Spikes(**fields) for name, fields in part["spikes"].items()}
        return {index: Trial(**part) for index, part in parts.items()}
    except UNREADABLE as error:
        raise SettingError(f"{path} is not a recording ({error})") from None
