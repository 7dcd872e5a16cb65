"""Files of event cameras: written byte by byte or by a library, read, cut short and damaged."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop.data.readers import camera
from genn_eventprop.data.readers.aer import FIELDS
from genn_eventprop.data.readers.camera import read_camera, structured_pieces
from genn_eventprop.errors import DataError
from support.camera_files import FORMATS, SIZES, aedat4, evt3, some_events
from support.extras import needs

SIZE = (100, 64)
EVERY = pytest.mark.parametrize("name", FORMATS)


def read_structured(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """All events of a file as one array, and the size of its sensor."""
    size, *parts = structured_pieces(path)
    return np.concatenate([np.empty(0, FIELDS), *parts]), size


def written(folder: Path, name: str, events: dict[str, np.ndarray], size: tuple[int, int]) -> Path:
    writer, suffix = FORMATS[name]
    path = folder / f"{name}{suffix}"
    path.write_bytes(writer(events, size))
    return path


def check_read(path: Path, events: dict[str, np.ndarray], size: tuple[int, int]) -> None:
    for block in (camera.BLOCK, 24 if path.stat().st_size < 4000 else 4096):  # bytes that are read at a time
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(camera, "BLOCK", block)
            array, found = read_structured(path)
        assert found == size
        for key in "txyp":
            assert np.array_equal(array[key], events[key]), key


@EVERY
@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 400), last=st.sampled_from([100, 10**6, 40_000_000]))
def test_what_is_written_is_read(tmp_path_factory, name, seed, n, last):
    size = SIZES.get(name, SIZE)
    events = some_events(np.random.default_rng(seed), n, size, last)
    path = written(tmp_path_factory.mktemp("x"), name, events, size)
    check_read(path, events, size)
    data = read_camera(path, pool=2)
    across, down = -(-size[0] // 2), -(-size[1] // 2)
    assert len(data) == 1 and data.n_channels == across * down * 2
    channels = (events["p"] * down + events["y"] // 2) * across + events["x"] // 2
    assert np.array_equal(data.channels, channels)
    assert np.allclose(data.times, (events["t"] - events["t"][:1].sum()) * 1e-3)


def test_masks_of_evt3_are_pixels_of_a_row(tmp_path):
    """All 32 pixels that three masks can have, then one event of the next row."""
    x = np.append(np.arange(5, 37), 3)
    events = {"t": np.append(np.full(32, 9000), 9001), "x": x, "y": np.append(np.full(32, 7), 8), "p": x * 0 + 1}
    raw = evt3(events, SIZE)
    assert len(raw) < 100  # in masks, not one by one
    (tmp_path / "x.raw").write_bytes(raw)
    check_read(tmp_path / "x.raw", events, SIZE)


ROUNDS = {"evt2": 1 << 34, "evt3": 1 << 24, "dat": 1 << 32, "aedat2": 1 << 32, "aedat3": 1 << 31}


@pytest.mark.parametrize("name", ROUNDS)
def test_clocks_that_run_over_go_on(tmp_path, name):
    t = ROUNDS[name] + np.array([-2000, -1000, -1, 0, 1, 1000, 5000])
    one = np.arange(7)
    size = SIZES.get(name, SIZE)
    path = written(tmp_path, name, {"t": t, "x": one, "y": one, "p": one % 2}, size)
    assert np.array_equal(np.diff(read_structured(path)[0]["t"]), np.diff(t))


@pytest.mark.one_in(7)
@EVERY
@settings(max_examples=60)
@given(data=st.data())
def test_damaged_files_are_read_or_one_message(tmp_path_factory, name, data):
    """Cut short, changed bytes, and large numbers in the place of others; none takes much more memory than the file."""
    size = SIZES.get(name, SIZE)
    events = some_events(np.random.default_rng(1), 150, size)
    path = written(tmp_path_factory.mktemp("x"), name, events, size)
    raw = bytearray(path.read_bytes())
    kind = data.draw(st.integers(0, 2))
    if kind == 0:
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    for _ in range(data.draw(st.integers(1, 5)) if kind == 1 else 0):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    if kind == 2:
        place = data.draw(st.integers(0, len(raw) - 4))
        raw[place : place + 4] = struct.pack("<I", data.draw(st.sampled_from([0, 2**31 - 1, 2**32 - 1, 2**31])))
    path.write_bytes(raw)
    tracemalloc.start()
    try:
        read_camera(path, size=SIZE)
    except DataError as error:
        assert str(path) in str(error) and len(str(error).splitlines()) == 1
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("name", ["evt2", "evt3", "dat", "aedat2", "aedat3", "aedat4"])
def test_a_file_cut_within_an_event_is_said_to_be(tmp_path, name):
    size = SIZES.get(name, SIZE)
    path = written(tmp_path, name, some_events(np.random.default_rng(0), 20, size), size)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{path.name}: .*; the file is truncated, damaged or in another format"):
        read_camera(path)


def packers():
    lz4, zstandard = needs("lz4.frame"), needs("zstandard")
    return {1: lz4.compress, 3: zstandard.ZstdCompressor().compress}


@pytest.mark.parametrize("compression", [1, 3])
def test_compressed_packets(tmp_path, compression, monkeypatch):
    events = some_events(np.random.default_rng(2), 250, SIZE)
    path = tmp_path / "x.aedat4"
    path.write_bytes(aedat4(events, SIZE, packers()[compression], compression))
    check_read(path, events, SIZE)
    path.write_bytes(aedat4(events, SIZE, lambda raw: packers()[compression](raw)[:-9], compression))
    with pytest.raises(DataError, match="a packet (cannot be unpacked|is cut short)|b'EVTS' is expected"):
        read_structured(path)
    # a few bytes that stand for 64 MiB
    monkeypatch.setattr(camera, "PACKET", 1 << 20)
    bomb = packers()[compression](bytes(1 << 26))
    path.write_bytes(aedat4(events, SIZE, lambda raw: bomb, compression))
    tracemalloc.start()
    with pytest.raises(DataError, match="a packet is cut short, or unpacks to more than 1 MiB"):
        read_structured(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch):
    import importlib

    def absent(name, *_):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", absent)
    path = tmp_path / "x.aedat4"
    path.write_bytes(aedat4(some_events(np.random.default_rng(2), 5, SIZE), SIZE, None, 1))
    with pytest.raises(DataError, match=r'compressed AEDAT 4 files need lz4.frame.*"genn_eventprop\[camera\]"'):
        read_structured(path)


@pytest.mark.parametrize("name", ["evt2.raw", "evt3.raw", "dat1.dat", "dat2.dat", "lz4.aedat4", "zstd.aedat4"])
def test_files_of_another_library(tmp_path, name):
    faery = needs("faery")
    events = some_events(np.random.default_rng(3), 700, SIZE)
    array = np.zeros(700, faery.EVENTS_DTYPE)
    for key, other in zip("txyp", ("t", "x", "y", "on")):
        array[other] = events[key]
    path, kind = tmp_path / name, name.partition(".")[0]
    options = {"compression": (kind, 1)} if kind in ("lz4", "zstd") else {"version": kind}
    faery.events_stream_from_array(array, SIZE).to_file(path, **options)
    found, size = read_structured(path)
    assert size == SIZE
    for key in "xyp":
        assert np.array_equal(found[key], events[key])
    assert np.array_equal(np.diff(found["t"]), np.diff(events["t"]))


def test_errors_say_what_to_do(tmp_path):
    path = tmp_path / "x.raw"

    def message(raw: bytes, **options: object) -> str:
        path.write_bytes(raw)
        with pytest.raises(DataError) as caught:
            read_camera(path, **options)
        return str(caught.value)

    events = some_events(np.random.default_rng(0), 30, SIZE)
    assert "is not an AEDAT 2 to 4, EVT or DAT file" in message(b"RIFF....WAVE")
    assert "is not an AEDAT" in message(b"")
    assert "EVT 2.1 is not supported; convert the file to EVT 2 or 3" in message(b"% evt 2.1\n% end\n")
    nameless = FORMATS["evt2"][0](events, SIZE).replace(b"% geometry 100x64\n", b"")
    assert "does not say the size of its sensor; give size=(width, height)" in message(nameless)
    assert "is beyond the sensor (3, 3, 2)" in message(nameless, size=(3, 3))
    late = {k: v[::-1] for k, v in events.items()}
    assert "is earlier than the one before it" in message(FORMATS["dat"][0](late, SIZE))
    assert len(read_camera(path, sort=True).times) == 30
    other = FORMATS["aedat2"][0](events, SIZE).replace(b"DAVIS240C", b"Cochlea")
    assert "without the name of a known camera (dvs128" in message(other)
    bomb = aedat4(events, SIZE).replace(b'<dv version="2.0">', b"<!DOCTYPE dv [<!>")
    assert "damaged" in message(bomb)
    with pytest.raises(DataError, match="no such file"):
        read_camera(tmp_path / "none.raw")


def test_the_channels_of_a_trained_model_are_met_by_pooling(tmp_path):
    path = written(tmp_path, "evt2", some_events(np.random.default_rng(0), 30, SIZE), SIZE)
    for pool, polarities in ((1, 2), (1, 1), (4, 2), (7, 1)):
        expected = read_camera(path, pool=pool, polarities=polarities)
        found = read_camera(path, n_channels=expected.n_channels)
        assert np.array_equal(found.channels, expected.channels)
    with pytest.raises(DataError, match="a sensor of 100 x 64 pixels cannot give 13 channels"):
        read_camera(path, n_channels=13)


def test_words_before_the_first_time_are_reported(tmp_path, capsys):
    raw = FORMATS["evt2"][0](some_events(np.random.default_rng(0), 30, SIZE), SIZE)
    head, _, body = raw.partition(b"% end\n")
    (tmp_path / "x.raw").write_bytes(head + b"% end\n" + struct.pack("<I", 5 << 11) + body)
    assert len(read_structured(tmp_path / "x.raw")[0]) == 30
    assert "note: 1 words of events before the first time of the recording are left out" in capsys.readouterr().err


def test_a_recording_larger_than_the_memory_is_refused(tmp_path, monkeypatch):
    path = written(tmp_path, "evt2", some_events(np.random.default_rng(3), 1000, SIZE), SIZE)
    monkeypatch.setattr("genn_eventprop.modelling.memory.physical_memory", lambda: 10_000)
    with pytest.raises(DataError, match=r"1000 events take 23.4 KiB, this machine has 9.77 KiB .* cut the recording"):
        read_camera(path)
