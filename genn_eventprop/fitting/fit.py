"""`fit`: the parameters of a neuron model from a recording of a cell."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, overload

import numpy as np

from ..errors import SettingError, Stopped, shown, suggest
from ..modelling import NeuronModel
from ..output import stderr
from .clock import Clock
from .compare import FreeRun, free_run
from .forced import fitted_model
from .last_stage import Alone, LastStage, covariance_at, no_noise_of
from .levenberg import Minimum, minimise
from .options import FitOptions
from .problem import Problem
from .ranges import Ranges, choose
from .recording import WINDOW, Recording
from .residuals import Residuals
from .result import FitResult, criterion
from .saved import Stage
from .verdict import judge

COUPLINGS = ((20.0, 15), (5.0, 10), (1.0, 10), (0.2, 10))
"""Coupling to the measured V in 1/ms, and how many steps a fit makes with it, before the last ones without: from far
above the membrane's own rate, where V cannot leave the measured one, to below it (see `forced`)."""
REDRAWS, CROWDED = 20, 5
"""How often a start whose dynamics diverge is drawn again, and how often of those with others to choose from."""
FORCED = "by itself the model does not have the measured spikes: values and deviations are those of the forced model"
SEARCHED = (
    "by itself the model does not have the measured spikes: values are those with which it explains most of the fitted "
    "sweeps, as a search has found, and deviations at least their distance from those of the forced model"
)
NEAR = 0.01
"""Of a parameter's range: starts that differ by less are at one minimum."""


@overload
def fit(model: NeuronModel, recording: Recording, **settings: Any) -> FitResult: ...


@overload
def fit(model: NeuronModel, recording: Sequence[Recording], **settings: Any) -> list[FitResult]: ...


def fit(
    model: NeuronModel,
    recording: Recording | Sequence[Recording],
    *,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    fixed: Mapping[str, float] | None = None,
    only: Iterable[str] | None = None,
    priors: Mapping[str, tuple[float, float]] | None = None,
    inject: str | None = None,
    test_sweeps: Sequence[int] = (),
    **options: Any,
) -> FitResult | list[FitResult]:
    """Fit the parameters of a model to recordings; each is a cell with sweeps of its own.

    The model is reset at the measured spikes, and made to agree with V between them and with the times themselves
    (`fitting.forced`, `fitting.residuals`), by least squares from several random starts. All sweeps, starts and
    derivatives of a cell are one batch on `native` with exact spike times.

    Args:
        model: any `NeuronModel` with one kind of spike; times in ms, V and the current in its units.
        recording: injected current, and V or spike times or both; or a list of cells.
        bounds: parameter -> (low, high), within which starts are drawn and the fit stays. A parameter without them has
            those of its `Param`, or a range that follows from its kind (`fitting.ranges`): a potential has 15 mV below
            its value to 15 above, V may be reset to both sides of 0, others have a fifth to five times their value.
        fixed: parameter -> a value that is known. only: fit these alone; the others keep the model's values.
        priors: parameter -> (mean, standard deviation): its distance from the mean counts as one more residual.
        inject: the drive, state (of a synaptic current, say) or parameter that is the injected current; None: the
            model's only drive, or what is called I.
            ``gain``, 1 unless it is in `bounds` or `only`, multiplies it.
        test_sweeps: numbers of sweeps that are held out: the others are fitted, and the verdict is on these
            (`fitting.verdict`).
        options: fields of `FitOptions`, such as ``starts=10``, ``window=(1.0, 3.0)``, ``voltage_noise=0.5``,
            ``rate_noise=1.0``, ``progress=False``.

    Returns:
        A result, or a list of them for a list of recordings.

    Raises:
        SettingError: unknown parameters, ranges that do not fit, settings that cannot be used.
        DataError: a recording with neither V nor spikes.

    Example:
        >>> cell = simulate(LIF(tau_mem=12.0), np.repeat([0.0, 1.5, 0.0], 400), dt=0.1)
        >>> result = fit(LIF, cell, only=["tau_mem"], starts=1, progress=False)
        >>> round(result.parameters["tau_mem"], 3)
        12.0
    """
    cells: list[Any] = [*recording] if isinstance(recording, (list, tuple)) else [recording]
    if not cells:
        raise SettingError("fit: the list of recordings is empty")
    for cell in cells:
        if not isinstance(cell, Recording):
            raise SettingError(
                f"fit takes a Recording or a list of them, got {shown(recording)}; make one with "
                "Recording(current, dt=..., voltage=...), or read_recording(FILE)"
            )
    tasks = prepare(
        model, cells, bounds=bounds, fixed=fixed, only=only, priors=priors, inject=inject, test_sweeps=test_sweeps,
        **options,
    )  # fmt: skip
    results = [task.run() for task in tasks]
    return results[0] if isinstance(recording, Recording) else results


