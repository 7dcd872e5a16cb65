"""Things of every kind, for arguments of another one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np


class Thing:
    """Nothing that any argument can be."""


WRONG: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "text": lambda: "nonsense",
    "empty text": lambda: "",
    "complex": lambda: 1 + 2j,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "negative": lambda: -3,
    "huge": lambda: 10**30,
    "zero": lambda: 0,
    "half": lambda: 0.5,
    "true": lambda: True,
    "bytes": lambda: b"nonsense",
    "empty list": lambda: [],
    "list of texts": lambda: ["a", "b"],
    "ragged": lambda: [[1.0], [1.0, 2.0]],
    "empty dict": lambda: {},
    "dict": lambda: {"nonsense": Thing()},
    "set": lambda: {1, 2},
    "thing": Thing,
    "class": lambda: Thing,
    "function": lambda: lambda: None,
    "objects": lambda: np.array([Thing(), None]),
    "complex array": lambda: np.ones(3, complex),
    "matrix": lambda: np.ones((2, 3)),
    "nan array": lambda: np.full(3, np.nan),
    "texts": lambda: np.array(["a", "b"]),
    "dates": lambda: np.array(["2020-01-01"], "M8[D]"),
    "structured": lambda: np.zeros(2, [("a", float)]),
    "empty array": lambda: np.empty((0, 2)),
}
