"""`GennEngine`: a plan on GeNN, its trials in two phases, its parameters, moments and gradients on the device.

A batch goes through in groups of GeNN's batch size (one example on single_threaded_cpu): the forward phase, the outer
loss, the adjoint phase (`phases.py`). Gradients of all groups add up on the device, so the result is that of one batch.
The host sends labels and the numbers that depend on neuron parameters, and reads readouts and spike counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from ...codegen.genn import network_text, texts
from ...codegen.genn.gather import check_update
from ...codegen.genn.learning import Rule, on_device, rule_of
from ...codegen.genn.text import NetworkText
from ...errors import EngineError
from ...losses import LossRecord
from ...modelling.connectivity import Synapses
from ...plan import Plan
from ...program.host_values import synapse_values
from ...program.outer import on_host
from ...program.trial import Trial, make_trial
from ..contract.data import Data
from ..contract.device_arrays import DeviceArrays
from ..contract.engine import Availability
from ..contract.features import (
    NONLINEAR_RECEPTOR_PATH,
    SHARED_TABLE_WEIGHTS,
    SHARED_WEIGHTS,
    SPIKE_BIRTH,
    SPIKE_BIRTH_DELAYS,
    TRAJECTORY_AUXILIARY_LOSS,
    VOLTAGE_LOSS_AFTER_TABLES,
    VOLTAGE_LOSS_WITH_JUMPS,
    refuse,
)
from ..contract.observed import Observed
from ..contract.options import EngineOption
from ..contract.program_engine import Arrays, ProgramEngine
from ..contract.result import Result
from ..contract.split import Readouts
from .device_locations import gradient_locations, moment_locations, weight_locations
from .inputs import concatenate, group_of
from .install import VERSION, available_backends, choose_backend, devices
from .network import Network
from .phases import Phases, run_groups
from .transfer import HostTransfer

MOST_SIDE_BY_SIDE = 1023  # examples; with more, GeNN 5.4's cuda and hip backends end the whole process


T = TypeVar("T")


class TooLong(Exception):
    """The lists of events of a group have grown beyond what its code can index."""


class GennEngine(ProgramEngine):
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
        "grid": ProgramEngine.features["grid"]
        - {
            NONLINEAR_RECEPTOR_PATH,
            SHARED_WEIGHTS,
            SHARED_TABLE_WEIGHTS,
            SPIKE_BIRTH,
            SPIKE_BIRTH_DELAYS,
            TRAJECTORY_AUXILIARY_LOSS,
            VOLTAGE_LOSS_AFTER_TABLES,
            VOLTAGE_LOSS_WITH_JUMPS,
        }
    }
    special_options = {
        "backend": EngineOption(str, "cuda, hip or single_threaded_cpu; by default (auto) the first that pygenn has"),
        "optimize_code": EngineOption(bool, "whether GeNN compiles with optimisation"),
    }
    when_compared = {"backend": "single_threaded_cpu"}
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
        super().__init__(plan, parameters, slope_floor=slope_floor, dtype=dtype)
        self.backend, self.optimize_code = self._choose_backend(backend), optimize_code
        self.parameters, self.gradients = (DeviceArrays(a, self.lock) for a in (self.parameters, self.gradients))
        self.device: int | None = None  # None: GeNN chooses
        self.group = 1  # examples side by side, see `_regroup`
        self.network: Any = None
        # what the network is built for:
        self._training = False
        self._rule: Rule | None = None
        self._split = False  # batches in two calls
        self._network_tables: dict[str, Synapses] = {}
        self._written: tuple[tuple[bool, bool, Rule | None], NetworkText]  # (training, split, rule) and their text
        self._written = (True, False, self._rule), network_text(plan)  # raises if it cannot be
        self._moments: dict[str, DeviceArrays] = {}
        self._transfer = HostTransfer(plan, self.tables, self.parameters, self.room)
        self._phases = Phases(plan, self._transfer, self.room, self._enlarge)
        self._unfinished = False  # whether a batch has begun that has not come to its end

    # these three are all that ties the engine to pygenn

    def _choose_backend(self, asked: str | None) -> str:
        return choose_backend(asked)

    def _group_size(self, batch: int) -> int:
        return 1 if self.backend == "single_threaded_cpu" else batch

    def _build(self, text: NetworkText, lengths: Mapping[tuple[str, str], int]) -> Any:
        more = lengths, self.device, self._network_tables
        return Network(text, self.dtype.name, self.group, self.backend, self.optimize_code, *more)

    def share_machine(self, number: int, processes: int) -> None:
        """One device for each process, as far as there are so many."""
        if self.backend != "single_threaded_cpu":
            n_devices = max(devices(self.backend), 1)
            self.device = number % n_devices
            if processes > n_devices:
                self.remarks.append(f"{processes} processes share {n_devices} devices of this machine")
        self._leave()

    # running

    def run(
        self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False,
        observed: Observed | None = None,
    ) -> Result:  # fmt: skip
        samples = self.batch(data, samples)
        self.take_observed(data, samples, observed)
        data.scored(samples, training=training)
        self._choose_form(split=False)
        run = super().run
        return self._in_smaller_groups(lambda: run(data, samples, training=training, record_spikes=record_spikes))

    def execute(self, arguments: Arrays, training: bool) -> Arrays:
        return self._in_groups(arguments, training)

    def execute_half(self, arguments: Arrays, saved: Any) -> tuple[Arrays, Any]:
        """The forward phases of a batch; its way back is `Phases.backward_batch`, which needs the groups."""
        assert saved is None
        arguments, groups = self._begin(arguments, True)
        out = run_groups(self._phases, arguments, groups)
        self._unfinished = False
        return out, (arguments, groups)

    def _run_around(self, arguments: Arrays, data: Data, samples: np.ndarray, training: bool) -> Arrays:
        """A loss in Python is evaluated between the phases of every group."""

        def between(part: Arrays, out: Arrays, group: slice) -> Arrays:
            return self._host_losses(part, out, data, samples[group])

        return self._in_groups(arguments, training, between)

    def _in_groups(
        self, arguments: Arrays, training: bool, between: Callable[[Arrays, Arrays, slice], Arrays] | None = None
    ) -> Arrays:
        """All examples of a batch, group by group.

        Args:
            between: (arguments of a group, its results, its place in the batch) -> more arguments for the way back.
        """
        arguments, groups = self._begin(arguments, training)
        phases = self._phases
        if training:
            phases.clear_gradients()
        terms = [r for p in self.plan.populations for r in self.plan.spike_regularisers(p.name)]
        means = training and any(r.mean == "batch" for r in terms)
        strengths = Arrays()
        # a regulariser of the batch's mean count needs all counts before the first way back: with several groups all of
        # them run forwards once more for that; with one group its counts are those of the batch
        if training and not (means and len(groups) == 1):
            counts = self._counts(run_groups(phases, arguments, groups)) if means else {}
            strengths = super()._regularisers(arguments, True, counts)
        results = []
        for group in groups:
            part = group_of(arguments, group)
            results.append(phases.forward(part))
            more = between(part, results[-1], group) if between else {}
            if means and len(groups) == 1:
                strengths = super()._regularisers(arguments, True, self._counts(results[-1]))
            if training:
                phases.backward(more | strengths, part["batch"])
        if training:
            phases.finish_gradients()
        self._unfinished = False
        return concatenate(results) | (phases.by_drive() if training else {})

    def _begin(self, arguments: Arrays, training: bool) -> tuple[Arrays, list[slice]]:
        """Prepare the network for a batch: all its arguments, and where its groups are."""
        self._set_up(arguments, training)
        self._transfer.begin()
        self._unfinished = True
        B = arguments["batch"]
        groups = [slice(i, min(i + self.group, B)) for i in range(0, B, self.group)]
        return arguments | self._transfer.fixed(), groups

    def _regularisers(self, arguments: Arrays, training: bool, counts: dict[str, np.ndarray] | None = None) -> Arrays:
        """Nothing yet: their strengths are computed once counts are there, see `_in_groups`."""
        return {}

    # a batch in two calls, see `contract/split.py`

    @property
    def _host_slopes(self) -> bool:
        """Whether the host says what dL/dr is, instead of an outer loss on the device."""
        return self._split or on_host(self.plan)

    def _choose_form(self, split: bool) -> None:
        """Networks for batches in two calls have no outer loss, and return gradients of input times: another text."""
        self._pending.drop()
        if split != self._split:
            self._leave()
        self._split = split

    def _in_smaller_groups(self, task: Callable[[], T]) -> T:
        """Run `task`, again in smaller groups where lists of events outgrow 32-bit indices."""
        while True:
            try:
                return task()
            except TooLong:
                self._leave()

    def _forward_half(
        self, data: Data, samples: Any, keep: bool, stochastic: bool, record_spikes: bool
    ) -> tuple[Readouts, Any]:
        self._choose_form(split=True)
        forward = super()._forward_half
        return self._in_smaller_groups(lambda: forward(data, samples, keep, stochastic, record_spikes))

    def _backward_half(self, saved: Any, slope: np.ndarray, also: dict[str, np.ndarray], inputs: bool) -> np.ndarray:
        _, (arguments, groups), counts = saved
        slopes = {"dL_dr": slope, "lambda_V_end": np.zeros_like(slope)}
        slopes |= {f"dL_dr_{name}": array for name, array in also.items()}
        shared = super()._regularisers(arguments, True, counts) | {"feed": int(inputs)}
        self._unfinished = True
        of_inputs = self._phases.backward_batch(arguments, groups, slopes, shared, inputs)
        self._unfinished = False
        self._collect({})
        self._collect_currents(self._phases.by_drive())
        self.clear_masked()
        return of_inputs

    def _others(self, out: Arrays, loss: LossRecord) -> Arrays:
        if not self._split:  # a network for whole batches reads nothing beside the loss's readout
            return {}
        readouts = super()._others(out, loss)
        K = self.plan.population(loss.output).size
        return {n: r.reshape(len(r), -1, K) if n == "trace" else r for n, r in readouts.items()}  # V is flat there

    def _collect(self, out: Arrays) -> None:
        """Gradients are on the device; only those that somebody refers to come to the host."""
        self.gradients.pull()
        self.clear_masked()

    def _of_synapses(self) -> Arrays:
        """Without weights, which are on the device."""
        return synapse_values(self.tables, self.parameters)

    @cached_property
    def trial(self) -> Trial:  # type: ignore[override]
        return make_trial(self.plan, adjoint=False)

    def _set_up(self, arguments: Arrays, training: bool) -> None:
        """A network that can do this run, with its data set and the present parameters."""
        tables = self._transfer.tables()
        if any(table is not self._network_tables.get(name) for name, table in tables.items()):
            self._leave()  # GeNN builds the rows of synapses into the network
        self._transfer.use_data(arguments)
        self._regroup(arguments["batch"], self._text(self._training or training))
        if self.network is None or (training and not self._training):
            self._make(self._training or training)
        elif self._unfinished or not self.network.fits(self._transfer.lengths(self.network.text, self.group)):
            self._reload()  # the last run broke off: spikes and sums of it may be left over; or more room is needed
        else:
            self.parameters.push()
        self._transfer.synapses()
        self._unfinished = False

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
        self._training, self._network_tables = training, self._transfer.tables()
        text = self._text(training)
        self.network = self._build(text, self._transfer.lengths(text, self.group))
        self._fill()

    def _text(self, training: bool) -> NetworkText:
        """The text of a network; a new rule makes another one."""
        kind = training, self._split, self._rule
        if self._written[0] != kind:
            self._written = kind, network_text(self.plan, training=training, rule=self._rule, split=self._split)
        return self._written[1]

    def _reload(self) -> None:
        """The same network with fresh memory, large enough for this run."""
        if self._unfinished:
            self.gradients.pull()  # the sums over the groups that have run
        for arrays in (self.parameters, self.gradients, *self._moments.values()):
            arrays.to_host()
        self.network.fit(self._transfer.lengths(self.network.text, self.group))
        self._fill()

    def _fill(self) -> None:
        """Move arrays from the host to a network whose memory is fresh."""
        network = self.network
        self._transfer.attach(network, self.group)
        self._phases.attach(network, self.group, training=self._training, host_slopes=self._host_slopes)
        self.parameters.move_to(weight_locations(network, self.plan))
        if self._training:
            self.gradients.move_to(gradient_locations(network, self.plan, self._network_tables, self.dtype))
        if self._training and self._rule is not None:
            for weight, arrays in self._moments.items():
                arrays.move_to(moment_locations(network, self.plan, weight))
        self._transfer.synapses()
        self._phases.split_weights()

    def _enlarge(self, room: list[int]) -> None:
        """Give the network lists of events of this room.

        Raises:
            TooLong: so many examples side by side would need indices of more than 32 bits.
        """
        self.room[:] = room  # in place: `Phases` and `HostTransfer` read it too
        if self.group > self._transfer.most_side_by_side(self.network.text):
            raise TooLong
        self._reload()

    def _leave(self) -> None:
        """Move all arrays to the host and close the network."""
        for arrays in (self.parameters, self.gradients, *self._moments.values()):
            arrays.to_host()
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
        """By the sum of |dL/dw| where the device has reduced it: the gradient itself need not come to the host."""
        c = next((c for c in self.plan.connections if on_device(c) and c.weight == name), None)
        if c is not None and self.network is not None and self._training and not self.gradients.on_host(name):
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
                        self._moments[c.weight].move_to(moment_locations(self.network, self.plan, c.weight))

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
        changed = (self.parameters, *self._moments.values())
        for arrays in (*changed, self.gradients):
            arrays.push()
        self.network.launch("update")
        for arrays in changed:
            arrays.pull()
