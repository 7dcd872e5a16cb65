"""Random networks of `support.random_networks`: native against the references, and whether the check can fail.

`benchmarks/random_networks.py` runs thousands of the same networks.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from genn_eventprop import Dense, Events, Network
from genn_eventprop.adjoint import derive
from genn_eventprop.adjoint.birth import why_no_births
from genn_eventprop.engines.contract.engine import Availability
from genn_eventprop.engines.cuda import engine as cuda
from genn_eventprop.engines.genn import GennEngine
from genn_eventprop.engines.native.exact import TOLERANCE
from genn_eventprop.errors import EngineError, EventPropError, Refusal
from genn_eventprop.losses import EndVoltageCrossEntropy
from genn_eventprop.models.adex import AdEx
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.verify.engines import Case, Verdict
from genn_eventprop.verify.engines.check import PRECISION, Truth, judged, loaded
from genn_eventprop.verify.engines.outcome import HALVES, INPUT_TIMES, other_number, outcome
from support.cuda_shim import ShimEngine
from support.engine_check import ENGINES, check, made, masked_gradients, starts_above
from support.genn_harness import HarnessEngine
from support.mirror import mirrored
from support.random_networks import (
    ALSO,
    ASKED_FOR,
    FEATURES,
    Random,
    draw,
    draw_case,
    draw_layout,
    features,
    wired,
    with_births,
    with_modes,
    with_sharp_spikes,
)  # fmt: skip
from support.random_networks.known import KNOWN, network
from support.random_networks.layout import BORN, MODELS, NONLINEAR
from support.random_networks.networks import halves
from support.random_networks.wiring import DELAYS, KINDS

FEW = settings(
    max_examples=3, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
MANY = settings(FEW, max_examples=150, derandomize=False, phases=[Phase.generate, Phase.shrink])
F64, F32 = PRECISION["float64"], PRECISION["float32"]


class Drawn:
    """Decisions by hypothesis."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data

    def pick(self, options: Sequence) -> object:
        return self.data.draw(st.sampled_from(list(options)))

    def bernoulli(self, probability: float) -> bool:
        return self.data.draw(st.integers(0, 99)) >= 100 - 100 * probability

    def numbers(self) -> np.random.Generator:
        return np.random.default_rng(self.data.draw(st.integers(0, 2**32 - 1)))


def none_is_wrong(
    data: st.DataObject, spike_times: str, engines: Sequence[str], connected: bool = False, several: bool = False,
    also: Sequence[str] = (),
) -> None:  # fmt: skip
    dice = Drawn(data)
    asked = lambda kind: dice if kind in also else None  # noqa: E731
    try:
        layout = draw_layout(dice, spike_times)
        layout = with_modes(layout, dice) if "modes" in also else layout
        layout = with_sharp_spikes(layout, dice) if "sharp" in also else layout
        layout = with_births(layout, dice) if "births" in also else layout
        case = draw_case(
            wired(layout, dice) if connected else layout, dice, dice if several else None,
            asked("currents") or asked("alone"), alone="alone" in also, several=asked("inputs"), births=asked("births"),
        )  # fmt: skip
    except EventPropError:
        return  # refused by name
    wrong = [v for v in check(case, engines) if v.kind == "wrong"]
    assert not wrong, f"{case.text}: {wrong}"


@pytest.mark.parametrize("spike_times", ["grid", "exact"])
@FEW
@given(st.data())
def test_networks_that_hypothesis_draws(spike_times: str, data: st.DataObject) -> None:
    none_is_wrong(data, spike_times, ENGINES[:1])


@pytest.mark.slow
@pytest.mark.parametrize("spike_times", ["grid", "exact"])
@MANY
@given(st.data())
def test_many_networks(spike_times: str, data: st.DataObject) -> None:
    none_is_wrong(data, spike_times, ENGINES)


