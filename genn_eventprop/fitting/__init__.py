"""Parameters of a neuron from recordings: injected currents, measured V and spike times."""

from .compare import FreeRun
from .files import read_recording, read_spikes
from .fit import fit
from .identifiability import Identifiability, identifiability
from .infer import InferResult, infer_network
from .options import FitOptions
from .recording import Recording
from .result import FitResult
from .simulate import simulate
from .verdict import Score, Verdict

__all__ = [
    "FitOptions",
    "FitResult",
    "FreeRun",
    "Identifiability",
    "InferResult",
    "Recording",
    "Score",
    "Verdict",
    "fit",
    "identifiability",
    "infer_network",
    "read_recording",
    "read_spikes",
    "simulate",
]
