"""What makes thousands of small networks cheap: no optimisation in the compiler, and text that is generated once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import Any

from genn_eventprop.engines.c99 import engine as c99
from genn_eventprop.engines.cuda import engine as cuda
from genn_eventprop.engines.native import engine as native
from genn_eventprop.plan import Plan
from genn_eventprop.toolchain.compiler import FLAGS_VARIABLE

TEXTS: list[str] = []
"""Digests of what was generated, or read from memory, since it was cleared; by them structures are counted."""


def install(level: int) -> None:
    """For this process: the optimisation level, and a memory of generated text."""
    os.environ[FLAGS_VARIABLE] = f"{os.environ.get(FLAGS_VARIABLE, '')} -O{level}"
    for module in (native, c99, cuda):
        module.generate = by_structure(module.generate)  # type: ignore[attr-defined]


def by_structure(generate: Callable[..., Any]) -> Callable[..., Any]:
    """`generate`, once for plans that differ in numbers alone; every fortieth time it is made anew and compared."""
    memory: dict[Any, Any] = {}
    calls = 0

    def again(plan: Plan, dtype: str, *options: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        key = (dtype, *options, *sorted(named.items()), *structure(plan))
        if key not in memory:
            memory[key] = generate(plan, dtype, *options, **named)
        elif calls % 40 == 0 and generate(plan, dtype, *options, **named).text != memory[key].text:
            raise AssertionError("the generated text depends on numbers that are not part of the structure")
        TEXTS.append(hashlib.sha256(memory[key].text.encode()).hexdigest()[:16])
        return memory[key]

    return again


def structure(plan: Plan) -> tuple[Any, ...]:
    """What is compiled in of a plan."""
    populations = [
        (p.name, p.size, p.derived, p.per_neuron, p.trainable, p.noise > 0, p.dropout > 0, p.dropped_reset)
        for p in plan.populations
    ]
    connections = [
        (c.name, c.source, c.target, c.receptor, c.delay > 0, c.trainable, c.form, c.drawn, c.synapses, c.weight_shape,
         c.delays, c.learned is None, c.channels, c.shares)
        for c in plan.connections
    ]  # fmt: skip
    of_losses = []
    for loss in plan.losses:
        outer, w = loss.outer if loss.host is None else loss.host.compares, loss.weight
        of_losses.append((loss.readout, loss.output, outer, loss.host is None, loss.score, loss.term, *loss.constants))
        of_losses.append((loss.silent, w.expression, w.window is None, w.input_tau, loss.basis_size(plan.dt)))
    pushes = [(type(r).__name__, r.of, r.mean) for r in plan.pushes]
    return (plan.spike_times, plan.input.size, *populations, *connections, *of_losses, *pushes)
