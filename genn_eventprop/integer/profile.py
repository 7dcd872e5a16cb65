"""`Profile`: how a machine of integers computes a network, as data."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import NetworkError, check_known, is_number, shown

CHOICES: dict[str, tuple[str, ...]] = {
    "weight_scale": ("tensor", "neuron"),
    "gain": ("one", "shift", "integer"),
    "arrivals": ("sum", "each"),
    "overflow": ("saturate", "wrap"),
    "decay": ("multiply", "shift"),
    "rounding": ("nearest", "down", "zero", "stochastic"),
    "reset": ("value", "zero", "subtract"),
}
OPERATIONS = ("arrive", "decay", "membrane")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The arithmetic of a machine: bits, scales, rounding, saturation, and the order of the operations of a step.

    A step of a neuron with current I, membrane V and threshold theta, all of them integers, is in the given `order`

        arrive    I = limit(I + sum of w gain)                      over the spikes that arrive in this step
        decay     I = d_I(I)
        membrane  V = limit(d_V(V) + I), or limit(V + limit(I - (V - d_V(V)))) with decays by shifts

    and then, while V >= theta (V > theta if `strict`) and spikes are left, a spike and the reset. A decay is
    d(x) = round(x d / 2^decay_bits), or x - max(|x >> d|, 1) with the sign of x.

    Args:
        name: in messages and files.
        weight_bits: of a weight, signed and symmetric: 8 bits are -127 to 127, 2 bits are -1, 0 and 1 (ternary).
        weight_scale: one scale for a connection ("tensor"), or one for each target neuron ("neuron") where it is dense.
        gain: what a weight is multiplied by when it arrives: nothing ("one"), a power of two ("shift"), or any whole
            number ("integer").
        gain_limit: the largest shift, or the largest factor.
        state_bits: of V and I, at most 32.
        symmetric: states reach down to -(2^(state_bits - 1) - 1), otherwise by one further.
        arrivals: all arrivals of a step are added, modulo 2^32, before I is limited ("sum"), or I is limited after
            every single one ("each"), in the order of connections and of sources.
        overflow: what happens to I beyond its bits: "saturate", or "wrap" by 2^state_bits. V always saturates.
        decay: decays multiply or shift.
        decay_bits: of a factor 0 to 2^decay_bits - 1; of shifts, 1 to 2^decay_bits - 1.
        rounding: of the product of a state and its decay: "nearest" (halves up), "down", "zero" (towards zero), or
            "stochastic" (up with the probability of the fraction).
        seed: of stochastic rounding, whose numbers are a function of seed, step, neuron and state.
        order: "arrive", "decay" and "membrane" in the order in which a step has them. Where "membrane" is before
            "arrive", all acts a step later than in the engines.
        reset: V becomes a value of one's own ("value") or 0 ("zero"), or theta is subtracted ("subtract").
        strict: a spike needs V > theta.
        threshold_bits: of theta before it is shifted; 0: those of the states. threshold_shift: by so many, to the left.
        max_spikes, max_output_spikes: of a neuron in a step, of populations with and without targets.
        max_input_spikes: of a channel in a step, further ones are not delivered; 0: all are.
        max_delay: steps; None: any.
        adaptation: neurons may have an adaptive threshold (ALIF).
        headroom: states reach this many times the largest threshold; a power of two.
        dt: ms, if the machine has only one time step.

    Example:
        >>> order = ("decay", "arrive", "membrane")
        >>> mine = Profile(name="mine", state_bits=16, decay_bits=12, rounding="down", order=order)
        >>> mine.state_max, mine.wide
        (32767, True)

    Raises:
        NetworkError: a setting that no machine has.
    """

    name: str
    weight_bits: int = 8
    weight_scale: str = "tensor"
    gain: str = "integer"
    gain_limit: int = 1 << 20
    state_bits: int = 32
    symmetric: bool = False
    arrivals: str = "sum"
    overflow: str = "saturate"
    decay: str = "multiply"
    decay_bits: int = 15
    rounding: str = "nearest"
    seed: int = 1
    order: tuple[str, ...] = ("arrive", "membrane", "decay")
    reset: str = "value"
    strict: bool = False
    threshold_bits: int = 0
    threshold_shift: int = 0
    max_spikes: int = 1
    max_output_spikes: int = 1
    max_input_spikes: int = 0
    max_delay: int | None = None
    adaptation: bool = True
    headroom: int = 8
    dt: float | None = None

    def __post_init__(self) -> None:
        for field, choices in CHOICES.items():
            value = getattr(self, field)
            check_known(value, choices, NetworkError, f"profile {self.name!r}: {field}={value!r} (")
        ranges = {
            "weight_bits": (2, 16), "state_bits": (4, 32), "decay_bits": (1, 4 if self.decay == "shift" else 16),
            "threshold_bits": (0, 32), "threshold_shift": (0, 24), "max_spikes": (1, 255),
            "max_output_spikes": (1, 255), "max_input_spikes": (0, 255), "headroom": (1, 1 << 20),
            "gain_limit": (0, 24) if self.gain == "shift" else (1, 1 << 24), "seed": (0, 2**32 - 1),
        }  # fmt: skip
        for field, (low, high) in ranges.items():
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise NetworkError(
                    f"profile {self.name!r}: {field} must be a whole number from {low} to {high}, got {value!r}"
                )
        if not isinstance(self.order, tuple) or tuple(sorted(map(str, self.order))) != OPERATIONS:
            raise NetworkError(
                f"profile {self.name!r}: order must have each of {', '.join(OPERATIONS)} once, got {self.order!r}"
            )
        if (1 << self.threshold_shift) + self.strict > self.state_max:
            raise NetworkError(
                f"profile {self.name!r}: no threshold fits into {self.state_bits} bits with "
                f"threshold_shift={self.threshold_shift}"
            )
        if self.arrivals == "each" and (self.order[0] != "arrive" or self.overflow != "saturate"):
            raise NetworkError(
                f"profile {self.name!r}: arrivals='each' adds to I as spikes come; order must begin with 'arrive', and "
                "overflow be 'saturate'"
            )

    @property
    def state_max(self) -> int:
        """The largest value of a state."""
        return (1 << (self.state_bits - 1)) - 1

    @property
    def state_min(self) -> int:
        """The smallest value of a state."""
        return -self.state_max - (not self.symmetric)

    @property
    def weight_max(self) -> int:
        """The largest weight."""
        return (1 << (self.weight_bits - 1)) - 1

    @property
    def wide(self) -> bool:
        """Whether a state times its decay, or a state and what arrives in a step, needs more than 32 bits."""
        return self.state_bits + self.decay_bits > 31 or self.arrivals == "sum"


