"""What the numbers of a NIR file mean, which is not the same for everybody.

The specification has continuous time in seconds, and a spike is a Dirac pulse: CubaLIF, tau_syn dI/dt = -I + w_in S,
makes I jump by w_in / tau_syn. Simulators with a time step take a spike as a current of 1 during one step, and move by
forward Euler, V <- V + dt / tau (v_leak - V + R I): a factor a = 1 - dt / tau a step instead of exp(-dt / tau).

| dialect  | a spike          | dt in the file         | also                                                        |
|----------|------------------|------------------------|-------------------------------------------------------------|
| spec     | Dirac pulse      | none                   |                                                             |
| norse    | 1 during a step  | the argument, seconds  | its writer (1.1) multiplies times by dt, and has no w_in:   |
|          |                  |                        | the current of LIFCell jumps by the weight                  |
| snntorch | 1 during a step  | always 1e-4 s          | r = tau / dt; one threshold a layer; reset to 0             |

Networks of "norse" and "snntorch" keep the steps of their simulator: tau = -dt / log(a), and weights are such that a
step of dt of our grid engines moves V by as much. On another grid, or with exact spike times, they are the continuous
network that this is a sample of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import DescriptionError, check_known

DIALECTS = ("spec", "norse", "snntorch")
SNNTORCH_DT = 1e-4
"""Seconds, written into the code of snnTorch's reader and writer."""


@dataclass(frozen=True)
class Dialect:
    """How to read or write numbers. Made by `dialect_of`.

    Args:
        name: of `DIALECTS`. dt: what a step is here, ms; None without steps. file_dt: what it is in the file, seconds.
        times_dt: times in the file are multiplied by dt (norse's writer).
    """

    name: str
    dt: float | None = None
    file_dt: float | None = None
    times_dt: bool = False

    def tau_in(self, seconds: np.ndarray, where: str) -> np.ndarray:
        """A time constant of a file in ms.

        Raises:
            DescriptionError: one that is not positive, or too short for the steps.
        """
        if not np.all(np.isfinite(seconds)) or np.any(seconds <= 0):
            raise DescriptionError(f"node {where!r}: a time constant must be positive, got {np.min(seconds):g} s")
        if self.dt is None or self.file_dt is None:
            return to_ms(seconds)
        if np.any(seconds <= self.file_dt):
            raise DescriptionError(
                f"node {where!r}: a time constant of {np.min(seconds):g} s cannot be stepped by {self.file_dt:g} s; "
                "give the dt with which the file was written, or another dialect"
            )
        return -self.dt / np.log1p(-self.file_dt / seconds)

    def tau_out(self, ms: np.ndarray) -> np.ndarray:
        """The reverse of `tau_in`."""
        if self.dt is None or self.file_dt is None:
            return ms / 1000.0
        return -self.file_dt / np.expm1(-self.dt / ms)

    def decay(self, ms: np.ndarray) -> np.ndarray:
        """exp(-dt / tau): the factor of a decaying state over one step."""
        assert self.dt is not None
        return np.exp(-self.dt / ms)

    def drive(self, tau_mem: np.ndarray, tau_syn: np.ndarray) -> np.ndarray:
        """By how much a current of 1 at the start of a step moves V, exactly; times in ms.

        int_0^dt exp(-(dt - s) / tau_mem) exp(-s / tau_syn) ds / tau_mem
        """
        assert self.dt is not None
        rate = 1 / tau_syn - 1 / tau_mem
        x = -rate * self.dt
        near = np.where(x == 0, 1.0, x)
        integral = np.where(x == 0, 1.0, np.expm1(near) / near) * self.dt
        return self.decay(tau_mem) * integral / tau_mem


def dialect_of(name: str, dt: float | None) -> Dialect:
    """A dialect by name.

    Args:
        dt: of the simulator's steps, ms. For "snntorch" None is the 0.1 ms that its files stand for.

    Raises:
        DescriptionError: an unknown dialect; a time step that is missing, not positive or not used.
    """
    check_known(name, DIALECTS, DescriptionError, f"unknown dialect {name!r} of NIR; ")
    if dt is not None and not (np.isfinite(dt) and dt > 0):
        raise DescriptionError(f"dt must be a positive time in ms, got {dt!r}")
    if name == "spec":
        if dt is not None:
            raise DescriptionError("the dialect 'spec' has continuous time and takes no dt; or did you mean 'norse'?")
        return Dialect(name)
    if name == "snntorch":
        return Dialect(name, 1000.0 * SNNTORCH_DT if dt is None else float(dt), SNNTORCH_DT)
    if dt is None:
        raise DescriptionError(
            "norse files do not contain their time step: give dt in ms, 1.0 unless norse used another"
        )
    return Dialect(name, float(dt), dt / 1000.0)


def to_ms(seconds: np.ndarray) -> np.ndarray:
    """Seconds as ms: the number with few digits, where that is the same time, so that ms -> s -> ms changes nothing."""
    ms = np.asarray(seconds, np.float64) * 1000.0
    short = np.round(ms, 9)
    return np.where(short / 1000.0 == seconds, short, ms)
