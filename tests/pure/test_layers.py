"""Folders are pipeline stages: imports go one way, down this list, in whatever form they are written."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import genn_eventprop

STAGES = (
    "errors", "arguments", "choice", "home", "output", "renamed", "atomic", "checksummed", "regular",
    "integer.profile", "integer.network", "integer.quantise", "integer.simulate", "integer.c_file",
    "modelling", "models", "adjoint", "losses", "regularisers", "plan", "optimisers", "program", "codegen",
    "toolchain", "integer.compiled", "integer",
    "data.optional", "data.events", "data.currents", "data.inputs", "data.augment", "data.cache",
    "data.readers", "data.audio", "data",
    "description", "nir", "interop.brian.package", "interop.brian.read_units", "interop.brian.read_expressions",
    "interop.brian.read_neurons", "interop.brian.read_inputs", "interop.brian.read_synapses", "interop.brian.read",
    "modelling.user_file",
    "recipes.shown", "recipes.facts", "recipes.rules", "recipes.held_out",
    "recipes", "engines.contract", "engines.reference.grid",
    "engines.reference.exact", "engines.reference", "engines.native",
    "engines.c99", "engines.cuda", "engines.genn", "engines.registry", "engines", "compile",
    "verify.gradients", "verify.engines", "verify", "runs", "distributed", "training", "fitting", "interop",
    "torch", "jax", "deploy", "experiment", "studies", "report.plots", "report.page", "report.view", "report.reproduce",
    "report", "cli", "experiments", "__main__",
)  # fmt: skip
"""A stage may import from those before it; a folder's own face (`__init__.py`) stands after its sub-folders."""
PACKAGE = Path(genn_eventprop.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))


def stage_of(module: str) -> str | None:
    """The stage of a module, given below the package ("engines.native.engine"); None for the package itself."""
    while module and module not in STAGES:
        module = module.rpartition(".")[0]
    return module or None


def exists(parts: tuple[str, ...]) -> bool:
    place = PACKAGE.joinpath(*parts[1:])
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()


@cache
def modules_imported(path: Path) -> set[str]:
    """Modules below the package that a file imports: relative, absolute, inside functions, or by `import_module`."""
    here = ("genn_eventprop", *path.relative_to(PACKAGE).parts[:-1])
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else ()
            parts = (*base, *(node.module or "").split(".")) if node.module else base
            if parts[:1] == ("genn_eventprop",):
                for alias in node.names:
                    full = (*parts, alias.name)
                    names.add(".".join((full if exists(full) else parts)[1:]))
        elif isinstance(node, ast.Import):
            names |= {a.name.partition(".")[2] for a in node.names if a.name.startswith("genn_eventprop.")}
        elif isinstance(node, ast.Call) and "import_module" in (getattr(node.func, n, "") for n in ("id", "attr")):
            name = node.args[0]
            if isinstance(name, ast.Constant) and str(name.value).startswith("genn_eventprop."):
                names.add(str(name.value).partition(".")[2])
    return names - {""}


def test_every_folder_is_a_known_stage():
    assert len(SOURCES) > 60
    modules = {".".join(p.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__") for p in SOURCES}
    unknown = sorted(m for m in modules - {"__init__", ""} if stage_of(m) is None)
    assert not unknown, f"put these into STAGES: {unknown}"


def test_imports_go_one_way():
    wrong = []
    for path in SOURCES:
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        stage = stage_of(module)
        if stage is None:
            continue
        for other in sorted(modules_imported(path)):
            target = stage_of(other)
            if target is not None and STAGES.index(target) > STAGES.index(stage):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {other}: {stage} comes before {target}")
    assert not wrong, "\n".join(wrong)


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import each other in a loop, imports for types and inside functions among them (Tarjan 1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    loops = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for other in imports[module]:
            if other not in number:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], number[other])
        if lowest[module] == number[module]:
            place = stack.index(module)
            if len(stack) - place > 1:
                loops.append(sorted(stack[place:]))
            del stack[place:]

    for module in imports:
        if module not in number:
            visit(module)
    return loops


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_no_module_is_in_a_circle():
    modules = {".".join(p.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): p for p in SOURCES}
    imports = {m: {i for i in modules_imported(p) if i in modules and i != m} for m, p in modules.items()}
    assert not circles(imports)


def test_the_ways_that_the_architecture_tells_lead_through_files_that_exist():
    text = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
    there = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.*")}
    ways = [part for part in re.split(r"(?m)^## ", text) if part.startswith("The way of")]
    assert len(ways) == 3
    for way in ways:
        files = set(re.findall(r"`([\w/]+\.(?:py|hpp|h))`", way))
        assert 8 < len(files) <= 25
        missing = [name for name in files if not any(f"/{path}".endswith(f"/{name}") for path in there)]
        assert not missing, missing
    trial = (PACKAGE / "codegen" / "cpp" / "exact" / "trial.hpp").read_text()
    assert all(f" {name}(" in trial for name in ("due", "events", "fire", "send", "undo_arrival", "undo_own"))
