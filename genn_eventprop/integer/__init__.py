"""Networks of integers: profiles of machines, `Network.quantise`, a simulator in NumPy, and C files without floats."""

from .c_file import IntegerFile, integer_file
from .network import IntegerConnection, IntegerNetwork, IntegerPopulation, IntegerReadout
from .profile import PROFILES, Profile, as_profile
from .simulate import IntegerTrial, simulate

__all__ = [
    "PROFILES",
    "IntegerConnection",
    "IntegerFile",
    "IntegerNetwork",
    "IntegerPopulation",
    "IntegerReadout",
    "IntegerTrial",
    "Profile",
    "as_profile",
    "integer_file",
    "simulate",
]
