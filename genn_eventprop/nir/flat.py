"""A NIR graph with its nested graphs opened: nodes by path, and what leads to each of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DescriptionError
from .package import nir_package

DEEPEST = 32
"""Graphs within graphs."""
TEXTS = ("padding",)  # of a Conv2d, may be a word
SIZES = {"kernel_size": 1, "stride": 1, "dilation": 1, "groups": 1, "shape": 1, "padding": 0}
"""Field -> the smallest of its whole numbers."""
LARGEST_SIZE = 1 << 31


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
        DescriptionError: edges between nodes that do not exist, a nested graph with several inputs or outputs, or
            nested deeper than `DEEPEST`; values that are not real finite numbers, sizes and delays below zero.
    """
    flat = Flat({}, {}, [], [])
    _open(graph, "", flat, 0)
    for name, node in flat.nodes.items():
        _check_numbers(name, node)
    nir = nir_package()
    flat.inputs.extend(k for k, n in graph.nodes.items() if isinstance(n, nir.Input))
    flat.outputs.extend(k for k, n in graph.nodes.items() if isinstance(n, nir.Output))
    return flat


def _open(graph: Any, prefix: str, flat: Flat, depth: int) -> None:
    if depth > DEEPEST:
        raise DescriptionError(f"node {prefix[:80]!r}...: graphs are nested deeper than {DEEPEST} levels")
    nir = nir_package()
    first: dict[str, str] = {}  # where an edge to a node ends
    last: dict[str, str] = {}  # where an edge from it begins
    for key, node in graph.nodes.items():
        name = prefix + key
        if isinstance(node, nir.NIRGraph):
            _open(node, name + ".", flat, depth + 1)
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
    """What a file may hold in the place of a number is more than numbers: complex ones would lose a part in silence."""
    for field, value in _fields(node):
        where = f"node {name!r} ({type(node).__name__})"
        if value is None or (isinstance(value, (str, bytes)) and field in TEXTS):
            continue
        try:
            array = np.asarray(value)
        except ValueError:
            raise DescriptionError(f"{where}: {field} is no array: its parts have different lengths") from None
        if array.dtype.kind not in "biuf":
            kind = "complex numbers" if array.dtype.kind == "c" else f"of type {array.dtype}"
            raise DescriptionError(f"{where}: {field} must be real numbers, they are {kind}")
        if array.size and not np.isfinite(array).all():
            raise DescriptionError(f"{where}: {field} has values that are not finite")
        if field in SIZES and array.size:
            low, high = np.min(array), np.max(array)
            if not SIZES[field] <= low <= high < LARGEST_SIZE or np.any(array != np.floor(array)):
                bad = low if low < SIZES[field] else high
                raise DescriptionError(f"{where}: {field} must be whole numbers from {SIZES[field]} on, got {bad}")
        if field == "delay" and array.size and np.min(array) < 0:
            raise DescriptionError(f"node {name!r} (Delay): a delay of {np.min(array):g} s, below zero")


def _fields(node: Any) -> Iterator[tuple[str, Any]]:
    """(name, value) of what a node holds; the sizes of an input or output are called shape."""
    for key, value in vars(node).items():
        if key == "metadata" or (
            key in ("input_type", "output_type") and type(node).__name__ not in ("Input", "Output")
        ):
            continue
        if isinstance(value, dict):
            yield from (("shape", each) for each in value.values())
        else:
            yield key, value


def _only(graph: Any, kind: type, name: str, what: str) -> str:
    matches = [k for k, n in graph.nodes.items() if isinstance(n, kind)]
    if len(matches) != 1:
        raise DescriptionError(f"node {name!r}: a nested graph needs one {what}, it has {len(matches)}")
    return matches[0]
