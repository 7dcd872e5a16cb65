"""`infer_network`: weights and delays of a recurrent population from its own spike trains.

Given all spikes (teacher forcing), neurons are independent: each has its own small problem, whose margin
m = h . x - theta is a sum over what acts on it (`fitting.linear`). A neuron spikes at the rate

    rho(t) = exp(kappa m(t)) / tau_0,        1 / kappa: noise, in the unit of V

(escape noise; Gerstner, Kistler, Naud, Paninski 2014, Neuronal Dynamics, chapters 9 and 10), so the log likelihood of
its spike train is

    log L = sum over own spikes of kappa m(t) - int rho dt,

concave in kappa, kappa bias and kappa w for given delays (Paninski 2004, doi 10.1088/0954-898X_15_4_002). Gradients by
weights and delays are exact; steps are those of Fisher's scoring with Levenberg's damping. Time before a neuron's first
spike does not count, since its state is not known there.

Axis letters: N neurons, J sources of a neuron, T points of the integral, D delays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..atomic import replaced_file
from ..data import Events
from ..data.events.events import require_events
from ..data.events.storage import open_npz, read_arrays
from ..errors import DataError, SettingError, check_finite, whole
from ..modelling import Neuron, NeuronModel
from ..modelling.memory import check_fits
from ..output import stderr
from .linear import LinearNeuron, Source, Target

SURE = 4.0
"""Deviations from 0 of a weight that counts as a connection: the best of some ten delays is sought for each pair."""
UNSURE = 0.1
"""Of `max_delay`: a delay with a larger deviation is not determined."""
FEW = 20
"""Spikes of a neuron below which nothing is inferred about what acts on it."""
MOVABLE = 2.5
"""Deviations from 0 of a weight whose delay is fitted: without a weight a delay has no meaning."""
STEPS, ROUNDS = 30, 3
"""Of scoring, and how often delays are sought anew around its end."""
BETTER = 2.0
"""Log likelihood that another delay must gain to be tried."""
GAIN, SOME = 1e-3, 0.1
"""Of log likelihood: smaller gains end the steps; and those before the last."""
BLOCK = 1 << 12
"""Points of the integral in memory at once."""
STEEP = 200.0
"""Largest kappa, per unit of the distance from reset to threshold: with less noise the likelihood has no maximum."""
COARSE = 6.0
"""Steps between points of the integral until the delays are near."""
NOTHING = 0.01
"""Spikes that are expected at points of the integral which are left out, all together."""
GAP = 40.0
"""Slowest time constants between two samples, which so know nothing of each other."""


@dataclass(frozen=True, eq=False)
class InferResult:
    """Weights and delays of a population, with deviations from the curvature of the likelihood.

    Attributes:
        weights, delays: (N, N) from row to column, as of a `Dense` connection; delays in ms.
        weight_deviations, delay_deviations: (N, N) standard deviations, inf where nothing is known.
        bias: (N,) constant current, in the unit of the model's drive. noise: (N,) 1 / kappa, in the unit of V.
        bias_deviations, noise_deviations: (N,).
        gain: (N,) log likelihood above that of a neuron without inputs, in bits per spike.
        spikes: (N,) that count. max_delay: ms. remarks: what was not determined, in words.

    Example:
        >>> from genn_eventprop.fitting import infer_network
        >>> silent = infer_network(Events.from_samples([([5.0], [0])], 2), LIF, progress=False)
        >>> print(silent.remarks[0])
        neurons 0, 1: fewer than 20 spikes, nothing is known of what acts on them
    """

    weights: np.ndarray
    delays: np.ndarray
    weight_deviations: np.ndarray
    delay_deviations: np.ndarray
    bias: np.ndarray
    noise: np.ndarray
    bias_deviations: np.ndarray
    noise_deviations: np.ndarray
    gain: np.ndarray
    spikes: np.ndarray
    max_delay: float
    remarks: list[str]

    @property
    def connected(self) -> np.ndarray:
        """(N, N) whether a weight is more than `SURE` deviations from 0."""
        return np.asarray(np.abs(self.weights) > SURE * self.weight_deviations)

    @property
    def timed(self) -> np.ndarray:
        """(N, N) whether a delay is determined: to a tenth of `max_delay`, of a connection."""
        return np.asarray(self.connected & (self.delay_deviations < UNSURE * self.max_delay))

    def record(self) -> dict[str, Any]:
        """Numbers of the whole, for results.json."""
        return {
            "neurons": len(self.weights), "spikes": int(self.spikes.sum()), "connections": int(self.connected.sum()),
            "determined_delays": int(self.timed.sum()),
            "bits_per_spike": float(self.gain[self.spikes > 0].mean()) if self.spikes.any() else 0.0,
            "remarks": self.remarks,
        }  # fmt: skip

    def __str__(self) -> str:
        n, some = self.record(), self.connected
        pairs = int(np.isfinite(self.weight_deviations).sum())
        lines = [
            f"{n['neurons']} neurons, {n['spikes']} spikes; {n['connections']} of {pairs} weights are more than "
            f"{SURE:g} deviations from 0, {n['determined_delays']} delays are determined",
            f"inputs explain {n['bits_per_spike']:.3f} bits a spike",
        ]
        if some.any():
            w, d = np.median(self.weight_deviations[some]), np.median(self.delay_deviations[some])
            lines.append(f"median deviation of these weights {w:.3g}, of their delays {d:.3g} ms")
        return "\n".join([*lines, *self.remarks])


def infer_network(
    spikes: Events,
    model: NeuronModel | Neuron,
    *,
    duration: float | None = None,
    max_delay: float = 10.0,
    step: float = 1.0,
    tau_0: float = 1.0,
    targets: Sequence[int] | None = None,
    threads: int | None = None,
    progress: bool = True,
) -> InferResult:
    """Infer the connections of a population from its spike trains.

    Args:
        spikes: a channel for each neuron; samples are separate recordings of the same population. No neuron spikes
            twice at one time.
        model: LIF, LIFRelativeReset, ALIF, or a neuron like these (`fitting.linear`); its time constants, threshold and
            reset are taken as known, and fix the unit of weights.
        duration: of a sample in ms; default: until its last spike.
        max_delay: the longest delay in ms that is sought. step: largest distance in ms of points of the integral.
        tau_0: ms, 1 / rate at the threshold. targets: neurons whose inputs are inferred; default: all.
        threads: neurons at once; default: 1. progress: show a progress bar.

    Raises:
        SettingError: settings or a model that cannot be used. DataError: spikes that are none.

    Example:
        >>> from genn_eventprop.fitting import infer_network
        >>> from genn_eventprop.fitting.population import simulate_population
        >>> weights, delays = np.array([[0.0, 2.0], [0.0, 0.0]]), np.full((2, 2), 3.0)
        >>> spikes = simulate_population(weights, delays, bias=1.0, noise=0.1, duration=10_000.0, seed=1, tau_0=1.0)
        >>> found = infer_network(spikes, LIF, duration=10_000.0, progress=False)
        >>> found.connected.tolist(), round(float(found.delays[0, 1]))
        ([[False, True], [False, False]], 3)
    """
    return Inference(
        spikes, model, duration=duration, max_delay=max_delay, step=step, tau_0=tau_0, targets=targets
    ).run(threads=threads, progress=progress)


class Inference:
    """What `infer_network` is asked, checked; see there."""

    def __init__(
        self, spikes: Events, model: NeuronModel | Neuron, *, duration: float | None = None, max_delay: float = 10.0,
        step: float = 1.0, tau_0: float = 1.0, targets: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        events, neuron = require_events(spikes, "infer_network"), LinearNeuron.of(model)
        if not len(events.times):
            raise SettingError("infer_network: there is no spike, so nothing is known of any connection")
        for name, value in (("max_delay", max_delay), ("step", step), ("tau_0", tau_0), ("duration", duration or 1.0)):
            check_finite(value, f"infer_network: {name}", SettingError, above=True)
        needed = 4 * 8 * events.n_channels**2  # weights, delays and their deviations
        what = f"results for all pairs of {events.n_channels} neurons"
        check_fits(needed, what, "number the neurons from 0 on, without gaps", SettingError)
        self.neuron, self.settings = neuron, (max_delay, step, tau_0)
        self.trains, self.ends = _trains(events, duration, GAP / -neuron.rates.real.max() + max_delay)
        N = len(self.trains)
        self.targets = list(range(N) if targets is None else targets)
        if wrong := [i for i in self.targets if i not in range(N)]:
            raise SettingError(f"infer_network: targets: there is no neuron {wrong[0]}, but {N} from 0 on")

    def run(self, *, threads: int | None = None, progress: bool = True, keep: Path | None = None) -> InferResult:
        """The result.

        Args:
            keep: a folder in which every neuron is saved as soon as it is done, and taken from; the caller knows that
                it is of the same spikes and settings.
        """
        threads = whole(1 if threads is None else threads, "threads", SettingError)
        sources = [Source.of(self.neuron, np.concatenate(train)) for train in self.trains]

        def fit_one(i: int) -> _Fitted | None:
            others = [j for j in range(len(sources)) if j != i and len(sources[j].times)]
            if sum(map(len, self.trains[i])) < FEW:
                return None
            near = [sources[j] for j in others]
            fitted = _Problem(self.neuron, self.trains[i], self.ends, near, *self.settings).fit(np.array(others, int))
            if keep is not None:
                _save(fitted, keep / f"{i}.npz")
            return fitted

        # all of them, before anything is computed: a file may be damaged
        paths = {} if keep is None else {i: keep / f"{i}.npz" for i in self.targets}
        saved = {i: _load(path) for i, path in paths.items() if path.exists()}
        with ThreadPoolExecutor(threads) as pool:
            waiting = {i: pool.submit(fit_one, i) for i in self.targets if i not in saved}
            shown = tqdm(
                waiting.items(), desc="infer", unit="neuron", initial=len(saved), total=len(self.targets),
                disable=not progress, file=stderr(), dynamic_ncols=True,
            )  # fmt: skip
            try:
                made = {i: future.result() for i, future in shown}
            except BaseException:
                pool.shutdown(cancel_futures=True)  # only those that have begun end
                raise
        fitted = {i: saved[i] if i in saved else made[i] for i in self.targets}
        return _result(fitted, self.trains, self.settings[0])


def _trains(events: Events, duration: float | None, gap: float) -> tuple[list[list[np.ndarray]], list[float]]:
    """(spikes (K,) of every neuron and sample, end of every sample), in one time: samples follow each other."""
    trains: list[list[np.ndarray]] = [[] for _ in range(events.n_channels)]
    ends, start = list[float](), 0.0
    for i in range(len(events)):
        times, channels = events.sample(i)
        last = float(times[-1]) if len(times) else 0.0
        if duration is not None and last > duration:
            raise SettingError(f"infer_network: sample {i} has a spike at {last:g} ms, after duration={duration:g}")
        ends.append(start + (last if duration is None else duration))
        for n in range(events.n_channels):
            own = np.asarray(times[channels == n], np.float64)
            if (twice := np.diff(own) <= 0).any():
                raise SettingError(
                    f"infer_network: neuron {n} spikes twice at one time in sample {i}, at {own[1:][twice][0]:g} ms; "
                    "leave one of the two out"
                )
            trains[n].append(own + start)
        start = ends[-1] + gap
    return trains, ends


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Of one neuron: sources (J,) and their weights, delays and deviations; the rest as in `InferResult`."""

    sources: np.ndarray
    weights: np.ndarray
    delays: np.ndarray
    weight_deviations: np.ndarray
    delay_deviations: np.ndarray
    bias: tuple[float, float]
    noise: tuple[float, float]
    gain: float
    spikes: int
    steep: bool


