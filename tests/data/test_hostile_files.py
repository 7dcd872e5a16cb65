"""Files that somebody made to read other files, to fill the memory or to end in a traceback: each is a message."""

from __future__ import annotations

import io
import json
import struct
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genn_eventprop.checksummed import parsed
from genn_eventprop.data import Events
from genn_eventprop.data.audio import inner_ear as audio
from genn_eventprop.data.open import open_events
from genn_eventprop.data.readers import hdf5, mnist
from genn_eventprop.errors import CheckpointError, DataError, SettingError
from genn_eventprop.experiment.experiment import open_run
from genn_eventprop.experiment.options import read_toml
from genn_eventprop.runs.checkpoint import load_checkpoint, save_checkpoint
from genn_eventprop.runs.run_folder import RunFolder, mark
from genn_eventprop.runs.weights import load_weights, save_weights

h5py = pytest.importorskip("h5py")
SECRET = bytes(range(1, 5)) * 8  # what labels would be made of: 4 samples of 8 bytes


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """An SHD-layout file of four samples, and a file that it has nothing to do with."""
    samples = [([1.0, 2.0], [0, 1])] * 4
    hdf5.write_shd(Events.from_samples(samples, 700, [0, 1, 0, 1], ["a", "b", "a", "b"]), tmp_path / "x.h5")
    (tmp_path / "secret").write_bytes(SECRET)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["labels"] = np.arange(4)
        other.create_dataset("times", (4,), h5py.vlen_dtype(np.float32))
    return tmp_path / "x.h5"


def external_storage(file: Any, name: str) -> None:
    file.create_dataset(name, (4,), np.int64, external=[("secret", 0, 32)])


def external_link(file: Any, name: str) -> None:
    file[name] = h5py.ExternalLink("other.h5", "/labels")


def soft_link(file: Any, name: str) -> None:
    file["elsewhere"] = np.arange(4)
    file[name] = h5py.SoftLink("/elsewhere")


def dangling_link(file: Any, name: str) -> None:
    file[name] = h5py.SoftLink("/nowhere")


def virtual(file: Any, name: str) -> None:
    layout = h5py.VirtualLayout((4,), np.int64)
    layout[:] = h5py.VirtualSource("other.h5", "labels", (4,))
    file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("name", ["labels", "spikes/times", "spikes/units", "extra/speaker", "extra/keys"])
@pytest.mark.parametrize("make", [external_storage, external_link, soft_link, dangling_link, virtual])
def test_hdf5_tables_of_other_files_are_refused(layout: Path, make: Any, name: str, monkeypatch: Any) -> None:
    monkeypatch.chdir(layout.parent)
    with h5py.File(layout, "a") as file:
        del file[name]
        make(file, name)
    for read in (hdf5.read_shd, hdf5.class_names, lambda p: hdf5.convert_shd(p, layout.parent / "folder")):
        with pytest.raises(DataError, match=rf"x\.h5: {name} is (kept in other files|a link to .*not followed)"):
            read(layout)
    assert not (layout.parent / "folder").exists()


def test_a_group_of_another_hdf5_file_is_refused(layout: Path) -> None:
    with h5py.File(layout, "a") as file:
        del file["spikes"]
        file["spikes"] = h5py.ExternalLink("other.h5", "/")
    with pytest.raises(DataError, match=r"x\.h5: spikes/times is a link to other\.h5: /"):
        hdf5.read_shd(layout)


@pytest.mark.parametrize("filters", [{}, {"compression": "gzip"}], ids=["plain", "packed"])
@pytest.mark.parametrize("name", ["labels", "spikes/times", "extra/speaker", "extra/keys"])
def test_hdf5_tables_of_two_thousand_million_samples(layout: Path, name: str, filters: dict[str, Any]) -> None:
    with h5py.File(layout, "a") as file:
        kind = h5py.vlen_dtype(np.float32) if name == "spikes/times" else np.int64
        del file[name]
        file.create_dataset(name, (2_000_000_000,), kind, chunks=(1000,), **filters)
    began = time.process_time()
    with pytest.raises(
        DataError, match=rf"x\.h5: {name} declares 2000000000 values, 14\.9|{name} declares .* 29\.8 GiB"
    ):
        hdf5.read_shd(layout)
    assert time.process_time() - began < 5


