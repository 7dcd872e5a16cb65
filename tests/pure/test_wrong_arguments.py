"""Every public function and class called with things of another kind: what goes wrong is said in words of the project.

Each call below is right; then one argument after the other is replaced. Names that are added to a public module fail
`test_every_public_name_is_tried` until they have a call here.
"""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genn_eventprop as ge
from genn_eventprop import losses as lo
from genn_eventprop import optimisers as op
from genn_eventprop import regularisers as rg
from genn_eventprop import training
from genn_eventprop.data import augment
from genn_eventprop.data.augment.counter import CounterRNG
from genn_eventprop.data.events import encode
from genn_eventprop.data.readers import (
    aer,
    arrays,
    braille,
    camera,
    fsdd,
    hdf5,
    mnist,
    structured,
    text,
    tonic,
    ts,
    yin_yang,
)
from genn_eventprop.data.readers import currents as readers
from genn_eventprop.errors import EventPropError
from genn_eventprop.models import LI, LIF
from support.wrong_values import WRONG

TIMES, LABELS = [([1.0, 2.0], [0, 1]), ([3.0], [1]), ([2.0], [0])], [0, 1, 0]


def events() -> ge.Events:
    return ge.Events.from_samples(TIMES, 2, LABELS, ["a", "b", "a"])


def currents() -> ge.Currents:
    return ge.Currents(np.ones((3, 5, 2), np.float32), 1.0, labels=np.array(LABELS))


def network() -> ge.Network:
    net = ge.Network()
    inp, hidden = net.input(2), net.population(LIF(), 3, name="hidden")
    out = net.population(LI(), 2, name="output")
    net.connect(inp, hidden, ge.Dense(ge.Normal(2.0, 0.5)))
    net.connect(hidden, out, ge.Dense(ge.Normal(1.0, 0.5)))
    return net


def squares(r: Any, y: Any) -> Any:
    return (r**2).sum(), 2 * r


def spiking() -> ge.Network:
    net = ge.Network()
    inp, out = net.input(2), net.population(LIF(), 2, name="output")
    net.connect(inp, out, ge.Dense(ge.Normal(2.0, 0.5)))
    return net


def output() -> ge.Population:
    return network().populations[-1]


def hidden() -> ge.Population:
    return network().populations[0]


def loss(net: ge.Network | None = None) -> lo.Loss:
    return lo.MaxVoltageCrossEntropy((net or network()).populations[-1])


def trainer(**changes: Any) -> ge.Trainer:
    net = network()
    return ge.Trainer(
        net, **{"loss": loss(net), "duration": 10.0, "dt": 1.0, "engine": "reference_clock", **QUIET, **changes}
    )


QUIET: dict[str, Any] = {"progress": False}
MODEL = {
    "name": "Mine", "state": {"V": 0.0, "I": 0.0}, "params": {"tau": ge.Param(20.0, "ms")},
    "dynamics": {"V": "(I - V) / tau", "I": "-I / tau"}, "threshold": "V - 1", "reset": {"V": "0"}, "input": "I",
}  # fmt: skip
CURRENT = MODEL | {
    "state": {"V": 0.0},
    "params": MODEL["params"] | {"I": ge.Param(0.0)},
    "dynamics": {"V": "(I - V) / tau"},
    "input": None,
}
SYNAPSE = {
    "name": "S", "state": {"s": "0"}, "params": {"tau_s": ge.Param(5.0, "ms")}, "dynamics": {"s": "-s / tau_s"},
    "input": "s", "current": "s",
}  # fmt: skip
Call = tuple[Callable[..., Any], dict[str, Any]]


def of(called: Callable[..., Any], /, **arguments: Any) -> Call:
    return called, arguments


NEEDED: dict[str, dict[str, Any]] = {"Affine": {"height": 1, "width": 2}, "Thin": {"count": 2.0}}
STEPS = [
    (name, getattr(augment, name), NEEDED.get(name, {}))
    for name in augment.__all__
    if name not in ("Augmented", "Blend", "CurrentStep", "Step")
]


