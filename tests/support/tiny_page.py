"""The page of an experiment that trains in no time, for tests of run folders."""

PAGE = '''
"""Two classes, told by which channel spikes first."""
from dataclasses import dataclass
from genn_eventprop import Events
from genn_eventprop.experiment import LayeredConfig, layered

@dataclass(frozen=True)
class Config(LayeredConfig):
    hidden: tuple[int, ...] = (4,)
    duration: float = 10.0
    dt: float | None = 1.0
    spike_times: str = "grid"
    engine: str = "reference_clock"
    epochs: int = 1

def build(config):
    samples = [([1.0, 4.0 + 0.3 * i], [i % 2, 1 - i % 2]) for i in range(9)]
    events = Events.from_samples(samples, 2, [i % 2 for i in range(9)])
    return layered(config, events[:3], events[3:6], events[6:], ["left", "right"])
'''
