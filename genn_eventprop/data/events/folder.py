"""A folder of recordings, one folder a class, as one data set."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, check_known, suggest
from ...home import expanded
from .check import Recordings


@dataclass(frozen=True)
class Reader:
    """How files of one kind become events.

    Args:
        read: (file, options) -> `Events`. suffixes: of such files, in lower case. sized: `n_channels` is an option.
            widens: the files do not say their number of channels: that of a folder is the largest of its files.
        pieces: (file, options) -> number of channels, and (times in ms, channels) of one recording, piece by piece.
    """

    read: Callable[..., Recordings]
    suffixes: tuple[str, ...]
    sized: bool = False
    widens: bool = False
    pieces: Callable[..., tuple[int, Iterator[tuple[np.ndarray, np.ndarray]]]] | None = None


READERS: dict[str, Reader] = {}
"""By name; `data.readers` fills it, whose formats build on the containers here."""


def reader_of(path: Path) -> str | None:
    """The name of the reader for a file, by its suffix."""
    return next((name for name, reader in READERS.items() if path.suffix.lower() in reader.suffixes), None)


def read_folder(
    kind: Any, folder: str | Path, reader: str | Callable[[Path], Any] | None = None, n_channels: int | None = None,
    name: str = "", **options: Any,
) -> tuple[Any, list[str], list[Path]]:  # fmt: skip
    """(Events, class names, the file of each sample), see `Events.from_folder`; `kind` is `Events`."""
    folder = expanded(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: {'no folder' if folder.exists() else 'no such folder'}; give one with a folder of "
                        "recordings for each class")  # fmt: skip
    check_reader(reader)
    files = [file for file in sorted(folder.rglob("*")) if _is_recording(file.relative_to(folder), file, reader)]
    if not files:
        kinds = "; ".join(f"{name}: {', '.join(each.suffixes)}" for name, each in READERS.items())
        raise DataError(f"{folder}: no recordings that can be read ({kinds}); for others give a reader, a function")
    names = class_folders(folder, files)
    read = [_read(kind, file, reader, n_channels, options) for file in files]
    widths, parts = [part.n_channels for part, _ in read], list[Any]()
    if len(set(widths)) > 1 and not all(widens for _, widens in read):
        i = next(i for i, width in enumerate(widths) if width != widths[0])
        raise DataError(
            f"{files[i]} has {widths[i]} channels, but {files[0]} has {widths[0]}; all files must have the same number"
        )
    for file, (part, _) in zip(files, read):
        annotations = part.annotations
        if names:
            label = names.index(file.relative_to(folder).parts[0])
            annotations |= {"labels": np.full(len(part), label), "n_classes": len(names)}
        parts.append(kind.trusted(part.times, part.channels, part.offsets, max(widths), **annotations))
    events = kind.concatenate(parts, name or folder.name)
    return events, names, [file for file, part in zip(files, parts) for _ in range(len(part))]


def class_folders(folder: Path, files: list[Path]) -> list[str]:
    """The folders in `folder` that hold the files, in order of their names; none if the files lie in it themselves.

    Raises:
        DataError: some of them do.
    """
    places = [file.relative_to(folder).parts for file in files]
    names = sorted({parts[0] for parts in places if len(parts) > 1})
    loose = next((file for file, parts in zip(files, places) if len(parts) == 1), None)
    if names and loose is not None:
        raise DataError(f"{loose} lies beside the folders of classes ({', '.join(names)[:100]}); move it into one")
    return names


def check_reader(reader: Any) -> None:
    """Raise `DataError` for the name of a reader that there is not."""
    if isinstance(reader, str) and reader not in READERS:
        raise DataError(f"no reader {reader!r}; {suggest(reader, READERS)}, or give a function file -> events")


def _is_recording(place: Path, file: Path, reader: Any) -> bool:
    if any(part.startswith(".") for part in place.parts) or not file.is_file():
        return False
    if reader is None:
        return reader_of(file) is not None
    return reader not in READERS or file.suffix.lower() in READERS[reader].suffixes


def read_file(
    kind: Any, file: Path, reader: str | Callable[[Path], Any] | None = None, n_channels: int | None = None,
    **options: Any,
) -> Any:  # fmt: skip
    """The events of one file, as for `read_folder`."""
    return _read(kind, file, reader, n_channels, options)[0]


def _read(kind: Any, file: Path, reader: Any, n_channels: int | None, options: dict[str, Any]) -> tuple[Any, bool]:
    """The events of a file, and whether they may be given more channels."""
    if callable(reader):
        events = reader(file, **options)
        if isinstance(events, kind):
            return events, False
        width = n_channels or 1
        if n_channels is None and isinstance(events, tuple) and len(events) == 2:
            width = int(np.asarray(events[1]).max(initial=0)) + 1
        return kind.from_samples([events], width, name=str(file)), True
    known = _known(file, reader)
    return known.read(file, **_options(file, known.read, reader, known.sized, n_channels, options)), known.widens


def in_pieces(
    file: Path, reader: str | None = None, n_channels: int | None = None, **options: Any
) -> tuple[int, Iterator[tuple[np.ndarray, np.ndarray]]] | None:
    """(number of channels, times and channels piece by piece) of the recording in a file; None if it cannot be read in
    pieces."""
    check_reader(reader)
    known = READERS.get(reader or reader_of(file) or "")
    if known is None or known.pieces is None:
        return None
    return known.pieces(file, **_options(file, known.read, reader, known.sized, n_channels, options))


def _known(file: Path, reader: str | None) -> Reader:
    check_reader(reader)
    name = reader or reader_of(file)
    if name is None:
        raise DataError(f"{file}: of no known kind; name a reader: {', '.join(READERS)}")
    return READERS[name]


def _options(
    file: Path, read: Callable[..., Any], reader: str | None, sized: bool, n_channels: int | None,
    options: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """What a reader takes."""
    _, *taken = inspect.signature(read).parameters
    for option in options:
        name = reader or reader_of(file)
        check_known(option, taken, DataError, f"{file}: the reader {name!r} has no option {option!r} (")
    return {**options, "n_channels": n_channels} if sized and n_channels is not None else options
