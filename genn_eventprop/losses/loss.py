"""`Loss`: readout x time weight x outer loss, written once and used by every engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from ..errors import LossError, check_finite, check_known, is_number, shown, suggest
from ..modelling.names import usable
from ..modelling.network import Population
from .kinds import READOUTS
from .outer import NAMED, Function
from .readout import TimeWeight
from .record import LossFormulas, LossRecord
from .sums import SUMS


@dataclass(frozen=True, eq=False)
class Loss(LossFormulas):
    """A readout r_c of every output c, and an outer loss of the readouts, averaged over the batch.

    Readouts:
        "integral" r = 1/T int w(t) V dt. "end" r = V(T). "max" r = max_t V. "first_spike" r = time of the first
        spike in ms. "count" r = number of spikes, with a surrogate gradient: at each own spike, and for a silent
        output at T, the costate lambda_V gets dL/dr. "voltage": the outer loss l is applied to V(t) at all times,
        L = 1/T int w(t) l(V(t)) dt, and r is the integral. "spike_times": every spike is compared with its own target.

    Outer losses:
        "cross_entropy" L = -log softmax_c(score(r_c))_y + term(r_y), y the label. "squared_error"
        L = 1/2 sum_c (r_c - y_c)^2, y the targets of the data set, nan for none. One of `sums`. Or a `Function` of the
        readouts.

    Args:
        population: the output population, one neuron per class.
        readout: what is read of every output, see above.
        outer: the outer loss, see above.
        weight: w(t) of an integral.
        score: expression in r, T and the constants; larger means more likely. The prediction is the output with the
            largest score, or -1 if several have it, or if the readout needs spikes and none occurs.
        term: extra loss of the correct class, an expression like `score`.
        constants: name -> number used in score and term; changing them does not need a compilation.
        silent: how losses of spike times treat a missing spike. "exclude": it is left out, and if it belongs to the
            correct class of a cross-entropy, the sample contributes nothing (Wunderlich & Pehle 2021). "end": it
            counts as r = T, and lambda_V gets a push of -tau_mem dl/dr(T) / B at T, where l is the term of the correct
            class or the squared error; a heuristic, not a gradient (Nowotny, Turner, Knight 2025).
        also: further readouts of the population in the same pass, for losses in Python (`engines.contract.split`);
            "trace" is V at every time step.
        factor: > 0, weight of the loss in a sum of several; ``0.2 * loss`` sets it.
        answer: name of the target of the data set with which to compare (``Events(targets={"speaker": ...})``), see
            `against`; "": the labels, or the targets of a data set with only one kind of them.

    Example:
        >>> Loss(output, "integral", weight="t / T", score="r / scale", constants={"scale": 0.2}).n_classes
        2

    Several losses are a list, ``loss=[0.8 * A(output), 0.2 * B(hidden)]``, one per population; the first one determines
    predictions.

    Raises:
        LossError: the population does not have that readout, an expression is wrong, or the parts do not fit together.
    """

    population: Population
    readout: str
    weight: TimeWeight = field(default_factory=TimeWeight)  # or its expression
    score: str = "r"
    term: str = "0"
    constants: Mapping[str, float] = field(default_factory=dict)
    silent: str = "exclude"
    outer: str | Function = "cross_entropy"
    also: tuple[str, ...] = ()
    factor: float = 1.0
    answer: str = ""

    __array_ufunc__ = None  # NumPy's numbers leave products to `__rmul__`

    def __mul__(self, factor: float) -> Loss:
        if not is_number(factor):
            return NotImplemented
        return replace(self, factor=self.factor * float(factor))

    __rmul__ = __mul__

    def __add__(self, other: object) -> Loss:
        raise LossError("several losses are a list: loss=[0.8 * a, 0.2 * b] instead of 0.8 * a + 0.2 * b")

    __radd__ = __add__

    def against(self, answer: str) -> Loss:
        """The loss that compares with the target called `answer`: classes (S,) or numbers (S, ...).

        Example:
            >>> IntegratedVoltageCrossEntropy(output).against("speaker").answer
            'speaker'
        """
        return replace(self, answer=answer)

    def __post_init__(self) -> None:
        if not isinstance(self.population, Population):
            raise LossError(
                f"a loss reads a population, got {shown(self.population)}; give the object that net.population(...) "
                "returned for the outputs"
            )
        check_finite(self.factor, "the factor of a loss", LossError, above=True)
        if not isinstance(self.answer, str):
            raise LossError(f"the target of a loss is given by its name, got {self.answer!r}")
        if isinstance(self.weight, str):
            object.__setattr__(self, "weight", TimeWeight(self.weight))
        kinds = [name for name, kind in READOUTS.items() if kind.by_itself]
        check_known(self.readout, kinds, LossError, f"unknown readout {self.readout!r} (")
        if not isinstance(self.outer, Function) and self.outer not in NAMED:
            raise LossError(f"unknown outer loss {self.outer!r} ({suggest(str(self.outer), NAMED)}), or a Function")
        if self.outer in SUMS:
            object.__setattr__(self, "constants", {**SUMS[self.outer].constants, **self.constants})
        self._check_population(self.readout)
        self._check_parts()
        self._check_also()
        for key, value in self.constants.items():
            if key == "r" or not usable(key, (), (), ()):
                raise LossError(
                    f"loss constant {key!r}: the name is reserved in formulas, or not allowed in them; use another name"
                )
            if not np.isfinite(value):
                raise LossError(f"loss constant {key} must be finite, got {value}")
        _ = self.expressions

    def _check_also(self) -> None:
        kinds = [name for name, kind in READOUTS.items() if kind.beside]
        for i, readout in enumerate(self.also):
            check_known(readout, kinds, LossError, f"unknown readout {readout!r} in also (")
            if readout in (self.readout, *self.also[:i]):
                raise LossError(f"readout {readout!r} appears twice in a loss")
            self._check_population(readout)
        if self.also and READOUTS[self.readout].in_trial:
            raise LossError(
                f"the outer loss of {self.readout!r} is part of the trial; nothing else can be read with it"
            )

    def _check_population(self, readout: str) -> None:
        name, model = self.population.name, self.population.model
        kind = READOUTS[readout]
        if kind.spikes and not model.spiking:
            raise LossError(
                f"a {kind.spikes} loss needs spikes, but {name!r} is made of {model.name}, which never spikes: use a "
                "spiking model such as LIF() (--output LIF)"
            )
        if readout == "max" and model.spiking:
            raise LossError(
                f"a maximum-voltage loss needs an output that cannot spike; {name!r} is made of {model.name}: use LI() "
                "(--output LI)"
            )
        if kind.reads_state and model.readout not in model.state:
            raise LossError(f"{name!r}: {model.name} has no state {model.readout!r} to read")
        if self.silent not in ("exclude", "end"):
            raise LossError(f"silent={self.silent!r}: choose 'exclude' or 'end'")
        if self.silent == "end" and "tau_mem" not in model.params:
            raise LossError(f"silent='end' pushes V by tau_mem, which {model.name} does not have; use silent='exclude'")

    def _check_parts(self) -> None:
        if self.readout == "spike_times" and self.outer != "squared_error":
            raise LossError("readout 'spike_times' compares with target times; use outer='squared_error'")
        if self.readout == "voltage" and self.host is not None:
            raise LossError(
                f"{self.outer if isinstance(self.outer, str) else 'a Function'} is evaluated once "
                "per trial, but the outer "
                "loss of V(t) at every time; "
                "use 'cross_entropy' or 'squared_error', or the readout 'integral'"
            )
        if self.silent == "end" and self.outer in SUMS:
            raise LossError(f"outer loss {self.outer!r} has no push on silent outputs; use silent='exclude'")
        if self.silent == "end" and self.readout not in ("first_spike", "spike_times"):
            raise LossError(f"silent='end' is for losses of spike times, not for readout {self.readout!r}")
        if self.weight != TimeWeight() and not self.integrates:
            raise LossError(f"a time weight needs an integral, but the readout is {self.readout!r}")

    @property
    def output(self) -> str:
        return self.population.name

    @property
    def n_classes(self) -> int:
        return self.population.size

    @property
    def record(self) -> LossRecord:
        """What a plan holds of this loss."""
        names = [f.name for f in fields(self) if f.name != "population"]
        return LossRecord(self.output, self.n_classes, **{n: getattr(self, n) for n in names})


def as_losses(loss: Loss | Sequence[Loss]) -> tuple[Loss, ...]:
    """One loss, or a list of several, the main one first.

    Args:
        loss: a `Loss`, or a list of them.

    Example:
        >>> [part.factor for part in as_losses([loss, 0.2 * EndVoltageCrossEntropy(hidden)])]
        [1.0, 0.2]

    Raises:
        LossError: something else, two of one population, or losses that cannot be added.
    """
    losses = (loss,) if isinstance(loss, Loss) else tuple(loss) if isinstance(loss, (list, tuple)) else ()
    wrong = next((each for each in losses if not isinstance(each, Loss)), None)
    if not losses or wrong is not None:
        other = loss if wrong is None else wrong
        raise LossError(
            f"expected a loss from genn_eventprop.losses, or a list of them, got {shown(other)}; "
            + (
                f"call it with the output population: {other.__name__}(output)"
                if callable(other) and hasattr(other, "__name__")
                else "make it with the output population, as MaxVoltageCrossEntropy(output); penalties on spikes or "
                "parameters go into regularisers=[...]"
            )
        )
    names = [each.output for each in losses]
    for each in losses if len(losses) > 1 else ():
        if names.count(each.output) > 1:
            raise LossError(
                f"two losses read {each.output!r}; combine them in one outer loss, as a population has only one"
            )
        if each.also:
            raise LossError("also= is for a single loss")
    if len(losses) > 1 and any(isinstance(each.outer, Function) for each in losses):
        moving = next((each for each in losses if READOUTS[each.readout].in_trial), None)
        if moving is not None:
            raise LossError(
                f"the loss of {moving.output!r} is taken over the whole trial and cannot be combined with an outer "
                "loss in Python; use a named outer loss instead"
            )
    return losses
