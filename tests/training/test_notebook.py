"""Progress in a notebook that is really executed: one line that moves."""

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

CODE = """
import numpy as np
from genn_eventprop import Dense, Events, Network, Normal, Trainer
from genn_eventprop.losses import MaxVoltageCrossEntropy
from genn_eventprop.models import LI, LIF

net = Network()
source, hidden = net.input(6), net.population(LIF(), 8, name="hidden")
output = net.population(LI(), 3, name="output")
net.connect(source, hidden, Dense(Normal(1.2, 0.8)))
net.connect(hidden, output, Dense(Normal(0.3, 0.6)))
rng = np.random.default_rng(4)
samples = [(np.sort(rng.uniform(0, 18, 9)), rng.integers(0, 6, 9)) for _ in range(100)]
events = Events.from_samples(samples, n_channels=6, labels=rng.integers(0, 3, 100))
trainer = Trainer(net, MaxVoltageCrossEntropy(output), duration=20.0, dt=1.0, engine="reference_clock", batch_size=8)
results = trainer.fit(events[:50], validation=events[50:], epochs=4)
"""


def test_a_notebook_has_one_line_that_moves():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CODE)])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    text = "".join(output["text"] for output in notebook.cells[0].outputs)
    before, *moves = text.split("\r")
    assert before.startswith("engine reference_clock") and before.endswith("\n")
    assert len(moves) > 4, "it moves"
    assert "".join(moves).count("\n") == 1 and moves[-1].endswith("\n"), "and stays one line"
    assert moves[-1].startswith("100 %") and "epoch 4/4  loss " in moves[-1] and "validation" in moves[-1]
