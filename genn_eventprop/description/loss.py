"""Losses: readout, time weight, score and outer loss as texts and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import DescriptionError
from ..losses import Function, Loss, TimeWeight, formula
from ..losses.outer import Absent
from ..losses.readout import NAMED_WEIGHTS
from ..modelling import Network
from .safe import Guard, plain


def describe_loss(loss: Loss) -> dict[str, Any]:
    """Everything but a Python function as outer loss, of which the name is kept."""
    weight = loss.weight
    return {
        "population": loss.population.name,
        "readout": loss.readout,
        "weight": {
            "expression": plain(weight.expression),
            "window": None if weight.window is None else list(weight.window),
            "input_tau": weight.input_tau,
            "input_gain": weight.input_gain,
        },
        "score": plain(loss.score),
        "term": plain(loss.term),
        "constants": {k: float(v) for k, v in loss.constants.items()},
        "silent": loss.silent,
        "outer": _describe_outer(loss.outer),
    } | ({"also": list(loss.also)} if loss.also else {})


def build_loss(found: Mapping[str, Any], network: Network, guard: Guard) -> Loss:
    """The reverse of `describe_loss`."""
    population = next((p for p in network.populations if p.name == found["population"]), None)
    if population is None:
        raise DescriptionError(f"the loss reads {found['population']!r}, which is not a population of the network")
    w = found["weight"]
    expression = w["expression"]
    if expression not in NAMED_WEIGHTS:
        expression = guard.expression(expression, "the time weight")
    weight = TimeWeight(
        str(expression), None if w["window"] is None else tuple(w["window"]), w["input_tau"], w["input_gain"]
    )
    return Loss(
        population,
        found["readout"],
        weight=weight,
        score=str(guard.expression(found["score"], "the score of the loss")),
        term=str(guard.expression(found["term"], "the term of the loss")),
        constants={guard.name(k, "the loss"): guard.number(v, k) for k, v in found["constants"].items()},
        silent=found["silent"],
        outer=_build_outer(found["outer"], guard),
        also=tuple(found.get("also", ())),
    )


def _describe_outer(outer: str | Function) -> Any:
    if isinstance(outer, str):
        return outer
    if outer.formula:
        return {"formula": plain(outer.formula), "outputs": outer.outputs, "compares": outer.compares}
    return {"function": outer.label, "compares": outer.compares}


def _build_outer(found: Any, guard: Guard) -> str | Function:
    if isinstance(found, str):
        return found
    if "formula" in found:
        text = guard.expression(found["formula"], "the outer loss")
        return formula(str(text), guard.size(found["outputs"], "the outer loss"), found["compares"])
    return Absent(found["compares"], guard.label(found["function"], "the outer loss"))
