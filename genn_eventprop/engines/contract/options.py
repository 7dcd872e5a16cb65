"""Options that one engine has and others have not, written behind its name: ``engine="cuda(device=1)"``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineOption:
    """An argument of an engine's class.

    Args:
        kind: of its values: int, float, bool or str, whose values need no quotation marks. meaning: one line.
    """

    kind: type
    meaning: str

    def accepts(self, value: object) -> bool:
        """Whether a value that was read from text is of this kind."""
        kinds = (int, float) if self.kind is float else self.kind
        return isinstance(value, kinds) and (self.kind is bool or not isinstance(value, bool))
