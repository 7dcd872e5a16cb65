"""A model as a document and back: nothing is lost, and nothing in a foreign one is more than arithmetic."""

import copy
import json
import time
from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import (
    Dense,
    Event,
    Events,
    FanIn,
    Gamma,
    Mode,
    Network,
    NeuronModel,
    Normal,
    Param,
    Uniform,
    losses,
    models,
)
from genn_eventprop.codegen.cpp import generate
from genn_eventprop.data.augment.steps import Bin, Crop, DelayLine, FitTime, MergeChannels, Shift, fixed_steps
from genn_eventprop.description import FORMAT, Described, build, describe
from genn_eventprop.description.network import Stored
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.errors import DescriptionError, EngineError, NetworkError
from genn_eventprop.losses import OwnLoss, TimeWeight
from genn_eventprop.losses.label_steps import LabelSteps
from genn_eventprop.losses.outer import UnavailableLoss
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.models.lif_snippets import LIFSnippets
from genn_eventprop.plan import make_plan
from genn_eventprop.runs.fingerprint import describe_loss as loss_in_words
from genn_eventprop.runs.fingerprint import describe_network as network_in_words
from support.sweeps import sweep

MODES = NeuronModel(
    name="Burst (mine)",
    state={"V": 0.0, "u": "u0", "I": 0.0},
    params={"tau": Param(20.0, "ms"), "ts": Param(5.0, "ms"), "u0": Param(0.1), "stay": Param(4.0, "ms")},
    dynamics={"V": "(I - V) / tau", "u": "-u / tau", "I": "-I / ts"},
    events=[
        Event("spike", "V - 1", {"V": 0.0, "u": "u + 0.3"}, modes=("free", "on")),
        Event("up", "u - 0.5", emits=False, modes=("free",), next_mode="on"),
    ],
    modes=[Mode("on", {"V": "(2 * I - V) / tau"}, lasts="stay")],
    input={"fast": "I", "both": {"I": 0.5, "u": "-0.1 * u0"}},
)  # fmt: skip
LOSSES = {
    **{name: make for name, make in losses.LOSSES.items() if name != "own"},
    "in a window": lambda o: losses.IntegratedVoltageCrossEntropy(o, TimeWeight("t / T", (5.0, 10.0))),
    "input-driven": lambda o: losses.PerStepCrossEntropy(o, TimeWeight("linear", input_tau=15.0, input_gain=20.0)),
    "formula": lambda o: OwnLoss(o, "integral", "(r0 - y0)**2 + 0.1 * r1"),
    "python": lambda o: OwnLoss(o, "integral", lambda r, y: (r.sum(1), np.ones_like(r)), compares="targets"),
}
WEIGHTS = {"AdEx": 700.0, "EIF": 20.0, "Izhikevich": 20.0, "LIFConductance": 5.0, "Theta": 5.0, "TwoCompartment": 10.0}
SPIKING = ("first_spike", "first_spike_exp", "spike_count", "spike_time_error")


def network(hidden=LIF, output=LI, **connection):
    """3 inputs, 2 hidden neurons that reach themselves with a delay, 2 outputs."""
    net = Network()
    receptor = next(iter(hidden.receptors if isinstance(hidden, NeuronModel) else hidden.model.receptors))
    inp, hid = net.input(3), net.population(hidden, 2, name="hidden")
    out = net.population(output, 2, name="output")
    net.connect(inp, hid, Dense(Normal(2.0, 0.5)), receptor=receptor, **connection)
    net.connect(hid, hid, Dense(FanIn(0.5)), delay=1.5, receptor=receptor, name="back")
    receptor = next(iter((output if isinstance(output, NeuronModel) else output.model).receptors))
    net.connect(hid, out, Dense(Uniform(0.0, 1.0), bounds=(0.0, None)), trainable=False, receptor=receptor)
    return net, out


def described(net, loss, **more):
    settings = {"duration": 20.0, "dt": 0.5, "spike_times": "grid", "engine": "native", **more}
    return Described(net, loss, **settings)


def there_and_back(model, values=None, trust=False):
    """Through JSON text, as through a file."""
    return build(json.loads(json.dumps(describe(model), allow_nan=False)), values, trust=trust)


def same_text_and_words(a, b):
    """The C++ of both and their descriptions in words."""
    plans = [make_plan(m.network, m.loss, dt=m.dt, duration=m.duration, spike_times=m.spike_times) for m in (a, b)]
    assert network_in_words(a.network) == network_in_words(b.network)
    assert loss_in_words(a.loss) == loss_in_words(b.loss)
    assert plans[0].bounds() == plans[1].bounds() and plans[0].trainable == plans[1].trainable
    try:
        text = generate(plans[0], "float32").text
    except EngineError:
        with pytest.raises(EngineError):
            generate(plans[1], "float32")
        return plans
    assert text == generate(plans[1], "float32").text
    return plans


