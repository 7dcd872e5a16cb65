"""Taylor series of a model as C++: the flow in each mode, its adjoint, and thresholds along it.

Eight neurons side by side, see `taylor.hpp`. In the text ``x[i][k]`` is coefficient k of state i, ``l[i][k]`` that of its costate,
``q[j]`` a parameter, and ``s4[k]`` that of series number 4, whose expression stands beside its declaration. All are in powers of the
time divided by ``unit``: at the end of an upstroke those of the time itself are no numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from ....adjoint import Derived, DerivedMode
from ....modelling.expressions import symbol
from ....program.taylor import Kinks, Node, Recurrences
from ...printer import Dialect, expression
from ...safe_text import in_comment
from ...statements import indent

FUNCTIONS = {
    n: f"lanes_{n}"
    for n in ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "phi1", "phi1_slope", "phi1_bend")
}
LANES = Dialect("lanes", functions={**FUNCTIONS, "Abs": "lanes_fabs"})  # of eight neurons at once
LONGEST = 100  # letters of an expression in a comment


class SeriesText:
    """The text of the recurrences of some expressions.

    Args:
        places: what each series symbol is called. constants: names of all other symbols.
    """

    def __init__(self, places: dict[sp.Symbol, str], constants: dict[str, str]) -> None:
        self.series, self.places, self.names = Recurrences(places), places, constants
        self.shared: dict[sp.Expr, str] = {}  # constant expression -> its name in the text

    def name(self, i: int) -> str:
        node = self.series.nodes[i]
        if node.kind == "state":
            return self.places[node.factors[0]]
        if node.kind in ("first", "second"):
            return f"{'s' if node.kind == 'first' else 'd'}{node.of[0]}"
        if node.kind == "moment":
            return f"s{node.of[0]}[{node.factors[0]}]"
        return f"s{i}"

    def constant(self, e: sp.Expr) -> str:
        if e.is_number:
            return repr(float(e))
        if e not in self.shared:
            self.shared[e] = f"c{len(self.shared)}"
        return self.shared[e]

    def sum_of(self, i: int, k: str) -> str:
        """Coefficient k of a sum; its constant is in coefficient 0."""
        node = self.series.nodes[i]
        *factors, constant = node.factors
        text = ""
        for factor, n in zip(factors, node.of):
            sign, size = ("-", -factor) if factor.could_extract_minus_sign() else ("+", factor)
            term = f"{self.name(n)}[{k}]" if size == 1 else f"{self.constant(size)} * {self.name(n)}[{k}]"
            text += f" {sign} {term}" if text else f"-{term}" if sign == "-" else term
        if k == "0" and constant != 0:
            text = f"{text} + {self.constant(constant)}" if text else self.constant(constant)
        if not node.of or (not text.strip("-0123456789.e+ ")):
            return f"octet{{}} + {text or '0.0'}"
        return text

    def _line(self, i: int, node: Node, k: str) -> str:
        """Coefficient k, "0" or "k", of a node."""
        z, u = self.name(i), [self.name(n) for n in node.of]
        first, s, d = k == "0", f"s{i}", f"d{i}"
        match node.kind:
            case "sum":
                return f"{z}[{k}] = {self.sum_of(i, k)};"
            case "product":
                return f"{z}[{k}] = {f'{u[0]}[0] * {u[1]}[0]' if first else f'product({u[0]}, {u[1]}, k)'};"
            case "quotient" if len(u) == 2:
                return f"{z}[{k}] = {f'{u[0]}[0] / {u[1]}[0]' if first else f'quotient({u[0]}, {u[1]}, {z}, k)'};"
            case "quotient":
                return f"{z}[{k}] = {f'1.0 / {u[0]}[0]' if first else f'reciprocal({u[0]}, {z}, k)'};"
            case "exp":
                return f"{z}[{k}] = {f'lanes_exp({u[0]}[0])' if first else f'chain({u[0]}, {z}, k)'};"
            case "log":
                return f"{z}[{k}] = {f'lanes_log({u[0]}[0])' if first else f'logarithm({u[0]}, {z}, k)'};"
            case "power":
                a = self.constant(node.factors[0])
                return f"{z}[{k}] = {f'lanes_pow({u[0]}[0], {a})' if first else f'power({u[0]}, {z}, {a}, k)'};"
            case "sincos" if first:
                return f"{s}[0] = lanes_sin({u[0]}[0]), {d}[0] = lanes_cos({u[0]}[0]);"
            case "sincos":
                return f"{s}[k] = chain({u[0]}, {d}, k), {d}[k] = -chain({u[0]}, {s}, k);"
            case "sinhcosh" if first:
                return f"{s}[0] = lanes_sinh({u[0]}[0]), {d}[0] = lanes_cosh({u[0]}[0]);"
            case "sinhcosh":
                return f"{s}[k] = chain({u[0]}, {d}, k), {d}[k] = chain({u[0]}, {s}, k);"
            case "moments":
                return f"moments_of_0({u[0]}[0], {s}, order);" if first else f"moments({u[0]}, {s}, k, order);"
            case "tan" | "tanh":  # d: its derivative, 1 + z^2 or 1 - z^2
                sign = "+" if node.kind == "tan" else "-"
                if first:
                    return f"{s}[0] = lanes_{node.kind}({u[0]}[0]), {d}[0] = 1.0 {sign} {s}[0] * {s}[0];"
                return f"{s}[k] = chain({u[0]}, {d}, k), {d}[k] = {sign}product({s}, {s}, k);"
        return ""

    def arrays(self) -> list[str]:
        """Declarations, each with what the series is."""
        lines = []
        for i, node in enumerate(self.series.nodes):
            if node.kind in ("state", "first", "second", "moment"):
                continue
            rows = "[TERMS + MOMENTS]" if node.kind == "moments" else ""
            names = f"s{i}{rows}[TERMS]" + (
                f", d{i}[TERMS]" if node.kind in ("sincos", "sinhcosh", "tan", "tanh") else ""
            )
            lines.append(f"octet {names};  // {_short(self.series.expressions[i])}")
        return lines

    def constants(self) -> list[str]:
        return [f"const octet {n} = octet{{}} + {expression(e, LANES, self.names)};" for e, n in self.shared.items()]

    def order(self, k: str) -> list[str]:
        """Coefficient k of every node."""
        return [line for i, node in enumerate(self.series.nodes) if (line := self._line(i, node, k))]

    def function(self, derivatives: Sequence[tuple[str, sp.Expr, str]], along: Sequence[tuple[str, sp.Expr]]) -> str:
        """The body of a function.

        Args:
            derivatives: (array of a series, its derivative, what is added to coefficient k of that). along: (array,
                expression) of what else is wanted, to the same order.
        """
        rates = [(to, self.series.sum(e), more) for to, e, more in derivatives]
        others = [(to, self.series.sum(e)) for to, e in along]
        start, step = self.order("0"), self.order("k")
        for k, lines in (("0", start), ("k", step)):
            following, scale = ("1", " * unit") if k == "0" else ("k + 1", " * step")
            for to, i, more in rates:
                value = f"{self.name(i)}[{k}]{more.format(k=k)}"
                lines.append(f"{to}[{following}] = {f'({value})' if more else value}{scale};")
            lines += [f"{to}[{k}] = {self.name(i)}[{k}];" for to, i in others]
        step.insert(0, "const octet step = unit * INVERSE[k + 1];")
        loop = "for (int k = 1; k <= order; ++k) {\n" + indent("\n".join(step)) + "}"
        return "\n".join([*self.constants(), *self.arrays(), *start, loop])


def _short(e: sp.Expr) -> str:
    text = str(e)
    return in_comment(text if len(text) <= LONGEST else text[: LONGEST - 3] + "...")


def parameters(d: Derived) -> dict[str, str]:
    """Parameter -> its place in ``q``."""
    return {n: f"q[{j}]" for j, n in enumerate(d.params)}


def kinks_of(d: Derived) -> Kinks:
    """Absolute values of states in the dynamics and thresholds of a model."""
    every = [e for m in d.modes for e in (*m.f, *m.df_dx, *m.df_dp)] + [event.g for event in d.events]
    return Kinks(every, d.x)


def exponents(d: Derived, mode: DerivedMode) -> list[sp.Expr]:
    """What exp and tanh are taken of in a mode and in thresholds.

    Far from where such a function matters it adds less than rounding to every coefficient of the states, which then
    tell nothing of it: V may come from there to v_thresh within a piece.
    """
    every = [part for e in (*mode.f, *(event.g for event in d.events)) for part in sp.preorder_traversal(e)]
    found = [e.args[0] for e in every if isinstance(e, (sp.exp, sp.tanh))]
    found += [e.exp * sp.log(e.base) for e in every if isinstance(e, sp.Pow) and e.exp.has(*d.x)]
    return [u for u in dict.fromkeys(found) if u.has(*d.x)]


def flow(d: Derived, mode: DerivedMode) -> str:
    """Coefficients of the states, of the thresholds of all events, of what absolute values are taken of, and of
    `exponents`, to ``order``; coefficient 0 of the states is there."""
    bent = kinks_of(d)
    text = SeriesText({x: f"x[{i}]" for i, x in enumerate(d.x)}, parameters(d) | _signs(bent))
    derivatives = [(f"x[{i}]", bent.smooth(f), "") for i, f in enumerate(mode.f)]
    along = [(f"g[{e}]", bent.smooth(event.g)) for e, event in enumerate(d.events)]
    along += [(f"g[{len(d.events) + j}]", bent.smooth(u)) for j, u in enumerate(bent.arguments)]
    along += [(f"g[{len(along) + j}]", bent.smooth(u)) for j, u in enumerate(exponents(d, mode))]
    return text.function(derivatives, along)


def _signs(bent: Kinks) -> dict[str, str]:
    return {str(s): f"sign[{j}]" for j, s in enumerate(bent.signs)}


def adjoint(d: Derived, mode: DerivedMode, learned: Sequence[str], read: int) -> str:
    """Coefficients of states and costates, and of lambda . df/dp of learned parameters, around the end of a piece.

    Args:
        read: the state whose costate has a source, -1 for none.
    """
    lam = [symbol(f"lambda_{s}") for s in d.states]
    places = {x: f"x[{i}]" for i, x in enumerate(d.x)} | {v: f"l[{i}]" for i, v in enumerate(lam)}
    bent, row = kinks_of(d), sp.Matrix([lam])
    text = SeriesText(places, parameters(d) | _signs(bent))
    rates = [(f"x[{i}]", bent.smooth(f), "") for i, f in enumerate(mode.f)]
    back = -(row * mode.df_dx.applyfunc(bent.smooth))
    rates += [(f"l[{i}]", v, " - source[{k}]" if i == read else "") for i, v in enumerate(back)]
    slopes = row * mode.df_dp.applyfunc(bent.smooth) if d.p else sp.zeros(1, 0)
    along = [(f"p[{r}]", slopes[d.params.index(n)]) for r, n in enumerate(learned)]
    return text.function(rates, along)
