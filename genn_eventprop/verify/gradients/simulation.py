"""A forward run on the grid from the equations alone: what engines are judged by, and the states of their events.

The order of a step is that of docs/equations.md, section 6. NumPy float64; it shares no code with `program`, so that a
fault in what every engine runs shows. Axis letters: B samples, n states, N neurons, M neurons of a source, K steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from ...engines.contract.currents import CurrentBatch
from ...engines.contract.data import Data
from ...engines.contract.parameters import Tables
from ...engines.contract.result import Spikes
from ...plan import Plan, PopulationCoefficients, PopulationRecord, coefficients
from .delay_groups import Connections, DelayGroup
from .dynamics import Dynamics, Trace, functions
from .one_step import Step


class Simulation:
    """One batch. Arrays of a population have shape (B, n, N): samples, states, neurons.

    Args:
        parameters: by their names. samples: (B,) indices into `data`.
    """

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], data: Data, samples: np.ndarray) -> None:
        self.plan, self.B, self.data, self.samples, self.K = plan, len(samples), data, samples, plan.n_steps
        self.connections = Connections(plan, parameters)
        self.params = {p.name: {n: parameters[f"{p.name}.{n}"] for n in p.derived.params} for p in plan.populations}
        self.coef: dict[str, PopulationCoefficients] = {}
        self.populations: dict[str, Dynamics] = {}
        for p in plan.populations:
            values = self.params[p.name]
            self.coef[p.name], steps = _of_parameters(
                plan, p, tuple((n, v.shape, v.tobytes()) for n, v in values.items())
            )
            self.populations[p.name] = Dynamics(p, functions(p.derived), values, steps, plan.dt, self.K, self.B)
        self.traces: dict[str, Trace] = {name: pop.trace for name, pop in self.populations.items()}
        self.currents = CurrentBatch(plan, parameters, Tables(plan), data, samples, np.dtype(np.float64))
        self.input = self._input()
        with np.errstate(over="ignore", invalid="ignore"):
            self._run()

    def _input(self) -> np.ndarray:
        """(K + 1, B, M) input spikes of every step."""
        spikes, data = np.zeros((self.K + 1, self.B, self.plan.input.size)), self.data
        for b, i in enumerate(self.samples):
            part = slice(data.offsets[i], data.offsets[i + 1])
            np.add.at(spikes[:, b], (data.steps[part], data.channels[part]), 1.0)
        return spikes

    def _spikes_at(self, source: str, step: int) -> np.ndarray:
        """(B, M) spikes of a source at a step, none before the trial."""
        spikes = self.input if source == self.plan.input.name else self.traces[source].spikes
        return spikes[step].astype(np.float64) if step >= 0 else np.zeros(spikes.shape[1:])

    def _run(self) -> None:
        for k in range(self.K):
            # Modes end before the arrivals of their last step, so that these meet the field that follows. All arrivals
            # of a step are added before any population advances: spikes found in this step arrive in the next at the
            # earliest, whatever the order of populations.
            for pop in self.populations.values():
                pop.end_modes(k)
            for p in self.plan.populations:
                self._set_drives(p, k)
                self.populations[p.name].x = self.populations[p.name].x + self._arrivals(p, k)
            for pop in self.populations.values():
                pop.advance(k)

    def _set_drives(self, p: PopulationRecord, k: int) -> None:
        """The states that stand for currents take the mean over step k: their slope states stay 0."""
        for receptor, (state, _) in p.drives.items():
            drive = self.currents.means[p.name, receptor][:, k]
            self.populations[p.name].x[:, p.derived.states.index(state)] = drive

    def _arrivals(self, p: PopulationRecord, k: int) -> np.ndarray:
        """(B, n, N) sum of w e over the spikes that arrive at step k."""
        change = np.zeros((self.B, len(p.derived.states), p.size))
        for c in self.connections.into(p.name):
            arrived = self._source_spikes(c, k - c.delay_steps) @ c.weight
            change += arrived[:, None, :] * self._vector(p, "direction", c.receptor)
        return change

    def _source_spikes(self, c: DelayGroup, step: int) -> np.ndarray:
        """(B, M) spikes that a connection sends off at a step; of an input those of the connection's channels."""
        spikes = self._spikes_at(c.source, step)
        return spikes if c.record.channels is None else spikes[:, slice(*c.record.channels)]

    def _vector(self, p: PopulationRecord, kind: str, receptor: str) -> np.ndarray:
        """(n, N or 1) of a receptor; kind "direction": e, by which an arrival of unit weight moves the state."""
        return getattr(self.coef[p.name], kind)[receptor].T

    def spikes(self) -> dict[str, Spikes]:
        out = {}
        for p in self.plan.populations:
            if p.spiking:
                b, k, n = np.nonzero(self.traces[p.name].spikes.swapaxes(0, 1))
                out[p.name] = Spikes(b, k * self.plan.dt, n)
        return out


@lru_cache(maxsize=32)
def _of_parameters(
    plan: Plan, p: PopulationRecord, values: tuple[tuple[str, tuple[int, ...], bytes], ...]
) -> tuple[PopulationCoefficients, list[Step]]:
    """Coefficients and a step of each mode. They are kept: differences change one population at a time."""
    arrays = {name: np.frombuffer(content).reshape(shape) for name, shape, content in values}
    return coefficients(plan, p, arrays), [Step(p, m, arrays, plan.dt) for m in range(len(p.derived.modes))]
