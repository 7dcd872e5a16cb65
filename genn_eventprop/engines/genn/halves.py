"""A batch in two calls: forwards, then backwards from dL/dr, see `contract/split.py`; several readouts in one pass.

What a group of examples needs on its way back is on the device. So a batch of one group runs forwards once, a larger
one once more, group by group.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ...codegen.genn.source import SLOPES, sources
from ...losses import LossRecord
from ...program.outer import on_host
from ..contract.data import Data
from ..contract.program_engine import Arrays, ProgramEngine
from ..contract.split import Readouts
from .inputs import joined, of_spikes, part_of
from .transfer import HostTransfer

T = TypeVar("T")


class TooLong(Exception):
    """The spike stores of a group have grown beyond what its code can index."""


class GennHalves(ProgramEngine):
    """The part of `GennEngine` that runs halves; its attributes are set there."""

    network: Any
    _transfer: HostTransfer
    _split: bool
    _running: bool
    _leave: Callable[[], None]
    _parts: Callable[[], None]
    _begin: Callable[[Arrays, bool], tuple[Arrays, list[slice]]]
    _forward: Callable[[Arrays], Arrays]
    _backward: Callable[[Arrays], None]
    _result: Callable[[str, int], np.ndarray]

    @property
    def _slopes_given(self) -> bool:
        """Whether the host says what dL/dr is."""
        return self._split or on_host(self.plan)

    def _take_form(self, split: bool) -> None:
        """The next network is one for whole batches, or for their halves."""
        self._kept = None
        if split != self._split:
            self._leave()
        self._split = split

    def _fitting(self, task: Callable[[], T]) -> T:
        """A run, once more in smaller groups where lists grow too long."""
        while True:
            try:
                return task()
            except TooLong:
                self._leave()

    def _forward_half(
        self, data: Data, samples: Any, keep: bool, stochastic: bool, record_spikes: bool
    ) -> tuple[Readouts, Any]:
        self._take_form(split=True)
        forward = super()._forward_half
        return self._fitting(lambda: forward(data, samples, keep, stochastic, record_spikes))

    def execute_half(self, given: Arrays, kept: Any) -> tuple[Arrays, Any]:
        """Forwards; returns the groups of the batch."""
        assert kept is None
        given, places = self._begin(given, True)
        found = joined([self._forward(part_of(given, own)) for own in places])
        self._running = False
        return found, (given, places)

    def _backward_half(self, kept: Any, slope: np.ndarray, also: dict[str, np.ndarray], inputs: bool) -> np.ndarray:
        _, (given, places), counts = kept
        of_inputs = [np.zeros(0)]
        slopes = {"given_dr": slope, "given_last": np.zeros_like(slope)}
        slopes |= {f"given_{name}": array for name, array in also.items()}
        late = ProgramEngine._regularisers(self, given, True, counts) | {"feed": int(inputs)}
        self._running = True
        self.network.launch("zero")
        self._parts()
        for own in places:
            if len(places) > 1:
                self._forward(part_of(given, own))
            self._backward({name: array[own] for name, array in slopes.items()} | late)
            if inputs:
                of_inputs.append(self._of_inputs(part_of(given, own)))
        self.network.launch("check")
        self._running = False
        self._collect({})
        return np.concatenate(of_inputs)

    def _of_inputs(self, part: Arrays) -> np.ndarray:
        """dL/d(time) of the input spikes of a group."""
        lengths = np.diff(part["offsets"])[part["samples"]]
        found = np.zeros(lengths.sum())
        for name, own in sources(self.plan).items():
            shape = part["batch"], own[1] - own[0], -1
            of_spikes(part, self._result(f"{name}_{SLOPES}", part["batch"]).reshape(shape), own, found)
        return found

    def _others(self, out: Arrays, loss: LossRecord) -> Arrays:
        """V at every step is flat on the device; a whole batch has no others."""
        if not self._split:
            return {}
        found = super()._others(out, loss)
        K = self.plan.population(loss.output).size
        return {n: r.reshape(len(r), -1, K) if n == "trace" else r for n, r in found.items()}
