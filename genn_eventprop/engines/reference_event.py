"""`reference_event`: NumPy float64, event by event with exact spike times: the truth for gradients. Clear, not fast.

Crossing times solve the flow, analytic or integrated to rounding; input times and delays are taken as given, and the
gradient is the derivative of exactly what was computed, for every parameter whether trained or not. The result does
not depend on dt.

Parts: `event_flow` (trajectories and crossings), `event_forward`, `event_readout`, `event_backward`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EngineError
from ..plan import Plan
from .base import Availability, Data, Engine, Result, Spikes, batch_indices, quantise
from .event_backward import Backward
from .event_equations import Compiled
from .event_forward import Forward, PopulationModel
from .event_readout import Readout, Several, breaks, make_readout
from .event_records import Recording
from .event_routes import flat_delays, routes
from .refuse import ALL, READOUTS
from .split import Readouts
from .tables import Tables, copied

if TYPE_CHECKING:
    from ..data import Events


@dataclass(frozen=True, eq=False)
class Trial:
    """One trial as it ran: recording, readout, and the numbers it ran with."""

    recording: Recording
    readout: Readout
    n_inputs: int


class ReferenceEvent(Engine):
    """See the module.

    Args:
        plan, parameters: see `Engine`; the plan needs spike_times="exact".
        max_spikes: of one population in one trial; beyond it an `EngineError` names the population.

    Attributes:
        full_gradients: after a training run, gradients of the batch mean loss by everything: "connection.weight",
            "connection.delay" (a number, or in the shape of delays that are values), "population.parameter", and
            "input_times" (one entry an input spike of the batch, sample after sample).
        smallest_slope: smallest |gdot| among the own spikes of the last training run, per ms.
        trials: the trials of the last run, with all events in order.
    """

    name = "reference_event"
    features = {"exact": ALL - {READOUTS}}
    options = ()  # exact slopes: slope_floor is for grid engines

    @classmethod
    def availability(cls) -> Availability:
        return Availability(cls.name, True, "NumPy float64, exact spike times; slow, the truth for gradients")

    def __init__(self, plan: Plan, parameters: Mapping[str, np.ndarray], *, max_spikes: int = 100_000) -> None:
        super().__init__(plan, parameters)
        self.max_spikes = max_spikes
        self.parameters = copied(plan, parameters, np.float64)
        self.gradients = {k: np.zeros_like(self.parameters[k]) for k in plan.trainable}
        self.full_gradients: dict[str, np.ndarray] = {}
        self.smallest_slope = np.inf
        self.trials: list[Trial] = []
        self._tables = Tables(plan)
        self._compiled = {p.name: Compiled(p) for p in plan.populations}

    def load(self, events: Events) -> Data:
        """Check a data set against the plan and keep its times as they are; see `Engine.load`."""
        return quantise(events, self.plan)

    def run(self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False) -> Result:
        samples = batch_indices(data, samples)
        scored, targets = data.scored(samples, training=training), data.targets_of(samples)
        models = self._models()
        self.trials = [self._forward(data, int(i), models, y) for i, y in zip(samples, targets)]
        value = np.stack([t.readout.value for t in self.trials])
        valid = np.stack([t.readout.valid for t in self.trials])
        plan = self.plan
        if self.trials[0].readout.scores:
            loss = np.stack([t.readout.score(y)[0] for t, y in zip(self.trials, targets)])
            dr = np.ones(value.shape)
        else:
            loss, dr = plan.loss.evaluate(value, valid, targets, plan.duration)
        if training:
            sample_weight = data.sample_weight(samples)
            self._backward(models, (dr.T * sample_weight).T, targets, sample_weight)
        return Result(
            loss=np.where(scored, loss, np.nan),
            prediction=plan.loss.predict(value, valid, plan.duration),
            readout=np.where(valid, value, np.inf),
            spike_counts=self._counts(),
            guarded=0,
            spikes=self._spikes() if record_spikes else None,
        )

    splits = True

    def _forward_half(
        self, data: Data, samples: Any, keep: bool, stochastic: bool, record_spikes: bool
    ) -> tuple[Readouts, tuple[dict[str, PopulationModel], list[Trial]]]:
        samples = batch_indices(data, samples)
        models, targets = self._models(), data.targets_of(samples)
        self.trials = [self._forward(data, int(i), models, y) for i, y in zip(samples, targets)]
        value, valid = (np.stack([getattr(t.readout, n) for t in self.trials]) for n in ("value", "valid"))
        spikes = self._spikes() if record_spikes else None
        also = {name: self._also(i, name) for i, name in enumerate(self.plan.loss.also, 1)}
        return Readouts(np.where(valid, value, np.inf), valid, self._counts(), spikes, also), (models, self.trials)

    def _also(self, i: int, name: str) -> np.ndarray:
        parts = [t.readout.parts[i] for t in self.trials if isinstance(t.readout, Several)]
        read = np.stack([np.where(part.valid, part.value, np.inf) for part in parts])
        return read.swapaxes(1, 2) if name == "trace" else read

    def _backward_half(
        self, kept: tuple[dict[str, PopulationModel], list[Trial]], slope: np.ndarray, also: dict[str, np.ndarray],
        inputs: bool,
    ) -> np.ndarray:  # fmt: skip
        models, self.trials = kept
        self._gradients(models, slope, self._count_push(also.get("count", slope)), also)
        return self.full_gradients["input_times"]

    def _models(self) -> dict[str, PopulationModel]:
        """Numbers for the present parameters."""
        self.plan.check_parameters(self.parameters)
        return {
            p.name: PopulationModel(
                self._compiled[p.name],
                {n: self.parameters[f"{p.name}.{n}"] for n in p.derived.params},
                self.plan.duration,
            )
            for p in self.plan.populations
        }

    def _forward(self, data: Data, sample: int, models: dict[str, PopulationModel], y: np.ndarray) -> Trial:
        part = slice(data.offsets[sample], data.offsets[sample + 1])
        times, channels = _exact_times(data, part), data.channels[part]
        weights = {c.weight: self.parameters[c.weight][None] for c in self.plan.connections}
        delays = flat_delays(self.plan, self.parameters)
        return self._trial(models, weights, delays, times[None], channels, sample, y)

    def _trial(
        self, models: dict[str, PopulationModel], weights: Mapping[str, np.ndarray], delays: Mapping[str, np.ndarray],
        times: np.ndarray, channels: np.ndarray, sample: int, y: np.ndarray,
    ) -> Trial:  # fmt: skip
        """One trial; time weights that follow the input keep to that of the first copy."""
        inputs = np.sort(times[0])
        at = breaks(self.plan, inputs, y)
        ways = routes(self.plan, self._tables, self.parameters)
        recording = Forward(self.plan, models, weights, ways, delays, self.max_spikes, sample, at).run(times, channels)
        readout = make_readout(self.plan, models[self.plan.output.name], recording, inputs)
        return Trial(recording, readout, times.shape[1])

    def losses_of_copies(
        self, data: Data, samples: np.ndarray, values: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean losses (C,) of C slightly different networks run in lockstep, forward only, and which of them (C,) had
        other events than the first, so that their loss says nothing.

        values: what `full_gradients` names, each of shape (C, ...): parameters, delays and input times (E,).
        """
        C = len(next(iter(values.values())))
        models = {
            p.name: PopulationModel(self._compiled[p.name], self._lanes(p.name, values, C), self.plan.duration, C)
            for p in self.plan.populations
        }
        delays = {c.name: values[c.delays_name].reshape(C, -1) for c in self.plan.connections}
        total, changed, used = np.zeros(C), np.zeros(C, bool), 0
        for i in samples:
            part = slice(data.offsets[i], data.offsets[i + 1])
            times = values["input_times"][:, used : used + part.stop - part.start]
            used += part.stop - part.start
            targets = data.targets_of(np.array([i]))
            trial = self._trial(models, values, delays, times, data.channels[part], int(i), targets[0])
            value, valid = (v.reshape(C, -1) for v in (trial.readout.value, trial.readout.valid))
            with np.errstate(all="ignore"):
                if trial.readout.scores:
                    total += trial.readout.score(targets[0])
                else:
                    total += self.plan.loss.evaluate(value, valid, np.repeat(targets, C, 0), self.plan.duration)[0]
            changed |= trial.recording.changed | trial.readout.changed()
        return total / len(samples), changed

    def _lanes(self, population: str, values: Mapping[str, np.ndarray], C: int) -> dict[str, np.ndarray]:
        """Parameters of all lanes, copy by copy: (C N,)."""
        p = self.plan.population(population)
        wide = {n: np.broadcast_to(values[f"{p.name}.{n}"], (C, p.size)) for n in p.derived.params}
        return {n: np.ascontiguousarray(v).ravel() for n, v in wide.items()}

    def _backward(
        self, models: dict[str, PopulationModel], dr: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray
    ) -> None:
        """Gradients of the batch; dr: dL/dr, times `sample_weight` (B,) already."""
        self._gradients(models, dr, self._push(dr, targets, sample_weight))

    def _gradients(
        self, models: dict[str, PopulationModel], dr: np.ndarray, push: np.ndarray, also: Mapping[str, np.ndarray] = {}
    ) -> None:
        """Gradients of a loss with dL/dr `dr`, and `also` of other readouts; push: (B, K) jump of lambda_V at T."""
        pairs = {c.pairs for c in self.plan.connections}
        total = {k: np.zeros_like(v) for k, v in self.parameters.items() if k not in pairs}
        total |= {c.delays_name: np.zeros(()) for c in self.plan.connections if not c.delays}
        inputs, self.smallest_slope = [], np.inf
        weights = {c.weight: self.parameters[c.weight] for c in self.plan.connections}
        jumps = self.spike_jumps(self._counts())
        counted = dr if self.plan.loss.readout == "count" else also.get("count")
        if counted is not None:
            jumps[self.plan.output.name] = jumps.get(self.plan.output.name, 0.0) + counted
        for b, trial in enumerate(self.trials):
            back = Backward(self.plan, models, weights, trial.recording, trial.readout, trial.n_inputs)
            slope = (dr[b], *(also[name][b] for name in self.plan.loss.also)) if also else dr[b]
            back.run(slope, push[b], {name: jump[b] for name, jump in jumps.items()})
            for key, g in back.gradients.items():
                total[key] = total[key] + (g if g.shape == total[key].shape else g.sum())
            inputs.append(back.input_times)
            self.smallest_slope = min(self.smallest_slope, back.smallest_slope)
        self.gradients = {k: total[k] for k in self.plan.trainable}
        self.full_gradients = total | {"input_times": np.concatenate(inputs)}

    def _push(self, dr: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
        """(B, K) jump of lambda_V at T for spikes that did not happen; a heuristic (see `Loss`)."""
        if self.plan.loss.silent != "end":
            return self._count_push(dr) if self.plan.loss.readout == "count" else np.zeros(dr.shape)
        tau = self.parameters[f"{self.plan.output.name}.tau_mem"]
        missing = np.stack([t.readout.missing(y) for t, y in zip(self.trials, targets)])
        return -tau * missing * sample_weight[:, None]

    def _count_push(self, dr: np.ndarray) -> np.ndarray:
        """The surrogate's push of outputs whose spikes are counted, and that have none."""
        if "count" not in self.plan.loss.readouts:
            return np.zeros(dr.shape)
        return np.where(self._counts()[self.plan.output.name] == 0, dr, 0.0)

    def _counts(self) -> dict[str, np.ndarray]:
        sizes = {p.name: p.size for p in self.plan.populations if p.spiking}
        return {
            name: np.stack(
                [np.bincount([s.neuron for s in t.recording.spikes[name]], minlength=n) for t in self.trials]
            ).astype(np.int64)
            for name, n in sizes.items()
        }

    def _spikes(self) -> dict[str, Spikes]:
        out = {}
        for p in self.plan.populations:
            if p.spiking:
                every = [(b, s.time, s.neuron) for b, t in enumerate(self.trials) for s in t.recording.spikes[p.name]]
                sample, time, neuron = zip(*every) if every else ((), (), ())
                columns = np.array(sample, np.int64), np.array(time, float), np.array(neuron, np.int64)
                out[p.name] = Spikes.in_order(*columns)
        return out


def _exact_times(data: Data, part: slice) -> np.ndarray:
    if data.times is None:
        raise EngineError("this data set was loaded for spikes on the grid; load it with this engine")
    return data.times[part]
