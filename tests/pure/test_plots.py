"""Figures are made from edge cases without a warning, show the numbers they are given, and touch no global state."""

import dataclasses

import matplotlib
import numpy as np
import pytest

from genn_eventprop.engines import Spikes
from genn_eventprop.errors import SettingError
from genn_eventprop.report import plots
from genn_eventprop.report.plots.style import VERMILION
from genn_eventprop.training import Trial


def metrics(epochs, validation=True):
    return [
        {
            "epoch": e + 1,
            "train_loss": 1.0 / (e + 1),
            "train_accuracy": 0.5 + 0.04 * e,
            "validation_loss": 2.0 / (e + 1) if validation else None,
            "validation_accuracy": 0.45 + 0.04 * e if validation else None,
            "spikes_per_neuron": {"hidden": 1.5, "output": 0.5},
            "silent": {"hidden": 3, "output": 0},
        }
        for e in range(epochs)
    ]


@pytest.mark.parametrize(("epochs", "validation"), [(1, True), (2, False), (12, True)])
def test_learning_curves(tmp_path, epochs, validation):
    fig = plots.learning_curves(metrics(epochs, validation), 0.98, {"hidden": 8})
    loss, accuracy, activity, silent = fig.axes
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [50 + 4 * e for e in range(epochs)])
    assert len(loss.lines) == 1 + validation
    assert "hidden: 1.50 at the end" in [t.get_text() for t in activity.get_legend().get_texts()]
    assert "hidden: 3 of 8 at the end" in [t.get_text() for t in silent.get_legend().get_texts()]
    assert plots.save(fig, tmp_path / "new" / "curves.png").stat().st_size > 10_000


def test_no_epoch():
    with pytest.raises(SettingError, match="there is no epoch to plot yet"):
        plots.learning_curves([])


def test_disc_and_inputs():
    x, y, inside = plots.disc(resolution=41)
    assert inside.shape == (41, 41) and len(x) == len(y) == inside.sum()
    assert np.all((x - 0.5) ** 2 + (y - 0.5) ** 2 <= 0.25 + 1e-12) and inside[20, 20] and not inside[0, 0]
    rows, columns = np.nonzero(inside)
    np.testing.assert_allclose(x, columns / 40)
    np.testing.assert_allclose(y, rows / 40)
    np.testing.assert_allclose(plots.four_inputs(x, y)[7], [x[7], y[7], 1 - x[7], 1 - y[7]])


@pytest.mark.parametrize("silent", [False, True])
def test_plane(tmp_path, silent):
    x, y, inside = plots.disc(31)
    times = np.stack([10 + 20 * x, 10 + 20 * y, np.full_like(x, np.inf)], axis=1)
    if silent:
        times[:] = np.inf
    predictions = np.full(len(x), -1) if silent else times.argmin(axis=1)
    fig = plots.yin_yang_plane(x, y, inside, predictions, times, ("yin", "yang", "dot"))
    drawn = fig.axes[0].collections[0].get_array()
    np.testing.assert_array_equal(drawn[inside], predictions + 1)
    assert drawn.mask[0, 0]
    legend = [t.get_text() for t in fig.axes[0].get_legend().get_texts()]
    assert ("undecided" in legend) == silent
    plots.save(fig, tmp_path / "plane.png")


def record(adjoint=True, spiking=True, size=30):
    times = np.arange(50) * 0.5
    states = {}
    for name, n in (("hidden", size), ("output", 3)):
        states[name] = {"V": np.random.default_rng(1).random((50, n))}
        if adjoint:
            states[name]["lambda_V"] = np.outer(times, np.arange(n))
    one = np.array([0, 0]), np.array([5.0, 9.0]), np.array([size - 9, 4])
    spikes = {"hidden": Spikes(*one)} if spiking else {}
    return Trial(times, states, spikes, np.array([0.0, 3.0]), np.array([4, 1]), 5, 1 if adjoint else -1)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("adjoint", [True, False])