def test_hdf5_samples_that_lie_in_one_place(tmp_path: Path) -> None:
    """The 16 bytes that stand for a sample, copied: 400 samples of 2 MB in a file of 4 MB."""
    n, size = 400, 500_000
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name in ("times", "units"):
            kind = h5py.vlen_dtype(np.float32 if name == "times" else np.uint32)
            table = file.create_dataset(f"spikes/{name}", (n,), kind)
            for i in range(n):
                table[i] = np.full(size if i == 0 else 1, 1, np.uint32 if name == "units" else np.float32)
        file["labels"] = np.zeros(n, np.int64)
        places = [file[f"spikes/{name}"].id.get_offset() for name in ("times", "units")]
    content = bytearray((tmp_path / "x.h5").read_bytes())
    for place in places:
        content[place : place + 16 * n] = bytes(content[place : place + 16]) * n
    (tmp_path / "x.h5").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"x\.h5: its samples have more events than fit into the file"):
        hdf5.read_shd(tmp_path / "x.h5", 700)
    assert tracemalloc.get_traced_memory()[1] < 4e9
    tracemalloc.stop()


# npz


def npz(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def member(array: Any, shape: tuple[int, ...] | None = None, dtype: str | None = None) -> bytes:
    """The bytes of an array; its header may say something else."""
    array, out = np.asarray(array), io.BytesIO()
    header = {"descr": dtype or np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False}
    np.lib.format.write_array_header_1_0(out, header | {"shape": array.shape if shape is None else shape})
    return out.getvalue() + array.tobytes()


GOOD = {"times": [1.0, 2.0], "channels": [0, 1], "offsets": [0, 2], "n_channels": np.int64(2), "name": np.array("x")}


def test_arrays_that_nobody_asked_for_stay_packed(tmp_path: Path) -> None:
    bomb = member(np.zeros(50_000_000, np.uint8))
    npz(tmp_path / "x.npz", {**{k: member(v) for k, v in GOOD.items()}, "bomb": bomb})
    npz(tmp_path / "w.npz", {"a.weight": member(np.ones(3)), "bomb": bomb})
    tracemalloc.start()
    assert len(Events.load(tmp_path / "x.npz")) == 1 and len(open_events(tmp_path / "x.npz")[0]) == 1
    with pytest.raises(CheckpointError, match="this network has no parameter 'bomb'"):
        load_weights(tmp_path / "w.npz", {"a.weight": np.zeros(3)})
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


LIES = {
    "more than there is": member([1.0, 2.0], (10**13,)),
    "less than there is": member([1.0, 2.0], (1,)),
    "below zero": member([1.0, 2.0], (-2,)),
    "wraps to none": member([], (2**32, 2**32)),
    "objects": member(np.zeros(2, "<f8"), dtype="|O"),
    "long texts": member([1.0, 2.0], (1,), "<U1000000000"),
    "no array": b"something else",
    "empty": b"",
    "brackets": b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000,
}


@pytest.mark.parametrize("what", LIES)
@pytest.mark.parametrize("name", ["times", "name", "n_channels"])
def test_headers_of_npz_that_lie(tmp_path: Path, what: str, name: str) -> None:
    npz(tmp_path / "x.npz", {**{k: member(v) for k, v in GOOD.items()}, name: LIES[what]})
    with pytest.raises(DataError, match=r"x\.npz: "):
        Events.load(tmp_path / "x.npz")


def test_a_zip_that_says_it_unpacks_to_terabytes(tmp_path: Path) -> None:
    npz(tmp_path / "x.npz", {k: member(v) for k, v in GOOD.items()})
    content = (tmp_path / "x.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.npz") as file:
        size = struct.pack("<I", file.getinfo("times.npy").file_size)
    large = member([1.0, 2.0], (500_000_000,))
    npz(tmp_path / "x.npz", {**{k: member(v) for k, v in GOOD.items()}, "times": large})
    content = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(content.replace(size, struct.pack("<I", len(large) - 16 + 4_000_000_000)))
    with pytest.raises(DataError, match=r"x\.npz: array 'times' cannot be read \(.* bytes cannot unpack to 4000000"):
        Events.load(tmp_path / "x.npz")


def test_a_packed_mnist_file_unpacks_to_its_header_only(tmp_path: Path) -> None:
    packed = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = struct.pack(">BBBBI", 0, 0, 8, 1, 10)
    content = packed.compress(head + bytes(100_000_000)) + packed.flush()
    (tmp_path / "x.gz").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"x\.gz: more than 18 bytes instead of the 18 of its header"):
        mnist.read_idx(tmp_path / "x.gz")
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


# folders of events


