"""Cache of converted data: rebuilt when a source or setting changes, never half-read, safe with two writers."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genn_eventprop.data import Events, cache
from genn_eventprop.data.open import open_events
from genn_eventprop.data.readers import hdf5
from genn_eventprop.errors import DataError


def build_from(source: Path, calls: list[int]) -> Any:
    def build(path: Path) -> None:
        calls.append(1)
        times = [float(word) for word in source.read_text().split()]
        Events(times, [0] * len(times), [0, len(times)], 1, name="built").save(path)

    return build


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    source, calls = tmp_path / "source.txt", []
    source.write_text("1 2 3")

    def get(**settings: Any) -> list[float]:
        return cache.cached(
            "x", [source], settings, build_from(source, calls), tmp_path / "cache"
        ).events.times.tolist()

    assert get(a=1) == get(a=1) == [1, 2, 3] and len(calls) == 1
    assert get(a=2) == [1, 2, 3] and len(calls) == 2
    source.write_text("1 2 4")  # of the same length
    assert get(a=1) == [1, 2, 4] and len(calls) == 3
    source.write_text("1 2 3")
    assert get(a=1) == [1, 2, 3] and len(calls) == 3
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_damaged_entries_are_built_again(tmp_path: Path) -> None:
    source, calls = tmp_path / "source.txt", []
    source.write_text("1 2 3")
    for k in range(2):
        events = cache.cached("x", [source], {}, build_from(source, calls), tmp_path / "cache").events
        assert events.times.tolist() == [1, 2, 3] and len(calls) == k + 1
        (entry,) = (tmp_path / "cache").iterdir()
        (entry / "times.f8").write_bytes(b"cut")


@pytest.mark.parametrize("name", ["times.f8", "channels.i4", "samples.npz", "events.json"])
def test_a_flipped_bit_is_found(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the changed number would make sense: 1.5 ms instead of 1 ms, 9 channels instead of 8."""
    source, calls = tmp_path / "source.txt", []
    source.write_text("1 2 3")
    cache.cached("x", [source], {}, build_from(source, calls), tmp_path / "cache")
    (entry,) = (tmp_path / "cache").iterdir()
    content = bytearray((entry / name).read_bytes())
    position = content.index(b'"n_channels": 1') + 14 if name == "events.json" else 6 if name == "times.f8" else 0
    content[position] ^= 8
    (entry / name).write_bytes(content)
    events = cache.cached("x", [source], {}, build_from(source, calls), tmp_path / "cache").events
    assert events.times.tolist() == [1, 2, 3] and events.n_channels == 1 and len(calls) == 2
    assert "the cached data are rebuilt" in capsys.readouterr().err
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_links_and_what_everybody_can_write_are_built_again(tmp_path: Path) -> None:
    source, calls = tmp_path / "source.txt", []
    source.write_text("1 2 3")

    def get() -> Path:
        cache.cached("x", [source], {}, build_from(source, calls), tmp_path / "cache")
        return next((tmp_path / "cache").iterdir())

    get().chmod(0o777)
    (get() / "times.f8").chmod(0o666)
    entry = get()
    assert len(calls) == 3
    entry.rename(tmp_path / "elsewhere")
    entry.symlink_to(tmp_path / "elsewhere")
    assert not get().is_symlink() and len(calls) == 4 and (tmp_path / "elsewhere").is_dir()


def test_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def build(path: Path) -> None:
        path.mkdir()
        (path / "times.f8").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.cached("x", [], {}, build, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


FULL = """
import resource, sys
from pathlib import Path
from genn_eventprop.data.open import open_events
from genn_eventprop.errors import DataError

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # writes beyond this fail as on a full disk
try:
    open_events(Path(sys.argv[1]), cache=Path(sys.argv[2]))
except DataError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs file size limits")
def test_a_disk_that_fills_up_leaves_no_half_entry(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    samples = [(np.sort(rng.uniform(0, 999, 2000)), rng.integers(0, 700, 2000)) for _ in range(3)]
    hdf5.write_shd(Events.from_samples(samples, 700, [0, 1, 2]), tmp_path / "x.h5")
    command = [sys.executable, "-P", "-c", FULL, str(tmp_path / "x.h5"), str(tmp_path / "cache")]
    said = subprocess.run(command, capture_output=True, text=True)
    message = r"cannot be written \(File too large\); no partial file is kept; allow larger .*, or set GENN_EVENT"
    assert re.search(message, said.stdout), said
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(open_events(tmp_path / "x.h5", cache=tmp_path / "cache")[0].times) == 6000


def test_a_file_that_changes_under_its_cache_is_converted_again(tmp_path: Path) -> None:
    for n in (3, 4):  # the same name and label, one event more
        hdf5.write_shd(Events(np.arange(n) * 1.0, np.zeros(n), [0, n], 1, [0]), tmp_path / "x.h5")
        events, _ = open_events(tmp_path / "x.h5", cache=tmp_path / "cache")
        assert len(events.times) == n
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_the_loser_of_a_race_discards_its_own(tmp_path: Path) -> None:
    def build(path: Path) -> None:
        # another process finishes the same entry meanwhile
        cache.cached("x", [], {}, lambda p: Events([1.0], [0], [0, 1], 1).save(p), tmp_path)
        Events([1.0], [0], [0, 1], 1).save(path)

    assert cache.cached("x", [], {}, build, tmp_path).events.times.tolist() == [1.0]
    assert len(list(tmp_path.iterdir())) == 1


RACE = """
import sys, time
from pathlib import Path
from genn_eventprop.data import Events, cache

def build(path):
    time.sleep(0.3)
    Events([1.0, 2.0], [0, 0], [0, 2], 1).save(path)

print(len(cache.cached("x", [], {}, build, Path(sys.argv[1])).events.times))
"""


@pytest.mark.ci
def test_two_processes_build_one_entry(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", RACE, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[0].strip() for process in both] == ["2", "2"]
    assert len(list(tmp_path.iterdir())) == 1


def test_clear(tmp_path: Path) -> None:
    cache.cached("x", [], {}, lambda p: Events([1.0], [0], [0, 1], 1).save(p), tmp_path)
    (tmp_path / f".x-{'ab' * 16}.left").mkdir()
    (tmp_path / "unrelated").mkdir()
    entries, size = cache.clear(tmp_path)
    assert entries == 1 and size > 100
    assert [p.name for p in tmp_path.iterdir()] == ["unrelated"]
    assert cache.clear(tmp_path / "absent") == (0, 0)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GENN_EVENTPROP_DATA_CACHE", str(tmp_path))
    assert cache.cache_folder() == tmp_path
    monkeypatch.delenv("GENN_EVENTPROP_DATA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder() == tmp_path / "xdg" / "genn_eventprop" / "data"


def test_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="absent.txt: no such file"):
        cache.key_of([tmp_path / "absent.txt"], {})
    with pytest.raises(DataError, match="cache settings must be plain values"):
        cache.key_of([], {"f": print})
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="the data cache .* cannot be written .*; set GENN_EVENTPROP_DATA_CACHE"):
        cache.cached("x", [], {}, lambda path: None, tmp_path / "file" / "cache")
    with pytest.raises(DataError, match="cannot be created .*; set GENN_EVENTPROP_DATA_CACHE"):
        cache.cached("x", [], {}, lambda path: None, tmp_path / "cache")  # a build that wrote nothing
