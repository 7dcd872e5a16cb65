"""What GeNN refuses of a text, the harness refuses: the same texts on both."""

from dataclasses import replace

import pytest

from genn_eventprop.codegen.genn.text import NetworkText, NeuronText, SynapseText, UpdateText, WeightUpdateText
from genn_eventprop.engines.genn.network import Network as GennNetwork
from genn_eventprop.errors import ToolchainError
from support.genn_harness import HarnessNetwork
from support.on_genn import BACKEND

SIM = "V = 0.5 * V + I_in + table[id % 2] + fmin(k, 1.0);\n"
NEURON = NeuronText(
    (("k", "scalar"),), (("V", "scalar", "READ_WRITE"), ("tau", "scalar", "READ_ONLY")),
    (("table", "scalar", (2,)), ("counts", "int", (3,))), ("I_in",), SIM, "V > 1.0",
)  # fmt: skip
SPREAD = WeightUpdateText(
    (("w", "scalar", "READ_ONLY"),), (), (("x", "scalar", "V"),), "addToPost(w);\n", "w > 2.0", "addToPre(w * x);\n"
)  # fmt: skip
SPREAD = replace(SPREAD, pre_refs=(("due", "scalar", "V"),), pre_event_threshold_condition_code="due > 2.0")
REFS = (("V", "scalar", "READ_WRITE", "a", "V"), ("tau", "scalar", "READ_ONLY", "a", "tau"))
COUNT = UpdateText("count", "a", "counts[id] += 1;\nV = tau;\n", REFS, (("counts", "int", "a", "counts"),))
HALVE = UpdateText("halve", "a_a", "w = 0.5 * w;\n", (("w", "scalar", "READ_WRITE", "a_a", "w"),))
GOOD = NetworkText(
    "small", {"a": (3, NEURON)}, {"a_a": SynapseText("a", "a", SPREAD, "I_in", "I_in")},
    {"count_a": COUNT, "halve_w": HALVE},
)  # fmt: skip


def neuron(**changes):
    return replace(GOOD, populations={"a": (3, replace(NEURON, **changes))})


def code(line):
    return neuron(sim_code=SIM + line)


def synapse(**changes):
    return replace(GOOD, synapses={"a_a": replace(GOOD.synapses["a_a"], update=replace(SPREAD, **changes))})


def update(**changes):
    return replace(GOOD, updates={"count_a": replace(COUNT, **changes)})


def another(name):
    return replace(GOOD, populations={**GOOD.populations, name: (3, replace(NEURON, arrays=(), sim_code="V = k;\n"))})


BAD = {
    "a population without a name": another(""),
    "a population with a hyphen": another("a-b"),
    "a group of updates without a name": update(group=""),
    "a name that begins with a digit": neuron(arrays=(*NEURON.arrays, ("2nd", "scalar", (1,)))),
    "an array that no code names": neuron(arrays=(*NEURON.arrays, ("rest", "scalar", (4,)))),
    "an array that an update refers to and does not name": update(code="V = tau;\n"),
    "an update without references": update(refs=(), code="counts[id] += 1;\n"),
    "a reference to an array of another type": update(arrays=(("counts", "scalar", "a", "counts"),)),
    "a reference to a variable of another type": update(refs=(("V", "int", "READ_WRITE", "a", "V"), REFS[1])),
    "a reference to a variable that is not there": update(refs=(("V", "scalar", "READ_WRITE", "a", "U"), REFS[1])),
    "writing what may be read": update(code="counts[id] += 1;\ntau = 1.0;\n"),
    "writing a weight in a step": synapse(pre_spike_syn_code="addToPost(w);\nw = 0.0;\n"),
    "a name that begins with an underscore": code("const scalar _y = V;\n"),
    "a shift to the right": code("const int y = id >> 1;\n"),
    "a division with assignment": code("V /= 2.0;\n"),
    "an octal number": code("V += 010;\n"),
    "a comment in the middle": code("V += /* much */ 1.0;\n"),
    "a function of C++ alone": code("V += isnan(V) ? 1.0 : 0.0;\n"),
    "a function that is not there": code("V = nonsense(V);\n"),
    "a variable that is not there": code("V = U;\n"),
    "auto": code("auto y = V;\n"),
    "a cast of C++": code("V = static_cast<scalar>(id);\n"),
}  # fmt: skip


@pytest.mark.parametrize("case", ["good", *BAD])
@pytest.mark.parametrize("on", ["harness", pytest.param("pygenn", marks=pytest.mark.needs_genn)])
@pytest.mark.one_in(2)
def test_the_harness_refuses_what_genn_refuses(monkeypatch, tmp_path, on, case):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # GeNN's code of a failed build stays
    text = BAD.get(case, GOOD)

    def build():
        lengths = {(p, a): max(2, *axes) for p, (_, n) in text.populations.items() for a, _, axes in n.arrays}
        if on == "harness":
            return HarnessNetwork(text, 1, lengths, {})
        return GennNetwork(text, "float64", 1, BACKEND, True, lengths)

    if case == "good":
        network = build()
        network.launch("count")
        assert list(network.array("a", "counts", pull=True)) == [1, 1, 1]
        network.close()
    else:
        with pytest.raises(ToolchainError):
            build()
