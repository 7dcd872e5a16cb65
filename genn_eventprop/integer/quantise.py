"""From numbers to integers: the units of states, decays, thresholds and weights of a `Profile`.

A population's V and I are counted in one unit, u integers for 1 of V. Its synapses' weights are those of I in the exact
step of the model, V(t + dt) = a V + c I, I(t + dt) = b I, with a = exp(-dt / tau_mem), b = exp(-dt / tau_syn) and
c = tau_syn / (tau_syn - tau_mem) (b - a), so a weight w adds u c w to the integer I (u c w / b where I decays before V
takes it). First the decays become integers; a, b and c are then those that these stand for, so the integers are the
network with the rounded time constants, thresholds and weights: `IntegerNetwork.values`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import NetworkError
from .network import IntegerConnection, IntegerNetwork, IntegerPopulation
from .profile import Profile

_MEMBRANE = {"V": "(I - V) / tau_mem", "I": "-I / tau_syn"}
MODELS: dict[str, tuple[dict[str, str], str | None, dict[str, str] | None]] = {
    "LIF": (_MEMBRANE, "V - v_thresh", {"V": "v_reset"}),
    "LIFRelativeReset": (_MEMBRANE, "V - v_thresh", {"V": "V - v_thresh"}),
    "ALIF": (_MEMBRANE | {"B": "-B / tau_B"}, "V - v_thresh - B", {"V": "v_reset", "B": "B + b_jump"}),
    "LI": (_MEMBRANE, None, None),
}
"""Models that integers have: dynamics, threshold, reset. They are known by their equations, whatever their name."""
TERNARY = 0.7
"""Weights beyond this share of the mean of their absolute values are not 0 (Li, Liu 2016, arXiv 1605.04711)."""


@dataclass(frozen=True, eq=False)
class NumberPopulation:
    """A population before: a model of `MODELS`, or another's name; values (1,) or (N,) of its parameters, in ms."""

    name: str
    size: int
    model: str
    values: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class NumberConnection:
    """A connection before: source None for input channels from `first` on; weights as in the network, a table where it
    is not dense, delays in whole steps, and the longest that they may become."""

    name: str
    parameter: str
    source: str | None
    first: int
    pre: int
    target: str
    weight: np.ndarray
    start: np.ndarray | None = None
    post: np.ndarray | None = None
    weight_of: np.ndarray | None = None
    delay: int = 0
    delays: np.ndarray | None = None
    longest: int = 0


def quantised(
    profile: Profile, populations: Sequence[NumberPopulation], connections: Iterable[NumberConnection], dt: float,
    n_channels: int, others: Mapping[str, np.ndarray],
) -> IntegerNetwork:  # fmt: skip
    """The integer network of a network of numbers.

    Args:
        dt: ms. n_channels: of the input. others: further values of `IntegerNetwork.values`, such as delays.

    Raises:
        NetworkError: what the profile cannot do.
    """
    if profile.dt is not None and not math.isclose(profile.dt, dt):
        raise NetworkError(f"profile {profile.name!r} has steps of {profile.dt:g} ms, not of {dt:g} ms")
    # a machine delivers what comes from outside before what its own neurons sent
    ordered = sorted(connections, key=lambda c: c.source is not None)
    values, made, records = dict(others), list[IntegerPopulation](), dict[str, IntegerConnection]()
    index = {p.name: i for i, p in enumerate(populations)}
    for p in populations:
        into = [c for c in ordered if c.target == p.name]
        neuron = _Neuron(profile, p, dt, any(c.source == p.name for c in ordered))
        unit = neuron.unit(into)
        for c in into:
            _check_delay(profile, c)
            source = -1 if c.source is None else index[c.source]
            weight, gain, stands_for = _weights(profile, c, unit * neuron.gain)
            fixed = (c.start, c.post, c.weight_of, c.delay, c.delays)
            records[c.name] = IntegerConnection(c.name, source, c.first, c.pre, index[p.name], weight, gain, *fixed)
            values[c.parameter] = stands_for
        _check_range(profile, [records[c.name] for c in into], p.size)
        longest = max((max(c.delay, c.longest) for c in into), default=0)
        made.append(neuron.record(unit, longest + 1))
        values |= {f"{p.name}.{n}": v for n, v in neuron.values(unit).items()}
    return IntegerNetwork(
        profile, dt, n_channels, tuple(made), tuple(records[c.name] for c in ordered), values
    )  # fmt: skip