@pytest.mark.ci
@FEW
@given(st.data())
def test_tables_and_delays_that_hypothesis_draws(data: st.DataObject) -> None:
    none_is_wrong(data, "grid", ["native float64", "c99 float64"], connected=True)


@pytest.mark.ci
@FEW
@given(st.data())
def test_auxiliary_losses_that_hypothesis_draws(data: st.DataObject) -> None:
    none_is_wrong(data, "grid", ["native float64", "c99 float64"], several=True)


@pytest.mark.ci
@pytest.mark.parametrize("spike_times", ["grid", "exact"])
@pytest.mark.parametrize("also", [[kind] for kind in ALSO], ids=ALSO)
@FEW
@given(st.data())
def test_networks_with_more_that_hypothesis_draws(spike_times: str, also: list[str], data: st.DataObject) -> None:
    none_is_wrong(data, spike_times, ENGINES[:1], also=also)


def test_auxiliary_losses_and_currents_change_no_other_draw() -> None:
    for number in range(6):
        layout = draw_layout(Random(1, number), "grid")
        try:
            plain = draw_case(layout, Random(1, number, number))
            other = draw_case(layout, Random(1, number, number), Random(1, number, 0, 2), Random(1, number, 0, 4))
        except EventPropError:
            continue
        assert all(np.array_equal(other.parameters[k], v) for k, v in plain.parameters.items())
        assert np.array_equal(other.events.times, plain.events.times)
        assert other.plan.loss.readout == plain.plan.loss.readout


@pytest.mark.slow
@MANY
@given(st.data())
def test_many_tables_and_delays(data: st.DataObject) -> None:
    none_is_wrong(data, "grid", ["native float64", "c99 float64", "native float32"], connected=True)


def test_wiring_changes_no_other_draw() -> None:
    """Of the layout: models, loss; windows and one to one set sizes."""
    kinds, delays = set(), set()
    for number in range(60):
        plain = draw_layout(Random(1, number), "grid")
        other = wired(plain, Random(1, number, 0, 1))
        assert [x.model for x in other.hidden] == [x.model for x in plain.hidden] and other.loss == plain.loss
        assert (other.output.size == 1) >= (plain.output.size == 1)
        into = [x.wiring for x in (*other.hidden, other.output) if x.wiring]
        kinds |= {w.kind for w in into}
        delays |= {(w.delays, w.learned) for w in into if w.delays}
    assert kinds == {"conv", "pool", *KINDS}
    assert len(delays) == 2 * (len(DELAYS) - 1)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("spike_times", ["grid", "exact"])
def test_everything_that_engines_treat_apart_is_drawn(spike_times: str) -> None:
    """On the grid also the gradient of input times where arrivals move nonlinear dynamics."""
    drawn: Counter[str] = Counter()
    for structure in range(120):
        with contextlib.suppress(EventPropError):
            drawn.update(features(draw(spike_times, 2, structure)))
    rare = {name for name in FEATURES if drawn[name] < 3}
    assert rare <= ({n for n in FEATURES if "receptors" in n} if spike_times == "exact" else set())


@pytest.mark.one_in(2)
@pytest.mark.parametrize("spike_times", ["grid", "exact"])
def test_everything_that_is_asked_for_is_drawn(spike_times: str) -> None:
    drawn: Counter[str] = Counter()
    for structure in range(15):
        for also in (["currents", "inputs", "births", "modes"], ["alone", "modes"]):
            with contextlib.suppress(EventPropError):
                drawn.update(features(draw(spike_times, 2, structure, also=also)))
    assert not {name for name in ASKED_FOR if drawn[name] < 2}


def test_models_whose_spikes_can_be_born_are_listed() -> None:
    assert not {n: why for n in BORN if (why := why_no_births(derive(MODELS[n])))}


