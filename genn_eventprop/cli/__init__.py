"""The command line ``genn-eventprop``."""

from .app import main

__all__ = ["main", "main_of"]


def main_of(source: str) -> None:
    """What an experiment file calls when it is run directly: ``main_of(__file__)``."""
    from . import train  # imports nearly all of the package

    train.main_of(source)
