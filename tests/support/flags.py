"""How the default run compiles generated code: four times as quickly as for users, for some tests twice."""

import contextlib
import os
import platform
import shlex
import shutil
import subprocess
from pathlib import Path

from genn_eventprop.toolchain.compiler import find_compiler

FLAGS = "GENN_EVENTPROP_CXXFLAGS"
GCC = bool(shutil.which("g++")) and not os.environ.get("CXX")
HEADERS = Path(__file__).with_name("headers.hpp")


def less_work() -> str:
    """Flags with which the same code takes a third less time to compile without optimisation.

    GCC's <cmath> reads the special functions of C++17, which no generated code uses, unless it believes to have read
    them already; ld.gold finds the symbols of the standard library sooner than the usual linker; and the headers of the
    standard library are read once (`precompile`).
    """
    quick_linker = " -fuse-ld=gold" if GCC and shutil.which("ld.gold") else ""
    headers = f" -include {shlex.quote(str(HEADERS))}" if GCC else ""
    return "-D_GLIBCXX_BITS_SPECFUN_H=1" + quick_linker + headers


UNOPTIMISED = f"-O0 {less_work()}"
# Products and sums are contracted as with -O3, so that float32 keeps its bounds; twice the time of -O0 at least.
QUICKLY = f"-O1 -fexpensive-optimizations {less_work()}"


def precompile() -> None:
    """Compiles the headers once, beside them; where that cannot be, they are read each time.

    GCC takes what its own version compiled with flags like those of the moment, and nothing else.
    """
    compiled = HEADERS.with_name("headers.hpp.gch")
    with contextlib.suppress(OSError):
        if not GCC or compiled.exists() and compiled.stat().st_mtime > HEADERS.stat().st_mtime:
            return
        compiler, being = find_compiler(), compiled.with_name(f"{os.getpid()}.gch")
        flags = [*compiler.flags, *shlex.split(UNOPTIMISED)]
        as_header = ["-x", "c++-header", str(HEADERS), "-o", str(being)]
        command = [*compiler.command, *flags[: flags.index("-include")], *as_header]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            being.replace(compiled)


def fused_multiply_add() -> bool:
    """Whether the processor rounds a product and a sum once: all of ARM and RISC-V, of x86 those that list it."""
    cpus = Path("/proc/cpuinfo")
    return platform.machine() != "x86_64" or not cpus.exists() or " fma " in cpus.read_text()
