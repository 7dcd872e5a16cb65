"""NIR graphs and files, hostile or of an exporter that went wrong: bounded, with an error that names the node."""

import itertools
import time
import tracemalloc

import numpy as np
import pytest

from genn_eventprop.errors import DescriptionError
from genn_eventprop.nir import from_nir
from support.extras import needs

nir = needs("nir")
h5py = pytest.importorskip("h5py")


def lif(n=2):
    one = np.ones(n)
    return nir.LIF(tau=0.02 * one, r=0.02 * one, v_leak=0 * one, v_threshold=one, v_reset=0 * one)


def graph(nodes, edges):
    named = {"input": nir.Input(np.array([2])), **nodes, "n": lif(), "output": nir.Output(np.array([2]))}
    return nir.NIRGraph(named, [*edges, ("n", "output")], type_check=False)


def row(nodes):
    names = ["input", *nodes, "n"]
    return graph(nodes, list(itertools.pairwise(names)))


def diamonds(count, delay=lambda i: 2.0**i * 1e-6):
    """A delay beside a way around it, and so on: every one doubles the paths."""
    nodes, edges, last = {}, [], "input"
    for i in range(count):
        nodes |= {f"d{i}": nir.Delay(np.full(2, delay(i))), f"s{i}": nir.Scale(np.ones(2))}
        edges += [(last, f"d{i}"), (f"d{i}", f"s{i}"), (last, f"s{i}")]
        last = f"s{i}"
    return graph(nodes, [*edges, (last, "n")])


def test_delays_that_double_the_paths_are_bounded():
    began = time.process_time()
    with pytest.raises(DescriptionError, match=r"node 's\d+' gets its input over 2,048 different delays"):
        from_nir(diamonds(22))
    assert time.process_time() - began < 20
    found = from_nir(diamonds(5))
    assert len(found.network.connections) == 32
    assert len(from_nir(diamonds(30, lambda i: 0.001)).network.connections) == 31  # sums of paths of one delay


def test_thousands_of_nodes_in_a_row():
    found = from_nir(row({f"s{i}": nir.Scale(np.full(2, 2.0 if i % 2 else 0.5)) for i in range(3000)}))
    (connection,) = found.network.connections
    assert np.allclose(found.values[connection.weight_name], from_nir(row({})).values["input_n.weight"])


def test_a_row_that_does_not_say_its_size_ends():
    """Pairs of ways that all go the same way: looking for the size along each of them would not end."""
    nodes, edges, last = {}, [], "input"
    one = nir.LIF(tau=np.array(0.02), r=np.array(0.02), v_leak=np.array(0.0), v_threshold=np.array(1.0))
    for i in range(40):
        nodes |= {
            f"a{i}": nir.Scale(np.array(1.0)),
            f"b{i}": nir.Scale(np.array(1.0)),
            f"c{i}": nir.Scale(np.array(1.0)),
        }
        edges += [(last, f"a{i}"), (last, f"b{i}"), (f"a{i}", f"c{i}"), (f"b{i}", f"c{i}")]
        last = f"c{i}"
    made = graph({**nodes, "m": one}, [*edges, (last, "m"), ("m", "n")])
    began = time.process_time()
    assert {p.name: p.size for p in from_nir(made).network.populations} == {"m": 2, "n": 2}
    assert time.process_time() - began < 20


@pytest.mark.parametrize("length", [1, 2, 500])
def test_loops_without_neurons_are_told(length):
    nodes = {f"s{i}": nir.Scale(np.ones(2)) for i in range(length)}
    made = row(nodes)
    made.edges += [(f"s{length - 1}", "s0")]
    with pytest.raises(DescriptionError, match=r"node 's\d+' is in a loop without neurons"):
        from_nir(made)


def test_graphs_within_graphs_within_themselves():
    inner = row({})
    inner.nodes["again"] = inner
    with pytest.raises(DescriptionError, match="graphs are nested deeper than 32 levels"):
        from_nir(inner)


def conv(**changed):
    given = {"input_shape": (2, 2), "weight": np.ones((1, 2, 1, 1)), "stride": 1, "padding": 0, "dilation": 1}
    return nir.Conv2d(**{**given, "groups": 1, "bias": np.zeros(1), **changed})


def with_field(node, **changed):
    """A node whose fields were changed after it was made, as those of a file may be."""
    for name, value in changed.items():
        setattr(node, name, value)
    return node


