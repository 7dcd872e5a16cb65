"""Networks on the time grid that use every readout, outer loss, kind of dynamics, event and regulariser."""

from dataclasses import replace

import numpy as np

from genn_eventprop import Delay, Dense, Events, Grouped, Network, Normal, Sparse, Uniform, losses
from genn_eventprop.losses import OwnLoss, TimeWeight
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from support import clocked, stochastic
from support import eventful as E
from support import nonlinear as N
from support.clocked import build, random_events

DRIVEN = TimeWeight("linear", input_tau=15.0, input_gain=20.0)

# name -> (loss of the output population, whether that is LIF and not LI)
LOSSES = {
    "per step": (losses.PerStepCrossEntropy, False),
    "per step of spiking, input-driven": (lambda o: losses.PerStepCrossEntropy(o, DRIVEN), True),
    "per step in a window": (lambda o: losses.PerStepCrossEntropy(o, TimeWeight("exponential", (5.0, 40.0))), False),
    "squared error of V": (losses.VoltageSquaredError, False),
    "squared error of V of spiking": (lambda o: losses.VoltageSquaredError(o, "sigmoid"), True),
    "integral, input-driven": (lambda o: losses.IntegratedVoltageCrossEntropy(o, "input"), False),
    "integral, input-driven, of spiking": (lambda o: losses.IntegratedVoltageCrossEntropy(o, DRIVEN), True),
    "integral in a window": (lambda o: losses.SquaredError(o, weight=TimeWeight("t / T", (5.0, 40.0))), True),
    "end": (losses.EndVoltageCrossEntropy, False),
    "end of spiking": (losses.EndVoltageCrossEntropy, True),
    "squared error of the maximum": (lambda o: losses.SquaredError(o, "max"), False),
    "squared error of first spikes": (lambda o: losses.SquaredError(o, "first_spike"), True),
    "spike times": (losses.SpikeTimeError, True),
    "spike times, missing ones count": (lambda o: losses.SpikeTimeError(o, silent="end"), True),
    "spike count": (lambda o: losses.SpikeCountCrossEntropy(o, gain=0.4), True),
    "absolute error": (lambda o: losses.Loss(o, "integral", outer="absolute_error"), False),
    "own formula": (lambda o: OwnLoss(o, "integral", "(r0 - y0)**2 + 0.1 * r1**2 * r2 + sin(r3)", "linear"), False),
    "own formula of first spikes": (
        lambda o: OwnLoss(o, "first_spike", "0.01 * (r0 - r1 * y2)**2 + 0.1 * r3", silent="end"), True,
    ),
}  # fmt: skip


def with_targets(events, plan, seed=3):
    """The same events with targets if the loss needs them, one of them missing."""
    if plan.loss.compares == "labels":
        return events
    rng, S, K = np.random.default_rng(seed), len(events), plan.loss.n_classes
    shape = {"voltage": (S, plan.n_steps + 1, K), "spike_times": (S, K, 3)}.get(plan.loss.readout, (S, K))
    targets = rng.uniform(5.0, 45.0, shape) if plan.loss.of_spikes else rng.normal(0.2, 0.3, shape)
    targets[0, 0] = np.nan
    samples = [events.sample(i) for i in range(S)]
    return Events.from_samples(samples, events.n_channels, labels=events.labels, targets=targets)


def problem(name, kind="learned"):
    make, spiking = LOSSES[name]
    base = build("recurrent", "first" if spiking else "integral", kind, 1.5)
    plan = make_plan(base.network, make(base.asked.population), dt=base.dt, duration=base.duration)
    return plan, with_targets(random_events(plan), plan)


