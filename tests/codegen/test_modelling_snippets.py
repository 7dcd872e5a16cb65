"""Hand-written GeNN snippets: equal to the derived ones on random states, run by engines, checked when made."""

import math
from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Gamma, Network, NeuronModel, Normal, Param, SynapseModel, losses
from genn_eventprop.adjoint import derive
from genn_eventprop.codegen import derive_snippets
from genn_eventprop.engines import create
from genn_eventprop.errors import EngineError, ModelError
from genn_eventprop.modelling.handwritten import plain
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_snippets import LIFSnippets
from genn_eventprop.plan import make_plan
from support import genn_harness as harness
from support.cuda_shim import ShimEngine
from support.on_genn import BACKEND
from support.sweeps import sweep


def execute(code, values):
    """The statements of a snippet in Python."""
    for part in ("const scalar ", "scalar ", ";"):
        code = code.replace(part, "")
    names = dict(values)
    exec(code, {"exp": math.exp}, names)
    return names


def test_they_agree_with_the_derived_code_on_random_states():
    rng = np.random.default_rng(1)
    mine, derived = (derive_snippets(derive(m)) for m in (LIFSnippets, LIF))
    for _ in range(20):
        p = {"tau_mem": rng.uniform(5, 30), "tau_syn": rng.uniform(1, 4), "v_thresh": 1.0, "v_reset": rng.normal()}
        dt = rng.uniform(0.1, 2)
        alpha, beta = math.exp(-dt / p["tau_mem"]), math.exp(-dt / p["tau_syn"])
        coupling = p["tau_syn"] / (p["tau_mem"] - p["tau_syn"]) * (alpha - beta)
        values = p | {"ms_per_step": dt, "P_V_V": alpha, "P_I_I": beta, "P_V_I": coupling}
        values |= {n: rng.normal() for n in ("V", "I", "lambda_V", "lambda_I", "dl_dt", "inv_gdot")}
        for section in ("sim_code", "reset_code", "adjoint_sim_code", "adjoint_jump_code"):
            a, b = (execute(getattr(s, section), values) for s in (mine, derived))
            for name in ("V", "I", "lambda_V", "lambda_I"):
                assert a[name] == pytest.approx(b[name], rel=1e-12), (section, name)
    assert mine.jump_states == derived.jump_states == ("I",)


def network(model, learned):
    net = Network()
    inp = net.input(5)
    tau = Param(Gamma(18.0, 40.0, 14.0, 22.0), "ms", trainable=learned)
    hidden = net.population(model(tau_mem=tau, tau_syn=4.0, v_reset=-0.1), 11, name="hidden")
    output = net.population(model(tau_mem=15.0, tau_syn=5.0), 3, name="output")
    net.connect(inp, hidden, Dense(Normal(1.4, 0.6)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)), delay=1.0)
    net.connect(hidden, output, Dense(Normal(0.5, 0.4)))
    return make_plan(net, losses.FirstSpikeCrossEntropy(output), dt=0.5, duration=40.0)


ENGINES = {
    "native": lambda plan, values: create(plan, values, engine="native", dtype="float64"),
    "c99": lambda plan, values: create(plan, values, engine="c99", dtype="float64"),
    "cuda": lambda plan, values: ShimEngine(plan, values, dtype="float64"),
    "harness": lambda plan, values: harness.HarnessEngine(plan, values, dtype="float64"),
    "genn": lambda plan, values: create(plan, values, engine="genn", dtype="float64", backend=BACKEND),
}


@pytest.mark.one_in(5)
@pytest.mark.parametrize("learned", sweep([False, True], [True]), ids=["fixed", "learned tau_mem"])
@pytest.mark.parametrize("name", [n if n != "genn" else pytest.param(n, marks=pytest.mark.needs_genn) for n in ENGINES])
def test_engines_run_them_like_the_equations(name, learned):
    plan = network(LIFSnippets, learned)
    values = plan.network.initial_parameters(2)
    rng = np.random.default_rng(3)
    events = Events.from_samples(
        [(np.sort(rng.uniform(0, 38, 25)), rng.integers(0, 5, 25)) for _ in range(4)], n_channels=5, labels=[0, 1, 2, 1]
    )
    clock, engine = create(plan, values, engine="reference_clock"), ENGINES[name](plan, values)
    a, b = (e.run(e.load(events), np.arange(4), training=True, record_spikes=True) for e in (clock, engine))
    engine.close()
    assert a.spike_counts["output"].sum() > 0
    np.testing.assert_array_equal(a.spikes["hidden"].time, b.spikes["hidden"].time)
    for key, gradient in clock.gradients.items():
        assert np.linalg.norm(engine.gradients[key] - gradient) < 1e-9 * np.linalg.norm(gradient), key


