"""Names that a model may not use, because the formulas or the generated code use them for something else."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable

from .expressions import FUNCTIONS

FORMULA = frozenset({"t", "dt", "T", "g", "lambda", "dl_dt", "inv_gdot", "g_before"})
CPP_KEYWORDS = frozenset(
    "alignas alignof asm auto bool break case catch char class const constexpr continue decltype default delete do "
    "double else enum explicit export extern false final float for friend goto if inline int long mutable namespace "
    "new noexcept nullptr operator override private protected public register return short signed sizeof static "
    "static_assert static_cast struct switch template this throw true try typedef typeid typename union unsigned "
    "using virtual void volatile while".split()
)
MACROS = frozenset(
    "NULL EOF INFINITY NAN errno stdin stdout stderr unix linux HUGE_VAL HUGE_VALF RAND_MAX BUFSIZ CHAR_BIT".split()
)  # of the C++ headers, which a declaration would expand
GENERATED = frozenset(
    "after along args arrival arrived at base before block by count counts dense dr draw drive end end_term ended ends "
    "feedback first first_step from grad guarded horner i id index kept label last least_rise list load "
    "maximum_kink maximum_slope maximum_step mid mode n_steps neuron node_voltage noise over push pushed raise_by "
    "readout ready rise row sample sample_weight scalar share slice source start std step store to total vec weight "
    "work".split()
)
RESERVED = FORMULA | CPP_KEYWORDS | MACROS | GENERATED | frozenset(FUNCTIONS)
_PREFIXES = tuple("_ M_ FE_ FP_ INT_ lambda_ P_ Q_ dP_ dc_ p_ grad_ all_ trace_ fn_ PH_ dPH_ cH_ dcH_".split())
_EVENT = re.compile(r"g(_before|_early)?\d*")
_READOUT_ROW = re.compile(r"(u|P|PH|dP|dPH|c|cH|dc|dcH)\d+_")


def usable(name: str, states: Iterable[str], receptors: Iterable[str]) -> bool:
    """Whether `name` can name a state or parameter of a model with these states and receptors."""
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name) or name in RESERVED:
        return False
    taken = {f"c_{s}" for s in states} | {f"e_{r}_{s}" for r in receptors for s in states}
    taken |= {f"{s}_{when}" for s in states for when in ("before", "after")}
    return (
        name not in taken
        and not _EVENT.fullmatch(name)
        and not name.startswith(_PREFIXES)
        and not _READOUT_ROW.match(name)
    )
