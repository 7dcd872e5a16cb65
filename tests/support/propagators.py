"""Derivatives of propagators by the exponential of a block matrix (Van Loan 1978), slow and by itself."""

import numpy as np

from genn_eventprop.adjoint import Propagator, expm


def step_derivative(propagator: Propagator, param: str, s: float) -> np.ndarray:
    """d expm(M s) / dparam, shape (S, n+1, n+1)."""
    k = propagator.n + 1
    block = np.zeros((*propagator.M.shape[:-2], 2 * k, 2 * k))
    block[..., :k, :k] = block[..., k:, k:] = propagator.M
    block[..., :k, k:] = propagator.derivative(param)
    return expm(block * s)[..., :k, k:]
