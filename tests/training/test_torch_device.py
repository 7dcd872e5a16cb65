"""The PyTorch layer on a device that is not the CPU: what it returns, and gradients, belong where its tensors are."""

from collections import Counter

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Events, Network
from genn_eventprop.errors import EngineError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from support.extras import needs

torch = needs("torch")
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

pytest.importorskip("torch.utils.backend_registration")
if not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"):
    pytest.skip("this torch has no devices written in Python", allow_module_level=True)

from genn_eventprop.torch import EventProp  # noqa: E402
from support.torch_device import CPU, FAKE, FakeTensor  # noqa: E402
from support.torch_net import input_times, network  # noqa: E402


def layer(net=None, **settings):
    settings = {"spike_times": "exact", "readout": ["integral", "max"], **settings}
    settings = {"engine": "native", **settings}
    return EventProp(net or network(), duration=25.0, dt=0.5, seed=2, **settings)


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


# with an engine on the same device


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """A stand-in for CUDA's driver; FAKE is its device 0."""
    needs("cuda.core")
    from support.cuda_driver import stand_in_driver

    return stand_in_driver(monkeypatch, tmp_path)


def on_cuda(device, net=None, **settings):
    """A layer whose engine has its weights already: a first call sends all of them."""
    made = layer(net, **{"engine": "cuda", "readout": "integral", **settings}).to(device)
    made(times=input_times().float().to(device))
    return made


def moved(device, driver, made=None, times=None):
    """What a pass gives after a step of all weights, and its copies: (function, bytes) -> how many."""
    made, times = on_cuda(device) if made is None else made, input_times().float() if times is None else times
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(1.05)
    driver.copied.clear()
    return trained(made, device, times=times.to(device)), Counter(
        (n.removeprefix("cuMemcpy"), k) for n, k in driver.copied
    )


WEIGHTS = (80, 100, 60)  # bytes of the network's
BESIDE = Counter({("DtoDAsync", count): 2 for count in WEIGHTS})  # weights go in, gradients come out


@pytest.mark.parametrize("spike_times", ["grid", "exact"])
def test_weights_and_gradients_are_not_copied_by_the_host(driver, monkeypatch, spike_times):
    """On the device of the engine, they are copied there; numbers are those of the way by the host, to the bit. The
    engine's stream waits for torch's before it copies."""
    want, by_host = moved(CPU, driver, on_cuda(CPU, spike_times=spike_times))
    made, numpy, on_host = on_cuda(FAKE, spike_times=spike_times), FakeTensor.numpy, []
    monkeypatch.setattr(FakeTensor, "streams", [])
    monkeypatch.setattr(FakeTensor, "numpy", lambda x, **how: on_host.append(x.shape) or numpy(x, **how))
    found, copies = moved(FAKE, driver, made)
    compared(found, want)
    assert copies - by_host == BESIDE
    assert by_host - copies == {(n, count): k for count in WEIGHTS for n, k in (("HtoDAsync", 1), ("DtoHAsync", 2))}
    weights = [p.shape for n, p in made.named_parameters() if n.endswith("weight")]
    assert len(weights) == 3 and on_host and not set(weights) & set(on_host)
    queue = made.runner(torch.float32).engine.device.queue
    assert Counter(FakeTensor.streams)[queue] == 6 and set(FakeTensor.streams) == {queue, -1}  # -1: only looked at


def test_a_loop_on_the_device_of_the_engine(driver):
    """Steps, a pass that another call has displaced, gradients that add up: the numbers of the CPU."""
    found, times = {}, input_times().float()
    for device in (CPU, FAKE):
        made = on_cuda(device)
        optimiser = torch.optim.Adam(made.parameters(), lr=0.01)
        for _ in range(3):
            optimiser.zero_grad()
            first = made(times=times.to(device))
            second = made(times=0.5 * times.to(device))
            (first.value.sum() + (second.value**2).sum()).backward()
            optimiser.step()
        found[device] = {k: x for n, p in made.named_parameters() for k, x in ((n, p.detach()), (f"d {n}", p.grad))}
    compared(found[FAKE], found[CPU])
    assert Counter(n for n, _ in driver.copied)["cuMemcpyDtoDAsync"] >= 3 * 3 * 4


CHANGES = {"layout": lambda w: w.t().contiguous().t(), "type": lambda w: w.double()}


@pytest.mark.parametrize("other", [*CHANGES, "GPU"])
def test_what_is_not_as_the_engine_has_it_goes_by_the_host(driver, monkeypatch, other):
    """A weight of another layout or type; all of them on another GPU than the engine."""
    found = {}
    for device in (CPU, FAKE):
        made = on_cuda(device)
        if other == "GPU":
            monkeypatch.setattr(FakeTensor, "number", 1)
        else:
            made.net.hidden_output.weight = torch.nn.Parameter(CHANGES[other](made.net.hidden_output.weight.detach()))
        found[device], copies = moved(device, driver, made)
    compared(found[FAKE], found[CPU])
    beside = {} if other == "GPU" else {k: n for k, n in BESIDE.items() if k[1] != 60}
    assert {k: n for k, n in copies.items() if k[0] == "DtoDAsync"} == beside


def test_bounds_hold_on_the_device(driver):
    """Bounds and finite numbers are looked after on the device; bounds and signs of single weights, and what the engine
    keeps on the host, such as delays, by the host."""
    found, times = {}, input_times().float()
    for device in (CPU, FAKE):
        net = Network()
        hidden, out = net.population(LIF(), 5, name="hidden"), net.population(LI(), 3, name="output")
        source = net.input(4)
        net.connect(source, hidden, Dense(1.5, bounds=(-0.5, 1.52)), delay=Delay(1.0, trainable=True, max=4.0))
        net.connect(source, out, Dense(0.1, bounds=(None, np.full((4, 3), 0.102))))
        net.connect(hidden, hidden, Dense(0.2), sign=1, delay=1.0)
        net.connect(hidden, out, Dense(0.7), trainable=np.arange(15).reshape(5, 3) % 2 == 0)
        made = on_cuda(device, net)
        found[device], copies = moved(device, driver, made, times)
        assert (made.net.input_hidden.weight.detach().cpu() > 1.52).all()
        assert made.runner(torch.float32).engine.parameters["input_hidden.weight"].max() == np.float32(1.52)
        with torch.no_grad():
            made.net.input_hidden.weight[1, 2] = float("nan")
        with pytest.raises(EngineError, match="input_hidden.weight: 1 of 20 values are not finite; use a smaller"):
            made(times=times.to(device))
    compared(found[FAKE], found[CPU])
    assert {k: n for k, n in copies.items() if k[0] == "DtoDAsync"} == {("DtoDAsync", 80): 2}
