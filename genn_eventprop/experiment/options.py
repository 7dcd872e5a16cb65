"""Settings that users write as text: choices by name on one line, and tables of TOML.

A choice (``"shift=40,blend=0.5"``, ``"ALIF(tau_B=100)"``, ``"first_spike_exp(alpha=3e-3)"``) is a name, by itself, with
one value, or with options in brackets; several are separated by commas. In a TOML file the same may be written as a
table, ``augment = {shift = 40, blend = 0.5}`` or ``neuron = {ALIF = {tau_B = 100}}``. `parse_specs` reads
them, `make` builds what was chosen; below it stand the tables of names: neurons, losses, regularisers, optimisers,
delays, schedules, augmentations. Every unknown name or option is an error that lists what is known.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import optimisers
from ..checksummed import shallow
from ..choice import Spec, parse_spec, parse_specs
from ..data import Currents, Events
from ..data.augment.batchwise import is_fixed, moves_times
from ..data.augment.encodings import apply
from ..errors import EventPropError, SettingError, check_known, suggest
from ..losses import LOSSES, Loss
from ..modelling import Delay, Population, Uniform
from ..modelling.delay import KINDS
from ..modelling.neuron import Neuron, NeuronModel
from ..modelling.user_file import model_in_file
from ..models import ZOO
from ..optimisers import Optimiser, Schedule
from ..regularisers import REGULARISERS, Regulariser
from ..training.silent_neurons import Revive

if TYPE_CHECKING:
    from ..data.augment.augmented import Augmented, Blend
    from ..data.augment.steps import Step

AT_ONCE = 20_000_000
"""Events of a training set up to which transforms that are the same every epoch are done once, before training."""


def whole_number(text: str) -> int | None:
    """A number of at most 18 digits 0 to 9; None for any other text (`str.isdigit` is true of more than that)."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def spec_text(value: Any) -> Any:
    """A TOML table as text; anything else unchanged."""
    return ",".join(_item_text(name, v) for name, v in value.items()) if isinstance(value, dict) else value


def make(table: Mapping[str, Callable[..., Any]], spec: Spec, where: str, *leading: Any, **defaults: Any) -> Any:
    """Call ``table[spec.name](*given, values, options)``; `defaults` are options used where the callable takes them.

    Raises:
        SettingError: an unknown name or option, with what is known.
    """
    check_known(spec.name, table, SettingError, f"{where}: unknown name {spec.name!r}; ")
    factory = table[spec.name]
    parameters = inspect.signature(factory).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    option_names = [name for name, p in list(parameters.items())[len(leading) :] if p.kind in named]
    for option in spec.options:
        if option not in option_names and not takes_all:
            raise SettingError(f"{where}: {spec.name} has no option {option!r}; {suggest(option, option_names)}")
    by_position = option_names[: len(spec.values)]
    usable = {k: v for k, v in defaults.items() if (k in option_names or takes_all) and k not in by_position}
    try:
        inspect.signature(factory).bind(*leading, *spec.values, **{**usable, **spec.options})
    except TypeError as error:
        options = ", ".join(option_names) or "none"
        raise SettingError(f"{where}: {spec.name} cannot be used like this: {error}; its options: {options}") from None
    for name, value in [*zip(option_names, spec.values), *spec.options.items()]:
        if name in parameters and not _fits(value, parameters[name]):
            kind = parameters[name].annotation
            raise SettingError(f"{where}: {spec.name}: {name} = {value!r} cannot be used; it must be of type {kind}")
    try:
        return factory(*leading, *spec.values, **{**usable, **spec.options})
    except EventPropError as error:
        if not hasattr(error, "of_argument"):  # else of a value inside, which the text of the option has
            raise
        raise SettingError(f"{where}: {error}") from None
    except (TypeError, ValueError, ArithmeticError) as error:  # values of a kind that only the factory can tell
        raise SettingError(f"{where}: {spec.name} cannot be made of these values: {error}") from None


VALUE_TYPES: dict[str, tuple[type, ...]] = {
    "float": (int, float),
    "int": (int, float),
    "str": (str,),
    "bool": (bool,),
    "tuple": (tuple, list),
    "None": (type(None),),
}
"""Words of an annotation -> what a value may be. Whether a number is a whole one, the factory says."""


def _fits(value: Any, parameter: inspect.Parameter) -> bool:
    """Whether a value is of the kind that a parameter is annotated with; True if that is not one of `VALUE_TYPES`."""
    words = set(re.findall(r"\w+", str(getattr(parameter.annotation, "__name__", parameter.annotation))))
    if not words <= VALUE_TYPES.keys():
        return True
    truth = isinstance(value, bool) and "bool" not in words
    return not truth and isinstance(value, tuple(kind for word in words for kind in VALUE_TYPES[word]))


def _item_text(name: str, value: Any) -> str:
    if value is True:
        return name
    if isinstance(value, dict):
        return f"{name}({', '.join(f'{k}={_value_text(v)}' for k, v in value.items())})"
    return f"{name}={_value_text(value)}"