@pytest.mark.parametrize("spiking", [True, False])
def test_trial(tmp_path, adjoint, spiking):
    fig = plots.trial(record(adjoint, spiking), class_names=("yin", "yang", "dot"))
    assert [ax.get_ylabel().split("\n")[0] for ax in fig.axes] == [
        "input",
        *(["hidden"] if spiking else []),
        *2 * ["hidden"],
        *2 * ["output"],
    ]
    assert ("class “yang”" in fig.axes[0].get_title("left")) == adjoint
    assert fig.axes[0].get_ylim()[0] < 0 and fig.axes[0].get_ylim()[1] > 4
    plots.save(fig, tmp_path / "trial.png")


def test_classes_are_those_of_the_output_that_decides():
    states = record().states | {"aux": {"V": np.random.default_rng(2).random((50, 2))}}
    fig = plots.trial(dataclasses.replace(record(), states=states, output="output"), class_names=("yin", "yang", "dot"))
    shown = [[t.get_text() for t in ax.get_legend().get_texts()] for ax in fig.axes if ax.get_legend()]
    assert shown[1:] == [["yin", "yang", "dot"], ["neuron 0", "neuron 1"]]


def test_curves_of_many_populations_have_room(tmp_path):
    many = {f"a long name of layer {i}": 0.5 for i in range(6)}
    one = {"epoch": 1, "train_loss": 1.0, "validation_loss": None, "train_accuracy": 0.5, "validation_accuracy": None}
    fig = plots.learning_curves([{**one, "spikes_per_neuron": many, "silent": many}] * 2, sizes=dict.fromkeys(many, 9))
    plots.save(fig, tmp_path / "curves.png")
    boxes = [ax.get_legend().get_window_extent() for ax in fig.axes[2:]]
    assert boxes[0].x1 <= boxes[1].x0 and boxes[1].x1 <= fig.bbox.x1 and fig.axes[0].bbox.width > 0.3 * fig.bbox.width


def test_trial_plot_marks_the_right_output_and_thresholds():
    states = record().states | {"output": {"V": np.random.default_rng(2).random((50, 12))}}
    shown = plots.trial(dataclasses.replace(record(), states=states, thresholds={"hidden": 0.7}), prediction=3)
    assert shown.axes[0].get_title("left") == "class “1”; predicted “3”, wrong"
    hidden, output = shown.axes[2], shown.axes[4]
    assert [t.get_text() for t in output.get_legend().get_texts()] == ["neuron 1, right", "neuron 3, predicted"]
    assert len(output.lines) == 12 + 2 + 1  # all in grey, two in colour, zero
    levels = [[line.get_ydata()[0] for line in ax.lines if len(line.get_ydata()) == 2] for ax in (hidden, output)]
    assert levels == [[0.0, 0.7], [0.0]]


def test_trial_plot_chooses_neurons():
    fig = plots.trial(record())
    labels = [t.get_text() for t in fig.axes[2].get_legend().get_texts()]
    assert labels == ["neuron 4", "neuron 21"]
    fig = plots.trial(record(), neurons={"hidden": [2], "output": [0]})
    np.testing.assert_allclose(fig.axes[2].lines[0].get_ydata(), record().states["hidden"]["V"][:, 2])


@pytest.mark.parametrize("counts", [np.zeros((4, 9), int), np.arange(60).reshape(6, 10), np.eye(5, dtype=int)])
def test_spike_counts(tmp_path, counts):
    fig = plots.spike_counts(counts, "hidden")
    heights = [bar.get_height() for bar in fig.axes[0].patches]
    assert sum(heights) == pytest.approx(100)
    silent = np.count_nonzero(counts.sum(0) == 0)
    assert f"{silent} of {counts.shape[1]} neurons silent" in fig.axes[1].texts[0].get_text()
    assert (fig.axes[1].texts[0].get_color() == VERMILION) == (2 * silent > counts.shape[1])
    plots.save(fig, tmp_path / "counts.png")


