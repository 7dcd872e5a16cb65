"""What a plan can ask of an engine, by name, and the one place where an engine refuses a plan.

Each engine declares the features that it has, see `Engine.features`; `refuse` names the first that is missing, what in
the plan needs it, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...adjoint import Derived, derive
from ...adjoint.arrivals import powers_along
from ...errors import EngineError
from ...losses.kinds import READOUTS as KINDS
from ...modelling import Network
from ...plan import ConnectionRecord, Plan
from ...program.readouts import Readout, readout_class
from ...program.readouts.base import OF_STEPS

INTEGRALS = "integrals of V over steps that are not exact propagators"
JUMPS = "arrivals that move a threshold at once"
AMOUNTS = "learned amounts of arrivals"
BENT = "arrivals along which the dynamics are no polynomial"
MOVED_VOLTAGE = "losses of V(t) where V jumps at spikes"
SILENT = "no event that sends a spike"
SEVERAL = "several readouts in one pass"
INPUTS = "several inputs"
SHARED = "weights that connections share"
SHARED_TABLES = "weights that connections share, in tables or with delays that are values"
LOSSES = "several losses"
ALONG = "auxiliary losses that are taken all along the trial"
READOUTS = "readouts that only targets of `program` have"
STEPWISE = "readouts that look at V in every step, and say nothing of what is between events"
MOVED_APART = "losses of V(t) where V jumps at arrivals through tables, or with delays that are values"
_INSTEAD = "use engine='reference_event' with spike_times='exact', or engine='native' with spike_times='grid'"


def _only_refractory(d: Derived) -> bool:
    """True without modes, or with a single one: a period of given length after every spike in which g stands still."""
    if len(d.modes) == 1:
        return True
    return (
        len(d.modes) == 2 and d.modes[1].lasts is not None and d.modes[1].then == 0
        and all(0 in e.modes and e.next_mode == 1 and (e.dg_dx.T * d.modes[1].f)[0] == 0 for e in d.events)
    )  # fmt: skip


OF_MODELS: dict[str, Callable[[Derived], bool]] = {
    "dynamics that are not linear in the state": lambda d: not d.linear,
    "a threshold that is not linear in the state": lambda d: any(g.has(*d.x) for e in d.events for g in e.dg_dx),
    "modes other than a refractory period": lambda d: not _only_refractory(d),
    "several events": lambda d: len(d.events) > 1,
    "an event that sends no spike": lambda d: any(not e.emits for e in d.events),
    SILENT: lambda d: bool(d.events) and not d.model.spiking,
}
"""Features of single neuron models."""


def moves_threshold(d: Derived, receptor: str) -> bool:
    """Whether an arrival moves a threshold by itself (delta synapses)."""
    return any((event.dg_dx.T * d.receptors[receptor])[0] != 0 for event in d.events)


def _jumps(plan: Plan) -> str:
    for c in plan.connections:
        d = plan.population(c.target).derived
        if moves_threshold(d, c.receptor):
            return (
                f"cannot run connection {c.name!r}: an arrival at receptor {c.receptor!r} of {d.model.name} moves its "
                "threshold at once; let arrivals act on a current, or use engine='reference_event'"
            )
    return ""


def _amounts(plan: Plan) -> str:
    for c in plan.connections:
        p = plan.population(c.target)
        for n, s in zip(p.derived.params, p.derived.p):
            if n in p.trainable and p.derived.receptors[c.receptor].has(s):
                return (
                    f"cannot learn {p.name}.{n}: receptor {c.receptor!r} of connection {c.name!r} adds an amount that "
                    "depends on it; fix the parameter, or use engine='reference_event'"
                )
    return ""


def _integrals(plan: Plan) -> str:
    read = [plan.population(loss.output) for loss in plan.losses if loss.integrates]
    p = next((p for p in read if not p.exact or len(p.derived.modes) > 1), None)
    if p is None:
        return ""
    return (
        f"cannot read integrals of V from population {p.name!r}: {p.derived.model.name} is not linear in the state, or "
        "has modes; read an output of LI neurons, or a loss on spike times, V(T) or the maximum"
    )


def _bent(plan: Plan) -> str:
    for c in plan.connections:
        d = plan.population(c.target).derived
        if (c.source != plan.input.name or c.learns_delays) and powers_along(d, c.receptor) is None:
            return f"cannot run connection {c.name!r}: {_bends(plan, c)}"
    return ""


def _bends(plan: Plan, c: ConnectionRecord) -> str:
    d = plan.population(c.target).derived
    return (
        f"an arrival at receptor {c.receptor!r} of {d.model.name} moves a state on which the dynamics depend "
        "nonlinearly, and by no polynomial of degree 4 or less; let arrivals act on a current, or use "
        "engine='reference_clock'"
    )


def no_input_times(plan: Plan, features: Mapping[str, frozenset[str]]) -> str:
    """Why an engine with these features has no gradients of input times of a plan that it runs; empty if it has."""
    if BENT in features.get(plan.spike_times, ALL):
        return ""
    for c in plan.out_of(plan.input.name):
        if powers_along(plan.population(c.target).derived, c.receptor) is None:
            return f"has no gradients of the input times of connection {c.name!r}: {_bends(plan, c)}"
    return ""


def _moved_voltage(plan: Plan) -> str:
    out = plan.output
    if plan.loss.readout != "voltage":
        return ""
    v, sent = (
        out.derived.model.readout,
        (c for c in plan.into(out.name) if c.source != plan.input.name or c.learns_delays),
    )
    moved = [c.receptor for c in sent if out.derived.receptors[c.receptor][out.derived.states.index(v)] != 0]
    if not out.spiking and not moved:
        return ""
    why = "its neurons spike" if out.spiking else f"arrivals at its receptor {moved[0]!r} act on {v} at once"
    return (
        f"cannot run a loss of {v}(t) on population {out.name!r}: {why}; read an output of LI neurons, or use "
        "engine='native'"
    )


def _several(plan: Plan) -> str:
    if not plan.loss.also:
        return ""
    return f"cannot read {', '.join(plan.loss.also)} beside {plan.loss.readout} in one pass; use engine='native'"


def _inputs(plan: Plan) -> str:
    found = (c.name for c in plan.connections if c.channels)
    why = "cannot run connection {!r}, whose source is one of several inputs; use engine='native'"
    return next((why.format(n) for n in found), "")


def _shared(plan: Plan) -> str:
    found = (c for c in plan.connections if c.shares)
    why = (
        "cannot run connection {!r}, which shares the weights of {!r}; use engine='reference_clock', 'native' or 'c99' "
    )
    return next((why.format(c.name, c.shares) + "with spike_times='grid', or 'reference_event'" for c in found), "")


def _shared_tables(plan: Plan) -> str:
    every = {c.name: c for c in plan.connections}
    for c in (c for c in plan.connections if c.shares):
        if any(x.form != "dense" or x.delays is not None for x in (c, every[c.shares])):
            return (
                f"shares only weights of dense connections with one delay each, not those of {c.shares!r} with "
                f"{c.name!r}; use engine='reference_clock' or 'c99'"
            )
    return ""


def _losses(plan: Plan) -> str:
    if not plan.auxiliary:
        return ""
    read = ", ".join(repr(loss.output) for loss in plan.auxiliary)
    return f"cannot add the auxiliary loss of {read}; use engine='native'"


def _along(plan: Plan) -> str:
    reference = {"grid": "reference_clock", "exact": "reference_event"}[plan.spike_times]
    found = (loss for loss in plan.auxiliary if KINDS[loss.readout].in_trial)
    return next(
        (
            f"runs one loss over the whole trial, but {loss.readout!r} of {loss.output!r} is another, or regularisers "
            f"have published strengths; use engine={reference!r}"
            for loss in found
        ),
        "",
    )


def _readouts(plan: Plan) -> str:
    found = next((loss.readout for loss in plan.losses if not KINDS[loss.readout].everywhere), "")
    if not found:
        return ""
    return f"cannot read {found!r}; use engine='native' with spike_times='grid', or 'c99'"


def _stepwise(plan: Plan) -> str:
    if plan.spike_times == "grid":
        return ""
    for name in (*(loss.readout for loss in plan.losses), *plan.loss.also):
        own = readout_class(name)
        stepwise = any(getattr(own, m) is not getattr(Readout, m) for m in OF_STEPS)
        if stepwise and own.between_events is Readout.between_events:
            return (
                f"cannot read {name!r} with exact spike times: it reads V in every step, and does not define how V is "
                "read between events; use spike_times='grid'"
            )
    return ""


def _moved_apart(plan: Plan) -> str:
    if plan.loss.readout != "voltage":
        return ""
    d = plan.output.derived
    for c in plan.into(plan.output.name):
        moved = d.receptors[c.receptor][d.states.index(d.model.readout)] != 0
        sent = c.source != plan.input.name or c.learns_delays  # what arrives has a gradient of its time
        if moved and sent and (c.form != "dense" or c.delays is not None):
            return (
                f"cannot run a loss of {d.model.readout}(t) after connection {c.name!r}, whose arrivals move it at "
                "once, at different times per target; use engine='reference_clock', or Dense with delay=a number"
            )
    return ""


def _of_model(feature: str) -> Callable[[Plan], str]:
    def needs(plan: Plan) -> str:
        found = (p for p in plan.populations if OF_MODELS[feature](p.derived))
        wrong = (f"cannot run population {p.name!r}: {p.derived.model.name} has {feature}; {_INSTEAD}" for p in found)
        return next(wrong, "")

    return needs


FEATURES: dict[str, Callable[[Plan], str]] = {
    **{feature: _of_model(feature) for feature in OF_MODELS},
    JUMPS: _jumps, AMOUNTS: _amounts, INTEGRALS: _integrals, BENT: _bent,
    MOVED_VOLTAGE: _moved_voltage,
    INPUTS: _inputs, SHARED: _shared, SHARED_TABLES: _shared_tables,
    SEVERAL: _several, LOSSES: _losses, ALONG: _along, MOVED_APART: _moved_apart,
    READOUTS: _readouts, STEPWISE: _stepwise,
}  # fmt: skip
"""Feature -> what in a plan needs it, as the rest of a sentence that begins with the engine's name; "" if nothing."""

