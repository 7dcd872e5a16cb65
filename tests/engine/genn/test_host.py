"""What the host does around a GeNN network: the data set as the spike source reads it, recorded spikes."""

import numpy as np

from genn_eventprop.engines.genn.inputs import input_events, rows_of_bits


def test_events_are_grouped_by_channel_and_counted():
    steps, channels, offsets = np.array([1, 1, 2, 5, 0]), np.array([2, 2, 0, 2, 1]), np.array([0, 4, 4, 5])
    events = input_events(steps, channels, offsets, (0, 3))
    assert events.step.tolist() == [2, 1, 5, 0] and events.count.tolist() == [1, 2, 1, 1]
    assert events.start.tolist() == [[0, 1, 1, 3], [3, 3, 3, 3], [3, 3, 4, 4], [4, 4, 4, 4]]  # the last: of no sample


def test_each_input_has_its_own_channels():
    steps, channels, offsets = np.array([1, 1, 2, 5, 0]), np.array([2, 2, 0, 2, 1]), np.array([0, 4, 4, 5])
    events = input_events(steps, channels, offsets, (1, 3))
    assert events.step.tolist() == [1, 5, 0] and events.count.tolist() == [2, 1, 1]
    assert events.start.tolist() == [[0, 0, 2], [2, 2, 2], [2, 3, 3], [3, 3, 3]]


def test_recorded_spikes_are_a_bit_each():
    """What is left over behind the last spike of a list does not count."""
    count, steps = np.zeros((2, 40), int), np.full((2, 40, 3), 7)
    count[0, 33], steps[0, 33, :2] = 2, (1, 4)
    count[1, 0], steps[1, 0, :1] = 1, (4,)
    rows = rows_of_bits(count, steps, 6)
    assert rows.shape == (2, 6, 2) and rows.dtype == np.uint32
    assert np.argwhere(rows).tolist() == [[0, 1, 1], [0, 4, 1], [1, 4, 0]]
    assert rows[0, 1, 1] == rows[0, 4, 1] == 2 and rows[1, 4, 0] == 1


def test_no_spikes():
    assert not rows_of_bits(np.zeros((2, 3), int), np.full((2, 3, 4), 7), 9).any()
