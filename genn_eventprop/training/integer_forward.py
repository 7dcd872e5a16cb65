"""Training whose forward pass is computed in integers: an engine's backward pass with the integers' spikes.

In every batch the parameters of now become integers, which run forwards. Their spikes are observed by the engine, whose
parameters are in the meantime the numbers that the integers stand for; the gradient of these goes straight to the
parameters that training keeps, as if nothing had been rounded (Bengio, Leonard, Courville 2013, arXiv 1308.3432).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..engines import Data, Engine, Result, Spikes
from ..engines.contract.data import batch_indices
from ..engines.contract.observed import Observed
from ..engines.contract.wrapper import EngineWrapper
from ..errors import EngineError
from ..integer.compiled import CompiledNetwork
from ..integer.network import IntegerNetwork
from ..integer.profile import Profile
from ..modelling import Network
from .integers import reading, step_counts


class IntegerForward(EngineWrapper):
    """`engine` with a forward pass in the integers of a profile.

    Predictions are those of the integers; loss and readout are those of the rounded numbers with the integers' spikes.
    A neuron that spikes several times in a step (xylo) is observed to spike once.

    Args:
        engine: for spikes on the grid, one that takes observed spikes. network: what `engine` runs. profile: how the
            integers compute.

    Attributes:
        limited: in how many trials a state was cut to its bits, since the beginning.

    Raises:
        EngineError: exact spike times, noise or dropout. NetworkError: what the profile cannot do.
    """

    def __init__(self, engine: Engine, network: Network, profile: Profile) -> None:
        super().__init__(engine)
        if self.plan.spike_times != "grid":
            raise EngineError(f"profile {profile.name!r}: integers compute in steps; use spike_times='grid'")
        if random := [p.name for p in self.plan.populations if p.noise or p.dropout]:
            raise EngineError(
                f"profile {profile.name!r}: population {random[0]!r} has noise or dropout, which a forward pass in "
                "integers has not; set both to 0"
            )
        self.network, self.profile, self.limited = network, profile, 0
        self.reason = f"{engine.reason}; forwards in integers of the profile {profile.name!r}"
        self._compiled = CompiledNetwork(self.integers())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.inner, self.network, self.profile)

    def integers(self) -> IntegerNetwork:
        """The network of now in integers."""
        return reading(self.network, self.plan, self.profile, {n: np.array(v) for n, v in self.parameters.items()})

    def run(
        self, data: Data, samples: Any, *, training: bool = False, record_spikes: bool = False,
        observed: Observed | None = None,
    ) -> Result:  # fmt: skip
        if observed:
            raise EngineError("a forward pass in integers takes no observed spikes")
        samples = batch_indices(data, samples)
        integers = self.integers()
        self._compiled.load(integers)
        trial = self._compiled.run(step_counts(data, samples, self.plan))
        self.limited += int((trial.limited > 0).sum())
        spikes = {p.name: self._spikes(trial.spikes[p.name]) for p in integers.populations if p.spiking}
        kept = {n: np.array(v) for n, v in self.parameters.items()}
        try:
            for name, value in integers.values.items():
                self.parameters[name][...] = value
            result = self.inner.run(data, samples, training=training, record_spikes=record_spikes, observed=spikes)
        finally:
            for name, value in kept.items():
                self.parameters[name][...] = value
        return result if trial.classes is None else replace(result, prediction=trial.classes)

    def _spikes(self, counts: np.ndarray) -> Spikes:
        sample, step, neuron = np.nonzero(counts)
        return Spikes(sample, (step + 1) * self.plan.dt, neuron)
