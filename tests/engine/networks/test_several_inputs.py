"""Several inputs share the channels of the data; engines are compared with the reference in `contract/test_engines`."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer, load, losses
from genn_eventprop.engines import create
from genn_eventprop.errors import DataError
from genn_eventprop.models import LI, LIF
from genn_eventprop.plan import make_plan
from support.problems import inputs


def one_input():
    """The network of `problems.inputs` with one input, and the rows of its weights."""
    net = Network()
    every, hidden = net.input(9, name="every"), net.population(LIF(), 17, name="hidden")
    other = net.population(LIF(), 9, name="other")
    output = net.population(LI(tau_mem=15.0, tau_syn=5.0), 3, name="output")
    net.connect(every, hidden, Dense(0.0), name="audio_hidden")
    net.connect(every, hidden, Dense(0.0), delay=1.0, name="touch_hidden")
    net.connect(every, other, Dense(0.0), name="touch_other")
    net.connect(hidden, output, Dense(0.0))
    net.connect(other, output, Dense(0.0))
    rows = {"audio_hidden.weight": slice(0, 5), "touch_hidden.weight": slice(5, 9), "touch_other.weight": slice(5, 9)}
    return net, output, rows


@pytest.mark.parametrize(("engine", "spike_times"), [("reference_clock", "grid"), ("reference_event", "exact")])
def test_two_inputs_are_one_whose_other_rows_are_zero(engine, spike_times):
    plan, events = inputs()
    events, own = events[:2], plan.network.initial_parameters(3)
    plan = make_plan(plan.network, plan.asked, dt=0.5, duration=40.0, spike_times=spike_times)
    net, output, rows = one_input()
    values = net.initial_parameters(1)
    for name, value in own.items():
        values[name][rows.get(name, slice(None))] = value
    loss = losses.IntegratedVoltageCrossEntropy(output)
    whole = make_plan(net, loss, dt=0.5, duration=40.0, spike_times=spike_times)
    results, gradients = [], []
    for p, v in ((plan, own), (whole, values)):
        made = create(p, v, engine=engine)
        results.append(made.run(made.load(events), [0, 1], training=True))
        gradients.append(made.gradients)
    np.testing.assert_allclose(results[0].loss, results[1].loss, rtol=1e-12)
    assert results[0].spike_counts["other"].sum() > 5
    for name, gradient in gradients[0].items():
        np.testing.assert_allclose(gradient, gradients[1][name][rows.get(name, slice(None))], rtol=1e-9, atol=1e-15)


@pytest.mark.one_in(6)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["plain", "valued", "idle"])
def test_native_grid_gradients_of_several_input_times(kind, dtype):
    """In the order of the data, with samples chosen in any order; spikes of an input without connections have none."""
    plan, events = inputs(kind == "valued")
    if kind == "idle":
        net, inner = plan.network, list(plan.network.inputs)
        idle = net.input(3, name="idle")
        net.inputs = [inner[0], idle, inner[1]]
        plan = make_plan(net, plan.asked, dt=0.5, duration=40.0)
        rng = np.random.default_rng(1)
        samples = [(np.sort(rng.uniform(0, 39, 60)), rng.integers(0, 12, 60)) for _ in range(5)]
        events = Events.from_samples(samples, 12, labels=[0, 1, 2, 0, 1])
    values, batch, found = plan.network.initial_parameters(3), [4, 0, 3, 0], []
    for engine, options in (("reference_clock", {}), ("native", {"dtype": dtype, "threads": 2})):
        made = create(plan, values, engine=engine, **options)
        read = made.forward(made.load(events), batch)
        made.backward(np.cos(np.arange(read.value.size)).reshape(read.value.shape))
        found.append(made.input_gradients)
    want, got = found
    np.testing.assert_allclose(got, want, rtol=0, atol={"float64": 1e-12, "float32": 1e-4}[dtype] * np.abs(want).max())
    channels = np.concatenate([events.sample(i)[1] for i in batch])
    assert np.count_nonzero(want[channels < 5]) > 20 and np.count_nonzero(want[channels >= events.n_channels - 4]) > 20
    if kind == "idle":
        assert not got[(channels >= 5) & (channels < 8)].any()


@pytest.mark.one_in(2)
@pytest.mark.parametrize("valued", [False, True])
def test_native_with_exact_spike_times(valued):
    """With gradients of the times of the spikes of both."""
    plan, events = inputs(valued)
    events = events[:3]
    plan = make_plan(plan.network, plan.asked, dt=0.5, duration=40.0, spike_times="exact")
    values = plan.network.initial_parameters(3)
    found = []
    for engine, options in (("reference_event", {}), ("native", {"dtype": "float64", "threads": 1})):
        made = create(plan, values, engine=engine, **options)
        read = made.forward(made.load(events), [0, 1, 2])
        made.backward(np.cos(np.arange(read.value.size)).reshape(read.value.shape))
        found.append({"readout": read.value, "times": made.input_gradients, **made.gradients})
    assert read.spike_counts["other"].sum() > 5 and np.count_nonzero(found[0]["times"]) > 20
    for name, want in found[0].items():
        np.testing.assert_allclose(found[1][name], want, rtol=1e-9, atol=1e-9 * np.abs(want).max(), err_msg=name)


def test_training_and_the_run_folder(tmp_path):
    plan, events = inputs()
    settings = {"duration": 40.0, "dt": 0.5, "batch_size": 3, "progress": False, "run_dir": tmp_path / "run"}
    settings |= {"spike_times": "grid"}
    Trainer(plan.network, plan.asked, threads=1, **settings).fit(events, epochs=1)
    model = load(tmp_path / "run")
    assert [(i.name, i.size) for i in model.described.network.inputs] == [("audio", 5), ("touch", 4)]
    assert model.plan.into("other")[0].channels == (5, 9) and len(model.predict(events)) == len(events)


def test_recordings_side_by_side():
    audio = Events.from_samples([([1.0, 4.0], [0, 1]), ([2.0], [2])], 3, labels=[0, 1])
    touch = Events.from_samples([([3.0], [1]), ([], [])], 2)
    both = Events.side_by_side([audio, touch])
    assert both.n_channels == 5 and both.labels.tolist() == [0, 1]
    assert [x.tolist() for x in both.sample(0)] == [[1.0, 3.0, 4.0], [0, 4, 1]]
    assert both.sample(1)[1].tolist() == [2]
    assert Events.side_by_side([touch, audio]).labels.tolist() == [0, 1]  # from the part that has some
    named = Events.from_samples([([3.0], [1]), ([], [])], 2, labels=[0, 1], targets={"texture": [4, 2]})
    other = Events.from_samples([([3.0], [1]), ([], [])], 2, targets={"place": [[0.5], [np.nan]], "texture": [4, 2]})
    three = Events.side_by_side([audio, named, other])
    assert three.targets.dtype.names == ("texture", "place") and three.targets["texture"].tolist() == [4, 2]
    for wrong, what in (
        (Events.from_samples([([3.0], [1]), ([], [])], 2, labels=[1, 0]), "labels"),
        (Events.from_samples([([3.0], [1]), ([], [])], 2, targets={"texture": [4, 3]}), "targets 'tex"),
    ):
        with pytest.raises(DataError, match=f"the parts have different {what}.*; are their samples in the same order"):
            Events.side_by_side([named, wrong])
    with pytest.raises(DataError, match="only some of the parts name their targets"):
        Events.side_by_side([named, Events.from_samples([([], [])] * 2, 2, targets=np.zeros((2, 1)))])
    with pytest.raises(DataError, match=r"needs parts with the same samples, got \[2, 1\]"):
        Events.side_by_side([audio, touch[:1]])


def test_what_is_refused():
    plan, events = inputs()
    values = plan.network.initial_parameters(3)
    with pytest.raises(DataError, match=r"the data has 4 channels, but input 'audio\+touch' has 9"):
        create(plan, values, engine="native").load(Events.from_samples([([1.0], [0])], 4, labels=[0]))


def test_weights_of_an_input_are_its_own():
    net = Network()
    audio, touch = net.input(5, name="audio"), net.input(4, name="touch")
    hidden = net.population(LIF(), 3, name="hidden")
    net.connect(audio, hidden, Dense(Normal(1.0, 0.1)))
    net.connect(touch, hidden, Dense(Normal(1.0, 0.1)))
    assert {k: v.shape for k, v in net.initial_parameters(1).items() if "weight" in k} == {
        "audio_hidden.weight": (5, 3), "touch_hidden.weight": (4, 3)
    }  # fmt: skip
