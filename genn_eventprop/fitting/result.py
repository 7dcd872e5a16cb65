"""What a fit found: values, how sure they are, and how the model does by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..modelling import NeuronModel
from .compare import FreeRun
from .recording import Recording
from .verdict import Verdict

NEAR_BOUND = 0.02
"""Of the range: a value so close to a bound might be beyond it."""
HUNDRED_RANGES = 100.0
"""The deviation of what nothing depends on."""
UNSURE = 0.1
"""Of the range: a parameter with a larger standard deviation is not told by the recording."""
FEW = 2.0
"""So many residuals of each kind are taken to be as large as those of all data: one or two do not tell how large."""
TIED = 0.98
"""Correlation beyond which two parameters are only determined together."""
LAGS, ONCE_IN = 20, 3.72
"""Lags of the test for noise, and the normal quantile of one in ten thousand, which is how often noise fails it."""
NOTHING = 1e-3
"""Of the assumed deviations: errors as small as that are rounding, and no deviation matters."""


@dataclass(frozen=True, eq=False)
class FitResult:
    """The parameters of one cell.

    Attributes:
        model, recording: what was fitted to what. names, values: (P,) the parameters. low, high: (P,) their bounds.
        fixed: values of the others that are not the model's own.
        covariance: (P, P) from the curvature of the loss at `values`, see `uncertainty`.
        starts, ends: (M, P) where each start began and ended, of the forced model if a search followed. losses: (M,)
            half the sum of squared residuals there.
        converged: (M,) whether it ended by itself, not with the last step.
        n_voltage, n_spikes, n_rates: numbers of samples, spikes and rates that counted, the first two with the
            deviations `voltage_noise` and `spike_noise`.
        window: ms before and after spikes in which V did not count.
        free: the model by itself in the sweeps that were fitted. verdict: how much it explains of those that were held
            out, or else of these. simulations: runs of one neuron through all sweeps. seconds: wall-clock time.
        remarks: what the fit decided by itself. jumps: parameters a small change of which makes the loss jump there.
        stopped: where a time limit ended the fit; empty if none did.
        test, tested: the sweeps that were held out, and the model by itself in them; None without any.
        aic: Akaike's criterion, see `criterion`; None where nothing was measured but rates.
        alike: of V and of spikes, where their errors are no noise, the correlation of neighbours; see `alike`.
    """

    model: NeuronModel
    recording: Recording
    names: list[str]
    low: np.ndarray
    high: np.ndarray
    values: np.ndarray
    covariance: np.ndarray
    fixed: dict[str, float]
    starts: np.ndarray
    ends: np.ndarray
    losses: np.ndarray
    converged: np.ndarray
    voltage_noise: float | None
    spike_noise: float | None
    n_voltage: int
    n_spikes: int
    n_rates: int
    window: tuple[float, float]
    free: FreeRun
    verdict: Verdict
    simulations: int
    seconds: float
    remarks: list[str] = field(default_factory=list)
    jumps: list[str] = field(default_factory=list)
    stopped: str = ""
    test: Recording | None = None
    tested: FreeRun | None = None
    aic: float | None = None
    alike: dict[str, float] = field(default_factory=dict)

    @property
    def parameters(self) -> dict[str, float]:
        """Parameter -> value, fitted and fixed."""
        return {**self.fixed, **dict(zip(self.names, self.values.tolist()))}

    @property
    def deviations(self) -> np.ndarray:
        """(P,) standard deviations."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def correlation(self) -> np.ndarray:
        """(P, P) of the errors of parameters."""
        return correlations(self.covariance)

    @property
    def agreeing(self) -> int:
        """How many starts found the best minimum: each parameter within a hundredth of its range or two deviations."""
        near = np.abs(self.ends - self.values) <= 0.01 * (self.high - self.low) + 2 * self.deviations
        return int(near.all(axis=1).sum())

    def doubts(self) -> list[str]:
        """What the recording does not tell: parameters at a bound, unsure ones, pairs that are told only together."""
        found, width = [], self.high - self.low
        for i, n in enumerate(self.names):
            bound = min(self.low[i], self.high[i], key=lambda b: abs(self.values[i] - b))
            if (distance := abs(self.values[i] - bound)) <= NEAR_BOUND * width[i]:
                where = "at" if distance <= 1e-6 * width[i] else "near"
                found.append(f"{n} is {where} its bound {bound:g}: widen it, or fix the parameter")
        at_bound = [n.split(" ")[0] for n in found]
        found += not_told(self.names, self.low, self.high, self.deviations, self.correlation, at_bound)
        if self.jumps:
            found.append(
                f"the loss jumps at this minimum: a small change of {', '.join(self.jumps)} lets a spike appear or "
                "vanish; deviations are those of its smooth part"
            )
        found += [
            f"errors of {kind} are no noise (correlation of neighbours {rho:.2g}): the model lacks something, or other "
            "values explain more; deviations are too small"
            for kind, rho in self.alike.items()
        ]
        if self.agreeing == 1 and len(self.losses) > 1:
            found.append("no second start found this minimum; use more starts, or narrower bounds")
        return found

    def record(self) -> dict[str, Any]:
        """All numbers but the traces, for results.json."""
        free = self.free
        return {
            "model": self.model.name,
            "recording": self.recording.name,
            "fitted_sweeps": self.recording.sweep_numbers,
            "held_out_sweeps": [] if self.test is None else self.test.sweep_numbers,
            "dt": self.recording.dt,
            "parameters": {
                n: {"value": v, "deviation": d, "low": lo, "high": hi}
                for n, v, d, lo, hi in zip(self.names, self.values, self.deviations, self.low, self.high)
            },
            "fixed": self.fixed,
            "correlation": self.correlation,
            "losses": self.losses,
            "ends": self.ends,
            "agreeing_starts": self.agreeing,
            "converged": self.converged,
            "voltage_samples": self.n_voltage,
            "spikes": self.n_spikes,
            "rates": self.n_rates,
            "voltage_noise": self.voltage_noise,
            "spike_noise": self.spike_noise,
            "window": self.window,
            "free_run": {
                "voltage_error": free.error, "coincident": free.coincident, "missing": free.missing,
                "surplus": free.surplus, "jitter": free.jitter, "gamma": free.gamma, "rate": free.rate,
                "failure": free.failure,
                "measured_rate": free.measured_rate, "rates": free.rates, "measured_rates": free.measured_rates,
            },
            "aic": self.aic,
            "verdict": {"explains_little": self.verdict.little, **asdict(self.verdict)},
            "simulations": self.simulations,
            "seconds_fitting": self.seconds,
            "stopped": self.stopped,
            "remarks": self.remarks,
            "jumps": self.jumps,
            "alike": self.alike,
            "doubts": self.doubts(),
        }  # fmt: skip

    def __str__(self) -> str:
        units = {n: p.unit for n, p in self.model.params.items()}
        rows = [
            f"{n:12} {v:12.6g} +- {d:<10.2g} {units.get(n, '')}"
            for n, v, d in zip(self.names, self.values, self.deviations)
        ]
        free = self.free
        error = "" if free.error is None else f"V off by {free.error:.3g}; "
        spikes = (
            "" if free.coincident is None
            else f"{free.coincident} spikes coincide, {free.missing} missing, {free.surplus} surplus; "
        )  # fmt: skip
        own = f"by itself: {error}{spikes}{free.rate:.3g} spikes a second, measured {free.measured_rate:.3g}"
        if free.failure:
            own = f"by itself the model cannot be computed with these values: {free.failure}"
        ends = (
            f"{self.agreeing} of {len(self.losses)} starts found this minimum; {self.simulations} simulations, "
            f"{self.seconds:.1f} s"
        )
        first = [str(self.verdict), *([self.stopped] if self.stopped else [])]
        return "\n".join([*first, *rows, own, ends, *self.remarks, *self.doubts()])


