"""`GennEngine`: a plan on GeNN, its trials in two phases, its parameters, moments and gradients on the device.

A batch goes through in groups of GeNN's batch size (one example on single_threaded_cpu): the forward phase, the outer
loss, the adjoint phase. Gradients of all groups add up on the device, so the result is that of one batch. The host
gives labels and the numbers that depend on neuron parameters, and takes readouts and spike counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from ...codegen.genn import network_text, texts
from ...codegen.genn.gather import check_update
from ...codegen.genn.learning import Rule, on_device, rule_of
from ...codegen.genn.source import SLOPES
from ...codegen.genn.text import NetworkText
from ...errors import EngineError
from ...modelling.connectivity import Synapses
from ...plan import Plan
from ...program.host_values import synapse_values
from ...program.trial import Trial, make_trial
from ..contract.data import Data
from ..contract.device_arrays import DeviceArrays
from ..contract.engine import Availability
from ..contract.features import SHARED_TABLE_WEIGHTS, SHARED_WEIGHTS, VOLTAGE_LOSS_WITH_JUMPS, refuse
from ..contract.program_engine import Arrays, ProgramEngine
from ..contract.result import Result
from .device_locations import gradient_locations, moment_locations, weight_locations
from .halves import GennHalves, TooLong
from .inputs import joined, part_of, rows_of_bits
from .install import VERSION, available_backends, choose_backend, devices
from .network import Network
from .transfer import HostTransfer

MOST_SIDE_BY_SIDE = 1023  # examples; with more, GeNN 5.4's cuda and hip backends end the whole process


class GennEngine(GennHalves):
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
        "grid": ProgramEngine.features["grid"] - {SHARED_WEIGHTS, SHARED_TABLE_WEIGHTS, VOLTAGE_LOSS_WITH_JUMPS}
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

    @classmethod
    def program(cls, plan: Plan, dtype: str = "float32") -> list[tuple[str, str]]:
        refuse(plan, cls.name, cls.features)
        return texts(plan)

    def __init__(
        self, plan: Plan, parameters: Mapping[str, np.ndarray], *, slope_floor: float = 0.0, dtype: str = "float32",
        backend: str | None = None, optimize_code: bool = True,
    ) -> None:  # fmt: skip
        if dtype not in ("float32", "float64"):
            raise EngineError(f"dtype={dtype!r}: the genn engine runs 'float32' or 'float64'")
        super().__init__(plan, parameters, slope_floor=slope_floor, dtype=dtype)
        self.backend, self.optimize_code = self._choose_backend(backend), optimize_code
        self.parameters, self.gradients = (DeviceArrays(a, self.lock) for a in (self.parameters, self.gradients))
        self.device: int | None = None  # None: the one that GeNN takes for the best
        self.group = 1  # examples a run, see `_regroup`
        self.network: Any = None
        self._training = False  # what the network is built for, and:
        self._rule: Rule | None = None
        self._split = False  # whether it is built for batches in two halves
        self._written: tuple[tuple[bool, bool, Rule | None], NetworkText]  # what the text was asked for, and the text
        self._written = (True, False, self._rule), network_text(plan)  # raises if it cannot be
        self._moments: dict[str, DeviceArrays] = {}
        self._transfer = HostTransfer(self)
        self._running = False
        self._built: dict[str, Synapses] = {}  # the tables of the network

    # these three are all that ties the engine to pygenn

    def _choose_backend(self, asked: str | None) -> str:
        return choose_backend(asked)

    def _group_size(self, batch: int) -> int:
        return 1 if self.backend == "single_threaded_cpu" else batch

    def _build(self, text: NetworkText, lengths: Mapping[tuple[str, str], int]) -> Any:
        more = lengths, self.device, self._built
        return Network(text, self.dtype.name, self.group, self.backend, self.optimize_code, *more)

    def share_machine(self, number: int, processes: int) -> None:
        """A device of its own for every process, as far as there are so many."""
        if self.backend != "single_threaded_cpu":
            found = max(devices(self.backend), 1)
            self.device = number % found
            if processes > found:
                self.remarks.append(f"{processes} processes share {found} devices of this machine")
        self._leave()

    # running

    def run(self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False) -> Result:
        samples = self.batch(data, samples)
        data.scored(samples, training=training)
        self._take_form(split=False)
        run = super().run
        return self._fitting(lambda: run(data, samples, training=training, record_spikes=record_spikes))

    def execute(self, given: Arrays, training: bool) -> Arrays:
        return self._in_groups(given, training)

    def _run_around(self, given: Arrays, data: Data, samples: np.ndarray, training: bool) -> Arrays:
        """The loss in Python is taken between the phases of every group."""

        def between(part: Arrays, out: Arrays, own: slice) -> Arrays:
            return self._taken(part, out, data, samples[own])

        return self._in_groups(given, training, between)

    def _in_groups(
        self, given: Arrays, training: bool, between: Callable[[Arrays, Arrays, slice], Arrays] | None = None
    ) -> Arrays:
        """All examples of a batch, group by group; between: (group, its results, place) -> more for the way back."""
        given, places = self._begin(given, training)
        if training:
            self.network.launch("zero")
            self._parts()
        terms = [r for p in self.plan.populations for r in self.plan.spike_regularisers(p.name)]
        means = training and any(r.mean == "batch" for r in terms)
        late = Arrays()
        if training and not (means and len(places) == 1):
            counts = self._counts(joined([self._forward(part_of(given, own)) for own in places])) if means else {}
            late = super()._regularisers(given, True, counts)
        found = []
        for own in places:
            part = part_of(given, own)
            found.append(self._forward(part))
            more = between(part, found[-1], own) if between else {}
            if means and len(places) == 1:
                late = super()._regularisers(given, True, self._counts(found[-1]))
            if training:
                self._backward(more | late)
        if training:
            self.network.launch("check")
        self._running = False
        return joined(found)

    def _begin(self, given: Arrays, training: bool) -> tuple[Arrays, list[slice]]:
        """A batch begins: what it is given, and the places of its groups."""
        self._set_up(given, training)
        self._transfer.begin()
        self._running = True
        places = [slice(i, min(i + self.group, given["batch"])) for i in range(0, given["batch"], self.group)]
        return given | self._transfer.fixed(), places

    def _regularisers(self, given: Arrays, training: bool, counts: dict[str, np.ndarray] | None = None) -> Arrays:
        """They are made when counts are there, see `_in_groups`."""
        return {}

    def _parts(self) -> None:
        """Copies of weights of one sign, where there are such."""
        self.network.launch("copy")
        self.network.launch("parts")

    def _forward(self, part: Arrays) -> Arrays:
        """The forward phase of a group, and what the host reads of it."""
        while True:
            self._transfer.samples(part["samples"])
            part |= {f"p{i}_room": room for i, room in enumerate(self.room)}
            self._transfer.send(part)
            self.network.launch("reset")
            self.network.run(0, self._transfer.phase)
            out = {k: self._result(k, part["batch"]) for k in self._read_first}
            if not self._grow(out):
                break
        out |= self._results(part)
        return out

    def _grow(self, out: Arrays) -> bool:
        """Make room where more spikes or events of a neuron were counted than its lists hold; True if needed."""
        needed = [
            max((int(out[k].max(initial=0)) for k in self._read_first if k.startswith(f"p{i}_")), default=0)
            for i in range(len(self.room))
        ]
        if all(n <= room for n, room in zip(needed, self.room)):
            return False
        self.room = [1 << (n - 1).bit_length() if n > room else room for n, room in zip(needed, self.room)]
        if self.group > self._transfer.most_side_by_side(self.network.text):
            raise TooLong
        self._reload()
        return True

    def _results(self, part: Arrays) -> Arrays:
        """After the forward phase, without what `_forward` has read before."""
        self.network.launch("read")
        if self._training:
            self.network.launch("totals")
        if not self._slopes_given:
            self.network.launch("outer")
        wanted = [
            k for k in self.network.text.results if k not in self._read_first and not k.endswith(("_steps", SLOPES))
        ]
        out = {k: self._result(k, part["batch"]) for k in wanted}
        out |= {k: v.sum(axis=1) for k, v in out.items() if k.endswith("loss")}
        if part["record"]:
            for i in (i for i, p in enumerate(self.plan.populations) if p.spiking):
                count = self._result(f"p{i}_w_count", part["batch"])
                steps = self._result(f"p{i}_steps", part["batch"]).reshape(*count.shape, self.room[i])
                out[f"p{i}_spikes"] = rows_of_bits(count, steps, self.plan.n_steps + 1)
        return out

    @property
    def _read_first(self) -> list[str]:
        """Numbers of spikes, and of what else happened where lists have more than spikes."""
        return [k for k in self.network.text.results if k.endswith(("_w_count", "_w_happened"))]

    def _result(self, key: str, B: int) -> np.ndarray:
        """(B, n) of a buffer of the trial."""
        how, owner, name = self.network.text.results[key]
        reads = {"variable": "neurons", "array": "array", "update": "update_variable"}
        read = getattr(self.network, reads[how])
        return read(owner, name, pull=True).reshape(self.group, -1)[:B].copy()

    def _backward(self, more: Arrays) -> None:
        """The adjoint phase of the group that has run forwards; more: what it is given besides."""
        self._transfer.more(more)
        if self._slopes_given:
            self.network.launch("outer")
        self.network.launch("turn")
        windows = self._transfer.windows()
        for first, last in windows:
            self.network.run(first, last)
            if last < windows[-1][1]:
                self.network.launch("gather")

    def _collect(self, out: Arrays) -> None:
        """Gradients are on the device."""
        self.gradients.pull()
        self.clear_masked()

    def _of_synapses(self) -> Arrays:
        """Without weights, which are on the device."""
        return synapse_values(self.tables, self.parameters)

    @cached_property
    def trial(self) -> Trial:  # type: ignore[override]
        return make_trial(self.plan, adjoint=False)

    def _set_up(self, given: Arrays, training: bool) -> None:
        """A network that can do the requested run, with this data set and these parameters."""
        tables = self._transfer.tables()
        if any(table is not self._built.get(name) for name, table in tables.items()):  # their rows are built in
            self._leave()
        self._transfer.take(given)
        self._regroup(given["batch"], self._text(self._training or training))
        if self.network is None or (training and not self._training):
            self._make(self._training or training)
        elif self._running or not self.network.fits(self._transfer.lengths(self.network.text, self.group)):
            self._reload()  # the last run broke off: spikes and sums of it may be left over; or more room is needed
        else:
            self.parameters.push()
        self._transfer.synapses()
        self._running = False

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
        self._training, self._built = training, self._transfer.tables()
        text = self._text(training)
        self.network = self._build(text, self._transfer.lengths(text, self.group))
        self._settle()

    def _text(self, training: bool) -> NetworkText:
        """The text of a network; a new rule makes another one."""
        kind = training, self._split, self._rule
        if self._written[0] != kind:
            self._written = kind, network_text(self.plan, training=training, rule=self._rule, split=self._split)
        return self._written[1]

    def _reload(self) -> None:
        """The same network with fresh memory, large enough for this run."""
        held = (self.parameters, self.gradients, *self._moments.values())
        if self._running:
            self.gradients.pull()
        for arrays in held:
            arrays.leave()
        self.network.fit(self._transfer.lengths(self.network.text, self.group))
        self._settle()

    def _settle(self) -> None:
        """Arrays from the host to the device."""
        self._transfer.forget()
        self.parameters.move_to(weight_locations(self))
        if self._training:
            self.gradients.move_to(gradient_locations(self))
        if self._training and self._rule is not None:
            for weight, arrays in self._moments.items():
                arrays.move_to(moment_locations(self, weight))
        self._transfer.synapses()
        self._parts()

    def _leave(self) -> None:
        """Arrays to the host, the network gone."""
        for arrays in (self.parameters, self.gradients, *self._moments.values()):
            arrays.leave()
        if self.network is not None:
            self.network.close()
        self.network = None

    def close(self) -> None:
        self._leave()

    def __del__(self) -> None:
        if getattr(self, "network", None) is not None:
            self.network.close()

    # learning

    def finite(self, name: str) -> bool:
        """Of a weight's gradient the device has added up the sizes, to one number, see `gather.py`."""
        c = next((c for c in self.plan.connections if on_device(c) and c.weight == name), None)
        if c is not None and self.network is not None and self._training and not self.gradients.held(name):
            if np.isfinite(self.network.update_variable(check_update(c), "total", pull=True)).all():
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
                if on_device(c) and optimiser.state[c.weight] is not self._moments.get(c.weight):
                    self._moments[c.weight] = optimiser.state[c.weight] = DeviceArrays(optimiser.state[c.weight])
                    if self.network is not None and self._training:
                        self._moments[c.weight].move_to(moment_locations(self, c.weight))

    def update(self, optimiser: Any) -> None:
        """One optimiser step: dense weights by a custom update; the rest, and all for an optimiser in Python, here.

        Neuron parameters are on the host because the numbers made from them, such as propagators, are made there.
        """
        self.use(optimiser)
        if self._rule is None:
            super().update(optimiser)
            return
        if self.network is None or not self._training:
            self._make(True)
        step = optimiser.next_step(self.gradients)
        weights = {c.weight: c.name for c in self.plan.connections if on_device(c)}
        here = tuple(item for item in step.parameters if item.name not in weights)
        replace(step, parameters=here).apply(self.parameters, self.gradients)
        for item in step.parameters:
            if item.name in weights:
                self._transfer.step(f"update_{weights[item.name]}", item)
        held = (self.parameters, *self._moments.values())
        for arrays in (*held, self.gradients):
            arrays.push()
        self.network.launch("update")
        for arrays in held:
            arrays.pull()
