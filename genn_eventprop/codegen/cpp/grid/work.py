"""The memory of one thread: the buffers and lists that the text of a trial uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from ....program.nodes import Buffer
from ...statements import TYPES, indent
from .lists import Lists
from .memory import ACTIVITY, Memory, targets_of

SEGMENTS = "const int64_t segment = args.segment, kept = segment < n_steps ? (n_steps + segment - 1) / segment : 0;\n"


@dataclass(frozen=True)
class AtHost:
    """Of a piece, whose buffers are arrays of the host.

    Attributes:
        fields: the pointers to them. take: the lines that set these. steps: of which lists have spikes. sizes: numbers of
            a call that these depend on.
    """

    fields: list[str]
    take: list[str]
    steps: str
    sizes: list[str]


def work(
    memory: Memory, lists: Sequence[Lists], forwards: Set[str], kept: Mapping[str, Buffer],
    more: tuple[list[str], list[str], list[str]], at_host: AtHost | None = None,
) -> str:  # fmt: skip
    """`struct Work`.

    Args:
        forwards: names of the buffers that the pass forwards needs, or the replay of a segment. kept: names of
            the states that segments start from -> the buffers that hold them in a trial. more: further members, the
            lines that allocate them, and the names of those that only a pass backwards needs. at_host: of a piece.
    """
    activity = ACTIVITY if memory.plan.loss.weight.input_tau is not None else ()
    sized = (
        memory.members()
        | dict.fromkeys(activity, ("real", "n_steps + 1"))
        | {n: (b.kind, f"kept * {memory.padded(b)}") for n, b in kept.items()}
    )
    sized = {} if at_host else sized
    fields = [f"Buffer<{TYPES[kind]}> {n};" for n, (kind, _) in sized.items()]
    fields += at_host.fields if at_host else []
    late = set(memory.used) - forwards
    reserve = [f"{n}.zero({size});" for n, (_, size) in sized.items() if n not in late]
    reserve_late = [f"{n}.zero({size});" for n, (_, size) in sized.items() if n in late]
    trade = [n for n in sized if n in late] + more[2]
    for of in lists:
        for name, records in of.sizes().items():
            member = name.removeprefix("work.")
            fields.append(f"Spikes<{records}{', Rows' if at_host else ''}> {member};")
            reserve.append(f"{member}.start.reserve({at_host.steps if at_host else 'n_steps'} + 2);")
        if of.spiking:
            fields.append(f"Buffer<real> {of.prefix}feedback;")
            trade.append(f"{of.prefix}feedback")
        if of.born:
            born = [f"{of.prefix}born", *(f"{of.prefix}born_{s}" for s in of.born)]
            fields += [f"Buffer<{'real' if i else 'int32_t'}> {n};" for i, n in enumerate(born)]
            reserve += [f"{n}.reserve(NP_{of.prefix[:-1]});" for n in born]
        if of.n_events and not of.alone:
            fields.append(f"Buffer<int32_t> {of.prefix}crossed;")
            reserve.append(f"{of.prefix}crossed.reserve(NP_{of.prefix[:-1]} + 16);")
    fields += [*more[0], "BySource by_source;"]
    fields.append("int64_t guarded = 0, diverged_state = -1, diverged_neuron = -1;")
    trade.append("by_source")
    begin = SEGMENTS if kept else ""
    by_targets = targets_of(memory.plan)
    take, here = ([], []) if at_host is None else (at_host.take, at_host.sizes)
    text = prepare("prepare", "ready", begin, reserve + more[1], by_targets, take, here)
    text += (
        "// The same for what only a pass backwards needs; `trade` gives that to another Work, and takes the other's.\n"
    )
    text += prepare("prepare_back", "ready_back", "", reserve_late, by_targets, take, here)
    swaps = "".join(f"{n}.trade(other.{n});\n" for n in trade) + "std::swap(ready_back, other.ready_back);\n"
    text += f"void trade(Work& other) {{\n{indent(swaps)}}}\n"
    return "struct Work {\n" + indent("\n".join(fields) + "\n" + text) + "};\n"


def prepare(
    function: str, ready: str, begin: str, reserve: Sequence[str], by_targets: Sequence[str],
    take: Sequence[str] = (), more: Sequence[str] = (),
) -> str:  # fmt: skip
    """A function that allocates memory for a trial once, and the members with the number of steps and targets.

    Memory is allocated in the first trial of a thread and kept; only these numbers may change between calls.

    Args:
        take: what is done in every call. more: of these numbers.
    """
    by_targets = [*by_targets, *more]
    sizes = ["args.n_steps", *(f"args.{n}" for n in by_targets)]
    names = [ready, *(f"{ready}_{n.replace('n_targets', 'targets')}" for n in by_targets)]
    same = " && ".join(f"{n} == {size}" for n, size in zip(names, sizes))
    lines = [
        *take,
        f"if ({same}) return;",
        "[[maybe_unused]] const int64_t n_steps = args.n_steps;",
        *begin.splitlines(),
    ]
    lines += [*reserve, *(f"{n} = {size};" for n, size in zip(names, sizes))]
    members = "int64_t " + ", ".join(f"{n} = -1" for n in names) + ";\n"
    return f"{members}void {function}(const Args& args) {{\n{indent(chr(10).join(lines))}}}\n"
