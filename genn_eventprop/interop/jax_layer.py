"""`EventProp` for JAX: a network as a function of parameters and input spikes, with its own gradient.

The engine runs on the host, behind `jax.pure_callback`; `jax.custom_vjp` gives JAX the adjoint. Shapes are fixed in
JAX, so input spikes are arrays of times with inf for none, or counts.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..data.events import Events
from ..errors import SettingError, shown, suggest
from ..losses import TimeWeight
from ..modelling.network import Network, Population
from ..plan import Plan
from .layer import (
    Layer,
    Runner,
    check_array,
    check_counts,
    check_current,
    check_layout,
    check_times,
    currents_by_name,
    named_readout,
    order_of_times,
    spikes_of_counts,
)

Parameters = dict[str, Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Output:
    """Output of a batch of B trials.

    Args:
        readouts: name -> array, differentiable; each is also an attribute: ``integral``, ``maximum``, ``v_end``,
            ``first_spike`` (ms, inf if silent), all (B, K), and ``v`` (B, T + 1, K). ``value`` is the first one.
        spike_counts: population -> (B, N) int32, without derivative.

    Example:
        >>> import jax
        >>> from genn_eventprop.jax import EventProp
        >>> layer = EventProp(net, duration=20.0)
        >>> times = jax.random.uniform(jax.random.key(1), (3, 4)) * 10
        >>> layer(layer.init(1, times=times), times=times).value.shape
        (3, 2)
    """

    readouts: dict[str, Array]
    spike_counts: dict[str, Array]

    @property
    def value(self) -> Array:
        """The first readout."""
        return next(iter(self.readouts.values()))

    def __getattr__(self, name: str) -> Array:
        return named_readout(self.readouts, name)


class EventProp:
    """A spiking network with exact gradients as a function for JAX; one forward and one backward pass per batch.

    Args:
        net, duration, dt, output, readout, weight, spike_times, engine, threads, spike_birth, weight_rows: as for the
            PyTorch layer.
        layout: of dense counts: "TBN" (steps, batch, channels) or "BTN".
        seed: random seed of the values in `fixed`.

    ``layer.init(seed, counts)`` or ``layer.init(seed, times=)`` returns initial values of the learned parameters; the
    batch scales weights without a scale of their own (``Dense()``). ``layer(parameters, counts)`` or
    ``layer(parameters, times=)`` an `Output`. times: (B, N) or (B, N, M) ms, inf for none; they have gradients.
    A network with currents takes ``currents=`` too, an array in `layout` on the grid of its `Network.current`, or a
    dictionary of arrays by name; if it has one current and no spike input, ``layer(parameters, x)`` will do. They have
    gradients.
    Parameters that are not given are taken from ``layer.fixed``. `jit` and `grad` work; `vmap` runs one call after the
    other; there are no second derivatives. Noise and dropout act only with ``key=`` (a JAX random key).

    Example:
        >>> import jax
        >>> from genn_eventprop.jax import EventProp
        >>> layer = EventProp(net, duration=20.0)
        >>> counts = (jax.random.uniform(jax.random.key(1), (20, 16, 4)) < 0.2).astype(float)  # (T, B, channels)
        >>> parameters = layer.init(1, counts)
        >>> slopes = jax.grad(lambda p: layer(p, counts).value.sum())(parameters)
        >>> slopes["input_hidden.weight"].shape
        (4, 8)

    Raises:
        SettingError, PlanError, EngineError: settings that do not fit together.
    """

    def __init__(
        self, net: Network, *, duration: float, dt: float = 1.0, output: Population | None = None,
        readout: str | Sequence[str] = "integral", weight: str | TimeWeight = "constant", spike_times: str = "auto",
        engine: str = "auto", threads: int | None = None, spike_birth: float = 0.0, weight_rows: str = "float32",
        layout: str = "TBN", seed: int = 0,
    ) -> None:  # fmt: skip
        check_layout(layout)
        self._layer = Layer(
            net, duration=duration, dt=dt, output=output, readout=readout, weight=weight, spike_times=spike_times,
            engine=engine, threads=threads, spike_birth=spike_birth, weight_rows=weight_rows,
        )  # fmt: skip
        self.layout, self.readouts = layout, self._layer.readouts
        learned = self.plan.trainable
        self.fixed = {n: v for n, v in self._values(seed).items() if n not in learned}

    @property
    def plan(self) -> Plan:
        """What runs: network, readouts and time grid, compiled."""
        return self._layer.plan

    def init(self, seed: int = 0, counts: Any = None, *, times: Any = None, currents: Any = None) -> Parameters:
        """Initial values of the learned parameters, by name, in JAX's default precision; `seed` of those drawn.

        A batch, `counts`, `times` and `currents` as the layer takes it, scales weights that have no scale of their own,
        so that every population spikes (`training.weights_from_data`); among them those that are not learned, in
        ``layer.fixed``."""
        if counts is not None and times is not None:
            raise SettingError("init takes counts, or times=")
        given = counts is not None or times is not None or currents is not None
        values = self._values(seed)
        first = {n: np.array(v) for n, v in values.items()}
        self._layer.drawn(first)
        waiting = self._layer.waiting(first)
        if waiting and not given:
            warnings.warn(
                f"the weights into {', '.join(waiting)} have no scale yet: give init a batch, init(seed, counts) or "
                "init(seed, times=times)",
                RuntimeWarning,
                stacklevel=2,
            )
        elif waiting:
            dense, inputs, driving = self._inputs(counts, times, currents)
            call = _Call(self._layer, str(jnp.zeros(0).dtype), self.layout, dense)
            spikes = call.spikes(np.asarray(inputs), [np.asarray(x) for x in driving])[0]
            self._layer.scale_weights(call.runner(list(first.values())), first, spikes)
            values = {n: jnp.asarray(first[n], v.dtype) for n, v in values.items()}
            self.fixed = {n: v for n, v in values.items() if n not in self.plan.trainable}
        return {n: v for n, v in values.items() if n in self.plan.trainable}

    def _values(self, seed: int) -> Parameters:
        real = jnp.zeros(0).dtype
        values = self._layer.initial(seed)
        return {name: jnp.asarray(v, real if v.dtype.kind == "f" else None) for name, v in values.items()}

    def __call__(
        self, parameters: Parameters, counts: Array | None = None, *, times: Array | None = None, currents: Any = None,
        key: Any = None,
    ) -> Output:  # fmt: skip
        if not isinstance(parameters, Mapping):
            raise SettingError(
                f"the layer takes the parameters first, as in layer(layer.init(), counts), got {shown(parameters)}"
            )
        values, real = self._complete(parameters)
        dense, inputs, driving = self._inputs(counts, times, currents)
        return self._output(_Call(self._layer, real, self.layout, dense), inputs, driving, values, key)

    def _inputs(self, counts: Any, times: Any, currents: Any) -> tuple[bool, Any, tuple[Any, ...]]:
        """(whether spikes are counts, these or their times, the values of each current in `layout`)."""
        if not self.plan.input.size and currents is None and times is None:
            counts, currents = None, counts
        driving = []
        for name, x in currents_by_name(currents, self.plan):
            check_array(x, (Array, np.ndarray), "jax.numpy.asarray(x)")
            check_current(x.shape, name, self.plan, self.layout)
            _check_real(x, f"current {name!r}")
            driving.append(x if jnp.issubdtype(x.dtype, jnp.floating) else jnp.asarray(x, jnp.zeros(0).dtype))
        dense, inputs = self._spikes(counts, times, driving)
        sizes = {x.shape[self.layout.index("B")] for x in driving}
        sizes.add(inputs.shape[self.layout.index("B") if dense else 0])
        if len(sizes) > 1:
            raise SettingError(f"all inputs need the same samples, got batches of {', '.join(map(str, sorted(sizes)))}")
        return dense, inputs, tuple(driving)

    def _spikes(self, counts: Any, times: Any, driving: Sequence[Any]) -> tuple[bool, Any]:
        """(whether they are counts, counts or times (B, N, M))."""
        if not self.plan.input.size:
            if counts is not None or times is not None:
                raise SettingError(
                    "the network has currents as inputs and takes no spikes; call layer(parameters, currents)"
                )
            return False, jnp.zeros((driving[0].shape[self.layout.index("B")], 0, 1))
        if (counts is None) == (times is None):
            raise SettingError("call the layer with counts, or with times=")
        if times is not None:
            check_array(times, (Array, np.ndarray), "jax.numpy.asarray(x)")
            _check_real(times, "times=")
            check_times(times.shape, self.plan)
            return False, times.reshape(*times.shape, 1) if times.ndim == 2 else times
        how = "jax.numpy.asarray(x)"
        if isinstance(counts, Events):
            turned = "" if self.layout == "BTN" else ".swapaxes(0, 1)"
            dense = f"structured.to_dense(events, {self.plan.dt:g}, {self.plan.n_steps}){turned}"
            how = f"jax.numpy.asarray({dense}), from genn_eventprop.data.readers import structured"
        check_array(counts, (Array, np.ndarray), how)
        _check_real(counts, "the array of spike counts")
        check_counts(counts.shape, self.plan, self.layout)
        return True, counts if jnp.issubdtype(counts.dtype, jnp.integer) else jax.lax.stop_gradient(counts)

    def _complete(self, parameters: Parameters) -> tuple[tuple[Array, ...], str]:
        """Values of all parameters in their order, and their precision."""
        names = self._layer.names
        for name in set(parameters) - set(names):
            raise SettingError(f"unknown parameter {name!r} ({suggest(name, names)})")
        for name in set(self.plan.trainable) - set(parameters):
            raise SettingError(f"no value was given for {name!r}, which is learned; init() has one")
        values = {name: jnp.asarray(parameters.get(name, self.fixed.get(name))) for name in names}
        for name in parameters:
            (shape, kind), v = self._layer.forms[name], values[name]
            if v.shape != shape:
                raise SettingError(f"{name} has the shape {v.shape}; it must have that of init(), {shape}")
            if kind == "f" and not jnp.issubdtype(v.dtype, jnp.floating):
                raise SettingError(f"{name} is {v.dtype}; the layer runs in float32 or float64")
        kinds = {str(v.dtype) for n, v in values.items() if jnp.issubdtype(v.dtype, jnp.floating) and n in parameters}
        real = next(iter(kinds), str(jnp.zeros(0).dtype))
        if len(kinds) > 1 or real not in ("float32", "float64"):
            raise SettingError(f"the layer runs in float32 or float64, the parameters are {', '.join(sorted(kinds))}")
        cast = (v.astype(real) if jnp.issubdtype(v.dtype, jnp.floating) else v for v in values.values())
        return tuple(cast), real

    def _output(
        self, call: _Call, inputs: Array, driving: tuple[Any, ...], values: tuple[Array, ...], key: Any
    ) -> Output:
        try:
            seed = None if key is None else jax.random.bits(key, (), jnp.uint32) >> 1
        except TypeError:
            raise SettingError(f"key must be one of jax.random.key(seed), got {shown(key)}") from None
        read, together, _ = _trial(call, inputs, driving, values, seed)
        sizes = self._layer.spiking
        parts = jnp.split(together, np.cumsum(list(sizes.values()))[:-1], axis=1) if sizes else []
        readouts = {n: r for n, r in zip(self.plan.loss.readouts, read) if n in self.readouts}
        return Output(readouts, dict(zip(sizes, parts)))


def _check_real(x: Any, what: str) -> None:
    """Raise `SettingError` for an array of anything but real numbers."""
    if jnp.iscomplexobj(x):
        raise SettingError(f"{what} is complex; give x.real, or both parts as channels")
    if not (jnp.issubdtype(x.dtype, jnp.number) or x.dtype == bool):
        raise SettingError(f"{what} holds {x.dtype}, not numbers")


@dataclass(frozen=True)
class _Call:
    """What is fixed when JAX traces: the layer, its precision and the form of its input."""

    layer: Layer
    real: str
    layout: str
    dense: bool

    def runner(self, values: Sequence[np.ndarray]) -> Runner:
        return self.layer.runner(self.real, lambda: dict(zip(self.layer.names, values)))

    def spikes(self, inputs: np.ndarray, driving: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        """(what `Runner.forward` takes, places of the spikes in the flat input)."""
        currents = [x if self.layout == "BTN" else x.swapaxes(0, 1) for x in driving]
        if self.dense:
            steps, channels, offsets = spikes_of_counts(inputs, self.layout == "BTN")
            return [steps * self.layer.plan.dt, channels, offsets, *currents], steps
        place, channels, offsets = order_of_times(inputs)
        return [inputs.reshape(-1)[place], channels, offsets, *currents], place

    def batch(self, inputs: Any) -> int:
        return int(inputs.shape[self.layout.index("B") if self.dense else 0])

    def forward(
        self, inputs: np.ndarray, driving: Sequence[np.ndarray], values: Sequence[np.ndarray], key: np.ndarray | None
    ) -> Any:
        inputs, values, driving = np.asarray(inputs), [np.asarray(v) for v in values], [np.asarray(x) for x in driving]
        spikes, seed = self.spikes(inputs, driving)[0], None if key is None else int(key)
        runner = self.runner(values)
        if self.layer.choose(runner, dict(zip(self.layer.names, values)), spikes):
            runner = self.runner(values)
        with runner.lock:
            result, token = runner.forward(spikes, values, seed), runner.token
        self.layer.watch(result.spike_counts, "init(seed, counts)")
        counts = [c.astype(np.int32) for c in result.spike_counts.values()]
        together = np.concatenate(counts, 1) if counts else np.zeros((len(result.value), 0), np.int32)
        read = tuple(np.asarray(r, self.real) for r in (result.value, *result.also.values()))
        return read, together, np.array([runner.number, token], np.int32)

    def backward(
        self, inputs: np.ndarray, driving: Sequence[np.ndarray], values: Sequence[np.ndarray], key: np.ndarray | None,
        token: np.ndarray, slopes: Any,
    ) -> Any:  # fmt: skip
        """dL/d(given), zero for counts, dL/d(currents), and dL/d(parameters); a pass that is no longer kept is run
        again."""
        inputs, values, driving = np.asarray(inputs), [np.asarray(v) for v in values], [np.asarray(x) for x in driving]
        runner = self.runner(values)
        spikes, place = self.spikes(inputs, driving)
        number, passed = (int(n) for n in np.asarray(token))
        with_times = not self.dense and not runner.no_times  # JAX does not say whether it wants gradients of times
        by_time, by_current, by_parameter = runner.gradients(
            passed if number == runner.number else -1, [np.asarray(s) for s in slopes], with_times, bool(driving),
            spikes, values, None if key is None else int(key),
        )  # fmt: skip
        by_driving = tuple(
            np.zeros(x.shape, x.dtype)
            if g is None
            else (g if self.layout == "BTN" else g.swapaxes(0, 1)).astype(x.dtype)
            for x, g in zip(driving, by_current)
        )
        if runner.no_times:
            by_time = np.full(len(spikes[0]), np.nan)
        by_input = np.zeros(() if self.dense else inputs.size, self.real)
        if not self.dense:
            by_input[place] = by_time
            by_input = by_input.reshape(inputs.shape)
        gradients = [
            np.zeros(v.shape, v.dtype) if g is None else g.astype(v.dtype) for v, g in zip(values, by_parameter)
        ]
        return by_input.astype(self.real), by_driving, tuple(gradients)


def _shape(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _trial(call: _Call, inputs: Array, driving: tuple[Array, ...], values: tuple[Array, ...], key: Array | None) -> Any:
    layer, B = call.layer, call.batch(inputs)
    read = tuple(_shape(layer.read_shape(name, B), call.real) for name in layer.plan.loss.readouts)
    neurons = sum(layer.spiking.values())
    shapes = read, _shape((B, neurons), jnp.int32), _shape((2,), jnp.int32)
    return jax.pure_callback(call.forward, shapes, inputs, driving, values, key, vmap_method="sequential")


def _forward(
    call: _Call, inputs: Array, driving: tuple[Array, ...], values: tuple[Array, ...], key: Array | None
) -> Any:
    result = _trial(call, inputs, driving, values, key)
    return result, (inputs, driving, values, key, result[2])


def _backward(call: _Call, saved: Any, slopes: Any) -> Any:
    inputs, driving, values, key, token = saved
    dense = jnp.issubdtype(inputs.dtype, jnp.integer) or call.dense
    shapes_of = lambda arrays: tuple(_shape(x.shape, x.dtype) for x in arrays)  # noqa: E731
    shapes = _shape(() if call.dense else inputs.shape, call.real), shapes_of(driving), shapes_of(values)
    by_input, by_driving, gradients = jax.pure_callback(
        call.backward, shapes, inputs, driving, values, key, token, slopes[0], vmap_method="sequential"
    )
    by_input = _nothing(inputs) if dense else by_input.astype(inputs.dtype)
    by_values = tuple(g if jnp.issubdtype(v.dtype, jnp.floating) else _nothing(v) for g, v in zip(gradients, values))
    return by_input, by_driving, by_values, None if key is None else _nothing(key)


def _nothing(x: Array) -> Any:
    """The cotangent of what has no derivative."""
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.zeros_like(x)
    return np.zeros(x.shape, jax.dtypes.float0)


_trial.defvjp(_forward, _backward)
