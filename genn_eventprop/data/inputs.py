"""Data sets of networks with several inputs: spikes and currents of the same samples, by the names of the inputs.

Axis letters: S samples, B of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, check_known, shown
from .currents.currents import Currents
from .events import check, storage
from .events.events import Events, Index, merge_annotations, require_events
from .events.samples import Samples, joined_annotations


class Inputs(Samples):
    """Several inputs of the same S samples, in the same order.

    Whatever takes a data set takes such a dictionary too, and makes this of it.

    Args:
        parts: name of the network's input -> its `Events` or `Currents`. Labels, groups and targets come from the parts
            that have them.
        name: of this data set in messages; default: that of the first part which has one.

    Raises:
        DataError: parts of another kind, with other numbers of samples, or that contradict each other.

    Example:
        >>> currents = Currents(rng.random((20, 5, 3)), dt=3.0)
        >>> data = Inputs({"touch": events, "position": currents})    # named as the inputs of the network
        >>> data[:10]["position"]
        Currents(10 samples, 5 steps of 3 ms, 3 channels)
    """

    parts: dict[str, Events | Currents]

    def __init__(self, parts: Mapping[str, Events | Currents], name: str = "") -> None:
        if not parts:
            raise DataError("the dictionary of inputs is empty; give {name of the input: Events or Currents}")
        for key, part in parts.items():
            if not isinstance(part, (Events, Currents)):
                raise DataError(
                    f"input {key!r} must be Events (spikes) or Currents, got {shown(part)}{check.how_to_read(part)}"
                )
        sizes = {key: len(part) for key, part in parts.items()}
        if len(set(sizes.values())) > 1:
            raise DataError(f"all inputs need the same samples, got {sizes}")
        name = name or next((part.name for part in parts.values() if part.name), "")
        merged = merge_annotations(list(parts.values()), "inputs")
        merged["targets"] = check.targets(merged["targets"], len(next(iter(parts.values()))), name or "inputs")
        self._set({"parts": dict(parts), "name": name} | merged)

    @classmethod
    def trusted(cls, parts: dict[str, Events | Currents], name: str = "", **annotations: Any) -> Inputs:
        """From parts of the same samples; no check. `annotations` are labels, groups, n_classes and targets."""
        new = object.__new__(cls)
        new._set({"parts": parts, "name": name} | annotations)
        return new

    @classmethod
    def concatenate(cls, parts: Iterable[Inputs], name: str = "") -> Inputs:
        """All samples of `parts`, in order; they need the same inputs, annotations must be in all or in none. The
        result has the `name` of the first, or this one.

        Raises:
            DataError: other inputs, or inputs that do not fit together.
        """
        parts = list(parts)
        annotations = joined_annotations(parts, name)
        first = parts[0]
        if wrong := next((p for p in parts if p.parts.keys() != first.parts.keys()), None):
            raise DataError(
                f"parts with the inputs {', '.join(wrong.parts)} and {', '.join(first.parts)}; take the same"
            )
        joined = {key: _concatenated([p.parts[key] for p in parts]) for key in first.parts}
        return cls.trusted(joined, **annotations)

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    def __getitem__(self, index: str | Index) -> Any:
        """The input of this name, or the chosen samples of all inputs (see `Events`) as `Inputs`."""
        if isinstance(index, str):
            check_known(index, self.parts, DataError, f"no input {index!r} in the data (")
            return self.parts[index]
        chosen = check.sample_indices(index, len(self), self.name or "inputs")
        parts = {key: part[index] for key, part in self.parts.items()}
        return Inputs.trusted(parts, **self.annotations_of(chosen))

    def with_parts(self, parts: Mapping[str, Events | Currents]) -> Inputs:
        """Other inputs in the place of some, of the same samples; nothing is checked."""
        return Inputs.trusted({**self.parts, **parts}, **self.annotations)

    @property
    def mapped(self) -> bool:
        """Whether a part is memory-mapped from disk."""
        return any(part.mapped for part in self.parts.values())

    def save(self, path: str | Path) -> None:
        """Write all inputs to one compressed .npz file at `path`, atomically; `load_data` reads it.

        Raises:
            DataError: another suffix. A large data set is written input by input, ``data["stim"].save(folder)``, and
                put together again from what `load` maps, ``Inputs({"stim": Currents.load(folder), ...})``.
        """
        path = Path(path)
        if path.suffix != ".npz":
            raise DataError(
                f"{path}: several inputs are saved in one .npz file; save each by itself for folders that are mapped"
            )
        arrays = dict[str, np.ndarray]()
        for key, part in self.parts.items():
            arrays |= {f"{key}/{field}": array for field, array in storage.arrays_of(part).items()}
        storage.write_npz(arrays, path)

    def __repr__(self) -> str:
        return f"Inputs({', '.join(f'{key}: {part!r}' for key, part in self.parts.items())})"


DataSet = Events | Currents | Inputs
"""What networks are trained on."""


def load_data(path: str | Path, mmap: bool = True) -> DataSet:
    """What `save` of `Events`, `Currents` or `Inputs` wrote, whichever it was.

    Raises:
        DataError: the path is absent, of another kind, or damaged.
    """
    path = Path(path)
    if storage.CURRENTS.is_in(path):
        return Currents.load(path, mmap)
    if path.suffix != ".npz":
        return Events.load(path, mmap)
    with storage.open_npz(path) as file:
        names: list[str] = list(file.files)
        if not any("/" in name for name in names):
            return Currents.load(path) if "values" in names and "times" not in names else Events.load(path)
        arrays = storage.read_arrays(file, names, path)
    parts: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        key, _, field = name.partition("/")
        parts.setdefault(key, {})[field] = array
    try:
        return Inputs({
            key: Currents(**storage.arguments(storage.CURRENTS, of, path)) if "values" in of
            else Events(**storage.arguments(storage.EVENTS, of, path))
            for key, of in parts.items()
        })  # fmt: skip
    except (DataError, TypeError) as error:  # an array that no input has, or one that is missing
        raise DataError(f"{path}: not a file of inputs ({error})") from None


def require_data(value: Any, what: str) -> DataSet:
    """`value`, which is named `what` in the message, if it is a data set; a dictionary becomes `Inputs`.

    Raises:
        DataError: it is something else; says how to make one of it.
    """
    if isinstance(value, (Currents, Inputs)):
        return value
    return Inputs(value) if isinstance(value, Mapping) else require_events(value, what)


def _concatenated(parts: list[Any]) -> Events | Currents:
    """All samples of parts of one kind.

    Raises:
        DataError: spikes and currents.
    """
    if any(type(part) is not type(parts[0]) for part in parts):
        raise DataError("an input is spikes in one part and currents in another; take the same")
    joined: Events | Currents = type(parts[0]).concatenate(parts)
    return joined


def parts_of(data: DataSet) -> list[Events | Currents]:
    """The inputs of a data set, one or several."""
    return list(data.parts.values()) if isinstance(data, Inputs) else [data]


def with_targets(data: DataSet, targets: np.ndarray | None) -> DataSet:
    """The same samples, with these targets, which are not checked."""
    annotations = data.annotations | {"targets": targets}
    if isinstance(data, Currents):
        return Currents.trusted(data.values, data.dt, **annotations)
    if isinstance(data, Inputs):
        return Inputs.trusted(data.parts, **annotations)
    return Events.trusted(data.times, data.channels, data.offsets, data.n_channels, **annotations)


def split_inputs(
    data: DataSet | Mapping[str, Events | Currents], spike_inputs: Mapping[str, int], current_inputs: Mapping[str, int]
) -> tuple[Events, dict[str, Currents]]:
    """A data set as a network takes it.

    Spikes of several inputs may also lie side by side in one part, named like all of them, "audio+touch".

    Args:
        spike_inputs, current_inputs: of the network, in their order: name -> number of channels.

    Returns:
        The spikes of all spike inputs side by side, with the labels, groups and targets of the whole data set (without
        a spike input: samples without events, of no channels); and the currents by name.

    Raises:
        DataError: an input that the data does not have, or the network does not; another number of channels.
    """
    together = "+".join(spike_inputs)
    if isinstance(data, (Mapping, Inputs)) and together in (data.parts if isinstance(data, Inputs) else data):
        spike_inputs = {together: sum(spike_inputs.values())} if spike_inputs else {}
    every = {**spike_inputs, **current_inputs}
    if isinstance(data, Events) and not current_inputs:
        return data, {}
    if isinstance(data, (Events, Currents)):
        if len(every) != 1 or isinstance(data, Events):
            words = dict.fromkeys(spike_inputs, "Events") | dict.fromkeys(current_inputs, "Currents")
            wanted = ", ".join(f"{name!r}: {word}" for name, word in words.items())
            given = "spikes" if isinstance(data, Events) else "currents"
            raise DataError(
                f"the data are {given} alone, but the network has the inputs {', '.join(every)}; give a dictionary "
                f"{{{wanted}}}"
            )
        (name,) = every
        data = Inputs.trusted({name: data}, **data.annotations)
    data = data if isinstance(data, Inputs) else Inputs(data)
    for name in data.parts:
        check_known(name, every, DataError, f"the data has an input {name!r} that the network lacks (")
    for name, size in every.items():
        part: Events | Currents = data[name]
        kind, word = (Events, "spikes") if name in spike_inputs else (Currents, "currents")
        if not isinstance(part, kind):
            other = "currents: net.current" if kind is Events else "spikes: net.input"
            raise DataError(f"input {name!r} of the network takes {word}, the data has {other} takes these")
        if part.n_channels != size:
            maker = "input" if kind is Events else "current"
            raise DataError(
                f"the data has {part.n_channels} channels for {name!r}, the network's has {size}; make it with "
                f"net.{maker}({part.n_channels}, ...)"
            )
    spikes = [data.parts[name] for name in spike_inputs]
    if not spikes:
        arrays = np.empty(0), np.empty(0, np.int32), np.zeros(len(data) + 1, np.int64)
        joined = Events.trusted(*arrays, 0)
    else:
        joined = spikes[0] if len(spikes) == 1 else Events.side_by_side(spikes)  # type: ignore[arg-type, assignment]
    joined = Events.trusted(joined.times, joined.channels, joined.offsets, joined.n_channels, **data.annotations)
    return joined, {name: data.parts[name] for name in current_inputs}  # type: ignore[misc]
