"""`fit`: the parameters of a neuron model from a recording of a cell."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from statistics import median
from typing import Any, overload

import numpy as np

from ..engines import Engine
from ..errors import EngineError, SettingError, Stopped, shown, suggest
from ..modelling import NeuronModel
from ..output import stderr
from .compare import PRECISION, FreeRun, free_run
from .forced import fitted_model
from .levenberg import Minimum, follow, minimise
from .options import FitOptions
from .own_run import OwnRun
from .problem import Problem
from .ranges import Ranges, choose
from .recording import WINDOW, Recording
from .residuals import Residuals
from .result import FitResult, alike, criterion, uncertainty, variances
from .saved import Stage
from .search import search
from .spread import LOWER, spread
from .verdict import judge

COUPLINGS = ((20.0, 15), (5.0, 10), (1.0, 10), (0.2, 10))
"""Coupling to the measured V in 1/ms, and how many steps a fit makes with it, before the last ones without: from far
above the membrane's own rate, where V cannot leave the measured one, to below it (see `forced`)."""
REDRAWS, CROWDED = 20, 5
"""How often a start whose dynamics diverge is drawn again, and how often of those with others to choose from."""


WINDOWS = 3
"""How often the last stage is made, with windows around the own spikes of where it began."""
DRAWS = 64
"""Points around the end of the forced model of which one may have the spikes of the recording."""
FORCED = "by itself the model does not have the measured spikes: values and deviations are those of the forced model"
SEARCHED = (
    "by itself the model does not have the measured spikes: values are those with which it explains most of the fitted "
    "sweeps, as a search has found, and deviations at least their distance from those of the forced model"
)
RESERVE, RECENT = 4, 5
"""Steps before the time limit after which no further one is made: that step, differences to both sides, a free run; and
how many recent ones say how long a step is."""
LEEWAY = 1.0
"""s after the time limit until which free runs of the result may go on."""
COMPILED = 0.4
"""Of the time until the first step, in which code is derived and compiled: what that of a free run takes."""
SPREAD = 30
"""Steps that deviations from the likelihood take at most, see `spread`."""
DESCENTS = 8
"""How often the own run's descent goes on where points around its end have a lower loss."""
PREFIX_STEPS, OFF = 10, 8.0
"""Steps with the beginnings of the sweeps, up to the first spike that is not that of the recording, or is off by more
than so many `spike_noise`: of later ones, which depend on all before, the loss has many minima until these agree."""
HELD = 10.0
"""Deviations of the forced model by which parameters leave it easily meanwhile: it is off by several of its own."""
SETTLED, NEAR = 1e-3, 0.01
"""Of a parameter's range: windows around spikes of such a point are those of its end; starts are at one minimum."""
TOGETHER = 1.5
"""Root mean square of residuals of own spikes up to which the model by itself has the spikes of the recording."""


@dataclass(frozen=True)
class Alone:
    """Where the last stage ended: point (P,) in [0, 1], covariance (P, P), parameters at which the loss jumps there,
    which errors are no noise (`alike`); whether it is that of a search."""

    point: np.ndarray
    covariance: np.ndarray
    jumps: list[str]
    alike: dict[str, float]
    searched: bool = False


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


