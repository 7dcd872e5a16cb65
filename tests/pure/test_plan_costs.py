"""What connections cost, in numbers and in words."""

import numpy as np

from genn_eventprop import Conv2D, Delay, Dense, Network, Sparse, losses
from genn_eventprop.cli.show import describe_network
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.plan.costs import costs
from genn_eventprop.report import plots


def test_synapses_bytes_and_operations():
    net, conv = Network(), Conv2D(1.0, 2, 3)
    image = net.input(shape=(4, 4, 1))
    features = net.population(LIF(), name="features", shape=conv.output_shape(image.shape))
    output = net.population(LI(), 2, "output")
    net.connect(image, features, conv)
    net.connect(features, features, Sparse(0.1, fan_in=4), delay=Delay(3.0, max=8.0))
    net.connect(features, output, Dense(0.1), delay=Delay(1.0, kind="dendritic", max=4.0))
    plan = make_plan(net, losses.MaxVoltageCrossEntropy(output), dt=0.5, duration=20.0)
    first, loop, last = costs(plan)
    assert (first.synapses, first.weights, first.per_spike) == (9 * 3 * 4, 12, 108 / 16)
    assert first.table == 2 * 4 * (5 + 2 * 6) and first.ring == 0 and first.bytes() == 48 + first.table
    assert (loop.synapses, loop.delays, loop.ring) == (108, 108, 4 * 17 * 27) and loop.table == 4 * (28 + 216)
    assert (last.synapses, last.delays, last.table, last.ring) == (54, 2, 0, 4 * 9 * 2) and last.bytes(8) == 8 * 56
    said = describe_network(plan).splitlines()
    assert said[0] == "input: 16 channels" and said[1] == "features: 27 LIF"
    assert said[3].startswith("input_features: input -> features.input, 108 synapses, 12 weights; 184 B in float32; ")
    assert said[3].endswith("6.75 synapses per spike")
    assert "108 synaptic delays up to 8 ms" in said[4] and "2 dendritic delays up to 4 ms" in said[5]


def test_pictures_of_connections(tmp_path):
    from genn_eventprop.modelling import Synapses

    table = Synapses.of_pairs([(0, 1), (2, 0)], 3, 2)
    fig = plots.connectivity(table, np.array([1.0, -2.0]))
    image = fig.axes[0].images[0].get_array()
    assert image.mask[0, 0] and image[0, 1] == 1.0 and image[2, 0] == -2.0
    assert fig.axes[0].get_title("left") == "2 of 3 x 2 pairs"
    fig = plots.kernels(np.random.default_rng(0).normal(size=(3, 3, 2, 5)), channel=1)
    assert sum(bool(ax.images) for ax in fig.axes) >= 5
    now = {"a": np.array([0.0, 5.0, 10.0, 10.0])}
    fig = plots.delays(now, {"a": np.full(4, 5.0)}, {"a": 10.0})
    assert fig.axes[0].get_title("left") == "a: 25 % at 0, 50 % at 10 ms"
    plots.save(fig, tmp_path / "delays.png")
