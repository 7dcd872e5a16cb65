"""Small networks and inputs for the PyTorch layer."""

import numpy as np
import torch

from support.layers import network

__all__ = ["input_times", "network"]


def input_times(batch=3, spikes=3, seed=1):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.uniform(0.3, 20.0, (batch, 4, spikes)))
