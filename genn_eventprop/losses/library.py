"""The losses by name. Each returns a `Loss`; `LOSSES` has them under their published names, with published settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from numbers import Real
from types import FunctionType
from typing import Any, TypeAlias

import numpy as np
import sympy as sp

from ..errors import LossError, check_known
from ..modelling.network import Population
from .kinds import READOUTS
from .label_steps import label_steps
from .loss import Loss
from .outer import Function, formula
from .readout import TimeWeight

INPUT = TimeWeight(input_tau=20.0)


Window = tuple[float, float] | None
Weight: TypeAlias = str | sp.Expr | TimeWeight


def _weight(weight: Weight, window: Window = None) -> TimeWeight:
    if not isinstance(weight, TimeWeight):
        if isinstance(weight, FunctionType):
            raise LossError("a time weight is an expression in t and T, such as 'exp(-t / T)', not a function")
        weight = INPUT if weight == "input" else TimeWeight(str(weight))
    return weight if window is None else replace(weight, window=window)


def FirstSpikeCrossEntropy(
    population: Population,
    *,
    tau0: float = 0.5,
    tau1: float = 6.4,
    alpha: float = 3e-3,
    form: str = "exponential",
    silent: str = "exclude",
) -> Loss:
    """Cross-entropy of first spike times t_c: L = -log softmax(-t / tau0)_y + extra(t_y).

    Args:
        population: the output population, spiking, one neuron per class.
        tau0: time constant of the softmax, ms.
        tau1: time constant of the exponential extra term, ms.
        alpha: strength of the extra term, which favours early spikes of the correct class.
        form: "exponential": alpha (exp(t_y / tau1) - 1) (Wunderlich & Pehle 2021, equation 9; `first_spike_exp`);
            "inverse": alpha / (1.01 T - t_y) (Nowotny, Turner, Knight 2025; `first_spike`).
        silent: "exclude" or "end", how a missing spike counts, see `Loss`.

    Example:
        >>> spiking = net.population(LIF(), 2, name="spiking")
        >>> FirstSpikeCrossEntropy(spiking, tau0=0.5, alpha=3e-3).readout
        'first_spike'
    """
    terms = {"exponential": "alpha * (exp(r / tau1) - 1)", "inverse": "alpha / (1.01 * T - r)"}
    if form not in terms:
        raise LossError(f"form={form!r}: choose one of {', '.join(terms)}")
    if not all(isinstance(tau, Real) and tau > 0 for tau in (tau0, tau1)):
        raise LossError(f"tau0 and tau1 must be positive times in ms, got {tau0!r} and {tau1!r}")
    constants = {"tau0": tau0, "alpha": alpha} | ({"tau1": tau1} if form == "exponential" else {})
    return Loss(
        population, "first_spike", score="-r / tau0", term=terms[form], constants=constants, silent=silent
    )  # fmt: skip


def MaxVoltageCrossEntropy(population: Population) -> Loss:
    """Cross-entropy of the maxima over time, r_c = max_t V_c(t); Wunderlich & Pehle 2021, equation 11 (`max`).

    Args:
        population: the output population, one neuron per class.

    Example:
        >>> MaxVoltageCrossEntropy(output).readout
        'max'
    """
    return Loss(population, "max")


def EndVoltageCrossEntropy(population: Population) -> Loss:
    """Cross-entropy of the final voltages, r_c = V_c(T).

    Args:
        population: the output population, one neuron per class.

    Example:
        >>> EndVoltageCrossEntropy(output).readout
        'end'
    """
    return Loss(population, "end")


def IntegratedVoltageCrossEntropy(population: Population, weight: Weight = "constant", window: Window = None) -> Loss:
    """Cross-entropy of weighted integrals, r_c = 1/T int_0^T w(t) V_c(t) dt (`sum`, `sum_weigh_*`).

    Args:
        population: the output population, one neuron per class.
        weight: w(t): "constant", "linear", "exponential", "sigmoid", an expression in t and T, "input" (the activity
            of the sample's input), or a `TimeWeight`.
        window: (a, b) in ms, outside of which w is zero.

    Example:
        >>> IntegratedVoltageCrossEntropy(output, "exp(-1.5 * t / T)").weight
        TimeWeight(expression='exp(-1.5 * t / T)', ...

    Source: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852, table 1.
    """
    return Loss(population, "integral", weight=_weight(weight, window))


def PerStepCrossEntropy(population: Population, weight: Weight = "constant", window: Window = None) -> Loss:
    """Cross-entropy of V(t) at all times, L = 1/T int_0^T w(t) (-log softmax_y(V(t))) dt (`avg_xentropy`).

    Args:
        population: the output population, one neuron per class.
        weight, window: w(t), as for `IntegratedVoltageCrossEntropy`.

    Example:
        >>> PerStepCrossEntropy(output, window=(5.0, 15.0)).readout
        'voltage'

    Source: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852, section 2.3.
    """
    return Loss(population, "voltage", weight=_weight(weight, window))


def StepLabelCrossEntropy(population: Population, class_weights: Sequence[float] | None = None) -> Loss:
    """Cross-entropy of V against a label at each step, L = 1/T sum_k dt w(y_k) (-log softmax(V((k + 1) dt))_{y_k}).

    Targets (S, n_steps): the class of each step, -1 or nan where there is none. `Trainer` trains it, on engines that
    run a batch in two halves; predictions and labels are then (S, n_steps). See docs/label_each_step.md.

    Args:
        population: the K outputs.
        class_weights: w, one number a class; None: all 1. `data.label_steps.balanced_weights` makes them.

    Example:
        >>> StepLabelCrossEntropy(output).also
        ('trace',)

    Raises:
        LossError: weights that are negative, not finite, or not one a class.
    """
    return Loss(population, "end", outer=label_steps(population.size, class_weights), also=("trace",))


def VoltageSquaredError(population: Population, weight: Weight = "constant", window: Window = None) -> Loss:
    """L = 1/T int_0^T w(t) 1/2 sum_c (V_c(t) - y_c(t))^2 dt against the series of the data set's targets.

    Targets (S, n_steps + 1, K): y at k dt, linear in between; nan: no target in the steps beside it.

    Args:
        population: the K outputs.
        weight, window: w(t), as for `IntegratedVoltageCrossEntropy`.

    Example:
        >>> VoltageSquaredError(output).compares
        'targets'
    """
    return Loss(population, "voltage", weight=_weight(weight, window), outer="squared_error")


def SquaredError(population: Population, readout: str = "integral", weight: Weight = "constant") -> Loss:
    """L = 1/2 sum_c (r_c - y_c)^2 of a readout of the whole trial; targets (S, K), nan for none.

    Args:
        population: the K outputs.
        readout: r: "integral", "end", "max", "first_spike" or "count", see `Loss`.
        weight: w(t) of an integral, as for `IntegratedVoltageCrossEntropy`.

    Example:
        >>> SquaredError(output, "end").compares
        'targets'
    """
    score = "-r" if readout in ("first_spike", "spike_times") else "r"
    return Loss(population, readout, weight=_weight(weight), outer="squared_error", score=score)


def SpikeTimeError(population: Population, silent: str = "exclude") -> Loss:
    """L = 1/2 sum_c sum_m (t_cm - y_cm)^2 in ms^2: the m-th spike of output c has the m-th target of its own.

    Targets (S, K, M) in ms, nan for none. A spike beyond the last target contributes nothing. A spike that does not
    happen contributes nothing (silent="exclude"), or (T - y)^2 / 2 and a push on V at T (silent="end", see `Loss`).

    Args:
        population: the K outputs, spiking.
        silent: "exclude" or "end".

    Example:
        >>> spiking = net.population(LIF(), 2, name="spiking")
        >>> SpikeTimeError(spiking).readout
        'spike_times'
    """
    return Loss(population, "spike_times", outer="squared_error", silent=silent, score="-r")


def SpikeCountCrossEntropy(population: Population, gain: float = 1.0) -> Loss:
    """Cross-entropy of spike counts, L = -log softmax(gain n)_y. The gradient is a surrogate, see `Loss`.

    Args:
        population: the output population, spiking, one neuron per class.
        gain: factor of the counts.

    Example:
        >>> spiking = net.population(LIF(), 2, name="spiking")
        >>> SpikeCountCrossEntropy(spiking, gain=0.5).readout
        'count'
    """
    return Loss(population, "count", score="gain * r", constants={"gain": gain})


def OwnLoss(
    population: Population,
    readout: str,
    outer: Function | str | sp.Expr | Callable[[np.ndarray, np.ndarray], tuple[Any, Any]],
    weight: Weight = "constant",
    compares: str = "labels",
    silent: str = "exclude",
) -> Loss:
    """A readout with an outer loss of your own.

    Args:
        population: the K outputs.
        readout: what is read of each, "integral", "end", "max", "first_spike" or "count", see `Loss`.
        weight: w(t) of an integral, as for `IntegratedVoltageCrossEntropy`.
        silent: "exclude" or "end", how a missing spike counts, see `Loss`.
        outer: a function of the readouts (see `Function`), or an expression in r0, r1, ... and y0, y1, ... (`formula`),
            as a string or a sympy expression. The host evaluates it between the forward and the backward pass; `native`
            runs the forward pass a second time for that.
        compares: meaning of y, "labels" or "targets", unless `outer` is a `Function`.

    Example:
        >>> OwnLoss(output, "end", "(r0 - y0)**2 + (r1 - y1)**2", compares="targets").readout
        'end'
    """
    if isinstance(outer, (str, sp.Expr)):
        function = formula(outer, population.size, compares)
    else:
        function = outer if isinstance(outer, Function) else Function(outer, compares)
    score = "-r" if readout == "first_spike" else "r"
    # a weight that was not asked for must not reach a readout that takes none; of unknown readouts `Loss` complains
    integrated = readout not in READOUTS or READOUTS[readout].integrates
    used = _weight(weight) if integrated or weight != "constant" else TimeWeight()
    return Loss(population, readout, weight=used, outer=function, score=score, silent=silent)


LOSSES: dict[str, Callable[..., Loss]] = {
    "sum": IntegratedVoltageCrossEntropy,
    "sum_weigh_linear": partial(IntegratedVoltageCrossEntropy, weight="linear"),
    "sum_weigh_exp": partial(IntegratedVoltageCrossEntropy, weight="exponential"),
    "sum_weigh_sigmoid": partial(IntegratedVoltageCrossEntropy, weight="sigmoid"),
    "sum_weigh_input": partial(IntegratedVoltageCrossEntropy, weight="input"),
    "max": MaxVoltageCrossEntropy,
    "avg_xentropy": PerStepCrossEntropy,
    "first_spike": partial(FirstSpikeCrossEntropy, form="inverse", silent="end"),
    "first_spike_exp": partial(FirstSpikeCrossEntropy, silent="end"),
    "end": EndVoltageCrossEntropy,
    "spike_count": SpikeCountCrossEntropy,
    "step_labels": StepLabelCrossEntropy,
    "voltage_error": VoltageSquaredError,
    "spike_time_error": SpikeTimeError,
    "error": SquaredError,
    "own": OwnLoss,
}
"""Name, published where there is one -> function of the output population and settings. `first_spike*` have the push
on a silent right class as published; Wunderlich & Pehle's rule is silent="exclude"."""


def make_loss(name: str, population: Population, **settings: object) -> Loss:
    """The loss called `name` in `LOSSES`; the setting ``answer`` is that of `Loss.against`.

    Args:
        name: as after ``--loss`` on the command line.
        population: the outputs.
        settings: arguments of the loss.

    Example:
        >>> make_loss("sum_weigh_exp", output).weight.expression
        'exponential'

    Raises:
        LossError: for an unknown name or setting.
    """
    check_known(name, LOSSES, LossError, f"unknown loss {name!r} (")
    answer = str(settings.pop("answer", ""))
    try:
        return LOSSES[name](population, **settings).against(answer)
    except TypeError as error:
        raise LossError(f"loss {name!r}: {str(error).split('() ')[-1]}") from None
