"""Several losses: gradients, targets by name, metrics, run folders, and what is refused. Engines: `test_engines`."""

import json
from dataclasses import replace

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer, load, losses
from genn_eventprop.cli.train import describe_results
from genn_eventprop.data.events.chunks import chunks
from genn_eventprop.engines import create
from genn_eventprop.errors import DataError, EngineError, LossError
from genn_eventprop.models import LI, LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.training.callbacks import describe_epoch
from genn_eventprop.verify.gradients import check_network


def small():
    """A network whose hidden layer, a second readout and the output are read."""
    net = Network()
    hidden, aux = net.population(LIF(), 4, name="hidden"), net.population(LI(), 3, name="aux")
    output = net.population(LI(), 2, name="output")
    net.connect(net.input(3), hidden, Dense(Normal(2.5, 0.5)))
    net.connect(hidden, aux, Dense(Normal(0.3, 0.5)))
    net.connect(hidden, output, Dense(Normal(0.3, 0.5)), delay=1.0)
    asked = [
        0.8 * losses.IntegratedVoltageCrossEntropy(output),
        0.5 * losses.MaxVoltageCrossEntropy(aux).against("speaker"),
        losses.SquaredError(hidden).against("pattern") * 2,
    ]
    return net, asked


def events(n=4, T=20.0):
    rng = np.random.default_rng(1)
    samples = [(np.sort(rng.uniform(0, 0.8 * T, 12)), rng.integers(0, 3, 12)) for _ in range(n)]
    speaker = rng.integers(0, 3, n)
    speaker[0] = -1
    named = {"label": rng.integers(0, 2, n), "speaker": speaker, "pattern": rng.normal(0.2, 0.1, (n, 4))}
    return Events.from_samples(samples, 3, targets=named)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("engine", "spike_times"), [("reference_clock", "grid"), ("reference_event", "exact")])
def test_losses_and_gradients_are_the_sums_of_single_ones(engine, spike_times):
    def run(asked):
        plan = make_plan(net, asked, dt=0.5, duration=20.0, spike_times=spike_times)
        made = create(plan, net.initial_parameters(2), engine=engine)
        data = made.load(events())
        if len(asked) == 1 and asked[0].answer == "speaker":  # a main loss needs its target everywhere
            data = made.load(events()[1:])
        return made.run(data, np.arange(len(data)), training=True), made.gradients

    net, asked = small()
    result, gradients = run(asked)
    assert result.parts["output"].loss.shape == (4,) and np.isnan(result.parts["aux"].loss[0])
    total = sum(each.factor * np.nan_to_num(result.parts[each.output].loss) for each in asked)
    np.testing.assert_allclose(result.loss, total, rtol=1e-14)
    for name in gradients:
        # 3 of 4 samples have a speaker
        parts = [run([each])[1][name] * (0.75 if each.answer == "speaker" else 1.0) for each in asked]
        np.testing.assert_allclose(gradients[name], sum(parts), rtol=1e-10, atol=1e-14)


@pytest.mark.ci
def test_gradients_against_differences():
    net, asked = small()
    report = check_network(net, asked, events=events(2), duration=20.0, seed=2)
    assert report.passed, report.text()


def test_metrics_run_folder_and_predictions(tmp_path):
    net, asked = small()
    settings = {"duration": 20.0, "dt": 0.5, "spike_times": "grid", "batch_size": 3, "progress": False, "threads": 1}
    data = events(6)
    results = Trainer(net, asked, run_dir=tmp_path / "run", **settings).fit(data, data, data, epochs=1)
    assert list(results["losses"]) == ["output", "aux", "hidden"]
    epoch = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    metrics, line = epoch["losses"], describe_epoch(epoch, 1)
    assert f"  aux {100 * metrics['aux']['validation_accuracy']:.2f} %  hidden loss " in line
    said = f"{'test accuracy of aux':45} {100 * results['losses']['aux']['test_accuracy']:.2f} %"
    assert said in describe_results({**results, "run_dir": "run"})
    assert metrics["aux"].keys() == {"train_loss", "train_accuracy", "validation_loss", "validation_accuracy"}
    assert metrics["hidden"]["train_accuracy"] is None and metrics["hidden"]["train_loss"] > 0
    model = load(tmp_path / "run")
    assert [(x.output, x.factor, x.answer) for x in model.plan.losses] == [
        ("output", 0.8, ""), ("aux", 0.5, "speaker"), ("hidden", 2.0, "pattern")
    ]  # fmt: skip
    evaluation = model.evaluate(data)
    assert evaluation.parts["aux"].accuracy == pytest.approx(results["losses"]["aux"]["test_accuracy"])
    assert np.array_equal(evaluation.parts["output"].predictions, model.predict([data.sample(i) for i in range(6)]))
    resumed = Trainer(*small(), **settings).resume(tmp_path / "run")
    assert resumed.fit(data, data, data, epochs=2)["epochs"] == 2


def test_targets_by_name(tmp_path):
    data = events(3)
    for path in (tmp_path / "set.npz", tmp_path / "set"):
        data.save(path)
        again = Events.load(path)
        assert np.array_equal(again.targets["speaker"], data.targets["speaker"]) and again.labels.tolist()
    both = Events.concatenate([data, data[1:]])
    assert both.targets["pattern"].shape == (5, 4) and both[4].targets["speaker"] == data.targets["speaker"][2]
    assert len(chunks(data, 10.0, 0.5).targets["speaker"]) == 6
    with pytest.raises(DataError, match=r"target 'speaker' is \(2,\) int64; give 3 classes"):
        replace(data, targets={"speaker": np.array([0, 1])})
    with pytest.raises(DataError, match="the labels are given twice"):
        replace(data, targets={"label": [0, 1, 0]})


def test_what_does_not_fit_is_refused():
    net, (main, aux, hidden) = small()
    read = {p.name: p for p in net.populations}
    plan = make_plan(net, [main, aux], dt=0.5, duration=20.0)
    engine = create(plan, net.initial_parameters(1), engine="reference_clock")
    with pytest.raises(DataError, match="compared with 'speaker', but the data has no such target"):
        engine.load(Events.from_samples([([1.0], [0])], 3, labels=[0]))
    with pytest.raises(DataError, match=r"sample 0 has speaker 7, but the output 'aux' has 3 classes"):
        engine.load(Events.from_samples([([1.0], [0])], 3, labels=[0], targets={"speaker": [7]}))
    with pytest.raises(EngineError, match="a loss in Python reads only one population"):
        engine.forward(engine.load(events()), [0])
    for wrong, message in (
        ([main, 2 * main], "two losses read 'output'"),
        ([main, "max"], "got 'max'"),
        ([main, losses.Loss(read["aux"], "end", also=("trace",))], "also= is for a single loss"),
    ):
        with pytest.raises(LossError, match=message):
            make_plan(net, wrong, dt=0.5, duration=20.0)
    with pytest.raises(LossError, match="must be a finite number > 0"):
        0.0 * main
    with pytest.raises(LossError, match=r"several losses are a list: loss=\[0.8 \* a, 0.2 \* b\]"):
        0.8 * main + 0.2 * main
