"""Training on several ranks, with a real mpiexec: the bits of one rank, one writer, and what ends all of them."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop.cli import main
from genn_eventprop.distributed import engine as distributed_engine
from genn_eventprop.distributed import launched, ranks_of, world
from genn_eventprop.engines import Data
from genn_eventprop.errors import SettingError
from genn_eventprop.runs import load_checkpoint
from genn_eventprop.training.batches import embed_share
from support.extras import REASON, needs
from support.on_genn import BACKEND

MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def mpi():
    if MPIEXEC is None:
        pytest.skip(f"{REASON} [mpi], and mpiexec")
    needs("mpi4py")


needs_mpi = pytest.mark.usefixtures("mpi")

EXPERIMENT = """
import os, time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.data.augment import Jitter, Shift
from genn_eventprop.data.augment.augmented import Augmented, Blend
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import Adam, HalveOnPlateau
from genn_eventprop.regularisers import SpikeCount
from genn_eventprop.experiment import Experiment, ExperimentConfig
from genn_eventprop.training import Callback, EarlyStopping, Revive

RANK = int(os.environ.get("PMI_RANK", 0))

@dataclass(frozen=True)
class Config(ExperimentConfig):
    epochs: int = 3
    batch_size: int = 24
    spike_times: str = "grid"
    trouble: str = ""
    augmented: bool = False

class Trouble(Callback):
    checkpointed = False

    def __init__(self, kind):
        self.kind = kind

    def end_batch(self, trainer, epoch, batch, statistics):
        if (epoch, batch) == (1, 1):
            Path(f"pid{RANK}.tmp").write_text(str(os.getpid()))
            os.rename(f"pid{RANK}.tmp", f"pid{RANK}.txt")
        if self.kind == "slow":
            time.sleep(0.05)
        if self.kind == "raise" and (epoch, batch) == (1, 1) and RANK == 1:
            raise ValueError("the second rank has had enough")

def build(config):
    net = Network()
    inp, hidden = net.input(6), net.population(LIF(tau_mem=10.0), 8, name="hidden")
    out = net.population(LIF(), 2, name="output")
    net.connect(inp, hidden, Dense(Normal(2.0, 0.8)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.2)))
    net.connect(hidden, out, Dense(Normal(1.2, 0.4)))
    if config.trouble == "wrong" and RANK == 1:
        raise ValueError("no such data")
    trainer = Trainer(
        net, FirstSpikeCrossEntropy(out), duration=20.0, dt=1.0, engine=config.engine, batch_size=config.batch_size,
        spike_times=config.spike_times, threads=config.threads,
        seed=config.seed + RANK * (config.trouble == "seed"),
        optimiser=Adam(1e-2, average=0.9), schedule=HalveOnPlateau(), class_weights="balanced",
        regularisers=[SpikeCount(hidden, 2.0, 1e-3, mean="batch")],
        callbacks=[Trouble(config.trouble), Revive(), EarlyStopping(50)],
    )
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 110)
    samples = [(np.sort(rng.uniform(0, 12, 6)), (rng.integers(0, 3, 6) + 3 * y) % 6) for y in labels]
    events = Events.from_samples(samples, 6, labels)
    train = events[:75]
    if config.augmented:
        train = Augmented(train, [Shift(1), Jitter(0.5)], Blend((0.5, 0.5), 1.5), seed=config.seed)
    return Experiment(trainer, train, events[75:92], events[92:])
"""

SCRIPT = """
import os, zlib
import numpy as np
from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models.lif import LIF
from genn_eventprop.distributed import engine

communicator, engine.PIECE = None, 5  # the gradient of 64 numbers in many pieces
if "PMI_SIZE" in os.environ:
    from mpi4py import MPI
    communicator = MPI.COMM_WORLD
