"""``to_nir``: a network with values as a NIR graph."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import replaced_file
from ..errors import DescriptionError
from ..modelling import Conv2D, Network, Population
from ..modelling.connection import matrix_of
from ..modelling.network import check_complete
from ..modelling.parameters import is_open
from .dialects import Dialect, dialect_of
from .images import Images
from .neurons import SPIKING_OUTPUT, STARTS, write_neuron, written_bias
from .package import nir_package

LOST = "lost"


def to_nir(
    network: Network,
    values: Mapping[str, np.ndarray],
    dialect: str = "spec",
    *,
    dt: float | None = None,
    outputs: Sequence[str] | None = None,
) -> Any:
    """A `nir.NIRGraph`: a node for each population, a Linear (behind a Delay, if it has one) for each connection.

    For "spec" Conv2D becomes Conv2d, Pool2D SumPool2d and Scale, OneToOne Scale, where `Images` says that they can.
    Others that are not dense become a Linear with zeros where there is no synapse; axonal delays are a Delay of every
    channel, those of synapses or targets are refused.

    Args:
        network: the one to write.
        values: parameters by the names of `Network.initial_parameters`.
        dialect: who is to read it: "spec", "norse" or "snntorch", see `dialects`.
        dt: time step in ms, for the last two: the reader then makes the steps that a grid of dt makes here.
        outputs: the output populations of the graph; by default those that send spikes to no other.

    Returns:
        The graph; `lost` says what it does not hold.

    Example:
        >>> from genn_eventprop.nir import to_nir
        >>> sorted(to_nir(net, net.initial_parameters(1)).nodes)
        ['hidden', 'hidden_output', 'input', 'input_hidden', 'output', 'output_output']

    Raises:
        DescriptionError: what NIR, or the reader of the dialect, cannot express; the message names the part.
    """
    convention = dialect_of(dialect, dt)
    if convention.name != "spec" and dt is None:
        raise DescriptionError(f"give dt, the time step in ms for {dialect}")
    _check(network, values, convention)
    nir = nir_package()
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    params = {
        p.name: {n: np.asarray(values[f"{p.name}.{n}"], np.float64) for n in p.model.params}
        for p in network.populations
    }
    written = {p.name: write_neuron(p.model, params[p.name], p.size, p.name, convention) for p in network.populations}
    biases = {p.name: written_bias(p.model, params[p.name], p.size, convention) for p in network.populations}
    images = Images(network, biases, convention)
    for i in network.inputs:
        nodes[i.name] = nir.Input(np.array(images.shapes.get(i.name, (i.size,))))
    for p in network.populations:
        nodes[p.name] = images.neurons(written[p.name], p.name)
        _connections(network, p, images, values, nodes, edges)
    for name in _outputs(network, outputs):
        nodes[f"{name}_output"] = nir.Output(nodes[name].output_type)
        edges.append((name, f"{name}_output"))
    omissions = _lost(network, nodes, images) + _reader_lacks(network, nodes, convention)
    metadata = {"writer": "genn_eventprop", "dialect": convention.name, LOST: "\n".join(omissions)}
    if convention.dt is not None:
        metadata["dt"] = f"{convention.dt:g} ms"
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=metadata)


def save(path: Path | str, network: Network, values: Mapping[str, np.ndarray], *options: Any, **more: Any) -> Any:
    """Write the graph of `to_nir` to a file; return it.

    Args:
        path: the file, ``network.nir``.
        network, values, options, more: arguments of `to_nir`.

    Example:
        >>> from genn_eventprop.nir import from_nir, save
        >>> graph = save("network.nir", net, net.initial_parameters(1))
        >>> from_nir("network.nir").network.populations
        [<population 'hidden': ...>, <population 'output': ...>]
    """
    graph = to_nir(network, values, *options, **more)
    content = io.BytesIO()  # HDF5 crashes where it cannot write
    nir_package().write(content, graph)
    with replaced_file(path) as temporary:
        temporary.write_bytes(content.getbuffer())
    return graph


def lost(graph: Any) -> tuple[str, ...]:
    """What `to_nir` could not write, a line for each thing.

    Args:
        graph: what `to_nir` returned.

    Example:
        >>> from genn_eventprop.nir import lost, to_nir
        >>> lost(to_nir(net, net.initial_parameters(1)))
        ()
    """
    text = graph.metadata.get(LOST, "")
    text = text.decode() if isinstance(text, bytes) else str(text)
    return tuple(text.splitlines())


def _check(network: Network, values: Mapping[str, np.ndarray], dialect: Dialect) -> None:
    if network.currents:
        raise DescriptionError(f"NIR has no currents as inputs, but {network.currents[0].name!r} is one")
    check_complete(network, values)
    for c in network.connections:
        if c.delays is not None and c.delays.kind != "axonal":
            raise DescriptionError(
                f"connection {c.name!r} has {c.delays.kind} delays, and NIR delays whole channels; use axonal delays"
            )
    delayed = [c.name for c in network.connections if c.delay or c.delays]
    if delayed and dialect.name != "spec":
        raise DescriptionError(f"connection {delayed[0]!r} has a delay, which {dialect.name} does not read from NIR")


def _connections(
    network: Network, population: Population, images: Images, values: Mapping[str, np.ndarray],
    nodes: dict[str, Any], edges: list[tuple[str, str]],
) -> None:  # fmt: skip
    """Nodes and edges of what leads to a population; its constant current is the bias of the first that has one."""
    nir, bias = nir_package(), images.biases[population.name]
    for c in (c for c in network.connections if c.target is population):
        chain: list[tuple[str, Any]] = []
        if c.delay or c.delays:
            ms = values[f"{c.name}.delay"] if c.delays else np.full(c.source.size, c.delay)
            delay = np.asarray(ms, np.float64) / 1000.0
            chain.append((f"{c.name}_delay", nir.Delay(images.shaped(delay, c.source.name))))
        if images.keeps(c):
            chain += images.nodes(c, np.asarray(values[c.weight_name], np.float64))
            if bias is not None and isinstance(c.connectivity, Conv2D):
                chain[-1][1].bias, bias = images.bias(population.name), None
        else:
            if c.source.name in images.shapes:
                image = {"input": np.array(images.shapes[c.source.name])}
                chain.append((f"{c.name}_flat", nir.Flatten(image, start_dim=0)))
            weight = matrix_of(c, values)[images.order(c.source.name, c.source.size)].T.copy()
            chain.append((c.name, nir.Linear(weight) if bias is None else nir.Affine(weight, bias)))
            bias = None
        nodes |= dict(chain)
        path = [c.source.name, *(name for name, _ in chain), population.name]
        edges += zip(path, path[1:], strict=False)
    if bias is not None:
        raise DescriptionError(f"population {population.name!r}: its bias needs a connection that leads to it")


def _outputs(network: Network, asked: Sequence[str] | None) -> list[str]:
    names = [p.name for p in network.populations]
    if asked is not None:
        for name in asked:
            if name not in names:
                raise DescriptionError(f"outputs: no population {name!r}; known: {', '.join(names)}")
        return list(asked)
    sources = {c.source.name for c in network.connections if c.source is not c.target}
    return [n for n in names if n not in sources] or names[-1:]


def _reader_lacks(network: Network, nodes: Mapping[str, Any], dialect: Dialect) -> list[str]:
    """What the readers of norse 1.1 and snnTorch 1.0 make of something that the file does say."""
    if dialect.name == "norse":
        silent = [p.name for p in network.populations if not p.model.spiking]
        lines = [f"{name}: norse writes readout nodes but does not read them; {SPIKING_OUTPUT}" for name in silent]
        spiking = {p.name: nodes[p.name] for p in network.populations if p.model.spiking}
        lines += [f"{k}: norse resets to 0, whatever the file says" for k, n in spiking.items() if np.any(n.v_reset)]
        leaky = [k for k, n in spiking.items() if hasattr(n, "tau_syn") and np.any(n.v_leak)]
        return lines + [f"{name}: norse applies the resting potential to the synapse too" for name in leaky]
    if dialect.name == "snntorch":
        loops = [c.name for c in network.connections if c.source is c.target]
        return [
            f"{name}: snnTorch gives different spikes when it reads a recurrent network, even its own" for name in loops
        ]
    return []


def _lost(network: Network, nodes: Mapping[str, Any], images: Images) -> list[str]:
    lines = []
    for p in network.populations:
        if STARTS in nodes[p.name].metadata:
            lines.append(f"{p.name}: the initial V is only in the metadata, which other programs do not read")
        stochastic = [w for w, x in (("noise", p.noise), ("dropout", p.dropout)) if x]
        if stochastic:
            lines.append(f"{p.name}: {' and '.join(stochastic)}, which act in training")
        learned = [n for n, q in p.neuron.params.items() if q.trainable]
        if learned:
            lines.append(f"{p.name}: that {', '.join(learned)} are learned")
    fixed = [c.name for c in network.connections if not c.trainable]
    bounded = [c.name for c in network.connections if not is_open(c.connectivity.bounds)]
    lines += [f"{name}: that it is not learned" for name in fixed]
    for c in network.connections:
        if c.connectivity.form != "dense" and not images.keeps(c):
            lines.append(
                f"{c.name}: that it is {type(c.connectivity).__name__}; it became all-to-all weights with zeros"
            )
        if c.delays is not None and c.delays.trainable:
            lines.append(f"{c.name}: that its delays are learned, up to {c.delays.max:g} ms")
    lines += [f"{name}: the bounds of its weights" for name in bounded]
    return lines
