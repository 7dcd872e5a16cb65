"""How much a fit explains of sweeps that it was not made to: formulas against others written here, and whole fits."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop import Recording, fit, simulate
from genn_eventprop.cli import main
from genn_eventprop.errors import DataError, SettingError
from genn_eventprop.fitting.compare import FreeRun
from genn_eventprop.fitting.fit import split
from genn_eventprop.fitting.forced import fitted_model
from genn_eventprop.fitting.residuals import Residuals
from genn_eventprop.fitting.verdict import judge
from genn_eventprop.models import LIF, AdEx, Izhikevich
from genn_eventprop.report.fit_page import fit_blocks

MODEL = fitted_model(LIF)


def residuals_of(recording, skip=0.0, window=(0.5, 1.5)):
    return Residuals(MODEL, recording, window=window, skip=skip, every=0.5, voltage_noise=1.0, spike_noise=0.5)


def drawn(seed, sweeps=3, repeated=False, rate=20.0):
    """A random recording whose V has nothing to do with the current, and a run like it."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(200, 400, sweeps)
    current = [rng.normal(size=n) for n in lengths]
    if repeated:
        current = [current[0]] * sweeps
        lengths = [lengths[0]] * sweeps
    voltage = [rng.normal(size=n) + rng.normal() for n in lengths]

    def spikes():
        return tuple(np.sort(rng.uniform(0.01, 0.5 * n - 0.01, rng.poisson(rate * n / 2000))) for n in lengths)

    recording = Recording(current, 0.5, voltage, spikes())
    v = recording.voltage + 0.5 * rng.normal(size=recording.voltage.shape)
    return recording, run_of(v, spikes(), recording)


def run_of(v, spikes, recording):
    rates = np.zeros(len(recording))
    return FreeRun(v, spikes, None, 0, 0, 0, None, None, rates, rates)


def kept(recording, sweep, k, trains, skip):
    """Whether a sample counts: one by one."""
    t = k * recording.dt
    return t >= skip and k < recording.samples[sweep] and not any(s - 0.5 <= t <= s + 1.5 for x in trains for s in x)


def variance_explained(rows):
    """rows: of sweeps, (predicted, measured) of each sample that counts."""
    error = variation = 0.0
    for pairs in rows:
        mean = sum(b for _, b in pairs) / max(len(pairs), 1)
        error += sum((a - b) ** 2 for a, b in pairs)
        variation += sum((b - mean) ** 2 for _, b in pairs)
    return 1 - error / variation


def factor(pairs, duration):
    """Of Kistler et al.: greedily, in order, each spike once."""
    ours, theirs = sum(len(a) for a, _ in pairs), sum(len(b) for _, b in pairs)
    within = min(4.0, duration / 4 / max(ours, theirs, 1))
    together = 0
    for a, b in pairs:
        left = list(b)
        for t in a:
            near = [s for s in left if abs(s - t) <= within]
            if near:
                together += 1
                left = [s for s in left if s > near[0]]
    chance = 2 * within * ours / duration
    return (together - chance * theirs) / (0.5 * (ours + theirs)) / (1 - chance) if ours + theirs else None


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 40.0]), st.sampled_from([5.0, 40.0, 150.0]))
def test_a_score_is_that_of_its_formula(seed, skip, rate):
    recording, run = drawn(seed, rate=rate)
    verdict = judge(residuals_of(recording, skip), None, run)
    trains = [([t for t in a if t >= skip], [t for t in b if t >= skip]) for a, b in zip(run.spikes, recording.spikes)]
    assert verdict.model.spikes == pytest.approx(factor(trains, float(sum(recording.durations - skip))))
    rows = [
        [(run.voltage[s, k], recording.voltage[s, k]) for k in range(recording.voltage.shape[1])
         if kept(recording, s, k, (run.spikes[s], recording.spikes[s]), skip)]
        for s in range(len(recording))
    ]  # fmt: skip
    assert verdict.model.voltage == pytest.approx(variance_explained(rows))
    assert verdict.cell.voltage is None and verdict.cell.spikes is None
    assert not verdict.held_out and "as none was held out" in str(verdict)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6))
