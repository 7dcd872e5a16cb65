"""Networks of norse and snnTorch as NIR files, with what they do on random spikes.

    pip install norse snntorch nir nirtorch && python make.py

It was run with norse 1.1.0, snntorch 1.0.0, nirtorch 2.6, nir 1.0.8 and torch 2.13.0, and writes, for each simulator,
NAME.nir as its own exporter makes it, and NAME.npz: input (T, M), and the spikes of each layer of neurons, layer_0
(T, N) and so on, of one sample, a row for each time step. norse: dt = 1 ms, its default.
"""

from pathlib import Path

import nir
import numpy as np
import torch

HERE = Path(__file__).parent
T, CHANNELS = 120, 5


def spikes(seed, channels=CHANNELS):
    return torch.from_numpy((np.random.default_rng(seed).random((T, 1, channels)) < 0.15).astype(np.float32))


def linear(rows, columns, mean, deviation, bias=False):
    layer = torch.nn.Linear(columns, rows, bias=bias)
    torch.nn.init.normal_(layer.weight, mean, deviation)
    if bias:
        torch.nn.init.uniform_(layer.bias, -0.2, 0.4)
    return layer


def norse_network():
    import norse.torch as norse

    return norse.SequentialState(
        linear(8, CHANNELS, 0.8, 0.6),
        norse.LIFCell(),
        linear(6, 8, 1.5, 1.5, bias=True),
        norse.LIFBoxCell(),
        linear(3, 6, 1.0, 1.0),
        norse.LIFCell(p=norse.LIFParameters(tau_mem_inv=torch.tensor(50.0), v_leak=torch.tensor(0.1))),
    )


def norse_spikes(net, x):
    """Spikes of each of its layers, (T, N)."""
    state, seen = None, record(net)
    for step in x:
        _, state = net(step, state)
    return [torch.cat([out[0] for out in layer]) for layer in seen]


def snntorch_network():
    import snntorch as snn

    reset = {"init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}
    full = lambda n, value: torch.full((n,), value)  # noqa: E731
    recurrent = snn.RLeaky(beta=full(6, 0.9), threshold=full(6, 1.0), linear_features=6, **reset)
    torch.nn.init.normal_(recurrent.recurrent.weight, 0.0, 0.4)
    torch.nn.init.zeros_(recurrent.recurrent.bias)
    return torch.nn.Sequential(
        linear(8, CHANNELS, 0.3, 0.3, bias=True),
        snn.Leaky(beta=torch.linspace(0.7, 0.95, 8), threshold=full(8, 1.0), **reset),
        linear(6, 8, 0.3, 0.3),
        recurrent,
        linear(3, 6, 0.2, 0.2),
        snn.Synaptic(alpha=full(3, 0.8), beta=full(3, 0.9), threshold=full(3, 1.2), **reset),
    )


def convolutional_network():
    """Of snnTorch, for 1 x 6 x 6 channels."""
    import snntorch as snn

    reset = {"init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}
    full = lambda *shape: {"beta": torch.full(shape, 0.9), "threshold": torch.full(shape, 1.0), **reset}  # noqa: E731
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3),
        snn.Leaky(**full(2, 4, 4)),
        torch.nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False),
        snn.Leaky(**full(3, 2, 2)),
        torch.nn.Flatten(),
        linear(4, 12, 0.3, 0.3),
        snn.Leaky(**full(4)),
    )
    for layer in (net[0], net[2]):
        torch.nn.init.normal_(layer.weight, 0.25, 0.3)
    torch.nn.init.uniform_(net[0].bias, 0.0, 0.05)
    return net


def snntorch_spikes(net, x):
    seen = record(net)
    for step in x:
        net(step)
    return [torch.cat([out if torch.is_tensor(out) else out[0] for out in layer]) for layer in seen]


def record(net):
    """Lists that the neurons of a network append their outputs to."""
    seen = []
    for module in (m for m in net.children() if type(m).__name__ not in ("Linear", "Conv2d", "Flatten")):
        outputs = []
        module.register_forward_hook(lambda _m, _x, out, outputs=outputs: outputs.append(out))
        seen.append(outputs)
    return seen


def save(name, graph, x, layers):
    # compression makes such small files larger, and fails on the scalars of norse
    nir.write(HERE / f"{name}.nir", graph, compression=None)
    layers = {f"layer_{i}": s.detach().flatten(1).numpy().astype(np.uint8) for i, s in enumerate(layers)}
    np.savez_compressed(HERE / f"{name}.npz", input=x.flatten(1).numpy().astype(np.uint8), **layers)
    print(name, {k: v.sum(0).tolist() for k, v in layers.items()})


def main():
    from norse.torch.utils.export_nir import to_nir
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(3)
    with torch.no_grad():
        net, x = norse_network(), spikes(1)
        graph = to_nir(net, torch.zeros(1, CHANNELS))
        save("norse", graph, x, norse_spikes(net, x))
        net, x = snntorch_network(), spikes(2)
        graph = export_to_nir(net, torch.zeros(1, CHANNELS), ignore_dims=[0])
        net = fresh(net)
        save("snntorch", graph, x, snntorch_spikes(net, x))
        net, x = convolutional_network(), spikes(4, 36).reshape(T, 1, 1, 6, 6)
        graph = export_to_nir(net, x[0], ignore_dims=[0])
        save("snntorch_convolutions", graph, x, snntorch_spikes(fresh(net), x))


def fresh(net):
    """The network without the states that its export left."""
    for module in net:
        for name in ("mem", "syn", "spk"):
            if isinstance(getattr(module, name, None), torch.Tensor):
                setattr(module, name, torch.zeros_like(getattr(module, name)))
    return net


if __name__ == "__main__":
    main()
