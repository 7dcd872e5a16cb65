"""Draws zoo.png beside it, the answer of every model to a train of input spikes, and writes the table of docs/zoo.md.

genn-eventprop gradcheck --all > zoo.txt
python docs/figures/zoo.py zoo.txt

Without an argument only the figure is drawn; with --identify [MODEL ...] the table of what a recording determines.
"""

import re
import sys
from pathlib import Path

import numpy as np

from genn_eventprop import Dense, Events, Network, NeuronModel, simulate
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.errors import EngineError, SettingError
from genn_eventprop.fitting import identifiability
from genn_eventprop.losses import EndVoltageCrossEntropy, FirstSpikeCrossEntropy
from genn_eventprop.models import ZOO
from genn_eventprop.plan import make_plan
from genn_eventprop.report.plots.style import BLUE, GREY, VERMILION, figure, save, styled

HERE = Path(__file__).parent
PAGE = HERE.parent / "zoo.md"
DT, DURATION, WANTED = 0.1, 160.0, 6  # ms, ms, spikes
INPUT = np.arange(10.0, 110.0, 4.0)  # ms


def response(model: NeuronModel) -> tuple[np.ndarray, np.ndarray]:
    """(readout state at every step, times of spikes in ms); the weight is the smallest that gives `WANTED` spikes.

    All weights are tried at once, one a neuron; too large ones may blow up.
    """
    for highest in (4, 3, 2, 1, 0):
        weights = np.geomspace(0.1, 10.0**highest, 1 + 50 * (highest + 1)) if model.spiking else np.ones(1)
        try:
            return run(model, weights)
        except EngineError:
            continue
    raise SystemExit(f"{model.name}: no weight gives {WANTED} spikes")


