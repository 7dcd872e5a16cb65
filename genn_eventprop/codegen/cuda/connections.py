"""Operations between neurons as CUDA text: in the kernel of a trial, and in the kernels that gather gradients.

Every sum has a fixed order: a neuron adds its arrivals in the order of their sources, a warp computes a dot product, and a
gradient is summed over samples, and the spikes of each, one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sympy as sp

from ...program.nodes import NEURON, Access, Buffer, Kernel
from ...program.trial import Birth, Deliver, Feedback, FeedInput, Gather, GatherDelays
from ..birth_losses import birth_losses, changed
from ..safe_text import in_comment
from ..statements import Writer, indent
from .synapses import WARP, Synapses

NEW = chr(10)
Terms = tuple[tuple[int, str, Buffer], ...]


class ConnectionOps(Synapses):
    """What connections do, as text; here for dense ones with a single delay, `Synapses` has the others.

    Forwards the spikes of a step are first turned from bits into a list, so that all threads run the same loop over
    spikes and each adds to its neurons: weights of a row are read side by side, and every sum has the order of sources.
    Backwards a warp takes a spike and its lanes the targets, since one number of the spike is asked for.
    """

    # in the kernel of a trial

    def lists(self) -> list[Buffer]:
        """Buffers in shared memory: for each list, the neurons whose spikes arrive now, in order, and their number."""
        buffers = list[Buffer]()
        for i in self.trial.spikes:
            late = [k for k, c in enumerate(self.plan.connections) if self._late(k) and self._source(k) == i]
            size = self.plan.populations[i].size
            for name in (f"p{i}", *(f"c{k}" for k in late)):
                buffers += [
                    Buffer(f"{name}_list", (size,), "short", "state"),
                    Buffer(f"{name}_sent", (), "int", "state"),
                ]
        return buffers

    def _late(self, connection: int) -> bool:
        """Whether it delays the spikes of a population by a common delay."""
        c = self.plan.connections[connection]
        return self._plain(connection) and c.delay > 0 and not self._from_input(connection)

    def _list(self, name: str, population: int, bits: str, number: int) -> str:
        """Turns a row of bits into a list; `bits` is its word ``v``. Each list is made by another warp.

        A lane takes a word and counts the bits of all words before it: no atomic counter, whose order would differ from
        run to run, and no barrier between lanes.
        """
        words = self._words(population)
        body = (
            f"int place = 0;\nfor (int v = 0; v < word; ++v) place += __popc({bits});\nconst int v = word;\n"
            f"for (uint32_t rest = {bits}; rest; rest &= rest - 1) {name}_list[place++] = (uint16_t)(32 * word + lowest(rest));\n"
            f"if (word == {words - 1}) *{name}_sent = place;\n"
        )
        head = f"if (warp == {number % (self.threads // WARP)})\n    for (int word = lane; word < {words}; word += 32) {{\n"
        return f"{head}{indent(body, 2)}    }}\n"

    def _bits(self, connection: int, word: str = "word") -> str:
        """The row of bits of the spikes that arrive now: those of this step, or of an earlier one.

        Those of this step are in shared memory, in two rows: the next step is written while this one is still read.
        """
        i, words = self._source(connection), self._words(self._source(connection))
        if self.plan.connections[connection].delay > 0:
            return f"t->p{i}_spikes[(sample * t->n_points + step - t->c{connection}_delay) * {words} + {word}]"
        return f"p{i}_now[step % 2 * {words} + {word}]"

    def deliver(self, operations: Sequence[Deliver]) -> str:
        """Arrivals of a step. Connections with the same list share one loop, unrolled to load four rows at once."""
        lists, rows = dict[str, str](), dict[str, str]()
        for o in operations:
            i = o.connection
            if not self._plain(i):
                rows[f"table {i}"] = self._deliver_synapses(o)
            elif self._from_input(i):
                rows[f"input {i}"] = self._deliver_input(o)
            else:
                name = f"c{i}" if self._late(i) else f"p{self._source(i)}"
                bits = self._bits(i, "v")
                bits = f"(step > t->c{i}_delay ? {bits} : 0u)" if self._late(i) else bits
                lists[name] = self._list(name, self._source(i), bits, len(lists))
                rows[name] = rows.get(name, "") + self._add_row(o)
        text = "".join(lists.values()) + ("__syncthreads();\n" if lists else "")
        for name, body in rows.items():
            if name in lists:
                body = f"for (int k = 0; k < *{name}_sent; ++k) {{\n{indent(f'const int32_t source = {name}_list[k];{NEW}{body}')}}}\n"
                body = f"#pragma unroll 4\n{body}"
            text += body
        return text

    def _add_row(self, o: Deliver) -> str:
        """Every thread adds the weights from ``source`` to its neurons."""
        c, i = self.plan.connections[o.connection], o.connection
        target = next(n for n, p in enumerate(self.plan.populations) if p.name == c.target)
        add = f"const real w = t->c{i}_weight[(int64_t)source * {c.post} + neuron];\n"
        add += "".join(f"{self._element(Access(b, (NEURON,)), str)} += part_{part}(w);\n" for part, b in o.sums)
        return self._over(target, add, f"{c.source} -> {c.target}")

    def _deliver_input(self, o: Deliver) -> str:
        """The lanes of a warp look for spikes of the step, up to 32 at once; all warps of the block do the same."""
        i = o.connection
        body = f"const int64_t e = next{i} + lane;\nconst int now = e < to && t->steps[e] + t->c{i}_delay == step;\n"
        body += "const int count = __popc(__ballot_sync(EVERY, now));\n#pragma unroll 4\n"
        rows = indent(self._source_of(i, f"t->channels[next{i} + k]") + self._add_row(o))
        body += f"for (int k = 0; k < count; ++k) {{\n{rows}}}\nnext{i} += count;\nmore = count == 32;\n"
        return f"for (bool more = true; more;) {{\n{indent(body)}}}\n"

    def _row(self, b: Buffer, step: str) -> str:
        """Element n of the row of a step."""
        return f"t->{b.name}[(sample * t->n_steps + {step}) * {b.axes[1]} + n]" if len(b.axes) == 2 else f"{b.name}[n]"

    def _dots(self, terms: Terms, now: str) -> str:
        """Computes ``total`` in lane 0: what a spike of ``source`` at `now` caused; the lanes share its targets."""
        text = "real total = 0;\n"
        for connection, part, b in terms:
            c = self.plan.connections[connection]
            if not self._plain(connection):
                text += self._of_input(connection, self._feedback_of_synapses(connection, part, b, now))
                continue
            arrival = f"{now} + t->c{connection}_delay"
            weight = f"t->c{connection}_weight[(int64_t)source * {c.post} + n]"
            row = self._row(b, f"({arrival})")
            if part == "loss":  # no product with a row: l(V) is not linear, see `voltage_losses`
                moved = f"&t->c{connection}_weight[(int64_t)source * {c.post}]"
                call = f"arrival_c{connection}(t, sample, {arrival}, &{row.removesuffix(' + n]')}], {moved})"
                text += f"if (lane == 0 && {arrival} < t->n_steps) total += {call};\n"
                continue
            loop = f"for (int n = lane; n < {c.post}; n += 32) total += part_{part}({weight}) * {row};\n"
            dot = f"if ({arrival} < t->n_steps) {{\n    #pragma unroll 4\n    {loop}}}\n"
            text += self._of_input(connection, dot)
        return text + "total = warp_sum(total);\n"

    def feedback(self, operations: Sequence[Feedback]) -> str:
        lists = "".join(self._list_sent(o, i) for i, o in enumerate(operations))
        return f"{lists}__syncthreads();\n{''.join(map(self._feedback, operations))}"

    def _list_sent(self, o: Feedback, number: int) -> str:
        """Makes the list of spikes of a step, which `_feedback` reads after a barrier."""
        words = self._words(o.population)
        bits = f"t->p{o.population}_spikes[(sample * t->n_points + step) * {words} + v]"
        return self._list(f"p{o.population}", o.population, bits, number)

    def _feedback(self, o: Feedback) -> str:
        """Warps share the spikes of the step; there are none at step 0."""
        p = f"p{o.population}"
        body = f"const int32_t source = {p}_list[k];\n{self._dots(o.terms, 'step')}"
        body += f"if (lane == 0) {o.into.name}[source] = total;\n"
        return f"for (int k = warp; k < *{p}_sent; k += {self.threads // WARP}) {{\n{indent(body)}}}\n"

    def birth(self, o: Birth) -> str:
        """The neurons with a candidate as a list, then warps share them; the kernel is of every neuron again."""
        i, words = o.population, self._words(o.population)
        p, here = f"p{i}", Writer(self._spelling(), Kernel((), o.kernel.table)).expression(o.here)
        name = self.plan.populations[i].name
        after = "const uint32_t word = __ballot_sync(EVERY, here);\n"
        after += f"if (lane == 0 && neuron / 32 < {words}) {p}_born[neuron / 32] = word;\n"
        found = self._over(i, f"here = {here};\n", name, after).replace(
            "const int32_t neuron", "int here = 0;\n    const int32_t neuron", 1
        )
        body = f"const int32_t source = {p}_list[k];\n{self._dots(o.terms, 'step')}"
        body += f"if (lane == 0) {{\n{indent(self._moved(o))}    {o.into.name}[source] = total;\n}}\n"
        dots = f"for (int k = warp; k < *{p}_sent; k += {self.threads // WARP}) {{\n{indent(body)}}}\n"
        kernel = Writer(self._spelling(), o.kernel, i).text()
        each = self._over(i, f"if ({here}) {{\n{indent(kernel)}}}\n", name)
        listed = self._list(p, i, f"{p}_born[v]", 0)
        return (
            f"{self._birth_losses(o)}{found}__syncthreads();\n{listed}__syncthreads();\n{dots}__syncthreads();\n{each}"
        )

    def _birth_losses(self, o: Birth) -> str:
        """As lambdas: they read what is in shared memory."""
        spelling = self._spelling(inside=False)

        def body(population: int, read: bool) -> str:
            return changed(self.trial.readouts[population], spelling.element, spelling.constants, read=read)

        return birth_losses(
            replace(self.trial, births=(o,)), "const auto", "const Trial *t, int64_t sample", body, " = [&]"
        )

    def _moved(self, o: Birth) -> str:
        """Adds the changes of outer losses by readouts that move to ``total``."""
        text = ""
        for p in {c.target: None for c in (self.plan.connections[k] for k, _ in o.moving)}:
            i, size = next(n for n, q in enumerate(self.plan.populations) if q.name == p), self.plan.population(p).size
            slope, add = self._element(Access(self.trial.buffers[f"p{i}_w_dr"], (sp.Symbol("n"),)), str, False), ""
            for k, row in ((k, row) for k, row in o.moving if self.plan.connections[k].target == p):
                weight = f"t->c{k}_weight[(int64_t)source * {size} + n]"
                arrival = f"step + t->c{k}_delay"
                each = f"if ({slope} != 0) moved[n] += {weight} * {self._row(row, f'({arrival})')} / {slope};\n"
                loop = f"if ({arrival} < t->n_steps)\n    for (int n = 0; n < {size}; ++n) {each}"
                add += loop
            add = f"real moved[{size}] = {{0}};\n{add}total += birth_moved_p{i}(t, sample, moved);\n"
            text += f"{{\n{indent(add)}}}\n"
        return text

    def feed_input(self, o: FeedInput) -> str:
        """Warps share the input spikes of the trial."""
        body = f"const int32_t source = t->channels[e];\nconst int64_t now = t->steps[e];\n{self._dots(o.terms, 'now')}"
        body += f"if (lane == 0) t->{o.into.name}[t->input_start[sample] + e - from] = total;\n"
        return f"for (int64_t e = from + warp; e < to; e += {self.threads // WARP}) {{\n{indent(body)}}}\n"

    # gradients

    def gather(self, o: Gather) -> str:
        """A kernel for each connection, with a block for each source.

        It runs after the trials, over the adjoint rows that they have stored: a block alone writes its weights, so that
        nothing is atomic and no sample has a gradient in memory.
        """
        return self._gather(o) if self._plain(o.connection) else self._gather_synapses(o)

    def gather_delays(self, o: GatherDelays) -> str:
        return self._gather_synapses(o)

    def sums(self) -> list[str]:
        """A kernel for each learned parameter of neurons."""
        of_neurons = [b for b in self.trial.buffers.values() if b.role == "gradient" and b.name.startswith("p")]
        return [self._sum(b) for b in of_neurons]

    def _sum(self, b: Buffer) -> str:
        """Sums over samples; `adding` to the result of the previous group."""
        self.launches.append((f"sum_{b.name}", 1))
        body = (
            f"for (int n = threadIdx.x; n < {b.axes[0]}; n += {self.threads}) {{\n"
            f"    real total = t->adding ? t->{b.name}_sum[n] : (real)0;\n"
            f"    for (int64_t sample = 0; sample < t->batch; ++sample) total += t->{b.name}[sample * {b.axes[0]} + n];\n"
            f"    t->{b.name}_sum[n] = total;\n}}\n"
        )
        return self._kernel(f"sum_{b.name}", body)

    def _gather(self, o: Gather) -> str:
        """Lanes share the targets of a source; spikes of populations are searched 128 steps at a time.

        Each lane looks at the bit of ``source`` in four steps and the warp votes, so that four loads are under way
        before the first is used, and steps without a spike cost no more than that.
        """
        c, i = self.plan.connections[o.connection], o.connection
        self.launches.append((f"gather_c{i}", c.pre))
        row = f"total += t->{o.rows.name}[(sample * t->n_steps + arrival) * {c.post} + n];\n"
        if self._from_input(i):
            each = (
                f"const int64_t *start = {self._spikes_of_source(i)};\n#pragma unroll 4\n"
                f"for (int64_t e = start[0]; e < start[1]; ++e) {{\n    const int64_t arrival = t->by_channel[e] + t->c{i}_delay;\n"
                f"    if (n < {c.post} && arrival < t->n_steps) {row}}}\n"
            )
        else:
            p, words = self._source(i), self._words(self._source(i))
            bits = f"t->p{p}_spikes[(sample * t->n_points + at - t->c{i}_delay) * {words} + source / 32]"
            each = (
                f"for (int64_t base = t->c{i}_delay + 1; base < t->n_steps; base += 128) {{\n    int sent[4];\n"
                "    #pragma unroll\n    for (int k = 0; k < 4; ++k) {\n        const int64_t at = base + 32 * k + lane;\n"
                f"        sent[k] = at < t->n_steps && {bits} >> source % 32 & 1;\n    }}\n"
                "    #pragma unroll\n    for (int k = 0; k < 4; ++k)\n"
                "        for (uint32_t rest = __ballot_sync(EVERY, sent[k]); rest; rest &= rest - 1) {\n"
                f"            const int64_t arrival = base + 32 * k + lowest(rest);\n            if (n < {c.post}) {row}"
                "        }\n}\n"
            )
        place = f"t->c{i}_gradient[(int64_t)source * {c.post} + n]"
        body = f"const int n = first + lane;\nreal total = {self._adding(o)} && n < {c.post} ? {place} : (real)0;\n"
        body += f"for (int64_t sample = 0; sample < t->batch; ++sample) {{\n{indent(each)}}}\n"
        body += f"if (n < {c.post}) {place} = total;\n{self._note(o)}"
        loop = f"for (int first = threadIdx.x - lane; first < {c.post}; first += {self.threads}) {{\n{indent(body)}}}\n"
        loop = f"const int32_t source = blockIdx.x, lane = threadIdx.x % 32;\n{loop}"
        return self._kernel(f"gather_c{i}", loop, f"// {in_comment(f'{c.source} -> {c.target}')}\n")
