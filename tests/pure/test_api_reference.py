"""docs/api.md: it has every public name, each describes its parameters and methods, and its example runs."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from support.extras import needs

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
PROLOGUE = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
# docs/engines.md describes the interface between trainer and engine, which only those who write an engine need
IN_PART = {"genn_eventprop.engines"}
# Records that others make and hand out, and functions for those who write a part of the package
NO_EXAMPLE = {
    "Activity", "BirthReport", "Block", "Case", "Described", "Device", "EpochStatistics", "ExperimentConfig",
    "FitResult", "FreeRun", "Initialised",
    "LayeredConfig",
    "LossRecord", "Optimiser", "OptimiserStep", "ParameterStep", "SpikePush", "SpikeRegulariser", "UnscaledConfig",
    "Score", "Verdict", "checked", "evaluate", "main", "published_scale", "run_experiment",
}  # fmt: skip


def listed() -> Iterator[tuple[str, str]]:
    """(module, name) of every entry of the page."""
    for block in re.findall(r"```\{eval-rst\}\n(.*?)```", PAGE, re.DOTALL):
        module = ""
        for line in block.splitlines():
            if match := re.match(r"\.\. currentmodule:: (\S+)", line):
                module = match[1]
            elif re.fullmatch(r"   \w+", line):
                yield module, line.strip()


def entry(module: str, name: str) -> Any:
    obj = getattr(import_module(module), name)
    return pytest.param(obj, id=f"{module}.{name}")


OTHERS = ("genn_eventprop.torch", "genn_eventprop.jax")  # imported when their tests run
ENTRIES = [entry(*where) for where in listed() if where[0] not in OTHERS]
LAYERS = [pytest.param(*where, id=".".join(where)) for where in listed() if where[0] in OTHERS]
RUNS = re.compile(
    r"Trainer\(|check(_network)?\(|fit\(|simulate\("
)  # something is compiled or differences are taken: in CI


def with_ci(entries: list[Any]) -> list[Any]:
    marks = [pytest.mark.ci if RUNS.search(e.values[0].__doc__ or "") else () for e in entries]
    return [pytest.param(*e.values, id=e.id, marks=m) for e, m in zip(entries, marks)]


def own_classes(cls: type) -> list[type]:
    return [c for c in cls.__mro__ if c.__module__.startswith("genn_eventprop") or c.__module__ == __name__]


def attribute_texts(cls: type) -> dict[str, str]:
    """Texts that stand below the fields of a class."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    pairs = zip(body, body[1:])
    return {
        a.target.id: b.value.value
        for a, b in pairs
        if isinstance(a, ast.AnnAssign) and isinstance(b, ast.Expr) and isinstance(b.value, ast.Constant)
    }


def names_in(text: str) -> set[str]:
    """What a docstring describes: entries that begin a line (of Args), and names in backticks."""
    entries = re.findall(r"(?:^|\. )[ ]*((?:\**\w+, )*\**\w+): ", text, re.MULTILINE)
    code = " ".join(re.findall(r"`([^`]+)`", text.replace("``", "`")))
    return {name.lstrip("*") for entry in entries for name in entry.split(", ")} | set(re.findall(r"\w+", code))


def described(obj: Any) -> set[str]:
    classes = own_classes(obj) if inspect.isclass(obj) else []
    texts = [c.__doc__ or "" for c in classes] + [c.__init__.__doc__ or "" for c in classes] or [inspect.getdoc(obj)]
    fields = {name for c in classes for name in attribute_texts(c)}
    return names_in("\n".join(texts)) | fields


def parameters(call: Any) -> list[str]:
    try:
        names = list(inspect.signature(call).parameters)
    except ValueError:
        return []
    return [n for n in names if n not in ("self", "cls") and not n.startswith("_")]


def faults(obj: Any) -> list[str]:
    """What the documentation of a class or function leaves out."""
    if not (obj.__doc__ or "").strip():
        return ["no docstring"]
    of_object = described(obj)
    missing = [n for n in parameters(obj) if n not in of_object] if not getattr(obj, "_is_protocol", False) else []
    missing = [f"parameter {n}" for n in missing]
    for name in dir(obj) if inspect.isclass(obj) else ():
        if name.startswith("_") or not any(name in c.__dict__ for c in own_classes(obj)):
            continue
        method = inspect.getattr_static(obj, name)
        if not isinstance(method, property) and not callable(getattr(obj, name)) or inspect.isclass(getattr(obj, name)):
            continue
        text = inspect.getdoc(method if isinstance(method, property) else getattr(obj, name))
        if not text:
            missing.append(f"method {name}")
        elif not isinstance(method, property):
            words = set(re.findall(r"\w+", text)) | of_object
            missing += [f"{name}({n}=)" for n in parameters(getattr(obj, name)) if n not in words]
    return missing


def test_the_page_has_every_public_name():
    on_page = {name for _, name in listed()}  # genn_eventprop.modelling.Network is there as genn_eventprop.Network
    for module in {module for module, _ in listed()} - IN_PART - set(OTHERS):
        public = {name: getattr(import_module(module), name) for name in import_module(module).__all__}
        kinds = [name for name, obj in public.items() if inspect.isclass(obj) or inspect.isfunction(obj)]
        assert not set(kinds) - on_page, module


@pytest.mark.one_in(6)
@pytest.mark.parametrize("obj", ENTRIES)
def test_parameters_and_methods_are_described(obj):
    assert not faults(obj)


def test_the_check_sees_what_is_missing():
    assert faults(Undescribed) == ["parameter b", "half(c=)", "method silent"]


class Undescribed:
    """Known: `a`."""

    def __init__(self, a: int, b: int) -> None: ...

    def silent(self) -> None: ...

    def half(self, c: int) -> None:
        """Does not say what it takes."""


def run_example(obj: Any, name: str, namespace: dict[str, Any]) -> int:
    """Runs the examples of a docstring and of the methods' own; returns how many statements there were."""
    texts = [(name, obj.__doc__ or "")]
    if inspect.isclass(obj):
        own = [
            n for n, m in vars(obj).items() if n[0] != "_" and (callable(m) or isinstance(m, (classmethod, property)))
        ]
        texts += [(f"{name}.{n}", inspect.getattr_static(obj, n).__doc__ or "") for n in own]
    count, said = 0, []
    for where, text in texts:
        if ">>>" not in text:
            continue
        test = doctest.DocTestParser().get_doctest(text, dict(namespace), where, None, 0)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        runner.run(test, out=said.append)
        count += len(test.examples)
    assert not said, "".join(said)
    return count


@pytest.fixture
def namespace(tmp_path, monkeypatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(PROLOGUE, "docs/api.md", "exec"), names)
    return names


@pytest.mark.parametrize("obj", with_ci(ENTRIES))
def test_its_example_runs(obj, namespace):
    for room, module in (("nir", "nir"), ("interop.brian", "brian2")):
        needs(module) if obj.__module__.startswith(f"genn_eventprop.{room}") else None
    count = run_example(obj, obj.__name__, namespace)
    assert bool(count) == (obj.__name__ not in NO_EXAMPLE)


@pytest.mark.ci
@pytest.mark.parametrize("module, name", LAYERS)
def test_a_layer_of_another_library(module, name, namespace):
    needs(module.rpartition(".")[2])
    obj = getattr(import_module(module), name)
    assert not faults(obj)
    assert run_example(obj, name, namespace)
