"""A struct for each population: structure, reset and jump of its model; and its tables."""

from __future__ import annotations

from ....plan import PopulationRecord
from ....plan.series import MODES
from ...exact_statements import comes_late
from ...statements import constants, indent
from ..context import Context
from .arguments import learned_dynamics
from .program import ExactProgram
from .readings import reads

UNUSED = """\
// Which parameters a function of a model needs depends on the model.
#pragma GCC diagnostic ignored "-Wunused-parameter"
"""


def models(ctx: Context, program: ExactProgram) -> str:
    """A struct for each population."""
    return UNUSED + "\n".join(_model(ctx, program, p) for p in ctx.plan.populations)


def _model(ctx: Context, program: ExactProgram, p: PopulationRecord) -> str:
    d = p.derived
    n = len(d.states)
    rows = []
    for i in range(n):
        # what a state neither depends on nor is driven by stands as `false` in the type, so that the compiler leaves
        # those products out; a loop over a table of zeros would do them
        driven = any(d.coupling[i][j] and m.b(d.x)[j] != 0 for j in range(n) for m in d.modes)
        rows.append([*map(bool, d.coupling[i]), driven])
    reached = [any(d.coupling[i][j] and e[j] != 0 for j in range(n) for e in d.receptors.values()) for i in range(n)]
    learned = learned_dynamics(p)
    place = [p.trainable.index(name) for name in learned] or [0]  # C++ has no arrays of length 0
    event = -1 - ctx.plan.populations.index(p)  # kinds of events from 0 on are connections
    watched = (p.spiking and not p.observed) or any(
        r.form is not None and r.form.extrema for r in reads(program.readings, p)
    )
    spread = any(c.spread for c in ctx.plan.into(p.name))
    anew = [s in p.anew for s in d.states]
    body = constants("bool", {"sets": any(anew), "anew[]": anew})
    body += constants("int", {"n": n, "receptors": len(d.receptors), "learned": len(p.trainable), "own_spike": event})
    body += constants("int", {"duration": _learned_duration(p)}, "learned length of the refractory period, -1 for none")
    body += constants("int", {"modes": len(d.modes), "pushed": program.pushed(p)}, "pushed: state, -1 for none")
    body += constants("bool", {"spiking": p.spiking, "observed": p.observed, "late": comes_late(p), "watched": watched})
    body += constants("bool", {"spread": spread}, "whether arrivals may reach some neurons alone")
    body += constants("bool", {f"coupled[{n}][{n + 1}]": rows, f"reached[{n}]": reached})
    body += constants("int", {"dynamic": len(learned), "place[]": place}, "of learned parameters of the dynamics")
    return f"struct Model_{ctx.p(p.name)} {{\n{indent(body + program.functions_of(p))}}};\n"


def _learned_duration(p: PopulationRecord) -> int:
    return next((i for i, n in enumerate(p.trainable) if n in p.derived.durations), -1)


def bind(ctx: Context) -> str:
    """Sets the pointers to tables in the populations of a thread."""
    lines = []
    for p in ctx.plan.populations:
        name, x = f"work.{ctx.p(p.name)}", f"args.x_{ctx.p(p.name)}"
        lines += [f"{name}.{n} = {x}_{n};" for n in ("rho", "dg", "curve")]
        lines += [f"{name}.kappa[{i}] = {x}_kappa_{r};" for i, r in enumerate(p.derived.receptors)]
        for m in range(len(p.derived.modes)):
            flow, t = f"{name}.flow[{m}]", x + MODES[m]
            lines += [f"{flow}.{n} = {t}_{n};" for n in ("step", "step_rest", "spike", "A")]
            for i, r in enumerate(p.derived.receptors):
                lines += [f"{flow}.{n}[{i}] = {t}_{n}_{r};" for n in ("arrive", "back")]
            for i, n in enumerate(learned_dynamics(p)):
                lines += [f"{flow}.{n2}[{i}] = {t}_{n2}_{n};" for n2 in ("dstep", "dspike")]
        lines += [f"{name}.degree = int(args.degree_{ctx.p(p.name)});", f"{name}.delta = args.delta;"]
        # crossings and arrivals nearer than `together` are one instant; `slack` is what rounding makes of g within it, 20 times
        lines.append(
            f"{name}.together = instant(Span::until(args), args.delta), {name}.slack = scalar(20 * args.delta * {name}.together);"
        )
    return "void bind(const Args& args, Work& work) {\n" + indent("\n".join(lines)) + "}\n"
