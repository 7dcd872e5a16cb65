"""Gradients on a grid against the straight-through model, by runs of the engine; and that wrong ones are found."""

import numpy as np
import pytest

from genn_eventprop import Dense, Event, Events, Mode, Network, NeuronModel, Normal, Param, losses
from genn_eventprop.cli import main as command_line
from genn_eventprop.errors import SettingError
from genn_eventprop.modelling.delay import Delay
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_delta import LIFDelta
from genn_eventprop.models.lif_refractory import LIFRefractory
from genn_eventprop.models.qif import QIF
from genn_eventprop.program import events as program_events
from genn_eventprop.program.events import Events as OwnEvents
from genn_eventprop.program.lower import Lowering
from genn_eventprop.program.nodes import Add, mapped
from genn_eventprop.program.population import Population
from genn_eventprop.program.readouts.integral import Integral
from genn_eventprop.program.readouts.maximum import Maximum
from genn_eventprop.program.readouts.spikes import FirstSpike
from genn_eventprop.program.readouts.voltage import Voltage
from genn_eventprop.program.regularise import Regularise
from genn_eventprop.regularisers import SpikeCount
from genn_eventprop.verify import check, check_network
from genn_eventprop.verify.gradients.compare import grid_step
from support.engines import ENGINES

T = 16.0


def events(channels=3, seed=0):
    rng = np.random.default_rng(seed)
    samples = [(np.sort(rng.uniform(0.0, 0.7 * T, 12)), rng.integers(0, channels, 12)) for _ in range(2)]
    return Events.from_samples(samples, channels, labels=[0, 1], n_classes=2)


def network(hidden=None, output=None, delay=1.0, weight=1.8, spread=0.4):
    """(network, output): recurrent, every layer spiking if it can."""
    hidden = hidden or LIF(v_thresh=Param(0.6, trainable=True), tau_mem=Param(15.0, "ms", trainable=True))
    net = Network()
    h, o = net.population(hidden, 2, "hidden"), net.population(output or LI(), 2, "output")
    net.connect(net.input(3), h, Dense(Normal(2.2, 0.6)), delay=delay)
    net.connect(h, h, Dense(Normal(0.0, 0.5)), delay=2.0)
    net.connect(h, o, Dense(Normal(weight, spread)))
    return net, o


def report(
    loss=losses.EndVoltageCrossEntropy, engine="reference_clock", regularisers=(), seed=1, spike_times=None, **parts
):
    net, o = network(**parts)
    asked = [r(net.populations[0]) for r in regularisers]
    return check_network(
        net, loss(o), events=events(), duration=T, dt=1.0, engine=engine, spike_times=spike_times, seed=seed,
        regularisers=asked,
    )  # fmt: skip


def short_period(**values):
    return LIFRefractory(t_ref=Param(1.0, "ms", trainable=True), v_thresh=0.4, **values)


