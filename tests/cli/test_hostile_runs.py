"""A run folder from anybody: whatever its texts are, nothing of them is run, fetched, or written beside the folder."""

import copy
import html.parser
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop.cli import main
from genn_eventprop.codegen.c99 import standalone
from genn_eventprop.codegen.cpp import generate
from genn_eventprop.deploy.trained import load
from genn_eventprop.description import build
from genn_eventprop.errors import EventPropError
from genn_eventprop.plan import make_plan
from genn_eventprop.report.view import view_page
from genn_eventprop.runs.checkpoint import load_checkpoint, save_checkpoint
from support.tiny_page import PAGE

EVIL = (
    "x */ MARK /*", "x\nMARK\n//", "x\\\nMARK\n", "x??/\nMARK", '"); system("touch MARK"); ("', "; touch MARK;",
    "<mark onload=MARK>x</mark>", "</script><mark>MARK", "../../MARK", "/tmp/MARK", "$(touch MARK)",
    "__import__('os').system('touch MARK')", "x' onload=MARK '", 'x" onload=MARK "',
)  # fmt: skip
OF_PAGES = tuple(text for text in EVIL if "mark" in text or "onload" in text)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "page.py").write_text(PAGE)
    assert main(["train", str(folder / "page.py"), "--run-dir", str(folder / "run")]) == 0
    return folder / "run"


def texts(part, path=()):
    """Paths of all texts in nested values; a key is a path that ends in (key,)."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield (*path, (key,))
            yield from texts(value, (*path, key))
    elif isinstance(part, list):
        for i, value in enumerate(part):
            yield from texts(value, (*path, i))
    elif isinstance(part, str):
        yield path


def changed(document, path, text):
    """The values with another text at a path."""
    document = copy.deepcopy(document)
    part = document
    for key in path[:-1]:
        part = part[key]
    if isinstance(path[-1], tuple):
        part[text] = part.pop(path[-1][0])
    else:
        part[path[-1]] = text
    return document


def write(folder, name, value):
    """A record without its checksum, as one that was edited on purpose."""
    (folder / name).write_text(json.dumps({k: v for k, v in value.items() if k != "sha256"}) + "\n")


class Tags(html.parser.HTMLParser):
    """Tags and attributes that no page of ours has."""

    def __init__(self):
        super().__init__()
        self.foreign = []

    def handle_starttag(self, tag, attrs):
        self.foreign += [tag] if tag == "mark" else []
        self.foreign += [name for name, _ in attrs if name.startswith("on") or "mark" in name]


def check_page(text):
    tags = Tags()
    tags.feed(text)
    assert tags.foreign == []


def read_by_a_compiler(text, tmp_path):
    compiler = shutil.which("gcc") or pytest.skip("no C compiler")
    (tmp_path / "x.c").write_text(text)
    command = [compiler, "-std=c99", "-trigraphs", "-E", "-P", str(tmp_path / "x.c")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.ci
def test_no_text_of_a_model_leaves_its_place(run, tmp_path, monkeypatch):
    """Every text and every key of model.json in turn: an error that names the file, or a model whose code and page say
    it as a text."""
    pytest.importorskip("plotly")
    monkeypatch.chdir(tmp_path)
    whole, folder = json.loads((run / "model.json").read_text()), tmp_path / "run"
    taken: set[tuple[str, str]] = set()  # (kind of place, text) that were accepted
    shutil.copytree(run, folder)
    values = load_checkpoint(run / "checkpoints" / "last.safetensors").section("parameters")
    for path in texts(whole):
        for text in EVIL:
            document = changed(whole, path, text)
            try:
                made = build(document, values)
            except EventPropError:
                continue
            kind = next(k if isinstance(k, str) else f"key {k[0]}" for k in reversed(path) if not isinstance(k, int))
            if (kind, text) in taken:
                continue
            taken.add((kind, text))
            plan = make_plan(made.network, made.loss, dt=made.dt, duration=made.duration)
            assert "MARK" not in read_by_a_compiler(standalone(plan, values).text, tmp_path), (path, text)
            assert "MARK" not in read_by_a_compiler(generate(plan, "float32").text.split("#include")[0], tmp_path)
            write(folder, "model.json", document)
            if text in OF_PAGES:
                check_page(view_page(folder, [0]))
    # the name of a model may be "; touch MARK;"; the key of a model's record and a checksum go nowhere
    assert {kind for kind, _ in taken} <= {"class_names", "name", "unit", "sha256", "key sha256", "key LIF", "key LI"}
    assert {text for kind, text in taken if kind == "name"} == {"; touch MARK;"}
    assert not list(tmp_path.rglob("*MARK*"))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("together", [True, pytest.param(False, marks=pytest.mark.ci)])
@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl"])
def test_no_text_of_a_record_leaves_the_page(run, tmp_path, name, together, monkeypatch):
    """One after the other, and all in one text: whichever ends its place, the page has what follows."""
    pytest.importorskip("plotly")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "run")
    whole = json.loads((run / name).read_text())
    keys = {"config.json": ("experiment", "class_names"), "metrics.jsonl": ("silent", "spikes_per_neuron")}
    paths = [p for p in texts(whole) if p[0] in keys[name] or p[0] in [(k,) for k in keys[name]]]
    assert paths
    shown = 0
    for path in paths:
        for text in (" ".join(OF_PAGES),) if together else OF_PAGES:
            write(tmp_path / "run", name, changed(whole, path, text))
            try:
                check_page(view_page(tmp_path / "run", [0]))
            except (EventPropError, KeyError):
                continue
            shown += 1
    assert bool(shown) == (name == "config.json")  # names of no population are refused
    assert not list(tmp_path.rglob("*MARK*"))


@pytest.mark.one_in(15)
@pytest.mark.parametrize("text", EVIL, ids=range(len(EVIL)))
def test_names_of_weights_are_names(run, tmp_path, text, monkeypatch, capsys):
    """They name files of export, and elements of the page."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.safetensors"
    for file in last.parent.iterdir():
        file.unlink()
    saved = load_checkpoint(run / "checkpoints" / "last.safetensors")
    save_checkpoint(last, saved.arrays | {f"parameters/{text}": np.ones((2, 2))}, saved.info)
    with np.load(run / "first_weights.npz") as first:
        np.savez(tmp_path / "run" / "first_weights.npz", **{**first, text: np.ones((2, 2))})
    before = set(tmp_path.rglob("*"))
    for command in (["export", "run", "a/b/weights"], ["export", "run", "x.npz"], ["view", "run"], ["plot", "run"]):
        assert main(command) == 1
        assert "Traceback" not in (said := capsys.readouterr().err) and "cannot name an array" in said
    new = {p.relative_to(tmp_path).parts[0] for p in set(tmp_path.rglob("*")) - before}
    assert new <= {"run"} and not Path("/tmp/MARK.csv").exists()


