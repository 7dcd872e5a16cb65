"""What a sample costs, against sums written out synapse by synapse."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.losses import MaxVoltageCrossEntropy
from genn_eventprop.modelling import Conv2D, Sparse
from genn_eventprop.models import LI, LIF
from genn_eventprop.training.accounting import accounting, describe_costs, energy_words


def network():
    net = Network()
    image, other = net.input(32, name="image", shape=(4, 4, 2)), net.input(3, name="other")
    hidden = net.population(LIF(), 12, name="hidden", shape=(2, 2, 3))
    second = net.population(LIF(), 5, name="second")
    output = net.population(LI(), 2, name="output")
    net.connect(image, hidden, Conv2D(Normal(0.4, 0.3), 3, 3))
    net.connect(other, second, Dense(Normal(1.0, 0.3), mask=np.arange(15).reshape(3, 5) % 2))
    net.connect(hidden, second, Sparse(Normal(1.0, 0.3), probability=0.4))
    net.connect(second, second, Dense(np.eye(5) * -0.1), delay=1.0)
    net.connect(second, output, Dense(Normal(0.3, 0.3)))
    return net, output


def matrix(c, parameters):
    """(M, N) number of synapses with a weight, by going through them."""
    full = np.zeros((c.pre, c.post))
    if c.form == "dense":
        return (parameters[c.weight] * (1 if c.mask is None else c.mask)) != 0
    table = c.windows.synapses() if c.windows else c.table
    pairs = parameters[c.pairs] if c.drawn else list(zip(table.source, table.target))
    weights = parameters[c.weight].ravel()
    for s, (j, n) in enumerate(sorted(map(tuple, pairs))):
        number = s if table is None else table.weights[s]
        full[j, n] += weights[number] != 0
    return full


@pytest.mark.one_in(2)
@pytest.mark.parametrize("spike_times", ["grid", "exact"])
def test_costs_are_those_of_every_spike_at_every_synapse(spike_times):
    net, output = network()
    trainer = Trainer(net, MaxVoltageCrossEntropy(output), duration=20.0, dt=1.0, spike_times=spike_times, batch_size=4)
    rng = np.random.default_rng(3)
    samples = [(np.sort(rng.uniform(0, 19, n)), rng.integers(0, 35, n)) for n in (0, 30, 60, 90, 40)]
    events = Events.from_samples(samples, n_channels=35, labels=[0, 1, 0, 1, 0])
    data, evaluation = trainer.engine.load(events), trainer.evaluate(events)
    parameters = trainer.engine.parameters
    parameters["second_output.weight"][0] = 0.0
    costs = accounting(trainer.plan, parameters, evaluation.spikes, data)
    counts = trainer.spike_counts(events)
    counts[trainer.plan.input.name] = np.array([np.bincount(c, minlength=35) for _, c in samples])
    total = synapses = nonzero = 0
    for c in trainer.plan.connections:
        first, last = c.channels or (0, c.pre)
        full = matrix(c, parameters)
        expected = sum((counts[c.source][b, first:last, None] * full).sum() for b in range(5)) / 5
        assert costs["by_connection"][c.name] == pytest.approx(expected)
        total, synapses, nonzero = total + expected, synapses + c.synapses, nonzero + full.sum()
    assert costs["synaptic_operations"] == pytest.approx(total) and total > 100
    assert costs["connection_sparsity"] == pytest.approx(1 - nonzero / synapses)
    assert costs["spikes"]["hidden"] == pytest.approx(counts["hidden"].mean())
    assert costs["energy_nJ"] == pytest.approx(total * 0.9e-3)
    on_grid = spike_times == "grid"
    assert costs["dense_operations"] == (synapses * 20 if on_grid else None)
    spikes = counts["hidden"].sum() + counts["second"].sum()
    assert costs["activation_sparsity"] == (pytest.approx(1 - spikes / (5 * 17 * 20)) if on_grid else None)
    assert f"{total:,.0f} synaptic operations" in describe_costs(costs)


def test_energies_have_a_unit_that_can_be_read():
    assert [energy_words(v) for v in (0.97, 999.4, 999.6, 1240.0, 3.2e6)] == [
        "0.97 nJ", "999 nJ", "1 µJ", "1.24 µJ", "3.2 mJ",
    ]  # fmt: skip
