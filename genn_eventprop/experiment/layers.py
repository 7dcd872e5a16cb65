"""Layered networks, as most experiments use: an input, hidden layers (recurrent or not), one output neuron per class.

    @dataclass(frozen=True)
    class Config(LayeredConfig):
        hidden: tuple[int, ...] = (350,)        # other defaults than the ones below

    def build(config: Config) -> Experiment:
        return layered(config, train, validation, test)

Every setting of `LayeredConfig` is an option of such an experiment's command line and a key of its TOML file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..choice import parse_spec, parse_specs
from ..data import Currents, Events
from ..data.augment.encodings import apply, encoded
from ..data.target_scale import has_targets
from ..errors import SettingError
from ..losses.kinds import READOUTS
from ..modelling import Conv2D, Dense, Gamma, Network, Normal, Param, Pool2D, Population, Uniform
from ..modelling.neuron import Neuron
from ..optimisers import ByParameter, Optimiser, Schedule
from ..recipes import PLAIN_RATE, RELATIVE_RATE
from ..training.initialise import initialise_rates
from ..training.trainer import Trainer
from .experiment import Experiment, ExperimentConfig
from .hold_out import notes_of_fold, without_group
from .options import (
    augmented,
    delay_of,
    encodings_of,
    late_notes,
    loss_of,
    make,
    neuron_of,
    optimiser_of,
    preprocessing,
    regularisers_of,
    revive_of,
    schedule_of,
    transformed,
)

FLOORS = {"tau_mem": 3.0, "tau_syn": 1.0}
"""ms: what a drawn or trained time constant stays above. Source: Nowotny, Turner, Knight 2025."""


@dataclass(frozen=True)
class LayeredConfig(ExperimentConfig):
    """Settings of experiments on layered networks, in addition to the common ones."""

    hidden: tuple[int, ...] = (256,)
    """Number of neurons in each hidden layer, separated by spaces."""
    recurrent: bool = True
    """Connect each hidden layer to itself."""
    convolutions: str = ""
    """Image layers before the hidden ones: "conv(8, kernel=5, stride=2, padding=2, weight=(0.1, 0.3)), pool(2)"."""
    neuron: str = "LIF"
    """Model of the hidden neurons, parameters in parentheses."""
    output: str = "auto"
    """Model of the output neurons, one per class or target; auto: LIF if the loss reads their spikes, else LI."""
    noise: float = 0.0
    """White noise on V of hidden neurons during training, in units of V per square root of ms."""
    hidden_dropout: float = 0.0
    """Probability that a hidden spike is dropped during training; for input spikes: --augment "dropout=0.1"."""
    dropped_reset: bool = False
    """Whether a dropped spike resets its neuron."""
    tau_mem: float = 20.0
    """Membrane time constant of the hidden neurons, in ms."""
    tau_syn: float = 5.0
    """Synaptic time constant of the hidden neurons, in ms."""
    tau_mem_output: float = 20.0
    """Membrane time constant of the output neurons, in ms."""
    tau_syn_output: float = 5.0
    """Synaptic time constant of the output neurons, in ms."""
    heterogeneous: bool = False
    """Draw each hidden neuron's time constants from Gamma(3, tau / 3), between 3 ms (synapse: 1 ms) and 3 tau."""
    train_tau: bool = False
    """Learn the time constants of the hidden neurons, with the same lower limits."""
    omega: tuple[float, float] | None = None
    """Draw the angular frequency of resonating hidden neurons (BalancedRF) between these, in 1/ms, and their damping
    from 1/30 to 1/3 of the lower one; learned with --train-tau."""
    omega_learning_rate: float = 1e-4
    """Learning rate of frequency and damping, in 1/ms, with --omega and --train-tau."""
    tau_learning_rate: float | None = None
    """Learning rate of the time constants, in ms; by default that of the weights."""
    input_weight: tuple[float, float] | None = None
    """Mean and standard deviation of the initial input weights, divided by the number of copies in a delay line; by
    default they are scaled on the training set, so that neurons spike."""
    hidden_weight: tuple[float, float] | None = None
    """Mean and standard deviation of the initial weights from one hidden layer to the next; scaled by default."""
    recurrent_weight: tuple[float, float] | None = None
    """Mean and standard deviation of the initial weights within a hidden layer; by default scaled with the others."""
    output_weight: tuple[float, float] | None = None
    """Mean and standard deviation of the initial output weights; by default scaled to what the loss can tell apart."""
    initial_spikes: float | None = None
    """Scale initial weights, layer by layer, until each hidden neuron spikes this often in a trial of the training set.
    By default 5 (1 if the loss reads first spikes), for weights without mean and standard deviation; 0: leave all as
    drawn."""
    delay_line: tuple[int, float] = (0, 30.0)
    """Delayed copies of the input, or of the last layer of images: how many, and the delay in ms from one to the next;
    each has its own weights."""
    output_delay_line: tuple[int, float] = (0, 10.0)
    """Delayed copies of the last hidden layer for the output, likewise; they show it when the layer spiked."""
    direct: bool = False
    """Connect the input to the outputs too: what is linear in counts need not pass the hidden layers."""
    delays: str = ""
    """Learned delays of connections to hidden layers: "synaptic", "axonal" or "dendritic(high=20, max=60)", in ms."""
    delay_learning_rate: float | None = None
    """Learning rate of the delays, in ms; by default that of the weights."""
    delay_schedule: str = ""
    """Learning-rate schedule of the delays; by default that of the weights."""
    duration: float = 1000.0
    """Trial length in ms; later input is dropped."""
    loss: str = "sum_weigh_exp"
    """Loss by name, options in parentheses."""
    regulariser: str = ""
    """Regularisers by name, e.g. "spike_count(target=14, strength=2e-7)"; those of spikes act on each hidden layer."""
    revive: str = ""
    """What to do with hidden neurons that stay silent for an epoch: "redraw" or "lift=0.002" their incoming weights."""
    encoding: str = ""
    """Fixed steps before all else, e.g. "z_score,segments=10"; z_score, levels and clock take numbers from the training
    set, and any step of --augment that only reformats the input may stand here too."""
    augment: str = ""
    """Augmentations in order, e.g. "shift=40,blend=0.5"; those that only reformat the input apply to all sets."""
    optimiser: str = "adam"
    """Optimiser by name, options in parentheses."""
    learning_rate: float | None = None
    """Learning rate of the optimiser; by default that of the recipes, 0.02 times the scale of each weight matrix."""
    clip_each: float | None = None
    """Largest gradient norm of each weight matrix and other parameter; larger gradients are scaled down."""
    average_weights: float | None = None
    """Evaluate with an exponential moving average of the parameters over the updates, of this decay, e.g. 0.99."""
    schedule: str = "constant"
    """Learning-rate schedule, e.g. "ease_in,cosine"; several are multiplied."""
    slope_floor: float = 0.0
    """Lower bound, per ms, on the slope at a spike in 1 / slope; the metrics count how often it applies."""
    spike_birth: float = 0.0
    """Noise of thresholds, e.g. 0.1, for a gradient that sees spikes about to be born; 0: off."""


