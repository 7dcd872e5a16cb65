"""Kinds of connectivity and delays: which synapses they have, and what they refuse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop import (
    Conv1D,
    Conv2D,
    Delay,
    Dense,
    FanIn,
    Grouped,
    Network,
    Normal,
    OneToOne,
    Pool2D,
    Sparse,
    Uniform,
)
from genn_eventprop.errors import NetworkError
from genn_eventprop.modelling import Synapses
from genn_eventprop.models.lif import LIF

SIZES = (1, 2, 3, 7, 17)


def two(connectivity, source, target, **given):
    net = Network()
    inp = net.input(source) if isinstance(source, int) else net.input(shape=source)
    of = {"size": target} if isinstance(target, int) else {"shape": target}
    net.connect(inp, net.population(LIF(), name="hidden", **of), connectivity, **given)
    return net


@given(
    M=st.sampled_from(SIZES), N=st.sampled_from(SIZES), data=st.data(), seed=st.integers(0, 10),
    how=st.sampled_from(["probability", "fan_in", "pairs"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_sparse_has_the_synapses_it_was_asked_for(M, N, data, seed, how):
    if how == "probability":
        chosen = data.draw(st.floats(0.5 / (M * N) + 1e-9, 1.0))
        S = int(np.floor(chosen * M * N + 0.5))
    elif how == "fan_in":
        chosen = data.draw(st.integers(1, M))
        S = chosen * N
    else:
        flat = data.draw(st.lists(st.integers(0, M * N - 1), min_size=1, unique=True))
        chosen, S = [divmod(f, N) for f in flat], len(flat)
    values = two(Sparse(Normal(0, 1), **{how: chosen}), M, N).initial_parameters(seed)
    pairs = values["input_hidden.pairs"]
    assert pairs.shape == (S, 2) and pairs.dtype == np.int32 and values["input_hidden.weight"].shape == (S,)
    assert len({tuple(p) for p in pairs.tolist()}) == S
    assert (pairs >= 0).all() and (pairs < (M, N)).all()
    if how == "fan_in":
        assert (np.bincount(pairs[:, 1], minlength=N) == chosen).all()
    if how == "pairs":
        assert [tuple(p) for p in pairs.tolist()] == chosen
    table = Synapses.of_pairs(pairs, M, N)
    assert table.start[0] == 0 and table.start[-1] == S and len(table.source) == S
    np.testing.assert_array_equal(np.stack([table.source, table.target], 1), pairs[table.weights])
    assert all((np.diff(table.target[a:b]) > 0).all() for a, b in zip(table.start, table.start[1:]))


def test_drawn_pairs_are_uniform():
    counts = np.zeros((4, 5))
    for seed in range(600):
        pairs = two(Sparse(1.0, probability=0.3), 4, 5).initial_parameters(seed)["input_hidden.pairs"]
        counts[pairs[:, 0], pairs[:, 1]] += 1
    assert np.abs(counts / 600 - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 600)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups", "made"),
    [
        (3, 1, 0, 1, 1, (3, 4, 4)), (3, 2, 1, 1, 1, (3, 3, 4)), ((2, 3), (1, 2), (0, 1), 1, 1, (4, 3, 4)),
        (2, 1, 0, (2, 3), 1, (3, 3, 4)), (1, 1, 0, 1, 1, (5, 6, 4)), ((5, 6), 1, 0, 1, 1, (1, 1, 4)),
        (3, 3, 2, 2, 1, (2, 2, 4)), (3, 2, 1, 1, 2, (3, 3, 4)),
    ],
)  # fmt: skip
def test_conv2d_is_the_convolution_written_out(kernel, stride, padding, dilation, groups, made):
    source = (5, 6, 2)
    conv = Conv2D(Normal(0, 1), kernel, 4, stride=stride, padding=padding, dilation=dilation, groups=groups)
    assert conv.output_shape(source) == made
    W = two(conv, source, made).initial_parameters(1)["input_hidden.weight"]
    x = np.random.default_rng(0).integers(0, 3, source)
    (sy, sx), (py, px), (dy, dx) = conv.windows.stride, conv.windows.padding, conv.windows.dilation
    want, padded = np.zeros(made), np.pad(x, ((py, py), (px, px), (0, 0)))
    for row in range(made[0]):
        for column in range(made[1]):
            for ky in range(W.shape[0]):
                for kx in range(W.shape[1]):
                    pixel = padded[row * sy + ky * dy, column * sx + kx * dx].reshape(groups, 1, -1)
                    want[row, column] += (pixel @ W[ky, kx].reshape(-1, groups, 4 // groups).swapaxes(0, 1)).ravel()
    table, got = conv.synapses(source, made), np.zeros(made).ravel()
    np.add.at(got, table.target, x.ravel()[table.source] * W.ravel()[table.weights])
    np.testing.assert_allclose(got.reshape(made), want, rtol=1e-12)
    assert len({*zip(table.source.tolist(), table.target.tolist())}) == len(table)
    big = W.ravel() > 0.3
    want = np.bincount(table.source, big[table.weights], minlength=60)
    np.testing.assert_array_equal(conv.rows(source).by_source(big.astype(int)), want)


def test_conv1d_is_the_convolution_along_one_axis():
    conv = Conv1D(Normal(0, 1), 3, 4, stride=2, padding=1)
    assert conv.output_shape((1, 9, 2)) == (1, 5, 4)
    W = two(conv, (1, 9, 2), (1, 5, 4)).initial_parameters(1)["input_hidden.weight"]
    x = np.random.default_rng(0).random((9, 2))
    padded = np.pad(x, ((1, 1), (0, 0)))
    want = np.array([np.einsum("ki,kio->o", padded[2 * p : 2 * p + 3], W[0]) for p in range(5)])
    table, got = conv.synapses((1, 9, 2), (1, 5, 4)), np.zeros(20)
    np.add.at(got, table.target, x.ravel()[table.source] * W.ravel()[table.weights])
    np.testing.assert_allclose(got.reshape(5, 4), want, rtol=1e-12)
    with pytest.raises(NetworkError, match=r"Conv1D: kernel must be an integer, got \(3, 3\)"):
        Conv1D(1.0, (3, 3), 4)


@pytest.mark.parametrize("per_channel", [False, True])
def test_pool2d_is_the_mean_times_its_scale(per_channel):
    pool = Pool2D(2, 3.0, per_channel=per_channel)
    assert pool.output_shape((5, 6, 2)) == (2, 3, 2)
    values = two(pool, (5, 6, 2), (2, 3, 2)).initial_parameters(0)["input_hidden.weight"]
    assert values.shape == ((2,) if per_channel else (1,))
    x = np.random.default_rng(0).random((5, 6, 2))
    table, got = pool.synapses((5, 6, 2), (2, 3, 2)), np.zeros(12)
    np.add.at(got, table.target, x.ravel()[table.source] * values[table.weights])
    mean = x[:4, :6].reshape(2, 2, 3, 2, 2).mean((1, 3))
    np.testing.assert_allclose(got.reshape(2, 3, 2), 3.0 * mean, rtol=1e-12)
    np.testing.assert_array_equal(table.weights, table.target % 2 if per_channel else 0 * table.target)


def test_grouped_and_one_to_one():
    table = Grouped(1.0, 3).synapses((6,), (9,))
    assert two(Grouped(1.0, 3), 6, 9).initial_parameters(0)["input_hidden.weight"].shape == (3, 2, 3)
    assert [(j, i) for j in range(6) for i in range(9) if j // 2 == i // 3] == [
        *zip(table.source.tolist(), table.target.tolist())
    ]
    assert table.weight_of is None
    one = OneToOne(1.0).synapses((3,), (3,))
    assert one.source.tolist() == one.target.tolist() == [0, 1, 2]


def test_fan_in_counts_the_synapses_of_a_target():
    for connectivity, source, target, fan in (
        (Dense(0.0), (12,), (5,), 12), (Sparse(0.0, fan_in=3), (12,), (5,), 3), (OneToOne(0.0), (5,), (5,), 1),
        (Sparse(0.0, probability=0.5), (12,), (5,), 6), (Grouped(0.0, 2), (12,), (4,), 6),
        (Conv2D(0.0, 3, 2), (4, 4, 5), (2, 2, 2), 45), (Pool2D(2), (4, 4, 5), (2, 2, 5), 4),
    ):  # fmt: skip
        assert connectivity.fan_in(source, target) == fan
    net = two(Sparse(FanIn(0.0, mean=6.0), fan_in=3), 12, 5)
    assert np.all(net.initial_parameters(0)["input_hidden.weight"] == 2.0)


@pytest.mark.parametrize(("kind", "shape"), [("synaptic", (5, 3)), ("axonal", (5,)), ("dendritic", (3,))])
def test_delays_are_values(kind, shape):
    net = two(Dense(1.0), 5, 3, delay=Delay(Uniform(-5.0, 20.0), kind=kind, max=12.0))
    values = net.initial_parameters(0)
    delay = values["input_hidden.delay"]
    assert delay.shape == shape and delay.min() >= 0.0 and delay.max() <= 12.0
    assert net.trainable() == ("input_hidden.weight", "input_hidden.delay")
    assert net.bounds() == {"input_hidden.delay": (0.0, 12.0)}
    fixed = two(Dense(1.0), 5, 3, delay=Delay(2.0, kind=kind, trainable=False))
    assert fixed.trainable() == ("input_hidden.weight",) and np.all(
        fixed.initial_parameters(0)["input_hidden.delay"] == 2
    )


def test_a_shared_weight_shares_its_delay():
    net = two(Conv2D(1.0, 2, 3), (4, 4, 2), (3, 3, 3), delay=Delay(Uniform(0, 5)))
    assert net.initial_parameters(0)["input_hidden.delay"].shape == (2, 2, 2, 3)
    array = two(Dense(1.0), 2, 2, delay=[[0.0, 1.5], [2.0, 0.0]])
    assert array.trainable() == ("input_hidden.weight",) and array.connections[0].delays.max == 2.0
    assert array.initial_parameters(0)["input_hidden.delay"].tolist() == [[0.0, 1.5], [2.0, 0.0]]


def test_adding_delays_or_pairs_changes_no_other_draw():
    plain = two(Dense(Normal(0, 1)), 5, 3).initial_parameters(7)["input_hidden.weight"]
    more = two(Dense(Normal(0, 1)), 5, 3, delay=Delay(Uniform(0, 1))).initial_parameters(7)["input_hidden.weight"]
    np.testing.assert_array_equal(plain, more)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sparse(1.0), r"Sparse: give one of probability=, fan_in= and pairs=, got none"),
        (lambda: Sparse(1.0, probability=0.1, fan_in=2), r"got probability and fan_in"),
        (lambda: Sparse(1.0, probability=0.0), r"Sparse: probability must be a number > 0 and <= 1, got 0.0"),
        (lambda: Sparse(1.0, fan_in=1.5), r"Sparse: fan_in must be an integer >= 1, got 1.5"),
        (lambda: two(Sparse(1.0, fan_in=6), 5, 3), r"'input_hidden': Sparse: fan_in=6, but there are 5 sources"),
        (lambda: two(Sparse(1.0, probability=0.01), 5, 3), r"probability=0.01 of 5 x 3 pairs gives no synapses"),
        (lambda: two(Sparse(1.0, pairs=[(0, 1), (0, 1)]), 5, 3), r"from neuron 0 to neuron 1 occurs twice"),
        (lambda: two(Sparse(1.0, pairs=[(0, 1), (5, 1)]), 5, 3), r"pair 1 is \(5, 1\), but there are 5 sources"),
        (lambda: two(Sparse(1.0, pairs=[]), 5, 3), r"pairs must be a list \(S, 2\) of \(source, target\)"),
        (lambda: two(Sparse(1.0, pairs=[(0.5, 1)]), 5, 3), r"pairs must be integers"),
        (lambda: two(OneToOne(1.0), 5, 3), r"OneToOne connects populations of equal size, these have 5 and 3"),
        (lambda: Grouped(1.0, 0), r"Grouped: the number of groups must be an integer >= 1, got 0"),
        (lambda: two(Grouped(1.0, 2), 4, 3), r"4 sources and 3 targets cannot be divided into 2 equal groups"),
        (lambda: Conv2D(1.0, 0, 2), r"Conv2D: kernel must be an integer >= 1, or two"),
        (lambda: Conv2D(1.0, 3, 0), r"Conv2D: channels must be an integer >= 1, got 0"),
        (lambda: Conv2D(1.0, 3, 2, groups=0), r"Conv2D: groups must be an integer >= 1, got 0"),
        (lambda: Conv2D(1.0, 3, 3, groups=2), r"Conv2D: 3 channels cannot be divided into 2 equal groups"),
        (lambda: two(Conv2D(1.0, 3, 2, groups=2), (4, 4, 1), (2, 2, 2)), r"1 channels of the source are not 2 equal"),
        (lambda: Conv2D(1.0, 3, 2, padding=-1), r"Conv2D: padding must be an integer >= 0"),
        (lambda: two(Conv2D(1.0, 3, 2), 5, 3), r"Conv2D needs a source with shape=\(height, width, channels\)"),
        (lambda: two(Conv2D(1.0, 3, 2), (4, 4, 1), 8), r"Conv2D needs a target with shape"),
        (lambda: two(Conv2D(1.0, 3, 2), (4, 4, 1), (2, 2, 1)), r"gives \(2, 2, 2\), but the target has shape"),
        (lambda: two(Conv2D(1.0, 5, 2), (4, 4, 1), (1, 1, 2)), r"a window of 5 x 5 does not fit an image of 4 x 4"),
        (lambda: Pool2D(2, "much"), r"Pool2D: scale must be a number, got 'much'"),
        (lambda: two(Pool2D(2), (4, 4, 1), (2, 2, 3)), r"Pool2D over a source of shape \(4, 4, 1\) gives \(2, 2, 1\)"),
        (lambda: Delay(1.0, kind="axon"), r"Delay: kind='axon' \(did you mean 'axonal'\?"),
        (lambda: Delay(1.0, max=0.0), r"Delay: max must be a finite time > 0 ms, got 0.0"),
        (lambda: two(Dense(1.0), 5, 3, delay=[1.0, -1.0]), r"delays must be finite times >= 0 ms"),
        (lambda: Network().population(LIF(), name="a", shape=(3, 3)), r"'a': shape must be \(height, width"),
        (lambda: Network().population(LIF(), 5, "a", shape=(2, 2, 1)), r"has 4 neurons, size=5; leave out the size"),
        (lambda: Network().population(LIF(), 5), r"a name is needed"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(NetworkError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: two(Sparse(np.ones(3), fan_in=2), 5, 3), r"weight: an array of shape \(3,\) was given where \(6,\)"),
        (lambda: two(Dense(1.0), 5, 3, delay=Delay(9.0, max=5.0)), r"given delays of 9 to 9 ms lie outside 0 to max=5"),
        (lambda: two(Dense(1.0), 5, 3, delay=[1.0] * 5), r"where \(5, 3\) is needed \(synaptic delays\)"),
        (lambda: two(Sparse(3.0, fan_in=1, bounds=(0, 1)), 5, 3), r"given weights of 3 to 3 lie outside the bounds"),
    ],
)
def test_values_that_do_not_fit_are_refused(make, message):
    with pytest.raises(NetworkError, match=message):
        make().initial_parameters(0)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("delay", lambda v: v + 9.0, r"input_hidden.delay: delays are from 0 to max=12 ms, got"),
        ("delay", lambda v: v - 13.0, r"input_hidden.delay: delays are from 0 to max=12 ms, got -"),
        ("pairs", lambda v: v * 0, r"input_hidden.pairs: the synapse from neuron 0 to neuron 0 occurs twice"),
    ],
)
def test_values_are_checked(key, change, message):
    net = two(Sparse(1.0, fan_in=2), 5, 3, delay=Delay(Uniform(5.0, 12.0), max=12.0))
    values = net.initial_parameters(0)
    values[f"input_hidden.{key}"] = change(values[f"input_hidden.{key}"])
    with pytest.raises(NetworkError, match=message):
        net.check_parameters(values)


@pytest.mark.parametrize("kind", [Conv2D(1.0, 1, 1, stride=2, padding=3), Pool2D(1, stride=2, padding=3)])
def test_windows_that_miss_the_image_are_told(kind):
    """At -3, -1, 1 and 3 of an image with one pixel, at 0."""
    with pytest.raises(NetworkError, match="'input_hidden': no window lies on the image of 1 x 1; use less padding"):
        two(kind, (1, 1, 1), kind.output_shape((1, 1, 1)))
