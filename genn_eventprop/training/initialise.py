"""`initialise_rates`: initial weights of any kind scaled, layer by layer, to firing rates on the training data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..errors import SettingError, TrainingError, check_known
from .silent_neurons import bounded, incoming
from .weights_from_data import IncomingWeights, evenly, search

if TYPE_CHECKING:
    from ..data.inputs import DataSet
    from .trainer import Trainer


@dataclass(frozen=True)
class Initialised:
    """What was done to a population's incoming weights w: they are now scale w + shift.

    Args:
        scale, shift: the two numbers.
        before, after: spikes per neuron and trial.
    """

    scale: float
    shift: float
    before: float
    after: float


def initialise_rates(
    trainer: Trainer, events: DataSet, spikes_per_neuron: float | Mapping[str, float], *, tolerance: float = 0.05
) -> dict[str, Initialised]:
    """Scale the incoming weights so that every population has a given mean number of spikes per neuron and trial.

    Populations are processed in the order in which they were added. The learned weights into a population from earlier
    ones are multiplied by one common factor; if no factor up to 2^12 gives enough spikes (e.g. because weights are
    negative), the initial weights are shifted by a common amount instead. Weights of a population onto itself and from
    later ones do not change.

    Args:
        trainer: before `fit`.
        events: the training set, of which up to 64 samples are run, evenly spread.
        spikes_per_neuron: per trial, for every population that can spike, or by name; others do not change.
        tolerance: relative tolerance of the mean count.

    Returns:
        population -> `Initialised`, in the order of the layers.

    Raises:
        SettingError: an unknown population, one that cannot spike, a count that is not positive.
        TrainingError: a population whose target cannot be met.

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, progress=False)
        >>> done = initialise_rates(trainer, events, 2.0)
        >>> print(f"{done['hidden'].after:.1f} spikes a neuron")
        2.0 spikes a neuron
    """
    targets = _targets(trainer, spikes_per_neuron)
    data = trainer.engine.load(events)
    samples = evenly(len(data))
    counts = lambda: trainer.engine.run(data, samples).spike_counts  # noqa: E731
    network = trainer.network
    sources = [i.name for i in network.inputs] + [c.name for c in network.currents]
    order = [*sources, *(p.name for p in trainer.plan.populations)]
    out = {}
    for name in sorted(targets, key=order.index):
        connections = [c for c in incoming(trainer, name) if order.index(c.source.name) < order.index(name)]
        layer = IncomingWeights(trainer.engine.parameters, connections, partial(bounded, trainer))
        out[name] = _settle(layer, name, targets[name], counts, tolerance)
    return out


def _settle(
    layer: IncomingWeights, name: str, target: float, counts: Callable[[], Mapping[str, np.ndarray]], tolerance: float
) -> Initialised:
    """Scale to a rate, or shift where no factor leads there."""

    def rate(scale: float, shift: float) -> float:
        layer.put(scale, shift)
        return float(counts()[name].mean())

    if not layer.connections:
        raise TrainingError(f"{name!r}: no learned connection from an earlier layer, so its rate cannot be set")
    before = after = rate(1.0, 0.0)
    converged = abs(before - target) <= tolerance * target
    if not converged:
        after, converged = search(lambda a: rate(a, 0.0), 1.0, target, tolerance)
    if not converged:
        unit = max(float(np.sqrt(np.mean(np.square(np.concatenate([w.ravel() for w in layer.first]))))), 1e-3)
        after, converged = search(lambda b: rate(1.0, b), 2.0**-6 * unit, target, tolerance)
    if not converged:
        rate(1.0, 0.0)
        raise TrainingError(
            f"{name!r}: {target:g} spikes per neuron cannot be reached by scaling or "
            "shifting its incoming weights "
            f"(it starts at {before:g}, the closest was {after:g}); do earlier layers spike, are there bounds "
            "or frozen weights?"
        )
    return Initialised(layer.scale, layer.shift, before, after)


def _targets(trainer: Trainer, rates: float | Mapping[str, float]) -> dict[str, float]:
    spiking = [p.name for p in trainer.plan.populations if p.spiking]
    targets = dict(rates) if isinstance(rates, Mapping) else dict.fromkeys(spiking, rates)
    for name, value in targets.items():
        check_known(name, spiking, SettingError, f"initialise_rates: no population {name!r} that spikes (")
        if not (np.isfinite(value) and value > 0):
            raise SettingError(f"initialise_rates: {name!r} needs a number of spikes > 0, got {value}")
    return {name: float(value) for name, value in targets.items()}
