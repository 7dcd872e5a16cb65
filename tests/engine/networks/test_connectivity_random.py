"""Every combination of connectivity and delays in networks that hypothesis draws, against the clocked reference.

A generator beside `support.random_networks`, whose networks are of any neurons and losses, so that a difference may be
one that rounding decides. Here all neurons are LIF and only connections vary: any difference is a fault.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from genn_eventprop import Conv2D, Delay, Dense, FanIn, Grouped, Network, Normal, OneToOne, Pool2D, Sparse, Uniform
from genn_eventprop.engines import create
from genn_eventprop.engines.c99.engine import C99Engine
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from support import connected as C
from support.cuda_shim import ShimEngine
from support.genn_harness import HarnessEngine

SIZES = st.sampled_from([1, 2, 3, 7, 17])
KINDS = ("dense", "probability", "fan_in", "pairs", "one_to_one", "grouped", "conv", "pool")
LOSSES = ("integral", "max", "end", "first_spike")


@st.composite
def networks(draw):
    """(network, loss): input -> hidden -> output, hidden also to itself, each of any kind, with any delays."""
    net, kind = Network(), draw(st.sampled_from(KINDS))
    image = kind in ("conv", "pool")
    shape = (draw(st.sampled_from([2, 3, 7])), draw(st.sampled_from([2, 3])), draw(st.sampled_from([1, 2])))
    inp = net.input(shape=shape) if image else net.input(draw(SIZES))
    weight = FanIn(4.0, draw(st.sampled_from([6.0, 12.0])))
    if image:
        conv = Conv2D(weight, 2, draw(st.sampled_from([1, 3])), padding=draw(st.sampled_from([0, 1])))
        connectivity = conv if kind == "conv" else Pool2D(2, 24.0, per_channel=draw(st.booleans()))
        hidden = net.population(LIF(), name="hidden", shape=connectivity.output_shape(shape))
    else:
        size = inp.size if kind == "one_to_one" else draw(SIZES)
        hidden = net.population(LIF(), size, "hidden")
        connectivity = _between(draw, kind, weight, inp.size, size)
    net.connect(inp, hidden, connectivity, delay=_delay(draw))
    if draw(st.booleans()):
        loop = _between(draw, draw(st.sampled_from(KINDS[:6])), Normal(0.0, 0.4), hidden.size, hidden.size)
        net.connect(hidden, hidden, loop, delay=_delay(draw), trainable=draw(st.booleans()))
    loss = draw(st.sampled_from(LOSSES))
    output = net.population(LIF() if loss == "first_spike" else LI(), 3, "output")
    net.connect(hidden, output, _between(draw, "pairs", FanIn(4.0, 10.0), hidden.size, output.size), delay=_delay(draw))
    return net, C.LOSSES[loss](output)


def _between(draw, kind, weight, M, N):
    """Sources and targets without any synapse are among the pairs."""
    if kind == "grouped":
        groups = draw(st.sampled_from([g for g in range(1, 18) if M % g == 0 and N % g == 0]))
        return Grouped(weight, groups)
    if kind == "one_to_one":
        return OneToOne(weight) if M == N else Dense(weight)
    if kind == "pairs":
        flat = draw(st.lists(st.integers(0, M * N - 1), min_size=1, max_size=12, unique=True))
        return Sparse(weight, pairs=[divmod(k, N) for k in flat])
    if kind == "fan_in":
        return Sparse(weight, fan_in=draw(st.integers(1, M)))
    return Dense(weight) if kind == "dense" else Sparse(weight, probability=draw(st.sampled_from([0.5, 1.0])))


def _delay(draw):
    kind = draw(st.sampled_from(["none", "number", "synaptic", "axonal", "dendritic"]))
    if kind in ("none", "number"):
        return 1.3 if kind == "number" else 0.0
    limit = draw(st.sampled_from([2.0, 9.0, 40.0]))  # the last is longer than the trial
    return Delay(Uniform(-1.0, limit + 1.0), kind=kind, max=limit, trainable=draw(st.booleans()))


def compare(target, made, seed):
    net, loss = made
    plan, values = make_plan(net, loss, dt=0.5, duration=20.0), net.initial_parameters(seed)
    data = C.events(net, 20.0, 2, seed=seed, spikes=(20, 60))
    every, clock = np.arange(len(data)), create(plan, values, engine="reference_clock")
    want = clock.run(clock.load(data), every, training=True, record_spikes=True)
    assume(want.spike_counts["hidden"].sum() > 0)
    tested = target(plan, values, dtype="float64")
    got = tested.run(tested.load(data), every, training=True, record_spikes=True)
    for name in want.spikes:
        np.testing.assert_array_equal(got.spikes[name].time, want.spikes[name].time)
        np.testing.assert_array_equal(got.spikes[name].neuron, want.spikes[name].neuron)
    np.testing.assert_allclose(got.loss, want.loss, rtol=1e-9, atol=1e-12)
    for key, gradient in clock.gradients.items():
        size = np.abs(gradient).max()
        np.testing.assert_allclose(tested.gradients[key], gradient, rtol=1e-8, atol=1e-9 * size + 1e-15, err_msg=key)
    tested.close()


QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


@pytest.mark.ci
@given(made=networks(), seed=st.integers(0, 5))
@settings(max_examples=8, **QUIET)
def test_c99(made, seed):
    compare(C99Engine, made, seed)


@pytest.mark.slow
@given(made=networks(), seed=st.integers(0, 5))
@settings(max_examples=60, **QUIET)
def test_c99_more(made, seed):
    compare(C99Engine, made, seed)


@pytest.mark.slow
@given(made=networks(), seed=st.integers(0, 5))
@settings(max_examples=20, **QUIET)
def test_genn(made, seed):
    compare(HarnessEngine, made, seed)


@pytest.mark.slow
@given(made=networks(), seed=st.integers(0, 5))
@settings(max_examples=20, **QUIET)
def test_native(made, seed):
    assume(made[1].readout != "max")  # refused by name
    compare(lambda plan, values, dtype: NativeEngine(plan, values, dtype=dtype, threads=1), made, seed)


@pytest.mark.slow
@given(made=networks(), seed=st.integers(0, 5))
@settings(max_examples=15, **QUIET)
def test_cuda_on_the_shim(made, seed):
    compare(ShimEngine, made, seed)
