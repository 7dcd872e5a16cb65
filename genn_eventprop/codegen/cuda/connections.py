"""Operations between neurons as CUDA text, in the kernel of a trial.

Every sum has a fixed order: a neuron adds its arrivals in the order of their sources, and a warp computes a dot product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import sympy as sp

from ...program.lower import SOURCE, TOTAL, Body
from ...program.nodes import NEURON, Access, Block, Buffer, Code, Kernel, Range
from ...program.operations import EVALUATED
from ...program.trial import Birth, Deliver, Feedback, FeedInput
from ..layout import Layout
from ..statements import Spelling, Writer, indent
from .gathers import FLIGHT, WARP
from .synapses import Synapses

NEW = chr(10)
Terms = tuple[tuple[int, str, Buffer], ...]


class _Rows:
    """The loop over the spikes of a list or a window: their rows of weights are added to the sums of their targets.

    Args:
        users: connections from these spikes. count: how many spikes, and source: of spike ``at``, as text.
    """

    def __init__(self, ops: ConnectionOps, users: Sequence[Deliver], count: str, source: str) -> None:
        self._ops, self._users, self._count, self._source = ops, users, count, source
        self._targets = [ops.plan.numbers[ops.plan.connections[o.connection].target] for o in users]
        self._slots = [ops._slots(t) for t in self._targets]
        # rows together: FLIGHT numbers of a thread, which has one of each row for every neuron of its own
        self._flight = max(FLIGHT // max(self._slots), 1)

    @property
    def wide(self) -> bool:
        """Whether one row takes the registers of all that are to be in flight, so that no second one fits beside it."""
        return max(self._slots) >= FLIGHT

    @property
    def registers(self) -> str:
        """Of the rows that are on their way."""
        return "".join(f"real c{o.connection}_rows[{self._flight * n}];\n" for o, n in zip(self._users, self._slots))

    def ask(self, start: str) -> str:
        """Loads the rows of spikes `start` ... without waiting for them."""
        at = "j" if start == "0" else f"{start} + j"
        text = f"const int at = {at};\nconst int32_t source = {self._source};\n"
        for o, target, slots in zip(self._users, self._targets, self._slots):
            c, i = self._ops.plan.connections[o.connection], o.connection
            there = f"at < {self._count}" + (f" && source >= 0 && source < {c.pre}" if c.channels else "")
            weight = self._ops.loops.stored_weight(i, f"(int64_t)source * {c.post} + neuron")
            load = f"c{i}_rows[j * {slots} + i] = {there} ? {weight} : (real)0;\n"
            text += self._ops._over(target, load, f"{c.source} -> {c.target}")
        return f"#pragma unroll\nfor (int j = 0; j < {self._flight}; ++j) {{\n{indent(text)}}}\n"

    def add(self) -> str:
        """Every thread adds what it has asked for to its neurons."""
        text = ""
        for o, target, slots in zip(self._users, self._targets, self._slots):
            add = f"const real w = c{o.connection}_rows[j * {slots} + i];\n"
            for part, b in o.sums:
                add += f"{self._ops._element(Access(b, (NEURON,)), str)} += part_{part}(w);\n"
            c = self._ops.plan.connections[o.connection]
            text += self._ops._over(target, add, f"{c.source} -> {c.target}")
        return f"#pragma unroll\nfor (int j = 0; j < {self._flight}; ++j) {{\n{indent(text)}}}\n"

    def loop(self, start: str = "") -> str:
        """Those from `start` on; without it those behind the first ones."""
        body = indent(self.ask("k") + self.add())
        return f"for (int k = {start or self._flight}; k < {self._count}; k += {self._flight}) {{\n{body}}}\n"


class ConnectionOps(Layout):
    """What connections do, as text; in the kernel of a trial.

    Forwards the spikes of a step are first turned from bits into a list, so that all threads run the same loop over
    spikes and each adds to its neurons: weights of a row are read side by side, and every sum has the order of sources.
    Through a table a thread writes to neurons of other threads: there is a barrier between spikes. Spikes of one pixel
    have the same windows, in which a target always has the same thread: no barrier between these.
    Backwards a warp takes a spike and its lanes the targets, since one number of the spike is asked for.

    A step is a chain of loads that wait for memory, some 300 cycles each. So rows are loaded `FLIGHT` at a time, with
    zeros for those that are missing: a branch around a load would make the next one wait.
    """

    loops: Synapses
    threads: int
    first: str  # step of those that a call runs, and the one behind them
    last: str

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
        return self.plan.connections[connection].delay > 0 and not self._from_input(connection)

    def _list_of(self, connection: int) -> str:
        """The name of the list of the neurons whose spikes arrive now."""
        return f"c{connection}" if self._late(connection) else f"p{self._source(connection)}"

    def _list(self, name: str, population: int, bits: str, number: int, before: str = "") -> str:
        """Turns a row of bits into a list; `bits` is its word ``v``, the k-th of a lane. Each list is made by another warp.

        before: statements that the word needs.
        """
        words = self._words(population)
        word = (
            f"[&](const int v, [[maybe_unused]] const int k) -> uint32_t {{\n{indent(f'{before}return {bits};{NEW}')}}}"
        )
        call = f"list_bits<{words}>({name}_list, {name}_sent, {word})"
        return f"if (warp == {number % (self.threads // WARP)}) {call};\n"

    def _bits(self, connection: int) -> str:
        """Word ``v`` of the row of bits of the spikes that arrive now: those of this step, or of an earlier one.

        Those of this step are in shared memory, in two rows: the next step is written while this one is still read.
        """
        i, words = self._source(connection), self._words(self._source(connection))
        if self.plan.connections[connection].delay > 0:
            return self._row_of_bits(i, f"step - t->c{connection}_delay")
        return f"p{i}_now[step % 2 * {words} + v]"

    def deliver(self, operations: Sequence[Deliver]) -> str:
        """Arrivals of a step. The first rows of the input are asked for before the lists of spikes are made, and used when
        those of the first list are on their way as well, unless these are wide; connections with the same list share one
        loop."""
        inputs = [o for o in operations if self._plain(o.connection) and self._from_input(o.connection)]
        lists, rows = dict[str, str](), dict[str, list[Deliver]]()
        for o in operations:
            i = o.connection
            if self._from_input(i):
                continue
            name, bits = self._list_of(i), self._bits(i)
            if name not in lists:
                there = f"v < {self._words(self._source(i))}" + (f" && step > t->c{i}_delay" if self._late(i) else "")
                lists[name] = self._list(name, self._source(i), f"{there} ? {bits} : 0u", len(lists))
            if self._plain(i):
                rows.setdefault(name, []).append(o)
        loops = [
            _Rows(self, users, f"{name}_count", f"at < {name}_count ? {name}_list[at] : 0")
            for name, users in rows.items()
        ]
        of_input = [_Rows(self, [o], f"input{o.connection}.count", self._channel(o.connection)) for o in inputs]
        text = "".join(self._find(o.connection) + r.registers + r.ask("0") for o, r in zip(inputs, of_input))
        text += "".join(lists.values()) + ("__syncthreads();\n" if lists else "")
        text += "".join(f"const int {name}_count = *{name}_sent;\n" for name in lists)
        ahead = loops[:1] if loops and not loops[0].wide else []
        text += "".join(r.registers for r in loops) + "".join(r.ask("0") for r in ahead)
        for o, r in zip(inputs, of_input):
            text += f"{r.add()}{r.loop()}{self._windows_after(o.connection, r.loop('0'))}"
        text += "".join(r.add() + r.loop() for r in ahead) + "".join(r.loop("0") for r in loops[len(ahead) :])
        return text + "".join(self._through_synapses(o) for o in operations if not self._plain(o.connection))

    def _through_synapses(self, o: Deliver) -> str:
        """Arrivals through a table, through windows or with individual delays, spike by spike."""
        i, c, after = o.connection, self.plan.connections[o.connection], ""
        barrier = "__syncthreads();\n" if c.form != "dense" else ""  # dense: a thread writes only to its neurons
        rows, before = self.loops.text(self.loops.at_spike(o), "threadIdx.x", self.threads), barrier
        if c.windows is None:
            rows += barrier
        else:
            # the barrier comes when the pixel changes: threads may then write to targets of others
            pixel, before, after = f"source / {c.windows.source[2]}", f"{barrier}int32_t seen{i} = -1;\n", barrier
            rows = f"if (seen{i} >= 0 && seen{i} != {pixel}) __syncthreads();\nseen{i} = {pixel};\n{rows}"
        if self._from_input(i):
            skip = f"if (source < 0 || source >= {c.pre}) continue;\n" if c.channels else ""
            body = f"const int64_t source = {self._channel(i)};\n{skip}{rows}"
            loop = f"for (int at = 0; at < input{i}.count; ++at) {{\n{indent(body)}}}\n"
            text = f"{self._find(i)}{loop}{self._windows_after(i, loop)}"
        else:
            name = self._list_of(i)
            body = f"const int64_t source = {name}_list[k];\n{rows}"
            text = f"for (int k = 0; k < {name}_count; ++k) {{\n{indent(body)}}}\n"
        for take in self.loops.from_ring(o):  # what arrives now: each thread for its own neurons
            assert isinstance(take, Range)
            spelling = replace(self._spelling(), buffers=self.loops.buffers)
            body = Writer(spelling, Kernel((), {})).block(take.body)
            after += self._over(self.plan.numbers[c.target], body, f"{c.source} -> {c.target}")
        return before + text + after

    # the next spikes of an input, see `InputWindow`

    def _before_steps(self) -> str:
        """The windows of every input."""
        inputs = (f"input{i}" for i in range(len(self.plan.connections)) if self._from_input(i))
        windows = "".join(f"InputWindow {window};\n{window}.begin(t, from, to);\n" for window in inputs)
        return f"{windows}int64_t step = {self.first};\n"

    def _find(self, i: int) -> str:
        """Finds the spikes of the window that arrive now."""
        return f"input{i}.find(step - t->c{i}_delay);\n"

    def _windows_after(self, i: int, loop: str) -> str:
        """A loop over the spikes of a window for those after it, as long as they have some that arrive now."""
        return f"while (input{i}.goes_on()) {{\n{indent(f'input{i}.advance(t, to);{NEW}{self._find(i)}{loop}')}}}\n"

    def _channel(self, i: int) -> str:
        """The source of a spike of the window."""
        channels = self.plan.connections[i].channels
        return f"input{i}.source(at)" + (f" - {channels[0]}" if channels else "")

    def _row(self, b: Buffer, step: str, n: str = "n") -> str:
        """Element n of the row of a step."""
        if len(b.axes) == 2:
            return f"t->{b.name}[({self._row_at(step)}) * {b.axes[1]} + {n}]"
        return f"{b.name}[{n}]"

    def _row_at(self, step: str) -> str:
        """Which row is that of a step."""
        return f"sample * t->n_steps + {step}"

    def _dots(self, terms: Terms) -> str:
        """Computes ``total`` in lane 0: what a spike of ``source`` at ``now`` caused; the lanes share its targets."""
        ask, text = "", ""
        for i, part, b in terms:
            c, product = self.plan.connections[i], self._plain(i) and part not in EVALUATED
            arrival = f"now + t->c{i}_delay"
            if product and c.post <= WARP and c.channels is None:  # asked for before the sums over longer rows
                here = f"const int here{i} = {'lane' if c.post == WARP else f'lane < {c.post} ? lane : 0'};\n"
                first = self.loops.stored_weight(i, f"source * {c.post} + here{i}")
                ask += "" if here in ask else f"{here}const real w{i} = {first};\n"
                there = f"{arrival} < t->n_steps" + ("" if c.post == WARP else f" && lane < {c.post}")
                short = self._row(b, f"({arrival})", f"here{i}")
                text += f"if ({there}) total += part_{part}(w{i}) * {short};\n"
                continue
            if product:
                weight, row = self.loops.stored_weight(i, f"source * {c.post} + n"), self._row(b, f"({arrival})")
                loop = f"for (int n = lane; n < {c.post}; n += {WARP}) total += part_{part}({weight}) * {row};\n"
                dot = f"if ({arrival} < t->n_steps) {{\n    #pragma unroll {FLIGHT}\n    {loop}}}\n"
                caused: Body = [Code(dot, (SOURCE,), ())]
            elif part == "loss":  # of all synapses of one time together
                caused = [Code(f"if (lane == 0) total += spike_c{i}(t, sample, now, source);\n", (SOURCE,), ())]
            else:
                caused = self.loops.in_time(i, self.loops.caused(i, part, b, TOTAL))
            text += self.loops.text([Block(self.loops.of_any_channel(i, caused))], "lane", WARP)
        return f"{ask}real total = 0;\n{text}total = warp_sum(total);\n"

    def feedback(self, operations: Sequence[Feedback]) -> str:
        """All lists first, each made by another warp, so that one barrier is enough for them."""
        lists = "".join(self._list_sent(o, i) for i, o in enumerate(operations))
        return f"{lists}__syncthreads();\n{''.join(map(self._feedback, operations))}"

    def _list_sent(self, o: Feedback, number: int) -> str:
        """Makes the list of spikes of a step, which `_feedback` reads after a barrier; the row of bits was asked for a
        step ago."""
        p, words = f"p{o.population}", self._words(o.population)
        following = f"v < {words} && step - 1 > {self.first} ? {self._row_of_bits(o.population, 'step - 1')} : 0u"
        ahead = f"const uint32_t ahead = {p}_bits[k];\n{p}_bits[k] = {following};\n"
        return self._list(p, o.population, "ahead", number, ahead)

    def _row_of_bits(self, population: int, step: str, word: str = "v") -> str:
        """A word of the spikes of a step in global memory, where every step has a row."""
        return f"t->p{population}_spikes[({self._bits_at(step)}) * {self._words(population)} + {word}]"

    def _bits_at(self, step: str) -> str:
        """Which row of bits is that of a step."""
        return f"sample * t->n_points + {step}"

    def before_steps_back(self) -> str:
        """The bits of the last step, in registers: `_list_sent` asks for those of the step before when it uses these."""
        text = ""
        for o in self.trial.feedback:
            words = self._words(o.population)
            value = self._row_of_bits(o.population, self.last)
            text += f"uint32_t p{o.population}_bits[{-(-words // WARP)}];\n#pragma unroll\n"
            body = f"const int v = 32 * k + lane;\np{o.population}_bits[k] = v < {words} ? {value} : 0u;\n"
            text += f"for (int k = 0; k < {-(-words // WARP)}; ++k) {{\n{indent(body)}}}\n"
        return text

    def _spike(self, population: str) -> str:
        return f"const int64_t source = {population}_list[k], now = step;\n"

    def _feedback(self, o: Feedback) -> str:
        """Warps share the spikes of the step; there are none at step 0."""
        p = f"p{o.population}"
        body = f"{self._spike(p)}{self._dots(o.terms)}"
        body += f"if (lane == 0) {o.into.name}[source] = total;\n"
        return f"for (int k = warp; k < *{p}_sent; k += {self.threads // WARP}) {{\n{indent(body)}}}\n"

    def birth(self, o: Birth) -> str:
        """Neurons whose spike could have been born (``here``) become bits, then a list, as spikes do; warps share the list
        for what each spike would change, and the kernel of the neurons that are in it uses these sums."""
        i, words = o.population, self._words(o.population)
        p, here = f"p{i}", Writer(self._spelling(), Kernel((), o.kernel.table)).expression(o.here)
        name = self.plan.populations[i].name
        after = "const uint32_t word = __ballot_sync(EVERY, here);\n"
        after += f"if (lane == 0 && neuron / 32 < {words}) {p}_born[neuron / 32] = word;\n"
        candidates = self._over(i, f"here = {here};\n", name, after, declare="int here = 0;\n")
        body = f"{self._spike(p)}{self._dots(o.terms)}"
        body += f"if (lane == 0) {{\n{indent(self.loops.alone(self.loops.moved(o)))}    {o.into.name}[source] = total;\n}}\n"
        dots = f"for (int k = warp; k < *{p}_sent; k += {self.threads // WARP}) {{\n{indent(body)}}}\n"
        kernel = Writer(self._spelling(), self.loops.whole(o.kernel), i).text()
        each = self._over(i, f"if ({here}) {{\n{indent(kernel)}}}\n", name)
        listed = self._list(p, i, f"v < {words} ? {p}_born[v] : 0u", 0)
        return f"{candidates}__syncthreads();\n{listed}__syncthreads();\n{dots}__syncthreads();\n{each}"

    def feed_input(self, o: FeedInput) -> str:
        """Warps share the input spikes of the trial; `input_start` says where those of a sample stand in the results."""
        body = f"const int64_t source = t->channels[e], now = t->steps[e];\n{self._dots(o.terms)}"
        body += f"if (lane == 0) t->{o.into.name}[t->input_start[sample] + e - from] = total;\n"
        return f"for (int64_t e = from + warp; e < to; e += {self.threads // WARP}) {{\n{indent(body)}}}\n"
