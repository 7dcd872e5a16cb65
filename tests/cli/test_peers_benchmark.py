"""benchmarks/peers.py, tiny: what is measured, kept and written; peers that are absent or fail are named."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("peers_benchmark", BENCHMARKS / "peers.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.ci
def test_small_measurements_are_kept(peers, tmp_path, capsys):
    given = peers.Settings(
        tmp_path, peers=("native", "mlgenn", "norse"), tasks=("layer",), python=(f"norse={sys.executable}",),
        small=True, repeats=1,
    )  # fmt: skip
    for _ in range(2):  # the second time everything is there
        peers.main(given)
    out = capsys.readouterr().out
    assert "mlgenn absent: not on the package index" in out
    assert "layer norse 20 steps, batch 2, 512 - 512, rate 0.02: ModuleNotFoundError" in out  # this Python has none
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(r["task"], r["peer"]) for r in rows] == [("layer", "native"), ("layer", "norse")]
    assert rows[0]["cpu"] > 0 and rows[0]["memory"] > 0 and "genn_eventprop" in rows[0]["versions"]


def test_the_document_gets_tables_a_figure_and_the_absent(peers, tmp_path):
    shapes = [x for series in peers.GROWTH.values() for x in series]
    rows = [
        {"task": "layer", "peer": peer, "shape": peers.asdict(x), "cpu": factor * x.steps * x.batch, "wall": 1.0,
         "memory": 10.0 * factor, "first": 1.0, "versions": {peer: "1.0"}}
        for x in dict.fromkeys(shapes) for peer, factor in (("native", 1.0), ("norse", 20.0))
    ]  # fmt: skip
    rows.append({"task": "shd", "peer": "spyx", "shape": peers.asdict(peers.SHD), "error": "more than 9 s"})
    document = tmp_path / "benchmarks.md"
    document.write_text(f"before\n{peers.BEGIN}\nold\n{peers.END}\nafter\n")
    settings = peers.Settings(tmp_path)
    peers.write(document, rows, {"mlgenn": "no package"}, settings)
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| native | 8000 | 1.0 | 10 |" in text and "| norse | 1.6e+05 | 20.0 | 200 |" in text
    assert "| spyx | more than 9 s |" in text and "Absent: mlgenn (no package)." in text
    assert "(figures/benchmarks.png)" in text and "Norse 351" in text and "norse 1.0" in text
    assert (tmp_path / "figures/benchmarks.png").stat().st_size > 10_000
