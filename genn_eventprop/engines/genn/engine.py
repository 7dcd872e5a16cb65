"""`GennEngine`: the two-phase run of a plan on GeNN, and the host's part between the phases.

A batch goes through in groups of GeNN's batch size (one example on single_threaded_cpu): a forward run of
K + lead + 1 steps, readouts and the outer loss on the host, a backward run as long. Gradients of all groups add up on
the device and are summed over the examples once, so the result is that of one batch. The parameters live on the host
and are handed over before every run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...codegen.values import value_arrays
from ...errors import EngineError
from ...plan import Plan
from ...plan.coefficients import weight_coefficients
from ..base import (
    LINEAR_ONE_EVENT,
    Data,
    Engine,
    Result,
    batch_indices,
    refuse_jumps_of_the_threshold,
    refuse_readouts,
    refuse_spike_regularisers,
)  # fmt: skip
from .backward import backward_network
from .forward import forward_network
from .group import Group
from .host import InputEvents, input_events, joined
from .install import choose_backend
from .network import Network
from .text import NetworkText

FIRST_CAPACITY = 32  # spikes that a neuron can keep in a trial before the store grows


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
    cannot = LINEAR_ONE_EVENT

    def __init__(
        self, plan: Plan, parameters: Mapping[str, np.ndarray], *, slope_floor: float = 0.0, dtype: str = "float32",
        backend: str | None = None, optimize_code: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(plan, parameters, slope_floor=slope_floor)
        if dtype not in ("float32", "float64"):
            raise EngineError(f"dtype={dtype!r}: the genn engine runs 'float32' or 'float64'")
        if plan.spike_times != "grid":
            raise EngineError("the genn engine runs spike_times='grid'; use reference_event for exact spike times")
        refuse_jumps_of_the_threshold(plan, self.name)
        refuse_readouts(
            plan, self.name, ("integral", "max", "first_spike"), shaped=False, instead="engine='reference_clock'"
        )
        refuse_spike_regularisers(plan, self.name, "engine='native'")
        self.dtype, self.backend, self.optimize_code = np.dtype(dtype), self._choose_backend(backend), optimize_code
        self.parameters = {k: np.array(v, dtype=self.dtype) for k, v in parameters.items()}
        self.gradients = {k: np.zeros_like(self.parameters[k]) for k in plan.trainable}
        self.lead = 1 + max((c.delay_steps for c in plan.connections), default=0)
        self.texts = {"forward": forward_network(plan), "backward": backward_network(plan)}
        self.networks: dict[str, Any] = {}
        self.group = 1  # examples a run; fixed by the first batch
        self._spiking = [p.name for p in plan.populations if p.spiking]
        self._capacity = dict.fromkeys(self._spiking, FIRST_CAPACITY)
        self._events: tuple[Data, InputEvents] | None = None
        self._event_room = 0
        self._seen: dict[tuple[str, str], Any] = {}
        self._running = False

    # these three are all that ties the engine to pygenn

    def _choose_backend(self, asked: str | None) -> str:
        return choose_backend(asked)

    def _group_size(self, batch: int) -> int:
        return 1 if self.backend == "single_threaded_cpu" else batch

    def _build(self, text: NetworkText) -> Any:
        return Network(text, self.dtype.name, self.group, self.backend, self.optimize_code)

    def run(self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False) -> Result:
        samples = batch_indices(data, samples)
        data.scored(samples, training=training)
        self._set_up(data, len(samples), training)
        self._running = True
        parts = []
        for first in range(0, len(samples), self.group):
            part = Group(self, data, samples[first : first + self.group], first, len(samples))
            part.forward(record_spikes)
            if training:
                part.backward()
            parts.append(part)
        if training:
            self._collect_gradients()
        self._running = False
        stack = lambda name: np.concatenate([getattr(p, name) for p in parts])  # noqa: E731
        return Result(
            loss=stack("loss"), prediction=stack("prediction"), readout=stack("readout"),
            spike_counts={p: np.concatenate([x.counts[p] for x in parts]) for p in self._spiking},
            guarded=sum(x.guarded for x in parts) if training else 0,
            spikes={p: joined([x.spikes[p] for x in parts]) for p in self._spiking} if record_spikes else None,
        )  # fmt: skip

    def close(self) -> None:
        for network in self.networks.values():
            network.close()
        self.networks = {}

    def __del__(self) -> None:
        if getattr(self, "networks", None):
            self.close()

    # handing over

    def _set_up(self, data: Data, batch: int, training: bool) -> None:
        """Both networks built where needed, with this data set, these parameters and zero gradients."""
        if not self.networks:
            self.group = self._group_size(batch)
        if self._events is None or self._events[0] is not data:
            self._events = (data, input_events(data, self.plan.input.size))
            self._forget("events")
            needed = max(1, len(self._events[1].step))
            if needed > self._event_room:
                # some to spare from the second data set on, since augmented batches come as one data set each
                self._event_room = needed + (needed // 4 if self._event_room else 0)
        for phase in ("forward", "backward") if training else ("forward",):
            if phase not in self.networks:
                self.networks[phase] = self._build(self.texts[phase])
            elif self._running:  # the last run broke off: gradients and spikes of it may be left over
                self.networks[phase].reload()
                self._forget(phase)
            self._hand_over(phase)
        self._running = False
        if training:
            for gradient in self.gradients.values():
                gradient[...] = 0.0
            for p in self.plan.populations:
                for n in p.trainable:
                    self.networks["backward"].neurons(p.name, f"grad_{n}")[:] = 0.0
                    self.networks["backward"].push(p.name, f"grad_{n}")

    def _forget(self, what: str) -> None:
        """What was handed over must be again: "events", or a phase for everything of it."""
        self._seen = {key: v for key, v in self._seen.items() if what not in key}

    def _hand_over(self, phase: str) -> None:
        """Array lengths, numbers, events, coefficients and weights of one network."""
        network, plan = self.networks[phase], self.plan
        if network.fit(self._lengths(network.text)):
            self._forget(phase)
        for name, (_, text) in network.text.populations.items():
            for n, _ in text.params:
                if n in self._fixed_numbers(name):
                    network.set_number(name, n, self._fixed_numbers(name)[n])
        if (phase, "events") not in self._seen:
            self._seen[phase, "events"] = True
            self._hand_over_arrays(network)
        for p in plan.populations:
            now = b"".join(self.parameters[f"{p.name}.{n}"].tobytes() for n in p.derived.params)
            if self._seen.get((phase, p.name)) != now:
                self._seen[phase, p.name] = now
                self._hand_over_values(network, p.name)
        for c in plan.connections:
            synapse = network.text.synapses.get(c.name)
            if synapse is not None and any(v[0] == "weight" for v in synapse.update.vars):
                network.synapses(c.name, "weight")[:] = self.parameters[c.weight].ravel()
                network.push(c.name, "weight")

    def _fixed_numbers(self, population: str) -> dict[str, float]:
        dt, floor = self.plan.dt, self.slope_floor
        return {
            "lead": self.lead, "start": self.lead + 1, "n_steps": self.plan.n_steps, "ms_per_step": dt,
            "least_rise": floor * dt, "guarded_inverse": 1.0 / floor if floor > 0 else 0.0,
            "capacity": self._capacity.get(population, 0),
        }  # fmt: skip

    def _lengths(self, text: NetworkText) -> dict[tuple[str, str], int]:
        """Length of every extra global parameter of a network."""
        lengths: dict[tuple[str, str], int] = {}
        K = self.plan.n_steps
        for name, (size, neuron) in text.populations.items():
            for a, _ in neuron.arrays:
                if a in ("event_step", "event_count"):
                    lengths[name, a] = self._event_room
                elif a == "time_weight":
                    lengths[name, a] = max(1, weight_coefficients(self.plan).size)
                elif a == "integrand_weight":
                    lengths[name, a] = K + 1
                elif a.startswith("trace_"):
                    lengths[name, a] = self.group * K * size
                else:
                    lengths[name, a] = self.group * size * self._capacity[name]
        return lengths

    def _hand_over_arrays(self, network: Any) -> None:
        """Events, and the time weight of an integral."""
        plan, events = self.plan, self._events
        assert events is not None
        times = np.arange(plan.n_steps + 1) * plan.dt
        for name, (_, neuron) in network.text.populations.items():
            arrays = {a for a, _ in neuron.arrays}
            if "event_step" in arrays:
                network.array(name, "event_step")[: len(events[1].step)] = events[1].step
                network.array(name, "event_count")[: len(events[1].step)] = events[1].count
                network.push(name, "event_step", "event_count")
            if "time_weight" in arrays:
                network.array(name, "time_weight")[:] = weight_coefficients(plan).ravel()
                network.push(name, "time_weight")
            if "integrand_weight" in arrays:
                network.array(name, "integrand_weight")[:] = plan.loss.weight(times, plan.duration) / plan.duration
                network.push(name, "integrand_weight")

    def _hand_over_values(self, network: Any, population: str) -> None:
        arrays = value_arrays(self.plan, self.plan.population(population), self.parameters)
        for v in network.text.populations[population][1].values:
            if v.per_neuron:
                network.neurons(population, v.name)[:] = arrays[v.name]
                network.push(population, v.name)
            else:
                network.set_number(population, v.name, arrays[v.name][0])

    def _grow(self, counts: dict[str, np.ndarray]) -> bool:
        """Make room where a neuron spiked more often than its store holds; True if that was needed."""
        small = [p for p in self._spiking if counts[p].max(initial=0) > self._capacity[p]]
        for p in small:
            self._capacity[p] = 1 << int(counts[p].max() - 1).bit_length()
        if small:
            self._hand_over("forward")
        return bool(small)

    def _match_stores(self) -> None:
        """The backward network's stores as large as the forward one's; what it has added up so far is kept."""
        backward = self.networks["backward"]
        if not backward.fits(self._lengths(backward.text)):
            self._collect_gradients()
            self._hand_over("backward")

    def _collect_gradients(self) -> None:
        """Add to `gradients` what the backward network has added up since it was loaded or asked last."""
        backward = self.networks["backward"]
        for name, total in backward.reduced():
            gradient = self.gradients[f"{name}.weight"]
            gradient += total.reshape(gradient.shape)
        for p in self.plan.populations:
            for n in p.trainable:
                gradient = self.gradients[f"{p.name}.{n}"]
                rate = backward.neurons(p.name, f"grad_{n}", pull=True).astype(np.float64).sum(axis=0)
                gradient += rate if gradient.shape == (p.size,) else rate.sum()