def test_a_number_of_a_structure_leaves_what_is_compiled_in() -> None:
    """Other weights, other input; the models, sizes and tables are the same."""
    one, other = draw("grid", 2, 3, 0), draw("grid", 2, 3, 1)
    assert [(p.derived.model.name, p.size) for p in one.plan.populations] == [
        (p.derived.model.name, p.size) for p in other.plan.populations
    ]
    assert any(not np.array_equal(other.parameters[k], v) for k, v in one.parameters.items() if "weight" in k)


def test_delays_are_zero_at_their_bound_and_beyond_the_trial() -> None:
    """And no synapse of some neuron, part of the weights frozen."""
    seen = set()
    for number in range(40):
        try:
            layout = wired(draw_layout(Random(1, number), "grid"), Random(1, number, 0, 1))
            case = draw_case(layout, Random(1, number, number))
        except EventPropError:
            continue
        for c in case.plan.connections:
            seen |= {"frozen"} if c.learned is not None and not c.learned.all() else set()
            seen |= {"empty row"} if c.drawn and len(set(case.parameters[c.pairs][:, 0])) < c.pre else set()
            if c.delays is not None:
                values = case.parameters[c.delays_name]
                seen |= {"zero"} if values.min() == 0 else set()
                seen |= {"bound"} if values.max() == c.delays.limit else set()
                seen |= {"beyond"} if values.max() > case.plan.duration else set()
    assert seen == {"frozen", "empty row", "zero", "bound", "beyond"}


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_networks_that_were_wrong_once(name: str) -> None:
    try:
        case = KNOWN[name]()
    except EventPropError as error:
        assert "starts at or above" in str(error)  # the only ones that are refused since
        return
    assert {v.kind for v in check(case)} <= {"right", "refused"}


@pytest.mark.parametrize("name", [n for n in KNOWN if n.startswith("V starts")])
def test_a_start_above_threshold_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EventPropError, match="starts at or above"):
        KNOWN[name]()
    monkeypatch.setattr("genn_eventprop.modelling.network.check_below", lambda *_: None)
    assert "starts at or above" in starts_above(KNOWN[name]())


@pytest.mark.parametrize("name", [n for n in KNOWN if n.startswith("V(t) of slow")])
@pytest.mark.ci
def test_slow_outputs_that_are_pushed_hard(name: str) -> None:
    """V moves fast though all its rates are small: too few nodes for l(V(t)), and for the weight, were taken once."""
    assert {v.kind for v in check(KNOWN[name]())} == {"right"}


def test_two_inputs_with_delays_of_their_own() -> None:
    """dL/d(time) of their spikes: on cuda one loop for each of the inputs, in the same function."""
    case = KNOWN["two inputs with delays"]()
    found = []
    for engine in (made("native float64", case), ShimEngine(case.plan, case.parameters, dtype="float64")):
        readout = engine.forward(engine.load(case.events), [0]).value
        engine.backward(np.ones_like(readout), inputs=True)
        found.append((engine.input_gradients, engine.gradients["right_hidden.delay"]))
    for one, other in zip(*found, strict=True):
        assert np.count_nonzero(one) > 3
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-14)


def test_missing_targets_of_an_output_that_spikes() -> None:
    case = KNOWN["missing targets of an output that spikes"]()
    assert [v.kind for v in check(case, ENGINES[:1])] == ["right"]


def test_nonlinear_models_are_listed() -> None:
    assert {n for n, m in MODELS.items() if not derive(m).linear} == set(NONLINEAR)


@pytest.mark.ci
def test_births_and_losses_of_v_forwards_alone() -> None:
    """The search of births cuts pieces along which V is read: forwards alone, too, where last bits differed."""
    case = KNOWN["V of an output that gives birth to spikes"]()
    assert [v.kind for v in check(case, ENGINES[:1])] == ["right"]


# whether it can fail


@pytest.fixture(scope="module")
def truth() -> Truth:
    case = KNOWN["one LIF with learned parameters"]()
    return Truth(replace(case, strict=False))


def test_what_the_reference_says_is_right(truth: Truth) -> None:
    assert judged(truth, truth.outcome, F64) == ("right", "")


