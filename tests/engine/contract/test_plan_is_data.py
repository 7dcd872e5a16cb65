"""Engines run a bare `Plan`: no `Network` and no `Loss` stands in it, whatever it was made of."""

import dataclasses

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Param, losses
from genn_eventprop.engines import create
from genn_eventprop.losses import Loss
from genn_eventprop.modelling.network import Connection, Input, Population
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.plan import NetworkPlan, Plan, make_plan
from genn_eventprop.regularisers import Clamp, LayerRate, SpikeCount, SpikeRegulariser, WeightDecay

LIVE = (Network, Loss, Connection, Input, Population, SpikeRegulariser)


def made(spike_times) -> NetworkPlan:
    net = Network()
    inp = net.input(5)
    hidden = net.population(LIF(tau_mem=Param(20.0, "ms", trainable=True)), 4, name="hidden")
    output = net.population(LI(), 2, name="output")
    net.connect(inp, hidden, Dense(Normal(1.0, 0.5), bounds=(-2.0, None)))
    net.connect(hidden, output, Dense(Normal(0.1, 0.2)))
    more = [SpikeCount(hidden, 3.0, 0.01), LayerRate(hidden, 5.0, 0.01), WeightDecay(0.1), Clamp(None, 3.0)]
    loss = losses.IntegratedVoltageCrossEntropy(output)
    return make_plan(net, loss, dt=0.5, duration=20.0, spike_times=spike_times, regularisers=more)


def bare(plan: NetworkPlan) -> Plan:
    return Plan(**{f.name: getattr(plan, f.name) for f in dataclasses.fields(Plan)})


def test_records_hold_no_live_objects():
    def check(value, where):
        assert not isinstance(value, LIVE), where
        if dataclasses.is_dataclass(value):
            for f in dataclasses.fields(value):
                check(getattr(value, f.name), f"{where}.{f.name}")
        elif isinstance(value, (tuple, list)):
            for i, v in enumerate(value):
                check(v, f"{where}[{i}]")
        elif isinstance(value, dict):
            for k, v in value.items():
                check(v, f"{where}[{k!r}]")

    check(bare(made("grid")), "plan")
    with pytest.raises(AssertionError, match="plan.network"):
        check(made("grid"), "plan")


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    "engine, spike_times",
    [("native", "grid"), ("native", "exact"), ("reference_clock", "grid"), ("reference_event", "exact")],
)
def test_engines_train_a_bare_plan_to_the_same_bits(engine, spike_times):
    plan = made(spike_times)
    rng, first = np.random.default_rng(1), plan.network.initial_parameters(0)
    samples = [(np.sort(rng.uniform(0, 19, 20)), rng.integers(0, 5, 20)) for _ in range(2)]
    events, after = Events.from_samples(samples, n_channels=5, labels=[0, 1]), []
    for p in (plan, bare(plan)):
        running, optimiser = create(p, first, engine=engine), Adam(0.1)
        running.run(running.load(events), [0, 1], training=True)
        running.update(optimiser)
        after.append({k: np.array(v) for k, v in running.parameters.items()})
    assert all(np.array_equal(after[0][k], after[1][k]) for k in first)
    assert after[0]["input_hidden.weight"].max() <= 3.0 and not np.array_equal(
        after[0]["hidden.tau_mem"], first["hidden.tau_mem"]
    )


def test_another_grid_rounds_delays_again():
    plan = made("exact")
    late = dataclasses.replace(plan.connections[0], delay=2.5, delay_steps=5)
    plan = dataclasses.replace(plan, connections=(late, *plan.connections[1:]))
    assert [c.delay_steps for c in plan.on_grid(200).connections] == [25, 0] and plan.on_grid(200).dt == 0.1
