"""What a network says of itself: sizes, parameters, what is learned."""

import numpy as np

from genn_eventprop import Delay, Dense, Gamma, Network, Normal, Param, Uniform
from genn_eventprop.models import LI, LIF


def test_a_network_and_its_parts_describe_themselves():
    net = Network()
    tau = Param(Gamma(20.0, low=3.0, high=60.0), "ms", trainable=True)
    source, hidden = net.input(5), net.population(LIF(tau_mem=tau, v_thresh=[0.9, 1.0, 1.1]), 3, "hidden", noise=0.1)
    image = net.population(LI(tau_syn=Param(4.0, "ms", trainable=True, shared=True)), name="image", shape=(2, 2, 1))
    first = net.connect(source, hidden, Dense(Normal(1.5, 0.5)), delay=Delay(Uniform(0, 20), max=30.0))
    fixed = net.connect(hidden, hidden, Dense(np.ones((3, 3))), trainable=False, delay=1.0)
    some = net.connect(hidden, image, Dense(0.5), trainable=np.eye(3, 4, dtype=bool))
    shared = net.connect(source, hidden, share=first, name="again")
    assert repr(source) == "<input 'input': 5 channels>"
    tau = "tau_mem Gamma(mean=20.0, shape=3.0, low=3.0, high=60.0) ms (learned)"
    rest = "tau_syn 5 ms, v_thresh 0.9 to 1.1, v_reset 0, noise 0.1"
    assert repr(hidden) == f"<population 'hidden': 3 LIF, {tau}, {rest}>"
    assert "2 x 2 x 1 = 4 LI" in repr(image) and "tau_syn 4 ms (learned, one value for all)" in repr(image)
    delays = "synaptic delays Uniform(low=0, high=20) up to 30 ms (learned)"
    weights = "weights Normal(mean=1.5, std=0.5) (learned)"
    assert repr(first) == f"<connection 'input_hidden': input -> hidden, Dense 5 x 3, {weights}, {delays}>"
    assert "Dense 3 x 3, weights 1 (fixed), delay 1 ms" in repr(fixed)
    assert "weights 0.5 (3 learned)" in repr(some) and "weights of 'input_hidden'" in repr(shared)
    text = repr(net)
    assert text.startswith("<Network: 5 input channels, 7 neurons; learned: input_hidden.weight, input_hidden.delay")
    assert all(repr(part) in text for part in (source, hidden, image, first, fixed, some, shared))
