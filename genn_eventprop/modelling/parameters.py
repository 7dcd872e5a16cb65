"""Parameters of a model and where their initial values come from.

Axis letters used in every docstring of the package: B batch, T steps, N neurons of the target, M neurons of the
source, K classes. Times are in ms.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np

from ..errors import NetworkError, shown


class Initialiser(Protocol):
    """Anything that draws an array of initial values. `Array`, `Constant`, `FanIn`, `FromData`, `Gamma`, `Normal` and
    `Uniform` do, and a class of your own may.

    Example:
        >>> class Signs:
        ...     def sample(self, rng, shape, fan_in):
        ...         return rng.choice([-1.0, 1.0], size=shape)
        >>> Dense(Signs()).weight.sample(np.random.default_rng(1), (2, 3), fan_in=2).shape
        (2, 3)
    """

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        """Values of this shape.

        Args:
            rng: the random stream to draw from.
            shape: of the parameter: (M, N) for dense weights, (N,) for a neuron parameter.
            fan_in: number of presynaptic neurons of a target, 1 for neuron parameters.
        """
        ...


@dataclass(frozen=True)
class Constant:
    """Every value the same; a plain number means this.

    Args:
        value: the number.

    Example:
        >>> Dense(0.1).weight
        Constant(value=0.1)
    """

    value: float

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        """`value` everywhere in this `shape`; `rng` and `fan_in` are not used."""
        return np.full(shape, float(self.value))


@dataclass(frozen=True)
class Uniform:
    """Uniform on [low, high).

    Args:
        low, high: the bounds, in the unit of the parameter.

    Example:
        >>> net.population(LIF(tau_mem=Uniform(10.0, 30.0)), 50, name="mixed")  # one time constant a neuron, in ms
        <population 'mixed': 50 LIF, tau_mem Uniform(low=10.0, high=30.0) ms, ...
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_numbers(self)
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low <= self.high):
            raise NetworkError(f"Uniform: needs finite low <= high, got {self.low} and {self.high}")

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        """Draws of `rng` in this `shape`; `fan_in` is not used."""
        return rng.uniform(self.low, self.high + 0.0, shape)  # of -0.0, which numpy takes for less than 0.0, 0.0


