"""pytest with all generated C++ built by the address and undefined-behaviour sanitisers of g++.

    python tests/support/sanitised.py tests/engine

takes what pytest takes, and ends at the first error, whose report goes to the terminal. Left out are tests where
memory runs out: the sanitiser ends the process where `operator new` throws `std::bad_alloc`, or a thread cannot start.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys

# -fexpensive-optimizations: products and sums are contracted as for users; float32 has tighter bounds so
FLAGS = (
    "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g1 -O1 -fexpensive-optimizations"
)
if platform.machine() == "x86_64":
    FLAGS += " -mno-avx512f"  # GCC 12 does not align its sanitised stack frames to the 64 bytes of such vectors

LEFT_OUT = (
    "tests/engine/native/test_engine.py::test_the_engine_recovers_from_exhausted_memory",
    "tests/engine/native/test_engine.py::test_threads_that_cannot_start_are_an_error",
)


def environment(more_flags: str = "") -> dict[str, str]:
    """Of a Python process that may load such code: the sanitiser's library has to come first in it."""
    libraries = (_library(name) for name in ("libasan.so", "libstdc++.so.6"))
    variables = {
        "CXX": "g++",
        "GENN_EVENTPROP_CXXFLAGS": f"{FLAGS} {more_flags}",
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python itself leaves memory behind
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    return os.environ | variables


def available() -> bool:
    """Whether g++ with the library of its address sanitiser is here."""
    return sys.platform == "linux" and shutil.which("g++") is not None and os.path.isabs(_library("libasan.so"))


def run(arguments: list[str], more_flags: str = "", **options: object) -> subprocess.CompletedProcess[str]:
    """pytest with `arguments` in a process of its own; more_flags: of the compiler; options: of `subprocess.run`."""
    left_out = [f"--deselect={name}" for name in LEFT_OUT]
    command = [sys.executable, "-P", "-m", "pytest", "-x", "-q", "-s", *left_out, *arguments]
    return subprocess.run(command, env=environment(more_flags), text=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def _library(name: str) -> str:
    """Path of a library of g++; the bare name where g++ has none."""
    found = subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]).returncode)
