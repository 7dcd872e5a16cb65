"""What an encoding shows: how well its counts tell classes apart, before anything is trained.

Every candidate encodes some samples of the training set; a ridge regression on the counts of its channels (or the
values of currents that last all the trial) predicts each sample from all others. The share that is right needs no
held-out samples and takes milliseconds. Where the order of events in time matters, counts in segments of the trial do
better than counts of all of it; where it does not, they do worse, for they are more numbers.

Of a regression the measure is the explained variance of the targets.

Axis letters: S samples, F features, K classes or targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..data import Currents, Events
from ..data.augment.encodings import SHAPES, Asinh, Levels, SegmentMeans, Segments, Shapes, ZScore, encoded
from ..data.augment.steps import MergeChannels
from ..data.events.splits import all_labels
from ..data.target_scale import TargetScale, explained_variance, has_targets

SAMPLES = 250
"""Samples that are predicted, spread over the training set."""
CHANNELS, FEWER = 100, 30
"""Channels of spikes above which neighbours are merged, before each segment gets channels of its own."""
FEW = 500
"""Samples below which fewer channels are tried too: with 256 samples of moving bumps in 1,000 channels validation
accuracy is 78 % from 30 and 72 % from 100; with 600 speakers have 91.2 and 91.6 %, spoken digits 76.8 and 78.0."""
SEGMENTS = (1, 5, 10, 20)
"""Parts of a trial that are tried."""
LEVELS = (8, 16)
"""Levels of a channel of currents that are tried."""
MEANS = (20, 50)
"""Segments whose means are tried; no more than there are values, but at least the first number."""
LENGTHS = 4
"""Lengths of the shapes that are looked for anywhere in a curve."""
MARGIN = 0.08
"""By how much levels must tell more apart than means and shapes, from which a network generalises better."""
ENOUGH = 0.9
"""Share of samples told apart by counts of all the trial that needs no segments."""
HEAVY = 100.0
"""Kurtosis of a channel of curves, on average, above which their logarithm is taken first: noise in standard deviations
would cover most of them. Daily cases of an infection (Covid3Month_disc) have 700: 6.6 % without, 62.3 with it. Braille,
of ten other sets the largest, has 54: 100 % without."""
PENALTIES = (0.02, 0.3)
"""Of the ridge regression, in units of the mean square of a sample."""


class Shares(NamedTuple):
    """How well a line predicts, and a curve."""

    line: float
    curve: float


def candidates(data: Events | Currents, samples: int) -> list[list[Any]]:
    """Encodings that are tried for a training set of so many samples, in the order of their numbers of channels."""
    if isinstance(data, Events):
        merges = [math.ceil(data.n_channels / CHANNELS)]
        if merges[0] > 1 and samples < FEW:
            merges.insert(0, math.ceil(data.n_channels / FEWER))
        return [
            ([MergeChannels(merge)] if merge > 1 else []) + ([Segments(count)] if count > 1 else [])
            for merge in merges for count in SEGMENTS
        ]  # fmt: skip
    if data.n_steps == 1:
        return [[ZScore()]]
    values = np.float64(data.values).reshape(-1, data.n_channels)
    deviations = (values - values.mean(0))[:, values.std(0) > 0]
    fourth = np.mean(deviations**4, 0) / np.mean(deviations**2, 0) ** 2  # 3 for a normal distribution
    z_score = [*([Asinh()] if fourth.size and fourth.mean() > HEAVY + 3 else []), ZScore()]
    levels = [[Levels(k), *([Segments(count)] if count > 1 else [])] for k in LEVELS for count in SEGMENTS]
    counts = sorted({max(MEANS[0], min(count, data.n_steps)) for count in MEANS})
    means = [[*z_score, SegmentMeans(count)] for count in counts]
    shapes = [[*z_score[:-1], Shapes(LENGTHS), ZScore()]] if data.n_steps >= SHAPES.shape[1] else []
    return [*means, *shapes, *levels]


def shown(data: Events | Currents, samples: int) -> dict[str, Shares]:
    """Encoding as text -> share of samples that are predicted right from all others; of a regression the variance of
    the targets that is explained, at least 0.

    Args:
        data: some of the training set. samples: of all of it.
    """
    if has_targets(data):
        answers = TargetScale.of(data).scaled(data).targets
        score = lambda y: explained_variance(answers, y)  # noqa: E731
    else:
        labels = all_labels(data, "a recipe")
        answers = np.where(np.arange(labels.max() + 1) == labels[:, None], 1.0, -1.0)
        score = lambda y: float(np.mean(y.argmax(1) == labels))  # noqa: E731
    return {text_of(steps): predicted(features(steps, data), answers, score) for steps in candidates(data, samples)}


def text_of(steps: list[Any]) -> str:
    """As the setting `encoding` of a page has it."""
    names = {"ZScore": "z_score", "SegmentMeans": "segment_means", "MergeChannels": "merge_channels"}
    words = []
    for step in steps:
        name = type(step).__name__
        value = getattr(step, "count", getattr(step, "factor", None))
        words.append(names.get(name, name.lower()) + ("" if value is None else f"={value}"))
    return ",".join(words)


def best_shown(accuracies: Mapping[str, float], samples: int) -> str:
    """The encoding by which most samples are told apart, but for what may be chance.

    From means and shapes a network generalises better than from levels: these must be better by `MARGIN` and by more
    than three standard errors of the share of the others. Shapes, which may lie anywhere, go before means that are as
    good. A network learns counts of all the trial more slowly than counts in segments of it: where the former leave
    much to tell, the latter count unless they are worse by more than a standard error.
    """
    others = {text: p for text, p in accuracies.items() if not text.startswith("levels")}
    # of several the first, which is the narrowest
    best = max(others, key=lambda text: (others[text], "shapes" in text))
    error = math.sqrt(max(others[best] * (1 - others[best]), 0.0) / samples)
    in_segments = {text: p for text, p in others.items() if "segments" in text}
    if in_segments and others[best] < ENOUGH:
        first = max(in_segments, key=in_segments.__getitem__)
        best = first if in_segments[first] >= others[best] - error else best
    top = max(accuracies, key=accuracies.__getitem__)
    return top if accuracies[top] > others[best] + max(MARGIN, 3 * error) else best


def features(steps: list[Any], data: Events | Currents) -> np.ndarray:
    """(S, F) float64: the counts of every channel behind the steps, or the values of currents."""
    data = encoded(steps, data)[1]
    if isinstance(data, Currents):
        return np.asarray(data.values.reshape(len(data), -1), np.float64)
    place = data.sample_of_event * data.n_channels + data.channels
    size = len(data) * data.n_channels
    return np.bincount(place, minlength=size).reshape(len(data), data.n_channels).astype(np.float64)


def predicted(x: np.ndarray, answers: np.ndarray, score: Callable[[np.ndarray], float]) -> Shares:
    """The best scores, at least 0, of what ridge regression predicts of each sample (S, F) from all others.

    Without a loop over samples: kernel ridge regression with a constant b, [[K + lambda, 1], [1, 0]] [a, b] = [y, 0],
    misses a sample that is left out by a_i / C_ii, where C is the inverse of that matrix (Cawley and Talbot 2004, doi
    10.1016/j.neunet.2004.07.002). The constant is no detail: features that are centred on all samples tell of a sample
    what class it is, as it lies opposite to the sum of the others. With a linear and a Gaussian kernel, as a hidden
    layer bends what a line cannot tell apart.

    Args:
        answers: (S, K) what is predicted. score: of predictions (S, K).
    """
    x = x - x.mean(0)
    deviation = x.std(0)
    x = x / np.where(deviation > 0, deviation, 1.0)
    products = x @ x.T
    squares = np.diag(products)
    if not squares.any():
        return Shares(*2 * [max(0.0, score(np.broadcast_to(answers.mean(0), answers.shape)))])
    distances = squares[:, None] + squares - 2 * products
    kernels = (products / squares.mean(), np.exp(-distances / np.median(distances[distances > 0])))
    n, scores = len(answers), []
    with_constant = np.ones((n + 1, n + 1))
    with_constant[n, n] = 0.0
    for kernel in kernels:
        best = 0.0
        for penalty in PENALTIES:
            with_constant[:n, :n] = kernel + penalty * np.eye(n)
            inverse = np.linalg.inv(with_constant)[:n, :n]
            best = max(best, score(answers - (inverse @ answers) / np.diag(inverse)[:, None]))
        scores.append(best)
    return Shares(*scores)
