"""Small random networks around a model, and the check of all of them.

Differences need networks that spike, whose events keep their order under small changes: weights are tuned until every
layer does, and draws in which something is nearly decided are drawn again. (Random networks of the tests are of any
kind that an engine accepts, silent and undecided ones too: there two engines are compared, nothing is differenced.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ... import losses
from ...adjoint import derive
from ...data import Events
from ...engines.reference.exact.engine import ReferenceEvent
from ...engines.reference.grid.engine import ReferenceClock
from ...errors import EngineError, SettingError, check_known, shown
from ...losses import Loss, TimeWeight
from ...modelling import Dense, Input, Network, Neuron, NeuronModel, Normal, Param, Population
from ...models.li import LI
from ...models.lif import LIF
from ...plan import Plan, make_plan
from ...plan.clock import number_of_steps
from ...plan.make import checked_sigma
from .births import BirthReport, births_of_plan
from .compare import compare, grid_step, kind_of
from .report import Case, Report
from .scheme import scheme_errors
from .snippets import TRIALS, suspects

N_INPUT, N_HIDDEN, N_OUTPUT, N_SAMPLES, N_EVENTS = 4, 3, 3, 2, 9
LONGEST = 90.0  # ms of a trial
DRAWS = 4

LOSSES: dict[str, Callable[[Population], Loss]] = {
    "first_spike": partial(losses.FirstSpikeCrossEntropy, tau0=2.0, alpha=0.05),
    "first_spike_inverse": partial(losses.FirstSpikeCrossEntropy, tau0=2.0, alpha=2.0, form="inverse"),
    "first_spike_end": partial(losses.FirstSpikeCrossEntropy, tau0=2.0, alpha=0.05, silent="end"),
    "max": losses.MaxVoltageCrossEntropy,
    **{
        f"integral_{w}": partial(losses.IntegratedVoltageCrossEntropy, weight=w)
        for w in ("constant", "linear", "exponential", "sigmoid")
    },
    "integral_window": partial(losses.IntegratedVoltageCrossEntropy, weight=TimeWeight("linear", window=(5.0, 33.0))),
    "integral_input": partial(losses.IntegratedVoltageCrossEntropy, weight=TimeWeight(input_tau=15.0, input_gain=20.0)),
    "integral_error": losses.SquaredError,
    "end": losses.EndVoltageCrossEntropy,
    "per_step": losses.PerStepCrossEntropy,
    "per_step_exponential": partial(losses.PerStepCrossEntropy, weight="exponential"),
    "voltage_error": losses.VoltageSquaredError,
    "spike_times": losses.SpikeTimeError,
    "own_formula": partial(losses.OwnLoss, readout="integral", outer="(r0 - y0)**2 + r1 * r2 + sin(r2 - 2 * y1)"),
}


@dataclass(frozen=True)
class Layout:
    """Hidden layers, recurrence in them, whether the output is the model under test, the loss, and whether every layer
    also gets the spikes of the layer before the last one."""

    hidden: int
    recurrent: bool
    model_is_output: bool
    loss: str
    skip: bool = False

    @property
    def name(self) -> str:
        layers = f"{self.hidden} hidden layer{'s' if self.hidden > 1 else ''}"
        return f"{layers}{', recurrent' if self.recurrent else ''}, {self.loss}"


SPIKING = (
    Layout(1, False, False, "first_spike"),
    Layout(1, True, True, "first_spike_inverse"),
    Layout(2, False, False, "max"),
    Layout(1, True, False, "integral_exponential"),
    Layout(1, False, True, "integral_sigmoid"),
)
BIRTHS = (
    Layout(1, False, False, "integral_error"),
    Layout(1, True, False, "integral_error"),
    Layout(2, False, False, "integral_error"),
)
CURVED = (SPIKING[0], SPIKING[1], SPIKING[3])  # for nonlinear models, whose runs take longer
READOUT = (
    Layout(1, True, True, "max"),
    *(Layout(1, i % 2 == 1, True, f"integral_{w}") for i, w in enumerate(("constant", "linear", "exponential"))),
    Layout(2, False, True, "integral_sigmoid"),
)
LAYOUT_OF_ONE = {True: SPIKING[0], False: READOUT[0]}  # spiking -> the network of a quick check


def check(
    model: NeuronModel | Neuron,
    *,
    loss: str | None = None,
    seed: int = 0,
    engine: str = "reference_event",
    spike_times: str | None = None,
    dt: float | None = None,
    tolerance: float = 1e-6,
    quick: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> Report:
    """Check a neuron model in small random networks: feed-forward, recurrent, two hidden layers, each with a loss.

    A spiking model stands in the hidden layers and, in some networks, in the output; another one is the output. The
    schemes of a nonlinear model are checked for their order, hand-written snippets against the derived ones.

    Args:
        loss: only the networks with this loss (a name of `LOSSES`); default all that fit the model.
        seed: of networks, parameters and input.
        model: the neuron, with parameters or without.
        tolerance: largest relative error of a block.
        engine: whose gradient. spike_times, dt: see `check_network`, also for what the differences are of.
        quick: the first network only.
        progress: called with words for what comes next.

    Example:
        >>> from genn_eventprop.verify.gradients import check
        >>> check(LIF(tau_mem=15.0), quick=True).passed
        True
    """
    model = model.model if isinstance(model, Neuron) else model
    if not isinstance(model, NeuronModel):
        raise SettingError(f"check takes a NeuronModel, such as genn_eventprop.models.LIF, got {shown(model)}")
    kind = spike_times or kind_of(engine, dt)
    linear = derive(model).linear
    layouts = (SPIKING if linear else CURVED) if model.spiking else READOUT
    layouts = layouts[:1] if quick else layouts
    if loss is not None:
        check_known(loss, LOSSES, SettingError, f"unknown loss {loss!r} (")
        layouts = _with_loss(model, loss)
    report = Report([])
    for i, layout in enumerate(layouts):
        name = f"{model.name}, {layout.name}"
        progress(f"network {i + 1} of {len(layouts)}: {name}")
        report.cases.append(
            drawn_case(
                name, model, layout, (seed, i),
                engine=engine, spike_times=kind, dt=dt, tolerance=tolerance, own_output=False, progress=progress,
            )
        )  # fmt: skip
    if not quick:
        _never_moved(model, report)
    if loss is None and not linear:
        report.schemes += scheme_errors(random_neuron(model, np.random.default_rng(seed), 3), seed)
    if model.snippets:
        found = suspects(random_neuron(model, np.random.default_rng(seed), TRIALS), seed=seed)
        report.failures += [s.text(model.name) for s in found]
    return report


def births_of_model(
    model: NeuronModel, sigma: float, *, seed: int = 0, engine: str = "native", quick: bool = False
) -> Iterator[BirthReport]:
    """The gradient with births of small random networks, one after the other, against that of the expected loss.

    Raises:
        SettingError: the model never spikes. PlanError: it cannot have births.
    """
    if not model.spiking:
        raise SettingError(f"{model.name} never spikes, so it has no spike births; check it without --spike-birth")
    for i, layout in enumerate(BIRTHS[:1] if quick else BIRTHS):
        plan, parameters, events = draw(model, layout, np.random.default_rng((seed, i)))
        # as `make_plan` does, which refuses what cannot have births
        plan = replace(plan, spike_birth=checked_sigma(sigma, plan.populations))
        yield births_of_plan(f"{model.name}, {layout.name}", plan, parameters, events, seed=seed, engine=engine)


def drawn_case(
    name: str,
    model: NeuronModel,
    layout: Layout,
    seed: tuple[int, ...],
    *,
    engine: str = "reference_event",
    spike_times: str = "exact",
    dt: float | None = None,
    tolerance: float = 1e-6,
    own_output: bool = True,
    progress: Callable[[str], None] = lambda text: None,
) -> Case:
    """Check one random network. A draw that proves nothing (a silent layer, spikes that change) is drawn again, up to
    `DRAWS` times; a wrong gradient never is.

    Args:
        seed: of network, parameters and input. spike_times, dt: on a grid the same network runs there.
        own_output: whether parameters of a readout that never spikes may have no influence.
    """
    for attempt in range(DRAWS):
        rng = np.random.default_rng([*seed, attempt] if attempt else seed)
        plan, parameters, events = draw(model, layout, rng, progress)
        if spike_times == "grid":
            plan, events = _on_grid(plan, events, dt)
            if not _decided_on_grid(plan, parameters, events) and attempt < DRAWS - 1:
                continue
        vanish = frozenset(
            f"{p.name}.{n}" for p in plan.populations for n in p.derived.params if p.spiking or own_output
        )
        case = compare(
            name, plan, parameters, events, engine=engine, tolerance=tolerance, seed=seed[0], may_vanish=vanish
        )
        if not case.failures or case.wrong:
            break
    return case


def _on_grid(plan: Plan, events: Events, dt: float | None) -> tuple[Plan, Events]:
    """The same network on a grid, and targets of V at its steps."""
    step = dt or grid_step(plan.duration, plan.losses)
    plan = plan.on_grid(number_of_steps(plan.duration, step))
    if plan.loss.readout != "voltage" or events.targets is None:
        return plan, events
    given = np.asarray(events.targets)
    places = np.linspace(0.0, given.shape[1] - 1.0, plan.n_steps + 1)
    before = np.minimum(places.astype(int), given.shape[1] - 2)
    part = (places - before)[None, :, None]
    targets = given[:, before] * (1 - part) + given[:, before + 1] * part
    samples = [events.sample(i) for i in range(len(events))]
    return plan, Events.from_samples(samples, N_INPUT, events.labels, n_classes=N_OUTPUT, targets=targets)


def _decided_on_grid(plan: Plan, parameters: dict[str, np.ndarray], events: Events) -> bool:
    """Every layer spikes there too, and see `_decided`."""
    clock = ReferenceClock(plan, parameters)
    result = clock.run(clock.load(events), np.arange(len(events)))
    return all(n.sum() > 0 for n in result.spike_counts.values()) and _decided(plan, result.readout, events)


def _with_loss(model: NeuronModel, loss: str) -> tuple[Layout, ...]:
    if not model.spiking and loss.startswith(("first_spike", "spike_times")):
        raise SettingError(f"{model.name} never spikes, so it cannot be checked with {loss!r}")
    as_output = not model.spiking or loss != "max"
    return tuple(Layout(h, r, as_output, loss) for h, r in ((1, False), (1, True), (2, False)))


def _never_moved(model: NeuronModel, report: Report) -> None:
    """A parameter may have no influence in one network (what happens after a first spike), but not in all, unless it
    cannot have any."""
    for n in model.params:
        named = [(c, b) for c in report.cases for b in c.blocks if b.name.split(".")[-1] == n]
        if all(b.zero and b.name not in c.cannot_move for c, b in named):
            report.failures.append(f"proves nothing: the gradient of {n} is all zero in every network")


class Silence:
    """What it has cost so far that a layer never spiked, however large its weights.

    A threshold out of reach shows in nothing else, and a run takes twice the time with every doubling of the weights
    where these make the equations stiff (conductances), so that without an end the search would take hours.
    """

    LIMIT, FIRST_WORD = 6.0, 1.0
    """Processor seconds until it is given up, and until the user is told of it."""

    def __init__(self, model: NeuronModel, duration: float, progress: Callable[[str], None]) -> None:
        self.model, self.duration, self.progress = model, duration, progress
        self.seconds, self.reported, self.largest, self.spiked = 0.0, self.FIRST_WORD, 0.0, False

    def add(self, seconds: float, weight: float) -> None:
        """Count a run in which a layer was silent with weights up to `weight`.

        Raises:
            EngineError: no weight has ever made a layer spike, and another run would take too long.
        """
        self.seconds, self.largest = self.seconds + seconds, max(self.largest, weight)
        if not self.spiked and self.seconds + 2 * seconds > self.LIMIT:
            raise self.error()
        if self.seconds > self.reported:
            self.reported = 2 * self.seconds
            self.progress(f"no spike of {self.model.name} yet with weights up to {self.largest:.2g}; trying others")

    def error(self) -> EngineError:
        tried = f" (tried up to {self.largest:.2g})" if self.largest else ""
        return EngineError(
            f"{self.model.name}: found no weights{tried} for which every layer of a small network spikes a few times "
            f"in {self.duration:g} ms; is the threshold within reach of its input? Lower the threshold, or let the "
            "input drive the state that it depends on further"
        )


def draw(
    model: NeuronModel, layout: Layout, rng: np.random.Generator, progress: Callable[[str], None] = lambda text: None
) -> tuple[Plan, dict[str, np.ndarray], Events]:
    """A network in which every layer spikes, its parameters and labelled input.

    Raises:
        EngineError: if no scale of the weights makes the layers spike.
    """
    duration = _duration(model)
    silence = Silence(model, duration, progress)
    for doublings, driver in _ways(model):
        network, plan = _network(model, layout, duration, rng)
        parameters = network.initial_parameters(rng)
        for c in plan.connections:
            if c.receptor in model.receptors and c.receptor != driver:
                parameters[c.weight] *= 0.2
        events = _with_targets(_input(duration, rng), plan, rng)
        if _tune(plan, parameters, events, doublings, driver, silence):
            return plan, parameters, events
    raise silence.error()


def _ways(model: NeuronModel) -> Iterator[tuple[int, str]]:
    """(doublings of the weights to try, receptor that drives the neuron): another may be inhibitory."""
    for doublings in (8, 8, 16, 16, 24):
        for driver in list(model.receptors) or [""]:
            yield doublings, driver


def _duration(model: NeuronModel) -> float:
    times = [float(np.max(p.value)) for p in model.params.values() if p.unit == "ms" and not hasattr(p.value, "sample")]
    return float(np.clip(3 * max(times, default=20.0), 40.0, LONGEST))


def _network(model: NeuronModel, layout: Layout, duration: float, rng: np.random.Generator) -> tuple[Network, Plan]:
    network = Network()
    previous: Input | Population = network.input(N_INPUT)
    of_spikes = layout.loss.startswith(("first_spike", "spike_times"))
    hidden_model, other = (model, LIF if of_spikes else LI) if model.spiking else (LIF, LI)
    delay = lambda: float(rng.uniform(0.3, 3.0))  # noqa: E731
    skipped: list[Input | Population] = []  # layers before `previous`
    for i in range(layout.hidden):
        hidden = network.population(random_neuron(hidden_model, rng, N_HIDDEN), N_HIDDEN, f"hidden{i + 1}")
        for receptor in hidden_model.receptors:
            name = f"{previous.name}_{hidden.name}_{receptor}"
            network.connect(previous, hidden, Dense(Normal(1.2, 0.6)), delay=delay(), receptor=receptor, name=name)
        if layout.recurrent:
            for receptor in hidden_model.receptors:
                name = f"{hidden.name}_{hidden.name}_{receptor}"
                network.connect(hidden, hidden, Dense(Normal(0.0, 0.3)), delay=delay(), receptor=receptor, name=name)
        _skip(network, skipped if layout.skip else [], hidden, delay())
        skipped, previous = [previous], hidden
    output_model = model if layout.model_is_output else other
    output = network.population(random_neuron(output_model, rng, N_OUTPUT), N_OUTPUT, "output")
    spread = Normal(0.9, 0.6) if output_model.spiking else Normal(0.0, 0.8)
    for i, receptor in enumerate(output_model.receptors):
        name = f"{previous.name}_output_{receptor}"
        network.connect(previous, output, Dense(spread), delay=0.0 if i == 0 else delay(), receptor=receptor, name=name)
    _skip(network, skipped if layout.skip else [], output, delay())
    if layout.loss == "max":  # else all arrivals at the output would move together, and its maxima with them
        _skip(network, network.inputs, output, delay())
    loss = LOSSES[layout.loss](output)
    return network, make_plan(network, loss, dt=duration, duration=duration, spike_times="exact")


def _skip(network: Network, sources: Sequence[Input | Population], target: Population, delay: float) -> None:
    for source in sources:
        receptor = next(iter(target.model.receptors))
        network.connect(source, target, Dense(Normal(0.0, 0.3)), delay=delay, receptor=receptor)


def random_neuron(model: NeuronModel, rng: np.random.Generator, size: int) -> Neuron:
    """Every parameter learned, different for every neuron, near its default; a default of 0 becomes something else.

    Parameters move by 15 %, potentials (parameters of one unit with more than one sign: rest, reset, threshold in mV,
    say) by no more than 5 % of the range that they span.
    """
    values = {}
    for n, p in model.params.items():
        if hasattr(p.value, "sample"):
            values[n] = p
            continue
        default = np.resize(np.asarray(p.value, dtype=np.float64), size)
        away = rng.uniform(0.05, 0.25, size) * rng.choice([-1, 1], size)
        by = np.where(default == 0, np.inf, 0.15 * np.abs(default))
        by = np.minimum(by, spread(model, p))
        values[n] = Param(np.where(np.isinf(by), away, default + by * rng.uniform(-1, 1, size)), p.unit, trainable=True)
    return model(**values)


def spread(model: NeuronModel, param: Param) -> float:
    """5 % of the range of the parameters with this one's unit, if that unit has values below zero, else inf."""
    same = [q.value for q in model.params.values() if param.unit and q.unit == param.unit]
    numbers = [float(v) for value in same if not hasattr(value, "sample") for v in np.ravel(value)]
    return 0.05 * (max(numbers) - min(numbers)) if numbers and min(numbers) < 0 < len(numbers) - 1 else np.inf


