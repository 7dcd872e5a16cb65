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
from ..safe_text import in_comment
from ..statements import Spelling, Writer, indent
from .gathers import FLIGHT, WARP
from .synapses import Synapses

NEW = chr(10)
Terms = tuple[tuple[int, str, Buffer], ...]


class ConnectionOps(Layout):
    """What connections do, as text; in the kernel of a trial.

    Forwards the spikes of a step are first turned from bits into a list, so that all threads run the same loop over
    spikes and each adds to its neurons: weights of a row are read side by side, and every sum has the order of sources.
    Through a table a thread writes to neurons of other threads: there is a barrier between spikes. Spikes of one pixel
    have the same windows, in which a target always has the same thread: no barrier between these.
    Backwards a warp takes a spike and its lanes the targets, since one number of the spike is asked for.
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
        those of the first list are on their way as well, unless one row of these takes the registers of all that are to be
        in flight; connections with the same list share one loop."""
        inputs = [o for o in operations if self._plain(o.connection) and self._from_input(o.connection)]
        lists, users = dict[str, str](), dict[str, list[Deliver]]()
        for o in operations:
            i = o.connection
            if self._from_input(i):
                continue
            name, bits = self._list_of(i), self._bits(i)
            if name not in lists:
                there = f"v < {self._words(self._source(i))}" + (f" && step > t->c{i}_delay" if self._late(i) else "")
                lists[name] = self._list(name, self._source(i), f"{there} ? {bits} : 0u", len(lists))
            if self._plain(i):
                users.setdefault(name, []).append(o)
        text = ""
        for o in inputs:
            window = f"input{o.connection}"
            text += f"{window}.find({self._sent(o.connection)});\n{self._rows([o])}"
            text += f"ask_first({window}, {_names([o])});\n"
        text += "".join(lists.values()) + ("__syncthreads();\n" if lists else "")
        text += "".join(f"const int {name}_count = *{name}_sent;\n" for name in lists)
        for name, those in users.items():
            neuron = f"k < {name}_count ? {name}_list[k] : 0"
            text += f"{self._rows(those)}const auto of_{name} = [&](int k) -> int32_t {{ return {neuron}; }};\n"
        calls = {name: f"{name}_count, of_{name}, {_names(those)}" for name, those in users.items()}
        ahead = [name for name in [*users][:1] if max(map(self._slots_of, users[name])) < FLIGHT]
        text += "".join(f"ask(0, {calls[name]});\n" for name in ahead)
        for o in inputs:
            i = o.connection
            text += f"add_arrivals(input{i}, t, to, {self._sent(i)}, {_names([o])});\n"
        for name, call in calls.items():
            first = 0
            if name in ahead:
                text, first = f"{text}add({_names(users[name])});\n", self._together(users[name])
            text += f"add_from({first}, {call});\n"
        return text + "".join(self._through_synapses(o) for o in operations if not self._plain(o.connection))

    def _slots_of(self, o: Deliver) -> int:
        return self._slots(self.plan.numbers[self.plan.connections[o.connection].target])

    def _together(self, operations: Sequence[Deliver]) -> int:
        """How many rows connections ask for at once: `FLIGHT` numbers of a thread, which has one of each row for every neuron
        of its own."""
        return max(FLIGHT // max(map(self._slots_of, operations)), 1)

    def _rows(self, operations: Sequence[Deliver]) -> str:
        """Declares the rows of connections with the same spikes, see `Rows` in grid.cuh."""
        text, together = "", self._together(operations)
        for o in operations:
            i, c = o.connection, self.plan.connections[o.connection]
            first, pre = (c.channels[0], c.pre) if c.channels else (0, 0)
            weight = self.loops.stored_weight(i, f"source * {c.post} + neuron")
            sums = ((part, self._element(Access(b, (NEURON,)), str)) for part, b in o.sums)
            add = " ".join(f"{element} += part_{part}(w);" for part, element in sums)
            text += f"""\
auto c{i}_rows = rows<{c.post}, {together}, {first}, {pre}>(  // {in_comment(f"{c.source} -> {c.target}")}
    [&](int64_t source, int32_t neuron) -> real {{ return {weight}; }},
    [&]([[maybe_unused]] int32_t neuron, [[maybe_unused]] int i, real w) {{ {add} }});
"""
        return text

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
            first = f" - {c.channels[0]}" if c.channels else ""
            skip = f"if (source < 0 || source >= {c.pre}) return;\n" if c.channels else ""
            body = f"const int64_t source = channel{first};\n{skip}{rows}"
            text = f"each_arrival(input{i}, t, to, {self._sent(i)}, [&](int32_t channel) {{\n{indent(body)}}});\n"
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

    def _sent(self, i: int) -> str:
        """The step at which input spikes were sent that arrive now."""
        return f"step - t->c{i}_delay"

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


def _names(operations: Sequence[Deliver]) -> str:
    """Of the rows of connections."""
    return ", ".join(f"c{o.connection}_rows" for o in operations)
