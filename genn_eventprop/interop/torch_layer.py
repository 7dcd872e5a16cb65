"""`EventProp`: a network as an ``nn.Module``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import engines
from ..data import Events
from ..description import Described, build, describe
from ..engines import Spikes
from ..errors import EngineError, SettingError, suggest
from ..losses import Loss, TimeWeight
from ..modelling.network import Network, Population
from ..plan import Plan, make_plan
from .torch_spikes import order_of_times, spikes_of_counts
from .torch_trial import Runner, runner_of, trial

NAMES = {
    "integral": "integral", "max": "maximum", "end": "v_end", "first_spike": "first_spike", "count": "count",
    "trace": "v",
}  # fmt: skip
"""Readout -> attribute of `Output`."""
LAYOUTS = ("TBN", "BTN")
DTYPES = {torch.float32: "float32", torch.float64: "float64"}


@dataclass(frozen=True, eq=False)
class Output:
    """What a batch of B trials gives.

    readouts: name -> tensor, differentiable; each also under its name: ``integral``, ``maximum``, ``v_end`` (V at T),
    ``first_spike`` (ms, inf where silent: use `torch.where` before a loss), all (B, K), and ``v`` (B, T + 1, K), V at k
    dt before the arrivals of step k. value: the first of them. spike_counts: population -> (B, N) int64, and spikes:
    population -> `engines.Spikes` (of a compiled layer until its next call); both have no derivative.
    """

    readouts: dict[str, Tensor]
    spike_counts: dict[str, Tensor]
    _runner: int = field(repr=False)
    _pass: Tensor = field(repr=False)
    _spikes: Mapping[str, Spikes] | None = field(repr=False)

    @property
    def value(self) -> Tensor:
        return next(iter(self.readouts.values()))

    @property
    def spikes(self) -> Mapping[str, Spikes]:
        if self._spikes is not None:
            return self._spikes
        runner = runner_of(self._runner)
        if int(self._pass[1]) != runner.passes:
            raise EngineError("the spikes of an earlier call are gone; read them before the layer is called again")
        return runner.spikes

    def __getattr__(self, name: str) -> Tensor:
        wanted = next((k for k, v in NAMES.items() if v == name), None)
        if wanted is None:
            raise AttributeError(name)
        if wanted not in self.readouts:
            have = ", ".join(map(repr, self.readouts))
            raise AttributeError(f"this layer reads {have}; make it with readout={wanted!r} for .{name}")
        return self.readouts[wanted]


class EventProp(nn.Module):
    """A spiking network with exact gradients as a layer; one forward and one backward pass a batch.

    Args:
        net: the network; learned parameters become ``nn.Parameter``s, the others buffers, called as in the network
            (``layer.net.hidden.tau_mem``, ``net.input_hidden.weight`` in the state dict).
        duration, dt: trial and time step in ms.
        output: the population that is read, by default the last one.
        readout: "integral" (1/T int w V dt), "max", "end" (V at T), "first_spike" (ms), "count" (a surrogate gradient,
            see `losses.Loss`) or "trace" (V at every time step), or several of them.
        weight: w(t) of an integral, as in `losses`.
        spike_times: "grid" or "exact". engine, threads: see `engines.create`; the engine must have the two halves.
        layout: of dense inputs: "TBN" (steps, batch, channels) or "BTN".
        seed: of the first weights.

    Call it with spike counts (a dense tensor in `layout`, of step k at k dt), with `Events`, or with ``times=`` (B, N)
    or (B, N, M): spike times in ms of every channel, inf for none, which get gradients. In training mode noise and
    dropout act.

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
        spike_times: str = "grid",
        engine: str = "auto",
        threads: int | None = None,
        layout: str = "TBN",
        seed: int = 0,
    ) -> None:
        super().__init__()
        readouts = self._readouts(readout)
        if layout not in LAYOUTS:
            raise SettingError(f"unknown layout {layout!r} ({suggest(layout, LAYOUTS)})")
        output = net.populations[-1] if output is None else output
        time_weight = weight if isinstance(weight, TimeWeight) else TimeWeight(weight)
        main, *also = readouts if readouts != ("trace",) else ("end", "trace")
        time_weight = time_weight if main == "integral" else TimeWeight()
        loss = Loss(output, main, weight=time_weight, also=tuple(also))
        self._described: Any = Described(net, loss, duration, dt, spike_times, engine)
        self._plan: Plan | None = None
        self.layout, self.readouts = layout, readouts
        self._settings = {"engine": engine, "threads": threads}
        self._runners: dict[torch.dtype, Runner] = {}
        self.net = nn.Module()
        self._names = tuple(values := net.initial_parameters(seed))
        for name, value in values.items():
            self._register(name, torch.from_numpy(np.asarray(value, np.float32)), name in self.plan.trainable)

    @staticmethod
    def _readouts(asked: str | Sequence[str]) -> tuple[str, ...]:
        """Names of readouts; an integral, then all that have one number an output, before V at every step."""
        names = (asked,) if isinstance(asked, str) else tuple(asked)
        for name in names:
            if name not in NAMES:
                raise SettingError(f"unknown readout {name!r} ({suggest(str(name), NAMES)})")
        if not names:
            raise SettingError("readout=() reads nothing; name one or several readouts")
        return tuple(sorted(names, key=lambda name: (name != "integral", name == "trace")))

    @property
    def plan(self) -> Plan:
        """What runs: network, readout and time grid, compiled."""
        if self._plan is None:
            d = self._described
            self._plan = make_plan(d.network, d.loss, dt=d.dt, duration=d.duration, spike_times=d.spike_times)
        return self._plan

    def _register(self, name: str, value: Tensor, learned: bool) -> None:
        """A parameter or buffer under the name of its population or connection."""
        owner, own = name.rsplit(".", 1)
        if not hasattr(self.net, owner):
            self.net.add_module(owner, nn.Module())
        group = self.net.get_submodule(owner)
        if learned:
            group.register_parameter(own, nn.Parameter(value))
        else:
            group.register_buffer(own, value)

    def values(self) -> dict[str, Tensor]:
        """Every parameter of the network, learned or not, by its name."""
        return {
            name: getattr(self.net.get_submodule(name.rsplit(".", 1)[0]), name.rsplit(".", 1)[1])
            for name in self._names
        }

    def forward(self, spikes: Tensor | Events | None = None, *, times: Tensor | None = None) -> Output:
        values = self.values()
        first = next(iter(values.values()))
        number = _number(self, first.dtype)
        if (spikes is None) == (times is None):
            raise SettingError("call the layer with spikes, or with times=")
        found = self._of_times(times) if times is not None else self._of_spikes(spikes)
        read, counts, passed = trial(number, *found, list(values.values()), self.training)
        names = self.plan.loss.readouts
        sizes = {p.name: p.size for p in self.plan.populations if p.spiking}
        parts = dict(zip(sizes, counts.split(list(sizes.values()), 1))) if sizes else {}
        recorded = None if torch.compiler.is_compiling() else runner_of(number).spikes
        return Output({n: r for n, r in zip(names, read) if n in self.readouts}, parts, number, passed, recorded)

    def _of_spikes(self, spikes: Tensor | Events | None) -> tuple[Tensor, Tensor, Tensor]:
        """(times, channels, offsets) of counts or `Events`; they have no gradient."""
        if isinstance(spikes, Events):
            if spikes.n_channels != self.plan.input.size:
                raise SettingError(f"the events have {spikes.n_channels} channels, the layer {self.plan.input.size}")
            times, channels, offsets = (_shared(x) for x in (spikes.times, spikes.channels, spikes.offsets))
            return times, channels, offsets
        assert spikes is not None
        if spikes.requires_grad:
            raise SettingError(
                "spike counts have no derivative; give times= for gradients of input spikes, or detach()"
            )
        batch_first, steps, size = self.layout == "BTN", self.plan.n_steps, self.plan.input.size
        if spikes.dim() != 3 or spikes.shape[1 if batch_first else 0] != steps or spikes.shape[2] != size:
            wanted = f"(B, {steps}, {size})" if batch_first else f"({steps}, B, {size})"
            raise SettingError(
                f"the layer takes spikes of shape {wanted} (layout {self.layout}), got {tuple(spikes.shape)}"
            )
        step, channels, offsets = spikes_of_counts(spikes, batch_first)
        return step.to(torch.float64) * self.plan.dt, channels, offsets

    def _of_times(self, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(times, channels, offsets) of the finite times, sorted within each sample."""
        size = self.plan.input.size
        if times.dim() not in (2, 3) or times.shape[1] != size:
            raise SettingError(
                f"times= takes (B, {size}) or (B, {size}, M) ms, inf for no spike, got {tuple(times.shape)}"
            )
        place, channels, offsets = order_of_times(times if times.dim() == 3 else times.unsqueeze(2))
        return times.reshape(-1)[place], channels, offsets

    def runner(self, dtype: torch.dtype) -> Runner:
        """The engine of a precision; made when it is first needed.

        Raises:
            SettingError: a precision that engines do not have.
        """
        if dtype not in DTYPES:
            raise SettingError(f"the layer runs in float32 and float64, not in {dtype}")
        if dtype not in self._runners:
            values = {k: v.detach().numpy() for k, v in self.values().items()}
            engine = engines.create(self.plan, values, dtype=DTYPES[dtype], **self._settings)  # type: ignore[arg-type]
            self._runners[dtype] = Runner(engine, self._names)
        return self._runners[dtype]

    def __getstate__(self) -> dict[str, Any]:
        """Without plan and engines, the network as its description: a copy makes its own."""
        return {**self.__dict__, "_runners": {}, "_plan": None, "_described": describe(self._described)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        values = {name: value.detach().numpy() for name, value in self.values().items()}
        self._described = build(self._described, values, trust=True)  # a pickle is of one's own

    def extra_repr(self) -> str:
        plan = self.plan
        sizes = " - ".join(str(n) for n in (plan.input.size, *(p.size for p in plan.populations)))
        grid = f"{plan.duration:g} ms in steps of {plan.dt:g} ms, {plan.spike_times} spike times"
        return f"{sizes}, {grid}, readout {', '.join(self.readouts)}"


@torch.compiler.assume_constant_result
def _number(layer: EventProp, dtype: torch.dtype) -> int:
    """Of a layer's engine; `torch.compile` takes it once."""
    return layer.runner(dtype).number


def _shared(array: np.ndarray) -> Tensor:
    """A tensor of the same memory, though the array cannot be written to; nothing writes to the tensor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
