"""Max pooling by first spike, as in docs/connectivity.md: a neuron that the first arrival of its window puts across."""

import numpy as np
import pytest

from genn_eventprop import Dense, Event, Events, Mode, Network, NeuronModel, Pool2D, losses
from genn_eventprop.engines import create
from genn_eventprop.models.li import LI
from genn_eventprop.plan import make_plan

FIRST = NeuronModel(
    name="FirstSpike",
    state={"V": 0.0},
    params={},
    dynamics={"V": "0"},
    events=[Event("spike", "V - 0.5", {"V": "0"}, modes=("free",), next_mode="done")],
    modes=[Mode("done", {"V": "0"})],
    input="V",
)


@pytest.mark.parametrize("engine", ["reference_clock", "c99"])
def test_a_window_passes_on_its_first_spike(engine):
    net, pool = Network(), Pool2D(2, 4.0)
    image = net.input(shape=(2, 4, 1))
    first = net.population(FIRST, name="first", shape=pool.output_shape(image.shape))
    output = net.population(LI(), 2, "output")
    net.connect(image, first, pool, trainable=False)
    net.connect(first, output, Dense([[1.0, 0.0], [0.0, 1.0]]))
    loss = losses.SquaredError(output, "end")
    plan = make_plan(net, loss, dt=1.0, duration=20.0)
    # window 0: channels 0, 1, 4, 5; window 1: 2, 3, 6, 7
    times, channels = np.array([3.0, 5.0, 6.0, 9.0, 11.0]), np.array([4, 0, 7, 2, 4])
    data = Events.from_samples([(times, channels)], n_channels=8, targets=np.zeros((1, 2)))
    running = create(plan, net.initial_parameters(0), engine=engine)
    found = running.run(running.load(data), [0], record_spikes=True).spikes["first"]
    assert found.neuron.tolist() == [0, 1] and found.time.tolist() == [4.0, 7.0]
    running.forward(running.load(data), [0])
    running.backward(np.ones((1, 2)))
    there = running.input_gradients != 0
    assert there.tolist() == [True, False, True, False, False]  # the gradient of a minimum of times