def _value_text(value: Any) -> str:
    return repr(tuple(value) if isinstance(value, list) else value)


def snake(name: str) -> str:
    """``MergeChannels`` as ``merge_channels``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def neuron_file(text: str) -> tuple[str, str] | None:
    """(file, what stands behind it) of a neuron in a file of one's own, which runs when it is used; None for others."""
    match = re.fullmatch(r"(.*?\.py)(?::(.*))?", text, re.DOTALL)
    return None if match is None else (match[1], match[2] or "")


def neuron_of(text: str, where: str, **defaults: Any) -> Neuron:
    """``"LIF"``, ``"ALIF(tau_B=100)"``, any of `models.ZOO`, or ``"my_neuron.py:MyNeuron(tau_m=10)"`` of one's own;
    `defaults` are used where the model has them."""
    table: Mapping[str, NeuronModel] = ZOO
    if (own := neuron_file(text)) is not None:
        file, text = own
        if not text:
            model_in_file(f"{file}:")  # an error that lists the models in the file
        name = parse_spec(text, where).name
        table = {name: model_in_file(f"{file}:{name}")}
    spec = parse_spec(text, where, table)
    model = table.get(spec.name)
    if model is None:
        raise SettingError(
            f"{where}: unknown name {spec.name!r}; {suggest(spec.name, table)}; for your own, write "
            "my_neuron.py:MyNeuron"
        )
    usable = {name: value for name, value in defaults.items() if name in model.params}
    return make(table, spec.__class__(spec.name, spec.values, {**usable, **spec.options}), where)


def loss_of(text: str, population: Population, where: str = "--loss", **defaults: Any) -> Loss:
    """``"max"``, ``"first_spike_exp(tau0=0.5)"``, for an output population; `defaults` where the loss has them."""
    return make(LOSSES, parse_spec(text, where, LOSSES), where, population, **defaults)


def regularisers_of(text: str, populations: Sequence[Population]) -> list[Regulariser]:
    """``"spike_count(target=14, strength=2e-7)"``: one for each of the populations if it belongs to one."""
    regularisers: list[Regulariser] = []
    for spec in parse_specs(text, "--regulariser", REGULARISERS):
        factory = REGULARISERS.get(spec.name)
        of_one = factory is not None and "population" in inspect.signature(factory).parameters
        regularisers += [
            make(REGULARISERS, spec, "--regulariser", *target)
            for target in ([(p,) for p in populations] if of_one else [()])
        ]
    return regularisers


def revive_of(text: str) -> list[Revive]:
    """``"lift=0.002"``, ``"redraw"`` or nothing."""

    def lift(amount: float = 0.002) -> Revive:
        return Revive("lift", amount)

    table = {"redraw": lambda: Revive("redraw"), "lift": lift}
    return [make(table, spec, "--revive") for spec in parse_specs(text, "--revive", table)]


def optimiser_of(text: str, learning_rate: float, where: str = "--optimiser", **shared: Any) -> Optimiser:
    """``"adam"``, ``"adam_w(weight_decay=0.01)"``; `shared` goes to any of them (groups, bounds, ...)."""
    table = {"adam": optimisers.Adam, "adam_w": optimisers.AdamW, "sgd": optimisers.SGD, "rmsprop": optimisers.RMSprop}
    return make(table, parse_spec(text, where, table), where, learning_rate=learning_rate, **shared)


def delay_of(text: str) -> Delay | float:
    """``"synaptic(high=20, max=60)"``: learned delays that start uniformly between 0 and `high` ms; none for ""."""

    def of(kind: str) -> Callable[..., Delay]:
        def make_delay(high: float = 20.0, max: float = 60.0) -> Delay:
            return Delay(Uniform(0.0, high), kind=kind, max=max)

        return make_delay

    return make({kind: of(kind) for kind in KINDS}, parse_spec(text, "--delays", KINDS), "--delays") if text else 0.0


def schedule_of(text: str, epochs: int, where: str = "--schedule") -> Schedule:
    """``"cosine"``, ``"ease_in,exponential=0.95"``: several multiply; a cosine ends with the training."""
    names = ("Constant", "Cosine", "EaseIn", "Exponential", "HalveOnPlateau", "Step")
    table = {snake(name): getattr(optimisers, name) for name in names}
    parts = [make(table, spec, where, epochs=epochs) for spec in parse_specs(text, where, table)]
    return optimisers.Product(*parts) if parts else optimisers.Constant()


def encodings_of(text: str) -> list[Any]:
    """``"z_score,segments=10"``: fixed steps, the same for every sample of every set, in order."""
    from ..data.augment.encodings import ENCODINGS
    from ..data.augment.steps import STEPS

    table = {snake(name): step for name, step in (ENCODINGS | STEPS).items() if is_fixed(step)}
    return [make(table, spec, "--encoding") for spec in parse_specs(text, "--encoding", table)]


