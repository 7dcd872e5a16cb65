"""The genn engine's surface: messages, golden text, the command line, a short training; most of it needs no pygenn."""

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import types
import unittest.mock
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, Trainer, losses, models
from genn_eventprop.cli import main
from genn_eventprop.codegen.genn import model_texts, show
from genn_eventprop.codegen.genn.target import network_text
from genn_eventprop.codegen.genn.text import NetworkText, NeuronText
from genn_eventprop.engines import availability, create
from genn_eventprop.engines.genn import install
from genn_eventprop.engines.genn import network as genn_network
from genn_eventprop.engines.genn.network import Network as GennNetwork
from genn_eventprop.errors import EngineError, SettingError, ToolchainError, TrainingError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from support.on_genn import BACKEND
from support.sweeps import sweep

GOLDEN = Path(__file__).parents[2] / "golden"
THREE_SPIKES = Events(np.array([1.0, 2.0, 3.0]), np.array([0, 1, 2]), np.array([0, 3]), 3, labels=[1])


def small_plan(neuron=None, spike_times="grid", **loss):
    net = Network()
    inp = net.input(3)
    hidden = net.population(neuron or LIF(), 4, name="hidden")
    output = net.population(LI(), 2, name="output")
    net.connect(inp, hidden, Dense(Normal(1.0, 0.2)))
    net.connect(hidden, output, Dense(Normal(0.0, 0.2)))
    return make_plan(
        net, losses.IntegratedVoltageCrossEntropy(output, **loss), dt=1.0, duration=20.0, spike_times=spike_times
    )


def make(plan, **settings):
    return create(plan, plan.network.initial_parameters(1), engine="genn", **settings)


def shown(parts):
    return "".join(f"// {title}\n{code.strip()}\n\n" for title, code in parts)


@pytest.mark.one_in(6)
@pytest.mark.parametrize("name", models.ZOO)
def test_text_is_the_golden_one(name):
    """After a wanted change run the tests once with UPDATE_GOLDEN=1 and read the difference."""
    file, text = GOLDEN / f"genn_{name.lower()}.txt", shown(model_texts(models.ZOO[name]))
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


@pytest.mark.parametrize("name", models.ZOO)
def test_no_text_uses_what_only_one_backend_has(name):
    """GeNN's language has no address operator, no names with an underscore first, and only these functions."""
    text = (GOLDEN / f"genn_{name.lower()}.txt").read_text()
    assert not re.search(r"__|shfl|warp|atomic|&\w|\b_\w|M_", text)
    code = "\n".join(line for line in text.splitlines() if not line.startswith("//"))
    functions = {"addToPost", "addToPre", "injectCurrent", "if", "sqrt", "exp", "expm1", "pow", "fabs", "fmin", "fmax"}
    assert set(re.findall(r"\b(\w+) ?\(", code)) <= functions | {"sin", "cos", "log", "int", "for", "while"}


class Recorder:
    """Stands for pygenn and everything that it makes: keeps all code that it is given."""

    def __init__(self):
        self.code, self.__version__ = [], "5.4.0"

    def __getattr__(self, name):
        if "Access" in name:  # an enumeration
            return unittest.mock.MagicMock()
        return lambda *given, **settings: self(*given, **settings)

    def __call__(self, *given, **settings):
        self.code += [v for k, v in settings.items() if k.endswith("code") and isinstance(v, str)]
        return RecordedGroup(self)


class RecordedGroup(dict):
    """Whatever is made of a model: groups by any name, attributes of any kind."""

    def __init__(self, recorder):
        super().__init__()
        self.recorder = recorder

    def __missing__(self, key):
        return RecordedGroup(self.recorder)

    def __getattr__(self, name):
        if name in ("neuron_populations", "synapse_populations", "custom_updates"):
            return RecordedGroup(self.recorder)
        return getattr(self.recorder, name)


