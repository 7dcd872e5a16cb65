"""Files of a run that a disk has changed: one clear message, never another number, never a traceback."""

import json

import pytest

from genn_eventprop.checksummed import verified, with_checksum
from genn_eventprop.cli import main
from genn_eventprop.errors import SettingError
from genn_eventprop.runs.run_folder import RunFolder

RESULTS = {
    "test_accuracy": 0.97, "final_test_accuracy": 0.5, "epochs": 2, "seconds_training": 3.0, "engine": "native",
}  # fmt: skip


def run(folder, results=True):
    made = RunFolder.create(folder, {"experiment": "yin_yang", "settings": {"seed": 1}})
    for epoch in (1, 2):
        made.append_metrics({"epoch": epoch, "train_loss": 0.5 / epoch})
    if results:
        made.write_results(RESULTS)
    return made


def test_every_flipped_bit_of_a_record_is_noticed_or_harmless():
    text = json.dumps(with_checksum({"a": 0.97, "b": [1, None, "ä"], "c": {"d": True}})).encode()
    record, silent = verified(text), 0
    for position in range(len(text)):
        for bit in range(8):
            changed = bytearray(text)
            changed[position] ^= 1 << bit
            try:
                found = verified(bytes(changed))
            except ValueError:
                continue
            silent += 1
            assert {k: v for k, v in found.items() if k in record} == record
    assert silent < 100, "a changed name of the checksum, and white space"


def test_a_record_without_a_checksum_is_taken():
    assert verified('{"a": 1}') == {"a": 1}
    with pytest.raises(ValueError, match="expected a record, got a list"):
        verified("[1]")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: "", "results.json is damaged: Expecting value"),
        (lambda t: t[:40], "results.json is damaged"),
        (lambda t: "[]", "results.json is damaged: expected a record"),
        (lambda t: "{}", "results.json has no engine, epochs, final_test_accuracy"),
        (lambda t: t.replace("0.97", "0.93"), 'checksum; if you edited it on purpose, remove "sha256"'),
    ],
)
def test_report_of_damaged_results(tmp_path, capsys, change, message):
    path = run(tmp_path / "run").path / "results.json"
    path.write_text(change(path.read_text()))
    assert main(["report", str(tmp_path / "run")]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.json", "environment.json", "results.json"])
def test_bytes_that_are_no_text(tmp_path, capsys, name):
    (run(tmp_path / "run").path / name).write_bytes(b"\xff\xfe{}")
    assert main(["report", str(tmp_path / "run")]) == 1
    assert f"{name} is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("0.25", "0.75"), "metrics.jsonl, line 2 is damaged"),
        (lambda t: t.replace("{", "", 1), "metrics.jsonl, line 1 is damaged"),
        (lambda t: t.split("\n", 1)[1], "metrics.jsonl: an epoch is missing or appears twice"),
        (lambda t: t + t, "an epoch is missing or appears twice"),
        (lambda t: t[:-5], "metrics.jsonl has 1 epochs, the run 2"),
        (lambda t: "", "metrics.jsonl has 0 epochs, the run 2"),
        (lambda t: "{}\n", "line 1 is damaged (it records no epoch)"),
        (lambda t: '{"epoch": 1, "train_loss": "<b>"}\n', "line 1 is damaged (train_loss is '<b>', not a number)"),
        (lambda t: '{"epoch": 1, "silent": {"h": ["a", null]}}\n', "is damaged (silent is \"{'h': ['a', None]}\", no"),
        (
            lambda t: '{"epoch": 1, "validation_accuracy": {}}\n',
            "is damaged (validation_accuracy is '{}', not a number)",
        ),
    ],
)
def test_plot_of_damaged_metrics(tmp_path, capsys, change, message):
    made = run(tmp_path / "run")
    path = made.path / "metrics.jsonl"
    path.write_text(change(path.read_text()))
    assert main(["plot", str(tmp_path / "run"), "--only", "curves"]) == 1
    err = capsys.readouterr().err
    assert message in err and f"genn-eventprop resume {tmp_path / 'run'}" in err


def test_a_half_written_last_line_is_tolerated(tmp_path):
    made = run(tmp_path / "run", results=False)
    with open(made.path / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 3, "tr')
    assert [line["epoch"] for line in made.metrics] == [1, 2]
    with pytest.raises(SettingError, match="has no results.json; has the run finished"):
        _ = made.results
