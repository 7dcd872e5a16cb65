"""Experiments: one page each, from its settings to a finished run folder."""

from .experiment import (
    Experiment,
    ExperimentConfig,
    ExperimentFile,
    experiment_names,
    load_experiment,
    run_experiment,
)
from .experiment import SpikeTimes as SpikeTimes
from .layers import LayeredConfig, UnscaledConfig, layered

__all__ = [
    "Experiment",
    "ExperimentConfig",
    "ExperimentFile",
    "LayeredConfig",
    "UnscaledConfig",
    "experiment_names",
    "layered",
    "load_experiment",
    "run_experiment",
]
