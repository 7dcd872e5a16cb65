"""Learning-rate schedules: factors of the base learning rate at each update.

Schedules multiply: ``EaseIn() * Exponential(0.95)``. Every schedule can be saved and restored as JSON; those that are
plain functions of the progress have nothing to save.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import CheckpointError, SettingError, whole


@dataclass(frozen=True)
class Progress:
    """Where training stands.

    Args:
        epoch: epochs finished, 0 in the first.
        update: updates made so far, 0 at the first batch.

    Example:
        >>> from genn_eventprop.optimisers import Progress
        >>> Exponential(0.5).factor(Progress(epoch=2, update=100))
        0.25
    """

    epoch: int
    update: int


class Schedule:
    """Base class; a subclass gives `factor` and, if it watches the training, `end_epoch` and its state.

    Example:
        >>> class Linear(Schedule):
        ...     def factor(self, progress):
        ...         return max(1.0 - progress.epoch / 100, 0.0)
        >>> trainer = Trainer(net, loss, duration=20.0, schedule=Linear())
    """

    def factor(self, progress: Progress) -> float:
        """The multiplier of the learning rate for the update at `progress`."""
        raise NotImplementedError

    def factors(self, progress: Progress) -> dict[str, float]:
        """Name pattern -> multiplier of parameters that have another one than `factor`, see
        `ByParameter`; `progress` as for `factor`."""
        return {}

    def patterns(self) -> tuple[str, ...]:
        """The name patterns of `factors`."""
        return ()

    def rises_until(self) -> int:
        """The update until which the factor is eased in, 0 if it is not."""
        return 0

    def end_epoch(self, epoch: int, validation_accuracy: float | None) -> None:
        """Called once after each `epoch` (counted from 0), with `validation_accuracy` in 0..1; most schedules need
        nothing."""

    def fit_into(self, updates: int) -> list[str]:
        """Shorten what would last longer than a training of so many updates; what was done, in words."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs, JSON-able."""
        return {"name": type(self).__name__}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back the `state` that `state_dict` gave."""
        if state.get("name") != type(self).__name__:
            raise CheckpointError(
                f"the checkpoint was written with schedule {state.get('name')}, this run uses {type(self).__name__}"
            )

    def __mul__(self, other: Schedule) -> Product:
        return Product(self, other)


class Product(Schedule):
    """Several schedules at once; their factors multiply.

    Args:
        parts: the schedules.

    Example:
        >>> from genn_eventprop.optimisers import Progress
        >>> Product(EaseIn(), Exponential(0.95)).factor(Progress(epoch=1, update=1000))
        0.95
    """

    def __init__(self, *parts: Schedule) -> None:
        flat = [p.parts if isinstance(p, Product) else (p,) for p in parts]
        self.parts: tuple[Schedule, ...] = tuple(p for group in flat for p in group)

    def factor(self, progress: Progress) -> float:
        return math.prod(part.factor(progress) for part in self.parts)

    def factors(self, progress: Progress) -> dict[str, float]:
        each = [(part.factors(progress), part.factor(progress)) for part in self.parts]
        patterns = dict.fromkeys(pattern for by_pattern, _ in each for pattern in by_pattern)
        return {pattern: math.prod(some.get(pattern, factor) for some, factor in each) for pattern in patterns}

    def patterns(self) -> tuple[str, ...]:
        return tuple(pattern for part in self.parts for pattern in part.patterns())

    def rises_until(self) -> int:
        return max((part.rises_until() for part in self.parts), default=0)

    def end_epoch(self, epoch: int, validation_accuracy: float | None) -> None:
        for part in self.parts:
            part.end_epoch(epoch, validation_accuracy)

    def fit_into(self, updates: int) -> list[str]:
        return [words for part in self.parts for words in part.fit_into(updates)]

    def state_dict(self) -> dict[str, Any]:
        return {"name": "Product", "parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        if len(state["parts"]) != len(self.parts):
            raise CheckpointError(f"the checkpoint has {len(state['parts'])} schedules, this run has {len(self.parts)}")
        for part, saved in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(saved)


class ByParameter(Schedule):
    """One schedule for all parameters, and another for those that match a name pattern; the last pattern counts.

    Args:
        others: the schedule of parameters that match no pattern.
        by_pattern: name pattern -> schedule.

    Example:
        >>> late = ByParameter(Cosine(100), {"*.delay": Exponential(0.99)})
        >>> late.patterns()
        ('*.delay',)
    """

    def __init__(self, others: Schedule, by_pattern: Mapping[str, Schedule]) -> None:
        self.others, self.by_pattern = others, dict(by_pattern)

    def factor(self, progress: Progress) -> float:
        return self.others.factor(progress)

    def factors(self, progress: Progress) -> dict[str, float]:
        return {pattern: schedule.factor(progress) for pattern, schedule in self.by_pattern.items()}

    def patterns(self) -> tuple[str, ...]:
        return tuple(self.by_pattern)

    def rises_until(self) -> int:
        return self.others.rises_until()

    def end_epoch(self, epoch: int, validation_accuracy: float | None) -> None:
        for schedule in (self.others, *self.by_pattern.values()):
            schedule.end_epoch(epoch, validation_accuracy)

    def fit_into(self, updates: int) -> list[str]:
        return [words for schedule in (self.others, *self.by_pattern.values()) for words in schedule.fit_into(updates)]

    def state_dict(self) -> dict[str, Any]:
        states = {pattern: schedule.state_dict() for pattern, schedule in self.by_pattern.items()}
        return {"name": "ByParameter", "others": self.others.state_dict(), "own": states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        if set(state["own"]) != set(self.by_pattern):
            raise CheckpointError(
                f"the checkpoint has own schedules for {', '.join(state['own']) or 'nothing'}, this run for "
                f"{', '.join(self.by_pattern) or 'nothing'}"
            )
        self.others.load_state_dict(state["others"])
        for pattern, schedule in self.by_pattern.items():
            schedule.load_state_dict(state["own"][pattern])


class Constant(Schedule):
    """A constant factor of 1.

    Example:
        >>> from genn_eventprop.optimisers import Constant, Progress
        >>> Constant().factor(Progress(epoch=7, update=100))
        1.0
    """

    def factor(self, progress: Progress) -> float:
        return 1.0


class Exponential(Schedule):
    """gamma^epoch; Wunderlich & Pehle (doi 10.1038/s41598-021-91786-z) use 0.95 per epoch.

    Args:
        gamma: factor per epoch.

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, schedule=Exponential(0.95))
    """

    def __init__(self, gamma: float = 0.95) -> None:
        self.gamma = _checked(gamma, "Exponential: gamma", 0.0, 1.0)

    def factor(self, progress: Progress) -> float:
        return float(self.gamma**progress.epoch)


class Step(Schedule):
    """gamma^floor(epoch / every).

    Args:
        every: epochs between two drops.
        gamma: factor at each.

    Example:
        >>> from genn_eventprop.optimisers import Progress
        >>> Step(10, gamma=0.5).factor(Progress(epoch=20, update=0))
        0.25
    """

    def __init__(self, every: int, gamma: float = 0.1) -> None:
        self.every = whole(every, "Step: every", SettingError)
        self.gamma = _checked(gamma, "Step: gamma", 0.0, 1.0)

    def factor(self, progress: Progress) -> float:
        return float(self.gamma ** (progress.epoch // self.every))


class Cosine(Schedule):
    """From 1 to `final` over `epochs` along half a cosine, then `final`.

    factor = final + (1 - final) (1 + cos(pi epoch / epochs)) / 2.  Source: Loshchilov & Hutter 2017, arXiv 1608.03983.

    Example:
        >>> from genn_eventprop.optimisers import Progress
        >>> Cosine(100, final=0.25).factor(Progress(epoch=100, update=0))
        0.25
    """

    def __init__(self, epochs: int, final: float = 0.0) -> None:
        self.epochs = whole(epochs, "Cosine: epochs", SettingError)
        if not 0.0 <= final <= 1.0:
            raise SettingError(f"Cosine: final must lie in [0, 1], got {final}")
        self.final = final

    def factor(self, progress: Progress) -> float:
        share = min(progress.epoch / self.epochs, 1.0)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * share))


class EaseIn(Schedule):
    """min(1, start growth^update): by default from a thousandth of the learning rate, growing by 5 % per batch.

    In a training that ends before the factor is 1 it grows faster, so that it is 1 after a quarter of the updates.

    Args:
        start: factor of the first update.
        growth: from one update to the next.

    Example:
        >>> from genn_eventprop.optimisers import Progress
        >>> EaseIn().factor(Progress(epoch=0, update=0))
        0.001

    Source: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852.
    """

    def __init__(self, start: float = 1e-3, growth: float = 1.05) -> None:
        self.start = _checked(start, "EaseIn: start", 0.0, 1.0)
        if not (math.isfinite(growth) and growth > 1.0):
            raise SettingError(f"EaseIn: growth must be > 1, got {growth}")
        self.growth = growth

    def fit_into(self, updates: int) -> list[str]:
        if self.rises_until() <= updates:
            return []
        before, share = self.rises_until(), max(1, updates // 4)
        self.growth = self.start ** (-1.0 / share)
        return [f"ease_in would take {before} updates, this training has {updates}: it takes {share}"]

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"growth": self.growth}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.growth = float(state.get("growth", self.growth))

    def rises_until(self) -> int:
        return 0 if self.start == 1.0 else math.ceil(-math.log(self.start) / math.log(self.growth))

    def factor(self, progress: Progress) -> float:
        if progress.update >= self.rises_until():  # growth^update would overflow in a long training
            return 1.0
        return float(min(1.0, self.start * self.growth**progress.update))


class HalveOnPlateau(Schedule):
    """Halve when a fast moving average of validation accuracy is no better than a slow one.

    After each epoch fast = 0.8 fast + 0.2 accuracy and slow = 0.85 slow + 0.15 accuracy (both start at 0, so the
    fast one leads while accuracy rises); if fast <= slow and the last change is at least `wait` epochs ago, the
    factor halves.  Source: Nowotny, Turner, Knight 2025, doi 10.1088/2634-4386/ada852.

    Args:
        fast, slow: decay of the two averages per epoch.
        wait: epochs between two changes, at least.
        gamma: the factor of a change.

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, schedule=HalveOnPlateau(wait=20))
    """

    def __init__(self, fast: float = 0.8, slow: float = 0.85, wait: int = 50, gamma: float = 0.5) -> None:
        self.fast = _checked(fast, "HalveOnPlateau: fast", 0.0, 1.0)
        self.slow = _checked(slow, "HalveOnPlateau: slow", 0.0, 1.0)
        if not fast < slow:
            raise SettingError(f"HalveOnPlateau: fast ({fast}) must be smaller than slow ({slow})")
        self.wait = whole(wait, "HalveOnPlateau: wait", SettingError)
        self.gamma = _checked(gamma, "HalveOnPlateau: gamma", 0.0, 1.0)
        self.fast_average = self.slow_average = 0.0
        self.last_change, self.current = 0, 1.0

    def factor(self, progress: Progress) -> float:
        return self.current

    def end_epoch(self, epoch: int, validation_accuracy: float | None) -> None:
        if validation_accuracy is None:
            raise SettingError("HalveOnPlateau needs a validation set: give one to fit, or use another schedule")
        self.fast_average = self.fast * self.fast_average + (1.0 - self.fast) * validation_accuracy
        self.slow_average = self.slow * self.slow_average + (1.0 - self.slow) * validation_accuracy
        if self.fast_average <= self.slow_average and epoch - self.last_change >= self.wait:
            self.current *= self.gamma
            self.last_change = epoch

    def state_dict(self) -> dict[str, Any]:
        values = (self.fast_average, self.slow_average, self.last_change, self.current)
        return {"name": "HalveOnPlateau", "values": list(values)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.fast_average, self.slow_average, self.last_change, self.current = state["values"]


def _checked(value: float, where: str, low: float, high: float) -> float:
    if not low < value <= high:
        raise SettingError(f"{where} must lie in ({low:g}, {high:g}], got {value}")
    return float(value)
