"""The numbers that generated code refers to by name, from a plan's coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..errors import EngineError
from .coefficients import coefficients
from .entries import HALF, entries, feedback_symbols, is_plain, parts
from .records import Plan, PopulationRecord


@dataclass(frozen=True)
class Value:
    """A named number of a population's generated code; `per_neuron` if it is an array (N,), else one number."""

    name: str
    per_neuron: bool


def basis_size(plan: Plan, p: PopulationRecord) -> int:
    """J, the number of basis functions of the time weight that population `p` integrates; 0 if it is not read so."""
    plan = plan.read_at(p.name)
    read = plan.integrates_steps and plan.loss.output == p.name and is_plain(p.derived)
    return plan.loss.basis_size(plan.dt) if read else 0


@lru_cache(maxsize=256)
def value_names(plan: Plan, p: PopulationRecord) -> tuple[Value, ...]:
    """Every named value of a population, in a fixed order: coefficients first, then the model's parameters."""
    d = p.derived
    varies = any(n in p.per_neuron for n in parts(d)[0].dynamic_params)
    values = [Value(e.name, _entry_varies(p, e.mode)) for e in entries(d, p.trainable)]
    names = []
    learned = [n for n in p.trainable if n in d.dynamic_params]
    for j in range(basis_size(plan, p)):
        for tail in readout_row(p):
            names += [f"u{j}_{tail}", *(f"d{n}_u{j}_{tail}" for n in learned)]
    values += [Value(n, varies) for n in names]
    for r, e in d.receptors.items():
        if is_plain(d):
            values += [Value(str(v), _varies(p, d.A * e)) for v in feedback_symbols(d, r) if v != 0]
        values += [Value(f"e_{r}_{s}", _varies(p, e)) for s, v in zip(d.states, e) if v not in (0, 1)]
    if d.model.snippets:
        if plan.spike_times == "exact":
            raise EngineError(
                f"population {p.name!r}: the hand-written snippets of {d.model.name} make whole steps and cannot be "
                "run with spike_times='exact'; use 'grid', or engine='reference_event', which runs the equations"
            )
    if d.model.snippets or not p.exact:
        values.append(Value("dt", False))
    return (*values, *(Value(n, n in p.per_neuron) for n in d.params))


def readout_row(p: PopulationRecord) -> list[str]:
    """States that an integral of the readout state depends on within a step, then "1" if a constant drives it."""
    d = p.derived
    v = d.states.index(d.model.readout)
    reached = [s for j, s in enumerate(d.states) if d.coupling[v][j]]
    return reached + (["1"] if any(d.b[d.states.index(s)] != 0 for s in reached) else [])


def _entry_varies(p: PopulationRecord, mode: int) -> bool:
    return any(n in p.per_neuron for n in parts(p.derived)[mode].dynamic_params)


def _varies(p: PopulationRecord, v: object) -> bool:
    return any(v.has(s) for n, s in zip(p.derived.params, p.derived.p) if n in p.per_neuron)  # type: ignore[attr-defined]


def value_arrays(plan: Plan, p: PopulationRecord, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """float64 arrays, (N,) or (1,), of everything in `value_names`."""
    d = p.derived
    own = {n: np.asarray(parameters[f"{p.name}.{n}"], dtype=np.float64) for n in d.params}
    k = coefficients(plan, p, own)
    arrays: dict[str, np.ndarray] = dict(own)
    for e in entries(d, p.trainable):
        at = e.mode, plan.dt / 2 if e.span == HALF else plan.dt
        matrix = k.spans[at] if e.param is None else k.d_spans[at][e.param]
        arrays[e.name] = matrix[:, e.i, -1 if e.j is None else e.j]
    for i, s in enumerate(d.states):
        arrays |= {f"Q_{r}_{s}": q[:, i] for r, q in k.feedback.items()}
        arrays |= {f"e_{r}_{s}": e[:, i] for r, e in k.direction.items()}
        for b in range(len(k.u)):
            arrays[f"u{b}_{s}"] = k.u[b, :, i]
            arrays |= {f"d{n}_u{b}_{s}": k.du[n][b, :, i] for n in k.du}
    for b in range(len(k.u)):
        arrays[f"u{b}_1"] = k.u0[b]
        arrays |= {f"d{n}_u{b}_1": k.du0[n][b] for n in k.du0}
    arrays["dt"] = np.array([plan.dt])
    wanted = value_names(plan, p)
    shape = {v.name: (p.size,) if v.per_neuron else (1,) for v in wanted}
    return {v.name: np.broadcast_to(arrays[v.name], shape[v.name]) for v in wanted}
