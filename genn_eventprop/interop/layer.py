"""What the bridges to other libraries share: a network with its readouts as a function of arrays, in two halves."""

from __future__ import annotations

import itertools
import math
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from ..compile import create, make_plan
from ..data import Currents, Events, Inputs
from ..data.inputs import DataSet
from ..description import Described, build, describe
from ..engines import Engine, Readouts, Spikes
from ..engines.contract.device_arrays import DeviceArrays
from ..engines.contract.features import no_input_times
from ..engines.contract.lock import EngineLock
from ..engines.contract.result import SpikeRecords
from ..engines.spike_times import Choice, check_spike_times, choose_spike_times
from ..errors import EngineError, LossError, SettingError, check_known, shown
from ..losses import Loss, TimeWeight
from ..losses.kinds import READOUTS
from ..modelling.network import Network, Population
from ..output import say
from ..plan import Plan
from ..plan.enforced_bounds import enforced_bounds
from ..training.callbacks import SilenceWatch
from ..training.weights_from_data import SAMPLES, WeightsFromData, input_spikes

NAMES = {
    "integral": "integral", "max": "maximum", "end": "v_end", "first_spike": "first_spike", "count": "count",
    "trace": "v",
}  # fmt: skip
"""Readout -> what outputs call it."""
Value = TypeVar("Value")
LAYOUTS = ("TBN", "BTN")
"""Of dense inputs: steps, batch, channels; or the batch first."""

LOOK = 20
"""Calls in training mode between two looks for silent populations."""

_numbers = itertools.count(1)
_runners: weakref.WeakValueDictionary[int, Runner] = weakref.WeakValueDictionary()


