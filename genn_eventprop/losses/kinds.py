"""Readouts by name: what a loss has to know of each. How one is computed is a file of `program/readouts`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadoutKind:
    """One readout.

    Args:
        code: file and class in `program/readouts`.
        spikes: words for a readout of spikes, e.g. "first-spike"; "" for one of V.
        reads_state: whether it needs the model's readout state.
        integrates: whether it is an integral over the trial.
        in_trial: whether its outer loss needs the whole trajectory, and not one number per output.
        beside: whether it can be read beside another one (`Loss.also`).
        by_itself: whether a loss can be made of it.
        everywhere: whether every engine has it; False: only those whose trial is `program.trial`.
    """

    code: str
    spikes: str = ""
    reads_state: bool = True
    integrates: bool = False
    in_trial: bool = False
    beside: bool = False
    by_itself: bool = True
    everywhere: bool = False


READOUTS: dict[str, ReadoutKind] = {
    "integral": ReadoutKind("integral.Integral", integrates=True, everywhere=True),
    "voltage": ReadoutKind("voltage.Voltage", integrates=True, in_trial=True, everywhere=True),
    "end": ReadoutKind("end.End", beside=True, everywhere=True),
    "max": ReadoutKind("maximum.Maximum", beside=True, everywhere=True),
    "first_spike": ReadoutKind("spikes.FirstSpike", "first-spike", reads_state=False, beside=True, everywhere=True),
    "spike_times": ReadoutKind("spikes.SpikeTimes", "spike-time", reads_state=False, in_trial=True, everywhere=True),
    "count": ReadoutKind("spikes.Count", "spike-count", beside=True, everywhere=True),
    "trace": ReadoutKind("trace.Trace", in_trial=True, beside=True, by_itself=False, everywhere=True),
}
"""A new readout is a file in `program/readouts`, and a line here."""
