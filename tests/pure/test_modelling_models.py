"""The expression language and the checks of a neuron model: what is wrong, where, and what to do."""

import numpy as np
import pytest
import sympy as sp

from genn_eventprop import Event, Mode, NeuronModel, Param, SynapseModel
from genn_eventprop.adjoint import derive
from genn_eventprop.errors import EventPropError, ModelError, NetworkError, suggest
from genn_eventprop.modelling.expressions import parse, symbol
from genn_eventprop.models.lif import LIF

NAMES = {n: symbol(n) for n in ("V", "I", "E", "S", "tau_mem")}


def value(text):
    return parse(text, NAMES, "somewhere")


def model(**changes):
    """A leaky neuron with some arguments of `NeuronModel` replaced."""
    arguments = {
        "name": "Leaky",
        "state": {"V": 0.0, "I": 0.0},
        "params": {"tau_mem": Param(20.0, "ms"), "v_thresh": Param(1.0)},
        "dynamics": {"V": "(I - V) / tau_mem", "I": "-I / tau_mem"},
        "threshold": "V - v_thresh",
        "reset": {"V": "0"},
        "input": "I",
    }
    return NeuronModel(**(arguments | changes))


def test_names_mean_the_users_symbols():
    """I, E and S are currents and states here, never sympy's imaginary unit, base and registry."""
    parsed = value("I * E + S")
    assert parsed.free_symbols == {NAMES["I"], NAMES["E"], NAMES["S"]}
    assert not parsed.has(sp.I)


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [
        ("(I - V) / tau_mem", {"I": 3, "V": 1, "tau_mem": 4}, 0.5),
        ("-V**2 + 3", {"V": 2}, -1.0),
        ("exp(-V) * cos(I) + abs(-E)", {"V": 0, "I": 0, "E": 2}, 3.0),
        ("  +V ", {"V": 7}, 7.0),
        (2, {}, 2.0),
        (0.25, {}, 0.25),
        ("1e-3", {}, 1e-3),
    ],
)
def test_expressions_have_the_value_of_python(text, at, expected):
    assert float(value(text).subs({NAMES[n]: v for n, v in at.items()})) == pytest.approx(expected, abs=1e-15)


def test_unknown_names_are_suggested():
    with pytest.raises(ModelError, match=r"somewhere: unknown symbol 'tau_men'.*you mean 'tau_mem'\?.*'V / tau_men'"):
        value("V / tau_men")
    with pytest.raises(ModelError, match=r"unknown function 'ex'.*did you mean 'exp'\?"):
        value("ex(V)")
    assert suggest("zzz", []) == "known: none"


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').getcwd()",
        "V.__class__",
        "[V for V in (1,)]",
        "lambda: V",
        "V if I else E",
        "V > I",
        "V and I",
        "'text'",
        "V[0]",
        "exp(x=V)",
        "True",
        "~V",
    ],
)
def test_nothing_but_arithmetic_is_read(text):
    """No eval: every other kind of Python is refused with the offending part."""
    with pytest.raises(ModelError, match="somewhere: .* (is not arithmetic|unknown)"):
        value(text)


@pytest.mark.parametrize("text", ["V +", "V V", "", "(V", "V\0"])
def test_syntax_errors_name_the_text(text):
    with pytest.raises(ModelError, match="somewhere: .* is not an expression"):
        value(text)


@pytest.mark.parametrize("text", ["exp()", "exp(V, I)", "sqrt(1, 2, 3)"])
def test_a_wrong_number_of_arguments_is_a_model_error(text):
    with pytest.raises(ModelError, match="somewhere: .*argument"):
        value(text)


@pytest.mark.parametrize("text", ["1 / 0", "V / (I - I)", "log(0)", "sqrt(-1)", "1e999", float("nan"), float("inf")])
def test_expressions_without_a_finite_real_value_are_refused(text):
    with pytest.raises(ModelError, match="somewhere: .*finite real"):
        value(text)


