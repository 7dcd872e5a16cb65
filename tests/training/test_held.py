"""What a network holds stays held: masks, frozen weights, signs, delays from 0 to max, whatever changes parameters."""

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Events, FanIn, Network, Normal, Sparse, Trainer, Uniform, losses
from genn_eventprop.errors import CheckpointError, NetworkError, SettingError
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import SGD, Adam, ByParameter, Cosine, Exponential
from genn_eventprop.training import MaxNorm, Revive, Rewire, initialise_rates
from genn_eventprop.training.results import gradient_norms

FIXED = np.arange(12).reshape(4, 3) % 2 == 0
WEIGHTS = 1.0 + 0.1 * np.arange(12).reshape(4, 3)


def events(n=12):
    rng = np.random.default_rng(1)
    samples = [(np.sort(rng.uniform(0, 20, 20)), rng.integers(0, 4, 20)) for _ in range(n)]
    return Events.from_samples(samples, 4, labels=rng.integers(0, 2, n))


def trainer(
    kind, *, delay=0.0, optimiser=None, callbacks=(), engine="reference_clock", schedule=None, **connection
):  # fmt: skip
    net = Network()
    hidden, output = net.population(LIF(), 3, name="hidden"), net.population(LI(), 2, name="output")
    net.connect(net.input(4), hidden, kind, delay=delay, **connection)
    net.connect(hidden, output, Dense(Normal(0.0, 1.0)))
    loss = losses.IntegratedVoltageCrossEntropy(output)
    optimiser = optimiser or Adam(0.05)
    return Trainer(
        net, loss, duration=25.0, dt=1.0, spike_times="grid", batch_size=5, progress=False, engine=engine,
        optimiser=optimiser, callbacks=list(callbacks), schedule=schedule,
    )  # fmt: skip


def test_optimiser_bounds_keep_masks_and_signs():
    mine = Adam(0.05, bounds={"*.weight": (-5.0, 5.0)})
    masked = trainer(Dense(WEIGHTS * ~FIXED, mask=~FIXED), optimiser=mine)
    masked.fit(events(), epochs=2)
    assert not masked.engine.parameters["input_hidden.weight"][FIXED].any()
    frozen = trainer(Dense(WEIGHTS), trainable=~FIXED, optimiser=Adam(0.05, bounds={"*.weight": (-5.0, 2.15)}))
    frozen.fit(events(), epochs=2)
    weight = frozen.engine.parameters["input_hidden.weight"]
    np.testing.assert_array_equal(weight[FIXED], WEIGHTS[FIXED])
    assert (weight[~FIXED] <= 2.15).all() and (weight[~FIXED] != WEIGHTS[~FIXED]).any()
    sign = np.array([1, -1, 1, -1])
    signed = trainer(Dense(Normal(0.0, 0.2)), sign=sign, optimiser=SGD(5.0, bounds={"*.weight": (-5.0, 5.0)}))
    signed.fit(events(), epochs=2)
    assert (signed.engine.parameters["input_hidden.weight"] * sign[:, None] >= 0).all()


@pytest.mark.parametrize(("asked", "low", "high"), [((0, 60), 0, 10), ((None, None), 0, 10), ((1.5, 6), 1.5, 6)])
def test_delays_stay_between_0_and_their_maximum(asked, low, high):
    optimiser = SGD(0.0, groups={"*.delay": {"learning_rate": 1e5}}, bounds={"*.delay": asked})
    made = trainer(Dense(WEIGHTS), delay=Delay(Uniform(2, 5), max=10.0), optimiser=optimiser)
    made.fit(events(), epochs=3)
    delays, told = made.engine.parameters["input_hidden.delay"], made.state.metrics[-1]["delays"]["input_hidden"]
    assert delays.min() == low and delays.max() == high
    # shares at the bounds that hold, not at those that the optimiser has replaced
    assert told["at_zero"] == np.mean(delays == low) > 0 and told["at_max"] == np.mean(delays == high) > 0


