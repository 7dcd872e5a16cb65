"""Kernels split into what all neurons do and what few of them do."""

import sympy as sp

from genn_eventprop import Dense, Network, Normal, losses
from genn_eventprop.codegen.rare import TEST, is_rare, live_statements, split, symbols, without_entry
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.program.nodes import Let, Set, StoreEvent, When, above, at_least, name, walk
from genn_eventprop.program.trial import EachNeuron, make_trial
from support import eventful

X, Y, G = name("x", "V"), name("x", "I"), name("t", "g", 0)
ENTRY = StoreEvent(0, (("inv", Y),), ())


def advance(neuron, n=5):
    """The kernel of a step of a population."""
    net = Network()
    hidden, out = net.population(neuron, n, "hidden"), net.population(LI(), 2, "output")
    net.connect(net.input(3), hidden, Dense(Normal(1.0, 0.1)))
    net.connect(hidden, out, Dense(Normal(1.0, 0.1)))
    trial = make_trial(make_plan(net, losses.MaxVoltageCrossEntropy(out), dt=1.0, duration=10.0))
    return next(o.kernel for o in trial.step if isinstance(o, EachNeuron) and o.population == 0 and o.emits)


def test_an_event_is_tested_by_its_threshold():
    (part,) = split(advance(LIF()).body)
    assert part.test == G and not any(is_rare(s) for s in part.vector_loop)
    assert part.spilled == {G, name("t", "start", 0)}  # g at the end of the step and where it began
    (case,) = part.cases
    assert sum(isinstance(s, StoreEvent) for s in walk(case)) == 1
    made = {s.target for s in walk(case) if isinstance(s, Let)}
    assert symbols(case) - made >= part.spilled  # they come from before


def test_of_several_events_each_later_one_is_looked_at_again():
    (part,) = split(advance(eventful.TWO_SPIKES()).body)
    assert part.test == TEST and len(part.cases) == 2
    first, second = (case[0] for case in part.cases)
    later = name("t", "g", 1)
    assert isinstance(first, When) and later in {s.target for s in first.body if isinstance(s, Set)}
    assert later in second.condition.free_symbols
    tests = [s for s in part.vector_loop if isinstance(s, Let) and s.target == TEST]
    assert len(tests) == 1 and not tests[0].value.has(name("t", "tried"))  # nothing has been tried yet


def test_statements_behind_rare_ones_are_a_part():
    rare, behind = When(at_least(X, 0), (ENTRY, Set(X, sp.Integer(0)))), Set(Y, X)
    first, second = split([Set(Y, X + 1), rare, behind])
    assert first.vector_loop[0] == Set(Y, X + 1) and first.cases == (rare.body,)
    assert second.vector_loop == (behind,) and second.test is None


def test_what_a_kept_entry_tells_without_its_conditions():
    lost = name("t", "lost")
    body = (Let(lost, X, "int"), When(above(lost, 0), (ENTRY, Set(X, lost), Set(Y, X))))
    changes = [inner for s in body for inner in without_entry(s)]
    assert changes == [body[0], Set(X, lost), Set(Y, X)]
    assert live_statements(changes, {X}) == [body[0], Set(X, lost)]  # Y is not asked for
    assert live_statements(changes, {name("x", "W")}) == []
