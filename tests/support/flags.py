"""How the default run compiles generated code: four times as quickly as for users, for some tests twice."""

import os
import platform
import shutil
from pathlib import Path

FLAGS = "GENN_EVENTPROP_CXXFLAGS"


def less_work() -> str:
    """Flags with which the same code takes up to a quarter less time to compile without optimisation.

    GCC's <cmath> reads the special functions of C++17, which no generated code uses, unless it believes to have read
    them already; and ld.gold finds the symbols of the standard library sooner than the usual linker.
    """
    quick_linker = shutil.which("g++") and shutil.which("ld.gold") and not os.environ.get("CXX")
    return "-D_GLIBCXX_BITS_SPECFUN_H=1" + (" -fuse-ld=gold" if quick_linker else "")


UNOPTIMISED = f"-O0 {less_work()}"
# Products and sums are contracted as with -O3, so that float32 keeps its bounds; twice the time of -O0 at least.
QUICKLY = f"-O1 -fexpensive-optimizations {less_work()}"


def fused_multiply_add() -> bool:
    """Whether the processor rounds a product and a sum once: all of ARM and RISC-V, of x86 those that list it."""
    cpus = Path("/proc/cpuinfo")
    return platform.machine() != "x86_64" or not cpus.exists() or " fma " in cpus.read_text()
