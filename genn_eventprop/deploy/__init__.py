"""Trained models away from their experiment: loaded from a run folder, run on a stream, exported as C."""

from .trained import Outputs, TrainedModel, load

__all__ = ["Outputs", "TrainedModel", "load"]