class Clock:
    """Whether there is no time for a further step, and for what follows the last: called before each.

    Args:
        limit: s, None without one. runs: free runs after the last step.
    """

    def __init__(self, limit: float | None, runs: int = 1) -> None:
        self.began = self.last = time.perf_counter()
        self.limit, self.runs, self.after = limit, runs, 0.0
        self.steps, self.late = list[float](), False

    def begin(self) -> None:
        """The first step comes now; what was compiled and drawn is none."""
        self.last = time.perf_counter()
        self.after = COMPILED * self.runs * (self.last - self.began)

    def __call__(self, ahead: int = 0) -> bool:
        """ahead: what comes now takes so many steps."""
        now = time.perf_counter()
        self.steps, self.last = [*self.steps[1 - RECENT :], now - self.last], now
        # the median: one step of a new stage compiles its code, and no further one does
        left = (ahead + RESERVE) * median(self.steps) + self.after
        self.late |= self.limit is not None and now + left > self.began + self.limit
        return self.late

    @contextlib.contextmanager
    def ends(self, engines: Collection[Engine], beyond: float = 0.0) -> Iterator[None]:
        """End what the engines run, by `Stopped`, when the time is over: nobody knows how long a run takes.

        Args:
            engines: which may become more. beyond: s after the limit; 0: before it, so that what follows is in time.
        """
        over = threading.Event()

        def watch() -> None:
            left = None
            if self.limit is not None:
                left = self.began + self.limit + (beyond or -self.after) - time.perf_counter()
            while not over.wait(left):
                self.late, left = True, 0.1
                for engine in engines:
                    engine.stop()

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        try:
            yield
        finally:
            over.set()
            watching.join()
            for engine in engines:
                engine.stop(False)

    @contextlib.contextmanager
    def within(self, engine: Engine) -> Iterator[None]:
        """The same for a free run of the result, which may take `LEEWAY` more; it is an error then."""
        try:
            with self.ends([engine], LEEWAY):
                yield
        except Stopped:
            if not self.late:
                raise
            raise EngineError("it would take more than the time limit") from None


def _fit(task: FitTask, begun: Stage | None, keep: Callable[[Stage], None]) -> FitResult:
    from tqdm import tqdm

    residuals, ranges, options, best = task.residuals, task.ranges, task.options, task.best
    clock, rec = Clock(options.time_limit, 1 if task.held_out is None else 2), residuals.recording
    problem = Problem(
        residuals, ranges.names, ranges.low, ranges.high, ranges.fixed, options.starts, task.priors, options.threads,
        options.rate_noise,
    )  # fmt: skip

    def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r, J = problem(points)
        loss = 0.5 * (r**2).sum(axis=1)
        i = int(np.argmin(loss))
        if best.get("coupling") != problem.coupling or loss[i] < best["loss"]:
            values = problem.parameters(points[i]).tolist()
            best.update(parameters=dict(zip(problem.names, values)), loss=float(loss[i]), coupling=problem.coupling)
        return r, J

    couplings = [*(COUPLINGS if residuals.n_voltage else ()), (0.0, options.steps)]
    with (
        contextlib.closing(problem),
        tqdm(
            total=sum(n for _, n in couplings),
            desc=rec.name,
            unit="step",
            disable=not options.progress,
            file=stderr(),
            dynamic_ncols=True,
        ) as bar,
    ):

        def report(_: int, cost: np.ndarray) -> None:
            bar.update()
            bar.set_postfix_str(f"coupling {problem.coupling:g}/ms, loss {cost.min():.4g} to {cost.max():.4g}")

        # with the coupling of the first steps: at a random start V may diverge without one
        problem.coupling = couplings[0][0]
        minimum, reached, stages, ends = None, 0.0, 0, np.empty((0, len(problem.names)))
        try:
            if begun is None:
                with clock.ends(problem.engines):
                    first = points = _starts(problem, options.starts, np.random.default_rng(options.seed))
            else:
                first, points, minimum, stages = begun.first, begun.minimum.points, begun.minimum, begun.number
                ends, problem.runs, reached = begun.ends, begun.simulations, couplings[stages - 1][0]
                problem.coupling = reached
                best.update(begun.best)
            clock.begin()
            with clock.ends(problem.engines):
                for number, (coupling, most) in enumerate(couplings[stages:], stages + 1):
                    problem.coupling = coupling
                    minimum = minimise(evaluate, points, steps=most, progress=report, stop=clock)
                    points, ends, reached = minimum.points, np.concatenate([ends, minimum.points]), coupling
                    if clock.late:
                        break
                    keep(Stage(number, first, minimum, ends, problem.runs, dict(best)))
                    bar.update(sum(n for _, n in couplings[:number]) - bar.n)  # the steps that were not needed
        except Stopped:
            if not clock.late:
                raise
        if minimum is None:
            raise SettingError(
                f"fit of {rec.name}: the time limit of {options.time_limit:g} s is over before the first step; "
                "give it more (its code, which may have to be compiled, is kept)"
            )
        if reached:  # there was no time for the last stage
            minimum = _without_coupling(problem, minimum)
        alone = _by_itself(problem, minimum, ends, options, best, clock)
        remarks, stopped = [*rec.notes, *ranges.remarks], ""
        if options.window is None and residuals.n_voltage and residuals.window != WINDOW:
            long = f"from {residuals.window[0]:g} ms before to {residuals.window[1]:g} ms after a spike"
            remarks.append(f"V does not count {long}: so long are the action potentials")
        if alone is not None and alone.searched:
            remarks.append(SEARCHED)
        elif alone is None and residuals.n_spikes and not clock.late:
            remarks.append(FORCED)
        found = _result(problem, task, remarks, minimum, alone, problem.parameters(first), clock)
        if clock.late:
            where = f"at a coupling of {reached:g}/ms" if reached else "in the last stage"
            stopped = f"stopped {where} by the time limit of {options.time_limit:g} s: these are the best values so far"
        return replace(found, stopped=stopped, seconds=time.perf_counter() - clock.began)


