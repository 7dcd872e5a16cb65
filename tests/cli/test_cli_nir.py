"""``export RUN model.nir`` and ``train --from-nir``; docs/nir.md."""

import re
from pathlib import Path

import numpy as np
import pytest

import genn_eventprop
from genn_eventprop import nir as interop
from genn_eventprop.cli import main
from genn_eventprop.deploy.integer import IntegerModel
from support.extras import needs

nir = needs("nir")
TRAIN = ["train", "loss_shaping_toy", "--quick", "--epochs", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nir") / "run"
    assert main([*TRAIN, "--run-dir", str(folder)]) == 0
    return folder


def test_a_run_becomes_a_graph_and_back(run, tmp_path, capsys):
    out = tmp_path / "model.nir"
    capsys.readouterr()
    assert main(["export", str(run), str(out)]) == 0
    said = capsys.readouterr().out
    for part in ("in the dialect spec", "time steps of 1 ms", "the loss, which reads", "apply beforehand: Crop"):
        assert part in said
    model, found = genn_eventprop.load(run), interop.from_nir(out)
    assert set(found.values) == set(model.engine.parameters)
    for name, value in model.engine.parameters.items():
        np.testing.assert_allclose(np.broadcast_to(found.values[name], value.shape), value, rtol=1e-12, err_msg=name)
    model.close()
    assert main(["export", str(run), str(out)]) == 1
    assert "exists; give another name, or --overwrite" in capsys.readouterr().err
    assert main(["export", str(run), str(out), "--overwrite", "--bits", "8"]) == 1
    assert "are for C files" in capsys.readouterr().err
    assert main(["export", str(run), str(tmp_path / "w.npz"), "--nir-dialect", "norse"]) == 1
    assert capsys.readouterr().err.startswith("genn-eventprop: --nir-dialect is for NIR files")


def test_a_graph_has_the_numbers_that_integers_stand_for(run, tmp_path, capsys):
    out = tmp_path / "model.nir"
    capsys.readouterr()
    assert main(["export", str(run), str(out), "--profile", "loihi2"]) == 0
    assert "numbers of the profile loihi2" in capsys.readouterr().out
    integers = IntegerModel(genn_eventprop.load(run), "loihi2").network
    found = interop.from_nir(out).values
    for name in ("input_hidden.weight", "hidden_output.weight", "hidden.tau_mem", "hidden.v_thresh"):
        value = integers.values[name]
        np.testing.assert_allclose(np.broadcast_to(found[name], value.shape), value, rtol=1e-9, err_msg=name)
    assert len(np.unique(found["input_hidden.weight"])) <= 255


def test_training_begins_with_a_graph(run, tmp_path, capsys):
    out = tmp_path / "model.nir"
    assert main(["export", str(run), str(out)]) == 0
    again = ["--run-dir", str(tmp_path / "again"), "--learning-rate", "1e-12", "--from-nir"]
    assert main([*TRAIN, *again, str(out)]) == 0
    one, other = genn_eventprop.load(run), genn_eventprop.load(tmp_path / "again")
    for name, value in one.engine.parameters.items():
        np.testing.assert_allclose(other.engine.parameters[name], value, rtol=1e-5, atol=1e-7, err_msg=name)
    one.close(), other.close()
    capsys.readouterr()
    assert main([*TRAIN, "--run-dir", str(tmp_path / "more"), "--from-nir", "model.h5"]) == 1
    assert "--from-nir takes a file NAME.nir" in capsys.readouterr().err
    other = Path(__file__).parent.parent / "golden" / "nir" / "snntorch.nir"
    assert main([*TRAIN, "--run-dir", str(tmp_path / "more"), "--from-nir", str(other)]) == 1
    assert "the graph has 5 inputs and 3 outputs, this experiment has 40 and 6" in capsys.readouterr().err


@pytest.mark.ci
def test_training_takes_the_network_of_a_graph(tmp_path, capsys):
    """One with other nodes than the experiment: another hidden layer, other names."""
    rng, out = np.random.default_rng(1), tmp_path / "other.nir"
    ones = lambda n, value: np.full(n, value)  # noqa: E731
    middle = nir.CubaLIF(
        tau_syn=ones(12, 0.005), tau_mem=ones(12, 0.02), r=ones(12, 1.0), v_leak=ones(12, 0.0), v_reset=ones(12, 0.0),
        v_threshold=ones(12, 1.0), w_in=ones(12, 0.005),
    )  # fmt: skip
    last = nir.CubaLI(
        tau_syn=ones(6, 0.005), tau_mem=ones(6, 0.02), r=ones(6, 1.0), v_leak=ones(6, 0.0), w_in=ones(6, 0.005)
    )  # fmt: skip
    nodes = {
        "input": nir.Input(np.array([40])), "fc1": nir.Linear(rng.normal(0.2, 0.06, (12, 40))), "middle": middle,
        "fc2": nir.Linear(rng.normal(0, 0.3, (6, 12))), "last": last, "output": nir.Output(np.array([6])),
    }  # fmt: skip
    nir.write(out, nir.NIRGraph(nodes, list(zip(list(nodes)[:-1], list(nodes)[1:]))))
    assert main([*TRAIN, "--run-dir", str(tmp_path / "run"), "--learning-rate", "1e-12", "--from-nir", str(out)]) == 0
    assert f"the network is that of {out}" in "".join(capsys.readouterr())
    model = genn_eventprop.load(tmp_path / "run")
    assert [p.name for p in model.plan.populations] == ["middle", "last"]
    want = interop.from_nir(out).values["fc1.weight"]
    np.testing.assert_allclose(model.engine.parameters["fc1.weight"], want, rtol=1e-5, atol=1e-7)
    model.close()


@pytest.mark.ci
def test_the_page(tmp_path, monkeypatch, capsys):
    """All code of docs/nir.md runs, in order."""
    monkeypatch.chdir(tmp_path)
    names = {}
    text = (Path(__file__).parents[2] / "docs" / "nir.md").read_text()
    for language, block in re.findall(r"```(python|bash)\n(.*?)```", text, re.DOTALL):
        if language == "python":
            exec(compile(block, "docs/nir.md", "exec"), names)
        else:
            assert all(main(line.split()[1:]) == 0 for line in block.splitlines())
    said = capsys.readouterr().out
    assert "()\n('out',) ()\n" in said and "not in the file, apply beforehand" in said
    assert isinstance(names["graph"].nodes["hidden"], nir.CubaLIF)