@pytest.mark.parametrize("thing", [None, True, ["V"], b"V"])
def test_only_text_and_numbers_are_expressions(thing):
    with pytest.raises(ModelError, match="expected an expression as a string or a number"):
        value(thing)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dynamics": {"V": "(I - U) / tau_mem", "I": "-I"}}, r"Leaky: dynamics of V: unknown symbol 'U'"),
        ({"dynamics": {"V": "(I - V) / tau", "I": "-I"}}, r"unknown symbol 'tau' \(did you mean 'tau_mem'"),
        ({"dynamics": {"V": "-V"}}, r"Leaky: dynamics and state must name the same variables; they differ in I"),
        ({"dynamics": {"V": "-V", "I": "-I", "B": "0"}}, r"they differ in B"),
        ({"state": {"V": "u_rest", "I": 0.0}}, r"Leaky: initial value of V: unknown symbol 'u_rest'"),
        ({"state": {"V": "I", "I": 0.0}}, r"initial value of V: unknown symbol 'I'"),
        ({"threshold": "V - theta"}, r"Leaky: threshold of event 'spike': unknown symbol 'theta'"),
        ({"threshold": "v_thresh - 1"}, r"uses no state, so nothing can cross it; write it in terms of V, I"),
        ({"threshold": None}, r"Leaky: a reset without a threshold; add threshold= or remove reset="),
        ({"reset": {"U": "0"}}, r"Leaky: reset of 'U', which is not a state"),
        ({"reset": {"V": "u"}}, r"Leaky: reset of V: unknown symbol 'u'"),
        ({"events": [Event("spike", "V - 1")]}, r"Leaky: give either threshold/reset or events, not both"),
        ({"input": "J"}, r"Leaky: input 'input' acts on 'J', not a state \(known: I, V\)"),
        ({"input": {"exc": {"I": "gain"}}}, r"Leaky: input 'exc', amount for I: unknown symbol 'gain'"),
        ({"readout": "U"}, r"Leaky: readout 'U' is not a state"),
        ({"params": {"tau_mem": 20.0, "v_thresh": Param(1.0)}}, r"parameter 'tau_mem' must be a Param, got 20.0"),
        ({"params": {"V": Param(1.0)}}, r"Leaky: 'V' is both a state and a parameter"),
        ({"params": {"exp": Param(1.0)}}, r"Leaky: 'exp' cannot name a state, parameter or drive"),
        ({"params": {"dt": Param(1.0)}}, r"'dt' cannot name a state, parameter or drive"),
        ({"params": {"lambda_V": Param(1.0)}}, r"'lambda_V' cannot name"),
        ({"params": {"tau mem": Param(1.0)}}, r"'tau mem' cannot name"),
    ],
)  # fmt: skip
def test_wrong_models_say_what_and_where(changes, message):
    with pytest.raises(ModelError, match=message):
        model(**changes)


@pytest.mark.parametrize(
    "name", ["in", "exp", "T", "_x", "P_V_I", "dP_tau_mem_V_I", "cH2_V", "e_input_V", "u0_V", "\u03c4"]
)
def test_names_that_python_or_the_formulas_need_are_refused(name):
    with pytest.raises(ModelError, match=f"{name}.*cannot name a state, parameter or drive"):
        model(params={"tau_mem": Param(20.0, "ms"), "v_thresh": Param(1.0), name: Param(1.0)})


@pytest.mark.parametrize(
    "name", ["double", "int", "neuron", "step", "args", "work", "i", "P_V", "c_0", "grad_x", "Q_10"]
)
def test_names_of_generated_code_are_names_like_others(name):
    assert name in model(params={"tau_mem": Param(20.0, "ms"), "v_thresh": Param(1.0), name: Param(1.0)}).params


def test_wrong_events_and_modes_say_what_and_where():
    plain = {"threshold": None, "reset": None}
    with pytest.raises(ModelError, match="two events have the same name"):
        model(**plain, events=[Event("spike", "V - 1"), Event("spike", "V - 2")])
    with pytest.raises(ModelError, match="event 'spike' names mode 'rest'.*did you mean 'resting'"):
        model(
            **plain,
            events=[Event("spike", "V - 1", {"V": 0}, next_mode="rest")],
            modes=[Mode("resting", {"V": "0"})],
        )
    with pytest.raises(ModelError, match="mode 'resting' has dynamics of 'U'"):
        model(**plain, events=[Event("spike", "V - 1")], modes=[Mode("resting", {"U": "0"})])
    with pytest.raises(ModelError, match="mode 'resting', dynamics of V: unknown symbol 'x'"):
        model(**plain, events=[Event("spike", "V - 1")], modes=[Mode("resting", {"V": "x"})])


def test_modes_and_events_stay_in_the_records():
    refractory = model(
        threshold=None,
        reset=None,
        events=[Event("spike", "V - v_thresh", {"V": 0}, next_mode="refractory")],
        modes=[Mode("refractory", {"V": "0"}, lasts="tau_mem", then=None)],
    )
    assert [e.name for e in refractory.events] == ["spike"] and refractory.events[0].next_mode == "refractory"
    assert refractory.modes[0].lasts == "tau_mem"
    assert refractory.spiking and not model(threshold=None, reset=None).spiking


def test_a_mode_lasts_for_a_parameter_and_leads_to_a_mode():
    with pytest.raises(ModelError, match="mode 'refractory' lasts for 't_ref', which is not a parameter"):
        model(modes=[Mode("refractory", {"V": "0"}, lasts="t_ref")])
    with pytest.raises(ModelError, match="mode 'refractory' is followed by mode 'elsewhere'"):
        model(modes=[Mode("refractory", {"V": "0"}, lasts="tau_mem", then="elsewhere")])


