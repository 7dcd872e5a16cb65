"""What makes a gradient check red: a wrong sign anywhere in the adjoint, and draws that prove nothing."""

import dataclasses
import time

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, NeuronModel, Param, losses
from genn_eventprop.engines.reference.exact import (
    backward as event_backward,
)
from genn_eventprop.engines.reference.exact import (
    equations as event_equations,
)
from genn_eventprop.engines.reference.exact import (
    readouts as event_readouts,
)
from genn_eventprop.engines.reference.exact.engine import ReferenceEvent
from genn_eventprop.errors import EventPropError, ModelError, SettingError, UsageError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.verify.gradients import Block, Case, check, check_network, main
from genn_eventprop.verify.gradients.command import find_model
from genn_eventprop.verify.gradients.compare import Problem, differences
from genn_eventprop.verify.gradients.draw import Layout, Silence, draw

LAYOUTS = {
    "first_spike": Layout(1, True, True, "first_spike"),
    "integral": Layout(1, True, True, "integral_sigmoid"),
    "max": Layout(1, True, False, "max"),
}
_cache = {}


def problem(kind):
    """(plan, parameters, events, differences of some blocks), drawn once; for "max" with a kink among the maxima."""
    if kind not in _cache:
        for seed in range(20):
            plan, parameters, events = draw(LIF, LAYOUTS[kind], np.random.default_rng(seed))
            p = Problem(plan, parameters, events)
            p.engine.run(p.data, p.samples)
            places = [where for t in p.engine.trials for where, *_ in (t.readout.signature() if kind == "max" else [])]
            if kind != "max" or "kink" in places:
                break
        blocks = [k for k in p.values if k.split(".")[-1] in ("weight", "v_thresh", "v_reset", "tau_mem", "tau_syn")]
        _cache[kind] = plan, parameters, events, differences(p, blocks)
    return _cache[kind]


def failures(kind):
    """Failed blocks with the adjoint as it is now (perhaps broken), against differences of the forward code."""
    plan, parameters, events, wanted = problem(kind)
    engine = ReferenceEvent(plan, parameters)
    engine.run(engine.load(events), np.arange(len(events)), training=True)
    blocks = [Block(k, engine.full_gradients[k], d) for k, d in wanted.items()]
    case = Case(kind, blocks, {"all": 99}, engine.smallest_slope, 2.0, 1e-6, frozenset(wanted))
    case.judge()
    return case.failures


def flip_event(name, factor=-1):
    """Multiply one part of the jump at own events, which forward code does not use."""

    def break_it(monkeypatch):
        original = event_equations.Equations.jump

        def broken(self, *args):
            out = original(self, *args)
            return out | {name: factor * out[name]}

        monkeypatch.setattr(event_equations.Equations, "jump", broken)

    return break_it


def flip_method(owner, name, change=lambda value: -value):
    def break_it(monkeypatch):
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args: change(original(*args)))

    return break_it


def flip_attribute(name, change):
    def break_it(monkeypatch):
        original = event_equations.Equations.__init__

        def broken(self, *args):
            original(self, *args)
            setattr(self, name, change(getattr(self, name)))

        monkeypatch.setattr(event_equations.Equations, "__init__", broken)

    return break_it


def no_extra(monkeypatch):
    monkeypatch.setattr(event_readouts.Maximum, "_kinks", lambda self, dr: None)


def no_initial(monkeypatch):
    monkeypatch.setattr(event_backward.Backward, "_initial_values", lambda self, name: None)