def test_the_cell_s_own_reliability_is_that_of_pairs_of_repeated_sweeps(seed):
    recording, run = drawn(seed, repeated=True)
    # noise of the recorded current is no other stimulus
    noise = 0.01 * np.random.default_rng(seed).normal(size=recording.current.shape)
    verdict = judge(residuals_of(replace(recording, current=recording.current + noise)), None, run)
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    trains = [(recording.spikes[i], recording.spikes[j]) for i, j in pairs]
    assert verdict.cell.spikes == pytest.approx(factor(trains, len(pairs) * recording.duration))
    rows = [
        [(recording.voltage[i, k], recording.voltage[j, k]) for k in range(recording.voltage.shape[1])
         if kept(recording, j, k, (recording.spikes[i], recording.spikes[j]), 0.0)]
        for i, j in pairs
    ]  # fmt: skip
    assert verdict.cell.voltage == pytest.approx(1 - (1 - variance_explained(rows)) / 2)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 0.9))
def test_reliability_is_what_the_stimulus_explains(seed, part):
    """Repeated sweeps of a signal with independent noise: the signal itself explains so much."""
    rng = np.random.default_rng(seed)
    signal, noise = np.sqrt(part) * rng.normal(size=4000), np.sqrt(1 - part) * rng.normal(size=(5, 4000))
    recording = Recording(np.tile(signal, (5, 1)), 0.5, signal + noise, [[]] * 5)
    verdict = judge(residuals_of(recording), None, run_of(np.tile(signal, (5, 1)), recording.spikes, recording))
    assert verdict.cell.voltage == pytest.approx(part, abs=0.03) == verdict.model.voltage
    assert verdict.model.spikes is None, "without a spike of cell or model there is nothing to coincide"


def test_the_null_model_is_a_passive_membrane_with_evenly_spaced_spikes():
    rng = np.random.default_rng(4)
    current = np.repeat(rng.normal(1.0, 0.5, (3, 100)), 8, axis=1)
    v = np.empty_like(current)
    v[:, 0] = 3 * current[:, 0] - 2  # tau = 10 ms, R = 3, E = -2
    for k in range(v.shape[1] - 1):
        v[:, k + 1] = v[:, k] + (3 * current[:, k] - 2 - v[:, k]) * (1 - np.exp(-0.05))
    times = (np.arange(20) + 0.5) * 20.0
    recording = Recording(current, 0.5, v, [times] * 3)
    fitted, test = split(recording, [1])
    verdict = judge(residuals_of(fitted), residuals_of(test), run_of(np.zeros((1, 800)), (np.empty(0),), test))
    assert verdict.held_out and verdict.sweeps == 1
    assert verdict.null.voltage > 0.999 and verdict.null.spikes == pytest.approx(1.0)
    assert verdict.model.voltage < 0 and verdict.model.spikes == 0.0 and verdict.little


def test_sweeps_that_are_held_out_are_not_fitted():
    recording, _ = drawn(1, sweeps=5)
    fitted, test = split(recording, [3, 1])
    for part, numbers in ((fitted, [0, 2, 4]), (test, [3, 1])):
        assert part.samples.tolist() == recording.samples[numbers].tolist()
        assert all((a == recording.spikes[n]).all() for a, n in zip(part.spikes, numbers))
    assert split(recording, ()) == (recording, None)
    for wrong, error, message in (
        ([0, 1, 2, 3, 4], SettingError, "all sweeps are test sweeps"),
        ([1, 1], SettingError, "named twice"),
        ([7], DataError, "has the sweeps 0 to 4"),
    ):
        with pytest.raises(error, match=message):
            split(recording, wrong)


def noisy_current(seed, sweeps, mean, std):
    return np.repeat(np.random.default_rng(seed).normal(mean, std, (sweeps, 100)), 15, axis=1)


@pytest.fixture(scope="module")
def adex_cell():
    """Sweeps 2 and 3 are one stimulus; V has noise."""
    current = noisy_current(3, 4, 650.0, 300.0)
    current[3] = current[2]
    cell = simulate(AdEx(tau_w=100.0, delta_t=2.5, b=90.0), current, dt=0.2)
    assert all(len(times) >= 3 for times in cell.spikes)
    return replace(cell, voltage=cell.voltage + np.random.default_rng(1).normal(size=current.shape))


