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


def test_result_files_a_figure_and_the_absent(peers, tmp_path):
    shapes = [x for series in peers.GROWTH.values() for x in series]
    rows = [
        {"task": "layer", "peer": peer, "shape": peers.asdict(x), "cpu": factor * x.steps * x.batch, "wall": 1.0,
         "memory": 10.0 * factor, "first": 1.0, "versions": {peer: "1.0"}}
        for x in dict.fromkeys(shapes) for peer, factor in (("norse", 20.0), ("native", 1.0))
    ]  # fmt: skip
    rows.append({"task": "shd", "peer": "spyx", "shape": peers.asdict(peers.SHD), "error": "more than 9 s"})
    numbers = tmp_path / "numbers"
    numbers.mkdir()
    (numbers / "peers_layer.json").write_text('{"columns": [], "rows": [{"cells": ["old"]}]}')
    peers.write(numbers, rows, {"mlgenn": "no package"}, peers.Settings(tmp_path))
    layer, shd = (json.loads((numbers / f"peers_{name}.json").read_text())["rows"] for name in ("layer", "shd"))
    assert [r["cells"] for r in layer] == [["native 1.0", "8000", "1.0", "10"], ["norse 1.0", "1.6e+05", "20.0", "200"]]
    assert [r["cells"][:2] for r in shd] == [["spyx", "more than 9 s"], ["mlgenn", "absent: no package"]]
    assert layer[0]["version"] and layer[0]["machine"] and layer[0]["command"].startswith("python benchmarks/peers.py")
    assert (tmp_path / "figures/benchmarks.png").stat().st_size > 10_000
