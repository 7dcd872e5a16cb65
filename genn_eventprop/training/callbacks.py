"""Observers of a training: a small protocol, and the progress display that uses it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from tqdm import tqdm

from ..errors import SettingError, whole
from ..output import say, stderr
from .diagnosis import STEP
from .epoch_statistics import EpochStatistics


class Callback:
    """Override what you need. Call ``trainer.stop()`` to end training after the current epoch.

    A callback with its own state returns it from `state_dict` (JSON-able) and gets it back after resuming; with
    `checkpointed` False it may be left out or added when a run is resumed. If several ranks train together, each calls
    its callbacks; one that prints or writes sets `first_rank_only`. `trainer` is the `Trainer` that calls them.

    Example:
        >>> class Watch(Callback):
        ...     def end_epoch(self, trainer, metrics):
        ...         print(metrics["epoch"], "train_loss" in metrics)
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, callbacks=[Watch()], progress=False)
        >>> results = trainer.fit(events, epochs=1)
        1 True
    """

    checkpointed: ClassVar[bool] = True
    first_rank_only: ClassVar[bool] = False

    def start(self, trainer: Any, epochs: int, batches: int) -> None:
        """Before the first batch of `fit`, for `epochs` epochs of `batches` batches."""

    def start_epoch(self, trainer: Any, epoch: int) -> None:
        """Before the first batch of `epoch`, counted from 0; `trainer.silent` tells of the epoch before."""

    def end_batch(self, trainer: Any, epoch: int, batch: int, statistics: EpochStatistics) -> None:
        """After an update; epoch and batch count from 0, `statistics` holds the epoch so far."""

    def end_epoch(self, trainer: Any, metrics: dict[str, Any]) -> None:
        """After the epoch's validation, with `metrics`, the line that goes into metrics.jsonl, which may be added to;
        before the checkpoint."""

    def end(self, trainer: Any, results: Mapping[str, Any]) -> None:
        """After the final evaluation, with the `results` that `fit` returns."""

    def close(self) -> None:
        """Always called last, also when training failed."""

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs, JSON-able."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back the `state` that `state_dict` gave."""


FIRST_BATCHES = 20
"""Batches of an epoch after which a population that has not spiked at all is reported, without waiting for its end."""


def remedy(trainer: Any, name: str) -> str:
    """What makes a silent population of a trainer spike, by the cause of its silence."""
    before = [line for line in trainer.state.metrics if line["spikes_per_neuron"][name] > 0]
    if before or all(c.from_data for c in trainer.network.connections if c.target.name == name):
        step = max((step for line in trainer.state.metrics for step in line.get("steps", {}).values()), default=0.0)
        words = ""
        if step > STEP:
            rate = trainer.optimiser.settings["learning_rate"] * STEP / step
            words = f": {rate:.2g} would move weights by {100 * STEP:g} % of their size in an update"
        return f"it spiked before the updates, so use a smaller learning rate{words}"
    sources = {c.source.name for c in trainer.network.connections if c.target.name == name}
    if (asleep := sources & trainer.silent.keys()) == sources - {name} and all(trainer.silent[s].all() for s in asleep):
        return f"the populations that lead to it are silent too ({', '.join(sorted(asleep))}): these must spike first"
    return (
        "its weights are too small for these data: leave out the weight (Dense()), which scales it to the data, or "
        "call initialise_rates(trainer, events, 2.0); on the command line leave out --input-weight and "
        "--hidden-weight, or use --initial-spikes 5 where the experiment has it"
    )


class SilenceWatch:
    """Which silent populations to warn of: after the first look at one, then after 2, 4, 8, ... in a row."""

    def __init__(self) -> None:
        self._looks: dict[str, int] = {}

    def due(self, spikes: Mapping[str, float]) -> list[str]:
        """Names of silent populations that a warning is due for.

        Args:
            spikes: of every population that can spike, their number or mean since the last look.
        """
        self._looks = {name: self._looks.get(name, 0) + 1 if n == 0 else 0 for name, n in spikes.items()}
        return [name for name, n in self._looks.items() if n and n & (n - 1) == 0]


