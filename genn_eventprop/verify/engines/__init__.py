"""Every engine that is there against a reference that shares no code with it, and an engine on the user's own machine.

`case` is a network with numbers, `check` judges what an engine makes of it by the reference (`outcome`) and gives a
`Verdict`; `selftest` does so for one engine on the networks of `representative`. Random networks are drawn by
`tests/support/random_networks`, and run on engines by name by `tests/support/engine_check.py`.
"""

from .case import Case
from .check import Verdict

__all__ = ["Case", "Verdict"]
