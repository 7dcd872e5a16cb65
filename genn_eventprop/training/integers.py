"""A plan's network and data in integers: what `deploy` and training need of `integer`."""

from __future__ import annotations

import numpy as np

from ..engines import Data
from ..errors import NetworkError
from ..integer.network import IntegerNetwork
from ..integer.profile import Profile
from ..modelling import Network
from ..plan import Plan


def reading(network: Network, plan: Plan, profile: Profile, values: dict[str, np.ndarray]) -> IntegerNetwork:
    """The integer network of a plan's network, with the readout of the plan's loss.

    Raises:
        NetworkError: what the profile cannot do, or a loss that reads what integers do not have.
    """
    loss, weights = plan.loss, None
    kind = "integral" if loss.readout == "voltage" else loss.readout
    if kind == "integral":
        if loss.weight.input_tau is not None:
            raise NetworkError(
                f"the readout of {plan.output.name!r} is weighted with the input's activity; integers cannot"
            )
        if loss.weight.expression != "constant" or loss.weight.window is not None:
            weights = loss.weight(plan.dt * np.arange(1, plan.n_steps + 1), plan.duration)
    return network.quantise(profile, values, dt=plan.dt).reading(plan.output.name, kind, plan.n_steps, weights)


def step_counts(data: Data, samples: np.ndarray, plan: Plan) -> np.ndarray:
    """(B, T, M) uint8 input spikes of every channel in every step.

    Raises:
        NetworkError: currents, or more than 255 spikes of a channel in a step.
    """
    if data.currents:
        raise NetworkError("integer networks take spikes, not currents")
    lengths = data.offsets[samples + 1] - data.offsets[samples]
    sample = np.repeat(np.arange(len(samples)), lengths)
    at = np.arange(len(sample)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + data.offsets[samples][sample]
    flat = (sample * plan.n_steps + data.steps[at]) * plan.input.size + data.channels[at]
    counts = np.bincount(flat, minlength=len(samples) * plan.n_steps * plan.input.size)
    if counts.max(initial=0) > 255:
        raise NetworkError(f"{counts.max()} spikes of a channel in a step of {plan.dt:g} ms; use a smaller dt")
    return counts.astype(np.uint8).reshape(len(samples), plan.n_steps, plan.input.size)
