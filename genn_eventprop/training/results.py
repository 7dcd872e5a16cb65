"""The numbers of an epoch and of a run, as they go into metrics.jsonl and results.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..engines import Engine
from ..optimisers import Optimiser
from ..plan import Plan
from .epoch_statistics import EpochStatistics
from .evaluator import Evaluation
from .metrics import class_accuracy, confusion_matrix, interval_of, report
from .state import TrainingState

APART = 1e4
"""Factor between layers from which a gradient counts as vanishing or exploding."""
NEAR = 1e-6
"""Of the maximum: what is nearer to a bound counts as at it (float32)."""

HISTORY = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")


def epoch_metrics(
    plan: Plan,
    state: TrainingState,
    statistics: EpochStatistics,
    optimiser: Optimiser,
    clipped_spikes: int,
    held_out: Evaluation | None,
) -> dict[str, Any]:
    """One line of metrics.jsonl.

    Loss and accuracy of the training set are those met during the epoch; silent and runaway count neurons over the
    whole epoch; learning_rate is the last one used; clipped_spikes are input spikes moved back into the
    trial's last step. gradient_norms and steps are of the epoch's last full batch, see `gradient_norms` and
    `relative_steps`.
    """
    activity = statistics.activity()
    note = gradient_note(statistics.gradients, plan.loss.output, clips=not optimiser.scale_free)
    return (
        {
            "epoch": state.epoch + 1,
            "train_loss": statistics.loss,
            "train_accuracy": statistics.accuracy,
            "validation_loss": None if held_out is None else held_out.loss,
            "validation_accuracy": None if held_out is None else held_out.accuracy,
            **_held_out_metrics(held_out),
            "undecided": statistics.undecided,
            "spikes_per_neuron": {name: a.spikes_per_neuron for name, a in activity.items()},
            "silent": {name: a.silent for name, a in activity.items()},
            "runaway": {name: a.runaway for name, a in activity.items()},
            "guarded": statistics.guarded,
            "clipped_spikes": clipped_spikes + statistics.clipped_spikes,
            "clipped_gradients": optimiser.clipped_steps,
            "gradient_norms": {name: norm for name, (norm, _) in statistics.gradients.items()},
            "steps": dict(statistics.steps),
            "learning_rate": optimiser.settings["learning_rate"] * optimiser.factor,
            "seconds": state.epoch_seconds,
        }
        | _metrics_of_losses(statistics, held_out)
        | ({"gradient_note": note} if note else {})
    )


def history(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The metrics of all epochs as columns, to be plotted: ``train_loss``, ``train_accuracy``, ``validation_loss`` and
    ``validation_accuracy`` (None without a validation set), ``spikes_per_neuron`` and ``silent`` by population."""
    columns = {name: [line[name] for line in metrics] for name in HISTORY}
    names = metrics[-1]["spikes_per_neuron"] if metrics else ()
    by_population = {
        key: {name: [line[key][name] for line in metrics] for name in names} for key in ("spikes_per_neuron", "silent")
    }
    return columns | by_population


def _metrics_of_losses(statistics: EpochStatistics, held_out: Evaluation | None) -> dict[str, Any]:
    """{"losses": population -> loss and accuracy of the loss that reads it} where there are several."""
    metrics: dict[str, dict[str, float | None]] = {}
    for name, (loss, accuracy) in statistics.of_losses().items():
        part = None if held_out is None else held_out.parts[name]
        metrics[name] = {
            "train_loss": loss, "train_accuracy": accuracy,
            "validation_loss": None if part is None else part.loss,
            "validation_accuracy": None if part is None else part.accuracy,
        }  # fmt: skip
    return {"losses": metrics} if metrics else {}


def _held_out_metrics(held_out: Evaluation | None) -> dict[str, Any]:
    """95 % interval of the validation accuracy, and the accuracy of every class."""
    if held_out is None:
        return {"validation_interval": None, "validation_per_class": None}
    confusion = confusion_matrix(held_out.labels.ravel(), held_out.predictions.ravel(), held_out.scores.shape[-1])
    return {
        "validation_interval": interval_of(held_out),
        "validation_per_class": class_accuracy(confusion).tolist(),
    }


