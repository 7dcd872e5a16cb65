"""Readouts by name; one file each, and a line here."""

from .base import Readout
from .end import End
from .integral import Integral
from .maximum import Maximum
from .spikes import Count, FirstSpike, SpikeTimes
from .voltage import Voltage

READOUTS: dict[str, type[Readout]] = {
    "integral": Integral, "voltage": Voltage, "end": End, "max": Maximum, "first_spike": FirstSpike,
    "spike_times": SpikeTimes, "count": Count,
}  # fmt: skip

__all__ = ["READOUTS", "Readout"]
