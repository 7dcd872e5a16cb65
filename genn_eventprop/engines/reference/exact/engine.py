"""`reference_event`: NumPy float64, event by event, exact spike times; the reference for gradients. Clear, not fast.

Crossing times solve the flow, analytic or integrated to rounding; input times and delays are not rounded, and the
gradient is the derivative of exactly what was computed, for every parameter whether trained or not. The result does
not depend on dt.

Parts: `flow.py` and `series.py` (trajectories, their roots and maxima), `forward.py` with `pieces.py`, `readouts.py`,
`backward.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....errors import EngineError
from ....losses import LossRecord
from ....plan import Plan, observe
from ...contract.currents import CurrentBatch
from ...contract.data import Data
from ...contract.engine import Availability, Engine
from ...contract.features import ALL, PROGRAM_READOUTS
from ...contract.lock import one_at_a_time
from ...contract.observed import Observed
from ...contract.parameters import Tables, copied
from ...contract.result import LossPart, Result, Spikes
from ...contract.split import Readouts
from .backward import Backward, states_at
from .births import candidates
from .equations import Compiled
from .forward import Forward
from .population import PopulationModel
from .readout import Readout
from .readouts import Several, breaks, make_readout
from .records import Drive, Recording, locate
from .routes import flat_delays, routes

SMALLEST_SLOPE = 1e-20
"""Of dL/dr where readouts are linear and births are looked for: lambda over dL/dr says how an arrival changes r."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One trial as it ran: recording, what losses read of it, the main one first, and the numbers it ran with."""

    recording: Recording
    readouts: dict[str, Readout]
    n_inputs: int
    drives: Mapping[str, Drive]

    @property
    def readout(self) -> Readout:
        """Of the main loss."""
        return next(iter(self.readouts.values()))