PLANS = {
    "refractory": lambda: E.build(E.REFRACTORY, 1.5, 1.0),
    "refractory output": lambda: E.build(
        E.REFRACTORY, 1.5, 1.0, loss="first", out=E.REFRACTORY, layers=2, delay=0.0
    ),
    "bursting": lambda: E.build(E.BURSTING, 1.5, 1.0, duration=60.0),
    "two spikes": lambda: E.build(E.TWO_SPIKES, 0.3, 1.2),
    "delta": lambda: E.build(E.DELTA, 0.15, 0.3, layers=2, delay=0.0),
    "delta max": lambda: E.build(E.DELTA, 0.1, 0.2, out=E.DELTA_LI, loss="max"),
    "delta integral": lambda: E.build(E.DELTA, 0.1, 0.2, out=E.DELTA_LI),
    "delta read": lambda: E.build(E.DELTA, 0.1, 0.2, out=E.DELTA, loss="integral"),
    "delta per step": lambda: E.build(E.DELTA, 0.15, 0.3, loss="per step", out=E.DELTA),
    "refractory counts": lambda: E.build(E.REFRACTORY, 1.5, 1.0, loss="count", out=E.REFRACTORY),
    "refractory spike times": lambda: E.build(E.REFRACTORY, 1.5, 1.0, loss="times", out=E.REFRACTORY),
    "quadratic": lambda: N.build(N.QIF, 1.5, 1.0),
    "quadratic, Euler": lambda: N.build(N.stepped_by(N.QIF, "exponential_euler"), 1.5, 1.0),
    "exponential, Euler": lambda: N.build(N.ADEX, 1.5, 1.0),
    # the upstroke of an exponential outruns Runge-Kutta
    "exponential": lambda: N.build(N.stepped_by(N.ADEX, "rk4"), 4.5, 1.0, dt=0.05, duration=8.0),
    "conductance": lambda: N.build(N.CONDUCTANCE, 0.3, 0.2, receptors=("up", "down")),
    "conductance, Euler": lambda: N.build(
        N.stepped_by(N.CONDUCTANCE, "exponential_euler"), 0.3, 0.2, receptors=("up", "down")
    ),
    "every function": lambda: N.build(N.EVERY_FUNCTION, 0.6, 0.4),
    "every function, Euler": lambda: N.build(N.stepped_by(N.EVERY_FUNCTION, "exponential_euler"), 0.6, 0.4),
}  # fmt: skip


# topology, loss, parameters, delay in ms (0.2 rounds to no step)
SHAPES = (
    ("feed-forward", "first", "fixed", 0.0), ("feed-forward", "first end", "learned", 1.5),
    ("feed-forward", "max", "shared", 0.0), ("feed-forward", "integral sigmoid", "spread", 0.0),
    ("recurrent", "first", "spread learned", 1.5), ("recurrent", "first inverse end", "learned", 0.0),
    ("recurrent", "max", "learned", 1.5), ("recurrent", "integral exponential", "shared", 0.0),
    ("recurrent", "integral of spiking", "learned", 1.5), ("deep", "first", "shared", 0.0),
    ("deep", "max", "spread", 1.5), ("deep", "integral", "learned", 0.0), ("skip", "first", "learned", 0.2),
    ("skip", "max", "fixed", 0.0), ("skip", "integral exponential", "spread learned", 1.5),
    ("skip", "integral of spiking", "shared", 0.0),
)  # fmt: skip


def several(in_python=False, spike_times="grid"):
    """Four losses: of two readouts, of spiking neurons between them, and of the hidden layer; targets by name."""
    lif = clocked.parameters("learned", clocked.LIF_VALUES)
    net = Network()
    hidden, extra = net.population(LIF(**lif), 21, name="hidden"), net.population(LIF(**lif), 5, name="extra")
    aux = net.population(LI(**clocked.parameters("learned", clocked.LI_VALUES)), 3, name="aux")
    output = net.population(LI(**clocked.LI_VALUES), 4, name="output")
    net.connect(net.input(7), hidden, Dense(Normal(0.8, 0.6)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)), delay=1.5)
    net.connect(hidden, extra, Dense(Normal(0.5, 0.3)))
    net.connect(extra, aux, Dense(Normal(0.1, 0.5)), delay=1.0)
    net.connect(hidden, output, Dense(Normal(0.3, 0.4)), delay=1.5)
    main = losses.IntegratedVoltageCrossEntropy(output, "exponential")
    if in_python:
        main = OwnLoss(output, "integral", "(r0 - y0)**2 + 0.1 * r1**2 * r2 + sin(r3)")
    first = losses.FirstSpikeCrossEntropy(extra, tau0=2.0, tau1=20.0, alpha=0.1, silent="end")
    asked = [
        0.8 * main, 0.5 * losses.MaxVoltageCrossEntropy(aux).against("speaker"), 0.2 * first.against("place"),
        0.3 * losses.SquaredError(hidden, weight=DRIVEN).against("shape"),
    ]  # fmt: skip
    plan = make_plan(net, asked, dt=0.5, duration=50.0, spike_times=spike_times)
    events, rng = random_events(plan), np.random.default_rng(2)
    named = {"speaker": [2, 0, -1, 1, 1, 0], "place": [0, 4, 2, 2, 1, -1], "shape": rng.normal(0.2, 0.3, (6, 21))}
    return plan, replace(events, targets=named)


