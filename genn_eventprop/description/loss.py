"""Losses: readout, time weight, score and outer loss as texts and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import DescriptionError
from ..losses import Function, Loss, TimeWeight, as_losses, formula
from ..losses.outer import UnavailableLoss
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
    } | {key: value for key, value, usual in _rarely(loss) if value != usual}


def _rarely(loss: Loss) -> list[tuple[str, Any, Any]]:
    """(key, value, what it is when it is not written)."""
    return [("also", list(loss.also), []), ("factor", float(loss.factor), 1.0), ("answer", plain(loss.answer), "")]


def describe_losses(loss: Loss | Sequence[Loss]) -> Any:
    """One loss, or a list."""
    found = [describe_loss(each) for each in as_losses(loss)]
    return found[0] if len(found) == 1 else found


def build_losses(found: Any, network: Network, guard: Guard) -> Loss | list[Loss]:
    """The reverse of `describe_losses`."""
    if isinstance(found, list):
        return [build_loss(each, network, guard) for each in found]
    return build_loss(found, network, guard)


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
        factor=guard.number(found.get("factor", 1.0), "the factor of the loss"),
        answer=guard.name(found["answer"], "the target of the loss") if found.get("answer") else "",
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
    return UnavailableLoss(found["compares"], guard.label(found["function"], "the outer loss"))
