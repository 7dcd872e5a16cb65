"""Connections with a table of synapses, with windows or with individual delays, as CUDA text, in the kernel of a trial.

Forwards, the threads of a block share the synapses of a spike, one after the other from the lists that dense connections
use too; where a thread writes to neurons of other threads, there is a barrier between spikes, so that every sum has a fixed
order. Spikes of one pixel have the same windows, in which a target always has the same thread: no barrier between these.
Backwards, the lanes of a warp share the synapses.

In the loops ``source`` is the neuron that spiked, ``n`` the target and ``w`` the index of the weight.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from ...program.nodes import NEURON, Access, Buffer
from ...program.trial import Deliver
from ..layout import Layout
from ..statements import Spelling, indent
from .gathers import WARP


class BlockLayout(Layout):
    """A trial that the threads of a block run together."""

    threads: int

    def _over(self, population: int, body: str, comment: str, after: str = "", declare: str = "") -> str:
        """Code for every neuron of a population."""
        raise NotImplementedError

    def _slots(self, population: int) -> int:
        """The number of neurons of a population per thread."""
        raise NotImplementedError

    def _element(self, access: Access, write: Callable[[sp.Expr], str], inside: bool = True) -> str:
        """An element where its buffer lives."""
        raise NotImplementedError

    def _spelling(self, inside: bool = True) -> Spelling:
        raise NotImplementedError

    def _row(self, b: Buffer, step: str, n: str = "n") -> str:
        """Element ``n`` of the row of a step."""
        raise NotImplementedError

    def _list_of(self, connection: int) -> str:
        """The name of the list of the neurons whose spikes arrive now."""
        raise NotImplementedError

    def _channel(self, i: int) -> str:
        """The source of input spike ``at`` of those that arrive now."""
        raise NotImplementedError

    def _now(self, i: int, declare: bool = True) -> str:
        """Finds the spikes of the input's window that arrive now."""
        raise NotImplementedError

    def _next_window(self, i: int) -> str:
        """Goes on to the next window of input spikes."""
        raise NotImplementedError


class Synapses:
    """The code for connections that are not dense with a single delay."""

    def __init__(self, layout: BlockLayout) -> None:
        self._layout, self.plan, self.trial = layout, layout.plan, layout.trial

    def clear_rings(self) -> str:
        """Clears the ring buffers."""
        text = ""
        for i, (c, delays) in enumerate(zip(self.plan.connections, self.trial.delays)):
            for b in delays.arriving.values() if delays else ():
                size = f"t->c{i}_ring * {c.post}"
                text += f"for (int64_t k = threadIdx.x; k < {size}; k += {self._layout.threads}) t->{b.name}[sample * {size} + k] = 0;\n"
        return text

    def deliver(self, o: Deliver) -> str:
        """Arrivals through a table or with individual delays; with delays they go into a ring first, by step."""
        i, c, delays = o.connection, self.plan.connections[o.connection], self.trial.delays[o.connection]
        weight = f"part_{{part}}({self._layout._stored_weight(i, 'w')})"
        if delays is None:
            add = "".join(f"{b.name}[n] += {weight.format(part=part)};\n" for part, b in o.sums)
        else:
            add = f"const int64_t arrival = step + {self._layout._delay_of(i)};\nif (arrival >= t->n_steps) continue;\n"
            for part in delays.arriving:
                add += f"{self._layout._ring(i, part, 'arrival', 'n')} += {weight.format(part=part)};\n"
        barrier = "__syncthreads();\n" if c.form != "dense" else ""  # dense: a thread writes only to its neurons
        rows = self._layout._each_synapse(i, add, "threadIdx.x", self._layout.threads)
        before = ""
        if c.windows is None:
            rows += barrier
        else:
            before = f"int32_t seen{i} = -1;\n"
            pixel = f"source / {c.windows.source[2]}"
            rows = f"if (seen{i} >= 0 && seen{i} != {pixel}) __syncthreads();\nseen{i} = {pixel};\n{rows}"
        return (
            barrier
            + before
            + self._each_arrival(i, rows)
            + (barrier if before else "")
            + (self._take(o) if delays else "")
        )

    def _each_arrival(self, i: int, rows: str) -> str:
        """Code for every spike that arrives now, in order; all threads run it together."""
        if not self._layout._from_input(i):
            name = self._layout._list_of(i)
            body = f"const int32_t source = {name}_list[k];\n{rows}"
            return f"for (int k = 0; k < {name}_count; ++k) {{\n{indent(body)}}}\n"
        c = self.plan.connections[i]
        skip = f"if (source < 0 || source >= {c.pre}) continue;\n" if c.channels else ""
        body = f"const int32_t source = {self._layout._channel(i)};\n{skip}{rows}"
        loop = f"for (int at = 0; at < count{i}; ++at) {{\n{indent(body)}}}\n"
        more = self._layout._next_window(i) + self._layout._now(i, declare=False) + loop
        return f"{self._layout._now(i)}{loop}while (now{i} >> 31) {{\n{indent(more)}}}\n"

    def _take(self, o: Deliver) -> str:
        """Adds what arrives now, and clears its place in the ring: it is that of a later step from here on."""
        c, body = self.plan.connections[o.connection], ""
        for part, b in o.sums:
            place = self._layout._ring(o.connection, part, "step", "neuron")
            body += f"{self._layout._element(Access(b, (NEURON,)), str)} += {place};\n{place} = 0;\n"
        target = next(k for k, p in enumerate(self.plan.populations) if p.name == c.target)
        return self._layout._over(target, body, f"{c.source} -> {c.target}")

    def feedback(self, i: int, part: str, b: Buffer, now: str) -> str:
        """The lanes of a warp add what a spike at `now` caused to ``total``."""
        if part == "loss":  # of all synapses of one time together, see `voltage_losses`
            return f"if (lane == 0) total += spike_c{i}(t, sample, {now}, source);\n"
        weight, arrival = self._layout._stored_weight(i, "w"), f"{now} + {self._layout._delay_of(i)}"
        add = f"total += part_{part}({weight}) * {self._layout._row(b, f'({arrival})')};\n"
        if part == "change":
            add = f"total += change_c{i}(t, sample, {arrival}, n, {weight});\n"
        late = f"{arrival} < t->n_steps"
        if self.plan.connections[i].delays is None:
            return f"if ({late}) {{\n{indent(self._layout._each_synapse(i, add, 'lane', WARP))}}}\n"
        return self._layout._each_synapse(i, f"if ({late}) {add}", "lane", WARP)
