"""A run as one interactive page: curves, trials, weights, with every number in tables as well (extra ``[view]``)."""

from .build import view_page

__all__ = ["view_page"]
