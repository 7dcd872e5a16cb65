"""The list of benchmarks/mutants.py: what it changes is in the source."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_mutant_is_still_a_fault_of_this_source():
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "benchmarks" / "mutants.py")
    mutants = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mutants)
    known = mutants.mutants()
    assert [problem for m in known if (problem := m.problem())] == []
    assert len(known) >= 60 and all(m.right != m.wrong for m in known)
