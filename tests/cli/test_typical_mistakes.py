"""Typical mistakes of a newcomer: each message names the value that is wrong and what to do instead.

A case is (what the newcomer does, the value in the message, the remedy in the message). Nothing here is compiled.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import (
    Dense,
    Event,
    Events,
    Network,
    NeuronModel,
    Normal,
    OneToOne,
    Param,
    Recording,
    Trainer,
    Uniform,
    fit,
    load,
)
from genn_eventprop.cli import main
from genn_eventprop.data import splits
from genn_eventprop.data.augment import Augmented, Shift
from genn_eventprop.deploy.trained import TrainedModel
from genn_eventprop.errors import EventPropError, SettingError
from genn_eventprop.losses import (
    FirstSpikeCrossEntropy,
    IntegratedVoltageCrossEntropy,
    MaxVoltageCrossEntropy,
    SpikeCountCrossEntropy,
)
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.training import record_trial
from genn_eventprop.verify import check
from support.extras import needs


def mine(**changes):
    parts = {
        "name": "Mine",
        "state": {"V": 0.0, "I": 0.0},
        "params": {"tau_m": Param(20.0, "ms"), "tau_s": Param(5.0, "ms"), "v_t": Param(1.0)},
        "dynamics": {"V": "(I - V) / tau_m", "I": "-I / tau_s"},
        "threshold": "V - v_t",
        "reset": {"V": "0"},
        "input": "I",
    }
    return NeuronModel(**(parts | changes))


def with_unit(value, unit):
    return mine(params={"tau_m": Param(value, unit), "tau_s": Param(5.0, "ms"), "v_t": Param(1.0)})


def parts():
    net = Network()
    return net, net.input(4), net.population(LIF(), 5, name="hidden")


def network(weights=None, output=LI, **connect):
    net, source, hidden = parts()
    out = net.population(output(), 2, name="output")
    net.connect(source, hidden, Dense(Normal(1.0, 0.5)) if weights is None else weights)
    net.connect(hidden, out, Dense(Normal(1.0, 0.5)), **connect)
    return net, out


def trainer(**changes):
    net, out = network()
    loss = changes.pop("loss", MaxVoltageCrossEntropy(out))
    settings = {"duration": 20.0, "dt": 1.0, "engine": "reference_clock", "progress": False}
    return Trainer(net, loss, **(settings | changes))


def trained():
    t = trainer()
    return TrainedModel(t.described, dict(t.engine.parameters), engine="reference_clock")


def events(channels=4, labels=(0, 1)):
    return Events.from_samples([([1.0], [0])] * len(labels), channels, labels)


def connected(source, target, *arguments):
    net, inp, hidden = parts()
    ends = {"input": inp, "hidden": hidden, "LI": net.population(LI(), 3, name="readout"), "name": "hidden"}
    ends["foreign"] = Network().population(LIF(), 3, name="foreign")
    return net.connect(ends[source], ends[target], *arguments)


def layer(**settings):
    needs("torch")
    from genn_eventprop.torch import EventProp

    return EventProp(network()[0], **{"duration": 20.0, **settings})


def tensor(*shape, value=0.0):
    return needs("torch").full(shape, value)


def jax_layer(*arguments, **named):
    needs("jax")
    from genn_eventprop.jax import EventProp

    return EventProp(network()[0], duration=20.0)(*arguments, **named)


def nir(dialect, **settings):
    needs("nir")
    from genn_eventprop.nir import to_nir

    return to_nir(network()[0], network()[0].initial_parameters(0), dialect, **settings)


def unpacked(split):
    train, test = split
    return train, test


ARRAY = np.zeros((8, 20, 4))
CELL = Recording(np.ones((1, 20)), dt=0.1, voltage=np.zeros((1, 20)))
RECIPE = "structured.from_dense(array, dt, labels)"
TWO_ROWS = [[1, 0], [0, 1]]

IN_PYTHON = {
    # models written by hand
    "a negative time constant": (lambda: LIF(tau_mem=-3.0), "-3 ms", "a number above 0"),
    "a number as text": (lambda: LIF(tau_mem="20"), "'20'", "write e.g. 20.0"),
    "another parameter's name": (lambda: LIF(tau=20.0), "'tau'", "known: tau_mem, tau_syn"),
    "a parameter without its name": (lambda: LIF(20.0), "20.0", "LIF(tau_mem=...)"),
    "a parameter that is a number": (
        lambda: mine(params={"tau": 20}),
        "'tau' must be a Param, got 20",
        "Param(20, 'ms')",
    ),
    "a Greek letter": (lambda: mine(params={"τ_m": Param(20.0, "ms")}), "'τ_m'", "tau_m)"),
    "a unit spelled out": (lambda: with_unit(20.0, "msec"), "'msec'", "Param(20, 'ms')"),
    "seconds spelled out": (lambda: with_unit(0.02, "sec"), "'sec'", "Param(20, 'ms')"),
    "seconds": (lambda: with_unit(0.02, "s"), "'s'", "write Param(20, 'ms')"),
    "a power as in other languages": (lambda: mine(dynamics={"V": "-V^2", "I": "-I"}), "-V ^ 2", "V**2"),
    "a derivative as a key": (
        lambda: mine(dynamics={"dV/dt": "-V", "I": "-I"}),
        "'dV/dt'",
        "the name of the state alone",
    ),
    "a function of NumPy": (
        lambda: mine(dynamics={"V": "-np.exp(V)", "I": "-I"}),
        "'np.exp(V)'",
        "write exp(...) without np",
    ),
    "a whole equation": (lambda: mine(dynamics={"V": "dV = -V", "I": "-I"}), "'dV = -V'", "only the right-hand side"),
    "a threshold as a comparison": (lambda: mine(threshold="V > v_t"), "'V > v_t'", "as V - v_t"),
    "a reset as text": (lambda: mine(reset="V = 0"), "'V = 0'", "{'V': '0'}"),
    "states as a list": (lambda: mine(state=["V", "I"]), "['V', 'I']", "{'V': 0.0}"),
    "an event and a threshold": (
        lambda: mine(events=[Event("a", "V - 1")]),
        "Mine",
        "either threshold/reset or events",
    ),
    # networks
    "weights the wrong way round": (lambda: network(Dense(np.ones((5, 4)))), "(5, 4)", "array.T"),
    "weights of a wrong shape": (lambda: network(Dense(np.ones((4, 3)))), "(4, 3)", "(4, 5) is needed"),
    "weights without a kind": (lambda: network(np.ones((4, 5))), "ndarray of shape (4, 5)", "write Dense(array)"),
    "a number as a kind": (lambda: connected("input", "hidden", 0.5), "0.5", "write Dense(0.5)"),
    "no weights": (lambda: connected("input", "hidden"), "None", "write Dense() for all-to-all weights"),
    "mean and deviation as a pair": (lambda: network(Dense((1.0, 0.5))), "(2,)", "Normal(mean, std)"),
    "a negative deviation": (lambda: Normal(0.0, -1.0), "-1.0", "std >= 0"),
    "a mean as text": (lambda: Normal("0", 1.0), "'0'", "must be a number"),
    "size before neuron": (lambda: Network().population(256, LIF()), "256", "net.population(LIF(), 256, name="),
    "a population without a name": (lambda: Network().population(LIF(), 3), "a name is needed", "name='hidden'"),
    "a name with a space": (lambda: Network().population(LIF(), 3, name="layer 1"), "'layer 1'", "name='layer_1'"),
    "a size that is no integer": (lambda: Network().population(LIF(), 2.5, name="a"), "2.5", "an integer >= 1"),
    "a name as a source": (lambda: connected("name", "hidden", Dense(1.0)), "'hidden'", "the object that"),
    "a population of another network": (lambda: connected("input", "foreign", Dense(1.0)), "target", "this network's"),
    "to the input": (lambda: connected("hidden", "input", Dense(1.0)), "'input'", "swap source and target"),
    "from a readout": (lambda: connected("LI", "hidden", Dense(1.0)), "'readout' (LI)", "LIF()"),
    "a delay with its unit": (lambda: network(delay="1ms"), "'1ms'", "a finite time >= 0 ms"),
    "a kind that is not called": (lambda: connected("input", "hidden", Dense), "got Dense", "write Dense()"),
    "the kind first": (
        lambda: parts()[0].connect(Dense(1.0), *parts()[1:]),
        "Dense first",
        "source, target, connectivity",
    ),
    "random delays without Delay": (lambda: network(delay=Uniform(0, 5)), "Uniform(low=0", "Delay(Uniform("),
    "one to one of two sizes": (lambda: connected("input", "hidden", OneToOne(1.0)), "4 and 5", "equal size"),
    "a model without input": (
        lambda: (n := Network()).connect(n.input(2), n.population(mine(input=None), 2, name="a"), Dense(1.0)),
        "Mine takes no input",
        "input=STATE",
    ),
    # losses and trainers
    "a loss by name": (lambda: trainer(loss="cross_entropy"), "'cross_entropy'", "MaxVoltageCrossEntropy(output)"),
    "a loss that is not called": (
        lambda: trainer(loss=MaxVoltageCrossEntropy),
        "MaxVoltageCrossEntropy;",
        "call it with",
    ),
    "a loss of a name": (lambda: MaxVoltageCrossEntropy("output"), "'output'", "net.population(...)"),
    "a loss of a number": (lambda: SpikeCountCrossEntropy(10), "10", "net.population(...)"),
    "first spikes of a readout": (lambda: FirstSpikeCrossEntropy(network()[1]), "'output'", "LIF()"),
    "a maximum of spiking outputs": (lambda: MaxVoltageCrossEntropy(network(output=LIF)[1]), "'output'", "use LI()"),
    "a neuron in place of a network": (lambda: Trainer(LIF(), None, duration=1.0, dt=1.0), "Neuron", "Network()"),
    "a learning rate of the trainer": (lambda: trainer(learning_rate=0.1), "'learning_rate'", "optimiser=Adam("),
    "epochs of the trainer": (lambda: trainer(epochs=3), "'epochs'", "trainer.fit(train, epochs="),
    "a misspelt argument": (lambda: trainer(batchsize=3), "'batchsize'", "did you mean 'batch_size'"),
    "another word for float64": (lambda: trainer(dtype="double"), "'double'", "'float32' or 'float64'"),
    "a run folder that is a number": (lambda: trainer(run_dir=5), "5", "the path of a folder"),
    "resuming without a trainer": (lambda: Trainer.resume("runs/a"), "resume", "Trainer(...).resume(FOLDER)"),
    "torch's word for the learning rate": (lambda: Adam(lr=1e-3), "'lr'", "learning_rate"),
    "torch's betas": (lambda: Adam(betas=(0.9, 0.99)), "'betas'", "known: average, beta1"),
    "a time constant of a loss as text": (
        lambda: FirstSpikeCrossEntropy(network(output=LIF)[1], tau0="1"),
        "'1'",
        "positive times in ms",
    ),
    "a function as a time weight": (
        lambda: IntegratedVoltageCrossEntropy(network()[1], lambda t: t),
        "a function",
        "'exp(-t / T)'",
    ),
    "an optimiser by name": (lambda: trainer(optimiser="adam"), "'adam'", "Adam(1e-3)"),
    "a learning rate as an optimiser": (lambda: trainer(optimiser=1e-3), "0.001", "Adam(1e-3)"),
    "a learning rate as text": (lambda: Adam("1e-3"), "'1e-3'", "must be a number"),
    "a schedule by name": (lambda: trainer(schedule="cosine"), "'cosine'", "Cosine(epochs=100)"),
    "a function as a callback": (lambda: trainer(callbacks=print), "print", "Callback"),
    "a regulariser by name": (lambda: trainer(regularisers="l2"), "'l2'", "SpikeCount(population)"),
    "a bound of slopes as text": (lambda: trainer(slope_floor="0.1"), "'0.1'", "a number >= 0"),
    "a batch size as a float": (lambda: trainer(batch_size=32.0), "32.0", "an integer >= 1"),
    "spike times": (lambda: trainer(spike_times="exac"), "'exac'", "did you mean 'exact'? known: auto, exact, grid"),
    "an engine in capitals": (lambda: trainer(engine="Native"), "'Native'", "did you mean 'native'"),
    "no step": (lambda: trainer(dt=0.0), "dt=0.0", "positive times in ms"),
    "a trial that is no multiple of the step": (lambda: trainer(duration=0.5), "0.5 ms", "duration=1 or dt=0.5"),
    "a run folder that is none": (lambda: load("nowhere"), "nowhere", "one that train wrote"),
    # data
    "an array as a training set": (lambda: trainer().fit(ARRAY, epochs=1), "ndarray of shape (8, 20, 4)", RECIPE),
    "a pair of arrays": (lambda: trainer().fit((ARRAY, 0), epochs=1), "the training set", "Events.from_samples("),
    "a file as a training set": (lambda: trainer().fit("train.h5", epochs=1), "'train.h5'", "open_events(path)"),
    "an array for validation": (lambda: trainer().fit(events(), ARRAY, epochs=1), "the validation set", RECIPE),
    "an array for the test": (lambda: trainer().fit(events(), None, ARRAY, epochs=1), "the test set", RECIPE),
    "an array to predict": (lambda: trainer().predict(ARRAY), "ndarray of shape (8, 20, 4)", RECIPE),
    "an array for a trained model": (lambda: trained().predict(ARRAY), "ndarray of shape (8, 20, 4)", RECIPE),
    "one sample to predict": (
        lambda: trainer().predict(([1.0], [0])),
        "sample 0 is [1.0]",
        "a pair (times in ms, channels)",
    ),
    "a split that is not applied": (lambda: unpacked(splits.random_split(events(), 0.5)), "indices", "split.apply("),
    "augmentation by name": (lambda: Augmented(events(), "shift=3"), "'shift=3'", "[Shift(4)"),
    "a step that is not called": (lambda: Augmented(events(), [Shift]), "Shift", "an object such as Shift(4)"),
    "a number of an augmentation as text": (lambda: Shift("3"), "'3'", "from 0"),
    "a sample that is not there": (lambda: record_trial(trainer(), events(), 9), "no sample 9", "there are 2"),
    "rows as a sample": (
        lambda: Events.from_samples([np.ones((27, 2))], 4),
        "ndarray of shape (27, 2)",
        "write (a[:, 0], a[:, 1])",
    ),
    "a duration in seconds": (
        lambda: trainer(duration=0.02, dt=0.001).fit(Events.from_samples([([9.0], [0])], 4, [0]), epochs=1),
        "0.02 ms",
        "use duration=20",
    ),
    # fits
    "an array as a recording": (lambda: fit(LIF, ARRAY), "ndarray of shape (8, 20, 4)", "Recording(current, dt="),
    "a model by name": (lambda: fit("LIF", CELL), "'LIF'", "genn_eventprop.models.AdEx"),
    "a model with its values": (lambda: fit(LIF(tau_mem=5.0), CELL), "Neuron", "fixed="),
    "a model to check by name": (lambda: check("lif"), "'lif'", "genn_eventprop.models.LIF"),
    "no labels": (
        lambda: trainer().fit(events(labels=(-1, 0)), epochs=1),
        "sample 0 has none",
        "a label for every sample",
    ),
    "more channels than inputs": (lambda: trainer().fit(events(7), epochs=1), "7 channels", "net.input(7)"),
    "more classes than outputs": (lambda: trainer().fit(events(labels=(0, 2)), epochs=1), "label 2", "population of 3"),
    "an array as samples": (lambda: Events.from_samples(ARRAY, 4), "ndarray of shape (20, 4)", RECIPE),
    "labels as text": (lambda: events(labels=("yes", "no")), "'yes'", "numpy.unique(labels, return_inverse=True)"),
    "labels as one-hot rows": (lambda: events(labels=TWO_ROWS), "(2, 2)", "array.argmax(1)"),
    "channels before times": (lambda: Events.from_samples([([0], [1.5])], 4), "1.5", "times first"),
    "a channel too many": (lambda: Events.from_samples([([1.0], [4])], 4), "channel 4", "a larger n_channels"),
    # layers of PyTorch and JAX, NIR
    "time and batch swapped": (lambda: layer()(tensor(3, 20, 4)), "(3, 20, 4)", "layout='BTN'"),
    "channels of a layer": (lambda: layer()(tensor(20, 3, 7)), "(20, 3, 7)", "net.input(7)"),
    "times in place of counts": (lambda: layer()(tensor(3, 4)), "(3, 4)", "layer(times=x)"),
    "analog values": (lambda: layer()(tensor(20, 3, 4, value=0.5)), "0.5", "torch.bernoulli"),
    "an array of numpy": (lambda: layer()(np.zeros((20, 3, 4))), "ndarray of shape (20, 3, 4)", "torch.from_numpy(x)"),
    "an unknown readout": (lambda: layer(readout="maximum"), "'maximum'", "did you mean 'max'"),
    "spike times of a layer": (lambda: layer(spike_times="exac"), "'exac'", "did you mean 'exact'? known: auto, "),
    "first spikes that a layer cannot read": (
        lambda: layer(readout="first_spike"),
        "'output' is made of LI",
        "such as LIF()",
    ),
    "a current without an input": (lambda: layer()(currents=tensor(20, 3, 4)), "no current input", "leave out"),
    "an unknown layout": (lambda: layer(layout="BNT"), "'BNT'", "known: BTN, TBN"),
    "an output by name": (lambda: layer(output="output"), "'output'", "net.population(...)"),
    "JAX without parameters": (
        lambda: jax_layer(ARRAY, ARRAY),
        "ndarray of shape (8, 20, 4)",
        "layer(layer.init(), counts)",
    ),
    "a dialect of NIR": (lambda: nir("snn_torch"), "'snn_torch'", "did you mean 'snntorch'"),
    "a readout for snnTorch": (lambda: nir("snntorch", dt=1.0), "'output'", "--output LIF"),
}

NEURON = """
from genn_eventprop import NeuronModel, Param

