"""The PyTorch and JAX layers with currents as inputs: gradients against differences, shapes, errors, a whole model."""

import numpy as np
import pytest

from genn_eventprop import Currents, Dense, Events, Network, Normal, Trainer
from genn_eventprop.errors import EngineError, SettingError
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models import LI, LIF
from genn_eventprop.optimisers import SGD
from support.extras import needs

torch = needs("torch")
from genn_eventprop.torch import EventProp, trial  # noqa: E402


def network(spikes=False, dt=2.0, channels=4, second=False):
    net = Network()
    inputs = [net.current(channels, dt=dt, name="stim")]
    inputs += [net.input(4, name="touch")] if spikes else []
    inputs += [net.current(2, dt=5.0, name="other")] if second else []
    hidden, output = net.population(LIF(tau_mem=8.0), 7, "hidden"), net.population(LI(), 3, "output")
    for source in inputs:
        net.connect(source, hidden, Dense(Normal(1.5, 1.0)))
    net.connect(hidden, output, Dense(Normal(0.5, 0.5)))
    return net


def layer(spikes=False, layout="TBN", **settings):
    default = {"duration": 20.0, "dt": 0.5, "spike_times": "grid", "layout": layout, "seed": 3}
    made = EventProp(network(spikes, second=settings.pop("second", False)), **(default | settings))
    return made.to(torch.float64)


def values(B=3, T=10, N=4, seed=0, **settings):
    return torch.tensor(np.random.default_rng(seed).uniform(0.2, 1.4, (T, B, N)), dtype=torch.float64, **settings)


def subthreshold():
    """A network whose only neurons never spike: its gradient is that of differences, also on a grid."""
    net = Network()
    stim, output = net.current(3, dt=2.0, name="stim"), net.population(LI(tau_mem=7.0), 2, "output")
    net.connect(stim, output, Dense(Normal(0.5, 0.5)))
    return net


@pytest.mark.parametrize("layout", ["TBN", "BTN"])
@pytest.mark.parametrize("readout", ["integral", "trace"])
def test_gradients_of_currents_are_those_of_differences(layout, readout):
    made = EventProp(subthreshold(), duration=9.0, dt=0.5, layout=layout, readout=readout, spike_times="grid", seed=1)
    made = made.to(torch.float64)
    x = values(2, 4, 3, requires_grad=True)  # ends before the trial does
    x = x if layout == "TBN" else x.transpose(0, 1).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: made(x).value, (x,), atol=1e-7)


def test_the_gradient_through_a_network_is_the_engines():
    """dL/dc of the layer against that of the trainer's engine, in the layout of the caller."""
    made, x = layer(), values(requires_grad=True)
    labels = np.array([0, 2, 1])
    out = made(x)
    torch.nn.functional.cross_entropy(out.integral, torch.from_numpy(labels)).backward()
    assert out.spike_counts["hidden"].sum() > 10
    net = network()
    loss = IntegratedVoltageCrossEntropy(net.populations[-1])
    settings = {"spike_times": "grid", "dtype": "float64", "progress": False, "batch_size": 3, "optimiser": SGD(1.0)}
    trainer = Trainer(net, loss, duration=20.0, dt=0.5, **settings)
    for name, value in made.values().items():
        trainer.engine.parameters[name][...] = value.detach().numpy()
    data = trainer.engine.load(Currents(x.detach().transpose(0, 1).numpy(), 2.0, labels=labels))
    trainer.engine.run(data, [0, 1, 2], training=True)
    expected = trainer.engine.current_gradients["stim"]
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(x.grad.transpose(0, 1).numpy(), expected, rtol=1e-4, atol=1e-7)
    for name, p in made.named_parameters():
        key = name.removeprefix("net.")
        np.testing.assert_allclose(p.grad.numpy(), trainer.engine.gradients[key], rtol=1e-4, atol=1e-6)