def test_callbacks_that_change_weights_keep_what_is_held():
    for callback, optimiser in ((MaxNorm(0.5, "input_hidden"), None), (Revive("lift", 0.3), SGD(0.0))):
        kind = Dense(WEIGHTS * ~FIXED * 0.01, mask=~FIXED)
        made = trainer(kind, optimiser=optimiser, callbacks=[callback])
        made.fit(events(), epochs=2)
        assert not made.engine.parameters["input_hidden.weight"][FIXED].any()
    frozen = trainer(Dense(WEIGHTS), trainable=~FIXED, callbacks=[MaxNorm(0.5, "input_hidden")])
    frozen.fit(events(), epochs=1)
    np.testing.assert_array_equal(frozen.engine.parameters["input_hidden.weight"][FIXED], WEIGHTS[FIXED])
    bounded = trainer(Dense(Uniform(0.5, 1.0), bounds=(0.5, 1.0)), callbacks=[MaxNorm(0.5, "input_hidden")])
    bounded.fit(events(), epochs=1)
    assert bounded.engine.parameters["input_hidden.weight"].min() == 0.5


def test_initial_rates_leave_frozen_weights_as_they_are():
    made = trainer(Dense(WEIGHTS), trainable=~FIXED)
    initialise_rates(made, events(), {"hidden": 7.0})
    weight = made.engine.parameters["input_hidden.weight"].copy()
    np.testing.assert_array_equal(weight[FIXED], WEIGHTS[FIXED])
    assert (weight[~FIXED] != WEIGHTS[~FIXED]).all()


def test_deep_r_keeps_bounds():
    """A decay (l1) larger than the step of the optimiser leads below the lower bound."""
    kind = Sparse(Uniform(0.5, 1.0), fan_in=2, bounds=(0.5, 1.0))
    made = trainer(kind, optimiser=SGD(0.1), callbacks=[Rewire(l1=1.0)])
    made.fit(events(), epochs=2)
    assert made.engine.parameters["input_hidden.weight"].min() == 0.5


def test_deep_r_rewires_what_a_bound_of_zero_holds_at_zero():
    kind = Sparse(Uniform(0.0, 3.0), fan_in=2, bounds=(0.0, None))
    made = trainer(kind, optimiser=SGD(1e3), callbacks=[Rewire("input_hidden")])
    made.fit(events(), epochs=2)
    assert sum(m["rewired"]["input_hidden"] for m in made.state.metrics) > 0
    assert (made.engine.parameters["input_hidden.weight"] >= 0).all()


def test_deep_r_refuses_what_belongs_to_single_synapses():
    with pytest.raises(SettingError, match=r"signs of single weights of 'input_hidden' cannot go on to other pairs"):
        trainer(Sparse(1.0, fan_in=2), sign=np.ones(6), callbacks=[Rewire()]).fit(events(), epochs=1)
    kind = Sparse(1.0, fan_in=2, bounds=(np.zeros(6), None))
    with pytest.raises(SettingError, match=r"bounds of single weights of 'input_hidden' cannot go on to other pairs"):
        trainer(kind, callbacks=[Rewire()]).fit(events(), epochs=1)


def test_norms_of_gradients_count_only_weights_that_are_learned():
    made = trainer(Dense(WEIGHTS), trainable=~FIXED)
    made.engine.run(made.engine.load(events()), np.arange(5), training=True)
    gradient = made.engine.gradients["input_hidden.weight"]
    assert np.abs(gradient[FIXED]).max() > 0
    expected = np.linalg.norm(gradient[~FIXED])
    told = gradient_norms(made.plan, made.engine.gradients, made.engine.parameters)["hidden"]
    assert told == pytest.approx((expected, expected / np.linalg.norm(WEIGHTS[~FIXED])))