net = Network()
inp, out = net.input(4), net.population(LIF(), 2, name="output")
net.connect(inp, out, Dense(Normal(1.5, 0.5)))
rng = np.random.default_rng(0)
labels = rng.integers(0, 2, 50)
events = Events.from_samples([(np.sort(rng.uniform(0, 12, 5)), rng.integers(0, 4, 5)) for _ in labels], 4, labels)
trainer = Trainer(net, FirstSpikeCrossEntropy(out), duration=20.0, dt=1.0, batch_size=20, progress=False,
                  engine="native", communicator=communicator)
results = trainer.fit(events[:40], events[40:], epochs=2)
found = trainer.predict(events), trainer.engine.parameters["input_output.weight"]
print(f"{zlib.crc32(b''.join(a.tobytes() for a in found)):08x}\\n", end="", flush=True)
"""


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("page.py").write_text(EXPERIMENT)
    return "page.py"


def ranks(n, *arguments):
    command = [MPIEXEC, "-n", str(n), sys.executable, "-m", "genn_eventprop", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def same_run(a, b):
    """Weights, moments, best weights, and every number of every epoch but the time."""
    one, other = (load_checkpoint(Path(run) / "checkpoints" / "last.safetensors") for run in (a, b))
    assert set(one.arrays) == set(other.arrays)
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(other.arrays[name], array, err_msg=f"{name} of {b}")
    lines = []
    for run in (a, b):
        lines.append([json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()])
        for line in lines[-1]:
            for name in ("seconds", "ranks", "sha256"):
                line.pop(name, None)
    assert lines[0] == lines[1]
    results = [json.loads((Path(run) / "results.json").read_text()) for run in (a, b)]
    of_time = {"seconds_training", "sha256"}
    assert {k: v for k, v in results[0].items() if k not in of_time} == {
        k: v for k, v in results[1].items() if k not in of_time
    }


@needs_mpi
@pytest.mark.parametrize(
    "options, shares",
    [
        (("--augmented",), [(4, 1)]),
        pytest.param(("--augmented",), [(2, 1), (3, 2)], marks=pytest.mark.ci),
        pytest.param(("--spike-times", "exact"), [(2, 1), (3, 2), (4, 1)], marks=pytest.mark.slow),
    ],
    ids=["grid", "grid, fewer", "exact"],
)
def test_any_number_of_ranks_and_threads_gives_the_bits_of_one(page, options, shares):
    """75 samples in batches of 24: the last batch has 3, fewer than ranks; class weights, batch means, blends.

    By default with threads too: `test_a_checkpoint_goes_on_with_another_number_of_ranks`.
    """
    command = ["train", page, *options]
    assert main([*command, "--threads", "2", "--run-dir", "one"]) == 0
    for n, threads in shares:
        done = ranks(n, *command, "--threads", str(threads), "--run-dir", f"ranks{n}")
        assert done.returncode == 0, done.stderr
        same_run("one", f"ranks{n}")
    assert json.loads(Path(f"ranks{n}/metrics.jsonl").read_text().splitlines()[0])["ranks"] == n
    assert done.stdout.count("test accuracy, last epoch") == 1  # one rank speaks
    assert (
        done.stderr.count("epoch 3/3") == 1 and f"; {n} ranks" in done.stderr and f"on each of {n} ranks" in done.stderr
    )
    assert f"note: 1 of {n} ranks stay idle" not in done.stderr


@needs_mpi
@pytest.mark.needs_genn
def test_genn_trains_on_ranks_too(page):
    """Its sums have no fixed tree: the last bits depend on the number of ranks, the numbers of an epoch do not."""
    options = ["train", page, "--engine", f"genn(backend={BACKEND})", "--epochs", "1"]
    assert main([*options, "--run-dir", "one"]) == 0
    done = ranks(2, *options, "--run-dir", "two")
    assert done.returncode == 0, done.stderr
    one, two = (json.loads(Path(run, "metrics.jsonl").read_text().splitlines()[0]) for run in ("one", "two"))
    assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)
    assert (two["train_accuracy"], two["spikes_per_neuron"]) == (one["train_accuracy"], one["spikes_per_neuron"])


@needs_mpi
def test_a_checkpoint_goes_on_with_another_number_of_ranks(page):
    assert main(["train", page, "--run-dir", "one"]) == 0
    assert ranks(3, "train", page, "--threads", "2", "--epochs", "1", "--run-dir", "other").returncode == 0
    done = ranks(2, "resume", "other", "--page", page, "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert main(["resume", "other", "--page", page, "--epochs", "3"]) == 0
    same_run("one", "other")


@pytest.mark.ci
@needs_mpi
def test_a_raising_rank_ends_all_with_a_checkpoint(page):
    began = time.monotonic()
    done = ranks(3, "train", page, "--trouble", "raise", "--run-dir", "run")
    assert done.returncode != 0 and time.monotonic() - began < 60
    message = "rank 1 of 3: ValueError: the second rank has had enough. The run stopped before epoch 2, batch 3"
    assert message in done.stderr and done.stderr.count("has had enough") <= 3  # two are the traceback of rank 1
    assert load_checkpoint("run/checkpoints/last.safetensors").info["position"]["updates"] == 6
    assert main(["resume", "run", "--page", page]) == 0  # not the second rank
    assert main(["train", page, "--run-dir", "one"]) == 0
    same_run("one", "run")


@needs_mpi
@pytest.mark.parametrize("trouble, message", [
    ("wrong", "rank 1 of 2: ValueError: no such data"),
    pytest.param("seed", "rank 1 was given a different trainer than rank 0", marks=pytest.mark.ci),
])  # fmt: skip
def test_ranks_that_do_not_fit_together_end_before_training(page, trouble, message):
    done = ranks(2, "train", page, "--trouble", trouble, "--run-dir", "run")
    assert done.returncode != 0 and message in done.stderr and not Path("run/metrics.jsonl").exists()


def start_slow(n, patience="3"):
    command = [MPIEXEC, "-n", str(n), sys.executable, "-m", "genn_eventprop", "train", "page.py"]
    process = subprocess.Popen(
        [*command, "--trouble", "slow", "--epochs", "500", "--run-dir", "run"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "GENN_EVENTPROP_PATIENCE": patience},
    )  # fmt: skip
    files = [Path(f"pid{rank}.txt") for rank in range(n)]
    deadline = time.monotonic() + 60
    while not all(f.exists() for f in files):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return process, [int(f.read_text()) for f in files]


@needs_mpi
def test_kill_9_of_a_rank_ends_all_and_leaves_a_checkpoint(page):
    process, pids = start_slow(3)
    began = time.monotonic()
    os.kill(pids[2], signal.SIGKILL)
    error = process.communicate(timeout=30)[0]
    assert process.returncode != 0 and time.monotonic() - began < 20
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()] and "signal 9" in error
    assert load_checkpoint("run/checkpoints/last.safetensors").info["position"]["epoch"] >= 1
    assert main(["resume", "run", "--page", page, "--epochs", "3"]) == 0


@pytest.mark.ci
@needs_mpi
def test_sigterm_ends_all_ranks_after_the_same_batch(page):
    process, _ = start_slow(2)
    process.terminate()  # mpiexec, which hands it on
    error = process.communicate(timeout=60)[0]
    assert process.returncode == 143 and "continue with: mpiexec -n 2 genn-eventprop resume run --page" in error
    assert "did not respond" not in error and "BAD TERMINATION" not in error
    done = load_checkpoint("run/checkpoints/last.safetensors").info["position"]["updates"]
    assert done >= 4 and main(["resume", "run", "--page", page, "--epochs", "3"]) == 0


@needs_mpi
@pytest.mark.ci
def test_sigterm_to_one_rank_is_told_as_what_it_is(page):
    process, pids = start_slow(2)
    os.kill(pids[1], signal.SIGTERM)  # the first rank, which speaks, receives nothing itself
    error = process.communicate(timeout=60)[0]
    assert process.returncode == 143 and "interrupted" not in error
    assert "genn-eventprop: terminated; continue with: mpiexec -n 2 genn-eventprop resume run --page" in error


@needs_mpi
@pytest.mark.ci
def test_a_hanging_rank_is_named_and_all_end(page):
    process, pids = start_slow(3)
    os.kill(pids[1], signal.SIGSTOP)
    try:
        began = time.monotonic()
        error = process.communicate(timeout=60)[0]
        assert time.monotonic() - began < 40
    finally:
        if Path(f"/proc/{pids[1]}").exists():
            os.kill(pids[1], signal.SIGKILL)
    assert process.returncode != 0
    assert "rank 1 of 3 did not respond for" in error and "The run stopped before epoch" in error
    assert load_checkpoint("run/checkpoints/last.safetensors").info["position"]["epoch"] >= 1
    assert "continue it from run" in error


@needs_mpi
def test_a_communicator_changes_no_result(tmp_path, monkeypatch, capsys):
    """`Trainer(communicator=)`: the same weights and predictions on every rank, and those of one process."""
    monkeypatch.chdir(tmp_path)
    Path("script.py").write_text(SCRIPT)
    monkeypatch.setattr(distributed_engine, "PIECE", distributed_engine.PIECE)  # which the script sets
    runpy.run_path("script.py")
    alone = capsys.readouterr().out
    done = subprocess.run(
        [MPIEXEC, "-n", "3", sys.executable, "script.py"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert len(lines) == 3 and set(lines) == set(alone.split()) != set()


def test_what_other_ranks_run_is_left_out_of_a_batch():
    data = Data(np.arange(3), None, np.arange(3), np.array([0, 1, 3]), np.zeros(2), 0, np.ones((2, 4)))
    whole = embed_share(data, slice(1, 3), np.array([5, 6, 7, 8]))
    assert whole.offsets.tolist() == [0, 0, 1, 3, 3] and whole.labels.tolist() == [5, 6, 7, 8]
    assert np.isnan(whole.targets[[0, 3]]).all() and (whole.targets[1:3] == 1).all()


@pytest.mark.needs_slurm
def test_the_script_of_the_docs_runs_in_the_queue(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
    script = text.split("<!-- script: mpi -->\n```sh\n")[1].split("```")[0]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["sbatch", "--wait", "-o", "out.txt"]
    done = subprocess.run(command, input=script, text=True, env={**os.environ, "PATH": path}, timeout=300)
    print(Path("out.txt").read_text())
    assert done.returncode == 0
    assert json.loads(Path("runs/mpi/metrics.jsonl").read_text().splitlines()[1])["ranks"] == 2


def test_scans_and_repeats_are_not_for_mpiexec(page, monkeypatch, capsys):
    monkeypatch.setenv("PMI_SIZE", "2")
    Path("scan.toml").write_text('experiment = "page.py"\n')
    for rank in (0, 1):
        monkeypatch.setenv("PMI_RANK", str(rank))
        assert main(["train", page, "--seeds", "1-2"]) == 1
        assert main(["scan", "scan.toml"]) == 1
    error = capsys.readouterr().err  # of the first rank alone
    assert error.count("with mpiexec, all ranks train a single run") == error.count("run it without mpiexec") == 1


def test_without_mpi4py_the_command_to_install_it_is_told(page, monkeypatch, capsys):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    world.cache_clear()
    try:
        assert main(["train", page]) == 1
    finally:
        world.cache_clear()
    error = capsys.readouterr().err
    assert "mpiexec started 2 processes, but training on several ranks needs mpi4py" in error
    assert 'pip install "genn_eventprop[mpi]" mpich' in error


def test_who_launched_this_is_read_from_the_environment(monkeypatch):
    for name in ("PMI_SIZE", "PMI_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    assert launched() == (0, 1)
    monkeypatch.setenv("SLURM_NTASKS", "4")  # an allocation of four, but no MPI
    assert launched() == (0, 1)
    monkeypatch.setenv("PMIX_RANK", "3")
    assert launched() == (3, 4)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    assert launched() == (1, 2)


def test_what_is_no_communicator_is_refused():
    with pytest.raises(SettingError, match=r"communicator must come from mpi4py, e.g. MPI.COMM_WORLD, got 4"):
        ranks_of(4)
