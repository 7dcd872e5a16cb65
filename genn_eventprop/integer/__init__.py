"""Networks of integers: profiles of machines, `Network.quantise`, a simulator in NumPy, and C files without floats."""

from .c_file import IntegerFile, integer_file
from .network import IntegerNetwork
from .profile import PROFILES, Profile
from .simulate import IntegerTrial, simulate

__all__ = [
    "PROFILES",
    "IntegerFile",
    "IntegerNetwork",
    "IntegerTrial",
    "Profile",
    "integer_file",
    "simulate",
]
