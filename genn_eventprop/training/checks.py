"""What stops a training before it damages weights or a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from ..data import Events
from ..data.inputs import DataSet, parts_of
from ..engines import Result
from ..engines.registry import option_owners
from ..errors import DataError, PlanError, SettingError, TrainingError, is_number, shown, suggest
from ..modelling import Network
from ..optimisers import Optimiser, Schedule
from ..plan import Plan
from .callbacks import Callback

ELSEWHERE = {
    "learning_rate": "it belongs to the optimiser: optimiser=Adam(learning_rate=...)",
    "lr": "it belongs to the optimiser: optimiser=Adam(learning_rate=...)",
    "epochs": "it is an argument of fit: trainer.fit(train, epochs=...)",
    "validation": "it is an argument of fit: trainer.fit(train, validation=..., epochs=...)",
    "device": "it is an option of an engine: engine='cuda(device=0)'",
}
"""What is often looked for in the trainer, and where it is."""


def check_names(given: Iterable[str], own: Iterable[str]) -> None:
    """Refuse arguments of a trainer that neither it nor an engine has.

    Raises:
        SettingError: naming the nearest that there is, or where the setting belongs.
    """
    owners = option_owners()
    for name in given:
        if name not in owners:
            hint = ELSEWHERE.get(name) or suggest(name, {*own, *owners})
            raise SettingError(f"Trainer has no argument {name!r}; {hint}")


def check_arguments(
    network: object,
    optimiser: object,
    schedule: object,
    callbacks: object,
    numbers: Mapping[str, object],
    run_dir: object,
) -> None:
    """Refuse arguments of a trainer that are things of another kind.

    Raises:
        PlanError, SettingError: naming what was given and an example of what is needed.
    """
    if not isinstance(network, Network):
        raise PlanError(
            f"expected a Network, got {shown(network)}; make one with net = Network() and net.population(...)"
        )
    if optimiser is not None and not isinstance(optimiser, Optimiser):
        foreign = type(optimiser).__module__.startswith("torch")
        hint = "; optimisers of torch train the layer genn_eventprop.torch.EventProp" if foreign else ""
        raise SettingError(
            f"optimiser must be one of genn_eventprop.optimisers, e.g. Adam(1e-3), got {shown(optimiser)}{hint}"
        )
    if schedule is not None and not isinstance(schedule, Schedule):
        raise SettingError(
            f"schedule must be one of genn_eventprop.optimisers, e.g. Cosine(epochs=100), got {shown(schedule)}"
        )
    if not isinstance(callbacks, Sequence) or not all(isinstance(each, Callback) for each in callbacks):
        raise SettingError(
            f"callbacks must be a list of genn_eventprop.training.Callback objects, got {shown(callbacks)}; a function "
            "becomes one as the method end_epoch of a subclass"
        )
    if not isinstance(run_dir, (str, os.PathLike, type(None))):
        raise SettingError(f"run_dir must be the path of a folder, got {shown(run_dir)}")
    for name, value in numbers.items():
        if not is_number(value) or not value >= 0:  # nan compares as false either way
            raise SettingError(f"{name} must be a number >= 0, got {shown(value)}")


def check_together(carry: object, profile: object, device: object, communicator: object, in_pieces: bool) -> None:
    """Refuse arguments of a trainer that exclude each other.

    Args:
        in_pieces: whether the length of pieces of recordings, or their memory, is given.

    Raises:
        SettingError: naming both.
    """
    if profile is not None and (carry or device is not None):
        raise SettingError("profile= cannot be combined with carry=True or a device")
    if carry not in (True, False, "exact"):
        raise SettingError(f"carry={carry!r}: must be True, False or 'exact'")
    if device is not None and (carry or communicator is not None):
        raise SettingError("a device in the loop cannot be combined with carry=True or several ranks")
    if carry != "exact" and in_pieces:
        raise SettingError("chunk and memory belong to carry='exact'; with carry=True a chunk is what `duration` says")


def check_batch(
    plan: Plan, result: Result, gradients: Mapping[str, np.ndarray], where: str,
    finite: Callable[[str], bool] = lambda name: False, updates: int | None = None, clips: bool = True,
    scored: np.ndarray | None = None,
) -> None:  # fmt: skip
    """Refuse a batch whose loss or gradient is not finite.

    Args:
        where: words for the message, e.g. ``"epoch 3, batch 17"``. finite: whether a gradient is known to be finite;
            then it is not looked at, which would fetch it from a device. updates: how often the optimiser has changed
            the parameters; of the first batch it is not at fault. clips: whether the optimiser's clip_norm makes steps
            smaller. scored: (B,) trials that have a loss, None: all.

    Raises:
        TrainingError: naming the parameter, the population and the first bad entry.
    """
    advice = _FIRST if updates == 0 else _after_updates(clips)
    spiking = plan.spike_times == "grid" and any(p.spiking for p in plan.populations)
    slopes = " Where spikes hardly cross the threshold, slope_floor of the trainer bounds 1 / slope." if spiking else ""
    # gradients before the loss: they name a weight and its neurons, where a loss names a trial alone
    for name in plan.trainable:
        if finite(name):
            continue
        bad = ~np.isfinite(gradients[name])
        if bad.any():
            raise TrainingError(
                f"the gradient of {name} is not finite ({_first(plan, name, bad)}; {np.count_nonzero(bad)} of "
                f"{bad.size} entries) in {where}; weights and checkpoint are untouched. {advice}{slopes}"
            )
    finite_loss = np.isfinite(result.loss) | (False if scored is None else ~scored)
    if not finite_loss.all():
        trial = int(np.argmin(finite_loss))
        raise TrainingError(
            f"the loss of trial {trial} is {result.loss[trial]} in {where}; weights and checkpoint are untouched. "
            f"{advice}"
        )


_FIRST = (
    "No update has been made yet, so the learning rate is not the cause: check the initial weights and "
    "time constants, targets and class weights, and losses or regularisers of your own."
)


def _after_updates(clips: bool) -> str:
    return f"Use a smaller learning rate{', or clip_norm of the optimiser' if clips else ''}."


def check_parameters(parameters: Mapping[str, np.ndarray], where: str, clips: bool = True) -> None:
    """Refuse to save parameters that are not finite; clips: see `check_batch`.

    Raises:
        TrainingError: naming the parameter.
    """
    for name, value in parameters.items():
        if not np.all(np.isfinite(value)):
            raise TrainingError(
                f"{name} is not finite after {where}; no checkpoint was written. {_after_updates(clips)}"
            )


def check_labels(labels: np.ndarray, what: str, needed: bool = True) -> None:
    """Training, validation and test sets need a label for every sample, if the loss compares with labels.

    Raises:
        DataError: naming the set and the first sample without one.
    """
    if len(labels) == 0:
        raise DataError(f"the {what} set is empty")
    if needed and np.any(labels < 0):
        raise DataError(f"the {what} set needs a label for every sample; sample {int(np.argmax(labels < 0))} has none")


def _have_no(n: int) -> str:
    return "has no spikes; it is" if n == 1 else "have no spikes; they are"


def data_notes(train: DataSet, validation: DataSet | None, duration: float = 0.0) -> list[str]:
    """Notes on data that is allowed but unusual: samples without spikes, classes without samples, times that may be
    seconds.

    Args:
        duration: of a trial, ms.
    """
    notes = []
    spikes = [part for part in parts_of(train) if isinstance(part, Events)]
    latest = max((part.duration for part in spikes), default=0.0)
    # one of the two alone is common (short codes, long trials); together they are spikes in a hundredth of the trial
    if 0 < latest < 5 and duration >= 100 * latest:
        notes.append(
            f"all spikes of the training set come before {latest:g} ms of a trial of {duration:g} ms; are the times in "
            "seconds? They are interpreted as ms"
        )
    if len(spikes) == len(parts_of(train)) and not any(part.counts.any() for part in spikes):
        notes.append(
            "no sample of the training set has a spike: only neurons that spike by themselves can learn from it"
        )
    for what, events in (("training", train), ("validation", validation)):
        if events is None:
            continue
        parts = parts_of(events)
        if isinstance(parts[0], Events) and len(parts) == 1 and (empty := int((parts[0].counts == 0).sum())):
            notes.append(f"{empty} of {len(events)} samples of the {what} set {_have_no(empty)} kept")
        if events.labels is not None and events.n_classes is not None:
            missing = np.setdiff1d(np.arange(events.n_classes), events.labels).tolist()
            if missing:
                more = ", ..." if len(missing) > 10 else ""
                words = ", ".join(map(str, missing[:10])) + more
                notes.append(f"the {what} set has no sample of {'class' if len(missing) == 1 else 'classes'} {words}")
    return notes


def _first(plan: Plan, name: str, bad: np.ndarray) -> str:
    """Words for the first bad entry: which population and neuron it belongs to."""
    index = tuple(int(i[0]) for i in np.nonzero(bad))
    for c in plan.weighted:
        if c.weight == name:
            return f"from neuron {index[0]} of {c.source!r} to neuron {index[1]} of {c.target!r}"
    population, parameter = name.split(".", 1)
    return f"{parameter} of neuron {index[0]} of {population!r}"


def late_delays(plan: Plan, parameters: Mapping[str, np.ndarray]) -> list[str]:
    """Notes on delays after which no spike arrives within the trial, so that they have no gradient."""
    notes = []
    for c in plan.connections:
        late = 0 if c.delays is None else np.count_nonzero(parameters[c.delays_name] >= plan.duration)
        if c.delays is not None and late:
            of = f"{late} of {np.size(parameters[c.delays_name])} delays of {c.name}"
            notes.append(f"{of} are as long as the trial of {plan.duration:g} ms: their spikes are lost")
    return notes
