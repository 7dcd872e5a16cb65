"""Two silent events with opposite thresholds, of a neuron with two dynamics: the second does not undo the first."""

import numpy as np
import pytest
from scipy.optimize import brentq

from genn_eventprop import Dense, Events, Network, NeuronModel, Normal, Param, engines, losses
from genn_eventprop.modelling.neuron import Event, Mode
from genn_eventprop.models.li import LI
from genn_eventprop.plan import make_plan

GAIN, TAU_MEM, TAU_SYN, DURATION = 1.7, 20.0, 5.0, 20.0
TWO_DYNAMICS = NeuronModel(
    name="TwoDynamics",
    state={"V": 0.0, "I": 0.0},
    params={
        "tau_mem": Param(TAU_MEM, "ms"), "tau_syn": Param(TAU_SYN, "ms"), "v_fast": Param(0.4), "v_thresh": Param(1.0),
    },
    dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn"},
    events=[
        Event("up", "V - v_fast", {}, emits=False, modes=("free",), next_mode="fast"),
        Event("down", "v_fast - V", {}, emits=False, modes=("fast",), next_mode="free"),
        Event("spike", "V - v_thresh", {"V": 0.0}, modes=("fast",), next_mode="free"),
    ],
    modes=[Mode("fast", {"V": f"({GAIN} * I - V) / tau_mem"})],
    input="I",
)  # fmt: skip


def network(seed):
    rng, net = np.random.default_rng(seed), Network()
    source, hidden = net.input(4), net.population(TWO_DYNAMICS(v_fast=rng.uniform(0.1, 0.7)), 1, "hidden")
    net.connect(source, hidden, Dense(Normal(1.0, 1.0)))
    output = net.population(LI(), 2, "output")
    net.connect(hidden, output, Dense(Normal(0.5, 0.5)))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(output), dt=0.5, duration=DURATION, spike_times="exact")
    times, channels = np.sort(rng.uniform(0, DURATION - 1, 8)), rng.integers(0, 4, 8)
    return plan, net.initial_parameters(seed), times, channels


def by_hand(weights, v_fast, times, channels):
    """Times of all events, by the solution of the equations between them."""

    def after(ms):
        k = (GAIN if fast else 1.0) * I / TAU_MEM / (1 / TAU_MEM - 1 / TAU_SYN)
        return k * np.exp(-ms / TAU_SYN) + (V - k) * np.exp(-ms / TAU_MEM), I * np.exp(-ms / TAU_SYN)

    V, I, fast, now, found = 0.0, 0.0, False, 0.0, ([], [], [])
    arrivals = [*zip(times, weights[channels]), (DURATION, 0.0)]
    while arrivals:
        rest = arrivals[0][0] - now
        thresholds = {1: lambda ms: v_fast - after(ms)[0], 2: lambda ms: after(ms)[0] - 1.0}
        thresholds = thresholds if fast else {0: lambda ms: after(ms)[0] - v_fast}
        at = np.linspace(1e-9, rest, 2001)
        crossings = []
        for e, g in thresholds.items():
            values = g(at)
            for i in np.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))[:1]:
                crossings.append((brentq(g, at[i], at[i + 1], xtol=1e-15), e))
        ms, e = min(crossings, default=(rest, -1))
        (V, I), now = after(ms), now + ms
        if e < 0:
            I += arrivals.pop(0)[1]
            continue
        found[e].append(now)
        V, fast = (0.0 if e == 2 else V), e == 0
    return found


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("engine", "seeds"), [("native", range(24)), ("reference_event", range(24))])
def test_spikes_are_those_of_the_equations(engine, seeds):
    settings = {"dtype": "float64", "tolerance": 1e-12} if engine == "native" else {}
    silent = 0
    for seed in seeds:
        plan, parameters, times, channels = network(seed)
        made = engines.create(plan, parameters, engine=engine, **settings)
        data = made.load(Events.from_samples([(times, channels)], n_channels=4, labels=[0]))
        result = made.run(data, np.arange(1), record_spikes=True)
        weights = np.asarray(parameters["input_hidden.weight"], float)[:, 0]
        up, down, spikes = by_hand(weights, float(np.ravel(parameters["hidden.v_fast"])[0]), times, channels)
        silent += len(up) + len(down)
        np.testing.assert_allclose(
            np.sort(result.spikes["hidden"].time), spikes, rtol=0, atol=1e-9, err_msg=f"seed {seed}"
        )
        made.close()
    assert silent > len(seeds)  # most networks have such events