def test_layouts_dictionaries_and_data_are_the_same_input():
    x = values()
    made, other = layer(), layer(layout="BTN")
    data = Currents(x.transpose(0, 1).numpy(), 2.0)
    expected = made(x).integral
    single = made.to(torch.float64)(x.float()).integral  # Currents hold float32
    for out in (made(currents=x), made(currents={"stim": x}), other(x.transpose(0, 1))):
        assert torch.equal(out.integral, expected)
    for out in (made(data), made(currents=data), other(currents={"stim": data})):
        torch.testing.assert_close(out.integral, single, rtol=1e-6, atol=1e-8)
    padded = torch.cat([x[:6], torch.zeros(4, 3, 4, dtype=x.dtype)])
    assert torch.equal(made(x[:6]).integral, made(padded).integral)


def test_spikes_and_several_currents_together():
    made = layer(True, second=True)
    x, y = values(requires_grad=True), values(3, 4, 2, seed=1, requires_grad=True)
    times = torch.full((3, 4), 6.0, dtype=torch.float64)
    events = Events.from_samples([([6.0] * 4, range(4))] * 3, 4)
    counts = torch.zeros(40, 3, 4)
    counts[12] = 1
    driving = {"stim": x, "other": y}
    out = made(times=times, currents=driving)
    assert torch.equal(out.integral, made(events, currents=driving).integral)
    assert torch.equal(out.integral, made(counts, currents=driving).integral)
    out.integral.sum().backward()  # the layer was called since: the pass runs again
    assert x.grad.abs().max() > 0 and y.grad.shape == y.shape and y.grad.abs().max() > 0
    one = x.grad.clone()
    x.grad = None
    made(times=times, currents={"stim": x, "other": y.detach()}).integral.sum().backward()
    assert torch.equal(one, x.grad)


def test_a_convolution_before_and_a_linear_layer_behind():
    """All three learn: 1D convolution over time -> spiking network -> linear."""
    torch.manual_seed(0)
    labels = torch.arange(24) % 3
    rng = np.random.default_rng(2)
    sound = torch.tensor(rng.normal(size=(3, 1, 40))[labels] + 0.3 * rng.normal(size=(24, 1, 40)), dtype=torch.float32)
    conv = torch.nn.Conv1d(1, 4, 8, stride=4, padding=2)
    net = Network()
    stim = net.current(4, dt=2.0, name="stim")
    hidden, output = net.population(LIF(tau_mem=5.0), 30, "hidden"), net.population(LI(), 8, "output")
    net.connect(stim, hidden, Dense())
    net.connect(hidden, output, Dense())
    spiking, linear = EventProp(net, duration=20.0, dt=1.0, layout="BTN", seed=1), torch.nn.Linear(8, 3)

    def model(x):
        return linear(spiking(torch.nn.functional.softplus(conv(x)).transpose(1, 2)).integral)

    parameters = [*conv.parameters(), *spiking.parameters(), *linear.parameters()]
    optimiser, losses = torch.optim.Adam(parameters, lr=0.02), []
    first = [p.detach().clone() for p in parameters]
    for _ in range(30):
        optimiser.zero_grad()
        losses.append(torch.nn.functional.cross_entropy(model(sound), labels))
        losses[-1].backward()
        optimiser.step()
    assert losses[-1] < 0.5 * losses[0]
    assert (model(sound).argmax(1) == labels).float().mean() > 0.9
    # the first step has scaled the weights of the network by itself
    assert all(not torch.equal(a, b) for a, b in zip(first, parameters))


def test_opcheck():
    made, x = layer(), values(requires_grad=True)
    runner = made.runner(torch.float64)
    arrays, driving = made._inputs(x, None, None)
    arguments = (runner.number, *arrays, driving, list(made.values().values()), None)
    torch.library.opcheck(trial, arguments, test_utils=("test_schema", "test_autograd_registration", "test_faketensor"))


@pytest.mark.ci
def test_compiled_layer_gives_the_same():
    made, x = layer(), values(requires_grad=True)
    made(x).integral.sum().backward()
    expected, x.grad = x.grad, None
    torch.compile(lambda x: made(x).integral.sum(), backend="aot_eager", fullgraph=True)(x).backward()
    torch.testing.assert_close(x.grad, expected)


