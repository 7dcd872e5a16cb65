"""``genn-eventprop fit``: files in, a run folder with a report out."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import simulate
from genn_eventprop.cli import main
from genn_eventprop.cli.fit_cells import Order, names_of
from genn_eventprop.errors import DataError, Terminated, WriteError
from genn_eventprop.fitting.saved import save_stage
from genn_eventprop.models import LIF, AdEx
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
        (["cell.csv"], "name at least one recording, such as cell.csv; cell.csv is a file: name the model"),
        (["lfi", "cell.csv"], "no built-in model 'lfi'"),
        (["lif", "cell.csv"], "recording.with_spikes_above(level) (--spikes-above)"),
        (["lif", "v.csv"], "V has no action potential (in mV; the highest V is 2); name a level, --spikes-above LEVEL"),
        (["lif", "cell.csv", "--series-resistance", "5"], "has no voltage to be corrected"),
        (["lif", "cell.csv", "--spikes", "spikes.csv", "spikes.csv"], "a file for each of the 1 recordings, got 2"),
        (["lif", "cell.csv", "--spikes", "spikes.csv", "--spikes-above", "0"], "not both"),
        (["lif", "cell.csv", "--bounds", "tau_mem"], "'tau_mem' is not of the form NAME=..."),
        (["lif", "cell.csv", "--bounds", "tau_mem=4"], "'4' is not two numbers with a colon"),
        (["lif", "cell.csv", "--fixed", "tau_mem=x"], "'x' is not a number"),
        (["lif", "cell.csv", "--spikes", "spikes.csv", "--only", "tau"], "has no parameter 'tau' in a fit"),
        (["lif", "cell.csv", "--current-step", "1.5"], "no whole multiple"),
        (["lif", "cell.csv", "--spikes", "spikes.csv", "--sweeps", "7"], "has the sweeps 0 to 0, not [7]"),
        (["lif", "cell.csv", "--spikes", "spikes.csv", "--bounds", "tau_mem=9:4"], "must be finite and ascend"),
        (
            ["lif", "cell.csv", "--spikes", "spikes.csv", "--bounds", "lif.tau_mem=9:4"],
            "of 'tau_mem' must be finite and",
        ),
        (
            ["lif", "cell.csv", "--spikes", "spikes.csv", "--fixed", "eif.gain=1"],
            "has a parameter 'eif.gain'",
        ),
        (["li", "cell.csv", "--spikes", "spikes.csv"], "LI"),
        (["lif", "v.csv", "--spikes-above", "500", "--only", "tau"], "V never rises through --spikes-above 500"),
    ],
)
def test_mistakes_are_explained(folder, capsys, words, message):
    assert main(["fit", *words]) == (2 if message.startswith(("name at least", "no built-in")) else 1)
    assert message in capsys.readouterr().err
    assert not (folder / "runs").exists()


def test_a_folder_with_something_in_it_stays(folder, capsys):
    (folder / "mine").mkdir()
    (folder / "mine" / "letter.txt").write_text("mine")
    assert main(["fit", "lif", "cell.csv", "--spikes", "spikes.csv", "--run-dir", "mine"]) == 1
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
    assert page.count("data:image/png") == 4 and "v_thresh" in page and "genn-eventprop" in page
    assert {p.name for p in (run / "figures").iterdir()} == {
        f"two-{what}.png" for what in ("traces", "spikes", "phase", "starts")
    }
    with np.load(run / "traces.npz") as traces:
        assert np.allclose(traces["spike_times_0"], spikes, atol=1e-2) and traces["voltage_0"].shape == (1, 160)
    # the next one gets the next number, and finds the same
    assert main(["fit", "lif", "two.npz", *SMALL]) == 0
    again = json.loads((folder / "runs" / "fit-lif-2" / "results.json").read_text())["cells"][0]
    assert again["parameters"] == results["parameters"]


def step_cell(path, tau=12.0, factor=1.0):
    """A recording of an LIF that four steps of current excite."""
    current = np.repeat([0.4, 1.6, 0.9, 1.4], 40)
    cell = simulate(LIF(tau_mem=tau, v_thresh=0.7), current, dt=0.5)
    path.parent.mkdir(exist_ok=True)
    np.savez(path, current=factor * current, dt=0.5, voltage=cell.voltage, spike_times=cell.spikes[0])


def command(*words, limit=None):
    """The command in a process of its own; limit: bytes that a file may have."""
    set_limit = None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return subprocess.Popen(
        [sys.executable, "-m", "genn_eventprop", "fit", "lif", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=set_limit,
    )  # fmt: skip


def wait_for(condition, process, seconds=240):
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.02)


COMPARED = ["--bounds", "tau_mem=4:40", "v_thresh=0.5:3", "--fixed", "v_reset=0", "lifrefractory.t_ref=1",
            "--starts", "1", "--no-progress"]  # fmt: skip


def cells_of(run):
    with (run / "cells.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("cells, processes", [("a", 1), pytest.param("ab", 2, marks=pytest.mark.ci)])
@pytest.mark.ci
def test_a_folder_of_cells_is_a_table_of_models(folder, capsys, cells, processes):
    """A line for each cell and model; a file that cannot be read is named, and so is an unknown parameter."""
    for name in cells:
        step_cell(folder / "all" / f"{name}.npz", {"a": 15.0, "b": 12.0}[name])
    fits = 2 * len(cells)
    (folder / "all" / "c.csv").write_text("time,current\n0,1\n")
    (folder / "all" / "notes.md").write_text("of the experiment")
    words = ["fit", "lif,lifrefractory", "all", *COMPARED, "--processes", str(processes)]
    assert main([*words, "--priors", "t_rf=2:1"]) == 1
    assert "priors: none of LIF, LIFRefractory has a parameter 't_rf'" in capsys.readouterr().err
    assert main(words) == 1
    assert (
        f"1 of {fits + 1} cells could not be fitted: c: all/c.csv has a sweep of 1 samples" in capsys.readouterr().err
    )
    run = folder / "runs" / "fit-lif-lifrefractory-1"
    rows = cells_of(run)
    expected = [(name, model) for name in cells for model in ("LIF", "LIFRefractory")]
    assert [(row["cell"], row["model"]) for row in rows] == [*expected, ("c", "")]
    assert rows[0]["verdict"] == "explains" and rows[-1]["verdict"] == "failed"
    assert [float(row["tau_mem (ms)"]) for row in rows[:fits:2]] == pytest.approx([15.0, 12.0][: len(cells)], rel=1e-3)
    assert rows[0]["t_ref (ms)"] == "" != rows[1]["t_ref (ms)"] and float(rows[0]["AIC"]) < float(rows[1]["AIC"])
    page = (run / "report.html").read_text()
    assert (
        "a: what models explain of the sweeps they were fitted to" in page and page.count("data:image/png") == 4 * fits
    )
    assert page.index("a, LIF: explains") < page.index("c was not fitted: all/c.csv has a") < page.index("Repeat with")
    # what is there is not fitted again, and a table that is lost is written again
    (run / "cells.csv").unlink()
    (run / "cells" / "1-2.npz").unlink()
    capsys.readouterr()
    assert main(words) == 1
    said = capsys.readouterr()
    assert said.err.count("was fitted before") == fits - 1 and said.out.count("starts found this minimum") == (
        processes == 1
    )
    again = [dict(row) for row in cells_of(run)]
    assert again == rows


def test_a_file_with_too_few_sweeps_does_not_end_the_others(folder, capsys):
    for name, sweeps in (("a", 3), ("b", 1), ("c", 3)):
        np.savez(folder / f"{name}.npz", current=np.ones((sweeps, 9)), dt=1.0, spike_times=[2.5], spike_sweeps=[0])
    settings = {"bounds": {}, "fixed": {}, "only": None, "priors": {}, "inject": None, "test_sweeps": [2]}
    reading = {"signals": (), "sweeps": (), "spikes_above": None, "current_step": None, "series_resistance": None,
               "junction_potential": None}  # fmt: skip

    def order(*files):
        return Order(("lif",), tuple(map(Path, files)), names_of([*map(Path, files)]), (), reading, settings)

    checked = order("a.npz", "b.npz", "c.npz").check()
    assert [job.name for job in checked.jobs] == ["a", "c"]
    assert checked.unread == {"b": "recording 'b' has the sweeps 0 to 0, not [2]"}
    assert "note: b is left out: recording 'b' has the sweeps" in capsys.readouterr().err
    with pytest.raises(DataError, match="recording 'b' has"):
        order("b.npz").check()
    with pytest.raises(DataError, match=r"there is no file d\.npz"):
        order("a.npz", "d.npz").check()


def test_a_process_ends_without_a_last_collection():
    """Which takes seconds on a busy machine, after all that was imported and derived; Ctrl-C shall act within two."""
    last = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 1000)); import genn_eventprop.cli"
    assert subprocess.run([sys.executable, "-c", last], capture_output=True, text=True, check=True).stdout == "True\n"


def test_folders_and_models_that_are_no_order_are_refused(folder, capsys):
    (folder / "empty").mkdir()
    for words, message in (
        (["lif", "empty"], "folder empty has no recordings: files with one of the suffixes .csv"),
        (["lif,LIF", "cell.csv"], "a model is named twice in lif,LIF"),
        (["lif", "cell.csv", "--processes", "0"], "processes must be an integer >= 1"),
    ):
        assert main(["fit", *words]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.ci
def test_a_killed_fit_goes_on(folder):
    """The first cell is safe when it ends; the same command fits the second. Both files are called cell.npz."""
    step_cell(folder / "a" / "cell.npz", 12.0)
    step_cell(folder / "b" / "cell.npz", 15.0)
    words = ("a/cell.npz", "b/cell.npz", *SMALL)
    first = command(*words)
    run = folder / "runs" / "fit-lif-1"
    wait_for((run / "cells" / "1.npz").exists, first)
    first.kill()
    first.communicate()
    assert not (run / "cells" / "2.npz").exists() and not (run / "report.html").exists()
    before = (run / "cells" / "1.npz").read_bytes()
    again = command(*words)
    out, error = again.communicate()
    assert again.returncode == 0 and b"a/cell was fitted before" in error and b"b/cell\n" in out, error
    assert (run / "cells" / "1.npz").read_bytes() == before and not (folder / "runs" / "fit-lif-2").exists()
    cells = json.loads((run / "results.json").read_text())["cells"]
    assert [c["recording"] for c in cells] == ["a/cell", "b/cell"]
    assert [c["parameters"]["tau_mem"]["value"] for c in cells] == pytest.approx([12.0, 15.0], rel=1e-3)
    assert len(list((run / "figures").iterdir())) == 8
    # it is finished now: by name it is refused, and other settings or data are another fit
    assert main(["fit", "lif", *words, "--run-dir", str(run)]) == 1
    step_cell(folder / "a" / "cell.npz", 13.0)
    (run / "report.html").unlink()
    assert main(["fit", "lif", *words, "--run-dir", str(run)]) == 1


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Terminated])
@pytest.mark.parametrize("stage", [1, 3, 5])
@pytest.mark.one_in(6)
def test_the_same_command_goes_on_after_the_last_stage(folder, capsys, monkeypatch, stop, stage):
    step_cell(folder / "a.npz")
    assert main(["fit", "lif", "a.npz", *SMALL, "--run-dir", "whole"]) == 0

    def stopped(at, path):
        save_stage(at, path)
        if at.number == stage:
            raise stop

    monkeypatch.setattr("genn_eventprop.cli.fit_cells.save_stage", stopped)
    words = ["fit", "lif", "a.npz", *SMALL, "--run-dir", "run"]
    assert main(words) == (143 if stop is Terminated else 130)
    run = folder / "run"
    best = json.loads((run / "results.json").read_text())["stopped"]["a"]
    assert best["coupling"] == [20.0, 5.0, 1.0, 0.2, 0.0][stage - 1]
    assert [p.name for p in (run / "cells").iterdir()] == ["1.stage.npz"]
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    capsys.readouterr()
    assert main(words) == 0
    assert f"a goes on after stage {stage}" in capsys.readouterr().err
    assert [p.name for p in (run / "cells").iterdir()] == ["1.npz"]
    whole, resumed = (json.loads((folder / r / "results.json").read_text())["cells"][0] for r in ("whole", "run"))
    assert {**whole, "seconds_fitting": 0} == {**resumed, "seconds_fitting": 0}


def test_a_second_ctrl_c_takes_nothing_from_the_message_of_the_first(folder, capsys, monkeypatch):
    step_cell(folder / "a.npz")

    def again(*_):
        raise KeyboardInterrupt

    def stopped(at, path):
        save_stage(at, path)
        monkeypatch.setattr("genn_eventprop.cli.fit.write_json", again)  # while the best so far is written
        raise KeyboardInterrupt

    monkeypatch.setattr("genn_eventprop.cli.fit_cells.save_stage", stopped)
    assert main(["fit", "lif", "a.npz", *SMALL, "--run-dir", "run"]) == 130
    message = capsys.readouterr().err
    assert "interrupted; fit of a stopped; best so far: tau_mem = " in message
    assert "the same command goes on in run" in message


@pytest.mark.ci
@pytest.mark.parametrize("stage", [2, 4])
def test_a_fit_of_adex_that_was_stopped_ends_with_the_same_bits(folder, capsys, monkeypatch, stage):
    current = np.repeat([0.0, 700.0, 500.0, 900.0, 300.0], 200)
    simulate(AdEx(), current, dt=0.1).save("a.npz")
    bounds = ["--only", "tau_w", "b", "--bounds", "tau_w=100:200", "b=40:120", "--starts", "2", "--no-progress"]

    def stopped(at, path):
        save_stage(at, path)
        if at.number == stage:
            raise KeyboardInterrupt

    assert main(["fit", "adex", "a.npz", *bounds, "--run-dir", "whole"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr("genn_eventprop.cli.fit_cells.save_stage", stopped)
        assert main(["fit", "adex", "a.npz", *bounds, "--run-dir", "run"]) == 130
    capsys.readouterr()
    assert main(["fit", "adex", "a.npz", *bounds, "--run-dir", "run"]) == 0
    assert f"a goes on after stage {stage}" in capsys.readouterr().err
    whole, resumed = (json.loads((folder / r / "results.json").read_text())["cells"][0] for r in ("whole", "run"))
    assert whole["parameters"]["b"]["value"] == pytest.approx(float(AdEx.params["b"].value), rel=1e-3)
    assert {**whole, "seconds_fitting": 0} == {**resumed, "seconds_fitting": 0}


@pytest.mark.ci
def test_a_stage_that_cannot_be_saved_or_read_is_a_note(folder, capsys, monkeypatch):
    step_cell(folder / "a.npz")

    def full(at, path):
        raise WriteError(f"{path} cannot be written")

    monkeypatch.setattr("genn_eventprop.cli.fit_cells.save_stage", full)
    (folder / "run" / "cells").mkdir(parents=True)
    assert main(["fit", "lif", "a.npz", *SMALL, "--run-dir", "other"]) == 0
    assert "1.stage.npz cannot be written; the fit goes on" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    (folder / "other" / "report.html").unlink()
    (folder / "other" / "cells" / "1.npz").unlink()
    (folder / "other" / "cells" / "1.stage.npz").write_bytes(b"PK no stage")
    assert main(["fit", "lif", "a.npz", *SMALL, "--run-dir", "other"]) == 0
    assert "a is fitted again" in capsys.readouterr().err


@pytest.mark.ci
def test_files_that_may_not_grow_lose_nothing(folder, capsys):
    step_cell(folder / "a.npz")
    words = ("a.npz", *SMALL, "--run-dir", "mine")
    assert main(["fit", "lif", *words[:-1], "other"]) == 0  # compiled, so that the limit meets our files alone
    limited = command(*words, limit=4000)
    out, error = limited.communicate()
    assert limited.returncode == 1 and b"tau_mem" in out and b"1.npz cannot be written (File too large)" in error
    capsys.readouterr()
    assert main(["fit", "lif", *words]) == 0
    assert "tau_mem" in capsys.readouterr().out and (folder / "mine" / "report.html").exists()


@pytest.mark.ci
def test_a_cell_that_cannot_be_fitted_leaves_the_others(folder, capsys):
    step_cell(folder / "huge.npz", factor=1e308)
    name = "$a_b " + "x" * 230
    step_cell(folder / f"{name}.npz")
    step_cell(folder / os.fsdecode(b"caf\xe9\n.npz"))
    words = ["huge.npz", f"{name}.npz", os.fsdecode(b"caf\xe9\n.npz"), *SMALL]
    for _ in range(2):  # the same command tries the one again
        assert main(["fit", "lif", *words]) == 1
        assert "1 of 3 cells could not be fitted: huge: " in capsys.readouterr().err
    assert sorted(p.name for p in (folder / "runs").iterdir()) == ["fit-lif-1"]
    results = json.loads((folder / "runs" / "fit-lif-1" / "results.json").read_text())
    assert list(results["failed"]) == ["huge"] and len(results["cells"]) == 2
    assert results["cells"][0]["recording"] == name and "caf" in results["cells"][1]["recording"]
    assert len(list((folder / "runs" / "fit-lif-1" / "figures").iterdir())) == 8
    assert "x" * 230 in (folder / "runs" / "fit-lif-1" / "report.html").read_text()


@pytest.mark.ci
@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_heard_and_the_best_so_far_kept(folder, number, status):
    step_cell(folder / "a.npz")
    process = command("a.npz", *SMALL[:-1], "--starts", "100", "--progress")
    said = b""

    def steps():
        nonlocal said
        said += os.read(process.stderr.fileno(), 4096)
        return b"loss" in said

    wait_for(steps, process)
    sent = time.monotonic()
    process.send_signal(number)
    _, error = process.communicate()
    heard = time.monotonic() - sent
    assert process.returncode == status and b"fit of a stopped; best so far: tau_mem = " in error, error
    assert heard < 10, "two seconds on a machine that is not loaded"
    stopped = json.loads((folder / "runs" / "fit-lif-1" / "results.json").read_text())["stopped"]["a"]
    assert 4 <= stopped["parameters"]["tau_mem"] <= 40 and stopped["loss"] > 0 and stopped["coupling"] >= 0


@pytest.mark.slow
def test_the_guide_tries_a_protocol(tmp_path, capsys):
    place = next(i for i, block in enumerate(blocks("docs/fit.md")) if "simulate(" in block.text)
    exec(compile(blocks("docs/fit.md")[place].text, "docs/fit.md", "exec"), {})
    assert "v_thresh is not determined by this recording" in capsys.readouterr().out.splitlines()[-1]
