"""Connections with a table of synapses or with individual delays, as C99: loops over the synapses of a spike.

In the loops ``source`` is the neuron that spiked, ``n`` the target and ``w`` the index of the weight.
"""

from __future__ import annotations

from ...program.nodes import Buffer
from ...program.trial import Deliver, Gather, GatherDelays
from ..layout import Layout
from ..statements import indent


class Synapses(Layout):
    """The part of `Text` for connections that are not dense with a single delay.

    Spikes in the order of their sources, then the synapses of each in the order of the table: every sum has a fixed order.
    """

    def _each_spike(self, population: int, at: str, body: str) -> str:
        raise NotImplementedError

    def _arrives(self, connection: int, rows: str) -> str:
        raise NotImplementedError

    def _in_time(self, i: int, sent: str, body: str) -> str:
        """Code for every synapse of a spike whose ``arrival`` is within the trial."""
        c = self.plan.connections[i]
        each = f"const int64_t arrival = {sent} + {self._delay_of(i)};\n"
        if c.delays is None:
            return each + f"if (arrival < {self._from_host('n_steps')}) {{\n{indent(self._each_synapse(i, body))}}}\n"
        return self._each_synapse(i, each + f"if (arrival >= {self._from_host('n_steps')}) continue;\n{body}")

    def _row(self, b: Buffer, step: str) -> str:
        raise NotImplementedError

    def _sum(self, b: Buffer) -> str:
        raise NotImplementedError

    def _weight_of(self, connection: int) -> str:
        """The weight with index ``w``."""
        return f"t->c{connection}_weight[w]"

    def _deliver_synapses(self, o: Deliver) -> str:
        i = o.connection
        weight = self._weight_of(i)
        delays = self.trial.delays[i]
        if delays is None:
            rows = self._each_synapse(i, "".join(f"{self._sum(b)} += part_{part}({weight});\n" for part, b in o.sums))
            if self._from_input(i):
                return self._arrives(i, rows)
            delay = self._from_host(f"c{i}_delay")
            spikes = self._each_spike(self._source(i), f"step - {delay}", rows)
            return f"if (step >= {delay}) {{\n{indent(spikes)}}}\n"
        N, put, take = self.plan.connections[i].post, "", ""
        for part, b in o.sums:
            now = self._ring(i, part, "step")
            put += f"{self._ring(i, part, 'arrival')} += part_{part}({weight});\n"
            take += f"{self._sum(b)} += {now};\n{now} = 0;\n"
        rows = self._in_time(i, "step", put)
        sent = self._arrives(i, rows) if self._from_input(i) else self._each_spike(self._source(i), "step", rows)
        return sent + f"for (int32_t n = 0; n < {N}; ++n) {{\n{indent(take)}}}\n"

    def _feedback_of_synapses(self, i: int, part: str, b: Buffer, now: str) -> str:
        """Adds what a spike at `now` caused to ``total``; b: rows of the adjoint."""
        add = f"total += part_{part}(t->c{i}_weight[w]) * ({self._row(b, 'arrival')})[n];\n"
        return f"{{\n{indent(self._in_time(i, now, add))}}}\n"

    def _gather_synapses(self, o: Gather | GatherDelays) -> str:
        i = o.connection
        if isinstance(o, Gather):
            add = f"t->c{i}_gradient[w] += ({self._row(o.rows, 'arrival')})[n];\n"
        else:
            terms = (f"part_{part}(t->c{i}_weight[w]) * ({self._row(b, 'arrival')})[n]" for part, b in o.terms)
            add = f"t->c{i}_delay_gradient[{self._place_of_delay(i)}] += {' + '.join(terms)};\n"
        rows = self._in_time(i, "sent", add)
        if self._from_input(i):
            head = "for (int64_t i = t->offsets[t->samples[sample]]; i < t->offsets[t->samples[sample] + 1]; ++i) {\n"
            return (
                head
                + indent(f"const int64_t sent = t->steps[i];\n{self._source_of(i, 't->channels[i]')}{rows}")
                + "}\n"
            )
        spikes = self._each_spike(self._source(i), "sent", rows)
        return f"for (int64_t sent = 0; sent < t->n_steps; ++sent) {{\n{indent(spikes)}}}\n"
