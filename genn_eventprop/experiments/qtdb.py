"""Waves of the heartbeat: an ECG with a label at each step, six classes, 36 recurrent hidden neurons.

Data: QT Database (Laguna et al. 1997) as level crossings of two leads, up and down, with six classes a step;
qtdb/QTDB_train.mat and QTDB_test.mat of the repository AdaptiveAILab/brf-neurons. The last of 1,301 steps is dropped.
Some 8 % of steps have no label; as in the publication they are class 0, and are learned so; with --unlabelled mask they
are left out of loss and accuracy. The accuracy over all steps, and that over steps with a label alone, of the chosen
weights, are both in labelled.json of the run folder. A step is played as 1 ms.

Source: Higuchi, Kairat, Bohte, Otte 2024, arXiv 2402.14603: balanced resonate-and-fire neurons 85.37 +- 0.73 %, ALIF
67.8 +- 3.2 %, with surrogate gradients.

    genn-eventprop train qtdb
    genn-eventprop train qtdb --neuron BalancedRF
    genn-eventprop train qtdb --quick
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from genn_eventprop.data import Events
from genn_eventprop.data.readers.locate import locate
from genn_eventprop.data.readers.qtdb import CLASSES, load
from genn_eventprop.errors import SettingError
from genn_eventprop.experiment import Experiment, LayeredConfig, SpikeTimes, layered
from genn_eventprop.report import plots
from genn_eventprop.training import Callback, Trainer

QUICK = {"epochs": 2, "samples": 100}


@dataclass(frozen=True)
class Config(LayeredConfig):
    """No published EventProp settings exist; these are ours."""

    hidden: tuple[int, ...] = (36,)
    spike_times: SpikeTimes = "grid"
    dt: float | None = 1.0
    duration: float = 1300.0
    loss: str = "step_labels"
    batch_size: int = 16
    epochs: int = 40
    schedule: str = "cosine"
    validation: float = 0.1
    """Fraction of the training recordings held out to choose the weights."""
    unlabelled: Literal["class 0", "mask"] = "class 0"
    """What a step without a label is."""
    samples: int = 0
    """Use so many training recordings alone; 0: all."""


def build(config: Config) -> Experiment:
    """Network, loss and data of one run."""
    source = "https://github.com/AdaptiveAILab/brf-neurons"
    if config.samples < 0 or not 0 <= config.validation < 1:
        raise SettingError("--samples must be >= 0, and --validation a fraction below 1")
    train_path, test_path = (
        locate(config.data_dir, f"qtdb/QTDB_{part}.mat", source=source) for part in ("train", "test")
    )
    train, test = (load(path, config.unlabelled == "mask") for path in (train_path, test_path))
    callbacks = [BothAccuracies(load(test_path, mask=True))] if config.read_test else []
    train = train[: config.samples or len(train)]
    validation: Events | None = None
    if config.validation:
        order = np.random.default_rng(config.seed).permutation(len(train))
        held = max(1, round(config.validation * len(train)))
        train, validation = train[np.sort(order[held:])], train[np.sort(order[:held])]
    return layered(config, train, validation, test, CLASSES, callbacks=callbacks)


@dataclass
class BothAccuracies(Callback):
    """Writes labelled.json: the test accuracy of the chosen weights over all steps, one without a label being class 0,
    and over those that have a label.

    Args:
        test: with -1 where there is no label.
    """

    test: Events

    def end(self, trainer: Trainer, results: Mapping[str, Any]) -> None:
        """See `Callback`."""
        if trainer.folder is None:
            return
        with trainer.best_weights() if trainer.best_parameters is not None else nullcontext():
            predicted = trainer.predict(self.test)
        right = predicted == np.maximum(self.test.targets, 0)
        numbers = {"all": float(right.mean()), "labelled": float(right[self.test.targets >= 0].mean())}
        (trainer.folder.path / "labelled.json").write_text(json.dumps(numbers, indent=1) + "\n")


plot = plots.standard


if __name__ == "__main__":
    from genn_eventprop.cli import main_of

    main_of(__file__)