def called(kind: Any, needed: dict[str, Any]) -> Call:
    """A step, called on what it changes."""
    of_currents = "currents" in inspect.signature(kind.__call__).parameters
    changed = {"currents": currents()} if of_currents else {"events": events()}
    return of(kind(**needed), **changed, rng=CounterRNG(1, 0, np.arange(3)))


def recorded() -> np.ndarray:
    """A sample of an event camera."""
    return np.array([(5, 1, 0, 1), (9, 3, 2, 0)], [("t", int), ("x", int), ("y", int), ("p", int)])


CALLS: dict[str, Callable[[], Call]] = {
    # networks
    "Dense": lambda: of(ge.Dense, weight=ge.Normal(1.0, 0.5)),
    "OneToOne": lambda: of(ge.OneToOne, weight=1.0),
    "Sparse": lambda: of(ge.Sparse, weight=1.0, probability=0.5),
    "Grouped": lambda: of(ge.Grouped, weight=1.0, groups=2),
    "Conv1D": lambda: of(ge.Conv1D, weight=1.0, kernel=3, channels=2),
    "Conv2D": lambda: of(ge.Conv2D, weight=1.0, kernel=3, channels=2),
    "Pool2D": lambda: of(ge.Pool2D, kernel=2),
    "Delay": lambda: of(ge.Delay, initial=ge.Uniform(0.0, 5.0)),
    "Normal": lambda: of(ge.Normal, mean=0.0, std=1.0),
    "Uniform": lambda: of(ge.Uniform, low=0.0, high=1.0),
    "Gamma": lambda: of(ge.Gamma, mean=20.0),
    "FanIn": lambda: of(ge.FanIn),
    "Param": lambda: of(ge.Param, value=20.0),
    "Event": lambda: of(ge.Event, name="spike", threshold="V - 1"),
    "Mode": lambda: of(ge.Mode, name="refractory", dynamics={"V": "0"}),
    "NeuronModel": lambda: of(ge.NeuronModel, **MODEL),
    "NeuronModel.with_synapses": lambda: of(ge.NeuronModel(**CURRENT).with_synapses, exc=synapse()),
    "SynapseModel": lambda: of(ge.SynapseModel, **SYNAPSE),
    "LIF": lambda: of(LIF, tau_mem=20.0),
    "Network": lambda: of(ge.Network),
    "Network.input": lambda: of(ge.Network().input, size=2),
    "Network.current": lambda: of(ge.Network().current, size=2),
    "Network.population": lambda: of(ge.Network().population, neuron=LIF(), size=3, name="hidden"),
    "Network.connect": lambda: connect(),
    "Network.initial_parameters": lambda: of(network().initial_parameters, rng=0),
    # losses
    "EndVoltageCrossEntropy": lambda: of(lo.EndVoltageCrossEntropy, population=output()),
    "MaxVoltageCrossEntropy": lambda: of(lo.MaxVoltageCrossEntropy, population=output()),
    "IntegratedVoltageCrossEntropy": lambda: of(lo.IntegratedVoltageCrossEntropy, population=output()),
    "PerStepCrossEntropy": lambda: of(lo.PerStepCrossEntropy, population=output()),
    "StepLabelCrossEntropy": lambda: of(lo.StepLabelCrossEntropy, population=output()),
    "VoltageSquaredError": lambda: of(lo.VoltageSquaredError, population=output()),
    "SquaredError": lambda: of(lo.SquaredError, population=output()),
    "FirstSpikeCrossEntropy": lambda: of(lo.FirstSpikeCrossEntropy, population=spiking().populations[-1]),
    "SpikeCountCrossEntropy": lambda: of(lo.SpikeCountCrossEntropy, population=spiking().populations[-1]),
    "SpikeTimeError": lambda: of(lo.SpikeTimeError, population=spiking().populations[-1]),
    "OwnLoss": lambda: of(lo.OwnLoss, population=output(), readout="integral", outer=squares),
    "Function": lambda: of(lo.Function, function=squares),
    "Loss": lambda: of(lo.Loss, population=output(), readout="integral"),
    "Loss.against": lambda: of(loss().against, answer="y"),
    "TimeWeight": lambda: of(lo.TimeWeight),
    "make_loss": lambda: of(lo.make_loss, name="max", population=output()),
    "as_losses": lambda: of(lo.as_losses, loss=loss()),
    # optimisers
    "Adam": lambda: of(op.Adam),
    "AdamW": lambda: of(op.AdamW),
    "SGD": lambda: of(op.SGD, learning_rate=0.1),
    "RMSprop": lambda: of(op.RMSprop),
    "Constant": lambda: of(op.Constant),
    "Cosine": lambda: of(op.Cosine, epochs=5),
    "EaseIn": lambda: of(op.EaseIn),
    "Exponential": lambda: of(op.Exponential, gamma=0.9),
    "HalveOnPlateau": lambda: of(op.HalveOnPlateau),
    "Step": lambda: of(op.Step, every=2),
    "ByParameter": lambda: of(op.ByParameter, others=op.Constant(), by_pattern={"*.weight": op.Constant()}),
    # regularisers
    "SpikeCount": lambda: of(rg.SpikeCount, population=hidden()),
    "LayerRate": lambda: of(rg.LayerRate, population=hidden()),
    "WeightDecay": lambda: of(rg.WeightDecay, strength=1e-3),
    "Clamp": lambda: of(rg.Clamp, lower=-1.0, upper=1.0),
    "check_patterns": lambda: of(op.check_patterns, patterns=["*.weight"], parameters=["a.weight"], where="x"),
    "gradient_norm": lambda: of(op.gradient_norm, gradients={"a": np.ones(3)}),
    "formula": lambda: of(lo.formula, text="r0**2 + r1", n_outputs=2),
    "Product": lambda: of(op.Product),
    "pushed_state": lambda: of(rg.pushed_state, model=LIF().model),
    # data
    "Events": lambda: of(
        ge.Events, times=np.array([1.0, 2.0]), channels=np.array([0, 1]), offsets=np.array([0, 1, 2]), n_channels=2
    ),
    "Events.from_samples": lambda: of(ge.Events.from_samples, samples=TIMES, n_channels=2, labels=LABELS),
    "Events.concatenate": lambda: of(ge.Events.concatenate, parts=[events(), events()]),
    "Events.side_by_side": lambda: of(ge.Events.side_by_side, parts=[events(), events()]),
    "Events.sample": lambda: of(events().sample, i=0),
    "Events.__getitem__": lambda: of(events().__getitem__, index=0),
    "Events.load": lambda: of(ge.Events.load, path="nothing.npz"),
    "Events.save": lambda: of(events().save, path="events.npz"),
    "Currents": lambda: of(ge.Currents, values=np.ones((3, 5, 2)), dt=1.0, labels=LABELS),
    "Currents.from_samples": lambda: of(ge.Currents.from_samples, samples=[np.ones((3, 2))], dt=1.0),
    "Currents.constant": lambda: of(ge.Currents.constant, values=np.ones((3, 2)), duration=10.0),
    "Currents.concatenate": lambda: of(ge.Currents.concatenate, parts=[currents(), currents()]),
    "Currents.crop": lambda: of(currents().crop, start=0.0, stop=2.0),
    "Currents.__getitem__": lambda: of(currents().__getitem__, index=0),
    "Currents.load": lambda: of(ge.Currents.load, path="nothing.npz"),
    "Currents.save": lambda: of(currents().save, path="currents.npz"),
    "Inputs": lambda: of(ge.Inputs, parts={"a": events(), "b": currents()}),
    "Inputs.concatenate": lambda: of(ge.Inputs.concatenate, parts=[ge.Inputs({"a": events()})] * 2),
    "Inputs.with_parts": lambda: of(ge.Inputs({"a": events()}).with_parts, parts={"a": events()}),
    "Inputs.__getitem__": lambda: of(ge.Inputs({"a": events()}).__getitem__, index=0),
    "latency_linear": lambda: of(encode.latency_linear, values=np.full((2, 2), 0.5)),
    "latency_logarithmic": lambda: of(encode.latency_logarithmic, values=np.full((2, 2), 0.5)),
    "sequential": lambda: of(encode.sequential, values=np.full((2, 3), 0.5)),
    "sigma_delta": lambda: of(encode.sigma_delta, signals=np.ones((2, 3, 2))),
    "from_spikes": lambda: of(readers.from_spikes, events=events()),
    "read_npy": lambda: of(readers.read_npy, path="nothing.npy", dt=1.0),
    "read_npz": lambda: of(readers.read_npz, path="nothing.npz"),
    "read_hdf5": lambda: of(readers.read_hdf5, path="nothing.h5"),
    "read_aer": lambda: of(aer.read_aer, path="nothing.bs2"),
    "aer.load": lambda: of(aer.load, paths=["nothing.bs2"]),
    "aer.load_list": lambda: of(aer.load_list, list_file="nothing.txt"),
    "aer.load_folder": lambda: of(aer.load_folder, folder="nothing"),
    "braille.class_names": lambda: of(braille.class_names, path="nothing"),
    "braille.load": lambda: of(braille.load, path="nothing"),
    "read_camera": lambda: of(camera.read_camera, path="nothing.raw"),
    "fsdd.load": lambda: of(fsdd.load, path="nothing.npz"),
    "read_shd": lambda: of(hdf5.read_shd, path="nothing.h5"),
    "convert_shd": lambda: of(hdf5.convert_shd, path="nothing.h5", folder="converted"),
    "write_shd": lambda: of(hdf5.write_shd, events=events(), path="written.h5"),
    "hdf5.class_names": lambda: of(hdf5.class_names, path="nothing.h5"),
    "mnist.load_events": lambda: of(mnist.load_events, path="nothing", split="train"),
    "read_idx": lambda: of(mnist.read_idx, path="nothing"),
    "mnist.load": lambda: of(mnist.load, path="nothing"),
    "flatten": lambda: of(structured.flatten, array=recorded(), sensor=(4, 3, 2), where="a sample"),
    "n_channels": lambda: of(structured.n_channels, sensor=(4, 3, 2)),
    "from_structured": lambda: of(structured.from_structured, arrays=[recorded()], sensor=(4, 3, 2), labels=[0]),
    "from_map_dataset": lambda: of(
        structured.from_map_dataset, dataset=[(recorded(), 0), (recorded(), 1)], sensor=(4, 3, 2)
    ),
    "from_dense": lambda: of(structured.from_dense, rasters=np.ones((2, 5, 3), int), labels=[0, 1]),
    "to_dense": lambda: of(structured.to_dense, events=events()),
    "read_csv": lambda: of(text.read_csv, path="nothing.csv"),
    "read_curve": lambda: of(text.read_curve, path="nothing.csv"),
    "read_xy": lambda: of(arrays.read_xy, path="nothing.npz"),
    "tonic.load": lambda: of(tonic.load, name="nothing", folder="nothing"),
    "read_ts": lambda: of(ts.read_ts, path="nothing.ts"),
    "yin_yang.classify": lambda: of(yin_yang.classify, x=0.5, y=0.5),
    "yin_yang.points": lambda: of(yin_yang.points, size=3, seed=1),
    "yin_yang.encode": lambda: of(yin_yang.encode, inputs=np.full((2, 4), 0.5)),
    "yin_yang.load": lambda: of(yin_yang.load, split="train", size=3),
    "yin_yang.load_currents": lambda: of(yin_yang.load_currents, split="train", size=3),
    # augmentation
    **{f"augment.{name}": (lambda kind=kind, needed=needed: of(kind, **needed)) for name, kind, needed in STEPS},
    **{f"augment.{name}()": (lambda kind=kind, needed=needed: called(kind, needed)) for name, kind, needed in STEPS},
    "Blend": lambda: of(augment.Blend),
    "Augmented": lambda: of(augment.Augmented, events=events(), steps=[augment.Shift()]),
    # training
    "Trainer": lambda: of(
        ge.Trainer, network=(net := network()), loss=loss(net), duration=10.0, dt=1.0, engine="reference_clock", **QUIET
    ),
    "Trainer.fit": lambda: of(trainer().fit, train=events(), validation=events(), test=events(), epochs=1),
    "Trainer.evaluate": lambda: of(trainer().evaluate, events=events()),
    "Trainer.predict": lambda: of(trainer().predict, events=events()),
    "Trainer.use_batch_sizes": lambda: of(trainer().use_batch_sizes, sizes={1: 2}),
    "Trainer.resume": lambda: of(trainer().resume, run_dir="nothing"),
    "Trainer.load_checkpoint": lambda: of(trainer().load_checkpoint, path="nothing"),
    "Trainer.load_weights": lambda: of(trainer().load_weights, path="nothing.npz"),
    "Trainer.save_weights": lambda: of(trainer().save_weights, path="w.npz"),
    "EarlyStopping": lambda: of(training.EarlyStopping),
    "InTheLoop": lambda: of(training.InTheLoop, device=training.SimulatedDevice(trainer().plan)),
    "SimulatedDevice": lambda: of(training.SimulatedDevice, plan=trainer().plan),
    "MaxNorm": lambda: of(training.MaxNorm, most=1.0),
    "Record": lambda: of(training.Record, events=events(), samples=[0]),
    "Revive": lambda: of(training.Revive),
    "Rewire": lambda: of(training.Rewire),
    "TensorBoard": lambda: of(training.TensorBoard),
    "initialise_rates": lambda: of(
        training.initialise_rates, trainer=trainer(), events=events(), spikes_per_neuron=2.0
    ),
    "record_trial": lambda: of(training.record_trial, model=trainer(), events=events(), index=0),
    "load_recording": lambda: of(training.load_recording, path="nothing.npz"),
    "load": lambda: of(ge.load, run="nothing"),
    # layers
    "torch.EventProp": lambda: of(torch().EventProp, net=network(), duration=10.0, engine="reference_clock"),
    "torch.EventProp()": lambda: of(layer(), spikes=tensor()),
    "torch.EventProp(times)": lambda: of(timed(), times=tensor()[:, 0]),
    "torch.EventProp.scale_weights": lambda: of(layer().scale_weights, spikes=tensor()),
    "torch.EventProp.runner": lambda: of(layer().runner, dtype=importlib.import_module("torch").float32),
    "jax.EventProp": lambda: of(jax().EventProp, net=network(), duration=10.0, engine="reference_clock"),
    "jax.EventProp.init": lambda: of(jax().EventProp(network(), duration=10.0, engine="reference_clock").init, seed=0),
    "jax.EventProp()": lambda: jax_call(),
}


