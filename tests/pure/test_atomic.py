"""Files are replaced in one step: what was there stays if anything fails, and every writer of the package does so."""

import ast
import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest

import genn_eventprop
from genn_eventprop import Events, atomic
from genn_eventprop.atomic import replaced_file, replaced_folder, write_text
from genn_eventprop.data.events import raster
from genn_eventprop.data.readers import hdf5
from genn_eventprop.errors import DataError, EventPropError, WriteError
from genn_eventprop.report.plots import style
from genn_eventprop.runs.weights import save_weights
from genn_eventprop.training.recording import save_recording
from support.disks import small_disk, small_files

PACKAGE = Path(genn_eventprop.__file__).parent
EVENTS = Events.from_samples([(np.linspace(1, 9, 400), np.arange(400) % 7)] * 3, 7, [0, 1, 0])
WEIGHTS = {"a.weight": np.random.default_rng(1).normal(size=(40, 50)), "b.weight": np.zeros(3000)}


def figure():
    drawn, axes = style.figure()
    axes.plot(np.random.default_rng(1).normal(size=200))
    return drawn


WRITERS = {
    "text": lambda path: write_text(path, "new" * 5000),
    "figure.png": lambda path: style.save(figure(), path),
    "figure.pdf": lambda path: style.save(figure(), path),
    "raster.png": lambda path: raster.plot(EVENTS, path=path),
    "weights.npz": lambda path: save_weights(path, WEIGHTS),
    "events.npz": lambda path: EVENTS.save(path),
    "events.h5": lambda path: hdf5.write_shd(EVENTS, path),
    "recording.npz": lambda path: save_recording(path, {}),
}
LIMITS = {"recording.npz": 10, "events.npz": 200}


@pytest.mark.parametrize("name", WRITERS)
def test_an_older_file_survives_and_the_new_one_is_named(tmp_path, name):
    path = tmp_path / name
    if name == "events.h5":
        pytest.importorskip("h5py")
    path.write_bytes(b"old")
    with small_files(LIMITS.get(name, 1000)), pytest.raises(EventPropError) as error:
        WRITERS[name](path)
    assert str(error.value).startswith(f"{path} cannot be written (")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == [name]
    WRITERS[name](path)
    assert path.stat().st_size > 10 and os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_asks_for_space(tmp_path, name):
    if name == "events.h5":
        pytest.importorskip("h5py")
    with small_disk(tmp_path / "disk", 12288):
        path = tmp_path / "disk" / name
        path.write_bytes(b"old")
        full = path.with_name("full")
        with pytest.raises(OSError):
            full.write_bytes(b"x" * 2**20)
        with pytest.raises(EventPropError, match=r"free some space, then run the command again") as error:
            WRITERS[name](path)
        assert str(path) in str(error.value) and path.read_bytes() == b"old"
        assert sorted(os.listdir(path.parent)) == sorted([name, "full"])


def test_csv_files_appear_together(tmp_path):
    path = tmp_path / "csv"
    with small_files(10_000), pytest.raises(WriteError, match=r"csv cannot be written \(File too large\)"):
        save_weights(path, WEIGHTS)
    assert not os.listdir(tmp_path)
    path.mkdir()
    (path / "a.weight.csv").write_text("old")
    (path / "mine.txt").write_text("mine")
    with small_files(10_000), pytest.raises(WriteError):
        save_weights(path, WEIGHTS)
    assert (path / "a.weight.csv").read_text() == "old" and len(os.listdir(path)) == 2
    save_weights(path, WEIGHTS)
    assert sorted(os.listdir(path)) == ["a.weight.csv", "b.weight.csv", "mine.txt"]
    assert (path / "mine.txt").read_text() == "mine" and len(os.listdir(tmp_path)) == 1


def test_a_kill_in_the_middle_leaves_the_older_file(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    child = os.fork()
    if child == 0:
        with replaced_file(path) as temporary:
            temporary.write_text("half")
            os._exit(9)
    os.waitpid(child, 0)
    assert path.read_text() == "old"


def test_an_exception_of_the_writer_is_its_own(tmp_path):
    with pytest.raises(ZeroDivisionError), replaced_file(tmp_path / "a") as temporary:
        temporary.write_text(str(1 / 0))
    with pytest.raises(KeyboardInterrupt), replaced_folder(tmp_path / "b") as folder:
        (folder / "c").write_text("c")
        raise KeyboardInterrupt
    assert not os.listdir(tmp_path)


def test_links_and_modes_stay_and_pipes_are_written(tmp_path):
    (tmp_path / "to").write_text("old")
    (tmp_path / "to").chmod(0o640)
    (tmp_path / "link").symlink_to("to")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "to").read_text() == "new"
    assert (tmp_path / "to").stat().st_mode & 0o777 == 0o640
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_text(tmp_path / "pipe", "through")
    assert os.read(reader, 100) == b"through" and (tmp_path / "pipe").is_fifo()
    os.close(reader)
    with pytest.raises(WriteError, match=r"cannot be written \(Is a directory\); choose another name or folder"):
        write_text(tmp_path, "new")
    write_text(tmp_path / ("n" * 255), "the longest name")
    write_text(tmp_path / "made" / "too", "new")
    with pytest.raises(WriteError, match=r"No such file or directory\); choose another"):
        write_text(tmp_path / "absent" / "a", "new", make_folder=False)


