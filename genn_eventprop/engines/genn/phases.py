"""A batch in groups through the two phases of a GeNN network: forwards over all steps, then the adjoint over all steps.

GeNN runs the examples of a group side by side in one model; what the adjoint phase needs of a group (spikes, states) is
on the device from its forward phase, and overwritten by the next group. Sums over the groups stay on the device too, so
that the gradient is that of one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...codegen.genn.source import SLOPES, sources
from ...codegen.genn.writer import DIVERGED
from ...errors import EngineError
from ...plan import Plan, PopulationRecord
from ..contract.engine import diverged
from ..contract.program_engine import Arrays
from .inputs import concatenate, group_of, rows_of_bits, slopes_of_spikes
from .transfer import HostTransfer

BY_DRIVE = "_by_drive"
"""End of the names of results that are there after the adjoint phase."""


class Phases:
    """Runs the phases of groups on the network that it is attached to.

    Args:
        plan: of the network. transfer: sends what a group needs. room: entries of every population's lists of events.
        enlarge: gives the network lists of a larger room, which a group turned out to need.
    """

    def __init__(
        self, plan: Plan, transfer: HostTransfer, room: Sequence[int], enlarge: Callable[[list[int]], None]
    ) -> None:
        self.plan, self.transfer, self.room, self._enlarge = plan, transfer, room, enlarge
        self.network: Any = None
        self.group, self.training, self.host_slopes = 1, False, False

    def attach(self, network: Any, group: int, *, training: bool, host_slopes: bool) -> None:
        """Run on this network from now on.

        Args:
            group: examples that it runs side by side. training: whether it has the adjoint phase. host_slopes: whether
                the host says what dL/dr is, instead of an outer loss on the device.
        """
        self.network, self.group, self.training, self.host_slopes = network, group, training, host_slopes

    def split_weights(self) -> None:
        """Make the copies of weights of one sign, where connections have such, after weights have changed."""
        self.network.launch("copy")
        self.network.launch("parts")

    def clear_gradients(self) -> None:
        """All sums over groups begin at 0."""
        self.network.launch("zero")
        self.split_weights()
        self._by_drive: list[Arrays] = []

    def finish_gradients(self) -> None:
        """After the last group: sum the absolute values of each gradient, for `GennEngine.finite`."""
        self.network.launch("check")

    def forward(self, group: Arrays) -> Arrays:
        """The forward phase of a group, and what the host reads of it.

        Raises:
            EngineError: for dynamics that diverged.
        """
        while True:
            # all of a group is sent anew when the phase runs again: other memory has nothing
            self.transfer.samples(group["samples"])
            group |= {f"p{i}_room": room for i, room in enumerate(self.room)}
            self.transfer.send(group)
            self.network.launch("reset")
            self.network.run(0, self.transfer.phase)
            out = {k: self.result(k, group["batch"]) for k in self._counters}
            needed = self._needed_room(out)
            if needed == list(self.room):
                break
            # lists that were too short lost events, so the phase runs again; nothing was added to the gradient yet
            self._enlarge(needed)
        return out | self._results(group)

    def backward(self, more: Arrays, batch: int) -> None:
        """The adjoint phase of the group that has just run forwards.

        Args:
            batch: examples in the group. more: what the way back needs besides, e.g. dL/dr from the host, and the
                strengths of regularisers.
        """
        self.transfer.more(more)
        # with dL/dr from the host the update that makes slopes of it can run only now, else it ran in `_results`
        if self.host_slopes:
            self.network.launch("outer")
        self.network.launch("turn")
        windows = self.transfer.windows()
        for first, last in windows:
            self.network.run(first, last)
            # rows of lambda . e are stored for one window of steps: they must be gathered into gradients before the
            # next window overwrites them. The last stretch runs back over the start of the trial, without arrivals
            if last < windows[-1][1]:
                self.network.launch("gather")
        self._by_drive.append({k: self.result(k, batch) for k in self.network.text.results if k.endswith(BY_DRIVE)})

    def backward_batch(
        self, arguments: Arrays, groups: list[slice], slopes: Mapping[str, np.ndarray], shared: Arrays, inputs: bool
    ) -> np.ndarray:
        """The way back of a batch that ran forwards in an earlier call: from dL/dr to gradients.

        A batch of one group is still on the device. Of a larger one only the last group is, so each group runs forwards
        once more right before its way back.

        Args:
            arguments: of the batch. groups: where its groups are. slopes: name -> (B, ...) dL/dr. shared: what all
                groups need on the way back. inputs: whether gradients of input times are wanted.

        Returns:
            (E,) dL/d(time) of every input spike in the order of the data; (0,) without `inputs`.
        """
        of_inputs = [np.zeros(0)]  # of the groups, in the order of the batch
        self.clear_gradients()
        for group in groups:
            if len(groups) > 1:
                self.forward(group_of(arguments, group))
            part = group_of(arguments, group)
            self.backward({name: array[group] for name, array in slopes.items()} | shared, part["batch"])
            if inputs:
                of_inputs.append(self._input_slopes(part))
        self.finish_gradients()
        return np.concatenate(of_inputs)

    def by_drive(self) -> Arrays:
        """dL/d(drive) (B, K, N) of all groups of a batch that has run backwards, by the names of buffers."""
        K = self.plan.n_steps
        return {k: v.reshape(len(v), K, -1) for k, v in concatenate(self._by_drive).items()}

    def result(self, key: str, B: int) -> np.ndarray:
        """(B, n) of a buffer of the trial."""
        how, owner, name = self.network.text.results[key]
        reads = {"variable": "neurons", "array": "array", "update": "update_variable"}
        read = getattr(self.network, reads[how])
        return read(owner, name, pull=True).reshape(self.group, -1)[:B].copy()

    @property
    def _counters(self) -> list[str]:
        """Counts of spikes, and of other events where lists have more than spikes; they go on beyond the room."""
        return [k for k in self.network.text.results if k.endswith(("_w_count", "_w_happened"))]

    def _needed_room(self, out: Arrays) -> list[int]:
        """The room of every population after a forward phase: powers of two, so that it grows seldom."""
        most = [
            max((int(out[k].max(initial=0)) for k in self._counters if k.startswith(f"p{i}_")), default=0)
            for i in range(len(self.room))
        ]
        return [1 << (n - 1).bit_length() if n > room else room for n, room in zip(most, self.room)]

    def _results(self, group: Arrays) -> Arrays:
        """What the host reads after the forward phase, besides the counters."""
        self.network.launch("read")
        if self.training:
            self.network.launch("totals")
        if not self.host_slopes:
            self.network.launch("outer")
        wanted = [
            k
            for k in self.network.text.results
            if k not in self._counters and not k.endswith(("_steps", SLOPES, BY_DRIVE))
        ]
        out = {k: self.result(k, group["batch"]) for k in wanted}
        for i, p in enumerate(self.plan.populations):
            if np.any(out.pop(f"p{i}_{DIVERGED.name}", 0)):
                raise self._diverged(p, group)
        out |= {k: v.sum(axis=1) for k, v in out.items() if k.endswith("loss")}  # a term of every output neuron
        if group["record"]:
            for i in (i for i, p in enumerate(self.plan.populations) if p.spiking):
                count = self.result(f"p{i}_w_count", group["batch"])
                steps = self.result(f"p{i}_steps", group["batch"]).reshape(*count.shape, self.room[i])
                out[f"p{i}_spikes"] = rows_of_bits(count, steps, self.plan.n_steps + 1)
        return out

    def _diverged(self, p: PopulationRecord, group: Arrays) -> EngineError:
        """Of the first neuron of a population whose state has left the dynamics."""
        ends = self.network.neurons(p.name, DIVERGED.name, pull=True)[: group["batch"]]
        first = ends[ends > 0].min()
        b, neuron = (int(i[0]) for i in np.nonzero(ends == first))
        step, state = divmod(int(first), len(p.derived.states))
        return diverged(self.plan, p, int(group["numbers"][b]), step, state, neuron)

    def _input_slopes(self, group: Arrays) -> np.ndarray:
        """dL/d(time) of the input spikes of a group."""
        lengths = np.diff(group["offsets"])[group["samples"]]
        slopes = np.zeros(lengths.sum())
        for name, channels in sources(self.plan).items():
            shape = group["batch"], channels[1] - channels[0], -1
            of_events = self.result(f"{name}_{SLOPES}", group["batch"]).reshape(shape)
            slopes_of_spikes(group, of_events, channels, slopes)
        return slopes


def run_groups(phases: Phases, arguments: Arrays, groups: list[slice]) -> Arrays:
    """The forward phases of all groups of a batch."""
    return concatenate([phases.forward(group_of(arguments, group)) for group in groups])
