"""Basilar membrane: a wave travels along it, and each place answers to its own band of frequencies.

Source: Sieroka, Dosch, Rupp 2006, "Semirealistic models of the cochlea", doi 10.1121/1.2204438, as used for the Spiking
Heidelberg Digits (Cramer, Stradmann, Schemmel, Zenke 2020, doi 10.1109/TNNLS.2020.3044364). In shallow water, with
omega the angular frequency and c the place (cm from the base):

    S      = C0 exp(-alpha c) - a           stiffness
    R      = r exp(-alpha c / 2)            damping, r = delta sqrt(C0 m)
    xi(c)  = S - m omega^2 - i omega R
    g(c)   = omega sqrt(rho / (h xi))       wave number
    G(c)   = 2 g(0) / alpha + int_0^c g dc  phase
    p(c)   = sqrt(G / g) H0(G)              pressure, H0 the Hankel function of the first kind
    v(c)   = 2 omega / xi  p(c) / p(0)  Z   velocity per unit of pressure at the base
    Z      = i sqrt(2 C0 / h) H0'(y) / H1'(y)     y = 2 omega / alpha sqrt(2 / (h C0)), H' of the second kind

With u = exp(-alpha c / 2) the integral has a closed form (`phase`). The sign of the phase is chosen so that the
response follows the sound (the published converter's runs ahead of it).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..optional import require

RATE = 48_000
"""Hz at which the sound enters."""
BLOCK = 36_864
"""Samples of one Fourier transform, 0.77 s; a multiple of 12, so that every band has whole samples."""
SAMPLES = 3
"""Samples a cycle of the highest frequency: what is read is the mean of the rectified velocity over many cycles."""
GUARD = 4_800
"""Samples at the end of a block for the response to die away: 100 ms."""


@dataclass(frozen=True)
class Membrane:
    """Parameters of the basilar membrane (cgs units), published values."""

    n_channels: int = 700
    length: float = 3.5
    """cm"""
    stiffness: float = 1e9
    """C0, g s^-2 cm^-2"""
    stiffness_end: float = 3500.0
    """a, g s^-2 cm^-2"""
    alpha: float = 3.0
    """cm^-1"""
    density: float = 1.0
    """rho, g cm^-3"""
    damping: float = 0.15
    """delta"""
    height: float = 0.1
    """h, cm"""
    mass: float = 0.05
    """m, g cm^-2"""


@dataclass(frozen=True, eq=False)
class Band:
    """Neighbouring channels that share a sampling rate high enough for their frequencies."""

    channels: slice
    rate: int
    response: np.ndarray
    """(channels, bins) complex64"""


def phase(membrane: Membrane, omega: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(xi, g, int_0^c g dc), each (C, F), at places c (C, 1) and angular frequencies omega (F,)."""
    m = membrane
    u = np.exp(-m.alpha * c / 2)
    r = m.damping * np.sqrt(m.stiffness * m.mass)
    below = m.stiffness_end + m.mass * omega**2  # xi = C0 u^2 - i omega r u - below
    xi = m.stiffness * u**2 - below - 1j * omega * r * u
    xi_0 = m.stiffness - below - 1j * omega * r
    root = 1j * np.sqrt(below)

    def inner(u: Any, xi: np.ndarray) -> np.ndarray:
        return (2 * root * np.sqrt(xi) - 1j * omega * r * u - 2 * below) / u

    scale = omega * np.sqrt(m.density / m.height)
    integral = scale * 2 / (m.alpha * root) * np.log(inner(u, xi) / inner(1.0, xi_0))
    return xi, scale / np.sqrt(xi), integral