def test_global_settings_are_left_alone():
    before = dict(matplotlib.rcParams)
    plots.learning_curves(metrics(3))
    assert dict(matplotlib.rcParams) == before


def layered(label=1, outputs=2, spiking=True, label_free=False):
    """A record of 3 inputs, 30 hidden and some output neurons over 20 ms."""
    rng = np.random.default_rng(0)
    times = np.arange(20.0)
    states = {"hidden": {"V": rng.random((20, 30))}, "output": {"V": rng.normal(size=(20, outputs))}}
    spikes = {"hidden": Spikes(np.zeros(40, int), np.sort(rng.uniform(0, 20, 40)), rng.integers(0, 30, 40))}
    if spiking:
        spikes["output"] = Spikes(np.zeros(1, int), np.array([7.0]), np.array([1]))
    return Trial(times, states, spikes, np.array([1.0, 2.0]), np.array([0, 2]), 3, -1 if label_free else label)


@pytest.mark.one_in(4)
@pytest.mark.parametrize(("outputs", "label_free"), [(2, True), (7, False), (12, True), (12, False)])
def test_layers_from_input_to_readout(tmp_path, outputs, label_free):
    record = layered(outputs=outputs, spiking=outputs == 2, label_free=label_free)
    fig = plots.layers(record, "output", "V", 0, ["no", "yes"])
    assert [ax.get_ylabel() for ax in fig.axes] == [
        "input",
        "hidden",
        *(["output"] if outputs == 2 else []),
        "output $V$",
    ]
    np.testing.assert_allclose(fig.axes[1].collections[0].get_offsets()[:, 0], record.spikes["hidden"].time)
    assert "40 spikes" in fig.axes[1].texts[0].get_text()
    texts = [t.get_text() for t in fig.axes[-1].get_legend().get_texts()]
    if outputs <= 7:
        assert texts[:2] == ["no", "yes"] and len(texts) == outputs
    else:  # the predicted class stands beside the right one
        assert texts == (["no, predicted"] if label_free else ["yes, right", "no, predicted"])
        others = record.states["output"]["V"].max(axis=0)
        others[1] = -np.inf if not label_free else others[1]
        words = f"{(['no', 'yes'] + [str(k) for k in range(2, 12)])[int(others.argmax())]}, highest"
        called = plots.layers(record, "output", "V", None if label_free else 1, ["no", "yes"])
        texts = [t.get_text() for t in called.axes[-1].get_legend().get_texts()]
        assert texts == ([words] if label_free else ["yes, right", words + " other"])
    title = fig.axes[0].get_title(loc="left")
    assert title == ("no label; predicted “no”" if label_free else "class “yes”; predicted “no”, wrong")
    assert plots.save(fig, tmp_path / "x.png").stat().st_size > 5000


def test_confusion_counts_and_shares(tmp_path):
    matrix = np.array([[8, 2, 0], [1, 9, 0]])
    fig = plots.confusion(matrix, ["no", "yes"])
    image = fig.axes[0].images[0].get_array()
    np.testing.assert_allclose(image, [[80, 20], [10, 90]])
    assert sorted(t.get_text() for t in fig.axes[0].texts) == ["1", "2", "8", "9"]
    assert fig.axes[0].get_title(loc="left") == "Confusion: 85.00 % of 20 right"
    matrix[0] = [0, 0, 3]
    fig = plots.confusion(matrix)
    assert [t.get_text() for t in fig.axes[0].get_xticklabels()] == ["0", "1", "undecided"]
    empty = plots.confusion(np.zeros((35, 36), int))
    assert not empty.axes[0].texts and plots.save(empty, tmp_path / "x.png").exists()


