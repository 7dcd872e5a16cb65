"""Exact spike times: generated model structs and a trial that takes each step's events in order of time.

The algorithm is in C++: `neurons.hpp` (all neurons together), `lanes.hpp` (those that may cross in a step), `spiking.hpp`
(own spikes, refractory periods) and `costates.hpp` (backwards). `integral.hpp`, `maximum.hpp` and `voltage.hpp` read V between
events, with the time weights of `weights.hpp`; `series.hpp` finds crossings, `births.hpp` spikes that are about to be born. Generated here is what depends on the network:
who sends to whom, and, from `program`, resets, jumps, readouts, losses and regularisers. See `docs/exact_spike_times.md`.
"""

from .backward import backward_exact
from .births import BIRTH_CONSTANTS
from .forward import forward_exact
from .models import bind, exact_work, keep_spikes_exact, models
from .program import ExactProgram

__all__ = [
    "BIRTH_CONSTANTS",
    "ExactProgram",
    "backward_exact",
    "bind",
    "exact_work",
    "forward_exact",
    "keep_spikes_exact",
    "models",
]
