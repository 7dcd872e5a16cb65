"""QTDB's MATLAB files: the layout that is expected, gaps in the labels, and files of another layout."""

from __future__ import annotations

import numpy as np
import pytest

from genn_eventprop.data.readers.qtdb import load
from genn_eventprop.errors import DataError

scipy_io = pytest.importorskip("scipy.io")


def written(tmp_path, **changes):
    x, y = np.zeros((2, 6, 4), np.int16), np.zeros((2, 6, 6), np.uint8)
    x[0, 2, 1] = x[0, 4, 3] = x[1, 0, 0] = 1
    x[:, -1] = -1  # as in the published files
    y[0, :, 2] = 1
    y[1, :3, 5] = 1  # the rest of recording 1 has no label
    scipy_io.savemat(tmp_path / "QTDB_test.mat", {"x": x, "y": y, **changes})
    return tmp_path / "QTDB_test.mat"


@pytest.mark.parametrize(("mask", "gap"), [(False, 0), (True, -1)])
def test_steps_become_events_and_labels(tmp_path, mask, gap):
    events = load(written(tmp_path), mask)
    assert events.offsets.tolist() == [0, 2, 3] and events.n_channels == 4 and events.n_classes == 6
    assert events.times.tolist() == [2.0, 4.0, 0.0] and events.channels.tolist() == [1, 3, 0]
    assert events.targets.tolist() == [[2] * 5, [5, 5, 5, gap, gap]]


def test_other_layouts(tmp_path):
    with pytest.raises(DataError, match=r"x \(2, 5, 3\) and y \(2, 5, 6\); expected"):
        load(written(tmp_path, x=np.zeros((2, 6, 3))))
    with pytest.raises(DataError, match="sample 0 has two labels at step 0"):
        load(written(tmp_path, y=np.ones((2, 6, 6))))
    with pytest.raises(DataError, match="x .* and y .*; expected"):
        load(written(tmp_path, y=np.ones((2, 5, 6))))
    path = tmp_path / "empty.mat"
    scipy_io.savemat(path, {"z": np.zeros(3)})
    with pytest.raises(DataError, match="no array 'x'"):
        load(path)
    path.write_bytes(b"no MATLAB file")
    with pytest.raises(DataError, match="not a MATLAB file"):
        load(path)