def augmentations_of(text: str, where: str = "--augment") -> tuple[list[Any], Blend | None]:
    """``"shift=40,blend=0.5"``: the steps in order, and the blend, which makes new samples before any step; of currents
    ``"gain=0.3,noise=0.1,shift_time=20,shift_channels=2"``.

    ``blend=0.5`` mixes two recordings and keeps half of each; ``blend(keep=(0.5, 0.3), times=2)`` says it all.
    """
    from ..data.augment.augmented import Blend
    from ..data.augment.currents import CURRENT_STEPS
    from ..data.augment.steps import STEPS

    table = {snake(name): step for name, step in (STEPS | CURRENT_STEPS).items()} | {"blend": _blend}
    steps, blend = [], None
    for spec in parse_specs(text, where, table):
        step = make(table, spec, where)
        if isinstance(step, Blend):
            blend = step
        else:
            steps.append(step)
    return steps, blend


def _blend(keep: Any = (0.5, 0.5), times: float = 2.0) -> Blend:
    from ..data.augment.augmented import Blend

    return Blend(tuple(keep) if isinstance(keep, (tuple, list)) else (keep, keep), times)


def augmented(
    train: Events | Currents, text: str, duration: float, seed: int, where: str = "--augment"
) -> Events | Currents | Augmented:
    """The training set with what `text` says, without what comes later than `duration` ms.

    `Augmented` if one epoch is to differ from the next or the set is large, else done once.
    """
    from ..data.augment.augmented import Augmented

    steps, blend = augmentations_of(text, where)
    if isinstance(train, Currents):
        return Augmented(_within(train, duration), steps, blend, seed) if steps or blend else _within(train, duration)
    steps = _cropped(steps, duration)
    if not _large(train) and blend is None:
        first = next((i for i, step in enumerate(steps) if not is_fixed(step)), len(steps))
        train, steps = apply(steps[:first], train), steps[first:]
    if steps or blend or isinstance(train, Events) and _large(train):
        return Augmented(train, steps, blend, seed)
    return train


def transformed(events: Events | Currents, text: str, duration: float, where: str = "--augment") -> Events | Currents:
    """A validation or test set: what changes the form of the input (bin, merge_channels, ...), nothing random."""
    if isinstance(events, Currents):
        return _within(events, duration)
    return apply(preprocessing(text, duration, where), events)


def preprocessing(text: str, duration: float, where: str = "--augment") -> list[Step]:
    """What `text` does to every sample alike, and the crop to the trial."""
    return _cropped([step for step in augmentations_of(text, where)[0] if is_fixed(step)], duration)


def _within(currents: Currents, duration: float) -> Currents:
    """What begins before the end of the trial."""
    values = math.ceil(duration / currents.dt - 1e-9)
    return currents if values >= currents.n_steps else currents.crop(0.0, values * currents.dt)


def late_notes(events: Events | Currents, text: str, duration: float, where: str = "--augment") -> list[str]:
    """Words for the samples that go on when the trial is over; none if a step of `text` brings their end into it."""
    from ..data.augment.steps import CompressTime, FitTime

    if isinstance(events, Currents):
        rest = events.values[:, _within(events, duration).n_steps :]
        late = sum(bool(np.any(sample)) for sample in rest)
        words = f"{late} of {len(events)} samples of the training set are longer than {duration:g} ms"
        return [f"{words}; their end is dropped"] if late else []
    late = int((events.durations >= duration).sum())
    if not late or any(isinstance(step, (CompressTime, FitTime)) for step in augmentations_of(text, where)[0]):
        return []
    are = "is" if late == 1 else "are"
    return [
        f"{late} of {len(events)} samples of the training set {are} longer than {duration:g} ms; later spikes are "
        "dropped"
    ]


def _cropped(steps: list[Step], duration: float) -> list[Step]:
    """The steps, and a crop to the trial: last if a step moves events in time, else first."""
    from ..data.augment.steps import Crop

    crop = Crop(0.0, duration)
    return [*steps, crop] if any(map(moves_times, steps)) else [crop, *steps]


def _large(events: Events) -> bool:
    return len(events.times) > AT_ONCE


def read_toml(path: Path) -> dict[str, Any]:
    """The table of a TOML file."""
    try:
        return dict(shallow(tomllib.loads(path.read_text(encoding="utf-8"))))
    except (FileNotFoundError, IsADirectoryError):
        raise SettingError(f"there is no config file {path}") from None
    except ValueError as error:  # also of bytes that are no text, and of numbers with thousands of digits
        raise SettingError(f"{path} is not valid TOML: {error}") from None
    except (RecursionError, MemoryError):
        raise SettingError(f"{path} is not valid TOML: its brackets are nested too deeply") from None


def write_toml(table: Mapping[str, Any]) -> str:
    """Flat settings as TOML; texts and lists are written as in JSON, which TOML reads the same."""
    return "".join(f"{name} = {toml_value(value)}\n" for name, value in table.items())


def toml_value(value: Any) -> str:
    """One value; a table is written inline."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value)
