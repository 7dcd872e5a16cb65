"""Trained in integers, rounded after training, by surrogate gradients: a table of docs/integer_networks.md.

    python benchmarks/integer_training.py --out OUT
    python benchmarks/integer_training.py --out OUT --sets "spoken digits" --seeds 1-2

For every seed of every set these networks, all of them of the same size and trained for as many epochs:

    float32                 on a grid; with learned delays, too
    int8, ternary           trained in integers (ternary with learned delays), or the float32 network rounded
    torch                   LIF neurons in PyTorch by surrogate gradients (`LIFLayer`), without delays, weights rounded
                            straight through in every batch as the profiles round them, states not rounded

What a set of integers predicts is what its C file predicts. Weights are those of the last epoch, so nothing is chosen
on validation, which counts as a test. A network that is in OUT is not run again; the table goes to FILE of --numbers.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from result_file import add_row
from seeds import seeds_of
from torch import nn

from genn_eventprop.experiment import Experiment, ExperimentConfig
from genn_eventprop.experiments import latency_mnist, spoken_digits, yin_yang
from genn_eventprop.integer.quantise import TERNARY
from genn_eventprop.training.integers import step_counts


@dataclass(frozen=True)
class Task:
    """Settings of a set.

    Args:
        page: experiment. settings: of all networks. delays: of those with learned delays besides. ternary: of those
            that are trained as ternary besides.
        readout: of the PyTorch network, as of ours: "max" of V over time, or its mean ("sum", "sum_weigh_exp").
        rate: its learning rate (Adam, cosine). dropout: of its input spikes in training. torch: other settings of it.
    """

    page: Any
    settings: dict[str, Any]
    delays: dict[str, Any]
    readout: str
    rate: float
    ternary: dict[str, Any] = field(default_factory=dict)
    dropout: float = 0.0
    torch: dict[str, Any] = field(default_factory=dict)


TASKS = {
    "Yin-Yang": Task(
        yin_yang,
        {"epochs": 16, "hidden": 100, "duration": 45.0, "dt": 0.5, "spike_times": "grid", "output": "LI", "loss": "sum",
         "hidden_weight": (2.2, 1.0), "output_weight": (0.0, 0.3), "learning_rate": 0.02, "decay": 0.83},
        {"delays": "synaptic(high=5, max=30)", "delay_learning_rate": 1.0},
        "sum", 0.02,
        # at the rates of numbers, half of the hidden neurons fall silent as ternary weights jump
        ternary={"hidden_learning_rate": 0.002, "delay_learning_rate": 0.3},
    ),
    "latency MNIST": Task(
        latency_mnist,
        {"epochs": 6, "hidden": (100,), "train_size": 4000, "validation_size": 1000, "test_size": 5000, "dt": 1.0},
        {"delays": "synaptic(high=3, max=12)", "delay_learning_rate": 0.1},
        "max", 0.007, dropout=0.2, torch={"augment": ""},
    ),
    "spoken digits": Task(
        spoken_digits,
        {**spoken_digits.QUICK, "epochs": 10, "hidden": (64,), "validation": 0.2, "dt": 4.0},
        {"delays": "synaptic(high=20, max=60)", "delay_learning_rate": 0.3},
        "sum_weigh_exp", 0.005,
    ),
}  # fmt: skip
NETWORKS = {
    "float32": "float32",
    "int8": "int8, trained",
    "int8_rounded": "int8, rounded after training",
    "delays": "float32, learned delays",
    "ternary": "ternary, learned delays, trained",
    "ternary_rounded": "ternary, learned delays, rounded after training",
    "torch_int8": "torch, int8 straight through",
    "torch_ternary": "torch, ternary straight through",
}  # fmt: skip


def config_of(task: Task, seed: int, network: str) -> ExperimentConfig:
    delays = task.delays if network in ("delays", "ternary", "ternary_rounded") else {}
    ternary = task.ternary if network == "ternary" else {}
    profile = network.partition("_")[0] if network not in ("float32", "delays") else None
    return task.page.Config(**task.settings | delays | ternary, seed=seed, profile=profile, threads=1)


def accuracy(hits: list[np.ndarray]) -> float:
    """In per cent, of all samples of these sets."""
    return 100 * float(np.concatenate(hits).mean())


def ours(task: Task, seed: int, network: str, weights: Path) -> float:
    """Accuracy of one network; a rounded one takes the weights of the trained one, which are in `weights`."""
    config = config_of(task, seed, network)
    experiment: Experiment = task.page.build(config)
    trainer = experiment.trainer
    if network.endswith("_rounded"):
        with np.load(weights / f"{'float32' if network == 'int8_rounded' else 'delays'}.npz") as saved:
            for name, value in trainer.engine.parameters.items():
                value[...] = saved[name]
    else:
        trainer.fit(experiment.train, None, None, epochs=config.epochs)
        np.savez(weights / f"{network}.npz", **{n: np.array(v) for n, v in trainer.engine.parameters.items()})
    sets = [experiment.events("validation"), experiment.events("test")]
    return accuracy([trainer.evaluate(s).predictions == s.labels for s in sets])


class LIFLayer(torch.autograd.Function):
    """LIF neurons by surrogate gradients, with both loops written out, which is several times faster than autograd.

    V- = a V + c I, I = b I + what arrives, s = V- >= 1, V = V- (1 - s); ds/dV- = 1 / (1 + beta |V- - 1|)^2 (Zenke &
    Ganguli 2018). The reset is not differentiated.
    """

    BETA = 10.0

    @staticmethod
    def forward(
        ctx: Any, into: torch.Tensor, recurrent: torch.Tensor | None, step: tuple[float, float, float]
    ) -> torch.Tensor:
        """Spikes (T, B, N) of neurons at which `into` arrives; recurrent (N, N)."""
        a, b, c = step
        V, I = torch.zeros_like(into[0]), torch.zeros_like(into[0])
        before, spikes = torch.empty_like(into), torch.empty_like(into)
        for k, now in enumerate(into):
            torch.add(V.mul_(a), I, alpha=c, out=before[k])
            I.mul_(b).add_(now)
            if recurrent is not None and k:
                I.addmm_(spikes[k - 1], recurrent)
            torch.ge(before[k], 1, out=spikes[k])
            torch.addcmul(before[k], before[k], spikes[k], value=-1, out=V)
        ctx.save_for_backward(before, spikes, *([] if recurrent is None else [recurrent]))
        ctx.step = step
        return spikes

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        before, spikes, *recurrent = ctx.saved_tensors
        a, b, c = ctx.step
        slope, stays = (1 + LIFLayer.BETA * (before - 1).abs()) ** -2, 1 - spikes
        into, (of_spikes,) = torch.empty_like(before), gradients
        l_V, l_I = torch.zeros_like(before[0]), torch.zeros_like(before[0])
        for k in range(len(before) - 1, -1, -1):
            into[k] = l_I
            g = of_spikes[k]
            if recurrent and k + 1 < len(before):
                g = torch.addmm(g, into[k + 1], recurrent[0].T)
            l_V.mul_(stays[k]).addcmul_(g, slope[k])
            l_I.mul_(b).add_(l_V, alpha=c)
            l_V.mul_(a)
        weight = torch.einsum("tbm,tbn->mn", spikes[:-1], into[1:]) if recurrent else None
        return into, weight, None


def int8(w: torch.Tensor) -> torch.Tensor:
    """As the profile: one scale for the connection."""
    scale = w.abs().max() / 127
    return (w / scale).round() * scale


def ternary(w: torch.Tensor) -> torch.Tensor:
    """As the profile: a scale for every target (Li & Liu 2016)."""
    size = w.abs()
    large = size > TERNARY * size.mean(0)
    return w.sign() * large * (size * large).sum(0) / large.sum(0).clamp(min=1)


ROUNDINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"torch_int8": int8, "torch_ternary": ternary}


class Layers(nn.Module):
    """LIF neurons, recurrent where ours are, and leaky integrators that are read; the exact step of the equations."""

    def __init__(self, task: Task, experiment: Experiment, network: str) -> None:
        super().__init__()
        plan = experiment.trainer.plan
        initial = {n: np.array(v) for n, v in experiment.trainer.engine.parameters.items() if n.endswith(".weight")}
        self.weights = nn.ParameterDict(
            {n.partition(".")[0]: torch.tensor(v, dtype=torch.float32) for n, v in initial.items()}
        )
        self.rounding, self.readout = ROUNDINGS[network], task.readout
        values = experiment.trainer.engine.parameters
        self.steps = [
            _step(*(float(values[f"{p.name}.{tau}"][0]) for tau in ("tau_mem", "tau_syn")), plan.dt)
            for p in plan.populations
        ]
        a, b, c = self.steps[1]
        k = np.arange(plan.n_steps)
        # V after k steps of what arrived in one: c (a^k - b^k) / (a - b)
        response = k * c * a ** (k - 1.0) if a == b else c * (a**k - b**k) / (a - b)
        matrix = np.where(k[:, None] >= k, response[k[:, None] - k], 0.0)
        self.response = torch.tensor(matrix, dtype=torch.float32)
        decay = np.exp(-(k + 1) / plan.n_steps) if task.readout == "sum_weigh_exp" else np.ones(plan.n_steps)
        self.weighting = torch.tensor(decay / plan.n_steps, dtype=torch.float32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores (B, K) for spikes (T, B, M)."""
        # straight through: what is added has no derivative
        w = {n: p + (self.rounding(p) - p).detach() for n, p in self.weights.items()}
        spikes = LIFLayer.apply(x @ w["input_hidden"], w.get("hidden_hidden"), self.steps[0])
        V = torch.einsum("ts,sbk->tbk", self.response, spikes @ w["hidden_output"])
        return V.max(0).values if self.readout == "max" else torch.einsum("tbk,t->bk", V, self.weighting)


