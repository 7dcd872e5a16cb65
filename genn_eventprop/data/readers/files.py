"""Which reader a file of events has, by name and by suffix."""

from __future__ import annotations

from ..events.events import Events
from ..events.folder import READERS, Reader
from . import aer, camera, hdf5, text


def _aer(path: object, sensor: tuple[int, int, int] = aer.SENSOR, pool: int = 1, sort: bool = False) -> Events:
    """One file of N-MNIST."""
    return aer.load([str(path)], sensor=sensor, pool=pool, sort=sort)


READERS |= {
    "camera": Reader(camera.read_camera, camera.SUFFIXES, sized=True, pieces=camera.camera_pieces),
    "csv": Reader(text.read_csv, (".csv",), sized=True, widens=True, pieces=text.csv_pieces),
    "nmnist": Reader(_aer, (".bin", ".bs2")),
    "npz": Reader(Events.load, (".npz",)),
    "hdf5": Reader(hdf5.read_shd, (".h5", ".hdf5"), sized=True),
}
