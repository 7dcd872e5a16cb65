"""`EventProp`: a network as an ``nn.Module``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data import Currents, Events
from ..engines import Spikes
from ..errors import EngineError, SettingError
from ..losses import TimeWeight
from ..modelling.network import Network, Population
from ..output import say
from ..plan import Plan
from ..plan.records import SPIKE_TIMES
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
    runner_of,
)
from .torch_trial import order_of_times, run, spikes_of_counts

DTYPES = {torch.float32: "float32", torch.float64: "float64"}
CHOICES = ("auto", *SPIKE_TIMES)
"""In the order of their numbers in a state dict."""


@dataclass(frozen=True, eq=False)
class Output:
    """Output of a batch of B trials.

    Args:
        readouts: name -> tensor, differentiable; each is also an attribute: ``integral``, ``maximum``, ``v_end`` (V at
            T), ``first_spike`` (ms, inf if silent: use `torch.where` before a loss), all (B, K), and ``v``
            (B, T + 1, K), V at k dt before the arrivals of step k. ``value`` is the first one.
        spike_counts: population -> (B, N) int64, and ``spikes``: population -> `engines.Spikes` (for a compiled layer
            valid until its next call); neither has a derivative.

    Example:
        >>> import torch
        >>> from genn_eventprop.torch import EventProp
        >>> layer = EventProp(net, duration=20.0, readout=["integral", "max"])
        >>> out = layer(times=torch.rand(3, 4) * 10)
        >>> out.integral.shape, out.maximum.shape, out.spike_counts["hidden"].shape
        (torch.Size([3, 2]), torch.Size([3, 2]), torch.Size([3, 8]))
    """

    readouts: dict[str, Tensor]
    spike_counts: dict[str, Tensor]
    _runner: int = field(repr=False)
    _pass: Sequence[int] | Tensor = field(repr=False)
    _spikes: Mapping[str, Spikes] | None = field(repr=False)

    @property
    def value(self) -> Tensor:
        """The first readout."""
        return next(iter(self.readouts.values()))

    @property
    def spikes(self) -> Mapping[str, Spikes]:
        """Population -> spikes of this batch, without derivative."""
        if self._spikes is not None:
            return self._spikes
        runner = runner_of(self._runner)
        with runner.lock:
            if int(self._pass[1]) != runner.passes:
                raise EngineError("the spikes of an earlier call are gone; read them before the layer is called again")
            return runner.spikes

    def __getattr__(self, name: str) -> Tensor:
        return named_readout(self.readouts, name)


class EventProp(nn.Module):
    """A spiking network with exact gradients as a layer; one forward and one backward pass per batch.

    Args:
        net: the network; learned parameters become ``nn.Parameter``s, the others buffers, named as in the network
            (``layer.net.hidden.tau_mem``, ``net.input_hidden.weight`` in the state dict).
        duration, dt: trial length and time step in ms.
        output: the population to read, by default the last one.
        readout: "integral" (1/T int w V dt), "max", "end" (V at T), "first_spike" (ms), "count" (a surrogate gradient,
            see `losses.Loss`) or "trace" (V at every time step), or several of them.
        weight: w(t) of an integral, as in `losses`.
        spike_times: "grid", "exact" or "auto", which takes exact ones where they are expected to pay, by the network
            and the first batch, and says so in one line (`engines.spike_times`).
        engine, threads: see `engines.create`; the engine must run the two passes separately.
        spike_birth: noise of thresholds, e.g. 0.1, for gradients that see spikes about to be born; 0 is off. Of the
            loss only its slope is known here, so a spike changes it to first order (docs/spike_birth.md).
        weight_rows: "float32", or "float16": weights are run as float16 rounds them (docs/native.md); the parameters,
            and their gradients, stay float32.
        layout: of dense inputs: "TBN" (steps, batch, channels) or "BTN".
        seed: random seed of the initial weights.

    It may be moved, as in ``layer.to("cuda")``: readouts and counts are on the device of its parameters, and a
    gradient is on that of what it belongs to.

    Call it with spike counts (a dense tensor in `layout`, step k at k dt), with `Events`, or with ``times=`` (B, N)
    or (B, N, M): spike times in ms of every channel, inf for none, which get gradients. A network with currents takes
    ``currents=``, a dense tensor of real numbers in `layout` on the grid of its `Network.current`, or `Currents`, or a
    dictionary of them by name; tensors get gradients. If it has one current and no spike input, ``layer(x)`` will do.
    After the last value a current is 0. Noise and dropout act in
    training mode, with new random numbers from torch's random state in every call. Weights without a scale of their own
    (``Dense()``) are scaled by the first call in training mode, see `scale_weights`.

    Example:
        >>> import torch
        >>> from genn_eventprop.torch import EventProp
        >>> layer = EventProp(net, duration=20.0)
        >>> out = layer((torch.rand(20, 16, 4) < 0.2).float())  # (T, B, channels)
        >>> torch.nn.functional.cross_entropy(out.value, torch.zeros(16, dtype=torch.int64)).backward()
        >>> layer.net.input_hidden.weight.grad.shape
        torch.Size([4, 8])

    Raises:
        SettingError, PlanError, EngineError: settings that do not fit together.
    """

    def __init__(
        self,
        net: Network,
        *,
        duration: float,
        dt: float = 1.0,
        output: Population | None = None,
        readout: str | Sequence[str] = "integral",
        weight: str | TimeWeight = "constant",
        spike_times: str = "auto",
        engine: str = "auto",
        threads: int | None = None,
        spike_birth: float = 0.0,
        weight_rows: str = "float32",
        layout: str = "TBN",
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_layout(layout)
        self._layer = Layer(
            net, duration=duration, dt=dt, output=output, readout=readout, weight=weight, spike_times=spike_times,
            engine=engine, threads=threads, spike_birth=spike_birth, weight_rows=weight_rows,
        )  # fmt: skip
        self.layout, self.readouts = layout, self._layer.readouts
        self.net = nn.Module()
        self._places = _places(self._layer.names)
        first = self._layer.initial(seed)
        self._layer.drawn(first)
        for name, place in zip(self._layer.names, self._places):
            self._register(place, torch.from_numpy(first[name]), name in self.plan.trainable)

    @property
    def plan(self) -> Plan:
        """What runs: network, readouts and time grid, compiled."""
        return self._layer.plan

    def _register(self, place: tuple[str, str], value: Tensor, learned: bool) -> None:
        """A parameter or buffer under the name of its population or connection."""
        owner, name = place
        if not hasattr(self.net, owner):
            self.net.add_module(owner, nn.Module())
        group = self.net.get_submodule(owner)
        if learned:
            group.register_parameter(name, nn.Parameter(value))
        else:
            group.register_buffer(name, value)

    def values(self) -> dict[str, Tensor]:
        """Every parameter of the network, learned or not, by its name."""
        groups = self.net._modules
        return {
            name: getattr(groups[owner], attribute) for name, (owner, attribute) in zip(self._layer.names, self._places)
        }

    def forward(
        self, spikes: Tensor | Events | Currents | None = None, *, times: Tensor | None = None, currents: Any = None
    ) -> Output:  # fmt: skip
        """A batch of trials; the layer is called instead.

        Args:
            spikes: spike counts in `layout`, or `Events`. times: (B, N) or (B, N, M) ms instead. currents: of a network
                that has some, see above.
        """
        values = self.values()
        precision = _precision(values)
        arrays, driving = self._inputs(spikes, times, currents)
        if not torch.compiler.is_compiling():
            self._first_call(values, [*arrays, *driving])
        number = _number(self, precision)
        key = torch.randint(1 << 31, (1,)) if self.training and self._layer.stochastic else None
        read, counts, passed, recorded = run(number, *arrays, driving, list(values.values()), key)
        names, sizes = self.plan.loss.readouts, self._layer.spiking
        parts = dict(zip(sizes, counts.split(list(sizes.values()), 1))) if sizes else {}
        if self.training and not torch.compiler.is_compiling():
            self._layer.watch(parts, "the first call in training mode, or scale_weights(batch),")
        return Output({n: r for n, r in zip(names, read) if n in self.readouts}, parts, number, passed, recorded)

    def scale_weights(
        self, spikes: Tensor | Events | Currents | None = None, *, times: Tensor | None = None, currents: Any = None
    ) -> list[str]:  # fmt: skip
        """Scale weights that have no scale of their own (``Dense()``) and are still as drawn, on a batch (`spikes`,
        `times`, `currents`) as `forward` takes it, so that every population spikes (`training.weights_from_data`); what
        was done, a line each.

        The first call in training mode does this by itself, except around a compiled or a distributed layer.
        """
        arrays, driving = self._inputs(spikes, times, currents, "scale_weights")
        values = self.values()
        runner, numbers = self.runner(_precision(values)), _numbers_of(values)
        done = self._layer.scale_weights(runner, numbers, _arrays([*arrays, *driving]))
        _put_back(values, numbers)
        return done

    def _first_call(self, values: Mapping[str, Tensor], arrays: Sequence[Tensor]) -> None:
        """What waits for data: the scale of weights, in training mode, and the choice of spike times."""
        scales = self.training and self._layer.unscaled
        if not (scales or self._layer.undecided):
            return
        runner = self.runner(_precision(values))
        numbers, spikes = _numbers_of(values), _arrays(arrays)
        waiting = self._layer.waiting(numbers) if scales else []
        if waiting and torch.distributed.is_available() and torch.distributed.is_initialized():
            # every process has another batch, and would scale its copy of the weights by itself
            warnings.warn(
                f"the weights into {', '.join(waiting)} have no scale yet: call scale_weights with a batch before the "
                "layer is distributed",
                RuntimeWarning,
                stacklevel=3,
            )
        elif waiting:
            self._layer.scale_weights(runner, numbers, spikes)
            _put_back(values, numbers)
        if scales:
            self._layer.unscaled = False
        if not (self._layer.unscaled and self._layer.waiting(numbers)):  # unscaled weights say nothing of spikes
            self._layer.choose(runner, numbers, spikes)

    def _inputs(
        self, spikes: Tensor | Events | Currents | None, times: Tensor | None, currents: Any, what: str = "the layer"
    ) -> tuple[tuple[Tensor, Tensor, Tensor], list[Tensor]]:
        """(times, channels, offsets) of the spikes, and (B, V, M) values of each current."""
        plan = self.plan
        if not plan.input.size and currents is None and times is None:
            spikes, currents = None, spikes
        driving = [self._of_current(name, x) for name, x in currents_by_name(currents, plan)]
        if not plan.input.size:
            if spikes is not None or times is not None:
                raise SettingError("the network has currents as inputs and takes no spikes; call layer(currents)")
            B = driving[0].shape[0]
            arrays = torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.int32), torch.zeros(B + 1).long()
        else:
            if (spikes is None) == (times is None):
                raise SettingError(f"call {what} with spikes, or with times=")
            arrays = self._of_times(times) if times is not None else self._of_spikes(spikes)
        sizes = {len(arrays[2]) - 1, *(len(x) for x in driving)}
        if len(sizes) > 1:
            raise SettingError(f"all inputs need the same samples, got batches of {', '.join(map(str, sorted(sizes)))}")
        return arrays, driving

    def _of_current(self, name: str, x: Any) -> Tensor:
        """(B, V, M) values of a current, with the gradient of the tensor that they come from."""
        record = next(c for c in self.plan.currents if c.name == name)
        if isinstance(x, Currents):
            if abs(x.dt - record.dt) > 1e-9 * record.dt:
                raise SettingError(
                    f"current {name!r}: the data have a value every {x.dt:g} ms, the network every {record.dt:g} ms"
                )
            x = _shared(x.values)[0]
            x = x if self.layout == "BTN" else x.transpose(0, 1)
        check_array(x, Tensor, "torch.from_numpy(x), or Currents(x, dt)")
        x = _real(x, f"current {name!r}")
        check_current(x.shape, name, self.plan, self.layout)
        if x.dtype not in DTYPES:  # of torch.autocast, or whole numbers
            x = x.float()
        return x if self.layout == "BTN" else x.transpose(0, 1)

    def _of_spikes(self, spikes: Tensor | Events | Currents | None) -> tuple[Tensor, Tensor, Tensor]:
        """(times, channels, offsets) of counts or `Events`; they have no gradient."""
        if isinstance(spikes, Events):
            if spikes.n_channels != self.plan.input.size:
                raise SettingError(f"the events have {spikes.n_channels} channels, the layer {self.plan.input.size}")
            times, channels, offsets = _shared(spikes.times, spikes.channels, spikes.offsets)
            return times, channels, offsets
        samples = isinstance(spikes, (list, tuple))
        how = "Events.from_samples([(times, channels), ...], n_channels)" if samples else "torch.from_numpy(x)"
        check_array(spikes, Tensor, how)
        assert isinstance(spikes, Tensor)
        counts = _real(spikes, "the tensor of spike counts")
        if counts.requires_grad:
            raise SettingError(
                "spike counts have no derivative; give times= for gradients of input spikes, or detach()"
            )
        check_counts(counts.shape, self.plan, self.layout)
        step, channels, offsets = spikes_of_counts(counts, self.layout == "BTN")
        return step.to(torch.float64) * self.plan.dt, channels, offsets

    def _of_times(self, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(times, channels, offsets) of the finite times, sorted within each sample."""
        check_array(times, Tensor, "torch.from_numpy(x)")
        times = _real(times, "times=")
        check_times(times.shape, self.plan)
        place, channels, offsets = order_of_times(times if times.dim() == 3 else times.unsqueeze(2))
        return times.reshape(-1)[place.to(times.device)], channels, offsets

    def runner(self, dtype: torch.dtype) -> Runner:
        """The engine of a precision, `dtype`; made when it is first needed.

        Raises:
            SettingError: a precision that engines do not have.
        """
        if not isinstance(dtype, torch.dtype) or dtype not in DTYPES:
            raise SettingError(f"the layer runs in float32 and float64, not in {dtype}; convert it with .float()")
        runner = self._layer.runner(DTYPES[dtype], lambda: {k: v.numpy(force=True) for k, v in self.values().items()})
        _note_threads(runner)
        return runner

    def get_extra_state(self) -> Tensor:
        """The spike times that "auto" has taken, by the first batch of this layer; another may have other ones."""
        return torch.tensor(CHOICES.index(self._layer.chosen))

    def set_extra_state(self, state: Tensor) -> None:
        self._layer.goes_on(CHOICES[int(state)])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict.setdefault(f"{prefix}_extra_state", self.get_extra_state())  # of a version that did not save it
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """Sizes and settings, for `print`."""
        return self._layer.describe()


