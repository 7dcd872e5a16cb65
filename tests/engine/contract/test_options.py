"""Options that one engine has: behind its name wherever an engine is named; errors say whose option it is."""

import json

import pytest

from genn_eventprop import Dense, Network, Trainer, losses
from genn_eventprop.cli import main
from genn_eventprop.engines import NAMES, create, engine_class
from genn_eventprop.engines.registry import engine_and_options
from genn_eventprop.errors import SettingError
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan


def network():
    net = Network()
    out = net.population(LIF(), 2, name="output")
    net.connect(net.input(3), out, Dense(1.0))
    return net, losses.FirstSpikeCrossEntropy(out)


def made(engine, **options):
    net, loss = network()
    plan = make_plan(net, loss, duration=10.0, dt=1.0)
    return create(plan, net.initial_parameters(1), engine=engine, **options)


def test_options_stand_behind_the_name_or_by_themselves():
    assert made("native(slices=3)").slices == made("native", slices=3).slices == 3
    assert made("native( trajectory_limit = 1 , slices=2)").slices == 2
    assert made("auto", slices=3, device=7, backend="cuda").slices == 3  # those of the engine that is chosen count
    assert (
        engine_and_options("genn(backend=hip)")
        == engine_and_options("genn(backend='hip')")
        == ("genn", {"backend": "hip"})
    )
    assert engine_class("cuda(device=1)") is engine_class("cuda")


def test_every_option_is_an_argument_of_its_class():
    import inspect

    for kind in map(engine_class, NAMES):
        arguments = inspect.signature(kind).parameters
        assert {*kind.options, *kind.special_options} <= {*arguments}, kind.name


@pytest.mark.parametrize(
    ("engine", "options", "message"),
    [
        ("native(device=1)", {}, r"device is an option of cuda, not of native; write engine='cuda\(device=...\)'"),
        ("native", {"backend": "hip"}, "backend is an option of genn, not of native"),
        ("native(slises=3)", {}, "unknown argument or engine option 'slises'.*did you mean 'slices'"),
        ("native", {"batch": 3}, "unknown argument or engine option 'batch'"),
        ("native(slices='x')", {}, "slices must be of type int"),
        ("native(slices=True)", {}, "slices must be of type int"),
        ("native(threads=2)", {}, "threads is no option of an engine, it is set by itself"),
        ("native(3)", {}, "write each option as NAME=VALUE"),
        ("nativ(slices=3)", {}, "unknown engine 'nativ'.*did you mean 'native'"),
        ("native(slices=3", {}, "cannot read 'native"),
        ("native, genn", {}, "expected one name"),
    ],
)
def test_wrong_options_are_errors_that_name_the_owner(engine, options, message):
    with pytest.raises(SettingError, match=message):
        made(engine, **options)


@pytest.mark.ci
def test_the_trainer_and_a_page_take_them(tmp_path, capsys):
    net, loss = network()
    trainer = Trainer(net, loss, duration=10.0, dt=1.0, engine="native(slices=2)", progress=False)
    other = Trainer(net, loss, duration=10.0, dt=1.0, engine="native", slices=2, progress=False)
    again = Trainer(net, loss, **other.made_with)
    assert trainer.engine.slices == other.engine.slices == again.engine.slices == 2
    page = ["train", "yin_yang", "--epochs", "1", "--train-size", "64", "--hidden", "10", "--run-dir"]
    assert main([*page, str(tmp_path / "a"), "--engine", "native(device=1)"]) == 1
    assert "device is an option of cuda" in capsys.readouterr().err
    assert main([*page, str(tmp_path / "b"), "--engine", "native(slices=2)"]) == 0
    assert json.loads((tmp_path / "b" / "config.json").read_text())["settings"]["engine"] == "native(slices=2)"
    assert json.loads((tmp_path / "b" / "results.json").read_text())["engine"] == "native"
    assert main(["engines"]) == 0
    assert "--engine 'cuda(device=...)': index of a GPU" in capsys.readouterr().out