@pytest.mark.parametrize("engine", ["reference_clock", "native"])
def test_clipping_counts_only_weights_that_are_learned(engine):
    """The step of plain gradient descent, clipped, has the length learning rate x limit."""
    for limit in (1e-4, {"*": 1e-4}):
        made = trainer(Dense(WEIGHTS), trainable=~FIXED, optimiser=SGD(1.0, clip_norm=limit), engine=engine)
        made.engine.run(made.engine.load(events()), np.arange(5), training=True)
        names = ["input_hidden.weight"] if isinstance(limit, dict) else list(made.plan.trainable)
        before = {n: np.array(made.engine.parameters[n], np.float64) for n in names}
        made.engine.update(made.optimiser)
        moved = np.sqrt(sum(np.sum((made.engine.parameters[n] - before[n]) ** 2) for n in names))
        assert moved == pytest.approx(1e-4, rel=1e-2)  # float32: weights of 1 move by 1e-4


def test_signs_of_sources_where_there_are_as_many_synapses():
    net = Network()
    target = net.population(LIF(), 6, name="target")
    sign = np.array([1, -1, 1, -1, 1, -1])
    net.connect(net.input(6), target, Sparse(FanIn(1.0, 1.0), fan_in=1), sign=sign)
    values = net.initial_parameters(2)
    pairs, weight = values["input_target.pairs"], values["input_target.weight"]
    assert (sign[pairs[:, 0]] != sign).any()
    np.testing.assert_array_equal(np.sign(weight), sign[pairs[:, 0]])


def test_an_input_without_connections_is_told():
    net = Network()
    net.input(2, name="touch")
    output = net.population(LI(), 2, name="output")
    net.connect(net.input(4, name="audio"), output, Dense(1.0))
    loss = losses.EndVoltageCrossEntropy(output)
    made = Trainer(net, loss, duration=25.0, dt=1.0, engine="reference_clock", progress=False)
    assert made.notes == ["no connection leads from input 'touch'; its spikes have no effect"]


def test_delays_as_long_as_the_trial_are_told():
    delays = Delay(np.arange(12.0).reshape(4, 3) * 3, max=60.0)
    made = trainer(Dense(WEIGHTS), delay=delays)
    made.fit(events(), epochs=1)
    note = "3 of 12 delays of input_hidden are as long as the trial of 25 ms: their spikes are lost"
    assert [text for text in made.notes if "delays" in text] == [note]


def test_a_run_goes_on_only_with_the_same_masks_and_signs(tmp_path):
    """Else weights of the checkpoint would stand where a new mask is 0, or have the other sign."""
    asked = {"kind": Dense(WEIGHTS * ~FIXED, mask=~FIXED), "trainable": WEIGHTS > 1.5, "sign": np.ones(4)}
    first = trainer(**asked)
    first.run_dir = tmp_path / "run"
    first.fit(events(), epochs=1)
    trainer(**asked).resume(tmp_path / "run").fit(events(), epochs=2)
    smaller = ~FIXED & (WEIGHTS < 2.0)
    for other in (
        {"kind": Dense(WEIGHTS * smaller, mask=smaller)}, {"trainable": WEIGHTS > 1.6}, {"sign": np.zeros(4)},
    ):  # fmt: skip
        with pytest.raises(CheckpointError, match="the checkpoint belongs to another network: connection input_hidden"):
            trainer(**(asked | other)).resume(tmp_path / "run")


def test_weights_from_elsewhere_must_fit_the_mask(tmp_path):
    trainer(Dense(WEIGHTS)).save_weights(tmp_path / "weights.npz")
    with pytest.raises(NetworkError, match="input_hidden.weight: 6 weights are not 0 where the mask is"):
        trainer(Dense(WEIGHTS * ~FIXED, mask=~FIXED)).load_weights(tmp_path / "weights.npz")


def test_a_schedule_of_parameters_that_are_not_there_is_told():
    schedule = ByParameter(Cosine(3), {"*.dely": Exponential(0.5)})
    with pytest.raises(SettingError, match=r"schedule: no parameter matches '\*.dely'.*input_hidden.delay"):
        trainer(Dense(1.0), delay=Delay(1.0), schedule=schedule)
