"""docs/losses.md: its Python runs, and it has every loss."""

import re
from pathlib import Path

import pytest

from genn_eventprop import losses

TEXT = (Path(__file__).parents[2] / "docs" / "losses.md").read_text()


@pytest.mark.ci
def test_the_code_runs(capsys):
    names = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(compile(block, "docs/losses.md", "exec"), names)
    assert "passed" in capsys.readouterr().out


def test_every_loss_has_a_line():
    assert all(f"| `{name}` |" in TEXT for name in losses.LOSSES)
