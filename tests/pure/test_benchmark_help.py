"""Every script of benchmarks/ tells what it does without what it measures against being installed."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OTHERS = ("aeon", "norse", "snntorch", "ml_genn")
"""Packages that no extra brings."""
# workers of a script that starts them where these are installed
WORKERS = {"peer_torch.py", "peer_jax.py", "peer_mlgenn.py", "peer_worker.py"}


@pytest.mark.parametrize("script", sorted(p.name for p in (ROOT / "benchmarks").glob("*.py") if p.name not in WORKERS))
def test_foreign_packages_are_imported_where_they_are_used(script):
    tree = ast.parse((ROOT / "benchmarks" / script).read_text())
    names = [a.name for n in tree.body if isinstance(n, ast.Import) for a in n.names]
    names += [n.module or "" for n in tree.body if isinstance(n, ast.ImportFrom)]
    assert not {name.partition(".")[0] for name in names} & set(OTHERS)
