"""The matrix neuron x loss x parameter x topology of gradient checks, from one table.

A neuron is a line of `ZOO`; a loss a line of `draw.LOSSES`; a topology a line of `TOPOLOGIES`. Every parameter of a
model is learned and different for every neuron, so a new parameter is a new column by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from .. import models
from ..errors import EngineError
from ..modelling import NeuronModel
from ..models.li import LI
from ..models.lif import LIF
from .compare import compare
from .draw import LOSSES, Layout, draw
from .report import Case

TOPOLOGIES: dict[str, tuple[int, bool]] = {  # name -> hidden layers, recurrence in each
    "feed-forward": (1, False),
    "recurrent": (1, True),
    "two layers": (2, False),
    "two recurrent": (2, True),
}
OF_SPIKES = ("first_spike", "spike_times")  # beginnings of names in LOSSES that need an output that spikes
FEW = ("first_spike", "max", "integral_exponential", "per_step", "spike_times", "end")  # for models with `every` False
TOLERANCE, DRAWS = 1e-6, 4


@dataclass(frozen=True)
class Cell:
    """One network: a neuron model, where it stands, a topology and a loss."""

    model: NeuronModel
    output: bool
    topology: str
    loss: str

    @property
    def name(self) -> str:
        place = "output" if not self.model.spiking else "hidden and output" if self.output else "hidden"
        return f"{self.model.name} ({place}), {self.topology}, {self.loss}"


def cells(model: NeuronModel, every: bool) -> list[Cell]:
    """The networks for a model: with `every`, all losses in all topologies, else a few losses, topologies in turn."""
    names, out = list(TOPOLOGIES), []
    for i, loss in enumerate(LOSSES if every else FEW):
        spikes = loss.startswith(OF_SPIKES)
        if spikes and not model.spiking:
            continue
        places = [True] if spikes or not model.spiking else [False] if loss == "max" else [False, True]
        if not every:
            places = places[-1:] if i % 2 else places[:1]
        for output in places:
            for topology in names if every else [names[i % len(names)]]:
                out.append(Cell(model, output, topology, loss))
    return out


def table() -> list[Cell]:
    """Everything: LIF and LI in full, the other models of the zoo with a few losses each."""
    full = (LIF, LI)
    others = [m for m in getattr(models, "ZOO", {}).values() if m not in full]
    return [c for m in full for c in cells(m, True)] + [c for m in others for c in cells(m, False)]


def run(cell: Cell, seed: int = 0) -> Case:
    """Check one network. A draw that proves nothing (a silent layer, spikes that change) is drawn again, a wrong
    gradient never.

    Raises:
        EngineError: if no draw shows anything.
    """
    hidden, recurrent = TOPOLOGIES[cell.topology]
    layout = Layout(hidden, recurrent, cell.output or not cell.model.spiking, cell.loss)
    for attempt in range(DRAWS):
        plan, parameters, events = draw(cell.model, layout, np.random.default_rng([seed, attempt]))
        vanish = frozenset(f"{p.name}.{n}" for p in plan.populations for n in p.derived.params)
        case = compare(cell.name, plan, parameters, events, tolerance=TOLERANCE, seed=seed, may_vanish=vanish)
        if not case.failures or any("relative error" in f for f in case.failures):
            return case
    raise EngineError(f"{cell.name}: {DRAWS} random networks, and none shows a gradient: {case.failures[0]}")


def columns(case: Case, model: NeuronModel) -> dict[str, float]:
    """Largest relative error of each kind of block: weights, delays, input times, the model's parameters.

    nan: all zero, or so small that differences cannot show it.
    """
    found: dict[str, list[float]] = {}
    for b in case.blocks:
        kind = b.name.split(".")[-1]
        error = np.nan if b.zero else max(b.relative_error, b.largest_error)
        found.setdefault(kind, []).append(error)
    keep = ("weight", "delay", "input_times", *model.params)
    return {
        k: float(np.nanmax(found[k])) if np.isfinite(found[k]).any() else np.nan for k in keep if k in found
    }  # fmt: skip


def markdown(
    rows: Iterable[Cell], seed: int = 0, say: Callable[[str], None] = lambda text: None
) -> tuple[str, float, list[str]]:
    """(tables of all rows, largest error, failures); says a line a network."""
    lines: list[str] = []
    worst, failures, last, header = 0.0, [], None, []
    for cell, case in _cases(rows, seed):
        found = columns(case, cell.model)
        if cell.model is not last:
            last, header = cell.model, list(found)
            lines += ["", f"## {cell.model.name}", "", _row(["network", *header]), _row(["---"] * (1 + len(header)))]
        lines.append(_row([_place(cell), *(_number(found[k]) for k in header)]))
        worst = max(worst, float(np.nanmax(list(found.values()))))
        failures += [f"{cell.name}: {f}" for f in case.failures]
        say(f"{cell.name}: {np.nanmax(list(found.values())):.1e}{' FAILED' if case.failures else ''}")
    return "\n".join(lines[1:]) + "\n", worst, failures


def _cases(rows: Iterable[Cell], seed: int) -> Iterator[tuple[Cell, Case]]:
    for cell in rows:
        yield cell, run(cell, seed)


def _place(cell: Cell) -> str:
    output = "" if not cell.model.spiking else f", {cell.model.name if cell.output else 'LI'} output"
    return f"{cell.loss}, {cell.topology}{output}"


def _number(error: float) -> str:
    return "0" if np.isnan(error) else f"{error:.0e}"


def _row(entries: list[str]) -> str:
    return "| " + " | ".join(entries) + " |"