class Layer:
    """A network, what is read of it, and its engines, one for each precision, made when they are first needed.

    Args:
        net, duration, dt, spike_times: the trial; "auto" decides by the network and the first batch. output: the
            population that is read, by default the last one.
        readout: one or several of `NAMES`. weight: w(t) of an integral. engine, threads: see `engines.create`.
        spike_birth: see docs/spike_birth.md. weight_rows: as of `Trainer`.

    Attributes:
        readouts: names of what is read, an integral first, V at every step last. names: of all parameters.

    Raises:
        SettingError, LossError, PlanError: settings that do not fit together.
    """

    def __init__(
        self, net: Network, *, duration: float, dt: float, output: Population | None, readout: str | Sequence[str],
        weight: str | TimeWeight, spike_times: str, engine: str, threads: int | None, spike_birth: float,
        weight_rows: str,
    ) -> None:  # fmt: skip
        self.readouts = _ordered(readout)
        if not isinstance(net, Network) or not net.populations:
            raise SettingError(
                f"the layer takes a Network with a population, got {shown(net)}; make one with net = Network() "
                "and net.population(...)"
            )
        output = net.populations[-1] if output is None else output
        check_spike_times(spike_times)
        if isinstance(output, Population):
            _check_readouts(self.readouts, output)
        main, *also = self.readouts if self.readouts != ("trace",) else ("end", "trace")
        time_weight = weight if isinstance(weight, TimeWeight) else TimeWeight(weight)
        time_weight = time_weight if main == "integral" else TimeWeight()
        loss = Loss(output, main, weight=time_weight, also=tuple(also))
        self._auto, self._spike_birth = spike_times == "auto", spike_birth
        self._chooses = self._auto
        self._described: Any = Described(net, loss, duration, dt, spike_times, engine)
        self.choice = self._choose() if self._auto else Choice(spike_times, "asked for")
        self._described = replace(self._described, spike_times=self.choice.name)
        self._plan: Plan | None = None
        self._settings = {"engine": engine, "threads": threads}
        if weight_rows != "float32":
            self._settings["weight_rows"] = weight_rows
        self._made: dict[str, Runner] = {}
        self._lock = EngineLock()  # of what is made when it is first needed
        first = net.initial_parameters(0)
        self.names = tuple(first)
        self.forms = {name: (np.shape(v), np.asarray(v).dtype.kind) for name, v in first.items()}
        self.unscaled = any(c.from_data for c in net.connections)
        self._first_weights = WeightsFromData(net, first)
        self._watch, self._calls, self._spikes = SilenceWatch(), 0, dict[str, int]()

    @property
    def undecided(self) -> bool:
        """Whether the first batch decides what spike times to take."""
        return self._auto

    @property
    def plan(self) -> Plan:
        """What runs: network, readouts and time grid, compiled."""
        if self._plan is None:
            with self._lock:
                d = self._described
                if self._plan is None:
                    self._plan = make_plan(
                        d.network, d.loss, dt=d.dt, duration=d.duration, spike_times=d.spike_times,
                        spike_birth=self._spike_birth,
                    )  # fmt: skip
        return self._plan

    def initial(self, seed: int) -> dict[str, np.ndarray]:
        """Initial values of all parameters; numbers are float32."""
        values = self._described.network.initial_parameters(seed)
        return {k: np.asarray(v, np.float32 if np.asarray(v).dtype.kind == "f" else None) for k, v in values.items()}

    def runner(self, dtype: str, values: Callable[[], Mapping[str, np.ndarray]]) -> Runner:
        """The engine of a precision, "float32" or "float64"; `values` gives its first ones."""
        if dtype not in self._made:
            first = bounded(self.plan, values())
            with self._lock:
                if dtype not in self._made:
                    engine = create(self.plan, first, dtype=dtype, **self._settings)  # type: ignore[arg-type]
                    self._made[dtype] = Runner(engine, self.names)
        return self._made[dtype]

    def _choose(self, spikes: Mapping[str, float] | None = None) -> Choice:
        d = self._described
        return choose_spike_times(
            d.network, d.loss, dt=d.dt, duration=d.duration, engine=d.engine, spike_birth=self._spike_birth,
            spikes=spikes,
        )  # fmt: skip

    def _arriving(self, spikes: Sequence[np.ndarray]) -> dict[str, float]:
        """Spikes of every input in a trial, see `input_spikes`; spikes: see `Runner.forward`."""
        network, (_, channels, offsets, *values) = self._described.network, spikes
        currents = {c.name: Currents.trusted(v, c.dt) for c, v in zip(network.currents, values)}
        return input_spikes(network, channels, offsets, np.arange(len(offsets) - 1), currents)

    def choose(self, runner: Runner, values: Mapping[str, np.ndarray], spikes: Sequence[np.ndarray]) -> bool:
        """With "auto", once: spike times by a batch, and one line that says which and why; whether engines are others.

        Args:
            values: every parameter. spikes: see `Runner.forward`.
        """
        with self._lock:  # of threads that share the layer, others wait for the first
            if not self._auto:
                return False
            if not self.choice.sure:
                counts = runner.forward(spikes, [values[name] for name in self.names], None).spike_counts
                self.choice = self._choose(
                    self._arriving(spikes) | {n: float(c.sum(axis=1).mean()) for n, c in counts.items()}
                )
            other = self._take(self.choice)
        say(f"note: {self.choice.line(self._described.dt)}")
        return other

    def _take(self, choice: Choice) -> bool:
        """Makes a choice the last one; whether engines are others."""
        other = choice.name != self._described.spike_times
        if other:
            self._described = replace(self._described, spike_times=choice.name)
            self._plan, self._made = None, {}
        self.choice, self._auto = choice, False
        return other

    @property
    def chosen(self) -> str:
        """The spike times, "auto" until the first batch has decided."""
        return "auto" if self._auto else self.choice.name

    def goes_on(self, chosen: str) -> None:
        """With "auto", takes the spike times that the saved layer had `chosen`."""
        with self._lock:
            if self._chooses and chosen != "auto":
                self._take(Choice(chosen, "as in the saved layer"))

    def drawn(self, values: Mapping[str, np.ndarray]) -> None:
        """These are the values that the layer starts from."""
        self._first_weights = WeightsFromData(self._described.network, values)

    def waiting(self, values: Mapping[str, np.ndarray]) -> list[str]:
        """Populations whose weights have no scale yet, because they are as they were drawn."""
        return list(self._first_weights.waiting(self._described.network, values)) if self.unscaled else []

    def scale_weights(
        self, runner: Runner, values: Mapping[str, np.ndarray], spikes: Sequence[np.ndarray]
    ) -> list[str]:
        """Scale weights without a scale of their own on a batch, in place; what was done.

        Args:
            values: every parameter. spikes: see `Runner.forward`; the first samples of them are used.
        """
        times, channels, offsets, *currents = spikes
        offsets = offsets[: SAMPLES + 1]
        first = times[: offsets[-1]], channels[: offsets[-1]], offsets, *(c[:SAMPLES] for c in currents)
        d = self._described

        def run() -> tuple[Mapping[str, np.ndarray], np.ndarray]:
            result = runner.forward(first, [values[name] for name in self.names], None)
            return result.spike_counts, result.value

        with runner.lock:
            return self._first_weights.scale(d.network, d.loss, values, run, self._arriving(first))

    def watch(self, counts: Mapping[str, Any], scale: str) -> None:
        """Warn of populations that are silent, see `SilenceWatch`.

        Args:
            counts: population -> those of a training batch. scale: what scales weights without a scale of their own.
        """
        for name, spikes in counts.items():
            self._spikes[name] = self._spikes.get(name, 0) + int(spikes.sum())
        self._calls += 1
        if self._calls % LOOK == 0:
            for name in self._watch.due(self._spikes):
                warnings.warn(
                    f"{name} was silent in the last {LOOK} batches, and silent neurons receive no gradient; "
                    f"{self._remedy(name, scale)}",
                    RuntimeWarning,
                    stacklevel=4,
                )
            self._spikes = {}

    def _remedy(self, name: str, scale: str) -> str:
        """What makes a silent population spike."""
        if all(c.from_data for c in self._described.network.connections if c.target.name == name):
            return f"{scale} scales its weights, Dense(), to a batch; if that was done, use a smaller learning rate"
        return f"leave out the weight (Dense()), which {scale} scales to a batch, or use larger initial weights"

    @property
    def stochastic(self) -> bool:
        """Whether noise or dropout act in training."""
        return any(p.noise > 0 or p.dropout > 0 for p in self.plan.populations)

    @property
    def spiking(self) -> dict[str, int]:
        """Populations that spike -> their sizes."""
        return {p.name: p.size for p in self.plan.populations if p.spiking}

    def read_shape(self, name: str, batch: int) -> tuple[int, ...]:
        """Of a readout."""
        steps = (self.plan.n_steps + 1,) if name == "trace" else ()
        return (batch, *steps, self.plan.output.size)

    def describe(self) -> str:
        plan = self.plan
        inputs = [str(plan.input.size)] * bool(plan.input.size) + [f"{c.size} (current)" for c in plan.currents]
        sizes = " - ".join([" + ".join(inputs), *(str(p.size) for p in plan.populations)])
        grid = f"{plan.duration:g} ms in steps of {plan.dt:g} ms, {plan.spike_times} spike times"
        return f"{sizes}, {grid}, readout {', '.join(self.readouts)}"

    def __getstate__(self) -> dict[str, Any]:
        """Without plan and engines, the network as its description: a copy makes its own."""
        values = self._described.network.initial_parameters(0)
        empty: dict[str, Any] = {"_made": {}, "_plan": None, "_lock": None}
        return {**self.__dict__, **empty, "_described": (describe(self._described), values)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        document, values = state.pop("_described")
        self.__dict__.update(state)
        self._lock = EngineLock()
        self._described = build(document, values, trust=True)  # a pickle is of one's own


class Runner:
    """An engine as operations of other libraries use it; it keeps the last forward pass for its backward pass.

    Threads may share it: who needs token or spikes of a pass holds `lock` from `forward` on.

    Args:
        engine: with the two halves of a trial. names: of the parameters, in the order of the operation's arrays.

    Attributes:
        token: number of the pass that is kept; another one after a backward pass. passes: number of the last forward
            pass, and spikes: its spikes.
    """

    def __init__(self, engine: Engine, names: tuple[str, ...]) -> None:
        self.engine, self.names, self.number = engine, names, next(_numbers)
        self.token = self.passes = 0
        self.spikes: Mapping[str, Spikes] = {}
        self._fixed = {c.weight: ~c.learned for c in engine.plan.connections if c.learned is not None}
        self._by_host = {c.weight for c in engine.plan.connections if c.sign is not None} | self._fixed.keys()
        self._by_host |= {
            name for name, pair in engine.plan.limits.items() if any(isinstance(b, np.ndarray) for b in pair)
        }
        self.lock = engine.lock
        _runners[self.number] = self

    def shares(self, name: str, array: Any) -> bool:
        """Whether a parameter that is an array of another library lies on the engine's device as the engine has it.

        `forward` takes it and `gradients` fill such a one without a copy on the host. Not those of which single weights
        are bounded: the bounds are on the host.
        """
        arrays = self.engine.parameters
        return isinstance(arrays, DeviceArrays) and name not in self._by_host and arrays.beside(name, array)

    def forward(self, spikes: Sequence[np.ndarray], parameters: Sequence[Any], key: int | None) -> Readouts:
        """Run trials; the tokens of earlier ones are no longer valid.

        Args:
            spikes: times (E,) ms, channels (E,), offsets (B + 1,): input spikes of sample b are
                offsets[b]:offsets[b + 1], ascending; then, for each current of the network, (B, V, M) values.
                parameters: arrays of NumPy, or of another library where it `shares` them; what is outside its bounds
                acts at the bound. key: of noise and dropout; None: they do not act.

        Raises:
            EngineError: a parameter or a current that is not finite.
        """
        for name, value in zip(self.names, parameters):
            wrong, size = int((~(abs(value) < math.inf)).sum()), math.prod(value.shape)  # where the array is
            if wrong:
                raise EngineError(f"{name}: {wrong} of {size} values are not finite; use a smaller learning rate")
        for record, value in zip(self.engine.plan.currents, spikes[3:]):
            if not np.isfinite(value).all():
                b, k, m = (int(i[0]) for i in np.nonzero(~np.isfinite(value)))
                where = f"sample {b}, value {k}, channel {m}"
                raise EngineError(
                    f"current {record.name!r} is {value[b, k, m]} at {where}; what computes it has diverged"
                )
        with self.lock:
            return self._forward(spikes, parameters, key)

    def _forward(self, spikes: Sequence[np.ndarray], parameters: Sequence[Any], key: int | None) -> Readouts:
        arrays = self.engine.parameters
        for name, value in bounded(self.engine.plan, dict(zip(self.names, parameters))).items():
            if isinstance(value, (np.ndarray, np.generic)):
                arrays[name][...] = value
            else:
                assert isinstance(arrays, DeviceArrays)
                arrays.take(name, value)
        data = self.engine.load(self._data(spikes))
        self._save_spikes()
        self.engine.epoch = key or 0
        samples = np.arange(len(data))
        result = self.engine.forward(data, samples, stochastic=key is not None, record_spikes=True)
        self.token += 1
        self.passes += 1
        self.spikes = result.spikes or {}
        return result

    def _data(self, spikes: Sequence[np.ndarray]) -> DataSet:
        """The inputs of a batch as a data set."""
        plan, (times, channels, offsets, *currents) = self.engine.plan, spikes
        times, channels = times.astype(np.float64, copy=False), channels.astype(np.int32, copy=False)
        events = Events.trusted(times, channels, offsets.astype(np.int64, copy=False), plan.input.size)
        if not plan.currents:
            return events
        # in the precision of the layer, which Currents of data have not: differences of float64 need it
        parts: dict[str, Events | Currents] = {
            c.name: Currents.trusted(v, c.dt) for c, v in zip(plan.currents, currents)
        }
        parts |= {plan.input.name: events} if plan.input.size else {}
        return Inputs.trusted(parts, labels=None, groups=None, n_classes=None, targets=None)

    def _save_spikes(self) -> None:
        """Read the spikes of the last pass before another one, if somebody still holds them."""
        if isinstance(self.spikes, SpikeRecords):
            last = weakref.ref(self.spikes)
            self.spikes = {}
            self.engine.forget()  # which holds them too
            if (layer := last()) is not None:
                with suppress(EngineError):  # those of the process that this one was forked from
                    layer.fetch()
        self.engine.forget()

    def gradients(
        self, token: int, slopes: Sequence[np.ndarray], inputs: bool, currents: bool, spikes: Sequence[np.ndarray],
        parameters: Sequence[Any], key: int | None, into: Mapping[str, Any] = MappingProxyType({}),
    ) -> Gradients:  # fmt: skip
        """`backward` of the pass with this token; if it is no longer kept, what `forward` was given is run again."""
        with self.lock:
            if token != self.token:
                self.forward(spikes, parameters, key)
            return self.backward(slopes, inputs, currents, into)

    @property
    def no_times(self) -> str:
        """Why the engine has no gradients of input times; empty if it has."""
        return no_input_times(self.engine.plan, self.engine.features)

    def backward(
        self, slopes: Sequence[np.ndarray], inputs: bool, currents: bool = False,
        into: Mapping[str, Any] = MappingProxyType({}),
    ) -> Gradients:  # fmt: skip
        """Run the kept trials backwards; afterwards nothing is kept.

        Args:
            slopes: dL/dr of the loss's `readouts`. inputs, currents: whether gradients of input times, and of currents,
                are wanted. into: parameter -> an array of another library, which it `shares`, for its gradient.

        Returns:
            dL/d(times) (E,), empty without `inputs`; dL/d(current) (B, V, M) of each current, none without `currents`;
            dL/d(parameter) in the order of names, None of those that are not
            learned; 0 for single weights that are not.
        """
        engine, learned = self.engine, self.engine.plan.trainable
        engine.backward(slopes[0], dict(zip(engine.plan.loss.also, slopes[1:])), inputs=inputs)
        self.token += 1
        by_time = np.array(engine.input_gradients) if inputs else np.empty(0)
        gradients: dict[str, Any] = dict(into)
        for name in (n for n in self.names if n in learned):
            if name in into:
                assert isinstance(engine.gradients, DeviceArrays)
                engine.gradients.give(name, into[name])
            else:
                gradients[name] = np.array(engine.gradients[name])
        for name in gradients.keys() & self._fixed.keys():
            gradients[name][self._fixed[name]] = 0.0
        by_current: list[np.ndarray | None] = []
        if currents:  # None: a current that leads nowhere
            found = engine.current_gradients
            by_current = [np.array(found[c.name]) if c.name in found else None for c in engine.plan.currents]
        return by_time, by_current, [gradients.get(name) for name in self.names]


Gradients = tuple[np.ndarray, list[np.ndarray | None], list[Any | None]]
"""See `Runner.backward`."""


def bounded(plan: Plan, values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters within their bounds and signs, which other libraries' optimisers do not know."""
    values_in_bounds = dict(values)
    signs = enforced_bounds([c for c in plan.connections if c.sign is not None], values)
    for bounds in (plan.limits, signs):
        for name, pair in bounds.items():
            values_in_bounds[name] = values_in_bounds[name].clip(*pair)
    return values_in_bounds


def runner_of(number: int) -> Runner:
    """The runner with a number.

    Raises:
        EngineError: its layer is gone.
    """
    runner = _runners.get(number)
    if runner is None:
        raise EngineError("the layer of this trial no longer exists; keep it until its gradients are computed")
    return runner


def spikes_of_counts(counts: np.ndarray, batch_first: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spikes of counts (T, B, N), or (B, T, N) with `batch_first`: steps (E,), channels (E,) int32, offsets (B + 1,).

    Raises:
        SettingError: a count that is negative or not a whole number.
    """
    array = np.ascontiguousarray(counts)
    B = array.shape[0 if batch_first else 1]
    place = np.flatnonzero(array)
    values = array.reshape(-1)[place]
    fits = (values > 0) & (values == np.floor(values)) & np.isfinite(values)
    if not fits.all():
        raise SettingError(
            f"spike counts must be non-negative integers, got {values[~fits][0]:g}; draw or encode spikes first (e.g. "
            "torch.bernoulli(x) of probabilities), or give spike times: layer(times=...)"
        )
    row, channels = np.divmod(place, array.shape[2])
    first, second = np.divmod(row, array.shape[1])
    sample, step = (first, second) if batch_first else (second, first)
    if not batch_first:
        order = np.argsort(sample.astype(np.uint16) if B < 1 << 16 else sample, kind="stable")
        sample, step, channels, values = sample[order], step[order], channels[order], values[order]
    if (values > 1).any():
        times = values.astype(np.int64)
        sample, step, channels = (np.repeat(x, times) for x in (sample, step, channels))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(sample, minlength=B))])
    return step, channels.astype(np.int32), offsets


def order_of_times(times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spikes of times (B, N, M) in ms that are finite: places in the flat array (E,), channels (E,), offsets (B + 1,).

    Raises:
        SettingError: a time that is negative or nan.
    """
    B, N, M = times.shape
    array = times.reshape(B, N * M)
    if not (array >= 0).all():
        wrong = array[~(array >= 0)][0]
        raise SettingError(f"times= takes ms from the start of the trial, inf for no spike, got {wrong:g}")
    order = np.argsort(array, axis=1, kind="stable")
    there = np.isfinite(np.take_along_axis(array, order, 1))
    place = (order + np.arange(B)[:, None] * (N * M))[there]
    offsets = np.concatenate([[0], np.cumsum(there.sum(1))])
    return place, (order[there] // M).astype(np.int32), offsets


def check_counts(shape: Sequence[int], plan: Plan, layout: str) -> None:
    """Raise `SettingError` for dense input of a wrong shape; layout: "TBN" or "BTN"."""
    time, n_steps, size = layout.index("T"), plan.n_steps, plan.input.size
    if len(shape) != 3 or shape[time] != n_steps or shape[2] != size:
        expected = f"(B, {n_steps}, {size})" if layout == "BTN" else f"({n_steps}, B, {size})"
        hint, other = "", "TBN" if layout == "BTN" else "BTN"
        if len(shape) == 3 and shape[other.index("T")] == n_steps and shape[2] == size:
            hint = f"; make the layer with layout={other!r} for spikes in this order"
        elif len(shape) == 3 and shape[2] != size:
            hint = f"; the network has {size} input channels, the spikes {shape[2]}: make it with net.input({shape[2]})"
        elif len(shape) == 3:
            hint = f"; a trial of {plan.duration:g} ms has {n_steps} steps of {plan.dt:g} ms"
        elif len(shape) == 2 and shape[1] == size:
            hint = "; for spike times in ms write layer(times=x), for one trial without a batch x.unsqueeze(...)"
        raise SettingError(f"the layer takes spikes of shape {expected} (layout {layout}), got {tuple(shape)}{hint}")


def check_current(shape: Sequence[int], name: str, plan: Plan, layout: str) -> None:
    """Raise `SettingError` for a current of a wrong shape: steps of its own grid, of which those left out are 0."""
    record = next(c for c in plan.currents if c.name == name)
    most, time = math.ceil(plan.duration / record.dt - 1e-9), layout.index("T")
    if len(shape) == 3 and shape[2] == record.size and 1 <= shape[time] <= most:
        return
    expected = f"(B, T, {record.size})" if layout == "BTN" else f"(T, B, {record.size})"
    grid = f"a trial of {plan.duration:g} ms has {most} values of {record.dt:g} ms"
    hint = ""
    if len(shape) == 3 and shape[2] == record.size and 1 <= shape[1 - time] <= most:
        hint = f"; for this order make the layer with layout={'TBN' if layout == 'BTN' else 'BTN'!r}"
    elif len(shape) == 2 and shape[1] == record.size:
        hint = (
            f"; for constant currents (B, {record.size}) write x.unsqueeze({time}) and "
            f"net.current(..., dt={plan.duration:g})"
        )
    raise SettingError(
        f"current {name!r} takes an array of shape {expected} (layout {layout}), T at most {most} ({grid}), got "
        f"{tuple(shape)}{hint}"
    )


def currents_by_name(currents: Any, plan: Plan) -> list[tuple[str, Any]]:
    """(name, array) of every current of the network, from a dictionary, or from one array if there is one current.

    Raises:
        SettingError: one that is missing, or that the network does not have.
    """
    names = [c.name for c in plan.currents]
    if not isinstance(currents, Mapping):
        if currents is None and names:
            raise SettingError(f"the network has the currents {', '.join(names)}: give currents=")
        if currents is not None and len(names) != 1:
            if not names:
                raise SettingError(
                    "this network has no current input: leave out currents=, or add net.current(size, dt)"
                )
            raise SettingError(
                f"currents= is one array, the network has {len(names)} currents: give currents={{name: array}} with "
                f"{', '.join(names)}"
            )
        return [] if currents is None else [(names[0], currents)]
    for name in currents:
        check_known(name, names, SettingError, f"currents: the network has no current {name!r} (")
    for name in names:
        if name not in currents:
            raise SettingError(f"currents: no values for {name!r}")
    return [(name, currents[name]) for name in names]


def _check_readouts(readouts: Sequence[str], output: Population) -> None:
    """Raise `LossError` where a readout needs an output that spikes, or one that does not."""
    model = output.model
    for name in readouts:
        kind = READOUTS.get(name)
        needs = "spikes" if kind is not None and kind.spikes else "no spikes" if name == "max" else ""
        if needs and model.spiking != (needs == "spikes"):
            other = "a spiking model such as LIF()" if needs == "spikes" else "LI()"
            does = "spikes" if model.spiking else "never spikes"
            raise LossError(
                f"readout={name!r} needs an output with {needs}, but {output.name!r} is made of {model.name}, which "
                f"{does}: make it of {other}"
            )


def check_array(value: Any, kinds: Any, how: str) -> None:
    """Raise `SettingError` unless an input is an array of the library; how: how one is made."""
    if not isinstance(value, kinds):
        raise SettingError(f"the layer takes arrays of spike counts or times, got {shown(value)}; write {how}")


def check_layout(layout: str) -> None:
    """Raise `SettingError` for a layout of dense inputs that there is not."""
    check_known(layout, LAYOUTS, SettingError, f"unknown layout {layout!r} (")


def named_readout(readouts: Mapping[str, Value], name: str) -> Value:
    """An attribute of an output: a readout by the name of `NAMES`.

    Raises:
        AttributeError: there is no such name, or this layer does not read it.
    """
    readout = next((k for k, v in NAMES.items() if v == name), None)
    if readout is None:
        raise AttributeError(name)
    if readout not in readouts:
        have = ", ".join(map(repr, readouts))
        raise AttributeError(f"this layer reads {have}; make it with readout={readout!r} for .{name}")
    return readouts[readout]


def check_times(shape: Sequence[int], plan: Plan) -> None:
    """The same for spike times."""
    size = plan.input.size
    if len(shape) not in (2, 3) or shape[1] != size:
        raise SettingError(f"times= takes (B, {size}) or (B, {size}, M) ms, inf for no spike, got {tuple(shape)}")


def _ordered(readouts: str | Sequence[str]) -> tuple[str, ...]:
    """Names of readouts; an integral, then all that have one number an output, before V at every step."""
    names = (readouts,) if isinstance(readouts, str) else tuple(readouts)
    for name in names:
        check_known(name, NAMES, SettingError, f"unknown readout {name!r} (")
    if not names:
        raise SettingError("readout=() reads nothing; name one or several readouts")
    return tuple(sorted(names, key=lambda name: (name != "integral", name == "trace")))
