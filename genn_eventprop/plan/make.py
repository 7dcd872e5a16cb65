"""The compile stage: a network, a loss and a time grid become a frozen `Plan`."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..adjoint import Derived, derive
from ..adjoint.birth import why_no_births
from ..errors import PlanError, shown
from ..losses import Loss, as_losses
from ..modelling.drive import Drives, driven, of_drives
from ..modelling.network import Connection, Current, Dense, Network, Population
from ..regularisers import Clamp, Regulariser, SpikeRegulariser, WeightDecay, checked
from . import clock
from .closed_form import moves_threshold
from .connection import ConnectionRecord, DelayRecord
from .records import SPIKE_TIMES, CurrentRecord, InputRecord, Plan, PopulationRecord


@dataclass(frozen=True, eq=False)
class NetworkPlan(Plan):
    """A plan with the network, the (main) loss and the regularisers that it was made of: for those who made it, to draw
    first parameters or to make another plan. Engines and code generation take a `Plan` and do not know of them."""

    network: Network
    asked: Loss
    regularisers: tuple[Regulariser, ...] = ()


def make_plan(
    network: Network,
    loss: Loss | Sequence[Loss],
    *,
    dt: float,
    duration: float,
    spike_times: str = "grid",
    regularisers: Sequence[Regulariser] = (),
    spike_birth: float = 0.0,
) -> NetworkPlan:
    """Freeze a network, a loss and a time grid.

    Args:
        loss: one, or several that each read another population; they add up, each times its `factor`, and
            the first decides predictions.
        dt: step in ms. duration: trial length T in ms, a whole number of steps. spike_times: "grid" or "exact".
        regularisers: what is asked besides the loss, see `genn_eventprop.regularisers`; they add up.
        spike_birth: sigma in units of the threshold, see docs/spike_birth.md; 0 is off.

    Raises:
        PlanError: if the grid does not fit, the network has no input, or the loss belongs to another network.
        LossError: if the loss's time weight does not fit the trial or is not finite.
        SettingError: a regulariser that does not fit the network.
    """
    if not isinstance(network, Network):
        raise PlanError(
            f"expected a Network, got {shown(network)}; make one with net = Network() and net.population(...)"
        )
    losses = as_losses(loss)
    loss = losses[0]
    n_steps = _number_of_steps(network, dt, duration, spike_times)
    for each in losses:
        if each.population not in network.populations:
            raise PlanError(f"the loss reads {each.population.name!r}, which is not a population of this network")
        _check_stochastic(network, each, spike_times)
    penalties = checked(regularisers, network, loss)
    populations = _populations(network)
    if spike_times == "exact":
        _check_cycles(network, {p.name: p.derived for p in populations})
    for each in (each for each in losses if each.integrates):
        each.weight.check(duration, dt if spike_times == "grid" else None)
        if spike_times == "grid":
            clock.window_steps(each.weight.ends(duration), dt)
    return NetworkPlan(
        input=_input(network), populations=populations,
        connections=_connections(network, dt, of_currents=False), currents=_currents(network),
        currents_into=_connections(network, dt, of_currents=True),
        loss=loss.record, auxiliary=tuple(each.record for each in losses[1:]),
        dt=float(dt), duration=float(duration), n_steps=n_steps, spike_times=spike_times,
        trainable=network.trainable(), limits=_limits(network, penalties), decays=_decays(network, penalties),
        pushes=tuple(r.record for r in penalties if isinstance(r, SpikeRegulariser)),
        spike_birth=checked_sigma(spike_birth, populations),
        network=network, asked=loss, regularisers=penalties,
    )  # fmt: skip


def _number_of_steps(network: Network, dt: float, duration: float, spike_times: str) -> int:
    """Of a trial; refuses settings that make no trial of this network, whatever a loss reads of it."""
    if not all(_is_number(v) and math.isfinite(v) and v > 0 for v in (dt, duration)):
        raise PlanError(f"dt and duration must be positive times in ms, got dt={dt!r} and duration={duration!r}")
    n_steps = clock.number_of_steps(duration, dt)
    if spike_times not in SPIKE_TIMES:
        raise PlanError(f"spike_times={spike_times!r}: choose one of {', '.join(SPIKE_TIMES)}")
    for c in network.connections:
        if c.delay >= duration:
            raise PlanError(
                f"connection {c.name!r}: a delay of {c.delay:g} ms never arrives in a trial of {duration:g} ms"
            )
    if not network.inputs and not network.currents:
        raise PlanError(
            "the network has no input; add one with network.input(n_channels), or network.current(n_channels, dt)"
        )
    return n_steps


def _input(network: Network) -> InputRecord:
    inputs = network.inputs
    ends = [0, *itertools.accumulate(i.size for i in inputs)]
    parts = (
        tuple((i.name, channels) for i, channels in zip(inputs, itertools.pairwise(ends))) if len(inputs) > 1 else ()
    )
    return InputRecord(
        "+".join(i.name for i in inputs), ends[-1], parts
    )  # without inputs a name that no population has


def _currents(network: Network) -> tuple[CurrentRecord, ...]:
    return tuple(CurrentRecord(c.name, c.size, c.dt, c.interpolation == "linear") for c in network.currents)


def _drives(network: Network, p: Population) -> Drives:
    """Which receptors of a population take currents, and whether one of these is linear between its values."""
    linear: dict[str, bool] = {}
    for c in network.connections:
        if isinstance(c.source, Current) and c.target is p:
            linear[c.receptor] = linear.get(c.receptor, False) or c.source.interpolation == "linear"
    return tuple(linear.items())


def _channels(c: Connection, network: Network) -> tuple[int, int] | None:
    """Which of the channels of several inputs the sources of a connection are."""
    if len(network.inputs) == 1 or c.source not in network.inputs:
        return None
    first = sum(i.size for i in network.inputs[: network.inputs.index(c.source)])
    return first, first + c.source.size


def _limits(network: Network, regularisers: Sequence[Regulariser]) -> dict[str, tuple[float | None, float | None]]:
    """Bounds of parameters, those of the network tightened by every `Clamp`."""
    bounds = network.bounds()
    for clamp in (r for r in regularisers if isinstance(r, Clamp)):
        for name in clamp.names(network):
            low, high = bounds.get(name, (None, None))
            lows, highs = ([b for b in pair if b is not None] for pair in ((low, clamp.lower), (high, clamp.upper)))
            bounds[name] = (
                functools.reduce(np.maximum, lows) if lows else None,
                functools.reduce(np.minimum, highs) if highs else None,
            )
    return bounds


def _decays(network: Network, regularisers: Sequence[Regulariser]) -> dict[str, float]:
    """Parameter -> sum of the strengths of every `WeightDecay` that acts on it."""
    total: dict[str, float] = {}
    for decay in (r for r in regularisers if isinstance(r, WeightDecay)):
        for name in decay.names(network):
            total[name] = total.get(name, 0.0) + decay.strength
    return total


def _check_stochastic(network: Network, loss: Loss, spike_times: str) -> None:
    for p in network.populations:
        if spike_times == "exact" and (p.noise > 0 or p.dropout > 0):
            what = "noise" if p.noise > 0 else "dropout"
            raise PlanError(
                f"population {p.name!r} has {what}, which is drawn at every step and needs spike_times='grid'; use the "
                f"grid, or {what}=0"
            )
        if p is loss.population and p.dropout > 0:
            raise PlanError(f"population {p.name!r} has dropout, but the loss reads its spikes; use dropout=0")


def checked_sigma(sigma: float, populations: Sequence[PopulationRecord]) -> float:
    """The noise of thresholds of a plan.

    Raises:
        PlanError: of a population that cannot have births.
    """
    if not _is_number(sigma) or not math.isfinite(sigma) or sigma < 0:
        raise PlanError(f"spike_birth is the noise of thresholds in units of the threshold, e.g. 0.1, got {sigma!r}")
    for p in (p for p in populations if sigma and p.spiking):
        why = why_no_births(p.derived) or ("has dropout" if p.dropout > 0 else "")
        if why:
            name = p.derived.model.name
            raise PlanError(f"spike_birth={sigma:g} cannot see spikes of population {p.name!r}: {name} {why}; use 0")
    return float(sigma)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _check_cycles(network: Network, derived: dict[str, Derived]) -> None:
    """Refuse cycles of zero delay through arrivals that make their target cross: a spike would come back at once."""

    # individual delays may be zero, or become so
    spikes = (c for c in network.connections if not c.of_current)
    at_once = [
        (c.source.name, c.target.name)
        for c in spikes
        if c.delay == 0 and moves_threshold(derived[c.target.name], c.receptor)
    ]
    for start, _ in at_once:
        reached = {start}
        for _ in at_once:
            reached |= {b for a, b in at_once if a in reached and b != start}
        if any(a in reached and b == start for a, b in at_once):
            raise PlanError(
                f"population {start!r} reaches itself through connections without delay whose arrivals move a "
                "threshold at once (delta synapses), so a spike returns at the instant it was sent; "
                "give one of them a delay, one for the whole connection (individual delays may be 0)"
            )


def _populations(network: Network) -> tuple[PopulationRecord, ...]:
    records = []
    for p in network.populations:
        params, drives = p.neuron.params, _drives(network, p)
        records.append(
            PopulationRecord(
                name=p.name, size=p.size, derived=derive(driven(p.model, drives)), params=dict(params),
                drives=of_drives(p.model, drives),
                per_neuron=frozenset(n for n, q in params.items() if q.per_neuron),
                trainable=tuple(n for n, q in params.items() if q.trainable),
                noise=p.noise, dropout=p.dropout, dropped_reset=p.dropped_reset,
            )
        )  # fmt: skip
    return tuple(records)


def _connections(network: Network, dt: float, *, of_currents: bool) -> tuple[ConnectionRecord, ...]:
    every = _input(network).name
    return tuple(
        ConnectionRecord(
            name=c.name, source=every if c.source in network.inputs else c.source.name,
            target=c.target.name, pre=c.source.size, post=c.target.size,
            receptor=c.receptor, delay=c.delay, delay_steps=int(clock.to_steps(c.delay, dt)), trainable=c.trainable,
            weight_shape=c.weight_shape, **_synapses(c), delays=_delays(c),
            learned=_learned(c), mask=_mask(c), sign=c.sign, channels=_channels(c, network),
            shares=c.share.name if c.share else "",
        )
        for c in network.connections if c.of_current == of_currents
    )  # fmt: skip


def _synapses(c: Connection) -> dict[str, Any]:
    """Which synapses there are: individual delays need a table also where rows would do."""
    kind = c.connectivity
    if kind.form == "windows" and c.delays is None:
        return {"form": "windows", "windows": kind.rows(c.source.shape)}
    form = "synapses" if kind.form == "windows" else kind.form
    return {"form": form, "table": kind.synapses(c.source.shape, c.target.shape)}


def _learned(c: Connection) -> np.ndarray | None:
    """Which weights are learned: not those of a mask that are 0."""
    both = [m for m in (c.learned, _mask(c)) if m is not None]
    return np.logical_and.reduce(both) if both else None


def _mask(c: Connection) -> np.ndarray | None:
    return c.connectivity.mask if isinstance(c.connectivity, Dense) else None


def _delays(c: Connection) -> DelayRecord | None:
    if c.delays is None or c.delay_shape is None:
        return None
    return DelayRecord(c.delays.kind, c.delay_shape, c.delays.max, c.delays.trainable)
