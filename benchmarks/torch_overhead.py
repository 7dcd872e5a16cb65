"""What a training step of the PyTorch layer costs beside one of `Trainer`, at the shape of spoken digits.

    python benchmarks/torch_overhead.py                     # processor time of both in turn, and threads
    python benchmarks/torch_overhead.py --profile           # where the layer's own time goes
    python benchmarks/torch_overhead.py --numbers docs/numbers/torch_overhead.json   # keeps the first table

The network is that of `shd_shape.py`: 700 - 256 recurrent LIF - 20 LI, 1000 steps of 1 ms, 8000 input spikes a sample,
batches of 32. Both train on the same `Events` with Adam at rate 0, so that the spikes stay as they are,
an epoch in turn; the table has medians of processor time and of the ratio within a turn, good on a busy machine too.
All of an epoch is counted: loop, loss and optimiser of torch on one side, those of `Trainer` on the other.

Threads: wide layers of torch stand behind the spiking one, torch and the engine get 1 or 2 threads each. If threads of
one spun while the other computes, the processor time with 2 and 2 would be more than the sum of what each takes alone;
the time on the clock, second in each cell, means something on a quiet machine only.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from result_file import add_row
from shd_shape import Settings, network, random_events

from genn_eventprop import Events, Trainer, losses
from genn_eventprop.optimisers import Adam
from genn_eventprop.torch import EventProp

Turn = Callable[[], None]
WIDTH = 2048


def trainer_turn(s: Settings, events: Events, threads: int) -> Turn:
    """One epoch of `Trainer`."""
    net = network(s).network
    loss = losses.IntegratedVoltageCrossEntropy(net.populations[-1], s.weight)
    trainer = Trainer(
        net, loss, duration=float(s.steps), dt=1.0, optimiser=Adam(0.0), batch_size=s.batch, seed=s.seed,
        engine="native", threads=threads, progress=False,
    )  # fmt: skip

    def turn() -> None:
        trainer.fit(events, epochs=trainer.state.epoch + 1)

    return turn


def torch_turn(s: Settings, events: Events, threads: int, dense: bool = False, linear: int = 0) -> Turn:
    """The same epoch in a torch loop; dense: counts instead of `Events`; linear: width of a torch layer behind."""
    net = network(s).network
    layer = EventProp(net, duration=float(s.steps), weight=s.weight, seed=s.seed, engine="native", threads=threads)
    behind = wide(s, linear) if linear else torch.nn.Identity()
    model = torch.nn.ModuleList([layer, behind])
    optimiser = torch.optim.Adam(model.parameters(), lr=0.0, fused=True)
    parts = [events[k : k + s.batch] for k in range(0, len(events), s.batch)]
    inputs = [counts_of(p, s) if dense else p for p in parts]
    labels = [torch.from_numpy(np.array(p.labels)) for p in parts]

    def turn() -> None:
        for spikes, y in zip(inputs, labels):
            optimiser.zero_grad()
            out = layer(spikes).integral
            torch.nn.functional.cross_entropy(behind(out), y).backward()
            optimiser.step()

    return turn


def counts_of(events: Events, s: Settings) -> torch.Tensor:
    """(T, B, N) counts as bytes."""
    counts = np.zeros((s.steps, len(events), s.inputs), np.uint8)
    sample = np.repeat(np.arange(len(events)), np.diff(events.offsets))
    np.add.at(counts, (np.floor(events.times + 0.5).astype(int), sample, events.channels), 1)
    return torch.from_numpy(counts)


def taken(turns: dict[str, Turn], repeats: int) -> dict[str, np.ndarray]:
    """Seconds of processor time of each turn; all take turns, after one to warm up."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(repeats + 1):
        for name, turn in turns.items():
            begin = time.process_time()
            turn()
            found[name].append(time.process_time() - begin)
    return {name: np.array(seconds[1:]) for name, seconds in found.items()}


