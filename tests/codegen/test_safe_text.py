"""No text of a description leaves the comment, and no name the identifier, that it is written into."""

import dataclasses
import shutil
import subprocess

import numpy as np
import pytest

from genn_eventprop import Dense, Network
from genn_eventprop.codegen import c99, cpp, cuda
from genn_eventprop.codegen.genn.target import network_text
from genn_eventprop.codegen.safe_text import in_comment
from genn_eventprop.errors import EngineError
from genn_eventprop.losses import EndVoltageCrossEntropy, SpikeCountCrossEntropy
from genn_eventprop.modelling.neuron import Event
from genn_eventprop.models import LI, LIF
from genn_eventprop.plan import make_plan

LETTERS = ("*", "/", "\\", "?", "\n", "\r", "\f", "\u2028", "\x00", " ", "a")
EVIL = ("*/ MARK /*", "\nMARK", "\\\nMARK\n", "??/\nMARK\n", "//\rMARK", "**//MARK", "/\\\n* MARK", "*\\\n/ MARK /*")


def preprocessed(text, language, standard, tmp_path):
    """What the compiler reads of a text: without its comments, and with trigraphs."""
    compiler = shutil.which("gcc" if language == "c" else "g++")
    if compiler is None:
        pytest.skip("no compiler")
    file = tmp_path / f"text.{'c' if language == 'c' else 'cpp'}"
    file.write_text(text)
    command = [compiler, "-x", language, f"-std={standard}", "-trigraphs", "-E", "-P", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_comment_stays_one_whatever_is_in_it(tmp_path):
    rng, lines = np.random.default_rng(1), []
    for n in range(3000):
        text = in_comment("".join(rng.choice(LETTERS, rng.integers(1, 9))))
        lines += [f"/* MARK {text} */ int a{n};", f"// MARK {text}", f"int b{n};"]
    for language, standard in (("c", "c99"), ("c++", "c++11")):
        read = preprocessed("\n".join(lines), language, standard, tmp_path)
        assert "MARK" not in read and read.count("int") == 6000


def plan_with(model):
    """A plan of a small network of one model."""
    net = Network()
    hidden, output = net.population(model(), 3, name="hidden"), net.population(LI(), 2, name="output")
    net.connect(net.input(2), hidden, Dense(1.0))
    net.connect(hidden, output, Dense(1.0))
    return make_plan(net, EndVoltageCrossEntropy(output), dt=1.0, duration=5.0)


def texts(plan):
    """(language, standard, text) of every generator of text that a compiler reads."""
    values = plan.network.initial_parameters(0)
    return [
        ("c", "c99", c99.generate(plan, "float64").text),
        ("c", "c99", c99.standalone(plan, values).text),
        ("c++", "c++17", cpp.generate(plan, "float64").text),
        ("c++", "c++17", cuda.generate(plan, "float64").text),
        *(("c", "c99", text) for _, text in _genn(plan)),
    ]


def _genn(plan):
    from genn_eventprop.codegen.genn.show import network_texts

    return network_texts(network_text(plan))


@pytest.mark.one_in(9)
@pytest.mark.parametrize("title", EVIL, ids=range(len(EVIL)))
def test_titles_that_got_past_the_models_stay_in_comments(title, tmp_path):
    model = dataclasses.replace(LIF, threshold=None, reset=None)
    object.__setattr__(model, "name", title)
    object.__setattr__(model, "events", (Event(title, "V - v_thresh", {"V": "v_reset"}),))
    for language, standard, text in texts(plan_with(model)):
        assert "MARK" not in preprocessed(text, language, standard, tmp_path)


@pytest.mark.parametrize("part", ["population", "connection", "constant"])
def test_names_that_got_past_the_network_are_refused(part):
    plan, evil = plan_with(LIF), "x; int MARK"
    hidden, output = plan.populations
    changed = {
        "population": {
            "populations": (dataclasses.replace(hidden, name=evil), output),
            "connections": (
                dataclasses.replace(plan.connections[0], target=evil),
                dataclasses.replace(plan.connections[1], source=evil),
            ),
        },
        "connection": {"connections": (dataclasses.replace(plan.connections[0], name=evil), *plan.connections[1:])},
        "constant": {"loss": dataclasses.replace(plan.loss, constants={evil: 1.0})},
    }[part]
    plan = dataclasses.replace(plan, **changed)
    for make in (
        lambda: c99.generate(plan, "float64"),
        lambda: cpp.generate(plan, "float64"),
        lambda: cuda.generate(plan, "float64"),
        lambda: network_text(plan),
    ):
        with pytest.raises(EngineError, match="'x; int MARK' cannot be written into code"):
            make()


@pytest.mark.parametrize("names", [("h", "h_I"), ("x", "key_x")])
def test_native_says_populations_by_their_numbers(names):
    """Names that join alike cannot meet: they stand in comments alone."""
    net = Network()
    first, second = (net.population(LIF(), 2, name) for name in names)
    net.connect(net.input(2), first, Dense(1.0), name="enter")
    net.connect(first, second, Dense(1.0), name="leave")
    plan = make_plan(net, SpikeCountCrossEntropy(second), dt=1.0, duration=5.0)
    for times in ("grid", "exact"):
        text = cpp.generate(dataclasses.replace(plan, spike_times=times), "float64").text
        said = [line for line in text.splitlines() if names[1] in line.partition("//")[0]]
        assert not said
