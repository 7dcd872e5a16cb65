"""The numbers of a trial by the names of its buffers: those of the grid and the loss, and those of parameter values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..adjoint.birth import ROUNDING
from ..losses import LossRecord
from ..plan import ConnectionRecord, Plan, clock
from ..plan.coefficients import coefficient_values, integrand_weight, node_part, node_scale, weight_coefficients
from ..plan.synapse_tables import Tables, delay_steps, ring_steps
from .connectivity.windows import window_values


def grid_values(plan: Plan, dtype: Any, slope_floor: float = 0.0) -> dict[str, Any]:
    """Of the time grid and the losses; dtype: of states, slope_floor: see `engines.contract.engine.Engine`."""
    values: dict[str, Any] = {
        "dt": plan.dt, "floor": slope_floor * plan.dt, "duration": plan.duration, "step_ms": plan.dt,
        "spike_birth": plan.spike_birth, "birth_rounding": ROUNDING * float(np.finfo(dtype).eps),
        "n_steps": plan.n_steps, "n_points": plan.n_steps + 1, "n_nodes": 0,
    }  # fmt: skip
    return values | loss_values(plan) | auxiliary_values(plan)


def auxiliary_values(plan: Plan) -> dict[str, Any]:
    """Of auxiliary losses, by the names of their buffers."""
    views = [(prefix, plan.read_at(loss.output)) for prefix, loss in auxiliary(plan)]
    return {f"{prefix}{name}": value for prefix, view in views for name, value in loss_values(view).items()}


def auxiliary(plan: Plan) -> list[tuple[str, LossRecord]]:
    """Auxiliary losses, and what stands before the names of their buffers; see `scope.Scope.of_loss`."""
    return [(f"p{plan.numbers[loss.output]}_", loss) for loss in plan.auxiliary]


def prefixed_losses(plan: Plan) -> list[tuple[str, LossRecord]]:
    """Every loss, the main one first, and what stands before the names of its buffers."""
    return [("", plan.loss), *auxiliary(plan)]


def loss_values(plan: Plan) -> dict[str, Any]:
    """Of the main loss."""
    loss, values = plan.loss, dict[str, Any]()
    values |= {f"loss_{k}": v for k, v in loss.constants.items()}
    if loss.integrates:
        values |= {"time_weight": weight_coefficients(plan), "integrand_weight": integrand_weight(plan)}
    if loss.readout == "voltage":
        part = node_part(plan)
        values |= {"node_scale": node_scale(plan), "node_part": part, "n_nodes": len(part)}
    if loss.weight.input_tau is not None:
        rate = 1 / loss.weight.input_tau
        values |= {"activity_decay": math.exp(-plan.dt * rate), "activity_jump": loss.weight.input_gain * rate}
    return values


def parameter_values(plan: Plan, parameters: Mapping[str, np.ndarray], tables: Tables | None = None) -> dict[str, Any]:
    """Weights, tables of synapses, delays in steps, parameters of neurons and what follows from them."""
    weights = {f"c{i}_weight": parameters[c.weight] for i, c in enumerate(plan.connections)}
    return weights | synapse_values(tables or Tables(plan), parameters) | neuron_values(plan, parameters)


def synapse_values(tables: Tables, parameters: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Delays in steps, and tables of synapses; `tables` of the plan makes these again where pairs have changed."""
    values: dict[str, Any] = {}
    for i, c in enumerate(tables.plan.connections):
        values |= {f"c{i}_delay": c.delay_steps} | _synapses(tables, c, i, parameters)
    return values


def neuron_values(plan: Plan, parameters: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Parameters of neurons and what follows from them."""
    values: dict[str, Any] = {}
    for i in range(len(plan.populations)):
        values |= population_values(plan, i, parameters)
    return values


def population_values(plan: Plan, i: int, parameters: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The same of population number i."""
    p, values = plan.populations[i], dict[str, Any]()
    for name, value in coefficient_values(plan, p, parameters).items():
        values[f"p{i}_{'q' if name in p.derived.params else 'n'}_{name}"] = value
    durations = {n: parameters[f"{p.name}.{n}"] for n in p.derived.durations}
    steps = clock.mode_steps(p.derived, durations, plan.dt)
    return values | {f"p{i}_n_lasts_{m}": steps[mode.lasts] for m, mode in enumerate(p.derived.modes) if mode.lasts}


def _synapses(tables: Tables, c: ConnectionRecord, i: int, parameters: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The table of a connection, and its delays in steps."""
    values, dt = dict[str, Any](), tables.plan.dt
    if c.form == "windows":
        values |= window_values(c, i)
    elif c.form == "synapses":
        table = tables.of(c, parameters)
        values |= {f"c{i}_start": table.start, f"c{i}_target": table.target, f"c{i}_weight_of": table.weights}
    if c.delays is not None:
        steps = delay_steps(c, parameters, dt)
        values |= {f"c{i}_delays": steps, f"c{i}_ring": min(ring_steps(c, dt), tables.plan.n_steps)}
    return values
