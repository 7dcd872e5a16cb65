"""Generated C++ under the sanitisers of addresses and undefined behaviour: nothing out of bounds, no overflow.

The default tests take the smallest networks; the engine suite is `python tests/support/sanitised.py tests/engine`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from genn_eventprop.toolchain import find_compiler
from genn_eventprop.toolchain.load import key_of
from support import sanitised

TESTS = Path(__file__).resolve().parents[2]


pytestmark = pytest.mark.skipif(not sanitised.available(), reason="g++ with its address sanitiser is not here")


def check(arguments: list[str], timeout: float) -> None:
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = sanitised.run(arguments, "-O0", cwd=TESTS.parent, timeout=timeout, **pipe)
    assert done.returncode == 0, done.stdout[-6000:]


SMALLEST = [
    "engine/networks/test_small_populations.py::test_one_neuron_is_run_as_the_reference_runs_it[lif-exact-number-learned]",
    "engine/losses/test_target_series.py::test_series_of_any_length_are_those_of_the_reference[16-False]",
]


@pytest.mark.ci
def test_the_smallest_networks():
    check([str(TESTS / t) for t in SMALLEST], 300)


def test_a_read_out_of_bounds_is_an_error(tmp_path):
    text = 'extern "C" int read(const int* all, int i) { return all[i]; }\n'
    script = (
        "import ctypes, numpy as np\nfrom genn_eventprop.toolchain import build\n"
        f"library = build({text!r})\nx = np.zeros(5000, np.int32)\n"
        "for i in (4999, 5000):\n    print(library.read(ctypes.c_void_p(x.ctypes.data), i), flush=True)\n"
    )
    environment = sanitised.environment() | {"GENN_EVENTPROP_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-P", "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode != 0 and done.stdout == "0\n"
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr


def test_flags_of_the_environment_are_part_of_the_key(monkeypatch):
    monkeypatch.delenv("GENN_EVENTPROP_CXXFLAGS", raising=False)
    plain = key_of("", find_compiler())
    monkeypatch.setenv("GENN_EVENTPROP_CXXFLAGS", "-g1 -DNAME='a b'")
    assert find_compiler().flags[-2:] == ("-g1", "-DNAME=a b")
    assert key_of("", find_compiler()).split("-")[0] != plain.split("-")[0]  # nor taken where there is no compiler
