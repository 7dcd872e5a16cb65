"""Imports every module of the installed wheel, outside the checkout, and checks what only a wheel can get wrong."""

import importlib
import importlib.util
import pkgutil
from pathlib import Path

import genn_eventprop

here = Path(genn_eventprop.__file__).parent
assert "site-packages" in here.parts, f"not the installed wheel: {here}"
assert (here / "py.typed").is_file(), "py.typed is missing from the wheel"
for name in ("models", "experiments"):
    assert importlib.util.find_spec(name) is None, f"the wheel installs a top-level package {name}"

modules = [
    m.name for m in pkgutil.walk_packages(genn_eventprop.__path__, "genn_eventprop.") if not m.name.endswith("__main__")
]
EXTRAS = {"cuda", "jax", "mpi4py", "nir", "optuna", "submitit", "torch"}  # a few modules are of one library alone
left_out = []
for module in modules:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in EXTRAS:
            raise
        left_out.append(module)
assert len(left_out) < 8, f"modules that need an extra: {left_out}"
for package in ("genn_eventprop.models", "genn_eventprop.experiments"):
    assert package in modules, f"{package} is missing from the wheel"
imported = len(modules) - len(left_out)
print(f"wheel {genn_eventprop.__version__}: {imported} modules imported, {len(left_out)} need an extra")
