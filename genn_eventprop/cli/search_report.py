"""What a search has found: the table of its trials, the best settings as a TOML file, figures."""

from __future__ import annotations

from typing import Any

from ..atomic import write_text
from ..runs.run_folder import write_json
from ..studies.scan import Scan, write_toml
from ..studies.search import import_optuna, study_of
from ..studies.search_run import describe
from ..studies.tabulate import lined

SHOWN = 10


def finish(scan: Scan) -> str:
    """Write best.toml, search.json and plots/ into the scan's folder; returns the table for the terminal."""
    assert scan.search is not None
    study = study_of(scan.search, scan.folder)
    trials = study.get_trials(deepcopy=False)
    done = [t for t in trials if t.state.name == "COMPLETE"]
    done.sort(key=lambda t: -scan.search.worse * t.value if scan.search else 0)
    rows = [
        {"trial": t.number, "state": t.state.name.lower(), "value": t.value, "settings": scan.search.settings(t.params),
         "epochs": max(t.intermediate_values, default=None)}
        for t in trials
    ]  # fmt: skip
    write_json(scan.folder / "search.json", {"objective": f"validation_{scan.search.objective}", "trials": rows})
    if done:
        settings = {**scan.settings, **scan.search.settings(done[0].params)}
        write_text(scan.folder / "best.toml", write_toml(settings))
        _plot(study, scan, done)
    return _text(scan, trials, done)


def _text(scan: Scan, trials: list[Any], done: list[Any]) -> str:
    assert scan.search is not None
    counts: dict[str, int] = {}
    for t in trials:
        counts[t.state.name.lower()] = counts.get(t.state.name.lower(), 0) + 1
    accuracy = scan.search.objective == "accuracy"
    words = lambda v: f"{100 * v:.2f} %" if accuracy else f"{v:.4f}"  # noqa: E731
    body = [[str(t.number), words(t.value), describe(scan.search.settings(t.params))] for t in done[:SHOWN]]
    text = lined(["trial", f"validation {scan.search.objective}", "settings"], body)
    text += "\n" + ", ".join(f"{n} {state}" for state, n in counts.items()) + f" of {scan.search.trials} trials\n"
    if done:
        command = f"genn-eventprop train {scan.file.source} --config {scan.folder / 'best.toml'}"
        text += f"The best settings: {command}\n"
    return text


def _plot(study: Any, scan: Scan, done: list[Any]) -> None:
    """history.png, slices.png, importances.png, if there are enough trials."""
    from ..report import plots
    from ..report.plots.search import history, importances, slices

    assert scan.search is not None
    accuracy, folder = scan.search.objective == "accuracy", scan.folder / "plots"
    label = f"validation {scan.search.objective}{' (%)' if accuracy else ''}, linear scale"
    value = lambda t: 100 * t.value if accuracy else t.value  # noqa: E731
    values = [(t.number, value(t)) for t in sorted(done, key=lambda t: t.number)]
    plots.save(history(values, label, larger=scan.search.worse > 0), folder / "history.png")
    logs = {n for n, d in scan.search.distributions().items() if getattr(d, "log", False)}
    plots.save(slices([(t.params, value(t)) for t in done], label, logs), folder / "slices.png")
    if len(done) >= 4 and len({t.value for t in done}) > 1:
        optuna = import_optuna()
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
        plots.save(importances(shares), folder / "importances.png")
