"""What is wrong with a model is told when it is made: file, line, model and symbol; before any compiler runs."""

from dataclasses import replace
from pathlib import Path

import pytest

from genn_eventprop import Dense, Event, Mode, Network, NeuronModel, Param, Trainer, losses, models
from genn_eventprop.adjoint import derive
from genn_eventprop.engines.reference.exact.engine import ReferenceEvent
from genn_eventprop.errors import EventPropError, LossError, ModelError, NetworkError, PlanError
from genn_eventprop.modelling.reach import landings
from genn_eventprop.modelling.units import describe, parse_unit
from genn_eventprop.models import LI, LIF, AdEx, LIFDelta
from genn_eventprop.plan import make_plan


def mine(**changes):
    parts = {
        "name": "Mine",
        "state": {"V": 0.0, "I": 0.0},
        "params": {"tau_m": Param(20.0, "ms"), "tau_s": Param(5.0, "ms"), "v_t": Param(1.0), "v_r": Param(0.0)},
        "dynamics": {"V": "(I - V) / tau_m", "I": "-I / tau_s"},
        "threshold": "V - v_t",
        "reset": {"V": "v_r"},
        "input": "I",
    }
    return NeuronModel(**(parts | changes))


WRONG = {
    "dynamics of V: unknown symbol 'tau_mm' .did you mean 'tau_m'": {"dynamics": {"V": "-V / tau_mm", "I": "-I"}},
    "unknown function 'rand' .a random equation or threshold has no exact gradient": {"threshold": "V - rand(1)"},
    "unknown function 'max' .write a step or a kink as an event or a mode": {"dynamics": {"V": "max(I, V)", "I": "-I"}},
    "is not arithmetic .a power is written [*][*], as V[*][*]2. in": {
        "dynamics": {"V": "(I - V^2) / tau_m", "I": "-I"}
    },
    "is not arithmetic .write a step or a kink as an event": {"dynamics": {"V": "I if V > 0 else V", "I": "-I"}},
    "unknown symbol 't' .equations cannot depend on time": {"threshold": "t - 5"},
    "'-1 - V[*][*]2' of event 'spike' is below zero for all states": {"threshold": "-1 - V**2"},
    "'tanh.V. - 2' of event 'spike' is below zero": {"threshold": "tanh(V) - 2"},
    "lands at or above its threshold 'V - v_t' .by 1.": {"reset": {"V": "2 * v_t"}},
    "lands at or above its threshold 'V - v_t' .by 0.1.": {"reset": {"V": "V + 0.1"}},
    "lands at or above its threshold 'V - v_t' .by 0., so it .* or go to a mode": {"reset": {}},
    "no input can reach the threshold 'B - v_t' of event 'spike': it depends on B": {
        "state": {"V": 0.0, "I": 0.0, "B": 0.0},
        "dynamics": {"V": "(I - V) / tau_m", "I": "-I / tau_s", "B": "-B / tau_s"},
        "threshold": "B - v_t",
    },
    "params must be a dictionary, e.g. {'tau_mem': Param.20.0, 'ms'.}, got .1, 2.": {"params": [1, 2]},
    "'mode' cannot name a state, parameter or drive": {"params": {"mode": Param(1.0)}},
    "'lambda_V' cannot name a state, parameter or drive": {"params": {"lambda_V": Param(1.0)}},
    "input names a state, or is a dictionary of receptors, got 3": {"input": 3},
    "events are Event.*, got int": {"events": [3], "threshold": None, "reset": None},
    "a neuron model needs a name": {"name": ""},
}


@pytest.mark.parametrize("message", WRONG)
def test_models_that_are_refused(message):
    with pytest.raises(ModelError, match=r"test_modelling_errors\.py:\d+: .*" + message):
        mine(**WRONG[message])


