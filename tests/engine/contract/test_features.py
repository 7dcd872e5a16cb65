"""What engines refuse: a plan for every feature that some engine lacks; what the refusal says to use runs it."""

import re
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Event, Mode, Network, NeuronModel, Normal, Param, Sparse, losses
from genn_eventprop.engines import create, engine_class
from genn_eventprop.engines.contract import features
from genn_eventprop.engines.contract.features import ALL, FEATURES, missing, refuse
from genn_eventprop.engines.feature_table import columns, feature_table
from genn_eventprop.engines.native import NativeEngine
from genn_eventprop.errors import EngineError
from genn_eventprop.losses.kinds import READOUTS, ReadoutKind
from genn_eventprop.models import LI, LIF, QIF
from genn_eventprop.models.lif_delta import LIFDelta
from genn_eventprop.models.lif_snippets import LIFSnippets
from genn_eventprop.plan import closed_form, make_plan
from genn_eventprop.program.readouts.trace import Trace
from support.clocked import random_events

PAGE = Path(__file__).resolve().parents[3] / "docs" / "engines.md"
T = 20.0
SIZED = NeuronModel(
    name="Sized", state={"V": 0.0, "I": 0.0}, params={"tau": Param(5.0, "ms"), "size": Param(1.0, trainable=True)},
    dynamics={"V": "(I - V) / tau", "I": "-I / tau"}, threshold="V - 1", reset={"V": 0.0},
    input={"input": {"I": "size"}},
)  # fmt: skip
BENT = NeuronModel(
    name="Bent", state={"V": 0.0, "S": 0.0}, params={"tau": Param(5.0, "ms")},
    dynamics={"V": "(tanh(S) - V) / tau", "S": "-S / tau"}, input="S",
)  # fmt: skip
SATURATED = NeuronModel(
    name="Saturated", state={"V": 0.0, "I": 0.0}, params={"tau": Param(5.0, "ms")},
    dynamics={"V": "(I - tanh(V)) / tau", "I": "-I / tau"}, input="I",
)  # fmt: skip
JUMPS = NeuronModel(
    name="Jumps", state={"V": 0.0}, params={"tau": Param(10.0, "ms")}, dynamics={"V": "-V / tau"}, input="V"
)
PLAIN = {
    "state": {"V": 0.0, "I": 0.0}, "params": {"tau": Param(5.0, "ms")},
    "dynamics": {"V": "(I - V) / tau", "I": "-I / tau"}, "input": "I",
}  # fmt: skip
SPIKE, TURN = Event("spike", "V - 0.5", {"V": "0"}), Event("turn", "V - 0.9", {"V": "0.2"}, emits=False)
SQUARED = NeuronModel(name="Squared", **PLAIN, threshold="V * V - 0.25", reset={"V": 0.0})
ONCE = NeuronModel(
    name="Once", **PLAIN, modes=[Mode("done", {"V": "-V / tau"})],
    events=[Event("spike", "V - 0.5", {"V": "0"}, modes=("free",), next_mode="done")],
)  # fmt: skip
TWO = NeuronModel(name="Two", **PLAIN, events=[SPIKE, Event("late", "I - 9", {"I": "0"})])
TURNS = NeuronModel(name="Turns", **PLAIN, events=[SPIKE, TURN])
SPIKELESS = NeuronModel(name="Spikeless", **PLAIN, events=[TURN])


def made(model=LIF, output=LI, loss=losses.MaxVoltageCrossEntropy, weights=Dense, delay=1.0, times="grid", **settings):
    """Three inputs, four hidden neurons, two outputs; (network, what `make_plan` takes)."""
    net = Network()
    hidden, out = net.population(model(), 4, "hidden"), net.population(output(), 2, "output")
    net.connect(net.input(3), hidden, Dense(Normal(2.0, 0.5)))
    net.connect(hidden, out, weights(Normal(0.4, 0.4)), delay=delay)
    return make_plan(net, loss(out), dt=0.5, duration=T, spike_times=times, **settings)


