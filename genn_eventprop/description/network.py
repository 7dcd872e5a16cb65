"""A network as a record: parameters and what they start from, neuron models, populations, connections and delays.

Each `describe_x` has its reverse `build_x`. What is built from a document goes through `Guard` value by value, with
words for where it stands, because the document may be a stranger's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DescriptionError, NetworkError, check_known
from ..modelling.connectivity import Connectivity, Conv2D, Dense, Grouped, OneToOne, Pool2D, Sparse
from ..modelling.delay import Delay
from ..modelling.network import Connection, Current, Input, Network, Population
from ..modelling.neuron import Event, Mode, Neuron, NeuronModel
from ..modelling.parameters import Array, Constant, FanIn, FromData, Gamma, Normal, Param, Uniform
from .safe import Guard, plain

INITIALISERS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Constant, Uniform, Normal, FanIn, FromData, Gamma)
}
STORED = "Stored"
KINDS: dict[str, type[Connectivity]] = {
    kind.__name__: kind for kind in (Dense, Sparse, OneToOne, Conv2D, Pool2D, Grouped)
}
Values = Mapping[str, np.ndarray]
"""Stored parameters by name."""


# parameters


@dataclass(frozen=True)
class Stored:
    """Values that are stored next to the description: arrays of the user, and draws of the user's initialisers."""

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        raise NetworkError("these values are not drawn; they are stored next to the description of the model")


def describe_value(value: Any) -> Any:
    """A number as it is; an initialiser by name and numbers, inf as None; anything else as `Stored`."""
    if np.ndim(value) == 0 and not hasattr(value, "sample"):
        return value.item() if hasattr(value, "item") else value
    if type(value).__name__ not in INITIALISERS or type(value) is not INITIALISERS[type(value).__name__]:
        return {"initialiser": STORED}
    numbers = dataclasses.asdict(value)
    return {"initialiser": type(value).__name__, **{k: v if np.isfinite(v) else None for k, v in numbers.items()}}


def build_value(record: Any, values: np.ndarray | None, guard: Guard, where: str) -> Any:
    """The reverse of `describe_value`; `values` are the stored ones, None if there are none at hand."""
    if not isinstance(record, Mapping):
        return guard.number(record, where)
    numbers = dict(record)
    kind = numbers.pop("initialiser", None)
    if kind == STORED:
        return Stored() if values is None else Array(np.asarray(values, np.float64))
    check_known(kind, INITIALISERS, DescriptionError, f"{where}: unknown initialiser {kind!r}; ")
    known = {field.name for field in dataclasses.fields(INITIALISERS[kind])}
    if set(numbers) - known:
        raise DescriptionError(f"{where}: {kind} has no number {min(set(numbers) - known)!r}")
    return INITIALISERS[kind](**{k: np.inf if v is None else guard.number(v, where) for k, v in numbers.items()})


def describe_bounds(bounds: Any) -> list[Any]:
    """(lower, upper): numbers, arrays as lists, None for open."""
    return [None if b is None else _finite(np.asarray(b, float).tolist()) for b in bounds]


def _finite(value: Any) -> Any:
    """Infinite numbers as None, in lists within lists."""
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return value if np.isfinite(value) else None


def build_bounds(pair: Any, guard: Guard, where: str) -> tuple[Any, Any]:
    if not isinstance(pair, list) or len(pair) != 2:
        raise DescriptionError(f"{where}: bounds are a pair, got {pair!r}")
    lower, upper = (_bound(b, open_, guard, where) for b, open_ in zip(pair, (-np.inf, np.inf), strict=True))
    return lower, upper


def _bound(bound: Any, open_: float, guard: Guard, where: str) -> Any:
    if isinstance(bound, list):
        return np.array(_filled(bound, open_), np.float64)
    return bound if bound is None else guard.number(bound, where)


def _filled(value: Any, open_: float) -> Any:
    """None as `open_`, in lists within lists."""
    if isinstance(value, list):
        return [_filled(v, open_) for v in value]
    return open_ if value is None else value


def describe_param(param: Param) -> dict[str, Any]:
    """`Param` as numbers and texts."""
    return {
        "value": describe_value(param.value),
        "unit": param.unit,
        "trainable": param.trainable,
        "shared": param.shared,
        "bounds": describe_bounds(param.bounds),
    }


def build_param(record: Mapping[str, Any], values: np.ndarray | None, guard: Guard, where: str) -> Param:
    """The reverse of `describe_param`."""
    return Param(
        build_value(record["value"], values, guard, where),
        guard.label(record["unit"], f"{where}: unit"),
        trainable=bool(record["trainable"]),
        shared=bool(record["shared"]),
        bounds=build_bounds(record["bounds"], guard, where),
    )


# models