@dataclass(frozen=True)
class FitTask:
    """The fit to one cell, with all settings checked."""

    residuals: Residuals
    ranges: Ranges
    priors: dict[str, tuple[float, float]]
    options: FitOptions
    held_out: Residuals | None = None
    """Of sweeps that are not fitted."""
    best: dict[str, Any] = field(default_factory=dict)
    """While it runs, the best point so far: its parameters, its loss, and the coupling with which that was computed."""

    def run(self, begun: Stage | None = None, keep: Callable[[Stage], None] = lambda stage: None) -> FitResult:
        """Fit it.

        Args:
            begun: of the same task, after which it goes on. keep: called after each stage.

        Raises:
            KeyboardInterrupt: Ctrl-C, or SIGTERM in a command (`Terminated`); its text has the best parameters so far.
        """
        try:
            return _fit(self, begun, keep)
        except KeyboardInterrupt as stop:
            values = ", ".join(f"{n} = {v:.6g}" for n, v in self.best.get("parameters", {}).items())
            best = f"best so far: {values}, coupling {self.best.get('coupling')}/ms" if values else "no step was made"
            stop.args = (f"fit of {self.residuals.recording.name} stopped; {best}",)
            raise


def prepare(
    model: NeuronModel,
    cells: Sequence[Recording],
    *,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    fixed: Mapping[str, float] | None = None,
    only: Iterable[str] | None = None,
    priors: Mapping[str, tuple[float, float]] | None = None,
    inject: str | None = None,
    test_sweeps: Sequence[int] = (),
    **options: Any,
) -> list[FitTask]:
    """What `fit` does with every cell; raises what it raises, before anything is computed."""
    if not isinstance(model, NeuronModel):
        raise SettingError(
            f"fit takes a NeuronModel, such as genn_eventprop.models.AdEx, got {shown(model)}; values of parameters go "
            "into fixed= and bounds="
        )
    for name in options:
        if name not in (known := [f.name for f in fields(FitOptions)]):
            raise SettingError(f"fit has no option {name!r} ({suggest(name, known)})")
    chosen = FitOptions(**options)
    fitted = fitted_model(model, inject)
    tasks = []
    for whole in cells:
        cell, test = split(whole, test_sweeps)
        _check_measured(cell, chosen)
        ranges = choose(fitted, cell, bounds or {}, fixed or {}, only, priors or {})
        noise = chosen.voltage_noise or usual_noise(cell)
        window = cell.window() if chosen.window is None else chosen.window
        residuals, held_out = (
            None if rec is None else Residuals(
                fitted, rec, window=window, skip=chosen.skip, every=chosen.every, voltage_noise=noise,
                spike_noise=chosen.spike_noise,
            )
            for rec in (cell, test)
        )  # fmt: skip
        assert residuals is not None
        of_rates = cell.rates is not None or chosen.rate_noise is not None
        if chosen.skip >= cell.durations.min() or not (residuals.size or of_rates):
            raise SettingError(
                f"recording {cell.name!r}: nothing counts with skip={chosen.skip:g} and window={window}; make "
                "them smaller"
            )
        if test is not None and chosen.skip >= test.durations.min():
            raise SettingError(f"recording {cell.name!r}: nothing of a test sweep is left with skip={chosen.skip:g}")
        tasks.append(FitTask(residuals, ranges, dict(priors or {}), chosen, held_out))
    return tasks


def split(recording: Recording, test_sweeps: Sequence[int]) -> tuple[Recording, Recording | None]:
    """The sweeps that are fitted, and those that are held out.

    Raises:
        DataError: sweeps that are not there. SettingError: none is left to be fitted, or one is named twice.
    """
    if not len(np.atleast_1d(test_sweeps)):
        return recording, None
    test = recording[test_sweeps]
    numbers = np.atleast_1d(np.arange(len(recording))[test_sweeps])
    fitted = np.setdiff1d(np.arange(len(recording)), numbers)
    if not len(fitted):
        raise SettingError(f"recording {recording.name!r}: all sweeps are test sweeps; leave one to be fitted")
    if len({*numbers}) < len(numbers):
        raise SettingError(f"recording {recording.name!r}: a test sweep is named twice in {shown(test_sweeps)}")
    return recording[fitted.tolist()], test