def shared(times, delay=1.0):
    net = Network()
    layers = [net.population(LIF(), 4, f"layer{i}") for i in range(3)]
    out = net.population(LI(), 2, "output")
    net.connect(net.input(3), layers[0], Dense(Normal(2.0, 0.5)))
    first = net.connect(layers[0], layers[1], Dense(Normal(1.5, 0.4)), delay=delay)
    net.connect(layers[1], layers[2], share=first)
    net.connect(layers[2], out, Dense(Normal(0.4, 0.4)))
    return make_plan(net, losses.MaxVoltageCrossEntropy(out), dt=0.5, duration=T, spike_times=times)


def two_along_the_trial(times):
    net = Network()
    hidden = net.population(LIF(), 4, "hidden")
    outs = [net.population(LI(), 2, name) for name in ("output", "other", "third")]
    net.connect(net.input(3), hidden, Dense(Normal(2.0, 0.5)))
    for out in outs:
        net.connect(hidden, out, Dense(Normal(0.4, 0.4)))
    asked = [losses.MaxVoltageCrossEntropy(outs[0]), *map(losses.PerStepCrossEntropy, outs[1:])]
    return make_plan(net, asked, dt=0.5, duration=T, spike_times=times)


def several(times, inputs=1, losses_of=1):
    """Several inputs, or losses; or connections back."""
    net = Network()
    out, other = net.population(LI(), 2, "output"), net.population(LI(), 2, "other")
    for k in range(inputs):
        net.connect(net.input(3, name=f"input{k}"), out, Dense(Normal(2.0, 0.5)))
    net.connect(net.inputs[0], other, Dense(Normal(2.0, 0.5)))
    asked = [losses.EndVoltageCrossEntropy(p) for p in (out, other)[:losses_of]]
    return make_plan(net, asked, dt=0.5, duration=T, spike_times=times)


def driven(times):
    net = Network()
    out = net.population(LI(), 2, "output")
    net.connect(net.input(3), out, Dense(Normal(2.0, 0.5)))
    net.connect(net.current(2, dt=1.0, name="stim"), out, Dense(Normal(2.0, 0.5)))
    return make_plan(net, losses.EndVoltageCrossEntropy(out), dt=0.5, duration=T, spike_times=times)


def back(times):
    net = Network()
    hidden, out = net.population(LIF(), 4, "hidden"), net.population(LI(), 2, "output")
    net.connect(net.input(3), hidden, Dense(Normal(2.0, 0.5)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.1)))
    net.connect(hidden, out, Dense(Normal(0.4, 0.4)))
    return make_plan(net, losses.EndVoltageCrossEntropy(out), dt=0.5, duration=T, spike_times=times)


def table(weights):
    return Sparse(weights, probability=0.9)


LEARNED = Delay(1.0, kind="axonal", trainable=True, max=3.0)
NEEDS = {
    features.LEARNED_RECEPTOR_GAIN: lambda t: made(SIZED, times=t),
    features.INEXACT_INTEGRALS: lambda t: made(
        output=SATURATED, loss=losses.IntegratedVoltageCrossEntropy, times=t
    ),
    features.NONLINEAR_RECEPTOR_PATH: lambda t: made(output=BENT, times=t),
    features.VOLTAGE_LOSS_WITH_JUMPS: lambda t: made(output=JUMPS, loss=losses.PerStepCrossEntropy, times=t),
    features.SHARED_WEIGHTS: shared,
    features.SHARED_TABLE_WEIGHTS: lambda t: shared(t, LEARNED),
    features.TRAJECTORY_AUXILIARY_LOSS: two_along_the_trial,
    features.VOLTAGE_LOSS_AFTER_TABLES: lambda t: made(
        output=JUMPS, loss=losses.PerStepCrossEntropy, weights=table, times=t
    ),
    features.PROGRAM_READOUTS: lambda t: made(loss=lambda out: losses.Loss(out, "sampled"), times=t),
    features.STEPWISE_READOUTS: lambda t: made(loss=lambda out: losses.Loss(out, "sampled"), times=t),
    features.HANDWRITTEN: lambda t: made(LIFSnippets, times=t),
    features.SPIKE_BIRTH: lambda t: made(times=t, spike_birth=0.1),
    features.SPIKE_BIRTH_DELAYS: lambda t: made(times=t, spike_birth=0.1, delay=LEARNED),
    "dynamics that are not linear in the state": lambda t: made(QIF, times=t),
    "a threshold that is not linear in the state": lambda t: made(SQUARED, times=t),
    "modes other than a refractory period": lambda t: made(ONCE, times=t),
    "several events": lambda t: made(TWO, times=t),
    "an event that sends no spike": lambda t: made(TURNS, times=t),
    closed_form.SPIKELESS: lambda t: made(output=SPIKELESS, loss=losses.EndVoltageCrossEntropy, times=t),
    features.THRESHOLD_JUMPS: lambda t: made(LIFDelta, times=t),
    features.SEVERAL_READOUTS: lambda t: made(loss=lambda out: losses.Loss(out, "max", also=("end",)), times=t),
    features.SEVERAL_INPUTS: lambda t: several(t, inputs=2),
    features.SEVERAL_LOSSES: lambda t: several(t, losses_of=2),
    features.CURRENTS: driven,
    features.EXACT_FEEDBACK: back,
}  # fmt: skip
LACKING = [
    pytest.param(name, kind, times, id=f"{kind.name}, {times}: {name}")
    for name in FEATURES for kind, times in columns() if name not in kind.features[times]
]  # fmt: skip


