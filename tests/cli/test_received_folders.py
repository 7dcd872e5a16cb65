"""A run folder, scan or study from anybody: no file that it names is run or opened, unless the reader is told to."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genn_eventprop.cli import main
from genn_eventprop.deploy.trained import load
from genn_eventprop.errors import EventPropError, SettingError
from genn_eventprop.experiment import LayeredConfig
from genn_eventprop.experiment.experiment import (
    OF_THE_COMMAND,
    OF_THE_START,
    experiment_names,
    load_experiment,
    open_run,
)
from genn_eventprop.runs.run_folder import RunFolder
from genn_eventprop.studies.search import search_of
from support.extras import needs
from support.tiny_page import PAGE

NEURON = """
from pathlib import Path
from genn_eventprop.models import LIF
Mine = LIF
Path(__file__).with_name("MARK").touch()
"""
OPENING = ("open", "os.listdir", "os.scandir", "socket.connect", "shutil.copyfile")
FORBIDDEN = re.compile(r"""['"](?!/)([^'"]*/)?outside[/'"]|^socket|intruder\.py""")
"""A path from here, as settings name it: pytest looks through folders of earlier tests, and plotly has modules of
such names."""
seen: list[str] | None = None
"""What the process opens, while a test looks."""


def look(event: str, arguments: tuple[Any, ...]) -> None:
    if seen is not None and event in OPENING:
        seen.append(f"{event} {arguments[0]!r} {arguments[1:2]!r}")


sys.addaudithook(look)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("received")
    (folder / "page.py").write_text(PAGE)
    assert main(["train", str(folder / "page.py"), "--run-dir", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the run, its page, and `outside`, which nobody may open; who waits for a pipe is interrupted."""
    (tmp_path / "home" / "outside" / "data").mkdir(parents=True)
    here, outside = tmp_path / "home", tmp_path / "home" / "outside"
    monkeypatch.chdir(here)
    shutil.copytree(trained, here / "run")
    shutil.copy(trained.parent / "page.py", here)
    (outside / "intruder.py").write_text(NEURON)
    (outside / "secret").write_text("secret")
    os.mkfifo(outside / "pipe")
    (here / "run" / "intruder.py").write_text(NEURON)

    def waits(*_: object) -> None:
        raise AssertionError("it waits for a pipe")

    before = signal.signal(signal.SIGALRM, waits)
    yield here
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def values(here: Path) -> list[str]:
    """Everything that a text of config.json may name."""
    outside = here / "outside"
    named = [f"{outside}/intruder.py{end}" for end in ("", ":Mine", ":Mine(tau_mem=9.0)", ":")]
    named += ["outside/intruder.py", "run/intruder.py:Mine", "run/../outside/intruder.py:Mine"]
    named += [str(outside / "secret"), "outside/secret", str(outside / "data"), str(outside / "pipe"), "outside/pipe"]
    return [*named, "http://127.0.0.1:9/outside/intruder.py", f"file://{outside}/secret", str(outside / "none.nir")]


def given(folder: Path, settings: dict[str, Any], experiment: str) -> None:
    """Settings of a run folder, as somebody who made it by hand would write them."""
    config = json.loads((folder / "config.json").read_text())
    rest = {name: value for name, value in config.items() if name != "sha256"}
    record = rest | {"experiment": experiment, "settings": rest["settings"] | settings}
    (folder / "config.json").write_text(json.dumps(record))


def quietly(action: Any) -> Any:
    """What an action returns or how it ends; it must not open anything outside, nor wait."""
    global seen
    seen, result = [], None
    signal.alarm(30)
    try:
        result = action()
    except EventPropError as error:
        result = error
    finally:
        opened, seen = seen, None
        signal.alarm(0)
    outside = str(Path("outside").resolve())  # as a link leads there
    assert [line for line in opened if FORBIDDEN.search(line) or outside in line] == []
    assert not list(Path().rglob("MARK"))
    return result


FIELDS = [field.name for field in dataclasses.fields(LayeredConfig)]
PATHS = [field.name for field in dataclasses.fields(LayeredConfig) if "Path" in str(field.type)]


