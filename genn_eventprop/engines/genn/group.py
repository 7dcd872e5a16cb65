"""The examples of one GeNN run: input, readouts and loss between the phases, what the backward run is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..base import Data
from .host import Store, kink_shares

if TYPE_CHECKING:
    from .engine import GennEngine


class Group:
    """`samples` of the data set, which are the batch's examples from number `first` on; `batch` is the batch's size."""

    def __init__(self, engine: GennEngine, data: Data, samples: np.ndarray, first: int, batch: int) -> None:
        self.engine, self.plan, self.data, self.samples = engine, engine.plan, data, samples
        self.first, self.batch, self.B = first, batch, len(samples)
        self.steps = engine.plan.n_steps + engine.lead + 1

    # forwards

    def forward(self, record_spikes: bool) -> None:
        engine = self.engine
        while True:
            network = engine.networks["forward"]
            self._set_input(network)
            network.run(self.steps)
            counts = {p: network.neurons(p, "n_spikes", pull=True)[: self.B].astype(np.int64) for p in engine._spiking}
            if not engine._grow(counts):
                break
        self.counts = counts
        self.stores = {p: Store(counts[p], self._stored(network, p)) for p in engine._spiking}
        self.guarded = sum(int(network.neurons(p, "n_guarded", pull=True)[: self.B].sum()) for p in engine._spiking)
        self.spikes = {p: s.spikes(self.plan.dt, self.first) for p, s in self.stores.items()} if record_spikes else {}
        self._read(network)

    def _set_input(self, network: Any) -> None:
        """First and last event of every channel; examples beyond an incomplete group get none."""
        name = self.plan.input.name
        if name not in network.text.populations:
            return
        assert self.engine._events is not None
        start = self.engine._events[1].start[self.samples]
        for variable, edge in (("begin", start[:, :-1]), ("end", start[:, 1:])):
            view = network.neurons(name, variable)
            view[: self.B], view[self.B :] = edge, 0
        network.push(name, "begin", "end")

    def _stored(self, network: Any, p: str) -> np.ndarray:
        size = self.plan.population(p).size
        return network.array(p, "spike_step", pull=True).reshape(-1, size, self.engine._capacity[p])[: self.B].copy()

    def _read(self, network: Any) -> None:
        """Readouts, loss (B,), dL/dr (B, K) and predictions."""
        plan, out, loss = self.plan, self.plan.output, self.plan.loss
        self.valid = np.ones((self.B, out.size), bool)
        if loss.readout == "first_spike":
            first = self.stores[out.name].first_step()
            self.valid = first >= 0
            value = np.where(self.valid, first * plan.dt, plan.duration)
        else:
            value = network.neurons(out.name, "readout", pull=True)[: self.B].astype(np.float64)
        if loss.readout == "max":
            value = self._maximum(network, value)
        known, self.goals = self.data.scored(self.samples), self.data.goals(self.samples)
        total, gradient = loss.evaluate(value, self.valid, self.goals, plan.duration)
        self.loss = np.where(known, total, np.nan)
        self.dr = np.where(known[:, None], gradient, 0.0) / self.batch
        self.prediction = loss.predict(value, self.valid, plan.duration)
        self.readout = np.where(self.valid, value, np.inf)

    def _maximum(self, network: Any, value: np.ndarray) -> np.ndarray:
        """The maximum with its last candidate, V(T), which no GeNN step looks at."""
        out = self.plan.output
        last = network.neurons(out.name, out.derived.model.readout, pull=True)[: self.B].astype(np.float64)
        self.max_step = network.neurons(out.name, "max_step", pull=True)[: self.B].copy()
        self.max_kink = network.neurons(out.name, "max_kink", pull=True)[: self.B].astype(np.float64)
        self.max_step[last > value] = self.plan.n_steps
        self.max_kink[last > value] = 0.0
        return np.maximum(value, last)

    # backwards

    def backward(self) -> None:
        engine, network = self.engine, self.engine.networks["backward"]
        engine._match_stores()
        self._set_input(network)
        for name in engine._spiking:
            self._hand_over_store(name, network)
        for p in self.plan.populations:
            for a, _ in network.text.populations[p.name][1].arrays:
                if a.startswith("trace_"):
                    network.array(p.name, a)[:] = engine.networks["forward"].array(p.name, a, pull=True)
                    network.push(p.name, a)
        self._hand_over_loss(network)
        network.run(self.steps)

    def _hand_over_store(self, p: str, network: Any) -> None:
        view = network.neurons(p, "n_spikes")
        view[: self.B], view[self.B :] = self.counts[p], 0
        network.push(p, "n_spikes")
        capacity, used = self.engine._capacity[p], int(self.counts[p].max(initial=0))
        for a, _ in network.text.populations[p][1].arrays:
            if a.startswith("spike_") or a == "inverse_slope":
                given = self.engine.networks["forward"].array(p, a, pull=a != "spike_step")
                network.array(p, a).reshape(-1, capacity)[:, :used] = given.reshape(-1, capacity)[:, :used]
                network.push(p, a)

    def _hand_over_loss(self, network: Any) -> None:
        """dL/dr and, by readout, where the maximum was, its kink, the push on silent right classes."""
        plan, name = self.plan, self.plan.output.name
        given = {"dr": self.dr}
        if plan.loss.readout == "max":
            parameters = self.engine.parameters
            share = kink_shares(
                plan, self.data, self.samples, self.stores, parameters, self.max_step, self.max_kink
            )  # fmt: skip
            given |= {"max_step": self.max_step, "kink": share * self.dr}
        if plan.loss.readout == "first_spike":
            given["first_lambda"] = self._push()
        for n, value in given.items():
            view = network.neurons(name, n)
            view[: self.B], view[self.B :] = value, 0
            network.push(name, n)

    def _push(self) -> np.ndarray:
        """(B, K) lambda_V(T): -tau_mem dterm/dr / B on a right class that stayed silent, if the loss asks for it."""
        plan, loss, first = self.plan, self.plan.loss, np.zeros(self.valid.shape)
        if loss.silent == "end":
            tau = np.broadcast_to(self.engine.parameters[f"{plan.output.name}.tau_mem"], plan.output.size)
            first -= tau * loss.push(self.readout, self.valid, self.goals, plan.duration) / self.batch
        return first
