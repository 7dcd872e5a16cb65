"""``train EXPERIMENT``: the fields of the experiment's frozen config are the options."""

from __future__ import annotations

import dataclasses
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..atomic import write_text
from ..data.open import open_data
from ..distributed import launched
from ..errors import SettingError, UsageError, whole
from ..experiment.experiment import (
    ExperimentConfig,
    ExperimentFile,
    check_settings,
    config_from_json,
    experiment_names,
    load_experiment,
    run_experiment,
    settings_file,
)
from ..experiment.hold_out import group_names
from ..experiment.options import read_toml, spec_text, write_toml
from ..output import Output, say
from ..recipes import recipe_of
from ..runs.run_folder import jsonable, run_state
from ..studies.cluster import SlurmRunner, slurm_of
from ..studies.jobs import LocalRunner, Runner, threads_for
from ..studies.repeats import describe_summary, repeats_folder, run_jobs, run_repeats, start_or_continue, whole_numbers
from ..training.accounting import describe_costs
from ..training.compared import in_words
from ..training.results import silent_words
from . import options
from .worker import run as run_command

OWN_DATA = "own_data"
"""The page that trains on any data."""


def train(arguments: Sequence[str], program: str) -> None:
    """Train an experiment by name or from a Python file, or on your data: train yin_yang --quick, train recordings/."""
    if not arguments or arguments[0] in ("-h", "--help"):
        names = f"Experiments: {', '.join(experiment_names())}; or a Python file; or a file or folder of data."
        options.show_usage(
            f"usage: {program} EXPERIMENT|DATA [OPTIONS]\n\n{textwrap.fill(names, 79)}\n"
            f"{program} EXPERIMENT --help lists its options with their defaults.",
            arguments,
        )
    if arguments[0].startswith("-"):
        raise UsageError(f"name the experiment before its options: {program} EXPERIMENT {arguments[0]}")
    if is_data(arguments[0]):
        train_data(Path(arguments[0]), arguments[1:], f"{program} {arguments[0]}")
        return
    train_file(load_experiment(arguments[0]), arguments[1:], f"{program} {arguments[0]}")


def is_data(word: str) -> bool:
    """Whether a word names a file or folder of data, not an experiment."""
    return word not in experiment_names() and not word.endswith(".py") and Path(word).exists()


def train_data(path: Path, arguments: Sequence[str], program: str) -> None:
    """Say what the data are and choose settings for them, each with its reason; then train, as for any page."""
    file = load_experiment(OWN_DATA)
    chosen = {"source": str(path)}
    if "-h" not in arguments and "--help" not in arguments:
        train, test, _ = open_data(path)
        facts, choices = recipe_of(train, test)
        say(f"{path}: {facts}")
        options = (word[2:].partition("=")[0].replace("-", "_") for word in arguments if word.startswith("--"))
        given = {option.removeprefix("no_") for option in options}
        for choice in (choice for choice in choices if choice.setting not in given):
            say(f"  {choice}")
        chosen |= {choice.setting: choice.value for choice in choices}
    if to := _value_of("--settings", arguments):
        write_text(Path(to), write_toml(jsonable({"source": str(path), **chosen})))
        say(f"settings written to {to}; start from them with --config {to}")
    train_file(file, arguments, program, chosen)


def train_file(
    file: ExperimentFile, arguments: Sequence[str], program: str, chosen: Mapping[str, Any] | None = None
) -> None:
    """Parse the options of a loaded experiment and run it; `chosen` are settings in place of its defaults."""
    config = parse(file, arguments, program, chosen)
    check_runner(config)
    if wants_repeats(config):
        train_repeats(file, config)
        return
    results = go_on(file, config) if config.resume_if_started else run_experiment(file, config)
    print(describe_results(results))


