"""Files that somebody made on purpose: HDF5, npz, NIR, JSON, TOML, safetensors and wav, each read by the commands that
take it. A message names the file; nothing is read from another one; memory and time are bounded."""

from __future__ import annotations

import io
import json
import resource
import shutil
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from genn_eventprop.data.readers import yin_yang
from genn_eventprop.errors import EventPropError

from . import runs
from .child import Outcome, command, run
from .kills import undisturbed
from .table import Part

DEEP = 100_000
MEMORY = 4 << 30
"""Bytes that a child may have beyond those of its parent."""
SECONDS = 60.0
Trial = tuple[str, Callable[[], int], str, bool]
"""What it is, the work of a child, what its message must name, and whether it must be refused."""
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2.5, 1e308, 10**30, "", "x", "../../x", "x" * 5000, [], [1], [[]], {}, {"a": 1}, ["a", None],
)  # fmt: skip
LITERALS = ("1e999", "NaN", "-Infinity", "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "9" * 6000)


def hostile(count: int, folder: Path, rng: np.random.Generator) -> Part:
    """`count` files, the kinds by turns."""
    part, began = Part("hostile HDF5, npz, NIR, JSON, TOML, checkpoints, wav"), time.monotonic()
    (folder / "page.py").write_text(runs.PAGE)
    whole, _ = undisturbed("grid", folder)
    yin_yang.load("test", 4).save(folder / "four.npz")
    yin_yang.load("test", 4).save(folder / "four")
    (folder / "secret").write_bytes(b"SECRET" * 100)
    makers = [maker for maker in MAKERS if maker.__name__ not in missing()]
    for number in range(count):
        place = folder / "trial"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole, place / "run")
        words, work, name, refused = makers[number % len(makers)](folder, place, rng)
        what = f"{number}: {makers[number % len(makers)].__name__}: {words}"
        _judge(part, run(bounded(work), place, folder / "log", limit=SECONDS), what, name, refused)
        left = sorted(p.name for p in folder.iterdir())
        if any("MARK" in name for name in left):
            part.count("wrote beside its folder", what)
    part.seconds = time.monotonic() - began
    return part


def missing() -> set[str]:
    """Kinds of files whose libraries are not here."""
    found = set()
    for name, module in (("hdf5", "h5py"), ("nir_graph", "nir"), ("nir_file", "nir"), ("wav", "scipy")):
        try:
            __import__(module)
        except ImportError:
            found.add(name)
    return found


def bounded(work: Callable[[], int]) -> Callable[[], int]:
    """The work with a limit of its memory."""

    def limited() -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        return work()

    return limited


def reading(function: Callable[[], object]) -> Callable[[], int]:
    """A function of the package as the work of a child: its errors are messages."""

    def work() -> int:
        try:
            function()
        except EventPropError as error:
            print(error)
            return 1
        return 0

    return work


def _judge(part: Part, outcome: Outcome, what: str, name: str, refused: bool) -> None:
    said, end = outcome.said[-400:], outcome.fault
    if not end and outcome.status not in (0, 1, 2):
        end = f"status {outcome.status}"
    if not end and outcome.status and name not in outcome.said:
        end = "a message that does not name the file"
    if not end and "SECRET" in outcome.said:
        end = "read another file"
    if not end and outcome.status == 0 and refused:
        end = "accepted"
    part.count(end or ("right" if outcome.status == 0 else "refused with a message"), f"{what}: {said}")


def pick(rng: np.random.Generator, values: Any) -> Any:
    values = list(values)
    return values[int(rng.integers(len(values)))]


# data


