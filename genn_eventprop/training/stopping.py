"""Early stopping on validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import SettingError
from .callbacks import Callback

if TYPE_CHECKING:
    from .trainer import Trainer


class EarlyStopping(Callback):
    """Ends training when validation has not improved for `patience` epochs.

    "Improved" has the same meaning as for the best checkpoint: a larger accuracy, or the same with a smaller loss. The
    best weights are in ``checkpoints/best.safetensors`` and `Trainer.best_weights`. A resumed run stops at the same
    epoch as an uninterrupted one.

    Raises:
        SettingError: `patience` is not an integer >= 1; or no validation set was given to `fit`.
    """

    def __init__(self, patience: int = 10) -> None:
        if not isinstance(patience, int) or isinstance(patience, bool) or patience < 1:
            raise SettingError(f"EarlyStopping: patience must be an integer >= 1, got {patience!r}")
        self.patience = patience

    def start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        self._look(trainer)  # a run that stopped and is resumed stays stopped

    def end_epoch(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        if metrics["validation_accuracy"] is None:
            raise SettingError("EarlyStopping needs a validation set: give one to fit")
        self._look(trainer)

    def _look(self, trainer: Trainer) -> None:
        best = trainer.state.best_epoch
        if best is not None and trainer.state.epoch - best >= self.patience:
            trainer.stop()