def _without_coupling(problem: Problem, minimum: Minimum) -> Minimum:
    """The same points with the residuals of a model that V does not pull."""
    problem.coupling = 0.0
    return minimise(problem, minimum.points, steps=0)


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


def _by_itself(
    problem: Problem, minimum: Minimum, ends: np.ndarray, options: FitOptions, best: dict[str, Any], clock: Clock
) -> Alone | None:
    """The last stage, see `own_run`; where the model by itself has not the spikes of the recording, what `search`
    finds, or None if the forced model explains enough or nothing explains more.

    Args:
        ends: (N, P) where all stages have ended.
    """
    residuals = problem.residuals
    if problem.rates is not None or residuals.spike_noise is None or not residuals.n_spikes:
        return None
    if clock.late:  # its code would be compiled beyond the limit
        return None
    own = OwnRun(residuals, problem.names, problem.low, problem.high, problem.fixed, problem.priors, options.threads)
    alone, rng = None, np.random.default_rng(options.seed)
    with contextlib.closing(own):
        try:
            with clock.ends([own.cells.engine]):
                for found, covariance in _minima(own, problem, minimum, options, rng, clock):
                    r = found.residuals[0]
                    if np.sqrt((r[own.n_voltage : own.n_data] ** 2).mean()) <= TOGETHER:
                        point, no_noise = found.points[0], _alike(r, own.n_voltage, own.n_data)
                        alone = Alone(point, covariance, own.jumps(point), no_noise)
                        values = own.parameters(point).tolist()
                        best.update(parameters=dict(zip(problem.names, values)), loss=float(found.cost[0]))
                if alone is None and not problem.priors:  # what the sweeps do not tell is no part of a score
                    alone = _searched(own, problem, minimum, ends, rng, best, clock)
        except Stopped:
            if not clock.late:
                raise
    problem.runs += own.runs
    return alone


def _minima(
    own: OwnRun, problem: Problem, minimum: Minimum, options: FitOptions, rng: np.random.Generator, clock: Clock
) -> Iterator[tuple[Minimum, np.ndarray]]:
    """Minima of the own run and their covariances (P, P), each lower than those before; none without its spikes."""
    found = _settled(own, problem, minimum, options, clock)
    for _ in range(DESCENTS if found is not None else 0):
        assert found is not None
        point, r, jacobian = found.points[0], found.residuals[0], found.jacobian[0]
        covariance = _covariance(point, r, jacobian, own.n_data, own.n_voltage)
        size = variances(r, jacobian, own.n_data, own.n_voltage)
        settled = _way_left(point, r, jacobian)[1] < LOWER
        lowest = point
        if not clock(SPREAD):
            covariance, lowest = spread(partial(own.losses, variances=size), point, covariance, rng, settled)
        yield found, covariance
        if lowest is point or clock.late:
            return
        own.look_around(lowest)
        further = follow(own, own.at, lowest, steps=options.steps, stop=clock)
        if not further.cost[0] < found.cost[0]:
            return
        found = further


