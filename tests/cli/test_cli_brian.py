"""Groups in scripts of Brian wherever a model is named."""

from __future__ import annotations

import pytest

from genn_eventprop.cli import main
from genn_eventprop.experiment.options import neuron_of
from support.extras import needs

needs("brian2")
SCRIPT = """
from brian2 import Hz, Network, NeuronGroup, PoissonGroup, Synapses, ms

tau, tau_syn = 20 * ms, 5 * ms
cells = NeuronGroup(
    2,
    '''dV/dt = (I + J - V) / tau : 1 (unless refractory)
    dI/dt = -I / tau_syn : 1
    dJ/dt = -J / tau_syn : 1''',
    threshold="V > 1", reset="V = 0", refractory=1 * ms, method="exact", name="cells",
)
readout = NeuronGroup(1, "dv/dt = -v / tau : 1", method="exact", name="readout")
synapses = Synapses(PoissonGroup(3, rates=10 * Hz), cells, "w : 1", on_pre="I_post += w")
both = Network(cells, readout)
noisy = NeuronGroup(1, "dv/dt = -v / tau + xi / tau**0.5 : 1", name="noisy")
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(SCRIPT)
    return "mine.py"


def test_show_and_neuron(script, capsys):
    assert main(["show", f"{script}:cells"]) == 0
    said = capsys.readouterr().out
    for line in ("dV/dt = (I + J - V) / tau", "mode refractory, for refractory ms, then free", "tau_syn = 5.0 ms"):
        assert line in said
    # what the script's synapses change, and not J too
    assert "receptor I" in said and "receptor J" not in said
    neuron = neuron_of(f"{script}:cells(tau=10)", "--neuron")
    assert neuron.params["tau"].value == 10.0


@pytest.mark.parametrize(
    "name, words",
    [
        ("cell", "did you mean 'cells'"),
        ("synapses", "'synapses' is not a NeuronModel"),
        ("both", "the network has 2 groups; name one of them: cells, readout"),
        ("noisy", "noisy, dv/dt: xi is random"),
    ],
)
def test_mistakes(script, name, words, capsys):
    assert main(["show", f"{script}:{name}"]) != 0
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_train_wants_an_experiment(script, capsys):
    assert main(["train", f"{script}:cells"]) != 0
    assert f"an experiment trains it: yin_yang --neuron {script}:cells" in capsys.readouterr().err


@pytest.mark.ci
def test_gradcheck(script, capsys):
    assert main(["gradcheck", f"{script}:cells", "--quick"]) == 0
    assert "passed: 1 network" in capsys.readouterr().out
