"""Differences of losses taken on the engine itself, where its exact spike times resolve them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...data.inputs import DataSet, Inputs, split_inputs
from ...engines import create
from ...engines.contract.parameters import Tables, of_synapses
from ...plan import ConnectionRecord, Plan, PopulationRecord

Change = tuple[str | None, tuple[int, ...], float]
"""One number of a problem, changed: (block, index, by how much); None as the block: nothing is changed."""


WIDE = 0.1
"""The size of a block of zeros, and the least one where steps of its own size show nothing."""


def size_of(values: np.ndarray) -> float:
    """The root mean square by which the steps of a block are measured: the unit of a parameter is anyone's choice."""
    return float(np.sqrt(np.mean(np.square(values)))) or WIDE


def values_of(current: str) -> str:
    """The block of a current's values."""
    return f"{current}.values"


class EngineDifferences:
    """As `compare.Problem`, with the losses of `engine` in float64. Blocks: what the engine has gradients for, and
    "current.values".

    Events keep their number and order if all arrivals at and spikes of each population, and the ends of timed modes
    that spikes begin, sorted by time, come from the same neurons as before.
    """

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], data: DataSet, engine: str = "native") -> None:
        self.plan, self.inputs, self.samples = plan, data, np.arange(len(data))
        self.events, currents = split_inputs(data, plan.input.sizes, {c.name: c.size for c in plan.currents})
        self.currents = {values_of(name): part for name, part in currents.items()}
        self.engine = create(plan, parameters, engine=engine, dtype="float64", threads=1)
        self.data, self.tables = self.engine.load(data), Tables(plan)
        self.values = {k: self.engine.parameters[k].copy() for k in self.engine.gradients}
        self.values |= {k: part.values.astype(np.float64) for k, part in self.currents.items()}

    def losses(self, changes: Sequence[Change]) -> tuple[np.ndarray, np.ndarray]:
        """Mean loss at every change of `values`, and whether all events kept their number and order: (C,), (C,)."""
        _, order = self._run()
        loss, same = np.empty(len(changes)), np.empty(len(changes), bool)
        for i, (name, index, by) in enumerate(changes):
            assert name is not None
            value = self.values[name].copy()
            value[index] += by
            self._set({name: value})
            loss[i], changed = self._run()
            same[i] = changed == order
            self._set({name: self.values[name]})
        return loss, same

    def along(self, directions: Mapping[str, np.ndarray], steps: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """The same at values + step * directions; the first step is 0."""
        loss, orders = np.empty(len(steps)), []
        for i, step in enumerate(steps):
            self._set({k: self.values[k] + step * direction for k, direction in directions.items()})
            loss[i], order = self._run()
            orders.append(order)
        self._set(self.values)
        return loss, np.array([order == orders[0] for order in orders])

    def scale(self, name: str) -> float:
        """The size by which steps of a block are measured."""
        return size_of(self.values[name])

    def _set(self, values: Mapping[str, np.ndarray]) -> None:
        flowing = {k: v for k, v in values.items() if k in self.currents}
        for k, v in values.items():
            if k not in flowing:
                self.engine.parameters[k][...] = v
        if flowing:
            parts = {c.name: self.currents[values_of(c.name)] for c in self.plan.currents}
            parts |= {n: part.replace(flowing.get(values_of(n), part.values)) for n, part in parts.items()}
            whole = self.inputs.with_parts(parts) if isinstance(self.inputs, Inputs) else next(iter(parts.values()))
            self.data = self.engine.load(whole)

    def _run(self) -> tuple[float, bytes]:
        """Mean loss, and all events in their order as bytes."""
        result = self.engine.run(self.data, self.samples, record_spikes=True)
        assert result.spikes is not None
        lists = {name: (s.sample, s.time, s.neuron) for name, s in result.spikes.items()}
        sizes = np.diff(self.events.offsets)
        inputs = (np.repeat(self.samples, sizes), np.asarray(self.events.times), np.asarray(self.events.channels))
        lists[self.plan.input.name] = inputs
        parts = []
        for p in self.plan.populations:
            sent = [(*lists[p.name], lists[p.name][2])] if p.spiking else []
            sent += self._mode_ends(p, *lists[p.name]) if p.spiking else []
            sent += [self._arrivals(c, *lists[c.source]) for c in self.plan.into(p.name)]
            if not sent:  # a neuron without threshold and connections
                continue
            if not any(c.delays for c in self.plan.into(p.name)):  # a spike arrives at all its targets at once
                sent = [(sample, time, source, np.zeros_like(source)) for sample, time, source, _ in sent]
            kind = np.concatenate([np.full(len(part[0]), i) for i, part in enumerate(sent)])
            sample, time, source, target = (np.concatenate([part[k] for part in sent]) for k in range(4))
            order = np.lexsort((source, kind, time, target, sample))
            parts += [sample[order], kind[order], source[order], target[order]]
        return float(result.loss.mean()), np.concatenate([np.empty(0), *parts]).astype(np.int64).tobytes()

    def _mode_ends(
        self, p: PopulationRecord, sample: np.ndarray, time: np.ndarray, neuron: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """When the timed mode ends that spikes begin, if it is the same for all spikes: dL/dt jumps where an arrival
        and the end of a mode change their order."""
        entered = {e.next_mode for e in p.derived.events if e.emits and e.next_mode is not None}
        modes = [p.derived.modes[m] for m in entered]
        if len(modes) != 1 or modes[0].lasts is None:
            return []
        lasts = np.resize(self.engine.parameters[f"{p.name}.{modes[0].lasts}"], p.size)
        return [(sample, time + lasts[neuron], neuron, neuron)]

    def _arrivals(
        self, c: ConnectionRecord, sample: np.ndarray, time: np.ndarray, source: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(sample, time, source, target) of what spikes of a connection's source bring, synapse by synapse if delays
        are values."""
        if not c.delays:
            return sample, time + c.delay, source, source
        table = None if c.form == "dense" else self.tables.of(c, self.engine.parameters)
        delays = of_synapses(c, self.engine.parameters[c.delays_name], table)
        every = np.arange(c.pre * c.post)
        sources, targets = divmod(every, c.post) if table is None else (table.source, table.target)
        start = np.searchsorted(sources, np.arange(c.pre + 1))
        counts = np.diff(start)[source]
        spike = np.repeat(np.arange(len(source)), counts)
        synapse = np.arange(len(spike)) - np.repeat(np.cumsum(counts) - counts, counts) + start[source][spike]
        return sample[spike], time[spike] + delays.ravel()[synapse], source[spike], targets[synapse]
