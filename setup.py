"""Finds the packages; everything else about the project is in pyproject.toml.

The top-level folders models/ and experiments/ are installed as genn_eventprop.models and genn_eventprop.experiments
(package-dir in pyproject.toml). setuptools' own discovery cannot rename folders, so the search is done here: every
folder that holds a Python file is a package, however deep, and none can be forgotten in the wheel.
"""

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent
FOLDERS = {
    "genn_eventprop": "genn_eventprop",
    "models": "genn_eventprop.models",
    "experiments": "genn_eventprop.experiments",
}


def packages() -> list[str]:
    """Dotted names of all packages, e.g. genn_eventprop.models for models/."""
    names = set()
    for folder, package in FOLDERS.items():
        for source in (ROOT / folder).rglob("*.py"):
            names.add(".".join((package, *source.parent.relative_to(ROOT / folder).parts)))
    return sorted(names)


setup(packages=packages())
