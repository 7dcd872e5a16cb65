"""A recurrent population with noise whose connections are known, to try `infer_network` on."""

from __future__ import annotations

import numpy as np

from ..data import Events


def simulate_population(
    weights: np.ndarray,
    delays: np.ndarray,
    *,
    bias: float | np.ndarray,
    noise: float,
    duration: float,
    seed: int,
    tau_mem: float = 20.0,
    tau_syn: float = 5.0,
    dt: float = 0.1,
    tau_0: float | None = None,
) -> Events:
    """Spikes of LIF neurons (threshold 1, reset to 0), each with noise of its own.

        tau_mem dV/dt = I + bias - V + noise sqrt(2 tau_mem) xi(t),    tau_syn dI/dt = -I + arrivals

    With `tau_0` the noise is in the threshold instead, as in `infer_network`: rate exp((V - 1) / noise) / tau_0.
    Steps are exact but for a threshold crossed twice within one; arrivals act at their time within the step, and a
    spike is where the line between two steps crosses the threshold (with `tau_0`, anywhere in the step).

    Args:
        weights, delays: (N, N) from row to column, delays in ms; 0: no connection. bias: a number or (N,).
        noise: standard deviation of V without threshold, or the softness of the threshold. Others: ms.

    Example:
        >>> from genn_eventprop.fitting.population import simulate_population
        >>> simulate_population(np.zeros((3, 3)), np.zeros((3, 3)), bias=1.1, noise=0.0, duration=200.0, seed=1).counts
        array([9])
    """
    rng, N, steps = np.random.default_rng(seed), len(weights), round(duration / dt)
    m, s = np.exp(-dt / tau_mem), np.exp(-dt / tau_syn)
    rate = tau_syn / (tau_mem - tau_syn)  # V of a unit I after t: rate (exp(-t / tau_mem) - exp(-t / tau_syn))
    ring = int(np.ceil(delays.max(initial=0.0) / dt)) + 2
    of_v, of_i = np.zeros((ring, N)), np.zeros((ring, N))
    V, current, bias = np.zeros(N), np.zeros(N), np.broadcast_to(np.asarray(bias, float), N)
    spread = 0.0 if tau_0 else noise * np.sqrt(1 - m * m)
    steady, along = bias * (1 - m), rate * (m - s)
    times, neurons = list[np.ndarray](), list[np.ndarray]()
    for k in range(steps):
        slot = k % ring
        before = V
        V = V * m + steady + current * along + of_v[slot]
        if spread:
            V += spread * rng.standard_normal(N)
        current = current * s + of_i[slot]
        of_v[slot] = of_i[slot] = 0.0
        if tau_0:
            rate_of = np.exp(np.minimum(((V + before) / 2 - 1.0) / noise, 50.0)) / tau_0
            fired = np.flatnonzero(rng.random(N) > np.exp(-dt * rate_of))
            part = rng.random(len(fired))
        else:
            fired = np.flatnonzero(V >= 1.0)
            part = np.clip((1.0 - before[fired]) / (V[fired] - before[fired]), 0.0, 1.0)
        if not len(fired):
            continue
        at = (k + part) * dt
        V[fired] = bias[fired] * (1 - np.exp(-(1 - part) * dt / tau_mem))  # after a reset within the step
        order = np.argsort(at, kind="stable")
        times.append(at[order])
        neurons.append(fired[order])
        for t, i in zip(at, fired):
            targets = np.flatnonzero(weights[i])
            arrival = np.maximum(t + delays[i, targets], (k + 1) * dt)  # not within the step that ends
            step = np.minimum((arrival / dt).astype(int), k + ring - 1)
            left = np.maximum((step + 1) * dt - arrival, 0.0)
            decays = np.exp(-left / tau_syn)
            np.add.at(of_i, (step % ring, targets), weights[i, targets] * decays)
            kick = weights[i, targets] * rate * (np.exp(-left / tau_mem) - decays)
            np.add.at(of_v, (step % ring, targets), kick)
    pair = (np.concatenate(times), np.concatenate(neurons)) if times else (np.zeros(0), np.zeros(0, int))
    return Events.from_samples([pair], N, name="population")