def test_the_line_of_the_wrong_expression(tmp_path, monkeypatch):
    file = tmp_path / "my_neuron.py"
    file.write_text(
        "from genn_eventprop import NeuronModel, Param\n\n"
        "Mine = NeuronModel(\n    name='Mine', state={'V': 0.0}, params={'tau': Param(5.0, 'ms')},\n"
        "    dynamics={\n        'V': '-V / tauu',\n    },\n    input='V',\n)\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"^my_neuron\.py:6: Mine: dynamics of V: unknown symbol 'tauu'"):
        exec(compile(file.read_text(), str(file), "exec"), {})


@pytest.mark.parametrize(
    ("name", "unit", "message"),
    [
        ("tau_syn", "s", r"dynamics of I: units do not add up in '-I / tau_syn'"),
        ("delta_t", "ms", r"'\(V - v_thresh\) / delta_t': it is mV/ms, but the argument of exp is a pure number"),
        ("c_mem", "nF", r"dynamics of V: units do not add up"),
        ("v_reset", "pA", r"reset of V: units do not add up in 'v_reset': it is pA, but V is mV"),
        ("a", "mV/(", r"the unit 'mV/\(' of a is not understood"),
    ],
)
def test_units_that_do_not_add_up(name, unit, message):
    changed = AdEx.params | {name: Param(AdEx.params[name].value, unit)}
    with pytest.raises(ModelError, match=message):
        replace(AdEx, params=changed, threshold=None, reset=None)


def test_units_where_none_are_given_are_free():
    for model in models.ZOO.values():  # Izhikevich's numbers carry units, LIF's V has none
        replace(model, threshold=None, reset=None)
    mine(dynamics={"V": "I - V", "I": "-I"})  # a silent factor of 1 / ms
    assert parse_unit("nS*mV") == parse_unit("pA") == parse_unit("pF * mV / ms") != parse_unit("nA")
    assert describe(parse_unit("mV/ms")) == "mV/ms" and describe(parse_unit("mV/mV")) == "a pure number"


def test_resets_that_are_fine():
    late = [Mode("held", {"V": "0"}, lasts="tau_s")]
    held = Event("spike", "V - v_t", {"V": "2 * v_t"}, modes=("free",), next_mode="held")
    mine(threshold=None, reset=None, events=held, modes=late)  # not possible in the mode that follows
    assert [str(landing) for _, landing in landings(LIF)] == ["v_reset - v_thresh"]


def test_resets_by_the_values_of_a_population():
    net = Network()
    net.connect(net.input(2), net.population(LIF(v_reset=[0.0, 1.5]), 2, name="hidden"), Dense(1.0))
    message = r"population 'hidden' \(LIF\): the reset of event 'spike' lands at or above its threshold .*by 0.5"
    with pytest.raises(ModelError, match=message):
        net.initial_parameters(0)


def test_wrong_types_of_values():
    for make in (lambda: Param("20.0"), lambda: LIF(tau_mem="20"), lambda: LIF(tau_mem=True), lambda: Param(None)):
        with pytest.raises(NetworkError, match="expected a number, an array or an initialiser, got"):
            make()
    with pytest.raises(NetworkError, match="the unit must be a string"):
        Param(1.0, 5)


def test_algebra():
    bent = mine(dynamics={"V": "(I - abs(V + 0.3)) / tau_m", "I": "-I / tau_s"}, threshold="V * abs(V) - v_t")
    assert not derive(bent).linear
    with pytest.raises(ModelError, match=r"test_modelling_errors.py:\d+: Mine: the dynamics are not linear"):
        derive(replace(bent, scheme="exact", threshold=None, reset=None))


def network(model, delay=0.0, output=None):
    net = Network()
    hidden, out = net.population(model, 2, name="hidden"), net.population(output or LI(), 2, name="output")
    net.connect(net.input(2), hidden, Dense(1.0))
    net.connect(hidden, hidden, Dense(1.0), delay=delay)
    net.connect(hidden, out, Dense(1.0))
    return net, losses.MaxVoltageCrossEntropy(out)


def test_plans_and_trainers():
    net, loss = network(LIF())
    for wrong in ({"dt": "1"}, {"dt": None}, {"dt": True}, {"duration": "10"}, {"dt": -1.0}):
        with pytest.raises(PlanError, match="dt and duration must be positive times in ms, got"):
            make_plan(net, loss, **({"dt": 1.0, "duration": 10.0} | wrong))
    with pytest.raises(LossError, match="expected a loss from .* got 'max'; make it with the output population"):
        make_plan(net, "max", dt=1.0, duration=10.0)
    with pytest.raises(PlanError, match="expected a Network, got Neuron; make one with net = Network()"):
        make_plan(LIF(), loss, dt=1.0, duration=10.0)
    net.population(LIF(), 3, name="lost")
    with pytest.raises(NetworkError, match="no connection leads to population 'lost'"):
        Trainer(net, loss, dt=1.0, duration=10.0)


def test_zero_delay_cycles_of_delta_synapses():
    net, loss = network(LIFDelta())
    with pytest.raises(PlanError, match="population 'hidden' reaches itself .* give one of them a delay"):
        make_plan(net, loss, dt=10.0, duration=10.0, spike_times="exact")
    for fine in (network(LIFDelta(), delay=1.0), network(LIF())):
        make_plan(*fine, dt=10.0, duration=10.0, spike_times="exact")


def test_a_spike_that_grazes_its_threshold_has_no_gradient(monkeypatch):
    from genn_eventprop import Events
    from genn_eventprop.engines.reference.exact import equations as event_equations

    net, loss = network(LIF(tau_syn=10.0))
    plan = make_plan(net, loss, dt=20.0, duration=20.0, spike_times="exact")
    values = net.initial_parameters(0)
    values["input_hidden.weight"] *= 9.0
    values["hidden_hidden.weight"] *= 0.0
    engine = ReferenceEvent(plan, values)
    original = event_equations.Equations.jump
    flat = lambda self, *args: original(self, *args) | {"gdot": 0 * original(self, *args)["gdot"]}  # noqa: E731
    monkeypatch.setattr(event_equations.Equations, "jump", flat)
    data = engine.load(Events.from_samples([([1.0, 2.0], [0, 1])], 2, labels=[0]))
    message = r"population 'hidden' \(LIF\): event 'spike' of neuron \d at .* touches its threshold with slope 0 / ms"
    with pytest.raises(EventPropError, match=message):
        engine.run(data, [0], training=True)


def test_every_file_of_the_zoo_is_where_its_model_was_made():
    for model in models.ZOO.values():
        assert Path(model.made_at[0]).parent.name == "models"


COMMENT_BREAKERS = [
    "a */ int x; /*",
    "a\nint x;",
    "a\\",
    "a??/",
    "a // b",
    "a /* b",
    "a\x00b",
    "a\u202eb",
    " ",
    "x" * 101,
    3,
]


@pytest.mark.parametrize("name", COMMENT_BREAKERS, ids=range(len(COMMENT_BREAKERS)))
def test_titles_that_would_leave_a_comment_are_refused(name):
    parts = {"state": {"V": 0.0}, "params": {}, "dynamics": {"V": "-V"}}
    with pytest.raises(ModelError, match="needs a name, got|cannot be called .*; use up to 100 letters"):
        NeuronModel(name=name, **parts)
    with pytest.raises(ModelError, match="an event cannot be called"):
        NeuronModel(name="M", events=[Event(name, "V - 1")], **parts)
    with pytest.raises(ModelError, match="a mode cannot be called"):
        NeuronModel(name="M", modes=[Mode(name, {})], **parts)


@pytest.mark.parametrize("name", ["in put", "x); evil(", "a*/b", "é", "t", "class", 3])
def test_inputs_are_named_like_states(name):
    parts = {"state": {"V": 0.0}, "params": {}, "dynamics": {"V": "-V"}}
    with pytest.raises(ModelError, match="cannot name an input"):
        NeuronModel(name="M", input={name: "V"}, **parts)


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("spike", "did you mean 'emits'?"),
        ("nextmode", "did you mean 'next_mode'?"),
        ("colour", "known: emits, modes, name, next_mode, reset, threshold"),
    ],
)
def test_an_argument_that_an_event_does_not_have(argument, hint):
    with pytest.raises(ModelError, match=f"Event has no argument '{argument}'") as error:
        Event("up", "V - 1", {}, **{argument: False})
    assert hint in str(error.value)
