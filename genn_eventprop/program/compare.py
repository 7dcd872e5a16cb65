"""The outer loss of a trial, between the passes: from readouts to a loss and its slopes."""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from .nodes import (
    NEURON,
    SAMPLE,
    Add,
    Kernel,
    Let,
    Range,
    Set,
    Statement,
    When,
    above,
    at_least,
    below,
    both,
    either,
    equal,
    name,
)
from .outer import Outer, make_outer
from .outer.base import LABEL, LOSS, NODE, ROW, n
from .readouts import Readout, Several
from .scope import Scope

SMALLEST_SLOPE = 1e-20
"""Of dL/dr where births of spikes change readouts by what is read off lambda over dL/dr."""
RUNNING = name("t", "running")
CHANGE, OTHER = name("t", "change"), name("o", "other")
OF_ROW = name("o", "of_row")


def comparison(s: Scope, readout: Readout, host_slopes: bool = False) -> tuple[Kernel, Kernel | None]:
    """(code that runs once a trial, code of every step ``row`` or None); see `trial.EachStep`.

    Args:
        s: of the population that is read. host_slopes: dL/dr comes from the host.
    """
    plan = s.plan
    outer = make_outer(plan, s, readout, host_slopes)
    clear: list[Statement] = [Set(s.alias(name("o", "slope", n), name("w", "dr"), (n,)), 0)]
    if plan.loss.silent == "end":
        clear.append(Set(s.alias(name("o", "push", n), name("w", "missing"), (n,)), 0))
    cleared = outer.each_output(clear)
    if host_slopes:
        return s.kernel([cleared, *outer.compare()]), None
    result = s.element(name("o", "result"), ("batch",), (SAMPLE,), "double", "result", f"{s.of_loss}loss")
    labelled = plan.loss.compares == "labels"
    if outer.each_step:
        rows = _each_node(outer, outer.compare())
        if labelled:
            # a sample may be without a label of a loss that is an auxiliary one to the user, and a chunk of a recording
            # without any, in training too: it has no gradient then
            nothing = _each_node(outer, [], outer.each_output([Set(outer.r(n), 0)]))
            rows = [When(at_least(LABEL, 0), rows, (*nothing, Set(RUNNING, name("o", "nan"))))]
        return s.kernel([cleared]), s.kernel(rows)
    scored = [Let(LOSS, 0, "double", changes=True), *outer.compare(), Set(result, LOSS)]
    if plan.scores_births:
        slope = s.alias(name("o", "slope", n), name("w", "dr"), (n,))
        small = both(below(slope, SMALLEST_SLOPE), above(slope, -SMALLEST_SLOPE))
        scored.append(outer.each_output([When(small, (Set(slope, sp.Float(SMALLEST_SLOPE)),))]))
    if labelled:
        scored = [Set(result, name("o", "nan")), When(at_least(LABEL, 0), scored)]
    return s.kernel([cleared, *scored]), None


def further_slopes(readout: Readout) -> Kernel | None:
    """Copies dL/dr of the readouts besides that of the loss, which come from the host, for every output."""
    others, body = readout.parts[1:] if isinstance(readout, Several) else (), list[Statement]()
    for part in others:
        s, rows = part.s, part.s.table[part.DR].buffer.axes[:-1]
        index = (SAMPLE, *((OF_ROW,) if rows else ()), NEURON)
        slope = s.host_value_of_loss(f"dL_dr_{part.which}", "double", ("batch", *rows, s.N), index)
        into = s.alias(name("o", part.DR), part.DR, index[1:])
        copy: Statement = Set(into, slope)
        body.append(Range(OF_ROW, 0, name("g", "n_steps") + 1, (copy,)) if rows else copy)
    return others[0].s.kernel(body) if body else None


def at_one_time(s: Scope, readout: Readout, V: Callable[[sp.Symbol], sp.Symbol]) -> tuple[Kernel, Kernel]:
    """(code that sets `LOSS` to l(V) and V to dl/dV times the weight of the sample, code that sets `LOSS` alone).

    Both are for a sample that has a target.

    Args:
        V: of output i at that time.
    """
    outer, clear = make_outer(s.plan, s, readout, False), Let(LOSS, 0, "double", changes=True)
    outer.V = V
    return s.kernel([clear, *outer.compare()]), s.kernel([clear, *outer.value()])


def loss_change(s: Scope, readout: Readout, V: Callable[[sp.Symbol], sp.Expr]) -> Kernel:
    """Code that sets `CHANGE` to l at the beginning of step `ROW`, minus l with another V; 0 without a label.

    Args:
        V: of output i, in which `OTHER` is 0 or 1.
    """
    outer, labelled = make_outer(s.plan, s, readout, False), s.plan.loss.compares == "labels"
    outer.V = V
    once: list[Statement] = [Let(LOSS, 0, "double", changes=True), *outer.value()]
    both: Statement = Range(OTHER, 0, 2, (*once, Add(CHANGE, (1 - 2 * OTHER) * LOSS)))
    both = When(at_least(LABEL, 0), (both,)) if labelled else both
    return s.kernel([Let(CHANGE, 0, "double", changes=True), both])


def changed_loss(s: Scope, readout: Readout, moved: Callable[[sp.Symbol], sp.Expr], spiked: sp.Symbol | None) -> Kernel:
    """Code that sets `CHANGE` to the outer loss with r_i + moved(i) minus the loss of the trial; 0 without a label.

    Args:
        spiked: an output that has a readout there, if it has none in the trial.
    """
    outer, labelled = make_outer(s.plan, s, readout, False), s.plan.loss.compares == "labels"
    outer.V = lambda i: s.alias(name("o", "r", i), name("w", "r"), (i,)) + moved(i)
    if spiked is not None:
        valid = outer.valid
        outer.valid = lambda i: either(valid(i), equal(i, spiked))  # type: ignore[method-assign]
    result = s.element(name("o", "result"), ("batch",), (SAMPLE,), "double", "result", f"{s.of_loss}loss")
    there: list[Statement] = [
        Let(LOSS, 0, "double", changes=True), *outer.value(), Set(CHANGE, LOSS - result),
    ]  # fmt: skip
    if labelled:
        counted = both(at_least(LABEL, 0), outer.counts(LABEL))  # outer.counts: 1 unless silent outputs are left out
        there = [When(counted, there)]
    return s.kernel([Let(CHANGE, 0, "double", changes=True), *there])


def _each_node(outer: Outer, scored: list[Statement], instead: Statement | None = None) -> list[Statement]:
    """The outer loss at every node of a step; in the place of V stands what multiplies it in dL.

    Args:
        instead: what is done at every node without a loss.
    """
    if instead is not None:
        size = sp.Integer(outer.readout.size)  # type: ignore[attr-defined]
        return [Range(NODE, 0, size, (instead,))]
    s, J, V = outer.s, sp.Integer(outer.readout.size), outer.r(n)  # type: ignore[attr-defined]
    weight = s.alias(name("o", "time_weight"), name("g", "time_weight", 0), (ROW, NODE))
    scale = s.alias(name("o", "node_scale"), name("g", "node_scale", 0), (NODE,))
    factor: sp.Expr = weight
    if outer.loss.weight.input_tau is not None:
        factor = weight * s.alias(name("o", "activity"), name("g", "activity"), (SAMPLE, ROW))
    node: list[Statement] = [
        Let(LOSS, 0, "double", changes=True), *scored, Add(RUNNING, LOSS * factor / scale),
        outer.each_output([Set(V, V * factor)]),
    ]  # fmt: skip
    return [Range(NODE, 0, J, node)]
