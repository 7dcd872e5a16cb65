"""Outer losses; one file each, and a line here."""

from ...losses import Function
from ...losses.sums import SUMS
from ...plan import Plan
from ..readouts import Readout
from ..scope import Scope
from .base import Outer
from .cross_entropy import CrossEntropy
from .host_slopes import HostSlopes
from .squared_error import SpikeTimeError, SquaredError, VoltageSquaredError
from .summed import Summed

NAMED: dict[str, type[Outer]] = {
    "cross_entropy": CrossEntropy,
    "squared_error": SquaredError,
    **dict.fromkeys(SUMS, Summed),
}
OF_READOUT: dict[tuple[str, str], type[Outer]] = {
    ("squared_error", "voltage"): VoltageSquaredError,
    ("squared_error", "spike_times"): SpikeTimeError,
}


def on_host(plan: Plan) -> bool:
    """Whether an outer loss is a Python function: the host then computes dL/dr of all losses between the passes."""
    return any(isinstance(loss.outer, Function) for loss in plan.losses)


def make_outer(plan: Plan, scope: Scope, readout: Readout, host_slopes: bool) -> Outer:
    """The outer loss of a plan; with `host_slopes` the one that takes dL/dr from the host."""
    if host_slopes or on_host(plan):
        return HostSlopes(plan, scope, readout)
    outer = str(plan.loss.outer)
    return OF_READOUT.get((outer, plan.loss.readout), NAMED[outer])(plan, scope, readout)


__all__ = ["NAMED", "OF_READOUT", "Outer", "make_outer"]
