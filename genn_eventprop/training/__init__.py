"""Training: the trainer, what it measures and records, what it calls at every epoch, its random streams."""

from ..arguments import explain
from ..errors import SettingError
from .callbacks import Callback, EarlyStopping, Progress
from .device import Device, InTheLoop
from .epoch_statistics import Activity, EpochStatistics
from .evaluator import Evaluation, evaluate
from .initialise import Initialised, initialise_rates
from .norms import MaxNorm
from .recording import Record, Trial, load_recording, record_trial
from .rewire import Rewire
from .seeds import Streams
from .silent_neurons import Revive
from .simulated_device import SimulatedDevice
from .tensorboard import TensorBoard
from .trainer import Trainer

__all__ = [
    "Activity",
    "Callback",
    "Device",
    "EarlyStopping",
    "EpochStatistics",
    "Evaluation",
    "InTheLoop",
    "Initialised",
    "MaxNorm",
    "Progress",
    "Record",
    "Revive",
    "Rewire",
    "SimulatedDevice",
    "Streams",
    "TensorBoard",
    "Trainer",
    "Trial",
    "evaluate",
    "initialise_rates",
    "load_recording",
    "record_trial",
]

explain(globals(), __all__, SettingError)