PROFILES: dict[str, Profile] = {
    p.name: p
    for p in (
        Profile(name="int8", weight_scale="neuron", headroom=1 << 10),
        Profile(name="ternary", weight_bits=2, weight_scale="neuron", headroom=1 << 10),
        Profile(
            name="fenn", weight_bits=16, gain="one", gain_limit=1, state_bits=16, arrivals="each", rounding="stochastic"
        ),
        Profile(
            name="loihi2", gain="shift", gain_limit=14, state_bits=24, symmetric=True, overflow="wrap", decay_bits=12,
            rounding="zero", order=("decay", "arrive", "membrane"), reset="zero", strict=True, threshold_bits=17,
            threshold_shift=6, max_delay=62, adaptation=False, headroom=32,
        ),
        Profile(
            name="xylo", gain="shift", gain_limit=7, state_bits=16, arrivals="each", decay="shift", decay_bits=4,
            order=("arrive", "decay", "membrane"), reset="subtract", max_spikes=31, max_input_spikes=15, max_delay=0,
            adaptation=False,
        ),
    )
}  # fmt: skip
"""int8 and ternary: ours, for a microcontroller. fenn: 16-bit fixed point, weights in the format of the states, decays
of 15 bits (FeNN, arXiv 2506.11760, and its toolchain). loihi2: u wraps and v saturates at 24 bits, decays of 12 bits
round towards zero, thresholds of 17 bits are shifted by 6 (fixed-point LIF of Lava). xylo: decays by shifts, several
spikes a step, thresholds are subtracted (xylosim 0.1.3, version 2 of the core)."""


def as_profile(value: Profile | str) -> Profile:
    """A profile, the one of this name in `PROFILES`, or that of a file NAME.toml with fields of `Profile`.

    Raises:
        NetworkError: another name or type, a file that cannot be read or says what no profile has.
    """
    if isinstance(value, Profile):
        return value
    if isinstance(value, str) and value.endswith(".toml"):
        return _read(Path(value))
    names = [*PROFILES, "FILE.toml"]
    check_known(value, names, NetworkError, f"unknown profile {value!r} (")
    return PROFILES[value]


def _read(path: Path) -> Profile:
    try:
        settings: dict[str, Any] = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:  # no file, no text, no TOML
        raise NetworkError(f"profile {path} cannot be read: {error}") from None
    known = {f.name: f.type for f in fields(Profile)}
    for name, value in settings.items():
        check_known(name, known, NetworkError, f"profile {path} has a line {name!r} (")
        wanted = str(known[name])
        if name == "order":
            settings[name] = tuple(value) if isinstance(value, list) else value
        elif wanted.split(" ")[0] != type(value).__name__ and not (wanted.startswith("float") and is_number(value)):
            raise NetworkError(f"profile {path}: {name} = {shown(value)} is not of type {wanted}")
    return Profile(**{"name": path.stem} | settings)
