"""Every model of the zoo and users' own: gradients, orders of their schemes, hand-written snippets."""

from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Event, Mode, NeuronModel, Param, models
from genn_eventprop.models.lif_snippets import LIFSnippets
from genn_eventprop.verify.gradients import check, main
from genn_eventprop.verify.gradients.draw import LAYOUT_OF_ONE, drawn_case, random_neuron
from genn_eventprop.verify.gradients.scheme import SchemeErrors, scheme_errors
from genn_eventprop.verify.gradients.snippets import TRIALS, suspects
from support.sweeps import sweep

NAMES = NeuronModel(
    name="Names",
    state={"x": "x0", "S": 0.0, "N": 0.1},
    params={
        "e": Param(12.0, "ms"), "I0": Param(0.05), "E": Param(5.0, "ms"), "beta": Param(60.0, "ms"), "x0": Param(0.02),
        "gamma": Param(1.0), "pi": Param(0.1),
    },
    dynamics={"x": "(S - x + I0 - N) / e", "S": "-S / E", "N": "-N / beta"},
    threshold="x - gamma",
    reset={"x": "x0", "N": "N + pi"},
    input="S",
    readout="x",
)  # fmt: skip
EVERYTHING = NeuronModel(
    name="Everything",
    state={"V": "r", "I": 0.0, "w": "a * r"},
    params={
        "tau": Param(10.0, "ms"), "ts": Param(5.0, "ms"), "a": Param(0.4), "r": Param(0.1), "th": Param(1.0),
        "q": Param(0.2),
    },
    dynamics={"V": "(I - V - w) / tau", "I": "-I / ts", "w": "(a * V - w) / (3 * tau)"},
    threshold="V + q * w * V - th - 0.1 * I",
    reset={"V": "r + 0.1 * w + 0.05 * I", "I": "0.8 * I + 0.01 * V", "w": "w + q * V * V - a * r"},
    input={"p": {"I": 1, "w": "-0.1 * a"}},
)  # fmt: skip
BURST = NeuronModel(
    name="Burst",
    state={"V": 0.0, "I": 0.0, "u": 0.0},
    params={
        "tau": Param(20.0, "ms"), "ts": Param(5.0, "ms"), "tu": Param(25.0, "ms"), "th": Param(1.0), "up": Param(0.5),
        "low": Param(0.2), "gain": Param(1.5), "stay": Param(4.0, "ms"),
    },
    dynamics={"V": "(I - V) / tau", "I": "-I / ts", "u": "-u / tu"},
    events=[
        Event("spike", "V - th", {"V": 0.0, "u": "u + 0.3"}, modes=("free", "burst")),
        Event("on", "u - up", {}, emits=False, modes=("free",), next_mode="burst"),
        Event("off", "low - u", {"V": "0.5 * V"}, emits=False, modes=("burst",), next_mode="rest"),
    ],
    modes=[
        Mode("burst", {"V": "(gain * I - V) / tau", "u": "-2 * u / tu"}),
        Mode("rest", {"V": "-V / tau"}, lasts="stay"),
    ],
    input="I",
)  # fmt: skip
CHAIN = NeuronModel(
    name="Chain",
    state={"V": 0.0, "G": 0.0},
    params={
        "tau": Param(10.0, "ms"), "tg": Param(5.0, "ms"), "E": Param(4.0), "th": Param(1.0), "t1": Param(2.0, "ms"),
        "t2": Param(3.0, "ms"),
    },
    dynamics={"V": "(-V + G * (E - V)) / tau", "G": "-G / tg"},
    events=[Event("spike", "V - th", {"V": "-0.2"}, modes=("free", "relative"), next_mode="absolute")],
    modes=[
        Mode("absolute", {"V": "0"}, lasts="t1", then="relative"),
        Mode("relative", {"V": "(-3 * V + 0.5 * G * (E - V)) / tau"}, lasts="t2"),
    ],
    input="G",
)  # fmt: skip
TWO_RECEPTORS = NeuronModel(
    name="TwoReceptors",
    state={"V": 0.0, "A": 0.0, "B": 0.0},
    params={
        "tau": Param(20.0, "ms"),
        "ta": Param(2.0, "ms"),
        "tb": Param(10.0, "ms"),
        "th": Param(1.0),
        "m": Param(0.3),
    },
    dynamics={"V": "(A - B * V - V) / tau", "A": "-A / ta", "B": "-B / tb"},
    threshold="V - th - m * B",
    reset={"V": "0.2 * V * exp(-B)"},
    input={"exc": "A", "inh": "B"},
)  # fmt: skip
OWN = (NAMES, EVERYTHING, BURST, CHAIN, TWO_RECEPTORS)
# delta synapses, a timed mode, complex eigenvalues, own models; LIF and LI are in one command below, two receptors in
# test_gradcheck_models
QUICK = (models.LIFDelta, models.SEAdLIF, NAMES, EVERYTHING, BURST, CHAIN)