def _save(fitted: _Fitted, path: Path) -> None:
    with replaced_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **asdict(fitted))


def _load(path: Path) -> _Fitted:
    with open_npz(path) as file:
        values = dict(read_arrays(file, file.files, path))
    try:
        return _Fitted(**{n: v if v.ndim else v.item() for n, v in values.items()})  # type: ignore[arg-type]
    except TypeError as error:
        raise DataError(f"{path} is no neuron of infer ({error}); remove it") from None


class _Problem:
    """The likelihood of the spike train of one neuron, and its maximum.

    Parameters: beta (2 + J,) = kappa, kappa bias, kappa w; delays (J,).
    """

    def __init__(
        self, neuron: LinearNeuron, trains: Sequence[np.ndarray], ends: Sequence[float], sources: Sequence[Source],
        max_delay: float, step: float, tau_0: float,
    ) -> None:  # fmt: skip
        own = np.concatenate(trains)
        self.neuron, self.own, self.sources, self.max_delay = neuron, own, sources, max_delay
        self.at_spikes = Target(neuron, own, np.concatenate([t[1:] for t in trains]))
        self.trains, self.ends, self.step, self.tau_0 = trains, ends, step, tau_0
        self.integrate(*self.points(COARSE * step))
        self.steepest = STEEP / abs(neuron.threshold - float((neuron.margin @ neuron.jump).real) or 1.0)
        self.candidates = np.arange(0.0, max_delay + 0.5, 1.0)

    def points(self, step: float) -> tuple[np.ndarray, np.ndarray]:
        """Times (T,) of the integral, and their widths (T,) in units of tau_0."""
        parts = [_points(t, end, step) for t, end in zip(self.trains, self.ends)]
        times, widths = (np.concatenate(p) for p in zip(*parts))
        return times, widths / self.tau_0

    def integrate(self, t: np.ndarray, widths: np.ndarray) -> None:
        """From now on over these points."""
        blocks = [slice(k, k + BLOCK) for k in range(0, len(t), BLOCK)]
        self.blocks = [(Target(self.neuron, self.own, t[b]), widths[b]) for b in blocks]
        self.constant = [self.at_spikes.constant(), *(target.constant() for target, _ in self.blocks)]

    def refine(self, beta: np.ndarray, delays: np.ndarray) -> None:
        """Over fine points, without those at which no spike is expected."""
        t, widths = self.points(self.step)
        self.integrate(t, widths)
        resets = self.at_spikes.resets(self.sources, delays)
        expected = np.concatenate([
            np.exp(np.minimum(beta @ np.concatenate([c, target.inputs(self.sources, delays, resets)[0]]), 50.0)) * w
            for (target, w), c in zip(self.blocks, self.constant[1:])
        ])  # fmt: skip
        order = np.argsort(expected)
        counts = np.sort(order[np.cumsum(expected[order]) > NOTHING])
        self.integrate(t[counts], widths[counts])

    def evaluate(self, beta: np.ndarray, delays: np.ndarray, moved: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """(log L, gradient (P,), Fisher's information (P, P)) by beta and the delays of the sources `moved`."""
        J, value = len(self.sources), 0.0
        P = len(beta) + len(moved)
        gradient, fisher = np.zeros(P), np.zeros((P, P))
        resets = self.at_spikes.resets(self.sources, delays)
        for k, target in enumerate([self.at_spikes, *(target for target, _ in self.blocks)]):
            phi, slope = target.inputs(self.sources, delays, resets)
            X = np.concatenate([self.constant[k], phi, slope[moved] * beta[2 + moved, None]])
            eta = beta @ X[: 2 + J]
            if k == 0:
                value += eta.sum()
                gradient += X.sum(axis=1)
                continue
            expected = np.exp(np.minimum(eta, 50.0)) * self.blocks[k - 1][1]
            value -= expected.sum()
            gradient -= X @ expected
            fisher += (X * expected) @ X.T
        return float(value), gradient, fisher

    def climb(self, beta: np.ndarray, delays: np.ndarray, moved: np.ndarray, least: float = SOME) -> tuple[Any, ...]:
        """(beta, delays, log L, information) at the maximum next to a point."""
        damping, n = 1e-3, len(beta)
        value, gradient, fisher = self.evaluate(beta, delays, moved)
        for _ in range(STEPS):
            scale = np.diag(fisher) + 1e-9
            step = np.linalg.solve(fisher + damping * np.diag(scale), gradient)
            new, shifted = beta + step[:n], delays.copy()
            new[0] = np.clip(new[0], beta[0] / 3, min(3 * beta[0], self.steepest))
            shifted[moved] = np.clip(delays[moved] + np.clip(step[n:], -1.0, 1.0), 0.0, self.max_delay)
            tried = self.evaluate(new, shifted, moved)
            if tried[0] > value:
                gained, beta, delays = tried[0] - value, new, shifted
                value, gradient, fisher = tried
                damping = max(damping / 5, 1e-9)
                if gained < least:
                    break
            elif step @ gradient < least or damping > 1e6:
                break
            else:
                damping *= 10
        return beta, delays, value, fisher

    def seek(self, beta: np.ndarray, delays: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each source the delay (J,) that promises most, weights (J,) with it, and log L (J,) that it would gain.

        The likelihood is a parabola in one beta at the rates of now, all else being the same.
        """
        J, D = len(self.sources), len(self.candidates)
        score, curvature, cross = np.zeros((D, J)), np.zeros((D, J)), np.zeros((D, J, 2))
        null = np.zeros((2, 2))
        here, slope = np.zeros(J), beta[2:]
        resets = self.at_spikes.resets(self.sources, delays)
        at = [self.at_spikes.resets(self.sources, np.full(J, delay)) for delay in self.candidates]
        for k, target in enumerate([self.at_spikes, *(target for target, _ in self.blocks)]):
            phi, _ = target.inputs(self.sources, delays, resets, slopes=False)
            constant = self.constant[k]
            if k:
                expected = np.exp(np.minimum(beta @ np.concatenate([constant, phi]), 50.0)) * self.blocks[k - 1][1]
                null += (constant * expected) @ constant.T
                here += phi**2 @ expected
            for i, delay in enumerate(self.candidates):
                other, _ = target.inputs(self.sources, np.full(J, delay), at[i], slopes=False)
                if k == 0:
                    score[i] += other.sum(axis=1)
                    continue
                score[i] += (other * phi) @ expected * slope - other @ expected
                curvature[i] += other**2 @ expected
                cross[i] += (other * expected) @ constant.T
        # what bias and noise could do as well is no sign of a connection
        curvature -= np.einsum("dja,ab,djb->dj", cross, np.linalg.pinv(null), cross)
        curvature = np.maximum(curvature, 1e-12)
        best = np.argmax(gain := 0.5 * score**2 / curvature, axis=0)
        j = np.arange(J)
        return self.candidates[best], score[best, j] / curvature[best, j], gain[best, j] - 0.5 * slope**2 * here

    def search(self, start: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(beta, delays, information) at the best maximum of some; `start`: kappa and kappa bias without inputs."""
        J, none = len(self.sources), np.zeros(0, int)
        beta, delays = np.concatenate([start, np.zeros(J)]), np.zeros(J)
        if J:
            delays = self.seek(beta, delays)[0]
        beta, delays, value, fisher = self.climb(beta, delays, none)
        for _ in range(ROUNDS if J else 0):
            moved = np.flatnonzero(np.abs(beta[2:]) > MOVABLE * _deviations(fisher)[2 : 2 + J])
            beta, delays, value, fisher = self.climb(beta, delays, moved)
            promised, weights, gain = self.seek(beta, delays)
            other = (gain > BETTER) & (np.abs(promised - delays) > 1.0)
            if not other.any():
                break
            trial, at = beta.copy(), delays.copy()
            trial[2:][other], at[other] = weights[other], promised[other]
            tried = self.climb(trial, at, none)
            if tried[2] > value:
                beta, delays, value, fisher = tried
        return beta, delays, fisher

    def fit(self, others: np.ndarray) -> _Fitted:
        J, none = len(self.sources), np.zeros(0, int)
        silent = copy(self)
        silent.sources = []
        silent.integrate(*silent.points(self.step))
        start, _, alone, _ = silent.climb(np.array([3.0, 3.0]), np.zeros(0), none, GAIN)
        beta, delays, fisher = self.search(start)
        self.refine(beta, delays)
        if self.evaluate(beta, delays, none)[0] < alone:
            # coarse points between spikes in quick succession have missed where the rate is high
            self.integrate(*self.points(self.step))
            beta, delays, fisher = self.search(start)
            self.refine(beta, delays)
        moved = np.flatnonzero(np.abs(beta[2:]) > MOVABLE * _deviations(fisher)[2 : 2 + J])
        beta, delays, value, fisher = self.climb(beta, delays, moved, GAIN)
        covariance, kappa = _inverse(fisher), beta[0]
        # bias and weights are beta / kappa
        values = beta[1:] / kappa
        turn = np.concatenate([-values[:, None], np.eye(1 + J), np.zeros((1 + J, len(moved)))], axis=1) / kappa
        deviations = np.sqrt(np.einsum("ip,pq,iq->i", turn, covariance, turn))
        late = np.full(J, np.inf)
        late[moved] = np.sqrt(np.diag(covariance)[2 + J :])
        count = len(self.at_spikes.times)
        return _Fitted(
            others, values[1:], delays, deviations[1:], late, (values[0], deviations[0]),
            (1 / kappa, float(np.sqrt(covariance[0, 0])) / kappa**2), (value - alone) / count / np.log(2), count,
            kappa >= 0.99 * self.steepest,
        )  # fmt: skip


def _inverse(fisher: np.ndarray) -> np.ndarray:
    scale = 1 / np.sqrt(np.diag(fisher) + 1e-12)
    found = np.linalg.pinv(fisher * np.outer(scale, scale), rcond=1e-12, hermitian=True)
    return np.asarray(found * np.outer(scale, scale))


def _deviations(fisher: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(np.maximum(np.diag(_inverse(fisher)), 0.0)))


def _points(own: np.ndarray, end: float, step: float) -> tuple[np.ndarray, np.ndarray]:
    """(T,) midpoints of equal parts, at most `step` long, of every interval from the first own spike on, and their
    widths."""
    edges = [*own, end] if len(own) and end > own[-1] else [*own]
    lengths = np.diff(edges)
    parts = np.maximum(np.ceil(lengths / step).astype(int), 1)
    widths = np.repeat(lengths / parts, parts)
    first = np.repeat(np.cumsum(parts) - parts, parts)
    number = np.arange(parts.sum()) - first
    return np.repeat(np.asarray(edges[:-1], float), parts) + (number + 0.5) * widths, widths


def _result(
    fitted: Mapping[int, _Fitted | None], trains: Sequence[Sequence[np.ndarray]], max_delay: float
) -> InferResult:
    N = len(trains)
    weights, delays = np.zeros((N, N)), np.zeros((N, N))
    of_weights, of_delays = np.full((N, N), np.inf), np.full((N, N), np.inf)
    single = np.full((6, N), np.nan)
    for i, f in fitted.items():
        if f is None:
            continue
        weights[f.sources, i], delays[f.sources, i] = f.weights, f.delays
        of_weights[f.sources, i], of_delays[f.sources, i] = f.weight_deviations, f.delay_deviations
        single[:, i] = *f.bias, *f.noise, f.gain, f.spikes
    remarks, counts = list[str](), [sum(map(len, train)) for train in trains]

    def remark(which: Sequence[int], what: str) -> None:
        if which:
            some = ", ".join(map(str, which[:10])) + (" ..." if len(which) > 10 else "")
            remarks.append(
                f"neuron{'s' * (len(which) > 1)} {some}: {what.format(it='them' if len(which) > 1 else 'it')}"
            )

    remark(
        [i for i, f in fitted.items() if f is None], f"fewer than {FEW} spikes, nothing is known of what acts on {{it}}"
    )
    remark([i for i in range(N) if not counts[i]], "no spike, nothing is known of connections from {it}")
    remark(
        [i for i, f in fitted.items() if f is not None and f.steep],
        "spikes that follow from the others almost without noise; deviations are too small",
    )
    bias, of_bias, noise, of_noise, gain, spikes = single
    found = InferResult(
        weights, delays, of_weights, of_delays, bias, noise, of_bias, of_noise, gain, np.nan_to_num(spikes).astype(int),
        max_delay, remarks,
    )  # fmt: skip
    if untimed := int((found.connected & ~found.timed).sum()):
        found.remarks.append(f"{untimed} connections have a delay with a deviation above {UNSURE * max_delay:g} ms")
    ends = found.timed & ((delays <= 0) | (delays >= max_delay))
    if ends.any():
        found.remarks.append(f"{int(ends.sum())} delays are at 0 or at max_delay={max_delay:g} ms")
    return found