def _fit(task: FitTask, begun: Stage | None, keep: Callable[[Stage], None]) -> FitResult:
    residuals, ranges, options = task.residuals, task.ranges, task.options
    clock, rec = Clock(options.time_limit, 1 if task.held_out is None else 2), residuals.recording
    problem = Problem(
        residuals, ranges.names, ranges.low, ranges.high, ranges.fixed, options.starts, task.priors, options.threads,
        options.rate_noise,
    )  # fmt: skip
    with contextlib.closing(problem):
        stage = _stages(task, problem, begun, keep, clock)
        minimum, reached = stage.minimum, problem.coupling
        if reached:  # there was no time for the last of them
            problem.coupling = 0.0  # the same points with the residuals of a model that V does not pull
            minimum = minimise(problem, minimum.points, steps=0)
        alone = None
        # if it is late, the code of another run would be compiled beyond the limit
        if problem.rates is None and residuals.spike_noise is not None and residuals.n_spikes and not clock.late:
            alone = LastStage(problem, minimum, stage.ends, options, clock).run(task.best)
        remarks, stopped = [*rec.notes, *_gaps(rec), *ranges.remarks], ""
        if options.window is None and residuals.n_voltage and residuals.window != WINDOW:
            long = f"from {residuals.window[0]:g} ms before to {residuals.window[1]:g} ms after a spike"
            remarks.append(f"V does not count {long}: so long are the action potentials")
        if alone is not None and alone.loss is None:
            remarks.append(SEARCHED)
        elif alone is None and residuals.n_spikes and not clock.late:
            remarks.append(FORCED)
        result = _result(problem, task, remarks, minimum, alone, problem.parameters(stage.first), clock)
        if clock.late:
            where = f"at a coupling of {reached:g}/ms" if reached else "in the last stage"
            stopped = f"stopped {where} by the time limit of {options.time_limit:g} s: these are the best values so far"
        return replace(result, stopped=stopped, seconds=time.perf_counter() - clock.began)


def _gaps(recording: Recording) -> list[str]:
    """What to say where V was not measured."""
    if recording.voltage is None:
        return []
    missing = int(recording.samples.sum()) - int(np.isfinite(recording.voltage).sum())
    return [f"V is nan in {missing} of {recording.samples.sum()} samples, which do not count"] if missing else []


def _stages(task: FitTask, problem: Problem, begun: Stage | None, keep: Callable[[Stage], None], clock: Clock) -> Stage:
    """Those of the forced model, each with less coupling, up to the last that there was time for, whose coupling is
    left in the problem.

    Raises:
        SettingError: there is no time for a single step.
    """
    from tqdm import tqdm

    options, best = task.options, task.best
    couplings = [*(COUPLINGS if task.residuals.n_voltage else ()), (0.0, options.steps)]

    def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r, J = problem(points)
        loss = 0.5 * (r**2).sum(axis=1)
        i = int(np.argmin(loss))
        if best.get("coupling") != problem.coupling or loss[i] < best["loss"]:
            values = problem.parameters(points[i]).tolist()
            best.update(parameters=dict(zip(problem.names, values)), loss=float(loss[i]), coupling=problem.coupling)
        return r, J

    def report(_: int, cost: np.ndarray) -> None:
        bar.update()
        bar.set_postfix_str(f"coupling {problem.coupling:g}/ms, loss {cost.min():.4g} to {cost.max():.4g}")

    total, name, stage = sum(n for _, n in couplings), task.residuals.recording.name, begun
    quiet = not options.progress
    with tqdm(total=total, desc=name, unit="step", disable=quiet, file=stderr(), dynamic_ncols=True) as bar:
        # with the coupling of the first steps: at a random start V may diverge without one
        problem.coupling = couplings[0][0]
        try:
            if begun is None:
                with clock.ends(problem.engines):
                    first = points = _starts(problem, options.starts, np.random.default_rng(options.seed))
                ends, done = np.empty((0, len(problem.names))), 0
            else:
                first, points, ends, done = begun.first, begun.minimum.points, begun.ends, begun.number
                problem.runs, problem.coupling = begun.simulations, couplings[done - 1][0]
                best.update(begun.best)
            clock.begin()
            with clock.ends(problem.engines):
                for number, (coupling, most) in enumerate(couplings[done:], done + 1):
                    problem.coupling = coupling
                    minimum = minimise(evaluate, points, steps=most, progress=report, stop=clock)
                    points, ends = minimum.points, np.concatenate([ends, minimum.points])
                    stage = Stage(number, first, minimum, ends, problem.runs, dict(best))
                    if clock.late:
                        break
                    keep(stage)
                    bar.update(sum(n for _, n in couplings[:number]) - bar.n)  # the steps that were not needed
        except Stopped:
            if not clock.late:
                raise
    if stage is None:
        raise SettingError(
            f"fit of {name}: the time limit of {options.time_limit:g} s is over before the first step; "
            "give it more (its code, which may have to be compiled, is kept)"
        )
    problem.coupling = couplings[stage.number - 1][0]
    return stage


