"""`TraceFitter` and `SpikeFitter`: the parameters of a model of Brian, with the interface of brian2modelfitting.

read       the model's equations -> `from_brian` -> a `NeuronModel`
fit        `genn_eventprop.fit`: exact spike times and derivatives, least squares from a few starts
polish     the same least squares on runs of Brian itself, for traces without resets: its steps are part of the model
compare    a run of Brian with what each start found, and the metric of it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np

from ...arguments import explain
from ...errors import SettingError, check_known, shown, whole
from ...fitting import FitResult, Recording, fit
from ...fitting.differences import differences
from ...fitting.levenberg import minimise
from ...modelling import Event, Mode, NeuronModel
from .package import brian_package, names_outside
from .read import from_brian
from .read_units import converted, scale

STARTS = 5
"""Starts of a round, if `n_samples` has room for them and their derivatives."""
POLISHING = 20
"""Steps at most on runs of Brian."""
SAMPLES = 400
"""Of a trace that count in the fit before it is polished, where all of them follow each other closely."""
SPIKES = "spikes"


@dataclass(frozen=True)
class MSEMetric:
    """The mean squared difference of traces, over samples and traces.

    Args:
        t_start: time before which nothing counts. normalization: by which both traces are divided.

    Example:
        >>> import numpy as np
        >>> from brian2 import ms
        >>> from genn_eventprop.interop.brian import MSEMetric
        >>> MSEMetric(t_start=1 * ms).errors(np.full((1, 2, 20), 3.0), np.zeros((2, 20)), dt=1e-4)
        array([9.])
    """

    t_start: Any = None
    normalization: Any = 1.0

    def __post_init__(self) -> None:
        _check_time(self.t_start, "t_start")
        if not _is_one(self.normalization) or not 0 < abs(float(self.normalization)) < np.inf:
            raise SettingError(f"normalization is a number other than 0, got {shown(self.normalization)}")

    def errors(self, traces: np.ndarray, target: np.ndarray, dt: float) -> np.ndarray:
        """(M,) of traces (M, S, K) and the target (S, K), dt in s."""
        skip = 0 if self.t_start is None else round(float(self.t_start) / dt)
        difference = (traces - target)[:, :, skip:] / float(self.normalization)
        mean: np.ndarray = (difference**2).mean(axis=(1, 2))
        return mean


@dataclass(frozen=True)
class GammaFactor:
    """1 + 2 |r_data - r_model| / r_data - Gamma, at least 0, mean over traces, with the coincidence factor

        Gamma = (N_coincident - 2 delta N_data r_data) / ((N_data + N_model) / 2) / (1 - 2 delta r_data)

    of Jolivet et al. 2008, doi 10.1016/j.jneumeth.2007.11.006, and the rates r of Clopath et al. 2007, doi
    10.1016/j.neucom.2006.10.047.

    Args:
        delta: how far from a spike of the data one of the model may be. time: of a trace, over which rates are means;
            None: that of the input. rate_correction: whether the rates count.

    Example:
        >>> import numpy as np
        >>> from brian2 import ms
        >>> from genn_eventprop.interop.brian import GammaFactor
        >>> spikes = np.array([0.010, 0.031])
        >>> GammaFactor(delta=2 * ms).errors([[spikes + 0.001]], [spikes], duration=0.05)
        array([0.])
    """

    delta: Any
    time: Any = None
    rate_correction: bool = True

    def __post_init__(self) -> None:
        _check_time(self.time, "time", above=True)
        if self.delta is None:
            raise SettingError("delta is a time, such as 2 * ms, got None")
        _check_time(self.delta, "delta", above=True)

    def errors(self, trains: list[list[np.ndarray]], target: list[np.ndarray], duration: float) -> np.ndarray:
        """(M,) of the spike times `trains` of M runs of S traces and of the `target`, in s; `duration` of a trace."""
        whole = duration if self.time is None else float(self.time)
        return np.array([np.mean([self._one(m, d, whole) for m, d in zip(run, target)]) for run in trains])

    def _one(self, model: np.ndarray, data: np.ndarray, time: float) -> float:
        delta, rate = float(self.delta), len(data) / time
        nearest = np.abs(data[:, None] - model[None]).min(axis=1, initial=np.inf)
        coincident = int((nearest <= delta * (1 + 1e-9)).sum())
        off = 2 * abs(rate - len(model) / time) / rate if self.rate_correction and rate else 0.0
        norm = 0.5 * (1 - 2 * rate * delta) * (len(model) + len(data))
        factor = (coincident - 2 * delta * len(data) * rate) / norm if norm else 1.0
        return max(1 + off - factor, 0.0)


class _Fitter:
    """What both fitters share; see them for the arguments."""

    def __init__(
        self, model: Any, input: Any, output: Any, dt: Any, n_samples: int, *, threshold: str | None = None,
        reset: str | None = None, refractory: Any = False, method: str | None = None,
        param_init: Mapping[str, Any] | None = None, use_units: bool = True,
    ) -> None:  # fmt: skip
        b2 = brian_package()
        self.model = _equations(model)
        if not isinstance(input, Mapping) or len(input) != 1:
            raise SettingError(f"input is a dictionary of one variable, such as {{'I': traces*nA}}, got {shown(input)}")
        ((self.input_var, traces),) = input.items()
        self.input, self.input_dim = _traces(traces, f"input {self.input_var!r}"), b2.get_dimensions(traces)
        if dt is None:
            raise SettingError("dt is a time, such as 0.1 * ms, got None")
        _check_time(dt, "dt", above=True)
        n_samples = whole(n_samples, "n_samples", SettingError)
        self.dt, self.n_samples, self.use_units = dt, n_samples, use_units
        self.n_traces, steps = self.input.shape
        self.duration = steps * dt
        _check_start(param_init, self.model)
        self.method, self.param_init = method, dict(param_init or {})
        self.threshold, self.reset, self.refractory = threshold, reset, refractory
        self.parameter_names = tuple(sorted(self.model.parameter_names))
        self.fits: list[FitResult] = []
        self.simulations = 0
        self._table: list[tuple[dict[str, float], float]] = []
        self._metric: Any = None
        self._limits: dict[str, tuple[float, float]] = {}

    # what a script calls

    @property
    def best_params(self) -> dict[str, Any] | None:
        """The best parameters so far; None before the first fit."""
        return self._with_units(min(self._table, key=lambda row: row[1])[0]) if self._table else None

    @property
    def best_error(self) -> Any:
        """The error of `best_params`."""
        return self._error(min(error for _, error in self._table)) if self._table else None

    def results(self, format: str = "list", use_units: bool | None = None) -> Any:
        """What every start found, with its error.

        Args:
            format: "list" of dictionaries, "dict" of arrays, or "dataframe" (of pandas, without units).
            use_units: None: as of the fitter.
        """
        if not isinstance(format, str):
            raise SettingError(f"format is 'list', 'dict' or 'dataframe', got {shown(format)}")
        check_known(format, ("list", "dict", "dataframe"), SettingError, f"unknown format {format!r} (")
        units = (self.use_units if use_units is None else use_units) and format != "dataframe"
        if format == "list":
            return [
                (self._with_units(v) if units else v) | {"error": self._error(e) if units else e}
                for v, e in self._table
            ]
        columns = {n: np.array([row[n] for row, _ in self._table]) for n in self.parameter_names}
        columns["error"] = np.array([error for _, error in self._table])
        if format == "dataframe":
            return import_module("pandas").DataFrame(columns)
        return {n: self._quantity(x, n) for n, x in columns.items()} if units else columns

    def generate(
        self, output_var: str | Sequence[str] | None = None, params: Mapping[str, Any] | None = None,
        param_init: Mapping[str, Any] | None = None, level: int = 0,
    ) -> Any:  # fmt: skip
        """What Brian makes of the model for every input trace.

        Args:
            output_var: a variable, "spikes", or several; None: what was fitted. params: None: the best. param_init:
                other initial values. level: how many calls further out the names of the equations are.

        Returns:
            (traces, steps) with units, or a list of spike times; a dictionary of them for several.
        """
        b2 = brian_package()
        wanted = [output_var] if isinstance(output_var, str) else list(output_var or self._outputs())
        for name in wanted:
            check_known(
                name, [SPIKES, *self.model.names], SettingError, f"output_var: the model has no variable {name!r} ("
            )
        params = self.best_params if params is None else params
        if params is None:
            raise SettingError("nothing has been fitted yet; give params=, or call fit")
        self._check_params(params)
        _check_start(param_init, self.model)
        values = {n: np.array([float(params[n])]) for n in self.parameter_names}
        names = _names(level)
        states, trains = self._run(values, names, [o for o in wanted if o != SPIKES], SPIKES in wanted, param_init)
        made = {n: b2.Quantity(x[0], dim=self.model[n].dim) for n, x in states.items()}
        if SPIKES in wanted:
            made[SPIKES] = [b2.Quantity(t, dim=b2.second.dim) for t in trains[0]]
        return made[wanted[0]] if len(wanted) == 1 else made

    def _check_params(self, params: Any) -> None:
        if not isinstance(params, Mapping) or not all(_is_one(params.get(n)) for n in self.parameter_names):
            raise SettingError(
                f"params has a number for each of {', '.join(self.parameter_names)}, got {shown(params)}"
            )

    def _limits_with_units(self) -> dict[str, list[Any]]:
        """Bounds of the last fit."""
        b2 = brian_package()
        return {n: [b2.Quantity(x, dim=self.model[n].dim) for x in pair] for n, pair in self._limits.items()}

    # the fit

    def _outputs(self) -> list[str]:
        raise NotImplementedError

    def _recording(self, metric: Any) -> tuple[Recording, str | None, dict[str, Any]]:
        """What was measured, the variable that it is of, and options of `fit`."""
        raise NotImplementedError

    def _errors(self, values: Mapping[str, np.ndarray], names: Mapping[str, Any]) -> np.ndarray:
        """(M,) of M parameter sets, by runs of Brian."""
        raise NotImplementedError

    def _error(self, error: float) -> Any:
        return error

    def _fit(
        self, optimizer: Any, metric: Any, n_rounds: int, callback: Any, restart: bool, level: int,
        bounds: Mapping[str, Any],
    ) -> tuple[dict[str, Any], Any]:  # fmt: skip
        if optimizer is not None:
            raise SettingError("this fitter has its own optimiser, which uses derivatives; leave optimizer= out")
        known = callback is None or (isinstance(callback, str) and callback in ("text", "progressbar"))
        if not known and not callable(callback):
            raise SettingError(f"callback is 'text', 'progressbar', None or a function, got {shown(callback)}")
        n_rounds = whole(n_rounds, "n_rounds", SettingError)
        names = _names(level)
        self._limits = limits = self._bounds(bounds)
        if restart:
            self.fits, self._table, self.simulations = [], [], 0
        self._metric = metric
        model, here, dims = self._read(limits, names)
        recording, readout, options = self._recording(metric)
        if readout is not None:
            model = replace(model, readout=here(readout), threshold=None, reset=None, events=model.events)
        if not model.events:  # a fit needs a spike: one that never happens, and after which all is as it was
            assert recording.voltage is not None
            never = 1e3 * (1.0 + float(np.nanmax(np.abs(recording.voltage))))
            spike = Event("spike", f"{model.readout} - {never!r}", modes=("free",), next_mode="past")
            model = replace(model, threshold=None, reset=None, events=[spike], modes=[Mode("past", {})])
        ours = {n: tuple(float(converted(np.asarray(x), dims[n])) for x in pair) for n, pair in limits.items()}
        starts = int(np.clip(self.n_samples // (1 + len(ours)), 1, STARTS))
        for index in range(n_rounds):
            found = fit(
                model, recording, bounds={here(n): pair for n, pair in ours.items()}, only=[here(n) for n in ours],
                starts=starts, seed=len(self.fits), progress=callback == "progressbar", **options,
            )  # fmt: skip
            self.fits.append(found)
            self.simulations += found.simulations
            ends = {n: found.ends[:, found.names.index(here(n))] * scale(dims[n]) for n in ours}
            order = np.argsort(found.losses)
            ends = self._polished({n: x[order] for n, x in ends.items()}, limits, names)
            errors = self._errors(ends, names)
            rows = [{n: float(ends[n][m]) for n in ends} for m in range(len(errors))]
            self._table += list(zip(rows, errors.tolist()))
            if callback == "text":
                best = self.best_params or {}
                values = ", ".join(f"{n}={best[n]}" for n in best)
                print(f"Round {index}: best parameters {values} (error: {self.best_error})")
            elif callable(callback) and callback(
                [self._with_units(row) for row in rows], errors, self.best_params, self.best_error, index, {}
            ):
                break
            if found.agreeing > 1:
                break  # further starts would end there, too
        assert self.best_params is not None
        return self.best_params, self.best_error

    def _polished(
        self, ends: dict[str, np.ndarray], limits: Mapping[str, tuple[float, float]], names: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        return ends

    def _bounds(self, bounds: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
        """SI units."""
        from brian2.units.fundamentalunits import get_unit

        b2, limits = brian_package(), dict[str, tuple[float, float]]()
        for n in bounds:
            check_known(n, self.parameter_names, SettingError, f"the model has no parameter {n!r} to fit (")
        for n in self.parameter_names:
            if n not in bounds:
                raise SettingError(f"give bounds for the parameter {n!r}, as in {n}=[low, high]")
            pair, dim = bounds[n], self.model[n].dim
            numbers = isinstance(pair, (list, tuple, np.ndarray)) and len(pair) == 2 and all(map(_is_one, pair))
            if not numbers or not -np.inf < float(pair[0]) < float(pair[1]) < np.inf:
                raise SettingError(f"the bounds of {n!r} must be [low, high], got {shown(pair)}")
            if any(not b2.have_same_dimensions(x, b2.Quantity(1.0, dim=dim)) for x in pair):
                raise SettingError(f"the bounds of {n!r} have another unit than the model, {get_unit(dim)!r}")
            limits[n] = float(pair[0]), float(pair[1])
        return limits

    def _read(
        self, limits: Mapping[str, tuple[float, float]], names: Mapping[str, Any]
    ) -> tuple[NeuronModel, Callable[[str], str], dict[str, Any]]:
        """The model here, the name here of one there, and the dimensions of the parameters."""
        values = {n: np.array([(low + high) / 2]) for n, (low, high) in limits.items()}
        group, _, namespace = self._group(values, names, 1, {})
        from .read_neurons import Reader

        reader = Reader(group, namespace)
        model = from_brian(group, namespace=namespace).model
        group._network = "read"  # Brian warns of groups that never ran
        # an initial value that is a formula follows the parameters that it names
        start = {
            reader.here(n): _text(reader, x)
            for n, x in self.param_init.items()
            if isinstance(x, str) and reader.here(n) in model.state
        }
        if any(text for text in start.values()):
            known = {*model.params}
            usable = {s: text for s, text in start.items() if _names_in(text) <= known}
            model = replace(
                model, state={**model.state, **usable}, threshold=None, reset=None, events=model.events
            )  # fmt: skip
        return model, reader.here, {n: self.model[n].dim for n in limits}

    def _group(
        self, values: Mapping[str, np.ndarray], names: Mapping[str, Any], n_traces: int, init: Mapping[str, Any]
    ) -> tuple[Any, Any, dict[str, Any]]:
        """A group of all parameter sets in all traces, its input, and its namespace."""
        from brian2.units.fundamentalunits import DIMENSIONLESS, get_unit

        b2 = brian_package()
        given = self.input[0] if n_traces == 1 else self.input[:n_traces].T
        array = b2.TimedArray(b2.Quantity(given, dim=self.input_dim), dt=self.dt)
        column = "" if n_traces == 1 else f", i % {n_traces}"
        unit = "1" if self.input_dim is DIMENSIONLESS else repr(get_unit(self.input_dim))
        equations = self.model + b2.Equations(f"{self.input_var} = given_input(t{column}) : {unit}")
        namespace = {n: x for n, x in names.items() if n not in equations.names} | {"given_input": array}
        settings = {} if self.method is None else {"method": self.method}
        sets = len(next(iter(values.values())))
        group = b2.NeuronGroup(
            sets * n_traces, equations, threshold=self.threshold, reset=self.reset, refractory=self.refractory,
            dt=self.dt, namespace=namespace, **settings,
        )  # fmt: skip
        for n, x in values.items():
            setattr(group, f"{n}_", np.repeat(x, n_traces))
        for n, start in {**self.param_init, **init}.items():
            setattr(group, n, start)
        return group, array, namespace

    def _run(
        self, values: Mapping[str, np.ndarray], names: Mapping[str, Any], variables: Sequence[str], spikes: bool,
        init: Mapping[str, Any] | None = None,
    ) -> tuple[dict[str, np.ndarray], list[list[np.ndarray]]]:  # fmt: skip
        """Variable -> (M, S, K) in SI units, and the spike times of M runs of S traces in s."""
        b2 = brian_package()
        group, _, _ = self._group(values, names, self.n_traces, init or {})
        monitors = [b2.StateMonitor(group, list(variables), record=True)] if variables else []
        counters = [b2.SpikeMonitor(group)] if spikes else []
        b2.Network(group, *monitors, *counters).run(self.duration)
        self.simulations += len(group) // self.n_traces
        shape = (-1, self.n_traces, self.input.shape[1])
        states = {n: np.asarray(getattr(monitors[0], f"{n}_")).reshape(shape) for n in variables}
        if not counters:
            return states, []
        times = counters[0].spike_trains()
        every = [np.asarray(times[k]) for k in range(len(group))]
        return states, [every[m : m + self.n_traces] for m in range(0, len(every), self.n_traces)]

    def _quantity(self, value: Any, name: str) -> Any:
        if name == "error":
            return self._error(value)
        return brian_package().Quantity(value, dim=self.model[name].dim)

    def _with_units(self, values: Mapping[str, float]) -> dict[str, Any]:
        return {n: self._quantity(x, n) for n, x in values.items()} if self.use_units else dict(values)


class TraceFitter(_Fitter):
    """A fit to recorded traces of one variable, such as the membrane potential.

    Args:
        model: equations as text or `Equations`; what is fitted are its constant parameters, and the input is a variable
            that it uses and does not define.
        input: {variable: (S, K) traces with units}. output: {variable: (S, K) traces}; a model with a threshold needs
            "spikes" as well, a list of spike times for each trace.
        dt: of the traces, and of Brian's steps. n_samples: parameter sets that are tried at once.
        method, reset, refractory, threshold: of a NeuronGroup. param_init: variable -> initial value, or its formula.
        use_units: whether results have units.

    Example:
        >>> import numpy as np
        >>> from brian2 import ms
        >>> from genn_eventprop.interop.brian import TraceFitter
        >>> drive = np.repeat([[0.0, 1.0, 0.0]], 100, axis=1)
        >>> model = "dv/dt = (I - v) / tau : 1\\n tau : second (constant)"
        >>> fitter = TraceFitter(model, input={"I": drive}, output={"v": drive}, dt=0.1 * ms, method="exact")
        >>> fitter.output["v"] = fitter.generate("v", params={"tau": 7 * ms}).reshape(1, -1)
        >>> best, error = fitter.fit(tau=[1 * ms, 50 * ms], callback=None)
        >>> round(float(best["tau"] / ms), 3)
        7.0
    """

    def __init__(
        self, model: Any, input: Any, output: Any, dt: Any, n_samples: int = 60, method: str | None = None,
        reset: str | None = None, refractory: Any = False, threshold: str | None = None,
        param_init: Mapping[str, Any] | None = None, use_units: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(
            model, input, output, dt, n_samples, threshold=threshold, reset=reset, refractory=refractory, method=method,
            param_init=param_init, use_units=use_units,
        )  # fmt: skip
        if not isinstance(output, Mapping) or len(self._traces_of(output)) != 1:
            raise SettingError(
                f"output is a dictionary of one variable, such as {{'v': traces*mV}}, got {shown(output)}"
            )
        self.output = dict(output)
        for n in self._outputs():
            if n not in self.model.names:
                raise SettingError(f"output: the model has no variable {n!r}; it has {', '.join(self.model.names)}")
            if _traces(output[n], f"output {n!r}").shape != self.input.shape:
                raise SettingError(f"output {n!r} has the shape {np.shape(output[n])}, the input {self.input.shape}")
        if threshold is not None and SPIKES not in output:
            raise SettingError(
                "a model with a threshold is reset by the measured spikes: add them to output=, as in "
                "{'v': traces*mV, 'spikes': [times of trace 0, ...]}"
            )

    @staticmethod
    def _traces_of(output: Mapping[str, Any]) -> list[str]:
        return [n for n in output if n != SPIKES]

    def _outputs(self) -> list[str]:
        return self._traces_of(self.output)

    def fit(
        self, optimizer: None = None, metric: MSEMetric | None = None, n_rounds: int = 1, callback: Any = "text",
        restart: bool = False, level: int = 0, **params: Any,
    ) -> tuple[dict[str, Any], Any]:  # fmt: skip
        """Fit the parameters.

        Args:
            optimizer: None; the fit has its own. metric: None: `MSEMetric`. n_rounds: how often it starts anew, at
                most; it ends when two starts found the same minimum.
            callback: "text", "progressbar", None, or a function (parameter sets, errors, best, its error, round, {})
                that ends the fit by returning True.
            restart: forget what was found before. level: how many calls further out the names of the equations are.
            params: parameter -> [low, high] with units.

        Returns:
            The best parameters and their error, of a run of Brian.

        Raises:
            SettingError: what cannot be used. DescriptionError: of `from_brian`.
        """
        metric = MSEMetric() if metric is None else metric
        if not isinstance(metric, MSEMetric):
            raise SettingError(f"the metric of a TraceFitter is an MSEMetric, got {shown(metric)}")
        return self._fit(optimizer, metric, n_rounds, callback, restart, level, params)

    def refine(
        self, params: Mapping[str, Any] | None = None, t_start: Any = None, normalization: Any = None,
        callback: Any = "text", calc_gradient: bool = True, level: int = 0, **bounds: Any,
    ) -> tuple[dict[str, Any], Any]:  # fmt: skip
        """Least squares on runs of Brian from given parameters, such as those of another fit.

        Args:
            params: where it starts; None: the best so far. t_start, normalization: as of `MSEMetric`; None: of the last
                fit. callback: "text" or None. calc_gradient: taken for scripts that have it; there always is one.
            level: as of `fit`. bounds: parameter -> [low, high] with units; those of the last fit need not be repeated.

        Returns:
            The refined parameters and their error, of a run of Brian.

        Raises:
            SettingError: what cannot be used; a model with a threshold, whose traces jump.
        """
        if self.threshold is not None:
            raise SettingError("traces of a model with a threshold jump where a spike moves; refine has no use there")
        limits = self._bounds({**self._limits_with_units(), **bounds})
        start = self.best_params if params is None else params
        if start is None:
            raise SettingError("nothing has been fitted yet; give params=, or call fit")
        self._check_params(start)
        last = self._metric or MSEMetric()
        self._metric = MSEMetric(
            last.t_start if t_start is None else t_start,
            last.normalization if normalization is None else normalization,
        )
        names = _names(level)
        ends = {n: np.array([np.clip(float(start[n]), *limits[n])]) for n in self.parameter_names}
        found = {n: x[:1] for n, x in self._polished(ends, limits, names).items()}
        (error,) = self._errors(found, names)
        row = {n: float(x[0]) for n, x in found.items()}
        self._limits = limits
        self._table.append((row, float(error)))
        if callback == "text":
            print(f"Refined: {', '.join(f'{n}={x}' for n, x in self._with_units(row).items())} ({self._error(error)})")
        return self._with_units(row), self._error(error)

    def generate_traces(
        self, params: Mapping[str, Any] | None = None, param_init: Mapping[str, Any] | None = None, level: int = 0
    ) -> Any:
        """Traces (S, K) of Brian with the best parameters; `params`, `param_init` and `level` as of `generate`."""
        return self.generate(params=params, param_init=param_init, level=level)

    def _target(self) -> np.ndarray:
        """(S, K) in SI units."""
        return np.atleast_2d(np.asarray(self.output[self._outputs()[0]], float))

    def _recording(self, metric: MSEMetric) -> tuple[Recording, str | None, dict[str, Any]]:
        (name,) = self._outputs()
        dt = _ms(self.dt)
        spikes = self.output.get(SPIKES, [[]] * self.n_traces)
        recording = Recording(
            converted(self.input, self.input_dim), dt, converted(self._target(), self.model[name].dim),
            spikes=tuple(t * 1e3 for t in _times(spikes)),
        )  # fmt: skip
        every = max(1, min(round(0.5 / dt), round(self.input.shape[1] / SAMPLES))) * dt
        options: dict[str, Any] = {"every": every, "skip": 0.0 if metric.t_start is None else _ms(metric.t_start)}
        if self.threshold is None:
            options["spike_noise"] = None
        return recording, name, options

    def _errors(self, values: Mapping[str, np.ndarray], names: Mapping[str, Any]) -> np.ndarray:
        (name,) = self._outputs()
        traces = self._run(values, names, [name], False)[0][name]
        errors: np.ndarray = np.nan_to_num(self._metric.errors(traces, self._target(), float(self.dt)), nan=np.inf)
        return errors

    def _error(self, error: Any) -> Any:
        if not self.use_units:
            return error
        b2, (name,) = brian_package(), self._outputs()
        unit = b2.Quantity(1.0, dim=self.model[name].dim) / (
            1.0 if self._metric is None else self._metric.normalization
        )
        return error * (unit / float(unit)) ** 2

    def _polished(
        self, ends: dict[str, np.ndarray], limits: Mapping[str, tuple[float, float]], names: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        if self.threshold is not None:
            return ends
        (name,) = self._outputs()
        target, low = self._target(), np.array([limits[n][0] for n in ends])
        width = np.array([limits[n][1] for n in ends]) - low
        skip = 0 if self._metric.t_start is None else round(float(self._metric.t_start / self.dt))

        def run(copies: np.ndarray) -> np.ndarray:
            values = low + copies.reshape(-1, len(ends)) * width
            traces = self._run(dict(zip(ends, values.T)), names, [name], False)[0][name]
            off = (traces - target)[:, :, skip:].reshape(*copies.shape[:2], -1) / np.ptp(target)
            return np.where(np.isfinite(off), off, np.inf)

        best = (np.array([[x[0] for x in ends.values()]]) - low) / width
        found = minimise(lambda points: differences(run, points), np.clip(best, 0, 1), steps=POLISHING)
        polished = low + found.points * width
        return {n: np.concatenate([polished[:, i], x[1:]]) for i, (n, x) in enumerate(ends.items())}


class SpikeFitter(_Fitter):
    """A fit to recorded spike times.

    Args:
        model, input, dt, n_samples, method, reset, refractory, threshold, param_init, use_units: as of `TraceFitter`.
        output: the spike times of each trace, a list of arrays (in s, or with units).

    Example:
        >>> import numpy as np
        >>> from brian2 import ms
        >>> from genn_eventprop.interop.brian import SpikeFitter
        >>> model = "dv/dt = (I - v) / tau : 1\\n tau : second (constant)"
        >>> drive, spikes = np.full((1, 500), 1.5), [np.array([0.011, 0.022, 0.033, 0.044])]
        >>> fitter = SpikeFitter(model, {"I": drive}, spikes, dt=0.1 * ms, threshold="v > 1", reset="v = 0")
        >>> best, error = fitter.fit(tau=[5 * ms, 20 * ms], callback=None)
        >>> round(float(best["tau"] / ms)), error
        (10, 0.0)
    """

    def __init__(
        self, model: Any, input: Any, output: Sequence[Any], dt: Any, reset: str, threshold: str, n_samples: int = 30,
        refractory: Any = False, method: str | None = None, param_init: Mapping[str, Any] | None = None,
        use_units: bool = True,
    ) -> None:  # fmt: skip
        method = "exponential_euler" if method is None else method
        super().__init__(
            model, input, output, dt, n_samples, threshold=threshold, reset=reset, refractory=refractory, method=method,
            param_init=param_init, use_units=use_units,
        )  # fmt: skip
        self.output = _times(output)
        if len(self.output) != self.n_traces:
            raise SettingError(f"output has spikes of {len(self.output)} traces, the input has {self.n_traces}")

    def _outputs(self) -> list[str]:
        return [SPIKES]

    def fit(
        self, optimizer: None = None, metric: GammaFactor | None = None, n_rounds: int = 1, callback: Any = "text",
        restart: bool = False, level: int = 0, **params: Any,
    ) -> tuple[dict[str, Any], Any]:  # fmt: skip
        """Fit the parameters. `optimizer`, `n_rounds`, `callback`, `restart`, `level` and `params` are as of
        `TraceFitter.fit`; the `metric` is a `GammaFactor`, with 2 ms if it is None."""
        metric = GammaFactor(delta=0.002) if metric is None else metric
        if not isinstance(metric, GammaFactor):
            raise SettingError(f"the metric of a SpikeFitter is a GammaFactor, got {shown(metric)}")
        return self._fit(optimizer, metric, n_rounds, callback, restart, level, params)

    def generate_spikes(
        self, params: Mapping[str, Any] | None = None, param_init: Mapping[str, Any] | None = None, level: int = 0
    ) -> Any:
        """Spike times of Brian for each trace, with the best parameters; `params`, `param_init` and `level` as of
        `generate`."""
        return self.generate(SPIKES, params=params, param_init=param_init, level=level)

    def _recording(self, metric: GammaFactor) -> tuple[Recording, str | None, dict[str, Any]]:
        current = converted(self.input, self.input_dim)
        return Recording(current, _ms(self.dt), spikes=tuple(t * 1e3 for t in self.output)), None, {}

    def _errors(self, values: Mapping[str, np.ndarray], names: Mapping[str, Any]) -> np.ndarray:
        trains = self._run(values, names, [], True)[1]
        errors: np.ndarray = self._metric.errors(trains, self.output, float(self.duration))
        return errors


def _equations(model: Any) -> Any:
    """The model as Brian's equations."""
    b2 = brian_package()
    if isinstance(model, b2.Equations):
        return model
    if not isinstance(model, str):
        raise SettingError(f"model is equations of Brian as a text, got {shown(model)}")
    try:
        return b2.Equations(model)
    except Exception as error:  # of any kind, of several lines
        raise SettingError(f"model: {' '.join(str(error).split())}") from None


