"""``infer``: from a file of spikes to a folder with connections."""

from __future__ import annotations

import json

import numpy as np
import pytest

from genn_eventprop.cli import main
from genn_eventprop.fitting import infer


@pytest.mark.ci
def test_a_simulated_network_is_found(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["infer", "--quick", "--no-progress"]) == 0
    printed = capsys.readouterr().out
    assert "7 of 7 connections of the simulated network are found, 0 that it does not have" in printed
    folder = tmp_path / "runs" / "infer-1"
    assert str(folder.relative_to(tmp_path) / "report.html") in printed
    with np.load(folder / "connections.npz") as saved:
        weights, connected = saved["weights"], saved["connected"]
    lines = (folder / "connections.csv").read_text().splitlines()
    assert len(lines) == 1 + 6 * 5
    assert sum(int(line.split(",")[6]) for line in lines[1:]) == connected.sum() == 7
    source, target, weight = lines[1].split(",")[:3]
    assert weights[int(source), int(target)] == pytest.approx(float(weight), rel=1e-4)
    assert len((folder / "neurons.csv").read_text().splitlines()) == 7
    assert json.loads((folder / "results.json").read_text())["connections"] == 7
    assert "strongest of 7 connections" in (folder / "report.html").read_text()
    assert (folder / "figures" / "connections.png").is_file()


def test_a_file_of_spikes_in_seconds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "\n".join(f"{0.02 * k:.3f},{k % 3}" for k in range(1, 100))
    (tmp_path / "spikes.csv").write_text(f"time,neuron\n{rows}\n")
    assert (
        main(["infer", "spikes.csv", "--unit", "s", "--fixed", "tau_mem=10", "--run-dir", "out", "--no-progress"]) == 0
    )
    assert "3 neurons, 96 spikes" in capsys.readouterr().out
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["fixed"] == {"tau_mem": 10.0}
    assert main(["infer", "spikes.csv", "--run-dir", "out", "--no-progress"]) == 1
    assert "run folder out exists and is not empty" in capsys.readouterr().err


@pytest.mark.ci
def test_what_was_stopped_goes_on_after_the_neurons_that_are_done(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "\n".join(f"{20.0 * k + k % 7},{k % 3}" for k in range(1, 100))
    (tmp_path / "spikes.csv").write_text(f"time,neuron\n{rows}\n")
    command = ["infer", "spikes.csv", "--no-progress"]
    assert main([*command, "--run-dir", "whole"]) == 0
    fit, done = infer._Problem.fit, []

    def stopped(problem, others):
        done.append(others.tolist())
        if len(done) == 3:
            raise KeyboardInterrupt
        return fit(problem, others)

    monkeypatch.setattr(infer._Problem, "fit", stopped)
    assert main(command) == 130
    assert "the same command goes on in runs/infer-1" in " ".join(capsys.readouterr().err.split())
    assert main([*command, "--max-delay", "5", "--run-dir", "runs/infer-1"]) == 1  # another question
    file = tmp_path / "runs" / "infer-1" / "neurons" / "0.npz"
    saved = file.read_bytes()
    np.savez(file, weights=1.0)
    assert main(command) == 1 and "0.npz is no neuron of infer" in capsys.readouterr().err
    file.write_bytes(saved)
    assert main(command) == 0
    assert "runs/infer-1: goes on after 2 neurons" in capsys.readouterr().err
    assert done == [[1, 2], [0, 2], [0, 1], [0, 1]]
    with np.load("whole/connections.npz") as whole, np.load("runs/infer-1/connections.npz") as resumed:
        for name in whole:
            np.testing.assert_array_equal(resumed[name], whole[name])
    assert not (tmp_path / "runs" / "infer-1" / "neurons").exists()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "name a file of spikes"),
        (["spikes.csv", "--quick"], 2, "without one"),
        (["none.csv"], 1, "none.csv"),
        (["spikes.csv", "--fixed", "tau=3"], 1, "LIF has no parameter 'tau'"),
        (["spikes.csv", "--model", "AdEx"], 1, "AdEx is not linear"),
        (["--quick", "--model", "ALIF"], 1, "simulates LIF neurons"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(words, status, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spikes.csv").write_text("time,neuron\n1,0\n2,1\n")
    assert main(["infer", *words]) == status
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()