FLIPS = {
    "a": ("integral", flip_event("a")),
    "dh/dp": ("integral", flip_event("dh_dp")),
    "dg/dp": ("integral", flip_event("dg_dp")),
    "gdot": ("integral", flip_event("gdot", 2)),
    "dh/dx": ("integral", flip_event("dh_dx")),
    "df/dp": ("integral", flip_method(event_equations.Equations, "df_dp")),
    "dpsi/ds": ("integral", flip_method(event_backward, "psi", lambda both: (both[0], np.flip(both[1], axis=(1, 2))))),
    "dx0/dp": ("integral", flip_attribute("dx0_dp", lambda v: -v)),
    "lambda(0)": ("integral", no_initial),
    "D": ("integral", flip_method(event_backward.Backward, "_difference")),
    "l(x-) - l(x+) of the output's own spike": ("integral", flip_method(event_readouts.Integral, "spike_term")),
    "dl_p/dt": ("first_spike", flip_method(event_readouts.FirstSpike, "spike_term")),
    "D of a first-spike network": ("first_spike", flip_method(event_backward.Backward, "_difference")),
    "kink rule": ("max", no_extra),
    "dl/dx": ("integral", flip_method(event_backward, "density_rows")),
}


@pytest.mark.ci
@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_unbroken_adjoint_is_green(kind):
    assert failures(kind) == []


@pytest.mark.parametrize("part", FLIPS)
@pytest.mark.one_in(18)
def test_a_flipped_sign_is_red(part, monkeypatch):
    kind, break_it = FLIPS[part]
    problem(kind)
    break_it(monkeypatch)
    assert any("relative error" in f for f in failures(kind))


@pytest.mark.ci
def test_a_flipped_sign_makes_the_command_fail(monkeypatch, capsys):
    flip_event("a")(monkeypatch)
    monkeypatch.setattr("genn_eventprop.verify.gradients.draw.SPIKING", (Layout(1, False, False, "first_spike"),))
    assert main("lif") == 1
    text = capsys.readouterr().out
    assert "FAILED hidden1.v_thresh: relative error" in text
    last = text.splitlines()[-1]
    assert last.startswith("FAILED: 1 network, ") and "relative error" in last.split(";")[1]


def case(**changes):
    values = {
        "name": "c", "blocks": [Block("w", np.array([1.0, 2.0]), np.array([1.0, 2.0]))], "spikes": {"hidden": 30},
        "smallest_slope": 0.1, "slope": 2.0, "tolerance": 1e-6,
    }  # fmt: skip
    made = Case(**(values | changes))
    made.judge()
    return made.failures


def test_judgement():
    assert case() == []
    assert "19 spikes, at least 20" in case(spikes={"hidden": 19})[0]
    assert "layer 'output' is silent" in case(spikes={"hidden": 30, "output": 0})[0]
    zero = Block("w", np.zeros(2), np.zeros(2))
    assert "gradient of w is all zero" in case(blocks=[zero])[0]
    assert case(blocks=[zero], may_vanish=frozenset({"w"})) == []
    assert "relative error" in case(blocks=[Block("w", np.zeros(2), np.array([0.0, 1e-3]))])[0]
    assert "relative error" in case(blocks=[Block("w", np.array([1.0, 0.0]), np.array([1.0, 1e-4]))])[0]
    assert "relative error" in case(blocks=[Block("w", np.array([1.0, np.nan]), np.array([1.0, 1.0]))])[0]
    assert "spikes change" in case(blocks=[Block("w", np.ones(2), np.array([1.0, np.nan]), 1)])[0]
    assert "order 1.02" in case(slope=1.02)[0] and case(slope=float("nan"))


def network(weight, silent="exclude"):
    net = Network()
    inp, out = net.input(1), net.population(LIF(tau_syn=10.0), 2, name="output")
    net.connect(inp, out, Dense(weight))
    return net, losses.FirstSpikeCrossEntropy(out, silent=silent)


def events(n, labels=(0,)):
    return Events.from_samples([(np.arange(n) * 6.0 + 1.0, np.zeros(n, int))], 1, labels=labels)


def test_networks_that_prove_nothing_fail():
    net, loss = network([[9.0, 7.0]])
    few = check_network(net, loss, events=events(3), duration=40.0)
    assert not few.passed and any("spikes, at least 20" in f for f in few.cases[0].failures)
    net, loss = network([[0.1, 0.1]])
    silent = check_network(net, loss, events=events(3), duration=40.0)
    assert any("'output' is silent" in f for f in silent.cases[0].failures)
    assert any("all zero" in f for f in silent.cases[0].failures)


