"""NIR graphs: units, linear nodes, nested graphs, and what is refused by the name of its node."""

import subprocess
import sys

import numpy as np
import pytest

from genn_eventprop import Conv2D, Delay, Dense, Network, NeuronModel, OneToOne, Param, Pool2D, Sparse
from genn_eventprop import nir as interop
from genn_eventprop.errors import DescriptionError
from genn_eventprop.models import ALIF, LI, LIF, LIFConductance, LIFRefractory, LIFRelativeReset
from genn_eventprop.nir.neurons import CubaLIF
from support.extras import needs

nir = needs("nir")


def lif(n, tau=0.02, **values):
    one = np.ones(n)
    return nir.LIF(tau=tau * one, r=values.pop("r", tau) * one, v_leak=0 * one, v_threshold=one, v_reset=0 * one)


def cuba(n, **values):
    given = {
        "tau_mem": 0.02,
        "tau_syn": 0.005,
        "r": 1.0,
        "v_leak": 0.0,
        "v_threshold": 1.0,
        "v_reset": 0.0,
        "w_in": 0.005,
    }
    return nir.CubaLIF(**{k: np.full(n, v) for k, v in (given | values).items()})


def chain(*nodes, channels, **more):
    """input -> nodes -> output, a graph by names n0, n1, ..."""
    shape = np.atleast_1d(channels)
    named = {"input": nir.Input(shape)} | {f"n{i}": node for i, node in enumerate(nodes)}
    named["output"] = nir.Output(np.array([1]))
    names = list(named)
    return nir.NIRGraph(named | more, list(zip(names, names[1:], strict=False)), type_check=False)


def weights(graph, name="input_n1", **options):
    return interop.from_nir(graph, **options).values[f"{name}.weight"]


def test_units_of_the_specification():
    w = np.array([[1.0, 2.0]])
    found = interop.from_nir(chain(nir.Linear(w), cuba(1, w_in=0.01, r=3.0), channels=2))
    np.testing.assert_allclose(found.values["n0.weight"], w.T * 3 * 0.01 / 0.005)
    assert found.values["n1.tau_mem"] == 20.0 and found.values["n1.tau_syn"] == 5.0
    assert found.network.populations[0].model is LIF and found.outputs == ("n1",)
    found = interop.from_nir(chain(nir.Linear(w), lif(1, tau=0.01, r=0.02), channels=2))
    np.testing.assert_allclose(found.values["n0.weight"], w.T * 2)
    bare = nir.IF(r=np.full(1, 2.0), v_threshold=np.ones(1))
    found = interop.from_nir(chain(nir.Affine(w, np.array([3.0])), bare, channels=2))
    np.testing.assert_allclose(found.values["n0.weight"], 2 * w.T)
    assert found.values["n1.bias"] == pytest.approx(2 * 3 / 1000)  # per ms


def test_leak_and_bias():
    """tau_syn dI/dt = -I + w_in (S + b) tends to w_in b; V to v_leak + R w_in b."""
    graph = chain(nir.Affine(np.ones((1, 2)), np.array([40.0])), cuba(1, r=2.0, v_leak=0.25), channels=2)
    values = interop.from_nir(graph).values
    assert values["n1.bias"] == pytest.approx(2 * 0.005 * 40)
    assert values["n1.v_rest"] == 0.25 == values["n1.v_start"]
    node = nir.LIF(tau=np.full(1, 0.02), r=np.full(1, 0.5), v_leak=np.full(1, 0.25), v_threshold=np.ones(1))
    values = interop.from_nir(chain(nir.Affine(np.ones((1, 2)), np.array([0.5])), node, channels=2)).values
    assert values["n1.v_rest"] == 0.5 and values["n1.v_start"] == 0.25


def test_linear_nodes_become_one_matrix():
    w = np.arange(6.0).reshape(2, 3)
    scale, gain = nir.Scale(np.array([2.0, 3.0])), 0.005 / 0.005
    graph = chain(nir.Scale(np.array([1.0, 0.0, -1.0])), nir.Linear(w), scale, cuba(2), channels=3)
    want = (np.diag([1.0, 0, -1]) @ w.T) * [2.0, 3.0] * gain
    np.testing.assert_allclose(weights(graph, "n1"), want)


