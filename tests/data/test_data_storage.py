"""Events on disk: both forms give back what was written, damage is noticed, nothing half-written is left."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop.data import Events
from genn_eventprop.data.events import storage
from genn_eventprop.errors import DataError

FIELDS = ("times", "channels", "offsets", "n_channels", "labels", "groups", "n_classes", "name")


def some_events(seed: int = 0, n: int = 20, groups: bool = True) -> Events:
    rng = np.random.default_rng(seed)
    samples = [(np.sort(rng.uniform(0, 100, k)), rng.integers(0, 9, k)) for k in rng.integers(0, 30, n)]
    return Events.from_samples(
        samples, 9, rng.integers(-1, 4, n), rng.choice(["ann", "bob"], n) if groups else None, n_classes=5, name="some"
    )


def assert_same(a: Events, b: Events) -> None:
    for field in FIELDS:
        x, y = getattr(a, field), getattr(b, field)
        assert (x is None) == (y is None), field
        assert np.array_equal(x, y), field


@pytest.mark.parametrize("name", ["events.npz", "folder"])
@pytest.mark.parametrize("groups", [True, False])
def test_what_is_saved_is_loaded(tmp_path: Path, name: str, groups: bool) -> None:
    events = some_events(groups=groups)
    events.save(tmp_path / "deep" / name)
    assert_same(Events.load(tmp_path / "deep" / name), events)
    some_events(1).save(tmp_path / "deep" / name)  # replaces
    assert_same(Events.load(tmp_path / "deep" / name), some_events(1))
    assert [p.name for p in (tmp_path / "deep").iterdir()] == [name]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 5))
def test_folder_round_trip(tmp_path_factory: pytest.TempPathFactory, seed: int, n: int) -> None:
    folder = tmp_path_factory.mktemp("events") / "set"
    some_events(seed, n).save(folder)
    assert_same(Events.load(folder, mmap=bool(seed % 2)), some_events(seed, n))


def test_folder_is_mapped_and_slices_stay_on_disk(tmp_path: Path) -> None:
    some_events().save(tmp_path / "set")
    events = Events.load(tmp_path / "set")
    assert on_disk(events.times) and on_disk(events.channels) and on_disk(events[3:9].times)
    assert not on_disk(events[[5, 2]].times)
    assert not on_disk(Events.load(tmp_path / "set", mmap=False).times)


def test_empty_data_set(tmp_path: Path) -> None:
    empty = some_events()[:0]
    for name in ("e.npz", "e"):
        empty.save(tmp_path / name)
        assert len(Events.load(tmp_path / name)) == 0


def on_disk(array: Any) -> bool:
    """Whether the memory of `array` is a mapped file."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False


def damage_cut(folder: Path) -> None:
    data = (folder / "times.f8").read_bytes()
    (folder / "times.f8").write_bytes(data[:-8])


def damage_facts(folder: Path) -> None:
    (folder / "events.json").write_text("{")


def damage_format(folder: Path) -> None:
    facts = json.loads((folder / "events.json").read_text())
    (folder / "events.json").write_text(json.dumps(facts | {"format": "other"}))


def damage_offsets(folder: Path) -> None:
    np.savez(folder / "samples.npz", labels=np.zeros(3))


def damage_channels(folder: Path) -> None:
    data = np.fromfile(folder / "channels.i4", "<i4")
    data[5] = 77
    data.tofile(folder / "channels.i4")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_cut, "times.f8: missing or not .* bytes long; the folder is damaged, write it again"),
        (damage_facts, "not a folder of events"),
        (damage_format, "format 'other', this version reads"),
        (damage_offsets, "samples.npz has no offsets"),
        (damage_channels, "channel 77 is outside 0 .. 8"),
        (lambda folder: (folder / "samples.npz").unlink(), "samples.npz: no such file"),
    ],
)
def test_damaged_folder_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    some_events().save(tmp_path / "set")
    damage(tmp_path / "set")
    with pytest.raises(DataError, match=message):
        Events.load(tmp_path / "set")


def test_foreign_and_damaged_npz(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder of events"):
        Events.load(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("this is no archive")
    with pytest.raises(DataError, match="text.npz: not a readable npz file"):
        Events.load(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(DataError, match="a single array, not an npz file"):
        Events.load(tmp_path / "one.npz")
    np.savez(tmp_path / "foreign.npz", x=np.zeros(3))
    with pytest.raises(DataError, match=r"not a file of events \(no array channels, n_channels, offsets, times\)"):
        Events.load(tmp_path / "foreign.npz")
    flat = {"times": [0.0], "channels": [0], "offsets": [0, 1]}
    for wrong in ([1, 2], "x", 1.5):
        np.savez(tmp_path / "number.npz", n_channels=wrong, **flat)
        with pytest.raises(DataError, match="number.npz: n_channels must be one integer"):
            Events.load(tmp_path / "number.npz")
    np.savez(tmp_path / "text.npz", n_channels=1, **{**flat, "times": ["a"]})
    with pytest.raises(DataError, match=r"text.npz: .*times must be numbers, got dtype <U1"):
        Events.load(tmp_path / "text.npz")
    some_events().save(tmp_path / "good.npz")
    data = bytearray((tmp_path / "good.npz").read_bytes())
    data[200:260] = bytes(60)
    (tmp_path / "bad.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"bad\.npz"):
        Events.load(tmp_path / "bad.npz")


def test_array_that_is_not_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with storage.open_npz(tmp_path / "x.npz") as file, pytest.raises(DataError, match="no array 'b'; it has a"):
        storage.read_array(file, "b", tmp_path / "x.npz")


def test_interrupted_writing_leaves_nothing_and_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some_events(0).save(tmp_path / "set")
    some_events(0).save(tmp_path / "set.npz")

    def full_disk(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full_disk)
    for name in ("set", "set.npz", "new", "new.npz"):
        with pytest.raises(DataError, match="cannot be written .*No space left"):
            some_events(1).save(tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set", "set.npz"]
    assert_same(Events.load(tmp_path / "set"), some_events(0))
    assert_same(Events.load(tmp_path / "set.npz"), some_events(0))


def test_writer_takes_samples_one_by_one_and_cleans_up(tmp_path: Path) -> None:
    events = some_events()
    with storage.EventsWriter(tmp_path / "set", 9, 5, "some") as writer:
        for i in range(len(events)):
            writer.append(*events.sample(i))
        writer.finish(None, events.labels, events.groups)
    assert_same(Events.load(tmp_path / "set"), events)
    with pytest.raises(RuntimeError, match="stopped"), storage.EventsWriter(tmp_path / "half", 9) as writer:
        writer.append(*events.sample(0))
        raise RuntimeError("stopped")
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


# numpy leaves a file that zipfile refuses to the garbage collector
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_flipped_bit_of_an_npz_is_a_message_or_harmless(tmp_path: Path) -> None:
    """zipfile asks for a password, or for a compression of the future: no error of Python may come through."""
    rng, whole = np.random.default_rng(0), some_events()
    whole.save(tmp_path / "x.npz")
    content = (tmp_path / "x.npz").read_bytes()
    places = [*rng.integers(0, 8 * len(content), 150), *range(8 * len(content) - 8 * 200, 8 * len(content), 7)]
    for bit in places:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << int(bit % 8)
        (tmp_path / "x.npz").write_bytes(changed)
        try:
            found = Events.load(tmp_path / "x.npz")
        except DataError:
            continue
        assert np.array_equal(found.times, whole.times) and found.n_channels == whole.n_channels, bit