def response(membrane: Membrane, frequencies: np.ndarray, channels: slice | np.ndarray) -> np.ndarray:
    """(C, F) complex velocity of the channels' places at the given frequencies (Hz, above 0)."""
    special = require("scipy.special", "inner-ear models")
    m = membrane
    places = np.linspace(0.0, m.length, m.n_channels)[channels, None]
    omega = 2 * np.pi * np.asarray(frequencies)
    xi, g, travelled = phase(m, omega, places)
    _, g_0, _ = phase(m, omega, np.zeros((1, 1)))
    y = 2 * omega / m.alpha * np.sqrt(2 / (m.height * m.stiffness))
    z = 1j * np.sqrt(2 * m.stiffness / m.height) * special.hankel2(0, y) / special.hankel2(1, y)
    start = 2 * g_0 / m.alpha
    # H0(G) exp(-iG) varies slowly, and is the costly part: taken from a coarse grid of frequencies
    coarse = np.unique(np.geomspace(1, len(omega), 160).astype(int)) - 1
    slow = special.hankel1e(0, (start + travelled)[:, coarse]) / special.hankel1e(0, start[:, coarse])
    ratio = np.stack([np.interp(omega, omega[coarse], row) for row in slow])
    pressure = np.sqrt((start + travelled) / g / (start / g_0)) * ratio * np.exp(1j * travelled)
    return np.conj(2 * omega / xi * pressure * z)


def best_frequency(membrane: Membrane) -> np.ndarray:
    """(n_channels,) Hz of local resonance, sqrt(S / m) / 2 pi (0 where the end is too soft to resonate)."""
    c = np.linspace(0.0, membrane.length, membrane.n_channels)
    stiffness = membrane.stiffness * np.exp(-membrane.alpha * c) - membrane.stiffness_end
    return np.sqrt(np.maximum(stiffness, 0.0) / membrane.mass) / (2 * np.pi)


def bands(membrane: Membrane, slowest: int, highest: float) -> tuple[Band, ...]:
    """The filter bank for sound without frequencies above `highest` (Hz).

    Each channel runs at the smallest multiple of `slowest` that divides RATE and is at least SAMPLES times the highest
    frequency in it: its own, or that of the sound.
    """
    rates = tuple(r for r in range(slowest, RATE + 1, slowest) if RATE % r == 0)
    return _bands(membrane, rates, next((r for r in rates if r >= SAMPLES * highest), rates[-1]))


@lru_cache(maxsize=4)
def _bands(membrane: Membrane, rates: tuple[int, ...], fastest: int) -> tuple[Band, ...]:
    """A bank whose channels run at no more than `fastest`: many sounds, of whatever rate, share a few of them."""
    needed = np.minimum(SAMPLES * best_frequency(membrane), fastest)
    rate_of = np.array(rates)[np.searchsorted(rates, needed)]
    bank = []
    for rate in np.unique(rate_of).tolist():
        index = np.flatnonzero(rate_of == rate)
        channels = slice(int(index[0]), int(index[-1]) + 1)
        bins = np.arange(1, BLOCK * rate // RATE // 2 + 1) * RATE / BLOCK
        velocities = np.zeros((len(index), len(bins) + 1), np.complex64)  # a constant pressure moves nothing
        velocities[:, 1:] = response(membrane, bins, channels)
        bank.append(Band(channels, rate, velocities))
    return tuple(bank)


def velocity(band: Band, sound: np.ndarray) -> np.ndarray:
    """(channels, samples at band.rate) float32: the band's velocity for a sound at RATE, block by block."""
    fft = require("scipy.fft", "inner-ear models")
    step, ratio = BLOCK - GUARD, RATE // band.rate
    length = -(-len(sound) // ratio)
    out = np.zeros((band.response.shape[0], length + BLOCK // ratio), np.float32)
    for start in range(0, len(sound), step):
        spectrum = fft.rfft(sound[start : start + step].astype(np.float32), BLOCK)[: band.response.shape[1]]
        part = fft.irfft(band.response * (spectrum / ratio), BLOCK // ratio, axis=1)
        out[:, start // ratio : start // ratio + part.shape[1]] += part
    return out[:, :length]
