"""Regularisers of spike counts: what is added to the costate at every own spike of a population.

A number of spikes has no derivative, so this is a surrogate: of the penalty 1/2 strength (z - target)^2 / B, z the
count, it keeps "later and fewer spikes where there are too many" as a jump of the costate right before each of the
neuron's own spikes,

    lambda_V <- lambda_V + strength (z - target) / B,      strength = upper if z > target else lower.

Gradient checks leave it out, since no loss has it as its gradient. The jump goes to the state that the loss would read
(`NeuronModel.readout`, V) if the threshold depends on it, else to the first state that the threshold depends on;
thresholds that are learned feel it only through the spikes that move.

Axis letters: B batch, N neurons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import SettingError, check_finite, check_known
from ..losses import Loss
from ..modelling.expressions import parse
from ..modelling.network import Network, Population
from ..modelling.neuron import NeuronModel
from .published import published_scale
from .record import PushFormulas, SpikePush

MEANS = ("example", "batch")


@dataclass(frozen=True, eq=False)
class SpikeRegulariser(PushFormulas):
    """lambda_V += strength (z - target) / B at own spikes; use `SpikeCount` or `LayerRate`.

    Args:
        population: the population whose spikes are regularised.
        target: count at which there is no push.
        upper, lower: strength above and below the target.
        mean: the count of each sample ("example") or its mean over the batch ("batch"). The mean is known only after
            the whole batch has run forwards, so it costs a second forward run of every training batch.
        published: upper and lower are strengths of the loss-shaping code; `published_scale` converts them.

    Raises:
        SettingError: a population that cannot spike, or invalid numbers.
    """

    population: Population
    target: float
    upper: float
    lower: float
    mean: str = "example"
    published: bool = False

    whole_layer = False
    """Whether z is the count of the whole population instead of the neuron's own."""

    def __post_init__(self) -> None:
        name, model = self.population.name, self.population.model
        where = f"{type(self).__name__} of {name!r}"
        if not model.spiking:
            raise SettingError(f"{where}: {model.name} never spikes, so there is no spike count to regularise")
        for what, value in (("target", self.target), ("upper", self.upper), ("lower", self.lower)):
            check_finite(value, f"{where}: {what}", SettingError)
        check_known(self.mean, MEANS, SettingError, f"{where}: mean={self.mean!r} (")
        if self.published and "tau_mem" not in model.params:
            raise SettingError(f"{where}: published=True scales by tau_mem, which {model.name} does not have")

    def check(self, network: Network, loss: Loss) -> None:
        """Raise `SettingError` if this does not belong to `network`, or `published` does not know `loss`."""
        where = f"{type(self).__name__} of {self.population.name!r}"
        if self.population not in network.populations:
            raise SettingError(f"{where}: not a population of this network")
        if self.published:
            # with any numbers, for its errors: a readout without a factor is to fail here, not in the first batch
            published_scale(loss, 1.0, {"tau_mem": np.ones(1)}, {"tau_mem": np.ones(1)}, where)

    @property
    def of(self) -> str:
        return self.population.name

    @property
    def size(self) -> int:
        return self.population.size

    @property
    def record(self) -> SpikePush:
        """What a plan holds of this regulariser."""
        return SpikePush(
            type(self).__name__, self.of, self.size, self.target, self.upper, self.lower, self.mean, self.published,
            self.whole_layer,
        )  # fmt: skip


@dataclass(frozen=True, eq=False, init=False)
class SpikeCount(SpikeRegulariser):
    """Push every neuron towards `target` spikes per trial: lambda_V += strength (s - target) / B, s the neuron's count.

    Args:
        population: the population of the neurons.
        target: nu, spikes per trial.
        strength: lbd, on both sides unless `upper` or `lower` is given.
        upper, lower: strength above and below the target.
        mean, published: see `SpikeRegulariser`.

    Surrogate: see the module; it is not the gradient of anything.

    Source: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852 (target 14; 5e-10 in the final runs with
    published=True, which is 2e-7 in the scaling of this package with tau_mem 20 ms).

    Example:
        >>> push = SpikeCount(hidden, target=14, strength=5e-10, published=True)
        >>> trainer = Trainer(net, loss, duration=20.0, regularisers=[push])
    """

    def __init__(
        self,
        population: Population,
        target: float = 14.0,
        strength: float = 2e-7,
        *,
        upper: float | None = None,
        lower: float | None = None,
        mean: str = "example",
        published: bool = False,
    ) -> None:
        above, below = (strength if side is None else side for side in (upper, lower))
        super().__init__(population, float(target), float(above), float(below), mean, published)


@dataclass(frozen=True, eq=False, init=False)
class LayerRate(SpikeRegulariser):
    """Push the whole population below `most` spikes per trial: lambda_V += strength max(S - most, 0) / (N B).

    Args:
        population: of N neurons; S is the sum of their counts.
        most: rho_upper, spikes of the whole population in a trial (published 10000).
        strength: of the push.
        mean, published: see `SpikeRegulariser`.

    Surrogate: see the module; it is not the gradient of anything.

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, regularisers=[LayerRate(hidden, most=40.0)])

    Source: the layer term of the loss-shaping code, Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852.
    """

    whole_layer = True

    def __init__(
        self,
        population: Population,
        most: float = 10000.0,
        strength: float = 4e-6,
        *,
        mean: str = "example",
        published: bool = False,
    ) -> None:
        super().__init__(population, float(most), float(strength), 0.0, mean, published)


def pushed_state(model: NeuronModel) -> str:
    """The state of `model` whose costate takes the jump; see the module.

    Example:
        >>> from genn_eventprop.regularisers import pushed_state
        >>> pushed_state(LIF)
        'V'
    """
    symbols = model.symbols()
    event = next(e for e in model.events if e.emits)
    used = parse(event.threshold, symbols, model.name).free_symbols
    if model.readout in model.state and symbols[model.readout] in used:
        return model.readout
    return next(s for s in model.state if symbols[s] in used)