@pytest.mark.one_in(6)
@pytest.mark.parametrize("model", sweep((*models.ZOO.values(), *OWN), QUICK), ids=lambda m: m.name)
def test_gradients(model):
    """One random network with every parameter learned; all of `gradcheck --all` is a command."""
    case = drawn_case(model.name, model, LAYOUT_OF_ONE[model.spiking], (0, 0))
    assert not case.failures, case.text()
    assert case.worst < 1e-6 and sum(case.spikes.values()) >= case.MINIMUM_SPIKES


@pytest.mark.parametrize(
    "name", ["QIF", *(pytest.param(n, marks=m) for n, m in (("AdEx", pytest.mark.ci), ("Theta", pytest.mark.slow)))]
)
def test_schemes_have_their_order(name):
    rk4, euler = scheme_errors(random_neuron(models.ZOO[name], np.random.default_rng(0), 3))
    assert (rk4.scheme, euler.scheme) == ("rk4", "exponential_euler")
    assert 3.6 < rk4.order < 4.4 and rk4.errors[-1] < 1e-6 and rk4.passed
    assert euler.order == pytest.approx(1 if name == "AdEx" else 2, abs=0.2) and euler.passed


def test_an_order_that_is_lost_fails():
    assert not SchemeErrors("rk4", (1e-3, 5e-4, 2.5e-4)).passed
    assert "FAILED: it must fall with order 4" in SchemeErrors("rk4", (1e-3, 5e-4, 2.5e-4)).text()
    assert SchemeErrors("rk4", (1e-10, 9e-11, 9e-11)).passed  # at rounding


@pytest.mark.ci
def test_hand_written_snippets_and_which_is_suspect(capsys):
    neuron = random_neuron(LIFSnippets, np.random.default_rng(0), TRIALS)
    assert suspects(neuron) == []
    code = LIFSnippets.snippets
    wrong = replace(
        LIFSnippets, threshold=None, reset=None,
        snippets={
            **code, "sim_code": code["sim_code"].replace("I *= beta", "I *= alpha"),
            "adjoint_jump_code": "lambda_V = -dl_dt * inv_gdot;",
        },
    )  # fmt: skip
    found = suspects(random_neuron(wrong, np.random.default_rng(0), TRIALS))
    assert [(s.section, s.variable) for s in found] == [("sim_code", "I"), ("adjoint_jump_code", "lambda_V")]
    text = found[1].text("Mine")
    assert "Mine: adjoint_jump_code gives another lambda_V than the equations" in text and "inv_gdot" in text
    report = check(wrong, quick=True)
    assert not report.passed and "sim_code gives another I" in report.text()


@pytest.mark.ci
def test_the_whole_zoo_in_one_command(capsys, monkeypatch):
    monkeypatch.setattr(models, "ZOO", {"LI": models.LI, "LIAdaptive": models.LIAdaptive})
    assert main(None, quick=True, processes=1) == 0
    alone = capsys.readouterr().out
    assert main(None, quick=True, processes=2) == 0
    assert capsys.readouterr().out == alone
    lines = alone.splitlines()
    assert lines[0].split()[:2] == ["model", "networks"] and [x.split()[0] for x in lines[1:3]] == ["LI", "LIAdaptive"]
    assert "passed: 2 of 2 models, 2 networks" in lines[-1]
