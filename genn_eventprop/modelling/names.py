"""Names that a state or parameter may not have, because the formulas of a step, a jump or a readout use them; and the
texts that may name a model, an event or a mode.

What else generated code calls things is kept apart from a model's own names where the code is made.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from functools import lru_cache

from .expressions import FUNCTIONS

FORMULA = frozenset({"t", "dt", "T", "mode", "dl_dt", "inv_gdot", *FUNCTIONS})


TITLE_RULE = "up to 100 letters, digits, spaces and _ . , : ; ( ) [ ] < > + = & ^ -, on one line"
_TITLE = re.compile(r"[\w .,:;()\[\]<>+=&^-]{1,100}")


def is_title(name: object) -> bool:
    """Whether `name` can name a model, an event or a mode: `TITLE_RULE`.

    Generated code shows these names in its comments, and a comment of C ends at "*/" and goes on after a backslash
    (which may be written ??/), so that none of * / \\ ? is allowed.
    """
    return isinstance(name, str) and _TITLE.fullmatch(name) is not None and bool(name.strip())


def usable(name: str, states: Iterable[str], params: Iterable[str], receptors: Iterable[str]) -> bool:
    """Whether `name` can name a state or parameter of a model with these states, parameters and receptors."""
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        return False
    coefficients = _coefficients(tuple(states), tuple(params), tuple(receptors))
    return not (name.startswith("_") or name in FORMULA or coefficients.fullmatch(name))


@lru_cache(maxsize=16)
def _coefficients(states: tuple[str, ...], params: tuple[str, ...], receptors: tuple[str, ...]) -> re.Pattern[str]:
    """The coefficients of a step (`plan/coefficients.py`), costates, and V around a reset."""
    s, p, r = ("(" + "|".join(map(re.escape, names)) + ")" for names in (states, params, receptors))
    return re.compile(
        rf"PH?\d*_{s}_{s}|cH?\d*_{s}|dPH?\d*_{p}_{s}_{s}|dcH?\d*_{p}_{s}|[eQ]_{r}_{s}|(d{p}_)?u\d+_({s}|1)"
        rf"|lambda_{s}|{s}_(before|after)"
    )