@pytest.mark.parametrize(
    "key",
    [
        "loss", "readout", "spike times of hidden", "gradient of hidden.tau_mem", "halves: readout",
        "halves: gradient of hidden.tau_mem", "halves: gradient of input times",
    ],
)  # fmt: skip
def test_a_number_that_is_off_by_a_millionth_is_wrong(truth: Truth, key: str) -> None:
    numbers = {**truth.outcome.numbers, key: truth.outcome.numbers[key] * (1 + 1e-6)}
    kind, reason = judged(truth, replace(truth.outcome, numbers=numbers), F64)
    assert kind == "wrong" and reason.startswith(key)
    assert judged(truth, replace(truth.outcome, numbers=numbers), F32)[0] == "right"


def test_an_engine_without_halves_is_judged_by_the_rest(truth: Truth) -> None:
    numbers = {k: v for k, v in truth.outcome.numbers.items() if not k.startswith(HALVES)}
    assert len(numbers) < len(truth.outcome.numbers)
    assert judged(truth, replace(truth.outcome, numbers=numbers), F64) == ("right", "")


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", ["native float64", "reference_event float64"])
def test_engines_with_halves_are_judged_by_them(name: str, truth: Truth) -> None:
    engine = made(name, truth.case)
    assert outcome(engine, loaded(engine, truth.case)).numbers.keys() == truth.outcome.numbers.keys()


def test_the_rounding_of_terms_that_cancel_is_nothing(truth: Truth) -> None:
    """But only some eps of the largest gradient."""
    key = "gradient of hidden.tau_mem"
    zero = dict(truth.outcome.numbers) | {key: np.zeros(1)}
    want = replace(truth.outcome, numbers=zero)
    largest = max(np.abs(v).max() for k, v in zero.items() if k.startswith("gradient"))
    for times, precision, right in ((5, F32, True), (1000, F32, False), (1000, F64, False)):
        off = replace(want, numbers=zero | {key: np.full(1, times * precision.eps * largest)})
        assert (other_number(want, off, precision.relative, precision.eps) == "") == right


def test_gradients_of_an_output_that_rests_are_rounding(truth: Truth) -> None:
    """Of a V of 70 that nothing moves; where one gradient is larger, the others have to be right, too."""
    gradients = {k for k in truth.outcome.numbers if k.startswith(f"{HALVES}gradient")}
    key = f"{HALVES}gradient of hidden.tau_mem"
    for largest, right in ((1e-12, True), (1e-9, False)):
        rest = {k: np.full_like(truth.outcome.numbers[k], largest) for k in gradients} | {key: np.full(1, 1e-15)}
        numbers = dict(truth.outcome.numbers) | rest | {f"{HALVES}readout": np.array([[70.0, 0.0]])}
        off = replace(truth.outcome, numbers=numbers | {key: np.full(1, 1e-14)})
        assert (other_number(replace(truth.outcome, numbers=numbers), off, F64.relative, F64.eps) == "") == right


def test_a_loss_near_zero_has_the_rounding_of_the_scores(truth: Truth) -> None:
    """-log softmax of one score of 25: 1e-11, which is a difference of numbers that are 25."""
    numbers = dict(truth.outcome.numbers) | {"loss": np.full(1, 1e-11), "readout": np.array([[25.0, 0.0]])}
    want = replace(truth.outcome, numbers=numbers)
    for times, right in ((2, True), (100, False)):
        off = replace(want, numbers=numbers | {"loss": 1e-11 + np.full(1, times * F64.eps * 25)})
        assert (other_number(want, off, F64.relative, F64.eps) == "") == right


def test_what_the_format_does_not_hold_is_undecided(truth: Truth) -> None:
    key = "gradient of hidden.tau_mem"
    huge = {**truth.outcome.numbers, key: truth.outcome.numbers[key] * 1e40}
    known = Truth(truth.case)
    known.__dict__["outcome"] = replace(truth.outcome, numbers=huge)
    over = replace(truth.outcome, numbers=huge | {key: huge[key] * np.inf})
    assert judged(known, over, F32) == ("undecided", f"float32 does not hold {key}")
    assert judged(known, over, F64)[0] == "wrong"


