"""What every engine runs, as the table of docs/engines.md; all of it is read from what engines declare."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from .contract.engine import Engine
from .contract.features import FEATURES
from .registry import all_engines

WIDTH = 136
"""Of a line in the docs."""
Column = tuple[type[Engine], str]
ABILITIES: dict[str, Callable[[type[Engine], str], bool]] = {
    "float32": lambda kind, _: "dtype" in kind.options,
    "a loss in Python, between the two passes": lambda kind, _: kind.splits,
    "states and adjoints over time (`record`)": lambda kind, _: kind.records,
    "spikes that others computed (`observed`)": lambda kind, times: times in kind.observes,
    # with exact spike times no engine carries a state, see `why_stateless`
    "trials that continue others (`run_from`)": lambda kind, times: (
        times == "grid" and kind.run_from is not Engine.run_from
    ),
    "whole recordings in pieces, with exact gradients": lambda kind, times: times in kind.runs_recordings,
}
"""What is no property of a plan, but a call or a setting of an engine."""


def columns() -> list[Column]:
    """Every engine with each kind of spike times that it has."""
    return [(kind, times) for kind in all_engines() for times in ("grid", "exact") if times in kind.features]


def runs(kind: type[Engine], times: str) -> dict[str, bool]:
    """What a plan may ask for, and what may be asked of the engine -> whether it has it."""
    declared = {name: name in kind.features[times] for name in FEATURES}
    return declared | {name: has(kind, times) for name, has in ABILITIES.items()}


def feature_table() -> str:
    """The table in Markdown: what not all engines have, behind those that lack it."""
    of = {f"`{kind.name}` {times}": runs(kind, times) for kind, times in columns()}
    lacking: dict[tuple[str, ...], list[str]] = {}
    for name in next(iter(of.values())):
        lacking.setdefault(tuple(column for column, has in of.items() if not has[name]), []).append(name)
    everywhere = [name for name in lacking.pop((), []) if name in FEATURES]
    lines = ["| not on | |", "|---|---|"]
    lines += [f"| {', '.join(those)} | {'; '.join(names)} |" for those, names in lacking.items()]
    if everywhere:
        lines += ["", *textwrap.wrap(f"Every engine runs {'; '.join(everywhere)}.", WIDTH)]
    return "\n".join(lines)
