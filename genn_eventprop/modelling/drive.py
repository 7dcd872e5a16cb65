"""Currents into neurons: the same model with a state that the current sets, and that nothing else moves.

A current that is constant for a while is a state u with du/dt = 0, one that is linear a state with du/dt = v. So a
model with currents is a model like any other: its propagators, Taylor series and adjoint follow from its equations, and
dL/du of a piece of the current is lambda_u at the start of the piece, once lambda_u is set to 0 at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from ..errors import NetworkError
from .neuron import NeuronModel

Drives = tuple[tuple[str, bool], ...]
"""(receptor, or drive of the model; whether the current is linear between its values), each once."""


def drive_state(model: NeuronModel, receptor: str) -> str:
    """The state that stands for the current of a receptor: a drive that the model declares has its own name."""
    if receptor in model.drives:
        return receptor
    name = f"drive_{receptor}"
    while name in model.state or name in model.params or name in model.drives:
        name += "_"
    return name


def slope_state(model: NeuronModel, receptor: str) -> str:
    """The state that is the slope of a linear current."""
    return f"{drive_state(model, receptor)}_slope"


@lru_cache(maxsize=256)
def driven(model: NeuronModel, drives: Drives) -> NeuronModel:
    """The model with a state for each of `drives`; the same object for the same model.

    A drive of the model adds its amount times u to the dynamics outside of modes. A receptor of spikes takes a current
    as a stream of arrivals: each state that a spike of weight w moves by a w has a u added to its derivative, in every
    mode.

    Raises:
        NetworkError: the model has hand-written code, which knows nothing of the current.
    """
    if not drives:
        return model
    if model.snippets:
        raise NetworkError(f"{model.name} has hand-written code, which takes no currents; leave out its snippets")
    state, dynamics = dict(model.state), dict(model.dynamics)
    changed: list[dict[str, str | float | int]] = [dict(m.dynamics) for m in model.modes]
    for receptor, linear in drives:
        u, v = drive_state(model, receptor), slope_state(model, receptor)
        state |= {u: 0.0} | ({v: 0.0} if linear else {})
        amounts = model.drive_amounts.get(receptor) or model.receptors[receptor]
        for right in (dynamics, *([] if receptor in model.drives else changed)):
            for s, amount in amounts.items():
                if s in right:
                    right[s] = f"({right[s]}) + ({amount}) * {u}"
        dynamics |= {u: v if linear else 0} | ({v: 0} if linear else {})
    names = {receptor for receptor, _ in drives}
    new = replace(
        model, state=state, dynamics=dynamics, threshold=None, reset=None, events=model.events,
        modes=[replace(m, dynamics=d) for m, d in zip(model.modes, changed)],
        drives={d: to for d, to in model.drives.items() if d not in names},
    )  # fmt: skip
    object.__setattr__(new, "made_at", model.made_at)  # errors of its equations are those of the user's line
    return new


def of_drives(model: NeuronModel, drives: Drives) -> Mapping[str, tuple[str, str]]:
    """Receptor -> (state of the current, state of its slope or "") of a driven model."""
    return {r: (drive_state(model, r), slope_state(model, r) if linear else "") for r, linear in drives}