@pytest.mark.parametrize("name", sweep(models.ZOO, ("LIF", "LIFDelta", "IzhikevichBursting", "TwoCompartment", "LI")))
def test_show_prints_the_strings_handed_to_pygenn(capsys, name, monkeypatch):
    """What `Network` gives to pygenn for such a network is what is printed, no more and no less."""
    text = show.example_text(models.ZOO[name])
    monkeypatch.setattr(show, "example_text", lambda model: text)  # made once
    assert main(["show", name, "--dialect", "genn"]) == 0
    printed = capsys.readouterr().out
    of_model = [code for _, code in model_texts(models.ZOO[name])]
    for code in of_model:
        assert "\n".join(f"    {line}" for line in code.strip().splitlines()) in printed
    recorder = Recorder()
    monkeypatch.setattr(genn_network, "import_pygenn", lambda: recorder)
    monkeypatch.setattr(GennNetwork, "_load", lambda self: None)
    GennNetwork(text, "float32", 1, "single_threaded_cpu")
    everything = [code for _, code in show.network_texts(text)]
    assert sorted(recorder.code) == sorted(everything)
    assert set(of_model) <= set(everything)


def test_show_is_what_a_network_of_the_model_is_made_of():
    neuron = network_text(small_plan()).populations["hidden"][1]
    assert "forward" not in neuron.sim_code and "l_V" in neuron.sim_code
    step = neuron.sim_code.split("else {")[0]
    assert dict(model_texts(LIF))["neuron: sim_code"].startswith(step)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "pygenn is not installed: install GeNN 5.4.0 from its release archive.*engine='native'"),
        ("5.3.0", "pygenn 5.3.0 is installed, but this engine is written for 5.4"),
        ("broken", r"pygenn is installed but cannot be imported \(no libffi\)"),
    ],
)
def test_pygenn_absent_broken_or_of_another_version(monkeypatch, found, message):
    real_spec, real_import = importlib.util.find_spec, importlib.import_module

    def import_module(name, *rest):
        if name != "pygenn":
            return real_import(name, *rest)
        if found == "broken":
            raise ImportError("no libffi")
        return types.SimpleNamespace(__version__=found)

    spec = lambda n, *rest: (None if found is None else object()) if n == "pygenn" else real_spec(n, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", spec)
    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(EngineError, match=message):
        make(small_plan())
    entry = next(a for a in availability() if a.name == "genn")
    assert not entry.runs and re.search(message, entry.detail)


def with_pygenn(monkeypatch, backends=("single_threaded_cpu",), without_device=()):
    """As if pygenn 5.4 were here, with these backends."""
    modules = {
        "pygenn": types.SimpleNamespace(__version__="5.4.0"),
        "pygenn.genn_model": types.SimpleNamespace(backend_modules=dict.fromkeys(backends)),
    }
    real_spec, real_import = importlib.util.find_spec, importlib.import_module
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *r: object() if n in modules else real_spec(n, *r))
    monkeypatch.setattr(importlib, "import_module", lambda n, *r: modules.get(n) or real_import(n, *r))
    monkeypatch.setattr(install, "devices", lambda backend: int(backend not in without_device))


def test_the_backend_is_the_best_that_pygenn_has(monkeypatch):
    with_pygenn(monkeypatch, ("single_threaded_cpu", "cuda"))
    assert make(small_plan()).backend == make(small_plan(), backend="auto").backend == "cuda"
    assert make(small_plan(), backend="single_threaded_cpu").backend == "single_threaded_cpu"
    with pytest.raises(EngineError, match="no backend 'hip'.*HIP_PATH.*use the engine genn\\(backend=cuda\\)"):
        make(small_plan(), backend="hip")
    with pytest.raises(SettingError, match="unknown GeNN backend 'cuda2'.*did you mean 'cuda'"):
        make(small_plan(), backend="cuda2")


