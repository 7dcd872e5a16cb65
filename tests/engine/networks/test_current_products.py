"""Products of currents with weights: every form does what the matrix does, forwards and back."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from genn_eventprop import Conv2D, Currents, Dense, Network, Normal, OneToOne, losses
from genn_eventprop.engines import create
from genn_eventprop.engines.contract.current_products import Convolution, Sum, TableMatrix, product
from genn_eventprop.errors import NetworkError
from genn_eventprop.modelling.connectivity.synapses import Synapses
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan


def agree(one, other, m, n, rng):
    x, y = rng.normal(size=(2, 3, m)), rng.normal(size=(2, 3, n))
    for given_, expected in (
        (one.ahead(x), other.ahead(x)),
        (one.back(y), other.back(y)),
        (one.by_weight(x, y), other.by_weight(x, y)),
    ):
        assert given_.shape == expected.shape
        np.testing.assert_allclose(given_, expected, rtol=1e-12, atol=1e-12)


PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    image=st.tuples(st.integers(1, 6), st.integers(1, 6)), kernel=PAIR, stride=PAIR, dilation=PAIR,
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)), groups=st.integers(1, 3), depth=st.integers(1, 2),
    width=st.integers(1, 2), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_convolution_is_its_matrix(image, kernel, stride, dilation, padding, groups, depth, width, seed):
    source, rng = (*image, groups * depth), np.random.default_rng(seed)
    kind = Conv2D(1.0, kernel, groups * width, stride=stride, padding=padding, dilation=dilation, groups=groups)
    try:
        rows = kind.rows(source)
    except NetworkError:  # no window lies on the image
        assume(False)
    weight = rng.normal(size=kind.weight_shape(source, rows.target))
    m, n = np.prod(rows.source), np.prod(rows.target)
    agree(Convolution(weight, rows), TableMatrix(weight, rows.synapses()), m, n, rng)


@pytest.mark.parametrize(("m", "n", "share"), [(1, 1, 1.0), (1, 5, 0.5), (6, 1, 0.5), (7, 9, 0.1)])
def test_sums_over_synapses_are_the_matrix(m, n, share):
    rng = np.random.default_rng(m)
    pairs = [p for p in itertools.product(range(m), range(n)) if rng.random() < share]
    table = Synapses.of_pairs(np.reshape(pairs, (-1, 2)), m, n)
    agree(Sum(*(given_ := (rng.normal(size=len(table)), table))), TableMatrix(*given_), m, n, rng)


@pytest.mark.parametrize(("n", "form"), [(300, Sum), (200, TableMatrix)])  # where a matrix is small, it is one
def test_the_form_follows_how_full_the_matrix_is(n, form):
    net = Network()
    out = net.population(LI(), n, name="out")
    net.connect(net.current(n, dt=1.0, name="in"), out, OneToOne(0.5))
    plan = make_plan(net, losses.EndVoltageCrossEntropy(out), dt=1.0, duration=5.0)
    (record,) = plan.currents_into
    table = OneToOne(0.5).synapses((n,), (n,))
    assert isinstance(product(record, np.ones(n), np.dtype("float32"), lambda: table), form)


def test_an_image_too_large_for_a_matrix():
    """84 x 84 x 3 to 82 x 82 x 8: as a matrix of float32, 4.5 GB."""
    net, rng = Network(), np.random.default_rng(1)
    image = net.current(dt=5.0, name="image", shape=(84, 84, 3))
    conv = Conv2D(Normal(0.1, 0.1), 3, 8)
    hidden = net.population(LIF(), name="hidden", shape=conv.output_shape(image.shape))
    output = net.population(LI(), 2, name="output")
    net.connect(image, hidden, conv)
    drive = net.current(dt=5.0, name="drive", shape=hidden.shape)
    net.connect(drive, hidden, OneToOne(0.5))
    net.connect(hidden, output, Dense(Normal(0.0, 0.01)))
    plan = make_plan(net, losses.EndVoltageCrossEntropy(output), dt=1.0, duration=5.0, spike_times="grid")
    values = {"image": Currents(rng.normal(size=(1, 1, 84 * 84 * 3)), 5.0, labels=[1], n_classes=2)}
    values["drive"] = Currents(rng.normal(8.0, 1.0, (1, 1, hidden.size)), 5.0)
    engine = create(plan, net.initial_parameters(0), engine="native", threads=1)
    result = engine.run(engine.load(values), [0], training=True)
    assert result.spike_counts["hidden"].sum() > 100
    assert engine.gradients["image_hidden.weight"].any()
