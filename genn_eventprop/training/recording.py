"""Trials looked at closely: voltages and adjoints over time, spikes; one at will, or some at chosen epochs of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..atomic import replaced_file
from ..data.events import check
from ..data.events.storage import UNREADABLE, open_npz, read_arrays
from ..data.inputs import DataSet, require_data, split_inputs
from ..engines import Engine, Spikes, create
from ..errors import EngineError, SettingError, ToolchainError, check_known
from ..losses.outer import UnavailableLoss
from ..plan import Plan
from .callbacks import Callback

if TYPE_CHECKING:
    from .trainer import Trainer


class Runnable(Protocol):
    """A `Trainer`, or a model loaded from a run folder."""

    @property
    def plan(self) -> Plan: ...
    @property
    def engine(self) -> Engine: ...


@dataclass(frozen=True, eq=False)
class Trial:
    """One trial over time.

    Args:
        times: (T,) ms: on the grid the start of every step; with exact spike times finer ones, and those of spikes.
        states: population -> state ("V", "lambda_V", ...) -> (T, N).
        spikes: population -> `Spikes` of this trial.
        input_times, input_channels: (E,) ms and channel of every input spike.
        n_inputs: number of input channels.
        label: of the sample, -1 without one.
        thresholds: population -> its v_thresh, where all its neurons have the same one.
        output: the population that decides; "": the last one.
        duration: of the trial, ms; 0: it ends one step after the last of `times`.
        engine: the one that ran it; "" if unknown.
        currents: name -> ((V, M) values, ms of each).

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, spike_times="grid", progress=False)
        >>> trial = record_trial(trainer, events, 0)
        >>> trial.states["hidden"]["V"].shape == (len(trial.times), 8)
        True
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
    duration: float = 0.0
    engine: str = ""
    currents: Mapping[str, tuple[np.ndarray, float]] = field(default_factory=dict)

    @property
    def end(self) -> float:
        """ms at which the trial ends."""
        return self.duration or float(self.times[-1] + (self.times[1] if len(self.times) > 1 else 0.0))

    @property
    def decides(self) -> str:
        """The output, by its name."""
        return self.output if self.output in self.states else list(self.states)[-1]


def record_trial(model: Runnable, events: DataSet, index: int) -> Trial:
    """Record sample `index` as the model's own engine runs it, with its current weights, dt and spike times.

    On the grid, states are those of every step. With exact spike times they are known at any time: here at `POINTS`
    times, and right before and after each spike if there are no more than `MOST_SPIKES`. Where the engine cannot record
    (`Engine.records`: cuda and genn), `native` runs the same plan with the same weights, or else a reference;
    `Trial.engine` says which it was.

    Adjoints (``lambda_V``...) are there if the sample has a label and the loss is not an `UnavailableLoss`; they belong
    to this sample's loss alone.

    Args:
        model: a `Trainer`, or what `load` gave.
        events: a data set. index: number of the sample in it.

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, progress=False)
        >>> sorted(record_trial(trainer, events, 3).states["output"])
        ['I', 'V', 'lambda_I', 'lambda_V']
    """
    plan, engine = model.plan, model.engine
    index = range(len(events))[check.sample_indices([index], len(events), "record_trial")[0]]
    if not engine.records:
        engine = _recorder(plan, engine)
    sample = events[index : index + 1]
    data = engine.load(sample)
    label = int(data.labels[0])
    scored = bool(data.scored(np.array([0]))[0]) and not isinstance(plan.loss.outer, UnavailableLoss)
    # a run of its own: with exact spike times the times to record depend on where the spikes are
    spikes = dict(engine.run(data, [0], record_spikes=True).spikes or {})
    times = None if plan.spike_times == "grid" else _times(plan.duration, [s.time for s in spikes.values()])
    recorded = engine.record(data, [0], adjoint=scored, times=times)
    states = {name: {state: values[0] for state, values in part.items()} for name, part in recorded.items()}
    times = np.arange(plan.n_steps) * plan.dt if times is None else times
    return Trial(
        times, states, spikes, *_spikes_in(sample, plan), label, _thresholds(plan), plan.output.name, plan.duration,
        engine.name, {c.name: (np.asarray(data.currents[c.name].values[0]), c.dt) for c in plan.currents},
    )  # fmt: skip


def _recorder(plan: Plan, engine: Engine) -> Engine:
    """The same plan with the weights of `engine`, on `native`, whose trials are those of any other engine up to
    rounding; where that does not run, on the reference."""
    try:
        return create(plan, engine.parameters, engine="native")
    except (EngineError, ToolchainError):
        reference = {"grid": "reference_clock", "exact": "reference_event"}[plan.spike_times]
        return create(plan, engine.parameters, engine=reference)


def _spikes_in(sample: DataSet, plan: Plan) -> tuple[np.ndarray, np.ndarray, int]:
    """Times (E,) and channels (E,) of the input spikes of one sample, and the number of channels."""
    spikes, _ = split_inputs(sample, plan.input.sizes, {c.name: c.size for c in plan.currents})
    return np.asarray(spikes.times), np.asarray(spikes.channels), plan.input.size


POINTS = 1000
"""Times at which a trial with exact spike times is drawn, besides those of its spikes."""
MOST_SPIKES = 1000
"""Of more spikes the times are not added: no picture shows them one by one."""


def recorded_times(plan: Plan) -> int:
    """At how many times `record_trial` records, at most."""
    return plan.n_steps if plan.spike_times == "grid" else POINTS + 2 * MOST_SPIKES


