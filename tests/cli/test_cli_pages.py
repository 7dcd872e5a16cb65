"""A run folder is data: no command runs the page that its config.json names, unless the user names it too."""

import ast
import json
import shutil
from pathlib import Path

import pytest

import genn_eventprop
from genn_eventprop.cli import main
from genn_eventprop.experiment import load_experiment

PAGE = '''
"""Two classes, told by which channel spikes first."""
from dataclasses import dataclass
from genn_eventprop import Events
from genn_eventprop.experiment import LayeredConfig, layered

@dataclass(frozen=True)
class Config(LayeredConfig):
    hidden: tuple[int, ...] = (4,)
    duration: float = 20.0
    dt: float | None = 1.0
    spike_times: str = "grid"
    engine: str = "reference_clock"
    input_weight: tuple[float, float] = (1.0, 0.3)
    epochs: int = 1

def build(config):
    samples = [([1.0, 4.0 + 0.3 * i], [i % 2, 1 - i % 2]) for i in range(12)]
    events = Events.from_samples(samples, 2, [i % 2 for i in range(12)])
    return layered(config, events[:6], events[6:9], events[9:], ["left", "right"])
'''
HOSTILE = "import pathlib\npathlib.Path(__file__).with_name('RAN').write_text('')\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "page.py").write_text(PAGE)
    assert main(["train", str(folder / "page.py"), "--seed", "3", "--run-dir", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def sent(trained, tmp_path, monkeypatch):
    """A folder "run" as somebody else could have sent it: its config names a page that leaves a mark when it runs."""
    shutil.copytree(trained / "run", tmp_path / "run")
    (tmp_path / "hostile.py").write_text(HOSTILE)
    config = json.loads((tmp_path / "run/config.json").read_text())
    config["experiment"] = str(tmp_path / "hostile.py")
    del config["sha256"]  # whoever sends it can make one that fits
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    shutil.copy(trained / "page.py", tmp_path / "page.py")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_is_kept_as_text(trained):
    assert (trained / "run/page.py.txt").read_text() == PAGE
    assert load_experiment("braille").page.startswith('"""Braille') and load_experiment("braille").installed


@pytest.mark.parametrize("command", ["evaluate", "resume"])
@pytest.mark.parametrize("named", ["hostile.py", "os", "../../evil", ["x"], {"a": 1}, None])
def test_pages_named_by_a_folder_are_never_run(sent, capsys, command, named):
    config = json.loads(Path("run/config.json").read_text())
    config.pop("sha256", None)
    Path("run/config.json").write_text(json.dumps({**config, "experiment": named}))
    assert main([command, "run"]) == 1
    error = capsys.readouterr().err
    assert "which is run only if you name it: add --page FILE" in error and "run/page.py.txt" in error
    assert not Path("RAN").exists()


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    "arguments",
    [["report", "run"], ["export", "run", "weights.npz"], ["plot", "run"], ["predict", "run", "samples.npz"]],
)
def test_what_reads_numbers_runs_no_page(sent, capsys, arguments):
    shutil.copy("run/samples.npz", "samples.npz")
    assert main(arguments) == 0
    assert not Path("RAN").exists()


def test_a_data_set_to_plot_needs_the_page(sent, capsys):
    assert main(["plot", "run", "--only", "trial", "--data", "test"]) == 1
    assert "which is run only if you name it: add --page FILE" in capsys.readouterr().err
    assert main(["plot", "run", "--only", "trial,confusion", "--data", "test", "--page", "page.py"]) == 0
    assert not Path("RAN").exists()


def test_report_of_an_unknown_page(sent, capsys):
    assert main(["report", "run"]) == 0
    assert "| `train hostile.py` | seed 3 |" in capsys.readouterr().out


def test_a_page_that_the_user_names_goes_on(sent, capsys):
    assert main(["evaluate", "run", "--page", "page.py"]) == 0
    assert "test set, 3 samples" in capsys.readouterr().out
    assert main(["resume", "run", "--page", "page.py", "--epochs", "2"]) == 0
    assert json.loads(Path("run/results.json").read_text())["epochs"] == 2
    assert main(["evaluate", "run", "--page", "absent.py"]) == 1
    assert "there is no experiment file" in capsys.readouterr().err
    assert not Path("RAN").exists()


def test_no_pickle_anywhere():
    """No source file of the package imports a module that unpickles, or lets NumPy do it."""
    files = sorted(Path(genn_eventprop.__file__).parent.rglob("*.py"))
    assert len(files) > 100
    modules = {"pickle", "shelve", "marshal", "dill", "joblib"}
    for file in files:
        text = file.read_text()
        if not any(word in text for word in (*modules, "allow_pickle")):
            continue
        for node in ast.walk(ast.parse(text)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {n.split(".")[0] for n in names} & modules, file
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, file
