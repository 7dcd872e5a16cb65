"""The campaign of benchmarks/ on a small scale: it runs, finds nothing, and would tell if it did."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from reliability import child, damage, disk, event_files, fits, networks, table  # noqa: E402


def campaign(tmp_path, *only):
    """A quick campaign: what it printed, and the page."""
    command = [sys.executable, str(BENCHMARKS / "campaign.py"), "--quick", "--out", str(tmp_path / "page.md"), "--only"]
    done = subprocess.run([*command, *only], capture_output=True, text=True, timeout=900, cwd=tmp_path)
    return done, (tmp_path / "page.md").read_text() if (tmp_path / "page.md").exists() else ""


@pytest.mark.ci
def test_the_quickest_parts_find_nothing(tmp_path):
    done, page = campaign(tmp_path, "conversion", "building")
    assert done.returncode == 0, done.stderr
    assert "0 faults in " in page and "| what was done | trials | how they ended | faults |" in done.stdout


@pytest.mark.slow
def test_the_quick_parts_find_nothing(tmp_path):
    done, page = campaign(tmp_path, "threads", "hostile", "fuzz")
    assert done.returncode == 0, done.stderr
    assert "0 faults in " in page and "| random configurations, event files, command lines | 60 |" in page
    assert "| two and eight threads on one model | 10 | 10 equal | 0 |" in page


@pytest.mark.slow
def test_all_parts_find_nothing(tmp_path):
    done, page = campaign(tmp_path, *("training", "disk", "run-files", "cache-files", "crowd"))
    assert done.returncode == 0, done.stderr
    assert page.count("\n| ") >= 5 and "0 faults in " in page


def test_faults_are_told_and_counted(tmp_path):
    part = table.Part("trials")
    part.count("equal")
    part.count("bare traceback", "case 7")
    page = table.page([part, table.Part("more", skipped="needs root")], "", 1)
    assert "1 faults in 2 trials." in page and "* trials: bare traceback: case 7" in page
    assert "| trials | 2 | 1 equal | 1 |" in page and "| more | - | skipped: needs root | - |" in page


def test_a_disk_is_full_at_every_page_or_at_some():
    assert disk.sizes(3 * disk.PAGE + 1, 0) == [disk.PAGE * n for n in (1, 2, 3, 4)]
    assert disk.sizes(100 * disk.PAGE, 3) == [disk.PAGE * n for n in (1, 50, 100)]


@pytest.mark.parametrize(
    ("work", "fault"),
    [
        (lambda: 0, ""),
        (lambda: 1, ""),
        (lambda: 1 // 0, "bare traceback"),
        (lambda: os.kill(os.getpid(), signal.SIGTRAP) or 0, "crash by signal 5"),
        (lambda: time.sleep(60) or 0, "hang"),
    ],
)
def test_what_happens_to_a_child_is_seen(tmp_path, work, fault):
    assert child.run(work, tmp_path, tmp_path / "log", limit=1.5).fault == fault


def test_damage_is_of_the_places_asked_for():
    content = bytes(range(200))
    found = list(damage.damaged(content, 10, np.random.default_rng(0)))
    assert len(found) == 20 and all(changed != content for _, changed in found)
    assert {len(changed) for _, changed in found[:10]} >= {0, 199}


def test_random_event_files_that_are_whole_are_right(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENN_EVENTPROP_DATA_CACHE", str(tmp_path / "data"))
    monkeypatch.setattr(event_files, "DAMAGES", (event_files._nothing,))
    for seed in range(6):
        place = tmp_path / str(seed)
        place.mkdir()
        monkeypatch.chdir(place)
        assert event_files.event_file(np.random.default_rng(seed))[0] == "right"


@pytest.mark.ci
def test_random_networks_are_counted_by_how_they_ended(tmp_path):
    part = networks._drawn(table.Part("networks"), ((), ("--also", "modes")), 5, tmp_path, 1)
    assert part.ended.total() == 5 and part.ended["right"] >= 2 and not part.faults


def test_a_wrong_network_and_a_script_that_breaks_off_are_faults(tmp_path, monkeypatch):
    row = {"number": [3, 0], "kind": "wrong", "verdicts": [{"engine": "native", "kind": "wrong", "reason": "loss"}]}
    script = tmp_path / "script.py"
    script.write_text(f"import sys; open(sys.argv[-1], 'w').write({json.dumps(row)!r}); sys.exit(1)")
    monkeypatch.setattr(networks, "SCRIPT", script)
    part = networks._drawn(table.Part("networks"), (("--also", "births"),), 1, tmp_path, 7)
    assert part.faults == ["networks: wrong result: --also births --seed 7 --only 3: native: loss"]
    script.write_text("raise KeyError('here')")
    part = networks._drawn(table.Part("networks"), ((),), 2, tmp_path / "none", 7)
    assert len(part.faults) == 1 and "status 1" in part.faults[0] and "KeyError: 'here'" in part.faults[0]


@pytest.mark.parametrize("end", ["right", "doubted", "wrong result", "bare traceback"])
@pytest.mark.one_in(4)
def test_a_fit_that_is_sure_of_something_else_is_a_fault(tmp_path, monkeypatch, end):
    """Cell 24 as it is drawn and runs; its fit is made up."""
    doubts = ["tau is not determined"] if end == "doubted" else []
    free, verdict = SimpleNamespace(missing=0, surplus=0), SimpleNamespace(little=False)
    result = SimpleNamespace(free=free, verdict=verdict, doubts=lambda: doubts)
    monkeypatch.setattr(fits, "fitted", lambda *_: 1 / 0 if end == "bare traceback" else result)
    monkeypatch.setattr(fits, "finds", lambda *_: end == "right")
    part = fits.fits(1, tmp_path, 1)
    assert dict(part.ended) == {end: 1} and len(part.faults) == (end in ("wrong result", "bare traceback"))
