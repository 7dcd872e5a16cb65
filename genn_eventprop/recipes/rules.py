"""Rules as data: what a setting is to be, when, why, and the measurement that says so.

Of the rules for a setting the first that holds counts. A value may depend on settings that were chosen before it: the
order of `RULES` is that of the choices. The measurements are those of ``benchmarks/defaults.py`` on validation sets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..data import Currents, Events
from .facts import Facts, facts_of
from .shown import SAMPLES, best_shown

RELATIVE_RATE = 0.02
"""Learning rate of weights, in units of the root mean square of a connection's initial weights."""
PLAIN_RATE = 1e-3
"""Learning rate of what has no such scale: time constants and delays, in ms."""
UPDATES = 1000, 4000
"""Least and largest number of updates that a training gets for its samples; large sets have more in `EPOCHS`."""
UPDATES_OF_A_SAMPLE = 6
EPOCHS = 20
"""Least number of epochs."""

LEAST_GROUPS = 5
"""Groups from which whole ones are held out."""
LEAST_VALIDATION, MOST = (100, 400), 0.7
"""Samples that a validation set must have to choose weights by, where the encoding shows at least a share `MOST`, and
where it shows less: these learn the more from every sample."""

TAIL, LATE = 1.4, 0.1
"""Length of a trial in units of its data where more than a share `LATE` is told apart by their last fifth."""

Chosen = Mapping[str, Any]


@dataclass(frozen=True)
class Rule:
    """One rule.

    Args:
        setting: of a page of layers, see `experiment.LayeredConfig`.
        value: from facts and the settings chosen before.
        reason: of the value, in words with the names of facts and settings in braces.
        measured: where the rule comes from.
        holds: whether it applies.
    """

    setting: str
    value: Callable[[Facts, Chosen], Any]
    reason: str
    measured: str
    holds: Callable[[Facts], bool] = lambda facts: True


@dataclass(frozen=True)
class Choice:
    """A setting, its value, and the reason in words."""

    setting: str
    value: Any
    reason: str

    def __str__(self) -> str:
        value = " ".join(map(str, self.value)) if isinstance(self.value, tuple) else self.value
        value = f"{value:g}" if isinstance(value, float) else value if value != "" else "none"
        return f"{self.setting} {value}: {self.reason}"


def epochs_for(samples: int, batch_size: int) -> int:
    """Epochs that make `UPDATES_OF_A_SAMPLE` updates for each of the samples, within `UPDATES`; at least `EPOCHS`."""
    updates = min(max(UPDATES_OF_A_SAMPLE * samples, UPDATES[0]), UPDATES[1])
    return max(EPOCHS, math.ceil(updates / math.ceil(samples / batch_size)))


def recipe(facts: Facts, rules: tuple[Rule, ...] | None = None) -> list[Choice]:
    """Every setting that rules know, with its reason; the `RULES`, or others."""
    chosen, choices = dict[str, Any](), list[Choice]()
    for rule in RULES if rules is None else rules:
        if rule.setting in chosen or not rule.holds(facts):
            continue
        value = rule.value(facts, chosen)
        chosen[rule.setting] = float(f"{value:.6g}") if isinstance(value, float) else value
        choices.append(Choice(rule.setting, chosen[rule.setting], _reason(rule.reason, facts, chosen)))
    return choices


def recipe_of(train: Events | Currents, test: Events | Currents | None) -> tuple[Facts, list[Choice]]:
    """Facts and recipe of data with a test set of their own, or None."""
    facts = facts_of(train, tested=test is not None)
    return facts, recipe(facts)


def _reason(text: str, facts: Facts, chosen: Chosen) -> str:
    words = {"shown_in_words": _shown(facts, chosen)} if "{shown_in_words}" in text else {}
    return text.format(**{**chosen, **vars(facts), **words})


