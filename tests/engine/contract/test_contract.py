"""Engines say themselves what they can do; nothing else knows their names."""

import ast
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

import genn_eventprop
from genn_eventprop import Dense, Network, Normal, losses
from genn_eventprop.engines import NAMES, availability, create, engine_class, registry
from genn_eventprop.engines.contract.features import (
    ALL,
    FEATURES,
    SEVERAL_INPUTS,
    SEVERAL_LOSSES,
    SEVERAL_READOUTS,
    refuse,
)
from genn_eventprop.engines.genn.install import BACKENDS
from genn_eventprop.engines.reference.grid.engine import ReferenceClock
from genn_eventprop.errors import EngineError, SettingError
from genn_eventprop.models.li import LI
from genn_eventprop.plan import make_plan

PACKAGE = Path(genn_eventprop.__file__).parent


@pytest.fixture(scope="module", params=["grid", "exact"])
def plan(request):
    net = Network()
    output = net.population(LI(), 2, name="output")
    net.connect(net.input(3), output, Dense(Normal(0.1, 0.1)))
    loss = losses.EndVoltageCrossEntropy(output)
    return make_plan(net, loss, dt=1.0, duration=10.0, spike_times=request.param)


class Toy(ReferenceClock):
    """An engine of somebody else's."""

    name = "toy"
    options = ()


def test_every_engine_declares_known_features_and_is_listed():
    for name in NAMES:
        kind = engine_class(name)
        assert kind.name == name and kind.features.keys() <= {"grid", "exact"}
        assert all(has <= ALL for has in kind.features.values()) and any(kind.features.values())
    assert [a.name for a in availability()] == list(NAMES) and all(a.detail for a in availability())


def test_refused_spike_times_name_an_engine(plan):
    for name in NAMES:
        if plan.spike_times not in engine_class(name).features:
            with pytest.raises(EngineError, match=f"{name} runs spike_times='(grid|exact)' only; use engine='native'$"):
                create(plan, plan.network.initial_parameters(0), engine=name)


def test_an_engine_is_one_class_and_one_line(plan, monkeypatch):
    module = ModuleType("toys")
    module.Toy = Toy
    monkeypatch.setitem(sys.modules, "genn_eventprop.engines.toys", module)
    monkeypatch.setitem(registry.ENGINES, "toy", EntryPoint("toy", "genn_eventprop.engines.toys:Toy", registry.GROUP))
    first = plan.network.initial_parameters(0)
    if plan.spike_times == "grid":
        assert isinstance(create(plan, first, engine="toy"), Toy)
        with pytest.raises(EngineError, match="toy computes exact slopes; slope_floor is for grid engines only"):
            create(plan, first, engine="toy", slope_floor=0.1)
    with pytest.raises(SettingError, match="unknown engine 'toi'"):
        create(plan, first, engine="toi")


def test_features_ignore_plans_without_need(plan):
    assert not [name for name, needs in FEATURES.items() if needs(plan)]


def test_an_engine_may_lack_what_all_of_ours_have():
    net = Network()
    audio, _ = net.input(3, name="audio"), net.input(2, name="touch")
    output, other = net.population(LI(), 2, name="output"), net.population(LI(), 2, name="other")
    for target in (output, other):
        net.connect(audio, target, Dense(Normal(0.1, 0.1)))
    loss = losses.Loss(output, "end", also=("trace", "max"))
    plan = make_plan(net, loss, dt=1.0, duration=10.0)
    two = make_plan(net, [losses.Loss(p, "end") for p in (output, other)], dt=1.0, duration=10.0)
    for asked, feature, message in (
        (plan, SEVERAL_READOUTS, "cannot read trace, max beside end in one pass"),
        (plan, SEVERAL_INPUTS, "cannot run connection 'audio_output', whose source is one of several inputs"),
        (two, SEVERAL_LOSSES, "cannot add the auxiliary loss of 'other'"),
    ):
        with pytest.raises(EngineError, match=f"^toy {message}; use engine='native'$"):
            refuse(asked, "toy", {"grid": ALL - {feature}})
        refuse(asked, "toy", {"grid": ALL})


def compared_names(path: Path) -> list[str]:
    """Comparisons with the name of an engine; dialects of generated code and GeNN's backends are something else."""
    found, names = [], set(NAMES) - (set(BACKENDS) if "genn" in path.parts else set())
    text = path.read_text()
    for node in ast.walk(ast.parse(text)) if any(f'"{name}"' in text for name in names) else ():
        if isinstance(node, ast.Compare) and names & {n.value for n in ast.walk(node) if isinstance(n, ast.Constant)}:
            comparison = ast.unparse(node)
            found += [f"{path.name}:{node.lineno}: {comparison}"] if "dialect" not in comparison else []
    return found


def test_no_engine_is_named_in_a_condition():
    assert not [line for path in PACKAGE.rglob("*.py") for line in compared_names(path)]
