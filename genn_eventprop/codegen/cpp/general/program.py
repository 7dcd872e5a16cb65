"""What `program` says of a trial of general populations, as C++, and the struct of each model: see `pieces.hpp`.

Readouts, outer losses, regularisers, jumps and resets are those of `exact.program`; what is added is what a flow without closed form
needs: Taylor series, right sides, thresholds and slopes as functions of the state.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from ....modelling.expressions import symbol
from ....plan import PopulationRecord
from ....plan.closed_form import moves_threshold
from ....program.nodes import Add, Buffer, name
from ...exact_statements import comes_late
from ...statements import constants, indent, value_of
from ..context import Context, padded
from ..exact.arguments import given_to_all, integers, learned_dynamics
from ..exact.models import UNUSED
from ..exact.program import ExactProgram, chosen, function
from ..exact.readings import reads
from . import series


class GeneralProgram(ExactProgram):
    """The statements of a plan's trial, and of the models of its populations."""

    def _host_buffers(self, names: Context) -> list[Buffer]:
        found = [*given_to_all(names, []), Buffer("tolerance", (), "double", "host")]
        for i, p in enumerate(names.plan.populations):
            each, changes = names.drives(p), f"p{i}_changes"
            found += [Buffer(f"p{i}_change_times", (changes,), "double", "host")] if each else []
            found += [Buffer(f"p{i}_{n}", ("batch", changes, padded(p.size)), "real", "host") for n in each]
        return found

    def _integers(self, names: Context) -> list[str]:
        changes = [f"p{i}_changes" for i, p in enumerate(names.plan.populations) if p.drives]
        return [*(n for n in integers(names) if n != "exact_steps" and not n.startswith("degree_")), "order", *changes]

    bind = ""

    def flow(self, p: PopulationRecord) -> str:
        return f"Pieces<Model_{self.names.p(p.name)}, {p.size}>"

    def recorders(self) -> list[str]:
        return []

    # models

    def models(self) -> str:
        """A struct for each population."""
        return UNUSED + "\n".join(self._model(p) for p in self.plan.populations)

    def _model(self, p: PopulationRecord) -> str:
        """What `Pieces` (pieces.hpp) knows of a population: its numbers and flags, then functions of its state."""
        read = next((r.readout.v for r in reads(self.readers, p)), -1)  # the state that readers read between events
        d, s = p.derived, self.scopes[p.name]
        n, learned = len(d.states), learned_dynamics(p)
        place = [p.trainable.index(q) for q in learned] or [0]
        flags = {
            "n": n, "events": len(d.events), "modes": len(d.modes), "numbers": max(len(d.params), 1),
            "number": s.index, "observed_event": next((i for i, e in enumerate(d.events) if e.emits and p.observed), -1),
            "learned": len(p.trainable), "dynamic": len(learned), "pushed": self.pushed(p), "read": max(read, 0),
            "kinks": len(series.kinks_of(d).arguments),
            "most_exponents": max(len(series.exponents(d, m)) for m in d.modes),
        }  # fmt: skip
        amounts = any(d.receptors[r].has(q) for r in d.receptors for q in self._learned_symbols(p))
        any_moved = any(moves_threshold(d, r) for r in d.receptors)
        parts = [
            constants("int", flags), constants("int", {"place[]": place}, "of learned parameters of the dynamics"),
            constants("bool", {"amounts": amounts}, "whether amounts of arrivals are learned"),
            constants("bool", {"any_moved": any_moved}, "whether arrivals may cause own events at once"),
            constants("bool", {"late": comes_late(p), "births": self.plan.spike_birth > 0}),
            self._modes(p), self._numbers(p), self._flows(p, learned, read), self._rates(p), self._change_rates(p),
            self._directions(p), self._amounts(p), self._signs(p), self.functions_of(p),
            self._thresholds(p) + self._slopes(p) if d.events else NO_EVENTS,
            self._threshold_slopes(p) if self.plan.births(p.name) else "",
        ]  # fmt: skip
        return f"struct Model_p{s.index} {{\n{indent(''.join(parts))}}};\n"

    def _learned_symbols(self, p: PopulationRecord) -> list[sp.Symbol]:
        return [q for n, q in zip(p.derived.params, p.derived.p) if n in p.trainable]

    def _modes(self, p: PopulationRecord) -> str:
        """Facts of modes and events: where an event is possible, what follows, how long a mode lasts."""
        d = p.derived
        by_model = {
            e.name: e.modes or [m.name for m in d.modes] for e in d.model.events
        }  # spikes that are given come in all
        cases = [[m.name in by_model[e.name] for m in d.modes] for e in d.events] or [[False]]
        moved = [any((e.dg_dx.T * r)[0] != 0 for r in d.receptors.values()) for e in d.events] or [False]
        bent = [any(g.has(*d.x) for g in e.dg_dx) for e in d.events] or [False]  # whether g is not linear in the state
        emits = [e.emits for e in d.events] or [False]
        following = [-1 if e.next_mode is None else e.next_mode for e in d.events] or [-1]
        lasts = [p.trainable.index(m.lasts) if m.lasts in p.trainable else -1 for m in d.modes]
        grow = [len(series.exponents(d, m)) for m in d.modes]
        text = _table("bool", "possible", ["e", "mode"], cases) + _table("int", "next", ["e"], following)
        text += "".join(_table("bool", n, ["e"], v) for n, v in (("moved", moved), ("bent", bent), ("emits", emits)))
        then = [m.then for m in d.modes]
        of_modes = (("then", then), ("duration", lasts), ("exponents", grow))
        return text + "".join(_table("int", n, ["mode"], v) for n, v in of_modes)

    def _numbers(self, p: PopulationRecord) -> str:
        """Parameters of eight neurons."""
        lines = []
        for j, n in enumerate(p.derived.params):
            access = self._number(p, n)
            place = f"args.{access.buffer.name}"
            if n in p.per_neuron:
                lines.append(f"for (int l = 0; l < SIDE; ++l) q[{j}][l] = double({place}[lane[l]]);")
            else:
                lines.append(f"q[{j}] = octet{{}} + double({place}[0]);")
        return function(
            "void numbers_of(const Args& args, const int32_t* lane, octet* q)",
            "\n".join(lines) + "\n",
        )

    def _flows(self, p: PopulationRecord, learned: list[str], read: int) -> str:
        d, text = p.derived, ""
        rows = "octet (*{})[TERMS]".format
        for what, names, arguments in (
            ("flow", "x, g", [rows("x"), rows("g")]),
            ("adjoint", "x, l, p, source", [*map(rows, "xlp"), "const octet* source"]),
        ):
            given = f"const octet* q, const octet* sign, octet unit, {', '.join(arguments)}, int order"
            for i, m in enumerate(d.modes):
                body = series.flow(d, m) if what == "flow" else series.adjoint(d, m, learned, read)
                text += f"// Mode {m.name!r}: {', '.join(d.states)}\n"
                # inlined for every reader it would take a tenth of the time in which a network compiles
                text += function(f"__attribute__((noinline)) void {what}_{i}({given})", f"{body}\n")
            cases = "".join(
                f"if (mode == {i}) return {what}_{i}(q, sign, unit, {names}, order);\n" for i in range(1, len(d.modes))
            )
            text += function(f"void {what}(int mode, {given})", f"{cases}{what}_0(q, sign, unit, {names}, order);\n")
        return text

    # functions of one neuron

    def _rates(self, p: PopulationRecord) -> str:
        cases = [
            self._formulas(p, {f"f[{i}]": e for i, e in enumerate(m.f)}) for m in p.derived.modes
        ]  # fmt: skip
        return function(
            "void rate(const Args& args, int neuron, int mode, const double* x, double* f)",
            chosen("mode", cases),
        )

    def _change_rates(self, p: PopulationRecord) -> str:
        """How fast a small change of the states changes: max_i |J_ii| + sum_j sqrt |J_ij J_ji| of J = df/dx, a bound that
        no units of the states alter."""
        cases = []
        for mode in p.derived.modes:
            J, n = mode.df_dx, len(p.derived.x)
            entries = {f"v[{i}]": J[i, i] for i in range(n)}
            pairs = [(i, j) for i in range(n) for j in range(i) if J[i, j] * J[j, i] != 0]
            entries |= {f"v[{n + k}]": J[i, j] * J[j, i] for k, (i, j) in enumerate(pairs)}
            text = f"double v[{len(entries)}] = {{}};\n" + self._formulas(p, entries)
            for i in range(n):
                mixed = (f" + std::sqrt(std::fabs(v[{n + k}]))" for k, pair in enumerate(pairs) if i in pair)
                text += f"most = std::fmax(most, std::fabs(v[{i}]){''.join(mixed)});\n"
            cases.append(text)
        return function(
            "double change_rate(const Args& args, int neuron, int mode, const double* x)",
            f"double most = 0;\n{chosen('mode', cases)}return most;\n",
        )

    def _signs(self, p: PopulationRecord) -> str:
        """The signs that a piece from x begins with, one bit each, set where negative: of u, or of du/dt where u is zero
        but for rounding."""
        d, bent, text = p.derived, series.kinks_of(p.derived), ""
        for j, u in enumerate(bent.arguments):
            rates = [sum((u.diff(x) * f for x, f in zip(d.x, m.f)), sp.Integer(0)) for m in d.modes]
            text += chosen("mode", [self._formulas(p, {"u": u, "rate": rate}) for rate in rates])
            text += f"if ((fabs(u) > 1e-9 * fabs(rate) ? u : rate) < 0) signs |= 1 << {j};\n"
        return function(
            "void signs_of(const Args& args, int neuron, int mode, const double* x, int32_t& signs)",
            "signs = 0;\n" + (f"double u = 0, rate = 0;\n{text}" if text else ""),
        )

    def _thresholds(self, p: PopulationRecord) -> str:
        cases = [self._formulas(p, {"g": e.g}) for e in p.derived.events]
        return function(
            "double threshold(const Args& args, int neuron, int e, const double* x)",
            f"double g = 0;\n{chosen('e', cases)}return g;\n",
        )

    def _threshold_slopes(self, p: PopulationRecord) -> str:
        """dg/dx of a model whose spikes may be born, which is the same in all states."""
        text = self._formulas(p, {f"dg[{i}]": e for i, e in enumerate(p.derived.events[0].dg_dx)})
        return function("void threshold_slopes(const Args& args, int neuron, double* dg)", text)

    def _slopes(self, p: PopulationRecord) -> str:
        cases = []
        for event in p.derived.events:
            modes = {m: self._formulas(p, {"v": v}) for m, v in event.gdots.items()}
            cases.append("".join(f"if (mode == {m}) {{\n{indent(text)}}}\n" for m, text in modes.items()))
        return function(
            "double slope(const Args& args, int neuron, int e, int mode, const double* x)",
            f"double v = 0;\n{chosen('e', cases)}return v;\n",
        )

    def _directions(self, p: PopulationRecord) -> str:
        receptors = p.derived.receptors.values()
        cases = [self._formulas(p, {f"e[{i}]": v for i, v in enumerate(e)}) for e in receptors]
        return function(
            "void direction(const Args& args, int neuron, int receptor, double* e)",
            chosen("receptor", cases),
        )

    def _amounts(self, p: PopulationRecord) -> str:
        """dL/dp += w lambda . de/dp of learned amounts of arrivals."""
        s, cases = self.scopes[p.name], []
        for e in p.derived.receptors.values():
            places = self._learned(p)
            body = []
            for n, q in zip(p.derived.params, p.derived.p):
                by = sp.Matrix(s.lam).dot(e.diff(q).applyfunc(s.expression))
                if n in p.trainable and by != 0:
                    body.append(Add(name("w", "grad", n), symbol("weight") * by))
            places |= {v: f"lambda[{i}]" for i, v in enumerate(s.lam)}
            cases.append(self._scalar(p, body, places) if body else "")
        return function(
            "void amounts_of(const Args& args, int neuron, int receptor, double weight, const double* lambda, Buffer<scalar>* grad)",
            chosen("receptor", cases),
        )


NO_EVENTS = """\
static double threshold(const Args&, int, int, const double*) { return -1.0; }
static double slope(const Args&, int, int, int, const double*) { return 0.0; }
static void reset(const Args&, int, int, const double*, double*) {}
static double jumps(const Args&, int, int, int, const double*, double, double, double*, Buffer<scalar>*) { return 0.0; }
"""


def _table(kind: str, what: str, by: list[str], values: list[Any]) -> str:
    """A function of whole numbers."""
    shape = f"[]{f'[{len(values[0])}]' if len(by) > 1 else ''}"
    arguments, index = ", ".join(f"int {b}" for b in by), "".join(f"[{b}]" for b in by)
    body = f"constexpr {kind} table{shape} = {value_of(values)};\nreturn table{index};\n"
    return function(f"{kind} {what}({arguments})", body)