def _rounded(value: float, digits: int = 3) -> float:
    """To a few significant digits, upwards: a trial must not end before the data do."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** (math.floor(math.log10(value)) - digits + 1)
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.{digits}g}")


def encoding_of(facts: Facts) -> str:
    """The encoding by which most samples are told apart, or the narrowest of those about as good."""
    return best_shown(facts.shown, min(facts.samples, SAMPLES))


def _encoding(facts: Facts, chosen: Chosen) -> str:
    return encoding_of(facts)


BIAS = 0.05
"""Of the spikes of a trial of a regression, as many again that are always there."""


def _with_bias(facts: Facts, chosen: Chosen) -> str:
    """Spikes at every time from one channel more: counts are not centred, and outputs have no constant."""
    rate = min(max(1, round(BIAS * facts.spikes * facts.channels)), 10_000)
    return ",".join(filter(None, [encoding_of(facts), f"clock(1, rate={rate})"]))


def _shown(facts: Facts, chosen: Chosen) -> str:
    """In words, for the reason of an encoding."""
    encoding = encoding_of(facts)
    others = {text: accuracy for text, accuracy in facts.shown.items() if text != encoding}
    share = facts.shown[encoding]
    words = f"explains {share:.0%} of the variance" if facts.targets else f"tells {share:.0%} of samples apart"
    if not others:
        return words
    best = max(others, key=others.__getitem__)
    words += f", {best or 'no encoding'} {others[best]:.0%}"
    if others[best] <= share:
        return words
    better = "segments are learned faster" if facts.kind == "spikes" else "means and shapes generalise better"
    return f"{words}, which may be chance, and {better}"


NOISE = 0.3, 0.6
"""Least and largest noise of z-scores while classes are learned, in standard deviations."""
NOISE_OF_TARGETS, OF_LINE = (0.1, 1.0), (0.1, 0.3)
"""The same of a regression, and of one whose targets are linear, which has few neurons."""


def _noise(facts: Facts, chosen: Chosen) -> str:
    """What the encoding leaves of the targets, or of the samples, over what it explains, within bounds."""
    share = facts.shown[encoding_of(facts)]
    least, largest = (OF_LINE if _linear(facts) else NOISE_OF_TARGETS) if facts.targets else NOISE
    return f"noise={min(max((1 - share) / max(share, 0.01), least), largest):.2g}"


def _linear(facts: Facts) -> bool:
    """Whether a curve predicts the targets no better than a line."""
    return facts.line[encoding_of(facts)] >= facts.shown[encoding_of(facts)]


def _by_group(facts: Facts) -> bool:
    """Whether there are enough groups to hold some out, and each has samples of most classes."""
    return len(facts.groups) >= LEAST_GROUPS and facts.mixed > 0.5


def _validated(facts: Facts) -> float:
    """Samples that a fifth of what is not the test set has."""
    return facts.samples * (0.2 if facts.tested else 0.16)


def _shows_little(facts: Facts) -> bool:
    return facts.shown[encoding_of(facts)] < MOST


def _few_groups(facts: Facts, chosen: Chosen) -> tuple[str, ...]:
    """Every fifth group, in the order of their names."""
    return facts.groups[2::5]


def trained_on(facts: Facts, chosen: Chosen) -> int:
    """Samples that are left to learn from."""
    held_out = 0.0 if facts.tested else chosen["test"]
    return max(1, round(facts.samples * (1 - held_out) * (1 - chosen["validation"])))


RULES: tuple[Rule, ...] = (
    Rule(
        "test_groups", _few_groups, "whole groups are the test set: a network may know speakers instead of words",
        "spoken digits: 93 % on known speakers, 66 % on others", lambda f: not f.tested and _by_group(f),
    ),
    Rule(
        "test", lambda f, c: 0.2, "a fifth of the samples, as the data have no test set", "usual share",
        lambda f: not f.tested,
    ),
    Rule(
        "validation", lambda f, c: 0.2, "a fifth of the samples chooses the best epoch", "usual share",
        lambda f: _validated(f) >= LEAST_VALIDATION[_shows_little(f)] and f.smallest_class >= 5,
    ),
    Rule(
        "validation", lambda f, c: 0.0, f"all samples learn and the last epoch counts, as the encoding shows less than "
        f"{MOST:.0%}, and {{samples}} samples are too few to spare a fifth", "750 samples (validation, one seed) with "
        "the best epoch of a fifth and with the last of all: shuffled MNIST-1D 40.8, 45.2 %, spoken times 33.2, 44.4, "
        "spoken digits 80.8, 81.6; where more is shown latency MNIST 85.2, 86.4, digits by latency 89.2, 86.4, "
        "speakers (two seeds) 91.6, 91.4, on the test set (five) 91.0, 88.9",
        lambda f: _validated(f) >= LEAST_VALIDATION[0] and _shows_little(f),
    ),
    Rule(
        "validation", lambda f, c: 0.0, "all samples learn and the last epoch counts, as {samples} are too few to "
        "choose an epoch by", "300 samples, tested on the other 700 of the training set, with the best epoch of a "
        "fifth and with the last of all: Yin-Yang 91.6, 94.3 %, latency MNIST 82.4, 82.7, digits 92.1, 94.0, by "
        "latency 88.4, 88.6, speakers 80.3, 82.1, spoken digits 53.9, 58.0; 750 samples of speakers 95.6, 94.8",
    ),
    Rule(
        "encoding", lambda f, c: "z_score",
        "values from {low:.4g} to {high:.4g} in any unit become deviations from their mean",
        "raw units leave braille silent, 0 %; z-scores 97 %", lambda f: f.kind == "currents" and f.steps == 1,
    ),
    Rule(
        "encoding", _with_bias, "what it shows {shown_in_words}; a clock in place of a constant",
        "explained variance (validation) of lengths of words with spikes that are always there 0.88, without 0.84",
        lambda f: f.targets > 0 and f.kind == "spikes",
    ),
    Rule(
        "encoding", _encoding, "what it shows {shown_in_words}",
        "on validation sets no encoding learns everything: mnist1d 30 % from means and 78 % from shapes, BasicMotions "
        "70 and 100 %, Yin-Yang 88 % without segments and 95 % with them, speakers 87 and 92 %, latency MNIST 82 and "
        "75 %",
    ),
    Rule(
        "augment", _noise, "noise in standard deviations, the more the less of "
        "the targets is explained, makes more of {samples} samples",
        "explained variance (validation, two seeds) of diabetes, half of which is explained, with noise of 0.1, 0.3, "
        "0.6, 1.0: 0.34, 0.33, 0.40, 0.42, ridge regression 0.42; of Friedman's 0.84 with 0.1, 0.83 with 0.3; of "
        "noisy linear targets (three sets) with 2 neurons 0.44 with 0.3, 0.36 with 1.0, with 8 0.40, 0.36",
        lambda f: f.targets > 0 and f.kind == "currents" and "z_score" in encoding_of(f),
    ),
    Rule(
        "augment", _noise, "noise in standard deviations, the more the fewer samples are told apart, makes more of "
        "{samples} samples", "noise of 0.3: scikit-learn's digits 93.7 to 96.2 %, wine 90 to 93 %, OSULeaf 56 to 64 % "
        "(validation); of 0.3, 0.6 and 1 where a third is told apart: shuffled MNIST-1D 38.4, 40.8 and 38.0 %",
        lambda f: f.kind == "currents" and "z_score" in encoding_of(f),
    ),
    Rule(
        "duration", lambda f, c: _rounded(TAIL * f.duration), "the longest sample ends at {duration:.4g} ms; without "
        "its last fifth an encoding shows {late:.0%} less, and silence after it lets that reach the output",
        "letters of braille cut at 1275 ms (validation, two seeds): 81 % without silence, 96 with; of ten other sets "
        "none loses more than 4 % without its last fifth, and with silence they change by -2.8 to 4 %",
        lambda f: f.late > LATE,
    ),
    Rule(
        "duration", lambda f, c: _rounded(1.01 * f.duration), "the longest sample ends at {duration:.4g} ms",
        "a trial must be longer than its data",
    ),
    Rule(
        "spike_times", lambda f, c: "grid", "one step for all neurons at once is the fastest for layers of this size",
        "docs/grid_versus_exact.md",
    ),
    Rule(
        "dt", lambda f, c: c["duration"] / 50, "a fiftieth of the trial: the currents do not change within it",
        "mnist1d 36.8 % with 50 steps, 34.7 with 100 (validation), in less than half the time",
        lambda f: f.kind == "currents" and (f.steps == 1 or "z_score" in encoding_of(f)),
    ),
    Rule(
        "dt", lambda f, c: c["duration"] / 100, "a hundredth of the trial, five steps a synaptic time constant",
        "spoken digits 9 % with steps longer than time constants, 23 % with steps of 1 ms",
    ),
    Rule(
        "tau_mem", lambda f, c: c["duration"] / 5, "a fifth of the trial",
        "half of the trial instead: no difference on mnist1d (validation)",
    ),
    Rule("tau_syn", lambda f, c: c["duration"] / 20, "a twentieth of the trial", "as tau_mem"),
    Rule("tau_mem_output", lambda f, c: c["tau_mem"], "that of hidden neurons", "as tau_mem"),
    Rule("tau_syn_output", lambda f, c: c["tau_syn"], "that of hidden neurons", "as tau_mem"),
    Rule(
        "hidden", lambda f, c: (2,), "the targets are linear in what the encoding shows, and more neurons learn noise",
        "explained variance with 2 and with 8 neurons: noisy linear targets (three sets) 0.44 and 0.40, ridge "
        "regression 0.48; diabetes (six validation sets) 0.45 and 0.46, ridge regression 0.45; of spikes (lengths of "
        "words) no difference", lambda f: f.targets > 0 and f.kind == "currents" and _linear(f),
    ),
    Rule(
        "hidden", lambda f, c: (128,), "one layer; the encoding has taken time apart",
        "mnist1d 36.8 % with 100 neurons, 38.4 with 256 and twice the updates (validation)",
    ),
    Rule(
        "recurrent", lambda f, c: False, "time is in the encoding",
        "of 22 sets 6 learn at plain defaults without, 3 with recurrence",
    ),
    Rule(
        "direct", lambda f, c: True, "the input reaches the output too: a part of the targets may be linear in it",
        "explained variance (validation, one seed) without and with it: Friedman's 0.75, 0.83; lengths of words 0.78, "
        "0.84; diabetes between -0.13 and 0.03 of difference, the better the more noise",
        lambda f: f.targets > 0,
    ),
    Rule(
        "loss", lambda f, c: "error", "squared error between the mean of V of each output and its target, in standard "
        "deviations", "docs/losses.md", lambda f: f.targets > 0,
    ),
    Rule("loss", lambda f, c: "sum", "cross-entropy of what each output sums up over the trial", "docs/losses.md"),
    Rule(
        "batch_size", lambda f, c: min(32, max(8, trained_on(f, c) // 5)), "five updates an epoch or more",
        "60 updates in 30 epochs of 50 samples leave training accuracy at chance",
    ),
    Rule(
        "epochs", lambda f, c: epochs_for(trained_on(f, c), c["batch_size"]),
        "six updates for each sample, from 1,000 to 4,000, of {batch_size} samples", "1,000 updates alone make 3 of 11 "
        "failing sets learn; 4,000 in place of 1,000 (validation) speakers 82 to 92 %, spoken digits 75.6 to 80.0 %",
    ),
    Rule(
        "schedule", lambda f, c: "cosine", "ends at 0, so that the last weights are as good as the best",
        "needs no validation set, which small data cannot spare",
    ),
)  # fmt: skip
"""The rules, in order."""
