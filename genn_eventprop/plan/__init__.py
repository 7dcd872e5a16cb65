"""Network + loss + time grid -> frozen records, the only thing that code generation and engines see."""

from .coefficients import PopulationCoefficients, coefficients
from .connection import ConnectionRecord, DelayRecord
from .make import NetworkPlan, make_plan
from .observe import observe
from .records import CurrentRecord, InputRecord, Plan, PopulationRecord

__all__ = [
    "ConnectionRecord",
    "CurrentRecord",
    "DelayRecord",
    "InputRecord",
    "NetworkPlan",
    "Plan",
    "PopulationCoefficients",
    "PopulationRecord",
    "coefficients",
    "make_plan",
    "observe",
]
