"""Trained models away from their experiment: loaded from a run folder, run on a stream, exported as C."""

from ..arguments import explain
from ..errors import SettingError
from .trained import Outputs, TrainedModel, load

__all__ = ["Outputs", "TrainedModel", "load"]

explain(globals(), __all__, SettingError)