TWO_PERIODS = NeuronModel(
    name="TwoPeriods",
    state={"V": 0.0, "I": 0.0},
    params={
        "tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms"), "v_thresh": Param(0.2),
        "frozen_for": Param(1.0, "ms", trainable=True), "slow_for": Param(2.0, "ms", trainable=True),
    },
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn"},
    events=(Event("spike", "V - v_thresh", {"V": 0.0}, next_mode="frozen"),),
    modes=(
        Mode("frozen", {"V": 0}, lasts="frozen_for", then="slow"),
        Mode("slow", {"V": "(I - V) / (3 * tau_mem)"}, lasts="slow_for"),
    ),
    input="I",
)  # fmt: skip
SPIKES = {"output": LIF(v_thresh=0.3)}
CASES = {
    "end": {},
    "max": {"loss": losses.MaxVoltageCrossEntropy, "weight": -0.5, "spread": 4.0, "seed": 11},  # two kinks
    "integral": {"loss": losses.IntegratedVoltageCrossEntropy, **SPIKES},
    "voltage": {"loss": losses.PerStepCrossEntropy, **SPIKES},
    "first_spike": {"loss": losses.FirstSpikeCrossEntropy, "output": LIF(v_thresh=1.6)},
    "refractory": {"hidden": short_period()},
    "modes in a row": {"hidden": TWO_PERIODS()},
    "delays": {"delay": Delay(np.full((3, 2), 1.2), max=4.0)},
    "regularised": {"regularisers": [lambda hidden: SpikeCount(hidden, target=2, strength=0.1)]},
    "arrivals that cause": {
        "loss": losses.FirstSpikeCrossEntropy, "output": LIFDelta(v_thresh=1.6), "weight": 0.8, "seed": 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.one_in(12)
def test_the_reference_differentiates_its_model(case):
    found = report(**CASES[case])
    assert found.passed and found.worst < 1e-6, found.text()


@pytest.mark.slow
def test_nonlinear_dynamics_in_steps():
    found = check(QIF, engine="reference_clock", quick=True)
    assert found.passed and found.worst < 1e-6, found.text()


@pytest.mark.ci
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_by_its_own_runs(engine):
    def make(plan, values):
        return ENGINES[engine](plan, values, dtype="float64")

    found = report(engine=make, **CASES["first_spike"])
    assert found.passed and found.worst < 1e-6, found.text()


@pytest.mark.ci
@pytest.mark.parametrize("engine", ["native", "c99"])
def test_durations_of_modes_in_a_row(engine):
    found = report(engine=engine, spike_times="grid", **CASES["modes in a row"])
    assert found.passed and found.worst < 1e-6, found.text()


def opposite(value):
    """Of an expression, or of all that statements add."""
    if isinstance(value, list):
        return mapped(value, statement=lambda s: [Add(s.target, -s.value)] if isinstance(s, Add) else None)
    return -value


def negated(monkeypatch, owner, name):
    right = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args, **kwargs: opposite(right(*args, **kwargs)))


MUTANTS = {
    "feedback": (Lowering, "caused", "end"),
    "weights": (Lowering, "gather", "end"),
    "difference": (Population, "_unit_D", "refractory"),
    "gradients": (program_events, "gradients", "end"),
    "jump": (program_events, "jump_term", "end"),
    "end_of_mode": (OwnEvents, "_end_term", "refractory"),
    "delays": (Lowering, "caused", "delays"),
    "kink": (Maximum, "negative_arrival", "max"),
    "integrand": (Integral, "time_gradient", "integral"),
    "between": (Voltage, "time_gradient", "voltage"),
    "spike_time": (FirstSpike, "time_gradient", "first_spike"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.one_in(5)
def test_a_flipped_sign_is_found(mutant, monkeypatch):
    owner, name, case = MUTANTS[mutant]
    negated(monkeypatch, owner, name)
    failures = [f for c in report(**CASES[case]).cases for f in c.failures]
    assert any("relative error" in f for f in failures), failures


def test_a_regulariser_that_is_not_applied_is_found(monkeypatch):
    monkeypatch.setattr(Regularise, "after", lambda self: [])
    failures = report(engine="c99", **CASES["regularised"]).cases[0].failures
    assert any("relative error" in f for f in failures), failures


def test_what_cannot_be_checked_is_an_error():
    net, o = network(hidden=LIF(v_thresh=0.6))
    how = {"events": events(), "duration": T, "dt": 1.0, "engine": "reference_clock"}
    loss = losses.IntegratedVoltageCrossEntropy(o, weight=losses.TimeWeight(input_tau=5.0))
    with pytest.raises(SettingError, match="activity of the input"):
        check_network(net, loss, **how)
    with pytest.raises(SettingError, match="dt=1 with exact spike times"):
        check_network(net, losses.EndVoltageCrossEntropy(o), **how | {"spike_times": "exact"})
    noisy = Network()
    out = noisy.population(LI(), 2, "output", noise=0.1)
    noisy.connect(noisy.input(3), out, Dense(1.0))
    with pytest.raises(SettingError, match="no two runs are alike"):
        check_network(noisy, losses.EndVoltageCrossEntropy(out), **how)


def test_a_step_that_fits_trial_and_windows():
    net, o = network()
    window = losses.IntegratedVoltageCrossEntropy(o, weight=losses.TimeWeight(window=(2.5, 10.0)))
    assert grid_step(60.0, [losses.EndVoltageCrossEntropy(o)]) == 1.0
    assert grid_step(60.0, [window]) == 0.5
    assert grid_step(np.pi, [losses.EndVoltageCrossEntropy(o)]) == np.pi / 40


@pytest.mark.ci
def test_the_command_line_checks_engines_on_a_grid(capsys):
    assert command_line(["gradcheck", "lif", "--engine", "c99", "--quick", "--dt", "2"]) == 0
    assert "grid of 2 ms" in capsys.readouterr().out