def of(name):
    return NeuronModel(name=name, state={"V": 0.0}, params={"tau": Param(20.0, "ms")}, dynamics={"V": "-V / tau"},
        threshold="V - 1", reset={"V": "0"}, input="V")

Mine, Other = of("Mine"), of("Other")
"""
PAGE = """
from dataclasses import dataclass
from genn_eventprop import Events
from genn_eventprop.experiment import LayeredConfig, layered

@dataclass(frozen=True)
class Config(LayeredConfig):
    hidden: tuple[int, ...] = (4,)

def build(config):
    train = Events.from_samples([([1.0], [0])] * 4, 2, [0, 1, 0, 1])
    return layered(config, train, None, None)
"""
FILES = {
    "neuron.py": NEURON, "page.py": PAGE, "empty.py": "", "broken.py": "x = (1\n", "epoch.toml": "epoch = 5\n",
    "text.toml": "epochs = '5'\n", "broken.toml": "epochs =\n", "scan.toml": "epochs = [1, 2]\n",
    "grid.toml": 'experiment = "yin_yang"\n[grid]\nepoch = [1]\n', "folder/a.txt": "",
}  # fmt: skip

ON_THE_COMMAND_LINE = {
    "trian yin_yang": ("'trian'", "did you mean 'train'"),
    "train yin-yang": ("'yin-yang'", "did you mean 'yin_yang'"),
    "train --quick yin_yang": ("--quick", "the experiment before its options"),
    "train yin_yang --epoch 5": ("unknown option --epoch (", "did you mean --epochs INT?"),
    "train yin_yang --lr=0.1": ("--lr", "--learning-rate FLOAT"),
    "train yin_yang --Batch_Sise 3 --dpi 9": ("--Batch_Sise (did you mean --batch-size INT?)", "--dpi; see"),
    "train yin_yang --epochs": ("a value is missing", "--epochs INT (Passes through the training set; default: 100)"),
    "train yin_yang --quick 3": ("takes '3'", "train yin_yang --help"),
    "train yin_yang --epochs five": ("'five'", "--epochs INT (Passes"),
    "train yin_yang --epochs 0": ("got 0", "an integer >= 1"),
    "train yin_yang --engine gpu": ("'gpu'", "known: auto"),
    "train yin_yang --spike-times precise": ("'precise'", "known: auto, exact, grid"),
    "train yin_yang --seeds 1:8": ("'1:8'", "1-8 or 1,4,7-9"),
    "train yin_yang --slurm s.toml": ("s.toml", "--runner slurm"),
    "train yin_yang --processes 4 --seeds 1-2": ("--processes 4", "--runner local"),
    "train yin_yang --runner local": ("--runner local", "--seeds 1-8"),
    "train yin_yang --config absent.toml": ("absent.toml", "there is no config file"),
    "train yin_yang --config epoch.toml": ("'epoch'", "did you mean 'epochs'"),
    "train yin_yang --config text.toml": ("'5'", "without quotation marks"),
    "train yin_yang --config broken.toml": ("broken.toml", "line 1"),
    "train absent.py": ("absent.py", "there is no experiment file"),
    "train empty.py": ("empty.py", "needs a dataclass Config(ExperimentConfig) and build()"),
    "train neuron.py": ("neuron.py", "neuron.py:Mine or neuron.py:Other"),
    "train broken.py": ("broken.py, line 1", "correct it there"),
    "train page.py --neuron lif": ("'lif'", "did you mean 'LIF'"),
    "train page.py --neuron neuron.py": ("neuron.py", "neuron.py:Mine or neuron.py:Other"),
    "train page.py --neuron neuron.py:Nine": ("'Nine'", "did you mean 'Mine'"),
    "train page.py --neuron LIF(tau=20)": ("'tau'", "known: tau_mem"),
    "train page.py --loss crossentropy": ("'crossentropy'", "known: avg_xentropy"),
    "train page.py --loss first_spike --output LI": ("'output'", "--output LIF"),
    "train page.py --optimiser AdamW": ("'AdamW'", "did you mean 'adam_w'"),
    "train page.py --delays 5": ("'5'", "known: axonal, dendritic, synaptic"),
    "train page.py --hidden 256,256": ("256,256", "separated by spaces"),
    "train page.py --augment jiter=1": ("'jiter'", "did you mean 'jitter'"),
    "train page.py --batch-sizes 10-64": ("'10-64'", "10:64,30:256"),
    "train page.py --cross-validate": ("Events.groups is None", "groups=[...]"),
    "train page.py --from-nir x.npz": ("x.npz", "NAME.nir"),
    "train spoken_digits --data-dir folder": ("in folder", "git clone https://github.com/Jakobovski"),
    "train latency_mnist --data-dir folder": ("mnist/mnist.npz or mnist in folder", "get it from"),
    "resume folder": ("folder is not a run folder", "such as runs/"),
    "predict absent x.wav": ("absent is not a run folder", "such as runs/"),
    "report absent": ("absent is not a run folder", "such as runs/"),
    "plot run --frmat pdf": ("--frmat", "--format {png,pdf,svg}"),
    "evaluate --data test": ("RUN is missing", "The run folder"),
    "convert-audio": ("FOLDER is missing", "OUT.h5 is missing (The file to write)"),
    "convert-audio a b.h5 c": ("takes 'c'", "convert-audio --help"),
    "completion fish": ("'fish'", "known: bash, zsh"),
    "plot": ("plot", "name at least one run folder"),
    "scan yin_yang": ("yin_yang", "a TOML file"),
    "scan scan.toml": ("'epochs'", "known: experiment, folder, grid"),
    "scan grid.toml": ("'epoch'", "did you mean 'epochs'"),
    "reproduce yin_yang": ("'yin_yang'", "did you mean 'yin-yang'"),
    "gradcheck": ("gradcheck", "give one MODEL"),
    "gradcheck liff": ("'liff'", "did you mean 'lif'"),
    "gradcheck neuron": ("'neuron'", "neuron.py:NAME"),
    "gradcheck neuron.py": ("neuron.py", "neuron.py:Mine or neuron.py:Other"),
    "gradcheck absent.py:Mine": ("'absent.py'", "path/to/my_neuron.py:MyNeuron"),
    "gradcheck empty.py": ("empty.py", "docs/add_a_neuron.md"),
    "show lif --target cpp": ("'cpp'", "known: c99, cuda, genn, native"),
    "cache clean": ("'clean'", "'clear'"),
    "convert-audio folder out.wav": ("out.wav", ".h5 or .hdf5"),
    "make-data yin-yang": ("'yin-yang'", "known: spoken_words"),
}


@pytest.mark.parametrize("name", IN_PYTHON)
def test_in_python(name):
    make, value, remedy = IN_PYTHON[name]
    with pytest.raises(EventPropError) as error:
        make()
    assert value in str(error.value) and remedy in str(error.value), str(error.value)


@pytest.mark.one_in(6)
@pytest.mark.parametrize("line", ON_THE_COMMAND_LINE)
def test_on_the_command_line(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text)
    status = main(shlex.split(line))
    said, (value, remedy) = capsys.readouterr().err, ON_THE_COMMAND_LINE[line]
    assert value in said and remedy in said and "Traceback" not in said, said
    assert status == 2 if "--help" in said else status in (1, 2), said
    assert len(said.splitlines()) == 1 and said.startswith("genn-eventprop: "), said
    assert not Path("runs").exists() or not any(Path("runs").glob("*/config.json"))


def test_what_is_known_is_listed_once():
    with pytest.raises(SettingError) as error:
        trainer(epoch=3)
    known = str(error.value).partition("known: ")[2].split(", ")
    assert "weight_rows" in known and len(known) == len(set(known))
