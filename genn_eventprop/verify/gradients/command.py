"""`genn-eventprop gradcheck MODEL`: a built-in model by name, or ``my_neuron.py:MyNeuron``."""

from __future__ import annotations

import importlib
import multiprocessing
import pkgutil
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ... import models
from ...engines.native.engine import available_processors
from ...errors import EventPropError, ModelError, UsageError, suggest
from ...modelling import NeuronModel
from ...modelling.user_file import model_in, model_in_file
from ...output import say
from .draw import births_of_model, check
from .report import Report


def main(
    target: str | None,
    seed: int = 0,
    engine: str = "reference_event",
    quick: bool = False,
    spike_times: str | None = None,
    processes: int | None = None,
    dt: float | None = None,
) -> int:
    """Check a model, print the table, return the exit status: 0 only if every block is right and something was shown.

    Args:
        target: see `find_model`; None for the whole zoo, one line a model.
        seed, quick: see `check`.
        engine, spike_times, dt: see `check_network`.
        processes: of the whole zoo, one model each; None: as many as processors. The output does not depend on it.

    Raises:
        ModelError: if `target` names no model.
    """
    how: dict[str, Any] = {"seed": seed, "engine": engine, "quick": quick, "spike_times": spike_times, "dt": dt}
    if target is None:
        return _whole_zoo(partial(_checked, **how), processes or available_processors())
    report = check(find_model(target), **how, progress=lambda text: say(f"gradcheck: {text}"))
    print(report.text())
    return 0 if report.passed else 1


def births(target: str, sigma: float, *, seed: int = 0, engine: str = "native", quick: bool = False) -> int:
    """Check the gradient with `spike_birth` of a model, print the tables, return the exit status: 0 only if in every
    network its mean over draws is nearer to the gradient of the expected loss than EventProp's."""
    status = 0
    for report in births_of_model(find_model(target), sigma, seed=seed, engine=engine, quick=quick):
        print(report.text(), flush=True)
        status |= not report.passed
    return int(status)


def _checked(name: str, **how: Any) -> Report:
    try:
        return check(models.ZOO[name], **how)
    except EventPropError as error:
        return Report([], [str(error)])


def _reports(checked: partial[Report], names: Iterable[str], processes: int) -> Iterator[Report]:
    """The reports in the order of `names`, each as soon as it and those before it are there."""
    if processes == 1:
        yield from map(checked, names)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:  # native's threads do not survive a fork
        yield from pool.imap(checked, names)


def _whole_zoo(checked: partial[Report], processes: int) -> int:
    print(Report.HEADER, flush=True)
    reports, wrong = [], []
    for name, report in zip(models.ZOO, _reports(checked, models.ZOO, min(processes, len(models.ZOO)))):
        reports.append(report)
        print(report.row(name), flush=True)
        wrong += [] if report.passed else [f"\n{name}\n{report.text()}"]
    for text in wrong:
        print(text)
    passed, networks = len(reports) - len(wrong), sum(len(r.cases) for r in reports)
    print(
        f"{'FAILED' if wrong else 'passed'}: {passed} of {len(reports)} models, {networks} networks, "
        f"{sum(r.elements for r in reports)} elements, worst relative error {max(r.worst for r in reports):.1e}"
    )
    return 1 if wrong else 0


def find_model(target: str) -> NeuronModel:
    """The model that `target` names: "lif", or a Python file and the model's name in it, "my_neuron.py:MyNeuron"."""
    if ":" in target or target.endswith(".py"):
        return model_in_file(target)
    known = [m.name for m in pkgutil.iter_modules(models.__path__)]
    zoo = {name.lower(): model for name, model in models.ZOO.items()}
    if target.lower() in zoo:
        return zoo[target.lower()]
    if target.lower() not in known:
        file = target if Path(target).suffix else f"{target}.py"
        yours = f"{file} is a file: its models are named {file}:NAME" if Path(file).is_file() else ""
        raise UsageError(
            f"no built-in model {target!r} ({suggest(target.lower(), zoo)}); "
            + (yours or "for your own, use my_neuron.py:MyNeuron")
        )
    module = importlib.import_module(f"{models.__name__}.{target.lower()}")
    found = [n for n, v in vars(module).items() if isinstance(v, NeuronModel) and n.lower() == target.lower()]
    found = found or [n for n, v in vars(module).items() if isinstance(v, NeuronModel)]
    if not found:
        raise ModelError(f"{module.__name__} defines no NeuronModel")
    return model_in(module, found[0], target)