@dataclass(frozen=True)
class UnscaledConfig(LayeredConfig):
    """With initial weights that are drawn as in the loss-shaping paper, whatever the data.

    Source: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852.
    """

    input_weight: tuple[float, float] | None = (0.03, 0.01)
    """Mean and standard deviation of the initial weights from the input to the first hidden layer."""
    hidden_weight: tuple[float, float] | None = (0.02, 0.03)
    """Mean and standard deviation of the initial weights from one hidden layer to the next."""
    recurrent_weight: tuple[float, float] | None = (0.0, 0.02)
    """Mean and standard deviation of the initial weights within a hidden layer."""
    output_weight: tuple[float, float] | None = (0.0, 0.03)
    """Mean and standard deviation of the initial output weights."""
    output: str = "LI"
    learning_rate: float | None = 1e-3
    """Learning rate of the optimiser."""


def layered(
    config: LayeredConfig,
    train: Events | Currents,
    validation: Events | Currents | None,
    test: Events | Currents | None,
    class_names: Sequence[str] = (),
    shape: tuple[int, int, int] | None = None,
    **trainer: Any,
) -> Experiment:
    """The experiment that `config` describes, on these data sets: spikes, or currents, which then are what drives the
    first layer (`Network.current` in the place of `Network.input`).

    Args:
        config: the settings.
        train, validation, test: labelled data; None if there is none.
        class_names: for figures and reports.
        shape: (height, width, channels) of an input of images with one channel after the other, as the event-camera
            loaders return them; with `convolutions` the channels are interleaved (`data.augment.ChannelsLast`).
        trainer: further arguments of `Trainer`.

    Example:
        >>> from genn_eventprop.experiment import LayeredConfig, layered
        >>> layered(LayeredConfig(hidden=(16,), duration=20.0), events[:12], None, events[12:]).trainer.network
        <Network: 4 input channels, 18 neurons; learned: ...
    """
    if config.hold_out is not None:  # before anything looks at the data, as initial weights do
        group: str = config.hold_out
        before = validation
        train, validation, test = without_group(train, validation, test, group)
        trainer["notes"] = [*trainer.get("notes", ()), *notes_of_fold(before, validation, group)]
    if not isinstance(train, (Events, Currents)):
        raise SettingError("layered(...) makes networks with one input, Events or Currents; build others in the page")
    if config.convolutions and shape is not None and isinstance(train, Events):
        interleaved = f"channels_last={shape[2]}"
        config = replace(config, augment=f"{config.augment},{interleaved}" if config.augment else interleaved)
    recorded, steps = train, list[Any]()
    if config.encoding:
        steps, train = encoded(encodings_of(config.encoding), train)
        validation, test = (None if data is None else apply(steps, data) for data in (validation, test))
    how: tuple[str, float] = (config.augment, config.duration)
    held_out, last = (None if events is None else transformed(events, *how) for events in (validation, test))
    learned = augmented(train, *how, config.seed)
    current = train.dt if isinstance(train, Currents) else None
    assert learned.n_channels is not None  # it is one input
    network, output = network_of(config, learned.n_channels, outputs_of(train), shape, current)
    # the published 0.5 and 6.4 ms suit trials of 30 ms: exp(T / tau1) pushes silent classes, and is 1e33 after 500 ms
    times: dict[str, Any] = {} if config.input_weight else {"tau0": config.duration / 25, "tau1": config.duration / 2.5}
    loss = loss_of(config.loss, output, **times)
    hidden = [p.name for p in network.populations[:-1]]
    wanted = dict.fromkeys(hidden, config.initial_spikes) if config.initial_spikes else {}
    forward = (c for c in network.connections if c.from_data and c.source is not c.target)
    scaled = {c.target.name for c in forward} & wanted.keys()
    new_trainer = Trainer(
        network,
        loss,
        regularisers=regularisers_of(config.regulariser, network.populations[:-1]),
        duration=config.duration,
        dt=config.dt,
        spike_times=config.spike_times or "auto",
        engine=config.engine,
        optimiser=_optimiser(config, hidden),
        schedule=_schedule(config),
        batch_size=config.batch_size,
        seed=config.seed,
        threads=config.threads,
        slope_floor=config.slope_floor,
        spike_birth=config.spike_birth,
        weight_rows=config.weight_rows,
        profile=config.profile,
        callbacks=[*revive_of(config.revive), *trainer.pop("callbacks", ())],
        notes=[*late_notes(train, *how), *_without_delays(config), *trainer.pop("notes", ())],
        initial_rates=0.0 if config.initial_spikes == 0 else {name: wanted[name] for name in scaled} or None,
        **trainer,
    )
    if given := {name: rate for name, rate in wanted.items() if name not in scaled}:
        initialise_rates(new_trainer, transformed(train, *how), given)
    steps += [] if isinstance(train, Currents) else preprocessing(*how)
    return Experiment(new_trainer, learned, held_out, last, class_names, steps, recorded.n_channels)