def connect() -> Call:
    net = network()
    inp, out = net.inputs[0], net.populations[-1]
    return of(net.connect, source=inp, target=out, connectivity=ge.Dense(1.0), name="again")


def torch() -> Any:
    pytest.importorskip("torch")
    return importlib.import_module("genn_eventprop.torch")


def jax() -> Any:
    pytest.importorskip("jax")
    return importlib.import_module("genn_eventprop.jax")


def tensor() -> Any:
    return importlib.import_module("torch").zeros(10, 1, 2)


def layer(**changes: Any) -> Any:
    return torch().EventProp(network(), **{"duration": 10.0, "engine": "reference_clock", **changes})


def synapse() -> ge.SynapseModel:
    return ge.SynapseModel(**SYNAPSE)


def timed() -> Any:
    return layer(spike_times="exact", engine="reference_event")


def jax_call() -> Call:
    made = jax().EventProp(network(), duration=10.0, engine="reference_clock")
    return of(made, parameters=made.init(0), counts=np.zeros((10, 1, 2), np.float32))


RECORDS = {
    # what the package makes and hands out, and bases and protocols that users derive from
    "Population",
    "Connection",
    "Input",
    "Current",
    "Neuron",
    "Initialiser",
    "Connectivity",
    "Synapses",
    "FromData",
    "Constant",
    "Array",
    "Statistics",
    "Callback",
    "Device",
    "Progress",
    "Activity",
    "EpochStatistics",
    "Evaluation",
    "Initialised",
    "Streams",
    "Trial",
    "evaluate",
    "TrainedModel",
    "Outputs",
    "LossRecord",
    "SpikeRegulariser",
    "SpikePush",
    "checked",
    "published_scale",
    "Optimiser",
    "Schedule",
    "OptimiserStep",
    "ParameterStep",
    "is_text",
    "Output",
    # of fits: tests/pure/test_fit_inputs.py
    "Recording",
    "fit",
    "simulate",
}
MODULES = (
    "",
    ".modelling",
    ".data",
    ".training",
    ".deploy",
    ".losses",
    ".regularisers",
    ".optimisers",
    ".torch",
    ".jax",
)
LONG = {("Trainer.fit", "epochs", "huge")}
"""Calls that are right, and do not end."""


