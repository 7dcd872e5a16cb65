"""No home folder, closed streams, names that a locale cannot write, settings of the wrong kind: one message each."""

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from genn_eventprop.cli import main
from genn_eventprop.data.audio import inner_ear
from genn_eventprop.data.cache import cache_folder as data_cache
from genn_eventprop.data.open import open_events
from genn_eventprop.errors import SettingError, ToolchainError
from genn_eventprop.experiment.experiment import batch_sizes_of
from genn_eventprop.experiment.options import parse_specs
from genn_eventprop.home import expanded
from genn_eventprop.studies.repeats import whole_numbers
from genn_eventprop.toolchain import cache, compiler

PAGE = '''"""\u00e9"""
from dataclasses import dataclass
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.experiment import LayeredConfig, layered

@dataclass(frozen=True)
class Config(LayeredConfig):
    epochs: int = 1
    engine: str = "reference_clock"
    hidden: tuple[int, ...] = (3,)
    recurrent: bool = False
    batch_size: int = 4
    duration: float = 20.0
    dt: float | None = 1.0
    input_weight: tuple[float, float] = (2.0, 1.0)

def build(config):
    events = yin_yang.load("train", 12)
    return layered(config, events[:8], events[8:10], events[10:], yin_yang.CLASSES, progress=False)
'''


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("page.py").write_text(PAGE, encoding="utf-8")
    return Path("page.py")


@pytest.fixture(params=["unset", "empty"])
def homeless(request, monkeypatch):
    """A container with a user that is in no list: no HOME, or an empty one, no entry."""
    for name in ("XDG_CACHE_HOME", cache.VARIABLE, "GENN_EVENTPROP_DATA_CACHE", "HOME"):
        monkeypatch.delenv(name, raising=False)
    if request.param == "empty":
        monkeypatch.setenv("HOME", "")

    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_caches_without_a_home(homeless, tmp_path, monkeypatch, capsys):
    for folder, error, variable in (
        (cache.cache_folder, ToolchainError, "GENN_EVENTPROP_CACHE"),
        (data_cache, SettingError, "GENN_EVENTPROP_DATA_CACHE"),
    ):
        with pytest.raises(error, match=f"HOME is not set, and user .* has no home folder .* set {variable}"):
            folder()
        monkeypatch.setenv(variable, str(tmp_path))
        assert folder() == tmp_path
        monkeypatch.delenv(variable)
    assert main(["cache", "where"]) == 1 and "set GENN_EVENTPROP_CACHE" in capsys.readouterr().err


def test_training_without_a_home(homeless, page, monkeypatch, capsys):
    """An engine that compiles nothing needs no cache, a report no index; the data path does without kernels."""
    assert main(["train", "page.py", "--run-dir", "run"]) == 0
    assert main(["report", "run"]) == 0
    capsys.readouterr()
    assert main(["train", "page.py", "--engine", "native", "--run-dir", "other"]) == 1
    assert "set GENN_EVENTPROP_CACHE" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["~nobody-of-that-name", "~nobody-of-that-name/x"])
def test_a_tilde_without_a_home(path):
    for read in (expanded, open_events):
        with pytest.raises(SettingError, match="names a home folder, but there is none .* write the whole path"):
            read(path)


