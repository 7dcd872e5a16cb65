"""A user's Python file, a model or an experiment, as a module."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def import_file(path: Path) -> ModuleType:
    """Run a .py file that exists. It can import what lies beside it, as with ``python path``."""
    path = path.resolve()
    spec = importlib.util.spec_from_file_location(f"genn_eventprop_own_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses and tyro look a class's module up by name
    sys.modules[spec.name] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    return module
