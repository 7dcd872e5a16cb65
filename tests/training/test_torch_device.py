"""The PyTorch layer on a device that is not the CPU: what it returns, and gradients, belong where its tensors are."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from support.extras import needs

torch = needs("torch")
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

pytest.importorskip("torch.utils.backend_registration")
if not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"):
    pytest.skip("this torch has no devices written in Python", allow_module_level=True)

from genn_eventprop.torch import EventProp  # noqa: E402
from support.torch_device import CPU, FAKE  # noqa: E402
from support.torch_net import input_times, network  # noqa: E402


def layer(net=None, **settings):
    settings = {"spike_times": "exact", "readout": ["integral", "max"], **settings}
    return EventProp(net or network(), duration=25.0, dt=0.5, seed=2, engine="native", **settings)


def trained(made, device, **inputs):
    """Readouts, counts, and gradients of parameters and inputs, of a loss of both readouts."""
    tensors = {k: x.detach().to(device).requires_grad_() for k, x in inputs.items()}
    out = made(**tensors)
    target = torch.linspace(0.1, 0.4, out.integral.shape[1], device=device)
    loss = ((out.integral - target) ** 2).sum() + out.value.sum()
    loss = loss + out.maximum.sum() if "max" in made.readouts else loss
    loss.backward()
    found = {"loss": loss.detach(), **out.readouts, **out.spike_counts, **{k: x.grad for k, x in tensors.items()}}
    return found | {k: p.grad for k, p in made.named_parameters()}


def compared(found, want):
    """All on the device, with the numbers of the CPU."""
    assert {k: x.device for k, x in found.items()} == dict.fromkeys(want, FAKE)
    for name, x in want.items():
        assert torch.equal(found[name].detach().cpu(), x.detach()), name
        assert x.any(), name


def test_results_and_gradients_are_where_the_layer_is():
    times = input_times().float()
    compared(trained(layer().to("fake"), FAKE, times=times), trained(layer(), CPU, times=times))


def test_gradients_of_currents():
    net = Network()
    hidden, out = net.population(LIF(), 6, name="hidden"), net.population(LI(), 2, name="output")
    net.connect(net.current(3, dt=1.0), hidden, Dense(0.4))
    net.connect(hidden, out, Dense(0.6))
    currents = 2.0 + torch.rand(25, 4, 3, generator=torch.Generator().manual_seed(1))
    settings = {"spike_times": "grid", "readout": "integral"}
    want = trained(layer(net, **settings), CPU, currents=currents)
    compared(trained(layer(net, **settings).to("fake"), FAKE, currents=currents), want)


@pytest.mark.parametrize("kind", ["counts", "events", "counts of the CPU"])
def test_inputs_without_gradients(kind):
    """Data are on the CPU, and spike counts may be, as the engine is."""
    counts = (torch.rand(50, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.1).float()
    step, sample, channel = counts.numpy().nonzero()
    found = [(0.5 * np.sort(step[sample == b]), channel[sample == b]) for b in range(4)]
    spikes = {
        "events": Events.from_samples(found, counts.shape[2]),
        "counts": counts.to("fake"),
        "counts of the CPU": counts,
    }[kind]
    made = layer(spike_times="grid").to("fake")
    out = made(spikes)
    out.value.sum().backward()
    assert out.value.device == FAKE and all(p.grad.device == FAKE and p.grad.cpu().any() for p in made.parameters())


def test_an_ordinary_loop_with_an_optimiser():
    times, found = input_times().float(), {}
    for device in (CPU, FAKE):
        made = layer(readout="integral").to(device)
        behind = torch.nn.Linear(3, 2, bias=False).to(device)
        with torch.no_grad():
            behind.weight.copy_(torch.linspace(-1, 1, 6, device=device).view(2, 3))
        optimiser = torch.optim.SGD([*made.parameters(), *behind.parameters()], lr=0.01)
        losses = []
        for _ in range(4):
            optimiser.zero_grad()
            y = behind(made(times=times.to(device)).value)
            loss = (y**2).sum()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach().cpu()))
        found[device] = losses
    assert found[CPU] == found[FAKE] and found[CPU][-1] < found[CPU][0]


def test_weights_are_scaled_where_they_are():
    """Weights without a scale of their own, by the first call in training mode."""
    net = Network()
    hidden, out = net.population(LIF(), 6, name="hidden"), net.population(LI(), 2, name="output")
    net.connect(net.input(3), hidden, Dense())
    net.connect(hidden, out, Dense())
    times, found = torch.rand(4, 3, 2, generator=torch.Generator().manual_seed(1)) * 10, []
    for device in (CPU, FAKE):
        made = layer(net, readout="integral").to(device)
        before = made.net.input_hidden.weight.detach().clone()
        made(times=times.to(device))
        weight = made.net.input_hidden.weight.detach()
        assert weight.device == device and not torch.equal(weight.cpu(), before.cpu())
        found.append(weight.cpu())
    assert torch.equal(*found)


def test_the_operation_of_compiled_layers():
    """`torch.compile` calls these instead; their fakes say where results are, too."""
    from genn_eventprop.interop import torch_trial

    made, times = layer(readout="integral").to("fake"), input_times().float()
    place, channels, offsets = torch_trial.order_of_times(times.to("fake"))
    flat = times.reshape(-1)[place.cpu()].to("fake").requires_grad_()
    number = made.runner(torch.float32).number
    read, counts, _ = torch_trial.trial(number, flat, channels, offsets, [], list(made.values().values()), None)
    read[0].sum().backward()
    assert {x.device for x in (read[0], counts, flat.grad, *(p.grad for p in made.parameters()))} == {FAKE}
    with FakeTensorMode(allow_non_fake_inputs=True):  # what the compiler sees
        parameters = [torch.empty(p.shape, device="cuda") for p in made.values().values()]
        here = torch.empty(5, device="cuda"), torch.empty(5, dtype=torch.int32), torch.empty(4, dtype=torch.int64)
        read, counts, token = torch_trial.trial(number, *here, [], parameters, None)
        gradients = torch_trial.trial_backward(number, token, read, *here, [], parameters, None, True, False)
    assert {x.device.type for x in (*read, counts, gradients[0], *gradients[2])} == {"cuda"}