def correlations(covariance: np.ndarray) -> np.ndarray:
    """(P, P) correlations of errors with this covariance."""
    d = np.maximum(np.sqrt(np.diag(covariance)), 1e-300)
    return covariance / np.outer(d, d)


def not_told(
    names: Sequence[str],
    low: np.ndarray,
    high: np.ndarray,
    deviations: np.ndarray,
    correlation: np.ndarray,
    without: Sequence[str] = (),
) -> list[str]:
    """Parameters whose deviation is a tenth of their range or more, but those of `without`, and pairs told together."""
    found, width = [], high - low
    for i, n in enumerate(names):
        if n not in without and not deviations[i] <= UNSURE * width[i]:
            found.append(
                f"{n} is not determined by this recording: its deviation is {deviations[i]:.3g}, "
                f"its range {width[i]:.3g}"
            )
    for i in range(len(names)):
        for j in range(i):
            if abs(correlation[i, j]) > TIED:
                found.append(
                    f"{names[j]} and {names[i]} are only determined together (correlation {correlation[i, j]:+.3f})"
                )
    return found


def uncertainty(residuals: np.ndarray, jacobian: np.ndarray, n_data: int, n_voltage: int) -> np.ndarray:
    """Covariance of the parameters from the curvature of the loss, J^T J (Gauss and Newton's part of it).

        covariance = (J^T J)^-1 (s_v^2 J_v^T J_v + s_d^2 J_d^T J_d + J_p^T J_p) (J^T J)^-1

    v are the residuals of V, d those of other data, p those of priors. s^2 is the variance that the fit leaves of each
    kind, whatever deviations were assumed; for V times (1 + rho) / (1 - rho), by which a correlation rho of
    neighbouring errors makes them count less. It is the uncertainty for a model that is right: where the model cannot
    be, the fit is surer than it should be.

    Args:
        residuals: (R,), jacobian: (R, P), data first. n_data: how many are of data. n_voltage: of V, in time order.
    """
    inverse = _inverse(residuals, jacobian, n_data)
    of_data, of_priors = jacobian[:n_data], jacobian[n_data:]
    each = variances(residuals, jacobian, n_data, n_voltage)[:n_data, None]
    unknown = (HUNDRED_RANGES * _floor(residuals, jacobian, n_data)) ** 2 * np.eye(jacobian.shape[1])
    noise = of_priors.T @ of_priors + (each * of_data).T @ of_data + unknown
    return inverse @ noise @ inverse