def changed_folder(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A folder of events whose events.json says something else; its checksum was left out."""
    Events.from_samples([([1.0, 2.0], [0, 1])], 2, [0]).save(tmp_path / "set")
    facts = json.loads((tmp_path / "set" / "events.json").read_text())
    del facts["sha256"]
    text = change(facts)
    (tmp_path / "set" / "events.json").write_text(text if isinstance(text, str) else json.dumps(facts))
    return tmp_path / "set"


WRONG = (None, True, "2", 2.0, -1, [2], {"a": 2}, 10**30)


@pytest.mark.parametrize("value", WRONG, ids=range(len(WRONG)))
@pytest.mark.parametrize("key", ["events", "n_channels", "n_classes", "format", "name", "files"])
def test_events_json_with_values_of_other_kinds(tmp_path: Path, key: str, value: Any) -> None:
    folder = changed_folder(tmp_path, lambda facts: facts.update({key: value}))
    right = {"n_classes": (None,), "name": (None, "2"), "files": ({"a": 2},)}
    if value in right.get(key, ()) and value is not True:
        assert len(Events.load(folder)) == 1
        return
    with pytest.raises(DataError, match="set"):
        Events.load(folder)


DEEP = 100_000
TEXTS = {
    "infinite": '{"format": "genn_eventprop events 1", "events": 1e999, "n_channels": 2}',
    "not a number": '{"format": "genn_eventprop events 1", "events": NaN, "n_channels": 2}',
    "lists": "[" * DEEP + "]" * DEEP,
    "records": '{"a":' * DEEP + "1" + "}" * DEEP,
    "a list": "[1, 2]",
    "digits": '{"format": "genn_eventprop events 1", "events": ' + "9" * 10_000 + ', "n_channels": 2}',
    "nothing": "",
    "no text": "\udcff",
}


@pytest.mark.parametrize("what", TEXTS)
def test_events_json_that_is_none(tmp_path: Path, what: str) -> None:
    folder = changed_folder(tmp_path, lambda facts: None)
    (folder / "events.json").write_bytes(TEXTS[what].encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"set: not a folder of events \(events\.json: "):
        Events.load(folder)


def test_json_nested_deeper_than_anything_of_ours() -> None:
    assert parsed("[" * 99 + "]" * 99) is not None and parsed('{"a": [1, {}]}') == {"a": [1, {}]}
    for text in ("[" * 101 + "]" * 101, '{"a":' * 500 + "1" + "}" * 500, "[[], " * 200 + "1" + "]" * 200):
        with pytest.raises(ValueError, match="nested too deeply"):
            parsed(text)


@pytest.mark.parametrize("name", ["config.json", "results.json", "model.json", "metrics.jsonl"])
@pytest.mark.parametrize("text", [TEXTS["lists"], TEXTS["records"], "{" + '"a": 1e999}'])
def test_files_of_a_run_nested_without_end(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "config.json").write_text('{"experiment": "yin_yang", "settings": {}}')
    (tmp_path / mark.NAME).write_text(json.dumps(mark.record("run")))
    (tmp_path / name).write_text(text + "\n")
    folder = RunFolder.open(tmp_path)
    read = {"config.json": lambda: open_run(tmp_path), "metrics.jsonl": lambda: folder.metrics}
    with pytest.raises(SettingError, match=name):
        read.get(name, lambda: getattr(folder, name.removesuffix(".json")))()


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * DEEP + "]" * DEEP,
        "a = " + "{a=" * DEEP + "1" + "}" * DEEP,
        "a = " + "9" * 5000,
        "a = \x00",
        "=" * 9,
    ],
    ids=["lists", "tables", "digits", "zero", "signs"],
)
def test_toml_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(SettingError, match=r"x\.toml is not valid TOML: "):
        read_toml(tmp_path / "x.toml")


def test_toml_of_many_dots_ends(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(".".join("a" * 6_000) + " = 1")
    began = time.process_time()
    with pytest.raises(SettingError, match=r"x\.toml is not valid TOML: .*nested"):
        read_toml(tmp_path / "x.toml")
    assert time.process_time() - began < 20


# checkpoints


def safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HEADERS = {
    "longer than the file": struct.pack("<Q", 2**60) + b"{}",
    "more than there is": safetensors({"a": tensor([10**12], [0, 4 * 10**12])}, bytes(8)),
    "overlap": safetensors({"a": tensor([2], [0, 8]), "b": tensor([2], [0, 8])}, bytes(8)),
    "backwards": safetensors({"a": tensor([2], [8, 0])}, bytes(8)),
    "wraps": safetensors({"a": tensor([2**33, 2**31], [0, 0])}),
    "a kind that NumPy lacks": safetensors({"a": tensor([4], [0, 8], "BF16")}, bytes(8)),
    "a gap": safetensors({"a": tensor([1], [4, 8])}, bytes(8)),
    "brackets": safetensors(b"[" * DEEP),
    "no words about it": safetensors({"__metadata__": None, "a": tensor([2], [0, 8])}, bytes(8)),
    "a list about it": safetensors({"__metadata__": [], "a": tensor([2], [0, 8])}, bytes(8)),
}


@pytest.mark.parametrize("what", HEADERS)
def test_headers_of_checkpoints_that_lie(tmp_path: Path, what: str) -> None:
    (tmp_path / "x.safetensors").write_bytes(HEADERS[what])
    with pytest.raises(CheckpointError, match=r"x\.safetensors"):
        load_checkpoint(tmp_path / "x.safetensors")


@pytest.mark.parametrize("info", ["[" * DEEP + "]" * DEEP, "[]", "1e999", "{", "null"])
def test_the_state_in_a_checkpoint_is_a_record(tmp_path: Path, info: str) -> None:
    from safetensors.numpy import save

    from genn_eventprop.runs.checkpoint import FORMAT, _digest

    header = {"format": FORMAT, "info": info, "sha256": _digest({}, info)}
    (tmp_path / "x.safetensors").write_bytes(save({}, metadata=header))
    with pytest.raises(CheckpointError, match=r"x\.safetensors is damaged: the state of the training: "):
        load_checkpoint(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "name", ["parameters/../../x", "parameters//x", "/x", "parameters/.x", "a<b>", "a\nb", "é", "x" * 300]
)
def test_names_in_a_checkpoint_are_names(tmp_path: Path, name: str) -> None:
    save_checkpoint(tmp_path / "x.safetensors", {name: np.ones(2)}, {})
    with pytest.raises(CheckpointError, match="cannot name an array"):
        load_checkpoint(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/b", "..", ".hidden", "a\\b", "", "x" * 300])
def test_weights_are_written_into_their_folder_only(tmp_path: Path, name: str) -> None:
    for out in (tmp_path / "folder" / "csv", tmp_path / "x.npz"):
        with pytest.raises(CheckpointError, match="cannot name a parameter in a file"):
            save_weights(out, {"a.weight": np.ones(2), name: np.ones(2)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["epochs", "test_accuracy", "best_validation_accuracy", "test_loss"])
@pytest.mark.parametrize("value", [[1], {}, "x", True])
def test_results_are_numbers(tmp_path: Path, key: str, value: Any) -> None:
    (tmp_path / "results.json").write_text(json.dumps({key: value}))
    with pytest.raises(SettingError, match=rf"results\.json is damaged: {key} is "):
        _ = RunFolder(tmp_path).results


# recordings


def wav(
    channels: int = 1, rate: int = 16_000, bits: int = 16, kind: int = 1, data: bytes = bytes(320), **said: int
) -> bytes:
    block = said.get("block", channels * bits // 8) & 0xFFFF
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * block & 0xFFFFFFFF, block, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", said.get("size", len(data))) + data
    return b"RIFF" + struct.pack("<I", said.get("whole", len(body))) + body


SOUNDS = {
    "no channels": wav(0),
    "no channels, but a block": wav(0, block=2),
    "no bits": wav(bits=0),
    "no bits, but a block": wav(bits=0, block=2),
    "no rate": wav(rate=0),
    "a rate that fills the memory": wav(rate=4_294_967_291),
    "one sample a second": wav(rate=1),
    "65535 channels": wav(65_535),
    "65535 bits": wav(bits=65_535, block=8192),
    "kind 7": wav(kind=7, bits=8),
    "a block of nothing": wav(block=0),
    "float of 16 bits": wav(kind=3),
    "cut": wav()[:30],
    "nothing": b"",
}


@pytest.mark.parametrize("what", SOUNDS)
def test_wav_files_that_cannot_be(tmp_path: Path, what: str) -> None:
    (tmp_path / "x.wav").write_bytes(SOUNDS[what])
    with pytest.raises(DataError, match=r"x\.wav: "):
        audio.read_wav(tmp_path / "x.wav")


def test_a_wav_file_of_the_same_maker_is_read(tmp_path: Path) -> None:
    for content in (wav(), wav(size=2**32 - 1)):  # as written to a pipe
        (tmp_path / "x.wav").write_bytes(content)
        assert len(audio.read_wav(tmp_path / "x.wav")[0]) == 160