def test_spikes_that_change_under_the_smallest_step_fail():
    """An output that grazes its threshold to 1e-13: no step leaves the number of spikes alone."""
    net, loss = network([[4.0 * (1 + 1e-13), 9.0]])
    report = check_network(net, loss, events=events(1), duration=40.0)
    assert any("spikes change under the smallest step" in f for f in report.cases[0].failures)


def test_errors():
    net, loss = network([[0.1, 9.0]], silent="end")
    with pytest.raises(EventPropError, match="push of silent='end' is a heuristic"):
        check_network(net, loss, events=events(3), duration=40.0)
    with pytest.raises(SettingError, match="needs labelled events"):
        check_network(net, loss, events=events(3, labels=None), duration=40.0)
    with pytest.raises(SettingError, match="unknown loss 'maxx' .*did you mean 'max'"):
        check(LIF, loss="maxx")
    with pytest.raises(SettingError, match="LI never spikes"):
        check(LI, loss="first_spike")
    with pytest.raises(UsageError, match="no built-in model 'liff' .*did you mean 'lif'"):
        main("liff")
    with pytest.raises(ModelError, match="no file 'absent.py'"):
        main("absent.py:Neuron")


@pytest.mark.ci
def test_a_model_that_cannot_spike_in_its_networks_is_an_error():
    deaf = NeuronModel(
        name="Deaf", state={"V": 0.0}, params={"tau": Param(5.0, "ms")}, dynamics={"V": "-V / tau"},
        threshold="-1 - V * 1e-9", reset={"V": 0.0}, input="V",
    )  # fmt: skip
    with pytest.raises(EventPropError, match="Deaf: found no weights"):
        check(deaf)


@pytest.mark.ci
def test_a_threshold_out_of_reach_ends_the_search(monkeypatch):
    """V never passes the reversal potential, and every doubling of the weights doubles the time of a run."""
    out_of_reach = NeuronModel(
        name="COBA",
        state={"V": 0.0, "g": 0.0},
        params={"tau_m": Param(20.0, "ms"), "tau_s": Param(5.0, "ms"), "E": Param(0.8), "v_t": Param(1.0)},
        dynamics={"V": "(g * (E - V) - V) / tau_m", "g": "-g / tau_s"},
        threshold="V - v_t",
        reset={"V": "0"},
        input="g",
    )
    assert Silence.LIMIT <= 10, "processor seconds; the command must end within 20 s"
    monkeypatch.setattr(Silence, "LIMIT", 1.5)
    monkeypatch.setattr(Silence, "FIRST_WORD", 0.2)
    said, began = [], time.process_time()
    with pytest.raises(
        EventPropError, match=r"COBA: found no weights .tried up to \S+. .*is the threshold within reach"
    ):
        check(out_of_reach, progress=said.append)
    assert time.process_time() - began < 1.5 + 2
    assert said[0].startswith("network 1 of 3: COBA") and any("no spike of COBA yet" in text for text in said)


@pytest.mark.ci
def test_a_parameter_without_influence_anywhere_fails(monkeypatch):
    monkeypatch.setattr("genn_eventprop.verify.gradients.draw.READOUT", (Layout(1, False, True, "integral_constant"),))
    useless = dataclasses.replace(LI, params=LI.params | {"spare": Param(1.0)})
    report = check(useless)
    assert not report.passed and "gradient of spare is all zero in every network" in report.failures[0]


def test_models_by_name(tmp_path):
    assert find_model("LIF") is LIF and find_model("li") is LI
    file = tmp_path / "two.py"
    file.write_text("from genn_eventprop.models.lif import LIF\nMine = LIF(tau_mem=9.0)\nnumber = 3\n")
    assert find_model(f"{file}:Mine") is LIF
    with pytest.raises(ModelError, match="'number' is not a NeuronModel"):
        find_model(f"{file}:number")