def inputs(valued=False):
    """Two inputs, of which one leads to two populations; valued: through a table, and delays that are learned."""
    net = Network()
    audio, touch = net.input(5, name="audio"), net.input(4, name="touch")
    hidden, other = net.population(LIF(), 17, name="hidden"), net.population(LIF(), 9, name="other")
    output = net.population(LI(**clocked.LI_VALUES), 3, name="output")
    late = Delay(Uniform(0.0, 6.0), kind="synaptic", max=8.0, trainable=True) if valued else 1.0
    net.connect(audio, hidden, Dense(Normal(1.5, 0.6)))
    net.connect(touch, hidden, Dense(Normal(1.0, 0.6)), delay=late)
    kind = Sparse(Normal(3.0, 0.5), probability=0.7) if valued else Dense(Normal(2.5, 0.6))
    net.connect(touch, other, kind)
    net.connect(hidden, output, Dense(Normal(0.2, 0.4)))
    net.connect(other, output, Dense(Normal(0.2, 0.4)))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(output), dt=0.5, duration=40.0)
    return plan, random_events(plan)


def shared(valued=False):
    """Three layers alike, of which two connections share weights, one later than the other; valued: by a table."""
    lif = clocked.parameters("learned", clocked.LIF_VALUES)
    net = Network()
    layers = [net.population(LIF(**lif), 12, name=f"layer{i}") for i in range(3)]
    output = net.population(LI(**clocked.LI_VALUES), 3, name="output")
    net.connect(net.input(7), layers[0], Dense(Normal(0.9, 0.6)))
    kind = Grouped(Normal(2.0, 0.7), 3) if valued else Dense(Normal(0.6, 0.4))
    first = net.connect(layers[0], layers[1], kind)
    net.connect(layers[1], layers[2], share=first, delay=1.5)
    net.connect(layers[2], output, Dense(Normal(0.3, 0.4)))
    plan = make_plan(net, losses.IntegratedVoltageCrossEntropy(output), dt=0.5, duration=50.0)
    return plan, random_events(plan)


def every_problem():
    """name -> a function that makes (plan, events)."""
    found = {f"loss: {name}": lambda name=name: problem(name) for name in LOSSES}

    def of_plan(make):
        plan = make()
        return plan, E.random_events(plan)

    found |= {f"neurons: {name}": lambda make=make: of_plan(make) for name, make in PLANS.items()}
    for topology, loss, kind, delay in SHAPES:
        make = lambda t=topology, l=loss, k=kind, d=delay: clocked.build(t, l, k, d)  # noqa: E731
        found[f"shape: {topology}, {loss}"] = lambda make=make: (lambda plan: (plan, random_events(plan)))(make())
    for name, settings in stochastic.CASES.items():
        found[f"random: {name}"] = lambda s=settings: (stochastic.network(**s), stochastic.random_events())
    found |= {"losses: several": several, "losses: several, one in Python": lambda: several(in_python=True)}
    found |= {"inputs: two": inputs, "inputs: two, tables and delays": lambda: inputs(valued=True)}
    found |= {"weights: shared": shared, "weights: shared, in a table": lambda: shared(valued=True)}
    return found


__all__ = ["LOSSES", "PLANS", "clocked", "every_problem", "inputs", "problem", "several", "shared", "with_targets"]
