"""Networks of norse and snnTorch give their spikes here, and networks of ours give theirs there.

tests/golden/nir/make.py made the files of both, and what the simulators do with them; with the simulators installed
networks of ours run in them too. A layer there sends its spikes in the step in which their cause arrives, here at the
end of it: spikes are one step later for each layer, and nothing else.
"""

from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Dense, Network, Normal
from genn_eventprop import nir as interop
from genn_eventprop.models import LIF, LIFDelta
from support.extras import needs
from support.sampled import random_spikes, run

nir = needs("nir")

FILES = Path(__file__).parents[2] / "golden" / "nir"


@pytest.mark.parametrize("name", ["norse", "snntorch", "snntorch_convolutions"])
def test_files_of_simulators_give_their_spikes(name):
    found = interop.from_nir(FILES / f"{name}.nir", name.split("_")[0], dt=1.0)
    recorded = np.load(FILES / f"{name}.npz")
    x = recorded["input"]
    order = {p.name: found.order.get(p.name, np.arange(p.size)) for p in found.network.populations}
    spikes, _ = run(found.network, found.values, x[:, found.order.get("input", np.arange(x.shape[1]))])
    assert len(found.network.populations) == 3
    for i, p in enumerate(found.network.populations):
        want, later = recorded[f"layer_{i}"][:, order[p.name]], i + 1
        assert want.sum() > 75
        np.testing.assert_array_equal(spikes[p.name][later:], want[: len(x) + 1 - later], p.name)
    if name.endswith("convolutions"):
        kinds = [type(c.connectivity).__name__ for c in found.network.connections]
        assert kinds == ["Conv2D", "Conv2D", "Dense"] and not any("Conv2d" in line for line in found.lost)


def test_what_the_files_do_not_say_is_told():
    norse = interop.from_nir(FILES / "norse.nir", "norse", dt=1.0)
    assert "multiplied by dt = 1 ms, as norse 1.1 does" in norse.lost[0]
    own = norse.network.populations[0].neuron.params
    assert own["tau_mem"].value == pytest.approx(-1 / np.log(1 - 0.1))  # 10 ms, stepped by Euler
    snntorch = interop.from_nir(FILES / "snntorch.nir", "snntorch")
    assert "0.1 ms was assumed" in snntorch.lost[0] and "reset_delay" in snntorch.lost[1]
    assert [p.name for p in snntorch.network.populations] == ["n1", "n3_lif", "n5"]
    assert "n3_lif_n3_lif" in [c.name for c in snntorch.network.connections]


def test_read_as_the_specification_they_are_other_networks():
    """Why there are dialects: norse's times are 1000 times too short then, and weights of snnTorch move V by 1e4."""
    norse = interop.from_nir(FILES / "norse.nir")
    assert norse.network.populations[0].neuron.params["tau_mem"].value == pytest.approx(0.01)
    snntorch = interop.from_nir(FILES / "snntorch.nir")
    plain = interop.from_nir(FILES / "snntorch.nir", "snntorch", dt=1.0)
    ratio = snntorch.values["input_n1.weight"] / plain.values["input_n1.weight"]
    np.testing.assert_allclose(ratio, np.broadcast_to(1e4 * np.linspace(0.7, 0.95, 8), ratio.shape), rtol=1e-5)


def network(model, *, several=False, recurrent=False):
    net = Network()
    taus = {"tau_mem": np.linspace(8.0, 25.0, 8)} if several else {}
    inp, hidden = net.input(5), net.population(model(**taus), 8, "hidden")
    out = net.population(model(), 3, "out")
    net.connect(inp, hidden, Dense(Normal(1.2 if model is LIF else 0.5, 0.5)))
    if recurrent:
        net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)))
    net.connect(hidden, out, Dense(Normal(1.0, 0.5)))
    return net, net.initial_parameters(3)


def there(module, x):
    """Spikes (T, N) of the last layer."""
    torch, state, spikes = needs("torch"), None, []
    with torch.no_grad():
        for step in x:
            given = torch.tensor(step[None], dtype=torch.float32)
            out = module(given) if state is None else module(given, state)
            out, state = out if isinstance(out, tuple) else (out, None)
            spikes.append(out.numpy()[0])
    return np.array(spikes, int)


def check(net, values, module):
    x = random_spikes(0, 80, 5)
    want = run(net, values, x)[0]["out"]
    assert want.sum() > 50
    np.testing.assert_array_equal(there(module, x)[:-1], want[2:])


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("model", [LIF, LIFDelta])
@pytest.mark.filterwarnings("default")
def test_ours_runs_in_norse(model, recurrent, tmp_path):
    pytest.importorskip("norse")
    from norse.torch.utils.import_nir import from_nir

    net, values = network(model, several=True, recurrent=recurrent)
    nir.write(tmp_path / "model.nir", interop.to_nir(net, values, "norse", dt=1.0))
    check(net, values, from_nir(nir.read(tmp_path / "model.nir"), dt=0.001))


@pytest.mark.parametrize("model", [LIF, LIFDelta])
@pytest.mark.filterwarnings("default")
def test_ours_runs_in_snntorch(model, tmp_path):
    pytest.importorskip("snntorch")
    from snntorch.import_nir import import_from_nir

    net, values = network(model)
    nir.write(tmp_path / "model.nir", interop.to_nir(net, values, "snntorch", dt=1.0))
    check(net, values, import_from_nir(nir.read(tmp_path / "model.nir")))
