"""Gradients with `spike_birth` against differences of the expected loss under threshold noise, by common random draws.

Every own threshold g becomes g - s xi, with xi drawn anew after every own spike and s as in docs/spike_birth.md: a
neuron carries its next `NEXT` draws as states, so that any engine runs it. The mean loss of many draws is
differentiated by central differences with the same draws, along a common factor of all weights onto spiking neurons,
one of all learned delays, and along random directions (every one of them times a normal number).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...adjoint import derive
from ...adjoint.birth import rest_distance
from ...adjoint.propagator import numeric
from ...data import Events
from ...engines import create, engine_class
from ...engines.contract.engine import Engine
from ...engines.reference.exact import ReferenceEvent
from ...errors import SettingError
from ...losses import Loss
from ...modelling import Network, NeuronModel, Param
from ...plan import Plan, make_plan
from ...plan.clock import number_of_steps

NEXT = 8
STEP = 0.01  # of the differences, relative
LOWEST = 0.98  # of g at the start of the trial: thresholds are drawn no lower
GRID = 0.2  # ms, of the trial whose gradient is taken where an engine has no exact spike times

Values = Mapping[str, np.ndarray]


@dataclass(eq=False)
class BirthReport:
    """A network's gradient with births. Axis D: directions.

    Args:
        name: of the network. sigma: noise of the thresholds. rate: spikes a neuron and trial.
        truth, truth_error: (D,) derivatives of the expected loss, and standard errors.
        eventprop, births: (D,) of one trial with mean thresholds, without and with births.
        drawn, drawn_error: (D,) with births, means over draws of the thresholds, and standard errors.
        names: of the directions.
    """

    name: str
    sigma: float
    rate: float
    truth: np.ndarray
    truth_error: np.ndarray
    eventprop: np.ndarray
    births: np.ndarray
    drawn: np.ndarray
    drawn_error: np.ndarray
    names: Sequence[str] = field(default_factory=tuple)

    @property
    def passed(self) -> bool:
        """Whether the mean over draws is nearer to the expected loss than EventProp's gradient, but for three standard
        errors. It need not be equal: what a spike's reset does to later ones is not in it."""
        error = float(np.hypot(np.linalg.norm(self.truth_error), np.linalg.norm(self.drawn_error)))
        return self._gap(self.drawn) <= self._gap(self.eventprop) + 3 * error

    def _gap(self, estimate: np.ndarray) -> float:
        return float(np.linalg.norm(estimate - self.truth))

    def text(self) -> str:
        """The table, one line a direction, and the distances from the expected loss."""
        head = f"{self.name}: spike_birth={self.sigma:g}, {self.rate:.2f} spikes a neuron and trial"
        lines = [
            head,
            f"{'along':12} {'differences of E[L]':>24} {'EventProp':>10} {'births':>10} {'births, drawn':>24}",
        ]
        for i, name in enumerate(self.names):
            truth, drawn = (
                f"{value[i]:+.4f} +- {error[i]:.4f}"
                for value, error in ((self.truth, self.truth_error), (self.drawn, self.drawn_error))
            )
            lines.append(f"{name:12} {truth:>24} {self.eventprop[i]:>+10.4f} {self.births[i]:>+10.4f} {drawn:>24}")
        gaps = (
            self._gap(each) / float(np.linalg.norm(self.truth)) for each in (self.eventprop, self.births, self.drawn)
        )
        words = "relative distance from E[L]: EventProp {:.2f}, births {:.2f}, their mean over draws {:.2f}"
        return "\n".join([*lines, words.format(*gaps) + ("" if self.passed else "  FAILED")])