def _optimiser(config: LayeredConfig, hidden: Sequence[str]) -> Optimiser:
    """The optimiser, with its own rates for time constants and delays, which are in ms and not relative to anything.

    Args:
        hidden: names of the populations whose time constants may be learned.
    """
    rate, relative = config.learning_rate, config.learning_rate is None
    rate, plain = (RELATIVE_RATE, PLAIN_RATE) if rate is None else (rate, rate)
    no_decay = {"weight_decay": 0.0} if config.optimiser.startswith("adam_w") else {}  # nothing is drawn to zero

    def own(learning_rate: float | None) -> dict[str, float]:
        return {"learning_rate": plain if learning_rate is None else learning_rate, **no_decay}

    groups = {f"{name}.tau_*": own(config.tau_learning_rate) for name in hidden} if config.train_tau else {}
    if config.train_tau and config.omega is not None:
        groups |= {f"{layer}.{n}": own(config.omega_learning_rate) for layer in hidden for n in ("omega", "b_offset")}
    groups |= {"*.delay": own(config.delay_learning_rate)} if config.delays else {}
    # what --optimiser says itself of limits of gradients and averages stands
    shared: dict[str, Any] = {} if config.clip_each is None else {"clip_norm": {"*": config.clip_each}}
    shared |= {} if config.average_weights is None else {"average": config.average_weights}
    return optimiser_of(config.optimiser, rate, groups=groups or None, relative=relative, **shared)


