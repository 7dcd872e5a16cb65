"""Network + loss + time grid -> frozen records, the only thing that code generation and engines see."""

from .coefficients import PopulationCoefficients, coefficients
from .records import ConnectionRecord, Plan, PopulationRecord, make_plan

__all__ = ["ConnectionRecord", "Plan", "PopulationCoefficients", "PopulationRecord", "coefficients", "make_plan"]
