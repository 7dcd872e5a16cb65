"""The command line starts at once: what takes long to import is imported by the commands that need it."""

import subprocess
import sys

import pytest

import genn_eventprop
from genn_eventprop.cli.app import COMMANDS, _summary

START = """
import sys
from genn_eventprop.cli import main
status = main([{option!r}])
slow = {{"sympy", "numpy", "matplotlib", "tyro"}} & set(sys.modules)
assert status == 0 and not slow, slow
"""


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_slow(option):
    done = subprocess.run([sys.executable, "-P", "-c", START.format(option=option)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_extras_are_imported_only_where_they_are_used():
    """MPI, SLURM and searches: not even the commands that can use them import them."""
    text = (
        "import sys, genn_eventprop.training, genn_eventprop.cli.scan, genn_eventprop.cli.train\n"
        "assert not {'mpi4py', 'submitit', 'optuna'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_command_has_a_function_with_a_summary():
    from importlib import import_module

    for module, function in COMMANDS.values():
        found = getattr(import_module(f"genn_eventprop.cli.{module}"), function)
        assert _summary(module, function) == found.__doc__.splitlines()[0] != ""


def test_names_imported_when_used_are_listed():
    assert {"Network", "Events", "losses", "modelling"} <= set(dir(genn_eventprop))
    with pytest.raises(AttributeError, match="'genn_eventprop' has no attribute 'Netwrok'"):
        genn_eventprop.Netwrok  # noqa: B018
