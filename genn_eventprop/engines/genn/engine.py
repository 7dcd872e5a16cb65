"""`GennEngine`: a plan on GeNN, its trials in two phases, its parameters, moments and gradients on the device.

A batch goes through in groups of GeNN's batch size (one example on single_threaded_cpu): the forward phase, the outer
loss, the adjoint phase. Gradients of all groups add up on the device, so the result is that of one batch. The host
gives labels and the numbers that depend on neuron parameters, and takes readouts and spike counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import EngineError
from ...plan import Plan
from ..base import (
    Availability,
    Data,
    Engine,
    Result,
    batch_indices,
)
from ..device_arrays import DeviceArrays
from ..refuse import (
    ALL,
    AMOUNTS,
    BENT,
    CONNECTIVITY,
    FACTOR,
    INPUTS,
    INTEGRALS,
    LOSSES,
    MOVED_VOLTAGE,
    READOUTS,
    SEVERAL,
    SILENT,
    VARYING_PUSHES,
)
from .device_locations import gradient_locations, moment_locations, weight_locations
from .gather import size_variable
from .group import Group
from .host import joined
from .host_transfer import HostTransfer
from .install import VERSION, available_backends, choose_backend, devices
from .network import Network
from .text import NetworkText
from .trial import network_text
from .updates import Rule, rule_of

FIRST_CAPACITY = 32  # spikes that a neuron can keep in a trial before the store grows
MOST_SIDE_BY_SIDE = 1023  # examples; with more, GeNN 5.4's cuda and hip backends end the whole process


class _TooLong(Exception):
    """The spike stores of a group have grown beyond what its code can index."""


class GennEngine(Engine):
    """See the module.

    Args:
        dtype: "float32" or "float64".
        backend: "cuda", "hip" or "single_threaded_cpu"; None takes the first that this pygenn has.
        optimize_code: let GeNN compile with -O3 and -ffast-math. NaN must then be looked for on the host.

    Raises:
        EngineError: if pygenn is missing or too old, or the plan cannot be run by this engine.
    """

    name = "genn"
    features = {
        "grid": ALL
        - {
            SILENT,
            AMOUNTS,
            INTEGRALS,
            BENT,
            MOVED_VOLTAGE,
            VARYING_PUSHES,
            SEVERAL,
            LOSSES,
            FACTOR,
            INPUTS,
            READOUTS,
            *CONNECTIVITY,
        }
    }
    options = ("slope_floor", "dtype", "backend")
    parameters: DeviceArrays
    gradients: DeviceArrays

    @classmethod
    def availability(cls) -> Availability:
        try:
            choose_backend(None)
            backends = (b if devices(b) else f"{b} (no device)" for b in available_backends())
            return Availability(cls.name, True, f"pygenn {VERSION} with {', '.join(backends)}")
        except EngineError as error:
            return Availability(cls.name, False, str(error))

    def __init__(
        self, plan: Plan, parameters: Mapping[str, np.ndarray], *, slope_floor: float = 0.0, dtype: str = "float32",
        backend: str | None = None, optimize_code: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(plan, parameters, slope_floor=slope_floor)
        if dtype not in ("float32", "float64"):
            raise EngineError(f"dtype={dtype!r}: the genn engine runs 'float32' or 'float64'")
        self.dtype, self.backend, self.optimize_code = np.dtype(dtype), self._choose_backend(backend), optimize_code
        self.parameters = DeviceArrays({k: np.array(v, dtype=self.dtype) for k, v in parameters.items()})
        self.gradients = DeviceArrays({k: np.zeros(self.parameters[k].shape, self.dtype) for k in plan.trainable})
        self.device: int | None = None  # None: the one that GeNN takes for the best
        self.group = 1  # examples a run, see `_regroup`
        self.network: Any = None
        self._training = False  # what the network is built for, and:
        self._rule: Rule | None = None
        self._written: tuple[bool, Rule | None, NetworkText] = (
            True,
            None,
            network_text(plan),
        )  # raises if it cannot be
        self._moments: dict[str, DeviceArrays] = {}
        self._spiking = [p.name for p in plan.populations if p.spiking]
        self._capacity = dict.fromkeys(self._spiking, FIRST_CAPACITY)
        self._transfer = HostTransfer(self)
        self._running = False

    # these three are all that ties the engine to pygenn

    def _choose_backend(self, asked: str | None) -> str:
        return choose_backend(asked)

    def _group_size(self, batch: int) -> int:
        return 1 if self.backend == "single_threaded_cpu" else batch

    def _build(self, text: NetworkText, lengths: Mapping[tuple[str, str], int]) -> Any:
        return Network(text, self.dtype.name, self.group, self.backend, self.optimize_code, lengths, self.device)

    def settle(self, number: int, processes: int) -> None:
        """A device of its own for every process, as far as there are so many."""
        if self.backend != "single_threaded_cpu":
            found = max(devices(self.backend), 1)
            self.device = number % found
            if processes > found:
                self.remarks.append(f"{processes} processes share {found} devices of this machine")
        self._leave()

    # running

    def run(self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False) -> Result:
        samples = batch_indices(data, samples)
        data.scored(samples, training=training)
        while True:
            try:
                return self._run(data, samples, training, record_spikes)
            except _TooLong:  # once more, in smaller groups
                self._leave()

    def _run(self, data: Data, samples: np.ndarray, training: bool, record_spikes: bool) -> Result:
        self._set_up(data, len(samples), training)
        self._running = True
        if training:
            self.network.launch("zero")
        starts = range(0, len(samples), self.group)
        sample_weight = data.sample_weight(samples)
        parts = [Group(self, data, samples[i : i + self.group], i, sample_weight) for i in starts]
        if training and len(parts) > 1 and self._needs_batch_means():
            self._push_by_batch(parts)
        for part in parts:
            part.forward(record_spikes)
            if training:
                self._push_by_group(part)
                part.backward()
        if training:
            self.network.launch("check")
            self.gradients.pull()
        self._running = False
        stack = lambda name: np.concatenate([getattr(p, name) for p in parts])  # noqa: E731
        return Result(
            loss=stack("loss"), prediction=stack("prediction"), readout=stack("readout"),
            spike_counts={p: np.concatenate([x.counts[p] for x in parts]) for p in self._spiking},
            guarded=sum(x.guarded for x in parts) if training else 0,
            spikes={p: joined([x.spikes[p] for x in parts]) for p in self._spiking} if record_spikes else None,
        )  # fmt: skip

    def _needs_batch_means(self) -> bool:
        return any(r.mean == "batch" for p in self._spiking for r in self.plan.spike_regularisers(p))

    def _push_by_batch(self, parts: list[Group]) -> None:
        """Regularisers of a mean over the batch: all of it runs forwards once more, before, for the counts."""
        for part in parts:
            part.forward()
        jumps = self.spike_jumps({p: np.concatenate([x.counts[p] for x in parts]) for p in self._spiking})
        for part in parts:
            part.pushes = {p: jump[part.first : part.first + part.B] for p, jump in jumps.items()}

    def _push_by_group(self, part: Group) -> None:
        """Regularisers of each example, or of a batch that is one group."""
        if not part.pushes:
            jumps = self.spike_jumps(part.counts)
            part.pushes = {p: jump * (part.B / part.batch) for p, jump in jumps.items()}

    def _set_up(self, data: Data, batch: int, training: bool) -> None:
        """A network that can do the requested run, with this data set and these parameters."""
        self._transfer.take(data)
        self._transfer.stochastic = training
        self._regroup(batch, self._text(self._training or training))
        if self.network is None or (training and not self._training):
            self._make(self._training or training)
        elif self._running:  # the last run broke off: spikes and sums of it may be left over
            self._reload()
        else:
            self.parameters.push()
        self._running = False
        self._transfer.send()

    def _regroup(self, batch: int, text: NetworkText) -> None:
        """How many examples run side by side: as many as the first batch has, and anew for one twice as large.

        A batch of more than GeNN takes at once, or than fit into the indices of the code, runs in groups of nearly the
        same size. A network is built for one size, which takes a while; so batches that are a little larger run in two
        groups.
        """
        size, most = self._group_size(batch), min(MOST_SIDE_BY_SIDE, self._transfer.most_side_by_side(text))
        size = math.ceil(size / math.ceil(size / most))
        if self.network is None or size >= 2 * self.group or self.group > most:
            self._leave()
            self.group = size

    # building

    def _make(self, training: bool) -> None:
        """A new network, with the arrays of the last one."""
        self._leave()
        self._training = training
        text = self._text(training)
        self.network = self._build(text, self._transfer.lengths(text, self.group))
        self._settle()

    def _text(self, training: bool) -> NetworkText:
        """The text of a network; a new rule makes another one."""
        if self._written[:2] != (training, self._rule):
            self._written = (training, self._rule, network_text(self.plan, training=training, rule=self._rule))
        return self._written[2]

    def _reload(self) -> None:
        """The same network with fresh memory, large enough for this run."""
        on_device = (self.parameters, self.gradients, *self._moments.values())
        if self._running:
            self.gradients.pull()
        for arrays in on_device:
            arrays.leave()
        self.network.fit(self._transfer.lengths(self.network.text, self.group))
        self._settle()

    def _settle(self) -> None:
        """Arrays from the host to the device."""
        self._transfer.forget()
        self.parameters.settle(weight_locations(self))
        if self._training:
            self.gradients.settle(gradient_locations(self))
        if self._training and self._rule is not None:
            for weight, arrays in self._moments.items():
                arrays.settle(moment_locations(self, weight))

    def _leave(self) -> None:
        """Arrays to the host, the network gone."""
        for arrays in (self.parameters, self.gradients, *self._moments.values()):
            arrays.leave()
        if self.network is not None:
            self.network.close()
        self.network = None

    def grow(self, counts: dict[str, np.ndarray]) -> bool:
        """Make room where more spikes or events of a neuron were counted than its store holds; True if needed."""
        small = [p for p in self._spiking if counts[p].max(initial=0) > self._capacity[p]]
        for p in small:
            self._capacity[p] = 1 << int(counts[p].max() - 1).bit_length()
        if small and self.group > self._transfer.most_side_by_side(self.network.text):
            raise _TooLong
        if small:
            self._reload()
            self._transfer.send()
        return bool(small)

    def close(self) -> None:
        self._leave()

    def __del__(self) -> None:
        if getattr(self, "network", None) is not None:
            self.network.close()

    # learning

    def finite(self, name: str) -> bool:
        """Of a weight's gradient the device has added up the sizes, one sum a target neuron, see `gather.py`."""
        c = next((c for c in self.plan.connections if c.trainable and c.weight == name), None)
        if c is not None and self.network is not None and self._training and not self.gradients.held(name):
            sums = self.network.neurons(c.target, size_variable(c), pull=True)
            if np.isfinite(sums).all():
                return True
        return super().finite(name)

    def use(self, optimiser: Any) -> None:
        """Take the optimiser's text into the network, where it can run there; rebuilds if the text differs."""
        super().use(optimiser)
        rule = rule_of(optimiser, self.plan)
        if rule != self._rule:
            self._leave()
            self._rule, self._moments = rule, {}
        if rule is not None:
            for c in self.plan.connections:
                if c.trainable and optimiser.state[c.weight] is not self._moments.get(c.weight):
                    self._moments[c.weight] = optimiser.state[c.weight] = DeviceArrays(optimiser.state[c.weight])
                    if self.network is not None and self._training:
                        self._moments[c.weight].settle(moment_locations(self, c.weight))

    def update(self, optimiser: Any) -> None:
        """One optimiser step: weights by a custom update; neuron parameters, and all for an optimiser in Python, here.

        Neuron parameters are on the host because the numbers made from them, such as propagators, are made there.
        """
        self.use(optimiser)
        if self._rule is None:
            super().update(optimiser)
            return
        if self.network is None or not self._training:
            self._make(True)
        step = optimiser.next_step(self.gradients)
        weights = {c.weight: c.name for c in self.plan.connections if c.trainable}
        here = tuple(item for item in step.parameters if item.name not in weights)
        replace(step, parameters=here).apply(self.parameters, self.gradients)
        for item in step.parameters:
            if item.name in weights:
                self._transfer.step(f"update_{weights[item.name]}", item)
        on_device = (self.parameters, *self._moments.values())
        for arrays in (*on_device, self.gradients):
            arrays.push()
        self.network.launch("update")
        for arrays in on_device:
            arrays.pull()
