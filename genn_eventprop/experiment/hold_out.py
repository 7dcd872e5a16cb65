"""``--hold-out GROUP``: one group of the data (a speaker, a subject) is the test set, and nothing is trained on it.

It works for every page whose training set has `Events.groups`. The samples of the group in the training, validation and
test set of the page are the test set of the fold; the others train and validate as they do without it. Samples of other
groups in the page's own test set are left out: they may be in another form than the training set is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import Currents, Events
from ..data.augment.batchwise import is_fixed
from ..data.augment.encodings import apply
from ..data.events import splits
from ..data.inputs import DataSet, Inputs
from ..errors import SettingError, check_known

if TYPE_CHECKING:
    from ..data.augment.augmented import Augmented


def group_names(train: DataSet | Augmented) -> list[str]:
    """The groups of a training set, in the order of their names.

    Raises:
        SettingError: it has none, or a single one.
    """
    events = samples_of(train)
    if events.groups is None:
        raise SettingError(
            "the training set has no groups to cross-validate over (Events.groups is None); make its Events with "
            "groups=[...], one name a sample, or give the experiment a function folds()"
        )
    names = [str(group) for group in np.unique(splits.all_groups(events)).tolist()]
    if len(names) < 2:
        raise SettingError(f"the training set has one group, {names[0]!r}; holding it out leaves nothing to train on")
    return names


def without_group(train: Any, validation: DataSet | None, test: DataSet | None, group: str) -> tuple[Any, Any, Any]:
    """Training, validation and test set of the fold whose test set is `group`; validation is None if nothing is left.

    Raises:
        SettingError: there is no such group.
    """
    names = group_names(train)
    check_known(group, names, SettingError, f"--hold-out {group}: the training set has no such group; ")
    events = samples_of(train)
    rest: Any = _part(events, group, False)
    held_out: list[Any] = [_part(events, group, True)]
    if train is not events and isinstance(events, Inputs):
        raise SettingError("--hold-out takes pages with one augmented input; hold the group out in the page")
    if train is not events:
        held_out = [apply([step for step in train.steps if is_fixed(step)], held_out[0])]
        rest = type(train)(rest, train.steps, train.blend, train.seed)
    # a validation set without groups is refused: it may hold samples of the group
    others = [
        each for each in (validation, test) if each is not None and (each is validation or each.groups is not None)
    ]
    held_out += [_part(each, group, True) for each in dict.fromkeys(others) if each is not events]
    if validation is not None:
        validation = _part(validation, group, False)
        validation = validation if len(validation) else None
    return rest, validation, _joined([each for each in held_out if len(each)], f"group {group}")


def notes_of_fold(before: DataSet | None, after: DataSet | None, group: str) -> list[str]:
    """A note where a fold has lost its validation set."""
    lost = before is not None and after is None
    return [f"all validation samples belong to {group!r}, which is held out; the last epoch counts"] if lost else []


def samples_of(train: DataSet | Augmented) -> DataSet:
    """The samples of a training set, before they are augmented."""
    return train if isinstance(train, (Events, Currents, Inputs)) else train.events


def _joined(parts: list[Any], name: str) -> Any:
    """All samples of data sets of one kind."""
    return type(parts[0]).concatenate(parts, name)


def _part(events: DataSet, group: str, inside: bool) -> Any:
    """The samples of a group, or all others."""
    mask = np.array([str(each) == group for each in splits.all_groups(events).tolist()], bool)
    return events[np.flatnonzero(mask == inside)]
