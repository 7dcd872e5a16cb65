"""`program.trial` as C99 text; samples run one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template

import sympy as sp

from ...plan import Plan
from ...program.nodes import NEURON, SAMPLE, Access, Buffer, Kernel
from ...program.population import WEIGHT, D
from ...program.trial import (
    Birth,
    Deliver,
    EachNeuron,
    EachStep,
    Feedback,
    FeedInput,
    Gather,
    GatherDelays,
    Once,
    Total,
    Trial,
    make_trial,
)
from ..birth_losses import c_birth_losses
from ..equations import equations
from ..layout import RANGE, Layout
from ..printer import C_REAL
from ..safe_text import in_comment
from ..shared import shared
from ..statements import TYPES, Spelling, Writer, indent
from ..target import Target, compared, finished, step_backwards, step_forwards, write
from ..voltage_losses import losses_of_spikes, voltage_losses

INLINE = "static inline"
TROUBLE = Buffer("trouble", (4,), "long", "stored")


@dataclass(frozen=True)
class Source:
    """Generated code and its calling convention: arrays and numbers in the order in which Python hands them over."""

    text: str
    trial: Trial
    arrays: tuple[Buffer, ...]
    doubles: tuple[Buffer, ...]
    integers: tuple[str, ...]


def generate(plan: Plan, dtype: str, split: bool = False) -> Source:
    """C99 for a plan; dtype "float32" or "float64". split: a call runs one pass of all samples, `training` says which."""
    trial = make_trial(plan, split=split, record=True, evaluates=True)
    real = C_REAL[dtype]
    text = Text(trial)
    body = [text.losses(), text.forward(), text.compare(), text.backward(), text.run()]  # names what it uses
    head = [equations(plan, "/*", " */"), f"typedef {real} real;\n", runtime(), shared("stochastic.h", INLINE)]
    return Source("\n".join([*head, text.struct(), *body]), trial, text.arrays, text.doubles, text.integers)


def runtime() -> str:
    """The text that every C99 file begins with."""
    texts = (skeleton("runtime.h"), *(shared(name, INLINE) for name in ("phi1.h", "functions.h")))
    return "\n".join(texts)


def skeleton(name: str, words: Mapping[str, str] | None = None) -> str:
    """A file in this folder with its ``$WORDS`` replaced; one that stands alone in its line by lines with its indentation."""
    words, lines = words or {}, []
    for line in resources.files(__package__).joinpath(name).read_text().splitlines(keepends=True):
        word = line.strip().removeprefix("$")
        alone = line.strip() == f"${word}" and word in words
        lines.append(indent(words[word], line.index("$") // 4) if alone else Template(line).substitute(words))
    return "".join(lines)


class Text(Layout, Target):
    """The functions of one file.

    Of a spike's synapses ``source`` is the neuron that spiked, ``n`` the target and ``w`` the index of the weight. Spikes go
    in the order of their sources, then the synapses of each in the order of the table: every sum has a fixed order.
    """

    def __init__(self, trial: Trial) -> None:
        super().__init__(trial, [TROUBLE])
        self.places = {p.name: i for i, p in enumerate(self.plan.populations)}
        self.state = tuple(b for b in self.buffers if not b.axes and b.role != "host")
        self.spelling = Spelling(
            self._element,
            self._diverged,
            {"o_infinity": "HUGE_VAL", "o_nan": "(double)NAN", "quantiles": "t->quantiles"},
        )

    # elements and structure

    def _element(self, access: Access, write: Callable[[sp.Expr], str]) -> str:
        return self._in_struct(access.buffer, [write(i) for i in access.index])

    def _of_sample(self, b: Buffer) -> bool:
        return of_sample(b, self.trial.split)

    def _diverged(self, population: int, state: int) -> str:
        return f"return diverged(t, sample, step, {population}, {state}, neuron);"

    # functions

    def forward(self) -> str:
        body = f"{RANGE}(void)to;\n{self._before_steps()}{write(self, self.trial.begin, 'start of')}"
        body += self._steps(step_forwards(self))
        body += write(self, self.trial.end, "end of") + "return 0;\n"
        return skeleton("diverged.h") + f"static int forward(Trial *t, int64_t sample) {{\n{indent(body)}}}\n"

    def losses(self) -> str:
        given = (self.trial, "static", self._element, self.spelling.constants)
        of_spikes = losses_of_spikes(self, "static", self._row)
        return voltage_losses(*given) + c_birth_losses(*given) + of_spikes + self.changes()

    def changes(self) -> str:
        return "".join(map(self._change, self.trial.changes))

    def _change(self, connection: int) -> str:
        """D of an arrival through a connection, evaluated; see `Trial.changes`."""
        arguments = f"const Trial *t, int64_t sample, int64_t step, int32_t neuron, real {WEIGHT}"
        text = (
            f"(void)sample;\n(void)step;\n{Writer(self.spelling, self.trial.changes[connection]).text()}return {D};\n"
        )
        return f"static real change_c{connection}({arguments}) {{\n{indent(text)}}}\n"

    def compare(self) -> str:
        body = f"(void)t;\n(void)sample;\n{compared(self)}"
        return f"static void compare(Trial *t, int64_t sample) {{\n{indent(body)}}}\n"

    def backward(self) -> str:
        body = "int64_t step = t->n_steps;\n(void)sample;\n" + write(self, self.trial.begin_back, "start backwards of")
        body += self._steps_back(step_backwards(self)) + finished(self)
        return f"static void backward(Trial *t, int64_t sample) {{\n{indent(body)}}}\n"

    def run(self) -> str:
        lines = [f"trial.{b.name} = arrays[{i}];" for i, b in enumerate(self.arrays)]
        lines += [f"trial.{b.name} = ({TYPES[b.kind]})numbers[{i}];" for i, b in enumerate(self.doubles)]
        lines += [f"trial.{n} = integers[{i}];" for i, n in enumerate(self.integers)]
        lines += [f"trial.{b.name} = 0;" for b in self.state]

        # the length of a list is known only when it is full: the host then runs the trial again with room for all
        def events(i: int) -> str:
            return self._element(Access(self.trial.buffers[f"p{i}_w_happened"], (NEURON,)), str)

        full = "".join(
            f"for (int32_t neuron = 0; neuron < {p.size}; ++neuron)\n"
            f"    if ({events(i)} > t->p{i}_room) full = needs(t, {i}, {events(i)});\n"
            for i, p in enumerate(self.plan.populations) if p.derived.events
        )  # fmt: skip
        trial = HALF if self.trial.split else WHOLE
        full = f"(void)t;\n(void)sample;\n{full}"
        return skeleton("run.h", {"UNPACK": "\n".join(lines), "TRIAL": trial, "FULL": full})

    # operations

    def comment(self, text: str) -> str:
        return "".join(f"/* {line} */\n" for line in self.lines(text))

    def once(self, o: Once) -> str:
        text = Writer(self.spelling, o.kernel, double=True).text()
        return f"{{\n{indent(text)}}}\n" if len(self.trial.readouts) > 1 else text

    def each_step(self, o: EachStep) -> str:
        body = Writer(self.spelling, o.kernel, double=True).text()
        into = self._element(Access(o.into, (SAMPLE,)), str)
        loop = f"for (int64_t o_row = 0; o_row < t->n_steps; ++o_row) {{\n{indent(body)}}}\n"
        text = f"double t_running = 0;\n{loop}{into} = t_running;\n"
        return f"{{\n{indent(text)}}}\n" if len(self.trial.readouts) > 1 else text

    def total(self, o: Total) -> str:
        count = self._element(Access(o.of, (NEURON,)), str)
        return f"t->{o.into.name} = 0;\nfor (int32_t neuron = 0; neuron < {o.of.axes[0]}; ++neuron) t->{o.into.name} += {count};\n"

    def each_neuron(self, o: EachNeuron) -> str:
        p = self.plan.populations[o.population]
        body = Writer(self.spelling, o.kernel, o.population).text()
        if o.emits:
            row = f"{self._spike_row(o.population, 'step + 1')} + neuron / 32]"
            body += f"if (sent) {row} |= (uint32_t)1 << neuron % 32;\n"
        return (
            f"for (int32_t neuron = 0; neuron < {p.size}; ++neuron) {{ /* {in_comment(p.name)} */\n{indent(body)}}}\n"
        )

    def _each_spike(self, population: int, at: str, body: str) -> str:
        """Code for every neuron ``source`` that spiked at a step."""
        return self._each_set(population, f"{self._spike_row(population, at)} + word]", body)

    def deliver(self, operations: Sequence[Deliver]) -> str:
        return "".join(self._deliver(o) if self._plain(o.connection) else self._deliver_synapses(o) for o in operations)

    def _deliver(self, o: Deliver) -> str:
        c, i = self.plan.connections[o.connection], o.connection
        add = "".join(f"{self._sum(b)} += part_{part}({self._weight(i)});\n" for part, b in o.sums)
        rows = f"const {self._weight_type()} *row = {self._weights(i)} + (int64_t)source * {c.post};\n"
        rows += f"for (int32_t n = 0; n < {c.post}; ++n) {{\n{indent(add)}}}\n"
        if self._from_input(i):
            return self._arrives(i, rows)
        spikes = self._each_spike(self._source(i), f"step - {self._delay(i)}", rows)
        return f"if (step >= {self._delay(i)}) {{\n{indent(spikes)}}}\n"

    # what another file of the same operations (`standalone`) writes otherwise

    def _spike_row(self, population: int, step: str) -> str:
        """A word of the row of spike bits of a step, up to the index within the row."""
        return f"t->p{population}_spikes[(sample * t->n_points + {step}) * {self._words(population)}"

    def _arrives(self, connection: int, rows: str) -> str:
        """Code for every input spike that arrives at ``step``; ``source`` is its channel."""
        following = f"next{connection}"
        head = (
            f"for (; {following} < to && t->steps[{following}] + {self._delay(connection)} == step; ++{following}) {{\n"
        )
        source = self._source_of(connection, f"t->channels[{following}]")
        return head + indent(source + rows) + "}\n"

    def _delay(self, connection: int) -> str:
        return f"t->c{connection}_delay"

    def _sum(self, b: Buffer) -> str:
        return self._element(Access(b, (sp.Symbol("n"),)), str)

    def _weights(self, connection: int) -> str:
        return f"t->c{connection}_weight"

    def _weight_type(self) -> str:
        return "real"

    def _weight(self, connection: int) -> str:
        return "row[n]"

    def _row(self, b: Buffer, step: str) -> str:
        """Pointer to the row of a step; some buffers have only one row, for the current step."""
        if len(b.axes) == 1:
            return f"t->{b.name}"
        at = f"(sample * t->n_steps + {step})" if self.trial.split else step
        return f"t->{b.name} + {at} * {b.axes[1]}"

    def _dots(self, terms: tuple[tuple[int, str, Buffer], ...], now: str) -> str:
        """Computes ``total``, what a spike of ``source`` at `now` caused."""
        body = "real total = 0;\n"
        for connection, part, b in terms:
            c = self.plan.connections[connection]
            if not self._plain(connection):
                body += self._of_input(connection, self._feedback_of_synapses(connection, part, b, now))
                continue
            arrival = f"({now} + t->c{connection}_delay)"
            if part == "loss":
                row = f"t->c{connection}_weight + (int64_t)source * {c.post}"
                call = f"total += arrival_c{connection}(t, sample, {arrival}, {self._row(b, arrival)}, {row});\n"
                body += f"if ({arrival[1:-1]} < t->n_steps) {call}"
                continue
            dot = (
                f"const real *row = t->c{connection}_weight + (int64_t)source * {c.post}, *D = {self._row(b, arrival)};\n"
                f"for (int32_t n = 0; n < {c.post}; ++n) total += part_{part}(row[n]) * D[n];\n"
            )
            if part == "change":
                dot = (
                    f"const real *row = t->c{connection}_weight + (int64_t)source * {c.post};\n"
                    f"for (int32_t n = 0; n < {c.post}; ++n)\n"
                    f"    total += change_c{connection}(t, sample, {arrival}, n, row[n]);\n"
                )
            body += self._of_input(connection, f"if ({arrival[1:-1]} < t->n_steps) {{\n{indent(dot)}}}\n")
        return body

    def feed_input(self, o: FeedInput) -> str:
        body = "const int32_t source = t->channels[i];\nconst int64_t now = t->steps[i];\n" + self._dots(o.terms, "now")
        body += f"t->{o.into.name}[t->input_start[sample] + i - from] = total;\n"
        return f"{RANGE}for (int64_t i = from; i < to; ++i) {{\n{indent(body)}}}\n"

    def feedback(self, operations: Sequence[Feedback]) -> str:
        return "".join(map(self._feedback, operations))

    def _feedback(self, o: Feedback) -> str:
        into = self._element(Access(o.into, (sp.Symbol("source"),)), str)
        body = self._dots(o.terms, "step") + f"{into} = total;\n"
        return f"if (step > 0) {{\n{indent(self._each_spike(o.population, 'step', body))}}}\n"

    def birth(self, o: Birth) -> str:
        body = f"const int32_t source = neuron;\n{self._dots(o.terms, 'step')}{self._moved(o)}"
        body += f"{self._element(Access(o.into, (NEURON,)), str)} = total;\n"
        body += Writer(self.spelling, o.kernel, o.population).text()
        here = Writer(self.spelling, Kernel((), o.kernel.table)).expression(o.here)
        p = self.plan.populations[o.population]
        return (
            f"for (int32_t neuron = 0; neuron < {p.size}; ++neuron) {{\n    if (!{here}) continue;\n{indent(body)}}}\n"
        )

    def _moved(self, o: Birth) -> str:
        """Adds the changes of outer losses by readouts that move to ``total``."""
        text = ""
        for p in {c.target: None for c in (self.plan.connections[k] for k, _ in o.moving)}:
            i, size, add = self.places[p], self.plan.population(p).size, ""
            slope = self._element(Access(self.trial.buffers[f"p{i}_w_dr"], (sp.Symbol("n"),)), str)
            for k, row in ((k, row) for k, row in o.moving if self.plan.connections[k].target == p):
                arrival = f"(step + t->c{k}_delay)"
                each = f"if ({slope} != 0) moved[n] += row[n] * along[n] / {slope};\n"
                loop = (
                    f"const real *row = t->c{k}_weight + (int64_t)source * {size}, *along = {self._row(row, arrival)};\n"
                    f"for (int32_t n = 0; n < {size}; ++n) {each}"
                )
                add += f"if ({arrival[1:-1]} < t->n_steps) {{\n{indent(loop)}}}\n"
            add = f"real moved[{size}] = {{0}};\n{add}total += birth_moved_p{i}(t, sample, moved);\n"
            text += f"{{\n{indent(add)}}}\n"
        return text

    def gather(self, o: Gather) -> str:
        return self._gather(o) if self._plain(o.connection) else self._gather_synapses(o)

    def gather_delays(self, o: GatherDelays) -> str:
        return self._gather_synapses(o)

    def _gather(self, o: Gather) -> str:
        c, i = self.plan.connections[o.connection], o.connection
        add = (
            f"real *gradient = t->c{i}_gradient + (int64_t)source * {c.post};\n"
            f"const real *row = {self._row(o.rows, 'arrival')};\nfor (int32_t n = 0; n < {c.post}; ++n) gradient[n] += row[n];\n"
        )
        if self._from_input(i):
            head = "for (int64_t i = t->offsets[t->samples[sample]]; i < t->offsets[t->samples[sample] + 1]; ++i) {\n"
            # spikes of a sample are sorted by step: behind the first that arrives too late there is no other
            find = f"const int64_t arrival = t->steps[i] + t->c{i}_delay;\nif (arrival >= t->n_steps) break;\n"
            find += self._source_of(i, "t->channels[i]")
            return head + indent(find + add) + "}\n"
        head = f"for (int64_t arrival = t->c{i}_delay; arrival < t->n_steps; ++arrival) {{\n"
        return head + indent(self._each_spike(self._source(i), f"arrival - t->c{i}_delay", add)) + "}\n"

    # connections with a table of synapses or with individual delays

    def _in_time(self, i: int, sent: str, body: str) -> str:
        """Code for every synapse of a spike whose ``arrival`` is within the trial."""
        c = self.plan.connections[i]
        each = f"const int64_t arrival = {sent} + {self._delay_of(i)};\n"
        if c.delays is None:
            return each + f"if (arrival < {self._from_host('n_steps')}) {{\n{indent(self._each_synapse(i, body))}}}\n"
        return self._each_synapse(i, each + f"if (arrival >= {self._from_host('n_steps')}) continue;\n{body}")

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
        if part == "loss":
            return f"total += {self._loss_of_spike(i, now)};\n"
        add = f"total += {self._caused(i, part, b)};\n"
        return f"{{\n{indent(self._in_time(i, now, add))}}}\n"

    def _caused(self, i: int, part: str, b: Buffer) -> str:
        """What the arrival at a single synapse caused."""
        weight = f"t->c{i}_weight[w]"
        if part == "change":
            return f"change_c{i}(t, sample, arrival, n, {weight})"
        if part == "loss":
            return f"synapse_c{i}(t, sample, arrival, n, {self._row(b, 'arrival')}, {weight})"
        return f"part_{part}({weight}) * ({self._row(b, 'arrival')})[n]"

    def _loss_of_spike(self, i: int, sent: str) -> str:
        """What the arrivals of a spike did to a loss of V, the synapses of one time together."""
        return f"spike_c{i}(t, sample, {sent}, source)"

    def _gather_synapses(self, o: Gather | GatherDelays) -> str:
        i = o.connection
        if isinstance(o, Gather):
            add = f"t->c{i}_gradient[w] += ({self._row(o.rows, 'arrival')})[n];\n"
        else:
            # V of all targets moves at once where they share the delay
            shared = self.plan.connections[i].delays.kind == "axonal"  # type: ignore[union-attr]
            terms = [self._caused(i, part, b) for part, b in o.terms if not (part == "loss" and shared)]
            add = f"t->c{i}_delay_gradient[{self._place_of_delay(i)}] += {' + '.join(terms)};\n"
        rows = self._in_time(i, "sent", add)
        if isinstance(o, GatherDelays) and shared and any(part == "loss" for part, _ in o.terms):
            rows += f"t->c{i}_delay_gradient[source] += {self._loss_of_spike(i, 'sent')};\n"
        if self._from_input(i):
            head = "for (int64_t i = t->offsets[t->samples[sample]]; i < t->offsets[t->samples[sample] + 1]; ++i) {\n"
            return (
                head
                + indent(f"const int64_t sent = t->steps[i];\n{self._source_of(i, 't->channels[i]')}{rows}")
                + "}\n"
            )
        spikes = self._each_spike(self._source(i), "sent", rows)
        return f"for (int64_t sent = 0; sent < t->n_steps; ++sent) {{\n{indent(spikes)}}}\n"


WHOLE = """\
const int population = forward(t, sample);
if (population) return population;
if (full(t, sample)) return full(t, sample);
compare(t, sample);
if (t->training) backward(t, sample);
"""
HALF = """\
if (t->training) {
    compare(t, sample);
    backward(t, sample);
    return 0;
}
const int population = forward(t, sample);
if (population) return population;
if (full(t, sample)) return full(t, sample);
"""


def of_sample(b: Buffer, split: bool) -> bool:
    """Whether a buffer has a part for every sample: results, and what one call keeps for the next."""
    return "batch" not in b.axes and (b.role == "result" or (split and b.role in ("state", "stored") and b != TROUBLE))
