"""What a part of the campaign found, and the page that tells it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

GOOD = ("equal", "recovered", "refused with a message", "harmless", "right", "decided by rounding", "doubted")


@dataclass
class Part:
    """A part of the campaign: what was done, how often it ended how, and what went wrong, with its seed."""

    name: str
    ended: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    skipped: str = ""
    seconds: float = 0.0

    def count(self, end: str, what: str = "") -> None:
        """One trial that ended so; an end that is not among `GOOD` is a fault, told with `what`."""
        self.ended[end] += 1
        if end not in GOOD:
            self.faults.append(f"{self.name}: {end}: {what}")

    def row(self) -> str:
        if self.skipped:
            return f"| {self.name} | - | skipped: {self.skipped} | - |"
        ends = ", ".join(f"{n} {end}" for end, n in self.ended.most_common() if end in GOOD)
        return f"| {self.name} | {self.ended.total()} | {ends or '-'} | {len(self.faults)} |"


HEAD = "| what was done | trials | how they ended | faults |\n|---|---|---|---|\n"


def table(parts: list[Part]) -> str:
    """Markdown, a line a part."""
    return HEAD + "".join(part.row() + "\n" for part in parts)


PAGE = """\
# Reliability

Written by `python benchmarks/campaign.py`{options} ({seconds:.0f} s for all parts on a busy machine with two cores;
random seed {seed}). A fault is a crash, a hang, a bare traceback, lost data, or a wrong result reported as correct.
{verdict}

{table}
"Equal": continued to the bits of the undisturbed run. "Recovered": made again or replaced by the best checkpoint, bit
for bit. "Harmless": nothing that a reader uses was changed. "Right": accepted, and its results passed the checks.

What a run promises:

| what happens | what holds |
|---|---|
| Ctrl-C, SIGTERM, SIGHUP | a checkpoint when the batch ends, on `native` within a second; resuming is bit-equal |
| stdout or stderr closed, full, not read | the training goes on; a full stdout is named at the end (status 1) |
| files of another program in the way | neither removed nor replaced, but named; our folders have a mark |
| `kill -9`, power cut | the last checkpoint is intact: written aside, synced, renamed; `--checkpoint-batches` |
| full disk | the error names the file; older files stay intact; the run can be resumed once there is space |
| a file that changed on disk | checkpoints, records, metrics, libraries and converted data have verified SHA-256 sums |
| a damaged last checkpoint | training continues from the best one, and reaches the same bits |
| two writers | the second is refused; a dead writer's lock is noticed at once on its machine, elsewhere after 120 s |
| a foreign file in the code cache | not loaded: owner, mode, length and hash are checked first |
| an interrupted conversion or build | nothing half-written has a name that is read; the next one starts from scratch |
| a hostile file | an error that names it: nothing of it is run, no other file is read, memory is bounded |
"""


def page(parts: list[Part], options: str, seed: int) -> str:
    """docs/reliability.md."""
    faults = [fault for part in parts for fault in part.faults]
    verdict = f"{len(faults)} faults in {sum(p.ended.total() for p in parts)} trials."
    text = PAGE.format(
        options=options, seconds=sum(part.seconds for part in parts), seed=seed, verdict=verdict, table=table(parts)
    )
    return text + ("\nFaults:\n\n" + "".join(f"* {fault}\n" for fault in faults) if faults else "")
