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


@dataclass(frozen=True)
class Member:
    """Of the memory of a thread.

    Attributes:
        room: the line that allocates it, if it is not as long as it is. late: whether only a pass backwards needs it.
    """

    kind: str
    name: str
    room: str = ""
    late: bool = False


def work(
    memory: Memory, lists: Sequence[Lists], forwards: Set[str], kept: Mapping[str, Buffer],
    more: Sequence[Member], at_host: AtHost | None = None,
) -> str:  # fmt: skip
    """`struct Work`.

    Args:
        forwards: names of the buffers that the pass forwards needs, or the replay of a segment. kept: names of
            the states that segments start from -> the buffers that hold them in a trial. more: further members. at_host:
            of a piece.
    """
    activity = ACTIVITY if memory.plan.loss.weight.input_tau is not None else ()
    sized = (
        memory.members()
        | dict.fromkeys(activity, ("real", "n_steps + 1"))
        | {n: (b.kind, f"kept * {memory.padded(b)}") for n, b in kept.items()}
    )
    late = set(memory.used) - forwards
    members = [
        Member(f"Buffer<{TYPES[kind]}>", n, f"{n}.zero({size});", n in late) for n, (kind, size) in sized.items()
    ]
    members = [] if at_host else members
    fields, take, sizes = (at_host.fields, at_host.take, at_host.sizes) if at_host else ([], [], [])
    for of in lists:
        rows, steps, p = (", Rows", at_host.steps, of.prefix) if at_host else ("", "n_steps", of.prefix)
        for records, n in ((records, n.removeprefix("work.")) for n, records in of.sizes().items()):
            members.append(Member(f"Spikes<{records}{rows}>", n, f"{n}.start.reserve({steps} + 2);"))
        if of.n_events and not of.alone:
            members.append(Member("Buffer<int32_t>", f"{p}crossed", f"{p}crossed.reserve(NP_{p[:-1]} + 16);"))
    members += [*more, Member("BySource", "by_source", late=True)]
    by_targets = targets_of(memory.plan)
    lines = [*fields, *(f"{m.kind} {m.name};" for m in members)]
    text = "int64_t guarded = 0, diverged_state = -1, diverged_neuron = -1;\n"
    room = [m.room for m in members if m.room and not m.late]
    text += prepare("prepare", "ready", SEGMENTS if kept else "", room, by_targets, take, sizes)
    text += (
        "// The same for what only a pass backwards needs; `trade` gives that to another Work, and takes the other's.\n"
    )
    room = [m.room for m in members if m.room and m.late]
    text += prepare("prepare_back", "ready_back", "", room, by_targets, take, sizes)
    swaps = "".join(f"{m.name}.trade(other.{m.name});\n" for m in members if m.late)
    text += f"void trade(Work& other) {{\n{indent(swaps + 'std::swap(ready_back, other.ready_back);')}}}\n"
    return "struct Work {\n" + indent("\n".join(lines) + "\n" + text) + "};\n"


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