@pytest.mark.one_in(72)
@pytest.mark.parametrize("name", FIELDS)
def test_no_setting_makes_a_reader_run_or_open_a_file(here: Path, name: str, capsys: Any) -> None:
    """Every setting of layered experiments, read from the class: what comes later is tried, too."""
    page = str(here / "page.py")
    for text in values(here):
        for value in (text, [text]) if text.endswith("Mine") else (text,):
            given(here / "run", {name: value}, page)

            def build() -> Any:
                file, config, _ = open_run("run", load_experiment(page).source)
                file.build(config).trainer.close()

            result = quietly(build)
            names_a_file = name in PATHS or (".py" in text and "://" not in text)
            assert isinstance(result, SettingError) or not names_a_file or name in (*OF_THE_COMMAND, *OF_THE_START)


@pytest.mark.one_in(6)
@pytest.mark.parametrize("name", ["neuron", "data_dir", "output", "from_nir", "loss"])
def test_readers_go_through_the_same_gate(here: Path, name: str, capsys: Any) -> None:
    page = str(here / "page.py")
    given(here / "run", {name: str(here / "outside" / "intruder.py")}, page)
    for command in (["evaluate", "run"], ["resume", "run", "--epochs", "2"], ["plot", "run", "--data", "test"]):
        assert quietly(lambda words=command: main([*words, "--page", page])) == 1
        assert "only if you say so" in (said := capsys.readouterr().err) or "must be " in said, said
    for command in (
        ["view", "run"],
        ["predict", "run", "run/samples.npz"],
        ["report", "run"],
        ["show", "run"],
        ["export", "run", "w.npz"],
    ):
        assert quietly(lambda words=command: main(words)) == 0, capsys.readouterr().err
    assert quietly(lambda: load("run").close()) is None


@pytest.mark.parametrize("name", experiment_names())
@pytest.mark.one_in(16)
def test_no_setting_of_an_installed_experiment_names_a_file(here: Path, name: str) -> None:
    """Those that layered experiments do not have. A file that a path leads to is opened by `build`, which is not
    reached."""
    for field in dataclasses.fields(load_experiment(name).config):
        for text in values(here) if field.name not in FIELDS else ():
            given(here / "run", {field.name: text}, name)
            config = json.loads((here / "run" / "config.json").read_text())
            config["settings"] = {field.name: text}
            (here / "run" / "config.json").write_text(json.dumps(config))
            result = quietly(lambda: open_run("run"))
            path = "Path" in str(field.type) and field.name not in OF_THE_COMMAND
            if path or (".py" in text and "://" not in text and field.name not in OF_THE_COMMAND):
                assert isinstance(result, SettingError), (field.name, text, result)


def test_a_reader_that_is_told_to_runs_and_opens_them(here: Path) -> None:
    page = str(here / "page.py")
    given(here / "run", {"neuron": "outside/intruder.py:Mine", "data_dir": "outside/data"}, page)
    with pytest.raises(SettingError, match=r"run was made with data_dir = .*only if you say so; add --trust"):
        open_run("run", page)
    file, config, _ = open_run("run", page, trust=True)
    file.build(config).trainer.close()
    assert config.data_dir == Path("outside/data") and (here / "outside" / "MARK").exists()


FILES = (
    ".genn_eventprop.json", ".writer.json", "config.json", "environment.json", "results.json", "model.json",
    "metrics.jsonl", "first_weights.npz", "samples.npz", "checkpoints/last.safetensors", "checkpoints/best.safetensors",
)  # fmt: skip
READERS = (
    ["evaluate", "run", "--page", "page.py"], ["resume", "run", "--page", "page.py", "--epochs", "2"], ["plot", "run"],
    ["plot", "run", "--data", "test", "--page", "page.py"], ["predict", "run", "run/samples.npz"], ["report", "run"],
    ["show", "run"], ["export", "run", "w.npz"], ["export", "run", "w.c"], ["view", "run"],
    ["train", "page.py", "--run-dir", "run", "--resume-if-started"],
)  # fmt: skip


SAID = ("is a pipe", "is a link", "is not a run folder", "was not written by genn-eventprop")


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", ["pipe", "link"])
@pytest.mark.parametrize("name", FILES)
def test_files_of_a_run_that_are_none(here: Path, name: str, kind: str, capsys: Any) -> None:
    """A pipe, on which a reader would wait, or a link out of the folder, at the place of each file."""
    if any("view" in words for words in READERS):
        pytest.importorskip("plotly")
    place = here / "run" / name
    if place.exists():
        shutil.move(place, here / "outside" / place.name)
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(here / "outside" / place.name)
    for command in READERS:
        status = quietly(lambda words=command: main(words))
        said = capsys.readouterr().err
        assert status == 1 and any(words in said for words in SAID), (command, said)


