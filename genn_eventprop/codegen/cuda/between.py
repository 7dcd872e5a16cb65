"""What happens between neurons, as CUDA text: in the kernel of a trial, and in the kernels that gather gradients.

Sums have a fixed order: a target adds up its arrivals by the numbers of their sources, the dot product of a row is that of
a warp, and a gradient goes through the samples, and the spikes of each, one after the other.
"""

from __future__ import annotations

from ...program.nodes import NEURON, Access, Buffer
from ...program.trial import Deliver, Feedback, FeedInput, Gather, GatherDelays
from ..statements import indent
from .synapses import WARP, Synapses

Terms = tuple[tuple[int, str, Buffer], ...]


class Between(Synapses):
    """A target's operations between neurons; those of dense connections with one delay stand here."""

    # in the kernel of a trial

    def _each_spike(self, population: int, bits: str, body: str) -> str:
        """Code for every neuron ``source`` of a row of bits, the same for all threads."""
        return (
            f"for (int word = 0; word < {self._words(population)}; ++word)\n"
            f"    for (uint32_t rest = {bits}; rest; rest &= rest - 1) {{\n"
            f"        const int source = 32 * word + __ffs(rest) - 1;\n{indent(body, 2)}    }}\n"
        )

    def _bits(self, connection: int) -> str:
        """The row of bits of the spikes that arrive now, or were sent at a step before."""
        i, words = self._source(connection), self._words(self._source(connection))
        if self.plan.connections[connection].delay > 0:
            return f"t.p{i}_spikes[(sample * t.n_points + step - t.c{connection}_delay) * {words} + word]"
        return f"p{i}_now[step % 2 * {words} + word]"

    def _deliver(self, o: Deliver) -> str:
        """Every thread adds what arrives at its own neurons."""
        c, i = self.plan.connections[o.connection], o.connection
        target = next(n for n, p in enumerate(self.plan.populations) if p.name == c.target)
        add = f"const real w = t.c{i}_weight[(int64_t)source * {c.post} + neuron];\n"
        add += "".join(f"{self._element(Access(b, (NEURON,)), str)} += part_{part}(w);\n" for part, b in o.sums)
        rows = self._over(target, add, f"{c.source} -> {c.target}")
        if self._from_input(i):
            head = f"for (; next{i} < to && t.steps[next{i}] + t.c{i}_delay == step; ++next{i}) {{\n"
            return head + indent(f"const int source = t.channels[next{i}];\n{rows}") + "}\n"
        return f"if (step > t.c{i}_delay) {{\n{indent(self._each_spike(self._source(i), self._bits(i), rows))}}}\n"

    def _row(self, b: Buffer, step: str) -> str:
        """Element n of the row of a step."""
        return f"t.{b.name}[(sample * t.n_steps + {step}) * {b.axes[1]} + n]" if len(b.axes) == 2 else f"{b.name}[n]"

    def _dots(self, terms: Terms, now: str) -> str:
        """``total``, in lane 0: what a spike of ``source`` at `now` caused; lanes share its targets."""
        text = "real total = 0;\n"
        for connection, part, b in terms:
            c = self.plan.connections[connection]
            if not self._plain(connection):
                text += self._feedback_of_synapses(connection, part, b, now)
                continue
            arrival = f"{now} + t.c{connection}_delay"
            weight = f"t.c{connection}_weight[(int64_t)source * {c.post} + n]"
            row = self._row(b, f"({arrival})")
            loop = f"for (int n = lane; n < {c.post}; n += 32) total += part_{part}({weight}) * {row};\n"
            text += f"if ({arrival} < t.n_steps) {loop}"
        return text + "total = warp_sum(total);\n"

    def _feedback(self, o: Feedback) -> str:
        """Warps share the spikes of the step."""
        words = self._words(o.population)
        body = f"if (turn++ % {self.threads // WARP} != warp) continue;\n{self._dots(o.terms, 'step')}"
        body += f"if (lane == 0) {o.into.name}[source] = total;\n"
        bits = f"t.p{o.population}_spikes[(sample * t.n_points + step) * {words} + word]"
        return f"if (step > 0) {{\n    int turn = 0;\n{indent(self._each_spike(o.population, bits, body))}}}\n"

    def _feed_input(self, o: FeedInput) -> str:
        """Warps share the input spikes of the trial."""
        body = f"const int source = t.channels[e];\nconst int64_t now = t.steps[e];\n{self._dots(o.terms, 'now')}"
        body += f"if (lane == 0) t.{o.into.name}[t.input_start[sample] + e - from] = total;\n"
        return f"for (int64_t e = from + warp; e < to; e += {self.threads // WARP}) {{\n{indent(body)}}}\n"

    # gradients

    def gathers(self) -> list[str]:
        """A kernel for each connection, a block for each of its sources; and one for each parameter of neurons."""
        kernels = list[str]()
        for o in self.trial.end_back:
            if isinstance(o, Gather) and self._plain(o.connection):
                kernels.append(self._gather(o))
            elif isinstance(o, Gather | GatherDelays):
                kernels.append(self._gather_synapses(o))
        of_neurons = [b for b in self.trial.buffers.values() if b.role == "gradient" and b.name.startswith("p")]
        return kernels + [self._sum(b) for b in of_neurons]

    def _sum(self, b: Buffer) -> str:
        """Over the samples; `adding` to what the group before has left."""
        self.launches.append((f"sum_{b.name}", 1))
        body = (
            f"for (int n = threadIdx.x; n < {b.axes[0]}; n += {self.threads}) {{\n"
            f"    real total = t.adding ? t.{b.name}_sum[n] : (real)0;\n"
            f"    for (int64_t sample = 0; sample < t.batch; ++sample) total += t.{b.name}[sample * {b.axes[0]} + n];\n"
            f"    t.{b.name}_sum[n] = total;\n}}\n"
        )
        return self._kernel(f"sum_{b.name}", body)

    def _gather(self, o: Gather) -> str:
        """Lanes share the targets of a source; for spikes of neurons they look at 32 steps at once."""
        c, i = self.plan.connections[o.connection], o.connection
        self.launches.append((f"gather_c{i}", c.pre))
        add = f"if (n < {c.post}) total += t.{o.rows.name}[(sample * t.n_steps + arrival) * {c.post} + n];\n"
        if self._from_input(i):
            each = (
                "const int64_t *start = t.channel_start + t.samples[sample] * t.n_channels + source;\n"
                f"for (int64_t e = start[0]; e < start[1]; ++e) {{\n    const int64_t arrival = t.by_channel[e] + t.c{i}_delay;\n"
                f"    if (arrival >= t.n_steps) break;\n{indent(add)}}}\n"
            )
        else:
            p, words = self._source(i), self._words(self._source(i))
            bits = f"t.p{p}_spikes[(sample * t.n_points + at - t.c{i}_delay) * {words} + source / 32]"
            each = (
                f"for (int64_t base = t.c{i}_delay + 1; base < t.n_steps; base += 32) {{\n    const int64_t at = base + lane;\n"
                f"    const int sent = at < t.n_steps && {bits} >> source % 32 & 1;\n"
                "    for (uint32_t rest = __ballot_sync(EVERY, sent); rest; rest &= rest - 1) {\n"
                f"        const int64_t arrival = base + __ffs(rest) - 1;\n{indent(add, 2)}    }}\n}}\n"
            )
        place = f"t.c{i}_gradient[(int64_t)source * {c.post} + n]"
        body = f"const int n = first + lane;\nreal total = t.adding && n < {c.post} ? {place} : (real)0;\n"
        body += f"for (int64_t sample = 0; sample < t.batch; ++sample) {{\n{indent(each)}}}\n"
        body += f"if (n < {c.post}) {place} = total;\n{self._note(o)}"
        loop = f"for (int first = threadIdx.x - lane; first < {c.post}; first += {self.threads}) {{\n{indent(body)}}}\n"
        loop = f"const int source = blockIdx.x, lane = threadIdx.x % 32;\n{loop}"
        return self._kernel(f"gather_c{i}", loop, f"// {c.source} -> {c.target}\n")
