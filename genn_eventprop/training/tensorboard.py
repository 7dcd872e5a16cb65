"""The numbers of every epoch for TensorBoard, with tensorboardX: no torch, no tensorflow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SettingError
from .callbacks import Callback

if TYPE_CHECKING:
    from .trainer import Trainer


class TensorBoard(Callback):
    """Writes every number of metrics.jsonl as a scalar over epochs; look at it with ``tensorboard --logdir runs``.

    Args:
        folder: where the event files go; None: ``tensorboard`` in the run folder.

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0, callbacks=[TensorBoard("logs")])

    Raises:
        SettingError: tensorboardX is missing, or neither a folder nor a run folder is given.
    """

    checkpointed = False
    first_rank_only = True

    def __init__(self, folder: Path | str | None = None) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise SettingError('TensorBoard needs tensorboardX: pip install "genn_eventprop[tensorboard]"') from None
        self._make, self.folder, self._writer = SummaryWriter, folder, None

    def start(self, trainer: Trainer, epochs: int, batches: int) -> None:
        if self.folder is None and trainer.folder is None:
            raise SettingError("TensorBoard needs a folder: give it one, or give the trainer a run_dir")
        folder = self.folder if self.folder is not None else trainer.folder.path / "tensorboard"  # type: ignore[union-attr]
        # after resuming, epochs beyond the checkpoint are dropped
        self._writer = self._make(str(folder), purge_step=trainer.state.epoch + 1)

    def end_epoch(self, trainer: Trainer, metrics: dict[str, Any]) -> None:
        assert self._writer is not None
        for name, value in scalars(metrics).items():
            self._writer.add_scalar(name, value, int(metrics["epoch"]))
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def scalars(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """All finite numbers in nested metrics by names such as ``"silent/hidden"`` or ``"validation_per_class/3"``."""
    values: dict[str, float] = {}
    for key, value in metrics.items():
        if isinstance(value, (list, tuple)):
            value = {str(i): v for i, v in enumerate(value)}
        if isinstance(value, Mapping):
            values |= scalars(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and math.isfinite(value) and key != "epoch":
            values[prefix + key] = float(value)
    return values
