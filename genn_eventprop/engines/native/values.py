"""Numbers that generated C++ reads of neurons and losses: coefficients of a step, tables of exact spike times."""

from __future__ import annotations

import math

import numpy as np

from ...codegen.cpp import padded
from ...codegen.cpp.hygiene import Coded
from ...errors import EngineError
from ...losses import LossRecord
from ...plan import Plan, PopulationRecord, clock
from ...plan.coefficients import integrand_weight, node_part, node_scale, weight_coefficients
from ...plan.numbers import value_arrays
from ...plan.series import MODES, degree, exact_tables, gauss_table, number_of_steps, varies, weight_series
from ...program.host_values import auxiliary, auxiliary_values
from ..contract.host_losses import prefixed_losses
from ..contract.noise import limit
from .arrays import aligned, padded_last
from .memory import NativeMemory

SERIES = ("spike", "rho", "arrive", "back", "dspike")  # tables that stay in float64 where all neurons share them


class NativeValues:
    """Arrays by their names in generated code, made anew for populations whose parameters have changed.

    arrays: of neurons. weight: of the loss. exact_steps, degree, series_size: of exact spike times.
    """

    def __init__(self, plan: Plan, coded: Coded, memory: NativeMemory, dtype: np.dtype) -> None:
        self.plan, self.coded, self.memory, self.dtype = plan, coded, memory, dtype
        self.arrays: dict[str, np.ndarray] = {}
        self.exact_steps, self.degree, self.series_size = 0, dict[str, int](), dict[str, int]()
        self.weight: dict[str, np.ndarray] = {"gauss": gauss_table()}
        for prefix, _ in prefixed_losses(coded.plan):
            self.weight[f"{prefix}weight_series"], self.series_size[f"{prefix}series_size"] = np.zeros(1), 1
        if plan.spike_times == "grid":
            grid = {"time_weight": weight_coefficients(plan), "integrand_weight": integrand_weight(plan)}
            if plan.loss.readout == "voltage":
                grid |= {"node_scale": node_scale(plan), "node_part": node_part(plan)}
            others = {k: v for k, v in auxiliary_values(coded.plan).items() if isinstance(v, np.ndarray)}
            self.weight = {k: v.astype(dtype) for k, v in (grid | others).items()}
        self._seen: dict[str, bytes] = {}

    def numbers(self, slope_floor: float, stochastic: bool) -> dict[str, float]:
        """Real arguments of a call; stochastic: whether noise acts."""
        plan = self.plan
        numbers = {"dt": plan.dt, "duration": plan.duration, "slope_floor": slope_floor}
        for prefix, each in prefixed_losses(plan):
            numbers |= {f"{prefix}{n}": v for n, v in _of_weight(each, plan).items()}
        numbers["delta"] = plan.duration / max(self.exact_steps, 1)
        numbers |= {f"d_{c.name}": c.delay for c in plan.connections} | dict(self.coded.plan.loss.constants)
        numbers |= {f"{prefix}loss_{n}": v for prefix, l in auxiliary(plan) for n, v in l.constants.items()}
        return numbers | {
            f"noise_{p.name}": stochastic * p.noise * math.sqrt(plan.dt) for p in self.coded.plan.populations
        }

    def integers(self, stochastic: bool) -> dict[str, int]:
        """Integer arguments of a call; stochastic: whether dropout acts."""
        integers = {"n_steps": self.plan.n_steps, "exact_steps": self.exact_steps, **self.series_size}
        integers |= {f"degree_{p}": m for p, m in self.degree.items()}
        integers |= {f"dropout_{p.name}": stochastic * limit(p.dropout) for p in self.coded.plan.populations}
        return integers | {f"c_{c.name}_delay": c.delay_steps for c in self.plan.connections}

    def refresh(self) -> None:
        """Recompute the coefficients of populations whose parameters changed since the last run."""
        changed, plan, parameters = False, self.coded.plan, self.memory.inside
        for p in plan.populations:
            now = b"".join(parameters[f"{p.name}.{n}"].tobytes() for n in p.derived.params)
            if self._seen.get(p.name) == now:
                continue
            if plan is not self.plan:  # by their public names
                self.plan.check_parameters(self.memory.parameters)
            self._refresh_coefficients(p)
            self._seen[p.name] = now
            changed = True
        if changed and self.plan.spike_times == "exact":
            self._refresh_tables()

    def _refresh_coefficients(self, p: PopulationRecord) -> None:
        plan, parameters = self.coded.plan, self.memory.inside
        for name, value in value_arrays(plan, p, parameters).items():
            key = f"p_{p.name}_{name}"
            full = self.arrays.get(key)
            if full is None:
                full = self.arrays[key] = aligned((padded(value.size),), self.dtype)
            full[: value.size] = value
            # padding repeats the last value, so that idle lanes never divide by zero
            full[value.size :] = value[-1]
        own = {n: parameters[f"{p.name}.{n}"] for n in p.derived.durations}
        for n, steps in clock.mode_steps(p.derived, own, self.plan.dt).items():
            self.arrays[f"p_{p.name}_steps_{n}"] = steps.astype(np.int32)

    def _refresh_tables(self) -> None:
        """Tables of exact spike times; see `plan/series.py`."""
        plan, parameters = self.coded.plan, self.memory.inside
        steps = number_of_steps(plan, parameters, self.dtype.name)
        for prefix, loss in prefixed_losses(plan):
            if steps != self.exact_steps and loss.integrates:
                found = weight_series(loss, plan.duration, steps, self.dtype.name)
                self.weight[f"{prefix}weight_series"], self.series_size[f"{prefix}series_size"] = found
        self.exact_steps = steps
        delta, outputs = plan.duration / steps, {loss.output for loss in plan.losses}
        for p in plan.populations:
            read = p.derived.model.readout
            watched = read if p.name in outputs and read in p.derived.states else None
            self.degree[p.name] = degree(plan, p, parameters, delta, self.dtype.name)
            for mode in range(len(p.derived.modes)):
                for name, table in exact_tables(p, parameters, delta, watched, mode).arrays().items():
                    self._place_table(p, f"x_{p.name}{MODES[mode]}_{name}", name, table)

    def _place_table(self, p: PopulationRecord, key: str, name: str, table: np.ndarray) -> None:
        full = padded(p.size) if varies(p) else 1
        series = name.split("_")[0] in SERIES
        dtype = np.dtype(np.float64) if series and not varies(p) else self.dtype
        self.arrays[key] = table if name == "A" else padded_last(table, full, dtype)
        if name == "step":
            self.arrays[f"{key}_rest"] = padded_last(table - table.astype(self.dtype), full, self.dtype)


