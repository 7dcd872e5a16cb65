"""view RUN: one interactive HTML file that fetches nothing, whose numbers can be read without a mouse."""

import html.parser
import importlib
import shutil

import numpy as np
import pytest

from genn_eventprop.cli import main
from genn_eventprop.data import Events
from genn_eventprop.report.view import figures
from genn_eventprop.runs.run_folder import RunFolder
from genn_eventprop.training import Trial
from support.disks import small_files

PAGE = '''
"""Two classes, told by which channel spikes first."""
from dataclasses import dataclass
from genn_eventprop import Events
from genn_eventprop.experiment import LayeredConfig, layered

@dataclass(frozen=True)
class Config(LayeredConfig):
    hidden: tuple[int, ...] = (20,)
    duration: float = 20.0
    dt: float | None = 1.0
    spike_times: str = "grid"
    engine: str = "reference_clock"
    input_weight: tuple[float, float] = (3.0, 0.8)
    output_weight: tuple[float, float] = (1.0, 0.3)
    output: str = "LIF"
    epochs: int = 2

def build(config):
    samples = [([1.0, 4.0 + 0.3 * i], [i % 2, 1 - i % 2]) for i in range(12)]
    events = Events.from_samples(samples, 2, [i % 2 for i in range(12)])
    return layered(config, events[:6], events[6:9], events[9:], ["<left>", "right"])
'''


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("view")
    (folder / "page.py").write_text(PAGE)
    assert main(["train", str(folder / "page.py"), "--run-dir", str(folder / "run")]) == 0
    return folder / "run"


class Reader(html.parser.HTMLParser):
    """Tags that fetch, text by tag, and what is labelled."""

    def __init__(self):
        super().__init__()
        self.fetching, self.open, self.tables, self.labels, self.links, self.ids = [], [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag in ("script", "link", "img", "iframe"):
            self.fetching += [given[k] for k in ("src", "href") if k in given]
        self.links += [given["href"]] if tag == "a" else []
        self.ids += [given["id"]] if "id" in given else []
        self.labels += [given["aria-label"]] if tag == "figure" else []
        self.open.append(tag)
        if tag == "tr":
            self.tables.append([])

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if self.open and self.open[-1] in ("th", "td"):
            self.tables[-1].append(data)


def read(path):
    reader = Reader()
    reader.feed(path.read_text())
    return reader


def test_view_is_one_file_that_fetches_nothing(run, capsys):
    pytest.importorskip("plotly")
    assert main(["view", str(run)]) == 0
    assert capsys.readouterr().out.startswith(f"{run / 'view.html'}: ")
    reader = read(run / "view.html")
    assert reader.fetching == [] and "@import" not in (run / "view.html").read_text()
    body = (run / "view.html").read_text().split("</head>")[1]
    assert "http" not in body and "BASE_URL" not in body
    assert '["sendChartToCloud","sendDataToCloud",' in body.replace('", "', '","')  # the buttons that are left out
    assert [link[1:] for link in reader.links if link.startswith("#")] == ["epochs", "trials", "weights"]
    assert {"epochs", "trials", "weights"} <= set(reader.ids)
    silent = RunFolder(run).metrics[-1]["silent"]["hidden"]
    assert silent and f"hidden: <strong>{silent} of 20 neurons silent</strong>" in body
    for metrics in RunFolder(run).metrics:  # the table of epochs has the numbers of the curves
        row = next(row for row in reader.tables if row[0] == str(metrics["epoch"]))
        assert row[1:3] == [f"{metrics['train_loss']:.5g}", f"{100 * metrics['train_accuracy']:.2f}"]
        assert row[-4:-2] == [f"{metrics['spikes_per_neuron']['hidden']:.3f}", str(metrics["silent"]["hidden"])]
    figures_ = ["Loss, accuracy", "Sample 0: class <left>", "Sample 1: class right", "hidden_hidden.weight"]
    assert all(any(label.startswith(words) for label in reader.labels) for words in figures_)
    rows = [row for row in reader.tables if row[0].startswith("output ")]
    assert [row[0] for row in rows] == ["output <left>", "output right"] * 2


def test_samples_out_and_checkpoint(run, tmp_path, capsys):
    pytest.importorskip("plotly")
    out = tmp_path / "x.html"
    assert main(["view", str(run), "--samples", "2", "--out", str(out), "--checkpoint", "last"]) == 0
    labels = read(out).labels
    assert [label.split(":")[0] for label in labels if label.startswith("Sample")] == ["Sample 2"]
    assert main(["view", str(run), "--samples", "3", "--out", str(out)]) == 1
    assert "the folder has 3 samples, 0 to 2" in capsys.readouterr().err
    assert main(["view", str(tmp_path)]) == 1
    assert "is not a run folder" in capsys.readouterr().err


def test_a_running_training_without_samples(run, tmp_path, capsys):
    pytest.importorskip("plotly")
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "results.json").unlink()
    (copy / "samples.npz").unlink()
    assert main(["view", str(copy)]) == 0
    text = (copy / "view.html").read_text()
    assert "the training has not finished" in text and "no trial can be shown" in text
    (copy / "metrics.jsonl").unlink()
    assert main(["view", str(copy)]) == 1 and "has no epoch yet" in capsys.readouterr().err


def test_without_plotly_it_says_what_to_install(run, monkeypatch, capsys):
    real = importlib.import_module

    def missing(name, *rest):
        if name.startswith("plotly"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(figures.importlib, "import_module", missing)
    assert main(["view", str(run)]) == 1
    assert 'pip install "genn_eventprop[view]"' in capsys.readouterr().err


def test_large_matrices_are_thinned(monkeypatch):
    pytest.importorskip("plotly")
    monkeypatch.setattr(figures, "CELLS", 100)
    seen = []
    monkeypatch.setattr(figures, "_html", lambda figure, name, height: seen.append(figure) or "")
    values = np.arange(30.0 * 40).reshape(30, 40)
    figures.weights("a.weight", values, None)
    image = seen[0].data[-1]
    np.testing.assert_array_equal(image.z, values[::4, ::4])
    np.testing.assert_array_equal(image.x, np.arange(0, 40, 4))


def test_samples_of_three_classes():
    from genn_eventprop.report.view.build import _of_classes

    events = Events.from_samples([([1.0], [0])] * 9, 1, labels=[0, 0, 0, 1, 1, 2, 2, 3, 3])
    assert _of_classes(events) == [0, 3, 5]


def test_view_on_a_full_disk(run, tmp_path, capsys):
    pytest.importorskip("plotly")
    path = tmp_path / "page.html"
    path.write_text("an older page by genn_eventprop")
    with small_files(10_000):
        assert main(["view", str(run), "--out", str(path)]) == 1
    said = capsys.readouterr().err
    assert f"{path} cannot be written (File too large)" in said and "resume" not in said
    assert path.read_text() == "an older page by genn_eventprop"


def test_neurons_without_a_V_are_shown_by_their_first_state():
    """And an adjoint by its name: theta neurons have a phase."""
    pytest.importorskip("plotly")
    rng, none = np.random.default_rng(1), np.zeros(0)
    states = {"hidden": {"theta": rng.random((40, 3)), "lambda_theta": rng.random((40, 3))}}
    record = Trial(np.arange(40.0), states, {}, none, none, 2, -1, duration=40.0)
    text = figures.trial(record, "one", ()).encode().decode("unicode_escape")
    assert "hidden<br>theta" in text and "<sub>theta" in text
