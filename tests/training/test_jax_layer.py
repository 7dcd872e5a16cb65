"""The function for JAX: gradients against finite differences, jit, vmap, optimisers, the same numbers as elsewhere."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Events, Network, NeuronModel, Normal, Param
from genn_eventprop.engines import create
from genn_eventprop.engines.contract.features import NONLINEAR_RECEPTOR_PATH
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.errors import SettingError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from support.extras import needs
from support.layers import network

jax = needs("jax")
import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

from genn_eventprop.jax import EventProp  # noqa: E402


@pytest.fixture(autouse=True)
def float64():
    """For all threads: `jax.enable_x64` holds for one, and callbacks of compiled functions run in others."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def layer(readout="max", **settings):
    spiking = readout in ("first_spike", "count")
    return EventProp(
        network(spiking), **{"duration": 25.0, "dt": 0.5, "readout": readout, "spike_times": "grid"} | settings
    )


def input_times(batch=3, seed=1):
    return jnp.asarray(np.random.default_rng(seed).uniform(0.3, 20.0, (batch, 4, 3)))


@pytest.mark.parametrize("engine", ["native", "reference_event"])
@pytest.mark.parametrize("readout", ["integral", "max", "end", "first_spike"])
@pytest.mark.one_in(3)
def test_differences_on_exact_spike_times(readout, engine):
    """Weights, time constants and input times, in float64."""
    made = layer(readout, spike_times="exact", engine=engine)
    parameters, times = made.init(2), input_times(2)
    assert "hidden.tau_mem" in parameters and "hidden.v_thresh" not in parameters

    def loss(parameters, times):
        value = made(parameters, times=times).value
        return (jnp.where(jnp.isfinite(value), value, 0.0) ** 2).sum()

    assert loss(parameters, times) > 0
    check_grads(loss, (parameters, times), order=1, modes=["rev"], eps=1e-6, atol=1e-5, rtol=1e-5)


def test_several_readouts():
    made = layer(("trace", "max"), spike_times="exact", dt=2.5, engine="reference_event")
    parameters, times = made.init(2), input_times(2)

    def loss(parameters, times):
        out = made(parameters, times=times)
        return (out.v**2).mean() + out.maximum.sum()

    assert made(parameters, times=times).v.shape == (2, 11, 3)
    check_grads(loss, (parameters, times), order=1, modes=["rev"], eps=1e-6, atol=1e-5, rtol=1e-5)


def test_jit_and_vmap():
    made, times = layer(spike_times="exact"), input_times()
    parameters = made.init(2)
    loss = lambda p, t: (made(p, times=t).maximum ** 2).sum()  # noqa: E731
    plain, quick = jax.value_and_grad(loss, (0, 1)), jax.jit(jax.value_and_grad(loss, (0, 1)))
    for a, b in zip(jax.tree.leaves(plain(parameters, times)), jax.tree.leaves(quick(parameters, times))):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    many = jnp.stack([times, times + 0.5])
    found = jax.vmap(lambda t: jax.grad(loss, 1)(parameters, t))(many)
    for t, g in zip(many, found):
        np.testing.assert_allclose(jax.grad(loss, 1)(parameters, t), g, rtol=1e-12)


def test_passes_may_overlap():
    """Two forward passes before the first backward one."""
    made, one, two = layer(spike_times="exact"), input_times(seed=1), input_times(seed=2)
    parameters = made.init(2)
    value, back = jax.vjp(lambda p: made(p, times=one).value, parameters)
    wanted = back(jnp.ones_like(value))
    value, back = jax.vjp(lambda p: made(p, times=one).value, parameters)
    made(parameters, times=two)
    for a, b in zip(jax.tree.leaves(back(jnp.ones_like(value))), jax.tree.leaves(wanted)):
        np.testing.assert_array_equal(a, b)