@pytest.mark.ci
def test_input_times_are_compared_whatever_the_loss() -> None:
    """Losses along the trial have no halves: another loss of the same network has them."""
    case = KNOWN["16 rows of targets for 30 steps"]()
    assert case.probe is None and not check(case, ENGINES[:1])[0].input_times
    with_probe = replace(case, probe=halves(case.plan))
    assert check(with_probe, ENGINES[:1]) == [Verdict("native float64", "right", "", True)]
    truth = Truth(with_probe)
    assert HALVES + INPUT_TIMES in truth.outcome.numbers and HALVES + "readout trace" in truth.outcome.numbers


def test_a_gradient_where_a_mask_is_zero_is_wrong() -> None:
    net, mask = Network(), np.array([[True, False], [True, True]])
    output = net.population(LI(), 2, "output")
    net.connect(net.input(2), output, Dense(1.0, mask=mask))
    plan = make_plan(net, EndVoltageCrossEntropy(output), dt=1.0, duration=5.0)
    engine = made("reference_clock float64", Case("", plan, net.initial_parameters(1), Events.from_samples([], 2)))
    engine.gradients["input_output.weight"][...] = mask
    assert masked_gradients(engine) == ""
    engine.gradients["input_output.weight"][0, 1] = 1e-30
    assert masked_gradients(engine) == "gradient of input_output.weight where its mask is 0"


def test_the_reference_is_the_same_with_its_neurons_mirrored() -> None:
    case = KNOWN["one LIF with learned parameters"]()
    assert np.array_equal(mirrored(case.plan, mirrored(case.plan, case.parameters))["input_hidden.weight"],
                          case.parameters["input_hidden.weight"])  # fmt: skip
    case = replace(KNOWN["2 rows of targets for 30 steps"](), mirrors=True, probe=None)
    assert [v.kind for v in check(case, ["mirrored float64"])] == ["right"]
    turned = made("mirrored float64", case).parameters["hidden_output.weight"]
    assert np.array_equal(turned, case.parameters["hidden_output.weight"][::-1])