def wrong_current():
    x = values()
    x[4, 1, 2] = torch.nan
    return x


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((values(N=3),), r"current 'stim' takes an array of shape \(T, B, 4\) .*T at most 10 .* got \(10, 3, 3\)"),
        ((values(T=11),), r"a trial of 20 ms has 10 values of 2 ms"),
        ((values(12, 10).transpose(0, 1)[:, :, :],), "layout='BTN'"),
        ((values()[0],), r"for constant currents \(B, 4\) write x.unsqueeze\(0\)"),
        ((values().numpy(),), "write torch.from_numpy"),
        ((values().to(torch.complex128),), "current 'stim' is complex"),
        ((wrong_current(),), "current 'stim' is nan at sample 1, value 4, channel 2"),
        ((), "the network has the currents stim: give currents="),
        ((Currents(np.ones((3, 5, 4)), 4.0),), "the data have a value every 4 ms, the network every 2 ms"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises((SettingError, EngineError), match=message):
        layer()(*arguments)


def test_errors_of_several_inputs():
    x = values()
    with pytest.raises(SettingError, match="takes no spikes"):
        layer()(times=torch.zeros(3, 4), currents=x)
    made = layer(True)
    with pytest.raises(SettingError, match="give currents="):
        made(times=torch.zeros(3, 4))
    with pytest.raises(SettingError, match="call the layer with spikes, or with times="):
        made(currents=x)
    with pytest.raises(SettingError, match="all inputs need the same samples, got batches of 2, 3"):
        made(times=torch.zeros(2, 4), currents=x)
    with pytest.raises(SettingError, match="no current 'sim' .did you mean 'stim'"):
        made(times=torch.zeros(3, 4), currents={"sim": x})
    with pytest.raises(SettingError, match="the network has 2 currents"):
        layer(second=True)(x)
    with pytest.raises(SettingError, match="no values for 'other'"):
        layer(second=True)(currents={"stim": x})


@pytest.mark.ci
def test_jax_gradients_are_those_of_torch():
    jax = needs("jax")
    from genn_eventprop.jax import EventProp as JaxLayer

    x = values(2).float().numpy()
    times = np.full((2, 4), 6.0, np.float32)
    for spikes, layout in ((False, "TBN"), (True, "BTN")):
        given = x if layout == "TBN" else x.swapaxes(0, 1)
        settings = {"duration": 20.0, "dt": 0.5, "spike_times": "grid", "layout": layout, "seed": 3}
        made = EventProp(network(spikes), **settings)
        tensor = torch.tensor(given, requires_grad=True)
        extra = {"times": torch.tensor(times)} if spikes else {}
        out = made(currents=tensor, **extra).integral
        out.square().sum().backward()
        other = JaxLayer(network(spikes), **settings)
        values_of = {name: v.detach().numpy() for name, v in made.values().items()}
        parameters = {name: jax.numpy.asarray(values_of[name]) for name in other.plan.trainable}
        extra = {"times": jax.numpy.asarray(times)} if spikes else {}

        if not spikes:  # its only input may stand for itself
            out_of_jax = other(parameters, jax.numpy.asarray(given)).integral
            np.testing.assert_allclose(out_of_jax, out.detach().numpy(), rtol=1e-6)

        def loss(parameters, x, other=other, extra=extra):
            return (other(parameters, currents=x, **extra).integral ** 2).sum()

        value, (by_parameter, by_x) = jax.jit(jax.value_and_grad(loss, (0, 1)))(parameters, jax.numpy.asarray(given))
        assert np.isclose(value, out.detach().square().sum())
        np.testing.assert_allclose(by_x, tensor.grad.numpy(), rtol=1e-5, atol=1e-7)
        for name, p in made.named_parameters():
            np.testing.assert_allclose(by_parameter[name.removeprefix("net.")], p.grad.numpy(), rtol=1e-4, atol=1e-6)
    with pytest.raises(SettingError, match=r"T at most 10"):
        other(parameters, currents=jax.numpy.zeros((2, 11, 4)), times=jax.numpy.zeros((2, 4)))