def run_results(
    state: TrainingState,
    best: Evaluation | None,
    final: Evaluation | None,
    engine: Engine,
    seed: int,
    groups: np.ndarray | None = None,
    sizes: Mapping[str, int] | None = None,
    costs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """results.json: the test set with the weights chosen on validation, and with the last ones.

    ``test`` holds what `metrics.report` says of the chosen weights; `groups` (S,) are those of the test samples.
    ``costs`` is what `accounting` says of the chosen weights on the test set.
    ``activity`` has, for each spiking population of `sizes` (name -> neurons), what the last epoch's metrics say of it.
    """
    no_accuracy = state.best_epoch is None or math.isnan(state.best_accuracy)
    return {
        "test_accuracy": _known(best, "accuracy"),
        "test_explained_variance": _known(best, "explained"),
        "test_loss": None if best is None else best.loss,
        "final_test_accuracy": _known(final, "accuracy"),
        "final_test_explained_variance": _known(final, "explained"),
        "final_test_loss": None if final is None else final.loss,
        "test": None if best is None else report(best, groups),
        "best_validation_accuracy": None if no_accuracy else state.best_accuracy,
        "best_epoch": state.best_epoch,
        "epochs": state.epoch,
        "updates": state.updates,
        "seconds_training": state.seconds,
        "engine": engine.name,
        "weight_rows": engine.weight_rows,
        "seed": seed,
        "activity": activity_of(state.metrics[-1] if state.metrics else None, sizes or {}),
        "costs": costs,
    } | _test_of_losses(best)


def _known(of: Evaluation | None, what: str) -> float | None:
    """A number of an evaluation, None where it does not exist."""
    value = float("nan") if of is None else float(getattr(of, what))
    return None if math.isnan(value) else value


def _test_of_losses(best: Evaluation | None) -> dict[str, Any]:
    parts = {} if best is None else best.parts
    each = {name: {"test_loss": part.loss, "test_accuracy": part.accuracy} for name, part in parts.items()}
    return {"losses": each} if each else {}


def activity_of(metrics: Mapping[str, Any] | None, sizes: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Population -> its neurons, those silent in the whole epoch, and spikes per neuron and trial."""
    if metrics is None:
        return {}
    return {
        name: {"neurons": sizes[name], "silent": silent, "spikes_per_neuron": metrics["spikes_per_neuron"][name]}
        for name, silent in metrics["silent"].items()
        if name in sizes
    }


def silent_words(activity: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """``"159 of 200 neurons of hidden"`` for every population with silent neurons."""
    return [f"{a['silent']} of {a['neurons']} neurons of {name}" for name, a in activity.items() if a["silent"]]


def gradient_norms(
    plan: Plan, gradients: Mapping[str, np.ndarray], parameters: Mapping[str, np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Population -> (L2 norm of the gradient of the learned weights that lead to it, the same over that of the
    weights); in the order of the plan, only where weights are learned."""
    norms = {}
    for p in plan.populations:
        into = [c for c in plan.into(p.name) if c.weight in plan.trainable]
        if into:
            g, w = (_norm(_learned(arrays[c.weight], c.learned) for c in into) for arrays in (gradients, parameters))
            norms[p.name] = (g, g / w if w > 0 else float("nan"))
    return norms


def relative_steps(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Weight -> how far an update moved it, relative to its size before (root mean squares); not where that is 0."""
    steps = {}
    for name, values in before.items():
        size = _norm([values])
        if size > 0:
            steps[name] = _norm([np.asarray(after[name], np.float64) - values]) / size
    return steps


def _learned(array: Any, mask: np.ndarray | None) -> np.ndarray:
    """Those weights that are learned."""
    return np.asarray(array) if mask is None else np.asarray(array)[mask]


def _norm(arrays: Any) -> float:
    # in float64: squares of a vanishing gradient, below 1e-19, would underflow in float32
    return float(np.sqrt(sum(np.sum(np.square(np.asarray(a, np.float64))) for a in arrays)))


def gradient_note(norms: Mapping[str, tuple[float, float]], output: str = "", clips: bool = True) -> str:
    """What is wrong with the gradients of layers, "" if nothing is.

    Args:
        norms: of `gradient_norms`. Gradients are compared relative to the weights, each layer's with that of the one
            which the main loss reads. output: its name; if nothing into it is learned, the last layer. clips: see
            `checks.check_batch`.
    """
    # relative to the weights, since wide layers have small weights and, for the same learning, small gradients
    relative = {name: r for name, (_, r) in norms.items() if np.isfinite(r)}
    if len(relative) < 2:
        return ""
    last = output if output in relative else [*relative][-1]
    before = [name for name in relative if name != last]
    for name in before:
        # of a single hidden layer only a gradient of 0, of silent neurons: through one layer nothing vanishes, and with
        # weights on a data set's scale its gradient is often small beside a readout's
        if relative[name] * APART < relative[last] and (len(before) > 1 or relative[name] == 0):
            fewer = ", or use fewer layers" if len(before) > 1 else ""
            return (
                f"the gradient vanishes in the backward pass: relative to the weights it is {relative[name]:.1e} for "
                f"{name} and {relative[last]:.1e} for {last}; scale the initial weights to a firing rate in every "
                f"layer (initialise_rates, --initial-spikes){fewer}"
            )
        # > 0: where the loss of the batch has no gradient, as when all are right by a margin, nothing explodes
        if relative[name] > APART * relative[last] > 0:
            clip = ", or clip each gradient (clip_norm={'*': 1} of the optimiser, --clip-each 1)" if clips else ""
            return (
                f"the gradient explodes in the backward pass: relative to the weights it is {relative[name]:.1e} for "
                f"{name} and {relative[last]:.1e} for {last}; scale the initial weights to a firing rate "
                f"(initialise_rates, --initial-spikes){clip}"
            )
    return ""


def delay_metrics(plan: Plan, parameters: Mapping[str, np.ndarray], optimiser: Optimiser) -> dict[str, Any]:
    """{"delays": connection -> mean (ms), shares at_zero and at_max} where any are learned, else nothing.

    The bounds are those that the optimiser keeps, at_zero is the share at the lower one.
    """
    metrics = {}
    for c in plan.connections:
        if c.delays is not None and c.learns_delays:
            delays = np.asarray(parameters[c.delays_name], np.float64)
            low, high = optimiser.bounds_of(c.delays_name)  # may be narrower than 0 to the limit of the connection
            margin = NEAR * c.delays.limit
            metrics[c.name] = {
                "mean": float(delays.mean()),
                "at_zero": float(np.mean(delays <= low + margin)),
                "at_max": float(np.mean(delays >= high - margin)),
            }
    return {"delays": metrics} if metrics else {}