def _check_start(param_init: Any, model: Any) -> None:
    """Raise `SettingError` for initial values that a model cannot have."""
    b2 = brian_package()
    if param_init is not None and not isinstance(param_init, Mapping):
        raise SettingError(f"param_init is a dictionary, such as {{'v': -70 * mV}}, got {shown(param_init)}")
    for name, value in (param_init or {}).items():
        if name not in model.names:
            raise SettingError(f"param_init: the model has no variable {name!r}; it has {', '.join(model.names)}")
        unit = b2.Quantity(1.0, dim=model[name].dim)
        if not isinstance(value, str) and not (_is_one(value) and b2.have_same_dimensions(value, unit)):
            raise SettingError(f"param_init: {name} is a formula, or a number with its unit, got {shown(value)}")


def _traces(traces: Any, what: str) -> np.ndarray:
    """(S, K) of finite numbers."""
    try:
        values = np.atleast_2d(np.asarray(traces, float))
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.ndim != 2 or not values.size or np.iscomplexobj(traces) or not np.isfinite(values).all():
        raise SettingError(f"{what} must be an array (traces, steps) of finite numbers, got {shown(traces)}")
    return values


def _is_one(value: Any) -> bool:
    """Whether a value is one number, with a unit of Brian or none."""
    plain = isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.complexfloating))
    return np.ndim(value) == 0 and (plain or isinstance(value, brian_package().Quantity))


