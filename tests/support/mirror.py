"""A network with its neurons numbered backwards, which must do the same: order may not decide what happens at one
instant. For dense weights, where a number of a neuron is a row or a column; the output keeps its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from genn_eventprop.engines.contract.data import Data
from genn_eventprop.engines.contract.result import Result, Spikes
from genn_eventprop.engines.reference.exact.engine import ReferenceEvent
from genn_eventprop.plan import Plan


class Mirrored(ReferenceEvent):
    """`reference_event`, its channels and hidden neurons in the opposite order; results are in the usual one."""

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], *, max_spikes: int = 100_000) -> None:
        super().__init__(plan, mirrored(plan, parameters), max_spikes=max_spikes)

    def load(self, events: Any) -> Data:
        return super().load(replace(events, channels=self.plan.input.size - 1 - events.channels))

    def run(self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False) -> Result:
        result = super().run(data, samples, training=training, record_spikes=record_spikes)
        if training:
            self.gradients = mirrored(self.plan, self.gradients)
        hidden = {p.name: p.size for p in self.plan.populations if p is not self.plan.output}
        counts = {k: v[:, ::-1] if k in hidden else v for k, v in result.spike_counts.items()}
        if result.spikes is None:
            return replace(result, spike_counts=counts)
        spikes = {
            k: Spikes(s.sample, s.time, hidden[k] - 1 - s.neuron) if k in hidden else s
            for k, s in result.spikes.items()
        }
        return replace(result, spike_counts=counts, spikes=spikes)

    def _backward_half(self, kept: Any, slope: np.ndarray, also: dict[str, np.ndarray], inputs: bool) -> np.ndarray:
        found = super()._backward_half(kept, slope, also, inputs)
        self.gradients = mirrored(self.plan, self.gradients)
        return found


def mirrored(plan: Plan, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Parameters, or gradients by them, of the numbers from the other end."""
    turned = dict(values)
    hidden = {p.name for p in plan.populations if p is not plan.output}
    for c in plan.connections:
        if c.weight in turned:
            rows = slice(None, None, -1) if c.source == plan.input.name or c.source in hidden else slice(None)
            columns = slice(None, None, -1) if c.target in hidden else slice(None)
            turned[c.weight] = np.ascontiguousarray(np.asarray(values[c.weight])[rows, columns])
    for p in plan.populations:
        for key in (f"{p.name}.{n}" for n in p.derived.params if p.name in hidden):
            if key in turned:
                turned[key] = np.ascontiguousarray(np.asarray(values[key])[::-1])
    return turned
