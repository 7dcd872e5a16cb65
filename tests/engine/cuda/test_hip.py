"""The CUDA text by AMD's compiler, hiprtc: with a prelude of five lines it compiles for AMD's GPUs, without a card."""

import ctypes

import pytest

from genn_eventprop.codegen.cuda import generate
from genn_eventprop.codegen.cuda.update import update_text
from genn_eventprop.optimisers import Adam
from genn_eventprop.verify.engines.representative import EXACT, RECIPES, case

LIBRARIES = ("libhiprtc.so", "libhiprtc.so.6", "libhiprtc.so.5", "libamdhip64.so", "libamdhip64.so.5")
# HIP's shuffles and votes are of a whole wave, of 32 or 64 lanes, and take no mask
PRELUDE = """\
#define __grid_constant__
#define __shfl_sync(mask, value, lane) __shfl(value, lane, 32)
#define __shfl_up_sync(mask, value, offset) __shfl_up(value, offset, 32)
#define __shfl_down_sync(mask, value, offset) __shfl_down(value, offset, 32)
#define __ballot_sync(mask, predicate) ((unsigned)(__ballot(predicate) >> (__lane_id() & 32)))
"""
NETWORKS = (*list(RECIPES)[:1], "convolution", "dense, delays of targets", *list(EXACT)[:1])


def hiprtc():
    """The library that has hiprtc; None if there is none."""
    for name in LIBRARIES:
        try:
            library = ctypes.CDLL(name)
            library.hiprtcCompileProgram  # noqa: B018
        except (OSError, AttributeError):
            continue
        return library
    return None


@pytest.fixture(scope="module")
def library():
    found = hiprtc()
    if found is None:
        pytest.skip("hiprtc is not installed (Debian and Ubuntu: libamdhip64-5)")
    return found


def compiled(library, text, architecture):
    """(status, what the compiler says, bytes of code)."""
    program, options = ctypes.c_void_p(), [f"--offload-arch={architecture}".encode(), b"-std=c++17"]
    assert library.hiprtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.hip", 0, None, None) == 0
    status = library.hiprtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size, code = ctypes.c_size_t(), ctypes.c_size_t()
    library.hiprtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value + 1)
    library.hiprtcGetProgramLog(program, log)
    if status == 0:
        library.hiprtcGetCodeSize(program, ctypes.byref(code))
    library.hiprtcDestroyProgram(ctypes.byref(program))
    return status, log.value.decode(errors="replace"), code.value


@pytest.mark.parametrize("architecture", ["gfx1030", pytest.param("gfx90a", marks=pytest.mark.ci)])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_text_compiles_for_amd(library, name, architecture):
    for dtype in ("float32", "float64"):
        status, log, size = compiled(library, PRELUDE + generate(case(name).plan, dtype).text, architecture)
        assert status == 0 and size > 1000, log


def test_the_optimiser_compiles_for_amd(library):
    status, log, size = compiled(library, PRELUDE + update_text(Adam(), "float32"), "gfx1030")
    assert status == 0 and size > 1000, log


def test_an_error_in_the_text_is_said(library):
    """The check can fail: without the prelude it does."""
    status, log, _ = compiled(library, generate(case(NETWORKS[0]).plan, "float32").text, "gfx1030")
    assert status != 0 and "__shfl_up_sync" in log
