"""The CUDA engine on the CPU: `ShimDevice` compiles generated text with `shim.hpp` and runs it fiber by fiber."""

import ctypes
import re
import threading
import weakref
from pathlib import Path

import numpy as np

from genn_eventprop.engines.cuda import CudaEngine
from genn_eventprop.engines.cuda.device import Device, DeviceMemory, Module, OutOfMemory
from genn_eventprop.toolchain.load import build

# Read once: all libraries of a process share the shim's variables (the linker makes inline ones unique), so they must
# be of one version, also where the tree changes under a run.
HEADER = Path(__file__).with_name("shim.hpp").read_text()
ASCENDING, DESCENDING, SHUFFLED = 0, 1, 2
MARGIN = 4096  # bytes beside a piece of memory that kernels must leave alone
USE = np.dtype((np.void, 48))  # `shim::Use`: who has used four bytes of global memory last
STRUCT = re.compile(r"(?:typedef struct|struct (?P<before>\w+)) \{\n(?P<fields>(?:    .*\n)+)\}(?P<after> \w+)?;\n")
FIELD = re.compile(r"    (?P<const>const )?(?:alignas\(8\) )?(?P<type>\w+) (?P<names>.*);\n")


def checked(text):
    """The text with arrays of global memory that are checked, and how many arrays and numbers its struct has."""
    structs = list(STRUCT.finditer(text))  # the library of some texts has others before
    struct = next((s for s in structs if s["after"] == " Call"), structs[0])
    name, fields, arrays, numbers = struct["before"] or struct["after"].strip(), "", 0, 0
    for field in FIELD.finditer(struct["fields"]):
        names = field["names"].split(", ")
        if not names[0].startswith("*"):
            fields, numbers = fields + field[0], numbers + len(names)
            continue
        assert numbers == 0 and all(n.startswith("*") for n in names), "arrays come before numbers"
        kind = "Given" if field["const"] else "Global"
        fields += f"    shim::{kind}<{field['type']}> {field['names'].replace('*', '')};\n"
        arrays += len(names)
    text = text.replace(struct[0], f"struct {name} {{\n{fields}}};\n")
    text = text.replace("extern __shared__ double shared_memory[];", "const shim::Shared shared_memory;")
    text = re.sub(r"const \w+ \*(\w+) = t->", r"const auto \1 = t->", text)
    # beside an integer, a choice would take the integer's type, since a checked element converts to any
    text = re.sub(r"\? (t->\w+\[[^\[\]]*\]) :", r"? +\1 :", text)
    text = re.sub(r"(\? [\w.]+ :) (t->\w+\[)", r"\1 +\2", text)
    text = re.sub(r"const __grid_constant__ (\w+) ", r"const \1 &", text)
    return text.replace("const real *before", "shim::Row<real> before"), arrays, numbers


