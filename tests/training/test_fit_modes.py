"""Fits of neurons with modes: small random models, whose own spikes take the place of measured ones."""

from __future__ import annotations

import numpy as np
import pytest

from genn_eventprop import Event, Mode, NeuronModel, Param, fit, simulate
from genn_eventprop.fitting.cells import Cells, forced_arrivals
from genn_eventprop.fitting.forced import fitted_model
from genn_eventprop.models import LIFRefractory


def drawn(seed):
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


def recorded(model, inject, seed):
    rng = np.random.default_rng([seed, 1])
    noise = np.zeros((2, 80))
    for k in range(1, 80):
        noise[:, k] = noise[:, k - 1] * 0.7 + rng.normal(size=2)
    return simulate(model, np.repeat(1.6 + 0.7 * noise, 8, axis=1), dt=0.25, inject=inject)


@pytest.mark.one_in(8)
@pytest.mark.parametrize("seed", [seed for seed in range(24) if seed != 21])
def test_forced_by_its_own_spikes_a_model_runs_as_it_does_by_itself(seed):
    model, _, inject = drawn(seed)
    cell = recorded(model, inject, seed)
    assert sum(map(len, cell.spikes)) >= 4
    fitted = fitted_model(model, inject)
    counts = np.zeros(cell.current.shape, bool)
    forced = Cells(fitted, cell, 1, [], {}, forced_arrivals(cell, cell.dt, counts, np.arange(counts.shape[1])))
    # between samples, since a spike on one has two values of V
    times = np.arange(0.1, cell.duration, 1.0)
    free = Cells(fitted, cell, 1, [], {})
    names = [*fitted.free.state]
    ours, theirs = forced.states(times, [*names, fitted.lead]), free.states(times, names)
    forced.close(), free.close()
    for name in names:
        assert np.allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-7), (name, model)
    assert np.abs(ours[fitted.lead]).max() < 1e-7


# The loss of cell 20 jumps wherever a silent event appears: descents end at a jump, even from within 3 % of the truth.
# Cell 21 never spikes.
NOT_FITTED = {20, 21}


@pytest.mark.one_in(8)
@pytest.mark.parametrize("seed", [seed for seed in range(24) if seed not in NOT_FITTED])
def test_a_fit_without_noise_finds_the_truth(seed):
    """From as many starts as a fit has by default: the loss has jumps, and more minima than one."""
    model, true, inject = drawn(seed)
    cell = recorded(model, inject, seed)
    bounds = {n: (0.8 * v, 1.25 * v) for n, v in true.items()}
    result = fit(model, cell, inject=inject, bounds=bounds, only=list(true), seed=seed, progress=False)
    assert np.allclose([result.parameters[n] for n in true], [*true.values()], rtol=2e-3), str(result)
    assert result.free.missing == result.free.surplus == 0


def test_a_mode_without_the_current_in_its_equation_does_not_see_it():
    """Held at 0 for 5 ms, from 0 to 1 at a current of 1.5 in 20 log 3 ms."""
    rise, cell = 20 * np.log(3), simulate(LIFRefractory(), np.full(600, 1.5), dt=0.1)
    assert np.allclose(cell.spikes[0], [rise, 2 * rise + 5], atol=1e-6)
    held = (np.arange(600) * 0.1 > rise) & (np.arange(600) * 0.1 < rise + 5)
    assert np.abs(cell.voltage[0, held]).max() < 1e-12


def test_a_measured_spike_leaves_the_mode_that_the_model_s_own_leaves():
    """From its first rise on the neuron is in "fast"; forced into "free" at each spike, tau would be told wrongly."""
    model = NeuronModel(
        name="Kept", state={"V": 0.0}, params={"tau": Param(10.0, "ms"), "J": Param(0.0)},
        dynamics={"V": "(J - V) / 30"}, modes=[Mode("fast", {"V": "(J - V) / tau"})],
        events=[Event("spike", "V - 1", {"V": "0"}), Event("rise", "V - 0.5", {}, False, ("free",), "fast")],
    )  # fmt: skip
    cell = simulate(model, np.repeat([1.4, 1.8, 1.2, 1.6], 160), dt=0.25, inject="J")
    assert len(cell.spikes[0]) > 10
    result = fit(model, cell, inject="J", bounds={"tau": (4.0, 40.0)}, only=["tau"], starts=2, progress=False)
    assert result.values[0] == pytest.approx(10.0, rel=1e-6) and result.free.gamma == pytest.approx(1.0)