def test_a_delay_for_each_channel_becomes_axonal_delays():
    w = np.arange(1.0, 7.0).reshape(2, 3)
    before, after = nir.Delay(np.array([0.0, 0.0015, 0.0])), nir.Delay(np.array([0.002, 0.002]))
    found = interop.from_nir(chain(before, nir.Linear(w), after, cuba(2), channels=3))
    (c,) = found.network.connections
    assert c.delays.kind == "axonal" and not c.delays.trainable and c.delays.max == 3.5 and found.lost == ()
    np.testing.assert_array_equal(found.values["n1.delay"], [2.0, 3.5, 2.0])
    np.testing.assert_allclose(found.values["n1.weight"], w.T)


def test_delays_behind_weights_become_connections():
    w = np.arange(1.0, 7.0).reshape(2, 3)
    found = interop.from_nir(chain(nir.Linear(w), nir.Delay(np.array([0.0, 0.0015])), cuba(2), channels=3))
    by_delay = {c.delay: found.values[f"{c.name}.weight"] for c in found.network.connections}
    assert set(by_delay) == {0.0, 1.5}
    np.testing.assert_allclose(by_delay[0.0] + by_delay[1.5], w.T)
    np.testing.assert_array_equal(by_delay[1.5][:, 0], 0)
    assert found.lost == (
        "n2: its delays from input became 2 connections, in which the weights of other delays are zeros (and are "
        "learned too)",
    )


def effect(found, x):
    """What a spike of each channel of an image x (C, H, W) adds up to at the last population, in the file's order."""
    (c,) = found.network.connections
    source, target = (found.order.get(p.name, np.arange(p.size)) for p in (c.source, c.target))
    table, weight = c.connectivity.synapses(c.source.shape, c.target.shape), found.values[f"{c.name}.weight"]
    got = np.zeros(c.target.size)
    if table is None:
        got[target] = x.ravel()[source] @ weight
    else:
        np.add.at(got, target[table.target], x.ravel()[source][table.source] * weight.ravel()[table.weights])
    return got


