"""``export RUN model.c``, and streams of trained models."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import genn_eventprop
from genn_eventprop import Dense, Events, Network, Normal, Trainer, losses
from genn_eventprop.cli import main
from genn_eventprop.deploy.c_file import on_the_grid
from genn_eventprop.deploy.integer import IntegerModel
from genn_eventprop.integer import Profile
from genn_eventprop.models.lif import LIF


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deploy") / "run"
    assert main(["train", "loss_shaping_toy", "--quick", "--epochs", "2", "--run-dir", str(folder)]) == 0
    return folder


@pytest.mark.ci
def test_a_run_becomes_a_c_file(run, tmp_path, capsys):
    out = tmp_path / "model.c"
    capsys.readouterr()
    assert main(["export", str(run), str(out), "--bits", "16"]) == 0
    said = capsys.readouterr().out
    for part in (
        "steps of 1 ms",
        "state 1,",
        "operations per step",
        "input_hidden",
        "not in the file, apply beforehand: Crop",
    ):
        assert part in said
    text = out.read_text()
    assert "int16_t c0_weight" in text and "int model_step(const int *spikes, int count)" in text
    assert main(["export", str(run), str(out)]) == 1
    assert "exists; give another name, or --overwrite" in capsys.readouterr().err
    assert main(["export", str(run), str(tmp_path / "w.npz"), "--bits", "8"]) == 1
    assert "are for C files" in capsys.readouterr().err


def test_what_fewer_bits_cost_is_measured(run, tmp_path, capsys):
    model = genn_eventprop.load(run)
    rng = np.random.default_rng(1)
    samples = [(np.sort(rng.uniform(0, 300, 900)), rng.integers(0, model.n_channels, 900)) for _ in range(4)]
    events = genn_eventprop.Events.from_samples(samples, model.n_channels, labels=[0, 1, 2, 3])
    want = model.predict(events)
    assert (want >= 0).all()
    np.savez(
        tmp_path / "samples.npz", times=events.times, channels=events.channels, offsets=events.offsets, labels=want,
        n_channels=model.n_channels,
    )  # fmt: skip
    capsys.readouterr()
    files = ["--measure", str(tmp_path / "samples.npz")]
    assert main(["export", str(run), str(tmp_path / "a.c"), "--bits", "8", "--dt", "2", *files]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "same class" in line]
    assert len(lines) == 3 and "accuracy 100.00 % of 4 samples" in lines[0]
    assert lines[1].strip().startswith("grid of 2 ms") and lines[2].strip().startswith("weights of 8 bits")


def test_a_stream_says_what_predict_says(run):
    model = genn_eventprop.load(run, engine="c99")
    rng = np.random.default_rng(2)
    times, channels = np.sort(rng.uniform(0, 390, 80)), rng.integers(0, model.plan.input.size, 80)
    want = model.outputs([(times, channels)], prepared=True)
    stream = model.stream()
    for start in range(0, 400, 50):
        here = (times > start) & (times <= start + 50)
        moment = stream.push((times[here], channels[here]), start + 50.0)
    np.testing.assert_array_equal(moment.readout, want.readout[0])
    assert moment.prediction == want.classes[0]
    model.close()


def test_exact_spike_times_go_on_a_grid(tmp_path, capsys):
    folder = tmp_path / "run"
    net = Network()
    hidden, output = net.population(LIF(), 3, name="hidden"), net.population(LIF(), 2, name="output")
    net.connect(net.input(2), hidden, Dense(Normal(3.0, 1.0)))
    net.connect(hidden, output, Dense(Normal(2.0, 1.0)))
    trainer = Trainer(
        net, losses.FirstSpikeCrossEntropy(output), duration=20.0, dt=1.0, spike_times="exact",
        engine="reference_event", run_dir=folder, progress=False,
    )  # fmt: skip
    trainer.fit(Events.from_samples([([1.0, 3.0], [0, 1]), ([2.0], [1])], 2, labels=[0, 1]), epochs=1)
    assert main(["export", str(folder), str(tmp_path / "model.c"), "--dt", "0.2"]) == 0
    said = capsys.readouterr().out
    assert "steps of 0.2 ms" in said and "grid of 0.2 ms" in said and "of 2" in said


SAY = """
#include <stdio.h>
int main(void) {
    int samples, steps, count, spikes[64];
    double readout[3];
    if (scanf("%d %d", &samples, &steps) != 2) return 1;
    for (int s = 0; s < samples; ++s) {
        model_reset();
        for (int k = 0; k < steps; ++k) {
            if (scanf("%d", &count) != 1) return 1;
            for (int i = 0; i < count; ++i)
                if (scanf("%d", &spikes[i]) != 1) return 1;
            if (model_step(spikes, count)) return 2;
        }
        printf("%d", model_readout(readout));
        printf(" %.9g %.9g %.9g\\n", readout[0], readout[1], readout[2]);
    }
    return 0;
}
"""


@pytest.mark.ci
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_the_run_of_the_readme_becomes_a_c_file_that_says_what_predict_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENN_EVENTPROP_CXXFLAGS", "-O2")  # runs more than it compiles
    assert main(["train", "yin_yang", "--quick", "--epochs", "3", "--run-dir", "run"]) == 0
    capsys.readouterr()
    assert main(["export", "run", "model.c"]) == 0
    said = capsys.readouterr().out
    assert "steps of 0.1 ms" in said and "on the held-out samples in the run folder:" in said
    Path("say.c").write_text('#include "model.c"\n' + SAY)
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2"]
    subprocess.run(["gcc", *flags, "say.c", "-o", "say", "-lm"], check=True)
    samples, model = Events.load("run/samples.npz"), genn_eventprop.load("run")
    steps = round(model.plan.duration / 0.1)
    words = [str(len(samples)), str(steps)]
    for s in range(len(samples)):
        times, channels = samples.sample(s)
        at = np.floor(times / 0.1 + 0.5).astype(int)
        of_step = ["0"] * steps
        for k in np.unique(at[at < steps]):
            now = channels[at == k]
            of_step[k] = " ".join(map(str, [len(now), *now]))
        words += of_step
    done = subprocess.run(["./say"], input=" ".join(words), capture_output=True, text=True, check=True)
    told = np.array([line.split() for line in done.stdout.splitlines()], float)
    same = told[:, 0] == model.predict(samples, prepared=True)
    assert f"same class as the run in {100 * same.mean():.2f} % of {len(samples)}" in said.splitlines()[-1]
    assert same.mean() > 0.97
    grid = on_the_grid(model, None).outputs(samples, prepared=True)
    np.testing.assert_array_equal(told[:, 0], grid.classes)
    finite = np.isfinite(grid.readout)
    np.testing.assert_array_equal(told[:, 1:][finite].astype(np.float32), grid.readout[finite].astype(np.float32))


def test_export_prints_the_same_table_every_time(run, tmp_path, capsys):
    """In the order of the names, whatever order the file of the checkpoint has them in."""
    tables = []
    for n in range(3):
        capsys.readouterr()
        assert main(["export", str(run), str(tmp_path / f"w{n}.npz")]) == 0
        tables.append([line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]])
    assert tables[0] == tables[1] == tables[2] == sorted(tables[0]) and len(tables[0]) > 4


@pytest.mark.ci
@pytest.mark.parametrize("every", [130.0, pytest.param(40.0, marks=pytest.mark.ci)])
def test_the_example_listens_to_the_end(run, tmp_path, every):
    """Chunks need not divide the trial."""
    model = genn_eventprop.load(run)
    rng = np.random.default_rng(2)
    samples = [(np.sort(rng.uniform(0, 300, 900)), rng.integers(0, model.n_channels, 900))]
    events = genn_eventprop.Events.from_samples(samples, model.n_channels)
    np.savez(
        tmp_path / "recording.npz", times=events.times, channels=events.channels, offsets=events.offsets,
        n_channels=model.n_channels,
    )  # fmt: skip
    example = Path(__file__).parents[2] / "examples" / "live.py"
    command = [sys.executable, str(example), str(run), str(tmp_path / "recording.npz"), "--every", str(every)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (label,) = model.predict(events)
    assert done.stdout.splitlines()[-1] == f"heard: {model.class_names[label]}"


@pytest.mark.ci
def test_a_run_in_integers(run, tmp_path, capsys):
    """A C file whose state is as large as printed, and the accuracy of the rounded network beside that of the run."""
    out = tmp_path / "model.c"
    capsys.readouterr()
    assert main(["export", str(run), str(out), "--profile", "int8"]) == 0
    said = capsys.readouterr().out
    assert "in integers, profile int8, steps of 1 ms" in said
    state, tables = (
        int(n.replace(",", "")) for n in re.search(r"state ([\d,]+) .* tables ([\d,]+) bytes", said).groups()
    )
    assert re.search(r"int8 +accuracy \d+", said)
    integers = IntegerModel(genn_eventprop.load(run), "int8")
    assert state == integers.compiled.ram and tables > integers.network.weight_bytes
    assert out.read_text().startswith("/*\n * best checkpoint of run. Profile int8.\n")
    assert main(["evaluate", str(run), "--profile", "int8"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"profile int8: accuracy \d+\.\d\d %, undecided \d+, same class in \d+", said)
    assert main(["export", str(run), str(tmp_path / "a.c"), "--profile", "int8", "--bits", "8"]) == 1
    assert "--profile is for C and NIR files, and has its own bits" in capsys.readouterr().err
    mine = tmp_path / "mine.toml"
    mine.write_text('weight_bits = 4\nstate_bits = 16\norder = ["decay", "arrive", "membrane"]\n')
    assert main(["evaluate", str(run), "--profile", str(mine), "--dt", "2"]) == 0
    assert re.search(r"profile \S+mine.toml: accuracy", capsys.readouterr().out)
    assert main(["evaluate", str(run), "--dt", "2"]) == 1
    assert "--dt is the step of integers" in capsys.readouterr().err


@pytest.mark.ci
def test_integers_predict_what_the_run_predicts(run):
    """With many bits; in `samples.npz` there are those that the run held out."""
    model, fine = genn_eventprop.load(run), Profile(name="fine", weight_bits=16, decay_bits=16)
    events = Events.load(run / "samples.npz")
    integers = IntegerModel(model, fine)
    outputs = integers.outputs(events, prepared=True)
    run_outputs = model.outputs(events, prepared=True)
    assert np.mean(outputs.classes == run_outputs.classes) > 0.98
    assert outputs.spikes["hidden"].sum() > 0 and outputs.limited.sum() == 0
    # the integral of V, from V at the ends of steps
    np.testing.assert_allclose(
        outputs.readout / np.abs(outputs.readout).max(),
        run_outputs.readout / np.abs(run_outputs.readout).max(),
        atol=0.05,
    )
