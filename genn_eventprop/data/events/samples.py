"""What all data sets have: samples with labels, groups and targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Self

import numpy as np

from ...errors import DataError
from . import check


class Samples:
    """Base of `Events`, `Currents` and `Inputs`: labels, groups, n_classes, name and targets of S samples.

    A subclass that is a dataclass lists these after its own fields; its arrays are read-only. See `Events`.
    """

    labels: np.ndarray | None
    groups: np.ndarray | None
    n_classes: int | None
    name: str
    targets: Any

    def _set(self, values: Mapping[str, Any]) -> None:
        """Fields, of a frozen dataclass too; arrays as read-only views."""
        for field, value in values.items():
            if isinstance(value, np.ndarray) and value.flags.writeable:
                value = value.view()
                value.flags.writeable = False
            object.__setattr__(self, field, value)

    @classmethod
    def trusted(cls, *values: Any, **annotations: Any) -> Self:
        """From arrays that are right by construction (parts of checked ones): no check, no copy; `values` and
        `annotations` are the arguments of the class."""
        new, own = object.__new__(cls), fields(cls)  # type: ignore[arg-type]  # a dataclass, see the class
        rest = {f.name: annotations.get(f.name, f.default) for f in own[len(values) :]}
        new._set(dict(zip((f.name for f in own), values)) | rest)
        return new

    def _checked_annotations(self, size: int, where: str) -> dict[str, Any]:
        """Labels, groups, n_classes and targets as given to a dataclass.

        Raises:
            DataError: they do not match the samples or each other.
        """
        labels, targets = self.labels, self.targets
        if isinstance(targets, Mapping) and "label" in targets:
            if labels is not None:
                raise DataError(f"{where}: the labels are given twice, as labels= and in targets=")
            labels, targets = targets["label"], {n: t for n, t in targets.items() if n != "label"}
        labels, n_classes = check.labels(labels, size, self.n_classes, where)
        groups, targets = check.groups(self.groups, size, where), check.targets(targets, size, where)
        return {"labels": labels, "groups": groups, "n_classes": n_classes, "targets": targets}

    @property
    def annotations(self) -> dict[str, Any]:
        """Labels, groups, n_classes, name and targets, as arguments of the class."""
        return {n: getattr(self, n) for n in ("labels", "groups", "n_classes", "name", "targets")}

    def annotations_of(self, chosen: np.ndarray) -> dict[str, Any]:
        """`annotations` of the `chosen` samples, indices (B,), as new arrays."""
        return {n: v[chosen] if isinstance(v, np.ndarray) else v for n, v in self.annotations.items()}

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Self]:
        return (self[i] for i in range(len(self)))


def joined_annotations(parts: Sequence[Samples], name: str = "") -> dict[str, Any]:
    """`annotations` of all samples of `parts`, in order, with the name of the first or this one.

    Raises:
        DataError: only some of the parts have labels, groups or targets, or they do not fit together.
    """
    check.same_annotations(parts)
    first = parts[0]
    joined = {
        field: None if getattr(first, field) is None else np.concatenate([getattr(p, field) for p in parts])
        for field in ("labels", "groups", "targets")
    }
    n_classes = None if first.n_classes is None else max(p.n_classes or 0 for p in parts)
    return joined | {"n_classes": n_classes, "name": name or first.name}