def _precision(values: Mapping[str, Tensor]) -> torch.dtype:
    """The one in which the layer runs, that of its parameters.

    Raises:
        SettingError: parameters without numbers.
    """
    for name, value in values.items():
        if value.is_meta:
            raise SettingError(f"{name} has no numbers on the device meta; layer.to_empty(device='cpu') makes room")
    return next(v.dtype for v in values.values() if v.is_floating_point() or v.is_complex())


def _real(x: Tensor, what: str) -> Tensor:
    """A tensor whose numbers an engine can take; those of half precision, of torch.autocast say, as float32.

    Raises:
        SettingError: a tensor of another kind.
    """
    if x.is_complex():
        raise SettingError(f"{what} is complex; give x.real, x.abs(), or torch.view_as_real(x) as channels")
    if x.is_meta:
        raise SettingError(f"{what} has no numbers on the device meta; make it on another device")
    if x.is_nested:
        raise SettingError(f"{what} is nested; give samples of one length, torch.nested.to_padded_tensor(x, 0.0)")
    if x.is_quantized:
        raise SettingError(f"{what} is quantised; give x.dequantize()")
    if x.layout is not torch.strided:
        raise SettingError(f"{what} is sparse ({x.layout}); give x.to_dense()")
    return x.float() if x.is_floating_point() and x.dtype not in DTYPES else x