def test_several_runs_on_one_page(tmp_path):
    runs = {"a": metrics(5), "b": metrics(3, validation=False), "new": []}
    fig = plots.compare_runs(runs, {"a": "test 91.00 %"})
    loss, accuracy, activity, silent = fig.axes
    assert len(accuracy.lines) == 3  # training and validation of a, training of b
    np.testing.assert_allclose(accuracy.lines[1].get_ydata(), [45 + 4 * e for e in range(5)])
    np.testing.assert_allclose(activity.lines[0].get_ydata(), 1.5)
    np.testing.assert_allclose(silent.lines[0].get_ydata(), 3)
    texts = [t.get_text() for t in fig.legends[0].get_texts()]
    assert texts == ["a  test 91.00 %", "b", "solid: validation", "dashed: training"]
    assert plots.save(plots.compare_runs({f"run{i}": metrics(2) for i in range(12)}), tmp_path / "x.png").exists()
    with pytest.raises(SettingError, match="there is no epoch to plot yet"):
        plots.compare_runs({"new": []})


def test_axes_that_can_be_read():
    """Labels of many decades do not lie on each other; an axis of counts that are all zero shows 0 and 1."""
    lines = [m | {"train_loss": 10.0**-e, "silent": dict.fromkeys(m["silent"], 0)} for e, m in enumerate(metrics(6))]
    fig = plots.compare_runs({"a": lines})
    low, high = fig.axes[0].get_ylim()
    assert sum(low <= tick <= high for tick in fig.axes[0].get_yticks()) <= 7
    assert fig.axes[3].get_ylim() == (0.0, 1.0)


def test_weights_before_and_after(tmp_path):
    rng = np.random.default_rng(0)
    now = {"a.weight": rng.normal(size=(4, 6)), "hidden.tau_mem": np.full(6, 20.0), "b.weight": np.zeros((1, 1))}
    fig = plots.weights(now, {name: value + 1 for name, value in now.items()})
    np.testing.assert_allclose(fig.axes[1].images[0].get_array(), now["a.weight"])
    assert [t.get_text() for t in fig.axes[0].get_legend().get_texts()] == ["before training", "after training"]
    (counts,) = [patch.get_data().values for patch in fig.axes[0].patches if hasattr(patch, "get_data")]
    assert counts.sum() == 24  # every weight is in a bin, also beyond the ends
    assert plots.save(fig, tmp_path / "x.png").exists()


def test_wide_spike_counts_are_binned_and_none_is_lost():
    counts = np.random.default_rng(0).integers(0, 500, (20, 10))
    fig = plots.spike_histograms({"hidden": counts, "output": np.zeros((20, 3), int)})
    bars = fig.axes[0].patches
    assert len(bars) <= 60 and sum(bar.get_height() for bar in bars) == pytest.approx(100.0)
    assert "3 of 3 neurons silent" in fig.axes[3].texts[0].get_text()


def test_axes_say_whether_they_are_linear():
    high, low = metrics(5), [m | {"train_accuracy": 0.3, "validation_accuracy": 0.2} for m in metrics(5)]
    high = [m | {"validation_accuracy": 0.95} for m in high]
    for lines, words in ((high, "not linear"), (low, "linear scale")):
        for fig in (plots.learning_curves(lines), plots.compare_runs({"a": lines})):
            scale = fig.axes[1].get_yscale()
            assert words in fig.axes[1].get_ylabel() and (scale == "linear") == (words == "linear scale")
    falls = [m | {"train_loss": 10.0**-e, "validation_loss": 1.0} for e, m in enumerate(metrics(3))]
    assert plots.learning_curves(falls).axes[0].get_ylabel() == "mean loss, log scale"
    counts = np.zeros((50, 40), int)
    counts[:, 0] = np.arange(50)
    assert plots.spike_counts(counts, "hidden").axes[0].get_ylabel().endswith("log scale)")


def test_legends_lie_below_the_curves(tmp_path):
    fig = plots.learning_curves(metrics(5), target=0.9, sizes={"hidden": 8, "output": 2})
    plots.save(fig, tmp_path / "curves.png")
    for ax in fig.axes:
        assert ax.get_legend().get_window_extent().y1 < ax.get_window_extent().y0
    assert "published 90.0 %" in [t.get_text() for t in fig.axes[1].get_legend().get_texts()]
