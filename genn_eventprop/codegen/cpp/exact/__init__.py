"""Exact spike times: generated model structs and a trial that takes each step's events in order of time.

`neurons.hpp`, `lanes.hpp` and `costates.hpp` hold the algorithm: all neurons together, those that are taken through a step
one by one, the way back. `readouts.hpp` and `voltage.hpp` hold the readouts, `weights.hpp` their time weights, `series.hpp`
the search for crossings; what depends on the network (who sends to whom, resets, jumps) is generated here. See
`docs/exact_spike_times.md`.
"""

from .backward import backward_exact
from .forward import forward_exact
from .models import bind, by_nodes, exact_work, keep_spikes_exact, models, time_weight

__all__ = [
    "backward_exact",
    "bind",
    "by_nodes",
    "exact_work",
    "forward_exact",
    "keep_spikes_exact",
    "models",
    "time_weight",
]