def go_on(file: ExperimentFile, config: ExperimentConfig) -> dict[str, Any]:
    """Begin the run in --run-dir, continue it, or report that it is finished."""
    if config.run_dir is None:
        raise SettingError("--resume-if-started needs --run-dir, the folder in which the next start finds the run")
    if run_state(config.run_dir, config.epochs) == "finished":
        say(f"{config.run_dir} is finished; nothing to do")
    return {**start_or_continue(file, config, config.run_dir, longer=True), "run_dir": str(config.run_dir)}


def parse(
    file: ExperimentFile, arguments: Sequence[str], program: str, chosen: Mapping[str, Any] | None = None
) -> ExperimentConfig:
    """The experiment's settings. Later wins: its defaults, those `chosen`, QUICK if asked for, the TOML file, the
    options."""
    table = _read_toml(file, arguments)
    # asked for before anything is parsed: QUICK changes the defaults of the options that are parsed
    quick = "--quick" in arguments or (table.get("quick") is True and "--no-quick" not in arguments)
    defaults = config_from_json(file.config, {**(chosen or {}), **(file.quick if quick else {}), **table})
    return options.parse(file.config, arguments, program, default=defaults, description=file.text)


def _read_toml(file: ExperimentFile, arguments: Sequence[str]) -> dict[str, Any]:
    """Settings of the file named by --config, checked by name and type."""
    path = _value_of("--config", arguments)
    if path is None:
        return {}
    table: dict[str, Any] = read_toml(settings_file(path))
    table = {name.replace("-", "_"): spec_text(value) for name, value in table.items()}
    check_settings(file.config, table, path)
    return _typed(file.config, table, path)


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    """The value given to `option`, as ``--option VALUE`` or ``--option=VALUE``."""
    for i, argument in enumerate(arguments):
        if argument == option and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(option + "="):
            return argument[len(option) + 1 :]
    return None