def check_births(
    network: Network,
    loss: Loss | Sequence[Loss],
    *,
    events: Events,
    duration: float,
    sigma: float,
    parameters: Values | None = None,
    seed: int = 0,
    draws: int = 1000,
    directions: int = 3,
    engine: str = "native",
) -> BirthReport:
    """Compare the gradient with births of your own network with that of its expected loss.

    Args:
        network: the one to check. loss: one, or a list of several.
        events: a few samples. duration: trial length in ms. sigma: as `spike_birth` of `Trainer`.
        parameters: values at which to check; default ``network.initial_parameters(seed)``.
        seed: of these, of the draws and of the directions.
        draws: of all thresholds; a twentieth of them for the mean of the gradient.
        directions: random ones besides the common factor of the weights.
        engine: whose gradient of one trial is taken, with exact spike times where it has them.

    Raises:
        PlanError: of a network that cannot have births.

    Example:
        >>> from genn_eventprop.verify.gradients import check_births
        >>> report = check_births(net, loss, events=events[:2], duration=20.0, sigma=0.2, draws=40)
        >>> report.passed
        True
    """
    plan = make_plan(network, loss, dt=duration, duration=duration, spike_times="exact", spike_birth=sigma)
    values = network.initial_parameters(seed) if parameters is None else parameters
    return births_of_plan(
        "network", plan, values, events, seed=seed, draws=draws, directions=directions, engine=engine
    )  # fmt: skip