QUICK = ("LIF", "LIFDelta", "LIFRefractory", "SEAdLIF", "QIF", "IzhikevichBursting", "LI")


@pytest.mark.one_in(7)
@pytest.mark.parametrize("name", sweep(sorted(models.ZOO), QUICK))
def test_zoo_models_round_trip_bit_for_bit(name):
    model = models.ZOO[name]
    hidden, output = (model, LI) if model.spiking else (LIF, model)
    net, out = network(hidden, output)
    made = described(net, losses.EndVoltageCrossEntropy(out), dt=0.05 if name in ("AdEx", "EIF") else 0.5)
    back = there_and_back(made)
    plans = same_text_and_words(made, back)
    first = net.initial_parameters(3)
    again = back.network.initial_parameters(3)
    assert first.keys() == again.keys() and all(np.array_equal(first[k], again[k]) for k in first)
    first["input_hidden.weight"] *= WEIGHTS.get(name, 1.0)
    events = Events.from_samples([([0.0, 1.0, 2.5, 2.5], [0, 1, 2, 0]), ([3.0], [1])], 3, labels=[0, 1])
    engines = [ReferenceClock(p, first) for p in plans]
    a, b = (e.run(e.load(events), [0, 1], record_spikes=True) for e in engines)
    assert np.array_equal(a.readout, b.readout) and np.array_equal(a.loss, b.loss) and a.readout.any()
    assert not model.spiking or len(a.spikes["hidden"].time)
    for population, spikes in a.spikes.items():
        assert np.array_equal(spikes.time, b.spikes[population].time)
        assert np.array_equal(spikes.neuron, b.spikes[population].neuron)


@pytest.mark.one_in(6)
@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_comes_back(name):
    net, out = network(LIF, LIF if name in SPIKING else LI)
    made = described(net, LOSSES[name](out))
    back = there_and_back(made)
    same_text_and_words(made, back)
    assert back.loss.weight == made.loss.weight and dict(back.loss.constants) == dict(made.loss.constants)
    rng = np.random.default_rng(1)
    r, valid = rng.uniform(0, 5, (4, 2)), np.ones((4, 2), bool)
    assert np.array_equal(made.loss.predict(r, valid, 20.0), back.loss.predict(r, valid, 20.0))
    if name == "python":
        assert isinstance(back.loss.outer, UnavailableLoss) and back.loss.compares == "targets"
    else:
        y = np.array([0, 1, 1, 0]) if made.loss.compares == "labels" else rng.uniform(0, 5, (4, 2))
        if name == "step_labels":  # compares V of all steps, which `LabelSteps.of_trace` does
            assert isinstance(back.loss.outer, LabelSteps) and back.loss.outer.weights == made.loss.outer.weights
        elif made.loss.readout != "voltage":
            for a, b in zip(made.loss.evaluate(r, valid, y, 20.0), back.loss.evaluate(r, valid, y, 20.0), strict=True):
                assert np.array_equal(a, b)


def test_modes_receptors_parameters_and_two_models_of_one_name():
    burst = MODES(tau=Param(np.array([10.0, 30.0]), "ms", trainable=True, bounds=(3.0, None)), u0=Gamma(0.2, high=0.5))
    net, out = network(burst, MODES(tau=Param(20.0, trainable=True, shared=True)), trainable=False)
    other = replace(MODES, dynamics={**MODES.dynamics, "u": "-u / ts"}, threshold=None, reset=None)
    third = net.population(other, 1, name="third", noise=0.1)
    net.connect(out, third, Dense(np.array([[0.5], [0.25]])), receptor="fast")
    made = described(net, losses.FirstSpikeCrossEntropy(out))
    values = net.initial_parameters(2)
    back = there_and_back(made, values)
    same_text_and_words(made, back)
    assert sorted(describe(made)["network"]["models"]) == ["Burst (mine)", "Burst (mine) 2"]
    again = back.network.initial_parameters(2)
    assert all(np.array_equal(values[k], again[k]) and values[k].shape == again[k].shape for k in values)
    assert there_and_back(made).network.populations[0].neuron.params["tau"].value == Stored()
    with pytest.raises(NetworkError, match="are stored next to the description"):
        there_and_back(made).network.initial_parameters(2)


