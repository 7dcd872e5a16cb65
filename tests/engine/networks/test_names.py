"""What a user calls states, parameters, receptors and populations changes nothing but the names of results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Dense, Event, Mode, Network, NeuronModel, Param, engines, losses, regularisers
from genn_eventprop.codegen.genn.learning import KEYWORDS, MACROS
from genn_eventprop.data import Events
from genn_eventprop.modelling.names import usable
from genn_eventprop.models.li import LI
from genn_eventprop.plan import make_plan
from support.cuda_shim import ShimEngine
from support.genn_harness import HarnessEngine

SLOTS = ("V", "I", "W", "tau", "t_w", "hold", "exc", "inh")
PLAIN = {n: n for n in (*SLOTS, "one", "two")}
NAMES = {
    "fields": {"I": "spikes", "W": "history_exc", "tau": "until"},
    "more fields": {"I": "dl", "W": "steps_tau", "tau": "event0"},
    "receptors": {"exc": "a", "inh": "a_b", "I": "b_c", "W": "c"},
    "states": {"I": "V_W", "W": "W_V", "V": "V", "tau": "V_tau"},
    "populations": {"one": "h", "two": "h_I", "I": "I_b", "W": "b"},
    "populations of keys": {"one": "x", "two": "key_x"},
}


def model(n: dict[str, str], refractory: bool) -> NeuronModel:
    states = {n["V"]: 0.0, n["I"]: 0.0, n["W"]: 0.0}
    dynamics = {
        n["V"]: f"({n['I']} - {n['W']} - {n['V']}) / {n['tau']}",
        n["I"]: f"-{n['I']} / 5", n["W"]: f"-{n['W']} / {n['t_w']}",
    }  # fmt: skip
    event = Event("spike", f"{n['V']} - 1", {n["V"]: 0, n["W"]: f"{n['W']} + 0.1"})
    params = {n["tau"]: Param(15.0, "ms", trainable=True), n["t_w"]: Param(30.0, "ms"), n["hold"]: Param(2.0, "ms")}
    modes = (Mode("held", {n["V"]: "0"}, lasts=n["hold"]),) if refractory else ()
    if refractory:
        event = Event(event.name, event.threshold, event.reset, modes=("free",), next_mode="held")
    else:
        del params[n["hold"]]
    return NeuronModel(
        name="named", state=states, params=params, dynamics=dynamics, events=(event,), modes=modes, readout=n["V"],
        input={n["exc"]: {n["I"]: 1}, n["inh"]: {n["W"]: 0.5}},
    )  # fmt: skip


def native(plan, values):
    return engines.create(plan, values, engine="native", dtype="float64", threads=1)


def outcome(names: dict[str, str], spike_times: str, refractory: bool, noisy: bool, make=native):
    n, net = PLAIN | names, Network()
    neuron, inp = model(n, refractory), net.input(4)
    noise = 0.01 if noisy else 0.0
    one = net.population(neuron, 5, n["one"], noise=noise)
    two = net.population(neuron(**{n["tau"]: np.linspace(10, 20, 3)}), 3, n["two"], noise=noise)
    out = net.population(LI(), 2, "out")
    rng = np.random.default_rng(3)
    for i, (source, target, receptor, mean) in enumerate(
        [(inp, one, "exc", 1.5), (inp, one, "inh", 0.2), (one, two, "exc", 1.5), (two, one, "inh", 0.3)]
    ):
        weight = rng.normal(mean, 0.3, (source.size, target.size))
        net.connect(source, target, Dense(weight), receptor=n[receptor], name=f"c{i}", delay=0.0 if i < 2 else 1.0)
    net.connect(two, out, Dense(rng.normal(0, 0.5, (3, 2))), name="c4")
    plan = make_plan(
        net, losses.MaxVoltageCrossEntropy(out), dt=0.5, duration=40.0, spike_times=spike_times,
        regularisers=[regularisers.SpikeCount(one, target=2.0, upper=0.1, lower=0.1)],
    )  # fmt: skip
    made = make(plan, net.initial_parameters(1))
    samples = [(np.sort(rng.uniform(0, 35, 30)), rng.integers(0, 4, 30)) for _ in range(2)]
    data = made.load(Events.from_samples(samples, n_channels=4, labels=[0, 1]))
    result = made.run(data, [0, 1], training=spike_times == "exact", record_spikes=True)
    made.run(data, [0, 1], training=True)
    found = [result.loss, *result.spike_counts.values(), *made.gradients.values()]
    expected = [f"c{i}.weight" for i in range(5)] + [f"{n['one']}.{n['tau']}"]
    assert list(made.gradients) == list(plan.trainable) and set(expected) <= set(plan.trainable)
    assert set(result.spike_counts) == {n["one"], n["two"]} and set(result.spikes) == {n["one"], n["two"]}
    made.close()
    return [np.array(x) for x in found]


PLAINLY: dict[tuple, list[np.ndarray]] = {}


QUICK = [
    ("fields", "exact", True),
    ("populations", "exact", True),
    ("fields", "grid", True),
    ("receptors", "grid", True),
]
EVERY = [(n, *case) for n in NAMES for case in (("exact", True), ("grid", False), ("grid", True))]


@pytest.mark.ci
@pytest.mark.parametrize(
    ("names", "spike_times", "refractory"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in EVERY if case not in QUICK)],
)
def test_names_change_nothing(names, spike_times, refractory):
    case = spike_times, refractory, spike_times == "grid" and "one" not in NAMES[names]  # noise is drawn by the name
    if case not in PLAINLY:
        PLAINLY[case] = outcome({}, *case)
    assert PLAINLY[case][1].sum() > 10
    for one, other in zip(PLAINLY[case], outcome(NAMES[names], *case)):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


# words that generated code uses itself

TAKEN = KEYWORDS | MACROS | frozenset(
    "after along args arrival arrived at base before block by count counts dense dr draw drive end end_term ended ends "
    "feedback first first_step from guarded horner i id index kept label last least_rise list load maximum_kink "
    "maximum_slope maximum_step mid n_steps neuron node_voltage over pushed raise_by readout ready rise row sample "
    "sample_weight scalar slice source start std step store to total vec weight work".split()
)  # fmt: skip
FAMILIAR = ("spikes", "step", "drive", "g", "double", "NAN", "injectCurrent", "label")
WORDS = [n for n in sorted(TAKEN | {"grad_x", "all_x", "P_x", "Q_x", "p_x", "M_PI", "s_c0"}) if usable(n, (), (), ())]
GROUPS = [dict(zip(SLOTS, WORDS[i : i + len(SLOTS)])) for i in range(0, len(WORDS), len(SLOTS))]
MAKERS = {
    "native": native,
    "c99": lambda plan, values: engines.create(plan, values, engine="c99", dtype="float64"),
    "cuda": lambda plan, values: ShimEngine(plan, values, dtype="float64"),
    "genn": lambda plan, values: HarnessEngine(plan, values, dtype="float64"),
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("engine", "spike_times"), [("native", "exact"), ("native", "grid"), ("c99", "grid"), ("genn", "grid")]
)
def test_words_of_the_code_change_nothing(engine, spike_times):
    same(engine, spike_times, dict(zip(SLOTS, FAMILIAR)))


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "spike_times"), [("native", "exact"), *((n, "grid") for n in MAKERS)])
@pytest.mark.parametrize("names", GROUPS, ids=lambda names: "-".join(names.values()))
def test_every_word_changes_nothing(engine, spike_times, names):
    same(engine, spike_times, names)


def same(engine: str, spike_times: str, names: dict[str, str]) -> None:
    case, make = (spike_times, True, False), MAKERS[engine]
    plain = PLAINLY.setdefault((engine, *case), []) or outcome({}, *case, make)
    PLAINLY[(engine, *case)] = plain
    for one, other in zip(plain, outcome(names, *case, make)):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def test_constants_of_a_loss_may_be_called_so_too():
    net = Network()
    net.connect(net.input(2), net.population(LI(), 3, "out"), Dense(np.random.default_rng(1).normal(size=(2, 3))))
    score, constants = "delta * r - steps * r**2", {"delta": 0.7, "steps": 0.2}
    loss = losses.Loss(
        net.populations[0], "integral", score=score, term="double * r", constants=constants | {"double": 2}
    )
    plan = make_plan(net, loss, dt=0.5, duration=10.0)
    found = []
    for name in ("native", "c99", "reference_clock"):
        made = engines.create(plan, net.initial_parameters(1), engine=name, dtype="float64")
        data = made.load(Events.from_samples([(np.array([1.0, 2.0, 4.0]), np.array([0, 1, 0]))], 2, labels=[1]))
        found.append([made.run(data, [0], training=True).loss, made.gradients["input_out.weight"].copy()])
    for one in found[:2]:
        np.testing.assert_allclose(one[0], found[2][0], rtol=1e-12)
        np.testing.assert_allclose(one[1], found[2][1], rtol=1e-9)


def test_snippets_may_use_such_names():
    """Hand-written sections say the names of the equations, which the text keeps apart from its own."""
    plain = ("V", "I", "W", "tau", "t_w", "hold", "exc", "inh")
    found = []
    for words in (plain, ("V", "step", "dl", "row", "neuron", "hold", "exc", "inh")):
        n = dict(zip(SLOTS, words))
        forward = f"{n['V']} = {n['V']} + dt * ({n['I']} - {n['W']} - {n['V']}) / {n['tau']};\n"
        forward += f"{n['I']} = {n['I']} * (1 - dt / 5);\n{n['W']} = {n['W']} * (1 - dt / {n['t_w']});"
        neuron = replace(model(n, False), snippets={"sim_code": forward}, events=())
        net = Network()
        inp, out = net.input(2), net.population(neuron, 2, "out")
        net.connect(inp, out, Dense(np.array([[1.0, 0.5], [0.3, 0.2]])), receptor=n["exc"])
        plan = make_plan(net, losses.Loss(out, "end", score="r"), dt=0.5, duration=5.0)
        made = native(plan, net.initial_parameters(1))
        data = made.load(Events.from_samples([(np.array([1.0, 2.0]), np.array([0, 1]))], 2, labels=[1]))
        found.append(made.run(data, [0]).readout)
    assert found[0].any()
    np.testing.assert_array_equal(*found)
