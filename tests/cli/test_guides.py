"""README and the guides, followed from the top in an empty folder; what they show is what is printed.

docs/nir.md and docs/losses.md have such tests beside those of their subjects.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from support.extras import needs
from support.guides import ROOT, blocks, commands, run_in_order, shape, shell

ci = pytest.mark.ci


def test_the_readme_is_in_the_order_of_a_first_hour():
    text = (ROOT / "README.md").read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == [
        "Try it", "Train on your data", "Write a neuron, get its gradient", "Exact or on a grid", "Shape a loss",
        "Run experiments", "Engines", "Documents",
    ]  # fmt: skip
    assert text.index("![") < text.index("## Try it")
    for link in re.findall(r"\]\(((?!http)[^)#]+)", text):
        assert (ROOT / link).exists(), link


def test_the_first_program_of_the_readme_trains(tmp_path):
    program, shown = (next(b for b in blocks("README.md")[2:] if b.language == kind) for kind in ("python", "text"))
    assert program.name == "train.py"
    (tmp_path / program.name).write_text(program.text)
    last = shell("python train.py", tmp_path).splitlines()[-1]
    assert shape(last) == shape(shown.text)
    assert float(re.findall(r"[\d.]+", last)[0]) > 90


@ci
def test_the_two_commands_of_the_readme(tmp_path):
    """Without the environment, which `.ci/run` makes anew."""
    install, shown = blocks("README.md")[:2]
    assert "pip install -e ." in install.text
    (train,) = commands(install)
    said = shell(train, tmp_path)
    results = shown.text.strip().splitlines()
    for line in results:
        assert shape(line) in shape(said)
    assert all(float(line.split()[-2]) > 90 for line in said.splitlines() if line.startswith("test accuracy"))
    assert (tmp_path / "runs" / "yin_yang-seed1-1" / "plots").is_dir()


@ci
def test_the_neuron_of_the_readme(tmp_path):
    every = blocks("README.md")
    model = next(b for b in every if b.name == "my_neuron.py")
    (tmp_path / model.name).write_text(model.text)
    check = every[every.index(model) + 1]
    said = [shell(command, tmp_path) for command in commands(check)]
    assert "passed" in said[0] and "dV/dt" in said[1]
    program = next(b for b in every if b.name == "train.py").text
    swap = every[every.index(model) + 2].text
    lif = 'hidden = net.population(LIF(), 100, name="hidden")\n'
    assert lif in program and "ALIF(tau_mem=tau_mem)" in swap
    (tmp_path / "with_neuron.py").write_text(program.replace(lif, swap))
    assert float(re.findall(r"[\d.]+", shell("python with_neuron.py", tmp_path).splitlines()[-1])[0]) > 90


def test_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_in_order("docs/data.md", tmp_path)
    assert len(names["batch"]) == 3 and (tmp_path / "raster.png").is_file()
    assert len(names["train"]) + len(names["validation"]) + len(names["test"]) == len(names["words"])


@ci
@pytest.mark.parametrize("page", ["silent_and_exploding", "coming_from"])
def test_choices_and_remedies(page, tmp_path, monkeypatch, capsys):
    if page == "coming_from":
        needs("torch")
    monkeypatch.chdir(tmp_path)
    names = run_in_order(f"docs/{page}.md", tmp_path)
    if page == "silent_and_exploding":
        said = capsys.readouterr().out
        assert "Activity(spikes_per_neuron=0.0, silent=50, runaway=0)" in said
        # without births nothing changes, with them the layer wakes up: see the comment of the page
        silent, awake = (
            [float(n) for n in line[1:-1].split(", ")] for line in said.splitlines() if line.startswith("[0.0, ")
        )
        assert silent == [0.0] * 5 and awake[0] == 0.0 and awake[-1] > 0.2
        assert names["weak"].evaluate(names["events"]).activity["hidden"].spikes_per_neuron > 1.8


@ci
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler called cc")
def test_deploy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_in_order("docs/deploy.md", tmp_path)
    compile_it = blocks("docs/deploy.md")[0].text.splitlines()[-1]
    assert compile_it.startswith("cc ")
    shell(compile_it, tmp_path)
    assert names["moment"].prediction in range(-1, 6)


@ci
def test_experiments(tmp_path):
    """The page of one's own, with recordings made as data.md shows."""
    page = next(b for b in blocks("docs/experiments.md") if b.name == "my_experiment.py")
    (tmp_path / page.name).write_text(page.text)
    words = next(b for b in blocks("docs/data.md") if "words = " in b.text).text
    (tmp_path / "make.py").write_text(f'{words}\nwords.save("my_recordings.npz")\n')
    shell("python make.py", tmp_path)
    said = shell("genn-eventprop train my_experiment.py --epochs 2 --run-dir runs/digits", tmp_path)
    assert "test accuracy" in said
    assert "training curves" in shell("genn-eventprop plot runs/digits --only curves && echo training curves", tmp_path)