class _Neuron:
    """The decays of a population, and what follows from them.

    Attributes:
        gain: of a weight in V, (1,) or (N,).
    """

    def __init__(self, profile: Profile, p: NumberPopulation, dt: float, sends: bool) -> None:
        if p.model not in MODELS:
            raise NetworkError(
                f"population {p.name!r}: integer networks have the models {', '.join(MODELS)}, not {p.model}"
            )
        if p.model == "ALIF" and not profile.adaptation:
            raise NetworkError(f"population {p.name!r}: profile {profile.name!r} has no adaptive threshold (ALIF)")
        resets = p.values.get("v_reset", np.zeros(1))
        if profile.reset != "value" and np.any(resets != 0):
            raise NetworkError(f"population {p.name!r}: profile {profile.name!r} cannot reset V to {resets.flat[0]:g}")
        thresholds = np.asarray(p.values.get("v_thresh", np.ones(1)))
        if np.any(thresholds <= 0):
            raise NetworkError(
                f"population {p.name!r}: integer networks have thresholds above 0, not v_thresh={thresholds.min():g}"
            )
        self.profile, self.p, self.sends = profile, p, sends
        self.resets = np.asarray(resets, np.float64)
        self.spiking = p.model != "LI"
        taus = [n for n in ("tau_mem", "tau_syn", "tau_B") if n in p.values]
        self.decays = {n: _decay(profile, np.asarray(p.values[n], np.float64), dt) for n in taus}
        factors = {n: _factor(profile, d) for n, d in self.decays.items()}
        self.taus = {n: -dt / np.log(f) for n, f in factors.items()}
        a, b = factors["tau_mem"], factors["tau_syn"]
        c = _coupling(self.taus["tau_mem"], self.taus["tau_syn"], dt)
        arrival, membrane = (profile.order.index(o) for o in ("arrive", "membrane"))
        between = sum(profile.order[k % 3] == "decay" for k in range(arrival, membrane + 3 * (membrane < arrival)))
        self.gain = c / b**between
        self.peak = _peak(a, b, c)

    def unit(self, into: Sequence[NumberConnection]) -> float:
        """Integers for 1 of V: thresholds take 1 / headroom of the states, or less where a reset or a jump would not
        fit; where there are none a few spikes of every source at once fill the states; with shifts, the largest weights
        then are full scale."""
        profile, p = self.profile, self.p
        largest = [np.abs(self._per_target(c)).max(initial=0.0) for c in into]
        if self.spiking:
            threshold = float(np.abs(p.values["v_thresh"]).max())
            limit = profile.state_max / profile.headroom
            if profile.threshold_bits:
                limit = min(limit, ((1 << profile.threshold_bits) - 1) << profile.threshold_shift)
            unit = limit / threshold
            farthest = max(float(np.abs(p.values.get(n, 0.0)).max()) for n in ("v_reset", "b_jump"))
            unit = min(unit, profile.state_max / farthest) if farthest else unit
        else:
            total = sum((_sums(c, p.size) for c in into), np.zeros(p.size))
            reach = float((total * np.maximum(self.gain, self.peak)).max(initial=0.0)) or 1.0
            spare = 2.0 ** max((profile.state_bits - 8) // 4, 0)  # sources spike more than once: 4 times in 16 bits
            unit = profile.state_max / (spare * reach)
        w = max(largest, default=0.0)
        if w == 0:
            return unit
        if profile.gain == "one":
            return min(unit, profile.weight_max / w)
        if profile.gain == "integer":
            return min(unit, profile.gain_limit * profile.weight_max / w)
        # the largest connection is written with all bits of a weight: the unit shrinks by less than 2 for that
        shift = min(max(math.floor(math.log2(unit * w / profile.weight_max)), 0), profile.gain_limit)
        return min(unit, profile.weight_max * 2.0**shift / w) if unit * w >= profile.weight_max else unit

    def _per_target(self, c: NumberConnection) -> np.ndarray:
        if c.start is None:
            return np.asarray(c.weight) * self.gain
        if self.gain.size > 1 and c.weight.size != len(c.post if c.post is not None else ()):
            raise NetworkError(
                f"connection {c.name!r} shares weights between neurons with different time constants; integers cannot"
            )
        assert c.post is not None and c.weight_of is not None
        return np.asarray(c.weight).ravel()[c.weight_of] * np.broadcast_to(self.gain, self.p.size)[c.post]

    def record(self, unit: float, slots: int) -> IntegerPopulation:
        profile, zero = self.profile, np.zeros(1, np.int64)
        threshold = self._threshold(unit) if self.spiking else np.full(1, profile.state_max)
        start = np.rint(self.resets * unit).astype(np.int64)
        decay_V, decay_I, decay_B = (self.decays.get(n, zero) for n in ("tau_mem", "tau_syn", "tau_B"))
        return IntegerPopulation(
            name=self.p.name, size=self.p.size, spiking=self.spiking, decay_V=decay_V, decay_I=decay_I, decay_B=decay_B,
            threshold=threshold + int(self.spiking and profile.strict), reset=start,
            jump=np.rint(np.asarray(self.p.values.get("b_jump", zero)) * unit).astype(np.int64),
            adaptive=self.p.model == "ALIF", start=start, slots=slots, unit=float(unit),
            max_spikes=profile.max_spikes if self.sends else profile.max_output_spikes,
        )  # fmt: skip

    def _threshold(self, unit: float) -> np.ndarray:
        step = 1 << self.profile.threshold_shift
        last = (self.profile.state_max - self.profile.strict) // step
        whole = np.rint(np.asarray(self.p.values["v_thresh"]) * unit / step)
        return np.clip(whole, 1, last).astype(np.int64) * step

    def values(self, unit: float) -> dict[str, np.ndarray]:
        """What the integers of the neurons stand for."""
        values = dict(self.taus)
        if self.spiking:
            values["v_thresh"] = self._threshold(unit) / unit
        if "b_jump" in self.p.values:
            values["b_jump"] = np.rint(np.asarray(self.p.values["b_jump"]) * unit) / unit
        if "v_reset" in self.p.values:
            values["v_reset"] = np.rint(self.resets * unit) / unit
        return values


def _decay(profile: Profile, tau: np.ndarray, dt: float) -> np.ndarray:
    """The integers of exp(-dt / tau)."""
    last = (1 << profile.decay_bits) - 1
    if profile.decay == "shift":
        shifts = np.arange(1, last + 1)
        error = np.abs((1 - 2.0**-shifts) - np.exp(-dt / tau)[:, None])
        return shifts[error.argmin(axis=1)]
    return np.clip(np.rint(np.exp(-dt / tau) * (last + 1)), 1, last).astype(np.int64)


def _factor(profile: Profile, decay: np.ndarray) -> np.ndarray:
    return 1 - 2.0**-decay if profile.decay == "shift" else decay / float(1 << profile.decay_bits)


def _coupling(tau_mem: np.ndarray, tau_syn: np.ndarray, dt: float) -> np.ndarray:
    """c, what I adds to V in a step; where the two time constants are equal, dt / tau exp(-dt / tau)."""
    near = np.abs(tau_mem - tau_syn) < 1e-6 * tau_mem
    apart = np.where(near, 1.0, tau_syn - tau_mem)
    c = tau_syn / apart * (np.exp(-dt / tau_syn) - np.exp(-dt / tau_mem))
    return np.where(near, dt / tau_mem * np.exp(-dt / tau_mem), c)


def _peak(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """The largest V after one spike of weight 1."""
    k = np.arange(1, 4000)[:, None]
    near = np.abs(a - b) < 1e-9
    series = c * np.where(near, k * a ** (k - 1), (a**k - b**k) / np.where(near, 1.0, a - b))
    return np.asarray(series.max(axis=0))


def _sums(c: NumberConnection | IntegerConnection, size: int) -> np.ndarray:
    """(N,) sum of the absolute weights into every target."""
    w = np.abs(np.asarray(c.weight, np.float64))
    if c.start is None:
        return np.asarray(w.sum(axis=0))
    assert c.post is not None and c.weight_of is not None
    return np.bincount(c.post, w.ravel()[c.weight_of], minlength=size)


def _weights(profile: Profile, c: NumberConnection, unit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(integer weights, their gain, the weights that they stand for); unit (1,) or (N,): integers of I for weight 1."""
    w = np.asarray(c.weight, np.float64)
    columns = c.start is None
    if not columns and unit.size > 1:  # every weight has its own target, see `_per_target`
        assert c.post is not None and c.weight_of is not None
        spread = np.empty(w.size)
        spread[c.weight_of] = unit[c.post]
        unit = spread.reshape(w.shape)
    target = w * unit
    axis = 0 if columns and profile.weight_scale == "neuron" else None
    size_of = np.abs(target)
    if profile.weight_bits == 2:
        large = size_of > TERNARY * size_of.mean(axis=axis, keepdims=True)
        count = large.sum(axis=axis, keepdims=True)
        scale = (size_of * large).sum(axis=axis, keepdims=True) / np.maximum(count, 1)
    else:
        scale = size_of.max(axis=axis, keepdims=True, initial=0.0) / profile.weight_max
    if profile.gain == "one":
        gain = np.ones(scale.shape, np.int64)
    elif profile.gain == "shift":
        # up to the next power of two, so that the largest weight fits
        shift = np.ceil(np.log2(np.maximum(scale, 1e-30)) - 1e-9)
        gain = np.int64(1) << np.clip(shift, 0, profile.gain_limit).astype(np.int64)
    else:
        gain = np.clip(np.ceil(scale - 1e-9), 1, profile.gain_limit).astype(np.int64)  # up: no weight is cut
    if profile.weight_bits == 2:
        whole = np.sign(target) * large
    else:
        whole = np.clip(np.rint(target / gain), -profile.weight_max, profile.weight_max)
    stands_for = whole * gain / unit
    return whole.astype(np.int64), gain.ravel(), stands_for


def _check_delay(profile: Profile, c: NumberConnection) -> None:
    longest = int(c.delay if c.delays is None else c.delays.max(initial=0))
    if profile.max_delay is not None and longest > profile.max_delay:
        most = f"delays of at most {profile.max_delay} steps" if profile.max_delay else "no delays"
        raise NetworkError(f"connection {c.name!r}: profile {profile.name!r} has {most}, not of {longest}")


def _check_range(profile: Profile, into: Sequence[IntegerConnection], size: int) -> None:
    """What a spike adds has 32 bits, and so has the sum where all arrivals of a step are added."""
    if profile.arrivals == "sum":
        largest = [float((_sums(c, size) * c.gain).max(initial=0)) for c in into]
    else:
        largest = [float(np.abs(c.weight).max(initial=0) * c.gain.max()) for c in into]
    if (sum(largest) if profile.arrivals == "sum" else max(largest, default=0)) >= 1 << 30:
        name = into[int(np.argmax(largest))].name
        raise NetworkError(f"connection {name!r}: arrivals of one step do not fit into 32 bits; raise headroom")