def test_no_device_is_an_error_that_names_the_way_out(monkeypatch):
    """GeNN would end the process; auto takes what has a device."""
    with_pygenn(monkeypatch, ("cuda", "single_threaded_cpu"), without_device=("cuda",))
    message = (
        "no device for the GeNN backend cuda on this machine, or no driver; use the engine "
        r"genn\(backend=single_threaded_cpu\)"
    )
    with pytest.raises(EngineError, match=message):
        make(small_plan(), backend="cuda")
    assert make(small_plan()).backend == "single_threaded_cpu"
    entry = next(a for a in availability() if a.name == "genn")
    assert entry.runs and entry.detail == "pygenn 5.4 with cuda (no device), single_threaded_cpu"
    with_pygenn(monkeypatch, ("cuda",), without_device=("cuda",))
    with pytest.raises(EngineError, match="no device for the GeNN backend cuda.*use the engine native"):
        make(small_plan())
    assert not next(a for a in availability() if a.name == "genn").runs


@pytest.mark.parametrize(
    ("started", "counted", "count", "expected"), [(0, 0, 2, 2), (100, 0, 2, 0), (0, 3, 2, 0), (None, 0, 2, 0)]
)
def test_devices_are_counted_by_the_driver(monkeypatch, started, counted, count, expected):
    """A driver that starts and counts, does not start, cannot count, is not there."""

    def get_count(pointer):
        pointer._obj.value = count
        return counted

    def load(name):
        if started is None:
            raise OSError(name)
        return types.SimpleNamespace(cuInit=lambda flags: started, cuDeviceGetCount=get_count)

    monkeypatch.setattr(install.ctypes, "CDLL", load)
    assert install.devices("cuda") == expected
    assert install.devices("single_threaded_cpu") == 1


def test_what_genn_says_about_a_device_is_passed_on(monkeypatch):
    with_pygenn(monkeypatch, ("cuda",))

    def out_of_memory(*args, **settings):
        assert settings["backend"] == "cuda" and settings["optimize_code"] is True
        raise RuntimeError("out of memory")

    monkeypatch.setattr(importlib.import_module("pygenn"), "GeNNModel", out_of_memory, raising=False)
    engine = make(small_plan())
    with pytest.raises(
        EngineError, match="for cuda: out of memory; see .*or use the engine genn\\(backend=single_threaded_cpu\\)"
    ):
        engine.run(engine.load(THREE_SPIKES), [0])


def test_an_error_in_the_code_does_not_speak_of_devices(monkeypatch):
    with_pygenn(monkeypatch, ("cuda",))

    def misread(*args, **settings):
        raise RuntimeError("hidden: sim code: type-checking error")

    monkeypatch.setattr(importlib.import_module("pygenn"), "GeNNModel", misread, raising=False)
    engine = make(small_plan())
    with pytest.raises(
        ToolchainError, match="for cuda: hidden: sim code: type.*engine='native' runs the same"
    ) as caught:
        engine.run(engine.load(THREE_SPIKES), [0])
    assert "devices" not in str(caught.value)


