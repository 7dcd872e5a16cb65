"""Training: the trainer, run folders, checkpoints, random streams, weights in and out."""

from .callbacks import Callback, Progress
from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .evaluation import Evaluation, evaluate
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
    "Progress",
    "RunFolder",
    "Streams",
    "Tally",
    "Trainer",
    "evaluate",
    "load_checkpoint",
    "load_weights",
    "save_checkpoint",
    "save_weights",
]
