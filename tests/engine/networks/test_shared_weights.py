"""Weights that two connections share; engines are compared with the reference in `contract/test_engines`."""

import numpy as np
import pytest

from genn_eventprop import Conv2D, Delay, Dense, Network, Normal, Sparse, Trainer, Uniform, load, losses
from genn_eventprop.engines import create
from genn_eventprop.errors import EngineError, NetworkError
from genn_eventprop.models import LI, LIF
from genn_eventprop.plan import make_plan
from support.clocked import random_events
from support.engines import Native, compare


def made(share, spike_times="grid"):
    """Three layers alike; two connections have the weights of one of them, or a copy of them."""
    net = Network()
    layers = [net.population(LIF(), 6, name=f"layer{i}") for i in range(3)]
    output = net.population(LI(), 3, name="output")
    net.connect(net.input(7), layers[0], Dense(Normal(1.5, 0.6)))
    first = net.connect(layers[0], layers[1], Dense(Normal(1.5, 0.4)))
    again = {"share": first} if share else {"connectivity": Dense(Normal(0.0, 0.1))}
    net.connect(layers[1], layers[2], delay=1.5, **again)
    net.connect(layers[2], output, Dense(Normal(0.3, 0.4)))
    loss = losses.IntegratedVoltageCrossEntropy(output)
    return make_plan(net, loss, dt=0.5, duration=40.0, spike_times=spike_times)


@pytest.mark.parametrize(
    ("engine", "spike_times"), [("reference_clock", "grid"), ("reference_event", "exact"), ("native", "exact")]
)
@pytest.mark.one_in(3)
def test_gradients_are_the_sum_of_both(engine, spike_times):
    results, gradients, values = [], [], {}
    for share in (True, False):
        plan = made(share, spike_times)
        values = plan.network.initial_parameters(3) | values
        values = {k: v for k, v in values.items() if k in plan.network.initial_parameters(3)}
        if not share:
            values["layer1_layer2.weight"] = values["layer0_layer1.weight"].copy()
        run = create(plan, values, engine=engine, **({"dtype": "float64"} if engine == "native" else {}))
        results.append(run.run(run.load(random_events(plan, 2)), [0, 1], training=True))
        gradients.append(run.gradients)
    assert results[0].spike_counts["layer2"].sum() > 3 and "layer1_layer2.weight" not in gradients[0]
    np.testing.assert_allclose(results[0].loss, results[1].loss, rtol=1e-13)
    both = gradients[1].pop("layer1_layer2.weight") + gradients[1]["layer0_layer1.weight"]
    for name, gradient in (gradients[1] | {"layer0_layer1.weight": both}).items():
        np.testing.assert_allclose(gradients[0][name], gradient, rtol=1e-10, atol=1e-14)


def delayed(owner, sharer, convolved=False, source_is_input=False):
    """Three connections share weights, the first of which may come from the input."""
    net, count = Network(), 3 if source_is_input else 4
    if convolved:
        inp = net.input(shape=(5, 5, 1))
        layers = [net.population(LIF(), shape=(5, 5, 1), name=f"layer{i}") for i in range(count)]
        weights = Conv2D(Normal(0.9, 0.4), 3, 1, padding=1)
    else:
        inp = net.input(6)
        layers = [net.population(LIF(), 6, name=f"layer{i}") for i in range(count)]
        weights = Dense(Normal(2.2, 0.4))
    output = net.population(LI(), 3, name="output")
    if source_is_input:
        first = net.connect(inp, layers[0], weights, delay=owner, name="first")
    else:
        net.connect(inp, layers[0], Dense(Normal(1.5, 0.6)))
        first = net.connect(layers[0], layers[1], weights, delay=owner, name="first")
    net.connect(layers[0], layers[1] if source_is_input else layers[2], share=first, delay=sharer, name="second")
    net.connect(layers[1], layers[-1], share=first, delay=0.5, name="third")
    for layer in layers[1:]:
        net.connect(layer, output, Dense(Normal(0.3, 0.4)), name=f"out_{layer.name}")
    loss = losses.IntegratedVoltageCrossEntropy(output)
    return make_plan(net, loss, dt=0.5, duration=40.0)


KINDS = {k: Delay(Uniform(0.5, 3.0), kind=k, trainable=True, max=4.0) for k in ("axonal", "dendritic", "synaptic")}
PAIRS = [(KINDS[a], KINDS[b]) for a in KINDS for b in KINDS] + [(1.0, k) for k in KINDS.values()]


@pytest.mark.one_in(28)
@pytest.mark.parametrize("source_is_input", [False, True])
@pytest.mark.parametrize(("owner", "sharer"), PAIRS, ids=lambda d: getattr(d, "kind", "one"))
def test_with_delays_that_are_values(owner, sharer, source_is_input):
    plan = delayed(owner, sharer, source_is_input=source_is_input)
    compare(Native, plan, random_events(plan, 5), slices=2)


@pytest.mark.ci
@pytest.mark.parametrize("which", ["owner", "sharer", "both"])
def test_convolutions_with_delays_that_are_values(which):
    of = {name: KINDS["axonal"] if which in (name, "both") else 1.0 for name in ("owner", "sharer")}
    plan = delayed(of["owner"], of["sharer"], convolved=True)
    compare(Native, plan, random_events(plan, 5), slices=2)


def test_training_and_the_run_folder(tmp_path):
    plan = made(True)
    settings = {"duration": 40.0, "dt": 0.5, "spike_times": "grid", "progress": False, "threads": 1}
    events = random_events(plan, 4)
    Trainer(plan.network, plan.asked, run_dir=tmp_path / "run", **settings).fit(events, epochs=1)
    model = load(tmp_path / "run")
    first, second = (c for c in model.described.network.connections if c.name in ("layer0_layer1", "layer1_layer2"))
    assert second.share is first and model.plan.connections[2].weight == "layer0_layer1.weight"
    assert len(model.predict(events)) == 4


def test_what_does_not_fit_is_refused():
    plan = made(True)
    net = plan.network
    read = {c.name: c for c in net.connections}
    layers = net.populations
    with pytest.raises(
        NetworkError, match=r"weights of shape \(6, 3\) are needed, but those of 'layer0_layer1' have \(6, 6\)"
    ):
        net.connect(layers[0], layers[3], share=read["layer0_layer1"], name="skip")
    with pytest.raises(NetworkError, match="connectivity, sign and trainable come from share="):
        net.connect(layers[0], layers[2], Dense(1.0), share=read["layer0_layer1"], name="skip")
    sparse = net.connect(layers[0], layers[2], Sparse(1.0, probability=0.5), name="sparse")
    with pytest.raises(NetworkError, match="belong to its own pairs"):
        net.connect(layers[1], layers[2], share=sparse, name="more")
    with pytest.raises(EngineError, match="cannot run connection 'layer1_layer2', which shares the weights of"):
        create(plan, net.initial_parameters(1), engine="genn")