@pytest.mark.needs_genn
def test_without_make_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(genn_network.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(
        ToolchainError, match="'make'; GeNN builds with make and a C\\+\\+ compiler: install them, or eng"
    ):
        train_one_batch()


@pytest.mark.parametrize(
    ("plan", "settings", "message"),
    [
        (
            lambda: small_plan(spike_times="exact"),
            {},
            "genn runs spike_times='grid' only; use engine='native'",
        ),
        (small_plan, {"dtype": "float16"}, "dtype must be 'float32' or 'float64', got 'float16'"),
    ],
)
def test_what_it_cannot_run_is_refused_by_name(monkeypatch, plan, settings, message):
    with_pygenn(monkeypatch)
    with pytest.raises((EngineError, SettingError), match=message):
        make(plan(), **settings)


@pytest.mark.needs_genn
def test_a_failed_build_keeps_its_folder():
    wrong = NetworkText("forward", {"hidden": (3, NeuronText((), (), (), (), sim_code="V = nonsense(1.0);\n"))})
    with pytest.raises(ToolchainError, match="GeNN could not build the forward network.*engine='native'") as caught:
        GennNetwork(wrong, "float32", 1, BACKEND)
    assert "Undefined identifier" in str(caught.value)  # GeNN's own message
    folder = Path(re.search(r"Its code is in (\S+)", str(caught.value)).group(1))
    assert (folder / "build.log").is_file()
    train_one_batch()


@pytest.mark.needs_genn
def test_a_failed_compilation_shows_the_compilers_message(monkeypatch, tmp_path):
    if BACKEND != "single_threaded_cpu":
        pytest.skip("the compiler of this backend is not to be chosen by CXX")
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho 'out of registers' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(ToolchainError, match="(?s)could not build.*out of registers"):
        train_one_batch()
    monkeypatch.undo()
    train_one_batch()


def train_one_batch():
    plan = small_plan()
    engine = make(plan, backend=BACKEND)
    engine.run(engine.load(THREE_SPIKES), [0], training=True)
    folder = engine.network.folder
    assert folder.is_dir()
    engine.close()
    assert not folder.exists()


@pytest.mark.needs_genn
def test_two_networks_in_one_process_do_not_disturb_each_other():
    plans = [small_plan(), small_plan(weight="exponential")]
    engines = [make(p, dtype="float64", backend=BACKEND) for p in plans]
    clocks = [create(p, p.network.initial_parameters(1), engine="reference_clock") for p in plans]
    for _ in range(2):
        for engine, clock in zip(engines, clocks):
            engine.run(engine.load(THREE_SPIKES), [0], training=True)
            clock.run(clock.load(THREE_SPIKES), [0], training=True)
            for k, g in clock.gradients.items():
                np.testing.assert_allclose(engine.gradients[k], g, rtol=1e-9, atol=1e-15)
    for engine in engines:
        engine.close()


@pytest.mark.needs_genn
def test_yin_yang_trains_an_epoch_from_the_command_line(tmp_path, capsys):
    page, runs = tmp_path / "page.py", {}
    page.write_text("from genn_eventprop.experiments.yin_yang import QUICK, Config, build\n")  # without figures
    for engine in (f"genn(backend={BACKEND})", "native"):
        options = "--epochs 1 --hidden 30 --output-weight 3 0.3 --dt 0.5 --train-size 320 --batch-size 30".split()
        more = ["--engine", engine, "--spike-times", "grid", "--run-dir", str(tmp_path / engine[:4])]
        assert main(["train", str(page), *options, *more]) == 0, capsys.readouterr().err
        runs[engine[:4]] = json.loads((tmp_path / engine[:4] / "results.json").read_text())
    assert runs["genn"]["engine"] == "genn"
    assert abs(runs["genn"]["final_test_accuracy"] - runs["nati"]["final_test_accuracy"]) < 0.02


@pytest.mark.needs_genn
def test_a_gradient_that_is_not_finite_is_seen_by_the_host(monkeypatch):
    """GeNN compiles with -ffast-math, so its code cannot test for NaN: training must."""
    net = Network()
    inp = net.input(3)
    output = net.population(LI(), 2, name="output")
    net.connect(inp, output, Dense(1.0))
    trainer = Trainer(
        net, losses.IntegratedVoltageCrossEntropy(output), duration=20.0, dt=1.0, engine="genn", progress=False,
        backend=BACKEND,
    )  # fmt: skip
    trainer.engine.parameters["input_output.weight"][0, 0] = np.nan
    with pytest.raises(TrainingError, match="input_output.weight|finite|nan"):
        trainer.fit(THREE_SPIKES, epochs=1)


def test_pygenn_is_not_imported_by_importing_the_package():
    code = "import genn_eventprop, genn_eventprop.engines.genn, sys; raise SystemExit('pygenn' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