def _numbers_of(values: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Parameters as arrays: their memory on the CPU, else copies."""
    return {name: value.numpy(force=True) for name, value in values.items()}


def _put_back(values: Mapping[str, Tensor], numbers: Mapping[str, np.ndarray]) -> None:
    """Parameters that are not on the CPU, from arrays that were changed."""
    with torch.no_grad():
        for name in (n for n, value in values.items() if value.device.type != "cpu"):
            values[name].copy_(torch.from_numpy(numbers[name]))


def _arrays(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    return [x.numpy(force=True) for x in tensors]


def _places(names: Sequence[str]) -> list[tuple[str, str]]:
    """(module, attribute) of parameters "owner.own": the same words, with _ behind those that ``nn.Module`` uses itself
    ("training", "type")."""
    module, pairs = nn.Module(), [name.rsplit(".", 1) for name in names]
    used = {word for pair in pairs for word in pair}

    def free(word: str) -> str:
        if not hasattr(module, word):
            return word
        return next(w for n in range(1, len(used) + 2) if (w := word + n * "_") not in used and not hasattr(module, w))

    return [(free(owner), free(name)) for owner, name in pairs]


_noted: list[bool] = []
"""Whether this process has been told of threads of torch that spin."""


def _note_threads(runner: Runner) -> None:
    """A note, once a process, where torch's threads wait by spinning and so compete with the engine's.

    OpenMP's threads spin for milliseconds after every operation, on processors that the engine's threads, and on a busy
    machine torch itself, then wait for. How they wait is read when OpenMP is loaded, so a layer cannot change it, and
    how many there are is for the program to say.
    """
    chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys()
    threads = torch.get_num_threads()
    if _noted or chosen or threads == 1 or "threads" not in runner.engine.options:
        return
    _noted.append(True)
    say(
        f"note: torch uses {threads} threads, which spin while they wait and slow down the engine's and torch's own "
        "steps on a busy machine; call torch.set_num_threads(1), or start Python with OMP_WAIT_POLICY=PASSIVE in the "
        "environment (any value of it ends this note; see docs/pytorch.md)"
    )


@torch.compiler.assume_constant_result
def _number(layer: EventProp, dtype: torch.dtype) -> int:
    """Of a layer's engine; `torch.compile` takes it once."""
    return layer.runner(dtype).number


def _shared(*arrays: np.ndarray) -> tuple[Tensor, ...]:
    """Tensors of the same memory, though the arrays cannot be written to; nothing writes to the tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return tuple(torch.from_numpy(array) for array in arrays)
