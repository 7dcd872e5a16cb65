"""V of a neuron that is linear between its spikes, when all spikes are known: a sum over what acts on it.

Between events x' = A x + b, at an own spike x+ = R x- + r, and an arrival adds w e to x. With the spikes given, the
margin m = h . x - theta (the threshold is crossed where m = 0) is

    m(t) = own(t) + bias psi(t) + sum_j w_j phi_j(t; d_j),

linear in bias and weights for given delays d. Without the resets, phi_j is the response u to spikes that arrive d_j
late, u(t - d_j). A reset adds to it a difference y that runs freely until the next one:

    y+ = (R - 1) u + R y-,    y' = A y,    phi = h . (u + y).

So phi and dphi/dd are exact at any time. All is computed in the basis of the eigenvectors of A.

Axis letters: S states, M own spikes, J sources, T times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import sympy as sp

from ..adjoint.derive import derive
from ..adjoint.propagator import numeric
from ..errors import SettingError
from ..modelling import Neuron, NeuronModel
from ..modelling.expressions import parse

APART = 1e-6
"""By which part time constants are moved that are equal: they share an eigenvector, and a basis needs two."""


@dataclass(frozen=True, eq=False)
class LinearNeuron:
    """A model in the basis of its eigenvectors; complex numbers where it oscillates.

    Attributes:
        model: it. rates: (S,) eigenvalues of A, per ms. margin: (S,) h. reset: (S, S) R. jump: (S,) r.
        rest: (S,) where x stays without input. weight, drive: (S,) what a unit weight adds to x, and where x stays with
        a unit current, less rest. threshold: theta.
    """

    model: NeuronModel
    rates: np.ndarray
    margin: np.ndarray
    reset: np.ndarray
    jump: np.ndarray
    rest: np.ndarray
    weight: np.ndarray
    drive: np.ndarray
    threshold: float

    @cached_property
    def forgets(self) -> bool:
        """Whether nothing of an input from before a reset outlasts it in the reset states: R A^k (R - 1) = 0."""
        change = self.reset - np.eye(len(self.rates))
        kept = [self.reset * self.rates**k @ change for k in range(len(self.rates))]
        return all(np.abs(matrix).max() < 1e-9 for matrix in kept)

    @classmethod
    def of(cls, neuron: NeuronModel | Neuron) -> LinearNeuron:
        """Of a neuron of the zoo or of one's own.

        Raises:
            SettingError: it is not linear, has modes or several events, an input that moves the threshold's distance at
                once, no drive, or a state that does not decay.
        """
        model = neuron if isinstance(neuron, NeuronModel) else neuron.model
        changed = {} if isinstance(neuron, NeuronModel) else neuron.params
        d = derive(model)
        values = [float(np.ravel((changed[n] if n in changed else model.params[n]).value)[0]) for n in d.params]
        event = d.events[0] if len(d.events) == 1 else None
        why = ""
        if event is None or not event.emits or len(d.modes) > 1:
            why = "has modes (a refractory period, say) or not one kind of spike"
        elif not d.linear or event.dh_dx.has(*d.x) or event.dg_dx.has(*d.x):
            why = "is not linear between its spikes, or its reset is not"
        elif len(model.drives) != 1 or len(d.receptors) != 1:
            why = "has not one drive for a constant current and one kind of input"
        elif any(e.has(*d.x) for e in next(iter(d.receptors.values()))):
            why = "has inputs whose effect depends on its state"
        if why:
            raise SettingError(f"{model.name} {why}; infer takes LIF, LIFRelativeReset, ALIF, or a neuron like these")
        assert event is not None
        (receptor,) = d.receptors.values()
        (drive,) = model.drive_amounts.values()
        zero, symbols = dict.fromkeys(d.x, 0), model.symbols()
        forced = [parse(drive.get(n, "0"), symbols, model.name) for n in d.states]

        def number(entries: Sequence[sp.Expr] | sp.Matrix) -> np.ndarray:
            return np.asarray(numeric(entries, d.p)(*map(np.array, values)), float)

        A, b = number(d.A), number(d.b)[:, 0]
        rates, basis = np.linalg.eig(A)
        if np.linalg.cond(basis) > 1 / APART:
            rates, basis = np.linalg.eig(A * (1 + APART * np.diag(np.arange(len(A)))))
        if not (rates.real < 0).all():
            raise SettingError(f"{model.name} has a state that does not decay by itself; infer needs one that forgets")
        back = np.linalg.inv(basis)
        h, e = number(event.dg_dx).reshape(-1), number(receptor)[:, 0]
        if abs(h @ e) > 1e-12:
            raise SettingError(
                f"{model.name}: an arrival moves V at once, without a derivative by the delay; take a synaptic current"
            )
        return cls(
            model, rates, h @ basis, back @ number(event.dh_dx) @ basis, back @ number(event.h.subs(zero))[:, 0],
            back @ -np.linalg.solve(A, b), back @ e, back @ -np.linalg.solve(A, number(forced).reshape(-1)),
            -float(number([event.g.subs(zero)])[0, 0]),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Source:
    """Spikes of a neuron and the response to them without resets: times (K,), states (K, S) right after each."""

    times: np.ndarray
    states: np.ndarray

    @classmethod
    def of(cls, neuron: LinearNeuron, times: np.ndarray) -> Source:
        states = np.empty((len(times), len(neuron.rates)), neuron.rates.dtype)
        decay = np.exp(np.diff(times, prepend=times[:1])[:, None] * neuron.rates)
        y = np.zeros(len(neuron.rates), neuron.rates.dtype)
        for k in range(len(times)):
            states[k] = y = y * decay[k] + neuron.weight
        return cls(times, states)

    def at(self, neuron: LinearNeuron, t: np.ndarray) -> Iterator[np.ndarray]:
        """(T,) each state of the response at times in ascending order."""
        first = np.searchsorted(t, self.times, "left")
        last = np.repeat(np.arange(len(self.times) + 1), np.diff(first, prepend=0, append=len(t))) - 1
        silent = first[0] if len(first) else len(t)
        since = t[silent:] - self.times[last[silent:]]
        for rate, states in zip(neuron.rates, self.states.T):
            found = np.zeros(len(t), states.dtype)
            np.multiply(states[last[silent:]], np.exp(rate * since), out=found[silent:])
            yield found


class Target:
    """What acts on one neuron, at given times, its own spikes being given.

    Args:
        own: (M,) its spikes in ms. times: (T,) in ascending order, all after the first of them; one that is the time of
            an own spike belongs to the interval that this ends.
    """

    def __init__(self, neuron: LinearNeuron, own: np.ndarray, times: np.ndarray) -> None:
        self.neuron, self.own, self.times = neuron, own, times
        self.last = np.searchsorted(own, times, "left") - 1
        self.since = np.exp(neuron.rates[:, None] * (times - own[self.last])) * neuron.margin[:, None]
        self.between = np.exp(np.diff(own, prepend=own[:1])[:, None] * neuron.rates)

    def _after_resets(self, u: np.ndarray, jump: np.ndarray | None = None) -> np.ndarray:
        """(M, J, S) y right after own spikes, for u (M, J, S) there."""
        R = self.neuron.reset
        y = u @ (R - np.eye(len(R))).T
        if jump is not None:
            y += jump
        for m in range(1, 1 if self.neuron.forgets and jump is None else len(self.own)):
            y[m] += (y[m - 1] * self.between[m]) @ R.T
        return y

    def _later(self, y: np.ndarray) -> np.ndarray:
        """(T,) h . y for y (M, S) right after own spikes."""
        found = np.zeros(len(self.times), y.dtype)
        for k in np.flatnonzero(np.abs(y).max(axis=0, initial=0.0)):
            found += self.since[k] * y[self.last, k]
        return found

    def constant(self) -> np.ndarray:
        """(2, T): own(t) - theta, and psi(t) of a unit current."""
        n, rows = self.neuron, []
        for state, jump in ((n.rest, n.jump), (n.drive, None)):
            y = self._after_resets(np.tile(state, (len(self.own), 1, 1)), jump)
            rows.append(state @ n.margin + self._later(y[:, 0]))
        return np.stack([rows[0] - n.threshold, rows[1]]).real

    def resets(self, sources: Sequence[Source], delays: np.ndarray) -> np.ndarray:
        """(M, 2 J, S) what own spikes make of the inputs from these sources with delays (J,), and of their derivatives
        by the delay; it is the same at all times."""
        n, J = self.neuron, len(sources)
        u = np.empty((len(self.own), 2 * J, len(n.rates)), n.rates.dtype)
        for j, (source, delay) in enumerate(zip(sources, delays)):
            for k, state in enumerate(source.at(n, self.own - delay)):
                u[:, j, k], u[:, J + j, k] = state, -n.rates[k] * state
        return self._after_resets(u)

    def inputs(
        self, sources: Sequence[Source], delays: np.ndarray, resets: np.ndarray | None = None, slopes: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """phi (J, T) of unit weights from these sources with delays (J,), and dphi/dd (J, T), per ms.

        Args:
            resets: what `resets` of these returns. slopes: False leaves dphi/dd empty.
        """
        n, J = self.neuron, len(sources)
        y = self.resets(sources, delays) if resets is None else resets
        found = np.empty((2, J, len(self.times)))
        for j, (source, delay) in enumerate(zip(sources, delays)):
            phi = self._later(y[:, j])
            slope = self._later(y[:, J + j]) if slopes else phi
            for k, state in enumerate(source.at(n, self.times - delay)):
                state *= n.margin[k]
                phi += state
                if slopes:
                    state *= n.rates[k]
                    slope -= state
            found[0, j] = phi.real
            if slopes:
                found[1, j] = slope.real
        return found[0], found[1]
