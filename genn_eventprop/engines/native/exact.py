"""Numbers of exact spike times: flows from event to event and time weights as series; see `plan/series.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...codegen.cpp import padded
from ...codegen.cpp.exact.arguments import OF_WEIGHT
from ...errors import EngineError
from ...losses import LossRecord
from ...plan import Plan, PopulationRecord
from ...plan.closed_form import closed_form
from ...plan.series import (
    DEGREE,
    MODES,
    degree,
    exact_tables,
    gauss_table,
    number_of_steps,
    series_size,
    table_params,
    varies,
    weight_series,
)
from ...program.host_values import prefixed_losses
from ..contract.options import EngineOption
from .memory import padded_last

SERIES = ("spike", "rho", "arrive", "back", "dspike")  # tables that stay in float64 where all neurons share them


TOLERANCE = {"float64": 1e-10, "float32": 1e-6}
"""Of a state in one piece of its Taylor series, by default."""
TOLERANCE_OPTION = EngineOption(float, "error of a Taylor series, for exact spike times without a closed form")


def checked_tolerance(tolerance: float | None, dtype: str) -> float:
    """A relative error of a state in one piece; None: the default."""
    tolerance = TOLERANCE[dtype] if tolerance is None else float(tolerance)
    if not 1e-16 <= tolerance <= 1e-3:
        raise EngineError(
            f"tolerance={tolerance}: must be from 1e-16 to 1e-3, a relative error of a state in one piece"
        )
    return tolerance


class ExactTables:
    """values: arrays and numbers by their names in generated code; steps: in how many the trial is cut.

    Args:
        table_dtype: of the tables of populations, if not `dtype`.
    """

    def __init__(
        self, plan: Plan, slope_floor: float, dtype: np.dtype, tolerance: float, table_dtype: np.dtype | None = None
    ) -> None:
        self.plan, self.dtype, self.steps = plan, dtype, 0
        self._weights: tuple[Any, dict[str, np.ndarray]] = (None, {})
        self.table_dtype = table_dtype or dtype
        self.seen: dict[int, bytes] = {}  # values of parameters that all this follows from
        self.sources: dict[int, tuple[Any, ...]] = {}  # population -> delta and values that its tables follow from
        # in each piece, since errors add up over the pieces and grow in upstrokes: then gradients meet the tolerance
        tolerance = max(tolerance / 100, 1e-16)
        # the order at which a series with the fewest operations meets a tolerance (Jorba & Zou 2005)
        order = min(DEGREE, math.ceil(1 - math.log(tolerance) / 2))
        self.values: dict[str, Any] = {
            "n_steps": plan.n_steps, "n_points": plan.n_steps + 1, "n_nodes": 0, "duration": plan.duration,
            "slope_floor": slope_floor, "gauss": gauss_table(), "tolerance": tolerance, "order": order,
            "spike_birth": plan.spike_birth,
        }  # fmt: skip
        self.values |= {f"d_c{i}": c.delay for i, c in enumerate(plan.connections)}
        for prefix, loss in prefixed_losses(plan):
            of_loss: dict[str, Any] = {"weight_series": np.zeros(1), "series_size": 1, **_of_weight(loss, plan)}
            of_loss |= {f"loss_{k}": v for k, v in loss.constants.items()}
            self.values |= {f"{prefix}{n}": v for n, v in of_loss.items()}

    def refresh(self, parameters: Mapping[str, np.ndarray]) -> None:
        """Follow the values of parameters of neurons."""
        plan, values = self.plan, self.values
        if not closed_form(plan):
            return
        steps = number_of_steps(plan, parameters, self.dtype.name)
        for prefix, loss in prefixed_losses(plan):
            if steps != self.steps and loss.integrates:
                values[f"{prefix}series_size"] = series_size(loss, plan.duration, steps, self.dtype.name)
        self.steps, delta = steps, plan.duration / steps
        outputs = {loss.output for loss in plan.losses}
        values |= {"exact_steps": steps, "delta": delta}
        for i, p in enumerate(plan.populations):
            read = p.derived.model.readout
            watched = read if p.name in outputs and read in p.derived.states else None
            follows_from = (delta, *(parameters[f"{p.name}.{n}"].tobytes() for n in sorted(table_params(p))))
            if self.sources.get(i) == follows_from:
                continue  # e.g. first states have changed alone
            self.sources[i] = follows_from
            values[f"degree_p{i}"] = degree(plan, p, parameters, delta, self.dtype.name)
            for mode in range(len(p.derived.modes)):
                for name, table in exact_tables(p, parameters, delta, watched, mode).arrays().items():
                    self._place(p, f"x_p{i}{MODES[mode]}_{name}", name, table)

    def weights(self, start: int = 0, stop: int | None = None) -> dict[str, np.ndarray]:
        """Time weights of losses in steps `start` ... `stop` - 1, by default in all, which are kept."""
        key = self.steps, start, stop
        if key != self._weights[0]:
            series = {
                f"{prefix}weight_series": weight_series(loss, self.plan.duration, self.steps, start, stop)
                for prefix, loss in prefixed_losses(self.plan)
                if self.steps and loss.integrates
            }
            self._weights = key, series
        return self._weights[1]

    def _place(self, p: PopulationRecord, key: str, name: str, table: np.ndarray) -> None:
        """Where all neurons share numbers, a table has one lane, and its series stay in float64. A state takes
        thousands of steps: what rounding takes from the propagator of a step is in a second table, "rest"."""
        full = padded(p.size) if varies(p) else 1
        series = name.split("_")[0] in SERIES
        dtype = np.dtype(np.float64) if series and not varies(p) else self.table_dtype
        self.values[key] = table if name == "A" else padded_last(table, full, dtype)
        if name == "step":
            self.values[f"{key}_rest"] = padded_last(table - table.astype(self.table_dtype), full, self.table_dtype)


def _of_weight(loss: LossRecord, plan: Plan) -> dict[str, float]:
    """Where the time weight of a loss begins and ends, and how it follows the input."""
    rate = 0.0 if loss.weight.input_tau is None else 1 / loss.weight.input_tau
    return dict(zip(OF_WEIGHT, (*loss.weight.ends(plan.duration), rate, loss.weight.input_gain * rate)))


def lost(
    plan: Plan, population: int, sample: int, time: int, state: int, neuron: int, steps: int, tolerance: float
) -> EngineError:
    """Of a trial that could not go on at `time`, in 2^-50 of it; steps: into which one by closed forms is cut."""
    p = plan.populations[population]
    if closed_form(plan):
        most = max(min(200 * p.size, 1000), 20 * p.size)  # `runaway` in codegen/cpp/exact/spiking.hpp
        return EngineError(
            f"population {p.name!r} diverged in sample {sample}: more than {most} spikes of its {p.size} neurons "
            f"in {plan.duration / max(steps, 1):g} ms; use smaller weights or an engine on the grid"
        )
    where = f"neuron {neuron} of population {p.name!r}, sample {sample}, at {plan.duration * time * 2.0**-50:.6g} ms"
    if state < 0:
        return EngineError(f"{where}: more than 200 events per neuron within 1 ms; use smaller weights")
    states = p.derived.states
    if state >= len(states):
        costate = f"lambda_{states[state - len(states)]}" if state < 2 * len(states) else "lambda . df/dp"
        return EngineError(
            f"{where}: there is no gradient, since {costate} of {p.derived.model.name} cannot be followed back "
            f"to a tolerance of {tolerance:g}: a small change grows without bound; change the parameters "
            "of the neuron, or shorten the trial"
        )
    return EngineError(
        f"{where}: {p.derived.states[state]} cannot be followed to a tolerance of {tolerance:g}; the dynamics "
        f"of {p.derived.model.name} diverge there: stop the rise with a threshold, or use smaller weights"
    )
