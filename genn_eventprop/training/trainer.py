"""`Trainer`: fit a network to labelled spikes, evaluate it, predict with it, interrupt and resume."""

from __future__ import annotations

import contextlib
import importlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compile import create, make_plan
from ..data.inputs import DataSet, require_data
from ..data.optional import require
from ..data.target_scale import TargetScale, has_step_labels
from ..description import Described
from ..distributed import Alone, RankError, Ranks, ranks_of
from ..distributed.engine import RankedEngine
from ..engines import Data, Engine, engine_class
from ..engines.contract.memory import check_training
from ..engines.spike_times import EXACT_DT, GRID_DT, Choice, check_spike_times, choose_spike_times, coarse_step
from ..errors import CheckpointError, DeviceError, HungUp, SettingError, Stopped, Terminated, whole
from ..integer.profile import PROFILES, Profile, as_profile
from ..losses import Function, Loss, as_losses
from ..losses.outer import UnavailableLoss
from ..modelling import Network
from ..optimisers import Adam, Constant, Optimiser, Schedule, check_patterns
from ..optimisers import Progress as ScheduleProgress
from ..output import say
from ..recipes import RELATIVE_RATE, epochs_for
from ..regularisers import Regulariser
from ..runs.checkpoint import Checkpoint, load_checkpoint, load_latest, save_checkpoint
from ..runs.fingerprint import check_same, describe_loss, describe_network, describe_regulariser
from ..runs.run_folder import RunFolder
from ..runs.run_lock import check_writer, lock_for_writing
from ..runs.weights import fitting_weights, save_weights
from .accounting import accounting
from .batches import Batches, batches_of
from .callbacks import Callback, Progress, remedy
from .checks import (
    check_arguments,
    check_batch,
    check_names,
    check_parameters,
    check_together,
    data_notes,
    late_delays,
)
from .class_weights import ClassWeights, Weighting
from .compared import Baselines, compared
from .device import Device, DeviceEngine, InTheLoop
from .diagnosis import Facts, Finding, diagnose
from .epoch_statistics import EpochStatistics
from .evaluator import Evaluation, Evaluator, Samples, as_data, preprocessed
from .integer_forward import IntegerForward
from .label_steps import with_label_steps
from .parameter_sets import ParameterSets
from .results import delay_metrics, epoch_metrics, gradient_norms, history, relative_steps, run_results
from .run_files import write_model, write_start
from .runtime_estimate import RuntimeEstimate, estimate_runtime
from .seeds import Streams
from .state import TrainingState, pack, unpack, write_parameters
from .stateful import (
    MEMORY,
    RecordingEngine,
    StatefulEngine,
    count_recordings,
    engine_of_recordings,
    in_bytes,
    in_order,
)
from .weights_from_data import WeightsFromData, evenly, input_spikes

if TYPE_CHECKING:
    from ..data import Currents, Events
    from ..data.augment.augmented import Augmented
    from ..data.augment.batchwise import Step
    from ..data.events.splits import HeldOutTestSet


NOT_SHARED = ("self", "network", "loss", "optimiser", "run_dir", "communicator", "engine_options")
"""Arguments of a trainer that another one with the same settings does not share."""
SET_LATER = (
    "page", "preprocessing", "n_channels", "class_names", "config", "figure_bytes", "choice", "made_with", "recorded",
    "data_sets",
)  # fmt: skip
"""Attributes of a trainer that are set after it was made."""
OWN_DATA = "genn_eventprop.experiments.own_data"
"""The page whose trainer `Trainer.auto` returns. Pages stand above this stage, and are loaded by name."""


REASONS = (KeyboardInterrupt, Terminated, HungUp)
"""Why a training was interrupted; ranks tell each other the number, from 1."""


