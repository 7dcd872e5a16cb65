"""Fixtures and switches shared by all tests."""

import importlib.util
import os
import signal
from pathlib import Path

import hypothesis
import matplotlib
import pytest

from support.extras import REASON
from support.flags import FLAGS, QUICKLY, UNOPTIMISED, precompile
from support.sweeps import one_in

matplotlib.use("Agg")
# a busy machine may take half a second for any example; what is slow is measured in benchmarks
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real data: $GENN_EVENTPROP_DATA, else ../shared/data beside the repository; skips if absent."""
    folder = Path(os.environ.get("GENN_EVENTPROP_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data folder {folder} is absent (set GENN_EVENTPROP_DATA)")
    return folder


@pytest.fixture
def optimised(monkeypatch):
    """What this test compiles is optimised as for users; other flags, such as those of the sanitisers, stay."""
    if os.environ.get(FLAGS) in (QUICKLY, UNOPTIMISED):
        monkeypatch.delenv(FLAGS)


@pytest.fixture
def contracted(monkeypatch):
    """For tests of how float32 rounds, of which contracted products and sums are a part, and for longer trainings."""
    if os.environ.get(FLAGS) == UNOPTIMISED:
        monkeypatch.setenv(FLAGS, QUICKLY)


@pytest.fixture(autouse=True, scope="session")
def hang_ups_are_heard():
    """Tests start programs that a SIGHUP ends; they would inherit that it is ignored, as under nohup."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    """The default run does not optimise what it compiles; `-m slow` and tests that are `optimised` compile as users do.
    Flags that are set already stay."""
    if "not slow" in config.option.markexpr:
        os.environ.setdefault(FLAGS, UNOPTIMISED)
    # else each of the processes that tests start, of which there are more than a hundred, compiles the package again
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if os.environ.get(FLAGS) == UNOPTIMISED and not hasattr(config, "workerinput") and not config.option.collectonly:
        precompile()


MOST_PROCESSES = 8  # each imports the package and keeps what it has compiled


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """A whole run uses all processors where pytest-xdist is installed; `-n 0` or a choice of files does not."""
    if hasattr(config, "workerinput") or "PYTEST_XDIST_WORKER" in os.environ:
        return  # this is one of the processes
    option = config.option
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if whole and getattr(option, "numprocesses", 0) is None and not (option.usepdb or option.collectonly):
        from genn_eventprop.engines.native.engine import available_processors

        option.numprocesses = min(available_processors(), MOST_PROCESSES)
        option.dist = "worksteal"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Before pytest chooses by markers. Of tests that run in CI only, `.ci/run` takes one part of several."""
    one_in(items)
    share, part = (int(os.environ.get(f"GENN_EVENTPROP_CI_{name}", n)) for name, n in (("SHARE", "1"), ("PART", "0")))
    if share > 1:
        in_ci = [item for item in items if item.get_closest_marker("ci")]
        left_out = {item for i, item in enumerate(in_ci) if i % share != part % share}
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked needs_genn are skipped by name where pygenn is not installed."""
    if item.get_closest_marker("needs_genn") and importlib.util.find_spec("pygenn") is None:
        pytest.skip("pygenn is not installed")


def pytest_runtest_logreport(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Names of tests that are skipped for want of an extra, into $GENN_EVENTPROP_LACKING: where the extra is installed,
    `pytest @FILE` runs them."""
    file = os.environ.get("GENN_EVENTPROP_LACKING")
    if file and report.skipped and REASON in str(report.longrepr) and "PYTEST_XDIST_WORKER" not in os.environ:
        with open(file, "a") as lacking:
            lacking.write(f"{report.nodeid}\n")


pytest_collectreport = pytest_runtest_logreport  # of a whole file
