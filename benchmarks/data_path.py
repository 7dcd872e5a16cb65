"""What the data path costs beside the native engine, at the shape of the Spiking Heidelberg Digits.

    python benchmarks/data_path.py                  # a line for each augmentation, then time and memory of an epoch
    python benchmarks/data_path.py --samples 2048 --repeats 7

CPU time of preparing a batch (choosing its samples, augmenting them, putting them on the grid) against CPU time
of the engine's training step, both in turn on one thread, so that a busy machine disturbs both alike; the medians are
printed. In a training the batches are prepared in the background while the engine runs.
The last lines are from a process of its own: an epoch of Trainer.fit with shift, crop and blend, and its peak memory.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import tyro
from shd_shape import Settings as Shape
from shd_shape import network, peak_memory

from genn_eventprop import Events, Trainer
from genn_eventprop.data.augment import steps as augment
from genn_eventprop.data.augment.augmented import Augmented, Blend
from genn_eventprop.engines import create
from genn_eventprop.optimisers import Adam


@dataclass(frozen=True)
class Settings:
    """Size of the measurement.

    Args:
        samples: Of the data set, 8000 spikes each.
        repeats: Timed passes; the median is printed.
    """

    samples: int = 512
    repeats: int = 5
    batch: int = 32
    seed: int = 1


CHAINS: dict[str, tuple[list[augment.Step], Blend | None]] = {
    "nothing": ([], None),
    "shift": ([augment.Shift(40)], None),
    "dilate": ([augment.Dilate(0.8, 1.0)], None),
    "jitter": ([augment.Jitter(20.0)], None),
    "dropout": ([augment.Dropout(0.2)], None),
    "thin": ([augment.Thin(6000)], None),
    "merge channels": ([augment.MergeChannels(1)], None),
    "compress time": ([augment.CompressTime(1.25)], None),
    "crop": ([augment.Crop(0.0, 900.0)], None),
    "pad": ([augment.Crop(0.0, 900.0), augment.Pad(50.0)], None),
    "bin, no duplicates": ([augment.Bin(1.0)], None),
    "blend": ([augment.Crop(0.0, 999.0)], Blend()),
    "shift and blend": ([augment.Shift(40), augment.Crop(0.0, 999.0)], Blend()),
    "shift, jitter, blend": ([augment.Shift(40), augment.Jitter(20.0), augment.Crop(0.0, 999.0)], Blend()),
}
"""Published tricks one by one and together; crop keeps what blending moves beyond the trial out."""


def spikes(s: Settings) -> Events:
    """Random spikes of the published shape: 700 channels, 8000 spikes within 998 ms, 20 classes."""
    rng, n = np.random.default_rng(s.seed), 8000
    times = np.sort(rng.uniform(0, 998, (s.samples, n)), axis=1).ravel()
    channels = rng.integers(0, 700, s.samples * n).astype(np.int32)
    return Events(times, channels, np.arange(s.samples + 1) * n, 700, np.arange(s.samples) % 20, n_classes=20)


def data_path(s: Settings) -> list[str]:
    """Print and return a line for each chain."""
    events, shape = spikes(s), Shape(seed=s.seed)
    plan = network(shape)
    engine = create(plan, plan.network.initial_parameters(s.seed), engine="native", threads=1)
    sets = {name: Augmented(events, *chain, seed=s.seed) for name, chain in CHAINS.items()}
    optimiser, plain = Adam(0.0), engine.load(events)
    order = np.random.default_rng(s.seed).permutation(s.samples)
    batches = [order[i : i + s.batch] for i in range(0, s.samples, s.batch)]
    clock: dict[str, list[float]] = {name: [] for name in ("engine", *sets)}
    for _ in range(s.repeats + 1):  # the first is warm-up
        began = time.process_time()
        for batch in batches:
            engine.run(plain, batch, training=True)
            engine.update(optimiser)
        clock["engine"].append(time.process_time() - began)
        for name, augmented in sets.items():
            chosen = batches if augmented.blend is None else [np.r_[b[::2], b[1::2] + s.samples] for b in batches]
            began = time.process_time()
            for batch in chosen:
                engine.load(augmented.batch(batch, epoch=1))
            clock[name].append(time.process_time() - began)
    ms = {name: float(np.median(seconds[1:])) * 1e3 / s.samples for name, seconds in clock.items()}
    lines = [f"native engine, one thread: {ms['engine']:.3f} ms/sample of CPU time"]
    for name in sets:
        share = 100 * ms[name] / (ms["engine"] + ms[name])
        lines.append(f"{name:20} {ms[name]:.3f} ms/sample, {share:4.1f} % of an epoch")
    print("\n".join(lines), flush=True)
    return lines


def one_epoch(s: Settings) -> str:
    """Wall-clock time of an epoch with and without augmentation, and peak memory against the size of the events."""
    events, shape = spikes(s), Shape(seed=s.seed)
    plan = network(shape)
    before = peak_memory()
    seconds = {}
    for name, train in (("plain", events), ("augmented", Augmented(events, *CHAINS["shift and blend"], seed=s.seed))):
        trainer = Trainer(
            plan.network, plan.asked, duration=plan.duration, dt=plan.dt, engine="native", batch_size=s.batch,
            optimiser=Adam(0.0), progress=False,
        )  # fmt: skip
        trainer.fit(train, epochs=2)
        seconds[name] = min(line["seconds"] for line in trainer.state.metrics) * 1e3 / len(train)
        trainer.close()
    size = (events.times.nbytes + events.channels.nbytes + events.offsets.nbytes) / 1e6
    grown = peak_memory() - before
    return (
        f"an epoch, all threads, wall clock: plain {seconds['plain']:.3f}, shift and blend {seconds['augmented']:.3f} "
        f"ms/sample\nevents {size:.0f} MB; two trainings needed {grown:.0f} MB more at their peak"
    )


def main() -> int:
    s = tyro.cli(Settings, description=__doc__)
    data_path(s)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        print(pool.submit(one_epoch, s).result())
    return 0


if __name__ == "__main__":
    sys.exit(main())
