"""Folders are pipeline stages: imports go one way, down this list."""

from __future__ import annotations

import ast
from pathlib import Path

import genn_eventprop

STAGES = (
    "errors", "checksummed", "renamed", "modelling", "models", "adjoint", "losses", "regularisers", "plan",
    "optimisers", "program", "codegen", "toolchain", "data", "description", "nir", "engines", "gradcheck",
    "crosscheck", "training", "interop", "torch", "jax", "plots", "page", "view", "reproduce", "experiments", "cli",
)  # fmt: skip
PACKAGE = Path(genn_eventprop.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))


def stages_imported(path: Path) -> set[str]:
    """Stages that a file of the package imports from, relative imports and absolute ones alike."""
    here = ("genn_eventprop", *path.relative_to(PACKAGE).parts[:-1])
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            parts = (*base, *(node.module or "").split(".")) if node.module else base
            if parts[:1] == ("genn_eventprop",):
                names |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("genn_eventprop.")}
    return names & set(STAGES)


def test_every_folder_is_a_known_stage():
    found = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in SOURCES} - {"__init__"}
    assert len(SOURCES) > 60
    assert found <= set(STAGES)


def test_imports_go_one_way():
    wrong = []
    for path in (p for p in SOURCES if len(p.relative_to(PACKAGE).parts) > 1):
        stage = path.relative_to(PACKAGE).parts[0]
        later = {s for s in stages_imported(path) if STAGES.index(s) > STAGES.index(stage)}
        wrong += [f"{path.relative_to(PACKAGE)} imports from {later}, which come after {stage}"] if later else []
    assert not wrong, "\n".join(wrong)
