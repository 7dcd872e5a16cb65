"""The page of a run: what its figures show stands in tables too, for readers without a mouse or without sight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...data import Events
from ...data.inputs import DataSet, load_data
from ...data.label_steps import segments
from ...deploy.trained import TrainedModel, load
from ...errors import SettingError
from ...losses.label_steps import LabelSteps
from ...runs.checkpoint import load_checkpoint
from ...runs.run_folder import FIRST, MODEL, SAMPLES, RunFolder
from ...runs.weights import read_weights
from ...training.accounting import describe_costs
from ...training.compared import in_words
from ...training.diagnosis import from_results
from ...training.recording import Trial, record_trial
from ..page import Block, Folded, Grid, Heading, Interactive, Items, Picture, Text, write_html
from ..plots.label_steps import label_steps
from ..plots.raster import observed
from .figures import curves, neurons_drawn, script, trial, weights


def view_page(run: Path, samples: Sequence[int], checkpoint: str = "best", engine: str | None = None) -> str:
    """The HTML of a run folder.

    Args:
        samples: numbers of samples in the folder's samples.npz, from 0; none: the first of each of three classes.
        checkpoint: "best" or "last".

    Raises:
        SettingError: not a run folder, no epoch yet, no such sample, or plotly is missing.
    """
    folder, library = RunFolder.open(run), script()  # plotly missing is said before a trial is computed
    metrics = folder.metrics
    if not metrics:
        raise SettingError(f"{run} has no epoch yet")
    blocks: list[Block] = [Heading(f"Run {run.name}", 1), Text(_about(folder)), *_summary(folder, metrics)]
    blocks += _epochs(metrics)
    blocks += _trials(run, samples, checkpoint, engine)
    return write_html([*blocks, *_weights(folder, checkpoint)], library)


def _about(folder: RunFolder) -> str:
    config = folder.config
    hint = "Figures: drag to zoom, double click to go back, click a name in a legend to hide it. Every figure has a "
    hint += "table below it that can be opened from the keyboard."
    return (f"Experiment `{config['experiment']}`. " if "experiment" in config else "") + hint


def _summary(folder: RunFolder, metrics: Sequence[Mapping[str, Any]]) -> list[Block]:
    last, items = metrics[-1], []
    has_model = (folder.path / MODEL).is_file()  # runs of older versions have none
    sizes = {p["name"]: f" of {p['size']}" for p in folder.model["network"]["populations"]} if has_model else {}
    if (folder.path / "results.json").is_file():
        results = folder.results
        for key in ("test_accuracy", "final_test_accuracy", "best_validation_accuracy"):
            if results.get(key) is not None:
                beside = in_words(results, "validation" if "validation" in key else "test")
                words = f"{key.replace('_', ' ')}: {100 * results[key]:.2f} %"
                items.append(words + f" (without a network: {beside})" * bool(beside))
        for key in ("test_explained_variance", "final_test_explained_variance"):
            if results.get(key) is not None:
                beside = in_words(results, "test")
                words = f"{key.replace('_', ' ')}: {results[key]:.3f}"
                items.append(words + f" (without a network: {beside})" * bool(beside))
        items += [f"**{each.cause}**: {each}" for each in from_results(results)]
        if results.get("costs"):
            items.append(f"a test sample takes {describe_costs(results['costs'])}")
    else:
        items.append("the training has not finished")
    items += [
        f"{name}: **{count}{sizes.get(name, '')} neurons silent** throughout the last epoch"
        for name, count in last["silent"].items()
        if count
    ]
    return [Items([f"{len(metrics)} epochs", *items])]


def _epochs(metrics: Sequence[Mapping[str, Any]]) -> list[Block]:
    populations = list(metrics[0]["silent"])
    heads = ["epoch", "training loss", "training %", "validation loss", "validation %"]
    heads += [f"{p}: {what}" for p in populations for what in ("spikes per neuron", "silent")]
    rows = [
        [str(m["epoch"]), _number(m["train_loss"]), _percent(m["train_accuracy"]), _number(m["validation_loss"]),
         _percent(m["validation_accuracy"]),
         *(text for p in populations for text in (f"{m['spikes_per_neuron'][p]:.3f}", str(m["silent"][p])))]
        for m in metrics
    ]  # fmt: skip
    caption = "Loss, accuracy, activity and silent neurons over the epochs."
    table = Folded("Numbers of every epoch", Grid(caption, heads, rows))
    return [Heading("Epochs"), Interactive(curves(metrics), caption), table]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _trials(run: Path, samples: Sequence[int], checkpoint: str, engine: str | None) -> list[Block]:
    if not (run / SAMPLES).is_file():
        return [Heading("Trials"), Text(f"The run folder has no {SAMPLES}, so that no trial can be shown.")]
    model, events = load(run, checkpoint=checkpoint, engine=engine), load_data(run / SAMPLES)
    names = list(model.class_names)
    blocks: list[Block] = [Heading("Trials")]
    for index in samples or _of_classes(events):
        if not 0 <= index < len(events):
            raise SettingError(f"--samples {index}: the folder has {len(events)} samples, 0 to {len(events) - 1}")
        if isinstance(model.plan.loss.outer, LabelSteps):
            blocks += _labels_of(model, events, index, names)
            continue
        record = record_trial(model, events, index)
        caption = (
            f"Sample {index}: {_classes_of(model, events, index, names)}. Rasters, V and its adjoint of some neurons, "
            f"as {record.engine} runs them {_steps(model)}."
        )
        blocks += [
            Heading(f"Sample {index}", 3),
            Interactive(trial(record, f"trial{index}", names), caption),
            Folded(f"Numbers of sample {index}", _trial_table(record, names, caption)),
        ]
    return blocks


def _labels_of(model: TrainedModel, events: DataSet, index: int, names: Sequence[str]) -> list[Block]:
    """Picture and table of a recording with a label at each step."""
    result, dt = model.evaluate(events[index], prepared=True), model.plan.dt
    drawn = events[index] if isinstance(events, Events) else None
    figure = label_steps(drawn, result.labels, result.predictions, result.scores, dt, names)
    true, said = result.labels[0], result.predictions[0]
    there = true >= 0
    right = f"{100 * (true == said)[there].mean():.2f} % of labelled steps right" if there.any() else "no labels"
    caption = f"Sample {index}: input, true and predicted labels, softmax of the outputs; {right}."
    rows = [
        [f"{a * dt:g}", f"{b * dt:g}", names[c], f"{100 * (said[a:b] == c).mean():.1f}"] for a, b, c in segments(true)
    ]
    table = Grid(f"True segments of sample {index}.", ("from (ms)", "to (ms)", "class", "steps right (%)"), rows)
    picture = Picture(f"labels{index}", figure, caption)
    return [Heading(f"Sample {index}", 3), picture, Folded(f"Segments of sample {index}", table)]


def _steps(model: TrainedModel) -> str:
    plan = model.plan
    return "with exact spike times" if plan.spike_times == "exact" else f"in steps of {plan.dt:g} ms"


def _of_classes(events: DataSet, count: int = 3) -> list[int]:
    """The first sample of each of the first classes; the first samples where there are no labels."""
    if events.labels is None:
        return list(range(min(count, len(events))))
    # `unique` gives the first index of each class; sorted, the page begins with the first sample of the folder
    return sorted(np.unique(events.labels, return_index=True)[1].tolist())[:count]


def _classes_of(model: TrainedModel, events: DataSet, index: int, names: Sequence[str]) -> str:
    """Which class it is, and which the network predicts."""
    label = -1 if events.labels is None else int(events.labels[index])
    description = f"class {names[label]}" if label >= 0 else "no label"
    if model.regression:
        return description
    predicted = int(model.evaluate(events[index], prepared=True).predictions[0])
    return description + (f", predicted {names[predicted]}" if predicted >= 0 else ", no output decides")


def _trial_table(record: Trial, names: Sequence[str], caption: str) -> Grid:
    """Of every neuron that is drawn, and of every population as a whole."""
    heads = ("what", "spikes", "first spike (ms)", "largest V", "at (ms)", "largest |adjoint of V|")
    of_input = ["input", str(len(record.input_times)), _first(record.input_times), "-", "-", "-"]
    rows = [of_input] if record.n_inputs else []
    output = record.decides
    for population, states in record.states.items():
        spikes = record.spikes.get(population)
        times = spikes.time if spikes is not None else np.zeros(0)
        state = observed(record, population)
        size = states[state].shape[1]
        active = 0 if spikes is None else len(np.unique(spikes.neuron))
        rows.append([f"{population}: {active} of {size} active", str(len(times)), _first(times), "-", "-", "-"])
        for i in neurons_drawn(record, population):  # as the figure chooses them: the table says what it shows
            times_of = times if spikes is None else times[spikes.neuron == i]
            name = names[i] if population == output and i < len(names) else str(i)
            at, lam = int(states[state][:, i].argmax()), states.get(f"lambda_{state}")
            adjoint = "-" if lam is None else f"{np.abs(lam[:, i]).max():.4g}"
            rows.append(
                [f"{population} {name}", str(len(times_of)), _first(times_of), f"{states[state][at, i]:.4g}",
                 f"{record.times[at]:.2f}", adjoint]
            )  # fmt: skip
    return Grid(caption, heads, rows)


def _first(times: np.ndarray) -> str:
    return f"{np.min(times):.2f}" if len(times) else "-"


def _weights(folder: RunFolder, checkpoint: str) -> list[Block]:
    now = load_checkpoint(folder.checkpoint(checkpoint)).section("parameters")
    before = read_weights(folder.path / FIRST, now) if (folder.path / FIRST).is_file() else {}
    blocks: list[Block] = [Heading("Weights")]
    heads = ("", "shape", "mean", "standard deviation", "smallest", "largest")
    for name, values in now.items():
        if name not in before:  # it was not learned
            continue
        caption = f"{name}: distribution before and after the training" + (
            ", and the matrix." if values.ndim == 2 else "."
        )
        parts = (("before training", before[name]), ("after training", values))
        rows = [
            [words, "x".join(map(str, v.shape)), *(f"{f(v):.4g}" for f in (np.mean, np.std, np.min, np.max))]
            for words, v in parts
        ]
        table = Folded(f"Numbers of {name}", Grid(caption, heads, rows))
        blocks += [Heading(name, 3), Interactive(weights(name, values, before[name]), caption), table]
    return blocks
