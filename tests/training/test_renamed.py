"""Names of the previous version still work, and say what they are called now."""

import pytest

from genn_eventprop import Dense, Network, Trainer, training
from genn_eventprop.data.events import splits
from genn_eventprop.engines.contract import features, host_losses, slices, state, wrapper
from genn_eventprop.losses import MaxVoltageCrossEntropy
from genn_eventprop.models.li import LI
from genn_eventprop.program.nodes import Buffer
from genn_eventprop.program.readouts.spikes import FirstSpike
from genn_eventprop.runs import run_lock


@pytest.mark.parametrize(
    "module, old, new",
    [
        (training, "Tally", "EpochStatistics"),
        (splits, "Sealed", "HeldOutTestSet"),
        (features, "BENT", "NONLINEAR_RECEPTOR_PATH"),
        (host_losses, "taken", "evaluate_outer_loss"),
        (slices, "Part", "BatchShard"),
        (state, "Carry", "TrialState"),
        (wrapper, "Around", "EngineWrapper"),
        (run_lock, "writer", "lock_for_writing"),
        (run_lock, "held", "is_locked"),
    ],
)
def test_old_names_of_a_module(module, old, new):
    with pytest.warns(
        DeprecationWarning, match=rf"\.{old} is now {module.__name__}\.{new}; the old name will be removed"
    ):
        found = getattr(module, old)
    assert found is getattr(module, new)


def test_old_attributes_of_a_trainer():
    net = Network()
    output = net.population(LI(), 2, "output")
    net.connect(net.input(3), output, Dense(weight=0.1))
    trainer = Trainer(net, MaxVoltageCrossEntropy(output), duration=5.0, dt=1.0, engine="reference_clock")
    for old, new in {"tally": "statistics", "position": "state", "forecast": "runtime_estimate"}.items():
        with pytest.warns(DeprecationWarning, match=f"Trainer.{old} is now Trainer.{new}"):
            assert getattr(trainer, old) is getattr(trainer, new)


def test_unknown_names_are_unknown():
    with pytest.raises(AttributeError, match="has no attribute 'Taly'"):
        training.Taly  # noqa: B018


def test_old_attributes_of_an_engine():
    net = Network()
    output = net.population(LI(), 2, "output")
    net.connect(net.input(3), output, Dense(weight=0.1))
    engine = Trainer(net, MaxVoltageCrossEntropy(output), duration=5.0, dt=1.0, engine="reference_clock").engine
    for old, new in {"own": "local_samples", "settle": "share_machine", "run_on": "run_from"}.items():
        with pytest.warns(DeprecationWarning, match=f"Engine.{old} is now Engine.{new}"):
            assert getattr(engine, old) == getattr(engine, new)


def test_a_readout_of_the_previous_version_is_read():
    with pytest.warns(DeprecationWarning, match=r"Old\.own is now Old\.time_gradient"):
        Old = type("Old", (FirstSpike,), {"own": lambda self, event, before: ["read"]})
    assert Old.time_gradient(None, None, None) == ["read"]


def test_roles_of_buffers_have_their_old_names():
    buffer = Buffer("x", (), role="host")
    with pytest.warns(DeprecationWarning, match="buffer role 'given' is now 'host'"):
        assert buffer.role == "given"
    assert buffer.role == "host" and buffer.role != "kept" and buffer.role in {"host"}
