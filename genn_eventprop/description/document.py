"""The document as a whole."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checksummed import KEY as CHECKSUM
from ..data.augment.steps import Step
from ..data.target_scale import TargetScale
from ..errors import DescriptionError, EventPropError
from ..losses import Loss
from ..modelling import Network
from ..plan.records import SPIKE_TIMES
from .loss import build_losses, describe_losses
from .network import build_network, describe_network
from .safe import Guard
from .steps import build_steps, describe_steps

FORMAT = "genn_eventprop model 1"
DTYPES = ("float32", "float64")
WEIGHT_ROWS = ("float32", "float16")
CARRY = (False, True, "exact")
_PLACE = re.compile(r"^\S+\.py:\d+: ")


@dataclass(frozen=True, eq=False)
class Described:
    """A trained model, without the values of its parameters.

    Args:
        network, loss: as they were built; several losses as a list.
        duration, dt: trial and time step in ms.
        spike_times: "grid" or "exact".
        engine, dtype: what it was trained on.
        preprocessing: from the data as it is recorded to the network's input.
        n_channels: of the data before that.
        class_names: of the outputs; () if unknown.
        weight_rows: as of `Trainer`.
        target_scale: of a regression that learns targets in standard deviations. carry: as of `Trainer`.
    """

    network: Network
    loss: Loss | Sequence[Loss]
    duration: float
    dt: float
    spike_times: str
    engine: str = "auto"
    dtype: str = "float32"
    preprocessing: tuple[Step, ...] = ()
    n_channels: int | None = None
    class_names: tuple[str, ...] = ()
    weight_rows: str = "float32"
    target_scale: TargetScale | None = None
    carry: bool | str = False


def describe(model: Described) -> dict[str, Any]:
    """The document, ready for JSON.

    Args:
        model: e.g. ``trainer.described``.

    Example:
        >>> from genn_eventprop.description import build, describe
        >>> trainer = Trainer(net, loss, duration=20.0, dt=1.0)
        >>> again = build(describe(trainer.described), trainer.engine.parameters)
        >>> again.duration, again.network.populations[0].name
        (20.0, 'hidden')

    Raises:
        DescriptionError: a part that the format does not have.
    """
    scale = model.target_scale
    return {
        "format": FORMAT,
        "network": describe_network(model.network),
        "loss": describe_losses(model.loss),
        "run": {
            "duration": float(model.duration),
            "dt": float(model.dt),
            "spike_times": model.spike_times,
            "engine": model.engine,
            "dtype": model.dtype,
            **({} if model.weight_rows == "float32" else {"weight_rows": model.weight_rows}),
            **({"carry": model.carry} if model.carry else {}),
        },
        "preprocessing": {"channels": model.n_channels, "steps": describe_steps(model.preprocessing)},
        "class_names": [str(name) for name in model.class_names],
        **({} if scale is None else {"targets": {"mean": scale.mean.tolist(), "deviation": scale.deviation.tolist()}}),
    }


def build(document: Any, values: Mapping[str, np.ndarray] | None = None, *, trust: bool = False) -> Described:
    """The model that a document describes.

    Args:
        document: what `describe` gave, read from JSON.
        values: stored parameters by name, for those that the document has no numbers of.
        trust: the document is the user's own: hand-written code and expressions of any form are taken.

    Example:
        >>> from genn_eventprop.description import build, describe
        >>> document = describe(Trainer(net, loss, duration=20.0, dt=1.0).described)
        >>> build(document, net.initial_parameters(1)).loss.readout
        'integral'

    Raises:
        DescriptionError: not such a document, another version, or something that a foreign one may not hold.
    """
    version = document.get("format") if isinstance(document, Mapping) else None
    if version != FORMAT:
        raise DescriptionError(
            f"not a model description in the format of this version, {FORMAT!r}; it says {version!r}"
        )
    try:
        return _build(document, values or {}, Guard(trust))
    except DescriptionError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, EventPropError) as error:
        missing = f"{error} is missing" if isinstance(error, KeyError) else _PLACE.sub("", str(error))
        raise DescriptionError(f"the description of the model cannot be used: {missing}") from None


def _build(document: Mapping[str, Any], values: Mapping[str, np.ndarray], guard: Guard) -> Described:
    network = build_network(document["network"], values, guard)
    run, prepared, names = document["run"], document["preprocessing"], document["class_names"]
    channels = prepared["channels"]
    rows = run.get("weight_rows", "float32")
    carry = run.get("carry", False)
    settings: tuple[tuple[Any, tuple[Any, ...]], ...] = (
        (run["spike_times"], SPIKE_TIMES), (run["dtype"], DTYPES), (rows, WEIGHT_ROWS), (carry, CARRY),
    )  # fmt: skip
    for value, known in settings:
        if value not in known:
            raise DescriptionError(f"{value!r}: expected one of {', '.join(map(str, known))}")
    described = Described(
        network,
        build_losses(document["loss"], network, guard),
        duration=guard.number(run["duration"], "duration"),
        dt=guard.number(run["dt"], "dt"),
        spike_times=run["spike_times"],
        engine=guard.name(run["engine"], "the engine"),
        dtype=run["dtype"],
        preprocessing=build_steps(prepared["steps"], guard),
        n_channels=None if channels is None else guard.size(channels, "channels"),
        class_names=tuple("".join(c if c.isprintable() else "?" for c in str(name)) for name in names),
        weight_rows=rows,
        target_scale=_scale(document["targets"], guard) if "targets" in document else None,
        carry=carry,
    )
    fields = {key: value for key, value in document.items() if key != CHECKSUM}
    guard.known(fields, describe(described), "the description of the model", free=("models",))
    return described


def _scale(record: Mapping[str, Any], guard: Guard) -> TargetScale:
    """Mean and deviation of the targets, finite numbers."""
    mean, deviation = (
        np.array([guard.number(v, f"{name} of the targets") for v in record[name]], np.float64)
        for name in ("mean", "deviation")
    )
    if mean.shape != deviation.shape or not (deviation > 0).all():
        raise DescriptionError("targets: as many means as deviations, and these above 0")
    return TargetScale(mean, deviation)
