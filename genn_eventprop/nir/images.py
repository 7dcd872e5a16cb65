"""What `to_nir` keeps of images: Conv2D as Conv2d, Pool2D as SumPool2d and Scale, OneToOne as Scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..modelling import Connection, Conv2D, Network, OneToOne, Pool2D
from .dialects import Dialect
from .package import nir_package
from .windows import Image, order_of


class Images:
    """Which populations are written as images (channels, height, width).

    An image is an input or a population at a Conv2D or Pool2D, if nothing else leads to it (NIR has no node that makes
    an image of a vector) but OneToOne between images of one shape, and if its constant current, which becomes the bias
    of a Conv2d, is the same within a channel. The readers of norse and snnTorch get none.

    Args:
        biases: population -> (N,) bias of its connections, or None.
    """

    def __init__(self, network: Network, biases: Mapping[str, np.ndarray | None], dialect: Dialect) -> None:
        self.spec, self.biases = dialect.name == "spec", biases
        self.shapes: dict[str, Image] = {}
        if not self.spec:
            return
        for c in network.connections:
            if _is_window(c):
                self.shapes |= {p.name: (p.shape[2], p.shape[0], p.shape[1]) for p in (c.source, c.target)}
        single = [c for c in network.connections if isinstance(c.connectivity, OneToOne)]
        same = [c for c in single if c.source.shape == c.target.shape]
        while new := [c for c in same if (c.source.name in self.shapes) != (c.target.name in self.shapes)]:
            ends = new[0].source.name, new[0].target.name
            shape = self.shapes.get(ends[0]) or self.shapes[ends[1]]
            self.shapes |= dict.fromkeys(ends, shape)
        while bad := [p.name for p in network.populations if p.name in self.shapes and not self._fits(network, p.name)]:
            for name in bad:
                del self.shapes[name]

    def keeps(self, c: Connection) -> bool:
        """Whether a connection is written as what it is."""
        ends = [self.shapes.get(p.name) for p in (c.source, c.target)]
        if isinstance(c.connectivity, OneToOne):
            alone = self.biases.get(c.target.name) is None or ends[1] is not None
            return self.spec and ends[0] == ends[1] and alone
        return None not in ends and _is_window(c)

    def _fits(self, network: Network, name: str) -> bool:
        before, bias = [c for c in network.connections if c.target.name == name], self.biases.get(name)
        if not all(self.keeps(c) for c in before):
            return False
        if bias is None:
            return True
        channels = bias.reshape(-1, self.shapes[name][0])  # here the channel is last
        return bool(np.all(channels == channels[:1])) and any(isinstance(c.connectivity, Conv2D) for c in before)

    def order(self, name: str, size: int) -> np.ndarray:
        """(N,) for every channel of the file its neuron here."""
        return np.argsort(order_of(self.shapes[name])) if name in self.shapes else np.arange(size)

    def shaped(self, values: np.ndarray, name: str) -> np.ndarray:
        """(N,) values of neurons here as the file has them: (C, H, W) of an image."""
        return values[self.order(name, len(values))].reshape(self.shapes.get(name, (len(values),)))

    def neurons(self, node: Any, name: str) -> Any:
        """A node whose parameters are (N,), as the file has them."""
        if name not in self.shapes:
            return node
        fields = {k: v for k, v in vars(node).items() if k not in ("input_type", "output_type", "metadata")}
        metadata = {k: self.shaped(v, name).ravel() if np.ndim(v) else v for k, v in node.metadata.items()}
        return type(node)(**{k: self.shaped(v, name) for k, v in fields.items()}, metadata=metadata)

    def nodes(self, c: Connection, weight: np.ndarray) -> list[tuple[str, Any]]:
        """Names and nodes, one after the other, of a connection that is kept, without delay and bias."""
        nir, shape = nir_package(), self.shapes.get(c.target.name, (c.target.size,))
        if isinstance(c.connectivity, Conv2D):
            return [(c.name, _conv2d(c, weight))]
        if isinstance(c.connectivity, Pool2D):
            w = c.connectivity.windows
            pool = nir.SumPool2d(np.array(w.kernel), np.array(w.stride), np.array(w.padding))
            scale = np.broadcast_to(weight[:, None, None], shape).copy()
            return [(c.name, pool), (f"{c.name}_scale", nir.Scale(scale))]
        return [(c.name, nir.Scale(self.shaped(weight, c.target.name)))]

    def bias(self, name: str) -> np.ndarray:
        """(C,) of an image."""
        bias = self.biases[name]
        assert bias is not None
        return np.array(bias[: self.shapes[name][0]])


def _conv2d(c: Connection, weight: np.ndarray) -> Any:
    """weight: (kh, kw, c_in / groups, c_out)."""
    assert isinstance(c.connectivity, Conv2D)
    w, kernel = c.connectivity.windows, weight.transpose(3, 2, 0, 1).copy()
    zero = np.zeros(len(kernel))
    groups = c.connectivity.groups
    return nir_package().Conv2d(c.source.shape[:2], kernel, w.stride, w.padding, w.dilation, groups, zero)


def _is_window(c: Connection) -> bool:
    """Whether NIR has a node for it; the package nir 1.0 takes every kernel for square, every convolution for one of a
    single group, and refuses other shapes."""
    if isinstance(c.connectivity, Pool2D):
        return True
    if not isinstance(c.connectivity, Conv2D):
        return False
    node = _conv2d(c, np.zeros(c.weight_shape))
    ends = (c.source.shape, node.input_type["input"]), (c.target.shape, node.output_type["output"])
    return all([shape[2], *shape[:2]] == list(of_node) for shape, of_node in ends)
