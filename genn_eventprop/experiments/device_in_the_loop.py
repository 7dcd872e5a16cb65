"""Yin-Yang with its hidden layer on a device that is not what it should be.

The device is simulated (`training.SimulatedDevice`): 20 % spread of time constants and thresholds between neurons,
reported spikes that move by 0.1 ms, and one in twenty lost. It runs the hidden layer in training, validation and test;
gradients are exact ones of the ideal network at the spikes that came back (docs/device.md). Method: Wunderlich & Pehle
2021, doi 10.1038/s41598-021-91786-z; in the loop: Pehle et al. 2023, arXiv 2302.07141 (BrainScaleS-2). A chip
takes the place of the simulation in `build`.

    genn-eventprop train device_in_the_loop
    genn-eventprop train device_in_the_loop --no-device        the ideal network
    genn-eventprop train device_in_the_loop --neuron ALIF --weight-bits 6
    genn-eventprop train device_in_the_loop --neuron AdEx      in exact time; a neuron whose spike is lost waits for one
    genn-eventprop train device_in_the_loop --quick

Expected after --epochs 10 --train-size 4000, five seeds and devices (benchmarks/device_in_the_loop.py): 91.6 +- 0.8 %,
the ideal network 92.0 +- 0.9 %, and that network only run on the device 81.6 +- 2.6 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from genn_eventprop import Dense, Network, Trainer
from genn_eventprop.compile import make_plan
from genn_eventprop.data.readers import yin_yang
from genn_eventprop.experiment import Experiment, ExperimentConfig
from genn_eventprop.experiment.options import neuron_of
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.modelling import Neuron
from genn_eventprop.models import LI
from genn_eventprop.optimisers import Adam, Cosine
from genn_eventprop.report import plots
from genn_eventprop.training import InTheLoop, SimulatedDevice

QUICK = {"epochs": 8, "hidden": 60}


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """A chip of tolerances that are usual for analogue neurons."""

    epochs: int = 20
    """Passes through the training set."""
    hidden: int = 300
    """Number of neurons on the device."""
    neuron: str = "LIF"
    """Model of these neurons, parameters in parentheses."""
    device: bool = True
    """The hidden layer runs on the device; without, on the ideal network."""
    spread: float = 0.2
    """Relative standard deviation of time constants and thresholds between neurons."""
    jitter: float = 0.1
    """Standard deviation of reported spike times, in ms."""
    lost: float = 0.05
    """Share of spikes that are not reported."""
    surplus: float = 0.0
    """Spikes that are reported though there were none, per neuron and second."""
    weight_bits: int | None = None
    """Bits of the weights on the device; by default as in the model."""
    device_seed: int = 1
    """Which device: its deviations are fixed by this seed."""
    initial_spikes: float = 4.0
    """Spikes per neuron and trial that the initial weights are scaled to."""
    slope_floor: float = 0.02
    """Smallest trusted slope of V at a spike, in thresholds per ms; by it 1 / slope is bounded."""
    learning_rate: float = 0.05
    """Adam's learning rate, in units of the initial weights of each connection."""
    duration: float = 40.0
    """Trial length in ms."""
    train_size: int = 5000
    """Number of training samples, at most 5000."""


def deviating(net: Network) -> tuple[dict[str, float], dict[str, float]]:
    """(parameter -> 1 or the distance from rest to threshold): what a spread is multiplied with, relative and in the
    unit of the parameter."""
    model = net.populations[0].model
    relative = {n: 1.0 for n in model.params if n.startswith(("tau_m", "tau_s", "tau_w", "tau_B", "c_mem"))}
    thresholds = [n for n in model.params if n in ("v_thresh", "v_peak")]
    rest = model.params["e_leak"].value if "e_leak" in model.params else 0.0
    return relative, {n: float(abs(model.params[n].value - rest)) for n in thresholds}


def waiting(neuron: Neuron) -> Neuron:
    """A neuron whose upstroke is in its equations (AdEx, EIF), and which waits at its peak where a spike is lost."""
    return Neuron(neuron.model.waiting("delta_t"), neuron.params) if "delta_t" in neuron.params else neuron


def build(config: Config) -> Experiment:
    """Network, device and data of one run."""
    net = Network()
    hidden = net.population(waiting(neuron_of(config.neuron, "--neuron")), config.hidden, name="hidden")
    output = net.population(LI(), 3, name="output")
    net.connect(net.input(5), hidden, Dense())
    net.connect(hidden, output, Dense())
    loss, dt = IntegratedVoltageCrossEntropy(output), 0.2 if config.dt is None else config.dt
    # no step of the grid is short enough for an upstroke
    kind = "exact" if "v_peak" in hidden.model.params else "grid"
    spike_times = config.spike_times if config.spike_times in ("grid", "exact") else kind
    relative, shifted = deviating(net)
    device = None
    if config.device:
        device = InTheLoop(
            SimulatedDevice(
                make_plan(net, loss, dt=dt, duration=config.duration, spike_times=spike_times),
                spread={f"hidden.{n}": config.spread * by for n, by in relative.items()},
                shift={f"hidden.{n}": config.spread * by for n, by in shifted.items()},
                jitter=config.jitter, lost=config.lost, surplus=config.surplus, weight_bits=config.weight_bits,
                seed=config.device_seed,
            )
        )  # fmt: skip
    trainer = Trainer(
        net,
        loss,
        duration=config.duration,
        dt=dt,
        spike_times=spike_times,
        engine=config.engine,
        optimiser=Adam(config.learning_rate, relative=True),
        schedule=Cosine(config.epochs),
        batch_size=config.batch_size,
        seed=config.seed,
        threads=config.threads,
        slope_floor=config.slope_floor * max(shifted.values()),
        initial_rates=config.initial_spikes,
        weight_rows=config.weight_rows,
        device=device,
    )
    train, test = yin_yang.load("train", config.train_size), yin_yang.load("test")
    return Experiment(trainer, train, yin_yang.load("validation"), test, yin_yang.CLASSES)


def plot(experiment: Experiment, folder: Path) -> None:
    """Learning curves and what the layers do."""
    plots.standard(experiment, folder)


if __name__ == "__main__":
    from genn_eventprop.cli import main_of

    main_of(__file__)
