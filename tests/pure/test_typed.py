"""The types of the package: the models' stub names every parameter, and mypy follows them in a user's script.

After a wanted change of the models run ``UPDATE_GOLDEN=1 pytest tests/pure/test_typed.py`` and read the difference.
"""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

from genn_eventprop import models
from support.extras import needs

STUB = Path(models.__file__).with_suffix(".pyi")
HEAD = '''"""Types of the models: what each can be called with. Written by tests/pure/test_typed.py."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genn_eventprop import NeuronModel, Param
from genn_eventprop.modelling.neuron import Neuron
from genn_eventprop.modelling.parameters import Initialiser

_Value = float | np.number[Any] | np.ndarray | Sequence[float] | Initialiser | Param

ZOO: Mapping[str, NeuronModel]

# fmt: off
'''


def stub() -> str:
    parts = [HEAD]
    for name, model in sorted(models.ZOO.items()):
        whole = (f"{p}:_Value=..." for p in model.params)  # wrapped between parameters only
        lines = textwrap.fill(", ".join(whole), 88, break_long_words=False, break_on_hyphens=False)
        parameters = lines.replace(":_Value=", ": _Value = ").replace("\n", "\n        ")
        parts.append(
            f"class _{name}(NeuronModel):\n    def __call__(\n        self, *, {parameters}\n    ) -> Neuron: ...\n"
        )
        parts.append(f"{name}: _{name}\n\n")
    return "\n".join(parts).rstrip() + "\n"


def test_the_stub_has_every_model_and_parameter():
    text = stub()
    if os.environ.get("UPDATE_GOLDEN"):
        STUB.write_text(text)
    assert STUB.read_text() == text


SCRIPT = """
from genn_eventprop import Dense, Network, Param, Trainer, Uniform
from genn_eventprop.losses import FirstSpikeCrossEntropy
from genn_eventprop.models import ALIF, LIF

net = Network()
hidden = net.population(LIF(tau_mem=Param(20.0, "ms"), tau_syn=5, v_thresh=Uniform(0.9, 1.1)), 100, name="hidden")
output = net.population(ALIF(), 5, name="output")
net.connect(net.input(40), hidden, Dense())
trainer = Trainer(net, FirstSpikeCrossEntropy(output), duration=50.0, dt=1.0)
LIF(tau=3)
LIF(tau_mem="fast")
net.population(LIF(), 100, name=3)
trainer.fit("events", epochs=3)
"""


def test_mypy_follows_the_installed_package(tmp_path):
    """As users run it, outside the checkout; what it says is about their script alone."""
    needs("mypy")
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    said = re.findall(r"^script.py:(\d+): error: .*  \[(.*)\]$", done.stdout, re.MULTILINE)
    wanted = [("11", "call-arg"), ("12", "arg-type"), ("13", "arg-type"), ("14", "arg-type")]
    assert said == wanted and done.stdout.count("error:") == len(wanted), done.stdout + done.stderr
    assert 'Unexpected keyword argument "tau"' in done.stdout
