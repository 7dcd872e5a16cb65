"""The self-test of an engine, as a user runs it on his card; `cuda` on the shim, with a small network to time."""

import numpy as np
import pytest

from genn_eventprop.cli import main
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.c99.engine import C99Engine
from genn_eventprop.engines.contract.features import refuse
from genn_eventprop.engines.cuda import engine as cuda
from genn_eventprop.verify.engines import selftest as tested
from genn_eventprop.verify.engines.representative import EXACT, RECIPES, Shape, case
from support.cuda_shim import SHUFFLED, ShimDevice
from support.sweeps import sweep

SMALL = Shape(inputs=20, hidden=40, outputs=4, steps=50, spikes=100)
QUICK = ("LIF, integral of V, delays, learned time constants", "LIF, a loss in Python")
WIRED = ("sparse, a delay a synapse", "dense, delays of targets", "convolution", "pooling, delays of sources")


@pytest.fixture
def shim(monkeypatch):
    """A machine whose only GPU is the shim."""
    monkeypatch.setattr(cuda, "visible_devices", lambda: (["shim (sm_0, 4 GiB)"], ""))
    monkeypatch.setattr(cuda, "open_device", lambda number: ShimDevice(SHUFFLED))


def small(monkeypatch, names):
    """The command with few and small networks."""
    whole = tested.selftest
    monkeypatch.setattr(
        tested, "selftest", lambda engine, say: whole(engine, say, names=names, shape=SMALL, batches=(3, 5))
    )


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(QUICK, marks=pytest.mark.ci),
        pytest.param(WIRED, marks=pytest.mark.ci),
        pytest.param(tuple(RECIPES), marks=pytest.mark.slow),
        pytest.param(tuple(EXACT), marks=pytest.mark.slow),
    ],
)
def test_the_command_on_the_shim(names, shim, monkeypatch, tmp_path, capsys):
    small(monkeypatch, names)
    assert main(["engines", "--selftest", "cuda", "--report", str(tmp_path / "report.txt")]) == 0
    report = (tmp_path / "report.txt").read_text()
    assert report in capsys.readouterr().out
    assert "cuda: shim (sm_0, 4 GiB)" in report and "all right" in report and "wrong," not in report
    for name in names:
        (line,) = (x for x in report.splitlines() if x.startswith(f"  {name}: "))
        assert line.count("right") >= 2 and "cuda float32" in line
    assert report.count("has the same bits") == 2 and "batch 5: training" in report
    assert "steps of Adam: right" in report and "a batch in groups: right" in report


@pytest.mark.parametrize("name", EXACT)
def test_the_card_runs_every_exact_recipe(name):
    plan = case(name).plan
    assert plan.spike_times == "exact"
    refuse(plan, "cuda", cuda.CudaEngine.features)


@pytest.mark.ci
def test_a_fault_is_found_and_the_status_is_1(monkeypatch, tmp_path, capsys):
    """One gradient too large by a thousandth."""

    class Wrong(C99Engine):
        def run(self, *given, **settings):
            result = super().run(*given, **settings)
            self.gradients["hidden_output.weight"] *= 1.001
            return result

    monkeypatch.setattr(tested, "engine_class", lambda name: Wrong)
    monkeypatch.setattr(tested, "availability", tuple)
    small(monkeypatch, QUICK[1:2])
    assert main(["engines", "--selftest", "c99", "--report", str(tmp_path / "report.txt")]) == 1
    assert "gradient of hidden_output.weight: off by" in (tmp_path / "report.txt").read_text()


def test_an_engine_that_cannot_be_tested_is_an_error(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cuda, "visible_devices", lambda: ([], "no driver"))
    for engine, message in (
        ("cuda", "cuda does not run here: no driver"),
        ("reference_event", "reference_event has exact spike times, the self-test is for engines on the grid"),
        ("coda", "unknown engine 'coda' (did you mean 'cuda'?"),
    ):
        assert main(["engines", "--selftest", engine]) == 1
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sweep(RECIPES, list(RECIPES)[::3]))
def test_no_network_is_silent(name):
    """In a silent one the comparison would be empty; delta synapses have no gradient of what only decides the step."""
    one = case(name)
    engine = ReferenceClock(one.plan, one.parameters)
    result = engine.run(engine.load(one.events), np.arange(len(one.events)), training=True)
    assert all(1 < n.mean() < 15 for n in result.spike_counts.values())
    largest = {k: np.abs(g).max() for k, g in engine.gradients.items()}
    assert all(1e-5 < g < 1e3 for k, g in largest.items() if name != "delta synapses" or k == "hidden_output.weight")
