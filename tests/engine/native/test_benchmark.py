"""The benchmark of the SHD shape runs, tiny, and prints the lines that it promises."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[3] / "benchmarks" / "shd_shape.py"
TINY = "--inputs 20 --hidden 16 --outputs 4 --steps 60 --input-spikes 300 --batch 4 --mean 0.3 --repeats 2".split()


@pytest.mark.slow
def test_benchmark_prints_a_line_per_thread_count():
    command = [sys.executable, str(FILE), *TINY, "--engines", "native", "--threads", "1", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    number = r"\d+\.\d+"
    for threads in (1, 2):
        pattern = rf"native threads={threads} {number} ms/sample peak \d+ MB .*{number} x the floor of {number} ms"
        assert re.search(pattern, done.stdout), done.stdout
    assert float(re.search(rf"hidden = ({number}) a neuron", done.stdout).group(1)) > 1.0
    for row in ("add wide", "dot wide", "gather wide", "add narrow", "dot narrow", "gather narrow"):
        assert re.search(rf"  {row}: {number} \([a-z ,]+\)", done.stdout), done.stdout
    for peer in ("mlGeNN", "Spyx"):
        assert re.search(rf"{peer} (absent|is installed)", done.stdout)
