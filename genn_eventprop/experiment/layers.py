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
from typing import TYPE_CHECKING, Any

from ..engines import solvable
from ..errors import SettingError
from ..modelling import Conv2D, Dense, Gamma, Network, Normal, Param, Pool2D, Population
from ..modelling.neuron import Neuron
from ..optimisers import ByParameter, Schedule
from ..training.initialise import initialise_rates
from ..training.trainer import Trainer
from .experiment import Experiment, ExperimentConfig
from .options import (
    augmented,
    delay_of,
    late_notes,
    loss_of,
    make,
    neuron_of,
    optimiser_of,
    parse_specs,
    preprocessing,
    regularisers_of,
    revive_of,
    schedule_of,
    transformed,
)

if TYPE_CHECKING:
    from ..data import Events

FLOORS = {"tau_mem": 3.0, "tau_syn": 1.0}
"""ms: what a drawn or trained time constant stays above. Source: Nowotny, Turner, Knight 2025."""


@dataclass(frozen=True)
class LayeredConfig(ExperimentConfig):
    """Settings of experiments on layered networks, in addition to the common ones."""

    hidden: tuple[int, ...] = (256,)
    """Number of neurons in each hidden layer."""
    recurrent: bool = True
    """Connect each hidden layer to itself."""
    convolutions: str = ""
    """Image layers before the hidden ones: "conv(8, kernel=5, stride=2, padding=2, weight=(0.1, 0.3)), pool(2)"."""
    neuron: str = "LIF"
    """Model of the hidden neurons, parameters in parentheses."""
    output: str = "LI"
    """Model of the output neurons, one per class."""
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
    tau_learning_rate: float | None = None
    """Learning rate of the time constants, in ms; by default that of the weights."""
    input_weight: tuple[float, float] = (0.03, 0.01)
    """Mean and standard deviation of the initial input weights; divided by the number of copies in a delay line."""
    hidden_weight: tuple[float, float] = (0.02, 0.03)
    """Mean and standard deviation of the initial weights from one hidden layer to the next."""
    recurrent_weight: tuple[float, float] = (0.0, 0.02)
    """Mean and standard deviation of the initial weights within a hidden layer."""
    output_weight: tuple[float, float] = (0.0, 0.03)
    """Mean and standard deviation of the initial output weights."""
    initial_spikes: float | None = None
    """Initial spikes per hidden neuron and trial: initial weights are scaled, layer by layer, until the training set
    evokes that many; 0: leave the weights as drawn."""
    delay_line: tuple[int, float] = (0, 30.0)
    """Delayed copies of the input, or of the last layer of images: how many, and the delay in ms from one to the next;
    each has its own weights."""
    output_delay_line: tuple[int, float] = (0, 10.0)
    """Delayed copies of the last hidden layer at the output, likewise: they tell the output when its neurons spiked."""
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
    augment: str = ""
    """Augmentations in order, e.g. "shift=40,blend=0.5"; those that only reformat the input apply to all sets."""
    optimiser: str = "adam"
    """Optimiser by name, options in parentheses."""
    learning_rate: float = 1e-3
    """Learning rate of the optimiser."""
    clip_each: float | None = None
    """Largest gradient norm of each weight matrix and other parameter; larger gradients are scaled down."""
    average_weights: float | None = None
    """Evaluate with an exponential moving average of the parameters over the updates, of this decay, e.g. 0.99."""
    schedule: str = "constant"
    """Learning-rate schedule, e.g. "ease_in,cosine"; several are multiplied."""
    slope_floor: float = 0.0
    """Lower bound, per ms, on the slope at a spike in 1 / slope; the metrics count how often it applies."""
    spike_birth: float = 0.0
    """Noise of thresholds, e.g. 0.1, for a gradient that sees spikes about to be born (docs/spike_birth.md); 0: off."""


