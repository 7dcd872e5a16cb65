"""Dynamics that diverge in a trial: an error names population, sample and time, nothing is changed."""

import re

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, NeuronModel, Normal, Param, Trainer, losses
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.c99.engine import C99Engine
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.errors import EngineError
from genn_eventprop.models import ZOO
from genn_eventprop.plan import make_plan
from support.genn_harness import HarnessEngine
from support.on_genn import on_genn
from support.sweeps import sweep

UNSTABLE = NeuronModel(
    name="Unstable",
    state={"V": 0.0, "I": 0.0},
    params={"tau_mem": Param(0.3, "ms"), "tau_syn": Param(5.0, "ms")},
    dynamics={"V": "(I + V) / tau_mem", "I": "-I / tau_syn"},
    input="I",
)
WILD = {"AdEx": 60_000.0, "EIF": 300.0, "QIF": 1e17}


def network(model, weight, dt=0.5):
    net = Network()
    inp = net.input(5)
    neuron = model if isinstance(model, NeuronModel) else ZOO[model]
    last = net.population(neuron, 19, "hidden")
    net.connect(inp, last, Dense(Normal(weight, 0.1 * weight)))
    if not neuron.spiking:
        return make_plan(net, losses.MaxVoltageCrossEntropy(last), dt=dt, duration=40.0)
    out = net.population(ZOO["LI"], 3, "output")
    net.connect(last, out, Dense(Normal(0.2, 0.4)))
    return make_plan(net, losses.IntegratedVoltageCrossEntropy(out), dt=dt, duration=40.0)


def events(n=6):
    """Samples 0 to 2 are silent, the others have spikes from 10 ms on."""
    rng = np.random.default_rng(1)
    samples = [(np.sort(rng.uniform(10, 39, 20 * (s > 2))), rng.integers(0, 5, 20 * (s > 2))) for s in range(n)]
    return Events.from_samples(samples, n_channels=5, labels=np.arange(n) % 3)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", sweep([*WILD, "unstable"], ["QIF", "unstable"]))
def test_where_and_when_is_told(name):
    plan = network(name if name in WILD else UNSTABLE, WILD.get(name, 1.0))
    values = plan.network.initial_parameters(1)
    told = []
    for engine in (
        ReferenceClock(plan, values),
        NativeEngine(plan, values, dtype="float64", threads=2),
        NativeEngine(plan, values, threads=1),
    ):
        data = engine.load(events())
        with pytest.raises(EngineError, match="diverged in sample 3 at ") as error:
            engine.run(data, np.array([0, 1, 3, 2]), training=True)
        assert "population 'hidden': V of neuron" in str(error.value)
        assert ("smaller dt than 0.5 ms" in str(error.value)) == (name in WILD)  # the other's step is exact
        told.append(float(re.search("at ([0-9.]+) ms;", str(error.value)).group(1)))
        assert np.isfinite(engine.run(data, [0, 1, 2], training=True).loss).all()  # the engine goes on
    assert told[0] == told[1] and 10 <= told[2] <= 40


@pytest.mark.parametrize("kind", [NativeEngine, C99Engine])
def test_a_piece_of_a_recording_tells_it_too(kind):
    plan = network("AdEx", WILD["AdEx"])
    engine = kind(plan, plan.network.initial_parameters(1), dtype="float64")
    runner, data = engine.recordings(20, 1e9), engine.load(events())
    with pytest.raises(EngineError, match=r"'hidden': V of neuron \d+ \(AdEx\) diverged in sample 3 at "):
        runner.run(data, np.array([0, 1, 3, 2]), training=True, record_spikes=False)
    assert np.isfinite(runner.run(data, np.arange(3), training=True, record_spikes=False).loss).all()


@pytest.mark.parametrize("on", ["harness", pytest.param("pygenn", marks=pytest.mark.needs_genn)])
@pytest.mark.parametrize("name", ["QIF", pytest.param("EIF", marks=pytest.mark.slow)])
def test_genn_tells_it_where_a_reset_hides_it(name, on):
    """A spike follows in the same step, and nothing that the host reads is infinite."""
    plan = network(name, WILD[name])
    values = plan.network.initial_parameters(1)
    engine = (HarnessEngine if on == "harness" else on_genn)(plan, values, dtype="float64")
    data = engine.load(events())
    with pytest.raises(EngineError, match="'hidden': V of neuron .* diverged in sample 3 at .*smaller dt than 0.5 ms"):
        engine.run(data, np.array([0, 1, 3, 2]), training=True)
    assert np.isfinite(engine.run(data, [0, 1, 2], training=True).loss).all()  # the engine goes on
    engine.close()


def test_training_stops_with_weights_as_they_were(tmp_path):
    plan = network("AdEx", WILD["AdEx"])
    trainer = Trainer(
        plan.network, plan.asked, dt=0.5, duration=40.0, batch_size=2, progress=False, engine="native",
        run_dir=tmp_path / "run",
    )  # fmt: skip
    before = {k: v.copy() for k, v in trainer.engine.parameters.items()}
    with pytest.raises(EngineError, match="'hidden'.* diverged in sample [012]"):
        trainer.fit(events()[[3, 4, 5]], epochs=1)
    assert all(np.array_equal(v, before[k]) for k, v in trainer.engine.parameters.items())
    assert not list((tmp_path / "run" / "checkpoints").glob("*.safetensors"))
