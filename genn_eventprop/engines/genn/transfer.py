"""What goes to a network before a run: lengths of arrays, events, arguments of the trial, an optimiser's scalars."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from ...codegen.genn import gather
from ...codegen.genn.source import event_axes, most_events, sources
from ...codegen.genn.synapses import longest_delay
from ...codegen.genn.text import NetworkText, NeuronText
from ...codegen.genn.writer import NO_TARGET
from ...errors import EngineError
from ...modelling.connectivity import Synapses
from ...plan import ConnectionRecord, Plan
from ...plan.synapse_tables import Tables, delay_steps, of_synapses
from ..contract.noise import step_words
from ..contract.program_engine import Arrays
from .inputs import EXAMPLE_ARRAYS, InputEvents, input_events

MOST_INDICES = 2**31 - 1  # of an array; the generated code counts places in 32 bits
PADDING = {"targets": NO_TARGET, "labels": -1}  # for the places that an incomplete group leaves empty; else 0


class HostTransfer:
    """Sends to a network what it needs from the host; what has not changed since it was sent is not sent again.

    Args:
        plan: of the network. tables, parameters: of the engine; parameters are live. room: entries of every
            population's lists of events, which grow in place.
    """

    def __init__(
        self, plan: Plan, tables: Tables, parameters: MutableMapping[str, np.ndarray], room: Sequence[int]
    ) -> None:
        self.plan, self.parameters, self.room = plan, parameters, room
        self._synapse_tables = tables
        self.network: Any = None
        self.group = 1
        # GeNN delivers a spike one step after it was sent, and delays lengthen that. Backwards, D travels the same way
        # from target to source: so many GeNN steps before the first step of the trial, both ways.
        self.lead = 1 + max((longest_delay(plan, c) for c in plan.connections), default=0)
        self.events: dict[str, InputEvents] = {}
        self._data: tuple[np.ndarray, ...] = ()
        self._room = {axis: 1 for name in sources(self.plan) for axis in (*event_axes(name), most_events(name))}
        self._axes = {"n_targets": 0, "n_nodes": 0}
        self._sent: dict[Any, np.ndarray | None] = {}  # copies of what the network has, by owner and name

    def attach(self, network: Any, group: int) -> None:
        """Send to this network from now on; it has nothing yet. group: examples that it runs side by side."""
        self.network, self.group, self._sent = network, group, {}

    # the two phases

    @property
    def phase(self) -> int:
        """GeNN steps of one phase."""
        return self.plan.n_steps + self.lead + 1

    @property
    def window(self) -> int:
        """Steps whose G = lambda . e is stored before gradients are added up."""
        return self._window(self.group)

    def _window(self, group: int) -> int:
        return min(self.plan.n_steps, gather.LONGEST_WINDOW if group == 1 else gather.WINDOW)

    def windows(self) -> list[tuple[int, int]]:
        """(first, last + 1) GeNN steps of the stretches of the adjoint phase; gradients are added up between them."""
        turn, K = self.phase + self.plan.n_steps + self.lead, self.plan.n_steps
        edges = [self.phase, *(turn - begin for begin in range((K - 1) // self.window * self.window, -1, -self.window))]
        return list(zip(edges, [*edges[1:], 2 * self.phase]))

    def fixed(self) -> Arrays:
        """Arguments that only a GeNN network has: where its phases begin, and the length of a window."""
        turn = self.phase + self.plan.n_steps + self.lead
        most = {most_events(name): self._room[most_events(name)] for name in sources(self.plan)}
        return {"window": self.window, "lead": self.lead, "start": self.lead + 1, "turn": turn, "feed": 0, **most}

    # lengths

    def use_data(self, arguments: Arrays) -> None:
        """Group the spikes of the next run's data set by sample and channel; make more room if it needs that.

        Raises:
            EngineError: if it has more spikes than the generated code can count.
        """
        data, first = (arguments["steps"], arguments["channels"], arguments["offsets"]), not self._data
        self._axes = {n: max(length, arguments[n]) for n, length in self._axes.items()}
        if len(data) == len(self._data) and all(a is b for a, b in zip(data, self._data)):
            return
        self._data = data
        self.events = {name: input_events(data[0], data[1], data[2], span) for name, span in sources(self.plan).items()}
        self._sent.pop("events", None)
        for name, events in self.events.items():
            self._make_room(name, events, first)

    def _make_room(self, name: str, events: InputEvents, first: bool) -> None:
        """Lengths of the arrays of a source's events; first: whether this is the first data set."""
        most = most_events(name)
        self._room[most] = max(self._room[most], events.most)
        lengths = {"event_step": len(events.step), "event_start": events.start.size}
        for axis, (array, n) in zip(event_axes(name), lengths.items()):
            if n > MOST_INDICES:
                raise EngineError(
                    f"the data set has {n} entries of {array} for {name!r}, more than the genn engine's 32-bit indices "
                    "reach; split it into several data sets, or use engine='native'"
                )
            if n > self._room[axis]:
                # some to spare from the second data set on, since augmented batches come as one data set each
                self._room[axis] = n + (0 if first else n // 4)

    def most_side_by_side(self, text: NetworkText) -> int:
        """How many examples fit into 32-bit indices.

        Raises:
            EngineError: if not even one does.
        """
        two, three = self.lengths(text, 2), self.lengths(text, 3)
        (name, array), longest = max(((key, three[key] - n) for key, n in two.items()), key=lambda item: item[1])
        if longest > MOST_INDICES:
            raise EngineError(
                f"population {name!r} needs {longest} entries of {array!r} for a single sample, more than the genn "
                "engine's 32-bit indices reach; use fewer neurons or steps, or engine='native'"
            )
        return MOST_INDICES // max(1, longest)

    def lengths(self, text: NetworkText, group: int) -> dict[tuple[str, str], int]:
        """Length of every extra global parameter of a network with so many examples side by side."""
        of = {
            "batch": group, "n_steps": self.plan.n_steps, "n_points": self.plan.n_steps + 1, **self._room,
            "window": self._window(group), **self._axes,
        }  # fmt: skip
        of |= {f"p{i}_room": room for i, room in enumerate(self.room)}
        of |= {f"c{i}_places": synapse_places(table).size for i, _, table in self._sparse()}
        length = lambda axis: axis if isinstance(axis, int) else of[axis]  # noqa: E731
        return {
            (name, a): max(1, math.prod(map(length, axes)))
            for name, (_, neuron) in text.populations.items()
            for a, _, axes in neuron.arrays
        }

    # tables of synapses, and delays

    def tables(self) -> dict[str, Synapses]:
        """Synapses of the connections that are not dense."""
        return {c.name: self._synapse_tables.of(c, self.parameters) for c in self.plan.connections if c.form != "dense"}

    def _sparse(self) -> list[tuple[int, ConnectionRecord, Synapses]]:
        tables = self.tables()
        return [(i, c, tables[c.name]) for i, c in enumerate(self.plan.connections) if c.name in tables]

    def synapses(self) -> None:
        """Send weights of tables, delays in steps, and the source and target of every synapse."""
        network, parameters = self.network, self.parameters
        for c in self.plan.connections:
            table = self.tables().get(c.name)
            if table is not None:
                self._write(network, c.name, "weight", parameters[c.weight].ravel()[table.weights])
                for n, ends in zip(gather.ends_arrays(c), (table.source, table.target)):
                    if n in {a for a, *_ in network.text.populations[c.target][1].arrays}:
                        self._push(network, c.target, n, network.array(c.target, n), pad_rows(table, ends))
            if c.delays is not None:
                steps = np.minimum(delay_steps(c, parameters, self.plan.dt), longest_delay(self.plan, c))
                for name in (n for n, s in network.text.synapses.items() if s.of == c.name):
                    self._write(network, name, "delay", of_synapses(c, steps, table))

    def _write(self, network: Any, connection: str, name: str, values: np.ndarray) -> None:
        """Send a number for every synapse, if one has changed."""
        sent = self._sent.get((connection, name))
        if sent is None or not np.array_equal(values, sent):
            self._sent[connection, name] = np.array(values)
            network.write_synapses(connection, name, values)

    # sending

    def begin(self) -> None:
        """A batch begins: what all its examples share may have changed."""
        self._sent.pop("batch", None)

    def send(self, group: Arrays) -> None:
        """The arguments of a group; what all examples of the batch share goes with the first group only."""
        if "events" not in self._sent:
            self._sent["events"] = None
            self._events(self.network)
        if "batch" in self._sent:
            group = {k: v for k, v in group.items() if k == "batch" or k.endswith(EXAMPLE_ARRAYS)}
        self._sent["batch"] = None
        self.more(group)

    def more(self, arguments: Arrays) -> None:
        """Send numbers and arrays by the names of the trial's buffers."""
        network = self.network
        for name, (_, neuron) in network.text.populations.items():
            self._numbers(
                arguments, neuron.host_buffers, neuron.params, lambda n, v, p=name: network.set_number(p, n, v)
            )
            self._arrays(network, arguments, name, neuron)
        for name, update in network.text.updates.items():
            self._numbers(
                arguments, update.host_buffers, update.params, lambda n, v, u=name: network.set_update_number(u, n, v)
            )

    def _numbers(self, arguments: Arrays, keys: Mapping[str, str], params: Any, set_number: Any) -> None:
        for n, kind in params:
            if keys.get(n) in arguments:
                value = float(np.ravel(arguments[keys[n]])[0])
                set_number(n, min(value, 2**32 - 1) if kind == "uint32_t" else value)

    def _arrays(self, network: Any, arguments: Arrays, name: str, neuron: NeuronText) -> None:
        shared = [n for n, _, access in neuron.vars if access == "READ_ONLY" and n in neuron.host_buffers]
        for n in shared:
            self._push(network, name, n, network.neurons(name, n), arguments.get(neuron.host_buffers[n]))
        for n, _, axes in neuron.arrays:
            key = neuron.host_buffers.get(n)
            if key not in arguments:
                continue
            values, array = arguments[key], network.array(name, n)
            if n in neuron.words:  # the low and the high word of every step's key
                words = step_words(np.asarray(values)[:, None], np.arange(1, self.plan.n_steps + 1))
                values = np.stack(words, axis=2)
            if "batch" in axes:
                padding = next((v for end, v in PADDING.items() if str(key).endswith(end)), 0)
                self._write_examples(array, values, values[-1] if n in neuron.words else padding)
                network.push(name, n)
            else:
                self._push(network, name, n, array, values)

    def _push(self, network: Any, owner: str, name: str, view: np.ndarray, values: np.ndarray | None) -> None:
        """Send what all examples share, if it has changed."""
        sent = self._sent.get((owner, name))
        if values is None or (sent is not None and np.array_equal(values, sent)):
            return
        self._sent[owner, name] = np.array(values)  # a copy: parameters change in place
        view[: np.size(values)] = np.ravel(values)
        network.push(owner, name)

    def _write_examples(self, array: np.ndarray, values: np.ndarray, padding: Any) -> None:
        """One row an example, `padding` in the rows that an incomplete group leaves empty.

        NaN is written as NO_TARGET: GeNN compiles with -ffast-math, under which no code can test for NaN.
        """
        rows, B = array.reshape(self.group, -1), len(values)
        values = np.reshape(values, (B, -1))
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), NO_TARGET, values)
        rows[:B, : values.shape[1]], rows[B:] = values, np.ravel(padding) if np.ndim(padding) else padding

    def _events(self, network: Any) -> None:
        for name, events in self.events.items():
            network.array(name, "event_step")[: len(events.step)] = events.step
            network.array(name, "event_count")[: len(events.step)] = events.count
            network.array(name, "event_start")[: events.start.size] = events.start.ravel()
            network.push(name, "event_step", "event_count", "event_start")

    def samples(self, samples: np.ndarray) -> None:
        """Which samples are next; empty places of the group get the sample without events."""
        network = self.network
        for name, events in self.events.items():
            self._write_examples(network.array(name, "sample"), samples, len(events.start) - 1)
            network.push(name, "sample")

    def step(self, update: str, item: Any) -> None:
        """The scalars and bounds of one `optimisers.ParameterStep`."""
        network = self.network
        values = {**item.scalars, "lower": item.lower, "upper": item.upper}
        text = network.text.updates[update]
        for n, _ in text.params:
            network.set_update_number(update, n, values[n])
        for n, _, access in text.vars:
            if access == "READ_ONLY_SHARED" and (update, n) not in self._sent:
                self._sent[update, n] = None
                shape = self.parameters[item.name].shape
                network.update_variable(update, n)[:] = np.broadcast_to(values[n], shape).ravel()
                network.push_update(update, n)


def synapse_places(table: Synapses) -> np.ndarray:
    """(M, longest row) number of the synapse at every place of GeNN's rows, which all have one length; -1: none."""
    length = np.diff(table.start)
    k = np.arange(max(1, length.max(initial=0)))
    return np.where(k < length[:, None], table.start[:-1, None] + k, -1)


def pad_rows(table: Synapses, values: np.ndarray) -> np.ndarray:
    """Values of synapses at their places in GeNN's rows, flat; 0 where there is no synapse."""
    at = synapse_places(table).ravel()
    return np.where(at >= 0, values[np.maximum(at, 0)], 0)
