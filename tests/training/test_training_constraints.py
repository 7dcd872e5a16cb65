"""Masks, signs, frozen weights, norms, and Deep R: what stays as it is while the rest learns."""

import json

import numpy as np
import pytest

import genn_eventprop
from genn_eventprop import Conv2D, Delay, Dense, Events, Network, Normal, Sparse, Trainer, Uniform, losses
from genn_eventprop.errors import NetworkError, SettingError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import Adam
from genn_eventprop.training import MaxNorm, Rewire
from genn_eventprop.training.rewire import free_pairs
from support.sweeps import sweep

ENGINES = ("native", "c99", "reference_clock")
ALTERNATING = (1, -1, 1, -1, 1, -1)


def trainer(engine="native", folder=None, callbacks=(), connectivity=None, rate=0.1, **given):
    net = Network()
    inp, hidden, output = net.input(6), net.population(LIF(), 5, "hidden"), net.population(LI(), 2, "output")
    net.connect(inp, hidden, connectivity or Dense(Normal(2.0, 1.0)), **given)
    net.connect(hidden, output, Dense(Normal(0.2, 0.5)))
    return Trainer(
        net, losses.IntegratedVoltageCrossEntropy(output), duration=30.0, dt=1.0, spike_times="grid", engine=engine,
        batch_size=4, optimiser=Adam(rate), callbacks=list(callbacks), progress=False, run_dir=folder,
    )  # fmt: skip


def events(n=12, seed=0):
    rng = np.random.default_rng(seed)
    samples = [(np.sort(rng.uniform(0, 25, 60)), rng.integers(0, 6, 60)) for _ in range(n)]
    return Events.from_samples(samples, n_channels=6, labels=np.arange(n) % 2)


@pytest.mark.parametrize("engine", ENGINES)
def test_masked_and_frozen_weights_stay_and_signs_are_kept(engine):
    rng = np.random.default_rng(1)
    mask, learned, sign = rng.random((6, 5)) < 0.6, rng.random((6, 5)) < 0.5, np.array([1, -1, 1, -1, 0, 1])
    made = trainer(engine, connectivity=Dense(Normal(1.0, 1.5), mask=mask), trainable=learned, sign=sign)
    weight = made.engine.parameters["input_hidden.weight"]
    first = weight.copy()
    assert not first[~mask].any() and (first * sign[:, None] >= 0).all() and first[mask].all()
    made.fit(events(), epochs=3)
    moved = weight != first
    assert not moved[~(mask & learned)].any() and moved[mask & learned].any()
    assert (weight * sign[:, None] >= 0).all() and not weight[~mask].any()


def test_frozen_weights_that_were_loaded_stay(tmp_path):
    learned = np.zeros((6, 5), bool)
    learned[:, 0] = True
    made = trainer(trainable=learned)
    made.engine.parameters["input_hidden.weight"][...] = 3.0
    made.save_weights(tmp_path / "w.npz")
    other = trainer(trainable=learned)
    other.load_weights(tmp_path / "w.npz")
    other.fit(events(), epochs=1)
    weight = other.engine.parameters["input_hidden.weight"]
    assert np.all(weight[:, 1:] == 3.0) and np.any(weight[:, 0] != 3.0)


def test_they_are_in_the_description(tmp_path):
    mask, sign = np.eye(6, 5, dtype=bool), [1, -1, 1, 1, -1, 0]
    made = trainer("c99", tmp_path / "run", connectivity=Dense(Normal(1.0, 1.0), mask=mask), trainable=mask, sign=sign)
    made.fit(events(), epochs=1)
    c = genn_eventprop.load(tmp_path / "run", checkpoint="last").plan.connections[0]
    np.testing.assert_array_equal(c.learned, mask)
    np.testing.assert_array_equal(c.sign, sign)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("engine", "sign"),
    sweep(
        [(engine, sign) for engine in ENGINES for sign in (None, ALTERNATING)],
        [(engine, (None, ALTERNATING)[i % 2]) for i, engine in enumerate(ENGINES)],
    ),
)
def test_deep_r_keeps_the_number_of_synapses(engine, sign, tmp_path):
    how = Sparse(Normal(0.5, 1.0), probability=0.5)
    delay = Delay(Uniform(0, 3.0), max=4.0)
    made = trainer(engine, tmp_path / "run", [Rewire(l1=0.05)], how, delay=delay, sign=sign, rate=0.3)
    parameters = made.engine.parameters
    before = parameters["input_hidden.pairs"].copy()
    made.fit(events(), epochs=5)
    pairs, weight = parameters["input_hidden.pairs"], parameters["input_hidden.weight"]
    assert len({tuple(p) for p in pairs.tolist()}) == len(before) and not np.array_equal(pairs, before)
    assert np.all(np.diff(pairs[:, 0].astype(int) * 5 + pairs[:, 1]) > 0)
    if sign:
        assert np.all(weight * np.array(sign)[pairs[:, 0]] >= 0)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["rewired"]["input_hidden"] for line in lines) > 0
    fresh = made.engine.run(made.engine.load(events()), [0, 1]).loss
    model = genn_eventprop.load(tmp_path / "run", checkpoint="last", engine=engine)
    np.testing.assert_array_equal(model.engine.run(model.engine.load(events()), [0, 1]).loss, fresh)