class ShimMemory(DeviceMemory):
    """Memory of the host, full of ones when it is new: as reals they are nan."""

    def __init__(self, device, count):
        if count > device.available:
            raise OutOfMemory(f"cuda: allocating {count} bytes of {device.available} failed")
        self._raw, self.bytes, self.device = np.full(count + 3 * MARGIN, 0xFF, np.uint8), count, device
        self._start = MARGIN + -self._raw.ctypes.data % MARGIN
        self.uses = np.zeros(-(-count // 4) + 1, USE)
        device.pieces.add(self)
        self.address = self._raw.ctypes.data + self._start
        device.live += 1
        device.allocated += count

    def whole(self):
        """Whether nobody has written beside it."""
        return (self._raw[: self._start] == 0xFF).all() and (self._raw[self._start + self.bytes :] == 0xFF).all()

    def _first(self, count):
        assert count <= self.bytes and self._raw is not None
        return self._raw[self._start : self._start + count]

    def write(self, value, *, ahead=False):
        self.device.copied += value.nbytes
        if ahead:
            self.device.uploaded.append((threading.current_thread(), value.nbytes))
        self._first(value.nbytes)[:] = np.ascontiguousarray(value).reshape(-1).view(np.uint8)

    def read(self, shape, dtype):
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.device.read_back += count
        return self._first(count).view(dtype).reshape(shape).copy()

    def clear(self, count):
        self._first(count)[:] = 0

    def free(self):
        if self._raw is not None:
            self.device.live -= 1
            self.device.allocated -= self.bytes
            self.device.pieces.discard(self)
        self._raw = None


class ShimModule(Module):
    def __init__(self, text, device):
        kernels = re.findall(r'extern "C" __global__ void (?:__launch_bounds__\([\d, ]+\) )?(\w+)\(', text)
        # types of runtime.cuh are those of <cstdint> here
        text = re.sub(r"typedef (unsigned )?(short|int|long long) u?int\d\d_t;\n", "", text)
        self.by_value = "__grid_constant__" in text
        text, arrays, numbers = checked(text)
        of_launch = "int blocks, int threads, int shared, const void *t, const shim::Piece *pieces, int n_pieces"
        tail = "".join(
            f'extern "C" int run_{k}({of_launch}, int order, int seed, int mutate) {{\n'
            f"    static uint64_t arrays[{3 * arrays + numbers}];\n"
            f"    shim::resolve((const uint64_t *)t, {arrays}, {numbers}, pieces, n_pieces, arrays);\n"
            f"    const auto kernel = (void (*)(const void *)){k};\n"
            "    return shim_launch(kernel, blocks, threads, shared, arrays, order, seed, mutate);\n}\n"
            for k in kernels
        )
        tail += 'extern "C" const char *why() { return shim_message(); }\n'
        self.library = build(f"{HEADER}\n{text}\n{tail}")
        self.library.why.restype = ctypes.c_char_p
        self.device = device

    def launch(self, kernel, blocks, threads, shared, argument):
        d = self.device
        d.seed += 1
        d.launches.append(kernel)
        mutate = d.mutate if kernel == "trial" else 0
        run = getattr(self.library, f"run_{kernel}")
        pieces = np.array([(p.address, p.bytes, p.uses.ctypes.data) for p in d.pieces], np.uint64).reshape(-1, 3)
        where = ctypes.c_void_p(pieces.ctypes.data)
        struct = ctypes.c_void_p(argument.ctypes.data if self.by_value else int(argument[0]))
        if run(blocks, threads, shared, struct, where, len(pieces), d.order, d.seed, mutate):
            raise RuntimeError(f"{kernel}: {self.library.why().decode()}")
        if not all(piece.whole() for piece in d.pieces):
            raise RuntimeError(f"{kernel}: wrote outside of a piece of global memory")


class ShimDevice(Device):
    """order: of threads and blocks. mutate: number of the arrival at a barrier to leave out, 0 for none. change: what
    to do to the text before it is compiled. live: pieces of memory, allocated: bytes of them, of `memory` in all;
    copied, read_back: bytes to the device and from it; uploaded: (thread, bytes) of data sets; launches: kernels."""

    shared_memory = 1 << 18
    name, memory = "shim", 1 << 32

    def __init__(self, order=ASCENDING, seed=0, mutate=0, change=None):
        self.order, self.seed, self.mutate, self.change = order, seed, mutate, change
        self.live = self.copied = self.allocated = self.read_back = 0
        self.uploaded, self.launches, self.pieces = [], [], weakref.WeakSet()

    @property
    def available(self):
        return max(self.memory - self.allocated, 0)

    def compile(self, text):
        return ShimModule(self.change(text) if self.change else text, self)

    def allocate(self, count):
        return ShimMemory(self, count)


class ShimEngine(CudaEngine):
    """`cuda` on the shim, threads shuffled. room: for events of a neuron at first."""

    name = "cuda"

    def __init__(self, plan, values, *, order=SHUFFLED, seed=1, mutate=0, change=None, room=None, **settings):
        super().__init__(plan, values, device=ShimDevice(order, seed, mutate, change), **settings)
        self.room[:] = self.room if room is None else [room] * len(self.room)
