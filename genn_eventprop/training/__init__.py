"""Training: the trainer, metrics, run folders, checkpoints, random streams, weights in and out."""

from ..renamed import renamed
from .callbacks import Callback, Progress
from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .epoch_statistics import Activity, EpochStatistics
from .evaluation import Evaluation, evaluate
from .experiment import Experiment, ExperimentConfig, ExperimentFile, experiment_names, load_experiment, run_experiment
from .initialise import Initialised, initialise_rates
from .layered import LayeredConfig, layered
from .norms import MaxNorm
from .recording import Record, Trial, load_recording, record_trial
from .rewire import Rewire
from .run_folder import RunFolder
from .silent_neurons import Revive
from .stopping import EarlyStopping
from .streams import Streams
from .tensorboard import TensorBoard
from .trained import Outputs, TrainedModel, load
from .trainer import Trainer
from .weights import load_weights, save_weights

__all__ = [
    "Activity",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "Evaluation",
    "Experiment",
    "ExperimentConfig",
    "ExperimentFile",
    "Initialised",
    "LayeredConfig",
    "Outputs",
    "Progress",
    "Record",
    "MaxNorm",
    "Revive",
    "Rewire",
    "RunFolder",
    "Streams",
    "EpochStatistics",
    "TensorBoard",
    "TrainedModel",
    "Trainer",
    "Trial",
    "evaluate",
    "experiment_names",
    "initialise_rates",
    "layered",
    "load",
    "load_checkpoint",
    "load_experiment",
    "load_recording",
    "load_weights",
    "record_trial",
    "run_experiment",
    "save_checkpoint",
    "save_weights",
]

__getattr__ = renamed(__name__, {"Tally": "EpochStatistics"})
