"""Exact spike times: generated structs of models, populations and connections, for a trial that takes events in order of time.

The algorithm is in C++. `trial.hpp` has the loops over events, whatever the flow of neurons between two of them. By closed forms that
is `neurons.hpp` (all neurons together), `lanes.hpp` (those that may cross in a step), `spiking.hpp` (own spikes, refractory periods),
`costates.hpp` (backwards) and `steps.hpp` (what a trial in steps asks for besides); by Taylor series, `codegen/cpp/general`.
`integral.hpp`, `maximum.hpp` and `voltage.hpp` read V between events, with the time weights of `weights.hpp`; `series.hpp` finds
crossings, `births.hpp` spikes that are about to be born. Generated here is what depends on the network: who sends to whom, and, from
`program`, resets, jumps, readouts, losses and regularisers. See `docs/exact_spike_times.md`.
"""

from .models import bind, models
from .program import ExactProgram
from .trial import BIRTH_CONSTANTS, keep, passes, structs, work

__all__ = ["BIRTH_CONSTANTS", "ExactProgram", "bind", "keep", "models", "passes", "structs", "work"]
