"""Strengths of the loss-shaping code in the scaling of this package.

That code (and mlGeNN) carries an extra 1/tau_mem in the sources of the output's adjoint and works with
lambda_V^paper = -lambda_V / tau_mem; here the gradient is the true one. The same balance between loss and regulariser
needs strengths multiplied by

    tau_mem(output) tau_mem(neuron)    integral and per-step losses (400 with the defaults: 5e-10 -> 2e-7),
    tau_mem(neuron)                    first-spike losses (20),
    tau_mem(neuron) T                  the maximum.

Where the output's tau_mem differ from class to class their mean stands for them: there is no common factor then.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import SettingError
from ..losses.record import LossFormulas

_READS_VOLTAGE = ("integral", "voltage")


def published_scale(
    loss: LossFormulas,
    duration: float,
    regularised: Mapping[str, np.ndarray],
    output: Mapping[str, np.ndarray],
    where: str,
) -> np.ndarray:
    """The factor for a published strength, (N,) or (1,).

    Args:
        loss: its readout decides.
        duration: T in ms.
        regularised, output: parameter -> values of the regularised population and of the output.
        where: words for the message.

    Raises:
        SettingError: a readout that the published code does not have, or an output without tau_mem.
    """
    if loss.readout == "first_spike":
        return regularised["tau_mem"]
    if loss.readout == "max":
        return regularised["tau_mem"] * duration
    if loss.readout not in _READS_VOLTAGE:
        raise SettingError(
            f"{where}: published=True has no factor for the readout {loss.readout!r}; give a strength in the scaling "
            "of this package"
        )
    if "tau_mem" not in output:
        raise SettingError(f"{where}: published=True scales by tau_mem of the output, which it does not have")
    return regularised["tau_mem"] * float(np.mean(output["tau_mem"]))
