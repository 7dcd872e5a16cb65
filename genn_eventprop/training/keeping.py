"""Run folder, checkpoints and weight files of a trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..description import Described
from ..distributed import Alone, Ranks
from ..engines import Engine
from ..errors import CheckpointError, SettingError
from ..losses import Loss
from ..modelling import Network
from ..optimisers import Optimiser
from ..plan import NetworkPlan
from ..runs.checkpoint import load_checkpoint, load_latest, save_checkpoint
from ..runs.fingerprint import check_same
from ..runs.run_folder import RunFolder
from ..runs.run_lock import check_writer, writer
from ..runs.weights import fitting_weights, save_weights
from .batches import Batches
from .model_snapshot import keep_model, keep_start
from .state import TrainingState, pack, unpack, write_parameters

if TYPE_CHECKING:
    from ..data import Events
    from ..data.augment.steps import Step

T = TypeVar("T", bound="Keeping")


class Keeping:
    """The part of `Trainer` that saves and loads; its attributes are set there."""

    network: Network
    loss: Loss | Sequence[Loss]
    plan: NetworkPlan
    engine: Engine
    optimiser: Optimiser
    ranks: Alone | Ranks
    state: TrainingState
    run_dir: Path | None
    folder: RunFolder | None
    page: str
    notes: list[str]
    config: dict[str, Any]
    settings: dict[str, Any]
    network_description: Any
    data_description: str | None
    preprocessing: tuple[Step, ...]
    n_channels: int
    class_names: tuple[str, ...]

    if TYPE_CHECKING:

        def averaged_weights(self) -> AbstractContextManager[None]: ...

    def resume(self: T, run_dir: Path | str | None = None) -> T:
        """Continue the run in `run_dir` bit for bit from its last checkpoint; then call `fit` as before.

        The number of threads may differ from the first run.

        Raises:
            CheckpointError: a damaged or missing checkpoint, another network, other settings.
        """
        run_dir = run_dir if run_dir is not None else self.run_dir
        if run_dir is None:
            raise SettingError("resume needs the folder of the run")
        folder = RunFolder.open(run_dir)
        checkpoint = load_latest(folder.saved())
        self._check_identity(checkpoint.info)
        unpack(self, checkpoint)
        if self.ranks.first:
            with writer(folder.path):
                folder.replace_metrics(self.state.metrics)
            self.folder, self.run_dir = folder, folder.path
        return self

    def load_checkpoint(self, path: Path | str) -> None:
        """Load only the weights from a checkpoint of the same network, for evaluation.

        Raises:
            CheckpointError: a damaged file or another network.
        """
        checkpoint = load_checkpoint(path)
        check_same(checkpoint.info["network"], self.network_description, "network")
        write_parameters(self.engine.parameters, checkpoint.section("parameters"))
        self.optimiser.restart_average()

    def save_weights(self, path: Path | str) -> None:
        """Write all parameters to ``file.npz`` or to a folder of CSV files; averages if the optimiser keeps them."""
        with self.averaged_weights():
            save_weights(path, self.engine.parameters)

    def load_weights(self, path: Path | str, *, strict: bool = True) -> list[str]:
        """Load parameters from ``file.npz``, ``file.nir``, a folder of CSV files, a checkpoint or a run folder (best).

        Parameters that are not in it keep their values. With ``strict=False``, so do those with another shape, and
        parameters that this network does not have are ignored, e.g. for a new output on a trained network.

        Returns:
            Descriptions of what was left out on either side.

        Raises:
            CheckpointError: a file that cannot be read; if `strict`, one with other names or shapes.
        """
        found, left = fitting_weights(path, self.engine.parameters, strict=strict)
        self.network.check_parameters({**self.engine.parameters, **found})
        for name, value in found.items():
            self.engine.parameters[name][...] = value
        self.settle_bounds()
        self.optimiser.restart_average()
        return left

    def settle_bounds(self) -> None:
        """Update the optimiser's bounds that depend on parameter values, after you changed these by hand."""
        now = self.engine.parameters
        self.optimiser.settle_bounds(self.plan.bounds(now), self.plan.held(now))

    def _save(self, name: str) -> None:
        if self.folder is not None:
            check_writer(self.folder.name)
            save_checkpoint(self.folder.checkpoints / f"{name}.safetensors", *pack(self), then=self.folder.then)

    def _check_identity(self, info: Mapping[str, Any]) -> None:
        check_same(info["network"], self.network_description, "network")
        check_same(info["settings"], self.settings, "run")

    def _accept_data(self, description: str) -> None:
        if self.data_description not in (None, description):
            raise CheckpointError(
                f"this run was trained on {self.data_description}; the training set given now has {description}"
            )
        self.data_description = description

    @property
    def described(self) -> Described:
        """The model without its values, as it is kept in the run folder."""
        return Described(
            self.network, self.loss, self.plan.duration, self.plan.dt, self.plan.spike_times, self.engine.name,
            self.settings["dtype"], tuple(self.preprocessing), self.n_channels, tuple(self.class_names),
        )  # fmt: skip

    def _open_folder(self, batches: Batches, validation: Events | None) -> None:
        new = self.folder is None
        if self.run_dir is not None and new:
            self.folder = RunFolder.create(self.run_dir, self.config, self.page)
        if self.folder is not None:
            self.notes += keep_model(self.folder, self.described)
        if self.folder is not None and new:
            first = {name: self.engine.parameters[name] for name in self.plan.trainable}
            keep_start(self.folder, first, batches, validation)
