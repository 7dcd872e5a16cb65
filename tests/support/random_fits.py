"""Random cells for `fit`: neurons with modes, whose own spikes take the place of measured ones."""

from __future__ import annotations

import numpy as np

from genn_eventprop import Event, Mode, NeuronModel, Param, Recording, fit, simulate
from genn_eventprop.fitting.cells import Cells, forced_arrivals
from genn_eventprop.fitting.forced import fitted_model
from genn_eventprop.fitting.result import FitResult


def drawn(seed: int) -> tuple[NeuronModel, dict[str, float], str]:
    """A model with modes, its true values, and where the current enters.

    Its spike begins a refractory mode with or without the current, or leaves the mode as it is while silent events
    change it, or a timed one goes on; V is linear or quadratic, with or without adaptation.
    """
    rng = np.random.default_rng(seed)
    inject = ("I_ext", "J", "I")[int(rng.integers(3))]
    kind = ("refractory", "kept", "timed", "chain")[seed // 2 % 4]
    adapts, curved = bool(rng.integers(2)), bool(rng.integers(2))
    current = {"I_ext": "0", "J": "J", "I": "I"}[inject]
    leak = "(V * (V - 0.7) - 0.05)" if curved else "-V"
    rate = f"{leak} + {current}" + (" - w" if adapts else "")
    state, dynamics = {"V": 0.0}, {"V": f"({rate}) / tau"}
    params = {"tau": Param(rng.uniform(8, 20), "ms"), "v_thresh": Param(rng.uniform(0.9, 1.2)),
              "v_reset": Param(rng.uniform(0.1, 0.3)), "J": Param(0.0)}  # fmt: skip
    reset = {"V": "v_reset"}
    if inject == "I":
        state["I"], dynamics["I"] = 0.0, "-I / tau"
    if adapts:
        state["w"], dynamics["w"], reset["w"] = 0.0, "-w / 40", "w + jump"
        params["jump"] = Param(rng.uniform(0.05, 0.2))
    # that begins a timed mode lets V fall a little: whether it happens again as that ends would be one of rounding
    up = Event("up", "V - 0.6", {"V": "V - 0.05"} if kind == "timed" else {}, False, ("free",), "other")
    down = Event("down", "-0.2 - V", {}, False, ("other",), "free")
    # the equation of a mode has the current, a part of it, or none
    of_mode = ("0", f"(-V + 0.4 * {current}) / tau_mode", "-V / tau_mode")[
        int(rng.integers(3 if kind != "kept" else 2))
    ]
    modes, events, following = [Mode("other", {"V": of_mode}, lasts="t_mode")], [], "other"
    if kind == "chain":
        modes = [Mode("other", {"V": "0"}, "t_mode", "later"), Mode("later", {"V": f"({rate}) / tau_mode"}, "t_mode")]
    elif kind != "refractory":
        modes = [Mode("other", {"V": f"({rate} + 0.3) / tau_mode"}, lasts="t_mode" if kind == "timed" else None)]
        events, following = [up] if kind == "timed" else [up, down], None
    if "tau_mode" in "".join(str(m.dynamics["V"]) for m in modes):
        params["tau_mode"] = Param(rng.uniform(6, 12), "ms")
    if modes[0].lasts:
        params["t_mode"] = Param(rng.uniform(2, 6) if following else rng.uniform(8, 20), "ms")
    model = NeuronModel(
        name=f"Drawn{seed}", state=state, params=params, dynamics=dynamics, modes=modes,
        events=[Event("spike", "V - v_thresh", reset, next_mode=following), *events],
        input="I" if inject == "I" else "V", drives={"I_ext": {"V": "1 / tau"}},
    )  # fmt: skip
    fitted = {n: float(p.value) for n, p in params.items() if n != "J"}
    return model, fitted, inject


def recorded(model: NeuronModel, inject: str, seed: int) -> Recording:
    """Two sweeps of 160 ms without noise."""
    rng = np.random.default_rng([seed, 1])
    noise = np.zeros((2, 80))
    for k in range(1, 80):
        noise[:, k] = noise[:, k - 1] * 0.7 + rng.normal(size=2)
    return simulate(model, np.repeat(1.6 + 0.7 * noise, 8, axis=1), dt=0.25, inject=inject)


def differs(model: NeuronModel, cell: Recording, inject: str) -> str:
    """Which state of the model that its own spikes force runs otherwise than by itself; empty if none does."""
    fitted = fitted_model(model, inject)
    counts = np.zeros(cell.current.shape, bool)
    forced = Cells(fitted, cell, 1, [], {}, forced_arrivals(cell, cell.dt, counts, np.arange(counts.shape[1])))
    # between samples, since a spike on one has two values of V
    times = np.arange(0.1, cell.duration, 1.0)
    free = Cells(fitted, cell, 1, [], {})
    names = [*fitted.free.state]
    ours, theirs = forced.states(times, [*names, fitted.lead]), free.states(times, names)
    forced.close(), free.close()
    off = [name for name in names if not np.allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-7)]
    return ", ".join(off + [fitted.lead] * bool(np.abs(ours[fitted.lead]).max() >= 1e-7))


def fitted(model: NeuronModel, true: dict[str, float], cell: Recording, inject: str, seed: int) -> FitResult:
    """From as many starts as a fit has by default: the loss has jumps, and more minima than one."""
    bounds = {n: (0.8 * v, 1.25 * v) for n, v in true.items()}
    return fit(model, cell, inject=inject, bounds=bounds, only=list(true), seed=seed, progress=False)


def finds(result: FitResult, true: dict[str, float]) -> bool:
    """Whether a fit without noise has found the truth."""
    near = np.allclose([result.parameters[n] for n in true], [*true.values()], rtol=2e-3)
    return near and result.free.missing == result.free.surplus == 0
