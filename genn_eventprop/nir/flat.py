"""A NIR graph with its nested graphs opened: nodes by path, and what leads to each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DescriptionError
from .package import nir_package


@dataclass(frozen=True)
class Flat:
    """Nodes without graphs among them, in the order of the file.

    Args:
        nodes: name -> node; "outer.inner" for a node of a nested graph, whose inputs and outputs stay as wires.
        before: name -> names of the nodes that lead to it.
        inputs, outputs: of the whole graph.
    """

    nodes: dict[str, Any]
    before: dict[str, list[str]]
    inputs: list[str]
    outputs: list[str]


def flatten(graph: Any) -> Flat:
    """Open all nested graphs.

    Raises:
        DescriptionError: edges between nodes that do not exist, a nested graph with several inputs or outputs, numbers
            that are not finite, negative delays.
    """
    flat = Flat({}, {}, [], [])
    _open(graph, "", flat)
    for name, node in flat.nodes.items():
        _check_numbers(name, node)
    nir = nir_package()
    flat.inputs.extend(k for k, n in graph.nodes.items() if isinstance(n, nir.Input))
    flat.outputs.extend(k for k, n in graph.nodes.items() if isinstance(n, nir.Output))
    return flat


def _open(graph: Any, prefix: str, flat: Flat) -> None:
    nir = nir_package()
    first: dict[str, str] = {}  # where an edge to a node ends
    last: dict[str, str] = {}  # where an edge from it begins
    for key, node in graph.nodes.items():
        name = prefix + key
        if isinstance(node, nir.NIRGraph):
            _open(node, name + ".", flat)
            first[key] = f"{name}.{_only(node, nir.Input, name, 'input')}"
            last[key] = f"{name}.{_only(node, nir.Output, name, 'output')}"
        else:
            flat.nodes[name], first[key], last[key] = node, name, name
            flat.before.setdefault(name, [])
    for source, target in dict.fromkeys((str(a), str(b)) for a, b in graph.edges):
        for end in (source, target):
            if end not in graph.nodes:
                raise DescriptionError(f"the edge {prefix + source!r} -> {prefix + target!r} has no node {end!r}")
        flat.before[first[target]].append(last[source])


def _check_numbers(name: str, node: Any) -> None:
    for key, value in vars(node).items():
        if isinstance(value, (float, np.ndarray)) and np.asarray(value).dtype.kind == "f":
            if not np.isfinite(value).all():
                raise DescriptionError(f"node {name!r} ({type(node).__name__}): {key} has values that are not finite")
            if key == "delay" and np.min(value) < 0:
                raise DescriptionError(f"node {name!r} (Delay): a delay of {np.min(value):g} s, below zero")


def _only(graph: Any, kind: type, name: str, what: str) -> str:
    found = [k for k, n in graph.nodes.items() if isinstance(n, kind)]
    if len(found) != 1:
        raise DescriptionError(f"node {name!r}: a nested graph needs one {what}, it has {len(found)}")
    return found[0]