class ReferenceEvent(Engine):
    """See the module.

    Args:
        plan, parameters, slope_floor: see `Engine`; the plan needs spike_times="exact". The floor is for observed
            spikes alone: slopes at crossings are exact.
        max_spikes: of one population in one trial; beyond it an `EngineError` names the population.

    Attributes:
        full_gradients: after a training run, gradients of the batch mean loss by everything: "connection.weight",
            "connection.delay" (a number, or in the shape of individual delays), "population.parameter", and
            "input_times" (one entry an input spike of the batch, sample after sample).
        smallest_slope: smallest |gdot| among the own spikes of the last training run, per ms.
        trials: the trials of the last run, with all events in order.
    """

    name = "reference_event"
    generates = False
    features = {"exact": ALL - {PROGRAM_READOUTS}}
    observes = frozenset({"exact"})
    threshold_noise: Mapping[str, int] = {}
    """Where thresholds are drawn: population -> number of the state by which they lie above their means; see
    `ReferenceClock.threshold_noise`."""

    @classmethod
    def availability(cls) -> Availability:
        return Availability(cls.name, True, "NumPy float64, exact spike times; slow; the reference for gradients")

    def __init__(
        self, plan: Plan, parameters: Mapping[str, np.ndarray], *, slope_floor: float = 0.0, max_spikes: int = 100_000
    ) -> None:
        super().__init__(plan, parameters, slope_floor=slope_floor)
        self.max_spikes = max_spikes
        self.parameters = copied(plan, parameters, np.float64)
        self.gradients = {k: np.zeros_like(self.parameters[k]) for k in plan.trainable}
        self.full_gradients: dict[str, np.ndarray] = {}
        self.smallest_slope = np.inf
        self.trials: list[Trial] = []
        self._tables = Tables(plan)
        self._compiled = {p.name: Compiled(p) for p in plan.populations}
        self._compiled_observed: dict[str, Compiled] = {}
        self._guarded = 0

    def run(
        self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False,
        observed: Observed | None = None,
    ) -> Result:  # fmt: skip
        samples = self.batch(data, samples)
        data.scored(samples, training=training)
        with self.observing(self.take_observed(data, samples, observed)):
            models, parts, slopes, pushes = self._score(data, samples, births=training)
            if training:
                self._gradients(models, slopes, pushes)
        guarded, spikes = self._guarded if training else 0, self._spikes() if record_spikes else None
        return Result.of_losses(self.plan, parts, self._counts(), guarded, spikes)

    def _score(
        self, data: Data, samples: np.ndarray, *, births: bool
    ) -> tuple[dict[str, PopulationModel], dict[str, LossPart], dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Run the trials forwards: (numbers of every population, losses, dL/dr, jumps of lambda_V at T)."""
        # evaluated once a run: both ways must use the same numbers
        models = self._models()
        self.trials = self._trials(data, samples, models, births=births)
        parts, slopes, pushes = dict[str, LossPart](), dict[str, np.ndarray](), dict[str, np.ndarray]()
        for loss in self.plan.losses:
            view, name = data.for_loss(loss), loss.output
            scored, targets = view.scored(samples), view.targets_of(samples)
            weight = np.where(scored, loss.factor * data.sample_weight(samples), 0.0)
            with self.lock.running_loss():
                parts[name], dr = self._evaluate(loss, scored, targets)
            slopes[name] = (dr.T * weight).T
            if self.plan.read_at(name).scores_births:
                small = (np.abs(slopes[name]) < SMALLEST_SLOPE) & (weight > 0)[:, None]
                slopes[name] = np.where(small, SMALLEST_SLOPE, slopes[name])
            for trial, y, factor in zip(self.trials, targets, weight):
                trial.readouts[name].compared, trial.readouts[name].factor = y, float(factor)
            pushes[name] = self._push(loss, slopes[name], targets, weight)
        return models, parts, slopes, pushes

    records = True

    def _record(self, data: Data, samples: np.ndarray, times: np.ndarray, adjoint: bool) -> dict[str, np.ndarray]:
        models, _, slopes, pushes = self._score(data, samples, births=adjoint)
        passes: list[Backward] = []
        if adjoint:
            # the way back is run for the adjoint alone: gradients of the last training run stay
            saved = self.gradients, self.full_gradients, self.smallest_slope
            self._gradients(models, slopes, pushes, passes=passes)
            self.gradients, self.full_gradients, self.smallest_slope = saved
        rows: dict[str, list[np.ndarray]] = {name: [] for name in models}
        for b, trial in enumerate(self.trials):
            for name, model in models.items():
                seg = trial.recording.segments[name]
                ids, offset = locate(seg, model.size, times)
                parts = [states_at(model, seg, ids, offset)]
                parts += [passes[b].adjoint_at(name, ids, offset)] if adjoint else []
                rows[name].append(np.concatenate(parts).reshape(-1, len(times), model.size))
        return {name: np.stack(trials).swapaxes(1, 2) for name, trials in rows.items()}

    def _evaluate(self, loss: LossRecord, scored: np.ndarray, targets: np.ndarray) -> tuple[LossPart, np.ndarray]:
        """A loss on the trials of the batch, and dL/dr."""
        read, T = [t.readouts[loss.output] for t in self.trials], self.plan.duration
        value, valid = np.stack([r.value for r in read]), np.stack([r.valid for r in read])
        if read[0].scores:
            # such a readout multiplies dL/dr into the slope of the loss that it has stored, so it is a factor of 1 here
            losses, dr = np.stack([r.score(y)[0] for r, y in zip(read, targets)]), np.ones(value.shape)
        else:
            losses, dr = loss.evaluate(value, valid, targets, T)
        shown = np.where(valid, value, np.inf)
        return LossPart(np.where(scored, losses, np.nan), loss.predict(value, valid, T), shown), dr

    splits = True

    def _forward_half(
        self, data: Data, samples: Any, keep: bool, stochastic: bool, record_spikes: bool
    ) -> tuple[Readouts, tuple[dict[str, PopulationModel], list[Trial]]]:
        samples = self.batch(data, samples)
        models = self._models()
        self.trials = self._trials(data, samples, models, births=keep)
        value, valid = (np.stack([getattr(t.readout, n) for t in self.trials]) for n in ("value", "valid"))
        spikes = self._spikes() if record_spikes else None
        also = {name: self._also(i, name) for i, name in enumerate(self.plan.loss.also, 1)}
        return Readouts(np.where(valid, value, np.inf), valid, self._counts(), spikes, also), (models, self.trials)

    def _also(self, i: int, name: str) -> np.ndarray:
        parts = [t.readout.parts[i] for t in self.trials if isinstance(t.readout, Several)]
        read = np.stack([np.where(part.valid, part.value, np.inf) for part in parts])
        return read.swapaxes(1, 2) if name == "trace" else read

    def _backward_half(
        self, saved: tuple[dict[str, PopulationModel], list[Trial]], slope: np.ndarray, also: dict[str, np.ndarray],
        inputs: bool,
    ) -> np.ndarray:  # fmt: skip
        models, self.trials = saved
        name = self.plan.loss.output
        push = self._count_push(self.plan.loss, also.get("count", slope))
        self._gradients(models, {name: slope}, {name: push}, also)
        return self.full_gradients["input_times"]

    def _models(self) -> dict[str, PopulationModel]:
        """Every population with numbers for the current parameters."""
        self.plan.check_parameters(self.parameters)  # learned ones may have come to lie above a threshold
        return {
            p.name: PopulationModel(
                self._of_run(p.name),
                {n: self.parameters[f"{p.name}.{n}"] for n in p.derived.params},
                self.plan.duration,
            )
            for p in self.plan.populations
        }

    def _of_run(self, name: str) -> Compiled:
        """The equations of a population, as of one whose spikes are observed if they are."""
        if name not in self._observed:
            return self._compiled[name]
        if name not in self._compiled_observed:
            self._compiled_observed[name] = Compiled(observe(self.plan, [name]).population(name))
        return self._compiled_observed[name]

    def _trials(
        self, data: Data, samples: np.ndarray, models: dict[str, PopulationModel], *, births: bool
    ) -> list[Trial]:
        self._batch = self._of_currents(data, samples, self.parameters)
        every = [self._drives([self._batch], b) for b in range(len(samples))]
        trials = []
        for b, (i, drives) in enumerate(zip(samples, every)):
            observed = {n: (s.time[s.sample == b], s.neuron[s.sample == b]) for n, s in self._observed.items()}
            trials.append(self._forward(data, int(i), models, drives, births=births, observed=observed))
        return trials

    def _of_currents(self, data: Data, samples: np.ndarray, parameters: Mapping[str, np.ndarray]) -> CurrentBatch:
        return CurrentBatch(self.plan, parameters, self._tables, data, samples, np.dtype(np.float64))

    def _drives(self, batches: Sequence[CurrentBatch], b: int) -> dict[str, Drive]:
        """The currents of sample b of batches that differ in their weights, one for each copy of the network."""
        out = {}
        for p in (p for p in self.plan.populations if p.drives):
            states, values = [], []
            for receptor, names in p.drives.items():
                for state, part in zip(names, ("starts", "slopes")):
                    if state:
                        states.append(p.derived.states.index(state))
                        each = [getattr(batch, part)[p.name, receptor][b] for batch in batches]
                        values.append(np.concatenate(each, axis=1))
            out[p.name] = Drive(batches[0].edges[p.name][:-1], states, np.stack(values, axis=1))
        return out

    def _forward(
        self, data: Data, sample: int, models: dict[str, PopulationModel], drives: Mapping[str, Drive], *, births: bool,
        observed: Mapping[str, tuple[np.ndarray, np.ndarray]],
    ) -> Trial:  # fmt: skip
        part = slice(data.offsets[sample], data.offsets[sample + 1])
        times, channels = _exact_times(data, part), data.channels[part]
        # one copy, C = 1: the leading axis
        weights = {c.weight: self.parameters[c.weight][None] for c in self.plan.connections}
        delays = flat_delays(self.plan, self.parameters)
        return self._trial(models, weights, delays, times[None], channels, data, sample, drives, births, observed)

    def _trial(
        self, models: dict[str, PopulationModel], weights: Mapping[str, np.ndarray], delays: Mapping[str, np.ndarray],
        times: np.ndarray, channels: np.ndarray, data: Data, sample: int, drives: Mapping[str, Drive],
        births: bool = False, observed: Mapping[str, tuple[np.ndarray, np.ndarray]] = {},
    ) -> Trial:  # fmt: skip
        """One trial; time weights that follow the input use that of the first copy. births: whether the way back is to
        see spikes being born."""
        inputs = np.sort(times[0])
        views = {loss.output: self.plan.read_at(loss.output) for loss in self.plan.losses}
        this = np.array([sample])
        asked = {n: data.for_loss(v.loss) for n, v in views.items()}
        targets = {n: view.targets_of(this)[0] for n, view in asked.items()}
        # where quadrature must be cut depends on the readout, and is known before the trial runs
        at = {n: breaks(v, inputs, targets[n]) for n, v in views.items()}
        synapses = routes(self.plan, self._tables, self.parameters)
        while True:
            arguments = (self.plan, models, weights, synapses, delays, self.max_spikes, sample, at, drives, observed)
            recording = Forward(*arguments).run(times, channels)
            if births and (unborn := candidates(self.plan, models, recording, self.threshold_noise)):
                recording = Forward(*arguments).run(times, channels, unborn)
            readouts = {n: make_readout(v, models[n], recording, inputs) for n, v in views.items()}
            halves = {n: r.halves(targets[n] if asked[n].scored(this)[0] else None) for n, r in readouts.items()}
            if not any(map(len, halves.values())):
                break
            at = {n: np.append(at[n], halves[n]) for n in views}
        return Trial(recording, readouts, times.shape[1], drives)

    @one_at_a_time
    def losses_of_copies(
        self, data: Data, samples: np.ndarray, values: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean losses (C,) of C slightly different networks run in lockstep, forward only, and which of them (C,) had
        other events than the first, so that their loss says nothing.

        values: what `full_gradients` names, each of shape (C, ...): parameters, delays and input times (E,).
        """
        # in one run, lane = copy N + neuron: pieces with the same ends make rounding errors cancel in differences
        C = len(next(iter(values.values())))
        models = {
            p.name: PopulationModel(self._compiled[p.name], self._lanes(p.name, values, C), self.plan.duration, C)
            for p in self.plan.populations
        }
        delays = {c.name: values[c.delays_name].reshape(C, -1) for c in self.plan.connections}
        total, changed, used = np.zeros(C), np.zeros(C, bool), 0
        of_currents = {c.weight for c in self.plan.currents_into}
        copies = [{**self.parameters, **{n: values[n][i] for n in of_currents}} for i in range(C if of_currents else 1)]
        batches = [self._of_currents(data, samples, copy) for copy in copies]
        for b, i in enumerate(samples):
            part = slice(data.offsets[i], data.offsets[i + 1])
            times = values["input_times"][:, used : used + part.stop - part.start]
            used += part.stop - part.start
            drives = self._drives(batches, b)
            trial = self._trial(models, values, delays, times, data.channels[part], data, int(i), drives)
            for loss in self.plan.losses:
                view, read = data.for_loss(loss), trial.readouts[loss.output]
                y = view.targets_of(np.array([i]))
                value, valid = (v.reshape(C, -1) for v in (read.value, read.valid))
                with np.errstate(all="ignore"):  # copies that are `changed` may have diverged
                    if read.scores:
                        losses = read.score(y[0])
                    else:
                        with self.lock.running_loss():
                            losses = loss.evaluate(value, valid, np.repeat(y, C, 0), self.plan.duration)[0]
                total += loss.factor * losses * view.scored(np.array([i]))
                changed |= read.changed()
            changed |= trial.recording.changed
        return total / len(samples), changed

    def _lanes(self, population: str, values: Mapping[str, np.ndarray], C: int) -> dict[str, np.ndarray]:
        """Parameters of all lanes, copy by copy: (C N,)."""
        p = self.plan.population(population)
        wide = {n: np.broadcast_to(values[f"{p.name}.{n}"], (C, p.size)) for n in p.derived.params}
        return {n: np.ascontiguousarray(v).ravel() for n, v in wide.items()}

    def _gradients(
        self, models: dict[str, PopulationModel], dr: Mapping[str, np.ndarray], push: Mapping[str, np.ndarray],
        also: Mapping[str, np.ndarray] = {}, passes: list[Backward] | None = None,
    ) -> None:  # fmt: skip
        """Gradients of losses, by the population that each reads, with dL/dr `dr`, weighted, and `also` of other
        readouts of the main one; push: (B, K) jump of lambda_V at T. passes: gets the backward pass of every trial."""
        pairs = {c.pairs for c in self.plan.weighted}
        total = {k: np.zeros_like(v) for k, v in self.parameters.items() if k not in pairs}
        total |= {c.delays_name: np.zeros(()) for c in self.plan.connections if not c.delays}
        inputs, by_drive, self.smallest_slope, self._guarded = [], [], np.inf, 0
        weights = {c.weight: self.parameters[c.weight] for c in self.plan.connections}
        # the surrogate gradient of a count is a jump at own spikes, as those of the regularisers are
        jumps = self.spike_jumps(self._counts())
        for loss in self.plan.losses:
            counted = dr[loss.output] if loss.readout == "count" else also.get("count")
            if counted is not None:
                jumps[loss.output] = jumps.get(loss.output, 0.0) + counted
        # one trial after the other: each has its events, so there is nothing to do for all at once
        for b, trial in enumerate(self.trials):
            back = Backward(self.plan, models, weights, trial.recording, trial.readouts, trial.n_inputs, trial.drives,
                            self.slope_floor)  # fmt: skip
            slopes: dict[str, Any] = {name: each[b] for name, each in dr.items()}
            if also:
                main = self.plan.loss
                slopes[main.output] = (dr[main.output][b], *(also[name][b] for name in main.also))
            of_trial = {name: jump[b] for name, jump in jumps.items()}
            back.run(slopes, {name: each[b] for name, each in push.items()}, of_trial)
            if passes is not None:
                passes.append(back)
            # (N,) of every neuron; a parameter that neurons share gets the sum
            for key, g in back.gradients.items():
                total[key] = total[key] + (g if g.shape == total[key].shape else g.sum())
            inputs.append(back.input_times)
            by_drive.append(back.by_drive)
            self.smallest_slope = min(self.smallest_slope, back.smallest_slope)
            self._guarded += back.guarded
        if self.plan.currents_into:
            self._add_currents(total, by_drive)
        self.gradients = {k: total[k] for k in self.plan.trainable}
        self.clear_masked()
        self.full_gradients = total | {"input_times": np.concatenate(inputs)}

    def _add_currents(self, total: dict[str, np.ndarray], by_drive: list[dict[str, np.ndarray]]) -> None:
        """Gradients of the weights of currents, learned or not; by_drive: of every trial, see `Backward`."""
        by_start, by_slope = {}, {}
        for p in self.plan.populations:
            rows = iter(np.stack([each[p.name] for each in by_drive]).swapaxes(0, 2)) if p.drives else iter(())
            for receptor, (_, slope) in p.drives.items():
                by_start[p.name, receptor] = next(rows).swapaxes(0, 1)
                if slope:
                    by_slope[p.name, receptor] = next(rows).swapaxes(0, 1)
        for name, gradient in self._batch.gradients_from_starts(by_start, by_slope, every=True).items():
            total[name] = total[name] + gradient
        self._currents = self._batch

    def _push(self, loss: LossRecord, dr: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
        """(B, K) jump of lambda_V at T for spikes that did not happen; a heuristic (see `Loss`)."""
        if loss.silent != "end":
            return self._count_push(loss, dr) if loss.readout == "count" else np.zeros(dr.shape)
        tau = self.parameters[f"{loss.output}.tau_mem"]
        silent_push = np.stack([t.readouts[loss.output].silent_push(y) for t, y in zip(self.trials, targets)])
        return -tau * silent_push * sample_weight[:, None]

    def _count_push(self, loss: LossRecord, dr: np.ndarray) -> np.ndarray:
        """lambda_V at T of silent outputs whose spikes are counted: the surrogate acts at spikes, they have none."""
        if "count" not in loss.readouts:
            return np.zeros(dr.shape)
        return np.where(self._counts()[loss.output] == 0, dr, 0.0)

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