def test_bounds_of_each_weight():
    net, out = network()
    upper = np.array([[1.0, np.inf], [0.5, 2.0], [1e-3, 3.0]])
    net.connect(net.inputs[0], net.populations[0], Dense(0.0, bounds=(-upper, upper)), name="each")
    net.connect(net.inputs[0], net.populations[0], Dense(0.0, bounds=(-np.inf, 2)), name="open")
    back = there_and_back(described(net, losses.EndVoltageCrossEntropy(out))).network.bounds()
    for found, given in zip(back["each.weight"], (-upper, upper), strict=True):
        assert found.dtype == np.float64 and np.array_equal(found, given)
    assert back["open.weight"] == (None, 2.0)


def test_expressions_over_several_lines_become_one():
    text = "(I - V  # the leak\n ) / tau"
    model = replace(MODES, dynamics={**MODES.dynamics, "V": text}, threshold=None, reset=None)
    net, out = network(model, LI)
    document = describe(described(net, losses.EndVoltageCrossEntropy(out)))
    assert document["network"]["models"][model.name]["dynamics"]["V"] == "(I - V) / tau"
    build(document)


def test_preprocessing_and_class_names():
    steps = (MergeChannels(5), FitTime(10.0, 300.0), Crop(0.0, 20.0), Bin(1.0, duplicates=True), DelayLine(2, 5.0))
    net, out = network()
    made = described(
        net, losses.EndVoltageCrossEntropy(out), preprocessing=steps, n_channels=15, class_names=("a", "ß")
    )
    back = there_and_back(made)
    assert back.preprocessing == steps and back.n_channels == 15 and back.class_names == ("a", "ß")
    for step in fixed_steps:
        (found,) = there_and_back(replace(made, preprocessing=(step(),))).preprocessing
        assert found == step()
    with pytest.raises(DescriptionError, match="preprocessing by Shift cannot be described"):
        describe(replace(made, preprocessing=(Shift(3),)))


# what comes from others


@pytest.fixture
def document():
    net, out = network()
    made = describe(described(net, losses.FirstSpikeCrossEntropy(net.populations[0]), preprocessing=(Crop(0.0, 20.0),)))
    return json.loads(json.dumps(made))


def changed(document, path, value):
    document = copy.deepcopy(document)
    part = document
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return document


