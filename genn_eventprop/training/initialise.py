"""Initial weights that make every layer spike: firing rates are set layer by layer on the training data.

The most common failure of deep networks is silent layers: without spikes there is no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SettingError, TrainingError, suggest
from ..modelling import Connection
from .silent_neurons import bounded, incoming

if TYPE_CHECKING:
    from ..data import Events
    from .trainer import Trainer

SAMPLES = 64  # enough for a mean rate; taken evenly from the data set
DOUBLINGS, HALVINGS = 12, 14


@dataclass(frozen=True)
class Initialised:
    """What was done to a population's incoming weights w: scale w + shift; spikes per neuron before and after."""

    scale: float
    shift: float
    before: float
    after: float


def initialise_rates(
    trainer: Trainer, events: Events, spikes_per_neuron: float | Mapping[str, float], *, tolerance: float = 0.05
) -> dict[str, Initialised]:
    """Scale the incoming weights so that every population has a given mean number of spikes per neuron and trial.

    Populations are processed in the order in which they were added. The learned weights into a population from earlier
    ones are multiplied by one common factor; if no factor up to 2^12 gives enough spikes (e.g. because weights are
    negative), the initial weights are shifted by a common amount instead. Weights of a population onto itself and from
    later ones do not change.

    Args:
        trainer: before `fit`. events: the training set, of which up to 64 samples are run, evenly spread.
        spikes_per_neuron: per trial, for every population that can spike, or by name; others do not change.
        tolerance: relative tolerance of the mean count.

    Returns:
        population -> `Initialised`, in the order of the layers.

    Raises:
        SettingError: an unknown population, one that cannot spike, a count that is not positive.
        TrainingError: a population whose target cannot be met.

    Example:
        >>> initialise_rates(trainer, train, 2.0)
    """
    targets = _targets(trainer, spikes_per_neuron)
    data = trainer.engine.load(events)
    samples = np.unique(np.linspace(0, len(data) - 1, min(SAMPLES, len(data))).astype(np.int64))
    counts = lambda: trainer.engine.run(data, samples).spike_counts  # noqa: E731
    order = [*(i.name for i in trainer.network.inputs), *(p.name for p in trainer.plan.populations)]
    out = {}
    for name in sorted(targets, key=order.index):
        connections = [c for c in incoming(trainer, name) if order.index(c.source.name) < order.index(name)]
        out[name] = _Layer(trainer, name, connections, counts).settle(targets[name], tolerance)
    return out


class _Layer:
    """The learned weights into one population, as a function of a factor and a shift."""

    def __init__(
        self,
        trainer: Trainer,
        name: str,
        connections: list[Connection],
        counts: Callable[[], Mapping[str, np.ndarray]],
    ) -> None:
        self.trainer, self.name, self.connections, self.counts = trainer, name, connections, counts
        parameters = trainer.engine.parameters
        self.first = [np.array(parameters[f"{c.name}.weight"], np.float64) for c in self.connections]
        self.scale, self.shift = 1.0, 0.0

    def rate(self, scale: float, shift: float) -> float:
        """Mean spikes per neuron and trial with weights scale w + shift."""
        self.scale, self.shift = scale, shift
        for c, w in zip(self.connections, self.first):
            self.trainer.engine.parameters[f"{c.name}.weight"][...] = bounded(self.trainer, c, scale * w + shift)
        return float(self.counts()[self.name].mean())

    def settle(self, target: float, tolerance: float) -> Initialised:
        if not self.connections:
            raise TrainingError(
                f"{self.name!r}: no learned connection from an earlier layer, so its rate cannot be set"
            )
        before = after = self.rate(1.0, 0.0)
        converged = abs(before - target) <= tolerance * target
        if not converged:
            after, converged = _search(lambda a: self.rate(a, 0.0), 1.0, target, tolerance)
        if not converged:
            unit = max(float(np.sqrt(np.mean(np.square(np.concatenate([w.ravel() for w in self.first]))))), 1e-3)
            after, converged = _search(lambda b: self.rate(1.0, b), 2.0**-6 * unit, target, tolerance)
        if not converged:
            self.rate(1.0, 0.0)
            raise TrainingError(
                f"{self.name!r}: {target:g} spikes per neuron cannot be reached by scaling or "
                "shifting its incoming weights "
                f"(it starts at {before:g}, the closest was {after:g}); do earlier layers spike, are there bounds "
                "or frozen weights?"
            )
        return Initialised(self.scale, self.shift, before, after)


def _search(rate: Callable[[float], float], start: float, target: float, tolerance: float) -> tuple[float, bool]:
    """Double or halve one number until the rate passes the target, then bisect: (the rate, whether it passed).

    The network is left at the number that came nearest.
    """
    points = [(start, rate(start))]
    factor = 2.0 if points[0][1] < target else 0.5
    passed = lambda r: (r >= target) == (factor > 1) or abs(r - target) <= tolerance * target  # noqa: E731
    while not passed(points[-1][1]) and len(points) <= DOUBLINGS:
        points.append((points[-1][0] * factor, rate(points[-1][0] * factor)))
    bracketed = passed(points[-1][1])
    low, high = sorted((points[-1][0], points[-2][0] if len(points) > 1 else 0.0))
    for _ in range(HALVINGS if bracketed else 0):
        if abs(points[-1][1] - target) <= tolerance * target:
            break
        middle = 0.5 * (low + high)
        points.append((middle, rate(middle)))
        low, high = (middle, high) if points[-1][1] < target else (low, middle)
    number, best = min(points, key=lambda pair: abs(pair[1] - target))
    return (best if number == points[-1][0] else rate(number)), bracketed


def _targets(trainer: Trainer, rates: float | Mapping[str, float]) -> dict[str, float]:
    spiking = [p.name for p in trainer.plan.populations if p.spiking]
    targets = dict(rates) if isinstance(rates, Mapping) else dict.fromkeys(spiking, rates)
    for name, value in targets.items():
        if name not in spiking:
            raise SettingError(f"initialise_rates: no population {name!r} that spikes ({suggest(name, spiking)})")
        if not (np.isfinite(value) and value > 0):
            raise SettingError(f"initialise_rates: {name!r} needs a number of spikes > 0, got {value}")
    return {name: float(value) for name, value in targets.items()}
