"""The C++ compiler: $CXX, else g++, else clang++, else the `ziglang` wheel."""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..errors import ToolchainError

# No -ffast-math: its start-up code changes the whole process and it deletes tests for NaN. Reassociation happens only
# in the reductions that the generated code writes out.
FLAGS = (
    "-std=c++17",
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-shared",
    "-fPIC",
    "-pthread",
)

FLAGS_VARIABLE = "GENN_EVENTPROP_CXXFLAGS"  # more flags, after all others: for sanitisers and debuggers


class NoCompilerError(ToolchainError):
    """There is no C++ compiler on this machine."""


def more_flags() -> list[str]:
    """Those that the environment asks for."""
    text = os.environ.get(FLAGS_VARIABLE, "")
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ToolchainError(
            f"{FLAGS_VARIABLE} is set to {text!r}, which is not a list of flags ({error}); unset it "
            "or correct its quotes"
        ) from None


# Strict C99 for plain generated code: no extensions, and no contraction of products and sums.
C_FLAGS = ("-x", "c", "-std=c99", "-pedantic", "-O3", "-fno-math-errno", "-shared", "-fPIC", "-lm")


@dataclass(frozen=True)
class Compiler:
    """A compiler that answered: command (argv prefix), kind ("gcc", "clang", "apple-clang", "zig"), version line; and
    the language that it is asked to compile, "c++" or "c"."""

    command: tuple[str, ...]
    kind: str
    version: str
    language: str = "c++"

    @property
    def flags(self) -> tuple[str, ...]:
        native = (
            "-mcpu=native"
            if self.kind == "apple-clang" or platform.machine() in ("arm64", "aarch64")
            else "-march=native"
        )
        if self.language == "c":
            return (*C_FLAGS, native, *more_flags())
        extra = {"zig": ("-fno-sanitize=undefined",), "gcc": _WIDE if platform.machine() == "x86_64" else ()}
        return (*FLAGS, native, *extra.get(self.kind, ()), *more_flags())

    def compile(self, source: Path, target: Path) -> None:
        """Compile one file to a shared library.

        Raises:
            ToolchainError: with the compiler's message.
        """
        command = [*self.command, *self.flags, str(source), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ToolchainError(f"{shlex.join(command)}\n{done.stderr.strip() or done.stdout.strip()}")


_WIDE = ("-mprefer-vector-width=512",)


def find_compiler() -> Compiler:
    """The compiler in the order $CXX, g++, clang++, ziglang.

    Raises:
        NoCompilerError: there is none; says how to get one. ToolchainError: $CXX is set to something that does not run.
    """
    wanted = os.environ.get("CXX")
    if wanted:
        try:
            compiler = _probe(tuple(shlex.split(wanted)))
        except ValueError:  # an open quote
            compiler = None
        if compiler is None:
            raise ToolchainError(f"CXX is set to {wanted!r}, which does not run; unset it or set it to a C++ compiler")
        return compiler
    for command in _candidates():
        compiler = _probe(command)
        if compiler is not None:
            return compiler
    raise NoCompilerError(
        "no C++ compiler was found (looked for $CXX, g++, clang++ and the ziglang package); install one with your "
        'system\'s package manager, or run: pip install "genn_eventprop[compiler]"'
    )


def _candidates() -> list[tuple[str, ...]]:
    names: list[tuple[str, ...]] = [(path,) for path in map(shutil.which, ("g++", "clang++")) if path]
    if importlib.util.find_spec("ziglang") is not None:
        names.append((sys.executable, "-m", "ziglang", "c++"))
    return names


@lru_cache(maxsize=8)
def _probe(command: tuple[str, ...]) -> Compiler | None:
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0 or not done.stdout.strip():
        return None
    version = done.stdout.strip().splitlines()[0]
    if "ziglang" in command or Path(command[0]).stem == "zig":
        kind = "zig"
    elif "clang" in version:
        kind = "apple-clang" if "Apple" in version else "clang"
    else:
        kind = "gcc"
    return Compiler(command, kind, version)


@lru_cache(maxsize=1)
def cpu_features() -> str:
    """What -march=native resolves to here, as text for the cache key: two kinds of node never share a library."""
    if sys.platform == "linux":
        keys = ("flags", "Features", "model name", "CPU implementer", "CPU part")
        try:
            lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        except OSError:
            lines = []
        return "\n".join(line for line in lines if line.split(":")[0].strip() in keys) or platform.processor()
    if sys.platform == "darwin":
        done = subprocess.run(
            ["sysctl", "-a", "machdep.cpu", "hw.optional"], capture_output=True, text=True, check=False
        )
        return done.stdout
    return platform.processor()