class Trainer:
    """Trains one network on one engine.

    Args:
        network: what to train.
        loss: names the output population. Several losses add up, each times its factor: ``[0.8 * A(output),
            0.2 * B(hidden)]``; the first one determines predictions.
        duration: trial length in ms.
        dt: time step in ms; default: 1 with exact spike times, 0.1 on the grid.
        spike_times: "grid", "exact", or "auto", which takes exact ones where they are expected to pay and says in one
            line which it took and why (`engines.spike_times`); dense data can change that in `fit`.
        engine: name of an engine, or "auto" for the fastest that this machine can run; options that only this
            engine has follow its name, "cuda(device=1)", or are arguments, see `engine_options`.
        regularisers: see `genn_eventprop.regularisers`; several add up.
        initial_rates: spikes per neuron and trial to which `fit` scales weights that have no scale of their own
            (``Dense()``) on the training set, before the first update: for all populations that spike, or by name;
            None: 5 for hidden populations (1 with first spikes), for outputs what suits the loss; 0: leave the weights
            as drawn.
        optimiser: default Adam(0.02, relative=True), the rate of the recipes. schedule: learning-rate schedule, default
            constant.
        batch_size: trials per optimiser step; an incomplete last batch is used with its own size.
        class_weights: weight of each class in the mean of the loss: None, "balanced" or one number per class,
            see `class_weights.ClassWeights`.
        seed: random seed for initial values and the order of samples (`Streams`).
        threads: for engines with threads; results do not depend on it.
        dtype: "float32" or "float64", for engines that offer both.
        run_dir: folder for config, metrics, checkpoints and results (`RunFolder`); nothing is written without it.
        checkpoint_batches: also write a checkpoint after this many batches, not only after each epoch.
        spike_birth: 0, or noise of thresholds in units of the threshold, e.g. 0.1: then the gradient is one of the
            expected loss and sees spikes that are about to be born, also those of silent neurons (docs/spike_birth.md).
        weight_rows: "float32", or "float16": an engine with this option (native, cuda) runs weights rounded to float16,
            in rows of half the length, beside float32 masters that learn (docs/native.md).
        callbacks: see `Callback`. progress: show progress on stderr; without it, only warnings.
        slope_floor: lower bound of gdot in 1 / gdot, per ms; the metric ``guarded`` counts how often it applies.
        runaway_rate: a neuron that spikes more often than this per ms, on average, is counted as runaway.
        config: written to config.json; default: the trainer's own settings.
        notes: notes that `Progress` prints first, in addition to its own about the data.
        carry: samples are chunks of long recordings (`data.events.chunks`). True: the trial of a chunk continues from
            the end of the previous one, and its gradient takes that initial state as given. "exact": all chunks of a
            recording are one trial with a loss for each, `batch_size` counts recordings, and the gradient is exact;
            samples of no recording are recordings themselves. See docs/long_recordings.md.
        chunk: with ``carry="exact"``, ms that run at a time (None: 4000 steps, for recordings of more than 16 million
            the root of their number, or what `duration` says if it is shorter).
        memory: with ``carry="exact"``, what states that are kept may take, with exact spike times also pieces, such as
            "500 MB".
        engine_options: options that only this engine has, such as ``device=1``.
        profile: the forward pass is computed in the integers of this `integer.Profile`, or of the one with this name;
            spikes are then on the grid. See docs/integer_networks.md.
        device: runs the forward passes, in training and evaluation: a `Device` or `InTheLoop` of `training.device`.
            Gradients are those of the spikes that it reports (docs/device.md).
        communicator: an mpi4py communicator, e.g. MPI.COMM_WORLD, whose ranks train together, see `distribute`.

    A run folder keeps the whole model (`genn_eventprop.load`), including these attributes, which you can set:
    `class_names`, `preprocessing` (`fixed` steps of `data.augment` applied to the data before `fit`), and `n_channels`,
    the number of channels before them.

    Raises:
        SettingError, PlanError, NetworkError, EngineError: naming what does not fit.

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, optimiser=Adam(5e-3), progress=False)
        >>> results = trainer.fit(events[:12], validation=events[12:16], test=events[16:], epochs=2)
        >>> results["epochs"], trainer.predict(events[16:]).shape
        (2, (4,))
    """

    def __init__(
        self,
        network: Network,
        loss: Loss | Sequence[Loss],
        *,
        duration: float,
        dt: float | None = None,
        spike_times: str = "auto",
        engine: str = "auto",
        regularisers: Sequence[Regulariser] = (),
        optimiser: Optimiser | None = None,
        schedule: Schedule | None = None,
        batch_size: int = 32,
        class_weights: Weighting = None,
        seed: int = 1,
        threads: int | None = None,
        dtype: str = "float32",
        run_dir: Path | str | None = None,
        checkpoint_batches: int | None = None,
        callbacks: Sequence[Callback] = (),
        initial_rates: float | Mapping[str, float] | None = None,
        progress: bool = True,
        slope_floor: float = 0.0,
        spike_birth: float = 0.0,
        weight_rows: str = "float32",
        runaway_rate: float = 0.5,
        config: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
        carry: bool | str = False,
        chunk: float | None = None,
        memory: str | None = None,
        device: Device | InTheLoop | None = None,
        profile: Profile | str | None = None,
        communicator: Any = None,
        **engine_options: Any,
    ) -> None:
        self.made_with = {name: value for name, value in locals().items() if name not in NOT_SHARED} | engine_options
        self.ranks: Alone | Ranks = Alone()
        self.batch_size = whole(batch_size, "batch_size", SettingError)
        self.checkpoint_batches = (
            None if checkpoint_batches is None else whole(checkpoint_batches, "checkpoint_batches", SettingError)
        )
        self.network, self.loss, self.streams = network, loss, Streams(seed)
        numbers = {"slope_floor": slope_floor, "runaway_rate": runaway_rate}
        check_names(engine_options, [*(self.made_with.keys() - engine_options.keys()), "optimiser", "run_dir"])
        check_arguments(network, optimiser, schedule, callbacks, numbers, run_dir)
        check_together(carry, profile, device, communicator, chunk is not None or memory is not None)
        network.check_connected()
        self.class_weights = ClassWeights(class_weights, as_losses(loss)[0])
        self.optimiser, self.schedule = optimiser or Adam(RELATIVE_RATE, relative=True), schedule or Constant()
        self.carry, self.profile = carry, None if profile is None else as_profile(profile)
        self.config, self.settings = dict(config or {}), dict[str, Any]()
        self.loop = device if isinstance(device, InTheLoop) or device is None else InTheLoop(device)
        self._pieces = chunk, in_bytes(memory or MEMORY, "memory")
        if carry == "exact" and engine == "auto":
            engine = engine_of_recordings(loss, spike_times)
        self._problem: dict[str, Any] = {
            "duration": duration, "regularisers": regularisers, "spike_birth": spike_birth
        }  # fmt: skip
        self._engine_settings = {
            "engine": engine, "dtype": dtype, "threads": threads, "slope_floor": slope_floor, **engine_options
        }  # fmt: skip
        if weight_rows != "float32":
            self._engine_settings["weight_rows"] = weight_rows
        self._asked = (spike_times, dt)
        self.choice = self._choose()
        self._compile(self.choice.name)
        if config is None:
            self.config = dict(self.settings)
        self._first_weights = WeightsFromData(network, self.engine.parameters, initial_rates)
        self.callbacks: list[Callback] = [*callbacks, Progress(quiet=not progress)]
        self.run_dir: Path | str | None = None if run_dir is None else Path(run_dir)  # where its folder is or will be
        self.notes = self._notes = [*notes, *network.notes()]
        self._wants_estimate = progress
        self.network_description = describe_network(network)
        self._begin(runaway_rate * duration)
        if communicator is not None:
            self.distribute(communicator)

    def _begin(self, runaway: float) -> None:
        """What `fit`, `resume`, `auto` or an experiment fills in. runaway: spikes of a neuron in a trial."""
        self.state, self.statistics = TrainingState(), EpochStatistics(runaway)
        self.folder: RunFolder | None = None  # the open run folder
        self.silent: dict[str, np.ndarray] = {}
        self.runtime_estimate: RuntimeEstimate | None = None
        self.figure_bytes = 0  # for figures that the experiment draws
        self.data_description: str | None = None
        self.page = ""  # text of the experiment's page, kept in the run folder
        self.preprocessing: tuple[Step, ...] = ()  # kept with the model; the data given to `fit` has it behind it
        self.n_channels = self.plan.input.size or None  # of the data before that; None: currents alone
        self.class_names: tuple[str, ...] = ()
        self.target_scale: TargetScale | None = None  # of a regression: predictions are in the units of its targets
        self.recorded = False  # whether data come as they were recorded, and `preprocessing` is applied here
        self.data_sets: tuple[Any, Any, Any, int] | None = None  # train, validation, test, epochs: of `fit()`
        self._batch_sizes: dict[int, int] = {}
        self.batches = 0  # of the current epoch
        self._task: dict[str, Any] = {}  # what `diagnosis` knows of the data
        self._tested_on_validation = False
        self._stop, self._interrupted = False, 0  # 1 and more: a reason, see `REASONS`

    @staticmethod
    def auto(
        train: Events | Currents,
        test: Events | Currents | None = None,
        *,
        class_names: Sequence[str] = (),
        progress: bool = True,
        **settings: Any,
    ) -> Trainer:
        """A trainer with all settings from the recipe of these data, as ``genn-eventprop train DATA`` chooses them.

        `fit()` needs no argument. `evaluate`, `predict` and `spike_counts` take data as they were recorded and apply
        the encoding, whose numbers are those of the training set.

        Args:
            train: labelled data; without a `test` set a part of them is held out as one.
            test: labelled data that `fit` reads once, at its end.
            class_names: names of the classes, kept with the model.
            progress: print facts, choices with their reasons, and progress; without it, only warnings.
            settings: in place of what the rules choose, any of ``genn-eventprop train own_data --help`` that concerns
                a single training: ``hidden=(256,)``, ``epochs=40``, ``run_dir="run"``, ``seed=2``.

        Raises:
            DataError: no labels, a single class, no samples.
            SettingError: an unknown setting, or one of the command alone.

        Example:
            >>> trainer = Trainer.auto(events, epochs=2, progress=False)
            >>> results = trainer.fit()
            >>> results["epochs"], trainer.predict(events[:3]).shape
            (2, (3,))
        """
        trainer: Trainer = importlib.import_module(OWN_DATA).auto(train, test, class_names, progress, settings)
        return trainer

    def __repr__(self) -> str:
        places: list[Any] = [*self.network.inputs, *self.network.currents, *self.network.populations]
        sizes = " - ".join(str(place.size) for place in places)
        outer = ("a function" if isinstance(loss.outer, Function) else loss.outer for loss in as_losses(self.loss))
        losses = " + ".join(f"{name} of {loss.readout}" for name, loss in zip(outer, as_losses(self.loss)))
        times = f"{self.plan.spike_times} spike times" + f", dt {self.plan.dt:g} ms" * (self.plan.spike_times == "grid")
        done = f"{self.state.epoch} epochs done" if self.state.updates else "untrained"
        return f"<Trainer: {sizes}, {losses}, {self.engine.name}, {times}; {done}>"

    def __getstate__(self) -> dict[str, Any]:
        """What a checkpoint holds, and what makes the same trainer: a copy trains on from here with its own engine."""
        if isinstance(self.ranks, Ranks):
            raise SettingError("a trainer on several ranks cannot be pickled; give each process one of its own")
        arguments = {name: value for name, value in self.made_with.items() if name != "graph"}
        arguments |= {"optimiser": self.optimiser, "run_dir": self.run_dir}
        return {
            "problem": (self.network, self.loss), "arguments": arguments, "checkpoint": pack(self),
            "attributes": {name: self.__dict__[name] for name in SET_LATER}, "batch_sizes": self._batch_sizes,
        }  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        checkpoint = Checkpoint(*state["checkpoint"])
        self.__init__(*state["problem"], **state["arguments"])  # type: ignore[misc]
        self._compile_as(checkpoint.info["settings"])
        unpack(self, checkpoint)
        if state["batch_sizes"]:
            self.use_batch_sizes(state["batch_sizes"])
        self.__dict__.update(state["attributes"])

    def _choose(self, spikes: Mapping[str, float] | None = None) -> Choice:
        """What spike times to take, by the spikes of inputs and populations in a trial if they are known."""
        spike_times, dt = self._asked
        check_spike_times(spike_times)
        if spike_times != "auto":
            return Choice(spike_times, "asked for")
        needs_grid = [name for name in ("slope_floor",) if self._engine_settings[name]] + ["carry"] * bool(self.carry)
        needs_grid += ["profile"] * (self.profile is not None)
        needs_grid += ["device"] * (self.loop is not None)
        exact_dt, grid_dt = (EXACT_DT, GRID_DT) if dt is None else (dt, dt)
        return choose_spike_times(
            self.network, self.loss, engine=self._engine_settings["engine"], spikes=spikes,
            dt=exact_dt, grid_dt=grid_dt, needs_grid=" and ".join(needs_grid), **self._problem,
        )  # fmt: skip

    def _compile(self, spike_times: str, dt: float | None = None) -> None:
        """Plan, engine and all that refers to its memory; parameters have their initial values."""
        dt = self._asked[1] if dt is None else dt
        dt = (EXACT_DT if spike_times == "exact" else GRID_DT) if dt is None else dt
        self.plan = make_plan(self.network, self.loss, dt=dt, spike_times=spike_times, **self._problem)
        self.engine = self._first_engine(**self._engine_settings)
        if self.carry == "exact" and self.made_with["engine"] == "auto" and self.engine.why_no_recordings():
            self.engine = self._first_engine(**self._engine_settings | {"engine": "c99"})
        self.engine = with_label_steps(self.engine, alone=not (self.carry or self.loop or self.profile))
        if self.carry:
            exact = self.carry == "exact"
            self.engine = RecordingEngine(self.engine, *self._pieces) if exact else StatefulEngine(self.engine)
        if self.loop is not None:
            self.engine = DeviceEngine(self.engine, self.loop)
        if self.profile is not None:
            self.engine = IntegerForward(self.engine, self.network, self.profile)
        self._prepare_optimiser(self.engine.parameters)
        self.engine.use(self.optimiser)
        self.parameter_sets = ParameterSets(self.engine.parameters, self.optimiser, self.engine.lock)
        if isinstance(self.ranks, Ranks):
            self.engine = RankedEngine(self.engine, self.ranks)
        before, self.settings = self.settings, self._settings(self._engine_settings["slope_floor"])
        if before and self.config == before:
            self.config = dict(self.settings)

    def _choose_again(self, batches: Batches) -> bool:
        """Spike times by the data and the initial weights; whether the engine is another one now."""
        began = self.state.updates or self.state.epoch or self.folder is not None
        if self._asked[0] != "auto" or self.choice.sure or began:
            return False
        data, samples, engine = self._some_trials(batches)
        counts = engine.run(data, samples).spike_counts
        spikes = input_spikes(self.network, data.channels, data.offsets, samples, data.currents)
        self.choice = self._choose(spikes | {name: float(n.sum(axis=1).mean()) for name, n in counts.items()})
        if self.choice.name == self.plan.spike_times:
            return False
        values = {name: np.array(value) for name, value in self.engine.parameters.items()}
        self.engine.close()
        self._compile(self.choice.name)
        write_parameters(self.engine.parameters, values)
        self.settle_bounds()
        return True

    def _resolved(self) -> dict[str, Any]:
        """What "auto" means in this run."""
        return {"spike_times": self.plan.spike_times, "dt": float(self.plan.dt)}

    def _coarse_step(self) -> list[str]:
        note = coarse_step(self.plan, self.engine.parameters)
        return [note] if note else []

    def _compile_as(self, settings: Mapping[str, Any]) -> None:
        """With "auto": compiled as the run with these settings was, whatever would be chosen today."""
        asked, dt = self._asked
        same = settings.get("spike_times") == self.plan.spike_times and settings.get("dt") == self.plan.dt
        if asked == "auto" and not same and "spike_times" in settings:
            self.engine.close()
            self._compile(settings["spike_times"], settings["dt"] if dt is None else dt)
            self.choice = Choice(settings["spike_times"], "as the run began")

    def _first_engine(self, **settings: Any) -> Engine:
        """With the initial values of all parameters; what memory is too small for is refused before they are drawn."""
        kind = engine_class(settings["engine"])
        itemsize = 4 if "dtype" in kind.options and settings["dtype"] == "float32" else 8
        self.network.check_memory()
        moments = len(self.optimiser.full_state_names())
        check_training(self.plan, itemsize, moments, kind.gradient_copies(self.batch_size))
        first = self.network.initial_parameters(self.streams.at("initial values"))
        self._prepare_optimiser(first)  # refuses unsuitable plans before anything is compiled
        return create(self.plan, first, **settings)

    def _settings(self, slope_floor: float) -> dict[str, Any]:
        """What two runs have in common that are the same run."""
        described = [describe_loss(each) for each in as_losses(self.loss)]
        birth = {"spike_birth": self.plan.spike_birth} if self.plan.spike_birth else {}
        rows = {"weight_rows": self.engine.weight_rows} if self.engine.weight_rows != "float32" else {}
        named = self.profile is not None and PROFILES.get(self.profile.name) == self.profile
        profile = {} if self.profile is None else {"profile": self.profile.name if named else repr(self.profile)}
        return {
            "loss": described[0] if len(described) == 1 else described,
            "dt": float(self.plan.dt), "duration": float(self.plan.duration), "spike_times": self.plan.spike_times,
            "engine": self.engine.name,
            "dtype": next(str(v.dtype) for v in self.engine.parameters.values() if v.dtype.kind == "f"),
            "batch_size": self.batch_size, "seed": self.streams.seed, "slope_floor": float(slope_floor),
            "class_weights": self.class_weights.description,
            "regularisers": [describe_regulariser(r) for r in self.plan.regularisers],
        } | ({"carry": self.carry} if self.carry else {}) | birth | rows | profile | self._device_setting()  # fmt: skip

    def _device_setting(self) -> dict[str, str]:
        return {} if self.loop is None else {"device": type(self.loop.device).__name__}

    def _prepare_optimiser(self, parameters: Mapping[str, np.ndarray]) -> None:
        learned = {name: parameters[name] for name in self.plan.trainable}
        enforced = self.plan.enforced_bounds(parameters)
        self.optimiser.prepare(learned, self.plan.bounds(parameters), self.plan.decay(), enforced)
        check_patterns(self.schedule.patterns(), self.plan.trainable, "schedule")

    def fit(
        self,
        train: DataSet | Mapping[str, Events | Currents] | Augmented | None = None,
        validation: DataSet | Mapping[str, Events | Currents] | None = None,
        test: DataSet | Mapping[str, Events | Currents] | HeldOutTestSet | None = None,
        *,
        epochs: int | None = None,
        baseline: bool = False,
    ) -> dict[str, Any]:
        """Train until `epochs` epochs are done in total, then evaluate the test set once.

        A data set is `Events`; `Currents`, for a network whose only input is a current; or a dictionary of both by the
        names of the network's inputs. The training set may be `data.augment.augmented.Augmented`: then each batch is
        augmented for its epoch. The best checkpoint is chosen by validation accuracy (ties: by the smaller validation
        loss), never on the test or training set; without a validation set it is the last one. The test set
        (`data.events.splits.HeldOutTestSet`) is read once, after the last epoch. Afterwards the engine holds the last
        weights; see `best_weights`. If the optimiser averages the weights (``Adam(average=0.99)``), validation, test
        and checkpoints have the averages.

        Args:
            train, validation, test: the three sets; a trainer of `auto` has its own, and takes no others.
            epochs: passes through the training set, those before a resumption included; None: as many as make 1,000
                updates, and at least 20.
            baseline: also fit logistic regression and 1-NN (extra ``[baseline]``) to the same training set. Chance and
                what these reach on test and validation set are the results' ``baselines``, see `data.baselines`.

        Returns:
            The contents of results.json: ``test_accuracy`` (best weights), ``final_test_accuracy`` (last weights), ...;
            and ``history``, see `results.history`: loss, accuracy and spikes of every epoch.

        Raises:
            TrainingError: a gradient or loss is not finite; weights and checkpoints stay as they were.
            DataError, SettingError: data or run folder cannot be used.
        """
        with self.ranks.guard():
            train, validation, test, epochs = self._sets_of(train, validation, test, epochs)
            self._stop, self._interrupted = False, 0
            self.engine.stop(False)
            self._check_losses()
            if baseline:
                require("sklearn", "baselines", "baseline")
            validation = None if validation is None else require_data(validation, "validation set")
            batches = batches_of(train, self.engine, self.class_weights)
            if epochs is None:
                epochs = epochs_for(len(batches), self.batch_size)
            scaled = self._scale_weights(batches)
            if not self.state.updates:
                n_batches = len(in_order(batches, None, self.batch_size))
                scaled += self.schedule.fit_into(epochs * n_batches)
                names = {c.weight_name for c in self.network.connections}
                self.optimiser.measure({n: v for n, v in self.engine.parameters.items() if n in names})
            if self._choose_again(batches):
                batches = batches_of(train, self.engine, self.class_weights)
            held_out = None if validation is None else self.evaluator.load(validation, "validation")
            held_out_test = self.evaluator.hold_out(test)
            self._accept_data(batches.description)
            self.ranks.same("training set", batches.description)
            self.ranks.same("number of epochs", str(epochs))
            self.notes = self._notes_of(batches, validation, scaled, epochs)
            self._tested_on_validation = validation is not None and validation is test
            with contextlib.nullcontext() if self.run_dir is None else lock_for_writing(Path(self.run_dir)):
                self._write_folder(batches, validation)
                return self._fit(
                    batches, held_out, held_out_test, epochs,
                    lambda test: self._compared(train, validation, test, baseline),
                )  # fmt: skip

    def _sets_of(self, train: Any, validation: Any, test: Any, epochs: int | None) -> tuple[Any, Any, Any, int | None]:
        """The three sets and the number of epochs: those of `fit`, or those that the trainer has."""
        if self.data_sets is not None:
            if any(data is not None for data in (train, validation, test)):
                raise SettingError("this trainer has its data: call fit() without any, give others to Trainer.auto")
            train, validation, test, chosen = self.data_sets
            epochs = chosen if epochs is None else epochs
        if train is None:
            raise SettingError("fit needs a training set: fit(train); only a trainer of Trainer.auto has its own")
        return train, validation, test, None if epochs is None else whole(epochs, "epochs", SettingError)

    def _check_losses(self) -> None:
        """Refuse a model that was loaded without the Python function of one of its losses."""
        for absent in (each.outer for each in self.plan.losses if isinstance(each.outer, UnavailableLoss)):
            raise SettingError(f"the outer loss is the Python function {absent.label}, which is not available here")

    def _notes_of(self, batches: Batches, validation: DataSet | None, scaled: list[str], epochs: int) -> list[str]:
        """What the user should know before the first epoch; scaled: what was scaled to the data."""
        notes = [*self._notes]
        if self._asked[0] == "auto" and not self.state.updates:
            notes.append(self.choice.line(self.plan.dt))
        notes += [*self._coarse_step(), *self.engine.notes(self.batch_size)]
        notes += data_notes(batches.events, validation, self.plan.duration)
        notes += [*late_delays(self.plan, self.engine.parameters), *scaled]
        if self.state.epoch > epochs:
            notes.append(f"{self.state.epoch} epochs are done already, more than epochs={epochs}: none is added")
        return notes

    def _write_folder(self, batches: Batches, validation: DataSet | None) -> None:
        """Make the run folder unless it was reopened; write the model, and what only a new folder lacks."""
        if self.run_dir is None:
            return
        new = self.folder is None
        config = self.config if self._asked[0] != "auto" else {**self.config, "resolved": self._resolved()}
        self.folder = self.folder or RunFolder.create(self.run_dir, config, self.page)
        self.notes += write_model(self.folder, self.described)
        if new:
            first = {name: self.engine.parameters[name] for name in self.plan.trainable}
            write_start(self.folder, first, batches, validation)

    def _scale_weights(self, batches: Batches) -> list[str]:
        """Scale weights that are still as drawn and have no scale of their own, on every rank alike."""
        if not self._first_weights.waiting(self.network, self.engine.parameters):
            return []
        data, samples, engine = self._some_trials(batches)

        def run() -> tuple[Mapping[str, np.ndarray], np.ndarray]:
            result = engine.run(data, samples)
            return result.spike_counts, result.readout

        spikes = input_spikes(self.network, data.channels, data.offsets, samples, data.currents)
        loss, targets = as_losses(self.loss)[0], None if data.targets is None else data.targets[samples]
        notes = self._first_weights.scale(self.network, loss, engine.parameters, run, spikes, targets)
        self.settle_bounds()
        self.optimiser.restart_average()
        return notes

    def _some_trials(self, batches: Batches) -> tuple[Data, np.ndarray, Engine]:
        """Data, samples spread over the training set, and the engine without other ranks and carried states."""
        wrapped = isinstance(self.engine, (RankedEngine, StatefulEngine, RecordingEngine))
        engine = self.engine.inner if wrapped else self.engine  # type: ignore[attr-defined]
        return *batches.some(evenly(len(batches))), engine

    def _compared(self, train: Any, validation: DataSet | None, test: DataSet | None, classical: bool) -> Baselines:
        """Baselines of this training; on one rank, since they are the same on all."""
        if not isinstance(train, Mapping) and hasattr(train, "epoch"):
            samples = train
        else:
            samples = require_data(train, "training set")
        found, problem = compared(samples, {"test": test, "validation": validation}, classical and self.ranks.first)
        if problem and self.ranks.first:
            say(f"warning: {problem}")
        return found

    def _fit(
        self, batches: Batches, held_out: Data | None, test: HeldOutTestSet | None, epochs: int,
        baselines: Callable[[DataSet | None], Baselines],
    ) -> dict[str, Any]:  # fmt: skip
        self.ranks.begin(lambda: self._interrupted)
        if self.ranks.size > 1 and self.state.updates == 0:
            self._save("last")  # mpiexec kills all ranks with the first: there is always something to go on from
        try:
            if self._wants_estimate:
                remaining = range(self.state.epoch, epochs)
                self.runtime_estimate = estimate_runtime(
                    self.engine, batches, held_out, self.batch_size, remaining, self.ranks.size, self._later_bytes()
                )
            n_batches = len(in_order(batches, None, self.batch_size))
            self._task = {
                "epochs": epochs, "batches": n_batches, "train_size": len(batches), "chance": _chance(batches),
                "validation_size": None if held_out is None else len(held_out),
            }  # fmt: skip
            for callback in self.callbacks:
                callback.start(self, epochs, n_batches)
            while self.state.epoch < epochs and not self._stop:
                self._epoch(batches, held_out)
            results = self._results(test, baselines)
            for callback in self.callbacks:
                callback.end(self, results)
        except RankError as error:
            raise self._left_alone(error) from None
        except DeviceError as error:
            self._save("last")
            where = "" if self.folder is None else f"; continue the run from {self.folder.path}"
            at = f"epoch {self.state.epoch + 1}, batch {self.state.batch + 1}"
            raise DeviceError(f"{at}: {error}{where}") from None
        except Stopped:
            self._save("last")
            raise REASONS[self._interrupted - 1] from None
        finally:
            self.engine.stop(False)
            for callback in self.callbacks:
                callback.close()
        return results

    def _later_bytes(self) -> int:
        """What is needed beside what a batch needs: for the best weights, and for a checkpoint or for figures."""
        best = sum(value.nbytes for value in self.engine.parameters.values())
        checkpoint = sum(array.nbytes for array in pack(self)[0].values()) + best
        return best + max(2 * checkpoint, self.figure_bytes)

    def note(self, text: str) -> None:
        """Add a note, `text`, to be printed before training."""
        self._notes.append(text)

    def _left_alone(self, error: RankError) -> RankError:
        """The error of a training that another rank has ended, with a checkpoint of what was done before."""
        if self.folder is None:
            return error
        self._save("last")  # all batches that every rank has done, and nothing of the one that was begun
        where = f"epoch {self.state.epoch + 1}, batch {self.state.batch + 1}"
        return RankError(f"{error}. The run stopped before {where}; continue it from {self.folder.path}")

    def stop(self) -> None:
        """End `fit` after the current epoch; for callbacks."""
        self._stop = True

    def use_batch_sizes(self, sizes: Mapping[int, int]) -> None:
        """Use other batch `sizes` from certain epochs on: first epoch (from 1) -> batch size.

        Raises:
            SettingError: an epoch or a size that is not an integer >= 1.
        """
        for epoch, size in sizes.items():
            whole(epoch, "batch_sizes: an epoch", SettingError), whole(size, "batch_sizes: a size", SettingError)
        self._batch_sizes = dict(sorted(sizes.items()))
        self.settings["batch_sizes"] = {str(epoch): size for epoch, size in self._batch_sizes.items()}

    def batch_size_of(self, epoch: int) -> int:
        """The batch size of `epoch`, counted from 0."""
        return ([self.batch_size] + [size for first, size in self._batch_sizes.items() if first <= epoch + 1])[-1]

    def interrupt(self, reason: type[KeyboardInterrupt] = KeyboardInterrupt) -> None:
        """End `fit` with a checkpoint and `reason`; for signal handlers.

        After the current batch, on all ranks; `native` on a single one leaves that in the middle, without a trace.
        """
        self._interrupted = REASONS.index(reason) + 1
        self.engine.stop()

    def _epoch(self, train: Batches, validation: Data | None) -> None:
        """The rest of the current epoch: all of it, unless training was resumed in the middle."""
        state, began = self.state, time.perf_counter()
        before = state.epoch_seconds
        for callback in self.callbacks if state.batch == 0 else ():
            callback.start_epoch(self, state.epoch)
        self.engine.seed, self.engine.epoch = self.streams.seed, state.epoch
        samples = self.streams.at("order", state.epoch).permutation(count_recordings(train))
        order = in_order(train, samples, self.batch_size_of(state.epoch))
        self.batches, sizes = len(order), [len(batch) for batch in order]
        self._measured = max(range(len(sizes)), key=lambda k: (sizes[k], k))  # a rest of few samples says little
        if state.batch == len(order):  # interrupted after the last batch; the metrics tell the factor that it had
            self._schedule(state.updates - 1)
        for batch in train.of(order[state.batch :], state.epoch):
            self._batch(*batch)
            state.epoch_seconds = before + time.perf_counter() - began
            self._end_if_interrupted()
            in_the_middle = state.batch < len(order)
            if in_the_middle and self.checkpoint_batches and state.batch % self.checkpoint_batches == 0:
                self._save("last")
        held_out = None if validation is None else self._validate(validation)
        state.epoch_seconds = before + time.perf_counter() - began
        self._end_epoch(train.clipped, held_out)

    def _schedule(self, update: int) -> None:
        """Set the factors of the learning rates for update number `update`."""
        progress = ScheduleProgress(self.state.epoch, update)
        self.optimiser.factor, self.optimiser.factors = self.schedule.factor(progress), self.schedule.factors(progress)

    def _end_if_interrupted(self) -> None:
        if reason := self.ranks.stop_here():
            self._save("last")
            raise REASONS[reason - 1]

    def _validate(self, validation: Data) -> Evaluation:
        """Between two batches of it training may be interrupted too: it then continues with the validation."""
        self._end_if_interrupted()
        return self.evaluator.run(validation, self._end_if_interrupted)

    def _batch(self, data: Data, samples: np.ndarray, clipped_spikes: int) -> None:
        state = self.state
        self.ranks.clipped = clipped_spikes
        result = self.engine.run(data, samples, training=True)
        where = f"epoch {state.epoch + 1}, batch {state.batch + 1}"
        clips = not self.optimiser.scale_free
        scored = data.scored(samples) if data.whole else None  # a chunk of a recording may be without a label
        check_batch(self.plan, result, self.engine.gradients, where, self.engine.finite, state.updates, clips, scored)
        if state.batch == self._measured:  # before the update, so that a resumed run has the same
            self.statistics.gradients = gradient_norms(self.plan, self.engine.gradients, self.engine.parameters)
        self._schedule(state.updates)
        # the first update of all, too: later ones of a layer that it silenced are small
        measured = state.batch == self._measured or state.updates == 0
        before = {
            c.weight: np.array(self.engine.parameters[c.weight])
            for c in self.plan.weighted
            if measured and c.weight in self.plan.trainable
        }
        self.engine.update(self.optimiser)
        for name, step in relative_steps(before, self.engine.parameters).items():
            self.statistics.steps[name] = max(step, self.statistics.steps.get(name, 0.0))
        self.statistics.add(result, data, samples, self.ranks.clipped)
        state.batch += 1
        state.updates += 1
        for callback in self.callbacks:
            callback.end_batch(self, state.epoch, state.batch - 1, self.statistics)

    def _end_epoch(self, clipped_spikes: int, held_out: Evaluation | None) -> None:
        """Metrics, choice of the best weights, checkpoints; then the state moves to the next epoch."""
        state = self.state
        check_parameters(self.engine.parameters, f"epoch {state.epoch + 1}", not self.optimiser.scale_free)
        metrics = epoch_metrics(self.plan, state, self.statistics, self.optimiser, clipped_spikes, held_out)
        if self.ranks.size > 1:
            metrics["ranks"] = self.ranks.size
        if isinstance(self.engine, DeviceEngine):
            metrics |= self.engine.take_statistics()
        metrics |= delay_metrics(self.plan, self.engine.parameters, self.optimiser)
        accuracy = None if held_out is None else held_out.accuracy
        self.schedule.end_epoch(state.epoch, accuracy)
        improved = held_out is not None and state.improves(held_out.accuracy, held_out.loss)
        if held_out is not None and improved:
            state.best_epoch, state.best_accuracy = state.epoch + 1, held_out.accuracy
            state.best_loss = held_out.loss if math.isfinite(held_out.loss) else None
            self.best_parameters = {name: np.array(value) for name, value in self.averaged_parameters().items()}
        state.metrics.append(metrics)
        state.seconds += state.epoch_seconds
        state.epoch, state.batch, state.epoch_seconds = state.epoch + 1, 0, 0.0
        self.silent, self.statistics = self.statistics.silent(), EpochStatistics(self.statistics.runaway_spikes)
        for callback in self.callbacks:
            callback.end_epoch(self, metrics)
        if improved:
            self._save("best")
        self._save("last")
        if self.folder is not None:
            self.folder.append_metrics(metrics)
        self._stop = self.ranks.any(self._stop)

    def diagnosis(self) -> list[Finding]:
        """Why the training so far does not learn, and what to try, see `training.diagnosis`; empty before the first
        epoch."""
        if not self.state.metrics or not self._task:
            return []
        last, loss = self.state.metrics[-1], self.plan.loss
        by_steps = loss.readout == "first_spike" and self.plan.spike_times == "grid"
        tie = by_steps and last["spikes_per_neuron"].get(loss.output, 0.0) > 0.3
        return diagnose(Facts(
            self.state.metrics, updates=self.state.updates, rises_until=self.schedule.rises_until(),
            learning_rate=self.optimiser.settings["learning_rate"],
            sizes={p.name: p.size for p in self.plan.populations}, tested_on_validation=self._tested_on_validation,
            ties=f"outputs spike in the same step of {self.plan.dt:g} ms" * tie,
            silent={name: remedy(self, name) for name, neurons in self.silent.items() if neurons.all()},
            **self._task,
        ))  # fmt: skip

    # evaluating

    @property
    def evaluator(self) -> Evaluator:
        """With the engine of now, which `distribute` and `alone` exchange."""
        return Evaluator(
            self.engine, self.plan, self.parameter_sets, self.class_weights, self.batch_size,
            self.statistics.runaway_spikes,
        )  # fmt: skip

    def _preprocessed(self, events: Samples) -> Samples:
        """The data as the network takes them."""
        if not self.recorded:
            return events
        data: DataSet = preprocessed(self.preprocessing, as_data(events, self.n_channels or 0))
        return data if self.target_scale is None else self.target_scale.scaled(data)

    def evaluate(self, events: Samples) -> Evaluation:
        """Run `events`, a data set or a list of samples (times in ms, channels), forwards with the current weights, or
        with their averages if the optimiser keeps some."""
        return self.evaluator.evaluate(self._preprocessed(events))

    def predict(self, events: Samples) -> np.ndarray:
        """Predicted class of every sample of `events`, (S,) int64, -1 if no output decides; for a loss that compares
        with targets, the readouts (S, K), in the units of the targets."""
        predicted = self.evaluator.predict(self._preprocessed(events))
        return predicted if self.target_scale is None else self.target_scale.units(predicted)

    def spike_counts(self, events: Samples) -> dict[str, np.ndarray]:
        """Population -> (S, N) int64, spikes of every neuron in every sample of `events`."""
        return self.evaluator.spike_counts(self._preprocessed(events))

    @property
    def best_parameters(self) -> dict[str, np.ndarray] | None:
        """The parameters that were best on validation so far."""
        return self.parameter_sets.best

    @best_parameters.setter
    def best_parameters(self, values: dict[str, np.ndarray] | None) -> None:
        self.parameter_sets.best = values

    def best_weights(self) -> AbstractContextManager[None]:
        """Use the best weights inside a ``with`` block; afterwards the current ones are restored."""
        return self.parameter_sets.use_best()

    def averaged_weights(self) -> AbstractContextManager[None]:
        """Use the averages that the optimiser keeps, if any, inside a ``with`` block, as evaluations do by themselves;
        inside `best_weights` the best ones stay."""
        return self.parameter_sets.use_averages()

    def averaged_parameters(self) -> dict[str, np.ndarray]:
        """All parameters, those learned as the averages that the optimiser keeps, if any."""
        return self.parameter_sets.averages()

    def _results(
        self, held_out_test: HeldOutTestSet | None, baselines: Callable[[DataSet | None], Baselines]
    ) -> dict[str, Any]:
        """Read the test set, with the last weights and the chosen ones."""
        final = best = groups = costs = test = None
        if held_out_test is not None:
            test = held_out_test.open()
            data = self.evaluator.load(test, "test")
            best, final = self.evaluator.test(data)
            costs = accounting(self.plan, self.best_parameters or self.averaged_parameters(), best.spikes, data)
            groups = test.groups
            self._task |= {"test_accuracy": final.accuracy, "test_size": len(test)}
        sizes = {p.name: p.size for p in self.plan.populations}
        results = run_results(self.state, best, final, self.engine, self.streams.seed, groups, sizes, costs)
        results["baselines"] = baselines(test)
        results["diagnosis"] = [finding.as_record() for finding in self.diagnosis()]
        if self.folder is not None:
            check_writer(self.folder.name)
            self.folder.write_results(results)
        return results | {"history": history(self.state.metrics)}

    # run folder, checkpoints, weight files

    def resume(self, run_dir: Path | str | None = None) -> Trainer:
        """Continue the run in `run_dir` bit for bit from its last checkpoint; then call `fit` as before.

        The number of threads may differ from the first run.

        Raises:
            CheckpointError: a damaged or missing checkpoint, another network, other settings.
        """
        if not isinstance(self, Trainer):
            raise SettingError(
                "resume belongs to a trainer that is made as the first one was: Trainer(...).resume(FOLDER)"
            )
        run_dir = run_dir if run_dir is not None else self.run_dir
        if run_dir is None:
            raise SettingError("resume needs the folder of the run")
        folder = RunFolder.open(run_dir)
        checkpoint = load_latest(folder.saved())
        try:
            self._compile_as(checkpoint.info["settings"])
            self._check_identity(checkpoint.info)
            unpack(self, checkpoint)
        except (TypeError, LookupError, AttributeError, OverflowError) as error:  # a state with values of other kinds
            raise CheckpointError(
                f"the state of the training in {folder.checkpoints} cannot be used: {error}"
            ) from None
        if self.ranks.first:
            with lock_for_writing(folder.path):
                folder.replace_metrics(self.state.metrics)
            self.folder, self.run_dir = folder, folder.path
        return self

    def load_checkpoint(self, path: Path | str) -> None:
        """Load only the weights from a checkpoint of the same network, the file `path`, for evaluation.

        Raises:
            CheckpointError: a damaged file or another network.
        """
        checkpoint = load_checkpoint(path)
        check_same(checkpoint.info["network"], self.network_description, "network")
        self._compile_as(checkpoint.info["settings"])
        write_parameters(self.engine.parameters, checkpoint.section("parameters"))
        self.optimiser.restart_average()

    def save_weights(self, path: Path | str) -> None:
        """Write all parameters to `path`, ``file.npz`` or a folder of CSV files; averages if the optimiser keeps
        them."""
        with self.averaged_weights():
            save_weights(path, self.engine.parameters)

    def load_weights(self, path: Path | str, *, strict: bool = True) -> list[str]:
        """Load parameters from `path`: ``file.npz``, ``file.nir``, a folder of CSV files, a checkpoint or a run folder
        (best).

        Parameters that are not in it keep their values. With ``strict=False``, so do those with another shape, and
        parameters that this network does not have are ignored, e.g. for a new output on a trained network.

        Returns:
            Descriptions of what was left out on either side.

        Raises:
            CheckpointError: a file that cannot be read; if `strict`, one with other names or shapes.
        """
        values, problems = fitting_weights(path, self.engine.parameters, strict=strict)
        self.network.check_parameters({**self.engine.parameters, **values})
        for name, value in values.items():
            self.engine.parameters[name][...] = value
        self.settle_bounds()
        self.optimiser.restart_average()
        return problems

    def settle_bounds(self) -> None:
        """Update the optimiser's bounds that depend on parameter values, after you changed these by hand."""
        now = self.engine.parameters
        self.optimiser.settle_bounds(self.plan.bounds(now), self.plan.enforced_bounds(now))

    def _save(self, name: str) -> None:
        """Write checkpoint "last" or "best"."""
        if self.folder is not None:
            check_writer(self.folder.name)
            save_checkpoint(self.folder.checkpoints / f"{name}.safetensors", *pack(self), then=self.folder.then)

    def _check_identity(self, info: Mapping[str, Any]) -> None:
        check_same(info["network"], self.network_description, "network")
        check_same(info["settings"], self.settings, "run")

    def _accept_data(self, description: str) -> None:
        if self.data_description not in (None, description):
            raise CheckpointError(
                f"this run was trained on {self.data_description}; the training set given now has {description}"
            )
        self.data_description = description

    @property
    def described(self) -> Described:
        """The model without its values, as it is kept in the run folder."""
        return Described(
            self.network, self.loss, self.plan.duration, self.plan.dt, self.plan.spike_times, self.engine.name,
            self.settings["dtype"], tuple(self.preprocessing), self.n_channels, tuple(self.class_names),
            self.engine.weight_rows, self.target_scale, self.carry,
        )  # fmt: skip

    # ranks

    def distribute(self, communicator: Any) -> None:
        """Train together with the other ranks of `communicator`, all of which call this with the same trainer.

        Each rank runs some slices of every batch, also in evaluation, and all hold the same weights. On `native`
        results are bit-identical to those of one rank. Only rank 0 writes files and shows progress.

        Raises:
            SettingError: the trainers of the ranks differ, or it is not a communicator.
        """
        ranks = ranks_of(communicator)
        if not isinstance(ranks, Ranks):
            return
        if self.plan.auxiliary:
            raise SettingError("several losses can be trained only on one rank; use mpiexec -n 1, or one loss")
        if self.carry is True:
            raise SettingError("carry=True trains on one rank; use mpiexec -n 1, or carry='exact'")
        if self.carry == "exact" and any(r.mean == "batch" for r in self.plan.pushes):
            raise SettingError("whole recordings on several ranks take no regulariser of a batch; use mean='example'")
        self.ranks = ranks
        with self.ranks.guard():
            self.ranks.same("network", repr(self.network_description))
            self.ranks.same("trainer", repr([self.settings, self.optimiser.state_dict()[1], self._wants_estimate]))
        self.engine = RankedEngine(self.engine, self.ranks)
        self._notes.append(f"{self.ranks.size} ranks, {self.ranks.local_size} of them on this machine")
        if not self.ranks.first:
            self.run_dir = None
            self.callbacks = [c for c in self.callbacks if not c.first_rank_only]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Evaluate on this rank alone inside a ``with`` block, without the other ranks."""
        engine = self.engine
        self.engine = engine.inner if isinstance(engine, RankedEngine) else engine
        try:
            yield
        finally:
            self.engine = engine

    def close(self) -> None:
        """Free the engine's threads and memory."""
        self.engine.close()


def _chance(batches: Batches) -> float:
    """Share of the most frequent class, nan without labels."""
    labels = batches.events.labels
    if has_step_labels(batches.events):
        labels = np.nan_to_num(batches.events.targets, nan=-1).ravel().astype(np.int64)
    labels = labels[labels >= 0] if labels is not None else np.empty(0, np.int64)
    return float(np.bincount(labels).max() / len(labels)) if len(labels) else float("nan")