def public() -> set[str]:
    """Names that docs/api.md lists, of the modules that are tried here."""
    page, names = (Path(__file__).parents[2] / "docs" / "api.md").read_text(), set()
    for block in re.findall(r"```\{eval-rst\}\n(.*?)```", page, re.DOTALL):
        module = ""
        for line in block.splitlines():
            if match := re.match(r"\.\. currentmodule:: genn_eventprop(\S*)", line):
                module = match[1]
            elif re.fullmatch(r"   \w+", line) and module in MODULES:
                names.add(line.strip())
    return names


def test_every_public_name_is_tried() -> None:
    assert public() - {part for name in CALLS for part in name.removesuffix("()").split(".")} - RECORDS == set()


@pytest.fixture
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


SLOW = ("Trainer", "torch", "jax", "initialise_rates", "record_trial", "Network", "NeuronModel")


@pytest.mark.one_in(18)
@pytest.mark.parametrize("name", CALLS)
def test_arguments_of_other_kinds(name: str, quiet: None) -> None:
    """Each argument in turn: the call works, or ends in an error of the project; nothing from NumPy or Python. Of calls
    that take long, each argument gets every fourth value, beginning with another one."""
    called, right = CALLS[name]()
    parameters = inspect.signature(called).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    bare = []
    for place, argument in enumerate(p.name for p in parameters if p.kind in kinds):
        for what in list(WRONG)[place % 4 :: 4] if name.startswith(SLOW) else WRONG:
            if (name, argument, what) in LONG:
                continue
            called, right = CALLS[name]()
            try:
                called(**{**right, argument: WRONG[what]()})
            except EventPropError as error:
                assert str(error)
            except Exception as error:
                bare.append(f"{argument} = {what}: {type(error).__name__}: {error}")
    assert bare == []


