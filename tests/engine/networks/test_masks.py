"""Where a mask has no synapse, no engine has a gradient; frozen weights are synapses, and have one."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, engines, losses
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import make_plan
from genn_eventprop.verify.gradients.compare import check_network
from support.engines import ENGINES

rng = np.random.default_rng(5)
MASK = rng.random((6, 9)) < 0.6
LEARNED = rng.random((9, 3)) < 0.5
TIMES = [(np.sort(rng.uniform(0, 29, 40)), rng.integers(0, 6, 40)) for _ in range(3)]
EVENTS = Events.from_samples(TIMES, n_channels=6, labels=[0, 1, 2])
REFERENCES = {"reference_clock": "grid", "reference_event": "exact", "native exact": "exact"}


def network():
    weights = np.random.default_rng(2)
    net = Network()
    inp, hidden = net.input(6), net.population(LIF(), 9, "hidden")
    out = net.population(LI(), 3, "output")
    net.connect(inp, hidden, Dense(weights.normal(1.4, 0.8, (6, 9)) * MASK, mask=MASK))
    net.connect(hidden, out, Dense(weights.normal(0.0, 0.5, (9, 3))), trainable=LEARNED)
    return net, losses.IntegratedVoltageCrossEntropy(out)


@pytest.mark.one_in(4)
@pytest.mark.parametrize("kind", [*ENGINES, *REFERENCES])
def test_a_mask_has_no_gradient_where_it_is_0(kind):
    net, loss = network()
    exact = REFERENCES.get(kind, "grid")
    plan, values = make_plan(net, loss, dt=1.0, duration=30.0, spike_times=exact), net.initial_parameters(0)
    if kind in ENGINES:
        made = ENGINES[kind](plan, values)
    else:
        made = engines.create(plan, values, engine=kind.split()[0])
    data, batch = made.load(EVENTS), np.arange(3)
    made.run(data, batch, training=True)
    found = [{k: np.array(v) for k, v in made.gradients.items()}]
    if made.splits:
        made.backward(np.ones_like(made.forward(data, batch).value))
        found.append({k: np.array(v) for k, v in made.gradients.items()})
    for gradients in found:
        assert not gradients["input_hidden.weight"][~MASK].any()
        assert np.count_nonzero(gradients["input_hidden.weight"][MASK]) > 20
        assert gradients["hidden_output.weight"][~LEARNED].any()
    optimiser = Adam(1e-3, clip_norm=1e-3)
    made.update(optimiser)
    assert not made.parameters["input_hidden.weight"][~MASK].any()
    made.close()


@pytest.mark.ci
@pytest.mark.parametrize("engine", ["native", pytest.param("reference_event", marks=pytest.mark.ci)])
def test_the_gradient_check_takes_masks(engine):
    net, loss = network()
    report = check_network(net, loss, events=EVENTS, duration=30.0, engine=engine)
    assert report.passed, str(report)