BAD = {
    "complex weights": (with_field(nir.Linear(np.eye(2)), weight=1j * np.eye(2)), "weight must be real .* complex"),
    "complex delays": (nir.Delay(np.ones(2) + 0j), "delay must be real numbers, they are complex"),
    "bytes": (with_field(nir.Linear(np.eye(2)), weight=np.array([[b"1", b"2"], [b"3", b"4"]])), "weight must be real"),
    "a text": (with_field(nir.Scale(np.ones(2)), scale="1.0"), "scale must be real numbers"),
    "objects": (with_field(nir.Scale(np.ones(2)), scale=np.array([None, 1])), "scale must be real numbers"),
    "ragged": (with_field(nir.Scale(np.ones(2)), scale=[[1.0], [1.0, 2.0]]), "scale is no array"),
    "stride 0": (with_field(conv(), stride=0), "stride must be whole numbers from 1 on, got 0"),
    "stride below 0": (with_field(conv(), stride=(-1, 1)), "stride must be whole numbers from 1 on, got -1"),
    "half a stride": (with_field(conv(), stride=1.5), "stride must be whole numbers from 1 on, got 1.5"),
    "no groups": (with_field(conv(), groups=0), "groups must be whole numbers from 1 on, got 0"),
    "padding below 0": (with_field(conv(), padding=(-5, 0)), "padding must be whole numbers from 0 on, got -5"),
    "huge padding": (with_field(conv(), padding=2**40), "padding must be whole numbers from 0 on"),
    "no window": (with_field(nir.SumPool2d(1, 1, 0), kernel_size=0), "kernel_size must be whole numbers from 1 on"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_values_that_are_no_numbers_or_sizes(what):
    node, message = BAD[what]
    with pytest.raises(DescriptionError, match=message):
        from_nir(row({"x": node}))


@pytest.mark.parametrize("shape", [[-2], [0], [2**40], [2**20, 2**20], [2.5], [2 + 1j]])
def test_inputs_of_a_size_that_cannot_be(shape):
    made = row({})
    made.nodes["input"].input_type = {"input": np.array(shape)}
    with pytest.raises(DescriptionError, match="node 'input'"):
        from_nir(made)


def test_a_window_of_more_channels_than_memory():
    made = row({"x": with_field(conv(), padding=100_000_000)})
    made.nodes["input"].input_type = {"input": np.array([2, 2, 2])}
    with pytest.raises(DescriptionError, match=r"node 'x' \(Conv2d\) makes .* channels; up to"):
        from_nir(made)


# files


@pytest.fixture
def file(tmp_path):
    """A file that can be read, beside one that it has nothing to do with."""
    nir.write(tmp_path / "x.nir", row({"w": nir.Linear(np.eye(2))}))
    assert from_nir(tmp_path / "x.nir").values["w.weight"].shape == (2, 2)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["weight"] = np.eye(2)
    (tmp_path / "secret").write_bytes(bytes(64))
    return tmp_path / "x.nir"


def external_storage(node, name):
    node.create_dataset(name, (2, 2), np.float64, external=[("secret", 0, 32)])


def external_link(node, name):
    node[name] = h5py.ExternalLink("other.h5", "/weight")


def soft_link(node, name):
    node[name] = h5py.SoftLink("/node/type")


def virtual(node, name):
    layout = h5py.VirtualLayout((2, 2), np.float64)
    layout[:] = h5py.VirtualSource("other.h5", "weight", (2, 2))
    node.create_virtual_dataset(name, layout)


def sparse(node, name):
    node.create_dataset(name, (2_000_000, 2_000_000), np.float64, chunks=(1000, 1000), compression="gzip")


def itself(node, name):
    node[name] = node


@pytest.mark.parametrize("make", [external_storage, external_link, soft_link, virtual, sparse, itself])
def test_nir_files_that_reach_for_more_than_themselves(file, make, monkeypatch):
    monkeypatch.chdir(file.parent)
    with h5py.File(file, "a") as content:
        node = content["node/nodes/w"]
        del node["weight"]
        make(node, "weight")
    tracemalloc.start()
    with pytest.raises(DescriptionError, match=r"x\.nir.*node/nodes/w/weight (is|declares|has)"):
        from_nir(file)
    assert tracemalloc.get_traced_memory()[1] < 100_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("depth", [40, 2000])
def test_nir_files_nested_without_end(file, depth):
    with h5py.File(file, "a") as content:
        place = content["node/nodes"]
        for _ in range(depth):
            place = place.create_group("a")
    with pytest.raises(DescriptionError, match=r"x\.nir"):
        from_nir(file)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("type", b"Import"), ("type", 5), ("weight", b"eye"), ("weight", np.array([b"1", b"2"])),
        ("weight", np.float64(1)), ("weight", np.zeros((0, 2))), ("weight", np.zeros((2, 2, 2))), ("extra", 1),
        ("weight", 1j * np.eye(2)),
    ],
)  # fmt: skip
def test_nir_files_of_other_things_name_the_file(file, name, value):
    with h5py.File(file, "a") as content:
        node = content["node/nodes/w"]
        if name in node:
            del node[name]
        node[name] = value
    with pytest.raises(DescriptionError, match=r"x\.nir"):
        from_nir(file)


def test_thousands_of_nodes_in_a_row_of_a_file(tmp_path):
    nir.write(tmp_path / "x.nir", row({f"s{i}": nir.Scale(np.ones(2)) for i in range(1500)}))
    assert len(from_nir(tmp_path / "x.nir").network.connections) == 1
