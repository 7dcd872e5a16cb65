"""All randomness of a run comes from one seed through named child streams; no module keeps a generator of its own.

`Streams.at` is a pure function of seed, name and keys (the order of samples in epoch 7 needs no history);
`Streams.named` keeps one generator a name, whose state goes into checkpoints.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import SettingError, whole


class Streams:
    """Named random streams of one seed.

    Args:
        seed: an integer >= 0.

    Example:
        >>> streams = Streams(seed=1)
        >>> order = streams.at("shuffle", 7).permutation(5000)   # the same in every run with seed 1
        >>> noise = streams.named("augmentation").normal(size=3)  # continues where it stopped
    """

    def __init__(self, seed: int) -> None:
        self.seed = whole(seed, "seed", SettingError, 0)
        self._named: dict[str, np.random.Generator] = {}

    def at(self, name: str, *keys: int) -> np.random.Generator:
        """A fresh generator for `name` and `keys`, integers such as the epoch."""
        # crc32 and not hash(): Python's hash of a string differs from process to process
        words = [self.seed, zlib.crc32(name.encode()), len(keys), *keys]
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))

    def named(self, name: str) -> np.random.Generator:
        """The generator of `name`, made at first use and then continued."""
        if name not in self._named:
            self._named[name] = self.at(name)
        return self._named[name]

    def state_dict(self) -> dict[str, Any]:
        """JSON-able: the seed and the state of every named generator used so far."""
        return {"seed": self.seed, "named": {name: g.bit_generator.state for name, g in self._named.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the `state` that `state_dict` gave."""
        self.seed = int(state["seed"])
        self._named = {}
        for name, saved in state["named"].items():
            self.named(name).bit_generator.state = saved