def _of_weight(loss: LossRecord, plan: Plan) -> dict[str, float]:
    """Where the time weight of a loss begins and ends, and how it follows the input."""
    rate = 0.0 if loss.weight.input_tau is None else 1 / loss.weight.input_tau
    found = dict(zip(("window_start", "window_end"), loss.weight.ends(plan.duration)))
    found |= {"activity_decay": math.exp(-plan.dt * rate), "activity_jump": loss.weight.input_gain * rate}
    return found | {"activity_rate": rate}


def segments(plan: Plan, itemsize: int, limit: float) -> tuple[int, float]:
    """Steps whose states are kept together, all of the trial if they fit `limit` MiB, else about its square root; and
    the MiB a thread that this takes. 0 MiB where no population needs it."""
    if not limit > 0:
        raise EngineError(f"trajectory_limit={limit}: must be a positive number, in MiB per thread")
    if plan.spike_times == "exact":
        return plan.n_steps, 0.0
    row = sum(len(p.derived.states) * padded(p.size) for p in plan.populations if p.stores_states) * itemsize
    if row * plan.n_steps <= limit * 2**20:
        return plan.n_steps, row * plan.n_steps / 2**20
    segment = math.ceil(math.sqrt(plan.n_steps))
    return segment, row * (segment + math.ceil(plan.n_steps / segment)) / 2**20
