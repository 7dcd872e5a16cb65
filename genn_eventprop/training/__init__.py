"""Training: the trainer, metrics, run folders, checkpoints, random streams, weights in and out."""

from .callbacks import Callback, Progress
from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .evaluation import Evaluation, evaluate
from .experiment import Experiment, ExperimentConfig, ExperimentFile, experiment_names, load_experiment, run_experiment
from .layered import LayeredConfig, layered
from .recording import Trial, record_trial
from .run_folder import RunFolder
from .streams import Streams
from .tally import Activity, Tally
from .trainer import Trainer
from .weights import load_weights, save_weights

__all__ = [
    "Activity",
    "Callback",
    "Checkpoint",
    "Evaluation",
    "Experiment",
    "ExperimentConfig",
    "ExperimentFile",
    "LayeredConfig",
    "Progress",
    "RunFolder",
    "Streams",
    "Tally",
    "Trial",
    "Trainer",
    "evaluate",
    "experiment_names",
    "layered",
    "load_checkpoint",
    "load_experiment",
    "load_weights",
    "record_trial",
    "run_experiment",
    "save_checkpoint",
    "save_weights",
]