def test_counts_and_times_are_what_the_engine_runs():
    made = layer(dt=1.0)
    parameters = made.init(2)
    counts = np.zeros((25, 2, 4))
    counts[3, 0, 1], counts[7, 0, 2], counts[7, 1, 0] = 2, 1, 1
    times = np.full((2, 4, 2), np.inf)
    times[0, 1], times[0, 2, 0], times[1, 0, 0] = 3.0, 7.0, 7.0
    out = made(parameters, jnp.asarray(counts))
    assert jnp.array_equal(out.maximum, made(parameters, times=jnp.asarray(times)).maximum)
    assert jnp.array_equal(out.maximum, layer(dt=1.0, layout="BTN")(parameters, counts.swapaxes(0, 1)).maximum)
    engine = create(made.plan, {k: np.asarray(v) for k, v in {**made.fixed, **parameters}.items()}, dtype="float64")
    events = Events.from_samples([([3.0, 3.0, 7.0], [1, 1, 2]), ([7.0], [0])], n_channels=4)
    want = engine.run(engine.load(events), [0, 1])
    np.testing.assert_allclose(out.maximum, want.readout, rtol=1e-12)
    np.testing.assert_array_equal(out.spike_counts["hidden"], want.spike_counts["hidden"])
    gradient = jax.grad(lambda p: made(p, jnp.asarray(counts)).value.sum())(parameters)
    assert jnp.abs(gradient["input_hidden.weight"]).max() > 0


def test_noise_follows_the_key():
    net = Network()
    source, output = net.input(4), net.population(LI(tau_mem=Param(15.0, "ms", trainable=True)), 3, name="output")
    hidden = net.population(LIF(), 6, name="hidden", noise=0.3)
    net.connect(source, hidden, Dense(Normal(1.6, 0.8)))
    net.connect(hidden, output, Dense(Normal(0.4, 0.6)))
    made, times = EventProp(net, duration=25.0, readout="integral"), input_times()
    parameters = made.init(2)
    run = lambda key: made(parameters, times=times, key=key).value  # noqa: E731
    one, two = (jax.random.key(n) for n in (1, 2))
    assert jnp.array_equal(run(one), run(one)) and not jnp.array_equal(run(one), run(two))
    assert jnp.array_equal(run(None), run(None)) and not jnp.array_equal(run(None), run(one))


def test_float32():
    jax.config.update("jax_enable_x64", False)
    made, times = layer(), jnp.asarray(input_times(), jnp.float32)
    value, gradient = jax.value_and_grad(lambda p: made(p, times=times).value.sum())(made.init(2))
    assert value.dtype == jnp.float32 and {str(g.dtype) for g in gradient.values()} == {"float32"}


@pytest.mark.parametrize("lacks", [False, True])
def test_time_gradients_that_an_engine_lacks_are_nan(lacks, monkeypatch):
    if lacks:  # as cuda does, which is not here
        monkeypatch.setitem(NativeEngine.features, "grid", NativeEngine.features["grid"] - {NONLINEAR_RECEPTOR_PATH})
    model = NeuronModel(
        name="DeltaEIF", state={"V": 0.0}, params={"tau": Param(10.0, "ms")},
        dynamics={"V": "(0.1 * exp(V) - V) / tau"}, input="V",
    )  # fmt: skip
    net = Network()
    net.connect(net.input(4), net.population(model, 3, name="output"), Dense(Normal(0.2, 0.1)))
    made, times = EventProp(net, duration=25.0, readout="end", dt=0.5), input_times()
    parameters = made.init(2)
    by_parameters, by_times = jax.grad(lambda p, t: made(p, times=t).value.sum(), argnums=(0, 1))(parameters, times)
    asked = by_times[jnp.isfinite(times)]
    assert jnp.isnan(asked).all() if lacks else jnp.isfinite(asked).all() and asked.any()
    assert all(jnp.isfinite(g).all() and g.any() for g in by_parameters.values())