def least(turns: dict[str, Turn], repeats: int, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of each, the least of `repeats` turns after one to warm up; all take turns."""
    best = dict.fromkeys(turns, np.inf)
    for repeat in range(repeats + 1):
        for name, turn in turns.items():
            begin = clock()
            turn()
            if repeat:
                best[name] = min(best[name], clock() - begin)
    return best


HEADS = ("one thread", "processor time, ms a sample", "beside Trainer", "half of the turns")


def overhead(s: Settings, events: Events, repeats: int) -> list[tuple[str, ...]]:
    """The cells of a row for each."""
    torch.set_num_threads(1)
    turns = {
        "Trainer": trainer_turn(s, events, 1), "layer, Events": torch_turn(s, events, 1),
        "layer, dense counts": torch_turn(s, events, 1, dense=True),
    }  # fmt: skip
    found, rows = taken(turns, repeats), list[tuple[str, ...]]()
    for name, seconds in found.items():
        least, middle, most = np.percentile(100 * (seconds / found["Trainer"] - 1), (25, 50, 75))
        each = f"{1e3 * np.median(seconds) / len(events):.3f}"
        rows.append((name, each, f"{middle:+.1f} %", f"{least:+.1f} to {most:+.1f} %"))
    return rows


def by_policy(asked: argparse.Namespace) -> list[str]:
    """`threads` for both ways in which torch's threads may wait, which must be said before torch is imported."""
    rows: list[str] = []
    for policy in ("ACTIVE", "PASSIVE"):
        command = [sys.executable, __file__, "--threads", "--repeats", str(max(asked.repeats // 4, 2))]
        environment = {**os.environ, "OMP_WAIT_POLICY": policy}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        head, line, *found = done.stdout.splitlines()
        rows += [] if rows else [f"| OMP_WAIT_POLICY {head}", f"|---{line}"]
        rows += [f"| {policy} {row}" for row in found]
    return rows


def threads(s: Settings, events: Events, repeats: int) -> list[str]:
    """A wide torch layer behind the spiking one, with threads of both."""
    rows = []
    for of_torch in (1, 2):
        torch.set_num_threads(of_torch)
        turns = {str(n): torch_turn(s, events, n, linear=WIDTH) for n in (1, 2)}
        turns |= {"torch alone": torch_alone(s, len(events))}
        processor, clock = (least(turns, repeats, c) for c in (time.process_time, time.perf_counter))
        cells = [f"{1e3 * processor[n] / len(events):.3f}, {1e3 * clock[n] / len(events):.3f}" for n in turns]
        rows.append(f"| {of_torch} | " + " | ".join(cells) + " |")
    head = "| threads of torch | ms a sample: engine with 1 thread | engine with 2 threads | torch layers alone |"
    return [head, "|---|---|---|---|", *rows]


def wide(s: Settings, width: int = WIDTH) -> torch.nn.Module:
    """Layers of torch with enough to do for several threads."""
    inner = [torch.nn.Linear(width, width), torch.nn.ReLU()]
    return torch.nn.Sequential(
        torch.nn.Linear(s.outputs, width), torch.nn.ReLU(), *inner, torch.nn.Linear(width, s.outputs)
    )  # fmt: skip


def torch_alone(s: Settings, samples: int) -> Turn:
    model = wide(s)
    x = torch.randn(s.batch, s.outputs)

    def turn() -> None:
        for _ in range(samples // s.batch):
            model(x).square().sum().backward()

    return turn


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repeats", type=int, default=20)
    options.add_argument("--batches", type=int, default=8)
    options.add_argument("--profile", action="store_true")
    options.add_argument("--threads", action="store_true", help="the table of threads alone")
    options.add_argument("--numbers", type=Path)
    asked = options.parse_args()
    s = Settings()
    events = random_events(Settings(batch=s.batch * asked.batches))
    if asked.profile:
        torch.set_num_threads(1)
        turn = torch_turn(s, events, 1)
        turn()
        with cProfile.Profile(time.process_time) as profile:
            for _ in range(asked.repeats):
                turn()
        pstats.Stats(profile).sort_stats("tottime").print_stats(18)
        return
    if asked.threads:
        print("\n".join(threads(s, events[: 2 * s.batch], asked.repeats)))
        return
    for cells in [HEADS, *overhead(s, events, asked.repeats)]:
        print(*cells, sep=" | ")
        if asked.numbers and cells != HEADS:
            add_row(asked.numbers, HEADS, cells, "python benchmarks/torch_overhead.py")
    print("", *by_policy(asked), sep="\n")


if __name__ == "__main__":
    main()
