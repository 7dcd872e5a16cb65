"""``show RUN``: the network of a run folder, and what each connection costs."""

from __future__ import annotations

from pathlib import Path

from ..description import build
from ..errors import SettingError
from ..modelling.memory import in_words
from ..plan import ConnectionRecord, Plan, make_plan
from ..plan.costs import costs
from ..runs.checkpoint import load_checkpoint
from ..runs.run_folder import MODEL, RunFolder


def show_run(path: Path) -> str:
    """Populations and connections of a run's network, in lines.

    Raises:
        SettingError: not a run folder, or one without model.json.
    """
    folder = RunFolder.open(path)
    if not (folder.path / MODEL).is_file():
        raise SettingError(f"{folder.path} has no {MODEL}, so show cannot describe its model")
    described = build(folder.model, load_checkpoint(folder.checkpoint("last")).section("parameters"))
    plan = make_plan(
        described.network, described.loss, dt=described.dt, duration=described.duration,
        spike_times=described.spike_times,
    )  # fmt: skip
    return describe_network(plan)


def _channels(c: ConnectionRecord) -> str:
    """Of one of several inputs, which channels it has."""
    return f" channels {c.channels[0]} to {c.channels[1] - 1}" if c.channels else ""


def describe_network(plan: Plan) -> str:
    """One line a population and a connection."""
    lines = [f"{plan.input.name}: {plan.input.size} channels"]
    lines += [f"{p.name}: {p.size} {p.derived.model.name}" for p in plan.populations]
    for c, cost in zip(plan.connections, costs(plan)):
        shared = f", {cost.weights} weights" if cost.weights != cost.synapses else ""
        delays = f", {cost.delays} {c.delays.kind} delays up to {c.delays.limit:g} ms" if c.delays else ""
        ring = f", {in_words(cost.ring)} per sample for spikes in transit" if cost.ring else ""
        lines.append(
            f"{c.name}: {c.source}{_channels(c)} -> {c.target}.{c.receptor}, {cost.synapses} synapses{shared}{delays}; "
            f"{in_words(cost.bytes())} in float32{ring}; {cost.per_spike:.4g} synapses per spike"
        )
    for loss in plan.losses if plan.auxiliary else ():
        against = f" against {loss.answer!r}" if loss.answer else ""
        lines.append(f"loss: {loss.factor:g} x {loss.readout} of {loss.output}{against}")
    return "\n".join(lines)