@pytest.mark.parametrize("name", CALLS)
def test_the_calls_are_right(name: str, quiet: None) -> None:
    """Else nothing of the test above would be about the argument that it replaces."""
    called, arguments = CALLS[name]()
    try:
        called(**arguments)
    except EventPropError as error:
        assert "nothing" in repr(arguments) and "nothing" in str(error)


MESSAGES: dict[str, tuple[Callable[[], object], str]] = {
    "a truth value": (
        lambda: ge.Delay(1.0, trainable=np.ones(3)),
        "Delay: trainable must be True or False, got ndarray of shape (3,)",
    ),
    "a list": (lambda: ge.Events.concatenate(3), "Events.concatenate: parts must be a list of an Events, got 3"),
    "a path": (lambda: ge.Events.load(None), "Events.load: path must be a string or a path, got None"),
    "a number": (lambda: op.Adam(10**30), "Adam: learning_rate must be a number, got 1000"),
    "ragged": (lambda: ge.Events.from_samples(TIMES, 2, [[1], [1, 2]]), "labels must be an array, got [[1], [1, 2]]"),
    "the outermost": (
        lambda: training.record_trial(trainer(), "text", 0),
        "record_trial: events must be an Events or a Currents or an Inputs, got 'text'",
    ),
    "types for checkers": (
        lambda: training.initialise_rates(3, events(), 1.0),
        "initialise_rates: trainer must be a Trainer, got 3",
    ),
}


