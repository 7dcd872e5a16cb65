"""A network as a PyTorch layer, with exact gradients; needs the extra [torch]. See docs/pytorch.md."""

from .arguments import explain
from .errors import SettingError
from .interop.torch_layer import EventProp, Output
from .interop.torch_trial import trial

__all__ = ["EventProp", "Output", "trial"]

explain(globals(), ("EventProp",), SettingError, methods=False)