ALL = frozenset(FEATURES)


def refuse(plan: Plan, engine: str, features: Mapping[str, frozenset[str]]) -> None:
    """Refuse a plan that asks for more than an engine has.

    Args:
        features: see `Engine.features`.

    Raises:
        EngineError: naming the engine, the first feature that is missing, and the part of the plan that needs it.
    """
    if plan.spike_times not in features:
        (have,) = features
        instead = {"exact": "reference_event or native for exact spike times"}
        other = instead.get(plan.spike_times, "reference_clock or native for spikes on the grid")
        raise EngineError(f"{engine} runs spike_times={have!r} only; use {other}")
    for name, needs in FEATURES.items():
        if name not in features[plan.spike_times] and (found := needs(plan)):
            raise EngineError(f"{engine} {found}")


def can_solve(network: Network, features: Mapping[str, frozenset[str]]) -> bool:
    """Whether an engine with these features has exact spike times for the network's neurons; noise and dropout have
    none."""
    if "exact" not in features:
        return False
    models, lacking = [derive(p.model) for p in network.populations], ALL - features["exact"]
    simple = not any(OF_MODELS[f](m) for m in models for f in lacking & OF_MODELS.keys())
    currents = JUMPS not in lacking or not any(moves_threshold(m, r) for m in models for r in m.receptors)
    return simple and currents and all(p.noise == p.dropout == 0 for p in network.populations)
