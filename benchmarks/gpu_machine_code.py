"""The machine code of the cuda engine's kernels, read instruction by instruction: no GPU needed, and none was used.

    pip install nvidia-cuda-nvdisasm                         # beside the extra [cuda]
    python benchmarks/gpu_machine_code.py                    # the shape of spoken digits, sm_90
    python benchmarks/gpu_machine_code.py --hidden 1024 4096 --architecture sm_80
    python benchmarks/gpu_machine_code.py --text kernels.cu  # any text, such as `show MODEL --target cuda` elsewhere

NVRTC compiles, nvdisasm prints. Of each kernel: registers, bytes of stack and spills. Of each loop over steps (it has
barriers) and of each kernel without one, as they stand in the text: instructions, loads from global memory and from
shared memory, stores, shuffles and votes, barriers, conversions and sums in double precision; "chain" is the number
of loads from global memory on the longest path of registers, a load after the other; "in flight" is the largest
number of such loads that are issued before the first of them is used.
"""

from __future__ import annotations

import importlib.util
import io
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from genn_eventprop.codegen.cuda import generate
from genn_eventprop.verify.engines.representative import Shape

INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+ )?\s*([A-Z][\w.]*)(.*?);")
LABEL = re.compile(r"^(\.L_x_\d+):")
REGISTER = re.compile(r"\bR(\d+)(?:\.(64))?")
WIDTH = {"64": 2, "128": 4}


@dataclass(frozen=True)
class Instruction:
    """name: such as LDG.E.CONSTANT. writes, reads: numbers of registers. target: label of a branch. guarded: it depends
    on a predicate."""

    name: str
    writes: frozenset[int]
    reads: frozenset[int]
    target: str = ""
    guarded: bool = False

    @property
    def loads(self) -> bool:
        """From global memory."""
        return re.match(r"LDG?\.", self.name) is not None


@dataclass(frozen=True)
class Resources:
    registers: int
    stack: int
    spills: int
    shared: int


def disassembler() -> str:
    """nvdisasm of the path or of the wheel."""
    wheel = importlib.util.find_spec("nvidia")
    folders = [Path(p) for p in (wheel.submodule_search_locations or ())] if wheel else []
    inside = (p for folder in folders for p in sorted(folder.glob("*/bin/nvdisasm")))
    found = shutil.which("nvdisasm") or next((str(p) for p in inside), None)
    if found is None:
        raise SystemExit("nvdisasm is missing: pip install nvidia-cuda-nvdisasm")
    return found


def compiled(text: str, architecture: str) -> tuple[bytes, dict[str, Resources]]:
    """(cubin, kernel -> what ptxas says of it)."""
    from cuda.core import Program

    from genn_eventprop.engines.cuda.driver import options_for

    log, options = io.StringIO(), replace(options_for(text, architecture), ptxas_options=["-v"])
    cubin = Program(text, "c++", options).compile("cubin", logs=log).code
    found = re.findall(
        r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores.*?Used (\d+) registers"
        r"(?:.*?(\d+) bytes smem)?[^\n]*",
        log.getvalue(),
        re.S,
    )
    return cubin, {k: Resources(int(r), int(f), int(s), int(m or 0)) for k, f, s, r, m in found}


