"""The PyTorch layer: gradients against finite differences, ordinary training loops, copies, compilation, DDP."""

import copy
import io
import pickle
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from genn_eventprop import Delay, Dense, Events, Network, Normal, Param, Sparse, Trainer, Uniform
from genn_eventprop.errors import EngineError, SettingError
from genn_eventprop.losses import IntegratedVoltageCrossEntropy
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import SGD
from support.extras import needs

torch = needs("torch")
from genn_eventprop.torch import EventProp, trial  # noqa: E402
from support.torch_net import input_times, network  # noqa: E402


def layer(readout="integral", **settings):
    settings = {"spike_times": "grid", **settings}
    made = EventProp(
        network(readout in ("first_spike", "count")), duration=25.0, dt=0.5, readout=readout, seed=2, **settings
    )
    return made.to(torch.float64)


@pytest.mark.parametrize("engine", ["native", "reference_event"])
@pytest.mark.parametrize("readout", ["max", *(pytest.param(r, marks=pytest.mark.ci) for r in ("integral", "end"))])
def test_gradcheck_on_exact_spike_times(readout, engine):
    """Weights, time constants and input times, in float64."""
    made, times = layer(readout, spike_times="exact", engine=engine), input_times().requires_grad_()
    names = [n for n, _ in made.named_parameters()]
    assert "net.hidden.tau_mem" in names and "net.input_hidden.weight" in names
    out = made(times=times)
    assert out.spike_counts["hidden"].sum() > 5

    def function(times, *parameters):
        return torch.func.functional_call(made, dict(zip(names, parameters)), (), {"times": times}).value

    parameters = [p.detach().clone().requires_grad_() for p in made.parameters()]
    assert torch.autograd.gradcheck(function, (times, *parameters), eps=1e-6, atol=1e-6, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("before", [lambda t: t, lambda t: 1 + 0.9 * t])
def test_gradients_are_not_differentiated_again(before):
    """They would be taken for constants."""
    made, times = layer("max"), input_times().requires_grad_()
    out = made(times=before(times)).maximum.sum()
    (gradient,) = torch.autograd.grad(out, times, create_graph=True)
    assert gradient.abs().sum() > 0
    with pytest.raises(EngineError, match="first derivatives only"):
        (out + gradient.pow(2).sum()).backward()
    out = made(times=before(times)).maximum.sum()
    (again,) = torch.autograd.grad(out, times, create_graph=True)
    (out + again.detach().sum()).backward()
    assert torch.equal(times.grad, gradient)


def test_gradcheck_of_first_spikes():
    made, times = layer("first_spike", spike_times="exact"), input_times().requires_grad_()

    def function(times):
        first = made(times=times).first_spike
        return torch.where(torch.isfinite(first), first, torch.zeros_like(first))

    assert torch.isfinite(function(times)).any() and function(times).max() > 0
    assert torch.autograd.gradcheck(function, (times,), eps=1e-6, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", ["synaptic", "axonal"])
def test_gradcheck_of_delays(kind):
    """Learned delays of single synapses and of sources are parameters like any other."""
    net = Network()
    source, hidden = net.input(4), net.population(LIF(), 5, name="hidden")
    output = net.population(LI(), 3, name="output")
    rng = np.random.default_rng(2)
    shape = (4, 5) if kind == "synaptic" else (4,)
    net.connect(source, hidden, Dense(Normal(1.6, 0.8)), delay=Delay(rng.uniform(1, 3, shape), kind=kind, max=6.0))
    net.connect(hidden, output, Dense(Normal(0.4, 0.6)), delay=0.5)
    made = EventProp(net, duration=25.0, readout="max", spike_times="exact", engine="reference_event", seed=2)
    made, times = made.to(torch.float64), input_times(2)
    names = [n for n, _ in made.named_parameters()]
    assert "net.input_hidden.delay" in names

    def function(*parameters):
        return torch.func.functional_call(made, dict(zip(names, parameters)), (), {"times": times}).value

    parameters = [p.detach().clone().requires_grad_() for p in made.parameters()]
    assert torch.autograd.gradcheck(function, parameters, eps=1e-6, atol=1e-6, rtol=1e-4, fast_mode=True)


def test_gradcheck_of_several_readouts():
    """V at every step among them, from one pass: weights, time constants and input times."""
    readouts = ("trace", "max", "integral", "end")
    made = EventProp(
        network(), duration=25.0, dt=2.5, readout=readouts, spike_times="exact", engine="reference_event", seed=2
    ).to(torch.float64)
    times, names = input_times(2).requires_grad_(), [n for n, _ in made.named_parameters()]

    def function(times, *parameters):
        out = torch.func.functional_call(made, dict(zip(names, parameters)), (), {"times": times})
        return out.v, out.maximum, out.integral, out.v_end

    assert function(times, *made.parameters())[0].shape == (2, 11, 3)
    parameters = [p.detach().clone().requires_grad_() for p in made.parameters()]
    assert torch.autograd.gradcheck(function, (times, *parameters), eps=1e-6, atol=1e-6, rtol=1e-4, fast_mode=True)


def test_several_readouts_are_one_pass():
    """Each is what a layer with it alone reads."""
    made, times = layer(readout=("max", "trace", "integral")), input_times()
    out = made(times=times)
    (out.v.mean() + out.maximum.sum() - out.integral.sum()).backward()
    assert made.runner(torch.float64).passes == 1
    gradient = made.net.input_hidden.weight.grad.clone()
    assert out.v.shape == (3, 51, 3) and torch.equal(out.v.amax(1), out.maximum)
    alone = {name: layer(readout=name) for name in ("max", "trace", "integral")}
    assert torch.equal(alone["trace"](times=times).v, out.v)
    assert torch.equal(alone["integral"](times=times).integral, out.integral)
    total = alone["trace"](times=times).v.mean() + alone["max"](times=times).maximum.sum()
    (total - alone["integral"](times=times).integral.sum()).backward()
    wanted = sum(one.net.input_hidden.weight.grad for one in alone.values())
    torch.testing.assert_close(gradient, wanted)


def test_noise_follows_the_random_state_of_torch():
    """Other noise in every call; none in eval()."""
    net = network()
    noisy = net.population(LIF(), 6, name="noisy", noise=0.4)
    net.connect(net.inputs[0], noisy, Dense(Normal(1.6, 0.8)))
    net.connect(noisy, net.populations[1], Dense(Normal(0.4, 0.6)))
    made, times = EventProp(net, duration=25.0, output=net.populations[1], seed=2), input_times()
    torch.manual_seed(3)
    one, two = made(times=times).value, made(times=times).value
    torch.manual_seed(3)
    assert torch.equal(made(times=times).value, one) and not torch.equal(one, two)
    made.eval()
    quiet = made(times=times).value
    assert torch.equal(made(times=times).value, quiet) and not torch.equal(quiet, one)


def test_opcheck():
    made, times = layer(spike_times="exact"), input_times().requires_grad_()
    runner = made.runner(torch.float64)
    found = made._of_times(times.detach())
    arguments = (runner.number, found[0].requires_grad_(), *found[1:], [], list(made.values().values()), None)
    torch.library.opcheck(trial, arguments, test_utils=("test_schema", "test_autograd_registration", "test_faketensor"))


def test_one_step_is_that_of_the_trainer():
    """The same loss in torch: the same gradient as the trainer's."""
    net = network()
    made = EventProp(net, duration=25.0, dt=0.5, readout="integral", seed=2, spike_times="exact").to(torch.float64)
    rng = np.random.default_rng(4)
    samples = [(np.sort(rng.uniform(0, 20, 14)), rng.integers(0, 4, 14)) for _ in range(6)]
    events = Events.from_samples(samples, n_channels=4, labels=[0, 1, 2, 0, 1, 2])
    values = {k: v.detach().numpy().copy() for k, v in made.values().items()}
    loss = IntegratedVoltageCrossEntropy(net.populations[-1])
    trainer = Trainer(
        net, loss, duration=25.0, dt=0.5, optimiser=SGD(1.0), batch_size=6, spike_times="exact", dtype="float64", seed=2
    )
    for k, v in values.items():
        trainer.engine.parameters[k][...] = v
    trainer.fit(events, epochs=1)
    torch.nn.functional.cross_entropy(made(events).value, torch.tensor([0, 1, 2, 0, 1, 2])).backward()
    for name, p in made.named_parameters():
        key = name.removeprefix("net.")
        np.testing.assert_allclose(values[key] - p.grad.numpy(), trainer.engine.parameters[key], rtol=1e-9, atol=1e-12)


def test_counts_events_and_times_are_the_same_input():
    made = EventProp(network(), duration=25.0, dt=1.0, spike_times="grid", seed=2)
    counts = torch.zeros(25, 2, 4)
    counts[3, 0, 1], counts[7, 0, 2], counts[7, 1, 0] = 2, 1, 1
    events = Events.from_samples([([3.0, 3.0, 7.0], [1, 1, 2]), ([7.0], [0])], n_channels=4)
    times = torch.full((2, 4, 2), torch.inf)
    times[0, 1], times[0, 2, 0], times[1, 0, 0] = 3.0, 7.0, 7.0
    outputs = [made(counts), made(events), made(times=times)]
    other = EventProp(network(), duration=25.0, dt=1.0, spike_times="grid", seed=2, layout="BTN")
    outputs.append(other(counts.transpose(0, 1)))
    assert outputs[0].value.abs().sum() > 0
    for out in outputs[1:]:
        assert torch.equal(out.value, outputs[0].value)
        assert torch.equal(out.spike_counts["hidden"], outputs[0].spike_counts["hidden"])
    assert len(outputs[0].spikes["hidden"].time) == int(outputs[0].spike_counts["hidden"].sum())
    with pytest.raises(SettingError, match="ms from the start of the trial, inf for no spike, got -1"):
        made(times=torch.full((1, 4), -1.0))


def test_passes_may_overlap():
    """Two forward passes before the first backward one: the first is run again, and the gradients are the same."""
    made = layer(spike_times="exact")
    one, two = input_times(seed=1), input_times(seed=2)
    made(times=one).value.sum().backward()
    wanted = [p.grad.clone() for p in made.parameters()]
    made.zero_grad()
    first, second = made(times=one), made(times=two)
    del second
    first.value.sum().backward()
    for p, w in zip(made.parameters(), wanted):
        assert torch.equal(p.grad, w)


def test_parameters_that_change_between_the_passes_are_an_error():
    made = layer(spike_times="exact")
    out = made(times=input_times(seed=1)).value.sum()
    with torch.no_grad():
        made.net.input_hidden.weight.mul_(1.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


def test_copies_pickles_and_state_dicts():
    made, times = layer(), input_times()
    want = made(times=times).value
    copies = [copy.deepcopy(made), pickle.loads(pickle.dumps(made))]
    fresh = EventProp(network(), duration=25.0, dt=0.5, spike_times="grid", seed=7).to(torch.float64)
    assert not torch.equal(fresh(times=times).value, want)
    stored = io.BytesIO()
    torch.save(made.state_dict(), stored)
    stored.seek(0)
    fresh.load_state_dict(torch.load(stored, weights_only=True))
    for other in (*copies, fresh):
        assert torch.equal(other(times=times).value, want)
    with torch.no_grad():
        for p in copies[0].parameters():
            p.mul_(0.5)
    assert torch.equal(made(times=times).value, want)
    assert made.float()(times=times.float()).value.dtype == torch.float32


def test_a_state_dict_says_which_spike_times_the_first_batch_chose():
    """A layer that goes on from it would choose by its own first batch, which may be sparser."""

    def automatic(seed, **settings):
        net = Network()
        hidden, out = net.population(LIF(), 8, name="hidden"), net.population(LI(), 3, name="output")
        net.connect(net.input(4), hidden, Dense(Normal(1.5, 0.8)))
        net.connect(hidden, out, Dense(Normal(0.3, 0.5)))
        return EventProp(net, duration=30.0, seed=seed, **settings)

    times = torch.rand(8, 4, 200, generator=torch.manual_seed(0)) * 29
    sparse = times[:, :, :1]
    made, other, fresh, undecided = map(automatic, range(4))
    before, asked_for = made.state_dict(), automatic(4, spike_times="exact")
    made(times=times), other(times=sparse)
    assert (made.plan.spike_times, other.plan.spike_times) == ("grid", "exact")
    want = made.eval()(times=sparse).value
    for layer in (fresh, other):
        layer.load_state_dict(made.state_dict())
        assert layer.eval()(times=sparse).value.equal(want) and layer.plan.spike_times == "grid"
    del before["_extra_state"]  # as versions wrote it that did not save the choice
    for layer, saved in ((undecided, before), (asked_for, made.state_dict())):
        layer.load_state_dict(saved)
        layer(times=sparse)
        assert layer.plan.spike_times == "exact"


def test_layers_stack():
    """First spike times of one layer are the input of the next; gradients reach the first."""
    first = EventProp(network(spiking=True), duration=30.0, dt=0.5, readout="first_spike", spike_times="exact", seed=2)
    second = EventProp(network(inputs=3), duration=40.0, dt=0.5, readout="max", spike_times="exact", seed=3)
    out = second(times=first(times=input_times().float()).first_spike)
    out.maximum.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in second.parameters())
    assert first.net.input_hidden.weight.grad.abs().sum() > 0


def test_what_is_refused():
    made = EventProp(network(), duration=25.0, dt=1.0, spike_times="grid")
    with pytest.raises(SettingError, match=r"takes spikes of shape \(25, B, 4\) \(layout TBN\), got \(3, 25, 4\)"):
        made(torch.zeros(3, 25, 4))
    with pytest.raises(SettingError, match="non-negative integers"):
        made(torch.full((25, 1, 4), 0.5))
    with pytest.raises(SettingError, match="spike counts have no derivative; give times="):
        made(torch.zeros(25, 1, 4, requires_grad=True))
    with pytest.raises(SettingError, match="with spikes, or with times="):
        made()
    with pytest.raises(SettingError, match=r"unknown readout 'maximum' \(.*max"):
        EventProp(network(), duration=25.0, readout="maximum")
    with pytest.raises(AttributeError, match="reads 'integral'; make it with readout='max' for .maximum"):
        _ = made(torch.zeros(25, 1, 4)).maximum
    with pytest.raises(RuntimeError, match="does not require grad"):
        made(torch.zeros(25, 1, 4)).spike_counts["hidden"].sum().float().backward()
    with pytest.raises(SettingError, match="float32 and float64, not in torch.float16"):
        made.half()(torch.zeros(25, 1, 4))


class Ran(torch.utils.data.Dataset):
    """Samples that a layer has made, in the processes that load them."""

    def __init__(self, made, times):
        self.made, self.times = made, times

    def __len__(self):
        return len(self.times)

    def __getitem__(self, i):
        return self.times[i], self.made(times=self.times[i : i + 1]).value[0].detach()


def test_workers_of_a_data_loader():
    """A layer that has run here runs in forked workers too, and on what they hand over."""
    made, times = layer(), input_times(6)
    want = made(times=times).value
    found = list(torch.utils.data.DataLoader(Ran(made, times), 2, num_workers=2))
    assert torch.equal(torch.cat([t for t, _ in found]), times)
    torch.testing.assert_close(torch.cat([v for _, v in found]), want)
    torch.testing.assert_close(torch.cat([made(times=t).value for t, _ in found]), want)


def test_an_ordinary_loop_learns():
    """Two patterns, torch's optimiser and loss, and a linear layer behind."""
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({
        "spiking": EventProp(network(outputs=8), duration=25.0, dt=0.5, readout="max", spike_times="exact", seed=1),
        "read": torch.nn.Linear(8, 2),
    })  # fmt: skip
    times, labels = torch.rand(32, 4) * 4, torch.arange(32) % 2
    times[labels == 1, :2] += 12
    optimiser, losses = torch.optim.Adam(model.parameters(), 0.02), []
    for _ in range(40):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model["read"](model["spiking"](times=times).maximum), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_importing_the_package_does_not_import_torch():
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import sys, genn_eventprop; assert 'torch' not in sys.modules"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.ci
def test_two_processes_of_ddp(tmp_path):
    """Gloo on two ranks: the averaged gradient is that of the whole batch on one."""
    script = tmp_path / "ranks.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, sys, torch, torch.distributed as dist
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from support.torch_net import input_times, network
        from genn_eventprop.torch import EventProp
        rank = int(sys.argv[1])
        dist.init_process_group("gloo", init_method="file://{tmp_path}/rendezvous", rank=rank, world_size=2)
        made = EventProp(network(), duration=25.0, dt=0.5, spike_times="grid", seed=2, threads=1).to(torch.float64)
        times = input_times(4)
        whole = EventProp(network(), duration=25.0, dt=0.5, spike_times="grid", seed=2, threads=1).to(torch.float64)
        whole(times=times).value.pow(2).sum(1).mean().backward()
        model = torch.nn.parallel.DistributedDataParallel(made)
        model(times=times[2 * rank : 2 * rank + 2]).value.pow(2).sum(1).mean().backward()
        for a, b in zip(made.parameters(), whole.parameters()):
            assert torch.allclose(a.grad, b.grad, rtol=1e-9), (a.grad, b.grad)
        dist.barrier()
        print("same", flush=True)
        os._exit(0)  # gloo's threads now and then abort a process that ends them ("without an active exception")
    """)
    )
    ranks = [
        subprocess.Popen(
            [sys.executable, str(script), str(r)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for r in range(2)
    ]
    for rank in ranks:
        out, errors = rank.communicate(timeout=240)
        assert rank.returncode == 0 and "same" in out, errors


def test_compiled_around():
    """One graph without a break; numbers and gradients are the same."""
    made, times = layer("max", spike_times="exact"), input_times()
    want = made(times=times).value
    want.sum().backward()
    wanted = [p.grad.clone() for p in made.parameters()]
    made.zero_grad()
    compiled = torch.compile(made, backend="aot_eager", fullgraph=True)
    value = compiled(times=times).value
    assert torch.equal(value, want)
    value.sum().backward()
    assert all(torch.equal(p.grad, w) for p, w in zip(made.parameters(), wanted))
    out = compiled(times=input_times(seed=4))  # another number of spikes
    assert len(out.spikes["hidden"].time) == int(out.spike_counts["hidden"].sum())
    compiled(times=times)
    with pytest.raises(EngineError, match="spikes of an earlier call are gone; read them before the layer is called"):
        _ = out.spikes
    dense, counts = (
        EventProp(network(), duration=25.0, dt=1.0, spike_times="grid", seed=2),
        (torch.rand(25, 2, 4) < 0.2).float(),
    )
    assert torch.equal(torch.compile(dense, backend="aot_eager", fullgraph=True)(counts).value, dense(counts).value)


@pytest.mark.ci
def test_the_tutorial_and_the_examples_run():
    root = Path(__file__).parents[2]
    code = "".join(p.split("```")[0] for p in (root / "docs" / "pytorch.md").read_text().split("```python\n")[1:])
    for command in (
        ["-c", code],
        [str(root / "examples" / "torch_yin_yang.py"), "--epochs", "1", "--samples", "320"],
        [str(root / "examples" / "torch_encoder.py"), "--steps", "10"],
        [str(root / "examples" / "torch_convolution.py"), "--epochs", "1"],
        [str(root / "examples" / "torch_stack.py"), "--steps", "5"],
    ):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


@pytest.mark.parametrize("kind", ["synaptic", "axonal", "dendritic"])
def test_sparse_connections_and_delays(kind):
    """Delays are parameters in the state dict, pairs are a buffer of integers; what leaves its bounds acts inside."""
    net = Network()
    inp, hidden, out = net.input(4), net.population(LIF(), 6, "hidden"), net.population(LI(), 2, "output")
    delay = Delay(Uniform(0.0, 4.0), kind=kind, max=5.0)
    net.connect(inp, hidden, Sparse(Normal(3.0, 1.0), fan_in=2), delay=delay)
    net.connect(hidden, out, Dense(Normal(0.5, 0.5)))
    made = EventProp(net, duration=25.0, dt=0.5, spike_times="grid", seed=2)
    state = made.state_dict()
    assert state["net.input_hidden.pairs"].dtype == torch.int32 and "net.input_hidden.delay" in state
    assert isinstance(made.net.input_hidden.delay, torch.nn.Parameter)
    made(times=input_times().float()).value.sum().backward()
    assert made.net.input_hidden.delay.grad.abs().sum() > 0
    with torch.no_grad():
        made.net.input_hidden.delay.fill_(5.0)
        at_most = made(times=input_times().float()).value
        made.net.input_hidden.delay.fill_(9.0)
    assert torch.equal(made(times=input_times().float()).value, at_most)
    again = EventProp(
        net, duration=25.0, dt=0.5, spike_times="grid", seed=2
    )  # from a checkpoint, before its first call
    again.load_state_dict(made.state_dict())
    assert torch.equal(again(times=input_times().float()).value, at_most)


def constrained(kind, **connection):
    net = Network()
    inp, hidden, out = net.input(4), net.population(LIF(), 3, "hidden"), net.population(LI(), 2, "output")
    net.connect(inp, hidden, kind, **connection)
    net.connect(hidden, out, Dense(Normal(0.5, 0.5)))
    return EventProp(net, duration=25.0, dt=0.5, spike_times="grid", seed=2)


def test_frozen_weights_have_no_gradient():
    """Neither those of a mask: optimisers of torch know nothing of both."""
    fixed = np.arange(12).reshape(4, 3) % 2 == 0
    for made in (constrained(Dense(3.0, mask=~fixed)), constrained(Dense(3.0), trainable=~fixed)):
        made(times=input_times().float()).value.sum().backward()
        gradient = made.net.input_hidden.weight.grad.numpy()
        assert not gradient[fixed].any() and np.count_nonzero(gradient[~fixed]) > 3


@pytest.mark.parametrize(("kind", "sign", "far", "bound"), [
    (Dense(2.0, bounds=(1.0, 3.0)), None, 9.0, 3.0),
    (Dense(2.0, bounds=(1.0, 3.0)), None, -9.0, 1.0),
    (Sparse(Normal(3.0, 0.1), pairs=[(3, 0), (0, 1), (2, 2), (1, 2)]), [1, 1, 1, -1], 5.0, [0.0, 5.0, 5.0, 5.0]),
])  # fmt: skip
def test_weights_outside_their_bounds_or_signs_act_at_the_bound(kind, sign, far, bound):
    made, times = constrained(kind, sign=None if sign is None else np.array(sign)), input_times().float()
    weight = made.net.input_hidden.weight
    first, values = made(times=times).value, []
    for value in (far, bound):
        with torch.no_grad():
            weight.copy_(torch.as_tensor(value))
        values.append(made(times=times).value)
    assert torch.equal(*values) and not torch.equal(first, values[0])


@pytest.mark.parametrize("spike_times", ["grid", "exact"])
def test_numbers_that_are_none(spike_times):
    """A diverged encoder or optimiser is an error, not a channel without spikes or a neuron that never does."""
    made = EventProp(network(), duration=25.0, dt=0.5, spike_times=spike_times)
    times = input_times().float()
    made(times=times)
    with pytest.raises(SettingError, match="inf for no spike, got nan"):
        made(times=torch.where(times == times.max(), torch.nan, times))
    for wrong in (torch.nan, torch.inf):
        with torch.no_grad():
            made.net.input_hidden.weight[0, 0] = wrong
        with pytest.raises(EngineError, match="input_hidden.weight: 1 of .* values are not finite"):
            made(times=times)


def test_names_that_modules_use_themselves():
    net = Network()
    inp, hidden = net.input(4), net.population(LIF(tau_mem=Param(20.0, "ms", trainable=True)), 3, "training")
    other = net.population(LI(tau_mem=Param(20.0, "ms", trainable=True)), 2, "training_")
    net.connect(inp, hidden, Dense(Normal(3.0, 1.0)), name="type")
    net.connect(hidden, other, Dense(Normal(1.0, 0.5)), name="float")
    made, again = (
        EventProp(net, duration=25.0, dt=0.5, spike_times="grid", engine="reference_clock", seed=s) for s in (1, 2)
    )
    assert {"net.training__.tau_mem", "net.training_.tau_mem", "net.type_.weight"} <= set(made.state_dict())
    again.load_state_dict(made.state_dict())
    values = [layer(times=input_times().float()).value for layer in (made, again)]
    assert torch.equal(*values)
    values[0].sum().backward()
    assert all(p.grad is not None for p in made.parameters())


def test_times_of_autocast():
    made, encoder = (
        EventProp(network(), duration=25.0, dt=0.5, spike_times="exact"),
        torch.nn.Linear(4, 4),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        times = 20 * encoder(torch.linspace(-1, 1, 12).reshape(3, 4)).sigmoid()
        out = made(times=times).value
    assert times.dtype == torch.bfloat16 and torch.equal(out, made(times=times.float()).value)
    out.sum().backward()
    assert encoder.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("spike_times", ["grid", "exact"])
def test_threads_share_a_layer(spike_times):
    """Each thread gets its own readouts, spikes and gradients, whichever pass came between its two."""
    made, rng = layer("integral", spike_times=spike_times), np.random.default_rng(3)
    inputs = [torch.tensor(rng.uniform(0, 20, (B, made.plan.input.size, 2))) for B in (1, 4, 2, 7)]

    def passes(times):
        out = made(times=times)
        by = torch.autograd.grad((out.integral**2).sum(), list(made.parameters()))
        return [out.integral.detach(), *by, *(torch.tensor(s.time) for s in out.spikes.values())]

    want = [passes(times) for times in inputs]
    made = pickle.loads(pickle.dumps(made))  # its engine is made by whoever comes first
    start = threading.Barrier(len(inputs))

    def work(times):
        start.wait(60)
        return [passes(times) for _ in range(10)]

    with ThreadPoolExecutor(len(inputs)) as pool:
        for every, right in zip(pool.map(work, inputs), want):
            for found in every:
                for a, b in zip(found, right, strict=True):
                    torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_threads_that_spin_are_told_of_once(monkeypatch, capsys):
    """OpenMP's threads of torch spin while they wait; only the program can say how many there are, or how they wait."""
    from genn_eventprop.interop import torch_layer

    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    noted = []
    monkeypatch.setattr(torch_layer, "_noted", noted)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        layer(engine="native").runner(torch.float64)
        torch.set_num_threads(2)
        layer(engine="reference_clock").runner(torch.float64)
        monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        layer(engine="native").runner(torch.float64)
        assert not noted and capsys.readouterr().err == ""
        monkeypatch.delenv("OMP_WAIT_POLICY")
        for _ in range(2):
            layer(engine="native").runner(torch.float64)
        said = capsys.readouterr().err
        assert said.count("note: torch uses 2 threads, which spin") == 1
        assert "torch.set_num_threads(1)" in said and "OMP_WAIT_POLICY=PASSIVE" in said
    finally:
        torch.set_num_threads(before)