def shell(line, module="-m genn_eventprop", **environment):
    """A command line in a shell: status and both streams, as bytes."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
    command = f"{sys.executable} {module} {line}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, env={**inherited, **environment}, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.one_in(6)
@pytest.mark.parametrize(
    "line, status, says",
    [
        ("resume nothing >&-", 1, b"genn-eventprop: nothing is not a run folder"),
        ("resume nothing >&- 2>&-", 1, b""),
        ("--version >&-", 0, b""),
        ("train page.py --run-dir run <&- >&- && test -f run/results.json", 0, b""),
    ],
)
def test_closed_streams(page, line, status, says):
    found, _, err = shell(line)
    assert found == status and says in err and b"Traceback" not in err


@pytest.mark.ci
@pytest.mark.parametrize(
    "name, locale", [("\u00e9", {"PYTHONIOENCODING": "ascii"}), ("r\udcff", {"LC_ALL": "C.UTF-8"})]
)
def test_a_run_folder_the_locale_cannot_write(page, name, locale):
    status, _, err = shell(f"train page.py --run-dir '{name}'", **locale)
    assert status == 0, err
    lines = ("resume NAME --page page.py --epochs 2", "show NAME", "report NAME")
    argv = [line.replace("NAME", name).split() for line in lines]
    Path("more.py").write_text(f"from genn_eventprop.cli import main\nfor a in {argv!a}:\n    assert main(a) == 0, a\n")
    status, _, err = shell("", module="more.py", **locale)  # one process for all that the commands share
    assert status == 0, err
    assert (Path(name) / "command.txt").read_text(encoding="utf-8")


@pytest.mark.one_in(2)
@pytest.mark.parametrize("text", ["\u00b2", "1-\u00b2", "9" * 5000, "1-" + "9" * 5000, "-1", "", "1-", "\u0663"])
def test_numbers_that_are_none(text, page, capsys):
    with pytest.raises(SettingError, match="write integers and ranges such as 1-8"):
        whole_numbers(text)
    with pytest.raises(SettingError, match="write EPOCH:SIZE"):
        batch_sizes_of(f"1:{text}")
    assert main(["train", "page.py", f"--seeds={text}"]) == 1 and "--seeds" in capsys.readouterr().err


def test_folders_of_classes_with_odd_digits(tmp_path):
    """`str.isdigit` is true of a superscript, which `int` does not read."""
    for name in ("\u00b2", "10", "9", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.wav").touch()
    assert inner_ear.recordings(tmp_path)[3] == ["9", "10", "a", "\u00b2"]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("folder", ["5", "0", '""', "true", '["a"]', "1979-05-27", "nan"])
def test_the_folder_of_a_scan_is_a_text(page, folder, capsys):
    Path("s.toml").write_text(f'experiment = "page.py"\nfolder = {folder}\n')
    for line in (["scan", "s.toml"], ["scan", "status", "s.toml"]):
        assert main(line) == 1
        assert 's.toml: folder must be a string, e.g. folder = "runs/s", got ' in capsys.readouterr().err


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "line, says",
    [
        ("delays = inf", "--delays: unknown name 'inf'"), ("delays = 0", "--delays: cannot read '0'"),
        ("neuron = 5", "--neuron: cannot read '5'"), ("schedule = nan", "unknown name 'nan'"),
        ("regulariser = -1", "--regulariser: cannot read '-1'"), ("batch_sizes = 3", "write EPOCH:SIZE"),
        ("optimiser = ['a', 'b']", "optimiser = ['a', 'b'] cannot be used"), ("hidden = '3'", "is a string"),
        ("seeds = 1.5", "--seeds '1.5': write integers"), ("seed = 1979-05-27", "cannot be used; see --seed"),
    ],
)  # fmt: skip
def test_values_of_the_wrong_kind_in_a_file(page, line, says, capsys):
    Path("c.toml").write_text(line)
    assert main(["train", "page.py", "--config", "c.toml", "--run-dir", "run"]) == 1
    assert says in capsys.readouterr().err


def test_a_file_is_read_like_the_command_line(page, capsys):
    Path("c.toml").write_text("seeds = 5\nhidden = 4\n")
    assert main(["train", "page.py", "--config", "c.toml", "--run-dir", "run"]) == 0
    settings = json.loads(Path("run/seed5/config.json").read_text())["settings"]
    assert settings["hidden"] == [4] and settings["seed"] == 5


@pytest.mark.parametrize(
    "text",
    ["a) + f(b", "a)[0](b", "'" * 3, "(" * 500, "x=" + "-" * 100_000 + "1", "x={[]: 1}", "x=" + "9" * 5000, "a\0"],
)
def test_choices_that_are_no_call(text):
    with pytest.raises(SettingError, match="cannot read .*; write NAME"):
        parse_specs(text, "--augment")


def test_flags_with_an_open_quote(page, monkeypatch, capsys):
    monkeypatch.setenv(compiler.FLAGS_VARIABLE, '-O0 "')
    assert main(["train", "page.py", "--engine", "native", "--run-dir", "run"]) == 1
    assert "CXXFLAGS is set to '-O0 \"', which is not a list of flags" in capsys.readouterr().err
    assert main(["engines"]) == 0


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "setting, choice",
    [
        ("optimiser", "adam(beta1='x')"), ("optimiser", "sgd=None"), ("augment", "shift='x'"),
        ("augment", "jitter=(1, 2)"),
        ("loss", "sum(window=-1)"), ("loss", "first_spike(form=[1])"), ("loss", "error=0"),
        ("regulariser", "spike_count='x'"),
        ("regulariser", "weight_decay=()"), ("schedule", "exponential='x'"),
        ("schedule", "cosine(final=())"),
        ("revive", "lift=1j"), ("delays", "axonal={'a': 1}"), ("neuron", "LIF(tau_mem='x')"),
        ("optimiser", "adam=True"),
    ],
)  # fmt: skip
def test_values_of_the_wrong_kind_in_a_choice(page, setting, choice, capsys):
    assert main(["train", "page.py", f"--{setting}", choice, "--run-dir", "run"]) == 1
    assert capsys.readouterr().err.startswith(("genn-eventprop: --" + setting, "genn-eventprop: LIF"))


def test_a_negative_zero_is_zero(page):
    assert main(["train", "page.py", "--delays", "axonal(high=-0.0)", "--run-dir", "run"]) == 0