def _input(duration: float, rng: np.random.Generator) -> Events:
    samples = [
        (np.sort(rng.uniform(0.01, 0.6, N_EVENTS)) * duration, rng.integers(0, N_INPUT, N_EVENTS))
        for _ in range(N_SAMPLES)
    ]
    return Events.from_samples(samples, N_INPUT, labels=rng.integers(0, N_OUTPUT, N_SAMPLES), n_classes=N_OUTPUT)


def _with_targets(events: Events, plan: Plan, rng: np.random.Generator) -> Events:
    """The same events with targets, if the loss compares with some."""
    loss, samples = plan.loss, [events.sample(i) for i in range(len(events))]
    if loss.compares == "labels":
        return events
    inner = {"voltage": (6, N_OUTPUT), "spike_times": (N_OUTPUT, 2)}.get(loss.readout, (N_OUTPUT,))
    times = loss.readout in ("first_spike", "spike_times")
    targets = rng.uniform(0.2, 0.8, (len(events), *inner)) * (plan.duration if times else 1.0)
    return Events.from_samples(samples, N_INPUT, events.labels, n_classes=N_OUTPUT, targets=targets)


def _tune(
    plan: Plan, parameters: dict[str, np.ndarray], events: Events, doublings: int, driver: str, silence: Silence
) -> bool:
    """Scale the weights layer by layer until each spikes a few times a neuron, 24 times in all; False if that fails.

    Receptors besides `driver`, which may be inhibitory, follow by the root of its factors.
    """
    spiking = [p for p in plan.populations if p.spiking]
    low = max(1.5, 24 / (len(events) * sum(p.size for p in spiking)))
    engine = ReferenceEvent(plan, parameters, max_spikes=int(10 * low * N_HIDDEN))
    data, samples = engine.load(events), np.arange(len(events))
    for p in spiking:
        silent = 0
        for _ in range(40):
            began = time.process_time()
            try:
                rate = float(engine.run(data, samples).spike_counts[p.name].mean())
            except EngineError:
                rate = np.inf
            if rate == 0:
                silent += 1
                largest = max(float(np.abs(engine.parameters[c.weight]).max()) for c in plan.into(p.name))
                silence.add(time.process_time() - began, largest)
            else:
                silence.spiked = True
            if low <= rate <= 2.5 * low or silent > doublings:
                break
            factor = 2.0 if rate == 0 else 1.25 if rate < low else 0.85
            for c in plan.into(p.name):
                other = c.receptor != driver and driver in p.derived.receptors
                engine.parameters[c.weight][...] *= factor**0.5 if other else factor
        if not low <= rate <= 2.5 * low:
            return False
    for key in parameters:
        parameters[key] = engine.parameters[key]
    return _decided(plan, engine.run(data, samples).readout, events)


def _decided(plan: Plan, readout: np.ndarray, events: Events) -> bool:
    """The right class of every sample spikes, and another one too, so that the loss moves."""
    labels = np.asarray(events.labels)
    if plan.loss.readout != "first_spike":
        return True
    return bool(np.isfinite(readout[np.arange(len(labels)), labels]).all() and np.isfinite(readout).sum(1).min() > 1)


__all__ = ["LOSSES", "Layout", "check", "draw", "drawn_case", "random_neuron", "spread"]