def test_what_is_refused():
    made = layer()
    parameters = made.init(2)
    with pytest.raises(SettingError, match=r"takes spikes of shape \(50, B, 4\) \(layout TBN\), got \(3, 50, 4\)"):
        made(parameters, jnp.zeros((3, 50, 4)))
    with pytest.raises(SettingError, match="with counts, or with times="):
        made(parameters)
    with pytest.raises(SettingError, match="unknown parameter 'hidden.tau'.*hidden.tau_"):
        made(parameters | {"hidden.tau": jnp.ones(1)}, times=input_times())
    with pytest.raises(SettingError, match="no value was given for 'input_hidden.weight', which is learned"):
        made({k: v for k, v in parameters.items() if k != "input_hidden.weight"}, times=input_times())
    weight = parameters["input_hidden.weight"]
    for wrong, message in (
        (weight.T, r"input_hidden.weight has the shape .*; it must have that of init\(\)"),
        (jnp.ones(weight.shape[1]), "has the shape"),
        (1.0, r"has the shape \(\)"),
        (jnp.ones(weight.shape, jnp.int32), "input_hidden.weight is int32"),
    ):
        with pytest.raises(SettingError, match=message):
            made({**parameters, "input_hidden.weight": wrong}, times=input_times())
    with pytest.raises(SettingError, match="runs in float32 or float64, the parameters are float16"):
        made({k: v.astype(jnp.float16) for k, v in parameters.items()}, times=input_times())
    with pytest.raises(AttributeError, match="reads 'max'; make it with readout='integral' for .integral"):
        _ = made(parameters, times=input_times()).integral
    with pytest.raises(Exception, match="non-negative integers"):
        made(parameters, jnp.full((50, 1, 4), 0.5))


def test_importing_the_package_does_not_import_jax():
    code = "import sys, genn_eventprop; assert 'jax' not in sys.modules"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


@pytest.mark.ci
def test_the_page_runs():
    page = (Path(__file__).parents[2] / "docs" / "jax.md").read_text()
    code = "".join(part.split("```")[0] for part in page.split("```python\n")[1:])
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert "loss" in done.stdout


@pytest.mark.parametrize("spike_times", ["grid", "exact"])
def test_parameters_that_an_optimiser_drove_away(spike_times):
    """A delay outside its bounds acts at the bound, a number that is none is an error."""
    net = Network()
    inp, hidden, out = net.input(4), net.population(LIF(), 6, "hidden"), net.population(LI(), 2, "output")
    net.connect(inp, hidden, Dense(Normal(3.0, 1.0)), delay=Delay(2.0, max=5.0))
    net.connect(hidden, out, Dense(Normal(0.5, 0.5)))
    made, times = EventProp(net, duration=25.0, dt=0.5, spike_times=spike_times), input_times()
    first = made.init(1)
    for far, bound in ((-3.0, 0.0), (9.0, 5.0)):
        outputs = [
            made(first | {"input_hidden.delay": jnp.full((4, 6), d)}, times=times).integral for d in (far, bound)
        ]
        assert jnp.array_equal(*outputs)
    with pytest.raises(Exception, match="input_hidden.weight: 24 of 24 values are not finite"):
        made(first | {"input_hidden.weight": jnp.full((4, 6), jnp.nan)}, times=times).integral.block_until_ready()


def test_threads_share_a_function():
    """Each thread gets its own readouts and gradients, whichever pass came between its two; JAX calls from threads of
    its own."""
    made = layer("integral", spike_times="exact")
    parameters, inputs = made.init(2), [input_times(B, B) for B in (1, 4, 2, 7)]
    both = jax.jit(jax.value_and_grad(lambda p, times: (made(p, times=times).value ** 2).sum()))
    want = [both(parameters, times) for times in inputs]
    start = threading.Barrier(len(inputs))

    def work(times):
        start.wait(60)
        return [both(parameters, times) for _ in range(10)]

    with ThreadPoolExecutor(len(inputs)) as pool:
        for every, right in zip(pool.map(work, inputs), want):
            for found in every:
                jax.tree.map(np.testing.assert_array_equal, found, right)
