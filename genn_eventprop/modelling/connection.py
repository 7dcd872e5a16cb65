"""`Connection`, and how the initial values of its weights, delays and pairs are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import NetworkError
from .connectivity import Connectivity, Conv2D, Dense, Pool2D, Shape, Synapses
from .connectivity.base import as_mask
from .delay import Delay
from .memory import check_fits
from .parameters import Array, Constant, FromData, Initialiser, check_bounds_fit, is_open, shown_values
from .places import Current, Input, Population


@dataclass(frozen=True, eq=False)
class Connection:
    """Weights from one population (or input) to another, and their delays. Built by `Network.connect`.

    Args:
        name: in the network; its weights are the parameter "name.weight".
        source, target: the two ends.
        connectivity: which pairs have a synapse, and the initial weights.
        delay: time in ms from a spike to its arrival, >= 0, for all synapses. On the grid it is rounded to whole steps,
            floor(delay / dt + 0.5); the engine's `reason` tells if that changed it.
        delays: individual delays, one per synapse, source or target, instead; `delay` is then 0.
        receptor: the input of the target's model on which the spikes act; or a drive of it, for currents.
        trainable: learn the weights. learned: which of them, in the shape of the weights; None: all.
        sign: 1 or -1 for each source (M,) or each weight, which the weights keep, or 0 for any sign; None: any. M signs
            of a `Sparse` connection are those of sources, also if it has M synapses.
        share: the connection whose weights this one uses; None: its own.

    The weights of a current c_j are those of spikes: the target i gets the current sum_j w_ij c_j(t - delay).

    Example:
        >>> slow = net.connect(inp, hidden, Dense(), delay=5.0, name="slow")
        >>> slow.weight_name, slow.weight_shape
        ('slow.weight', (4, 8))
    """

    name: str
    source: Input | Current | Population
    target: Population
    connectivity: Connectivity
    delay: float
    delays: Delay | None
    receptor: str
    trainable: bool
    learned: np.ndarray | None = None
    sign: np.ndarray | None = None
    share: Connection | None = None

    def __repr__(self) -> str:
        """From where to where, the weights and whether they are learned, delays."""
        M, N = self.shape
        kind = type(self.connectivity).__name__
        if self.share is not None:
            weights = f"weights of {self.share.name!r}"
        else:
            learned = ("learned" if self.learned is None else f"{int(self.learned.sum())} learned") * self.trainable
            first = "scaled from data" if self.from_data else shown_values(self.connectivity.weight)
            weights = f"weights {first} ({learned or 'fixed'})"
        delay = f", delay {self.delay:g} ms" * (self.delay > 0)
        if self.delays is not None:
            initial, learned = shown_values(self.delays.initial), " (learned)" * self.delays.trainable
            delay = f", {self.delays.kind} delays {initial} up to {self.delays.max:g} ms{learned}"
        receptor = "" if self.receptor == "input" else f".{self.receptor}"
        ends = f"{self.source.name} -> {self.target.name}{receptor}"
        return f"<connection {self.name!r}: {ends}, {kind} {M} x {N}, {weights}{delay}>"

    @property
    def weight_name(self) -> str:
        """Name of the parameter that its weights are."""
        return f"{(self.share or self).name}.weight"

    @property
    def of_current(self) -> bool:
        """Whether its source is a current, and not spikes."""
        return isinstance(self.source, Current)

    @property
    def shape(self) -> tuple[int, int]:
        """(M, N), sources and targets."""
        return (self.source.size, self.target.size)

    @property
    def weight_shape(self) -> Shape:
        """Shape of the weights; (M, N) if they are dense."""
        return self.connectivity.weight_shape(self.source.shape, self.target.shape)

    @property
    def from_data(self) -> bool:
        """Whether data set the scale of its weights."""
        return isinstance(self.connectivity.weight, FromData)

    @property
    def initialiser(self) -> Initialiser:
        """Initialiser of its weights; those whose scale data set have mean 0 where only their spread matters."""
        weight = self.connectivity.weight
        drives = self.source is not self.target and self.target.model.spiking
        return weight if not isinstance(weight, FromData) or drives else FromData(weight.gain, 0.0)

    @property
    def delay_shape(self) -> Shape | None:
        """Shape of the delays, if they are values."""
        return self.delays.shape(self.weight_shape, *self.shape) if self.delays else None


def draw(c: Connection, stream: Callable[[str], np.random.Generator]) -> dict[str, np.ndarray]:
    """Initial values of a connection's parameters; stream: name of one -> its random stream.

    Raises:
        NetworkError: arrays of the wrong shape, values outside their bounds, more than the machine's memory.
    """
    kind, between = c.connectivity, (c.source.shape, c.target.shape)
    key = c.weight_name
    values: dict[str, np.ndarray] = {}
    if c.share is not None:
        return values | _draw_delays(c, stream)
    pairs = kind.draw_pairs(stream(f"{c.name}.pairs"), *between)
    if pairs is not None:
        values[f"{c.name}.pairs"] = pairs
    if isinstance(kind.weight, Array):
        check_array(kind, c.weight_shape, key, c.source.name)
    try:
        weight = c.initialiser.sample(stream(key), c.weight_shape, kind.fan_in(*between))
    except NetworkError as error:
        raise NetworkError(f"{key}: {error}") from None
    # bounds, then signs, then the mask: where there is no synapse the weight is 0, whatever the bounds
    values[key] = _within_bounds(weight, kind, key)
    # with as many synapses as sources the shape does not tell whose signs they are: those of sources, as documented
    by_source = pairs is not None and c.sign is not None and c.sign.shape == (c.source.size,)
    signs = sign_of_weights(c.sign, c.weight_shape, lambda: _sources(c, pairs), by_source)
    if signs is not None:
        if isinstance(kind.weight, (Array, Constant)) and np.any(values[key] * signs < 0):
            raise NetworkError(f"{key}: some of the given weights do not have the sign in sign=")
        values[key] = np.where(signs == 0, values[key], signs * np.abs(values[key]))
    if isinstance(kind, Dense) and kind.mask is not None:
        values[key] = np.where(kind.mask, values[key], 0.0)
    return values | _draw_delays(c, stream)


def synapses_of(c: Connection, values: Mapping[str, np.ndarray]) -> Synapses:
    """The synapses of a connection that is not dense, with these values of its parameters."""
    table = c.connectivity.synapses(c.source.shape, c.target.shape)
    return table if table is not None else Synapses.of_pairs(values[f"{c.name}.pairs"], *c.shape)


def matrix_of(c: Connection, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """Weights (M, N) of a connection, 0 where there is no synapse."""
    weight = np.asarray(values[c.weight_name], np.float64)
    if c.connectivity.form == "dense":
        return weight
    table, dense = synapses_of(c, values), np.zeros(c.shape)
    dense[table.source, table.target] = weight.ravel()[table.weights]
    return dense


def check_array(kind: Connectivity, wanted: Shape, key: str, source: str) -> None:
    """Raise `NetworkError` for given weights of another shape than `wanted`."""
    shape = np.shape(getattr(kind.weight, "values", ()))
    if shape == wanted:
        return
    rows = f" (rows are neurons of {source!r})" if kind.form == "dense" else ""
    hint = "; transpose it (array.T)" if rows and shape == wanted[::-1] else ""
    hint = "; for random weights write Normal(mean, std)" if shape == (2,) else hint
    raise NetworkError(f"{key}: an array of shape {shape} was given where {wanted} is needed{rows}{hint}")


def _draw_delays(c: Connection, stream: Callable[[str], np.random.Generator]) -> dict[str, np.ndarray]:
    if c.delays is None or c.delay_shape is None:
        return {}
    return {f"{c.name}.delay": c.delays.draw(stream(f"{c.name}.delay"), c.delay_shape, f"{c.name}.delay")}


def _sources(c: Connection, pairs: np.ndarray | None) -> np.ndarray:
    """(S,) the source of every weight of a connection that does not share any."""
    if pairs is not None:
        return pairs[:, 0]
    table = c.connectivity.synapses(c.source.shape, c.target.shape)
    assert table is not None
    return table.source


def sign_of_weights(
    sign: np.ndarray | None, weights: Shape, sources: Callable[[], np.ndarray], by_source: bool = False
) -> np.ndarray | None:
    """Signs in the shape of the weights, from those of weights or of sources.

    Args:
        sources: gives the source of each weight. by_source: the signs are those of sources, even if there are as many
            weights.
    """
    if sign is None or (sign.shape == weights and not by_source):
        return sign
    return np.broadcast_to(sign[:, None], weights) if len(weights) == 2 else sign[sources()].reshape(weights)


def as_sign(value: Any, c: tuple[Connectivity, Shape, Shape], name: str) -> np.ndarray | None:
    """`sign` as an array of -1, 0 and 1, checked against the connectivity between two shapes.

    Raises:
        NetworkError: other values, another shape, signs of sources where they share weights.
    """
    if value is None:
        return None
    kind, source, target = c
    weights, signs = kind.weight_shape(source, target), np.asarray(value)
    signs = np.full(weights, signs) if signs.ndim == 0 else signs
    if signs.dtype.kind not in "iuf" or not np.isin(signs, (-1, 0, 1)).all():
        raise NetworkError(f"connection {name!r}: sign must be an array of 1, -1 and 0 (any), got {value!r}")
    shares = isinstance(kind, (Conv2D, Pool2D))
    if signs.shape != weights and (shares or signs.shape != (math.prod(source),)):
        each = "" if shares else f" or ({math.prod(source)},), one for each source"
        raise NetworkError(
            f"connection {name!r}: sign has shape {signs.shape}, it needs that of the weights {weights}{each}"
        )
    return signs.astype(np.int8)


def as_learned(value: Any, weights: Shape, name: str) -> tuple[bool, np.ndarray | None]:
    """(whether any weight is learned, which if not all) of the argument `trainable` of `connect`."""
    if np.ndim(value) == 0:
        return bool(value), None
    mask = as_mask(value, f"connection {name!r}: trainable")
    if mask.shape != weights:
        raise NetworkError(f"connection {name!r}: trainable has shape {mask.shape}, the weights have {weights}")
    return bool(mask.any()), mask


def check_memory(connections: Sequence[Connection]) -> None:
    """Raise `NetworkError` if the initial weights need more memory than there is, alone or together."""
    total = 0
    for c in connections:
        M, N = c.shape
        form, count = c.connectivity.form, math.prod(c.weight_shape)
        if form == "synapses":
            count = c.connectivity.count(c.source.shape, c.target.shape)
        what = {"dense": f"{M} x {N} weights", "windows": f"{count} weights"}.get(form, f"{count} synapses")
        check_fits(8 * count, f"{c.name}.weight: {what}", "use smaller populations", NetworkError)
        total += 0 if c.share is not None else 8 * count
    check_fits(total, f"{total // 8:,} weights of all connections", "use smaller populations", NetworkError)


def _within_bounds(weight: np.ndarray, connectivity: Connectivity, key: str) -> np.ndarray:
    """Random draws are clipped to the bounds, as they will be after every step; given values must lie inside."""
    check_bounds_fit(connectivity.bounds, weight.shape, key)
    clipped = weight if is_open(connectivity.bounds) else np.clip(weight, *connectivity.bounds)
    if isinstance(connectivity.weight, (Array, Constant)) and not np.array_equal(clipped, weight):
        raise NetworkError(
            f"{key}: given weights of {weight.min():g} to {weight.max():g} lie outside the bounds {connectivity.bounds}"
        )
    return clipped