def test_runs_of_a_study_lie_in_it(here: Path, capsys: Any) -> None:
    """Names in repeats.json, and links in the place of runs."""
    shutil.copytree(here / "run", here / "outside" / "run")
    (here / "study").mkdir()
    (here / "study" / ".genn_eventprop.json").write_text('{"format": "genn_eventprop repeats 1"}')
    (here / "study" / "seed1").symlink_to("../outside/run")
    record: dict[str, Any] = {"experiment": "page.py", "settings": {}}
    for name in ("../outside/run", str(here / "outside" / "run"), "seed1", "..", ""):
        (here / "study" / "repeats.json").write_text(json.dumps(record | {"variants": {name: {"seed": 1}}}))
        assert quietly(lambda: main(["report", "study"])) == 1
        assert "is not in study, or is a link" in capsys.readouterr().err
    assert quietly(lambda: main(["plot", "study"])) == 1
    variants: Any
    for variants in (None, [], 3, {"seed1": 3}):
        (here / "study" / "repeats.json").write_text(json.dumps(record | {"variants": variants}))
        assert quietly(lambda: main(["report", "study"])) == 1
        assert "repeats.json is damaged" in capsys.readouterr().err


@pytest.mark.ci
def test_cells_of_a_scan_lie_in_it(here: Path, capsys: Any) -> None:
    (here / "grid.toml").write_text('experiment = "page.py"\nfolder = "study"\n[grid]\nseed = [1]\n')
    assert main(["scan", "grid.toml"]) == 0
    capsys.readouterr()
    (here / "outside" / "run").parent.mkdir(exist_ok=True)
    shutil.move(here / "study" / "seed=1", here / "outside" / "run")
    (here / "study" / "seed=1").symlink_to("../outside/run")
    for command in (["scan", "grid.toml"], ["scan", "grid.toml", "--table"], ["scan", "status", "grid.toml"]):
        assert quietly(lambda words=command: main(words)) == 1
        assert "seed=1 is not in study, or is a link" in capsys.readouterr().err


def test_a_journal_names_no_file() -> None:
    """The settings of a trial come from the journal of the study, the file of the scan says which there are."""
    search = search_of(
        {"ranges": {"neuron": ["LIF", "ALIF"], "hidden": [[1], [2]], "dt": {"low": 0.1, "high": 1.0}}}, "x"
    )
    taken = {"neuron": "ALIF", "hidden": "[2]", "dt": 3.0}
    assert search.settings(taken) == {"neuron": "ALIF", "hidden": [2], "dt": 3.0}
    for name, value in (
        ("neuron", "intruder.py:Mine"),
        ("hidden", '["intruder.py"]'),
        ("dt", "intruder.py:Mine"),
        ("output", "intruder.py:Mine"),
    ):
        with pytest.raises(SettingError, match=rf"study\.journal has {name} = .*not in \[search\.ranges\]"):
            search.settings(taken | {name: value})


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_journal_is_a_file(here: Path, kind: str, capsys: Any) -> None:
    needs("optuna")
    text = 'experiment = "page.py"\nfolder = "study"\n[search]\ntrials = 1\n[search.ranges]\nseed_ = [1, 2]\n'
    (here / "search.toml").write_text(text.replace("seed_", "batch_size"))
    (here / "study").mkdir()
    (here / "study" / ".genn_eventprop.json").write_text('{"format": "genn_eventprop scan 1"}')
    if kind == "pipe":
        os.mkfifo(here / "study" / "study.journal")
    else:
        (here / "study" / "study.journal").symlink_to(here / "outside" / "secret")
    assert quietly(lambda: main(["scan", "search.toml"])) == 1
    assert "study.journal cannot be read" in capsys.readouterr().err
    assert (here / "outside" / "secret").read_text() == "secret"


def test_a_folder_opened_without_its_mark_is_read_within_itself(here: Path) -> None:
    """`RunFolder(path)`, as a scan looks at its cells."""
    (here / "outside" / "results.json").write_text('{"epochs": 1}')
    (here / "run" / "results.json").unlink()
    (here / "run" / "results.json").symlink_to(here / "outside" / "results.json")
    assert isinstance(quietly(lambda: RunFolder("run").results), SettingError)


def test_a_setting_that_no_page_has_is_refused(here: Path) -> None:
    given(here / "run", {"genn_backends": "auto"}, "page.py")
    with pytest.raises(SettingError, match="unknown setting 'genn_backends'"):
        open_run("run", "page.py")
