"""The examples of one GeNN run: input, readouts, loss, and what the adjoint phase is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...plan import PopulationRecord
from ..base import Data
from . import events, kinks, stochastic
from .host import Store, kink_shares, positive_arrivals
from .outer import LEAST, on_device
from .readouts import READOUTS

if TYPE_CHECKING:
    from .engine import GennEngine


class Group:
    """`samples` of the data set, which are the batch's examples from number `first` on.

    sample_weight: (batch,) what the loss of each example counts in the mean of the batch, its weight over the batch's
    size.

    pushes: population -> (B, N) what regularisers add to the costate at own spikes.
    """

    def __init__(
        self, engine: GennEngine, data: Data, samples: np.ndarray, first: int, sample_weight: np.ndarray
    ) -> None:
        self.engine, self.plan, self.data, self.samples = engine, engine.plan, data, samples
        self.first, self.batch, self.B = first, len(sample_weight), len(samples)
        self.sample_weight = sample_weight[first : first + self.B]
        self.out = engine.plan.output
        self.scored, self.targets = data.scored(samples), data.targets_of(samples)
        self.pushes: dict[str, np.ndarray] = {}

    def _give(self, array: np.ndarray, values: np.ndarray, rest: Any = 0.0) -> None:
        """One row an example; `rest` where the group is incomplete."""
        rows = array.reshape(self.engine.group, -1)
        rows[: self.B], rows[self.B :] = values.reshape(self.B, -1), rest

    # forwards

    def forward(self, record_spikes: bool = False) -> None:
        engine = self.engine
        while True:
            network = engine.network
            self._set_input(network)
            if engine._transfer.stochastic:
                self._set_stochastic(network)
            network.launch("reset")
            network.run(0, engine._transfer.phase)
            counts = {p: network.neurons(p, "n_spikes", pull=True)[: self.B].astype(np.int64) for p in engine._spiking}
            if not engine.grow(self._needed(network, counts)):
                break
        network.launch("read")
        self.counts = counts
        self.guarded = self._count_guarded(network)
        self.spikes = {p: self.store(p).spikes(self.plan.dt, self.first) for p in counts} if record_spikes else {}
        self._give_targets(network)
        self._read(network)

    def _needed(self, network: Any, counts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the buffers must hold: spikes, or all events of a neuron."""
        listed = {p for p in counts if "n_events" in (n for n, *_ in network.text.populations[p][1].vars)}
        return {p: network.neurons(p, "n_events", pull=True)[: self.B] if p in listed else n for p, n in counts.items()}

    def _count_guarded(self, network: Any) -> int:
        if not self.engine._training:
            return 0
        return sum(int(network.neurons(p, "n_guarded", pull=True)[: self.B].sum()) for p in self.engine._spiking)

    def _set_input(self, network: Any) -> None:
        """Which samples, and the input's activity, if the loss follows that."""
        name = self.plan.input.name
        self._give(network.array(name, "sample"), self.samples, len(self.data))
        network.push(name, "sample")
        if self.plan.loss.weight.input_tau is not None:
            self._give_activity(network)

    def _give_activity(self, network: Any) -> None:
        counts = np.zeros((self.plan.n_steps + 1, self.B))
        for b, i in enumerate(self.samples):
            part = slice(self.data.offsets[i], self.data.offsets[i + 1])
            np.add.at(counts[:, b], self.data.steps[part], 1.0)
        before, after = self.plan.loss.weight.activity(counts, self.plan.dt)
        for name, values in (("activity", after), ("activity_before", before)):
            if name in {a for a, _ in network.text.populations[self.out.name][1].arrays}:
                self._give(network.array(self.out.name, name), values.T)
                network.push(self.out.name, name)

    def _set_stochastic(self, network: Any) -> None:
        """The keys of noise and dropout; places left empty get the last example's, so that noise there is noise."""
        for (kind, p), key in self.engine.stochastic_keys(self.data, self.samples).items():
            words = stochastic.words(key, self.plan.n_steps)
            self._give(network.array(p, f"stochastic_{kind}_key"), words, words[-1])
            network.push(p, f"stochastic_{kind}_key")

    def store(self, p: str) -> Store:
        """The spikes that a population has kept in this phase."""
        size, kept = self.plan.population(p).size, self.engine.network.array(p, "spike_step", pull=True)
        return Store(self.counts[p], kept.reshape(-1, size, self.engine._capacity[p])[: self.B])

    def _give_targets(self, network: Any) -> None:
        """Labels or targets, and what the examples count, to the custom updates that use them."""
        targets = {"sample_weight": (self.sample_weight, 0.0)}
        if self.plan.loss.compares == "labels":
            targets["label"] = (np.where(self.scored, self.targets, -1), -1.0)
        else:
            targets["target"] = (_without_nan(self.targets), float(LEAST))
        for name, update in network.text.updates.items():
            for variable in {n for n, *_ in update.vars} & set(targets):
                self._give(network.update_variable(name, variable), *targets[variable])
                network.push_update(name, variable)
            if "target" in {n for n, *_ in update.arrays}:
                self._give(network.array(self.out.name, "target"), _without_nan(self.targets), float(LEAST))
                network.push(self.out.name, "target")

    def _read(self, network: Any) -> None:
        """Readouts, loss (B,), dL/dr and predictions."""
        plan, loss, out = self.plan, self.plan.loss, self.out
        self.read = {
            n: network.neurons(out.name, n, pull=True)[: self.B] for n in READOUTS[loss.readout](plan).read_vars
        }
        self.valid = np.ones((self.B, out.size), bool)
        if "first_step" in self.read:
            self.valid = self.read["first_step"] >= 0
            value = np.where(self.valid, self.read["first_step"] * plan.dt, plan.duration)
        elif loss.readout == "count":
            value = self.counts[out.name].astype(np.float64)
        else:
            value = next(iter(self.read.values())).astype(np.float64)
        total = self._score(network, value)
        self.loss = np.where(self.scored, total, np.nan)
        self.prediction = loss.predict(value, self.valid, plan.duration)
        self.readout = np.where(self.valid, value, np.inf)

    def _score(self, network: Any, value: np.ndarray) -> np.ndarray:
        """The outer loss (B,); `gradient` and `missing` for the losses that the host takes."""
        loss, duration = self.plan.loss, self.plan.duration
        if loss.readout == "voltage":
            network.launch("outer")
            parts = network.neurons(self.out.name, "loss_part", pull=True)
            return parts[: self.B].astype(np.float64).sum(axis=1)
        valid = self.valid
        if loss.readout == "spike_times":
            value, valid = self.store(self.out.name).first_times(self.targets.shape[2], self.plan.dt, duration)
        total, self.gradient = loss.evaluate(value, valid, self.targets, duration)
        self.missing = loss.push(value, valid, self.targets, duration)
        self.gradient = np.where(valid, self.gradient, 0.0) if loss.readout == "spike_times" else self.gradient
        return total

    # backwards

    def backward(self) -> None:
        network, windows = self.engine.network, self.engine._transfer.windows()
        if on_device(self.plan):
            for group in ("loss_top", "loss_total", "loss"):
                network.launch(group)
        elif self.plan.loss.readout != "voltage":
            self._give_gradient(network)
        network.launch("last")
        if self.plan.loss.readout == "max":
            self._share_kinks(network)
        for p in self.plan.populations:
            if events.eventful(self.plan, p) and events.pushed(self.plan, p):
                self._share_pushes(network, p)
        for name, push in self.pushes.items():
            self._give(network.neurons(name, "spike_push"), push)
            network.push(name, "spike_push")
        for c in self.plan.connections:
            if c.trainable:
                network.set_update_number(f"gather_{c.name}", "examples", self.B)
        for first, last in windows:
            network.run(first, last)
            if last < windows[-1][1]:
                network.launch("gather")

    def _give_gradient(self, network: Any) -> None:
        """dL/dr of an outer loss that the host has taken, and the push on spikes that did not happen."""
        out, sample_weight = self.out, self.scored * self.sample_weight
        gradient = self.gradient * sample_weight.reshape(-1, *(1,) * (self.gradient.ndim - 1))
        if self.plan.loss.readout == "spike_times":
            self._give(network.array(out.name, "spike_error"), gradient)
            network.push(out.name, "spike_error")
        else:
            self._give(network.neurons(out.name, "dr"), gradient)
            network.push(out.name, "dr")
        if self.plan.loss.silent == "end":
            name = f"lambda_{out.derived.model.readout}"
            tau = self.engine.parameters[f"{out.name}.tau_mem"]
            self._give(network.neurons(out.name, name), -tau * self.missing * sample_weight[:, None])
            network.push(out.name, name)

    def _share_kinks(self, network: Any) -> None:
        """What an inhibitory arrival at a maximum's kink gets, per unit weight and dL/dr."""
        steps, kink = self.read["max_step"], self.read["max_kink"].astype(np.float64)
        view = network.neurons(self.out.name, "kink")
        view[:] = 0.0
        if kink.any():
            arrived = self._kink_arrivals(network, steps, kink)
            weights = self.engine.parameters
            view[: self.B] = kink_shares(self.plan, self.data, self.samples, arrived, weights, steps, kink)
        network.push(self.out.name, "kink")

    def _kink_arrivals(self, network: Any, steps: np.ndarray, kink: np.ndarray) -> dict[str, np.ndarray]:
        """Connection -> (B, K, M) whether a spike of a source arrived at the maximum of an output that has a kink."""
        found, K = kinks.connections(self.plan), self.out.size
        for c in found:
            self._give(network.array(c.source, kinks.asked(c)), np.where(kink > 0, steps - c.delay_steps, -1), -1)
            network.push(c.source, kinks.asked(c))
        network.launch(kinks.GROUP)
        shape = (-1, kinks.n_words(self.plan))
        words = {c.name: network.array(c.source, kinks.hits(c), pull=True).reshape(*shape, c.pre) for c in found}
        return {name: kinks.unpacked(w[: self.B], K) for name, w in words.items()}

    def _share_pushes(self, network: Any, p: PopulationRecord) -> None:
        """1 over what all arrivals of a step added to a threshold, for every event that they alone caused.

        Of the others it is not read.
        """
        n = network.neurons(p.name, "n_events", pull=True)[: self.B]
        shape = (-1, p.size, self.engine._capacity[p.name])
        step, caused = (
            network.array(p.name, a, pull=True).reshape(shape)[: self.B] for a in ("own_step", "own_pushed")
        )
        b, neuron, slot = np.nonzero((caused > 0) & (np.arange(shape[2]) < n[:, :, None]))
        if len(b):
            into = self.plan.into(p.name)
            up = {c.name: events.upward_values(p, c.receptor, self.engine.parameters) for c in into}
            stores = {s: self.store(s) for s in {c.source for c in into} & set(self.counts)}
            total = positive_arrivals(
                self.plan, p.name, self.data, self.samples, stores, self.engine.parameters, up, b,
                step[b, neuron, slot] - 1, neuron,
            )  # fmt: skip
            view = network.array(p.name, "own_share").reshape(shape)
            view[b, neuron, slot] = np.where(total > 0, 1.0 / np.where(total > 0, total, 1.0), 0.0)
            network.push(p.name, "own_share")


def _without_nan(targets: np.ndarray) -> np.ndarray:
    """Missing targets as a number: the code is compiled with -ffast-math and cannot test for nan."""
    return np.where(np.isnan(targets), float(LEAST), targets)
