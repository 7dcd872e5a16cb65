"""Weights without a scale of their own (`FromData`): scaled on data before the first update, so that neurons spike.

The most common failure of deep networks is silent layers: without spikes there is no gradient.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import EngineError, SettingError, is_number, suggest
from ..losses import Loss
from ..losses.label_steps import LabelSteps
from ..modelling import Connection, Network

SAMPLES = 64  # enough for a mean rate; taken evenly from the data set
DOUBLINGS, HALVINGS = 12, 14
HIDDEN_SPIKES = 5.0
"""Spikes per neuron and trial of hidden populations whose weights are scaled from data, except for first spikes."""
SPARSE_SPIKES = 1.0
"""The same where the loss reads first spikes, which one spike a neuron can carry."""
OUTPUT_SPIKES = {"first_spike": 4.0, "spike_times": 1.0, "count": 3.0}
"""The same for outputs that spike, by the readout of the loss: a first spike in nearly every trial, counts that can
differ."""
SPREAD = 1.0
"""Standard deviation between the readouts of one trial, of outputs that do not spike: what a softmax tells apart."""

FEEDBACK = 0.1
"""Of feedback, such as recurrent weights: its part of the squared weights that arrive in a trial, beside the others."""
FURTHER = 24
"""Doublings of weights that are scaled from data: their unit may be anything."""

Run = Callable[[], tuple[Mapping[str, np.ndarray], np.ndarray]]
"""Runs some trials with the weights of now: population -> spike counts (B, N), readout (B, K) or (B, T + 1, K)."""


def evenly(samples: int) -> np.ndarray:
    """At most `SAMPLES` numbers of samples, spread over the whole set: many sets are sorted by class."""
    return np.unique(np.linspace(0, samples - 1, min(SAMPLES, samples)).astype(np.int64))


def input_spikes(
    network: Network, channels: np.ndarray, offsets: np.ndarray, samples: np.ndarray,
    currents: Mapping[str, Any] | None = None,
) -> dict[str, float]:  # fmt: skip
    """Spikes of every input in a trial, on average over some samples; of a current what stands for them, the integral
    over time of the sizes of all channels: a current of c is c spikes a ms in the limit.

    Args:
        currents: name -> `Currents`.
    """
    chosen = np.concatenate([channels[offsets[s] : offsets[s + 1]] for s in samples])
    ends = np.cumsum([i.size for i in network.inputs])
    counts = np.bincount(np.searchsorted(ends, chosen, side="right"), minlength=len(ends))
    spikes = {i.name: float(n) / len(samples) for i, n in zip(network.inputs, counts)}
    sizes = {name: float(np.abs(c.values[samples]).sum()) * c.dt for name, c in (currents or {}).items()}
    return spikes | {name: size / len(samples) for name, size in sizes.items()}


class WeightsFromData:
    """The weights of a network whose scale follows from data, as long as they are as they were drawn.

    Args:
        network, parameters: as they start. rates: spikes per neuron and trial, by population or for all that spike, in
            place of `HIDDEN_SPIKES` and `OUTPUT_SPIKES`; 0: leave the weights as drawn.

    Raises:
        SettingError: rates that are no numbers >= 0, or of a population into which no such weights lead.
    """

    def __init__(
        self, network: Network, parameters: Mapping[str, np.ndarray], rates: float | Mapping[str, float] | None = None
    ) -> None:
        waiting = _from_data(network)
        self._rates = _rates(rates, network, waiting)
        self._drawn = {c.weight_name: _checksum(parameters[c.weight_name]) for cs in waiting.values() for c in cs}

    def waiting(self, network: Network, parameters: Mapping[str, np.ndarray]) -> dict[str, list[Connection]]:
        """Population -> the connections into it whose weights wait for data."""
        if not self._drawn or self._rates.get("") == 0.0 and len(self._rates) == 1:
            return {}
        drawn = lambda c: _checksum(parameters[c.weight_name]) == self._drawn[c.weight_name]  # noqa: E731
        return {name: connections for name, connections in _from_data(network).items() if all(map(drawn, connections))}

    def scale(
        self,
        network: Network,
        loss: Loss,
        parameters: Mapping[str, np.ndarray],
        run: Run,
        input_spikes: Mapping[str, float],
        targets: np.ndarray | None = None,
    ) -> list[str]:
        """Scale them, population by population; weights that were loaded or changed stay.

        Args:
            input_spikes: of a trial, by input. targets: (B, K) of the same trials, of a regression.

        Returns:
            What was done, and which populations could not be reached.
        """
        of_steps = isinstance(loss.outer, LabelSteps)
        notes, waiting, spikes = [], self.waiting(network, parameters), dict(input_spikes)
        for p in network.populations:
            rate = self._rates.get(p.name, self._rates.get("", self._default(p.name, loss)))
            if waiting.get(p.name) and rate > 0:
                before = [c for c in network.connections if c.target is p and c.source.name in spikes]
                layer = IncomingWeights(parameters, [c for c in waiting[p.name] if c in before], _in_bounds)
                feedback = IncomingWeights(parameters, [c for c in waiting[p.name] if c not in before], _in_bounds)
                feedback.put(0.0)
                if not layer.connections:
                    pass
                elif p.model.spiking:
                    notes.append(layer.towards(rate, lambda: run()[0][p.name].mean(), p.name))  # noqa: B023
                elif p is loss.population and (loss.compares == "labels" or of_steps):
                    notes.append(layer.spread(lambda: run()[1], p.name, SPREAD, "of a trial"))
                elif p is loss.population and targets is not None and targets.ndim == 2:
                    notes.append(layer.spread(lambda: run()[1].T, p.name, spread_of(targets.T), "of a target"))
                feedback.put(1.0)
                arriving = IncomingWeights(parameters, before, _in_bounds).power(spikes)
                lasting = feedback.power({c.source.name: rate * c.source.size for c in feedback.connections})
                feedback.put(np.sqrt(FEEDBACK * arriving / lasting) if lasting else 1.0)
            if p.model.spiking:
                spikes[p.name] = float(run()[0][p.name].sum(axis=1).mean())
        return notes

    @staticmethod
    def _default(name: str, loss: Loss) -> float:
        hidden = SPARSE_SPIKES if loss.readout == "first_spike" else HIDDEN_SPIKES
        return OUTPUT_SPIKES.get(loss.readout, hidden) if name == loss.population.name else hidden


def _from_data(network: Network) -> dict[str, list[Connection]]:
    """Population -> the connections into it whose scale follows from data."""
    into = {
        p.name: [c for c in network.connections if c.target is p and c.from_data and c.share is None]
        for p in network.populations
    }
    return {name: connections for name, connections in into.items() if connections}


def _checksum(weight: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(weight, np.float32).tobytes())


def _in_bounds(c: Connection, weight: np.ndarray) -> np.ndarray:
    low, high = c.connectivity.bounds
    return weight if low is None and high is None else np.clip(weight, low, high)


def _rates(
    rates: float | Mapping[str, float] | None, network: Network, into: Mapping[str, list[Connection]]
) -> dict[str, float]:
    """By population, "" for all others."""
    wanted = dict(rates) if isinstance(rates, Mapping) else {} if rates is None else {"": rates}
    for name, rate in wanted.items():
        if name and name not in into:
            known = suggest(name, into) if into else "no weights of this network are scaled from data"
            raise SettingError(
                f"initial_rates: no weights that are scaled from data, such as Dense(), lead to a population {name!r} "
                f"({known}); initialise_rates scales others"
            )
        if not is_number(rate) or not 0 <= rate < np.inf:
            where = f" of {name!r}" if name else ""
            raise SettingError(f"initial_rates{where}: a number of spikes per neuron and trial >= 0, got {rate!r}")
    return {name: float(rate) for name, rate in wanted.items()}


class IncomingWeights:
    """The weights of connections into one population, as a function of a factor and a shift."""

    def __init__(
        self,
        parameters: Mapping[str, np.ndarray],
        connections: list[Connection],
        bound: Callable[[Connection, np.ndarray], np.ndarray],
    ) -> None:
        self.parameters, self.connections, self.bound = parameters, connections, bound
        self.first = [np.array(parameters[c.weight_name], np.float64) for c in self.connections]
        self.scale, self.shift = 1.0, 0.0

    def put(self, scale: float, shift: float = 0.0) -> None:
        """Weights scale w + shift, within their bounds."""
        self.scale, self.shift = scale, shift
        for c, w in zip(self.connections, self.first):
            self.parameters[c.weight_name][...] = self.bound(c, scale * w + shift)

    def power(self, spikes: Mapping[str, float]) -> float:
        """Sum of squared weights that arrive at a neuron in a trial, from the spikes of every source."""
        total = 0.0
        for c in self.connections:
            reached = c.connectivity.fan_in(c.source.shape, c.target.shape) / c.source.size
            total += spikes[c.source.name] * reached * float(np.mean(np.square(self.parameters[c.weight_name])))
        return total

    def towards(self, target: float, rate: Callable[[], float], name: str, tolerance: float = 0.05) -> str:
        """Scale to a rate, or as near to it as a factor leads; what was done."""

        def rate_of(scale: float) -> float:
            self.put(scale)
            try:
                return float(rate())
            except EngineError:  # more spikes than the engine has room for
                return np.inf

        reached = rate_of(1.0)
        if abs(reached - target) > tolerance * target:
            reached, _ = search(rate_of, 1.0, target, tolerance, FURTHER)
        silent = "" if reached else ": it stays silent, whatever the factor; do the samples and earlier layers spike?"
        return f"initial weights into {name} times {self.scale:.3g}: {reached:.2g} spikes a neuron{silent}"

    def spread(self, readout: Callable[[], np.ndarray], name: str, wanted: float, of: str) -> str:
        """Scale to a standard deviation along the last axis of the readouts; what was done."""
        spread = spread_of(readout())
        if not (np.isfinite(spread) and spread > 0 and wanted > 0):
            return f"initial weights into {name} as drawn: its readouts do not differ"
        self.put(wanted / spread)
        return f"initial weights into {name} times {self.scale:.3g}: readouts {of} differ by {wanted:.3g}"


def spread_of(values: np.ndarray) -> float:
    """Standard deviation along the last axis, the root mean square over the others; nan does not count."""
    values = values[np.isfinite(values).any(axis=-1)]
    if not values.size:
        return float("nan")
    return float(np.sqrt(np.nanmean(np.square(values - np.nanmean(values, axis=-1, keepdims=True)))))


def search(
    rate: Callable[[float], float], start: float, target: float, tolerance: float, doublings: int = DOUBLINGS
) -> tuple[float, bool]:
    """Double or halve one number until the rate passes the target, then bisect: (the rate, whether it passed).

    The network is left at the number that came nearest.
    """
    points = [(start, rate(start))]
    factor = 2.0 if points[0][1] < target else 0.5
    passed = lambda r: (r >= target) == (factor > 1) or abs(r - target) <= tolerance * target  # noqa: E731
    while not passed(points[-1][1]) and len(points) <= doublings:
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