def describe_model(model: NeuronModel) -> dict[str, Any]:
    """The equations of a neuron as texts, its parameters with their defaults."""
    return {
        "name": model.name,
        "state": {s: plain(v) for s, v in model.state.items()},
        "params": {n: describe_param(p) for n, p in model.params.items()},
        "dynamics": {s: plain(f) for s, f in model.dynamics.items()},
        "events": [
            {
                "name": e.name,
                "threshold": plain(e.threshold),
                "reset": {s: plain(v) for s, v in e.reset.items()},
                "emits": e.emits,
                "modes": list(e.modes),
                "next_mode": e.next_mode,
            }
            for e in model.events
        ],
        "modes": [
            {"name": m.name, "dynamics": {s: plain(f) for s, f in m.dynamics.items()}, "lasts": m.lasts, "then": m.then}
            for m in model.modes
        ],
        "receptors": _describe_amounts(model.receptors),
        **({"drives": _describe_amounts(model.drive_amounts)} if model.drives else {}),
        "readout": model.readout,
        "scheme": model.scheme,
        "snippets": dict(model.snippets),
    }


def _describe_amounts(to: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {r: {s: plain(v) for s, v in amounts.items()} for r, amounts in to.items()}


def build_model(record: Mapping[str, Any], guard: Guard) -> NeuronModel:
    """The reverse of `describe_model`."""
    where = guard.title(record["name"], "the name of a model")

    def texts(part: Mapping[str, Any], what: str) -> dict[str, Any]:
        return {guard.name(s, where): guard.expression(f, f"{where}: {what} {s}") for s, f in part.items()}

    return NeuronModel(
        name=where,
        state=texts(record["state"], "initial value of"),
        params={
            guard.name(n, where): build_param(p, None, guard, f"{where}: {n}") for n, p in record["params"].items()
        },
        dynamics=texts(record["dynamics"], "dynamics of"),
        events=[
            Event(
                guard.title(e["name"], f"{where}: an event"),
                guard.expression(e["threshold"], f"{where}: threshold of event {e['name']}"),
                texts(e["reset"], "reset of"),
                bool(e["emits"]),
                tuple(e["modes"]),
                e["next_mode"],
            )
            for e in record["events"]
        ],
        modes=[
            Mode(
                guard.title(m["name"], f"{where}: a mode"),
                texts(m["dynamics"], f"mode {m['name']},"),
                m["lasts"],
                m["then"],
            )
            for m in record["modes"]
        ],
        input={guard.name(r, where): texts(to, f"input {r}, amount for") for r, to in record["receptors"].items()}
        or None,
        drives={
            guard.name(d, where): texts(to, f"drive {d}, amount for") for d, to in record.get("drives", {}).items()
        },
        readout=record["readout"],
        scheme=record["scheme"],
        snippets=guard.snippets(record["snippets"], where),
    )


# connections


def describe_connection(c: Connection) -> dict[str, Any]:
    """The arguments of `connect`.

    Raises:
        DescriptionError: a kind that this format does not have.
    """
    return {
        "name": c.name,
        "source": c.source.name,
        "target": c.target.name,
        "receptor": c.receptor,
        "delay": c.delay if c.delays is None else _describe_delays(c.delays),
        "trainable": c.trainable if c.learned is None else c.learned.astype(int).tolist(),
        **({} if c.sign is None or c.share else {"sign": c.sign.tolist()}),
        **({"share": c.share.name} if c.share else {}),
        "connectivity": _describe_connectivity(c.connectivity, c.name),
    }


def build_connectivity(record: Mapping[str, Any], values: Values, guard: Guard, name: str) -> Connectivity:
    """The reverse; values: stored parameters by name."""
    arguments = dict(record)
    kind, weight, bounds = (arguments.pop(k) for k in ("kind", "weight", "bounds"))
    if kind not in KINDS:
        raise DescriptionError(f"connection {name!r} is of kind {kind!r}, which this version does not know")
    settings: dict[str, Any] = {"bounds": build_bounds(bounds, guard, name)}
    if KINDS[kind] is not Pool2D:  # its weight follows from its scale
        settings["weight"] = build_value(weight, values.get(f"{name}.weight"), guard, name)
    known = KINDS[kind].arguments
    for argument, value in arguments.items():
        check_known(argument, known, DescriptionError, f"connection {name!r}: unknown {argument!r} of {kind}; ")
        settings[argument] = _argument(value, guard, f"{name}: {argument}")
    if kind == "Sparse" and settings.get("probability") is settings.get("fan_in") is None:
        pairs = values.get(f"{name}.pairs")
        if pairs is None:
            raise DescriptionError(f"connection {name!r}: its pairs, stored next to the description, are missing")
        settings["pairs"] = pairs
    return KINDS[kind](**settings)


def build_delay(record: Any, values: Values, guard: Guard, name: str) -> Any:
    """What `connect` takes as delay."""
    if not isinstance(record, Mapping):
        return record
    initial = build_value(record["initial"], values.get(f"{name}.delay"), guard, f"{name}.delay")
    kind, limit = guard.name(record["kind"], name), guard.number(record["max"], f"{name}: max")
    return Delay(initial, kind=kind, trainable=bool(record["trainable"]), max=limit)


def _describe_delays(delays: Delay) -> dict[str, Any]:
    initial = describe_value(delays.initial)
    return {"initial": initial, "kind": delays.kind, "trainable": delays.trainable, "max": delays.max}


def _describe_connectivity(connectivity: Connectivity, name: str) -> dict[str, Any]:
    kind = type(connectivity).__name__
    if type(connectivity) is not KINDS.get(kind):
        raise DescriptionError(f"connection {name!r} is {kind}, which model descriptions do not support yet")
    weight, bounds = describe_value(connectivity.weight), describe_bounds(connectivity.bounds)
    options = {k: list(v) if isinstance(v, tuple) else v for k, v in connectivity.options().items()}
    return {"kind": kind, "weight": weight, "bounds": bounds, **options}


def _argument(value: Any, guard: Guard, where: str) -> Any:
    """A number, two whole numbers, True or False, or None."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, list) and value and isinstance(value[0], list):
        return np.array(value, np.int64)  # a mask
    if isinstance(value, list):
        return tuple(int(guard.number(v, where)) for v in value)
    return guard.number(value, where)


# the network


def describe_network(network: Network) -> dict[str, Any]:
    """Inputs, currents, models (each once), populations with their parameters, connections.

    Raises:
        DescriptionError: a connection of a kind that this format does not have.
    """
    models: dict[int, str] = {}
    described: dict[str, Any] = {}
    for model in (p.model for p in network.populations):
        if id(model) not in models:
            same = sum(m["name"] == model.name for m in described.values())
            models[id(model)] = model.name if not same else f"{model.name} {same + 1}"
            described[models[id(model)]] = describe_model(model)
    return {
        "inputs": [{"name": i.name, "size": i.size, **_shape(i)} for i in network.inputs],
        **({"currents": [_describe_current(c) for c in network.currents]} if network.currents else {}),
        "models": described,
        "populations": [
            {
                "name": p.name,
                "size": p.size,
                **_shape(p),
                "model": models[id(p.model)],
                "params": {n: describe_param(q) for n, q in p.neuron.params.items()},
                "noise": p.noise,
                "dropout": p.dropout,
                "dropped_reset": p.dropped_reset,
            }
            for p in network.populations
        ],
        "connections": [describe_connection(c) for c in network.connections],
    }


def _describe_current(c: Current) -> dict[str, Any]:
    return {"name": c.name, "size": c.size, **_shape(c), "dt": c.dt, "interpolation": c.interpolation}


def build_network(record: Mapping[str, Any], values: Values, guard: Guard) -> Network:
    """The reverse of `describe_network`; `values`: stored parameters by name, where there are any."""
    network = Network()
    places: dict[str, Any] = {}
    for i in record["inputs"]:
        name = guard.name(i["name"], "an input")
        shape = _build_shape(i, guard, name)
        places[name] = network.input(guard.size(i["size"], name), name, shape=shape)
    for c in record.get("currents", ()):
        name = guard.name(c["name"], "a current")
        places[name] = network.current(
            guard.size(c["size"], name), guard.number(c["dt"], f"{name}: dt"), name,
            shape=_build_shape(c, guard, name), interpolation=c["interpolation"],
        )  # fmt: skip
    models = {key: build_model(model, guard) for key, model in record["models"].items()}
    for key, model in models.items():
        guard.known(record["models"][key], describe_model(model), model.name)
    for p in record["populations"]:
        name = guard.name(p["name"], "a population")
        model = models[p["model"]]
        if set(p["params"]) != set(model.params):
            raise DescriptionError(f"{name}: its parameters are not those of {model.name}")
        params = {n: build_param(p["params"][n], values.get(f"{name}.{n}"), guard, f"{name}.{n}") for n in model.params}
        places[name] = network.population(
            Neuron(model, params), guard.size(p["size"], name), name, shape=_build_shape(p, guard, name),
            noise=p["noise"], dropout=p["dropout"], dropped_reset=bool(p["dropped_reset"]),
        )  # fmt: skip
    connections: dict[str, Connection] = {}
    for c in record["connections"]:
        name = guard.name(c["name"], "a connection")
        kind: dict[str, Any] = {"share": connections[c["share"]]} if "share" in c else {
            "connectivity": build_connectivity(c["connectivity"], values, guard, name),
            "trainable": _trainable(c["trainable"]), "sign": c.get("sign"),
        }  # fmt: skip
        connections[name] = network.connect(
            places[c["source"]], places[c["target"]], delay=build_delay(c["delay"], values, guard, name),
            receptor=c["receptor"], name=name, **kind,
        )  # fmt: skip
    return network


def _trainable(record: Any) -> Any:
    return np.array(record, np.int64) if isinstance(record, list) else bool(record)


def _shape(place: Input | Current | Population) -> dict[str, Any]:
    """An image's shape."""
    return {"shape": list(place.shape)} if len(place.shape) > 1 else {}


def _build_shape(record: Mapping[str, Any], guard: Guard, where: str) -> tuple[int, ...] | None:
    sides = record.get("shape")
    return None if sides is None else tuple(guard.size(n, f"{where}: shape") for n in sides)