@pytest.mark.parametrize(
    "number, words",
    [
        (errno.ENOSPC, "free some space, then go on"),
        (errno.EDQUOT, "free some space, then go on"),
        (errno.EMFILE, "too many files are open: allow more with `ulimit -n`"),
        (errno.EACCES, "change its permissions or choose another place"),
        (errno.EROFS, "change its permissions or choose another place"),
        (errno.EFBIG, "allow larger files"),
        (errno.EIO, "when the disk works again, go on"),
    ],
)
def test_advice_fits_the_error(tmp_path, monkeypatch, number, words):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(DataError, match=words) as error:
        write_text(tmp_path / "a", "new", DataError, "go on")
    assert ("space" in str(error.value)) == (number in (errno.ENOSPC, errno.EDQUOT))


OTHERS = {
    ("atomic.py", "write_text"): "it is what others are to use",
    ("run_folder.py", "append_metrics"): "a line an epoch; a half one is no epoch",
    ("search.py", "append_logs"): "a journal; a half line is removed",
    ("search.py", "_cut_half_line"): "the same",
    ("weights.py", "_write_csv"): "to a folder that replaces another",
    ("worker.py", "output_to"): "a log",
    ("run_lock.py", "_acquire"): "a lock, which gets its name by a link",
    ("run_lock.py", "_link"): "the same where there are no links",
    ("run_lock.py", "_server_time"): "the clock of a file server",
    ("scan.py", "locked"): "a lock",
    ("cluster.py", "_follow"): "an empty mark",
    ("storage.py", "__enter__"): "in a folder that is renamed as a whole",
    ("storage.py", "complete"): "the same",
    ("download.py", "_receive"): "a part that is renamed when it is complete",
    ("network.py", "_output_to"): "a log",
    ("load.py", "_compile"): "in a private folder",
    ("load.py", "device_code"): "the same, and renamed by `publish`",
    ("cache.py", "publish"): "in a private folder, then renamed",
    ("app.py", "run"): "nowhere",
    ("page.py", "_png"): "to memory",
}
"""Functions that write in another way, by file and name, and why they may."""
METHODS = {"write_text", "write_bytes", "savefig", "savez", "savez_compressed", "savetxt", "tofile", "touch", "dump"}


def writes(call):
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in METHODS and isinstance(call.func, ast.Attribute):
        return True
    if name not in ("open", "fdopen", "File"):
        return False
    texts = [n.value for n in ast.walk(call) if isinstance(n, ast.Constant)]
    modes = [t for t in texts if isinstance(t, str) and 0 < len(t) < 4 and set(t) <= set("rwabx+t")]
    flags = any(isinstance(n, ast.Attribute) and n.attr == "O_CREAT" for n in ast.walk(call))
    return flags or any(set(m) & set("wax+") for m in modes)


@pytest.mark.ci
def test_every_writer_replaces_files_in_one_step():
    found, wrong = set(), []
    word = re.compile(r"\b(" + "|".join([*METHODS, "open", "fdopen", "File"]) + r")\(")
    for path in sorted(PACKAGE.rglob("*.py")):
        if not word.search(text := path.read_text()):
            continue
        tree = ast.parse(text)
        functions = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
        for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call) and writes(n)):
            around = [f for f in functions if f.lineno <= call.lineno <= f.end_lineno]
            text = "".join(ast.unparse(f) for f in around)
            key = (path.name, around[-1].name if around else "")
            found.add(key)
            own = ast.unparse(call.func) in ("self.write_text", "folder.write_text")  # `RunFolder.write_text`
            if "replaced_file(" not in text and not own and key not in OTHERS:
                wrong.append(f"{key[0]}:{call.lineno} {key[1]}: {ast.unparse(call)[:60]}")
    assert len(found) > 15 and not wrong, "\n".join(wrong)
    assert not [f"{key} no longer writes" for key in OTHERS if key not in found]
    assert atomic.SUFFIX == ".tmp"


WRITES = [
    "open(a, 'w')", "a.open('ab')", "a.write_text(b)", "fig.savefig(a)", "np.savez(a)", "h5.File(a, 'w')",
    "open(a, 'a' if b else 'w')", "os.open(a, os.O_RDWR | os.O_CREAT)",
]  # fmt: skip


def test_this_test_would_see_a_writer():
    for text in WRITES:
        assert writes(ast.parse(text).body[0].value), text
    for text in ("open(a)", "open(a, 'rb')", "write_text(a, b)", "h5.File(a, 'r')"):
        assert not writes(ast.parse(text).body[0].value), text