def _starts(problem: Problem, starts: int, rng: np.random.Generator) -> np.ndarray:
    """(M, P) random points whose trajectories can be computed, each the best of as many as one run has copies.

    A reset above the threshold, say, is hidden in the window after a spike, and no step leads away from it.
    """
    points, lost = np.empty((starts, len(problem.names))), np.ones(starts, bool)
    for draw in range(REDRAWS):
        copies = rng.random((starts, problem.copies, len(problem.names)))
        if draw >= CROWDED:  # one that diverges hides the others of its run
            copies[:] = copies[:, :1]
        losses = problem.losses(copies)
        best = np.argmin(losses, axis=1)
        drawn = lost & np.isfinite(losses.min(axis=1))
        points[drawn] = copies[drawn, best[drawn]]
        lost &= ~drawn
        if not lost.any():
            return points
    raise SettingError(
        f"{problem.residuals.fitted.model.name}: in {REDRAWS} draws the dynamics diverge at {int(lost.sum())} "
        f"of {starts} starts; narrow the bounds to values that a cell may have"
    )


def _result(
    problem: Problem,
    task: FitTask,
    remarks: list[str],
    minimum: Minimum,
    alone: Alone | None,
    first: np.ndarray,
    clock: Clock,
) -> FitResult:
    residuals, ranges, held_out = problem.residuals, task.ranges, task.held_out
    best = int(np.argmin(minimum.cost))
    scale = ranges.high - ranges.low
    points, chosen = minimum.points, minimum.points[best]
    jumps: list[str] = []
    if alone is None:
        r, jacobian = minimum.residuals[best], minimum.jacobian[best]
        if residuals.n_spikes:
            r, jacobian, jumps = problem.smooth(points[best])
        covariance = covariance_at(points[best], r, jacobian, problem.n_data, residuals.n_voltage)
        no_noise = no_noise_of(r, residuals.n_voltage, residuals.size)
    else:
        covariance, jumps, chosen, no_noise = alone.covariance, alone.jumps, alone.point, alone.alike
        if alone.loss is not None:
            # the starts that ended here would have gone on to where the best of them went
            same = (np.abs(points - points[best]) <= NEAR).all(axis=1)
            points = np.where(same[:, None], alone.point, points)
    values = problem.parameters(chosen)
    parameters = problem.fixed | dict(zip(ranges.names, values))

    def run(of: Residuals) -> FreeRun:
        return free_run(residuals.fitted, of.recording, parameters, of, task.options.threads, clock.within)

    free, tested = run(residuals), None if held_out is None else run(held_out)
    forced = minimum.residuals[best]
    return FitResult(
        model=residuals.fitted.model, recording=residuals.recording, names=ranges.names,
        low=ranges.low, high=ranges.high, values=values, fixed=ranges.fixed,
        covariance=covariance * np.outer(scale, scale),
        starts=first, ends=problem.parameters(points), losses=minimum.cost, converged=minimum.converged,
        voltage_noise=residuals.voltage_noise if residuals.n_voltage else None, spike_noise=residuals.spike_noise,
        n_voltage=residuals.n_voltage, n_spikes=residuals.n_spikes,
        n_rates=problem.rates.size if problem.rates else 0, window=residuals.window, free=free,
        verdict=judge(residuals, held_out, tested or free), simulations=problem.runs,
        seconds=0.0, remarks=remarks, jumps=jumps, test=None if held_out is None else held_out.recording, tested=tested,
        aic=criterion(forced, problem.n_data, residuals.n_voltage, len(ranges.names)) if residuals.size else None,
        alike=no_noise,
    )  # fmt: skip


def _check_measured(recording: Recording, options: FitOptions) -> None:
    where = f"recording {recording.name!r}"
    if recording.spikes is None and (recording.rates is None or recording.voltage is not None):
        raise SettingError(
            f"{where} has no spike times; find them with recording.with_spikes_found(), where V has action potentials, "
            "or recording.with_spikes_above(level) (--spikes-above), or give them (an empty list for each "
            "sweep without spikes)"
        )
    nothing = options.spike_noise is None or not sum(map(len, recording.spikes or ()))
    if recording.voltage is None and recording.rates is None and options.rate_noise is None and nothing:
        raise SettingError(f"{where} has neither V nor spikes that count; there is nothing to fit")


def usual_noise(recording: Recording) -> float:
    """A third of V's standard deviation, in which spikes hardly count: 1.4826 times the median absolute deviation,
    which is the standard deviation of a normal distribution.

    With less, V weighs so much more than spikes that a cell which is no such model is fitted between its spikes, and
    spikes late or not at all: errors of V go on for many samples, of which each counts.
    """
    if recording.voltage is None:
        return 1.0
    v = recording.voltage[np.isfinite(recording.voltage)]
    deviation = 1.4826 * float(np.median(np.abs(v - np.median(v)))) if v.size else 0.0
    return deviation / 3 or 1.0  # a V that does not move says nothing about its noise
