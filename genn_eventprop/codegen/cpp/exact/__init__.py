"""Exact spike times: generated model structs and a trial that takes each step's events in order of time.

`neurons.hpp`, `lanes.hpp`, `spiking.hpp` and `costates.hpp` hold the algorithm: all neurons together, those that may cross
in a step and are taken through it one by one, own spikes and refractory periods, the way back. `integral.hpp`, `maximum.hpp` and `voltage.hpp` read V between events, `weights.hpp` has their
time weights, `series.hpp` the search for crossings; what depends on the network (who sends to whom, resets, jumps) is
generated here, with what `program` says of readouts, losses and regularisers (`program.py`). See
`docs/exact_spike_times.md`.
"""

from .backward import backward_exact
from .forward import forward_exact
from .models import bind, exact_work, keep_spikes_exact, models
from .program import ExactProgram

__all__ = [
    "ExactProgram",
    "backward_exact",
    "bind",
    "exact_work",
    "forward_exact",
    "keep_spikes_exact",
    "models",
]