@pytest.mark.slow
def test_a_model_that_is_wrong_says_so_first_and_one_that_is_right_does_not(adex_cell):
    settings = {"starts": 1, "test_sweeps": [2, 3], "progress": False}
    right = fit(AdEx, adex_cell, only=["tau_w", "b"], fixed={"delta_t": 2.5}, **settings)
    wrong = fit(Izhikevich, adex_cell, bounds={"gain": (0.003, 0.03)}, fixed={"v_peak": -40.0}, **settings)
    assert len(right.recording) == 2 and right.verdict.sweeps == 2 and right.verdict.held_out
    first, other = str(right).splitlines()[0], str(wrong).splitlines()[0]
    assert first.startswith("explains 9") and not right.verdict.little
    assert other.startswith("explains little: only ") and wrong.verdict.little
    for result in (right, wrong):
        assert "; a passive membrane with evenly spaced spikes" in str(result.verdict)
        # noise of 1 mV, and spikes that are the same
        assert result.verdict.cell.voltage > 0.9 and result.verdict.cell.spikes == pytest.approx(1.0)
        assert result.verdict.null.spikes < 0.5 and result.verdict.null.voltage < right.verdict.model.voltage
        page = fit_blocks([result], "fit")
        assert page[1].items == [f"cell {result.verdict}"]


@pytest.mark.ci
def test_values_near_a_bound_are_named():
    cell = simulate(LIF(tau_mem=12.0), np.repeat([0.4, 1.6, 0.9, 1.4], 40), dt=0.5)
    for high, said in ((12.1, True), (20.0, False)):
        result = fit(LIF, cell, only=["tau_mem"], bounds={"tau_mem": (4.0, high)}, starts=1, progress=False)
        assert any("tau_mem is near its bound 12.1" in doubt for doubt in result.doubts()) == said


@pytest.mark.ci
def test_rates_alone_are_judged():
    current = np.repeat([[1.2], [1.5], [2.0], [3.0]], 200, axis=1)
    cell = simulate(LIF(tau_mem=12.0), current, dt=1.0)
    recording = Recording(current, 1.0, rates=[5.0 * len(times) for times in cell.spikes])
    settings = {"only": ["tau_mem"], "starts": 1, "progress": False}
    assert fit(LIF, recording, **settings).verdict.model.rates > 0.95
    # the other way round
    wrong = fit(LIF, replace(recording, rates=recording.rates[::-1]), **settings)
    assert wrong.verdict.model.rates < 0.5 and "of the variance of rates" in str(wrong).splitlines()[0]


def test_the_command_holds_sweeps_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    current = np.repeat(np.random.default_rng(0).normal(1.3, 0.5, (4, 12)), 20, axis=1)
    cell = simulate(LIF(tau_mem=12.0), current, dt=0.5)
    cell.save("cell.npz")
    words = ["fit", "lif", "cell.npz", "--only", "tau_mem", "--starts", "1", "--no-progress"]
    assert main([*words, "--sweeps", "0", "2", "--test-sweeps", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[:1] == ["cell"]
    (result,) = json.loads((tmp_path / "runs" / "fit-lif-1" / "results.json").read_text())["cells"]
    assert result["verdict"]["held_out"] and result["verdict"]["sweeps"] == 1
    assert result["spikes"] == len(cell.spikes[0]) + len(cell.spikes[2])
    assert result["verdict"]["model"]["voltage"] > 0.99 and not result["verdict"]["explains_little"]
    # the same command, once more, finds what was saved, with its verdict
    (tmp_path / "runs" / "fit-lif-1" / "report.html").unlink()
    assert main([*words, "--sweeps", "0", "2", "--test-sweeps", "3"]) == 0
    said = capsys.readouterr()
    assert "cell was fitted before" in said.err and "starts found" not in said.out
    (again,) = json.loads((tmp_path / "runs" / "fit-lif-1" / "results.json").read_text())["cells"]
    assert again == result
    assert main([*words, "--sweeps", "0", "2", "--test-sweeps", "2"]) == 1
    assert "sweep 2 is in --sweeps and in --test-sweeps" in capsys.readouterr().err
