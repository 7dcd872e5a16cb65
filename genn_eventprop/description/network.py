"""Neuron models, populations and connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import DescriptionError
from ..modelling.network import Connection, Input, Network, Population
from ..modelling.neuron import Event, Mode, Neuron, NeuronModel
from .connections import build_connectivity, build_delay, describe_connection
from .parameters import build_param, describe_param
from .safe import Guard, plain

Values = Mapping[str, np.ndarray]


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
        "receptors": {r: {s: plain(v) for s, v in to.items()} for r, to in model.receptors.items()},
        "readout": model.readout,
        "scheme": model.scheme,
        "snippets": dict(model.snippets),
    }


def build_model(found: Mapping[str, Any], guard: Guard) -> NeuronModel:
    """The reverse of `describe_model`."""
    where = guard.title(found["name"], "the name of a model")

    def texts(part: Mapping[str, Any], what: str) -> dict[str, Any]:
        return {guard.name(s, where): guard.expression(f, f"{where}: {what} {s}") for s, f in part.items()}

    return NeuronModel(
        name=where,
        state=texts(found["state"], "initial value of"),
        params={guard.name(n, where): build_param(p, None, guard, f"{where}: {n}") for n, p in found["params"].items()},
        dynamics=texts(found["dynamics"], "dynamics of"),
        events=[
            Event(
                guard.title(e["name"], f"{where}: an event"),
                guard.expression(e["threshold"], f"{where}: threshold of event {e['name']}"),
                texts(e["reset"], "reset of"),
                bool(e["emits"]),
                tuple(e["modes"]),
                e["next_mode"],
            )
            for e in found["events"]
        ],
        modes=[
            Mode(
                guard.title(m["name"], f"{where}: a mode"),
                texts(m["dynamics"], f"mode {m['name']},"),
                m["lasts"],
                m["then"],
            )
            for m in found["modes"]
        ],
        input={guard.name(r, where): texts(to, f"input {r}, amount for") for r, to in found["receptors"].items()}
        or None,
        readout=found["readout"],
        scheme=found["scheme"],
        snippets=guard.snippets(found["snippets"], where),
    )


def describe_network(network: Network) -> dict[str, Any]:
    """Inputs, models (each once), populations with their own parameters, connections.

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


def build_network(found: Mapping[str, Any], values: Values, guard: Guard) -> Network:
    """The reverse of `describe_network`; `values`: stored parameters by name, where there are any."""
    network = Network()
    places: dict[str, Any] = {}
    for i in found["inputs"]:
        name = guard.name(i["name"], "an input")
        shape = _build_shape(i, guard, name)
        places[name] = network.input(guard.size(i["size"], name), name, shape=shape)
    models = {key: build_model(model, guard) for key, model in found["models"].items()}
    for p in found["populations"]:
        name = guard.name(p["name"], "a population")
        model = models[p["model"]]
        if set(p["params"]) != set(model.params):
            raise DescriptionError(f"{name}: its parameters are not those of {model.name}")
        own = {n: build_param(p["params"][n], values.get(f"{name}.{n}"), guard, f"{name}.{n}") for n in model.params}
        places[name] = network.population(
            Neuron(model, own), guard.size(p["size"], name), name, shape=_build_shape(p, guard, name),
            noise=p["noise"], dropout=p["dropout"], dropped_reset=bool(p["dropped_reset"]),
        )  # fmt: skip
    made: dict[str, Connection] = {}
    for c in found["connections"]:
        name = guard.name(c["name"], "a connection")
        kind: dict[str, Any] = {"share": made[c["share"]]} if "share" in c else {
            "connectivity": build_connectivity(c["connectivity"], values, guard, name),
            "trainable": _trainable(c["trainable"]), "sign": c.get("sign"),
        }  # fmt: skip
        made[name] = network.connect(
            places[c["source"]], places[c["target"]], delay=build_delay(c["delay"], values, guard, name),
            receptor=c["receptor"], name=name, **kind,
        )  # fmt: skip
    return network


def _trainable(found: Any) -> Any:
    return np.array(found, np.int64) if isinstance(found, list) else bool(found)


def _shape(place: Input | Population) -> dict[str, Any]:
    """An image's shape."""
    return {"shape": list(place.shape)} if len(place.shape) > 1 else {}


def _build_shape(found: Mapping[str, Any], guard: Guard, where: str) -> tuple[int, ...] | None:
    sides = found.get("shape")
    return None if sides is None else tuple(guard.size(n, f"{where}: shape") for n in sides)