def hdf5(folder: Path, place: Path, rng: np.random.Generator) -> Trial:
    """An SHD layout in which one table is elsewhere, of another kind, or larger than its file."""
    import h5py

    from genn_eventprop.data.readers.hdf5 import write_shd

    path = place / "x.h5"
    write_shd(yin_yang.load("test", 4), path)
    with h5py.File(place / "other.h5", "w") as other:
        other["labels"] = np.arange(4)
    name = pick(rng, ("labels", "spikes/times", "spikes/units", "extra/keys", "spikes", "extra/speaker"))
    secret = [(str(folder / "secret"), 0, 32)]
    kinds = {
        "external storage": lambda f: f.create_dataset(name, (4,), np.int64, external=secret),
        "external link": lambda f: f.__setitem__(name, h5py.ExternalLink("other.h5", "/labels")),
        "soft link": lambda f: f.__setitem__(name, h5py.SoftLink("/n_channels")),
        "link to itself": lambda f: f.__setitem__(name, h5py.SoftLink(f"/{name}")),
        "virtual": lambda f: f.create_virtual_dataset(name, _virtual(h5py)),
        "sparse": lambda f: f.create_dataset(name, (2_000_000_000,), np.float64, chunks=(1000,)),
        "sparse and packed": lambda f: f.create_dataset(name, (2**40,), np.int8, chunks=(4096,), compression="gzip"),
    }  # fmt: skip
    other = {
        "a group": lambda f: f.create_group(name),
        "a number": lambda f: f.__setitem__(name, 5),
        "texts": lambda f: f.__setitem__(name, np.array([b"a", b"b", b"c", b"\xff"])),
        "complex": lambda f: f.__setitem__(name, np.ones(4) * 1j),
        "a table of two axes": lambda f: f.__setitem__(name, np.ones((4, 3)) * rng.integers(-5, 2**40)),
        "an empty space": lambda f: f.__setitem__(name, h5py.Empty("f8")),
        "numbers": lambda f: f.__setitem__(name, rng.normal(size=4) * 10.0 ** rng.integers(0, 300)),
        "not a number": lambda f: f.__setitem__(name, np.full(4, np.nan)),
        "nothing": lambda f: None,
        "records": lambda f: f.__setitem__(name, np.zeros(4, [("a", "f4"), ("b", "i4")])),
        "references": lambda f: f.__setitem__(name, np.array([f.ref] * 4, h5py.ref_dtype)),
        "packed zeros": lambda f: f.create_dataset(name, data=np.zeros(10_000_000, np.int8), compression="gzip"),
    }  # fmt: skip
    what = pick(rng, kinds | other)
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        (kinds | other)[what](file)
        if rng.random() < 0.2:
            file.attrs["n_channels"] = pick(rng, (-1, 0, 2**40, "x", [1, 2], 2.5, np.nan))
    work = command("predict", "run", "x.h5") if rng.random() < 0.5 else reading(lambda: _opened(path, place))
    return f"{name}: {what}", work, "x.h5", what in kinds


def _virtual(h5py: Any) -> Any:
    layout = h5py.VirtualLayout((4,), np.int64)
    layout[:] = h5py.VirtualSource("other.h5", "labels", (4,))
    return layout


def _opened(path: Path, place: Path) -> object:
    from genn_eventprop.data.open import open_events

    return open_events(path, progress=False, cache=place / "cache")


