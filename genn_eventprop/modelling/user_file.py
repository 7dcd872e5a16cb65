"""A user's Python file, a model (of this package or of Brian) or an experiment, as a module."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import ModelError, SettingError, suggest
from .neuron import Neuron, NeuronModel


def import_file(path: Path) -> ModuleType:
    """Run a .py file that exists. It can import what lies beside it, as with ``python path``.

    Raises:
        SettingError: it is not Python; what goes wrong while it runs keeps its own traceback.
    """
    path = path.resolve()
    spec = importlib.util.spec_from_file_location(f"genn_eventprop_own_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses and tyro look a class's module up by name
    sys.modules[spec.name] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        text = f": {error.text.strip()}" if error.text else ""
        raise SettingError(f"{error.filename or path}{line}: {error.msg}{text}; correct it there") from None
    return module


def model_in_file(target: str) -> NeuronModel:
    """The model that ``path/to/my_neuron.py:MyNeuron`` names.

    Raises:
        ModelError: no such file, or no model of that name in it: lists those that are.
    """
    path, _, name = target.rpartition(":") if ":" in target else (target, "", "")
    if not Path(path).is_file():
        raise ModelError(f"no file {path!r}; write path/to/my_neuron.py:MyNeuron")
    if Path(path).suffix != ".py":
        raise ModelError(f"{path!r} is not a Python file; write path/to/my_neuron.py:MyNeuron")
    return model_in(import_file(Path(path)), name, path)


def model_in(module: ModuleType, name: str, where: str) -> NeuronModel:
    """The model called `name` in a module that is called `where` in messages."""
    value: Any = getattr(module, name, None) if name else None
    if isinstance(value, Neuron):
        return value.model
    if isinstance(value, NeuronModel):
        return value
    if _is_of_brian(value):
        from ..interop.brian.read import model_of

        return model_of(value, vars(module))
    models = {n: v for n, v in vars(module).items() if isinstance(v, (NeuronModel, Neuron)) or _is_of_brian(v)}
    own = [n for n, v in models.items() if _is_of_brian(v) or _model(v).made_at[0] == module.__file__]
    if not models:
        what = f"{name!r} is not a NeuronModel, and the file defines none" if name else "the file has no NeuronModel"
        raise ModelError(f"{where}: {what}; write one as in docs/add_a_neuron.md")
    if not name:
        raise ModelError(f"{where}: name the model: {' or '.join(f'{where}:{n}' for n in own or models)}")
    raise ModelError(f"{where}: {name!r} is not a NeuronModel ({suggest(name, own or models)})")


def _model(value: NeuronModel | Neuron) -> NeuronModel:
    return value.model if isinstance(value, Neuron) else value


def _is_of_brian(value: Any) -> bool:
    """Whether a value is a group or network of Brian, which only a file that imports Brian can make."""
    kind = type(value)
    return kind.__module__.startswith("brian2.") and kind.__name__ in ("NeuronGroup", "Subgroup", "Network")
