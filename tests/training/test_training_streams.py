"""Random streams: one seed, independent names, exact continuation."""

import json
import subprocess
import sys

import numpy as np
import pytest

from genn_eventprop.errors import SettingError
from genn_eventprop.training import Streams


def test_a_stream_is_a_function_of_seed_name_and_keys():
    draw = lambda seed, name, *keys: Streams(seed).at(name, *keys).integers(2**62)  # noqa: E731
    same = draw(1, "order", 3)
    assert same == draw(1, "order", 3)
    others = [
        draw(2, "order", 3),
        draw(1, "augmentation", 3),
        draw(1, "order", 4),
        draw(1, "order"),
        draw(1, "order", 3, 0),
    ]
    assert len({same, *others}) == 6


def test_the_same_in_another_process():
    code = "from genn_eventprop.training import Streams; print(Streams(7).at('order', 1).integers(2**62))"
    other = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == Streams(7).at("order", 1).integers(2**62)


def test_named_streams_continue_after_a_round_trip_through_json():
    streams = Streams(5)
    streams.named("a").normal(size=3)
    again = Streams(0)
    again.load_state_dict(json.loads(json.dumps(streams.state_dict())))
    np.testing.assert_array_equal(streams.named("a").normal(size=9), again.named("a").normal(size=9))
    np.testing.assert_array_equal(streams.named("b").normal(size=9), again.named("b").normal(size=9))


@pytest.mark.parametrize("seed", [-1, 1.5, "1", True])
def test_bad_seed(seed):
    with pytest.raises(SettingError, match="seed must be an integer >= 0"):
        Streams(seed)