def _typed(config: type[ExperimentConfig], table: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Each value as the option parser reads it, so that a file is read exactly like the command line."""
    values = {}
    for name, value in table.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words = [option if value else f"--no-{name.replace('_', '-')}"]
        else:
            words = [option, *(str(v) for v in (value if isinstance(value, list) else [value]))]
        # one by one, so that the message names the setting; words for the terminal would be of the option, not the file
        try:
            parsed = options.parse(config, words, "train")
        except UsageError:
            raise SettingError(f"{path}: {name} = {value!r} cannot be used; see {option} in --help") from None
        # the parser reads tau = "20" like --tau 20, but in TOML a number in quotation marks is a mistake
        if isinstance(value, str) and not isinstance(getattr(parsed, name), (str, Path)):
            raise SettingError(f"{path}: {name} = {value!r} is a string; write the number without quotation marks")
        values[name] = getattr(parsed, name)
    return values


def describe_results(results: Mapping[str, Any]) -> str:
    """The final numbers, formatted for the terminal."""
    lines = []
    # without a validation set the chosen weights are the last ones: one line says it all
    validated = results["best_epoch"] is not None
    for key, words, as_percent in (
        ("test_accuracy", "test accuracy, weights chosen on validation", validated),
        ("final_test_accuracy", "test accuracy, last epoch", True),
        ("best_validation_accuracy", "best validation accuracy", True),
    ):
        if as_percent and results[key] is not None:
            lines.append(f"{words:45} {100 * results[key]:.2f} %")
    for key, words, told in (
        ("test_explained_variance", "test explained variance, weights of validation", validated),
        ("final_test_explained_variance", "test explained variance, last epoch", True),
    ):
        if told and results.get(key) is not None:
            lines.append(f"{words:45} {results[key]:.3f}")
    for name in ("test", "validation"):
        if baselines := in_words(results, name):
            lines.append(f"{f'without a network, {name} set':45} {baselines}")
            break
    for name, part in [*results.get("losses", {}).items()][1:]:  # the first is the main loss, named above
        if part["test_accuracy"] is not None:
            lines.append(f"{f'test accuracy of {name}':45} {100 * part['test_accuracy']:.2f} %")
    for words in silent_words(results.get("activity", {})):
        lines.append(f"{'silent throughout the last epoch':45} {words}")
    if results.get("costs"):
        lines.append(f"{'a test sample takes':45} {describe_costs(results['costs'])}")
    lines.append(f"{'training time':45} {results['seconds_training']:.1f} s, {results['epochs']} epochs")
    lines.append(f"{'run folder':45} {results['run_dir']}")
    return "\n".join(lines)


def main_of(source: str, out: Output) -> None:
    """What an experiment file calls when it is run directly, see `cli.main_of`."""
    from .app import ended, run

    name = Path(source).name
    status = run(lambda arguments, program: train_file(load_experiment(source), arguments, program), sys.argv[1:], name)
    sys.exit(ended(status, out))


def wants_repeats(config: ExperimentConfig) -> bool:
    """Whether these settings ask for more than one run."""
    return config.seeds is not None or config.cross_validate


def train_repeats(file: ExperimentFile, config: ExperimentConfig) -> None:
    """Run every seed and fold that is not finished yet; print mean and deviation."""
    if launched()[1] > 1:
        raise SettingError(
            "with mpiexec, all ranks train a single run: start each seed or fold separately, or run without mpiexec"
        )
    variants, label = variants_of(file, config), "folds" if config.cross_validate else "seeds"
    config = dataclasses.replace(config, seeds=None, cross_validate=False)
    root = config.run_dir or repeats_folder(file, config, variants, label)
    try:
        if config.runner is None:
            summary = run_repeats(file, config, variants, root)
        else:
            summary = run_jobs(file, config, variants, root, runner_of(config, root))
    except KeyboardInterrupt as stop:  # or `Terminated`, which derives from it and has an exit status of its own
        raise type(stop)(f"continue with the same command and --run-dir {root}") from None
    print(describe_summary(summary, root))


def check_runner(config: ExperimentConfig) -> None:
    """Raise `SettingError` for settings of several runs that would have no effect."""
    if config.slurm is not None and config.runner != "slurm":
        raise SettingError(f"--slurm {config.slurm} has no effect without --runner slurm; add it")
    if config.processes != 1 and config.runner is None:
        raise SettingError(
            f"--processes {config.processes} has no effect without --runner: add --runner local, for processes on this "
            "machine, or --runner slurm"
        )
    if config.runner is not None and not wants_repeats(config):
        raise SettingError(
            f"--runner {config.runner} starts several runs: say which with --seeds 1-8 or --cross-validate; a single "
            "run needs no runner"
        )


def runner_of(config: ExperimentConfig, root: Path) -> Runner:
    """What --runner, --processes and --slurm ask for."""
    whole(config.processes, "processes", SettingError)
    if config.runner == "local":
        return LocalRunner(config.processes, threads=threads_for(config.processes))
    table = {} if config.slurm is None else read_toml(config.slurm).get("slurm", {})
    return SlurmRunner(root, slurm_of(table, str(config.slurm)), config.processes, run_command)


def variants_of(file: ExperimentFile, config: ExperimentConfig) -> dict[str, dict[str, Any]]:
    """Run name -> settings: every fold with every seed."""
    seeds = whole_numbers(config.seeds) if config.seeds is not None else [config.seed]
    if not config.cross_validate:
        return {f"seed{seed}": {"seed": seed} for seed in seeds}
    folds = groups_as_folds(file, config) if file.folds is None else file.folds(config)
    return {f"{fold}-seed{seed}": {**changes, "seed": seed} for seed in seeds for fold, changes in folds.items()}


def groups_as_folds(file: ExperimentFile, config: ExperimentConfig) -> dict[str, dict[str, Any]]:
    """Folds of a page without a function of its own: each group of its training set is held out once."""
    experiment = file.build(config)  # the only way to know its training set; the trainer comes with it
    experiment.trainer.close()
    try:
        names = group_names(experiment.train)
    except SettingError as error:
        raise SettingError(f"--cross-validate: {file.name}: {error}") from None
    return {f"without-{re.sub(r'[^A-Za-z0-9._-]', '_', name)}": {"hold_out": name} for name in names}
