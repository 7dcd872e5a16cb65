"""``convert-audio FOLDER OUT.h5``: recordings of words to spikes of an inner-ear model."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from ..errors import SettingError
from .options import operand


def convert_audio(
    folder: Annotated[Path, *operand("FOLDER")],
    out: Annotated[Path, *operand("OUT.h5")],
    seed: int = 0,
    channels: int = 700,
    level: float = 0.3,
    ramp: float = 30.0,
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Convert a folder of wav files to 700-channel spikes in the SHD layout: convert-audio words words.h5.

    Convert a folder of wav files to spikes with the inner-ear model of SHD, in the layout of its files.

    FOLDER holds CLASS/*.wav, or CLASS_SPEAKER_NUMBER.wav, or CLASS_NUMBER.wav. The same folder and seed give the same
    spikes. OUT.h5 appears once it is complete.

    Args:
        folder: Recordings, with any sampling rate of at least 1 kHz.
        out: The file to write.
        seed: Random seed for the release of the hair cells.
        channels: Number of places along the basilar membrane.
        level: Root mean square to which every recording is scaled.
        ramp: Length of fade-in and fade-out, in ms.
        overwrite: Replace OUT.h5 if it exists.
        progress: Show a progress bar.
    """
    from ..data.audio import inner_ear

    if out.suffix.lower() not in (".h5", ".hdf5"):
        raise SettingError(f"{out}: the result is an HDF5 file; its name must end in .h5 or .hdf5")
    if out.exists() and not overwrite:
        raise SettingError(f"{out} exists; give another name, or --overwrite")
    for name, value, low in (("seed", seed, 0), ("channels", channels, 2), ("ramp", ramp, 0)):
        if not value >= low:
            raise SettingError(f"--{name} must be at least {low}, got {value}")
    if not 0 < level < float("inf"):
        raise SettingError(f"--level must be above 0, got {level}")
    ear = inner_ear.Ear(level=level, ramp=ramp)
    ear = replace(ear, membrane=replace(ear.membrane, n_channels=channels))
    began, work = time.perf_counter(), time.process_time()
    done = inner_ear.convert_audio(folder, out, ear, seed, progress)
    seconds, work = time.perf_counter() - began, time.process_time() - work
    speakers = f", {len(done.speakers)} speakers" if done.speakers else ""
    print(f"{out}: {done.recordings} recordings, {len(done.class_names)} classes{speakers}, {done.spikes} spikes")
    ratio = done.seconds / max(work, 1e-9)
    print(f"{done.seconds:.1f} s of sound in {seconds:.1f} s, {work:.1f} s of processor time: {ratio:.1f} x real time")