def births_of_plan(
    name: str, plan: Plan, parameters: Values, events: Events, *, seed: int = 0, draws: int = 1000, directions: int = 3,
    engine: str = "native",
) -> BirthReport:  # fmt: skip
    """The same of a plan with exact spike times."""
    if not plan.spike_birth > 0:
        raise SettingError(f"a check of births needs a noise of thresholds above 0, e.g. 0.1, got {plan.spike_birth:g}")
    if draws < 20:
        raise SettingError(f"a check of births needs 20 draws or more, got {draws}")
    rng = np.random.default_rng((seed, 1))
    noisy = [p.name for p in plan.populations if p.spiking]
    weights = list(dict.fromkeys(c.weight for c in plan.connections if c.target in noisy))
    delays = [c.delays_name for c in plan.connections if c.learns_delays]
    along: dict[str, dict[str, np.ndarray]] = {"all weights": {w: np.array(parameters[w]) for w in weights}}
    along |= {"all delays": {d: np.array(parameters[d]) for d in delays}} if delays else {}
    for i in range(directions):
        along[f"direction {i + 1}"] = {
            n: parameters[n] * rng.standard_normal(np.shape(parameters[n])) for n in (*weights, *delays)
        }
    thresholds = _draws(plan, parameters, noisy, draws, rng)
    drawn, start = _with_drawn_thresholds(plan), dict(parameters)
    start |= {key: each[0] for key, each in thresholds.items()}
    truth = create(replace(drawn, spike_birth=0.0), start, engine="native", dtype="float64", threads=1)
    rows, errors, rate = [], [], 0.0
    for direction in along.values():
        change = np.zeros(draws)
        for sign in (1, -1):
            values = {n: parameters[n] + sign * STEP * direction.get(n, 0.0) for n in (*weights, *delays)}
            losses, rate = _losses(truth, events, values, thresholds, noisy)
            change += sign * losses / (2 * STEP)
        rows.append(change.mean())
        errors.append(change.std() / draws**0.5)
    one = [_gradient(replace(plan, spike_birth=s), parameters, events, engine) for s in (0.0, plan.spike_birth)]
    few = max(draws // 20, 10)
    reference = ReferenceEvent(drawn, start)
    reference.threshold_noise = {n: drawn.population(n).derived.states.index("next_0") for n in noisy}
    means = np.array([_along(g, along) for g in _drawn_gradients(reference, events, thresholds, few)])
    return BirthReport(
        name, plan.spike_birth, rate, np.array(rows), np.array(errors), _along(one[0], along), _along(one[1], along),
        means.mean(axis=0), means.std(axis=0) / few**0.5, list(along),
    )  # fmt: skip


def _draws(
    plan: Plan, parameters: Values, noisy: Sequence[str], draws: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Parameter of the drawn model -> (draws, N) s xi; none so low that a neuron would start above its threshold."""
    out = {}
    for name in noisy:
        p = plan.population(name)
        at = [np.asarray(parameters[f"{name}.{n}"]) for n in p.derived.params]
        at_start = p.derived.events[0].g.subs(dict(zip(p.derived.x, p.derived.x0)))
        rest, start = numeric([rest_distance(p.derived), at_start], p.derived.p)(*at).reshape(-1, 2).T
        for i in range(NEXT):
            drawn = plan.spike_birth * rest * rng.standard_normal((draws, p.size))
            out[f"{name}.first_{i}"] = np.maximum(drawn, LOWEST * start)
    return out


def drawn_model(model: NeuronModel) -> NeuronModel:
    """The model with g - next_0 for its g, and the next draws of it as states."""
    following = {f"next_{i}": f"next_{(i + 1) % NEXT}" for i in range(NEXT)}
    (event,) = model.events
    shifted = replace(
        event, threshold=f"({event.threshold}) - next_0", reset={**event.reset, **following}
    )  # fmt: skip
    return replace(
        model, name=f"{model.name}WithDrawnThresholds",
        state={**model.state, **{n: f"first_{i}" for i, n in enumerate(following)}},
        params={**model.params, **{f"first_{i}": Param(0.0) for i in range(NEXT)}},
        dynamics={**model.dynamics, **dict.fromkeys(following, "0")},
        threshold=None, reset=None, events=(shifted,), snippets={},
    )  # fmt: skip


def _with_drawn_thresholds(plan: Plan) -> Plan:
    """The same network of neurons whose thresholds are drawn."""
    populations = []
    for p in plan.populations:
        if p.spiking:
            derived = derive(drawn_model(p.derived.model))
            own = {f"first_{i}" for i in range(NEXT)}
            params = {n: p.params.get(n, derived.model.params[n]) for n in derived.params}
            p = replace(p, derived=derived, params=params, per_neuron=p.per_neuron | own, trainable=())
        populations.append(p)
    return replace(plan, populations=tuple(populations))


def _set(engine: Engine, thresholds: Mapping[str, np.ndarray], draw: int) -> None:
    for key, each in thresholds.items():
        engine.parameters[key][:] = each[draw]


def _losses(
    engine: Engine, events: Events, weights: Values, thresholds: Mapping[str, np.ndarray], noisy: Sequence[str]
) -> tuple[np.ndarray, float]:
    """(mean loss of every draw, spikes a neuron and trial)."""
    data, losses, spikes = engine.load(events), [], []
    for name, w in weights.items():
        engine.parameters[name][:] = w
    for draw in range(len(next(iter(thresholds.values())))):
        _set(engine, thresholds, draw)
        result = engine.run(data, range(len(events)))
        losses.append(float(np.mean(result.loss)))
        spikes.append(np.mean([result.spike_counts[n].mean() for n in noisy]))
    return np.array(losses), float(np.mean(spikes))


def _gradient(plan: Plan, parameters: Values, events: Events, name: str) -> dict[str, np.ndarray]:
    options: dict[str, Any] = {"dtype": "float64"} if "dtype" in engine_class(name).options else {}
    kind = engine_class(name)
    if "exact" not in kind.features or not kind.exact_by_itself:
        plan = plan.on_grid(number_of_steps(plan.duration, GRID))
    engine = create(plan, parameters, engine=name, **options)
    engine.run(engine.load(events), range(len(events)), training=True)
    return {k: g.copy() for k, g in engine.gradients.items()}


def _drawn_gradients(
    engine: Engine, events: Events, thresholds: Mapping[str, np.ndarray], draws: int
) -> list[dict[str, np.ndarray]]:
    data, out = engine.load(events), []
    for draw in range(draws):
        _set(engine, thresholds, draw)
        engine.run(data, range(len(events)), training=True)
        out.append({k: g.copy() for k, g in engine.gradients.items()})
    return out


def _along(gradient: Values, along: Mapping[str, Values]) -> np.ndarray:
    return np.array([sum(float((gradient[w] * d).sum()) for w, d in each.items()) for each in along.values()])
