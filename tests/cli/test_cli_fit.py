"""``genn-eventprop fit``: files in, a run folder with a report out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from genn_eventprop import simulate
from genn_eventprop.cli import main
from genn_eventprop.models import LIF
from genn_eventprop.runs import mark
from support.guides import blocks

SMALL = ["--bounds", "tau_mem=4:40", "v_thresh=0.5:3", "--fixed", "v_reset=0", "--starts", "2", "--no-progress"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cell.csv").write_text("time,current\n0,1\n1,1\n2,0\n")
    (tmp_path / "spikes.csv").write_text("time\n1.5\n")
    (tmp_path / "v.csv").write_text("time,current,voltage\n0,1,0\n1,1,1\n2,0,2\n")
    return tmp_path


@pytest.mark.parametrize(
    "words, message",
    [
        (["lif", "none.csv"], "there is no file none.csv"),
        (["lif"], "name at least one recording"),
        (["lfi", "cell.csv"], "no built-in model 'lfi'"),
        (["lif", "cell.csv"], "has no spike times; find them with recording.with_spikes_above(level) (--spikes-above)"),
        (["lif", "cell.csv", "--spikes", "spikes.csv", "spikes.csv"], "a file for each of the 1 recordings, got 2"),
        (["lif", "cell.csv", "--spikes", "spikes.csv", "--spikes-above", "0"], "not both"),
        (["lif", "cell.csv", "--bounds", "tau_mem"], "'tau_mem' is not of the form NAME=..."),
        (["lif", "cell.csv", "--bounds", "tau_mem=4"], "'4' is not two numbers with a colon"),
        (["lif", "cell.csv", "--fixed", "tau_mem=x"], "'x' is not a number"),
        (["lif", "cell.csv", "--spikes", "spikes.csv", "--only", "tau"], "has no parameter 'tau' in a fit"),
        (["lif", "cell.csv", "--current-step", "1.5"], "no whole multiple"),
        (["lif", "cell.csv", "--spikes", "spikes.csv", "--sweeps", "7"], "has the sweeps 0 to 0, not [7]"),
        (["lif", "cell.csv", "--spikes", "spikes.csv", "--bounds", "tau_mem=9:4"], "must be finite and ascend"),
        (["li", "cell.csv", "--spikes", "spikes.csv"], "LI"),
        (["lif", "v.csv", "--spikes-above", "500"], "V never rises through --spikes-above 500"),
    ],
)
def test_mistakes_are_explained(folder, capsys, words, message):
    assert main(["fit", *words]) == (2 if message.startswith(("name at least", "no built-in")) else 1)
    assert message in capsys.readouterr().err
    assert not (folder / "runs").exists()


def test_a_folder_with_something_in_it_stays(folder, capsys):
    (folder / "mine").mkdir()
    (folder / "mine" / "letter.txt").write_text("mine")
    assert main(["fit", "lif", "cell.csv", "--run-dir", "mine"]) == 1
    assert "exists and is not empty" in capsys.readouterr().err
    assert [p.name for p in (folder / "mine").iterdir()] == ["letter.txt"]


@pytest.mark.ci
def test_a_fit_leaves_a_report_and_can_be_repeated(folder, capsys):
    current = np.repeat([0.4, 1.6, 0.9, 1.4], 40)
    cell = simulate(LIF(tau_mem=12.0, v_thresh=0.7), current, dt=0.5)
    spikes = cell.spikes[0]
    assert len(spikes) > 3
    np.savez(folder / "two.npz", current=current, dt=0.5, voltage=cell.voltage, spike_times=spikes)
    assert main(["fit", "lif", "two.npz", *SMALL]) == 0
    printed = capsys.readouterr().out
    run = folder / "runs" / "fit-lif-1"
    assert "tau_mem" in printed and "report  runs/fit-lif-1/report.html" in printed
    assert mark.kind_of(run) == "fit"
    (results,) = json.loads((run / "results.json").read_text())["cells"]
    assert results["parameters"]["tau_mem"]["value"] == pytest.approx(12.0, rel=1e-3)
    assert results["parameters"]["v_thresh"]["value"] == pytest.approx(0.7, rel=1e-3)
    assert results["free_run"]["missing"] == results["free_run"]["surplus"] == 0
    config = json.loads((run / "config.json").read_text())
    assert config["bounds"]["tau_mem"] == [4, 40] and len(config["files"]["two.npz"]) == 64
    page = (run / "report.html").read_text()
    assert page.count("data:image/png") == 2 and "v_thresh" in page and "genn-eventprop" in page
    assert {p.name for p in (run / "figures").iterdir()} == {"two-traces.png", "two-starts.png"}
    with np.load(run / "traces.npz") as traces:
        assert np.allclose(traces["spike_times_0"], spikes, atol=1e-2) and traces["voltage_0"].shape == (1, 160)
    # the next one gets the next number, and finds the same
    assert main(["fit", "lif", "two.npz", *SMALL]) == 0
    again = json.loads((folder / "runs" / "fit-lif-2" / "results.json").read_text())["cells"][0]
    assert again["parameters"] == results["parameters"]


@pytest.mark.slow
def test_the_guide_tries_a_protocol(tmp_path, capsys):
    place = next(i for i, block in enumerate(blocks("docs/fit.md")) if "simulate(" in block.text)
    exec(compile(blocks("docs/fit.md")[place].text, "docs/fit.md", "exec"), {})
    assert "v_thresh is not determined by this recording" in capsys.readouterr().out.splitlines()[-1]
