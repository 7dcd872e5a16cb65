"""Choices in one line: what can be written, and what is said when it cannot be used."""

import pytest

from genn_eventprop.data.augment.augmented import Blend
from genn_eventprop.data.augment.steps import Bin, DelayLine, MergeChannels, Shift
from genn_eventprop.errors import EventPropError, SettingError
from genn_eventprop.experiment import options
from genn_eventprop.experiment.options import Spec, parse_specs, spec_text
from genn_eventprop.modelling import Network
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import AdamW, Progress


def test_what_can_be_written():
    found = parse_specs(" shift=40, bin , blend(keep=(0.5, 0.3), times=2),crop(0, 500)", "--augment")
    assert found == [
        Spec("shift", (40,)),
        Spec("bin"),
        Spec("blend", (), {"keep": (0.5, 0.3), "times": 2}),
        Spec("crop", (0, 500)),
    ]
    assert parse_specs("", "x") == []
    assert parse_specs("weight='exp(-t / T)'", "x") == [Spec("weight", ("exp(-t / T)",))]


def test_a_table_of_toml_reads_like_its_text():
    table = {"shift": 40, "bin": True, "blend": {"keep": [0.5, 0.3], "times": 2}, "dropout": 0.1}
    text = spec_text(table)
    assert parse_specs(text, "x") == [
        Spec("shift", (40,)),
        Spec("bin"),
        Spec("blend", (), {"keep": (0.5, 0.3), "times": 2}),
        Spec("dropout", (0.1,)),
    ]
    assert spec_text("max") == "max" and spec_text(3) == 3 and spec_text([1, 2]) == [1, 2]


def test_augmentations_by_name():
    steps, blend = options.augmentations_of("merge_channels=5,shift(2, stride=34),blend=0.4,bin(dt=2.0),delay_line")
    assert steps == [MergeChannels(5), Shift(2, 34), Bin(2.0), DelayLine()] and blend == Blend((0.4, 0.4))


def test_neurons_losses_optimisers_and_schedules_by_name():
    neuron = options.neuron_of("LIF(v_thresh=0.5)", "--neuron", tau_mem=30.0, other=1.0)
    assert neuron.params["v_thresh"].value == 0.5 and neuron.params["tau_mem"].value == 30.0
    assert options.neuron_of("LIF(tau_mem=7.0)", "--neuron", tau_mem=30.0).params["tau_mem"].value == 7.0
    net = Network()
    spiking, leaky = net.population(LIF(), 3, "a"), net.population(LI(), 3, "b")
    assert options.loss_of("first_spike_exp(tau0=1.5)", spiking).constants["tau0"] == 1.5
    assert options.loss_of("sum_weigh_exp", leaky).readout == "integral"
    assert options.loss_of("max", leaky).readout == "max"
    assert options.neuron_of("ALIF(tau_B=80.0)", "--neuron", tau_mem=9.0).params["tau_B"].value == 80.0
    (lift,) = options.revive_of("lift=0.01")
    assert (lift.how, lift.amount) == ("lift", 0.01)
    optimiser = options.optimiser_of("adam_w(weight_decay=0.3)", 2e-3)
    assert isinstance(optimiser, AdamW) and optimiser.settings["weight_decay"] == 0.3
    assert optimiser.settings["learning_rate"] == 2e-3
    schedule = options.schedule_of("exponential=0.5,cosine", epochs=4)
    assert schedule.factor(Progress(2, 0)) == pytest.approx(0.25 * 0.5)
    assert options.schedule_of("", epochs=4).factor(Progress(3, 9)) == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: options.augmentations_of("shfit=3"), "--augment: unknown name 'shfit'; did you mean 'shift'?"),
        (lambda: options.augmentations_of("shift(chanels=3)"), "shift has no option 'chanels'; did you mean 'channels"),
        (lambda: options.augmentations_of("shift=3,"), None),
        (lambda: options.augmentations_of("shift(3"), "cannot read 'shift(3'; write NAME, NAME=VALUE or NAME(OPTION="),
        (lambda: options.augmentations_of("shift=x"), "a value is a number, a string in quotation marks, or (a, b)"),
        (lambda: options.augmentations_of("3"), "cannot read '3'"),
        (lambda: options.augmentations_of("shift(1, 2, 3)"), "shift cannot be used like this: too many"),
        (lambda: options.augmentations_of("shift=-3"), "Shift: channels must be from 0"),
        (lambda: options.neuron_of("LFI", "--neuron"), "--neuron: unknown name 'LFI'; did you mean"),
        (lambda: options.neuron_of("LIF(tau_men=3.0)", "--neuron"), "tau_men"),
        (lambda: options.neuron_of("LIF,LI", "--neuron"), "--neuron: expected one name, got 'LIF,LI'"),
        (lambda: options.regularisers_of("spike_cont", []), "--regulariser: unknown name 'spike_cont'; did you mean"),
        (lambda: options.revive_of("lft"), "--revive: unknown name 'lft'; did you mean 'lift'?"),
        (lambda: options.optimiser_of("adma", 1e-3), "--optimiser: unknown name 'adma'; did you mean 'adam'?"),
        (lambda: options.schedule_of("cosin", 3), "--schedule: unknown name 'cosin'; did you mean 'cosine'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_used(call, message):
    if message is None:
        call()  # a comma at the end does no harm
        return
    with pytest.raises(EventPropError) as caught:
        call()
    assert message in str(caught.value)


def test_an_unknown_loss_is_an_error():
    population = Network().population(LI(), 2, "out")
    with pytest.raises(SettingError, match="--loss: unknown name 'mx'; did you mean 'max'"):
        options.loss_of("mx", population)
