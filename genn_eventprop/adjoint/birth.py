"""Spikes that are about to be born: the boundary term of the expected loss under threshold noise.

Let every threshold be g(x) - s xi with xi normal and s = sigma times the distance of the neuron at rest from its
threshold, -g(x(0)). A local maximum g_m < 0 of g is a spike that did not happen; the probability that it comes to be if
g_m rises by dg is h(g_m) dg, with the hazard

    h(g) = phi(u) / (s Phi(u)),   u = -g / s,   phi, Phi the normal density and distribution.

The derivation, and what is done with it, is in docs/spike_birth.md.
"""

from __future__ import annotations

import math

import numpy as np
import sympy as sp

from .derive import Derived

FARTHEST = 4.0
"""Maxima farther below the threshold, in s, are none: beyond lies 3e-5 of the noise."""

ROUNDING = 16.0
"""A slope of g that changes the terms of g by less than this many roundings, in a step, is 0: it goes on as before."""


def rest_distance(d: Derived) -> sp.Expr:
    """-g(x(0)), in parameters: the unit of sigma."""
    return -d.events[0].g.subs(dict(zip(d.x, d.x0)), simultaneous=True)


def rest_terms(d: Derived) -> sp.Expr:
    """What g(x(0)) is the sum of, without signs, in parameters: how large its roundings are."""
    return sp.Add(*(sp.Abs(term) for term in sp.Add.make_args(sp.expand(rest_distance(d)))))


def hazard(g: np.ndarray, s: np.ndarray) -> np.ndarray:
    """h(g), 0 beyond `FARTHEST`."""
    u = -np.asarray(g, float) / s
    near = u < FARTHEST
    u = np.where(near, u, 0.0)
    tail = np.vectorize(math.erfc, otypes=[float])(-u / math.sqrt(2))
    return np.where(near, math.sqrt(2 / math.pi) * np.exp(-0.5 * u * u) / (s * tail), 0.0)


def why_no_births(d: Derived) -> str:
    """Why the maxima of a spiking model's threshold function are no candidates; empty if they are."""
    if len(d.events) != 1:
        return "has several events"
    event = d.events[0]
    if event.dg_dx.has(*d.x) or event.dg_dp.has(*d.x):
        return "has a threshold that is not linear in the state, or a parameter of which multiplies a state"
    if any((event.dg_dx.T * e)[0] != 0 for e in d.receptors.values()):
        return "has receptors whose arrivals move its threshold at once"
    return ""
