"""``train EXPERIMENT --from-nir FILE``: the values of a file for an experiment, or the network of the file."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SettingError
from ..losses import Loss
from ..training.state import write_parameters
from ..training.trainer import Trainer


def with_graph(trainer: Trainer, path: Path, dialect: str) -> Trainer:
    """The trainer of an experiment with the network of a NIR file, if that has other nodes than the experiment's.

    Loss, optimiser, regularisers and all settings stay those of the experiment. A file with the experiment's own
    populations and connections only gives values, later: then what is returned is `trainer`.

    Raises:
        SettingError: a graph that does not fit the experiment: its input, its outputs, populations of regularisers.
    """
    from ..nir import from_nir

    graph = from_nir(path, dialect, **({} if dialect == "spec" else {"dt": trainer.plan.dt}))
    parameters = trainer.engine.parameters
    if {n.rsplit(".", 1)[0] for n in graph.values} == {n.rsplit(".", 1)[0] for n in parameters}:
        return trainer
    network, sizes = graph.network, (trainer.plan.input.size, trainer.plan.output.size)
    outputs = [p for p in network.populations if p.name in graph.outputs]
    if len(outputs) != 1:
        raise SettingError(f"--from-nir {path}: the graph has {len(outputs)} outputs, but a loss reads only one")
    got = (network.inputs[0].size, outputs[0].size)
    if got != sizes:
        raise SettingError(
            f"--from-nir {path}: the graph has {got[0]} inputs and {got[1]} outputs, this experiment has {sizes[0]} "
            f"and {sizes[1]}, and different populations and connections"
        )
    if not isinstance(trainer.loss, Loss):
        raise SettingError(f"--from-nir {path}: a graph has one output, but this experiment has several losses")
    loss = dataclasses.replace(trainer.loss, population=outputs[0])
    moved = [_moved(r, network, path) for r in trainer.made_with["regularisers"]]
    settings = trainer.made_with | {"regularisers": moved}
    imported = Trainer(network, loss, optimiser=_fresh(trainer.optimiser), **settings)
    trainer.close()
    write_parameters(imported.engine.parameters, {k: np.asarray(v) for k, v in graph.values.items()})
    imported.made_with["graph"] = path
    imported.note(f"the network is that of {path}" + "".join(f"; {line}" for line in graph.lost))
    return imported


def _moved(regulariser: Any, network: Any, path: Path) -> Any:
    """A regulariser of the population of the same name."""
    population = getattr(regulariser, "population", None)
    if population is None:
        return regulariser
    other = next((p for p in network.populations if p.name == population.name), None)
    if other is None:
        raise SettingError(
            f"--from-nir {path}: {type(regulariser).__name__} acts on population {population.name!r}, but the graph "
            f"has {', '.join(p.name for p in network.populations)}"
        )
    new = copy.copy(regulariser)
    object.__setattr__(new, "population", other)
    return new


def _fresh(optimiser: Any) -> Any:
    """The same optimiser before its first step."""
    new = copy.copy(optimiser)
    new.state, new.steps = {}, 0
    return new