def test_calling_a_model_sets_known_parameters_only():
    neuron = LIF(tau_mem=10.0, v_thresh=Param(0.5, trainable=True))
    assert neuron.name == "LIF" and neuron.params["tau_mem"].value == 10.0
    assert neuron.params["tau_mem"].unit == "ms" and neuron.params["v_thresh"].trainable
    assert LIF.params["tau_mem"].value == 20.0
    with pytest.raises(ModelError, match=r"LIF has no parameter 'tau_men' \(did you mean 'tau_mem'\?"):
        LIF(tau_men=10.0)
    assert issubclass(ModelError, EventPropError) and issubclass(ModelError, ValueError)


EXPONENTIAL = SynapseModel(
    name="Exponential",
    state={"I": 0.0},
    params={"tau": Param(5.0, "ms")},
    dynamics={"I": "-I / tau"},
    input="I",
    current="I",
)
DRIVEN = NeuronModel(
    name="Driven",
    state={"V": 0.0},
    params={"tau_mem": Param(20.0, "ms"), "I": Param(0.0)},
    dynamics={"V": "(I - V) / tau_mem"},
    threshold="V - 1",
    reset={"V": 0},
)


def test_with_synapses_writes_lif_out_of_its_parts():
    """A current-driven neuron with one exponential synapse has LIF's dynamics, its parameters renamed."""
    both = DRIVEN.with_synapses(exc=EXPONENTIAL, inh=EXPONENTIAL)
    assert list(both.state) == ["V", "I_exc", "I_inh"] and set(both.params) == {"tau_mem", "tau_exc", "tau_inh"}
    assert both.receptors == {"exc": {"I_exc": "1"}, "inh": {"I_inh": "1"}}
    assert len(both.events) == 1 and both.events[0].threshold == "V - 1"
    one, lif = derive(DRIVEN.with_synapses(syn=EXPONENTIAL)), derive(LIF)
    rename = {symbol("I_syn"): symbol("I"), symbol("tau_syn"): symbol("tau_syn")}
    assert sp.simplify(one.A.subs(rename) - lif.A) == sp.zeros(2, 2)
    assert derive(both).A[0, 1] == derive(both).A[0, 2] == 1 / symbol("tau_mem")


def test_with_synapses_needs_a_current_to_replace():
    with pytest.raises(ModelError, match="LIF: with_synapses needs 'I' as a parameter that the dynamics use"):
        LIF.with_synapses(exc=EXPONENTIAL)
    unused = NeuronModel(name="Deaf", state={"V": 0.0}, params={"I": Param(0.0)}, dynamics={"V": "-V"})
    with pytest.raises(ModelError, match="Deaf: with_synapses needs 'I' as a parameter that the dynamics use"):
        unused.with_synapses(exc=EXPONENTIAL)
    odd = SynapseModel("Odd", {"s": 0.0}, {}, {"s": "-s / tau"}, "s", "s")
    with pytest.raises(ModelError, match="Driven: dynamics of s_exc: unknown symbol 'tau'"):
        DRIVEN.with_synapses(exc=odd)
    broken = SynapseModel("Broken", {"s": 0.0}, {}, {"s": "-s /"}, "s", "s")
    with pytest.raises(ModelError, match="Driven, synapse exc: '-s /' is not an expression"):
        DRIVEN.with_synapses(exc=broken)


def test_scaled_receptors_keep_their_amounts():
    scaled = SynapseModel("Scaled", {"I": 0.0}, {"tau": Param(5.0, "ms")}, {"I": "-I / tau"}, {"I": "1 / tau"}, "I")
    derived = derive(DRIVEN.with_synapses(exc=scaled))
    np.testing.assert_array_equal(derived.receptors["exc"], sp.Matrix([0, 1 / symbol("tau_exc")]))


@pytest.mark.parametrize(
    ("name", "value"), [("tau_mem", Param(0.02, "s")), ("tau_mem", Param(20, "mV")), ("tau_syn", Param(5, "m s"))]
)
def test_a_value_in_another_unit_is_refused(name, value):
    with pytest.raises(NetworkError, match=f"LIF: {name} is in ms, and the value in '.*': write it in ms"):
        LIF(**{name: value})


def test_another_spelling_of_a_unit_is_the_same_unit():
    assert LIF(tau_mem=Param(20.0, " ms ")).params["tau_mem"].unit == "ms"
    assert (
        LIF(tau_mem=Param(20.0, "ms^1")).params["tau_mem"].value
        == LIF(tau_mem=Param(20.0)).params["tau_mem"].value
        == 20
    )
    with pytest.raises(NetworkError, match="must be positive, got -20 ms"):
        LIF(tau_mem=Param(-20.0, "ms^1"))