class Progress(Callback):
    """A progress bar within the epoch (on a terminal) and one line after it; in a notebook one line that moves, with
    the numbers of the last epoch.

    The line shows loss, accuracy, and per population the spikes a neuron and the number of silent neurons. A population
    that is silent as a whole in its first batches, or falls silent later, gets a warning, see `SilenceWatch`; gradients
    that explode or vanish from layer to layer get a note, once, and so does each finding of the `diagnosis`.

    Args:
        quiet: say no more than these warnings and that note.

    Every `Trainer` has one; with ``progress=False`` a quiet one:

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, progress=False)
    """

    checkpointed = False
    first_rank_only = True

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bar: Any = None
        self._last = ""  # in a notebook: the line of the last epoch
        self._told_of_gradients = False
        self._told = set[str]()  # causes of the diagnosis
        self._silence = SilenceWatch()

    def start(self, trainer: Any, epochs: int, batches: int) -> None:
        self._epochs = epochs
        if self.quiet:
            return
        say(f"engine {trainer.engine.name}: {trainer.engine.reason}")
        for note in trainer.notes:
            say(f"note: {note}")
        if trainer.state.epoch == epochs:
            say(f"note: the training is finished ({epochs} of {epochs} epochs); a larger number of epochs continues it")
        elif trainer.runtime_estimate is not None:
            say(str(trainer.runtime_estimate))

    def end_batch(self, trainer: Any, epoch: int, batch: int, statistics: EpochStatistics) -> None:
        if batch + 1 == FIRST_BATCHES < trainer.batches:
            spikes = {name: int(total.sum()) for name, total in statistics.spikes.items()}
            self._warn(trainer, spikes, f"{batch + 1} batches")
        if self.quiet:
            return
        if in_notebook():
            self._move(epoch + (batch + 1) / trainer.batches)
            return
        if not stderr().isatty():
            return
        if self._bar is None:
            name = f"epoch {epoch + 1}/{self._epochs}"
            self._bar = tqdm(
                total=trainer.batches, desc=name, unit="batch", leave=False, initial=batch, dynamic_ncols=True,
                file=stderr(),
            )  # fmt: skip
        if self._bar.update(1):  # true when the bar is redrawn, some ten times a second
            self._bar.set_postfix_str(f"{_score(statistics.loss, statistics.accuracy)}{_activity(statistics)}")

    def end_epoch(self, trainer: Any, metrics: dict[str, Any]) -> None:
        if in_notebook() and not self.quiet:
            self._last = describe_epoch(metrics, self._epochs)
            self._move(metrics["epoch"])
        elif not self.quiet:
            self.close()
            say(describe_epoch(metrics, self._epochs))
        self._warn(trainer, metrics["spikes_per_neuron"], "whole epoch")
        if (note := metrics.get("gradient_note")) and not self._told_of_gradients:
            self._told_of_gradients = True
            self.close()
            say(f"note: {note}")
        self._tell_findings(trainer)

    def end(self, trainer: Any, results: Mapping[str, Any]) -> None:
        self._tell_findings(trainer)  # the test set has been read

    def _tell_findings(self, trainer: Any) -> None:
        for finding in trainer.diagnosis():
            if finding.cause not in self._told and finding.cause != "silent":  # of which `_warn` tells, more than once
                self._told.add(finding.cause)
                self.close()
                say(f"warning: {finding}")

    def _move(self, epochs: float) -> None:
        """Moves the line of the whole training; `epochs` are done."""
        if self._bar is None:
            form = "{percentage:3.0f} % |{bar:20}| {elapsed}<{remaining}  {desc}"
            self._bar = tqdm(total=self._epochs, initial=epochs, bar_format=form, file=stderr())
        self._bar.set_description_str(self._last or f"epoch 1/{self._epochs}", refresh=epochs == int(epochs))
        self._bar.update(epochs - self._bar.n)

    def _warn(self, trainer: Any, spikes: Mapping[str, float], span: str) -> None:
        for name in self._silence.due(spikes):
            self.close()
            what = remedy(trainer, name)
            say(f"warning: {name} was silent for the {span}, and silent neurons receive no gradient; {what}")

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def in_notebook() -> bool:
    """Whether stderr is a cell of a notebook: no terminal, but a line can be written over."""
    return type(stderr().stream).__module__.startswith("ipykernel.")


