"""Every engine that is there against a reference that shares no code with it, and an engine on the user's own machine.

`case` is a network with numbers, `check` runs engines and the reference on it (`outcome`, `mirror`) and gives a
`Verdict`; `selftest` does so for one engine on the networks of `representative`. Random networks are drawn by
`tests/support/random_networks`.
"""

from .case import Case
from .check import ENGINES, Verdict, check, made

__all__ = ["ENGINES", "Case", "Verdict", "check", "made"]
