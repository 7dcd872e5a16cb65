"""The neurons of one population in exact time, as CUDA text: their tables, and what is computed from these in a thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import sympy as sp

from ...plan.series import MODES, varies
from ...program.events import OBSERVED
from ...program.nodes import Statement
from ...program.scope import Scope
from ..cpp import padded
from ..exact_statements import comes_late, reset
from ..statements import indent
from .blocks import each_neuron

SHARED = "shared"
"""Role of a buffer in shared memory that statements of `program` name."""
Said = Callable[[Scope, Iterable[Statement], dict[sp.Symbol, str]], str]


class Neurons:
    """Names, sizes and pieces of text.

    Tables follow from parameters: one for all neurons, whose numbers at an arrival the block then shares, or one each (S).
    After a spike a neuron may be in its refractory period, with P and c of its own; all arrivals reach it there, too.

    Args:
        threads: of a block. split: the two passes are two kernels. said: statements as text, with elements where they are.
    """

    def __init__(self, scope: Scope, threads: int, split: bool, said: Said) -> None:
        p = scope.p
        self.scope, self.threads, self.split, self._said = scope, threads, split, said
        self.p, self.i, self.plan, self.n = p, scope.index, scope.plan, len(p.derived.states)
        self.name, self.N = scope.prefix.removesuffix("_"), p.size
        # padded as `native` has them: both engines take the same arrays from `plan/series.py`
        self.S, self.own = (padded(p.size), "neuron") if varies(p) else (1, "0")
        self.modes = MODES[: len(p.derived.modes)]
        self.dynamic = [n for n in p.trainable if n in p.derived.dynamic_params]
        self.into = [(k, c) for k, c in enumerate(self.plan.connections) if c.target == p.name]

    @property
    def front(self) -> int:
        """Where the numbers of an arrival for neurons in a refractory period begin, forwards."""
        return 2 * self.n + 2

    @property
    def back(self) -> int:
        """The same backwards: behind P(-s) e, P(-s) (-A e), their derivatives and what a series of an integral adds."""
        return (2 + len(self.dynamic)) * self.n + 2

    @property
    def width(self) -> int:
        """Numbers of an arrival that all neurons share; where neurons differ there are none, but an array needs a length."""
        return len(self.modes) * self.back if self.S == 1 else 1

    @property
    def event_fields(self) -> dict[str, str]:
        """What is kept of an own spike, and of the end of the period behind it, with its kind; x: n numbers."""
        fields = {"s": "double", "time": "double", "rate": "double", "step": "int", "handled": "int", "x": "double"}
        if len(self.modes) > 1:
            fields |= {"end_s": "double", "end_step": "int", "end_handled": "int", "end_x": "double"}
        return fields | {"by": "real"}

    def tables(self, more: Mapping[str, str]) -> str:
        """What `Neuron` (codegen/neuron.h) and the functions of exact.cuh read, as a struct; more: further arrays, by their names there."""
        x, n, L = f"x_{self.name}", self.name, self.dynamic

        def by_number(argument: str, choices: Sequence[object]) -> str:
            *first, last = choices
            return "".join(f"{argument} == {i} ? {choice} : " for i, choice in enumerate(first)) + str(last)

        def table(name: str, which: Sequence[str] = ()) -> str:
            """A function from a mode, and a number of `which`, to a table."""
            every = [f"({by_number('mode', [f't->{x}{m}_{name}{w}' for m in self.modes])})" for w in which or [""]]
            of = ", [[maybe_unused]] int of" if which else ""
            head = f"__device__ auto {name}([[maybe_unused]] int mode{of})"
            return f"{head} const {{ return {by_number('of', every)}; }}\n"

        arrays = {a: f"{x}_{a}" for a in ("dg", "curve", "rho")}
        if self.p.spiking:
            arrays |= {field: f"{n}_e_{field}" for field in self.event_fields}
            arrays |= {field: f"{n}_{field}" for field in ("unsorted", "sent_index", "sent_time")}
            arrays["guarded"] = f"{n}_w_guarded"
        if self.p.observed:
            arrays["observed_times"] = f"{n}_{OBSERVED}"
        arrays |= more
        fields = "".join(f"decltype(Trial::{source}) {a} = t->{source};\n" for a, source in arrays.items())
        functions = table("spike") + table("A").replace("auto A(", "auto rates(")
        receptors = [f"_{r}" for r in self.p.derived.receptors]
        functions += "".join(table(name, receptors) for name in ("arrive", "back") if receptors)
        if L:
            functions += "".join(table(name, [f"_{q}" for q in L]) for name in ("dspike", "dstep"))
            places = by_number("r", [self.p.trainable.index(q) for q in L])
            functions += f"__device__ static int place([[maybe_unused]] int r) {{ return {places}; }}  // among all learned ones\n"
        if self.p.observed:
            fields += f"int64_t most = t->{n}_most;\n"
        if self.p.spiking:
            fields += f"int64_t room = t->{n}_room, events = sample * {self.N} * room;\n"
            functions += f"__device__ int64_t neuron(int k) const {{ return sample * {self.N} + k; }}\n"
            functions += (
                f"__device__ int64_t at(int k, int of) const {{ return events + (int64_t)k * {self.N} + of; }}\n"
            )
        constants = f"n = {self.n}, S = {self.S}, modes = {len(self.modes)}, dynamic = {len(L)}, spiking = {int(self.p.spiking)}, observed = {int(self.p.observed)}, late = {int(comes_late(self.p))}"
        body = f"static constexpr int {constants};\nconst Trial *t;\ndouble together;\nint64_t sample;\nint degree = (int)t->degree_{n};\n{fields}{functions}"
        return f"struct Tables_{n} {{\n{indent(body)}}};\n"

    def cell(self, neuron: str = "neuron") -> str:
        """Declares ``cell``, a neuron with its tables."""
        return f"const Neuron<Tables_{self.name}> cell{{{self.name}_tables, {neuron}}};\n"

    @property
    def mode(self) -> str:
        """The mode of a neuron."""
        return f"{self.name}[i].mode" if len(self.modes) > 1 else "0"

    @property
    def learn(self) -> str:
        """A function that adds to the gradient of a learned parameter of the dynamics."""
        if not self.dynamic:
            return "[](int, double) {}"
        return f"[&](int r, double by) {{ {self.name}_sum[i][Tables_{self.name}::place(r)] += by; }}"

    def over(self, body: str, comment: str = "") -> str:
        """Code for every neuron, number `i` of those of the thread."""
        cell = self.cell() if "cell." in body or "(cell" in body else ""
        return each_neuron(self.N, self.threads, cell + body, comment)

    @property
    def slots(self) -> int:
        return -(-self.N // self.threads)

    def said(self, body: Iterable[Statement], places: dict[sp.Symbol, str]) -> str:
        return self._said(self.scope, body, places)

    def event(self, field: str, index: str = "event") -> str:
        return f"t->{self.name}_e_{field}[{self.name}_events + {index}]"

    def receptor(self, connection: str) -> str:
        """The number of the receptor of a connection."""
        numbers = {k: list(self.p.derived.receptors).index(c.receptor) for k, c in self.into}
        if len(set(numbers.values())) < 2:  # no branch: the usual network has one
            return str(next(iter(numbers.values()), 0))
        *first, last = numbers
        return f"({''.join(f'{connection} == {k} ? {numbers[k]} : ' for k in first)}{numbers[last]})"

    def synapse(self, k: int, route: str) -> str:
        """Number of the synapse of a route at ``neuron``, -1 if it has none."""
        return f"synapse_at(t->c{k}_first, t->c{k}_target, {route}, neuron)"

    def weight_of(self, connection: str, source: str) -> str:
        """The weight of an arrival at ``neuron``."""
        text = ""
        for k, c in self.into:
            w = f"t->c{k}_weight[(int64_t){source} * {self.N} + neuron]"
            if not c.by_rows:
                w = f"weight_at({self.synapse(k, source)}, t->c{k}_place, t->c{k}_weight)"
            text = w if not text else f"{connection} == {k} ? {w} : {text}"
        return text

    def sum_of(self, q: str) -> str:
        """The gradient of a learned parameter."""
        return f"{self.name}_sum[i][{self.p.trainable.index(q)}]"

    def reset(self, given: str = "") -> str:
        """Declares ``reset``, from the state before a spike to that behind it; given: what stands before its arguments."""
        made = reset(self.scope) if self.p.derived.events else {}
        places = {x: f"before[{k}]" for k, x in enumerate(self.scope.x)}
        body = self.said(made.values(), places | {x: f"after[{k}]" for k, x in enumerate(made)})
        arguments = f"{given}[[maybe_unused]] const double *before, [[maybe_unused]] double *after"
        return f"const auto reset = [&]({arguments}) {{\n{indent(body)}}};\n"
