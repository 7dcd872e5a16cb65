"""`gradcheck --spike-birth`: the gradient with births against the expected loss under drawn thresholds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, losses
from genn_eventprop.cli import main
from genn_eventprop.compile import create, make_plan
from genn_eventprop.errors import PlanError, SettingError
from genn_eventprop.models import LI, LIF, LIFDelta
from genn_eventprop.verify.gradients import check_births
from genn_eventprop.verify.gradients.births import drawn_model


def network(model=LIF):
    net, rng = Network(), np.random.default_rng(0)
    hidden, output = net.population(model(), 12, name="hidden"), net.population(LI(), 3, name="output")
    net.connect(net.input(5), hidden, Dense(Normal(1.3, 0.5)))
    net.connect(hidden, output, Dense(Normal(0.0, 1.0)))
    sample = np.sort(rng.uniform(0, 20, 5)), np.arange(5)
    events = Events.from_samples([sample], n_channels=5, targets=rng.normal(0, 0.3, (1, 3)))
    return net, losses.SquaredError(output), events


@pytest.mark.ci
def test_births_are_nearer_to_the_expected_loss():
    net, loss, events = network()
    report = check_births(net, loss, events=events, duration=40.0, sigma=0.1, draws=120, directions=1)
    assert report.passed and report.rate > 0.1
    assert "births" in report.text() and "FAILED" not in report.text()
    gap = [np.linalg.norm(g - report.truth) for g in (report.drawn, report.eventprop)]
    assert gap[0] < gap[1]
    worse = replace(report, drawn=report.eventprop - 10 * (report.truth - report.eventprop))
    assert not worse.passed and "FAILED" in worse.text()


@pytest.mark.ci
def test_no_threshold_is_drawn_below_the_start_of_a_neuron():
    net, loss, events = network()
    report = check_births(net, loss, events=events, duration=40.0, sigma=0.8, draws=20, directions=0)
    assert np.isfinite([report.truth, report.drawn]).all()


def test_a_drawn_threshold_is_that_of_a_neuron_with_another_one():
    net, loss, events = network()
    drawn, other = network(lambda: drawn_model(LIF)(first_0=0.2, first_1=0.2)), network(lambda: LIF(v_thresh=1.2))
    counts = []
    for made in (drawn, other):
        plan = make_plan(*made[:2], dt=1.0, duration=40.0, spike_times="exact")
        values = plan.network.initial_parameters(0)
        engine = create(plan, values, engine="reference_event")
        result = engine.run(engine.load(events), [0])
        counts.append(result.spike_counts["hidden"])
        assert counts[-1].max() <= 2
    np.testing.assert_array_equal(*counts)


@pytest.mark.parametrize("spike_times", ["grid", "exact"])
@pytest.mark.parametrize("height", [-0.2, 0.3])
def test_candidates_of_drawn_thresholds_are_those_of_their_means(spike_times, height):
    """Where neither spikes, the means decide alone how far a maximum is from its threshold, and how wide the noise."""
    gradients = []
    for model, noisy in ((LIF, False), (lambda: drawn_model(LIF)(first_0=height, first_1=height), True)):
        net, loss, events = network(model)
        plan = make_plan(net, loss, dt=0.5, duration=40.0, spike_times=spike_times, spike_birth=0.3)
        values = net.initial_parameters(0)
        values["input_hidden.weight"] *= 0.5
        engine = create(plan, values, engine="reference_event" if spike_times == "exact" else "reference_clock")
        if noisy:
            state = plan.population("hidden").derived.states.index("next_0")
            engine.threshold_noise = {"hidden": state if spike_times == "exact" else "next_0"}
        assert not engine.run(engine.load(events), [0], training=True).spike_counts["hidden"].any()
        gradients.append(engine.gradients["input_hidden.weight"])
    assert np.abs(gradients[0]).max() > 1e-6
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-9, atol=1e-15)


def test_refusals():
    net, loss, events = network()
    how = {"events": events, "duration": 40.0}
    with pytest.raises(SettingError, match="needs a noise of thresholds above 0, e.g. 0.1, got 0"):
        check_births(net, loss, sigma=0.0, **how)
    with pytest.raises(SettingError, match="20 draws or more, got 5"):
        check_births(net, loss, sigma=0.1, draws=5, **how)
    net, loss, events = network(LIFDelta)
    with pytest.raises(PlanError, match="LIFDelta has receptors whose arrivals move its threshold"):
        check_births(net, loss, sigma=0.1, **how)


def test_the_command_names_what_it_cannot_check(capsys):
    assert main(["gradcheck", "lif", "--spike-birth", "0.1", "--dt", "0.5"]) == 2
    assert "--spike-birth checks one MODEL" in capsys.readouterr().err
    assert main(["gradcheck", "li", "--spike-birth", "0.1"]) == 1
    assert "LI never spikes" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command(capsys):
    assert main(["gradcheck", "lif", "--spike-birth", "0.1", "--quick"]) == 0
    assert "spikes a neuron and trial" in capsys.readouterr().out
