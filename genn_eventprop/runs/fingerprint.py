"""What makes two networks, or two runs, the same: plain descriptions that are stored in checkpoints and compared."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..data import Currents, Events, Inputs
from ..data.events.check import BLOCK
from ..data.inputs import DataSet
from ..errors import CheckpointError
from ..losses import Loss
from ..modelling import Connection, Dense, Network, Population
from ..modelling.neuron import NeuronModel
from ..regularisers import Regulariser


def describe_network(network: Network) -> dict[str, str]:
    """Part of the network -> what it is, in words. Values of parameters are not part of it."""
    parts = {f"input {i.name}": f"{i.size} channels" for i in network.inputs}
    for i in network.currents:
        parts[f"current {i.name}"] = f"{i.size} channels, {i.interpolation} over {i.dt:g} ms"
    for p in network.populations:
        learned = [n for n, q in p.neuron.params.items() if q.trainable]
        drives = {c.receptor for c in network.connections if c.target is p and c.receptor in p.model.drives}
        parts[f"population {p.name}"] = (
            f"{p.size} {_describe_model(p.model)}{_describe_drives(p.model, drives)}, learned: "
            f"{', '.join(learned) or 'nothing'}{_describe_stochastic(p)}"
        )
    for c in network.connections:
        learned_weights = "fixed" if not c.trainable else "learned" if c.learned is None else "partly learned"
        learned_weights += _describe_constraints(c)
        parts[f"connection {c.name}"] = (
            f"{c.source.name} to {c.target.name}.{c.receptor}, {c.shape[0]} x {c.shape[1]}{_describe_kind(c)}, "
            f"{_describe_delay(c)}, {learned_weights}" + (f", weights of {c.share.name}" if c.share else "")
        )
    return parts


def _describe_kind(c: Connection) -> str:
    """What a connection is if it is not dense."""
    kind = c.connectivity
    options = ", ".join(f"{n}={v}" for n, v in kind.options().items() if v is not None)
    return "" if kind.form == "dense" else f" {type(kind).__name__}({options}), weights {c.weight_shape}"


def _describe_constraints(c: Connection) -> str:
    """Which weights a mask, `trainable` and `sign` hold, by checksums."""
    mask = c.connectivity.mask if isinstance(c.connectivity, Dense) else None
    masks = {"mask": mask, "trainable": c.learned, "sign": c.sign}
    return "".join(f", {name} {zlib.crc32(a.tobytes()):08x}" for name, a in masks.items() if a is not None)


def _describe_delay(c: Connection) -> str:
    if c.delays is None:
        return f"delay {c.delay:g} ms"
    learned = "learned" if c.delays.trainable else "fixed"
    return f"{c.delays.kind} delays up to {c.delays.max:g} ms, {learned}"


def _describe_stochastic(p: Population) -> str:
    noise = f", noise {p.noise:g}" if p.noise else ""
    return noise + (f", dropout {p.dropout:g}{' with reset' if p.dropped_reset else ''}" if p.dropout else "")


def _describe_model(model: NeuronModel) -> str:
    equations = [f"d{name}/dt = {right}" for name, right in model.dynamics.items()]
    resets = [", ".join(f"{name} = {right}" for name, right in e.reset.items()) for e in model.events]
    events = [f"{e.name} at {e.threshold} >= 0: {reset}" for e, reset in zip(model.events, resets, strict=True)]
    return f"{model.name} ({'; '.join([*equations, *events])})"


def _describe_drives(model: NeuronModel, used: set[str]) -> str:
    """What those drives do that currents lead to; of others nothing depends on it."""
    amounts = ((d, s, amount) for d, to in model.drive_amounts.items() if d in used for s, amount in to.items())
    return "".join(f", {d} adds {amount} to d{s}/dt" for d, s, amount in amounts)


def describe_loss(loss: Loss) -> str:
    """The loss in words, with its constants."""
    constants = ", ".join(f"{k}={v:g}" for k, v in loss.constants.items())
    return (
        f"{loss.readout} of {loss.population.name}, weight {loss.weight.describe()}, score {loss.score}, "
        f"term {loss.term}, silent {loss.silent}, {_outer(loss)}{constants}{_among_several(loss)}"
    )


def _among_several(loss: Loss) -> str:
    """Factor and name of the target, where they are not the usual ones."""
    factor = "" if loss.factor == 1 else f", factor {loss.factor:g}"
    return factor + (f", against {loss.answer}" if loss.answer else "")


def _outer(loss: Loss) -> str:
    """The outer loss, if it is not the usual one."""
    name = loss.outer if isinstance(loss.outer, str) else f"own {loss.outer.label}"
    return "" if name == "cross_entropy" else f"{name}, "


def describe_regulariser(regulariser: Regulariser) -> str:
    """The regulariser in words, with its numbers."""
    values = {f.name: getattr(regulariser, f.name) for f in dataclasses.fields(regulariser)}
    texts = (f"{k} {v.name if isinstance(v, Population) else v}" for k, v in values.items())
    return f"{type(regulariser).__name__}: {', '.join(texts)}"


def describe_data(data: DataSet) -> str:
    """Size and a checksum of spikes, currents, labels and targets."""
    annotations = [a for a in (data.labels, data.targets) if a is not None]
    if isinstance(data, Inputs):
        parts = "; ".join(f"{name}: {_describe_part(part, [])}" for name, part in data.parts.items())
        return f"{parts}; labels and targets: checksum {_checksum(annotations):08x}"
    return _describe_part(data, annotations)


def _describe_part(part: Events | Currents, annotations: list[np.ndarray]) -> str:
    if isinstance(part, Currents):
        grid = f"{part.n_steps} x {part.n_channels} values of {part.dt:g} ms"
        return f"{len(part)} samples, {grid}, checksum {_checksum([part.values, *annotations]):08x}"
    crc = _checksum([part.times, part.channels, part.offsets, *annotations])
    return f"{len(part)} samples, {len(part.times)} spikes, checksum {crc:08x}"


def _checksum(arrays: list[np.ndarray]) -> int:
    crc = 0
    for array in arrays:
        rows = (
            max(BLOCK * len(array) // array.size, 1) if array.size else 1
        )  # it may be in a file larger than the memory
        for start in range(0, len(array) if array.size else 0, rows):
            crc = zlib.crc32(np.ascontiguousarray(array[start : start + rows]).data, crc)
    return crc


def check_same(saved: Mapping[str, Any], now: Mapping[str, Any], what: str) -> None:
    """Raise `CheckpointError` at the first difference, naming it.

    Args:
        what: words for the message, e.g. ``"network"``.
    """
    for key in (*saved, *(k for k in now if k not in saved)):
        if saved.get(key) != now.get(key):
            raise CheckpointError(
                f"the checkpoint belongs to another {what}: {key} is {_or_absent(saved, key)} there "
                f"and {_or_absent(now, key)} here"
            )


def _or_absent(values: Mapping[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "absent"