def _without_delays(config: LayeredConfig) -> list[str]:
    """A note on settings that need --delays."""
    idle = [n for n in ("delay_learning_rate", "delay_schedule") if getattr(config, n) and not config.delays]
    return [f"--{name.replace('_', '-')} has no effect without --delays" for name in idle]


def _schedule(config: LayeredConfig) -> Schedule:
    others = schedule_of(config.schedule, config.epochs)
    if not (config.delays and config.delay_schedule):
        return others
    return ByParameter(others, {"*.delay": schedule_of(config.delay_schedule, config.epochs, "--delay-schedule")})


def network_of(
    config: LayeredConfig, n_inputs: int, n_classes: int, shape: tuple[int, int, int] | None = None,
    current: float | None = None,
) -> tuple[Network, Population]:  # fmt: skip
    """The network and its output population; an input of that `shape` if there are convolutions.

    Args:
        current: ms of each value, if the input is a current.
    """
    if not config.hidden:
        raise SettingError("--hidden: at least one hidden layer is needed")
    network = Network()
    images = bool(config.convolutions)
    sides: Any = {"shape": shape} if images and shape is not None else {"size": n_inputs}
    source: Any = network.input(**sides) if current is None else network.current(dt=current, name="input", **sides)
    entry, neuron = source, neuron_of(config.neuron, "--neuron", **time_constants(config))
    stochastic: Any = {"noise": config.noise, "dropout": config.hidden_dropout, "dropped_reset": config.dropped_reset}
    if images:
        kernels = None if config.input_weight is None else (0.1, 0.3)
        source = image_layers(network, source, config.convolutions, neuron, stochastic, weight=kernels)
    for i, size in enumerate(config.hidden):
        name = "hidden" if len(config.hidden) == 1 else f"hidden{i + 1}"
        layer = network.population(neuron, size, name, **stochastic)
        if i == 0:
            connect_first(network, source, layer, config)
        else:
            network.connect(source, layer, dense(config.hidden_weight), delay=delay_of(config.delays))
        if config.recurrent:
            network.connect(layer, layer, dense(config.recurrent_weight), delay=delay_of(config.delays))
        source = layer
    constants = {"tau_mem": config.tau_mem_output, "tau_syn": config.tau_syn_output}
    output = network.population(neuron_of(output_of(config), "--output", **constants), n_classes, name="output")
    delay_line(network, source, output, config.output_delay_line, config.output_weight, "--output-delay-line")
    if config.direct:
        network.connect(entry, output, dense(config.output_weight), name="input_output")
    return network, output


def output_of(config: LayeredConfig) -> str:
    """The model of the output neurons: with auto, one that spikes if the loss reads spikes."""
    if config.output != "auto":
        return config.output
    spec = parse_spec(config.loss, "--loss")
    readout = spec.options.get("readout", {"spike_count": "count", "spike_time_error": "spike_times"}.get(spec.name))
    spikes = spec.name.startswith("first_spike") or (readout in READOUTS and bool(READOUTS[str(readout)].spikes))
    return "LIF" if spikes else "LI"


