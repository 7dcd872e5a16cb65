"""Run folders: what a run leaves on disk, and how it is read back without believing it."""

from .checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from .run_folder import RunFolder
from .weights import load_weights, save_weights

__all__ = ["Checkpoint", "RunFolder", "load_checkpoint", "load_weights", "save_checkpoint", "save_weights"]
