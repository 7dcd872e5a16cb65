"""Training: the trainer, what it measures and records, what it calls at every epoch, its random streams."""

from ..arguments import explain
from ..errors import SettingError
from ..renamed import renamed
from .callbacks import Callback, EarlyStopping, Progress
from .epoch_statistics import Activity, EpochStatistics
from .evaluator import Evaluation, evaluate
from .initialise import Initialised, initialise_rates
from .norms import MaxNorm
from .recording import Record, Trial, load_recording, record_trial
from .rewire import Rewire
from .seeds import Streams
from .silent_neurons import Revive
from .tensorboard import TensorBoard
from .trainer import Trainer

__all__ = [
    "Activity",
    "Callback",
    "EarlyStopping",
    "EpochStatistics",
    "Evaluation",
    "Initialised",
    "MaxNorm",
    "Progress",
    "Record",
    "Revive",
    "Rewire",
    "Streams",
    "TensorBoard",
    "Trainer",
    "Trial",
    "evaluate",
    "initialise_rates",
    "load_recording",
    "record_trial",
]

_MOVED = {
    "genn_eventprop.runs": (
        "Checkpoint", "RunFolder", "load_checkpoint", "load_weights", "save_checkpoint", "save_weights",
    ),
    "genn_eventprop.experiment": (
        "Experiment", "ExperimentConfig", "ExperimentFile", "LayeredConfig", "experiment_names", "layered",
        "load_experiment", "run_experiment",
    ),
    "genn_eventprop.deploy": ("Outputs", "TrainedModel", "load"),
}  # fmt: skip
__getattr__ = renamed(
    __name__,
    {"Tally": "EpochStatistics"} | {name: f"{room}:{name}" for room, names in _MOVED.items() for name in names},
)

explain(globals(), __all__, SettingError)
