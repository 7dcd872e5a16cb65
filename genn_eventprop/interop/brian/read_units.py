"""Units of Brian, which are SI, in those of this package: ms, mV and pA, and what follows from them.

Factors of the base units multiply, so that an equation whose units are right holds for the numbers as it stands:
conductances are nS, capacitances pF, resistances GOhm, charges fC; lengths are um, amounts of substance amol, so that
concentrations are mM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_NAMES: dict[tuple[float, ...], str] = {
    (0, 0, 1): "ms", (1, 0, 0): "mV", (0, 1, 0): "pA", (-1, 1, 0): "nS", (-1, 1, 1): "pF", (1, -1, 0): "GOhm",
    (0, 0, -1): "1/ms", (1, 0, -1): "mV/ms", (0, 1, -1): "pA/ms", (0, 1, 1): "fC",
}  # fmt: skip
_BASES = (("mV", -3), ("pA", -12), ("ms", -3), ("um", -6), ("K", 0), ("amol", -18))


def _exponents(dimensions: Any) -> tuple[float, ...]:
    """Of V, A, s, m, K, mol, from those of m, kg, s, A, K, mol (and cd, which no neuron has): kg = V A s^3 / m^2."""
    m, kg, s, A, K, mol = (float(e) for e in dimensions._dims[:6])
    return kg, A + kg, s + 3 * kg, m - 2 * kg, K, mol


def scale(dimensions: Any) -> float:
    """How many SI units one of ours is, such as 1e-3 for a potential."""
    power = sum(e * p for e, (_, p) in zip(_exponents(dimensions), _BASES))
    return float(f"1e{power:.0f}") if float(power).is_integer() else float(10.0**power)


def converted(values: Any, dimensions: Any) -> np.ndarray:
    """Numbers in SI units as numbers in ours, rounded to 15 digits where that is no more than a rounding error: 20 ms
    is 20 and not 20.000000000000004."""
    exact = np.asarray(values, dtype=np.float64) / scale(dimensions)
    different, which = np.unique(exact, return_inverse=True)
    if different.size > 1000:  # drawn at random: nobody reads the last digit
        return exact
    rounded = np.array([float(f"{x:.15g}") for x in different])
    return np.where(np.isclose(rounded, different, rtol=1e-15, atol=0), rounded, different)[which].reshape(exact.shape)


def unit_name(dimensions: Any) -> str:
    """Such as "mV", "nS", "nS*um^-2", "" of a pure number."""
    exponents = _exponents(dimensions)
    if not any(exponents[3:]) and exponents[:3] in _NAMES:
        return _NAMES[exponents[:3]]
    area = _NAMES.get(exponents[:3]) if exponents[3:] == (-2, 0, 0) else None
    return f"{area}/um^2" if area and "/" not in area else _product(exponents)


def _product(exponents: Sequence[float]) -> str:
    return "*".join(n if e == 1 else f"{n}^{e:g}" for e, (n, _) in zip(exponents, _BASES) if e)