def test_the_page_on_currents(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_in_order("docs/currents.md", tmp_path)
    assert len(names["classes"]) == 20 and len(names["train"]["touch"]) == 40


@ci
def test_a_model_of_brian(tmp_path, monkeypatch):
    needs("brian2")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names = run_in_order("docs/from_brian.md", tmp_path)
    assert abs(names["result"].parameters["tauw"] - 100.0) < 1e-3
    assert names["trainer"].evaluate(names["yin_yang"].load("test")).accuracy > 0.88


@ci
def test_fit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert blocks("docs/fit.md")[0].name == "make_cell.py"
    names = run_in_order("docs/fit.md", tmp_path)
    assert (tmp_path / "runs/fit-adex-1/report.html").is_file()
    assert abs(names["result"].parameters["tau_mem"] - 12.0) < 0.01


# pages whose Python nothing else runs; after those of another page, where they go on with its names
OTHERS = {
    "add_a_neuron": (), "connectivity": (), "device": (), "engines": (), "index": (), "infer": (),
    "label_each_step": (), "observed": ("engines",), "own_data": (), "long_recordings": (),
}  # fmt: skip
ELSEWHERE = {
    "api": "pure/test_api_reference", "extend": "engine/contract/test_extended", "jax": "training/test_jax_layer",
    "integer_networks": "pure/test_integer", "losses": "pure/test_losses_docs", "nir": "cli/test_cli_nir",
    "pytorch": "training/test_torch_layer",
}  # fmt: skip


def test_every_page_with_python_is_run():
    """Tutorials are run by the site; code that no test runs goes stale."""
    here = Path(__file__).read_text()
    pages = {p.stem for p in (ROOT / "docs").glob("*.md") if any(b.language == "python" for b in blocks(p))}
    for page in pages - OTHERS.keys():
        text = (ROOT / "tests" / f"{ELSEWHERE[page]}.py").read_text() if page in ELSEWHERE else here
        assert f"{page}.md" in text or f'"{page}"' in text, f"no test runs docs/{page}.md"


@ci
@pytest.mark.parametrize("page", OTHERS)
def test_the_other_pages(page, tmp_path, monkeypatch):
    """With files under the names that a page takes for those of the reader."""
    monkeypatch.chdir(tmp_path)
    rng, names = np.random.default_rng(1), {}
    if page == "own_data":
        curves = [f"{','.join(f'{v:.3f}' for v in rng.normal(k % 2, 0.3, 30))}:{k % 2}" for k in range(40)]
        header = "@problemName x\n@timestamps false\n@univariate true\n@classLabel true 0 1\n@data\n"
        Path("BasicMotions_TRAIN.ts").write_text(header + "\n".join(curves) + "\n")
    if page == "long_recordings":  # the training of its first block, for no seed: test_carried.py does it
        monkeypatch.setattr("sys.argv", ["PAGE.py", "0"])
        h5py = pytest.importorskip("h5py")
        with h5py.File("night.h5", "w") as file:
            file["spikes/t"], file["spikes/channel"] = np.sort(rng.uniform(0, 3600, 200)), rng.integers(0, 700, 200)
        names["labels"] = np.zeros((1, 3600), int)
    for name in (*OTHERS[page], page):
        for block in blocks(f"docs/{name}.md"):
            if block.name:
                Path(block.name).write_text(block.text)
            if block.language == "python":
                exec(compile(block.text, f"docs/{name}.md", "exec"), names)
