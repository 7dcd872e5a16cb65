"""The order of a nonlinear model's scheme: gradients of the grid in a trial without spikes, as the step is halved.

Without spikes the grid's loss has a derivative, and `reference_event` the gradient of the continuous problem; the gap
between the two is the scheme's error, which must fall with its order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ... import losses
from ...adjoint.scheme import SCHEMES
from ...data import Events
from ...engines.reference.exact.engine import ReferenceEvent
from ...engines.reference.grid.engine import ReferenceClock
from ...errors import EngineError
from ...modelling import Dense, Network, Neuron, Normal
from ...plan import Plan, make_plan

STEPS = (0.2, 0.1, 0.05)  # ms
ORDERS = {"rk4": 4, "exponential_euler": 1}
DURATION, N_INPUT, N_NEURONS = 10.0, 4, 3
AT_ROUNDING = 1e-9


@dataclass(frozen=True)
class SchemeErrors:
    """Largest relative error of a block's gradient at every one of `STEPS`; order: by which the last halving fell."""

    scheme: str
    errors: tuple[float, ...]

    @property
    def order(self) -> float:
        return float(np.log2(self.errors[-2] / self.errors[-1])) if self.errors[-1] > 0 else np.inf

    @property
    def passed(self) -> bool:
        return self.errors[-1] < AT_ROUNDING or self.order > ORDERS[self.scheme] - 0.4

    def text(self) -> str:
        errors = ", ".join(f"{e:.1e}" for e in self.errors)
        steps = ", ".join(f"{dt:g}" for dt in STEPS)
        tail = "" if self.passed else f"  FAILED: it must fall with order {ORDERS[self.scheme]}"
        return f"  {self.scheme}: gradient error {errors} at dt {steps} ms: order {self.order:.1f}{tail}"


def scheme_errors(neuron: Neuron, seed: int = 0) -> list[SchemeErrors]:
    """Both schemes of a model, with the parameter values of `neuron` (3 of them), in a trial of 10 ms.

    Raises:
        EngineError: if no weights leave the neuron below its threshold.
    """
    rng = np.random.default_rng(seed)
    slots = rng.integers(0, int(0.6 * DURATION / STEPS[0]), 8)
    events = Events.from_samples(
        [(np.sort(slots) * STEPS[0], rng.integers(0, N_INPUT, 8))], N_INPUT, labels=[1], n_classes=N_NEURONS
    )
    network, plan = _plan(neuron, DURATION, "exact")
    values = network.initial_parameters(seed)
    truth = _quiet(plan, values, events).full_gradients
    found = []
    for scheme in SCHEMES:
        changed = replace(neuron.model, scheme=scheme, threshold=None, reset=None)
        errors = []
        for dt in STEPS:
            _, on_grid = _plan(Neuron(changed, neuron.params), dt, "grid")
            clock = ReferenceClock(on_grid, values)
            clock.run(clock.load(events), np.array([0]), training=True)
            errors.append(max(_error(g, truth[k]) for k, g in clock.gradients.items() if np.any(truth[k])))
        found.append(SchemeErrors(scheme, tuple(errors)))
    return found


def _error(gradient: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(gradient - truth) / np.linalg.norm(truth))


def _plan(neuron: Neuron, dt: float, spike_times: str) -> tuple[Network, Plan]:
    network = Network()
    source, output = network.input(N_INPUT), network.population(neuron, N_NEURONS, name="output")
    for receptor in neuron.model.receptors:
        network.connect(source, output, Dense(Normal(1.0, 0.4)), receptor=receptor, name=f"weight_{receptor}")
    loss = losses.EndVoltageCrossEntropy(output)
    return network, make_plan(network, loss, dt=dt, duration=DURATION, spike_times=spike_times)


def _quiet(plan: Plan, values: dict[str, np.ndarray], events: Events) -> ReferenceEvent:
    """Scale the weights in `values` to half of what makes spikes, and run there."""
    engine = ReferenceEvent(plan, values, max_spikes=1)
    data, weights = engine.load(events), [c.weight for c in plan.connections]
    heard = False
    for _ in range(40):
        try:
            spikes = int(engine.run(data, [0]).spike_counts["output"].sum()) if plan.output.derived.events else 0
        except EngineError:
            spikes = 1
        heard = heard or spikes > 0 or not plan.output.derived.events
        if heard and not spikes:
            engine.run(data, [0], training=True)
            values |= {w: engine.parameters[w].copy() for w in weights}
            return engine
        for w in weights:
            engine.parameters[w][...] *= 0.5 if heard else 2.0
    raise EngineError(f"{plan.output.derived.model.name}: found no weights just below the threshold")
