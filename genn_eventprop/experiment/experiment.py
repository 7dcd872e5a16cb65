"""An experiment is a Python file with a `Config`, a function `build` and, optionally, `QUICK`, `plot` and `folds`.

    @dataclass(frozen=True)
    class Config(ExperimentConfig):             # its fields become the options of the command line
        hidden: int = 200

    QUICK = {"epochs": 5}                       # what --quick changes: the one-minute variant

    def build(config: Config) -> Experiment: ...

    def plot(experiment: Experiment, folder: Path) -> None: ...

    def folds(config: Config) -> Mapping[str, Mapping[str, Any]]: ...   # of --cross-validate: run name -> settings

`genn-eventprop train` runs the experiments of `genn_eventprop.experiments` by name, and any such file by its path.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import pkgutil
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from ..arguments import WORDS, fits, in_words
from ..atomic import advice
from ..data.inputs import DataSet
from ..data.target_scale import TargetScale
from ..distributed import world
from ..engines import engine_class
from ..errors import SettingError, TrainingError, UsageError, WriteError, check_known, suggest, whole
from ..modelling import NeuronModel
from ..modelling.user_file import import_file
from ..output import say
from ..runs.run_folder import PAGE_TEXT, RunFolder, jsonable
from ..runs.run_lock import lock_for_writing
from ..runs.weights import NIR
from ..training.callbacks import EarlyStopping
from ..training.compared import Baselines, compared
from ..training.interrupt import interruptible
from ..training.recording import recorded_times
from ..training.runtime_estimate import figure_memory
from ..training.tensorboard import TensorBoard
from ..training.trainer import Trainer
from .hold_out import notes_of_fold, samples_of, without_group
from .imported import with_graph
from .options import neuron_file, whole_number

if TYPE_CHECKING:
    from ..data.augment.augmented import Augmented
    from ..data.augment.steps import Step

PACKAGE = "genn_eventprop.experiments"


SpikeTimes = Literal["auto", "grid", "exact"] | None
"""The setting of pages; None is auto, too."""


@dataclass(frozen=True)
class ExperimentConfig:
    """Settings that every experiment has."""

    epochs: int = 100
    """Passes through the training set."""
    seed: int = 1
    """Random seed for the initial weights and the order of the samples."""
    engine: str = "auto"
    """Engine by name, with its options, e.g. cuda(device=1); auto chooses native, or cuda where it is faster."""
    batch_size: int = 32
    """Trials per optimiser step."""
    batch_sizes: str = ""
    """Other batch sizes from certain epochs on, e.g. 10:64,30:256."""
    early_stopping: int | None = None
    """Stop when validation has not improved for this many epochs."""
    tensorboard: bool = False
    """Also write every number of metrics.jsonl for TensorBoard, to tensorboard/ in the run folder."""
    dt: float | None = None
    """Time step in ms; by default 1 with exact spike times, 0.1 on the grid."""
    spike_times: SpikeTimes = "auto"
    """Solve spike times within the step (exact) or round them to steps (grid); auto: exact where that should pay."""
    threads: int | None = None
    """Number of engine threads; results do not depend on it."""
    weight_rows: Literal["float32", "float16"] = "float32"
    """float16: run every weight as float16 rounds it; the optimiser moves float32 masters."""
    profile: str | None = None
    """Compute the forward pass in the integers of this machine: int8, ternary, fenn, loihi2, xylo, or MINE.toml; see
    docs/integer_networks.md."""
    run_dir: Path | None = None
    """Folder for this run; by default runs/NAME-seedSEED-NUMBER."""
    resume_if_started: bool = False
    """Start the run in --run-dir, continue it, or report that it is finished: for batch jobs that are requeued."""
    checkpoint_batches: int | None = None
    """Also write a checkpoint after this many batches, not only after each epoch."""
    data_dir: Path | None = None
    """Folder of data files, for experiments that read them."""
    seeds: str | None = None
    """Train once with each of these seeds, e.g. 1-8 or 1,4,7; finished runs are not repeated."""
    cross_validate: bool = False
    """Train once per group (speaker, subject) of the data, holding it out; or once per fold of an experiment that has a
    function folds()."""
    hold_out: str | None = None
    """Test on this group of the data only, and train without it."""
    init_from: Path | None = None
    """Start from the weights and neuron parameters of this run folder, checkpoint or npz file."""
    from_nir: Path | None = None
    """Start from this NIR file: from its values if it has the populations and connections of this network, otherwise
    with its network instead of this one."""
    nir_dialect: str = "spec"
    """With --from-nir: what wrote the file: spec, norse or snntorch; see docs/nir.md."""
    partial: bool = False
    """With --init-from or --from-nir: load what fits; the rest (e.g. a new output) keeps its random initial values."""
    runner: Literal["local", "slurm"] | None = None
    """With --seeds or --cross-validate: processes on this machine, or SLURM jobs; by default one run after another."""
    processes: int = 1
    """With --runner: number of runs at the same time."""
    slurm: Path | None = None
    """With --runner slurm: TOML file whose table [slurm] has the job options."""
    read_test: bool = True
    """Evaluate the test set after training; --no-read-test keeps it sealed, as in the trials of a search."""
    baseline: bool = False
    """Also tell what logistic regression and 1-NN reach on the same split (extra baseline)."""
    quick: bool = False
    """The one-minute variant; explicit options take precedence."""
    config: Path | None = None
    """TOML file of settings, named like these options."""

    def time_grid(self, exact_dt: float = 1.0, grid_dt: float = 0.1, *, solvable: bool = True) -> tuple[str, float]:
        """(spike_times, dt) of a page that wants exact spike times: with "auto", unless the engine has only the grid.

        ``Trainer(dt=config.dt, spike_times=config.spike_times or "auto")`` weighs what they cost instead.

        Args:
            exact_dt, grid_dt: ms, the time step with exact spike times and on the grid, unless the settings have one.
            solvable: False where no fast engine has exact spike times, see `engines.solvable`.
        """
        kind = engine_class(self.engine)
        grid = "exact" not in kind.features or not kind.exact_by_itself or not solvable or self.profile is not None
        spike_times = self.spike_times if self.spike_times in ("grid", "exact") else "grid" if grid else "exact"
        default = exact_dt if spike_times == "exact" else grid_dt
        return spike_times, default if self.dt is None else self.dt


@dataclass(frozen=True, eq=False)
class Experiment:
    """What `build` returns: a trainer and its data sets, all with the preprocessing behind them.

    Args:
        trainer: what trains.
        train: may be augmented afresh each epoch.
        validation, test: None if there is none.
        class_names: for plots, reports and predictions.
        preprocessing: `fixed` steps of `data.augment` that were applied.
        n_channels: of the data before that. Both go into the run folder, so that recordings can be given to the
            trained model.
        target_scale: of a regression whose sets have targets in standard deviations; predictions are in their units.

    Example:
        >>> from genn_eventprop.experiment import Experiment
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0)
        >>> Experiment(trainer, events[:16], test=events[16:]).events("test").labels.shape
        (4,)
    """

    trainer: Trainer
    train: DataSet | Augmented
    validation: DataSet | None = None
    test: DataSet | None = None
    class_names: Sequence[str] = ()
    preprocessing: Sequence[Step] = ()
    n_channels: int | None = None
    target_scale: TargetScale | None = None

    def events(self, name: str) -> DataSet | None:
        """The set called `name`, "train", "validation" or "test"; an augmented one as in its first epoch."""
        data: Any = getattr(self, name)
        return data if data is None or not hasattr(data, "epoch") else data.epoch(0)


@dataclass(frozen=True, eq=False)
class ExperimentFile:
    """A loaded experiment.

    Args:
        name: of its page.
        source: the name or path that finds it again.
        config: the dataclass of its settings.
        build: settings -> `Experiment`.
        quick: settings of the one-minute variant.
        plot: further figures, (experiment, folder) -> None.
        folds: settings -> {fold: changed settings}, for ``--cross-validate``.
        text: its docstring.

    Example:
        >>> from genn_eventprop.experiment import load_experiment
        >>> load_experiment("yin_yang").installed
        True
    """

    name: str
    source: str
    config: type[ExperimentConfig]
    build: Callable[[Any], Experiment]
    quick: Mapping[str, Any] = field(default_factory=dict)
    plot: Callable[[Experiment, Path], None] | None = None
    folds: Callable[[Any], Mapping[str, Mapping[str, Any]]] | None = None
    text: str = ""
    page: str = ""
    """The Python text."""

    @property
    def installed(self) -> bool:
        """Whether it belongs to the package, so that a run can be opened without naming it."""
        return not self.source.endswith(".py")

    def experiment(self, config: ExperimentConfig) -> Experiment:
        """What `build` makes of the settings, without the group that ``--hold-out`` names.

        Raises:
            SettingError: `build` returns something else; there is no such group.
        """
        experiment = self.build(config)
        if not isinstance(experiment, Experiment):
            got = type(experiment).__name__
            raise SettingError(f"{self.source}: build() must return an Experiment, as layered(...) makes, got {got}")
        return experiment if config.hold_out is None else _without_group(experiment, config.hold_out)


def experiment_names() -> list[str]:
    """The experiments that are installed with the package.

    Example:
        >>> from genn_eventprop.experiment import experiment_names
        >>> "yin_yang" in experiment_names()
        True
    """
    folder = str(experiments_folder())
    return sorted(module.name for module in pkgutil.iter_modules([folder]) if not module.name.startswith("_"))


def experiments_folder() -> Path:
    """Where the installed experiments are, with their settings files (.toml)."""
    return Path(importlib.import_module(PACKAGE).__path__[0])


def settings_file(path: Path | str) -> Path:
    """The file, or, where there is no experiments/NAME.toml, the one of that name that is installed."""
    here, installed = Path(path), experiments_folder() / Path(path).name
    if here.exists() or here.parts[:-1] != ("experiments",) or not installed.is_file():
        return here
    say(f"note: {path} is {installed}")
    return installed


def load_experiment(source: str | Path) -> ExperimentFile:
    """An experiment by name, or from a Python file.

    Args:
        source: ``"yin_yang"``, or ``"my_experiment.py"``.

    Example:
        >>> from genn_eventprop.experiment import load_experiment
        >>> load_experiment("yin_yang").config().epochs
        100

    Raises:
        SettingError: no such experiment or file, or a file that is not an experiment.
    """
    text = str(source)
    if text.endswith(".py"):
        path = Path(text).resolve()
        if not path.is_file():
            raise SettingError(f"there is no experiment file {path}")
        return _from_module(import_file(path), path.stem, str(path))
    if ".py:" in text:
        raise UsageError(f"{text} names a model; an experiment trains it: yin_yang --neuron {text}, or any other")
    if text not in experiment_names():
        if Path(text).suffix or len(Path(text).parts) > 1 or text.endswith(os.sep):
            what = "nothing that can be trained on" if Path(text).exists() else "no such file or folder"
            raise UsageError(f"{text}: {what}; an experiment is a name, such as yin_yang, or a .py file")
        raise UsageError(
            f"unknown experiment {text!r} ({suggest(text, experiment_names())}); or give a .py file, "
            "or a file or folder of data: there is none of this name here"
        )
    return _from_module(importlib.import_module(f"{PACKAGE}.{text}"), text, text)


def page_of(source: object, page: Path | str | None, where: str) -> ExperimentFile:
    """The experiment that made a run: `page` if the user names one, else `source` if it is installed with the package.

    A run folder may come from anybody: the file that its config.json names is never run on its word.

    Raises:
        SettingError: the run was made by a page that is not installed, and `page` is None.
    """
    if page is not None:
        return load_experiment(page)
    if not isinstance(source, str) or source not in experiment_names():
        raise SettingError(
            f"{where} was made by the page {str(source)!r}, which is run only if you name it: add --page FILE; "
            f"a copy of the page is kept as text in {where}/{PAGE_TEXT}"
        )
    return load_experiment(source)


def _from_module(module: ModuleType, name: str, source: str) -> ExperimentFile:
    config: Any = getattr(module, "Config", None)
    build: Any = getattr(module, "build", None)
    is_config = isinstance(config, type) and issubclass(config, ExperimentConfig) and dataclasses.is_dataclass(config)
    if not is_config or not callable(build):
        models = [n for n, value in vars(module).items() if isinstance(value, NeuronModel)]
        hint = f"; its models are named {' or '.join(f'{Path(source).name}:{n}' for n in models)}" if models else ""
        raise SettingError(
            f"{source} is not an experiment: it needs a dataclass Config(ExperimentConfig) and build(){hint}"
        )
    quick = getattr(module, "QUICK", {})
    check_settings(config, quick, f"QUICK of {source}")
    plot, folds = getattr(module, "plot", None), getattr(module, "folds", None)
    page = Path(str(module.__file__)).read_text(encoding="utf-8", errors="replace")
    return ExperimentFile(name, source, config, build, quick, plot, folds, module.__doc__ or "", page)


def check_settings(config: type[ExperimentConfig], settings: Mapping[str, Any], where: str) -> None:
    """Raise `SettingError` for names that `config` does not have."""
    names = [f.name for f in dataclasses.fields(config)]
    for name in settings:
        check_known(name, names, SettingError, f"{where}: unknown setting {name!r}; ")


def run_experiment(file: ExperimentFile, config: ExperimentConfig, resume: bool = False) -> dict[str, Any]:
    """Train, evaluate, plot; everything goes to `config.run_dir`, of which this process is the only writer.

    All ranks that mpiexec started train together; the first writes.

    Args:
        file: of `load_experiment`.
        config: its settings.
        resume: continue the run in `config.run_dir`.

    Returns:
        What results.json holds, and the ``run_dir``.
    """
    with world().guard():
        if not world().first:
            return _run(file, config, config.run_dir or Path(), resume)
        unnamed = config.run_dir is None
        if unnamed:
            config = dataclasses.replace(config, run_dir=free_run_dir(file.name, config.seed))
        assert config.run_dir is not None
        with lock_for_writing(config.run_dir, unnamed):
            if not resume:
                RunFolder(config.run_dir).check_free()  # before data are read and code is compiled
            return _run(file, config, config.run_dir, resume)


def _run(file: ExperimentFile, config: ExperimentConfig, run_dir: Path, resume: bool) -> dict[str, Any]:
    experiment = file.experiment(config)
    if config.from_nir is not None and config.from_nir.suffix == NIR and not config.partial:
        experiment = dataclasses.replace(
            experiment, trainer=with_graph(experiment.trainer, config.from_nir, config.nir_dialect)
        )
    trainer = settled(experiment, config)
    trainer.run_dir = run_dir
    trainer.config = {
        "experiment": file.source,
        "settings": jsonable(dataclasses.asdict(config)),
        "defaults": jsonable({**dataclasses.asdict(file.config()), **(file.quick if config.quick else {})}),
        "class_names": list(experiment.class_names),
    }
    trainer.page = file.page
    trainer.distribute(world())
    if file.plot is not None:
        states = sum(p.size * len(p.derived.states) for p in trainer.plan.populations)
        trainer.figure_bytes = figure_memory(states, recorded_times(trainer.plan))
    if resume:
        trainer.resume(run_dir)
    else:
        begin_with(trainer, config)
    try:
        with interruptible(trainer):
            test = experiment.test if config.read_test else None
            results = trainer.fit(
                experiment.train, experiment.validation, test, epochs=config.epochs, baseline=config.baseline
            )
    except KeyboardInterrupt as stop:
        if trainer.folder is not None and any(trainer.folder.checkpoints.iterdir()):
            path = trainer.folder.path
            page = "" if file.installed else f" --page {file.source}"
            how = f"mpiexec -n {trainer.ranks.size} " if trainer.ranks.size > 1 else ""
            trust = " --trust" if files_named(file.config, dataclasses.asdict(config)) else ""
            how += f"genn-eventprop resume {path}{page}{trust}"
            raise type(stop)(f"continue with: {how}") from None
        raise
    if file.plot is not None and trainer.folder is not None:
        with trainer.alone(), _drawing(run_dir):
            file.plot(experiment, trainer.folder.plots)
    return {**results, "run_dir": str(run_dir if trainer.folder is None else trainer.folder.path)}


def baselines_of_run(path: Path, page: Path | None = None, trust: bool = False) -> Baselines:
    """Chance, logistic regression and 1-NN on the data of an existing run, which are made anew; see `open_run`."""
    file, config, _ = open_run(path, page, trust)
    experiment = file.experiment(config)
    experiment.trainer.close()
    sets = {"test": experiment.events("test"), "validation": experiment.events("validation")}
    found, problem = compared(experiment.train, sets, classical=True)
    if problem:
        raise SettingError(f"{path}: {problem}")
    return found


def _without_group(experiment: Experiment, group: str) -> Experiment:
    """The experiment with `group` as its test set; unchanged if its page has held it out itself, as `layered` does."""
    groups = samples_of(experiment.train).groups
    if groups is not None and group not in map(str, groups.tolist()):
        tested = None if experiment.test is None else experiment.test.groups
        if tested is not None and {str(each) for each in tested.tolist()} == {group}:
            return experiment
    train, validation, test = without_group(experiment.train, experiment.validation, experiment.test, group)
    for text in notes_of_fold(experiment.validation, validation, group):
        experiment.trainer.note(text)
    return dataclasses.replace(experiment, train=train, validation=validation, test=test)


def begin_with(trainer: Trainer, config: ExperimentConfig) -> None:
    """The weights that --init-from or --from-nir names; what was left becomes a note.

    Raises:
        SettingError: something was left, and --partial was not given.
    """
    source, option = config.init_from or config.from_nir, "--init-from" if config.init_from else "--from-nir"
    if source is None:
        if config.partial:
            raise SettingError("--partial needs --init-from RUN or --from-nir FILE")
        return
    if config.from_nir is not None and (config.init_from is not None or source.suffix != NIR):
        raise SettingError(f"--from-nir takes a file NAME{NIR} and excludes --init-from; got {config.from_nir}")
    if config.from_nir is not None and trainer.made_with.get("graph") == source:
        return  # `with_graph` has taken network and values
    problems = trainer.load_weights(source, strict=False)
    if problems and not config.partial:
        raise SettingError(f"{option} {source}: {'; '.join(problems)}; --partial loads what fits")
    words = f"; not loaded: {'; '.join(problems)}" if problems else ""
    trainer.note(f"starts from the weights of {source}{words}")


def settled(experiment: Experiment, config: ExperimentConfig) -> Trainer:
    """The trainer with what the experiment knows of its data, and the settings that a page need not know of."""
    trainer = experiment.trainer
    trainer.class_names, trainer.preprocessing = tuple(experiment.class_names), tuple(experiment.preprocessing)
    trainer.n_channels = experiment.n_channels or trainer.n_channels
    trainer.target_scale = experiment.target_scale
    if config.weight_rows != "float32" and trainer.engine.weight_rows != config.weight_rows:
        raise SettingError(
            "this page does not pass --weight-rows on; write Trainer(..., weight_rows=config.weight_rows) in it, or "
            f'--engine "native(weight_rows={config.weight_rows})"'
        )
    if config.profile is not None and trainer.profile is None:
        raise SettingError("this page does not pass --profile on; write Trainer(..., profile=config.profile) in it")
    if config.checkpoint_batches is not None:
        trainer.checkpoint_batches = whole(config.checkpoint_batches, "checkpoint_batches", SettingError)
    if config.batch_sizes:
        trainer.use_batch_sizes(batch_sizes_of(config.batch_sizes))
    if config.early_stopping is not None:
        trainer.callbacks.append(EarlyStopping(config.early_stopping))
    if config.tensorboard:
        trainer.callbacks.append(TensorBoard())
    return trainer


def batch_sizes_of(text: str) -> dict[int, int]:
    """``"10:64,30:256"``: first epoch (from 1) -> batch size from then on.

    Raises:
        SettingError: anything else.
    """
    sizes: dict[int, int] = {}
    for part in text.replace(" ", "").split(","):
        first, size = (whole_number(number) for number in part.partition(":")[::2])
        if first is None or size is None:
            raise SettingError(f"--batch-sizes {text!r}: write EPOCH:SIZE, separated by commas, e.g. 10:64,30:256")
        sizes[first] = size
    return sizes


@contextlib.contextmanager
def _drawing(run_dir: Path) -> Iterator[None]:
    """A disk that is full when the training is over."""
    try:
        yield
    except (OSError, WriteError) as error:
        problem = error if isinstance(error, OSError) else error.__cause__
        assert isinstance(problem, OSError)
        place = "" if problem.filename is None else f": {problem.filename}"
        then = advice(problem, f"draw them with: genn-eventprop plot {run_dir}")
        raise TrainingError(
            f"the training is finished and its results are in {run_dir}, but the figures could not be written "
            f"({problem.strerror or problem}{place}); {then}"
        ) from error


def free_run_dir(name: str, seed: int, root: Path | str = "runs") -> Path:
    """``runs/NAME-seedSEED-NUMBER`` with the first free number; made here, so that two processes get one each."""
    number = 1
    while True:
        path = Path(root) / f"{name}-seed{seed}-{number}"
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1
        except OSError as error:
            raise SettingError(f"{path} cannot be created ({error.strerror}); choose a --run-dir") from None


def open_run(
    path: Path | str, page: Path | str | None = None, trust: bool = False, **changes: Any
) -> tuple[ExperimentFile, ExperimentConfig, RunFolder]:
    """Experiment and settings of an existing run folder; `changes` replace settings that are not None.

    Args:
        page: the experiment to run; None: the one that made the run, if it is installed with the package.
        trust: run and open the files that the settings name, as ``neuron = "my_neuron.py:MyNeuron"`` and ``data_dir``
            do. A run folder may come from anybody.

    Raises:
        SettingError: not a run folder, a page that is not installed and was not given, a file that is not trusted, or a
            setting that is no more.
    """
    folder = RunFolder.open(path)
    saved = folder.config
    if "experiment" not in saved or not isinstance(saved.get("settings"), dict):
        raise SettingError(f"{folder.path} was not made by an experiment; continue it with Trainer.resume in Python")
    file = page_of(saved["experiment"], page, str(folder.path))
    settings = {name: value for name, value in saved["settings"].items() if name not in OF_THE_COMMAND}
    check_settings(file.config, settings, str(folder.path / "config.json"))
    if not trust and (named := files_named(file.config, settings)):
        raise SettingError(f"{folder.path} was made with {named[0]}; add --trust, if you know who made it")
    values = {**settings, "run_dir": str(folder.path), **{k: v for k, v in changes.items() if v is not None}}
    return file, config_from_json(file.config, values), folder


OF_THE_COMMAND = ("run_dir", "config", "slurm", "settings")
"""Settings that name files for the command that starts a run: where a run is opened again, they are left out."""

OF_THE_START = ("init_from",)
"""Settings that name files for the first update alone: a run that is opened again has weights of its own."""


def files_named(config: type[ExperimentConfig], settings: Mapping[str, Any]) -> list[str]:
    """In words, each file that settings name: neurons in Python files, which run when the setting is used, whatever the
    setting; and what a setting of type Path leads to.
    """
    hints, named = typing.get_type_hints(config), []
    for name, value in settings.items():
        texts = [value] if isinstance(value, (str, Path)) else value if isinstance(value, (list, tuple)) else []
        for text in texts:
            if isinstance(text, str) and neuron_file(text) is not None:
                named.append(f"the neuron {text!r}, a file that is run only if you say so")
            elif name not in (*OF_THE_COMMAND, *OF_THE_START) and (isinstance(text, Path) or _is_path(hints[name])):
                named.append(f"{name} = {str(text)!r}, which is opened only if you say so")
    return named


def _is_path(hint: Any) -> bool:
    return hint is Path or any(map(_is_path, typing.get_args(hint)))


def config_from_json(config: type[ExperimentConfig], values: Mapping[str, Any]) -> ExperimentConfig:
    """A config from JSON values: texts become paths, lists tuples and one value a tuple where the fields say so.

    Raises:
        SettingError: a number, text or True is wanted, and the value is another one.
    """
    hints = typing.get_type_hints(config)
    converted: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, str) and _is_path(hints[name]):
            value = Path(value)
        if typing.get_origin(hints[name]) is tuple and not isinstance(value, (list, tuple)):
            value = (value,)
        converted[name] = tuple(value) if isinstance(value, list) else value
        if _is_plain(hints[name]) and not any(fits(v, hints[name]) for v in (value, converted[name])):
            words = in_words(hints[name]).removesuffix(" or None")
            raise SettingError(f"{name} must be {words.replace('True or False', 'true or false')}, got {value!r}")
    return config(**converted)


def _is_plain(hint: Any) -> bool:
    """Whether a type says what a value of TOML or JSON must be; a page may have others, which it checks itself."""
    kinds = [kind for kind in typing.get_args(hint) if kind is not ...]
    if typing.get_origin(hint) is Literal or not kinds:
        return kinds != [] or hint in WORDS
    return all(map(_is_plain, kinds))
