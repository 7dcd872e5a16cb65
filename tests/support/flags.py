"""How the default run compiles generated code: twice or four times as quickly as for users."""

import platform
from pathlib import Path

FLAGS = "GENN_EVENTPROP_CXXFLAGS"
QUICKLY = "-O1 -fexpensive-optimizations"  # products and sums are contracted as with -O3: float32 keeps its bounds
UNOPTIMISED = "-O0"  # half the time again, for the short trials of tests/engine


def fused_multiply_add() -> bool:
    """Whether the processor rounds a product and a sum once: all of ARM and RISC-V, of x86 those that list it."""
    cpus = Path("/proc/cpuinfo")
    return platform.machine() != "x86_64" or not cpus.exists() or " fma " in cpus.read_text()
