"""The examples of one GeNN run: input, readouts and loss between the phases, what the backward run is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..base import Data
from .host import Store, kink_shares
from .outer import on_device
from .readouts import READOUTS

if TYPE_CHECKING:
    from .engine import GennEngine


class Group:
    """`samples` of the data set, which are the batch's examples from number `first` on; `batch` is the batch's size."""

    def __init__(self, engine: GennEngine, data: Data, samples: np.ndarray, first: int, batch: int) -> None:
        self.engine, self.plan, self.data, self.samples = engine, engine.plan, data, samples
        self.first, self.batch, self.B = first, batch, len(samples)

    # forwards

    def forward(self, record_spikes: bool) -> None:
        engine = self.engine
        while True:
            network = engine.network
            self._set_input(network)
            network.launch("reset")
            network.run(0, engine._hand.phase)
            counts = {p: network.neurons(p, "n_spikes", pull=True)[: self.B].astype(np.int64) for p in engine._spiking}
            if not engine.grow(counts):
                break
        network.launch("read")
        self.counts = counts
        self.guarded = self._count_guarded(network)
        self.spikes = {p: self.store(p).spikes(self.plan.dt, self.first) for p in counts} if record_spikes else {}
        self._read(network)

    def _count_guarded(self, network: Any) -> int:
        if not self.engine._training:
            return 0
        return sum(int(network.neurons(p, "n_guarded", pull=True)[: self.B].sum()) for p in self.engine._spiking)

    def _set_input(self, network: Any) -> None:
        """First and last event of every channel; examples beyond an incomplete group get none."""
        name = self.plan.input.name
        assert self.engine._hand.events is not None
        start = self.engine._hand.events.start[self.samples]
        for variable, edge in (("begin", start[:, :-1]), ("end", start[:, 1:])):
            view = network.neurons(name, variable)
            view[: self.B], view[self.B :] = edge, 0
        network.push(name, "begin", "end")

    def store(self, p: str) -> Store:
        """The spikes that a population has kept in this phase."""
        size, kept = self.plan.population(p).size, self.engine.network.array(p, "spike_step", pull=True)
        return Store(self.counts[p], kept.reshape(-1, size, self.engine._capacity[p])[: self.B])

    def _read(self, network: Any) -> None:
        """Readouts, loss (B,) and predictions."""
        plan, out, loss = self.plan, self.plan.output, self.plan.loss
        readout = READOUTS[loss.readout]
        self.read = {n: network.neurons(out.name, n, pull=True)[: self.B] for n in readout.read_vars}
        self.valid = np.ones((self.B, out.size), bool)
        if loss.readout == "first_spike":
            first = self.read["first_step"]
            self.valid = first >= 0
            value = np.where(self.valid, first * plan.dt, plan.duration)
        else:
            value = self.read["readout"].astype(np.float64)
        self.scored, self.goals = self.data.scored(self.samples), self.data.goals(self.samples)
        total, self.gradient = loss.evaluate(value, self.valid, self.goals, plan.duration)
        self.loss = np.where(self.scored, total, np.nan)
        self.prediction = loss.predict(value, self.valid, plan.duration)
        self.readout = np.where(self.valid, value, np.inf)

    # backwards

    def backward(self) -> None:
        network, phase = self.engine.network, self.engine._hand.phase
        if on_device(self.plan):
            labels = network.update_variable("loss_top", "label").reshape(-1)
            labels[: self.B], labels[self.B :] = self.goals, -1
            network.push_update("loss_top", "label")
            for group in ("loss_top", "loss_total", "loss"):
                network.launch(group)
        else:
            self._hand_over_gradient(network)
        if self.plan.loss.readout == "max":
            self._share_kinks(network)
        network.run(phase, 2 * phase)

    def _hand_over_gradient(self, network: Any) -> None:
        """dL/dr of an outer loss that the host has taken, and the push on spikes that did not happen."""
        plan, out = self.plan, self.plan.output
        given = {"dr": np.where(self.scored[:, None], self.gradient, 0.0) / self.batch}
        if plan.loss.silent == "end":
            push = plan.loss.push(self.readout, self.valid, self.goals, plan.duration)
            given[f"lambda_{out.derived.model.readout}"] = (
                -self.engine.parameters[f"{out.name}.tau_mem"] * np.where(self.scored[:, None], push, 0.0) / self.batch
            )
        for n, value in given.items():
            view = network.neurons(out.name, n)
            view[: self.B], view[self.B :] = value, 0.0
            network.push(out.name, n)

    def _share_kinks(self, network: Any) -> None:
        """What an inhibitory arrival at a maximum's kink gets, per unit weight and dL/dr."""
        steps, kink = self.read["max_step"], self.read["max_kink"].astype(np.float64)
        view = network.neurons(self.plan.output.name, "kink")
        view[:] = 0.0
        if kink.any():
            into = {c.source for c in self.plan.into(self.plan.output.name)} & set(self.counts)
            stores = {p: self.store(p) for p in into}
            view[: self.B] = kink_shares(
                self.plan, self.data, self.samples, stores, self.engine.parameters, steps, kink
            )  # fmt: skip
        network.push(self.plan.output.name, "kink")
