"""`program.trial` as C99 text: the loops of `program.lower`, printed; samples run one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from string import Template

import sympy as sp

from ...plan import Plan
from ...program.check import Checker
from ...program.lower import TROUBLE, Lowering
from ...program.nodes import SAMPLE, Access, Buffer, Kernel, Statement
from ...program.passes import flags, with_part, without_unused
from ...program.pieces import BEFORE, FIRST, Crossing, Pieces
from ...program.trial import Trial, make_trial
from ..equations import equations
from ..layout import DATA, Layout
from ..printer import C_REAL
from ..safe_text import comment_lines
from ..shared import shared
from ..statements import TYPES, Spelling, Writer, indent

INLINE = "static inline"
NAMES = {"o_infinity": "HUGE_VAL", "o_nan": "(double)NAN", "quantiles": "t->quantiles"}


@dataclass(frozen=True)
class Source:
    """Generated code and its calling convention: arrays and numbers in the order in which Python hands them over."""

    text: str
    trial: Trial
    arrays: tuple[Buffer, ...]
    doubles: tuple[Buffer, ...]
    integers: tuple[str, ...]


def generate(plan: Plan, dtype: str, split: bool = False) -> Source:
    """C99 for a plan; dtype "float32" or "float64". split: a call runs one pass of all samples, `training` says which."""
    trial = make_trial(plan, split=split, record=True, evaluates=True)
    return _source(plan, dtype, trial, *loops(trial))


def generate_pieces(plan: Plan, dtype: str) -> tuple[Source, Crossing]:
    """C99 for a piece of a recording, see `program.pieces`, and what crosses from piece to piece."""
    trial = make_trial(plan, evaluates=True, pieces=True)
    pieces = Pieces(trial)
    body = flags(pieces.body(), lambda spikes, step, word: spikes.at(SAMPLE, step - FIRST.at() + BEFORE.at(), word))
    buffers = {b.name: b for b in (*DATA, *pieces.memory().values())}
    return _source(plan, dtype, trial, *_parted(body, buffers, True)), pieces.crossing()


def _source(
    plan: Plan, dtype: str, trial: Trial, body: Sequence[Statement], buffers: Mapping[str, Buffer]
) -> Source:  # fmt: skip
    """The file of loops, which are the body of `run` for one sample."""
    Checker(buffers, {SAMPLE: "long"}).check(body)

    struct = _Struct(buffers.values())

    def element(a: Access, write: Callable[[sp.Expr], str]) -> str:
        return f"t->{a.buffer.name}" + (flat(a, write, lambda n: f"t->{n}") if a.buffer.axes else "")

    spelling = Spelling(element, lambda *_: "", NAMES, comment, buffers)
    run = f"static int run(Trial *t, int64_t sample) {{\n{indent(text(spelling, body))}}}\n"
    assignments = [f"trial.{b.name} = arrays[{i}];" for i, b in enumerate(struct.arrays)]
    assignments += [f"trial.{b.name} = ({TYPES[b.kind]})numbers[{i}];" for i, b in enumerate(struct.doubles)]
    assignments += [f"trial.{n} = integers[{i}];" for i, n in enumerate(struct.integers)]
    assignments += [f"trial.{b.name} = 0;" for b in struct.state]
    parameters = "void *const *arrays, const double *numbers, const int64_t *integers"
    lines = "\n".join(["Trial trial;", "(void)numbers;", *assignments, "return trial;"])
    take = f"static Trial trial_of({parameters}) {{\n{indent(lines)}}}\n"
    head = [equations(plan, "/*", " */"), f"typedef {C_REAL[dtype]} real;\n", runtime(), shared("stochastic.h", INLINE)]
    functions = [struct.struct(), run, take, skeleton("run.h")]
    return Source("\n".join([*head, *functions]), trial, struct.arrays, struct.doubles, struct.integers)


class _Struct(Layout):
    """What loops use; numbers that are not the host's begin at 0."""

    def __init__(self, buffers: Iterable[Buffer]) -> None:
        buffers = tuple(buffers)
        lengths = (a for b in buffers for a in b.axes[1:] if isinstance(a, str))  # for places in memory
        self.declare(buffers, ("batch", *lengths))
        self.state = tuple(b for b in buffers if not b.axes and b.role != "host")


def loops(trial: Trial) -> tuple[list[Statement], dict[str, Buffer]]:
    """The loops of sample number `SAMPLE`, and the buffers that they use, by name."""
    lowering = Lowering(trial)
    body = flags(lowering.sample(), lambda spikes, step, word: spikes.at(SAMPLE, step, word))
    return _parted(body, {b.name: b for b in (*DATA, *lowering.buffers.values())}, trial.split)


def _parted(
    body: Sequence[Statement], buffers: dict[str, Buffer], stays: bool
) -> tuple[list[Statement], dict[str, Buffer]]:
    """With a part for every sample of what has one; stays: what one call leaves another one reads."""
    parted = {n for n, b in buffers.items() if b.axes and of_sample(b, stays)}
    buffers |= {n: replace(buffers[n], axes=("batch", *buffers[n].axes)) for n in parted}
    return without_unused(with_part(body, parted, SAMPLE)), buffers


def text(spelling: Spelling, body: Sequence[Statement]) -> str:
    """Loops as text."""
    return Writer(spelling, Kernel(tuple(body), {})).block(body)


def flat(a: Access, write: Callable[[sp.Expr], str], length: Callable[[str], str]) -> str:
    """Where an element is in memory, between square brackets; length: of an axis that is not known here."""
    at = write(a.index[0])
    for axis, i in zip(a.buffer.axes[1:], a.index[1:]):
        axis = axis if isinstance(axis, int) else length(axis)
        at = f"(int64_t){f'({at})' if ' ' in at else at} * {axis} + {write(i)}"
    return f"[{at}]"


def comment(line: str) -> str:
    return "".join(f"/* {part} */\n" for part in comment_lines(line)) if line else ""


def runtime() -> str:
    """The text that every C99 file begins with."""
    texts = (skeleton("runtime.h"), *(shared(name, INLINE) for name in ("phi1.h", "functions.h")))
    return "\n".join(texts)


def skeleton(name: str, words: Mapping[str, str] | None = None) -> str:
    """A file in this folder with its ``$WORDS`` replaced; one that stands alone in its line by lines with its indentation."""
    words, lines = words or {}, []
    for line in resources.files(__package__).joinpath(name).read_text().splitlines(keepends=True):
        word = line.strip().removeprefix("$")
        alone = line.strip() == f"${word}" and word in words
        lines.append(indent(words[word], line.index("$") // 4) if alone else Template(line).substitute(words))
    return "".join(lines)


def of_sample(b: Buffer, stays: bool) -> bool:
    """Whether a buffer has a part for every sample: results, and what one call keeps for the next."""
    return "batch" not in b.axes and (b.role == "result" or (stays and b.role in ("state", "stored") and b != TROUBLE))
