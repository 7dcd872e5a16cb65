"""A device that is simulated, for tests and for planning an experiment: no two neurons alike, spikes that move and get
lost, weights of few bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..data import Events
from ..engines import create
from ..errors import SettingError, check_finite, suggest, whole
from ..plan import Plan
from .device import Sample, digest
from .evaluator import ready_to_predict

SMALLEST = 0.1
"""Part of its value that a parameter keeps at least, however wide the spread."""


class SimulatedDevice:
    """Runs a plan on an engine as a device would that was made with tolerances; see `training.device.Device`.

    What a neuron deviates by is fixed by `seed`, as it is for a chip. Jitter and losses are drawn anew for each
    question, from `seed` and the question itself: to the same question, of a resumed run say, the answer is the same.

    Args:
        plan: of the network; its step may be finer than that of the training. A neuron reports one spike within a step.
        spread: parameter -> relative standard deviation between neurons, of all populations that have it ("tau_mem")
            or of one ("hidden.tau_mem"). A parameter keeps 10 % of its value at least.
        shift: the same of deviations in the unit of the parameter, for one that may be 0 or negative.
        jitter: standard deviation of reported spike times in ms; they stay within the trial.
        lost: share of spikes that are not reported. surplus: spikes a neuron and second that are reported though there
            were none.
        weight_bits: weights are rounded to 2^n - 1 levels, from -`weight_range` to it; None: not rounded.
        weight_range: largest weight of every connection, beyond which it is clipped; None: the largest there is.
        populations: those that are reported; None: all that spike.
        engine, options: what simulates it.

    Example:
        >>> device = SimulatedDevice(Trainer(net, loss, duration=20.0, dt=1.0, progress=False).plan, lost=0.1)
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, device=device, progress=False)
        >>> trainer.fit(events, epochs=1)["epochs"]
        1
    """

    def __init__(
        self,
        plan: Plan,
        *,
        spread: Mapping[str, float] | None = None,
        shift: Mapping[str, float] | None = None,
        jitter: float = 0.0,
        lost: float = 0.0,
        surplus: float = 0.0,
        weight_bits: int | None = None,
        weight_range: float | None = None,
        populations: Sequence[str] | None = None,
        seed: int = 1,
        engine: str = "native",
        **options: Any,
    ) -> None:
        for name, value in (("jitter", jitter), ("lost", lost), ("surplus", surplus)):
            check_finite(value, name, SettingError)
        if lost > 1:
            raise SettingError(f"lost={lost}: a share of spikes, from 0 to 1")
        if weight_bits is not None:
            whole(weight_bits, "weight_bits", SettingError, 2)
        if weight_range is not None:
            check_finite(weight_range, "weight_range", SettingError, above=True)
        self.jitter, self.lost, self.surplus, self.seed = jitter, lost, surplus, seed
        self.weight_bits, self.weight_range = weight_bits, weight_range
        self._weights = {c.weight for c in plan.weighted}
        spiking = [p.name for p in plan.populations if p.spiking]
        if wrong := [name for name in populations or () if name not in spiking]:
            raise SettingError(f"populations: {wrong[0]!r} does not spike ({suggest(wrong[0], spiking)})")
        self.populations = list(populations or spiking)
        self._factor, self._shift = _drawn(plan, spread or {}, seed, 0), _drawn(plan, shift or {}, seed, 1)
        deviating = [*self._factor, *self._shift]
        self.plan = replace(
            plan,
            populations=tuple(
                replace(p, per_neuron=p.per_neuron | {n for n in p.derived.params if f"{p.name}.{n}" in deviating})
                for p in plan.populations
            ),
        )
        self._engine: Any = None
        self._how = {"engine": engine, **options}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None}

    def actual(self, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What `parameters`, by name, are on the device that is asked for them."""
        found = {}
        for name, value in parameters.items():
            factor, shift = self._factor.get(name, np.ones(1)), self._shift.get(name, np.zeros(1))
            value = value.astype(np.float64) if name in self._weights else value * factor + shift
            found[name] = self._stored(value) if name in self._weights else value
        return found

    def _stored(self, weights: np.ndarray) -> np.ndarray:
        largest = np.abs(weights).max(initial=0.0) if self.weight_range is None else self.weight_range
        weights = np.clip(weights, -largest, largest)
        if self.weight_bits is None or largest == 0:
            return weights
        step = largest / (2 ** (self.weight_bits - 1) - 1)
        return np.rint(weights / step) * step

    def run(self, parameters: Mapping[str, np.ndarray], events: Sequence[Sample]) -> list[dict[str, Sample]]:
        """See `Device`: `parameters` by name, (times, channels) of all `events` -> spikes of every sample."""
        actual = self.actual(parameters)
        if self._engine is None:
            self._engine = create(self.plan, actual, **self._how)
        for name, value in actual.items():
            self._engine.parameters[name][...] = value
        data = ready_to_predict(Events.from_samples(list(events), n_channels=self.plan.input.size), self.plan)
        result = self._engine.run(self._engine.load(data), np.arange(len(events)), record_spikes=True)
        words = np.frombuffer(digest(parameters, events), np.uint32)
        rng = np.random.default_rng([self.seed, *words.tolist()])
        every = {name: self._reported(name, result.spikes[name], len(events), rng) for name in self.populations}
        return [{name: spikes[k] for name, spikes in every.items()} for k in range(len(events))]

    def _reported(self, name: str, spikes: Any, batch: int, rng: np.random.Generator) -> list[Sample]:
        """What comes back of the spikes of a population."""
        T, size = self.plan.duration, self.plan.population(name).size
        kept = rng.random(len(spikes.time)) >= self.lost
        sample, neuron = spikes.sample[kept], spikes.neuron[kept]
        time = spikes.time[kept] + self.jitter * rng.standard_normal(kept.sum())
        return [
            self._in_order(time[sample == k], neuron[sample == k], *self._noise(size, rng), T) for k in range(batch)
        ]

    def _noise(self, size: int, rng: np.random.Generator) -> Sample:
        count = rng.poisson(self.surplus * size * self.plan.duration / 1000)
        return rng.uniform(0, self.plan.duration, count), rng.integers(0, size, count)

    def _in_order(
        self, time: np.ndarray, neuron: np.ndarray, more: np.ndarray, of: np.ndarray, last: float
    ) -> Sample:  # fmt: skip
        """Sorted; a neuron has one spike within a step."""
        time, neuron = np.clip(np.append(time, more), 0.0, last), np.append(neuron, of).astype(np.int64)
        order = np.argsort(time, kind="stable")
        time, neuron = time[order], neuron[order]
        step = np.maximum(np.floor(time / self.plan.dt + 0.5).astype(np.int64), 1)
        _, first = np.unique(step * (1 + neuron.max(initial=0)) + neuron, return_index=True)
        first.sort()
        return time[first], neuron[first]


def _drawn(plan: Plan, widths: Mapping[str, float], seed: int, kind: int) -> dict[str, np.ndarray]:
    """ "population.parameter" -> (N,) factors (kind 0) or shifts (kind 1), the same for the same seed and name."""
    found: dict[str, np.ndarray] = {}
    known = {f"{p.name}.{n}": p.size for p in plan.populations for n in p.derived.params}
    for asked, width in widths.items():
        check_finite(width, f"the spread of {asked}", SettingError)
        names = [name for name in known if asked in (name, name.partition(".")[2])]
        if not names:
            every = [*known, *(name.partition(".")[2] for name in known)]
            raise SettingError(f"spread: no parameter {asked!r} of a neuron ({suggest(asked, every)})")
        for name in names:
            z = np.random.default_rng([seed, kind, *name.encode()]).standard_normal(known[name])
            found[name] = np.maximum(1 + width * z, SMALLEST) if kind == 0 else width * z
    return found
