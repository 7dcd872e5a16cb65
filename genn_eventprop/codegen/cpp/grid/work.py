"""The memory of one thread: the buffers that the text of a trial names, and its lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from ....program.nodes import Buffer
from ...statements import TYPES, indent
from ..context import padded
from .lists import Lists
from .memory import Memory

OUTER = {"readout": "real", "dr": "real", "last": "real", "first_step": "int"}  # what code beside the trial's names
SEGMENTS = "const int64_t segment = args.segment, kept = segment < n_steps ? (n_steps + segment - 1) / segment : 0;\n"


def work(
    memory: Memory, lists: Sequence[Lists], forwards: Set[str], kept: Mapping[str, Buffer],
    more: tuple[list[str], list[str]],
) -> str:  # fmt: skip
    """`struct Work`.

    Args:
        forwards: names of the buffers that a pass forwards needs, or what runs a segment again. kept: names of
            what segments start from -> the buffers that hold it in a trial. more: further members, and the lines that
            make room for them.
    """
    sized = _buffers(memory) | {n: (b.kind, f"kept * {memory.padded(b)}") for n, b in kept.items()}
    fields = [f"Buffer<{TYPES[kind]}> {n};" for n, (kind, _) in sized.items()]
    reserve = [f"{n}.zero({size});" for n, (_, size) in sized.items()]
    for own in lists:
        for name, records in own.sizes().items():
            member = name.removeprefix("work.")
            fields.append(f"Spikes<{records}> {member};")
            reserve.append(f"{member}.start.reserve(n_steps + 2);")
        if own.spiking:
            fields.append(f"Buffer<real> {own.prefix}feedback;")
        if own.n_events and not own.alone:
            fields.append(f"Buffer<int32_t> {own.prefix}found;")
            reserve.append(f"{own.prefix}found.reserve({padded(own.size) + 16});")
    fields, reserve = fields + more[0], reserve + more[1]
    targets = "ready_targets == args.n_targets" if memory.plan.loss.readout == "spike_times" else ""
    same = f"ready == args.n_steps && {targets}" if targets else "ready == args.n_steps"
    lines = [f"if ({same}) return;", "const int64_t n_steps = args.n_steps;", "(void)n_steps;"]
    lines += [SEGMENTS.rstrip()] if kept else []
    lines += [*reserve, "ready = args.n_steps;", *(["ready_targets = args.n_targets;"] if targets else [])]
    fields += ["BySource by_source;", "int64_t guarded = 0, diverged_state = -1, diverged_neuron = -1;"]
    fields.append("int64_t ready = -1" + (", ready_targets = -1;" if targets else ";"))
    prepare = f"void prepare(const Args& args) {{\n{indent(chr(10).join(lines))}}}\n"
    rows = (b for b in memory.used.values() if b.axes[0] == "n_steps" and b.name not in forwards)
    trade = "".join(f"{n}.trade(other.{n});\n" for n in sorted(memory.field(b) for b in rows))
    given = "// Gives another Work what only a pass backwards needs, and takes the other's.\n"
    given += f"void trade([[maybe_unused]] Work& other) {{\n{indent(trade)}}}\n"
    return "struct Work {\n" + indent("\n".join(fields) + "\n" + prepare + given) + "};\n"


def _buffers(memory: Memory) -> dict[str, tuple[str, str]]:
    """Name -> kind and length of every buffer."""
    found = {}
    for b in sorted(memory.used.values(), key=lambda b: b.name):
        if b.name not in memory.places:
            found[memory.field(b)] = b.kind, memory.count(b)
    loss = memory.plan.loss
    found |= {n: (kind, "NP_OUT") for n, kind in OUTER.items() if n not in found}
    if loss.readout == "voltage":
        found["before_voltage"] = "real", "NP_OUT"
    if loss.weight.input_tau is not None:
        found |= dict.fromkeys(("activity", "activity_before"), ("real", "n_steps + 1"))
    return found
