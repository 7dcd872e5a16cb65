"""The genn engine on pygenn, for the tests marked `needs_genn`.

`GENN_EVENTPROP_GENN_BACKEND` names the backend, else they run on the CPU. `GENN_EVENTPROP_GENN_BATCH` is GeNN's batch
size on the others (`cuda`, `hip`), whatever the size of a batch: smaller ones leave places empty, larger ones run in
groups. Without it the first batch decides, as always.
"""

import os

from genn_eventprop.engines.genn import GennEngine

BACKEND = os.environ.get("GENN_EVENTPROP_GENN_BACKEND", "single_threaded_cpu")
BATCH = int(os.environ.get("GENN_EVENTPROP_GENN_BATCH", "0"))


class OnGenn(GennEngine):
    """See the module."""

    def _group_size(self, batch):
        return BATCH if BATCH and self.backend != "single_threaded_cpu" else super()._group_size(batch)


def on_genn(plan, values, **settings):
    """An engine on the backend that the environment names."""
    return OnGenn(plan, values, **{"backend": BACKEND, **settings})