def layered(
    config: LayeredConfig,
    train: Events,
    validation: Events | None,
    test: Events | None,
    class_names: Sequence[str] = (),
    shape: tuple[int, int, int] | None = None,
    **trainer: Any,
) -> Experiment:
    """The experiment that `config` describes, on these data sets.

    Args:
        class_names: for figures and reports.
        shape: (height, width, channels) of an input of images with one channel after the other, as the event-camera
            loaders return them; with `convolutions` the channels are interleaved (`data.augment.ChannelsLast`).
        trainer: further arguments of `Trainer`.
    """
    if config.convolutions and shape is not None:
        interleaved = f"channels_last={shape[2]}"
        config = replace(config, augment=f"{config.augment},{interleaved}" if config.augment else interleaved)
    how = (config.augment, config.duration)
    held_out, last = (None if events is None else transformed(events, *how) for events in (validation, test))
    learned = augmented(train, *how, config.seed)
    network, output = network_of(config, learned.n_channels, classes_of(train), shape)
    loss = loss_of(config.loss, output)
    spike_times, dt = config.time_grid(solvable=solvable(network))
    rates = {"learning_rate": config.learning_rate if config.tau_learning_rate is None else config.tau_learning_rate}
    if config.optimiser.startswith("adam_w"):
        rates["weight_decay"] = 0.0  # time constants must not be drawn to zero
    groups = {f"{p.name}.tau_*": rates for p in network.populations[:-1]} if config.train_tau else {}
    if config.delays:
        rate = config.delay_learning_rate
        rates = {"learning_rate": config.learning_rate if rate is None else rate}
        groups["*.delay"] = rates | ({"weight_decay": 0.0} if config.optimiser.startswith("adam_w") else {})
    new_trainer = Trainer(
        network,
        loss,
        regularisers=regularisers_of(config.regulariser, network.populations[:-1]),
        duration=config.duration,
        dt=dt,
        spike_times=spike_times,
        engine=config.engine,
        optimiser=optimiser_of(config.optimiser, config.learning_rate, groups=groups or None, **_shared(config)),
        schedule=_schedule(config),
        batch_size=config.batch_size,
        seed=config.seed,
        threads=config.threads,
        genn_backend=config.genn_backend,
        slope_floor=config.slope_floor,
        spike_birth=config.spike_birth,
        callbacks=[*revive_of(config.revive), *trainer.pop("callbacks", ())],
        notes=[*late_notes(train, *how), *_without_delays(config)],
        **trainer,
    )
    if config.initial_spikes:
        hidden = {p.name: config.initial_spikes for p in network.populations[:-1]}
        initialise_rates(new_trainer, transformed(train, *how), hidden)
    return Experiment(new_trainer, learned, held_out, last, class_names, preprocessing(*how), train.n_channels)


def _shared(config: LayeredConfig) -> dict[str, Any]:
    """Limits of gradients and averages, for the optimiser; what --optimiser says itself stands."""
    limits = {} if config.clip_each is None else {"clip_norm": {"*": config.clip_each}}
    return limits | ({} if config.average_weights is None else {"average": config.average_weights})


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
    config: LayeredConfig, n_inputs: int, n_classes: int, shape: tuple[int, int, int] | None = None
) -> tuple[Network, Population]:
    """The network and its output population; an input of that `shape` if there are convolutions."""
    if not config.hidden:
        raise SettingError("--hidden: at least one hidden layer is needed")
    network = Network()
    images = bool(config.convolutions)
    source: Any = network.input(shape=shape) if images and shape is not None else network.input(n_inputs)
    neuron = neuron_of(config.neuron, "--neuron", **time_constants(config))
    stochastic: Any = {"noise": config.noise, "dropout": config.hidden_dropout, "dropped_reset": config.dropped_reset}
    if images:
        source = image_layers(network, source, config.convolutions, neuron, stochastic)
    for i, size in enumerate(config.hidden):
        name = "hidden" if len(config.hidden) == 1 else f"hidden{i + 1}"
        layer = network.population(neuron, size, name, **stochastic)
        if i == 0:
            connect_first(network, source, layer, config)
        else:
            network.connect(source, layer, Dense(Normal(*config.hidden_weight)), delay=delay_of(config.delays))
        if config.recurrent:
            network.connect(layer, layer, Dense(Normal(*config.recurrent_weight)), delay=delay_of(config.delays))
        source = layer
    constants = {"tau_mem": config.tau_mem_output, "tau_syn": config.tau_syn_output}
    output = network.population(neuron_of(config.output, "--output", **constants), n_classes, name="output")
    delay_line(network, source, output, config.output_delay_line, config.output_weight, "--output-delay-line")
    return network, output