def _times(duration: float, spikes: list[np.ndarray]) -> np.ndarray:
    """Times to record: at a spike V is still at its threshold, and right behind it at the reset."""
    grid, every = np.linspace(0.0, duration, POINTS), np.concatenate([np.zeros(0), *spikes])
    if len(every) > MOST_SPIKES:
        return grid
    return np.unique(np.clip(np.concatenate([grid, every, every + 1e-5 * duration]), 0.0, duration))


def _thresholds(plan: Plan) -> dict[str, float]:
    values = {p.name: np.unique(p.params["v_thresh"].value) for p in plan.populations if "v_thresh" in p.params}
    return {name: float(value[0]) for name, value in values.items() if len(value) == 1}


class Record(Callback):
    """Records chosen samples after chosen epochs: spikes, and any state or adjoint of chosen populations.

    All come from the trainer's own engine, by `record_trial`. Each epoch goes to
    ``recordings/epoch-0001.npz`` of the run folder, to be read with `load_recording`; without a run folder it stays
    in `recordings`, epoch -> sample -> `Trial`.

    Args:
        events: a data set.
        samples: numbers of samples in it.
        epochs: after which epochs, counted from 1; None: after every one.
        populations: names, None for all.
        states: e.g. ``("V", "lambda_V")``; () for spikes alone, which costs little.

    Example:
        >>> record = Record(events, [0, 1], populations=["hidden"], states=["V"])
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, callbacks=[record], progress=False)
        >>> results = trainer.fit(events, epochs=2)
        >>> sorted(record.recordings), sorted(record.recordings[2])
        ([1, 2], [0, 1])

    Raises:
        SettingError: an unknown population, state or sample.
    """

    checkpointed = False
    first_rank_only = True

    def __init__(
        self,
        events: DataSet,
        samples: Iterable[int],
        *,
        epochs: Iterable[int] | None = None,
        populations: Iterable[str] | None = None,
        states: Iterable[str] = (),
    ) -> None:
        events = require_data(events, "data set to record")
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
            check_known(name, states_of, SettingError, f"Record: no population {name!r} (")
        self.recorded = {name: states_of[name] for name in self.populations or states_of}
        every = {state for states in self.recorded.values() for state in states}
        for state in self.states:
            check_known(state, every, SettingError, f"Record: no state {state!r} in {', '.join(self.recorded)} (")

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
        sample: DataSet = self.events[index : index + 1]
        data = trainer.engine.load(sample)
        spikes = trainer.engine.run(data, [0], record_spikes=True).spikes or {}
        spikes = {name: s for name, s in spikes.items() if name in self.recorded}
        if not self.states:
            return Trial(np.zeros(0), {}, spikes, *_spikes_in(sample, trainer.plan), int(data.labels[0]))
        trial = record_trial(trainer, self.events, index)
        states = {
            name: {s: v for s, v in trial.states[name].items() if s in self.states}
            for name, has in self.recorded.items() if set(has) & set(self.states)
        }  # fmt: skip
        return dataclasses.replace(trial, states=states, spikes=spikes)


NUMBERS: Mapping[str, Any] = {"n_inputs": int, "label": int, "duration": float}
"""Fields of a `Trial` that are single numbers."""


def save_recording(path: Path, trials: Mapping[int, Trial]) -> None:
    """Write trials, sample number -> `Trial`, as one npz, in one step."""
    arrays: dict[str, np.ndarray] = {}
    for index, trial in trials.items():
        for name in ("times", "input_times", "input_channels", *NUMBERS, "engine"):
            arrays[f"{index}/{name}"] = np.asarray(getattr(trial, name))
        for name, (values, dt) in trial.currents.items():
            arrays |= {f"{index}/currents/{name}/values": values, f"{index}/currents/{name}/dt": np.asarray(dt)}
        for name, part in trial.states.items():
            arrays |= {f"{index}/states/{name}/{state}": values for state, values in part.items()}
        for name, s in trial.spikes.items():
            arrays |= {f"{index}/spikes/{name}/{field}": getattr(s, field) for field in ("sample", "time", "neuron")}
    with replaced_file(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load_recording(path: Path | str) -> dict[int, Trial]:
    """Sample number -> `Trial`, as `Record` wrote them.

    Args:
        path: a file ``recordings/epoch-0001.npz`` of a run folder.

    Example:
        >>> record = Record(events, [0])
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, callbacks=[record], progress=False, run_dir="run")
        >>> results = trainer.fit(events, epochs=1)
        >>> sorted(load_recording("run/recordings/epoch-0001.npz"))
        [0]

    Raises:
        SettingError: no such file, or not a recording.
    """
    try:
        with open_npz(Path(path)) as file:
            arrays = read_arrays(file, file.files, Path(path))
        parts: dict[int, dict[str, Any]] = {}
        for key, value in arrays.items():
            index, *rest = key.split("/")
            part = parts.setdefault(int(index), {"states": {}, "spikes": {}, "currents": {}})
            if len(rest) == 1:
                part[rest[0]] = NUMBERS[rest[0]](value) if rest[0] in NUMBERS else value
            else:
                part[rest[0]].setdefault(rest[1], {})[rest[2]] = value
        for part in parts.values():
            part["currents"] = {name: (of["values"], float(of["dt"])) for name, of in part["currents"].items()}
            part["spikes"] = {name: Spikes(**fields) for name, fields in part["spikes"].items()}
            part["engine"] = str(part.get("engine", ""))
        return {index: Trial(**part) for index, part in parts.items()}
    except UNREADABLE as error:
        raise SettingError(f"{path} is not a recording ({error})") from None