def convolved(x, kernel, stride, padding, dilation, groups):
    """Convolution from its definition, (C, H, W) -> (O, H', W')."""
    x = np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel.shape[2:], strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, (1, 2))
    windows = windows[:, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    per_in, per_out = x.shape[0] // groups, kernel.shape[0] // groups
    parts = [
        np.einsum("chwyx,ocyx->ohw", windows[g * per_in :][:per_in], kernel[g * per_out :][:per_out])
        for g in range(groups)
    ]
    return np.concatenate(parts)


@pytest.mark.parametrize(
    "stride, padding, dilation, groups",
    [((1, 1), (0, 0), (1, 1), 1), ((2, 1), (1, 2), (1, 2), 1), ((1, 2), (1, 0), (1, 1), 2)],
)
def test_convolutions(stride, padding, dilation, groups):
    rng = np.random.default_rng(1)
    kernel, bias = rng.normal(size=(4, 2 // groups, 3, 2)), rng.normal(size=4)
    node = nir.Conv2d((6, 5), kernel, stride, padding, dilation, groups, bias)
    x = rng.normal(size=(2, 6, 5))
    want = convolved(x, kernel, stride, padding, dilation, groups)
    flat, n = nir.Flatten({"input": np.array(want.shape)}, start_dim=0), want.size
    found = interop.from_nir(chain(node, flat, lif(n), channels=(2, 6, 5)))
    np.testing.assert_allclose(effect(found, x), want.reshape(-1), atol=1e-12)
    order = found.order.get("n2", np.arange(n))
    np.testing.assert_allclose(found.values["n2.v_rest"], 0.02 * np.repeat(bias, want[0].size)[order])
    conv = found.network.connections[0].connectivity
    assert type(conv) is Conv2D and conv.groups == groups and found.lost == ()
    assert found.network.inputs[0].shape == (6, 5, 2) and found.values["n0.weight"].shape == (3, 2, 2 // groups, 4)


def test_a_convolution_is_that_of_torch():
    torch = needs("torch")
    rng = np.random.default_rng(5)
    x, kernel = rng.normal(size=(3, 9, 8)), rng.normal(size=(4, 3, 3, 2))
    options = {"stride": (2, 1), "padding": (1, 2), "dilation": (2, 3)}
    want = torch.nn.functional.conv2d(torch.tensor(x[None]), torch.tensor(kernel), **options).numpy()[0]
    node = nir.Conv2d((9, 8), kernel, *options.values(), 1, np.zeros(4))
    found = interop.from_nir(chain(node, lif(want.size), channels=x.shape))
    assert type(found.network.connections[0].connectivity) is Conv2D
    np.testing.assert_allclose(effect(found, x), want.reshape(-1), atol=1e-12)


def test_padding_by_name_and_pooling():
    rng = np.random.default_rng(2)
    kernel, x = rng.normal(size=(3, 2, 3, 3)), rng.normal(size=(2, 4, 6))
    same = nir.Conv2d((4, 6), kernel, 1, "same", 1, 1, np.zeros(3))
    pool = nir.SumPool2d(np.array([2, 3]), np.array([2, 3]), np.array([0, 0]))
    found = interop.from_nir(chain(same, pool, lif(3 * 2 * 2), channels=(2, 4, 6)))
    want = convolved(x, kernel, (1, 1), (1, 1), (1, 1), 1).reshape(3, 2, 2, 2, 3).sum((2, 4))
    np.testing.assert_allclose(effect(found, x), want.reshape(-1), atol=1e-12)
    assert found.lost == ("n2: Conv2d and SumPool2d became all-to-all weights, each learned separately",)


@pytest.mark.parametrize("each", [1.0, np.repeat([0.5, 2.0], 4)], ids=["one", "per channel"])
@pytest.mark.parametrize("kind", [nir.SumPool2d, nir.AvgPool2d])
def test_poolings(kind, each):
    x = np.random.default_rng(3).normal(size=(2, 4, 6))
    pool, scale = kind(np.array([2, 3]), np.array([2, 3]), np.array([0, 0])), nir.Scale(each * np.ones(8))
    found = interop.from_nir(chain(pool, scale, lif(8), channels=x.shape))
    want = x.reshape(2, 2, 2, 2, 3).sum((2, 4)).reshape(-1) * each / (6 if kind is nir.AvgPool2d else 1)
    assert type(found.network.connections[0].connectivity) is Pool2D
    assert found.values["n0.weight"].shape == ((1,) if np.ndim(each) == 0 else (2,))
    np.testing.assert_allclose(effect(found, x), want, atol=1e-12)


def test_recurrence_flat_and_nested_is_the_same():
    w_in, w_rec = np.arange(6.0).reshape(3, 2), np.arange(9.0).reshape(3, 3)
    flat = nir.NIRGraph(
        {"input": nir.Input(np.array([2])), "w": nir.Linear(w_in), "lif": cuba(3), "w_rec": nir.Linear(w_rec),
         "output": nir.Output(np.array([3]))},
        [("input", "w"), ("w", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
    )  # fmt: skip
    inner = nir.NIRGraph(
        {"input": nir.Input(np.array([3])), "lif": cuba(3), "w_rec": nir.Linear(w_rec),
         "output": nir.Output(np.array([3]))},
        [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
    )  # fmt: skip
    nested = chain(nir.Linear(w_in), inner, channels=2)
    one, other = interop.from_nir(flat), interop.from_nir(nested)
    np.testing.assert_array_equal(one.values["w_rec.weight"], w_rec.T)
    np.testing.assert_array_equal(other.values["n1_lif_n1_lif.weight"], w_rec.T)
    assert other.outputs == ("n1_lif",)


def test_an_edge_that_is_there_twice_counts_once():
    graph = chain(nir.Linear(np.ones((2, 2))), cuba(2), channels=2)
    graph.edges += [("n0", "n1"), ("input", "n0")]
    np.testing.assert_array_equal(weights(graph, "n0"), 1)


def test_layers_need_not_say_how_many_neurons_they_are():
    node = nir.LIF(*(np.array(v) for v in (0.02, 0.02, 0.0, 1.0, 0.0)))
    again = nir.LIF(*(np.array(v) for v in (0.02, 0.02, 0.0, 1.0, 0.0)))
    found = interop.from_nir(chain(nir.Linear(np.ones((4, 2))), node, nir.Scale(np.array(2.0)), again, channels=2))
    assert [p.size for p in found.network.populations] == [4, 4]


REFUSED = {
    "window": (
        chain(nir.AvgPool2d(*[np.array([3, 3])] * 2, np.array([0, 0])), lif(2), channels=(1, 1, 2)),
        r"'n0' \(AvgPool2d\) has a window of \(3, 3\), larger than its 1 x 2",
    ),
    "Threshold": (
        chain(nir.Threshold(np.ones(2)), lif(2), channels=2),
        "'n0' is a Threshold, which has no counterpart",
    ),
    "shape": (
        chain(nir.Linear(np.ones((2, 3))), lif(2), channels=2),
        r"'n0' \(Linear\) has a weight of shape \(2, 3\)",
    ),
    "values": (chain(nir.Linear(np.ones((2, 3))), cuba(3), channels=3), "'n1': r must be 1 or 2 finite numbers"),
    "no neuron": (
        chain(nir.Linear(np.ones((2, 3))), channels=3),
        r"'n0' \(Linear\) leads to the output with no neuron",
    ),
    "tau": (
        chain(nir.Linear(np.ones((2, 2))), cuba(2, tau_syn=0.0), channels=2),
        "'n1': a time constant must be positive",
    ),
    "reset": (chain(nir.Linear(np.ones((2, 2))), cuba(2, v_reset=1.0), channels=2), "'n1': v_reset must be below"),
    "delay": (chain(nir.Delay(np.ones(3)), lif(2), channels=2), "'n0' has 3 values, and 2 channels lead to it"),
    "before its cause": (
        chain(nir.Delay(np.array([0.001, -0.002])), lif(2), channels=2),
        r"'n0' \(Delay\): a delay of -0.002 s, below zero",
    ),
    "not a number": (
        chain(nir.Linear(np.array([[1.0, np.nan]])), lif(1), channels=2),
        r"'n0' \(Linear\): weight has values that are not finite",
    ),
    "no shape": (
        chain(nir.SumPool2d(*[np.array([1, 1])] * 3), lif(2), channels=2),
        r"'n0' \(SumPool2d\) needs channels x",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_said_is_refused_by_the_name_of_its_node(what):
    graph, message = REFUSED[what]
    with pytest.raises(DescriptionError, match=message):
        interop.from_nir(graph)


def test_more_that_is_refused(tmp_path):
    one = np.ones(2)
    li = nir.LI(tau=one, r=one, v_leak=0 * one)
    with pytest.raises(DescriptionError, match="'n0' never spikes, and its V drives 'n2'"):
        interop.from_nir(chain(li, nir.Linear(np.ones((2, 2))), lif(2), channels=2))
    large = nir.Conv2d((100, 100), np.ones((4, 2, 2, 2)), 1, "same", 1, 1, np.zeros(4))
    with pytest.raises(DescriptionError, match=r"'n0' \(Conv2d\) would be 20000 x 40000 weights"):
        interop.from_nir(chain(large, lif(40000), channels=(2, 100, 100)))
    loop = chain(nir.Linear(np.eye(2)), lif(2), channels=2)
    loop.edges += [("n0", "n0")]
    with pytest.raises(DescriptionError, match="'n0' is in a loop without neurons"):
        interop.from_nir(loop)
    found = interop.from_nir(chain(lif(5000), channels=5000))
    assert type(found.network.connections[0].connectivity) is OneToOne
    two = chain(lif(2), channels=2, other=nir.Input(np.array([2])))
    with pytest.raises(DescriptionError, match="only graphs with one input can be read, this one has 2"):
        interop.from_nir(two)
    with pytest.raises(
        DescriptionError, match="'n0': its number of neurons cannot be determined|nothing leads to node 'n9'"
    ):
        interop.from_nir(chain(lif(2), channels=2, n9=lif(2)))
    with pytest.raises(DescriptionError, match="there is no file"):
        interop.from_nir(tmp_path / "none.nir")
    (tmp_path / "bad.nir").write_text("no HDF5")
    with pytest.raises(DescriptionError, match="cannot be read as a NIR file"):
        interop.from_nir(tmp_path / "bad.nir")
    with pytest.raises(DescriptionError, match="expected a nir.NIRGraph"):
        interop.from_nir({})


def test_time_steps_are_never_guessed():
    graph = chain(nir.Linear(np.ones((2, 2))), cuba(2), channels=2)
    with pytest.raises(DescriptionError, match="norse files do not contain their time step: give dt"):
        interop.from_nir(graph, "norse")
    with pytest.raises(DescriptionError, match="takes no dt"):
        interop.from_nir(graph, dt=1.0)
    with pytest.raises(DescriptionError, match="unknown dialect 'norsk' of NIR; did you mean 'norse'"):
        interop.from_nir(graph, "norsk")
    with pytest.raises(DescriptionError, match="a positive time in ms"):
        interop.from_nir(graph, "norse", dt=0.0)
    with pytest.raises(DescriptionError, match="'n1': a time constant of 0.005 s cannot be stepped by 0.01 s"):
        interop.from_nir(graph, "norse", dt=10.0)
    assert "0.1 ms was assumed" in interop.from_nir(graph, "snntorch").lost[0]
    assert "0.1 ms" not in interop.from_nir(graph, "snntorch", dt=1.0).lost[0]


def network(model, **settings):
    net = Network()
    inp = net.input(3)
    hidden = net.population(model, 4, "hidden", **settings)
    return net, net.connect(inp, hidden, Dense(0.3)) and net.initial_parameters(0)


def looped_network():
    net, _ = network(LIF)
    net.connect(net.populations[0], net.populations[0], Dense(0.1))
    return net, net.initial_parameters(0)


def test_models_without_a_counterpart_are_refused():
    for model, why in (
        (LIFRefractory, "a refractory period"),
        (LIFRelativeReset, "its equations, reset"),
        (ALIF, "its eq"),
    ):
        with pytest.raises(DescriptionError, match=f"population 'hidden' \\({model.name}\\) has no counterpart.*{why}"):
            interop.to_nir(*network(model))
    net = Network()
    inp, hidden = net.input(3), net.population(LIFConductance, 2, "hidden")
    for receptor in LIFConductance.receptors:
        net.connect(inp, hidden, Dense(0.1), receptor=receptor, name=f"c_{receptor}")
    with pytest.raises(DescriptionError, match="several receptors"):
        interop.to_nir(net, net.initial_parameters(0))


def test_equations_count_and_not_names():
    own = NeuronModel(
        name="Mine", state={"V": "v_reset", "I": 0}, params=dict(LIF.params),
        dynamics={"V": "-V / tau_mem + I / tau_mem", "I": "-1 / tau_syn * I"}, threshold="V / 1 - v_thresh",
        reset={"V": "v_reset"}, input="I",
    )  # fmt: skip
    assert isinstance(interop.to_nir(*network(own)).nodes["hidden"], nir.CubaLIF)


def test_what_is_lost_is_listed(tmp_path):
    net = Network()
    inp = net.input(3)
    neuron = LIF(v_reset=-0.5, tau_mem=Param(20.0, "ms", trainable=True))
    hidden, out = net.population(neuron, 4, "hidden", noise=0.1, dropout=0.2), net.population(LI, 2, "out")
    net.connect(inp, hidden, Dense(0.3, (0.0, None)))
    net.connect(hidden, out, Dense(0.3), trainable=False)
    graph = interop.to_nir(net, net.initial_parameters(0))
    want = (
        "hidden: the initial V is only in the metadata, which other programs do not read",
        "hidden: noise and dropout, which act in training",
        "hidden: that tau_mem are learned",
        "hidden_out: that it is not learned",
        "input_hidden: the bounds of its weights",
    )
    assert interop.lost(graph) == want
    nir.write(tmp_path / "a.nir", graph)
    assert interop.lost(nir.read(tmp_path / "a.nir")) == want


def test_what_other_readers_do_not_take():
    values = {"v_reset": -0.5}
    with pytest.raises(DescriptionError, match="'hidden' cannot be written for snnTorch: v_reset and the resting"):
        interop.to_nir(*network(LIF(**values)), "snntorch", dt=1.0)
    with pytest.raises(DescriptionError, match="one threshold and one membrane time constant"):
        interop.to_nir(*network(LIF(tau_mem=np.arange(5.0, 9.0))), "snntorch", dt=1.0)
    with pytest.raises(DescriptionError, match="it reads only LIF and CubaLIF, this is CubaLI"):
        interop.to_nir(*network(LI), "snntorch", dt=1.0)
    with pytest.raises(DescriptionError, match="give dt, the time step in ms for snntorch"):
        interop.to_nir(*network(LIF), "snntorch")
    net, values = network(LIF)
    net.connect(net.populations[0], net.populations[0], Dense(0.1), delay=2.0)
    with pytest.raises(DescriptionError, match="no value is given for hidden_hidden.weight"):
        interop.to_nir(net, values)
    wrong = net.initial_parameters(0) | {"hidden_hidden.weight": np.ones((4, 3))}
    with pytest.raises(DescriptionError, match=r"hidden_hidden.weight has shape \(4, 3\), this network needs \(4, 4\)"):
        interop.to_nir(net, wrong)
    with pytest.raises(DescriptionError, match="'hidden_hidden' has a delay, which norse does not read from NIR"):
        interop.to_nir(net, net.initial_parameters(0), "norse", dt=1.0)
    net = Network()
    hidden = net.population(LIF, 2, "hidden")
    net.connect(net.input(3), hidden, Dense(0.1))
    net.connect(hidden, hidden, Dense(0.1))
    net.connect(hidden, net.population(LI, 2, "out"), Dense(0.1))
    said = interop.lost(interop.to_nir(net, net.initial_parameters(0), "norse", dt=1.0))
    (readout,) = said
    assert readout.startswith("out: norse writes readout nodes but does not read them; train with outputs that spike")
    assert "--output LIF" in readout
    rest = {"v_reset": -0.5, "v_rest": 0.1, "v_start": 0.1}
    said = interop.lost(interop.to_nir(*network(CubaLIF(**rest)), "norse", dt=1.0))
    assert [line.split(":")[1][:12] for line in said] == [" norse reset", " norse appli"]
    looped = interop.to_nir(*looped_network(), "snntorch", dt=1.0)
    assert "hidden_hidden: snnTorch gives different spikes" in interop.lost(looped)[0]
    net, values = network(LIF)
    with pytest.raises(DescriptionError, match="outputs: no population 'out'; known: hidden"):
        interop.to_nir(net, net.initial_parameters(0), outputs=["out"])


def test_the_package_does_without_nir():
    code = (
        "import sys; sys.modules['nir'] = None\n"
        "import genn_eventprop; from genn_eventprop import nir\n"
        "try: nir.from_nir('x.nir')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    said = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "DescriptionError NIR graphs need the package nir: pip install 'genn_eventprop[nir]'\n"
    code = (
        "import genn_eventprop, genn_eventprop.training, sys; sys.exit('nir' in sys.modules or 'h5py' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code]).returncode == 0


def test_sparse_weights_and_axonal_delays_are_written():
    net = Network()
    inp, hidden = net.input(3), net.population(LIF(), 4, "hidden")
    delays = Delay(np.array([0.0, 1.5, 4.0]), kind="axonal", max=5.0)
    net.connect(inp, hidden, Sparse(np.array([1.0, 2.0, 3.0]), pairs=[(2, 0), (0, 3), (1, 0)]), delay=delays)
    graph = interop.to_nir(net, values := net.initial_parameters(0))
    want = np.zeros((3, 4))
    want[[2, 0, 1], [0, 3, 0]] = values["input_hidden.weight"]
    np.testing.assert_array_equal(graph.nodes["input_hidden"].weight, want.T)
    np.testing.assert_allclose(graph.nodes["input_hidden_delay"].delay, [0.0, 1.5e-3, 4e-3])
    lost = interop.lost(graph)
    assert "input_hidden: that it is Sparse; it became all-to-all weights with zeros" in lost
    assert "input_hidden: that its delays are learned, up to 5 ms" in lost
    net.connect(hidden, hidden, Dense(1.0), delay=Delay(1.0, kind="synaptic"))
    with pytest.raises(DescriptionError, match="'hidden_hidden' has synaptic delays, and NIR delays whole channels"):
        interop.to_nir(net, net.initial_parameters(0))


def image_network(bias=0.0, recurrent=False, kernel=3):
    net, conv = Network(), Conv2D(np.arange(1.0, kernel * 12 + 1).reshape(kernel, 3, 2, 2), (kernel, 3), 2, padding=1)
    image = net.input(shape=(4, 6, 2))
    shape = conv.output_shape(image.shape)
    features = net.population(CubaLIF(bias=bias), name="features", shape=shape)
    net.connect(image, features, conv)
    if recurrent:
        net.connect(features, features, Dense(0.1))
    return net, net.initial_parameters(0)


def test_convolutions_are_written_with_a_bias_for_each_channel():
    net, values = image_network(bias=np.tile([0.1, 0.2], 24))
    graph = interop.to_nir(net, values)
    node = graph.nodes["input_features"]
    assert type(node) is nir.Conv2d and interop.lost(graph) == () and graph.nodes["features"].r.shape == (2, 4, 6)
    np.testing.assert_array_equal(node.weight, values["input_features.weight"].transpose(3, 2, 0, 1))
    found = interop.from_nir(graph)
    assert found.network.populations[0].shape == (4, 6, 2)
    np.testing.assert_allclose(found.values["features.bias"], values["features.bias"])


@pytest.mark.parametrize(
    "case",
    [{"bias": np.linspace(0.1, 0.2, 48)}, {"recurrent": True}, {"kernel": 2}],
    ids=["bias", "recurrent", "kernel"],
)
def test_convolutions_that_nir_cannot_say_become_linear(case):
    graph = interop.to_nir(*image_network(**case))
    assert {type(graph.nodes["input_features"])} <= {nir.Linear, nir.Affine}
    assert "input_features: that it is Conv2D; it became all-to-all weights with zeros" in interop.lost(graph)