def connect_first(network: Network, source: Any, layer: Population, config: LayeredConfig) -> None:
    """The connection from the input, or from the last layer of images, or one for each tap of a delay line."""
    if config.delay_line[0] and config.delays:
        raise SettingError("--delay-line makes copies with fixed delays; leave out --delays, or --delay-line")
    weight = config.hidden_weight if config.convolutions else config.input_weight
    if config.delays:
        network.connect(source, layer, dense(weight), delay=delay_of(config.delays))
    else:
        delay_line(network, source, layer, config.delay_line, weight, "--delay-line")


def delay_line(
    network: Network,
    source: Any,
    layer: Population,
    line: tuple[int, float],
    weight: tuple[float, float] | None,
    where: str,
) -> None:
    """A connection, and as many delayed ones as `line` says, each with weights of its own."""
    copies, spacing = line
    if copies < 0:
        raise SettingError(f"{where}: the number of copies cannot be negative, got {copies}")
    if weight is not None:
        weight = (weight[0] / max(copies, 1), weight[1] / max(copies, 1))
    for j in range(copies + 1):
        name = f"{source.name}_{layer.name}" + (f"_{j}" if copies else "")
        network.connect(source, layer, dense(weight), delay=j * spacing, name=name)


def dense(weight: tuple[float, float] | None) -> Dense:
    """All-to-all weights with a mean and standard deviation, or scaled on the training set."""
    return Dense(None if weight is None else Normal(*weight))


def time_constants(config: LayeredConfig) -> dict[str, Param]:
    """Time constants of hidden neurons: fixed or learned, one for all or drawn for each neuron."""
    params = {}
    for name, floor in FLOORS.items():
        tau = getattr(config, name)
        value = Gamma(tau, 3.0, floor, 3 * tau) if config.heterogeneous else tau
        bounds = (floor, 3 * tau if config.heterogeneous else None) if config.train_tau else (None, None)
        params[name] = Param(value, "ms", trainable=config.train_tau, bounds=bounds)
    if config.omega is not None:
        low, high = config.omega
        if not 0 < low < high:
            raise SettingError(f"--omega: two frequencies in 1/ms, 0 < low < high, got {low} {high}")
        for name, value in (("omega", Uniform(low, high)), ("b_offset", Uniform(low / 30, low / 3))):
            params[name] = Param(value, "1/ms", trainable=config.train_tau, bounds=(1e-4, None))
    return params


def outputs_of(events: Events | Currents) -> int:
    """Number of classes of a labelled data set, or of the targets of a regression."""
    if has_targets(events):
        return int(events.targets.shape[1])
    if events.n_classes is not None:
        return int(events.n_classes)
    if events.labels is None or not len(events.labels):
        raise SettingError(f"{events.name or 'the training set'} has no labels; a classifier cannot learn from it")
    return int(events.labels.max()) + 1


def image_layers(
    network: Network,
    source: Any,
    text: str,
    neuron: Neuron,
    stochastic: dict[str, Any],
    where: str = "--convolutions",
    weight: tuple[float, float] | None = (0.1, 0.3),
) -> Population:
    """The last of the populations that `text` describes, each over the one before, the first over `source`.

    ``"conv(8, kernel=5, stride=2, padding=2, weight=(0.1, 0.3)), pool(2, scale=4)"``: `conv` learns kernels that start
    with `weight` as mean and standard deviation (None: scaled on the training set), `pool` averages windows and learns
    one scale.

    Raises:
        SettingError: `source` is no image, or a layer that is not known.
    """
    if len(source.shape) != 3:
        raise SettingError(f"{where}: the input of this experiment is not an image, it has shape {source.shape}")
    table: dict[str, Callable[..., Conv2D | Pool2D]] = {"conv": _conv, "pool": Pool2D}
    for i, spec in enumerate(parse_specs(text, where)):
        kind = make(table, spec, where, **({"weight": weight} if spec.name == "conv" else {}))
        name = f"{spec.name}{i + 1}"
        layer = network.population(neuron, name=name, shape=kind.output_shape(source.shape), **stochastic)
        network.connect(source, layer, kind)
        source = layer
    return source


def _conv(
    channels: int,
    kernel: int = 3,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    weight: tuple[float, float] | None = (0.1, 0.3),
) -> Conv2D:
    return Conv2D(
        None if weight is None else Normal(*weight), kernel, channels, stride=stride, padding=padding, dilation=dilation
    )
