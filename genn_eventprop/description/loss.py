"""Losses: readout, time weight, score and outer loss as texts and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import DescriptionError
from ..losses import Function, Loss, TimeWeight, as_losses, formula
from ..losses.label_steps import LabelSteps, label_steps
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
    } | {key: value for key, value, usual in _optional(loss) if value != usual}


def _optional(loss: Loss) -> list[tuple[str, Any, Any]]:
    """(key, value, default) of what is written only where it differs from the default."""
    return [("also", list(loss.also), []), ("factor", float(loss.factor), 1.0), ("answer", plain(loss.answer), "")]


def describe_losses(loss: Loss | Sequence[Loss]) -> Any:
    """One loss, or a list."""
    records = [describe_loss(each) for each in as_losses(loss)]
    return records[0] if len(records) == 1 else records


def build_losses(record: Any, network: Network, guard: Guard) -> Loss | list[Loss]:
    """The reverse of `describe_losses`."""
    if isinstance(record, list):
        return [build_loss(each, network, guard) for each in record]
    return build_loss(record, network, guard)


def build_loss(record: Mapping[str, Any], network: Network, guard: Guard) -> Loss:
    """The reverse of `describe_loss`."""
    population = next((p for p in network.populations if p.name == record["population"]), None)
    if population is None:
        raise DescriptionError(f"the loss reads {record['population']!r}, which is not a population of the network")
    w = record["weight"]
    expression = w["expression"]
    if expression not in NAMED_WEIGHTS:
        expression = guard.expression(expression, "the time weight")
    weight = TimeWeight(
        str(expression), None if w["window"] is None else tuple(w["window"]), w["input_tau"], w["input_gain"]
    )
    return Loss(
        population,
        record["readout"],
        weight=weight,
        score=str(guard.expression(record["score"], "the score of the loss")),
        term=str(guard.expression(record["term"], "the term of the loss")),
        constants={guard.name(k, "the loss"): guard.number(v, k) for k, v in record["constants"].items()},
        silent=record["silent"],
        outer=_build_outer(record["outer"], population.size, guard),
        also=tuple(record.get("also", ())),
        factor=guard.number(record.get("factor", 1.0), "the factor of the loss"),
        answer=guard.name(record["answer"], "the target of the loss") if record.get("answer") else "",
    )


def _describe_outer(outer: str | Function) -> Any:
    if isinstance(outer, str):
        return outer
    if isinstance(outer, LabelSteps):
        return {"step_labels": list(outer.weights)}
    if outer.formula:
        return {"formula": plain(outer.formula), "outputs": outer.outputs, "compares": outer.compares}
    return {"function": outer.label, "compares": outer.compares}


def _build_outer(record: Any, n_classes: int, guard: Guard) -> str | Function:
    if isinstance(record, str):
        return record
    if "step_labels" in record:
        weights = [guard.number(w, "a class weight") for w in record["step_labels"]]
        return label_steps(n_classes, weights or None)
    if "formula" in record:
        text = guard.expression(record["formula"], "the outer loss")
        return formula(str(text), guard.size(record["outputs"], "the outer loss"), record["compares"])
    return UnavailableLoss(record["compares"], guard.label(record["function"], "the outer loss"))
