"""Draws augmentation.png beside it: each augmentation before and after, on a synthetic word heard by the inner ear.

Run from anywhere: python docs/figures/augmentation.py
"""

from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure

from genn_eventprop.data import Events
from genn_eventprop.data.audio import inner_ear
from genn_eventprop.data.augment.augmented import Augmented, Blend
from genn_eventprop.data.augment.steps import (
    Affine,
    Bin,
    CompressTime,
    Crop,
    CropChannels,
    DelayLine,
    Dilate,
    Dropout,
    FitTime,
    Jitter,
    MergeChannels,
    NormaliseCounts,
    Pad,
    Shift,
    Thin,
    TrimSilence,
    Warp,
)

STEPS = [
    Shift(40),
    Dilate(0.6, 1.6),
    Jitter(20.0),
    Dropout(0.5),
    Thin(1500),
    Crop(100.0, 250.0),
    Pad(80.0),
    CompressTime(2.0),
    Warp(2.5),
    Affine(height=1, width=700, rotate=0, scale=0.2, shift=0),
    TrimSilence(),
    FitTime(20.0, 220.0),
    CropChannels(100, 600),
    MergeChannels(7),
    Bin(10.0),
    DelayLine(3, 30.0),
    NormaliseCounts(2),
]


def word(pitch: float, formants: list[float], seconds: float = 0.3, rate: int = 16000) -> tuple[np.ndarray, int]:
    """A vowel, harmonics of a gliding pitch, loud near the formants, with noise before and after it."""
    t = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.3 * t / seconds)) / rate
    sound = np.zeros_like(t)
    for k in range(1, 30):
        loudness = sum(np.exp(-(((k * pitch - f) / 150) ** 2)) for f in formants) + 0.02
        sound += loudness * np.sin(k * phase)
    noise = np.random.default_rng(1).normal(0.0, 0.03, (2, int(0.06 * rate)))
    return np.concatenate([noise[0], sound, noise[1]]), rate


def draw(axis: object, events: Events, title: str, colour: str) -> None:
    """One raster."""
    times, channels = events.sample(0)
    axis.plot(times, channels, ",", color=colour)  # type: ignore[attr-defined]
    axis.set_title(fill(title, 44), fontsize=7)  # type: ignore[attr-defined]


def main() -> None:
    events = inner_ear.to_events([word(120, [500, 1500]), word(150, [600, 1300])], labels=[0, 0])
    figure = Figure(figsize=(11, 11), layout="constrained")
    axes = figure.subplots(5, 4)
    draw(axes.flat[0], events[0], "before", "black")
    draw(axes.flat[1], events[1], "before, another recording", "black")
    for axis, step in zip(axes.flat[2:], STEPS, strict=False):
        draw(axis, Augmented(events, [step], seed=4).batch([0], epoch=0), repr(step), "tab:blue")
    draw(axes.flat[19], Augmented(events, blend=Blend(), seed=4).batch([2], epoch=0), "Blend of both", "tab:blue")
    for axis in axes.flat:
        axis.set_xlim(0, 460)
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize=7)
    figure.supxlabel("time (ms)")
    figure.supylabel("channel")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
