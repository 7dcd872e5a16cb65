"""The command line ``genn-eventprop``."""

from .app import main
from .train import main_of

__all__ = ["main", "main_of"]