@pytest.fixture
def own_readout(monkeypatch, request):
    """V at samples in time, as a readout that the references do not know; of steps alone, if need be."""
    monkeypatch.setitem(READOUTS, "sampled", ReadoutKind("trace.Trace"))
    if features.STEPWISE_READOUTS in request.node.name:
        monkeypatch.delattr(Trace, "between_events")


def remedies(message, times):
    """(engine, spike times) of everything that a refusal says to use."""
    advice = message[message.rindex("; ") :]
    named = re.findall(
        r"'(native|c99|cuda|genn|reference_clock|reference_event)'(?: with spike_times='(\w+)')?", advice
    )
    yield from ((name, at or times) for name, at in named)


def refusal(plan, name):
    """The message of an engine that lacks a feature."""
    with pytest.raises(EngineError) as refused:
        refuse(plan, "toy", {plan.spike_times: ALL - {name}})
    return str(refused.value)


@pytest.mark.parametrize(("name", "kind", "times"), LACKING)
@pytest.mark.one_in(3)
def test_a_refusal_names_engines_that_run_it(name, kind, times, own_readout):
    plan = NEEDS[name](times)
    message = refusal(plan, name)
    assert message.startswith(f"toy {FEATURES[name](plan)}")
    instead = list(remedies(message, times))
    assert instead and (kind.name, times) not in instead, message
    if not missing(plan, NativeEngine.features[times]):  # which "auto" takes
        assert instead == [("native", times)]
    for engine, at in instead:
        refuse(NEEDS[name](at), engine, engine_class(engine).features)


def without(name):
    """(engine, spike times) that lack a feature; those of one whose list is long are compared in CI."""
    return [(kind.name, times) for n, kind, times in (case.values for case in LACKING) if n == name]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[pytest.mark.ci] * (without(n) == [("cuda", "exact")]))
        for n in NEEDS
        if without(n) and n != features.CURRENTS  # whose data are no events
    ],
)
@pytest.mark.one_in(12)
def test_what_a_refusal_names_trains(name, own_readout):
    kind, times = next((k, t) for n, k, t in (case.values for case in LACKING) if n == name)
    engine, at = next(remedies(refusal(NEEDS[name](times), name), times))
    plan = NEEDS[name](at)
    made = create(plan, plan.network.initial_parameters(1), engine=engine)
    result = made.run(made.load(random_events(plan, 2)), [0, 1], training=True)
    assert np.isfinite(result.loss).all() and all(np.isfinite(g).all() for g in made.gradients.values())
    made.close()


def test_the_page_has_the_table_of_what_engines_declare():
    """`python docs/figures/engine_features.py` writes it."""
    assert feature_table() in PAGE.read_text()