def describe_epoch(metrics: Mapping[str, Any], epochs: int) -> str:
    """One line for people, e.g.

    ``epoch   3/100  loss 0.412  accuracy 91.20 %  validation 90.10 %  hidden 1.4 spikes, 12 silent  0.6 s``
    """
    parts = [f"epoch {metrics['epoch']:>{len(str(epochs))}}/{epochs}"]
    parts.append(_score(metrics["train_loss"], metrics["train_accuracy"]))
    if metrics.get("validation_loss") is not None:
        parts.append(f"validation {_told(metrics['validation_loss'], metrics['validation_accuracy'])}")
    for name, part in [*metrics.get("losses", {}).items()][1:]:  # of the main one everything above
        source = "train" if part["validation_loss"] is None else "validation"
        parts.append(f"{name} {_told(part[f'{source}_loss'], part[f'{source}_accuracy'])}")
    for name, spikes in metrics["spikes_per_neuron"].items():
        text = f"{name} {spikes:.2f} spikes, {metrics['silent'][name]} silent"
        revived = metrics.get("revived", {}).get(name)
        text += f", {metrics['runaway'][name]} runaway" if metrics["runaway"][name] else ""
        parts.append(text + (f", {revived} revived before" if revived else ""))
    for name, delays in metrics.get("delays", {}).items():
        text = f"{name} delays {delays['mean']:.1f} ms"
        ends = [f"{100 * delays[k]:.0f} % at {word}" for k, word in (("at_zero", "0"), ("at_max", "max")) if delays[k]]
        parts.append(", ".join([text, *ends]))
    parts += [f"{name} {count} rewired" for name, count in metrics.get("rewired", {}).items() if count]
    for name, label in (("guarded", "guarded slopes"), ("clipped_gradients", "clipped gradients")):
        if metrics[name]:
            parts.append(f"{metrics[name]} {label}")
    parts.append(f"{metrics['seconds']:.1f} s")
    return "  ".join(parts)


def _told(loss: float, accuracy: float | None) -> str:
    """The accuracy, or the loss where there are no classes."""
    return f"loss {loss:.4f}" if accuracy is None or math.isnan(accuracy) else f"{100 * accuracy:.2f} %"


def _score(loss: float, accuracy: float | None) -> str:
    if accuracy is None or math.isnan(accuracy):  # a regression
        return f"loss {loss:.4f}"
    return f"loss {loss:.4f}  accuracy {100 * accuracy:.2f} %"


def _activity(statistics: EpochStatistics) -> str:
    return "".join(
        f"  {n} {a.spikes_per_neuron:.2f} spikes, {a.silent} silent" for n, a in statistics.activity().items()
    )


class EarlyStopping(Callback):
    """Ends training when validation has not improved for `patience` epochs.

    "Improved" has the same meaning as for the best checkpoint: a larger accuracy, or the same with a smaller loss. The
    best weights are in ``checkpoints/best.safetensors`` and `Trainer.best_weights`. A resumed run stops at the same
    epoch as an uninterrupted one.

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, callbacks=[EarlyStopping(patience=5)])

    Raises:
        SettingError: `patience` is not an integer >= 1; or no validation set was given to `fit`.
    """

    def __init__(self, patience: int = 10) -> None:
        self.patience = whole(patience, "EarlyStopping: patience", SettingError)

    def start(self, trainer: Any, epochs: int, batches: int) -> None:
        self._look(trainer)  # a run that stopped and is resumed stays stopped

    def end_epoch(self, trainer: Any, metrics: dict[str, Any]) -> None:
        if metrics["validation_accuracy"] is None:
            raise SettingError("EarlyStopping needs a validation set: give one to fit")
        self._look(trainer)

    def _look(self, trainer: Any) -> None:
        best = trainer.state.best_epoch
        if best is not None and trainer.state.epoch - best >= self.patience:
            trainer.stop()
