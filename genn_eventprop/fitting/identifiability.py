"""Which parameters a recording would tell apart, before it is made: the curvature of a fit's loss at known values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import SettingError
from ..modelling import Neuron, NeuronModel
from .fit import usual_noise
from .forced import fitted_model
from .options import FitOptions
from .problem import Problem
from .ranges import check_settings, choose, names_of, untold
from .recording import WINDOW
from .residuals import Residuals
from .result import correlations, not_told
from .simulate import simulate


@dataclass(frozen=True, eq=False)
class Identifiability:
    """How surely a recording of a model would tell its parameters.

    Attributes:
        names, values, low, high: (P,) the parameters, and the bounds a fit would have.
        covariance: (P, P) of their errors, for errors of V and spikes as the options say. fixed: parameters that a fit
            leaves as they are, with the reason. spikes: how many the recording has.

    Example:
        >>> from genn_eventprop.fitting import identifiability
        >>> pulse = np.repeat([0.0, 1.5, 0.0], 400)
        >>> told = identifiability(LIF, pulse, dt=0.1, only=["tau_mem", "v_thresh"])
        >>> told.names, told.spikes, told.doubts()
        (['tau_mem', 'v_thresh'], 1, [])
    """

    names: list[str]
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    covariance: np.ndarray
    fixed: list[str]
    spikes: int

    @property
    def deviations(self) -> np.ndarray:
        """(P,) standard deviations."""
        return np.sqrt(np.diag(self.covariance))

    def doubts(self) -> list[str]:
        """What the recording would not tell: unsure parameters, pairs that are told only together."""
        return not_told(self.names, self.low, self.high, self.deviations, correlations(self.covariance))

    def __str__(self) -> str:
        rows = [f"{n:12} {v:12.6g} +- {d:<10.2g}" for n, v, d in zip(self.names, self.values, self.deviations)]
        return "\n".join([*rows, f"{self.spikes} spikes", *self.fixed, *self.doubts()])


def identifiability(
    neuron: NeuronModel | Neuron,
    current: Any,
    dt: float,
    *,
    inject: str | None = None,
    voltage: bool = True,
    only: Iterable[str] | None = None,
    bounds: dict[str, tuple[float, float]] | None = None,
    fixed: Iterable[str] = (),
    **options: Any,
) -> Identifiability:
    """Inject a current into a model and say which of its parameters a recording of that would tell.

    The covariance is the inverse of J^T J at the values of the model, J the derivative of the residuals of a fit, each
    over its standard deviation (Cramer and Rao's bound for independent errors of these sizes).

    Args:
        neuron, current, dt, inject: as for `simulate`.
        voltage: whether V would be measured, not the spikes alone.
        only, bounds: as for `fit`; a parameter that is 0 in the model, which tells no range, has -1 to 1 without one.
        fixed: names of parameters that would be known.
        options: of `FitOptions`, of which the deviations, ``window``, ``skip``, ``every`` and ``threads`` matter.

    Raises:
        SettingError: no spike and no voltage, or values outside the bounds; what `fit` raises.

    Example:
        >>> from genn_eventprop.fitting import identifiability
        >>> calm = identifiability(LIF(tau_mem=12.0), np.repeat([0.0, 0.8, 0.0], 400), dt=0.1, fixed=["v_reset"])
        >>> [doubt.split(":")[0] for doubt in calm.doubts()]
        ['v_thresh is not determined by this recording']
    """
    chosen = FitOptions(**options)
    recording = simulate(neuron, current, dt, inject=inject)
    if not voltage:
        recording = replace(recording, voltage=None)
    assert recording.spikes is not None
    spikes = sum(map(len, recording.spikes))
    if not spikes and (not voltage or chosen.spike_noise is None):
        raise SettingError(f"{recording.name!r}: the model does not spike with this current; take a larger one")
    model = neuron if isinstance(neuron, NeuronModel) else neuron.model
    fitted = fitted_model(model, inject)
    params = {} if isinstance(neuron, NeuronModel) else neuron.params
    every = {n: float(params[n].value if n in params else p.value) for n, p in fitted.free.params.items()}
    check_settings(bounds := {} if bounds is None else bounds, {}, {})
    bounds = dict(bounds)
    only, fixed = None if only is None else names_of(only, "only"), names_of(fixed, "fixed")
    free = fitted.free.params
    asked = set(free if only is None else only) - {*(untold(fitted) if only is None else ()), *fixed, *bounds}
    bounds |= {n: (-1.0, 1.0) for n in asked if n in free and free[n].value == 0 and free[n].unit != "mV"}
    ranges = choose(fitted, recording, bounds, {n: every[n] for n in fixed if n in every}, only, {})
    values = np.array([every[n] for n in ranges.names])
    outside = (values < ranges.low) | (values > ranges.high)
    if outside.any():
        i = int(np.argmax(outside))
        raise SettingError(f"{ranges.names[i]} = {values[i]:g} is outside its bounds; give bounds around it")
    residuals = Residuals(
        fitted, recording, window=WINDOW if chosen.window is None else chosen.window, skip=chosen.skip,
        every=chosen.every,
        voltage_noise=chosen.voltage_noise or usual_noise(recording), spike_noise=chosen.spike_noise,
    )  # fmt: skip
    known = {n: v for n, v in every.items() if n not in ranges.names}
    problem = Problem(residuals, ranges.names, ranges.low, ranges.high, known | ranges.fixed, 1, threads=chosen.threads)
    width = ranges.high - ranges.low
    jacobian = problem.slopes((values - ranges.low) / width)
    problem.close()
    # a direction that nothing depends on has a deviation of a hundred ranges, as in `result.uncertainty`
    inverse = np.linalg.inv(jacobian.T @ jacobian + 1e-4 * np.eye(len(values)))
    return Identifiability(
        ranges.names, values, ranges.low, ranges.high, inverse * np.outer(width, width), ranges.remarks, spikes
    )
