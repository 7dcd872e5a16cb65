"""A second device for PyTorch on a machine without a GPU: "fake", whose tensors hold tensors of the CPU.

Operations check what those of a GPU check: all tensors are on one device, and NumPy gets none without a copy. Autograd
checks that a gradient is on the device of what it belongs to, as for every device. Other libraries see a GPU (DLPack).
"""

import torch
from torch.utils import backend_registration
from torch.utils._pytree import tree_flatten, tree_map

from support.gpu_arrays import GpuArray

backend_registration._setup_privateuseone_for_python_backend("fake")
CPU, FAKE = torch.device("cpu"), torch.device("fake", 0)
MIXED = ("aten::_to_copy", "aten::copy_", "aten::index.Tensor", "aten::_index_put_impl_")  # indices may be on the CPU


class FakeTensor(torch.Tensor):
    """inner: its numbers."""

    @staticmethod
    def __new__(cls, inner):
        kind = {"strides": inner.stride(), "dtype": inner.dtype, "device": FAKE}
        return torch.Tensor._make_wrapper_subclass(cls, inner.size(), **kind)

    def __init__(self, inner):
        self.inner = inner

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return on_device(function, *args, **(kwargs or {}))

    def numpy(self, *, force=False):
        if not force:
            raise TypeError("can't convert fake:0 device type tensor to numpy")
        return self.detach().cpu().numpy()

    number, streams = 0, []  # of the GPU; streams that were asked to wait for what has been done with a tensor

    def __dlpack_device__(self):
        return 2, self.number

    def __dlpack__(self, *, stream=None, **_):
        self.streams.append(stream)
        return GpuArray(self.inner.detach(), self.number).__dlpack__()

    def __repr__(self):
        return f"FakeTensor({self.inner})"


def on_device(function, *args, **kwargs):
    """An operation of the device, by that of the CPU."""
    tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
    if function.name() not in MIXED and len({type(x) for x in tensors if x.dim()}) > 1:
        raise RuntimeError(f"{function.name()}: Expected all tensors to be on the same device, but found fake and cpu")

    def inner(x):
        return x.inner if isinstance(x, FakeTensor) else CPU if isinstance(x, torch.device) else x

    found = function(*tree_map(inner, args), **tree_map(inner, kwargs))
    if function.name() == "aten::copy_":
        return args[0]
    if kwargs.get("device") == CPU:
        return found
    return tree_map(lambda x: FakeTensor(x) if isinstance(x, torch.Tensor) else x, found)


_library = torch.library.Library("_", "IMPL")
_library.fallback(on_device, "PrivateUse1")
