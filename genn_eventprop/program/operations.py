"""What a trial is made of: a kernel for all neurons, and what happens between neurons.

A part of a weight is a function of it: "all" of it, "positive" and "negative" ones alone (else 0), or a power,
"square", "cube" or "fourth". Two parts are no factors of a row (`EVALUATED`): they stand for code that is run for the
weight, with the row among what it reads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sympy as sp

from .nodes import Buffer, Kernel

EVALUATED = ("loss", "change")
"""Parts that are evaluated: "loss", what all synapses through which a spike arrives at one time do to a loss of V then;
"change", lambda . (f(x - w e) - f(x)) of a single synapse, code of `Trial.changes`."""


@dataclass(frozen=True, eq=False)
class EachNeuron:
    """A kernel for all neurons of population number `population`; `emits`: those whose local ``sent`` is set send a
    spike that belongs to `step` + 1."""

    population: int
    kernel: Kernel
    emits: bool = False


@dataclass(frozen=True, eq=False)
class Record:
    """Copies states or adjoints of a population for the host, if it has asked for them; changes nothing."""

    population: int
    kernel: Kernel


@dataclass(frozen=True)
class Deliver:
    """Add the weights of the spikes that arrive at `step` through a connection to ``sums`` of its target:
    (part, buffer)."""

    connection: int
    sums: tuple[tuple[str, Buffer], ...]


@dataclass(frozen=True)
class Feedback:
    """Set ``into`` of every neuron of `population` that spiked at `step` to what its spike caused: the sum over
    `terms` (connection, part, row) of the dot product of its weights with the row of the step of the arrival; of parts
    that are `EVALUATED`, what these say instead of the product."""

    population: int
    into: Buffer
    terms: tuple[tuple[int, str, Buffer], ...]


@dataclass(frozen=True, eq=False)
class Birth:
    """Run `kernel` for every neuron of `population` for which the expression `here` holds at `step`, once ``into`` is
    what a spike there would change L by: the sum over `terms`, as of `Feedback`, and over the outputs that `moving`
    connections (connection, row) lead to the change of their outer losses if each readout changes by the sum of weight
    times row over dL/dr."""

    population: int
    here: sp.Expr
    into: Buffer
    terms: tuple[tuple[int, str, Buffer], ...]
    moving: tuple[tuple[int, Buffer], ...]
    kernel: Kernel


@dataclass(frozen=True)
class Gather:
    """dL/dw += row of the arrival's step, for every spike of the connection's source."""

    connection: int
    rows: Buffer


@dataclass(frozen=True)
class GatherDelays:
    """dL/d(delay) += what the spike caused through that synapse, the sum over `terms` (part, row) of its weight times
    the row of the arrival's step, for every spike of the connection's source. Of a part "loss", a delay of a single
    synapse, or of a target, gets what that synapse alone does, one of a source what all of them do."""

    connection: int
    terms: tuple[tuple[str, Buffer], ...]


@dataclass(frozen=True)
class FeedInput:
    """Set ``into`` of every input spike to dL/d(its time): the sum over `terms` (see `Feedback`), at its arrivals."""

    into: Buffer
    terms: tuple[tuple[int, str, Buffer], ...]


@dataclass(frozen=True)
class Total:
    """The sum of an integer over the neurons of a population."""

    of: Buffer
    into: Buffer


@dataclass(frozen=True, eq=False)
class Once:
    """Code that runs once a trial, such as an outer loss."""

    kernel: Kernel


@dataclass(frozen=True, eq=False)
class EachStep:
    """Code for every step ``row``, in any order; what they add to the local `RUNNING` is added up in `into`."""

    kernel: Kernel
    into: Buffer


Operation = (
    EachNeuron | Record | Deliver | Feedback | Birth | Gather | GatherDelays | FeedInput | Total | Once | EachStep
)


def method_of(o: Operation) -> str:
    """The method of a target, or of `lower.Lowering`, for an operation: "each_neuron" for `EachNeuron`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(o).__name__).lower()
