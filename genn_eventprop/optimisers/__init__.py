"""Optimisers and learning-rate schedules.

An optimiser is a short text of elementwise assignments (`Optimiser.code`). NumPy executes it here, which is its
definition; a compiling engine turns the same text into C (`OptimiserStep` carries all it needs).
"""

from ..arguments import explain
from ..errors import SettingError
from .base import Optimiser, OptimiserStep, ParameterStep, check_patterns, gradient_norm, is_text
from .rules import SGD, Adam, AdamW, RMSprop
from .schedules import (
    ByParameter,
    Constant,
    Cosine,
    EaseIn,
    Exponential,
    HalveOnPlateau,
    Product,
    Progress,
    Schedule,
    Step,
)

__all__ = [
    "Adam",
    "AdamW",
    "ByParameter",
    "Constant",
    "Cosine",
    "EaseIn",
    "Exponential",
    "HalveOnPlateau",
    "Optimiser",
    "OptimiserStep",
    "ParameterStep",
    "Product",
    "Progress",
    "RMSprop",
    "SGD",
    "Schedule",
    "Step",
    "check_patterns",
    "gradient_norm",
    "is_text",
]

explain(globals(), __all__, SettingError)
