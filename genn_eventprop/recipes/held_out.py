"""What is held out of data without a test set of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.events import splits
from ..data.target_scale import has_targets
from ..errors import DataError, suggest


def held_out_groups(data: Any, groups: Sequence[str], fraction: float) -> tuple[Any, Any]:
    """(the rest, test set): the samples of these `groups`, or, without names, a `fraction`, see `split_off`.

    The same samples are the test of every seed, so that runs can be compared.

    Raises:
        DataError: an unknown group; a class with a single sample; nothing left on one side.
    """
    if not groups:
        return split_off(data, fraction, 0)
    names = np.array([str(group) for group in splits.all_groups(data).tolist()])
    if unknown := sorted(set(groups) - set(names)):
        raise DataError(f"test_groups: no group {unknown[0]!r}; {suggest(unknown[0], sorted(set(names)))}")
    chosen = np.isin(names, list(groups))
    if chosen.all():
        raise DataError("test_groups: these are all groups; nothing would be left to train on")
    return data[np.flatnonzero(~chosen)], data[np.flatnonzero(chosen)]


def split_off(data: Any, fraction: float, seed: int) -> tuple[Any, Any]:
    """(the rest, a fraction): of each class, or, for a regression, of all samples."""
    split = splits.random_split if has_targets(data) else splits.stratified_split
    return split(data, fraction, seed).apply(data)
