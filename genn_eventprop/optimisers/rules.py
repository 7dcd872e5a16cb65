"""The optimisers themselves, each a text of a few lines with its source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import sqrt
from typing import Any, ClassVar

from ..errors import SettingError, suggest
from .base import Optimiser

_ADAM = """\
m = beta1 * m + (1 - beta1) * g
v = beta2 * v + (1 - beta2) * g * g
x = x - step_size * m / (sqrt(v) + epsilon_hat)
"""


class Adam(Optimiser):
    """Adam with the published constants.

    m_t = beta1 m + (1 - beta1) g, v_t = beta2 v + (1 - beta2) g^2,
    x_t = x - eta (m_t / (1 - beta1^t)) / (sqrt(v_t / (1 - beta2^t)) + epsilon).
    The corrections are folded into step_size = eta sqrt(1 - beta2^t) / (1 - beta1^t) and
    epsilon_hat = epsilon sqrt(1 - beta2^t), which is the same algebra.

    Args:
        learning_rate: eta; a schedule multiplies it.
        beta1, beta2: decay of the running means of g and of g^2, per update.
        epsilon: added to the root, in units of the gradient.
        shared: `groups`, `bounds`, `clip_norm`, `average` and `relative`, see `Optimiser`.

    Example:
        >>> slow = Adam(5e-3, groups={"input_*": {"learning_rate": 1e-2}}, clip_norm=1.0)
        >>> trainer = Trainer(net, loss, duration=20.0, optimiser=slow)

    Source: Kingma & Ba 2015, arXiv 1412.6980.
    """

    state_names = ("m", "v")
    scalar_names: ClassVar[tuple[str, ...]] = ("beta1", "beta2", "step_size", "epsilon_hat")
    code = _ADAM
    scale_free = True

    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        **shared: Any,
    ) -> None:
        settings = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2, "epsilon": epsilon}
        super().__init__(settings, **_shared(shared, "Adam", settings))

    def check(self, settings: Mapping[str, float], where: str) -> None:
        super().check(settings, where)
        for name in ("beta1", "beta2"):
            _within(settings, name, where)
        _positive(settings, "epsilon", where)

    def scalars(self, step: int, settings: Mapping[str, float]) -> dict[str, float]:
        beta1, beta2 = settings["beta1"], settings["beta2"]
        root = sqrt(1 - beta2**step)  # float64, on the host: in float32 1 - 0.999 is off by up to 3e-5 of itself
        return {
            "beta1": beta1,
            "beta2": beta2,
            "step_size": settings["learning_rate"] * root / (1 - beta1**step),
            "epsilon_hat": settings["epsilon"] * root,
        }


class AdamW(Adam):
    """Adam with decoupled weight decay: x is first multiplied by 1 - eta weight_decay.

    Args:
        learning_rate, beta1, beta2, epsilon: as for `Adam`.
        weight_decay: per update, times the learning rate, with `relative` the one that is given.
        shared: `groups`, `bounds`, `clip_norm`, `average` and `relative`, see `Optimiser`.

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, optimiser=AdamW(2e-3, weight_decay=1e-2))

    Source: Loshchilov & Hutter 2019, arXiv 1711.05101. As there, the schedule scales the decay too.
    """

    scalar_names = (*Adam.scalar_names, "decay")
    code = "x = x - decay * x\n" + _ADAM

    def __init__(
        self,
        learning_rate: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 1e-2,
        **shared: Any,
    ) -> None:
        settings = {"learning_rate": learning_rate, "beta1": beta1, "beta2": beta2, "epsilon": epsilon}
        settings["weight_decay"] = weight_decay
        Optimiser.__init__(self, settings, **_shared(shared, "AdamW", settings))

    def check(self, settings: Mapping[str, float], where: str) -> None:
        super().check(settings, where)
        _not_negative(settings, "weight_decay", where)

    def scalars(self, step: int, settings: Mapping[str, float]) -> dict[str, float]:
        decay = settings["learning_rate"] / settings["unit"] * settings["weight_decay"]
        return {**super().scalars(step, settings), "decay": decay}


class SGD(Optimiser):
    """Gradient descent with (heavy-ball) momentum: v = momentum v + g, x = x - eta v.

    Args:
        learning_rate: eta; a schedule multiplies it.
        momentum: decay of v per update; 0: none.
        shared: `groups`, `bounds`, `clip_norm`, `average` and `relative`, see `Optimiser`.

    Example:
        >>> descent = SGD(0.1)
        >>> weights = {"w": np.array([1.0])}
        >>> descent.prepare(weights)
        >>> descent.update(weights, {"w": np.array([2.0])})
        >>> weights["w"].tolist()
        [0.8]

    Source: Polyak 1964, doi 10.1016/0041-5553(64)90137-5, in the form of Sutskever et al. 2013 without dampening.
    """

    state_names = ("v",)
    scalar_names = ("momentum", "step_size")
    code = "v = momentum * v + g\nx = x - step_size * v\n"

    def __init__(self, learning_rate: float = 1e-2, momentum: float = 0.0, **shared: Any) -> None:
        settings = {"learning_rate": learning_rate, "momentum": momentum}
        super().__init__(settings, **_shared(shared, "SGD", settings))

    def check(self, settings: Mapping[str, float], where: str) -> None:
        super().check(settings, where)
        _within(settings, "momentum", where)

    def scalars(self, step: int, settings: Mapping[str, float]) -> dict[str, float]:
        return {"momentum": settings["momentum"], "step_size": settings["learning_rate"]}


class RMSprop(Optimiser):
    """v = rho v + (1 - rho) g^2, x = x - eta g / (sqrt(v) + epsilon).

    Args:
        learning_rate: eta; a schedule multiplies it.
        rho: decay of the running mean v of g^2, per update.
        epsilon: added to the root, in units of the gradient.
        shared: `groups`, `bounds`, `clip_norm`, `average` and `relative`, see `Optimiser`.

    Example:
        >>> trainer = Trainer(net, loss, duration=20.0, optimiser=RMSprop(1e-3))

    Source: Tieleman & Hinton 2012, lecture 6.5; epsilon outside the root as in PyTorch.
    """

    state_names = ("v",)
    scalar_names = ("rho", "step_size", "epsilon")
    code = "v = rho * v + (1 - rho) * g * g\nx = x - step_size * g / (sqrt(v) + epsilon)\n"
    scale_free = True

    def __init__(self, learning_rate: float = 1e-3, rho: float = 0.99, epsilon: float = 1e-8, **shared: Any) -> None:
        settings = {"learning_rate": learning_rate, "rho": rho, "epsilon": epsilon}
        super().__init__(settings, **_shared(shared, "RMSprop", settings))

    def check(self, settings: Mapping[str, float], where: str) -> None:
        super().check(settings, where)
        _within(settings, "rho", where)
        _positive(settings, "epsilon", where)

    def scalars(self, step: int, settings: Mapping[str, float]) -> dict[str, float]:
        return {"rho": settings["rho"], "step_size": settings["learning_rate"], "epsilon": settings["epsilon"]}


def _shared(shared: dict[str, Any], name: str, own: Iterable[str]) -> dict[str, Any]:
    """The keyword arguments common to all optimisers, with their defaults."""
    known = {"groups": None, "bounds": None, "clip_norm": None, "average": None, "relative": False}
    for key in shared:
        if key not in known:
            every = [*own, *known]
            hint = "the learning rate is called learning_rate" if key in ("lr", "alpha", "eta") else suggest(key, every)
            raise SettingError(f"{name}: unknown setting {key!r} ({hint})")
    return {**known, **shared}


def _within(settings: Mapping[str, float], name: str, where: str) -> None:
    if not 0 <= settings[name] < 1:
        raise SettingError(f"{where}: {name} must lie in [0, 1), got {settings[name]}")


def _positive(settings: Mapping[str, float], name: str, where: str) -> None:
    if not settings[name] > 0:
        raise SettingError(f"{where}: {name} must be > 0, got {settings[name]}")


def _not_negative(settings: Mapping[str, float], name: str, where: str) -> None:
    if not settings[name] >= 0:
        raise SettingError(f"{where}: {name} must be >= 0, got {settings[name]}")
