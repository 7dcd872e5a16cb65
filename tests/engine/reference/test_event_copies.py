"""Copies of a network in lockstep, from which gradient checks take differences: each is on its own."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, losses
from genn_eventprop.engines.reference.exact.pieces import TRUST_FRACTION
from genn_eventprop.engines.reference.exact.records import Arrival
from genn_eventprop.models import AdEx, LIFDelta
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.verify.gradients.compare import Problem
from genn_eventprop.verify.gradients.draw import Layout, draw
from support import gradient_matrix as matrix


def problem(duration):
    net = Network()
    hidden = net.population(LIF(), 1, name="hidden")
    out = net.population(LI(), 2, name="output")
    net.connect(net.input(1), hidden, Dense(6.0), name="in", delay=0.5)
    net.connect(hidden, out, Dense(np.array([[0.7, -0.4]])), name="up", delay=1.0)
    events = Events.from_samples([([1.0, 3.0, 20.0], [0, 0, 0])], 1, labels=[0], n_classes=2)
    loss = losses.IntegratedVoltageCrossEntropy(out, weight="linear")
    plan = make_plan(net, loss, dt=duration, duration=duration, spike_times="exact")
    return Problem(plan, net.initial_parameters(0), events)


@pytest.mark.parametrize("reach", [TRUST_FRACTION, 1.0])
@pytest.mark.parametrize("pieces", [3, 4])
def test_a_loss_does_not_depend_on_the_other_copies(reach, pieces):
    """The last piece of the first copy begins just before the end of the trial, that of a copy would begin after it.

    Another time constant in a third copy makes other pieces for all.
    """
    first = problem(60.0)
    first.engine.run(first.data, first.samples)
    last = max(e.time for e in first.engine.trials[0].recording.events if isinstance(e, Arrival))
    span = float(first.engine.trials[0].recording.segments["output"].span[-1])
    p = problem(last + pieces * reach * span + 1e-3)
    change = ("up.delay", (), 0.02)
    alone, same = p.losses([change])
    together, also = p.losses([change, ("output.tau_syn", (0,), -0.3)])
    assert same[0] and also[0]
    assert together[0] == pytest.approx(alone[0], abs=1e-14)


@pytest.mark.slow
def test_spikes_of_copies_may_come_before_a_piece_of_the_first():
    """Near its peak AdEx makes ever shorter pieces; one that begins just before a spike would make all steps unsafe."""
    plan, parameters, events = draw(AdEx, Layout(1, False, False, "first_spike"), np.random.default_rng((0, 0)))
    p = Problem(plan, parameters, events)
    names = ("hidden1.e_leak", "hidden1.v_thresh")
    assert p.losses([(name, (i,), by) for name in names for i in range(3) for by in (1e-4, -1e-4)])[1].all()


@pytest.mark.ci
def test_neurons_put_across_together():
    """One arrival of a delta synapse makes several neurons spike, whose pieces begin and end together."""
    cell = next(
        c for c in matrix.cells(LIFDelta, ["per_step"], every=True) if c.output and c.topology == "two recurrent"
    )
    case = matrix.run(cell)
    assert not case.failures and case.smallest_slope == np.inf, case.text()
