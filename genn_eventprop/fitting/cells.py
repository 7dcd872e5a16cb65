"""Copies of a model with parameters of their own, in every sweep of a recording, on `native` with exact spike times."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..compile import compile_network
from ..data import Events
from ..engines import Engine
from ..losses import EndVoltageCrossEntropy
from ..modelling import Dense, Network
from .forced import COUPLED, SLOPE, STIMULUS, TARGET, TEACHER, FittedModel
from .recording import Recording

CELL = "cell"
AT_ONCE = 5e5
"""Copies times ms that a thread of the engine simulates in a call, half a second or so: a signal is heard after it."""


def rounded_channels(count: int) -> int:
    """The next of 16, 24, 32, 48, 64, ...: numbers of channels stand in the code, which recordings of one kind then
    share; to compile it takes longer than many a fit."""
    power = 16
    while power < count:
        power *= 2
    return power * 3 // 4 if count <= power * 3 // 4 and power > 16 else power


@dataclass(frozen=True, eq=False)
class Arrivals:
    """What steps a state of the forced model: in which sweep, when in ms, by how much; (C,) each."""

    sweep: np.ndarray
    time: np.ndarray
    amount: np.ndarray

    @classmethod
    def of_steps(cls, values: np.ndarray, dt: float) -> Arrivals:
        """Those of (S, K) values, each for dt ms, of a state that is 0 before the sweep."""
        steps = np.diff(values, axis=1, prepend=0.0)
        sweep, k = np.nonzero(steps)
        return cls(sweep, k * dt, steps[sweep, k])


class Cells:
    """See the module.

    Args:
        size: number of copies. varied: parameters of which each copy has a value of its own, see `set`.
        fixed: values of others; those that are in neither are the model's.
        arrivals: of a receptor of the model; None: the current alone, into the free model.
        threads: of the engine, which run sweeps side by side.
    """

    def __init__(
        self,
        fitted: FittedModel,
        recording: Recording,
        size: int,
        varied: Sequence[str],
        fixed: Mapping[str, float],
        arrivals: Mapping[str, Arrivals] | None = None,
        threads: int | None = None,
    ) -> None:
        self.recording, self.size, self.varied = recording, size, list(varied)
        each = max(1, int((threads or os.cpu_count() or 1) * AT_ONCE / (size * recording.duration)))
        self._parts = [range(i, min(i + each, len(recording))) for i in range(0, len(recording), each)]
        model = fitted.free if arrivals is None else fitted.forced
        values = {n: float(p.value) for n, p in model.params.items()} | dict(fixed)
        neuron = model(**{n: np.full(size, value) if n in self.varied else value for n, value in values.items()})
        network = Network()
        cell = network.population(neuron, size, name=CELL)
        # every arrival has a channel of its own, since weights belong to channels
        self._arrivals = {STIMULUS: Arrivals.of_steps(recording.current, recording.dt), **(arrivals or {})}
        self._first, channels = dict[str, int](), 0
        for receptor, these in self._arrivals.items():
            self._first[receptor] = channels
            weights = np.zeros((rounded_channels(len(these.time)), size))
            weights[: len(these.time)] = these.amount[:, None]
            network.connect(
                network.input(len(weights), name=f"{receptor}_steps"), cell, Dense(weights), receptor=receptor
            )
            channels += len(weights)
        self._channels = channels
        steps = max(1, round(recording.duration))
        self.engine: Engine = compile_network(
            network, EndVoltageCrossEntropy(cell), duration=recording.duration, dt=recording.duration / steps,
            spike_times="exact", dtype="float64", engine="native", threads=threads,
        )  # fmt: skip
        self.data = self.engine.load(self._events(list(self._arrivals)))
        self.uncoupled = self.engine.load(
            self._events([r for r in self._arrivals if r not in (TARGET, SLOPE, COUPLED)])
        )
        """The same without a measured V that pulls, which is quicker."""

    def _events(self, receptors: Sequence[str]) -> Events:
        these = [self._arrivals[r] for r in receptors]
        sweep, time = (np.concatenate([getattr(a, part) for a in these]) for part in ("sweep", "time"))
        channel = np.concatenate([self._first[r] + np.arange(len(a.time)) for r, a in zip(receptors, these)])
        samples = []
        for s in range(len(self.recording)):
            mine = np.flatnonzero(sweep == s)
            mine = mine[np.argsort(time[mine], kind="stable")]
            samples.append((time[mine], channel[mine]))
        return Events.from_samples(samples, n_channels=self._channels, labels=np.zeros(len(samples), int))

    def set(self, values: np.ndarray, **shared: float) -> None:
        """Give the copies their values (size, varied), and all of them those of further parameters."""
        for i, name in enumerate(self.varied):
            self.engine.parameters[f"{CELL}.{name}"][...] = values[:, i]
        for name, value in shared.items():
            self.engine.parameters[f"{CELL}.{name}"][...] = value

    def states(self, times: np.ndarray, names: Sequence[str], coupled: bool = False) -> dict[str, np.ndarray]:
        """State -> (S, times, size); at the time of a spike before it."""
        data = self.data if coupled else self.uncoupled
        parts = [self.engine.record(data, p, states=names, adjoint=False, times=times)[CELL] for p in self._parts]
        return parts[0] if len(parts) == 1 else {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}

    def spikes(self) -> list[list[np.ndarray]]:
        """Of every sweep the spike times of every copy before its end, ms."""
        found = list[list[np.ndarray]]()
        for sweeps in self._parts:
            spikes = self.engine.run(self.uncoupled, sweeps, record_spikes=True).spikes
            assert spikes is not None  # they were asked for
            train = spikes[CELL]
            inside = train.time < self.recording.durations[sweeps][train.sample]
            for s in range(len(sweeps)):
                of = inside & (train.sample == s)
                found.append([train.time[of & (train.neuron == n)] for n in range(self.size)])
        return found

    def close(self) -> None:
        self.engine.close()


def forced_arrivals(recording: Recording, every: float, counts: np.ndarray, samples: np.ndarray) -> dict[str, Arrivals]:
    """What resets the forced model and pulls it.

    Args:
        samples: (R,) of the voltage that count, `every` ms apart; counts: (S, R) whether they do.
    """
    assert recording.spikes is not None
    taught = np.repeat(np.arange(len(recording)), [len(t) for t in recording.spikes])
    arrivals = {TEACHER: Arrivals(taught, np.concatenate(recording.spikes), np.ones(len(taught)))}
    v, target, slope = (np.zeros(counts.shape) for _ in range(3))
    if recording.voltage is not None:
        v = np.where(counts, recording.voltage[:, samples], 0.0)
    used = np.zeros(counts.shape, bool)
    used[:, :-1] = counts[:, :-1] & counts[:, 1:]
    slope[:, :-1] = np.where(used, np.diff(v, axis=1, append=0.0) / every, 0.0)[:, :-1]
    # where a stretch that counts begins, the target jumps from the end of the one before; arrivals are those jumps
    for row in range(len(counts)):
        begins = np.flatnonzero(used[row] & ~np.concatenate([[False], used[row, :-1]]))
        ends = np.flatnonzero(used[row] & ~np.concatenate([used[row, 1:], [False]])) + 1
        target[row, begins] = v[row, begins] - np.concatenate([[0.0], v[row, ends[:-1]]])
    jumps = [*np.nonzero(target)]
    return arrivals | {
        TARGET: Arrivals(jumps[0], jumps[1] * every, target[jumps[0], jumps[1]]),
        SLOPE: Arrivals.of_steps(slope, every),
        COUPLED: Arrivals.of_steps(used.astype(float), every),
    }