def test_a_wrong_snippet_shows_as_a_difference():
    wrong = replace(
        LIFSnippets,
        threshold=None,
        reset=None,
        snippets={**LIFSnippets.snippets, "adjoint_jump_code": "lambda_V = -dl_dt * inv_gdot;"},
    )
    plan = network(wrong, False)
    values = plan.network.initial_parameters(2)
    rng = np.random.default_rng(3)
    events = Events.from_samples([(np.sort(rng.uniform(0, 38, 60)), rng.integers(0, 5, 60))], n_channels=5, labels=[0])
    engines = create(plan, values, engine="reference_clock"), ENGINES["harness"](plan, values)
    for e in engines:
        e.run(e.load(events), [0], training=True)
    a, b = (e.gradients["input_hidden.weight"] for e in engines)
    assert np.linalg.norm(a - b) > 1e-3 * np.linalg.norm(a)


def test_compound_assignments_are_written_out():
    assert plain("I *= a + b;\n\n  V=3.0;\nif (V <= 1.0) {\n  V -= 2.0;\n}") == (
        "I = I * (a + b);\nV = 3.0;\nif (V <= 1.0) {\nV = V - (2.0);\n}"
    )


COMMENTED = replace(
    LIFSnippets,
    threshold=None,
    reset=None,
    snippets={
        **LIFSnippets.snippets,
        "sim_code": """
            // one step; W = 3.0 is no code
            const scalar alpha = exp(-dt / tau_mem), beta = exp((-dt) / tau_syn);
            V = tau_syn / (tau_mem - tau_syn) * I * (alpha - beta) + alpha * V; // before I
            I *= beta /* its
                         own */;
        """,
    },
)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", [n if n != "genn" else pytest.param(n, marks=pytest.mark.needs_genn) for n in ENGINES])
def test_comments_and_lists_of_declarations(name):
    events = Events.from_samples([(np.linspace(0.0, 30.0, 60), np.arange(60) % 5)], n_channels=5, labels=[0])
    runs = []
    for model in (LIFSnippets, COMMENTED):
        plan = network(model, False)
        engine = ENGINES[name](plan, plan.network.initial_parameters(2))
        runs.append(engine.run(engine.load(events), [0], training=True))
        engine.close()
    assert runs[0].spike_counts["output"].sum() > 0
    np.testing.assert_array_equal(runs[0].loss, runs[1].loss)


@pytest.mark.parametrize(
    ("snippets", "message"),
    [
        (
            {"sim_cod": "V = 0.0;"},
            "LIFSnippets: snippet 'sim_cod' is not a section of a neuron model .did you mean 'sim_code'",
        ),
        ({"sim_code": "V = W;"}, "snippet 'sim_code': unknown symbol 'W'"),
        ({"sim_code": "lambda_V = 0.0;"}, "snippet 'sim_code': unknown symbol 'lambda_V'"),
        ({"adjoint_sim_code": "V = 0.0;"}, "'adjoint_sim_code' assigns to 'V'; it may change lambda_I, lambda_V"),
        ({"reset_code": "tau_mem = 2.0;"}, "'reset_code' assigns to 'tau_mem'; it may change I, V"),
    ],
)
def test_wrong_snippets_are_refused_when_the_model_is_made(snippets, message):
    with pytest.raises(ModelError, match=message):
        replace(LIFSnippets, threshold=None, reset=None, snippets=snippets)


def test_where_snippets_cannot_go():
    with pytest.raises(ModelError, match="no threshold, so nothing resets"):
        NeuronModel(
            name="Leak", state={"V": 0.0}, params={}, dynamics={"V": "-V / 7"}, input="V",
            snippets={"reset_code": "V = 0.0;"},
        )  # fmt: skip
    exact = replace(network(LIFSnippets, False), spike_times="exact")
    with pytest.raises(EngineError, match="'hidden': the hand-written snippets of LIFSnippets make whole steps"):
        create(exact, exact.network.initial_parameters(2), engine="native")
    synapse = SynapseModel("Exp", {"S": 0.0}, {"tau": Param(5.0, "ms")}, {"S": "-S / tau"}, "S", "S")
    driven = NeuronModel(
        name="Driven",
        state={"V": 0.0},
        params={"J": Param(0.0)},
        dynamics={"V": "J - V"},
        snippets={"sim_code": "V = J;"},
    )
    with pytest.raises(ModelError, match="Driven: with_synapses changes the equations"):
        driven.with_synapses(current="J", exc=synapse)
