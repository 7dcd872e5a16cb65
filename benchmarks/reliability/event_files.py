"""Random event files, damaged or not: read right, or refused with a message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from genn_eventprop.data import Events
from genn_eventprop.data.open import open_events
from genn_eventprop.data.readers import hdf5
from genn_eventprop.errors import EventPropError


def event_file(rng: np.random.Generator) -> tuple[str, str]:
    """A file or folder of events with something wrong, or nothing."""
    want, (path, kind) = _events(rng), (None, int(rng.integers(3)))
    path = Path(("x.npz", "x", "x.h5")[kind])
    if kind == 2:
        hdf5.write_shd(want, path)
    else:
        want.save(path)
    what = DAMAGES[rng.integers(len(DAMAGES))](path, rng)
    try:
        found, names = open_events(path)
    except EventPropError as error:
        return ("refused with a message" if what and str(error) else "refused what is right"), f"{path} {what}: {error}"
    right = len(found.times) == len(found.channels) == found.offsets[-1] and len(names) >= (found.n_classes or 0)
    right = right and bool(np.isfinite(found.times).all() and (np.diff(found.offsets) >= 0).all())
    right = right and bool((found.channels >= 0).all() and (found.channels < found.n_channels).all())
    if not what:
        right = (
            right and np.allclose(found.times, want.times, atol=1e-3) and np.array_equal(found.channels, want.channels)
        )
    return ("right" if right else "wrong result taken for right"), f"{path} {what}"


def _events(rng: np.random.Generator) -> Events:
    n = int(rng.integers(1, 6))
    samples = [(np.sort(rng.uniform(0, 900, k)), rng.integers(0, 700, k)) for k in rng.integers(0, 30, n)]
    return Events.from_samples(samples, 700, rng.integers(0, 4, n), n_classes=4)


def _nothing(path: Path, rng: np.random.Generator) -> str:
    return ""


def _victim(path: Path, rng: np.random.Generator) -> Path:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return files[rng.integers(len(files))]


def _cut(path: Path, rng: np.random.Generator) -> str:
    victim = _victim(path, rng)
    content = victim.read_bytes()
    size = int(rng.integers(0, max(1, len(content))))
    victim.write_bytes(content[:size])
    return f"{victim} cut to {size}"


def _flip(path: Path, rng: np.random.Generator) -> str:
    victim = _victim(path, rng)
    content = bytearray(victim.read_bytes() or b"\x00")
    bit = int(rng.integers(8 * len(content)))
    content[bit // 8] ^= 1 << bit % 8
    victim.write_bytes(content)
    return f"{victim} bit {bit}"


def _noise(path: Path, rng: np.random.Generator) -> str:
    victim = _victim(path, rng)
    victim.write_bytes(rng.bytes(int(rng.integers(0, 300))))
    return f"{victim} random bytes"


def _array(path: Path, rng: np.random.Generator) -> str:
    """One array of another kind, shape or content."""
    bad: list[Any] = [
        np.array([np.nan]), np.zeros((2, 2)), np.array(["a", "b"]), np.array([-1.0, 5.0]), np.array(3), np.zeros(0),
        np.array([2**40]), np.array([1 + 2j]), np.array([True]), np.array([5.0, 1.0]),
    ]  # fmt: skip
    value = bad[rng.integers(len(bad))]
    name = str(rng.choice(["times", "channels", "offsets", "labels", "n_channels", "new"]))
    if path.suffix == ".h5":
        import h5py

        with h5py.File(path, "a") as file:
            name = str(rng.choice(["labels", "spikes/times", "spikes/units", "extra/keys", "extra/speaker"]))
            if name in file:
                del file[name]
            if value.dtype.kind not in "U":
                file[name] = value
    elif path.suffix == ".npz":
        with np.load(path) as file:
            arrays = {**file, name: value}
        np.savez(path, **arrays)
    else:
        value.tofile(path / "times.f8")
    return f"{name} replaced by {value.dtype} {value.shape}"


DAMAGES = (_nothing, _cut, _flip, _noise, _array, _array)
