"""The names of one population: which symbol stands for which element of which buffer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sympy as sp

from ..plan import Plan, PopulationRecord
from ..plan.coefficients import coefficient_names
from .nodes import NEURON, Access, Buffer, Kernel, Statement, name


class Scope:
    """Buffers of one population, and the symbols of its kernels.

    A kernel is written in symbols, and `table` says which element of which buffer each stands for. The first letter of
    a symbol is its role: ``x_<state>``, ``l_<state>`` for lambda, ``q_<parameter>``, ``n_<coefficient>`` as in
    `plan.coefficients`, ``g_<name>`` from the host, ``w_<name>`` stored for every neuron. So a model may call a state
    as it likes and never meets a name of the trial. docs/architecture.md lists all roles.

    Args:
        buffers: of the whole trial; new ones are added. index: of the population in the plan. adjoint: whether there is
            a backward pass that reads what the forward pass stores, and noise and dropout, which are part of training.
            pieces: whether the trial runs piece by piece; see `pieces`.
    """

    def __init__(
        self, plan: Plan, population: PopulationRecord, index: int, buffers: dict[str, Buffer], adjoint: bool = True,
        pieces: bool = False,
    ) -> None:  # fmt: skip
        self.adjoint, self.pieces = adjoint, pieces
        self.plan = plan.read_at(population.name)
        self.p, self.d, self.index, self.buffers = population, population.derived, index, buffers
        self.prefix, self.N = f"p{index}_", population.size
        # the main loss has plain names; an auxiliary loss has the number of its population in front
        self.of_loss = self.prefix if any(l.output == population.name for l in plan.auxiliary) else ""
        self.table: dict[sp.Symbol, Access] = {}
        self.x = [self.each(name("x", s)) for s in self.d.states]
        self.lam = [self.each(name("l", s)) for s in self.d.states]
        self.names = dict(zip(self.d.x, self.x)) | {
            sp.Symbol(f"lambda_{s}", real=True): v for s, v in zip(self.d.states, self.lam)
        }
        for value in coefficient_names(plan, population):
            role = "q" if value.name in self.d.params else "n"  # a parameter, or what follows from parameters
            number = name(role, value.name)
            self.element(number, (self.N if value.per_neuron else 1,), (NEURON if value.per_neuron else sp.Integer(0),),
                         role="number")  # fmt: skip
            self.names[sp.Symbol(value.name, real=True)] = number

    # buffers

    def element(
        self, target: sp.Symbol, axes: tuple[int | str, ...], index: tuple[sp.Expr | int, ...], kind: str = "real",
        role: str = "state", buffer: str = "",
    ) -> sp.Symbol:  # fmt: skip
        """Declare `target` as an element of a buffer: this population's of the same name, or `buffer` of the trial.

        A buffer that several symbols or populations declare is one and the same, as its first declaration says.
        """
        declared = self.buffers.setdefault(
            buffer or f"{self.prefix}{target}", Buffer(buffer or f"{self.prefix}{target}", axes, kind, role)
        )
        self.table[target] = Access(declared, tuple(sp.sympify(i) for i in index))
        return target

    def host_value(
        self, what: str, kind: str = "real", axes: tuple[int | str, ...] = (), index: tuple[sp.Expr | int, ...] = (),
        *, of_population: bool = False, j: int | None = None,
    ) -> sp.Symbol:  # fmt: skip
        """A value that the host sets before a trial: a number, or with `axes` one element of an array.

        It is called ``g_<what>``, or ``g_<what>_<j>``. It belongs to the trial, or to this population alone.
        """
        return self._host_value(what, self.prefix if of_population else "", kind, axes, index, j)

    def host_value_of_loss(
        self, what: str, kind: str = "real", axes: tuple[int | str, ...] = (), index: tuple[sp.Expr | int, ...] = (),
        j: int | None = None,
    ) -> sp.Symbol:  # fmt: skip
        """The same, of the loss that reads this population: losses of a plan differ in their weights and targets."""
        return self._host_value(what, self.of_loss, kind, axes, index, j)

    def _host_value(
        self, what: str, prefix: str, kind: str, axes: tuple[int | str, ...], index: tuple[sp.Expr | int, ...],
        j: int | None,
    ) -> sp.Symbol:  # fmt: skip
        target = name("g", what) if j is None else name("g", what, j)
        return self.element(target, axes, index, kind, "host", f"{prefix}{what}")

    def each(self, target: sp.Symbol, kind: str = "real", role: str = "state") -> sp.Symbol:
        """One value of every neuron."""
        return self.element(target, (self.N,), (NEURON,), kind, role)

    def alias(self, target: sp.Symbol, of: sp.Symbol, index: tuple[sp.Expr, ...]) -> sp.Symbol:
        """Another element of the buffer that `of` stands for."""
        self.table[target] = Access(self.table[of].buffer, tuple(sp.sympify(i) for i in index))
        return target

    @property
    def read_from(self) -> sp.Expr:
        """The step at which what a loss reads begins: of a recording with several decisions, that of the interval."""
        return self.host_value("interval", "long") if self.pieces else sp.Integer(0)

    # expressions

    def expression(self, e: sp.Expr, replacements: Mapping[sp.Symbol, sp.Expr] | None = None) -> sp.Expr:
        """An expression of the model's equations in the symbols of this scope.

        Args:
            replacements: scope symbol -> what takes its place, e.g. the states of another time.
        """
        e = sp.sympify(e).xreplace(self.names)
        # after the translation, since the keys are symbols of the scope
        return e.xreplace(dict(replacements)) if replacements else e

    def number(self, of: str) -> sp.Symbol:
        """A coefficient or a parameter by its name in `plan.coefficients`."""
        return self.names[sp.Symbol(of, real=True)]

    def kernel(self, body: Iterable[Statement]) -> Kernel:
        """Statements with the table of this scope."""
        return Kernel(tuple(body), self.table)

    # facts

    @property
    def several_modes(self) -> bool:
        return len(self.d.modes) > 1

    def fed(self) -> list[str]:
        """Receptors that any connection acts on, in the order of the connections."""
        return list(dict.fromkeys(c.receptor for c in self.plan.into(self.p.name)))

    def fed_by_spikes(self) -> list[str]:
        """Receptors whose arrivals need D: it goes to the spike that caused them, or to a learned delay.

        Spikes of the input have no cause, so that their D is asked for only where input times or delays are learned.
        """
        into = self.plan.into(self.p.name)
        return list(dict.fromkeys(c.receptor for c in into if c.source != self.plan.input.name or c.learns_delays))

    def learned_receptors(self) -> list[str]:
        """Receptors with learned weights, whose gradient needs lambda . e of every step."""
        return list(dict.fromkeys(c.receptor for c in self.plan.into(self.p.name) if c.trainable))