def _searched(
    own: OwnRun,
    problem: Problem,
    minimum: Minimum,
    ends: np.ndarray,
    rng: np.random.Generator,
    best: dict[str, Any],
    clock: Clock,
) -> Alone | None:
    """See `_by_itself`."""
    forced = minimum.points[np.argmin(minimum.cost)]
    (of_forced,) = own.scores(forced[None])
    if not of_forced.little and np.isfinite(of_forced.mean):
        return None
    size = own.cells.size * int(np.ceil((4 + 3 * np.log(len(forced))) / own.cells.size))
    candidates, n = np.concatenate([forced[None], ends]), len(own.measured)

    def searched(sweeps: Sequence[int]) -> np.ndarray:
        def values(points: np.ndarray) -> np.ndarray:
            return np.array([s.mean for s in own.scores(points, sweeps)])

        return search(values, candidates[int(np.argmax(values(candidates)))], rng, size, clock)

    # with few sweeps it fits their noise: what is found in half of them must explain more of the others
    halves = [range(0, n, 2), range(1, n, 2)] if n > 1 else []
    gain = [
        own.scores(searched(half)[None], other)[0].mean - own.scores(forced[None], other)[0].mean
        for half, other in zip(halves, halves[::-1])
    ]
    point = forced if gain and not sum(gain) > 0 else searched(range(n))
    if (point == forced).all():
        return None
    best.update(parameters=dict(zip(problem.names, own.parameters(point).tolist())))
    r, jacobian, jumps = problem.smooth(point)
    covariance = _covariance(point, r, jacobian, problem.n_data, problem.residuals.n_voltage)
    no_noise = _alike(r, problem.residuals.n_voltage, problem.n_data)
    return Alone(point, covariance, jumps, no_noise, searched=True)


def _settled(own: OwnRun, problem: Problem, minimum: Minimum, options: FitOptions, clock: Clock) -> Minimum | None:
    """The minimum of the own run next to that of the forced model; None where spikes are not those measured.

    Of several ways there it is the first that leaves nothing but noise, or else the one to the lowest loss.
    """
    best, compared = None, (own.counts, own.leading)
    for begin, held in _ways(own, problem, minimum, options):
        found = _descended(own, _spike_by_spike(own, begin, held, clock), options.steps, clock)
        if found is not None and (best is None or found.cost[0] < best.cost[0]):
            best, compared = found, (own.counts, own.leading)
            if not _alike(found.residuals[0], own.n_voltage, own.n_data):
                break
        if clock.late:
            break
    own.counts, own.leading = compared
    return best


def _ways(
    own: OwnRun, problem: Problem, minimum: Minimum, options: FitOptions
) -> Iterator[tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]]:
    """Points (P,) from which the own run is fitted spike by spike, and what `_spike_by_spike` holds.

    The errors of the forced model are larger, and may lose a spike that only just happens: at last, look around it.
    """
    i = int(np.argmin(minimum.cost))
    forced = minimum.points[i]
    covariance = uncertainty(minimum.residuals[i], minimum.jacobian[i], problem.n_data, problem.residuals.n_voltage)
    variance, axes = np.linalg.eigh(covariance)
    held = (axes / (HELD * np.sqrt(np.maximum(variance, 1e-30)))).T
    yield forced, (forced, held)
    yield forced, (forced, 0 * held)
    rng, middle = np.random.default_rng(options.seed), np.zeros(len(forced))
    draws = rng.multivariate_normal(middle, covariance, DRAWS, check_valid="ignore")
    draws *= np.linspace(0.0, 2.0, DRAWS)[:, None]
    yield own.nearest(np.clip(forced + draws, 0.0, 1.0)), (forced, held)


