"""Inner hair cells, auditory nerve fibres and bushy cells: from membrane velocity to spikes.

Hair cell, three pools of transmitter (Meddis 1986, doi 10.1121/1.393460; 1988, doi 10.1121/1.396050), rates in 1/s:

    k = gain max(v + a, 0) / (max(v + a, 0) + b)        permeability
    dq/dt = replenish (1 - q) + reprocess w - k q       free transmitter (half-wave rectified, compressed, adapting)
    dc/dt = k q - (loss + reuptake) c                   in the cleft
    dw/dt = reuptake c - reprocess w                    being recycled
    rate of each fibre = firing c, silent for `refractory` after a spike

Bushy cell: a leaky integrator of `fibres` fibres through an exponential synapse (tau_mem, tau_syn), firing at 1, reset
to 0, silent for `refractory`. Values as published for the Spiking Heidelberg Digits (Cramer et al. 2020).

Axis letters: B recordings processed together, T steps, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

RATE = 4_000
"""Steps a second. q and w are slow; c, with 0.11 ms the fastest, is integrated exactly over each step."""
LEVELS = 1024


@dataclass(frozen=True)
class HairCell:
    """Parameters of hair cell, fibres and bushy cell."""

    a: float = 5.0
    b: float = 300.0
    gain: float = 2000.0
    replenish: float = 5.05
    loss: float = 2500.0
    reuptake: float = 6580.0
    reprocess: float = 66.3
    firing: float = 50_000.0
    fibres: int = 40
    refractory: float = 1.0
    """ms, of a fibre and of a bushy cell"""
    weight: float = 14_200.0
    """1/s, of all fibres; published: 13000 for steps of 1/24 ms, this gives the same rates in steps of 1/4 ms"""
    tau_mem: float = 1.0
    """ms"""
    tau_syn: float = 0.5
    """ms"""


def permeability(cell: HairCell, velocity: np.ndarray, rate: int) -> np.ndarray:
    """(C, T) k at RATE, the mean over each step, of (C, samples) velocity at `rate`; works in place."""
    velocity += np.float32(cell.a)
    drive = np.maximum(velocity, 0.0, out=velocity)
    drive /= drive + np.float32(cell.b)
    drive *= np.float32(cell.gain)
    ratio = rate // RATE
    if ratio == 1:
        return drive
    steps = drive.shape[1] // ratio
    return drive[:, : steps * ratio].reshape(len(drive), steps, ratio).mean(axis=2)


@lru_cache(maxsize=4)
def binomial_table(n: int) -> np.ndarray:
    """(LEVELS, LEVELS) uint8: number of successes of n for a probability (i / (LEVELS - 1))^2 and a uniform number j.

    The inverse of the cumulative distribution: drawing is one look-up, the same on every machine.
    """
    p = (np.arange(LEVELS) / (LEVELS - 1))[:, None] ** 2
    k = np.arange(n + 1)
    choose = np.cumprod(np.concatenate([[1.0], (n - k[:-1]) / (k[:-1] + 1)]))
    cumulative = np.cumsum(choose * p**k * (1 - p) ** (n - k), axis=1)
    uniform = (np.arange(LEVELS) + 0.5) / LEVELS
    return np.stack([np.searchsorted(row, uniform) for row in np.minimum(cumulative, 1.0)]).clip(0, n).astype(np.uint8)


def resting(cell: HairCell) -> tuple[float, float, float]:
    """(q, c, w) in silence, the steady state of the equations above with v = 0."""
    k = cell.gain * cell.a / (cell.a + cell.b)
    q = cell.replenish / (cell.replenish + k * cell.loss / (cell.loss + cell.reuptake))
    c = k * q / (cell.loss + cell.reuptake)
    return q, c, cell.reuptake * c / cell.reprocess


def bushy_steps(cell: HairCell, dt: float) -> tuple[np.float32, ...]:
    """Exact step of the bushy cell, dV/dt = -V / tau_mem + weight / fibres I, dI/dt = -I / tau_syn, over dt (s).

    Returns (decay of V, decay of I, V from I; what a fibre spike at a random time within the step leaves in I, in V).
    """
    tau_m, tau_s = cell.tau_mem * 1e-3, cell.tau_syn * 1e-3
    leak, fade = np.exp(-dt / tau_m), np.exp(-dt / tau_s)
    scale = cell.weight / cell.fibres * tau_m * tau_s / (tau_m - tau_s)
    push, fresh_push = scale * (leak - fade), scale * (tau_m * (1 - leak) - tau_s * (1 - fade)) / dt
    fresh_current = tau_s * (1 - fade) / dt
    return tuple(np.float32(x) for x in (leak, fade, push, fresh_current, fresh_push))


def spikes(cell: HairCell, k: np.ndarray, uniform: np.ndarray, lengths: Sequence[int] | None = None) -> np.ndarray:
    """Which bushy cells fire when.

    Args:
        k: (T, B, C) float32 permeability at RATE.
        uniform: (T, B, C) uint16 random numbers 0 .. LEVELS - 1.
        lengths: (B,) steps of each recording, falling; nothing is computed behind them. Default T for all.

    Returns:
        (T, B, C) bool.
    """
    dt = 1.0 / RATE
    table, hold = binomial_table(cell.fibres).ravel(), round(cell.refractory * 1e-3 * RATE)
    clear = (cell.loss + cell.reuptake) * dt
    keep, lag = np.exp(-clear), -np.expm1(-clear) / clear
    leak, fade, push, fresh_current, fresh_push = bushy_steps(cell, dt)
    into_c, stay_c, mean_c = (np.float32(x) for x in ((1 - keep) / clear, keep, (1 - lag) / clear))
    refill, recycle, take_up = (np.float32(x * dt) for x in (cell.replenish, cell.reprocess, cell.reuptake))
    chance, share, lag_c = np.float32(-cell.firing * dt), np.float32(1 / cell.fibres), np.float32(lag)
    released = np.negative(k) * np.float32(dt)
    np.negative(np.expm1(released, out=released), out=released)
    fired = np.zeros(k.shape, bool)
    q, c, w = (np.full(k.shape[1:], value, np.float32) for value in resting(cell))
    recent = np.zeros((hold, *k.shape[1:]), np.float32)
    busy, current, v, wait = (np.zeros_like(q) for _ in range(4))
    ends = np.full(k.shape[1], len(k)) if lengths is None else np.asarray(lengths)
    active = k.shape[1]
    for t in range(len(k)):
        if ends[active - 1] <= t:  # the shortest recordings are over
            active = int((ends > t).sum())
            recent = recent[:, :active]
            q, c, w, busy, current, v, wait = (x[:active] for x in (q, c, w, busy, current, v, wait))
        out = q * released[t, :active]
        cleft = out * mean_c
        cleft += c * lag_c  # mean of c over the step
        c *= stay_c
        c += out * into_c
        recycled = w * recycle
        q *= 1 - refill
        q += recycled
        q -= out
        q += refill
        w -= recycled
        # fibres in their refractory time cannot fire: the others are a share of all; the oldest are free half-way
        slot = recent[t % hold]
        busy -= slot
        p = cleft * chance
        np.expm1(p, out=p)
        p *= busy * share + slot * (share / 2) - 1
        row = np.sqrt(p)
        row *= np.float32(LEVELS - 1)
        cleft *= take_up
        w += cleft
        place = (row + np.float32(0.5)).astype(np.int32)
        place *= LEVELS
        place += uniform[t, :active]
        count = table[place]
        busy += count
        slot[...] = count
        v *= leak
        v += (current * push + count * fresh_push) * (wait <= 0)
        current *= fade
        current += count * fresh_current
        over = np.greater_equal(v, 1, out=fired[t, :active])
        v[over] = 0
        wait -= 1
        wait[over] = hold
    return fired
