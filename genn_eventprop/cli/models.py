"""Finding a neuron model by name or in a Python file."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from pathlib import Path
from types import ModuleType

from ..errors import SettingError, suggest
from ..modelling import NeuronModel

PACKAGE = "genn_eventprop.models"


def model_names() -> list[str]:
    """The models that are installed with the package."""
    package = importlib.import_module(PACKAGE)
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def load_model(source: str) -> NeuronModel:
    """``lif`` or ``LIF`` from the installed models, or the one model of ``my_neuron.py``.

    Raises:
        SettingError: no such model or file, or a file with no model or several.
    """
    if source.endswith(".py"):
        return _only_model(_import_file(Path(source)), source)
    name = source.lower()
    if name not in model_names():
        raise SettingError(f"unknown model {source!r} ({suggest(name, model_names())}); or give a .py file")
    return _only_model(importlib.import_module(f"{PACKAGE}.{name}"), source)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise SettingError(f"there is no model file {path}")
    spec = importlib.util.spec_from_file_location(f"genn_eventprop_model_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _only_model(module: ModuleType, source: str) -> NeuronModel:
    models = {id(v): v for k, v in vars(module).items() if isinstance(v, NeuronModel) and not k.startswith("_")}
    if len(models) != 1:
        raise SettingError(f"{source} defines {len(models)} neuron models; it must define one")
    return next(iter(models.values()))