@pytest.mark.parametrize("what", MESSAGES)
def test_the_message_names_the_argument(what: str) -> None:
    call, words = MESSAGES[what]
    with pytest.raises(EventPropError) as caught:
        call()
    assert words in str(caught.value)


def test_errors_of_users_stay_theirs() -> None:
    """A function of the user raises what it likes, and arguments that nobody has are Python's own error."""

    class Mine(training.Callback):
        def end_epoch(self, trainer: Any, metrics: Any) -> None:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        trainer(callbacks=[Mine()]).fit(events(), epochs=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        ge.Normal(0.0, 1.0, colour=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'std'"):
        ge.Normal(0.0)  # type: ignore[call-arg]


def tensors() -> dict[str, tuple[Any, str]]:
    """Tensors whose numbers an engine cannot take, and a word of the message."""
    t, x = importlib.import_module("torch"), tensor()
    return {
        "complex": (x.to(t.complex64), "is complex"), "sparse": (x.to_sparse(), "to_dense"),
        "without numbers": (x.to("meta"), "meta"), "nested": (t.nested.nested_tensor([x[0], x[1]]), "nested"),
        "quantised": (t.quantize_per_tensor(x, 0.1, 0, t.qint8), "dequantize"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["complex", "sparse", "without numbers", "nested", "quantised"])
def test_tensors_that_an_engine_cannot_take(kind: str, quiet: None) -> None:
    layers, net = torch(), ge.Network()
    net.connect(net.current(2, dt=1.0), net.population(LI(), 2, "output"), ge.Dense(1.0))
    driven = layers.EventProp(net, duration=10.0, engine="reference_clock")
    x, words = tensors()[kind]
    for call in (lambda: layer()(x), lambda: timed()(times=x), lambda: driven(currents=x)):
        with pytest.raises(EventPropError, match=words):
            call()


def test_layers_of_other_precisions(quiet: None) -> None:
    for change in (lambda made: made.bfloat16(), lambda made: made.to(importlib.import_module("torch").complex64)):
        with pytest.raises(EventPropError, match="the layer runs in float32 and float64, not in torch"):
            change(layer())(tensor())
    with pytest.raises(EventPropError, match=r"input_hidden\.weight has no numbers on the device meta"):
        layer().to("meta")(tensor())
    half = importlib.import_module("torch").bfloat16
    assert layer()(tensor().to(half)).integral.shape == (1, 2)


@pytest.mark.parametrize("dtype", [complex, object, "U1", "M8[D]"])
def test_arrays_that_a_function_for_jax_cannot_take(dtype: Any) -> None:
    made = jax().EventProp(network(), duration=10.0, engine="reference_clock")
    for given in ({"counts": np.zeros((10, 1, 2), dtype)}, {"times": np.zeros((1, 2), dtype)}):
        with pytest.raises(EventPropError, match=r"is complex|, not numbers"):
            made(made.init(0), **given)
