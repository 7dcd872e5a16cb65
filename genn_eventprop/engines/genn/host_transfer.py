"""What the host hands to a network before a run: array lengths, numbers, events, coefficients, optimiser scalars."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import EngineError
from ...plan import clock
from ...plan.coefficients import integrand_weight, node_part, node_scale, weight_coefficients
from ...plan.numbers import value_arrays
from ..base import Data
from ..stochastic import quantiles
from . import gather, kinks, stochastic
from .host import InputEvents, input_events
from .text import NetworkText

if TYPE_CHECKING:
    from .engine import GennEngine

MOST_INDICES = 2**31 - 1  # of an array; the generated code counts places in 32 bits


class HostTransfer:
    """Of one engine; what has not changed since it was sent is not sent again."""

    def __init__(self, engine: GennEngine) -> None:
        self.engine, self.plan = engine, engine.plan
        self.lead = 1 + max((c.delay_steps for c in engine.plan.connections), default=0)
        self.events: InputEvents | None = None
        self._data: Data | None = None
        self._room = {"event_step": 1, "event_start": 1}
        self.n_targets = 1  # of every output, in a loss of spike times
        self._seen: dict[Any, Any] = {}
        self.stochastic = False  # whether noise and dropout act in the next run

    def forget(self) -> None:
        """The network is new, or its memory is."""
        self._seen = {}

    @property
    def phase(self) -> int:
        """GeNN steps a phase."""
        return self.plan.n_steps + self.lead + 1

    @property
    def window(self) -> int:
        """Steps whose G is kept until gradients are added up."""
        return self._window(self.engine.group)

    def _window(self, group: int) -> int:
        return min(self.plan.n_steps, gather.LONGEST_WINDOW if group == 1 else gather.WINDOW)

    def windows(self) -> list[tuple[int, int]]:
        """(first, last) GeNN steps of the adjoint phase: after each gradients are added up, but for the last one."""
        turn, K = self.phase + self.plan.n_steps + self.lead, self.plan.n_steps
        edges = [self.phase, *(turn - begin for begin in range((K - 1) // self.window * self.window, -1, -self.window))]
        return list(zip(edges, [*edges[1:], 2 * self.phase]))

    def take(self, data: Data) -> None:
        """The data set of the next run; more room for it from then on, if it needs that.

        Raises:
            EngineError: if it has more spikes than the generated code can count.
        """
        if self._data is data:
            return
        self._data, first = data, self._data is None
        if self.plan.loss.readout == "spike_times" and data.targets is not None:
            self.n_targets = data.targets.shape[2]
        self.events = input_events(data, self.plan.input.size)
        self._seen.pop("events", None)
        for name, n in (("event_step", len(self.events.step)), ("event_start", self.events.start.size)):
            if n > MOST_INDICES:
                raise EngineError(
                    f"the data set has {n} places of {name}, more than the genn engine's 32-bit indices reach; split "
                    "it into several data sets, or use engine='native'"
                )
            if n > self._room[name]:
                # some to spare from the second data set on, since augmented batches come as one data set each
                self._room[name] = n + (0 if first else n // 4)

    def send(self) -> None:
        """Everything but the parameters to the engine's network."""
        network, plan = self.engine.network, self.plan
        if not network.fits(self.lengths(network.text, self.engine.group)):
            self.engine._reload()
        for name, (_, neuron) in network.text.populations.items():
            fixed = self._fixed(name)
            for n, _ in neuron.params:
                if n in fixed:
                    network.set_number(name, n, fixed[n])
        for name, update in network.text.updates.items():
            fixed = self._fixed(update.of)
            for n, _ in update.params:
                if n in fixed:
                    network.set_update_number(name, n, fixed[n])
        if "events" not in self._seen:
            self._seen["events"] = True
            self._arrays()
        for p in plan.populations:
            now = b"".join(self.engine.parameters[f"{p.name}.{n}"].tobytes() for n in p.derived.params)
            if self._seen.get(p.name) != now:
                self._seen[p.name] = now
                self._values(p.name)

    def _fixed(self, owner: str) -> dict[str, float]:
        plan, floor = self.plan, self.engine.slope_floor
        owner = next((c.source for c in plan.connections if c.name == owner), owner)
        return {
            "window": self.window,
            "lead": self.lead, "start": self.lead + 1, "turn": self.phase + plan.n_steps + self.lead,
            "n_steps": plan.n_steps, "ms_per_step": plan.dt, "T": plan.duration, "least_rise": floor * plan.dt,
            "guarded_inverse": 1.0 / floor if floor > 0 else 0.0,
            "n_targets": self.n_targets, "capacity": self.engine._capacity.get(owner, 0),
            **{f"k_{n}": value for n, value in plan.loss.constants.items()},
            **stochastic.numbers(plan, owner, self.stochastic),
        }  # fmt: skip

    def most_side_by_side(self, text: NetworkText) -> int:
        """How many examples fit into 32-bit indices.

        Raises:
            EngineError: if not even one does.
        """
        two, three = self.lengths(text, 2), self.lengths(text, 3)
        (name, array), longest = max(((key, three[key] - n) for key, n in two.items()), key=lambda item: item[1])
        if longest > MOST_INDICES:
            raise EngineError(
                f"population {name!r} needs {longest} places of {array!r} for a single sample, more than the genn "
                "engine's 32-bit indices reach; use fewer neurons or steps, or engine='native'"
            )
        return MOST_INDICES // max(1, longest)

    def lengths(self, text: NetworkText, group: int) -> dict[tuple[str, str], int]:
        """Length of every extra global parameter of a network with so many examples side by side."""
        shared = {**self._shared, "event_count": self._room["event_step"], **self._room}
        return {
            (name, a): shared[a] if a in shared else group * self._of_example(name, size, a, group)
            for name, (size, neuron) in text.populations.items()
            for a, _ in neuron.arrays
        }

    @cached_property
    def _shared(self) -> dict[str, int]:
        """Lengths of what all examples share, but for the data set."""
        plan, nodes = self.plan, self.plan.loss.basis_size(self.plan.dt)
        gradients = {gather.gradient_array(c): c.pre * c.post for c in plan.connections if c.trainable}
        return gradients | {
            "window_end": 1, "time_weight": max(1, weight_coefficients(plan).size), "node_scale": nodes,
            "integrand_weight": plan.n_steps + 1, "node_part": nodes, "stochastic_quantiles": quantiles().size,
        }  # fmt: skip

    def _of_example(self, name: str, size: int, array: str, group: int) -> int:
        """Length of what each example has of its own, in a population of that size."""
        plan, K = self.plan, self.plan.n_steps
        lengths = {
            "sample": 1, "window_last": size, "activity": K + 1, "activity_before": K + 1, "target": (K + 1) * size,
            "node_value": K * self._shared["node_scale"] * size, "spike_error": size * self.n_targets,
            "stochastic_noise_key": 2 * K, "stochastic_dropout_key": 2 * K,
        }  # fmt: skip
        families = {
            "trace_": K * size, "dL_dw_": self._window(group) * size, "kink_asked_": plan.output.size,
            "kink_hits_": kinks.n_words(plan) * size,
        }  # fmt: skip
        if array in lengths:
            return lengths[array]
        of_spikes = size * self.engine._capacity.get(name, 0)
        return next((n for start, n in families.items() if array.startswith(start)), of_spikes)

    def _arrays(self) -> None:
        """Events, the time weight of an integral, nodes of a step."""
        plan, events, network = self.plan, self.events, self.engine.network
        assert events is not None
        for name, (_, neuron) in network.text.populations.items():
            arrays = {a for a, _ in neuron.arrays}
            if "event_step" in arrays:
                network.array(name, "event_step")[: len(events.step)] = events.step
                network.array(name, "event_count")[: len(events.step)] = events.count
                network.array(name, "event_start")[: events.start.size] = events.start.ravel()
                network.push(name, "event_step", "event_count", "event_start")
            if "stochastic_quantiles" in arrays:
                network.array(name, "stochastic_quantiles")[:] = quantiles()
                network.push(name, "stochastic_quantiles")
            if "time_weight" in arrays:
                network.array(name, "time_weight")[:] = weight_coefficients(plan).ravel()
                network.push(name, "time_weight")
            if "node_scale" in arrays:
                network.array(name, "node_scale")[:] = node_scale(plan)
                network.push(name, "node_scale")
            if "node_part" in arrays:
                network.array(name, "node_part")[:] = node_part(plan)
                network.push(name, "node_part")
            if "integrand_weight" in arrays:
                network.array(name, "integrand_weight")[:] = integrand_weight(plan)
                network.push(name, "integrand_weight")

    def _values(self, population: str) -> None:
        network = self.engine.network
        p = self.plan.population(population)
        arrays = value_arrays(self.plan, p, self.engine.parameters)
        own = {n: self.engine.parameters[f"{population}.{n}"] for n in p.derived.durations}
        arrays |= {f"steps_{n}": steps for n, steps in clock.mode_steps(p.derived, own, self.plan.dt).items()}
        for v in network.text.populations[population][1].values:
            if v.per_neuron:
                network.neurons(population, v.name)[:] = arrays[v.name]
                network.push(population, v.name)
            else:
                network.set_number(population, v.name, arrays[v.name][0])
        for name, update in network.text.updates.items():
            for v in update.values if update.of == population else ():
                network.set_update_number(name, v.name, arrays[v.name][0])

    def step(self, update: str, item: Any) -> None:
        """The scalars and bounds of one `optimisers.ParameterStep`."""
        network = self.engine.network
        given = {**item.scalars, "lower": item.lower, "upper": item.upper}
        text = network.text.updates[update]
        for n, _ in text.params:
            network.set_update_number(update, n, given[n])
        for n, _, access in text.vars:
            if access == "READ_ONLY_SHARED" and (update, n) not in self._seen:
                self._seen[update, n] = True
                shape = self.engine.parameters[item.name].shape
                network.update_variable(update, n)[:] = np.broadcast_to(given[n], shape).ravel()
                network.push_update(update, n)
