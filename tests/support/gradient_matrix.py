"""The matrix neuron x loss x parameter x topology of gradient checks, from one table.

A neuron is a line of `ZOO`; a loss a line of `draw.LOSSES`; a topology a line of `TOPOLOGIES`. Every parameter of a
model is learned and different for every neuron, so a new parameter is a new column by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy as np

from genn_eventprop import models
from genn_eventprop.adjoint import derive
from genn_eventprop.errors import EngineError
from genn_eventprop.modelling import NeuronModel, Param, SynapseModel
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.verify.gradients.draw import DRAWS, LOSSES, Layout, drawn_case
from genn_eventprop.verify.gradients.report import Case

TOPOLOGIES: dict[str, tuple[int, bool, bool]] = {  # name -> hidden layers, recurrence in each, skip connections
    "feed-forward": (1, False, False),
    "recurrent": (1, True, False),
    "two layers": (2, False, False),
    "two recurrent": (2, True, False),
    "skip": (2, False, True),
}
EXPONENTIAL = SynapseModel("Exponential", {"I": 0.0}, {"tau": Param(5.0, "ms")}, {"I": "-I / tau"}, "I", "I")
VARIANTS = (  # what the zoo has not: a bias current and an initial state that are learned, two synaptic time constants
    NeuronModel(
        "LIFBias", {"V": "v_init", "I": "i_init"},
        {**LIF.params, "i_bias": Param(0.2), "v_init": Param(0.1), "i_init": Param(0.3)},
        {"V": "(I + i_bias - V) / tau_mem", "I": LIF.dynamics["I"]}, LIF.threshold, LIF.reset, "I",
    ),
    NeuronModel(
        "LIFTwoSynapses", {"V": "v_reset"}, {n: p for n, p in LIF.params.items() if n != "tau_syn"} | {"I": Param(0.0)},
        {"V": LIF.dynamics["V"]}, LIF.threshold, LIF.reset,
    ).with_synapses(fast=EXPONENTIAL, slow=replace(EXPONENTIAL, params={"tau": Param(15.0, "ms")})),
)  # fmt: skip
MODELS = {m.name: m for m in (*models.ZOO.values(), *VARIANTS)}
OF_SPIKES = ("first_spike", "spike_times")  # beginnings of names in LOSSES that need an output that spikes
FEW = ("first_spike", "max", "integral_exponential", "per_step", "spike_times", "end")
PUBLISHED = (models.ALIF, models.LIFRefractory, models.LIFRelativeReset)  # with LIF and LI: the neurons of loss shaping
TOLERANCE = 1e-6


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


def cells(model: NeuronModel, names: Iterable[str] = FEW, every: bool = False) -> list[Cell]:
    """The networks for a model under losses by name: topologies and places in turn, or, with `every`, all of them.

    Of nonlinear models, whose runs take a hundred times longer, those with one hidden layer and, where the loss reads
    V, an LI output.
    """
    linear, out = derive(model).linear, list[Cell]()
    topologies = list(TOPOLOGIES)[: None if linear else 2]
    for i, loss in enumerate(names):
        spikes = loss.startswith(OF_SPIKES)
        if spikes and not model.spiking:
            continue
        voltage_apart = loss == "max" or not linear
        places = [True] if spikes or not model.spiking else [False] if voltage_apart else [False, True]
        if not every:
            places = places[-1:] if i % 2 else places[:1]
        for output in places:
            for topology in topologies if every else [topologies[i % len(topologies)]]:
                out.append(Cell(model, output, topology, loss))
    return out


def table() -> list[Cell]:
    """LIF and LI in full, `PUBLISHED` with every loss, the rest of the zoo and `VARIANTS` with a few losses each."""
    full = [c for m in (LIF, LI) for c in cells(m, LOSSES, every=True)]
    published = [c for m in PUBLISHED for c in cells(m, LOSSES)]
    others = [m for m in MODELS.values() if m not in (LIF, LI, *PUBLISHED)]
    return [*full, *published, *(c for m in others for c in cells(m))]


def run(cell: Cell, seed: int = 0) -> Case:
    """Check one network. A draw that proves nothing (a silent layer, spikes that change) is drawn again, a wrong
    gradient never.

    Raises:
        EngineError: if no draw shows anything.
    """
    hidden, recurrent, skip = TOPOLOGIES[cell.topology]
    layout = Layout(hidden, recurrent, cell.output or not cell.model.spiking, cell.loss, skip)
    case = drawn_case(cell.name, cell.model, layout, (seed, 0), tolerance=TOLERANCE)
    if case.failures and not case.wrong:
        raise EngineError(f"{cell.name}: {DRAWS} random networks, and none shows a gradient: {case.failures[0]}")
    return case


def _shown(name: str, output: bool, topology: str, loss: str, seed: int) -> Case:
    """`run`, with what stopped it as a failure of the case. Models go by name: compiled ones cannot be sent."""
    cell = Cell(MODELS[name], output, topology, loss)
    try:
        return run(cell, seed)
    except EngineError as error:
        return Case(cell.name, [], {}, np.inf, np.nan, TOLERANCE, failures=[str(error)])


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


def markdown(rows: Sequence[Cell], seed: int = 0, processes: int = 1) -> Iterator[tuple[str, str, float, list[str]]]:
    """After every network: (a line on it, the tables of all so far, largest error, failures)."""
    tables: list[dict[str, _Row]] = [{}, {}]
    failures: list[str] = []
    with ProcessPoolExecutor(processes, get_context("spawn")) if processes > 1 else nullcontext() as pool:
        jobs = zip(*((c.model.name, c.output, c.topology, c.loss, seed) for c in rows))
        for cell, case in zip(rows, (map if pool is None else pool.map)(_shown, *jobs)):
            found = columns(case, cell.model)
            for rows_of, name in zip(tables, (cell.model.name, cell.loss)):
                rows_of.setdefault(name, _Row()).add(found)
            failures += [f"{cell.name}: {f}" for f in case.failures]
            line = f"{cell.name}: {_worst(found):.1e}{' FAILED' if case.failures else ''}"
            text = "\n".join(f"| {kind} {_HEADER}" + "".join(f"| `{n}` {r}" for n, r in rows_of.items())
                             for kind, rows_of in zip(("neuron", "loss"), tables))  # fmt: skip
            yield line, text, max(r.worst for r in tables[0].values()), failures


_HEADER = "| networks | weight | delay | input time | parameters |\n" + "|---" * 6 + "|\n"


def _worst(found: dict[str, float]) -> float:
    return max((e for e in found.values() if not np.isnan(e)), default=0.0)


class _Row:
    """The largest error of each kind of gradient in several networks."""

    def __init__(self) -> None:
        self.networks, self.worst, self.errors = 0, 0.0, dict.fromkeys(("weight", "delay", "input_times"), 0.0)
        self.parameter = 0.0

    def add(self, found: dict[str, float]) -> None:
        self.networks, self.worst = self.networks + 1, max(self.worst, _worst(found))
        for name, error in found.items():
            if name in self.errors:
                self.errors[name] = np.fmax(self.errors[name], error)
            elif error > self.parameter:
                self.parameter = error

    def __str__(self) -> str:
        errors = " | ".join(f"{e:.0e}" if e else "0" for e in (*self.errors.values(), self.parameter))
        return f"| {self.networks} | {errors} |\n"
