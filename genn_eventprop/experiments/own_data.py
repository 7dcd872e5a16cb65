"""Data of your own: a file or folder, with every setting from its recipe (`genn_eventprop.recipes`).

    genn-eventprop train DATA                       the same as: train own_data --source DATA, with settings that fit it
    genn-eventprop train DATA --settings mine.toml  also writes the settings as a file to start from
    genn-eventprop train DATA --config mine.toml    starts from it

DATA is a folder of classes, an npz or HDF5 file, a folder that `save` of a data set wrote, or NAME_TRAIN.ts of the UCR
and UEA archives with NAME_TEST.ts beside it. Data without a test set of their own hold out a part: whole groups
(speakers, subjects) where there are enough of them, else samples of every class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from genn_eventprop.data import Currents, Events
from genn_eventprop.data.open import open_data
from genn_eventprop.data.target_scale import TargetScale, has_targets
from genn_eventprop.errors import SettingError, check_known
from genn_eventprop.experiment import Experiment, LayeredConfig, layered
from genn_eventprop.experiment.experiment import settled
from genn_eventprop.output import say
from genn_eventprop.recipes import held_out_groups, recipe_of, split_off
from genn_eventprop.report import plots
from genn_eventprop.training import Trainer


@dataclass(frozen=True)
class Config(LayeredConfig):
    """Without a recipe these are the defaults of all pages of layers."""

    source: Path | None = None
    """The data: a file or folder."""
    settings: Path | None = None
    """Write the chosen settings to this TOML file, to start from with --config."""
    test: float = 0.2
    """Fraction of the samples used as the test set, for data without one."""
    test_groups: tuple[str, ...] = ()
    """Groups (speakers, subjects) that are the test set, in place of a fraction of the samples."""
    validation: float = 0.2
    """Fraction of each class of the training set held out for validation; with 0 the last epoch counts."""


def build(config: Config) -> Experiment:
    """Network, loss and data of one run."""
    if config.source is None:
        raise SettingError("name the data: genn-eventprop train DATA, or train own_data --source DATA")
    return of_sets(config, *open_data(config.source))


def of_sets(
    config: Config, train: Events | Currents, test: Events | Currents | None, names: Sequence[str], **trainer: Any
) -> Experiment:
    """The same for data that are open already: a training set with its test set, or all samples and None; `trainer`:
    further arguments of `Trainer`."""
    if test is None:
        train, test = held_out_groups(train, config.test_groups, config.test)
    validation, scale = None, None
    if config.validation > 0:
        train, validation = split_off(train, config.validation, config.seed)
    if has_targets(train):
        scale = TargetScale.of(train)
        train = scale.scaled(train)
        validation, test = (None if data is None else scale.scaled(data) for data in (validation, test))
    return replace(layered(config, train, validation, test, names, **trainer), target_scale=scale)


ONE_TRAINING = {field.name for field in fields(LayeredConfig)} - {
    *"seeds cross_validate runner processes slurm resume_if_started quick config data_dir read_test baseline".split(),
    *"init_from from_nir nir_dialect partial".split(),
} | {"test", "test_groups", "validation"}
"""Settings of a single training; the others are what the command does around it."""


def auto(
    train: Events | Currents,
    test: Events | Currents | None,
    class_names: Sequence[str],
    progress: bool,
    settings: Mapping[str, Any],
) -> Trainer:
    """What `Trainer.auto` returns."""
    for name in settings:
        check_known(name, sorted(ONE_TRAINING), SettingError, f"Trainer.auto: no setting {name!r}; ")
    facts, choices = recipe_of(train, test)
    if progress:
        say("\n  ".join([str(facts), *(str(choice) for choice in choices if choice.setting not in settings)]))
    config = Config(**({choice.setting: choice.value for choice in choices} | dict(settings)))
    experiment = of_sets(config, train, test, class_names, progress=progress, run_dir=config.run_dir)
    trainer = settled(experiment, config)
    trainer.recorded = True
    trainer.data_sets = experiment.train, experiment.validation, experiment.test, config.epochs
    return trainer


def plot(experiment: Experiment, folder: Path) -> None:
    """Learning curves, one trial, hidden spike counts."""
    plots.standard(experiment, folder)


if __name__ == "__main__":
    from genn_eventprop.cli import main_of

    main_of(__file__)