def _step(tau_mem: float, tau_syn: float, dt: float) -> tuple[float, float, float]:
    """a, b, c of V(t + dt) = a V + c I, I(t + dt) = b I."""
    a, b = math.exp(-dt / tau_mem), math.exp(-dt / tau_syn)
    near = math.isclose(tau_mem, tau_syn)
    return a, b, dt / tau_mem * a if near else tau_syn / (tau_syn - tau_mem) * (b - a)


def surrogate(task: Task, seed: int, network: str) -> float:
    """Accuracy of a PyTorch network."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    config = replace(config_of(task, seed, "float32"), **task.torch)
    experiment: Experiment = task.page.build(config)
    trainer, rng = experiment.trainer, np.random.default_rng(seed)
    net = Layers(task, experiment, network)
    optimiser = torch.optim.Adam(net.parameters(), task.rate)
    train = trainer.engine.load(experiment.train)
    batches = math.ceil(len(experiment.train) / config.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.epochs * batches)

    def dense(data: Any, samples: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(step_counts(data, samples, trainer.plan).swapaxes(0, 1).astype(np.float32))

    for _ in range(config.epochs):
        for samples in np.array_split(rng.permutation(len(experiment.train)), batches):
            x = dense(train, samples)
            if task.dropout:
                x = x * (torch.rand_like(x) >= task.dropout)
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x), torch.from_numpy(train.labels[samples].astype(np.int64))).backward()
            optimiser.step()
            schedule.step()
    hits = []
    with torch.no_grad():
        for events in (experiment.events("validation"), experiment.events("test")):
            data = trainer.engine.load(events)
            parts = np.array_split(np.arange(len(events)), math.ceil(len(events) / 100))
            found = torch.cat([net(dense(data, part)).argmax(1) for part in parts]).numpy()
            hits.append(found == events.labels)
    return accuracy(hits)


def measured(out: Path, set_name: str, seed: int, network: str, run: bool) -> float | None:
    """Accuracy in per cent, of an earlier run or, if `run`, of this one."""
    folder = out / f"{set_name.replace(' ', '_')}-{seed}"
    path = folder / "accuracies.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    if network not in known:
        if not run:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        began, task = time.process_time(), TASKS[set_name]
        value = surrogate(task, seed, network) if network in ROUNDINGS else ours(task, seed, network, folder)
        known[network] = {"accuracy": value, "seconds": time.process_time() - began}
        path.write_text(json.dumps(known, indent=1))
        print(f"{set_name}, seed {seed}, {network}: {value:.2f} %, {known[network]['seconds']:.0f} s", flush=True)
    return float(known[network]["accuracy"])


def cell(values: list[float], beside: list[float]) -> str:
    """Mean and deviation, and the mean of the differences with its standard error; how many seeds, if not five."""
    if not values:
        return ""
    text, several = spread(values), len(values) > 1
    if values is not beside:
        differences = [a - b for a, b in zip(values, beside)]
        text += f" ({statistics.mean(differences):+.2f}{f' +- {error(differences):.2f}' if several else ''})"
    return text if len(values) == 5 else f"{text}, {len(values)} seed{'s' * several}"


def spread(values: list[float]) -> str:
    mean = f"{statistics.mean(values):.2f}"
    return f"{mean} +- {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def error(values: list[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))


def write(path: Path, results: dict[str, dict[str, dict[int, float]]], command: str) -> None:
    """Rows of all networks of which there is something; results: network -> set -> seed -> accuracy."""
    for network, sets in results.items():
        cells = [NETWORKS[network]]
        for name in TASKS:
            own, other = sets.get(name, {}), results.get("float32", {}).get(name, {})
            seeds = [s for s in own if s in other]
            values = [own[s] for s in seeds]
            cells.append(cell(values, values if own is other else [other[s] for s in seeds]))
        add_row(path, ("network", *TASKS), cells, command, accuracies=sets)


def main() -> None:
    """Parse the command line, run what is missing, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, default=[1, 2, 3, 4, 5])
    parser.add_argument("--sets", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--numbers", type=Path)
    parser.add_argument("--table", action="store_true", help="run nothing: the table of what is in OUT")
    asked = parser.parse_args()
    results: dict[str, dict[str, dict[int, float]]] = {n: {} for n in asked.networks}
    for network in asked.networks:
        for seed in asked.seeds:
            for name in asked.sets:
                value = measured(asked.out, name, seed, network, not asked.table)
                if value is not None:
                    results[network].setdefault(name, {})[seed] = value
        if asked.numbers:
            write(
                asked.numbers,
                {n: sets for n, sets in results.items() if sets},
                "python benchmarks/integer_training.py --out OUT",
            )


if __name__ == "__main__":
    main()
