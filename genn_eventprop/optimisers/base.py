"""What every optimiser shares: settings by group, state, bounds, clipping, an average of parameters, checkpoints."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from ..errors import CheckpointError, SettingError, TrainingError, check_known, is_number, shown, suggest
from ..modelling.parameters import within
from .text import check_text, execute

Bounds = tuple[Any, Any]
"""(lower, upper) of a parameter; a number, an array that broadcasts to it, or None for open."""


Value = TypeVar("Value")
AVERAGING = "average = average + average_rate * (x - average)\n"
"""Stands before the step: it takes in what the last step left, with bounds applied and with changes by callbacks."""


@dataclass(frozen=True, eq=False)
class ParameterStep:
    """One parameter's share of one optimiser step.

    Args:
        name: the parameter, e.g. ``"input_hidden.weight"``.
        scalars: the numbers in `OptimiserStep.code`, float64, computed on the host for this very step.
        state: the state arrays, shaped like the parameter; changed in place.
        lower, upper: bounds applied after the update, None for open.
    """

    name: str
    scalars: dict[str, float]
    state: dict[str, np.ndarray]
    lower: Any = None
    upper: Any = None


@dataclass(frozen=True, eq=False)
class OptimiserStep:
    """Everything an engine needs to change its parameters once.

    Args:
        code: statements that read and assign `x` (the parameter), `g` (its gradient) and the state.
        state_names: arrays of the state, shaped like the parameter.
        scalar_names: the order in which a compiled version takes the scalars.
        local_names: temporaries of the code.
        parameters: what is to be changed, one entry each.
    """

    code: str
    state_names: tuple[str, ...]
    scalar_names: tuple[str, ...]
    local_names: tuple[str, ...]
    parameters: tuple[ParameterStep, ...]

    def apply(self, parameters: Mapping[str, np.ndarray], gradients: Mapping[str, np.ndarray]) -> None:
        """Change `parameters`, with `gradients` by the same names, and the state in place (the definition; engines may
        run the same text compiled)."""
        for item in self.parameters:
            x, g = parameters[item.name], gradients[item.name]
            result = execute(self.code, {**item.scalars, **item.state, "x": x, "g": g})
            for name, array in item.state.items():  # in place: these arrays are what checkpoints save
                array[...] = result[name]
            x[...] = result["x"]
            if item.lower is not None or item.upper is not None:
                np.clip(x, item.lower, item.upper, out=x)


class Averaging:
    """Average of the parameters x_1, x_2, ... after each of k steps, with rate r_k = max(1 - average, 1 / k):

    a_k = a_{k-1} + r_k (x_k - a_{k-1}).

    This is the plain mean at first, so that nothing is left of the initial values, and later an exponential moving
    average over some 1 / (1 - average) steps. It lies within constant bounds because all x do.

    Source: Polyak & Juditsky 1992, doi 10.1137/0330046; the rate as in `ExponentialMovingAverage` of TensorFlow, which
    starts with a similar mean.
    """

    average: float | None
    """Decay of the average, 0 < average < 1; None: no average."""
    averaged: int
    """k: steps since the average began."""
    state: dict[str, dict[str, np.ndarray]]
    name: str

    def _check_average(self) -> None:
        number = isinstance(self.average, (int, float, np.number))
        if self.average is not None and not (number and 0 < self.average < 1):
            raise SettingError(
                f"{self.name}: average must lie between 0 and 1, e.g. 0.99, or be None; got {self.average!r}"
            )

    def average_rate(self) -> float:
        """r_k for the parameters as they are now."""
        assert self.average is not None
        return max(1 - self.average, 1 / max(self.averaged, 1))

    def averages(self, parameters: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """a_k of the learned ones among the current `parameters`; empty if no average is kept."""
        if self.average is None:
            return {}
        if self.averaged == 0:
            return {name: np.array(parameters[name]) for name in self.state}
        rate, averages = self.average_rate(), {}
        for name, state in self.state.items():
            x, before = np.asarray(parameters[name]), np.asarray(state["average"])
            averages[name] = before + np.asarray(rate, x.dtype) * (x - before)
        return averages

    def restart_average(self) -> None:
        """Forget what was averaged, after the parameters were replaced."""
        self.averaged = 0

    def _average_info(self) -> dict[str, Any]:
        return {} if self.average is None else {"average": self.average, "averaged": self.averaged}

    def _load_average(self, info: Mapping[str, Any]) -> None:
        if info.get("average") != self.average:
            raise CheckpointError(
                f"the checkpoint was written with average={info.get('average')} of optimiser {self.name}, this run has "
                f"average={self.average}"
            )
        self.averaged = int(info.get("averaged", 0))


class Optimiser(Averaging):
    """Base class. A subclass gives `state_names`, `code`, `scalar_names` and `scalars`.

    Args:
        settings: numbers by name, ``learning_rate`` (step size eta, which a schedule multiplies) among them.
        groups: settings for parameters by name pattern, e.g. ``{"*.tau_mem": {"learning_rate": 1e-2}}``;
            a later pattern overrides an earlier one.
        bounds: (lower, upper) by name pattern, e.g. ``{"hidden.tau_mem": (3.0, None)}``; these replace the bounds
            that the parameter itself declares, within those that always hold (`Plan.enforced_bounds`).
        clip_norm: scale all gradients down if their common L2 norm exceeds this; None (default): never. With name
            patterns, ``{"*_hidden1.weight": 0.1, "*": 1.0}``, each gradient is clipped by itself; a later pattern
            overrides an earlier one. `clipped_steps` counts the steps in which gradients were clipped.
        average: decay of an exponential moving average of the parameters, e.g. 0.99, see `Averaging`; None: none is
            kept. The `Trainer` then evaluates with the average.
        relative: the learning rate of a weight matrix is in units of the root mean square of its initial weights
            (`measure`), so that a step of Adam moves them by this share, whatever scale the data gave them.

    `factor` multiplies the learning rates of the next step; `factors`, by name pattern, replaces it for parameters that
    match. A schedule sets them.
    """

    state_names: ClassVar[tuple[str, ...]] = ()
    scalar_names: ClassVar[tuple[str, ...]] = ()
    code: ClassVar[str] = ""
    scale_free: ClassVar[bool] = False
    """Whether gradients that are all multiplied by one number give the same steps: then clipping cannot make these
    smaller."""

    def __init__(
        self,
        settings: dict[str, float],
        groups: Mapping[str, Mapping[str, float]] | None,
        bounds: Mapping[str, Bounds] | None,
        clip_norm: float | Mapping[str, float] | None,
        average: float | None = None,
        relative: bool = False,
    ) -> None:
        self.name = type(self).__name__
        self.settings = dict(settings)
        self.groups = {pattern: dict(values) for pattern, values in (groups or {}).items()}
        self.bounds = dict(bounds or {})
        self.clip_norm, self.average, self.relative = clip_norm, average, relative
        self.units: dict[str, float] = {}
        self.factor = 1.0
        self.factors: dict[str, float] = {}
        self.steps = self.clipped_steps = self.averaged = 0
        self.state: dict[str, dict[str, np.ndarray]] = {}
        self._bounds: dict[str, Bounds] = {}
        self._decay: dict[str, float] = {}
        self._settings: dict[str, dict[str, float]] = {}
        self._check_settings()
        full = self.full_code()
        self._locals = check_text(full, {"x", "g", *self.full_state_names(), *self.full_scalar_names()}, self.name)

    def scalars(self, step: int, settings: Mapping[str, float]) -> dict[str, float]:
        """The numbers in `code` for update number `step` (1 for the first) with these `settings`, bias corrections
        folded in, float64; their "learning_rate" has been multiplied by "unit", see `relative`."""
        raise NotImplementedError

    def check(self, settings: Mapping[str, float], where: str) -> None:
        """Refuse unusable `settings` of the group called `where`; subclasses add their own rules."""
        for name, value in settings.items():
            if not is_number(value):
                raise SettingError(f"{where}: {name} must be a number, got {shown(value)}")
        if not (np.isfinite(settings["learning_rate"]) and settings["learning_rate"] >= 0):
            raise SettingError(f"{where}: learning_rate must be finite and >= 0, got {settings['learning_rate']}")

    @property
    def local_names(self) -> tuple[str, ...]:
        """Temporaries in `full_code`."""
        return self._locals

    def bounds_of(self, name: str) -> Bounds:
        """(lower, upper) of the parameter `name`; known once `prepare` was called."""
        return self._bounds[name]

    def full_code(self) -> str:
        """`code`, preceded by the average, the scaling of the gradient when clipping is on, and an L2 penalty."""
        # the order is part of the definition: the penalty comes after clipping, which would scale it down with the loss
        before = "" if self.average is None else AVERAGING
        before += "" if self.clip_norm is None else "g = gradient_scale * g\n"
        return before + ("g = g + l2 * x\n" if self._decay else "") + self.code

    def full_scalar_names(self) -> tuple[str, ...]:
        """Numbers in `full_code`."""
        scale = () if self.clip_norm is None else ("gradient_scale",)
        average = () if self.average is None else ("average_rate",)
        return (*self.scalar_names, *scale, *(("l2",) if self._decay else ()), *average)

    def full_state_names(self) -> tuple[str, ...]:
        """State arrays in `full_code`, the average among them."""
        return self.state_names if self.average is None else (*self.state_names, "average")

    def prepare(
        self,
        parameters: Mapping[str, np.ndarray],
        bounds: Mapping[str, Bounds] | None = None,
        decay: Mapping[str, float] | None = None,
        enforced: Mapping[str, Bounds] | None = None,
    ) -> None:
        """Allocate zero state for `parameters` and settle each one's settings and bounds.

        Args:
            parameters: the arrays to be trained, by name; the state takes their shapes and types.
            bounds: (lower, upper) that the parameters themselves declare. enforced: those that always hold.
            decay: parameter -> strength of an L2 penalty, see `regularisers.WeightDecay`.

        Raises:
            SettingError: a group or bound pattern that matches no parameter, bounds that exclude the first value.
        """
        clipped = self.clip_norm if isinstance(self.clip_norm, Mapping) else {}
        check_patterns((*self.groups, *self.bounds, *clipped), parameters, self.name)
        self.steps = self.clipped_steps = self.averaged = 0
        self._decay = {name: strength for name, strength in (decay or {}).items() if strength}
        self.state, self._settings, self._bounds = {}, {}, {}
        for name, array in parameters.items():
            self.state[name] = {state: np.zeros_like(array) for state in self.full_state_names()}
            self._settings[name] = dict(self.settings)
            for values in _matching(self.groups, name):
                self._settings[name].update(values)
        self.settle_bounds(bounds or {}, enforced)
        for name, array in parameters.items():
            self._check_start(name, array)

    def settle_bounds(self, bounds: Mapping[str, Bounds], enforced: Mapping[str, Bounds] | None = None) -> None:
        """Other `bounds` that the parameters themselves declare, and `enforced` ones that always hold, from the next
        step on."""
        for name in self._settings:
            pairs = [bounds.get(name, (None, None)), *_matching(self.bounds, name)]
            self._bounds[name] = within(pairs[-1], (enforced or {}).get(name))

    def free(self, name: str, gradient: np.ndarray) -> np.ndarray:
        """The `gradient` of parameter `name` with 0 where both of its bounds are the same: those values cannot move."""
        lower, upper = self._bounds[name]
        if lower is None or upper is None or not (fixed := np.equal(lower, upper)).any():
            return gradient
        return np.where(fixed, 0, gradient)

    def next_step(
        self, gradients: Mapping[str, np.ndarray] | None = None, *, squares: Mapping[str, float] | None = None
    ) -> OptimiserStep:
        """Count one step and return its record; an engine may run it compiled.

        The learning rate is multiplied with `factor`, which a schedule sets before each step.

        Args:
            gradients: by name; needed, or `squares`, only when `clip_norm` is set.
            squares: name -> sum of the squares of the gradient, see `square`.
        """
        scale = self._scales(gradients, squares)
        self.steps += 1
        items = []
        for name, settings in self._settings.items():
            scaled = {**settings, "learning_rate": self.rate_of(name), "unit": self.units.get(name, 1.0)}
            scalars = self.scalars(self.steps, scaled)
            if scale:
                scalars["gradient_scale"] = scale[name]
            if self._decay:
                scalars["l2"] = self._decay.get(name, 0.0)
            if self.average is not None:
                scalars["average_rate"] = self.average_rate()
            items.append(ParameterStep(name, scalars, self.state[name], *self._bounds[name]))
        self.averaged += 1
        states, scalar_names = self.full_state_names(), self.full_scalar_names()
        return OptimiserStep(self.full_code(), states, scalar_names, self._locals, tuple(items))

    def rate_of(self, name: str) -> float:
        """The learning rate of the parameter `name`, with its factor and in its unit."""
        return self._settings[name]["learning_rate"] * self.units.get(name, 1.0) * self.factor_of(name)

    def measure(self, weights: Mapping[str, np.ndarray]) -> None:
        """With `relative`: take the root mean square of these initial `weights` as the unit of their learning rates."""
        if self.relative:
            self.units = {name: _scale(weights[name]) for name in self._settings if name in weights}

    def factor_of(self, name: str) -> float:
        """What the learning rate of the parameter `name` is multiplied by."""
        return [self.factor, *_matching(self.factors, name)][-1]

    def update(self, parameters: Mapping[str, np.ndarray], gradients: Mapping[str, np.ndarray]) -> None:
        """One step of `parameters` with NumPy, in place; `gradients` by the same names."""
        if not self._settings:
            self.prepare(parameters)
        self.next_step(gradients).apply(parameters, gradients)

    def square(self, name: str, gradient: np.ndarray) -> float:
        """The sum of the squares of the `gradient` of parameter `name`, without values that cannot move."""
        return float(np.sum(np.square(self.free(name, gradient), dtype=np.float64)))

    def _scales(
        self, gradients: Mapping[str, np.ndarray] | None, squares: Mapping[str, float] | None
    ) -> dict[str, float]:
        """What every gradient is multiplied by; nothing if none is clipped."""
        if self.clip_norm is None:
            return {}
        names = list(self._settings)
        if squares is None:
            if gradients is None:
                raise TrainingError(f"{self.name}: clip_norm is set, so next_step needs the gradients")
            # a weight that a bound holds in place does not move, so its gradient must not shrink those that do
            squares = {name: self.square(name, gradients[name]) for name in names}
        if isinstance(self.clip_norm, Mapping):
            limits = {n: _matching(self.clip_norm, n) for n in names}
            norms = {n: float(np.sqrt(squares[n])) for n in names}
            scales = {n: min(1.0, limits[n][-1] / norms[n]) if limits[n] and norms[n] > 0 else 1.0 for n in names}
        else:
            norm = float(np.sqrt(sum(squares[n] for n in names)))
            scales = dict.fromkeys(names, min(1.0, self.clip_norm / norm if norm > 0 else 1.0))
        self.clipped_steps += any(s < 1 for s in scales.values())
        return scales

    def _check_start(self, name: str, value: np.ndarray) -> None:
        lower, upper = (None if b is None else np.asarray(b, value.dtype) for b in self._bounds[name])
        if (lower is not None and np.any(value < lower)) or (upper is not None and np.any(value > upper)):
            raise SettingError(
                f"{self.name}: the initial values of {name}, {value.min():g} to {value.max():g}, lie outside its "
                f"bounds {self._bounds[name]}; widen them or start inside (Dense(..., bounds=) clips random values)"
            )

    def _check_settings(self) -> None:
        limits = self.clip_norm.values() if isinstance(self.clip_norm, Mapping) else [self.clip_norm]
        if any(limit is not None and not limit > 0 for limit in limits):
            raise SettingError(f"{self.name}: clip_norm must be > 0 or None, got {self.clip_norm}")
        self._check_average()
        if self.average is not None and not is_text(self):
            raise SettingError(
                f"{self.name}: its steps are written in Python, so it can keep no average; leave average out"
            )
        self.check(self.settings, self.name)
        for pattern, values in self.groups.items():
            for key in values:
                check_known(
                    key, self.settings, SettingError, f"{self.name}: unknown setting {key!r} of group {pattern!r}; "
                )
            self.check({**self.settings, **values}, f"{self.name} group {pattern!r}")
        for pattern, (lower, upper) in self.bounds.items():
            if lower is not None and upper is not None and np.any(np.asarray(lower) > np.asarray(upper)):
                raise SettingError(f"{self.name}: bounds of {pattern!r} are the wrong way round: {lower} > {upper}")

    def state_dict(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """(arrays named ``"parameter/state"``, JSON-able counters and settings)."""
        arrays = {f"{name}/{key}": array.copy() for name, state in self.state.items() for key, array in state.items()}
        info = {"name": self.name, "steps": self.steps, "clipped_steps": self.clipped_steps, "settings": self.settings}
        return arrays, info | self._average_info() | ({"units": dict(self.units)} if self.relative else {})

    def load_state_dict(self, arrays: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> None:
        """Restore the `arrays` and `info` that `state_dict` gave; `prepare` must have been called with the same
        parameters.

        Raises:
            CheckpointError: another optimiser, or arrays that are missing or misshapen.
        """
        if info["name"] != self.name:
            raise CheckpointError(f"the checkpoint was written by optimiser {info['name']}, this run uses {self.name}")
        self._load_average(info)
        if ("units" in info) != self.relative:
            raise CheckpointError(
                f"the checkpoint was written with relative={'units' in info} of optimiser {self.name}, this run has "
                f"relative={self.relative}"
            )
        self.units = {name: float(unit) for name, unit in info.get("units", {}).items()}
        for name, state in self.state.items():
            for key, array in state.items():
                saved = arrays.get(f"{name}/{key}")
                if saved is None or saved.shape != array.shape:
                    problem = "missing" if saved is None else f"of shape {saved.shape}"
                    raise CheckpointError(f"optimiser state {name}/{key} of shape {array.shape} is {problem}")
                array[...] = saved
        self.steps, self.clipped_steps = int(info["steps"]), int(info["clipped_steps"])


def _matching(table: Mapping[str, Value], name: str) -> list[Value]:
    """The values of a table by name pattern that are for `name`, in order: a later one overrides an earlier one."""
    return [value for pattern, value in table.items() if fnmatch.fnmatchcase(name, pattern)]


def _scale(weights: np.ndarray) -> float:
    """Root mean square; of weights that are all 0, which say nothing, one over the root of the number that arrive."""
    rms = float(np.sqrt(np.mean(np.square(weights, dtype=np.float64)))) if weights.size else 0.0
    return rms if np.isfinite(rms) and rms > 0 else 1.0 / max(1, len(np.atleast_1d(weights))) ** 0.5


def check_patterns(patterns: Iterable[str], parameters: Iterable[str], where: str) -> None:
    """Raise `SettingError` at a name pattern that matches no learned parameter.

    Args:
        patterns: e.g. ``["*.tau_mem"]``.
        parameters: names of the learned ones.
        where: begins the message.

    Example:
        >>> from genn_eventprop.optimisers import check_patterns
        >>> check_patterns(["*.weight"], ["input_hidden.weight"], "bounds")
    """
    names = list(parameters)
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise SettingError(f"{where}: no parameter matches {pattern!r}; {suggest(pattern, names)}")


def gradient_norm(gradients: Mapping[str, np.ndarray]) -> float:
    """L2 norm over all `gradients`, arrays by name, together, summed in float64.

    Example:
        >>> from genn_eventprop.optimisers import gradient_norm
        >>> gradient_norm({"a": np.array([3.0]), "b": np.array([4.0])})
        5.0
    """
    return float(np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in gradients.values())))


def is_text(optimiser: Any) -> bool:
    """Whether the steps of `optimiser` are its text and nothing else, so that an engine may run them compiled.

    Example:
        >>> from genn_eventprop.optimisers import is_text
        >>> is_text(Adam())
        True
    """
    kind = type(optimiser)
    overridden = (getattr(kind, n) is not getattr(Optimiser, n) for n in ("update", "next_step"))
    return isinstance(optimiser, Optimiser) and not any(overridden)
