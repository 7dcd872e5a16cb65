"""A model as a cell that is recorded: to try a protocol before an experiment, and in tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import SettingError, shown
from ..modelling import Neuron, NeuronModel
from .cells import Cells
from .forced import GAIN, fitted_model
from .recording import Recording, is_number


def simulate(
    neuron: NeuronModel | Neuron,
    current: Any,
    dt: float,
    *,
    inject: str | None = None,
    gain: float = 1.0,
    name: str = "cell",
) -> Recording:
    """Inject a current into a model and record V at every dt, and its exact spike times.

    Args:
        neuron: with values, as in ``AdEx(tau_w=120.0)``, or a model with its own. current: (S, K) or (K,), each value
            for `dt` ms. inject: as for `fit`. gain: what it is multiplied by. name: of the cell.

    Raises:
        SettingError: values of parameters that are not one number each. DataError: no current.

    Example:
        >>> cell = simulate(LIF(tau_mem=12.0), np.repeat([0.0, 1.5, 0.0], 400), dt=0.1)
        >>> len(cell.spikes[0])
        3
    """
    if not isinstance(neuron, (NeuronModel, Neuron)):
        raise SettingError(f"simulate takes a model, such as AdEx or AdEx(tau_w=120.0), got {shown(neuron)}")
    if not is_number(gain):
        raise SettingError(f"simulate: gain must be a finite number, got {shown(gain)}")
    model = neuron if isinstance(neuron, NeuronModel) else neuron.model
    fitted = fitted_model(model, inject)
    params = {} if isinstance(neuron, NeuronModel) else neuron.params
    for n in fitted.free.params:
        if n in params and not is_number(params[n].value):
            raise SettingError(f"simulate: {n} of one cell must be a number, got {shown(params[n].value)}")
    values = {n: float(params[n].value) for n in fitted.free.params if n in params} | {GAIN: gain}
    recording = Recording(current, dt, name=name)
    cells = Cells(fitted, recording, 1, [], values)
    grid = np.arange(recording.current.shape[1]) * recording.dt
    voltage = cells.states(grid, [model.readout])[model.readout][:, :, 0]
    spikes = tuple(sweep[0][sweep[0] > 0] for sweep in cells.spikes())
    cells.close()
    return replace(recording, voltage=voltage, spikes=spikes)