def run(model: NeuronModel, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    network = Network()
    source, neuron = network.input(1), network.population(model(), len(weights), name="neuron")
    for i, receptor in enumerate(model.receptors):
        given = weights[None] if i == 0 else np.full((1, len(weights)), 0.05)
        network.connect(source, neuron, Dense(given), receptor=receptor, name=f"weight_{receptor}")
    loss = (FirstSpikeCrossEntropy if model.spiking else EndVoltageCrossEntropy)(neuron)
    plan = make_plan(network, loss, dt=DT, duration=DURATION)
    events = Events.from_samples([(INPUT, np.zeros(len(INPUT), int))], 1, labels=[0], n_classes=len(weights))
    engine = ReferenceClock(plan, network.initial_parameters(0))
    data, best, times = engine.load(events), 0, np.zeros(0)
    if model.spiking:
        result = engine.run(data, [0], record_spikes=True)
        enough = np.flatnonzero(result.spike_counts["neuron"][0] >= WANTED)
        if not len(enough):
            raise EngineError("too few spikes")
        best, spikes = int(enough[0]), result.spikes["neuron"]
        times = spikes.time[spikes.neuron == best]
    return engine.record(data, [0], adjoint=False)["neuron"][model.readout][0, :, best], times


@styled
def draw() -> None:
    canvas, axes = figure(5, 4, size=(9, 9), sharex=True)
    axes = axes.ravel()
    for axis, (name, model) in zip(axes, ZOO.items()):
        v, spikes = response(model)
        t = np.arange(len(v)) * DT
        print(name, flush=True)
        axis.plot(t, v, color=BLUE, linewidth=1)
        low, high = v.min(), v.max()
        span = (high - low) or 1.0
        axis.vlines(spikes, high + 0.06 * span, high + 0.2 * span, color=VERMILION, linewidth=1.2)
        axis.vlines(INPUT, low - 0.16 * span, low - 0.08 * span, color=GREY, linewidth=0.8)
        axis.set(title=name, xlim=(0, DURATION), xticks=[0, 50, 100, 150])
        units = {p.unit for n, p in model.params.items() if n in ("v_thresh", "v_peak")}
        axis.set_ylabel(model.readout + (" (mV)" if "mV" in units else ""))
    for axis in axes[-4:]:
        axis.set_xlabel("time (ms)")
    save(canvas, HERE / "zoo.png")


def identified(model: NeuronModel) -> tuple[str, str, str]:
    """Current, what V and spikes determine, what spikes alone do; 500 ms of filtered noise that evokes 15 spikes."""
    rng, x, shape = np.random.default_rng(1), 0.0, []
    for _ in range(500):
        x += -x / 10 + np.sqrt(2 / 10) * rng.normal()
        shape.append(1 + 0.5 * x)
    means = np.geomspace(0.1, 2000, 32)
    for few in np.split(means, 8):  # larger ones, with thousands of spikes, are not run
        try:
            spikes = simulate(model, few[:, None] * np.array(shape), 1.0).spikes
        except EngineError:  # the model diverges
            break
        for mean, times in zip(few, spikes):
            if len(times) >= 15:
                cells = (_told(model, mean * np.array(shape), voltage) for voltage in (True, False))
                return f"{mean:.3g}; {len(times)}", *cells
    return "none makes it spike often", "", ""


def _told(model: NeuronModel, current: np.ndarray, voltage: bool) -> str:
    result = identifiability(model, current, 1.0, voltage=voltage, threads=1)
    unsure, tied = [], {}
    for doubt in result.doubts():
        words = doubt.split()
        if words[1] == "and":
            # pairs that share a parameter are one group
            both = {words[0], words[2]}
            groups = [g for g in tied if g & both]
            tied = {frozenset(both.union(*groups)): None} | {g: None for g in tied if g not in groups}
        else:
            unsure.append(words[0])
    groups = [", ".join(f"`{n}`" for n in result.names if n in group) for group in tied]
    alone = [n for n in unsure if not any(n in group for group in tied)]
    parts = [f"only together: {g}" for g in groups] + ([f"not: {', '.join(f'`{n}`' for n in alone)}"] if alone else [])
    return "; ".join(parts) or "all"


def cards(names: list[str]) -> None:
    """Write the rows of these models; those of others stay."""
    begin, end = "<!-- cards: docs/figures/zoo.py --identify -->", "<!-- end of the cards -->"
    for name in names:
        try:
            cells = identified(ZOO[name]) if ZOO[name].spiking else ("sends no spikes", "", "")
        except SettingError as error:  # several kinds of spikes, a current that cannot be injected
            cells = (str(error).split(";")[0].removeprefix(f"{name} "), "", "")
        page = PAGE.read_text()
        (head, rest), tail = page.split(begin), page.split(end)[1]
        rows = {line.split("`")[1]: line for line in rest.split(end)[0].splitlines() if line.startswith("| `")}
        row = f"| `{name}` | {' | '.join(cells)} |"
        print(row, flush=True)
        rows.pop(name, None)
        if cells[1:] != ("all", "all") and ZOO[name].spiking:  # the page says it of the others in a sentence
            rows[name] = row
        lines = ["| model | mean current; spikes | determined by V and spikes | by spikes alone |", "|---|---|---|---|"]
        PAGE.write_text("\n".join([head + begin, *lines, *(rows[n] for n in ZOO if n in rows), end]) + tail)


def linked(source: str) -> str:
    """The address of "doi 10. ..." or "arXiv ..."."""
    kind, name = source.split()
    return f"https://doi.org/{name}" if kind == "doi" else f"https://arxiv.org/abs/{name}"


def table(checked: str) -> None:
    head = ("model", "what it is", "states", "source", "gradcheck", "scheme: order")
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    found = {line.split()[0]: line for line in checked.splitlines() if line and line.split()[0] in ZOO}
    for name, model in ZOO.items():
        text = Path(model.made_at[0]).read_text().split('"""')[1]
        doi = re.search(r"(doi 10\.\S+?|arXiv \S+?)[,.;)]?(?=\s)", text)
        source = re.search(r"Source: (.*?),? ['\"(a-z]*(?:\"|doi|arXiv)", text, re.S)
        who = " ".join(source[1].split()) if source else ""
        what = text.splitlines()[0].rstrip(".:")
        line = found.get(name, f"{name} - - - - -")  # a model that was not checked
        error, *orders = line.split(maxsplit=6)[5:]
        states = ", ".join(model.state)
        cells = [
            f"`{name}`",
            what,
            states,
            f"[{who}]({linked(doi[1])})" if doi else who,
            error,
            " ".join(orders).replace("_", " "),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    begin, end = "<!-- table: docs/figures/zoo.py -->", "<!-- end of the table -->"
    page = PAGE.read_text()
    head, tail = page.split(begin)[0], page.split(end)[1]
    PAGE.write_text("\n".join([head + begin, *rows, end]) + tail)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--identify"]:
        cards(sys.argv[2:] or list(ZOO))
        sys.exit()
    draw()
    if len(sys.argv) > 1:
        table(Path(sys.argv[1]).read_text())
