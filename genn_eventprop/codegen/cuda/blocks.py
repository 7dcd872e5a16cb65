"""A block of threads as CUDA text: its neurons, and its shared memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import resources

from ...program.nodes import Buffer
from ..safe_text import in_comment
from ..statements import TYPES, indent


def runtime(threads: int) -> str:
    """What files for blocks of so many threads begin with."""
    text = resources.files(__package__).joinpath("runtime.cuh").read_text()
    return f"#define THREADS {threads}\n{text}"


def each_neuron(size: int, threads: int, body: str, comment: str, after: str = "", declare: str = "") -> str:
    """Code for every one of `size` neurons, number ``i`` of those of its thread.

    Args:
        body: for neurons that are there. after: for all lanes. declare: variables of both.
    """
    slots = -(-size // threads)
    # only the last neurons of a thread may be missing
    last = f"i < {slots - 1} || " if slots > 1 else ""
    guard = f"if ({last}neuron < {size}) " if size % threads else ""
    text = f"{declare}const int32_t neuron = threadIdx.x + i * {threads};\n{guard}{{\n{indent(body)}}}\n{after}"
    said = f"  // {in_comment(comment)}" if comment else ""
    # unrolled, since arrays of a thread are registers only where every index is known to the compiler
    return f"#pragma unroll\nfor (int i = 0; i < {slots}; ++i) {{{said}\n{indent(text)}}}\n"


def count(b: Buffer) -> int:
    """How many numbers a buffer has in a trial; lengths that are known at run time alone are not in it."""
    return math.prod(a for a in b.axes if isinstance(a, int))


def shared_bytes(buffers: Sequence[Buffer], sizes: Mapping[str, int]) -> int:
    """Of buffers in shared memory; sizes: bytes of each kind."""
    return sum(sizes[b.kind] * count(b) for b in buffers)


def declare_shared(buffers: Sequence[Buffer], sizes: Mapping[str, int], body: str) -> str:
    """Declares those whose names stand in a body. Places stay the same for all kernels of a file, since the host asks for
    one number of bytes."""
    text = ""
    for k, b in enumerate(buffers):
        kind, at = TYPES[b.kind], shared_bytes(buffers[:k], sizes)
        text += f"SHARED({kind}) {b.name} = SHARE({kind}, memory + {at}, {count(b)});\n" * (b.name in body)
    head = "extern __shared__ double shared_memory[];\nchar *const memory = (char *)shared_memory;\n"
    return head + text if text else ""
