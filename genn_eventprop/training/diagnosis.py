"""Why a training does not learn: from what its epochs measured to sentences, each with the one change to try.

Every rule states what was measured, and proposes a change only where the measurement points to it. The tests have a
small training with each fault, and show that the change helps there (`tests/training/test_diagnosis.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

STEP = 0.02
"""Change of a connection's weights by an update, relative to their size (both root mean squares), at which Adam learned
most often on small data sets: a tenth was too slow for a thousand updates, five times as much silenced layers."""
SLOW, FAST = STEP / 10, STEP * 5
EARLY, FEW, ENOUGH = 50, 200, 1000
"""Updates: fewer than EARLY say nothing about a training that is over, fewer than FEW nothing about one that goes on;
ENOUGH let small networks learn."""
SMALL = 40
"""Samples of a validation set below which its accuracy is uncertain by 15 % and more."""
GAP = 0.15
"""Difference of accuracies that is told."""


@dataclass(frozen=True)
class Finding:
    """What is wrong with a training.

    Args:
        cause: a word, the same for the same fault in all trainings. sentence: what was measured. remedy: the change to
            try, "" where none is known to help.
    """

    cause: str
    sentence: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.sentence}; {self.remedy}" if self.remedy else self.sentence

    def as_record(self) -> dict[str, str]:
        """For results.json."""
        return asdict(self)


@dataclass(frozen=True)
class Facts:
    """What is known of a training after an epoch.

    Args:
        metrics: lines of metrics.jsonl so far. epochs: of the whole training. batches: updates of an epoch.
        updates: so far. train_size, validation_size: samples, None without a validation set.
        chance: share of the most frequent class in the training set; nan without labels.
        learning_rate: without the schedule's factor. rises_until: update until which the schedule eases it in.
        sizes: neurons of each population that spikes. tested_on_validation: one data set is both.
        ties: how outputs that spike can tie, "" where they cannot.
        silent: populations that were silent as a whole in the last epoch -> what to do about it.
        test_accuracy, test_size: of the last weights on the test set, once it has been read; its samples.
    """

    metrics: Sequence[Mapping[str, Any]]
    epochs: int
    batches: int
    updates: int
    train_size: int
    validation_size: int | None
    chance: float
    learning_rate: float
    rises_until: int
    sizes: Mapping[str, int]
    tested_on_validation: bool = False
    ties: str = ""
    silent: Mapping[str, str] = field(default_factory=dict)
    test_accuracy: float | None = None
    test_size: int = 0

    @property
    def over(self) -> bool:
        """Whether this was the last epoch."""
        return len(self.metrics) >= self.epochs

    @property
    def accuracy(self) -> float:
        """In training, of the last epoch; nan without labels."""
        accuracy = self.metrics[-1]["train_accuracy"]
        return float("nan") if accuracy is None else float(accuracy)  # of a file, which has no nan

    @property
    def step(self) -> float:
        """The largest relative change of a connection by an update, in any epoch; nan if it is not known."""
        steps = (step for line in self.metrics for step in line.get("steps", {}).values())
        return max((step for step in steps if math.isfinite(step)), default=float("nan"))

    @property
    def near_chance(self) -> bool:
        """Whether the accuracy in training could be that of guesses: two standard errors, and a tenth of the way up."""
        error = math.sqrt(self.chance * (1 - self.chance) / self.train_size)
        return self.accuracy < self.chance + max(2 * error, 0.1 * (1 - self.chance))

    @property
    def settled(self) -> bool:
        """Whether there were updates enough to judge by."""
        return self.updates >= (EARLY if self.over else FEW)


def diagnose(facts: Facts) -> list[Finding]:
    """The findings after an epoch, the gravest first; of the rules that explain a training that does not learn, one."""
    if not facts.metrics:
        return []
    learning = next((found for rule in LEARNING if (found := rule(facts))), None)
    others = [found for rule in OTHERS if (found := rule(facts))]
    return ([learning] if learning else []) + others


def from_results(results: Mapping[str, Any]) -> list[Finding]:
    """The findings of a results.json, which may come from anybody and from older versions."""
    records = results.get("diagnosis")
    names = {"cause", "sentence", "remedy"}
    return [
        Finding(**each)
        for each in (records if isinstance(records, list) else [])
        if isinstance(each, dict) and each.keys() == names and all(isinstance(text, str) for text in each.values())
    ]


Rule = Callable[[Facts], Finding | None]


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _measured(facts: Facts) -> str:
    return (
        f"accuracy in training is {100 * facts.accuracy:.0f} % after {facts.updates:,} updates, guessing the most "
        f"frequent class {100 * facts.chance:.0f} %"
    )


def _rate(facts: Facts) -> str:
    """The learning rate that changes weights by `STEP`, in two digits."""
    return f"{facts.learning_rate * STEP / facts.step:.2g}"


def saturated(facts: Facts) -> Finding | None:
    """Most neurons of a layer spike nearly always, and carry nothing."""
    for name, count in facts.metrics[-1]["runaway"].items():
        if name in facts.sizes and count > facts.sizes[name] / 2 and facts.near_chance and facts.settled:
            return Finding(
                "saturated",
                f"{_measured(facts)}; {count} of {facts.sizes[name]} neurons of {name} spike all the time",
                "scale the initial weights to the data: leave out the weight (Dense()), or call "
                "initialise_rates(trainer, events, 5.0)",
            )
    return None


def tied(facts: Facts) -> Finding | None:
    """First spikes of several outputs fall into one step of the grid."""
    undecided = facts.metrics[-1]["undecided"] / facts.train_size
    if not facts.ties or undecided < 0.2 or not facts.settled:
        return None
    return Finding(
        "ties",
        f"in {100 * undecided:.0f} % of the training trials no output is first: {facts.ties}",
        "use exact spike times (spike_times='exact', --spike-times exact) or a smaller dt",
    )


def silent(facts: Facts) -> Finding | None:
    """A layer without spikes has no gradient: rates and epochs change nothing."""
    for name, remedy in facts.silent.items():
        return Finding(
            "silent", f"{name} was silent for the whole epoch, and silent neurons receive no gradient", remedy
        )
    return None


def too_fast(facts: Facts) -> Finding | None:
    """Updates about as large as the weights, and an accuracy that stays low."""
    if not (facts.settled and facts.step > FAST and facts.accuracy < 1 - GAP):
        return None
    return Finding(
        "rate too large",
        f"{_measured(facts)}; an update moved weights by {_percent(facts.step)} of their size",
        f"use a smaller learning rate: {_rate(facts)} would move them by {_percent(STEP)}",
    )


def schedule_too_long(facts: Facts) -> Finding | None:
    """The schedule is still easing in when the training ends."""
    total = facts.epochs * facts.batches
    if not (facts.rises_until > total / 2 and facts.accuracy < 1 - GAP):
        return None
    return Finding(
        "schedule too long",
        f"the schedule eases the learning rate in over {facts.rises_until:,} updates, but this training has only "
        f"{total:,}",
        "leave out ease_in (EaseIn)",
    )


def too_slow(facts: Facts) -> Finding | None:
    """Updates so small that weights stay where they were."""
    if not (facts.settled and facts.near_chance and facts.step < SLOW and facts.step * facts.updates < 5):
        return None
    return Finding(
        "rate too small",
        f"{_measured(facts)}; an update moved weights by {_percent(facts.step)} of their size",
        f"use a larger learning rate: {_rate(facts)} would move them by {_percent(STEP)}"
        if facts.step
        else "use a learning rate above 0",
    )


def too_few(facts: Facts) -> Finding | None:
    """A training that ends before small networks learn."""
    if not (facts.over and facts.settled and facts.near_chance and facts.updates < ENOUGH):
        return None
    epochs = math.ceil(ENOUGH / max(facts.batches, 1))
    return Finding(
        "too few updates", _measured(facts), f"train for {epochs} epochs, which are about {ENOUGH:,} updates"
    )


def underfitting(facts: Facts) -> Finding | None:
    """A training that ends while its loss still falls."""
    quarter = len(facts.metrics) // 4
    if not (facts.over and facts.settled and quarter >= 1 and facts.accuracy < 0.95):
        return None
    losses = [line["train_loss"] for line in facts.metrics]
    before, after = (sum(part) / len(part) for part in (losses[-2 * quarter : -quarter], losses[-quarter:]))
    if not (math.isfinite(before) and after < 0.97 * before):
        return None
    return Finding(
        "underfitting",
        f"accuracy in training is {100 * facts.accuracy:.0f} %, and the loss still fell by "
        f"{100 * (1 - after / before):.0f} % in the last quarter of the epochs",
        f"train longer, for {2 * facts.epochs} epochs",
    )


def nothing_learned(facts: Facts) -> Finding | None:
    """Updates enough, none of the causes above, and still guesses: the network may not see what tells classes apart."""
    if not (facts.over and facts.settled and facts.near_chance):
        return None
    return Finding(
        "nothing learned",
        _measured(facts),
        "compare what classical methods reach (--baseline, fit(baseline=True)); if more, show the data in another way "
        "(--encoding)",
    )


def overfitting(facts: Facts) -> Finding | None:
    """What is learned does not hold on the validation set; without one, on the test set, which then has been read."""
    held_out, size, name = facts.metrics[-1]["validation_accuracy"], facts.validation_size or 0, "validation"
    if held_out is None:
        held_out, size, name = facts.test_accuracy, facts.test_size, "test"
    if held_out is None or not (facts.over and facts.settled) or size < SMALL:
        return None
    # half of the way from chance: with augmented samples no training reaches 100 %
    if not (facts.accuracy > (1 + facts.chance) / 2 and facts.accuracy - held_out > GAP):
        return None
    # dropout, jitter and smaller layers did not help in the tests' case; more samples did
    return Finding(
        "overfitting",
        f"accuracy is {100 * facts.accuracy:.0f} % in training, on {facts.train_size} samples, and "
        f"{100 * held_out:.0f} % on the {name} set",
        "give more training samples",
    )


def small_validation(facts: Facts) -> Finding | None:
    """Weights are chosen by the accuracy of a handful of samples."""
    n = facts.validation_size
    if n is None or n >= SMALL or facts.epochs < 2 or math.isnan(facts.accuracy):
        return None
    return Finding(
        "validation set too small",
        f"the validation set has {n} samples, so that its accuracy is uncertain by {98 / math.sqrt(max(n, 1)):.0f} % "
        "either way: which epoch is the best is a matter of chance",
        "give no validation set, so that the last weights count, or hold out more samples",
    )


def validation_is_test(facts: Facts) -> Finding | None:
    """The test set takes part in the choice."""
    if not facts.tested_on_validation:
        return None
    return Finding(
        "the test set is the validation set",
        "the validation set is the test set: the best weights are chosen on the test set, whose accuracy then promises "
        "too much",
        "hold out a part of the training set: train, validation = splits.stratified_split(train, 0.2).apply(train)",
    )


LEARNING: tuple[Rule, ...] = (
    silent, saturated, tied, too_fast, schedule_too_long, too_slow, too_few, underfitting, nothing_learned,
)  # fmt: skip
OTHERS: tuple[Rule, ...] = (overfitting, small_validation, validation_is_test)