@pytest.mark.ci
def test_the_tolerance_of_users_is_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a series: at 1e-13 a looser default would not show."""
    case = network("AdEx", AdEx(), 3, LI(), 2, "end", weights={"in": 900.0})
    as_used = "native float64 as used"
    assert [v.kind for v in check(case, ["native float64", as_used])] == ["right", "right"]
    monkeypatch.setitem(TOLERANCE, "float64", 1e-3)
    assert [v.kind for v in check(case, ["native float64", as_used])] == ["right", "wrong"]


def test_nan_is_wrong(truth: Truth) -> None:
    numbers = {**truth.outcome.numbers, "loss": np.array([np.nan])}
    assert judged(truth, replace(truth.outcome, numbers=numbers), F64)[0] == "wrong"


def test_other_spikes_and_classes_are_wrong(truth: Truth) -> None:
    counts = {k: v + 1 for k, v in truth.outcome.choices.items()}
    assert judged(truth, replace(truth.outcome, choices=counts), F64)[0] == "wrong"
    other = replace(truth.outcome, prediction=truth.outcome.prediction + 1)
    assert judged(truth, other, F64)[1].startswith("prediction")


def test_a_class_where_outputs_are_equally_good_is_wrong(truth: Truth) -> None:
    tied = replace(truth.outcome, lead=np.zeros(1))
    assert "equally good" in judged(truth, tied, F64)[1]


def test_spikes_decided_by_rounding_are_undecided() -> None:
    truth = Truth(grazing())
    times = truth.outcome.numbers["spike times of hidden"]
    later = [t for t in truth.perturbed_runs(F64) if not np.array_equal(t.numbers["spike times of hidden"], times)]
    assert later, "one of the changes must move the spike by a step"
    assert judged(truth, later[0], F64)[0] == "undecided"
    assert judged(truth, later[0], F64, strict=True)[0] == "wrong"


@pytest.mark.ci
@pytest.mark.parametrize("moves", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_float32_rounding_and_real_errors_are_told_apart(moves: bool) -> None:
    """An exponential upstroke makes 1e-3 of the last bit of V, whatever the arithmetic in between; LIF do not."""
    sizes = {"spike_times": "grid", "dt": 0.1, "duration": 10.0, "times": (0.5, 1.0, 1.5, 2.0, 2.5, 4.0, 5.0)}
    steep = network("steep", LIF(), 2, AdEx(), 2, "spike_count", weights={"in": 5.0, "out": 446.9}, **sizes)
    plain = network("plain", LIF(), 2, LIF(), 2, "spike_count", weights={"in": 5.0, "out": 9.0}, **sizes)
    states_alone = replace(F32, change=0.0)
    truth = Truth(replace(steep if moves else plain, strict=False))
    want, held = truth.outcome, truth.perturbed_runs(states_alone)[-1]
    assert bool(other_number(want, held, F32.relative, F32.eps)) == moves
    assert judged(truth, held, states_alone) == ("right", "")
    off = {k: v * 1.01 if "gradient" in k else v for k, v in want.numbers.items()}
    assert judged(truth, replace(want, numbers=off), F32)[0] == ("right" if moves else "wrong")


def grazing() -> Case:
    """On the grid, a threshold that V reaches at the end of a step, to the last bit."""
    from genn_eventprop.engines import ReferenceClock

    case = KNOWN["no weight at all, sum, grid"]()
    values = {k: np.array(v) for k, v in case.parameters.items()}
    values["input_hidden.weight"][...] = 5.0
    engine = ReferenceClock(case.plan, values)
    V = engine.record(engine.load(case.events), [0], adjoint=False)["hidden"]["V"][0, 3, 0]
    values["hidden.v_thresh"][...] = V
    return replace(case, parameters=values, strict=False)


# the command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(COMMAND.parent))
    return importlib.import_module("random_networks")


@pytest.mark.needs_genn
def test_genn_is_pygenn_where_that_is_installed(command: ModuleType) -> None:
    case = KNOWN["no weight at all, sum, grid"]()
    turn = command.TURNS.index("genn float64")
    assert "genn float64" in command.engines_of(command.Settings(), case, turn)
    engine = command.make("genn float64", case)
    assert type(engine) is GennEngine and engine.backend == "single_threaded_cpu"
    assert type(command.make("harness float64", case)) is HarnessEngine
    found = [command.Finding((0, 0), "", (Verdict("genn float64", "right"),), 1.0)]
    assert "* genn ran on pygenn 5.4 with single_threaded_cpu" in command.table(command.Settings(), found)


def test_without_pygenn_the_harness_is_asked_for_by_its_name(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Availability("genn", False, "pygenn is not installed")
    monkeypatch.setattr(GennEngine, "availability", lambda: absent)
    with pytest.raises(SystemExit, match='"genn float64": pygenn is not installed; "harness float64" executes'):
        command.Settings(engines=("genn float64",))
    turn = command.TURNS.index("genn float64")
    engines = command.engines_of(command.Settings(), KNOWN["no weight at all, sum, grid"](), turn)
    assert engines == ["native float64", "harness float64"]
    number = list(KNOWN).index("t_ref of one step and a half"), 0
    found = command.run(command.Settings(known=True, engines=("harness float64",)), number, lambda _: None)
    text = command.table(command.Settings(), [found])
    assert found.kind == "right" and "| harness float64 | 1 | 1 | 1 |" in text and "genn ran on" not in text


def test_the_table_counts_structures(command: ModuleType) -> None:
    """Two networks of one program are one; of an engine without a text they are as many as their numbers."""
    right = (Verdict("native float64", "right", "", True), Verdict("mirrored float64", "right"))
    programs = (("native float64", "a text"),)
    found = [command.Finding((n, i), "", right, 1.0, ("one output",), programs) for n, i in ((1, 0), (1, 1), (2, 0))]
    rows = command.table(command.Settings(), found).splitlines()
    assert "| all engines | 1 | 3 | 3 | 0 | 0 | 0 | 3 |" in rows
    assert "| native float64 | 1 | 3 | 3 | 0 | 0 | 0 | 3 |" in rows
    assert "| mirrored float64 | 2 | 3 | 3 | 0 | 0 | 0 | 0 |" in rows
    assert "| one output | 1 | 1 |" in rows


COMMAND = Path(__file__).resolve().parents[3] / "benchmarks" / "random_networks.py"


@pytest.mark.parametrize("stop, kind", [(EngineError, "wrong"), (Refusal, "refused")])
def test_an_engine_that_the_machine_cannot_start_refuses_nothing(
    stop: type[EngineError], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a driver or a card the check fails; a feature that the engine does not have is a refusal."""

    def fails(number: int) -> None:
        raise stop("cuda: no GPU")

    monkeypatch.setattr(cuda, "open_device", fails)
    case = network("plain", LIF(), 2, LI(), 2, "end", spike_times="grid")
    (verdict,) = check(case, ["cuda float64"])
    assert verdict.kind == kind and verdict.reason.endswith("cuda: no GPU")


