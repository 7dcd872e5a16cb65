"""The code cache loads the user's own whole files and nothing else; what a machine without a compiler does."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from genn_eventprop import Dense, Network, Normal, engines
from genn_eventprop.data import Events
from genn_eventprop.errors import ToolchainError
from genn_eventprop.losses import MaxVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.toolchain import Cache, build, load
from genn_eventprop.toolchain import compiler as compilers
from support.compiled import as_in_a_new_process
from support.sweeps import sweep

SOURCE = 'extern "C" int answer() { return 42; }\n'
FOREIGN = """
#include <cstdlib>
struct Runs { Runs() { std::exit(77); } } runs;
extern "C" int answer() { return 13; }
"""
ASK = f"from genn_eventprop.toolchain import build; print(build({SOURCE!r}).answer())"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache of this test, and nothing loaded before."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("GENN_EVENTPROP_CACHE", str(cache))
    as_in_a_new_process(monkeypatch)
    return cache


def ask():
    """`build` in a process of its own: it may die."""
    return subprocess.run([sys.executable, "-P", "-c", ASK], capture_output=True, text=True, timeout=120)


def library(folder):
    (found,) = folder.glob("*.so")
    return found


def replace(path, content):
    """Other content under the name; not into the file itself, which this process has loaded."""
    path.unlink()
    path.write_bytes(content)


@pytest.mark.parametrize("size", sweep([0, 1, 1000, 5000, -1], [0, 1000]))
def test_a_truncated_library_is_built_anew(folder, size):
    assert build(SOURCE).answer() == 42
    whole = library(folder).read_bytes()
    replace(library(folder), whole[:size])
    done = ask()
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    assert re.search(f"note: the cached library .* has {len(whole[:size])} bytes instead of {len(whole)}", done.stderr)
    assert library(folder).stat().st_size >= len(whole) - 100


def test_a_flipped_bit_is_found(folder):
    assert build(SOURCE).answer() == 42
    content = bytearray(library(folder).read_bytes())
    content[len(content) // 2] ^= 4
    replace(library(folder), content)
    done = ask()
    assert done.stdout == "42\n" and "is damaged: its contents do not match its checksum" in done.stderr


def test_what_others_can_write_is_not_loaded(folder, tmp_path):
    """As in the report: a foreign file of mode 0666 whose constructor would run."""
    assert build(SOURCE).answer() == 42
    target = library(folder)
    (tmp_path / "foreign.cpp").write_text(FOREIGN)
    compilers.find_compiler().compile(tmp_path / "foreign.cpp", tmp_path / "foreign.so")
    replace(target, (tmp_path / "foreign.so").read_bytes())
    target.chmod(0o666)
    done = ask()
    assert done.stdout == "42\n" and "can be written by others; it is not used" in done.stderr
    replace(library(folder), (tmp_path / "foreign.so").read_bytes())
    assert ask().stdout == "42\n", "a whole foreign library under this name must not run either"


def test_links_and_files_of_others_are_not_loaded(folder, tmp_path, monkeypatch, capsys):
    build(SOURCE)
    cache, path = Cache(), library(folder)
    key = path.stem.split("-")[0]
    assert cache.hit(key) == path
    if os.getuid() == 0:
        os.chown(path, 12345, 12345)
        assert cache.hit(key) is None and "belongs to another user" in capsys.readouterr().err
        as_in_a_new_process(monkeypatch)
        build(SOURCE)
        path = library(folder)
    os.rename(path, tmp_path / "moved.so")
    path.symlink_to(tmp_path / "moved.so")
    assert cache.hit(key) is None and "is a link" in capsys.readouterr().err
    assert not path.is_symlink() and (tmp_path / "moved.so").exists()
    os.mkfifo(path)
    assert cache.hit(key) is None and "is not a file" in capsys.readouterr().err


def test_a_link_that_another_user_made_to_the_folder_is_refused(tmp_path):
    if os.getuid() != 0:
        pytest.skip("giving a link to another user needs root")
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert Cache(tmp_path / "link").folder == tmp_path / "link"
    os.lchown(tmp_path / "link", 12345, 12345)
    with pytest.raises(ToolchainError, match="belongs to another user and is not trusted"):
        Cache(tmp_path / "link")


def small_plan(spike_times="exact", dt=1.0):
    net = Network()
    inp, hidden = net.input(3), net.population(LIF(), 4, name="hidden")
    output = net.population(LI(), 2, name="output")
    net.connect(inp, hidden, Dense(Normal(0.5, 0.1)))
    net.connect(hidden, output, Dense(Normal(0.5, 0.1)))
    return make_plan(net, MaxVoltageCrossEntropy(output), dt=dt, duration=20.0, spike_times=spike_times)


def no_compiler(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: None)


def loss_of_one_trial(plan):
    engine = engines.create(plan, plan.network.initial_parameters(1), dtype="float64")
    events = Events.from_samples([([1.0, 2.0], [0, 1])], 3, labels=[1])
    return engine, engine.run(engine.load(events), [0], training=True).loss


@pytest.mark.ci
def test_without_a_compiler_what_another_machine_built_is_used(folder, tmp_path, monkeypatch):
    plan = small_plan()
    before = loss_of_one_trial(plan)[1]
    no_compiler(tmp_path, monkeypatch)
    as_in_a_new_process(monkeypatch)
    engine, loss = loss_of_one_trial(plan)
    np.testing.assert_array_equal(loss, before)
    assert engine.name == "native" and "compiled on another machine" in engine.reason
    monkeypatch.setattr(load, "cpu_features", lambda: "another processor")
    as_in_a_new_process(monkeypatch)
    with pytest.raises(ToolchainError, match=r"no C\+\+ compiler"):
        loss_of_one_trial(plan)


@pytest.mark.parametrize("spike_times", ["exact", "grid"])
def test_without_a_compiler_and_a_cache_it_is_an_error_at_once(folder, tmp_path, monkeypatch, spike_times):
    no_compiler(tmp_path, monkeypatch)
    plan = small_plan(spike_times)
    with pytest.raises(
        ToolchainError, match=r"install one .*genn_eventprop\[compiler\].*with a compiler and the same kind"
    ):
        engines.create(plan, plan.network.initial_parameters(1))
    slow = "reference_event" if spike_times == "exact" else "reference_clock"
    assert engines.create(plan, plan.network.initial_parameters(1), engine=slow).name == slow
