"""`EventProp`: a network as an ``nn.Module``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import engines
from ..data import Events
from ..description import Described, build, describe
from ..engines import Spikes
from ..engines.split import READ
from ..errors import SettingError, suggest
from ..losses import Loss, TimeWeight
from ..modelling.network import Network, Population
from ..plan import Plan, make_plan
from .torch_trial import Runner, trial

NAMES = {"integral": "integral", "max": "maximum", "end": "v_end", "first_spike": "first_spike", "count": "count"}
"""Readout -> attribute of `Output`."""
LAYOUTS = ("TBN", "BTN")
DTYPES = {torch.float32: "float32", torch.float64: "float64"}


@dataclass(frozen=True, eq=False)
class Output:
    """What a batch of B trials gives.

    value: (B, K) the readout, differentiable; also under its name: ``integral``, ``maximum``, ``v_end`` (V at T) or
    ``first_spike`` (ms, inf where silent: use `torch.where` before a loss). spike_counts: population -> (B, N) int64,
    and spikes: population -> `engines.Spikes`; both have no derivative.
    """

    value: Tensor
    readout: str
    spike_counts: dict[str, Tensor]
    spikes: dict[str, Spikes] = field(repr=False)

    def __getattr__(self, name: str) -> Tensor:
        if name == NAMES.get(self.readout):
            return self.value
        wanted = next((k for k, v in NAMES.items() if v == name), None)
        if wanted is not None:
            raise AttributeError(f"this layer reads {self.readout!r}; make it with readout={wanted!r} for .{name}")
        raise AttributeError(name)


class EventProp(nn.Module):
    """A spiking network with exact gradients as a layer; one forward and one backward pass a batch.

    Args:
        net: the network; learned parameters become ``nn.Parameter``s, the others buffers, called as in the network
            (``layer.net.hidden.tau_mem``, ``net.input_hidden.weight`` in the state dict).
        duration, dt: trial and time step in ms.
        output: the population that is read, by default the last one.
        readout: "integral" (1/T int w V dt), "max", "end" (V at T), "first_spike" (ms) or "count" (a surrogate
            gradient, see `losses.Loss`).
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
        readout: str = "integral",
        weight: str | TimeWeight = "constant",
        spike_times: str = "grid",
        engine: str = "auto",
        threads: int | None = None,
        layout: str = "TBN",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if readout not in READ:
            raise SettingError(f"unknown readout {readout!r} ({suggest(readout, READ)})")
        if layout not in LAYOUTS:
            raise SettingError(f"unknown layout {layout!r} ({suggest(layout, LAYOUTS)})")
        output = net.populations[-1] if output is None else output
        time_weight = weight if isinstance(weight, TimeWeight) else TimeWeight(weight)
        loss = Loss(output, readout, weight=time_weight) if readout == "integral" else Loss(output, readout)
        self._described: Any = Described(net, loss, duration, dt, spike_times, engine)
        self._plan: Plan | None = None
        self.layout, self.readout = layout, readout
        self._settings = {"engine": engine, "threads": threads}
        self._runners: dict[torch.dtype, Runner] = {}
        self.net = nn.Module()
        self._names = tuple(values := net.initial_parameters(seed))
        for name, value in values.items():
            self._register(name, torch.from_numpy(np.asarray(value, np.float32)), name in self.plan.trainable)

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
        runner = self._runner(first.dtype)
        if (spikes is None) == (times is None):
            raise SettingError("call the layer with spikes, or with times=")
        found = self._of_times(times) if times is not None else self._of_spikes(spikes, first.dtype)
        value, counts, _ = trial(runner.number, *found, list(values.values()), self.training)
        sizes = {p.name: p.size for p in self.plan.populations if p.spiking}
        parts = dict(zip(sizes, counts.split(list(sizes.values()), 1))) if sizes else {}
        return Output(value, self.readout, parts, runner.spikes)

    def _of_spikes(self, spikes: Tensor | Events | None, real: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """(times, channels, offsets) of counts or `Events`; they have no gradient."""
        if isinstance(spikes, Events):
            tensors = [torch.from_numpy(np.array(x)) for x in (spikes.times, spikes.channels, spikes.offsets)]
            return tensors[0].to(torch.float64), tensors[1].to(torch.int64), tensors[2].to(torch.int64)
        assert spikes is not None
        if spikes.requires_grad:
            raise SettingError(
                "spike counts have no derivative; give times= for gradients of input spikes, or detach()"
            )
        dense = spikes.transpose(0, 1) if self.layout == "TBN" else spikes
        steps, size = self.plan.n_steps, self.plan.input.size
        if dense.dim() != 3 or dense.shape[1] != steps or dense.shape[2] != size:
            wanted = f"({steps}, B, {size})" if self.layout == "TBN" else f"(B, {steps}, {size})"
            raise SettingError(
                f"the layer takes spikes of shape {wanted} (layout {self.layout}), got {tuple(spikes.shape)}"
            )
        counts = dense.detach().to(torch.int64)
        if (counts < 0).any() or (counts != dense).any():
            raise SettingError("spike counts must be whole numbers that are not negative")
        place = counts.nonzero()
        place = place.repeat_interleave(counts[place.unbind(1)], 0)
        offsets = torch.bincount(place[:, 0], minlength=len(dense)).cumsum(0)
        times = place[:, 1].to(torch.float64) * self.plan.dt
        return times, place[:, 2], torch.cat([offsets.new_zeros(1), offsets])

    def _of_times(self, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(times, channels, offsets) of the finite times, sorted within each sample."""
        size = self.plan.input.size
        if times.dim() not in (2, 3) or times.shape[1] != size:
            raise SettingError(
                f"times= takes (B, {size}) or (B, {size}, M) ms, inf for no spike, got {tuple(times.shape)}"
            )
        flat = times.reshape(len(times), -1)
        channel = torch.arange(size).repeat_interleave(flat.shape[1] // size).expand_as(flat)
        ordered, order = flat.sort(dim=1, stable=True)
        there = torch.isfinite(ordered)
        offsets = there.sum(1).cumsum(0)
        return ordered[there], channel.gather(1, order)[there], torch.cat([offsets.new_zeros(1), offsets])

    def _runner(self, dtype: torch.dtype) -> Runner:
        """The engine of a precision; made when it is first needed."""
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
        return f"{sizes}, {grid}, readout {self.readout!r}"