V = ("network", "models", "LIF", "dynamics", "V")
HOSTILE = [
    "__import__('os').system('touch RAN')",
    "().__class__.__bases__[0].__subclasses__()",
    "(lambda: V)()",
    "[V for V in (1,)]",
    "exec('x')",
    "V if V else I",
    "V; I",
    "V\n#include </etc/passwd>\n",
    "(V\n#include </etc/passwd>\n)",
    "(V + I) // tau_mem",
    "9**9**9*V",
    "9**(9**9*V/V)",
    "((V**16)**16)**16",
    "V**99999",
    "1e308*1e308*V",
    "exp(exp(exp(exp(exp(V)))))",
    "(V + I + tau_mem + tau_syn + v_thresh + v_reset)**16",
    "*".join(["(V + I)"] * 30),
    "exp(9.0**16.0**16.0)*V",
    "1/0*V",
    "(" * 500 + "V" + ")" * 500,
    "V" + "+V" * 5000,
    "-" * 3000 + "V",
    "V \\\n system",
    "Ѵ",
    "V.real",
    "open(V)",
    "eval(V)",
    "",
    None,
    ["V"],
    {"V": 1},
    True,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("path", [V, ("loss", "score"), ("network", "models", "LIF", "events", 0, "threshold")])
def test_hostile_expressions_are_refused_at_once(document, path, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    began = time.process_time()
    with pytest.raises(DescriptionError):
        build(changed(document, path, text))
    assert time.process_time() - began < 2.0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            ("format",),
            "genn_eventprop model 2",
            f"in the format of this version, {FORMAT!r}; it says 'genn_eventprop model 2'",
        ),
        (("network", "populations", 0, "name"), "a; int b", "'a; int b' is not a name"),
        (("network", "populations", 0, "size"), 10**12, "the size must be an integer from 1 to"),
        (("network", "populations", 0, "size"), 2.5, "the size must be an integer"),
        (("network", "populations", 0, "model"), "other", "'other' is missing"),
        (("network", "populations", 0, "params"), {}, "its parameters are not those of LIF"),
        (("network", "connections", 0, "name"), "x\n#define y", "is not a name"),
        (("network", "connections", 0, "delay"), "1", "delay must be a finite time"),
        (("network", "connections", 0, "receptor"), "x); evil(", "no receptor 'x); evil('"),
        (("network", "connections", 0, "connectivity", "kind"), "Procedural", "of kind 'Procedural'"),
        (("network", "connections", 0, "connectivity", "weight"), {"initialiser": "os.system"}, "unknown initialiser"),
        (("network", "connections", 0, "connectivity", "weight", "mean"), "x", "expected a finite number, got 'x'"),
        (("network", "models", "LIF", "name"), "LIF\nint evil() {", "is not a short text on one line"),
        (("network", "models", "LIF", "name"), "LIF \\", "is not a short text on one line"),
        (("network", "models", "LIF", "name"), "LIF ??/", "is not a short text on one line"),
        (("network", "models", "LIF", "drive"), {}, "LIF: unknown key 'drive'; did you mean 'drives'"),
        (("network", "models", "LIF", "receptors"), {"in put": {"I": 1}}, "'in put' is not a name"),
        (("network", "models", "LIF", "params", "tau_mem", "unit"), "ms'''", "is not a short text on one line"),
        (("network", "models", "LIF", "params", "tau_mem", "bounds"), [1], "bounds are a pair"),
        (("network", "models", "LIF", "state"), {"V": 0}, "dynamics and state must name the same variables"),
        (("network", "models", "LIF", "events", 0, "name"), "x\ny", "is not a short text on one line"),
        (("network", "models", "LIF", "events", 0, "next_mode"), "", "event 'spike' names mode ''"),
        (("loss", "population"), "nobody", "the loss reads 'nobody'"),
        (("loss", "readout"), "os", "unknown readout 'os'"),
        (("loss", "constants"), {"a b": 1.0}, "'a b' is not a name"),
        (("loss", "outer"), {"formula": "__import__('os')", "outputs": 2, "compares": "labels"}, "not an expression"),
        (("loss", "outer"), "pickle", "unknown outer loss 'pickle'"),
        (("preprocessing", "steps", 0, "step"), "eval", "unknown step 'eval'"),
        (("preprocessing", "steps", 0, "file"), "x", "Crop has no setting 'file'"),
        (("preprocessing", "channels"), -1, "channels: the size must be"),
        (("run", "spike_times"), "soon", "'soon': expected one of grid, exact"),
        (("run", "dtype"), "object", "'object': expected one of"),
        (("run", "duration"), "x", "duration: expected a finite number"),
        (("run",), None, "cannot be used"),
        (("network",), [], "cannot be used"),
    ],
)
def test_documents_that_are_wrong_say_where(document, path, value, message):
    with pytest.raises(DescriptionError) as caught:
        build(changed(document, path, value))
    assert message in str(caught.value) and ".py:" not in str(caught.value)


@pytest.mark.ci
def test_every_missing_key_is_told(document):
    def paths(part, path=()):
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            yield (*path, key)
            if isinstance(value, dict | list):
                yield from paths(value, (*path, key))

    refused = []
    for path in paths(document):
        part = broken = copy.deepcopy(document)
        for key in path[:-1]:
            part = part[key]
        del part[path[-1]]
        try:
            build(broken)  # lists may be shorter, and what has names of its own may have fewer
        except DescriptionError:
            refused.append(path)
    assert len(refused) > 100
    for path in (("run", "dt"), ("loss", "silent"), ("network", "models", "LIF", "events", 0, "emits")):
        assert path in refused
    for other in (None, 1, "x", [], {}):
        with pytest.raises(DescriptionError, match="not a model description"):
            build(other)


def test_unknown_keys_are_refused(document):
    """A newer version may have written them; the model without them would be another one."""

    def records(part, path=()):
        yield from [path] if isinstance(part, dict) else []
        for key, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
            yield from records(value, (*path, key))

    # dictionaries whose keys are names
    named = ("models", "params", "state", "dynamics", "reset", "receptors", "drives", "fast", "both", "I", "snippets")
    named += ("constants", "weight", "value", "initial")  # and values, in one of several forms
    for path in (p for p in records(document) if not p or p[-1] not in named):
        with pytest.raises(DescriptionError) as caught:
            build(changed(document, (*path, "gain"), 1.0))
        assert "'gain'" in str(caught.value), path
    build(document)


def test_hand_written_code_needs_trust():
    net, out = network(LIFSnippets, LI)
    made = described(net, losses.EndVoltageCrossEntropy(out))
    with pytest.raises(DescriptionError, match=r"LIFSnippets has hand-written code \(sim_code, .*--trust"):
        there_and_back(made)
    same_text_and_words(made, there_and_back(made, trust=True))
