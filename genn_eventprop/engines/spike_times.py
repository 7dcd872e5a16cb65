"""``spike_times="auto"``: exact spike times where an engine has them at a price worth paying, else the grid.

Exact gradients are what this package is for, but a grid is faster on dense codes. The rule takes exact spike times
where all of this holds, and says in one line which and why:

* the engine has them for this network and these losses;
* neurons are leaky integrators that spike or do not (two states, no modes), connected without feedback, and the input
  is sparse: beyond that there are no trainings that compare the two (docs/grid_versus_exact.md), so the rule is
  cautious;
* a trial is expected to cost at most `LIMIT` times as much as on the grid, by the spikes that it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import EngineError, LossError, PlanError, suggest
from ..losses import Loss
from ..modelling import Network
from ..plan import Plan, make_plan
from ..plan.records import SPIKE_TIMES
from ..regularisers import Regulariser
from .contract.features import refuse
from .registry import engine_class, inner_plan

LIMIT = 2.0
"""How many times as much a trial with exact spike times may cost."""
EXACT_NS = {"trial": 1e4, "arrival": 0.1, "spike": 230.0, "step": 8.0}
GRID_NS = {"trial": 1e4, "arrival": 0.1, "spike": 10.0, "step": 0.74}
"""ns of one trial forwards and backwards on `native`: in all, per arrival at a neuron, per spike of a neuron, and per
neuron and step; rounded from ``python benchmarks/grid_versus_exact.py --parts costs`` on a busy machine."""
ANGLES = {0.1: (15, 55), 0.2: (15, 62), 0.5: (16, 70), 1.0: (16, 70), 2.0: (19, 78), 5.0: (25, 78)}
"""Step of the grid in ms -> least and largest angle in degrees between the grid's gradient and the exact one, of
feed-forward networks in docs/grid_versus_exact.md; the least is that of dense spikes."""
EXACT_DT, GRID_DT = 1.0, 0.1
"""Step in ms where none is asked for."""
IN_SECONDS = 5.0
"""Times that dt is a time constant at which this one is taken for seconds."""
SPARSE = 2.0
"""Spikes of an input channel in a trial, up to which a code is sparse."""
SPIKES = 1.0
"""Spikes of a neuron, and of an input channel as long as no data are known, in a trial of a sparse code."""


@dataclass(frozen=True)
class Choice:
    """name: "exact" or "grid". reason: why, in words for the user. sure: False if data may still change it."""

    name: str
    reason: str
    sure: bool = True

    def line(self, dt: float) -> str:
        """One line that says which and why, and of a grid what it costs."""
        if self.name == "exact":
            return f"exact spike times: {self.reason} (the alternative: spike_times='grid')"
        low, high = ANGLES[min(ANGLES, key=lambda step: abs(np.log(step / dt)))]
        return (
            f"spikes on the grid of {dt:g} ms: {self.reason}; at such steps the grid's gradient is {low} to {high} "
            "degrees off the exact one (docs/grid_versus_exact.md)"
        )


def check_spike_times(spike_times: str) -> None:
    """Raise `PlanError` unless spike times are "auto", or those of a plan."""
    if spike_times not in (known := ("auto", *SPIKE_TIMES)):
        raise PlanError(f"unknown spike_times={spike_times!r} ({suggest(str(spike_times), known)})")


def choose_spike_times(
    network: Network,
    loss: Loss | Sequence[Loss],
    *,
    dt: float,
    duration: float,
    engine: str = "auto",
    regularisers: Sequence[Regulariser] = (),
    spike_birth: float = 0.0,
    needs_grid: str = "",
    grid_dt: float | None = None,
    spikes: Mapping[str, float] | None = None,
) -> Choice:
    """What "auto" means for a network.

    Args:
        engine: as of `create`. needs_grid: settings that only the grid has; "" for none.
        grid_dt: step of the grid that would be taken instead, if it is not `dt`.
        spikes: of every input and spiking population in a trial, on the data and with the weights of now; None: not
            known yet, one a channel and neuron.
    """
    kind = engine_class(engine)
    if "exact" not in kind.features:
        return Choice("grid", f"{kind.name} has no exact spike times")
    if not kind.exact_by_itself:
        return Choice("grid", f"{kind.name} takes exact ones only on request, spike_times='exact'")
    if "grid" not in kind.features:
        return Choice("exact", f"{kind.name} has no grid")
    if needs_grid:
        return Choice("grid", f"{needs_grid} needs it")
    # asked of the engine itself, so that the rule refuses what `create` would refuse, with its reason
    try:
        plan = make_plan(
            network, loss, dt=dt, duration=duration, spike_times="exact", regularisers=regularisers,
            spike_birth=spike_birth,
        )  # fmt: skip
        refuse(inner_plan(kind, plan) or plan, kind.name, kind.features)
    except (EngineError, PlanError, LossError) as error:
        return Choice("grid", f"exact ones cannot run here ({error})")
    if why := _untried(network):
        return Choice("grid", why)
    inputs = [i.name for i in network.inputs]
    each = sum(spikes[name] for name in inputs) / plan.input.size if spikes and inputs else SPIKES
    if each > SPARSE:
        of = f"these data have {each:.2g} spikes a channel and trial"
        return Choice("grid", f"exact ones have been compared with it on sparse codes only; {of}")
    sizes = {i.name: i.size for i in network.inputs} | {p.name: p.size for p in network.populations if p.model.spiking}
    expected = {name: SPIKES * size for name, size in sizes.items()} if spikes is None else dict(spikes)
    ratio = _cost(network, EXACT_NS, duration / dt, expected) / _cost(
        network, GRID_NS, duration / (dt if grid_dt is None else grid_dt), expected
    )
    if ratio > LIMIT:
        # without data the spikes are a guess, which the first batches may correct
        return Choice("grid", f"a trial with exact ones would take about {ratio:.1f} times as long", spikes is not None)
    many = "" if ratio <= 1 else f"a trial takes about {ratio:.1f} times as long as on the grid, and "
    return Choice("exact", f"{many}its gradient is exact", spikes is not None)


def coarse_step(plan: Plan, parameters: Mapping[str, np.ndarray]) -> str:
    """A note where the step of a grid exceeds half the shortest time constant, or where this one may be in seconds; ""
    elsewhere."""
    constants = {
        f"{p.name}.{name}": float(np.min(parameters[f"{p.name}.{name}"]))
        for p in plan.populations
        for name in p.params
        if name.startswith("tau") and f"{p.name}.{name}" in parameters
    }
    name = min(constants, key=constants.__getitem__, default="")
    if not name:
        return ""
    if plan.dt >= IN_SECONDS * constants[name]:
        return (
            f"{name} = {constants[name]:g} ms is far below dt = {plan.dt:g} ms; is it in seconds? Time constants are "
            f"interpreted as ms ({name.rpartition('.')[2]}={1000 * constants[name]:g})"
        )
    if plan.spike_times == "exact" or plan.dt <= constants[name] / 2:
        return ""
    return (
        f"dt = {plan.dt:g} ms exceeds half of the shortest time constant, {name} = {constants[name]:g} ms: what "
        f"happens within a step is lost; take dt = {constants[name] / 2:g} or less, or exact spike times"
    )


def _untried(network: Network) -> str:
    """Why there is no evidence for exact spike times in such a network; "" if there is."""
    order = {p.name: i for i, p in enumerate(network.populations)}
    for p in network.populations:
        if len(p.model.state) > 2 or len(p.model.events) > 1 or p.model.modes:
            return f"exact ones have been compared with it on LIF and LI neurons only, not on {p.model.name}"
    for c in network.connections:
        if c.of_current:
            return f"exact ones have been compared with it on spikes as inputs, not on currents such as {c.source.name}"
        if order.get(c.source.name, -1) >= order[c.target.name]:
            return f"exact ones have been compared with it without feedback only, such as {c.name}"
    return ""


def _cost(network: Network, ns: Mapping[str, float], steps: float, spikes: Mapping[str, float]) -> float:
    """Expected ns of one trial, forwards and backwards."""
    arrivals = sum(
        spikes[c.source.name] * c.connectivity.count(c.source.shape, c.target.shape) / c.source.size
        for c in network.connections
    )
    own = sum(spikes[p.name] for p in network.populations if p.model.spiking)
    neurons = sum(p.size for p in network.populations)
    return ns["trial"] + ns["arrival"] * arrivals + ns["spike"] * own + ns["step"] * steps * neurons
