"""Data sets of spike trains and currents: the containers, loaders, encoders, augmentation, splits."""

from ..arguments import explain
from ..errors import DataError
from .currents import Currents
from .events import Events, Statistics, splits
from .inputs import Inputs
from .readers import files  # noqa: F401  (makes the readers known to `Events.from_folder`)

__all__ = ["Currents", "Events", "Inputs", "Statistics", "splits"]

explain(globals(), ("Currents", "Events", "Inputs"), DataError)
explain(vars(splits), ("random_split", "stratified_split", "group_split", "leave_one_group_out", "folds"), DataError)