def connect_first(network: Network, source: Any, layer: Population, config: LayeredConfig) -> None:
    """The connection from the input, or from the last layer of images, or one for each tap of a delay line."""
    if config.delay_line[0] and config.delays:
        raise SettingError("--delay-line makes copies with fixed delays; leave out --delays, or --delay-line")
    weight = config.hidden_weight if config.convolutions else config.input_weight
    if config.delays:
        network.connect(source, layer, Dense(Normal(*weight)), delay=delay_of(config.delays))
    else:
        delay_line(network, source, layer, config.delay_line, weight, "--delay-line")


def delay_line(
    network: Network,
    source: Any,
    layer: Population,
    line: tuple[int, float],
    weight: tuple[float, float],
    where: str,
) -> None:
    """A connection, and as many delayed ones as `line` says, each with weights of its own."""
    copies, spacing = line
    if copies < 0:
        raise SettingError(f"{where}: the number of copies cannot be negative, got {copies}")
    mean, std = (value / max(copies, 1) for value in weight)
    for j in range(copies + 1):
        name = f"{source.name}_{layer.name}" + (f"_{j}" if copies else "")
        network.connect(source, layer, Dense(Normal(mean, std)), delay=j * spacing, name=name)


def time_constants(config: LayeredConfig) -> dict[str, Param]:
    """Time constants of hidden neurons: fixed or learned, one for all or drawn for each neuron."""
    params = {}
    for name, floor in FLOORS.items():
        tau = getattr(config, name)
        value = Gamma(tau, 3.0, floor, 3 * tau) if config.heterogeneous else tau
        bounds = (floor, 3 * tau if config.heterogeneous else None) if config.train_tau else (None, None)
        params[name] = Param(value, "ms", trainable=config.train_tau, bounds=bounds)
    return params


def classes_of(events: Events) -> int:
    """Number of classes of a labelled data set."""
    if events.n_classes is not None:
        return int(events.n_classes)
    if events.labels is None or not len(events.labels):
        raise SettingError(f"{events.name or 'the training set'} has no labels; a classifier cannot learn from it")
    return int(events.labels.max()) + 1


def image_layers(
    network: Network, source: Any, text: str, neuron: Neuron, stochastic: dict[str, Any], where: str = "--convolutions"
) -> Population:
    """The last of the populations that `text` describes, each over the one before, the first over `source`.

    ``"conv(8, kernel=5, stride=2, padding=2, weight=(0.1, 0.3)), pool(2, scale=4)"``: `conv` learns kernels that start
    with `weight` as mean and standard deviation, `pool` averages windows and learns one scale.

    Raises:
        SettingError: `source` is no image, or a layer that is not known.
    """
    if len(source.shape) != 3:
        raise SettingError(f"{where}: the input of this experiment is not an image, it has shape {source.shape}")
    table: dict[str, Callable[..., Conv2D | Pool2D]] = {"conv": _conv, "pool": Pool2D}
    for i, spec in enumerate(parse_specs(text, where)):
        kind = make(table, spec, where)
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
    weight: tuple[float, float] = (0.1, 0.3),
) -> Conv2D:
    return Conv2D(Normal(*weight), kernel, channels, stride=stride, padding=padding, dilation=dilation)