def test_deep_r_goes_on_with_the_same_bits(tmp_path):
    make = lambda name: trainer("native", tmp_path / name, [Rewire(l1=0.05, temperature=1e-3)],  # noqa: E731
                                Sparse(Normal(0.5, 1.0), probability=0.5), rate=0.3)  # fmt: skip
    whole, part = make("a"), make("b")
    whole.fit(events(), epochs=3)
    part.fit(events(), epochs=1)
    rest = make("b").resume()
    rest.fit(events(), epochs=3)
    for key, value in whole.engine.parameters.items():
        np.testing.assert_array_equal(rest.engine.parameters[key], value, err_msg=key)


@pytest.mark.parametrize("cut", [1, 6, 11])
def test_free_pairs_are_free_and_uniform(cut):
    pairs = np.array([(j, i) for j in range(4) for i in range(5)])[:12]
    counts = np.zeros((4, 5))
    for seed in range(300):
        gone = np.arange(cut)
        new = free_pairs(pairs, gone, (4, 5), np.random.default_rng(seed))
        flat = {tuple(p) for p in np.concatenate([np.delete(pairs, gone, 0), new]).tolist()}
        assert len(flat) == 12
        counts[new[:, 0], new[:, 1]] += 1
    expected = 300 * cut / (20 - 12 + cut)
    free = np.ones(20, bool)
    free[cut:12] = False
    assert counts.ravel()[~free].sum() == 0
    assert np.abs(counts.ravel()[free] - expected).max() < 5 * np.sqrt(expected)


def test_norms_stay_small():
    made = trainer("c99", callbacks=[MaxNorm(1.5, "input_hidden")])
    made.fit(events(), epochs=2)
    norms = np.linalg.norm(made.engine.parameters["input_hidden.weight"], axis=0)
    assert norms.max() <= 1.5 + 1e-6 and norms.max() > 1.4
    sparse = trainer("c99", callbacks=[MaxNorm(1.0)], connectivity=Sparse(Normal(2.0, 1.0), fan_in=3))
    sparse.fit(events(), epochs=1)
    pairs, weight = (sparse.engine.parameters[f"input_hidden.{n}"] for n in ("pairs", "weight"))
    assert np.sqrt(np.bincount(pairs[:, 1], weight.astype(float) ** 2)).max() <= 1.0 + 1e-6


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: trainer(connectivity=Dense(1.0, mask=np.ones((2, 2)))), NetworkError, r"mask has shape \(2, 2\)"),
        (lambda: Dense(1.0, mask=[0.5]), NetworkError, "Dense: mask must be an array of True and False"),
        (lambda: trainer(trainable=[True]), NetworkError, r"trainable has shape \(1,\), the weights have \(6, 5\)"),
        (lambda: trainer(sign=[1, 2, 1, 1, 1, 1]), NetworkError, "sign must be an array of 1, -1 and 0"),
        (lambda: trainer(sign=[1, -1]), NetworkError, r"sign has shape \(2,\).*or \(6,\), one for each source"),
        (lambda: trainer(connectivity=Dense(-1.0), sign=1), NetworkError, "do not have the sign in sign="),
        (lambda: Rewire(l1=-1), SettingError, "Rewire: l1 must be a finite number >= 0"),
        (lambda: trainer(callbacks=[Rewire()]).fit(events(), epochs=1), SettingError, "no learned Sparse connection"),
        (lambda: MaxNorm(0.0), SettingError, "MaxNorm: most must be a finite number > 0"),
        (lambda: trainer(callbacks=[MaxNorm(1.0, "x")]).fit(events(), epochs=1), SettingError, "no learned connection"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_signs_of_shared_weights_have_their_shape():
    net = Network()
    image = net.input(shape=(4, 4, 1))
    conv = Conv2D(Normal(0, 1), 2, 3)
    target = net.population(LIF(), name="conv", shape=conv.output_shape(image.shape))
    with pytest.raises(NetworkError, match=r"needs that of the weights \(2, 2, 1, 3\)$"):
        net.connect(image, target, conv, sign=np.ones(16))
    net.connect(image, target, conv, sign=np.broadcast_to([1, -1, 0], (2, 2, 1, 3)))
    weight = net.initial_parameters(0)["input_conv.weight"]
    assert (weight[..., 0] >= 0).all() and (weight[..., 1] <= 0).all()
