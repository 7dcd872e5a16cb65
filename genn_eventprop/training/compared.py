"""What stands beside the accuracy of a training: chance, and classical methods on the same split (`data.baselines`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..data import Currents, Events
from ..data.augment.batchwise import is_fixed
from ..data.augment.encodings import apply
from ..data.baselines import baselines, of_targets
from ..data.inputs import DataSet
from ..data.target_scale import has_targets
from ..errors import EventPropError

if TYPE_CHECKING:
    from ..data.augment.augmented import Augmented

Baselines = dict[str, dict[str, float]]
"""Held-out set ("test", "validation") -> "chance" and names of methods -> accuracy from 0 to 1."""


def compared(
    train: DataSet | Augmented, held_out: Mapping[str, DataSet | None], classical: bool = False
) -> tuple[Baselines, str]:
    """The baselines of a training, and why there are not all of them ("" if there are).

    An augmented training set counts as it is before what is random. Of a regression they are explained variances. Of
    other sets without a label for every sample there are none.
    """
    samples = plain(train)
    if isinstance(samples, (Events, Currents)) and has_targets(samples):
        held: dict[str, Any] = {name: data for name, data in held_out.items() if data is not None and len(data)}
        try:
            return (of_targets(samples, held) if classical else {}), ""
        except (EventPropError, MemoryError) as error:  # hours of training must not end without results
            return {}, f"no classical baselines: {error}"
    labelled = {
        name: data for name, data in held_out.items()
        if data is not None and data.labels is not None and len(data) and (data.labels >= 0).all()
    }  # fmt: skip
    if samples.labels is None or not len(samples) or (samples.labels < 0).any():
        return {}, "baselines need labels, or targets (S, K)" if classical else ""
    try:
        return baselines(samples, labelled, classical), ""
    except (EventPropError, MemoryError) as error:  # hours of training must not end without results
        return baselines(samples, labelled, False), f"no classical baselines: {error}"


def plain(train: Any) -> Any:
    """The samples of a training set, or of an augmented one after the steps that change all of them alike."""
    if not hasattr(train, "epoch"):
        return train
    if isinstance(train.steps, dict):  # of several inputs
        return train.epoch(0)
    return apply([step for step in train.steps if is_fixed(step)], train.events)


def from_results(results: Mapping[str, Any], name: str) -> dict[str, float]:
    """The baselines of a set in a results.json, which may come from anybody and from older versions."""
    of_set = results.get("baselines")
    of_set = of_set.get(name) if isinstance(of_set, dict) else None
    return {
        method: float(accuracy)
        for method, accuracy in (of_set if isinstance(of_set, dict) else {}).items()
        if isinstance(accuracy, (int, float))
    }


def in_words(results: Mapping[str, Any], name: str) -> str:
    """``"chance 33.40 %, logistic regression 64.10 %, 1-NN 93.00 %"``, of results.json; explained variances of a
    regression; "" for runs that have none."""
    found = from_results(results, name).items()
    if isinstance(results.get("final_test_explained_variance"), float):
        return ", ".join(f"{method} {value:.3f}" for method, value in found)
    return ", ".join(f"{method} {100 * value:.2f} %" for method, value in found)
