"""The C++ of connections with tables and delays by itself: every operation against loops that follow its definition."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from genn_eventprop.codegen.cpp import read
from genn_eventprop.toolchain.compiler import FLAGS
from support import sanitised

CHECK = Path(sanitised.__file__).with_name("connectivity_check.cpp")
PLAIN = "-march=x86-64-v2"
SANITISED = [*sanitised.FLAGS.split(), PLAIN]
SIZES = "1,2,3,7,15,16,17,33,272"
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-unknown-pragmas", "-Wno-psabi"]


def run(compiler: str, real: str, flags: list[str], sizes: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Compile the check for one type of number and run it."""
    library = [read(n) for n in ("host.hpp", "runtime.hpp", "signs.hpp", "connectivity.hpp", "delays.hpp")]
    source, program = folder / "check.cpp", folder / "check"
    source.write_text("\n".join([f"typedef {real} scalar;", f"#define SIZES {sizes}", *library, CHECK.read_text()]))
    shared = ("-shared", "-fPIC")
    command = [compiler, *(f for f in FLAGS if f not in shared), *WARNINGS, *flags, str(source), "-o", str(program)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return subprocess.run([str(program)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("compiler", "real", "flags", "sizes"),
    [
        ("g++", "float", ["-O1", "-march=native"], "3,17"),
        pytest.param("g++", "float", ["-march=native"], SIZES, marks=pytest.mark.slow),
        pytest.param("g++", "double", ["-march=native"], SIZES, marks=pytest.mark.slow),
        pytest.param("g++", "float", [PLAIN], SIZES, marks=pytest.mark.slow),
        pytest.param("clang++", "float", ["-march=native"], SIZES, marks=pytest.mark.slow),
        pytest.param("clang++", "double", [PLAIN], SIZES, marks=pytest.mark.slow),
    ],
)
def test_every_operation_is_its_definition(
    compiler: str, real: str, flags: list[str], sizes: str, tmp_path: Path
) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    done = run(compiler, real, flags, sizes, tmp_path)
    assert done.returncode == 0, done.stdout


@pytest.mark.ci
@pytest.mark.parametrize(
    ("real", "sizes", "flags"),
    [("double", "17", [*SANITISED, "-O0"]), pytest.param("float", SIZES, SANITISED, marks=pytest.mark.slow)],
)
def test_sanitisers_find_nothing(real: str, sizes: str, flags: list[str], tmp_path: Path) -> None:
    if not sanitised.available():
        pytest.skip("g++ or its sanitisers are not installed")
    done = run("g++", real, flags, sizes, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