def test_the_page_that_a_folder_names_is_not_run(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "evil.py").write_text("open('MARK', 'w')")
    config = json.loads((run / "config.json").read_text())
    for source in ("run/evil.py", str(tmp_path / "run" / "evil.py"), "evil", "../run/evil.py", "os"):
        write(tmp_path / "run", "config.json", config | {"experiment": source})
        for command in ("resume", "evaluate"):
            assert main([command, "run"]) == 1
            assert "is run only if you name it: add --page FILE" in capsys.readouterr().err
    assert not (tmp_path / "MARK").exists()


def test_a_model_called_like_the_end_of_a_comment(run, tmp_path, monkeypatch, capsys):
    """What a C file of `export` ran when a C++ compiler read it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "run")
    model = json.loads((run / "model.json").read_text())
    key = next(iter(model["network"]["models"]))
    model["network"]["models"][key]["name"] = '*/ static int a = system("touch MARK"); /*'
    write(tmp_path / "run", "model.json", model)
    with pytest.raises(EventPropError, match=r"model\.json: the name of a model"):
        load(tmp_path / "run")
    for command in (["predict", "run", "run/samples.npz"], ["export", "run", "x.c"]):
        for trust in ([], ["--trust"]):
            assert main([*command, *trust]) == 1
            assert "is not a short text on one line" in capsys.readouterr().err
    assert not (tmp_path / "x.c").exists() and not (tmp_path / "MARK").exists()


def test_class_names_are_no_mathematics(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    write(tmp_path / "run", "config.json", config | {"class_names": ["$\\frac{$", "5 $ to $\\bad$"]})
    assert main(["plot", "run", "--only", "trial,confusion"]) == 0, capsys.readouterr().err


def files_below(path):
    """Path -> content."""
    return {p: p.read_bytes() for p in (path, *path.rglob("*")) if p.is_file()}


LINKS = ("metrics.jsonl", "results.json", "checkpoints", "checkpoints/last.safetensors", "plots")


@pytest.mark.parametrize("name", LINKS)
def test_links_out_of_a_run_folder_are_refused(run, tmp_path, name, monkeypatch, capsys):
    """What a resumed training writes would be in another file of the machine."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "run")
    shutil.move(tmp_path / "run" / name, tmp_path / "victim")
    (tmp_path / "run" / name).symlink_to(tmp_path / "victim")
    before = files_below(tmp_path / "victim")
    for command in (["resume", "run", "--page", str(run.parent / "page.py")], ["plot", "run"], ["view", "run"]):
        assert main(command) == 1
        assert f"run/{name} is a link to " in capsys.readouterr().err
    assert files_below(tmp_path / "victim") == before


def test_links_within_a_run_folder_and_to_one_are_links(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "there")
    (tmp_path / "there" / "results.json").rename(tmp_path / "there" / "first.json")
    (tmp_path / "there" / "results.json").symlink_to("first.json")
    (tmp_path / "run").symlink_to("there")
    assert main(["plot", "run", "--only", "curves"]) == 0
