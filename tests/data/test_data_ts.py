"""`.ts` files of the UCR and UEA archives: what is written is read, and what is wrong is one message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genn_eventprop.data.readers.ts import read_ts
from genn_eventprop.errors import DataError


def text_of(series: list[np.ndarray], labels: list[str] | None, classes: list[str]) -> str:
    """A file of samples (T, C)."""
    head = ["# about", "@problemName Made", "@timeStamps false", "@missing false", "@univariate false"]
    head += [f"@classLabel true {' '.join(classes)}" if labels is not None else "@classLabel false", "@data"]
    rows = [":".join(",".join(map(repr, row.tolist())) for row in s.T) for s in series]
    return "\n".join(head + ([f"{r}:{c}" for r, c in zip(rows, labels)] if labels is not None else rows)) + "\n"


numbers = st.floats(-1e6, 1e6, width=32)


@st.composite
def problems(draw):
    """(samples (T, C), labels or None, class names)."""
    channels = draw(st.integers(1, 3))
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    series = [np.array(draw(st.lists(numbers, min_size=t * channels, max_size=t * channels))) for t in lengths]
    classes = draw(st.lists(st.sampled_from(["1", "-1", "2.0", "Walk", "run"]), min_size=1, unique=True))
    labels = draw(st.none() | st.lists(st.sampled_from(classes), min_size=len(series), max_size=len(series)))
    return [s.reshape(-1, channels) for s in series], labels, classes


@given(problems())
def test_what_is_written_is_read(tmp_path_factory, problem):
    series, labels, classes = problem
    path = tmp_path_factory.mktemp("ts") / "x.ts"
    path.write_text(text_of(series, labels, classes))
    currents, names = read_ts(path, dt=2.0)
    assert currents.dt == 2.0 and currents.name == "Made"
    assert currents.values.shape == (len(series), max(map(len, series)), series[0].shape[1])
    for row, values in zip(currents.values, series):
        assert np.array_equal(row[: len(values)], values.astype(np.float32)) and not row[len(values) :].any()
    assert (currents.labels is None) == (labels is None)
    if labels is not None:
        assert [names[k] for k in currents.labels] == labels and currents.n_classes == len(classes)


@pytest.mark.ci
@given(problems(), st.data())
def test_truncated_and_changed_files_are_read_or_one_message(tmp_path_factory, problem, data):
    content = bytearray(text_of(*problem).encode())
    path = tmp_path_factory.mktemp("ts") / "x.ts"
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        read_ts(path)
    except DataError as error:
        assert str(error).startswith(str(path)) or "Made" in str(error)
        assert len(str(error).splitlines()) == 1


def test_a_regression_has_targets(tmp_path):
    path = tmp_path / "x.ts"
    path.write_text("@problemName Heat\n@targetlabel true\n@data\n1,2:3,4:0.5\n5,6:7,8:-1e3\n")
    currents, names = read_ts(path)
    assert names == [] and currents.labels is None
    assert np.array_equal(currents.targets, [[0.5], [-1000.0]]) and currents.values.shape == (2, 2, 2)


HEAD = "@classLabel true a b\n"


@pytest.mark.parametrize(
    "text, message",
    [
        ("1,2,3:a\n", "line 1: expected '@name value' or '@data', got '1,2,3:a'"),
        (HEAD, "no line @data; the file is truncated"),
        (HEAD + "@data\n", "no sample after @data"),
        (HEAD + "@data\n1,2:c\n", r"line 3: label 'c' is none of @classLabel \(a, b\)"),
        (HEAD + "@data\n1,2:1,2:a\n1,2:b\n", "line 4: 1 dimensions, 2 expected; the line is truncated"),
        (HEAD + "@data\n1,2\n", "line 3: 0 dimensions, at least 1 expected"),
        (HEAD + "@data\n1,?,3:a\n", r"line 3, dimension 0: '\?' is a missing value; fill it"),
        (HEAD + "@data\n1,NaN,3:a\n", "line 3, dimension 0: value 1 is nan: missing or too large; fill it"),
        (HEAD + "@data\n1,1e39,3:a\n", "value 1 is 1e[+]39: missing or too large"),
        (HEAD + "@data\n1,two,3:a\n", "line 3, dimension 0: 'two' is not a number"),
        ("@timeStamps true\n@data\n(0,1),(1,2):a\n", "the values have time stamps"),
        ("@targetLabel true\n@data\n1,2:hot\n", "targets: 'hot' is not a number"),
    ],
)
def test_errors_name_file_and_line(tmp_path, text, message):
    path = tmp_path / "x.ts"
    path.write_text(text)
    with pytest.raises(DataError, match=f"x.ts: {message}" if not message.startswith("value") else message):
        read_ts(path)


def test_one_long_series_among_many_is_refused_before_memory_is_taken(tmp_path, monkeypatch):
    path = tmp_path / "x.ts"
    path.write_text("@data\n" + "1\n" * 2000 + ",".join(["1"] * 2000) + "\n")
    assert read_ts(path)[0].values.nbytes > 16e6 > 30 * path.stat().st_size
    monkeypatch.setattr("genn_eventprop.modelling.memory.physical_memory", lambda: 10_000_000)
    with pytest.raises(DataError, match="2001 series .* take 15.3 MiB"):
        read_ts(path)


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path):
    with pytest.raises(DataError, match="no such file"):
        read_ts(tmp_path / "none.ts")
    with pytest.raises(DataError, match="cannot be read"):
        read_ts(tmp_path)