@dataclass(frozen=True)
class Normal:
    """Normal with mean `mean` and standard deviation `std`, in the unit of the parameter.

    Example:
        >>> values = Dense(Normal(1.5, 0.78)).weight.sample(np.random.default_rng(1), (5, 200), fan_in=5)
        >>> print(f"{values.mean():.1f}")
        1.5
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        _check_numbers(self)
        if not (self.std >= 0 and np.isfinite(self.mean) and np.isfinite(self.std)):
            raise NetworkError(f"Normal: needs a finite mean and std >= 0, got {self.mean} and {self.std}")

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        """Draws of `rng` in this `shape`; `fan_in` is not used."""
        return rng.normal(self.mean, self.std, shape)


@dataclass(frozen=True)
class FanIn:
    """Normal whose mean and standard deviation are `mean` / M and `gain` / sqrt(M), M the number of sources.

    Example:
        >>> values = FanIn(gain=2.0).sample(np.random.default_rng(1), (400, 100), fan_in=400)
        >>> print(f"{values.std():.2f}")
        0.10
    """

    gain: float = 1.0
    mean: float = 0.0

    def __post_init__(self) -> None:
        _check_numbers(self)
        if not (self.gain >= 0 and np.isfinite(self.mean) and np.isfinite(self.gain)):
            raise NetworkError(f"FanIn: needs a finite mean and gain >= 0, got {self.mean} and {self.gain}")

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        """Draws of `rng` in this `shape`, scaled by `fan_in`, which is M."""
        return rng.normal(self.mean / fan_in, self.gain / np.sqrt(fan_in), shape)


@dataclass(frozen=True)
class FromData:
    """Weights whose scale follows from data, those of a connectivity without `weight`: ``Dense()``.

    They are drawn as by `FanIn` with these numbers. Before the first update the trainer, or a layer's first call in
    training mode, multiplies all that lead to a population by one factor (`training.weights_from_data`). Into spiking
    neurons the mean is positive, so that a larger factor means more spikes; among the neurons of a population and into
    outputs that do not spike it is 0.

    Args:
        gain: times 1 / sqrt(M), the standard deviation before the factor, as for `FanIn`.
        mean: times 1 / M, the mean before the factor.

    Example:
        >>> Dense().weight
        FromData(gain=0.5, mean=1.0)
    """

    gain: float = 0.5
    mean: float = 1.0

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        """Draws of `rng` in this `shape`, scaled by `fan_in`, which is M, before data set the factor."""
        return FanIn(self.gain, self.mean).sample(rng, shape, fan_in)


@dataclass(frozen=True)
class Gamma:
    """Gamma(`shape`, mean / `shape`) clipped to [`low`, `high`]: the heterogeneous time constants of loss shaping.

    Source: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852 (shape 3, clipped at 3 times the mean).

    Args:
        mean: of the distribution before clipping, in the unit of the parameter.
        shape: of the Gamma distribution; the standard deviation is mean / sqrt(shape).
        low, high: the values are clipped to these.

    Example:
        >>> LIF(tau_mem=Param(Gamma(20.0, low=3.0, high=60.0), "ms", trainable=True)).params["tau_mem"].per_neuron
        True
    """

    mean: float
    shape: float = 3.0
    low: float = 0.0
    high: float = np.inf

    def __post_init__(self) -> None:
        _check_numbers(self)
        if not (0 < self.mean < np.inf and 0 < self.shape < np.inf):
            raise NetworkError(f"Gamma: mean and shape must be positive, got {self.mean} and {self.shape}")
        if not self.low <= self.high:
            raise NetworkError(f"Gamma: low must not exceed high, got {self.low} and {self.high}")

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        """Draws of `rng` in this `shape`; `fan_in` is not used."""
        return np.clip(rng.gamma(self.shape, self.mean / self.shape, shape), self.low, self.high)


@dataclass(frozen=True, eq=False)
class Array:
    """The values of an array, copied; a plain NumPy array means this.

    Args:
        values: an array of numbers in the shape of the parameter.

    Example:
        >>> Dense(np.eye(4)).weight.sample(rng, (4, 4), fan_in=4)[0]
        array([1., 0., 0., 0.])
    """

    values: Any

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        """A copy of `values` if it has this `shape`; `rng` and `fan_in` are not used.

        Raises:
            NetworkError: another shape.
        """
        values = np.array(self.values, dtype=np.float64)
        if values.shape != shape:
            raise NetworkError(f"an array of shape {values.shape} was given where {shape} is needed")
        return values


def _check_numbers(initialiser: Any) -> None:
    """Raise `NetworkError` unless every setting of a distribution is a number."""
    for setting in fields(initialiser):
        value = getattr(initialiser, setting.name)
        if np.ndim(value) != 0 or np.asarray(value).dtype.kind not in "iuf":
            raise NetworkError(
                f"{type(initialiser).__name__}: {setting.name} must be a number, got {shown(value)}; values that "
                "differ are an array, e.g. Dense(array)"
            )


def as_initialiser(value: Any, where: str) -> Initialiser:
    """A number, array or initialiser as an initialiser.

    Raises:
        NetworkError: for anything else, and for values that are not finite.
    """
    if hasattr(value, "sample") and not isinstance(value, type):
        return value
    try:
        if isinstance(value, (str, bytes, bool)) or np.asarray(value).dtype.kind not in "iuf":
            raise TypeError
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise NetworkError(
            f"{where}: expected a number, an array or an initialiser, got {shown(value)}; write e.g. 20.0, an array of "
            "numbers, or Normal(mean, std)"
        ) from None
    if not np.all(np.isfinite(array)):
        raise NetworkError(f"{where}: values must be finite, got {shown(value)}{not_finite(array)}")
    return Constant(float(array)) if array.ndim == 0 else Array(array)


def not_finite(array: np.ndarray) -> str:
    """Of an array with values that are not finite, how many are not, and the first; "" for a single number."""
    if array.ndim == 0:
        return ""
    bad = np.argwhere(~np.isfinite(array))
    where = ", ".join(map(str, bad[0]))
    return f"; {len(bad)} of {array.size} are not, the first is {array[tuple(bad[0])]} at [{where}]"


def check_bounds(bounds: Any, where: str) -> None:
    """Raise `NetworkError` unless bounds are a pair (lower, upper) with lower <= upper, None for open.

    Each is a number, or an array with one bound for each value.
    """
    if not (isinstance(bounds, (tuple, list)) and len(bounds) == 2):
        raise NetworkError(f"{where}: bounds are a pair (lower, upper), None for open; got {bounds!r}")
    for bound in bounds:
        if bound is not None and (np.asarray(bound).dtype.kind not in "iuf" or np.isnan(bound).any()):
            raise NetworkError(f"{where}: a bound is a number, an array of numbers or None; got {bound!r}")
    lower, upper = bounds
    if lower is not None and upper is not None and np.any(np.asarray(lower) > np.asarray(upper)):
        raise NetworkError(f"{where}: bounds {tuple(bounds)} are the wrong way round")


def is_open(bounds: Any) -> bool:
    """Whether bounds are (None, None)."""
    return all(bound is None for bound in bounds)


def within(bounds: tuple[Any, Any], enforced: tuple[Any, Any] | None) -> tuple[Any, Any]:
    """`bounds`, None for open, moved into those that are enforced in any case; None: there are none of these."""
    if enforced is None:
        return bounds
    lower, upper = (limit if bound is None else np.clip(bound, *enforced) for bound, limit in zip(bounds, enforced))
    return lower, upper


def check_bounds_fit(bounds: Any, shape: tuple[int, ...], where: str) -> None:
    """Raise `NetworkError` unless every bound is a number or broadcasts to `shape`."""
    for bound in bounds:
        of_bound = np.shape(bound) if bound is not None else ()
        try:
            fits = np.broadcast_shapes(of_bound, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise NetworkError(f"{where}: a bound of shape {of_bound} does not fit values of shape {shape}")


@dataclass(frozen=True, eq=False)
class Param:
    """A parameter of a neuron or synapse model.

    Args:
        value: a number, an array (one value per neuron) or an initialiser such as `Gamma`.
        unit: for humans and messages; time constants have "ms".
        trainable: learn it; its gradient is exact, like that of a weight.
        shared: a trainable number is one value for the whole population instead of one per neuron.
        bounds: (lower, upper), None for open; enforced after every optimiser step.

    Example:
        >>> tau_mem = Param(20.0, "ms", trainable=True, bounds=(3.0, None))  # learned, one value a neuron
        >>> net.population(LIF(tau_mem=tau_mem), 30, name="learned").neuron.params["tau_mem"].per_neuron
        True
    """

    value: Any
    unit: str = ""
    trainable: bool = False
    shared: bool = False
    bounds: tuple[float | None, float | None] = (None, None)

    def __post_init__(self) -> None:
        check_bounds(self.bounds, "Param")
        as_initialiser(self.value, "Param")
        if not isinstance(self.unit, str):
            raise NetworkError(f"Param: the unit must be a string, e.g. 'ms', got {self.unit!r}")
        object.__setattr__(self, "unit", self.unit.strip())

    def with_value(self, value: Any) -> Param:
        """This parameter with another value, or `value` itself if it is a full `Param` (the unit is kept)."""
        if isinstance(value, Param):
            return replace(value, unit=self.unit or value.unit)
        return replace(self, value=value)

    def check_positive(self, where: str) -> None:
        """Raise `NetworkError` for a time, declared in ms, whose numbers are not positive; `where` is its name
        there."""
        value = getattr(self.value, "value", getattr(self.value, "values", self.value))
        if self.unit == "ms" and not hasattr(value, "sample") and np.any(np.asarray(value) <= 0):
            raise NetworkError(
                f"{where}: a time constant must be positive, got {np.min(value):g} ms; give a number above 0, in ms"
            )

    def draw(self, rng: np.random.Generator, size: int, where: str) -> np.ndarray:
        """Initial values: shape (1,) if one number serves the population, else (N,).

        Args:
            rng: random stream. size: N. where: the parameter's name in messages.

        Raises:
            NetworkError: an array of another shape.
        """
        initialiser = as_initialiser(self.value, where)
        shape = (size,) if self.per_neuron else (1,)
        try:
            values = initialiser.sample(rng, shape, 1)
        except NetworkError as error:
            raise NetworkError(f"{where}: {error}") from None
        check_bounds_fit(self.bounds, values.shape, where)
        low, high = self.bounds
        if (low is not None and np.any(values < low)) or (high is not None and np.any(values > high)):
            raise NetworkError(f"{where}: the initial value {_show(values)} lies outside the bounds {self.bounds}")
        return values

    def __str__(self) -> str:
        """Such as "20 ms (learned)"."""
        learned = f" (learned{', one value for all' if self.shared else ''})" if self.trainable else ""
        return f"{shown_values(self.value)}{' ' if self.unit else ''}{self.unit}{learned}"

    @property
    def per_neuron(self) -> bool:
        """True if every neuron has its own value: an array, a random draw, or trainable and not shared."""
        fixed_number = np.ndim(self.value) == 0 and not hasattr(self.value, "sample")
        if self.shared:
            return False
        return self.trainable or not (fixed_number or isinstance(self.value, Constant))


def shown_values(value: Any) -> str:
    """A number, the range of an array, or a distribution, for people."""
    if isinstance(value, Constant):
        value = value.value
    if isinstance(value, Array):
        value = value.values
    if hasattr(value, "sample"):
        return str(value)
    return _show(np.asarray(value))


def _show(values: np.ndarray) -> str:
    low, high = f"{values.min():g}", f"{values.max():g}"
    return low if low == high else f"{low} to {high}"