def _check_time(value: Any, name: str, above: bool = False) -> None:
    """Raise `SettingError` unless a value is None, or a time: of Brian, or a number of s; `above` 0, or not below."""
    if value is None:
        return
    b2 = brian_package()
    unit = not isinstance(value, b2.Quantity) or b2.have_same_dimensions(value, b2.second)
    if not _is_one(value) or not unit or not 0 <= float(value) < np.inf or (above and float(value) == 0):
        raise SettingError(f"{name} is a time{' above 0' if above else ''}, such as 2 * ms, got {shown(value)}")


def _times(trains: Any) -> list[np.ndarray]:
    """Spike times of each trace in s, sorted."""
    try:
        found = [np.sort(np.asarray(t, float)) for t in trains]
    except (TypeError, ValueError):
        found = [np.empty((0, 0))]
    if any(t.ndim != 1 or not np.isfinite(t).all() for t in found):
        raise SettingError(f"spike times are a list of times for each trace, got {shown(trains)}")
    return found


def _ms(time: Any) -> float:
    return float(f"{float(time) * 1e3:.12g}")


def _names(level: int) -> dict[str, Any]:
    """Names of the script that called, `level` calls further out."""
    return {n: x for n, x in names_outside(level).items() if not n.startswith("_")}


def _text(reader: Any, formula: str) -> str:
    from .read_expressions import text_of

    return text_of(reader.expression(formula, f"param_init, {formula!r}"))


def _names_in(text: str) -> set[str]:
    from .read_expressions import names_in, tree_of

    return set(names_in(tree_of(text, "param_init")))


explain(globals(), ("_Fitter", "GammaFactor", "MSEMetric", "SpikeFitter", "TraceFitter"), SettingError)
