"""Networks to NIR and back give the same spikes: through graphs and files, in every dialect."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop import Conv2D, Delay, Dense, Network, OneToOne, Pool2D
from genn_eventprop import nir as interop
from genn_eventprop.models import LI, LIF, LIFDelta
from genn_eventprop.nir.neurons import IF, CubaLI, CubaLIF, DeltaLI, DeltaLIF, Integrator
from support.extras import needs
from support.sampled import random_spikes, run

nir = needs("nir")

HIDDEN = (LIF, LIFDelta, CubaLIF, DeltaLIF, IF)
OUTPUT = (LI, LIF, CubaLI, DeltaLI, Integrator)


def neuron(draw, model, size, sevenths):
    """Values of every parameter, some of them one a neuron."""
    rng, values = np.random.default_rng(draw(st.integers(0, 10**6))), {}
    ranges = {
        "tau_mem": (4, 30), "tau_syn": (2, 12), "v_thresh": (0.8, 1.3), "v_reset": (-0.4, 0.4), "v_rest": (-0.3, 0.3),
        "v_start": (-0.3, 0.3), "bias": (-0.02, 0.05),
    }  # fmt: skip
    for name in model.params:
        several = draw(st.booleans())
        values[name] = rng.uniform(*ranges[name], size if several else 1)
        values[name] = values[name] if several else float(values[name][0])
        if sevenths and name.startswith("tau"):
            values[name] = np.floor(7 * values[name]) / 7
    return model(**values)


@st.composite
def networks(draw, delays=True):
    net = Network()
    layers = [net.input(4)]
    for i in range(draw(st.integers(1, 3))):
        size = draw(st.integers(1, 6))
        layers.append(net.population(neuron(draw, draw(st.sampled_from(HIDDEN)), size, i), size, f"hidden{i}"))
    layers.append(net.population(neuron(draw, draw(st.sampled_from(OUTPUT)), 3, 0), 3, "out"))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    pairs = list(zip(layers, layers[1:], strict=False))
    pairs += [(p, p) for p in layers[1:-1] if draw(st.booleans())]
    pairs += [(layers[-2], layers[1])] if len(layers) > 3 and draw(st.booleans()) else []
    for k, (a, b) in enumerate(pairs):
        delay = draw(st.sampled_from((0.0, 0.5, 1.5, 1 / 3, 7.0))) if delays else 0.0
        weight = rng.normal(0.0 if a is b else 0.7, 0.6, (a.size, b.size))
        net.connect(a, b, Dense(weight), delay=delay, name=None if k % 2 else f"c{k}")
    return net, net.initial_parameters(0)


def check(net, values, other, seed, dt=1.0):
    x = random_spikes(seed, 60, 4)
    want, readout = run(net, values, x, dt)
    got, other_readout = run(other.network, other.values, x, dt)
    for name in want:
        np.testing.assert_array_equal(want[name], got[name], name)
    np.testing.assert_allclose(other_readout, readout, rtol=1e-9, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(networks(), st.integers(0, 99), st.sampled_from((1.0, 0.5)))
def test_a_graph_gives_the_same_spikes(case, seed, dt):
    net, values = case
    other = interop.from_nir(interop.to_nir(net, values))
    assert set(other.values) == set(values)
    check(net, values, other, seed, dt)


@settings(max_examples=5, deadline=None)
@given(case=networks(), seed=st.integers(0, 99))
def test_a_file_gives_the_same_spikes(case, seed, tmp_path_factory):
    path = tmp_path_factory.mktemp("nir") / "model.nir"
    net, values = case
    nir.write(path, interop.to_nir(net, values))
    check(net, values, interop.from_nir(path), seed)


@settings(max_examples=12, deadline=None)
@given(networks(delays=False), st.integers(0, 99), st.sampled_from((1.0, 0.25)))
def test_dialects_with_steps_give_the_same_spikes(case, seed, dt):
    net, values = case
    graph = interop.to_nir(net, values, "norse", dt=dt)
    check(net, values, interop.from_nir(graph, "norse", dt=dt), seed, dt)


@st.composite
def images(draw):
    """Conv2D, Pool2D, OneToOne and Dense on images with unequal sides, some neurons different, some delays axonal."""
    net, rng = Network(), np.random.default_rng(draw(st.integers(0, 10**6)))
    layers = [net.input(shape=(5, 4, 2))]
    side, pair = st.integers(1, 3), lambda low, high: (draw(st.integers(low, high)), draw(st.integers(low, high)))
    k = draw(side)
    weight = rng.normal(0.6, 0.5, (k, k, 2, 3))
    conv = Conv2D(weight, k, 3, stride=pair(1, 2), padding=pair(1, 2), dilation=pair(1, 2))
    pool = Pool2D((2, 1), draw(st.sampled_from((3.0, 1.7))), stride=pair(1, 2), padding=(draw(st.integers(0, 1)), 0))
    kinds = draw(
        st.sampled_from([(conv,), (pool,), (conv, pool), (conv, OneToOne(rng.normal(1.5, 0.5))), (conv, None)])
    )
    for i, kind in enumerate(kinds):
        source = layers[-1]
        shape = kind.output_shape(source.shape) if hasattr(kind, "output_shape") else source.shape
        model, size = draw(st.sampled_from((LIF, LIFDelta))), int(np.prod(shape))
        own = model(tau_mem=rng.uniform(5, 25, size), v_thresh=0.7)
        layers.append(net.population(own, name=f"image{i}", shape=shape))
        delay = Delay(rng.choice([0.0, 1.0, 2.5], source.size), kind="axonal", trainable=False, max=3.0)
        kind = Dense(rng.normal(0.2, 0.2, (source.size, size))) if kind is None else kind
        net.connect(source, layers[-1], kind, delay=draw(st.sampled_from((0.0, 1.5))) if draw(st.booleans()) else delay)
    out = net.population(LI(), 3, "out")
    net.connect(layers[-1], out, Dense(rng.normal(0.3, 0.5, (layers[-1].size, 3))))
    return net, net.initial_parameters(0)


@settings(max_examples=6, deadline=None)
@given(images(), st.integers(0, 99))
def test_images_give_the_same_spikes(case, seed):
    net, values = case
    graph = interop.to_nir(net, values)
    other = interop.from_nir(graph)
    assert {k: v.shape for k, v in other.values.items() if "delay" not in k and "tau" not in k} == {
        k: v.shape for k, v in values.items() if "delay" not in k and "tau" not in k
    }
    kinds = [[type(c.connectivity) for c in n.connections] for n in (net, other.network)]
    flat = Dense in kinds[0][:-1]  # a Dense to the last image, which is a vector in the file
    assert kinds[0] == kinds[1] and all(len(p.shape) == 3 for p in other.network.populations[: -2 if flat else -1])
    x = random_spikes(seed, 30, 40)
    want, got = run(net, values, x), run(other.network, other.values, x)
    for name in want[0]:
        np.testing.assert_array_equal(want[0][name], got[0][name], name)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-9, atol=1e-12)


def test_convolutions_of_groups_become_all_to_all():
    """The package nir 1.0 takes every convolution for one of a single group."""
    net, rng = Network(), np.random.default_rng(1)
    inp, conv = net.input(shape=(5, 4, 2)), Conv2D(rng.normal(0.9, 0.5, (2, 2, 1, 4)), 2, 4, groups=2)
    hidden = net.population(LIF(), name="hidden", shape=conv.output_shape(inp.shape))
    net.connect(inp, hidden, conv)
    net.connect(hidden, net.population(LI(), 3, "out"), Dense(rng.normal(0.3, 0.5, (hidden.size, 3))))
    values, x = net.initial_parameters(0), random_spikes(1, 30, 40)
    graph = interop.to_nir(net, values)
    assert "input_hidden: that it is Conv2D; it became all-to-all weights with zeros" in interop.lost(graph)
    other = interop.from_nir(graph)
    want, got = run(net, values, x)[0], run(other.network, other.values, x)[0]
    assert want["hidden"].sum() > 0
    np.testing.assert_array_equal(want["hidden"], got["hidden"])


@pytest.mark.parametrize("neuron", [LIF(), LIFDelta(v_thresh=1.2), CubaLIF(bias=0.4)], ids=["LIF", "LIFDelta", "bias"])
def test_what_is_written_for_snntorch_gives_the_same_spikes(neuron):
    """V is in other units there: R dt / tau is 1."""
    net = Network()
    inp, hidden, out = net.input(4), net.population(neuron, 6, "hidden"), net.population(neuron, 3, "out")
    rng = np.random.default_rng(1)
    for a, b in ((inp, hidden), (hidden, hidden), (hidden, out)):
        net.connect(a, b, Dense(rng.normal(0.0 if a is b else 1.6, 0.3, (a.size, b.size))))
    values, x = net.initial_parameters(0), random_spikes(1, 60, 4)
    graph = interop.to_nir(net, values, "snntorch", dt=1.0)
    node = graph.nodes["hidden"]
    np.testing.assert_allclose(node.r * 1e-4 / (node.tau if hasattr(node, "tau") else node.tau_mem), 1)
    other = interop.from_nir(graph, "snntorch", dt=1.0)
    want, got = run(net, values, x)[0], run(other.network, other.values, x)[0]
    assert want["out"].sum() > 20
    for name in want:
        np.testing.assert_array_equal(want[name], got[name], name)


def test_spikes_are_compared():
    """The networks above do spike."""
    net = Network()
    inp, hidden = net.input(4), net.population(LIF(), 6, "hidden")
    net.connect(inp, hidden, Dense(1.0))
    out = net.population(LI(), 3, "out")
    net.connect(hidden, out, Dense(0.5), delay=1.5)
    values = net.initial_parameters(0)
    spikes, readout = run(net, values, random_spikes(0, 60, 4))
    assert spikes["hidden"].sum() > 30 and (readout > 0).all()
    graph = interop.to_nir(net, values)
    assert graph.nodes["hidden"].w_in == pytest.approx(0.005) and graph.nodes["hidden"].tau_mem == pytest.approx(0.02)
    assert graph.nodes["hidden_out_delay"].delay == pytest.approx(0.0015)
    assert graph.nodes["hidden"].metadata["unit"] == "s"
    graph.nodes["hidden"].w_in = graph.nodes["hidden"].w_in * 1.01
    other = interop.from_nir(graph)
    assert other.values["input_hidden.weight"] == pytest.approx(1.01)