def kernels(cubin: bytes) -> dict[str, list[Instruction | str]]:
    """Kernel -> its instructions, and labels where they stand."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        printed = subprocess.run([disassembler(), "-c", file.name], capture_output=True, text=True, check=True).stdout
    found: dict[str, list[Instruction | str]] = {}
    current: list[Instruction | str] = []
    for line in printed.splitlines():
        if line.startswith(".text."):
            current = found.setdefault(line[6:].rstrip(":"), [])
        elif label := LABEL.match(line):
            current.append(label[1])
        elif m := INSTRUCTION.search(line):
            conditional = m[2].startswith("BRA") and not m[3].strip().startswith("`")  # such as BRA.DIV
            current.append(_instruction(m[2], m[3], guarded=m[1] is not None or conditional))
    return found


def _instruction(name: str, operands: str, *, guarded: bool) -> Instruction:
    branch = re.search(r"`\((\.L_x_\d+)\)", operands)
    parts = [p.strip() for p in operands.split(",")]
    stores = re.match(r"(ST|RED|BAR|BRA|EXIT|ISETP|FSETP|DSETP|BSSY|BSYNC|WARPSYNC)", name) is not None
    wide = next((WIDTH[w] for w in name.split(".") if w in WIDTH), 1)
    if name.startswith("IMAD.WIDE") or re.match(r"D(ADD|MUL|FMA)", name):
        wide = 2
    first = REGISTER.search(parts[0]) if not stores else None
    writes = {int(first[1]) + k for k in range(wide)} if first else set()
    rest = operands if stores else ",".join(parts[1:])
    reads = {int(r) + k for r, w in REGISTER.findall(rest) for k in range(2 if w else 1)}
    return Instruction(name, frozenset(writes), frozenset(reads), branch[1] if branch else "", guarded)


def loops(code: list[Instruction | str]) -> list[list[Instruction]]:
    """The outermost loops that have barriers, in order; the whole kernel if there is none."""
    blocks = _blocks(code)
    first = {x: i for i, block in enumerate(blocks) for x in block if isinstance(x, str)}
    edges = [_successors(block, i, first, len(blocks)) for i, block in enumerate(blocks)]
    dominators = _dominators(edges)
    natural = dict[
        int, set[int]
    ]()  # head -> blocks of its loop: those that reach a branch back without passing the head
    for i, following in enumerate(edges):
        for head in following & dominators[i]:
            inside, waiting = natural.setdefault(head, {head}), [i]
            while waiting:
                block = waiting.pop()
                if block not in inside:
                    inside.add(block)
                    waiting += [k for k, e in enumerate(edges) if block in e]
    with_barriers = [
        inside
        for inside in natural.values()
        if any(isinstance(x, Instruction) and x.name.startswith("BAR") for k in inside for x in blocks[k])
    ]
    outer = [a for a in with_barriers if not any(a < b for b in with_barriers)]
    chosen = sorted(outer, key=min) or [set(range(len(blocks)))]
    return [[x for k in sorted(inside) for x in blocks[k] if isinstance(x, Instruction)] for inside in chosen]


def _blocks(code: list[Instruction | str]) -> list[list[Instruction | str]]:
    blocks: list[list[Instruction | str]] = [[]]
    for x in code:
        if isinstance(x, str) and blocks[-1]:
            blocks.append([])
        blocks[-1].append(x)
        if isinstance(x, Instruction) and (x.target or x.name.startswith("EXIT")):
            blocks.append([])
    return [b for b in blocks if b]


def _successors(block: list[Instruction | str], i: int, first: dict[str, int], count: int) -> set[int]:
    last = block[-1]
    if not isinstance(last, Instruction):
        return {i + 1} if i + 1 < count else set()
    to = {first[last.target]} if last.name.startswith("BRA") and last.target in first else set()
    falls = last.guarded or not last.name.startswith(("BRA", "EXIT"))
    return to | ({i + 1} if falls and i + 1 < count else set())


def _dominators(edges: list[set[int]]) -> list[set[int]]:
    every = set(range(len(edges)))
    before = [{k for k, e in enumerate(edges) if i in e} for i in every]
    dominators = [{0}, *(set(every) for _ in edges[1:])]
    changed = True
    while changed:
        changed = False
        for i in range(1, len(edges)):
            new = {i} | (set.intersection(*(dominators[k] for k in before[i])) if before[i] else set())
            changed |= new != dominators[i]
            dominators[i] = new
    return dominators


def in_flight(code: list[Instruction]) -> int:
    """The most loads from global memory that are under way together, in the order of the text."""
    most, waiting = 0, list[frozenset[int]]()
    for x in code:
        used = x.reads | x.writes
        while waiting and any(w & used for w in waiting):
            waiting.pop(0)
        if x.loads:
            waiting.append(x.writes)
            most = max(most, len(waiting))
    return most


def chain(code: list[Instruction]) -> int:
    """Loads from global memory on the longest path of dependent ones, in the order of the text, through registers."""
    depth: dict[int, int] = {}
    longest = 0
    for x in code:
        d = max((depth.get(r, 0) for r in x.reads), default=0) + x.loads
        for r in x.writes:
            depth[r] = d
        longest = max(longest, d)
    return longest


COUNTED = {
    "global loads": r"LDG?\.",
    "shared loads": r"LDS",
    "stores": r"ST[GS]?\.|ST\.|RED|ATOM",
    "spill loads": r"LDL",
    "shuffles, votes": r"SHFL|VOTE",
    "barriers": r"BAR",
    "double": r"D(ADD|MUL|FMA|SETP)|F2F|F2I\.F64|I2F\.F64",
}


def rows(text: str, architecture: str) -> Iterator[str]:
    cubin, resources = compiled(text, architecture)
    for kernel, code in sorted(kernels(cubin).items(), key=lambda item: text.find(f" {item[0]}(")):
        r = resources[kernel]
        for number, body in enumerate(loops(code)):
            counts = [str(sum(re.match(p, x.name) is not None for x in body)) for p in COUNTED.values()]
            name = f"{kernel}, {('forwards', 'backwards')[number % 2]}" if kernel == "trial" else kernel
            local = (f"{n} B" for n in (r.stack, r.spills))
            cells = (name, r.registers, *local, len(body), *counts, chain(body), in_flight(body))
            yield "| " + " | ".join(map(str, cells)) + " |"


def main(hidden: tuple[int, ...] = (256,), architecture: str = "sm_90", text: Path | None = None) -> None:
    """Print a table for each network.

    Args:
        hidden: Numbers of hidden neurons.
        architecture: Of the card.
        text: CUDA text to read instead.
    """
    texts = {str(text): text.read_text()} if text else {}
    if not text:
        texts = {f"700 - {n} - 20": generate(Shape(hidden=n).network()[0], "float32").text for n in hidden}
    head = ("kernel", "registers", "stack", "spills", "instructions", *COUNTED, "chain", "in flight")
    for name, source in texts.items():
        print(f"{name}, {architecture}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
        print("\n".join(rows(source, architecture)), "\n", sep="")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