def _spike_by_spike(own: OwnRun, point: np.ndarray, held: tuple[np.ndarray, np.ndarray], clock: Clock) -> np.ndarray:
    """Where a descent ends with the sweeps up to the first spike that is lost, surplus or off, then to the next one.

    Args:
        held: (P,) forced values x and (P, P) A: A (point - x) are further residuals, since the first spikes alone do
            not tell all parameters.
    """
    assert own.residuals.spike_noise is not None
    forced, A = held

    def residuals(points: np.ndarray) -> np.ndarray:
        return np.concatenate([own.at(points), (points - forced) @ A.T], axis=1)

    def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        r, J = own(points)
        return np.concatenate([r, (points - forced) @ A.T], axis=1), np.concatenate([J, A[None]], axis=1)

    precision, reached = min(PRECISION, OFF * own.residuals.spike_noise), -1
    while not own.look_around(point, precision) and sum(own.leading) > reached:
        reached = sum(own.leading)
        point = follow(evaluate, residuals, point, steps=PREFIX_STEPS, stop=clock).points[0]
    return point


def _descended(own: OwnRun, point: np.ndarray, steps: int, clock: Clock) -> Minimum | None:
    """The minimum next to a point (P,), with windows around the own spikes of its end; None where spikes are lost."""
    found = None
    for _ in range(WINDOWS if own.look_around(point) else 0):
        own.look_around(point)
        found = follow(own, own.at, point, steps=steps, stop=clock)
        if not np.isfinite(found.cost[0]):
            return None
        moved, point = np.abs(found.points[0] - point).max(), found.points[0]
        if moved < SETTLED:
            break
    return found


def _alike(r: np.ndarray, n_voltage: int, n_data: int) -> dict[str, float]:
    """Of residuals (R,) of V and of spikes, where they are no noise, the correlation of neighbours."""
    kinds = {"V": r[:n_voltage], "spikes": r[n_voltage:n_data]}
    return {kind: rho for kind, errors in kinds.items() if (rho := alike(errors)) is not None}


def _covariance(point: np.ndarray, r: np.ndarray, jacobian: np.ndarray, n_data: int, n_voltage: int) -> np.ndarray:
    """(P, P) that of `uncertainty`, and the way that is left where the steps ended before a jump of the loss.

    Beyond the jump a spike is another one. Without it the steps would go on as far as the smooth part of the loss
    falls, and the truth may be as far away. Residuals that cannot be computed, where a time limit has ended the steps
    early, tell nothing.
    """
    known = np.isfinite(r) & np.isfinite(jacobian).all(axis=1)
    r, jacobian = np.where(known, r, 0.0), np.where(known[:, None], jacobian, 0.0)
    left = np.clip(_way_left(point, r, jacobian)[0], -1.0, 1.0)
    return uncertainty(r, jacobian, n_data, n_voltage) + np.outer(left, left)


def _way_left(point: np.ndarray, r: np.ndarray, jacobian: np.ndarray) -> tuple[np.ndarray, float]:
    """(P,) the step to the minimum of the smooth part of the loss, and by how much that is lower."""
    inside = (point > 0) & (point < 1)
    g, J = jacobian.T @ r * inside, jacobian * inside
    left = np.linalg.lstsq(J.T @ J + 1e-12 * np.trace(J.T @ J) * np.eye(len(g)), g, rcond=None)[0]
    return left, 0.5 * float(g @ left)


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
        covariance = _covariance(points[best], r, jacobian, problem.n_data, residuals.n_voltage)
        no_noise = _alike(r, residuals.n_voltage, residuals.size)
    else:
        covariance, jumps, chosen, no_noise = alone.covariance, alone.jumps, alone.point, alone.alike
        if not alone.searched:
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