def criterion(residuals: np.ndarray, n_data: int, n_voltage: int, n_parameters: int) -> float | None:
    """Akaike's information criterion of the forced model, up to what is the same for all models of a recording.

        AIC = sum over V and spikes of n ln(sum of squared residuals / n) + 2 (parameters + kinds of data)

    (Akaike 1974, doi 10.1109/TAC.1974.1100705.) It takes errors of neighbouring samples for independent, so that it
    exaggerates differences; what counts is what a model explains of sweeps that were held out.

    Args:
        residuals: (R,), data first, of V before others. n_data, n_voltage: how many are of data, and of V.
    """
    kinds = [r for r in (residuals[:n_voltage], residuals[n_voltage:n_data]) if len(r)]
    if not kinds or not all(np.isfinite(r).all() for r in kinds):
        return None
    fit = sum(len(r) * float(np.log(max(float(r @ r) / len(r), 1e-300))) for r in kinds)
    return fit + 2.0 * (n_parameters + len(kinds))


def alike(residuals: np.ndarray) -> float | None:
    """The correlation of neighbouring residuals (R,) where they are no noise; None where they may be, or are few.

    They are none where the sum of squared correlations over `LAGS` lags is larger than that of noise (Ljung, Box 1978,
    doi 10.1093/biomet/65.2.297), whose quantile is that of Wilson and Hilferty.
    """
    n = len(residuals)
    lags = min(LAGS, n // 5)
    square = float(residuals @ residuals)
    if lags < 3 or not NOTHING**2 * n < square < np.inf:
        return None
    rho = np.array([residuals[k:] @ residuals[:-k] for k in range(1, lags + 1)]) / square
    q = n * (n + 2) * float((rho**2 / (n - np.arange(1, lags + 1))).sum())
    part = 2 / (9 * lags)
    return float(rho[0]) if q > lags * (1 - part + ONCE_IN * np.sqrt(part)) ** 3 else None


def variances(residuals: np.ndarray, jacobian: np.ndarray, n_data: int, n_voltage: int) -> np.ndarray:
    """(R,) s^2 of each residual, see `uncertainty`; 1 of priors."""
    inverse, common = _inverse(residuals, jacobian, n_data), _common(residuals, jacobian, n_data)
    every = np.ones(len(residuals))
    for rows, is_voltage in ((slice(0, n_voltage), True), (slice(n_voltage, n_data), False)):
        r, of_kind = residuals[rows], jacobian[rows].T @ jacobian[rows]
        # what the parameters have taken of the errors of this kind; few errors tell their size badly
        left = len(r) - float(np.trace(inverse @ of_kind))
        every[rows] = (float(r @ r) + FEW * common) / (max(left, 0.0) + FEW)
        if is_voltage:
            rho = float(r[1:] @ r[:-1]) / max(float(r @ r), 1e-300) if len(r) > 2 else 0.0
            rho = min(max(rho, 0.0), 0.99)
            every[rows] *= (1 + rho) / (1 - rho)
    return every


def _common(residuals: np.ndarray, jacobian: np.ndarray, n_data: int) -> float:
    """The variance that the fit leaves of all data."""
    data = residuals[:n_data]
    return max(float(data @ data) / max(n_data - jacobian.shape[1], 1), 1e-30)


def _inverse(residuals: np.ndarray, jacobian: np.ndarray, n_data: int) -> np.ndarray:
    """(P, P) of J^T J; a direction that nothing depends on has a deviation of a hundred ranges, not infinity."""
    floor = _floor(residuals, jacobian, n_data) * np.eye(jacobian.shape[1])
    return np.linalg.inv(jacobian.T @ jacobian + floor)


def _floor(residuals: np.ndarray, jacobian: np.ndarray, n_data: int) -> float:
    """Curvature of a direction that nothing depends on; with less, a fit without errors has a singular matrix."""
    return max(_common(residuals, jacobian, n_data) / HUNDRED_RANGES**2, 1e-14 * float((jacobian**2).sum()))
