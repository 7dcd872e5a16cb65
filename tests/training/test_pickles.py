"""Networks, trainers, engines and trained models as pickles, which spawned processes, joblib and Ray make of them."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer, load, models
from genn_eventprop.losses import FirstSpikeCrossEntropy, MaxVoltageCrossEntropy
from genn_eventprop.modelling import NeuronModel
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.training import EarlyStopping

ZOO = sorted(name for name in models.__all__ if isinstance(getattr(models, name), NeuronModel))


def again(value):
    return pickle.loads(pickle.dumps(value))


def events():
    rng = np.random.default_rng(4)
    samples = [(np.sort(rng.uniform(0.2, 18.0, n)), rng.integers(0, 6, n)) for n in rng.integers(3, 25, 24)]
    return Events.from_samples(samples, n_channels=6, labels=rng.integers(0, 3, 24))


def network(output=LI):
    net = Network()
    source, hidden = net.input(6), net.population(LIF(), 8, name="hidden")
    out = net.population(output(), 3, name="output")
    net.connect(source, hidden, Dense(Normal(1.2, 0.8)), delay=1.0)
    net.connect(hidden, out, Dense(Normal(0.3, 0.6)))
    return net, out


def trainer(**settings):
    net, out = network()
    settings = {"duration": 20.0, "batch_size": 5, "progress": False, "optimiser": Adam(0.01)} | settings
    return Trainer(net, MaxVoltageCrossEntropy(out), **settings)


def gradients(engine):
    data = engine.load(events())
    result = engine.run(data, np.arange(24), training=True)
    return {"loss": result.loss, **{name: g.copy() for name, g in engine.gradients.items()}}


def same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_array_equal(value, b[name], err_msg=name)


@pytest.mark.parametrize("name", ZOO)
def test_a_neuron_of_the_zoo(name):
    model = getattr(models, name)
    neuron = again(model())
    assert repr(neuron) == repr(model()) and neuron.model.made_at == model.made_at
    assert repr(again(model)) == repr(model)


@pytest.mark.parametrize("engine", ["native", "c99", "reference_clock", "reference_event"])
@pytest.mark.one_in(2)
def test_an_engine_gives_the_same_gradients(engine):
    exact = engine == "reference_event"
    first = trainer(engine=engine, spike_times="exact" if exact else "grid", dt=1.0).engine
    first.seed, first.epoch = 5, 3
    first.parameters["hidden_output.weight"][...] *= 0.5
    copied = again(first)
    assert (copied.seed, copied.epoch, copied.reason) == (5, 3, first.reason)
    same(gradients(first), gradients(copied))


def test_a_network_makes_the_same_trainer():
    net, out = network(LIF)
    copied, output = again((net, out))
    first, second = (
        Trainer(n, FirstSpikeCrossEntropy(o), duration=20.0, progress=False) for n, o in ((net, out), (copied, output))
    )
    same(gradients(first.engine), gradients(second.engine))


@pytest.mark.parametrize("copied", [again, copy.deepcopy])
@pytest.mark.parametrize("spike_times", ["auto", "grid"])
@pytest.mark.one_in(4)
def test_a_trainer_goes_on_to_the_same_bits(copied, spike_times, tmp_path):
    whole, first = (trainer(spike_times=spike_times, callbacks=[EarlyStopping(9)]) for _ in range(2))
    for each in (whole, first):
        each.class_names = ("a", "b", "c")
        each.use_batch_sizes({3: 7})
        each.fit(events()[:18], validation=events()[18:], epochs=2)
    whole.fit(events()[:18], validation=events()[18:], epochs=5)
    second = copied(first)
    assert second.class_names == ("a", "b", "c") and second.plan.spike_times == first.plan.spike_times
    assert second.engine is not first.engine and repr(second) == repr(first)
    np.testing.assert_array_equal(first.predict(events()), second.predict(events()))
    second.fit(events()[:18], validation=events()[18:], epochs=5)
    same(whole.engine.parameters, second.engine.parameters)
    metrics = [[repr(m | {"seconds": 0}) for m in each.state.metrics] for each in (whole, second)]
    assert metrics[0] == metrics[1]
    assert first.state.epoch == 2, "the first one is not touched"


ELSEWHERE = """
import pickle, sys
import numpy as np
trainer, events = pickle.load(open("trainer.pickle", "rb"))
result = trainer.engine.run(trainer.engine.load(events), np.arange(24), training=True)
np.savez("there.npz", loss=result.loss, **trainer.engine.gradients)
"""


@pytest.mark.ci
def test_another_process_gets_a_trainer(tmp_path):
    first = trainer(engine="native")
    (tmp_path / "trainer.pickle").write_bytes(pickle.dumps((first, events())))
    subprocess.run([sys.executable, "-c", ELSEWHERE], cwd=tmp_path, check=True, timeout=120)
    with np.load(tmp_path / "there.npz") as there:
        same(gradients(first.engine), dict(there))


def test_a_trained_model(tmp_path):
    first = trainer(run_dir=tmp_path / "run")
    first.fit(events(), epochs=1)
    model = load(tmp_path / "run")
    np.testing.assert_array_equal(model.predict(events()), again(model).predict(events()))


def test_the_repr_of_a_trainer_is_one_short_line():
    first = trainer(engine="native", spike_times="grid", dt=0.5)
    assert repr(first) == "<Trainer: 6 - 8 - 3, cross_entropy of max, native, grid spike times, dt 0.5 ms; untrained>"
    first.fit(events(), epochs=2)
    assert repr(first).endswith("; 2 epochs done>")
