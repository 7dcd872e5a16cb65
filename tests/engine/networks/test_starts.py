"""A neuron that starts at or above its threshold is refused, by every engine and in time; just below it is not."""

from __future__ import annotations

import numpy as np
import pytest

from genn_eventprop import Dense, Event, Mode, Network, NeuronModel, Param, engines, losses
from genn_eventprop.data import Events
from genn_eventprop.errors import ModelError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan

ENGINES = [("reference_event", "exact"), ("native", "exact"), ("reference_clock", "grid"), ("native", "grid")]
EVENTS = Events.from_samples([([1.0, 4.0], [0, 0])], n_channels=1, labels=[0])


def started(**params: object) -> NeuronModel:
    """LIF with a first V of its own."""
    return NeuronModel(
        name="started", state={"V": "v_start", "I": 0.0},
        params={"tau_mem": Param(20.0, "ms"), "v_start": Param(0.5), "v_thresh": Param(1.0)} | params,
        dynamics={"V": "(I - V) / tau_mem", "I": "-I / 5"}, threshold="V - v_thresh", reset={"V": 0}, input="I",
    )  # fmt: skip


def prepared(neuron: object, engine: str, spike_times: str, size: int = 2) -> engines.Engine:
    net = Network()
    hidden, output = net.population(neuron, size, "hidden"), net.population(LI(), 2, "output")
    net.connect(net.input(1), hidden, Dense(2.0))
    net.connect(hidden, output, Dense(np.array([[0.5, -0.5]] * size)))
    plan = make_plan(net, losses.EndVoltageCrossEntropy(output), dt=0.5, duration=20.0, spike_times=spike_times)
    return engines.create(plan, net.initial_parameters(1), engine=engine, dtype="float64", threads=1)


@pytest.mark.parametrize("start", [1.0, 1.5])
def test_a_start_at_or_above_the_threshold_is_refused(start):
    with pytest.raises(ModelError, match=r"started: a neuron starts at or above the threshold 'V - v_thresh' of event"):
        started(v_start=Param(start))
    message = r"population 'hidden' \(started\): neuron 1 starts at or above the threshold .* give learned parameters"
    with pytest.raises(ModelError, match=message):
        prepared(started()(v_start=np.array([0.0, start])), "reference_clock", "grid")


@pytest.mark.parametrize(("engine", "spike_times"), ENGINES)
def test_learned_parameters_that_drift_there_end_the_run(engine, spike_times):
    made = prepared(started()(v_thresh=Param(1.0, trainable=True)), engine, spike_times)
    data = made.load(EVENTS)
    assert np.isfinite(made.run(data, [0], training=True).loss).all()
    made.parameters["hidden.v_thresh"][1] = 0.4  # as an optimiser could
    with pytest.raises(ModelError, match="neuron 1 starts at or above the threshold .* bounds that keep it there"):
        made.run(data, [0], training=True)
    made.parameters["hidden.v_thresh"][1] = 0.9
    assert np.isfinite(made.run(data, [0], training=True).loss).all()
    made.close()


@pytest.mark.parametrize(("engine", "spike_times"), ENGINES)
def test_resets_above_threshold_end_the_run(engine, spike_times):
    made = prepared(LIF(v_reset=Param(0.0, trainable=True)), engine, spike_times)
    made.parameters["hidden.v_reset"][0] = 1.0
    with pytest.raises(ModelError, match="the reset of event 'spike' lands at or above its threshold"):
        made.run(made.load(EVENTS), [0])
    made.close()


def test_a_start_just_below_spikes_at_once_where_it_is_driven():
    driven = NeuronModel(
        name="driven", state={"V": "v_start", "I": 0.0}, params={"v_start": Param(0.999, trainable=True)},
        dynamics={"V": "(1.5 - V + I) / 20", "I": "-I / 5"}, threshold="V - 1", reset={"V": 0}, input="I",
    )  # fmt: skip
    counts, gradients = [], []
    for engine in ("reference_event", "native"):
        made = prepared(driven(), engine, "exact", size=1)
        result = made.run(made.load(EVENTS), [0], training=True, record_spikes=True)
        assert result.spikes["hidden"].time[0] == pytest.approx(20 * np.log(0.501 / 0.5), rel=1e-9)
        counts.append(result.spike_counts["hidden"][0, 0])
        gradients.append(np.array(made.gradients["hidden.v_start"]))
        made.close()
    assert counts[0] == counts[1] > 0 and gradients[0] == pytest.approx(gradients[1], rel=1e-9)


def test_events_of_another_mode_may_be_above_their_threshold():
    woken = NeuronModel(
        name="woken", state={"V": 0.0, "I": 0.0}, params={},
        dynamics={"V": "(I - V) / 20", "I": "-I / 5"}, input="I",
        events=(
            Event("spike", "V - 1", {"V": 0}, modes=("free",), next_mode="up"),
            Event("down", "0.5 - V", emits=False, modes=("up",), next_mode="free"),
        ),
        modes=(Mode("up", {"V": "-V / 10"}),),
    )  # fmt: skip
    assert woken.events[1].modes == ("up",)  # it starts 0.5 above this event's threshold, and is no error


def test_a_model_may_have_no_parameters():
    """On `native` with exact spike times, tables of its threshold were of the wrong shape."""
    bare = NeuronModel(
        name="bare", state={"V": 0.0, "I": 0.0}, params={}, dynamics={"V": "(I - V) / 20", "I": "-I / 5"},
        threshold="V - 1", reset={"V": 0}, input="I",
    )  # fmt: skip
    found = []
    for engine, spike_times in ENGINES[:2]:
        net = Network()
        hidden = net.population(bare, 3, "hidden")
        net.connect(net.input(1), hidden, Dense(np.array([[5.0, 7.0, 9.0]])))
        plan = make_plan(net, losses.SpikeCountCrossEntropy(hidden), duration=20.0, dt=0.5, spike_times=spike_times)
        made = engines.create(plan, net.initial_parameters(1), engine=engine)
        made.run(made.load(EVENTS), [0], training=True)
        found.append(made.gradients["input_hidden.weight"].copy())
        made.close()
    assert np.abs(found[0]).min() > 0 and np.allclose(*found, rtol=1e-5)