def npz(folder: Path, place: Path, rng: np.random.Generator) -> Trial:
    """Events in an npz file of which one member says something else; and one that nobody asked for."""
    with np.load(folder / "four.npz") as file:
        arrays = {name: _member(file[name]) for name in file.files}
    name = pick(rng, arrays)
    lies = {
        "a larger shape": _member(np.zeros(3), (10 ** int(rng.integers(5, 18)),)),
        "many axes": _member(np.zeros(3), (2**31, 2**31, 2**31)),
        "below zero": _member(np.zeros(3), (-int(rng.integers(1, 100)),)),
        "objects": _member(np.zeros(3), dtype="|O"),
        "long texts": _member(np.zeros(3), (1,), f"<U{10 ** int(rng.integers(4, 10))}"),
        "no header": rng.bytes(200),
        "brackets": b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000,
        "nothing": b"",
    }
    other = {
        "complex": _member(np.ones(4) * 1j), "a number": _member(np.float64(rng.normal())),
        "texts": _member(np.array(["a", "b"])), "not a number": _member(np.full(4, np.nan)),
        "times": _member(np.zeros(4, "M8[s]")), "records": _member(np.zeros(4, [("a", "f4")])),
    }  # fmt: skip
    what = pick(rng, lies | other)
    arrays[name] = (lies | other)[what]
    if rng.random() < 0.3:
        arrays["bomb"] = _member(np.zeros(200_000_000, np.uint8))
    with zipfile.ZipFile(place / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for key, content in arrays.items():
            packed.writestr(f"{key}.npy", content)
    if rng.random() < 0.5:
        return f"{name}: {what}", command("predict", "run", "x.npz"), "x.npz", what in lies
    shutil.copy(place / "x.npz", place / "run" / "first_weights.npz")
    work = command("train", "../page.py", "--init-from", "x.npz", "--run-dir", "new", "--epochs", "1")
    return f"weights, {name}: {what}", work, "x.npz", True


def _member(array: Any, shape: tuple[int, ...] | None = None, dtype: str | None = None) -> bytes:
    array, out = np.asarray(array), io.BytesIO()
    header = {"descr": dtype or np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False}
    np.lib.format.write_array_header_1_0(out, header | {"shape": array.shape if shape is None else shape})
    return out.getvalue() + array.tobytes()


def wav(folder: Path, place: Path, rng: np.random.Generator) -> Trial:
    """A recording with any numbers in its header."""
    small, any16 = (0, 1, 2, 3, 8, 16, 24, 32, 64), int(rng.integers(0, 2**16))
    channels, bits = (pick(rng, (*small, any16)) for _ in range(2))
    rate = pick(rng, (0, 1, 999, 8000, 16_000, 48_000, 400_001, 2**32 - 1, int(rng.integers(0, 2**32))))
    data, kind = rng.bytes(int(rng.integers(0, 2000))), pick(rng, (0, 1, 1, 1, 2, 3, 6, 7, 65_534))
    size = pick(rng, (len(data), 0, 2**31, 2**32 - 1))
    block = pick(rng, (channels * bits // 8 & 0xFFFF, 0, any16))
    form = struct.pack("<HHIIHH", kind, channels, rate, rate * block & 0xFFFFFFFF, block, bits)
    body = b"WAVEfmt " + struct.pack("<I", pick(rng, (16, 16, 16, 0, 18, 2**32 - 1))) + form
    body += b"data" + struct.pack("<I", size) + data
    (place / "x.wav").write_bytes(b"RIFF" + struct.pack("<I", pick(rng, (len(body), 0, 2**32 - 1))) + body)
    what = f"{channels} channels, {bits} bits, {rate} Hz, kind {kind}, block {block}, {size} of {len(data)} bytes"
    from genn_eventprop.data.audio.inner_ear import read_wav

    return what, reading(lambda: read_wav(place / "x.wav")), "x.wav", not (channels and bits and rate)


# graphs


def nir_graph(folder: Path, place: Path, rng: np.random.Generator) -> Trial:
    """A file with a graph of a shape that nobody draws: rows, diamonds, loops, rings of loops, random edges."""
    import nir

    kind = pick(rng, ("row", "diamonds", "loop", "edges", "values"))
    count = int(rng.integers(2, 400))
    nodes: dict[str, Any] = {
        f"n{i}": _node(nir, rng, kind == "values") for i in range(count if kind != "values" else 3)
    }
    names = ["input", *nodes]
    edges = list(zip(names, names[1:], strict=False))
    if kind == "diamonds":
        edges += list(zip(names, names[2:], strict=False))
    if kind == "loop":
        edges += [(pick(rng, nodes), pick(rng, nodes)) for _ in range(3)]
    if kind == "edges":
        edges = [(pick(rng, names), pick(rng, nodes)) for _ in range(3 * len(names))]
    one = np.ones(2)
    last = nir.LIF(tau=0.02 * one, r=one, v_leak=0 * one, v_threshold=one, v_reset=0 * one)
    ends = {"input": nir.Input(np.array([2])), "last": last, "output": nir.Output(np.array([2]))}
    graph = nir.NIRGraph({**ends, **nodes}, [*edges, (names[-1], "last"), ("last", "output")], type_check=False)
    nir.write(place / "x.nir", graph)
    return f"{kind} of {count}", reading(lambda: _read_nir(place / "x.nir")), "x.nir", False


def _read_nir(path: Path) -> object:
    from genn_eventprop.nir import from_nir

    return from_nir(path)


def _node(nir: Any, rng: np.random.Generator, bad: bool) -> Any:
    """A linear node of two channels; `bad`: of values that are none."""
    kind = int(rng.integers(3))
    values = rng.normal(size=2) if kind else np.abs(rng.normal(size=2)) * 1e-3
    node = (nir.Delay(values), nir.Scale(values), nir.Linear(np.diag(values)))[kind]
    if bad and rng.random() < 0.7:
        name = ("delay", "scale", "weight")[kind]
        wrong = (
            values * 1j, np.array([b"a", b"b"]), -np.abs(values), np.zeros((0, 2)), np.ones((2, 2, 2)),
            np.nan * values, np.float64(3), np.array([2**62, 1]),
        )  # fmt: skip
        setattr(node, name, pick(rng, wrong))
    return node


def nir_file(folder: Path, place: Path, rng: np.random.Generator) -> Trial:
    """A file of a network whose tables are elsewhere, sparse, nested or of another kind."""
    import h5py
    import nir

    one, path = np.ones(2), place / "x.nir"
    neuron = nir.LIF(tau=0.02 * one, r=one, v_leak=0 * one, v_threshold=one, v_reset=0 * one)
    nodes = {"input": nir.Input(np.array([2])), "w": nir.Linear(np.eye(2)), "n": neuron}
    nodes["output"] = nir.Output(np.array([2]))
    nir.write(path, nir.NIRGraph(nodes, [("input", "w"), ("w", "n"), ("n", "output")], type_check=False))
    with h5py.File(place / "other.h5", "w") as other:
        other["labels"] = np.arange(4)
    node, name = pick(rng, (("w", "weight"), ("n", "tau"), ("n", "r"), ("input", "shape"), ("w", "type"), ("w", "x")))
    kinds = {
        "external storage": lambda g: g.create_dataset(name, (2, 2), "f8", external=[(str(folder / "secret"), 0, 32)]),
        "external link": lambda g: g.__setitem__(name, h5py.ExternalLink("other.h5", "/labels")),
        "soft link": lambda g: g.__setitem__(name, h5py.SoftLink("/version")),
        "virtual": lambda g: g.create_virtual_dataset(name, _virtual(h5py)),
        "sparse": lambda g: g.create_dataset(name, (2**20, 2**20), "f8", chunks=(100, 100), compression="gzip"),
        "itself": lambda g: g.__setitem__(name, g),
    }  # fmt: skip
    other = {
        "complex": lambda g: g.__setitem__(name, np.ones((2, 2)) * 1j),
        "bytes": lambda g: g.__setitem__(name, np.array([b"1", b"2"])),
        "a text": lambda g: g.__setitem__(name, "LIF"),
        "below zero": lambda g: g.__setitem__(name, -np.ones(2)),
        "huge": lambda g: g.__setitem__(name, np.full(2, 2**62)),
        "a group": lambda g: g.create_group(name),
        "nothing": lambda g: None,
    }
    what = pick(rng, kinds | other)
    with h5py.File(path, "a") as file:
        group = file[f"node/nodes/{node}"]
        if name in group:
            del group[name]
        (kinds | other)[what](group)
    refused = what in kinds or what in ("complex", "bytes") and name not in ("x", "type")
    return f"{node}.{name}: {what}", reading(lambda: _read_nir(path)), "x.nir", refused


# records


def record(folder: Path, place: Path, rng: np.random.Generator) -> Trial:
    """A record of a run folder with another value somewhere, read by a command that needs it."""
    name = pick(rng, ("config.json", "model.json", "results.json", "metrics.jsonl", "environment.json"))
    path = place / "run" / name
    text = path.read_text().splitlines() if name == "metrics.jsonl" else [path.read_text()]
    value = json.loads(text[0])
    value.pop("sha256", None)
    where = _somewhere(value, rng)
    new = pick(rng, (*VALUES, "LITERAL", "LITERAL"))
    _set(value, where, new)
    literal = pick(rng, LITERALS)
    said = json.dumps(value).replace('"LITERAL"', literal)
    path.write_text("\n".join([said, *text[1:]]) + "\n")
    reader = pick(rng, RECORD_READERS)
    what = f"{reader[0]}: {name} {'.'.join(map(str, where))} = {literal[:20] if new == 'LITERAL' else str(new)[:40]}"
    return what, command(*reader), "run", False


RECORD_READERS = (
    ("report", "run"), ("plot", "run", "--only", "curves,confusion,weights"), ("predict", "run", "../four.npz"),
    ("export", "run", "weights"), ("export", "run", "x.c"), ("resume", "run", "--page", "../page.py"),
    ("view", "run"), ("evaluate", "run", "--page", "../page.py"),
)  # fmt: skip


def _somewhere(value: Any, rng: np.random.Generator) -> list[Any]:
    """Keys that lead to a random place of nested values, near its top more often."""
    keys: list[Any] = []
    while isinstance(value, (dict, list)) and value and (not keys or rng.random() < 0.75):
        keys.append(pick(rng, value) if isinstance(value, dict) else int(rng.integers(len(value))))
        value = value[keys[-1]]
    return keys


def _set(value: Any, keys: list[Any], new: Any) -> None:
    for key in keys[:-1]:
        value = value[key]
    if keys:
        value[keys[-1]] = new


def events_json(folder: Path, place: Path, rng: np.random.Generator) -> Trial:
    """A folder of events that describes itself with another value."""
    shutil.copytree(folder / "four", place / "set")
    facts = json.loads((place / "set" / "events.json").read_text())
    facts.pop("sha256", None)
    key, new = pick(rng, facts), pick(rng, (*VALUES, "LITERAL", "LITERAL"))
    literal, facts[key] = pick(rng, LITERALS), new
    (place / "set" / "events.json").write_text(json.dumps(facts).replace('"LITERAL"', literal))
    what = f"{key} = {literal[:20] if new == 'LITERAL' else str(new)[:40]}"
    return what, command("predict", "run", "set"), "set", new == "LITERAL"


def toml(folder: Path, place: Path, rng: np.random.Generator) -> Trial:
    """Settings that are nested without end, or of another kind."""
    texts = {
        "lists": "a = " + "[" * DEEP + "]" * DEEP, "tables": "a = " + "{a=" * DEEP + "1" + "}" * DEEP,
        "dots": ".".join("a" * 3000) + " = 1", "heads": "[" + ".".join("a" * 3000) + "]", "digits": "a = " + "9" * 6000,
        "heads of lists": "[[" + ".".join("a" * 3000) + "]]", "bytes": "\x00\x01",
        "a long name": "x" * 100_000 + " = 1",
    }  # fmt: skip
    settings = ("epochs", "hidden", "folder", "experiment", "processes", "grid", "settings", "search", "slurm", "seed")
    words = ("1e400", "inf", "nan", "-1", "true", '"x"', "[]", "[[]]", "{}", "1979-05-27", '"../../MARK"', "9" * 30)
    what = pick(rng, (*texts, "values", "values"))
    text = texts.get(what) or "\n".join(f"{pick(rng, settings)}{i or ''} = {pick(rng, words)}" for i in range(3))
    (place / "x.toml").write_text(text)
    line = ("scan", "x.toml", "--dry-run") if rng.random() < 0.5 else ("train", "../page.py", "--config", "x.toml")
    return f"{line[0]}: {what}: {text[:60]!r}", command(*line), "x.toml", what in texts


def checkpoint(folder: Path, place: Path, rng: np.random.Generator) -> Trial:
    """The checkpoints of a run with another header, which may fit the rest of the file."""
    from genn_eventprop.runs.checkpoint import load_checkpoint, save_checkpoint

    files = sorted((place / "run" / "checkpoints").iterdir())
    whole = load_checkpoint(files[0])
    what = pick(rng, ("length", "offsets", "shape", "kind", "name", "state", "brackets", "metadata"))
    reader = pick(rng, RECORD_READERS[2:6])
    for file in files:
        content = file.read_bytes()
        size = int.from_bytes(content[:8], "little")
        header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
        tensor = pick(rng, [k for k in header if k != "__metadata__"])
        if what in ("name", "state"):
            names = (
                "parameters/../../MARK",
                "parameters//tmp/MARK",
                "<mark>",
                "parameters/a\nb",
                "parameters/" + "x" * 300,
            )
            more = {pick(rng, names): np.ones(2)} if what == "name" else {}
            info = dict(whole.info)
            if what == "state":
                _set(info, _somewhere(info, rng), pick(rng, VALUES))
            save_checkpoint(file, {**whole.arrays, **more}, info)
            continue
        if what == "offsets":
            header[tensor]["data_offsets"] = [int(v) for v in rng.integers(0, 2**40, 2)]
        elif what == "shape":
            header[tensor]["shape"] = [int(v) for v in rng.integers(0, 2**40, int(rng.integers(1, 5)))]
        elif what == "kind":
            header[tensor]["dtype"] = pick(rng, ("BF16", "F8_E5M2", "O", "", 5, None, "U64"))
        elif what == "metadata":
            header["__metadata__"] = pick(rng, VALUES)
        text = ("[" * DEEP if what == "brackets" else json.dumps(header)).encode()
        length = int(rng.integers(0, 2**62)) if what == "length" else len(text)
        file.write_bytes(struct.pack("<Q", length) + text + data)
    return f"{reader[0]}: {what}", command(*reader), "run", what not in ("state", "metadata", "shape")


MAKERS = (hdf5, npz, wav, nir_graph, nir_file, record, events_json, toml, checkpoint, record)