@pytest.mark.ci
def test_the_command_fails_where_the_card_does_not_start() -> None:
    command = [sys.executable, str(COMMAND), *"--structures 1 --workers 0 --card --engines".split(), "cuda float64"]
    done = subprocess.run(
        command, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and "cuda float64: wrong: does not start: " in done.stdout, done.stdout + done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
@pytest.mark.ci
def test_a_signal_leaves_no_process_behind(number: signal.Signals, tmp_path: Path) -> None:
    """Two workers have begun; their compilers are at it, or not yet."""
    command = [sys.executable, str(COMMAND), "--structures", "4000", "--workers", "2"]
    process = subprocess.Popen(
        command, env=os.environ | {"TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: len(of_session(process.pid)) >= 4, 60)  # with what multiprocessing has beside the workers
    time.sleep(1.0)
    os.kill(process.pid, number)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and "networks so far" in said and "Traceback" not in said
    wait_until(lambda: not of_session(process.pid), 5)
    assert not list(tmp_path.iterdir())


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)


def of_session(number: int) -> set[int]:
    """Processes of a session that have not ended; the fields behind the name are state, parent, group, session."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = path.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(session) == number and state != "Z":
            found.add(int(path.parent.name))
    return found


def test_delays_of_sources_and_a_loss_of_v_that_jumps() -> None:
    """Text that did not compile: the delay of a source was looked up by the number of a synapse."""
    case = KNOWN["delays of sources"]()
    assert [v.kind for v in check(case, ENGINES[:1])] == ["right"]


@pytest.mark.ci
def test_one_of_two_arrivals_has_the_kink_of_a_maximum() -> None:
    """By Taylor series the last arrival of the instant had it, behind which V was lower already."""
    case = KNOWN["kink of one of two arrivals"]()
    assert [v.kind for v in check(case, ENGINES[:1])] == ["right"]
    engine = made("native float64", case)
    data = engine.load(case.events)

    def loss(earlier: float) -> float:
        engine.parameters["delta.delay"][...] = 1.0 - earlier  # than the current of the same spike
        return float(engine.run(data, [0]).loss[0])

    engine.run(data, [0], training=True)
    slope = float(engine.gradients["delta.delay"].sum())
    h = 1e-5  # V falls where delta arrives: earlier, it moves the maximum; later, the current has changed the slope
    assert slope == pytest.approx((loss(0.0) - loss(h)) / h, rel=1e-3) and abs(slope) > 1e-4
