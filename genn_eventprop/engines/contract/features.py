"""What a plan can ask of an engine, by name, and the one place where an engine refuses a plan.

Each engine declares the features that it has, see `Engine.features`; `refuse` names the first that is missing, what in
the plan needs it, and what to do: which engines run the plan follows from what they declare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ...adjoint import derive
from ...adjoint.arrivals import powers_along
from ...errors import Refusal
from ...losses.kinds import READOUTS as KINDS
from ...modelling import Network
from ...plan import ConnectionRecord, Plan
from ...plan.closed_form import NO_CLOSED_FORM, moves_threshold
from ...plan.groups import back
from ...plan.series import FINEST
from ...program.readouts import Readout, readout_class
from ...program.readouts.base import OF_STEPS

INEXACT_INTEGRALS = "integrals of V with nonlinear dynamics or modes"
THRESHOLD_JUMPS = "delta synapses that move a threshold"
LEARNED_RECEPTOR_GAIN = "learned receptor gains"
NONLINEAR_RECEPTOR_PATH = "arrivals at a state on which the dynamics depend non-polynomially"
VOLTAGE_LOSS_WITH_JUMPS = "losses of V(t) where V jumps at spikes"
SEVERAL_READOUTS = "several readouts in one pass"
SEVERAL_INPUTS = "several inputs"
SHARED_WEIGHTS = "weights shared by connections"
SHARED_TABLE_WEIGHTS = "weights shared by connections, in tables or with individual delays"
SEVERAL_LOSSES = "several losses"
TRAJECTORY_AUXILIARY_LOSS = "auxiliary losses that need the whole trajectory"
PROGRAM_READOUTS = "custom readouts"
STEPWISE_READOUTS = "custom readouts that read V at steps only"
VOLTAGE_LOSS_AFTER_TABLES = "losses of V(t) where V jumps at arrivals through tables or with individual delays"
HANDWRITTEN = "hand-written snippets"
SPIKE_BIRTH = "gradients with spike births (spike_birth)"
SPIKE_BIRTH_DELAYS = "spike births through individual delays"
CURRENTS = "currents as inputs"
# what a thread a neuron does not do yet, see codegen/cuda/exact.py; any engine on a grid does
EXACT_FEEDBACK = "feedback connections with a delay shorter than a step"


MODEL_FEATURES = NO_CLOSED_FORM
"""Features of single neuron models."""


def _jumps(plan: Plan) -> str:
    for c in plan.connections:
        d = plan.population(c.target).derived
        if moves_threshold(d, c.receptor):
            return (
                f"cannot run connection {c.name!r}: an arrival at receptor {c.receptor!r} of {d.model.name} moves its "
                "threshold at once; let arrivals act on a current"
            )
    return ""


def _receptor_gain(plan: Plan) -> str:
    for c in plan.connections:
        p = plan.population(c.target)
        for n, s in zip(p.derived.params, p.derived.p):
            # dL/dp needs de/dp at every arrival
            if n in p.trainable and p.derived.receptors[c.receptor].has(s):
                return (
                    f"cannot learn {p.name}.{n}: receptor {c.receptor!r} of connection {c.name!r} adds an amount that "
                    "depends on it; fix the parameter"
                )
    return ""


def _integrals(plan: Plan) -> str:
    read = [plan.population(loss.output) for loss in plan.losses if loss.integrates]
    p = next((p for p in read if not p.exact or len(p.derived.modes) > 1), None)
    if p is None:
        return ""
    return (
        f"cannot read integrals of V from population {p.name!r}: {p.derived.model.name} is not linear in the state, or "
        "has modes; read an output of LI neurons"
    )


def _nonlinear_path(plan: Plan) -> str:
    for c in plan.connections:
        d = plan.population(c.target).derived
        # D is needed only where the time of an arrival has a gradient
        if (c.source != plan.input.name or c.learns_delays) and powers_along(d, c.receptor) is None:
            return f"cannot run connection {c.name!r}: {_nonlinear_receptor(plan, c)}"
    return ""


def _nonlinear_receptor(plan: Plan, c: ConnectionRecord) -> str:
    d = plan.population(c.target).derived
    return (
        f"an arrival at receptor {c.receptor!r} of {d.model.name} moves a state on which the dynamics depend "
        "nonlinearly, and by no polynomial of degree 4 or less; let arrivals act on a current"
    )


def no_input_times(plan: Plan, features: Mapping[str, frozenset[str]]) -> str:
    """Why an engine with these features has no gradients of input times of a plan that it runs; empty if it has."""
    if NONLINEAR_RECEPTOR_PATH in features.get(plan.spike_times, ALL):
        return ""
    for c in plan.out_of(plan.input.name):
        if powers_along(plan.population(c.target).derived, c.receptor) is None:
            why = f"has no gradients of the input times of connection {c.name!r}: {_nonlinear_receptor(plan, c)}"
            return why + remedy(plan, why, NONLINEAR_RECEPTOR_PATH)
    return ""


def _voltage_with_jumps(plan: Plan) -> str:
    out = plan.output
    if plan.loss.readout != "voltage":
        return ""
    v = out.derived.model.readout
    timed = (c for c in plan.into(out.name) if c.source != plan.input.name or c.learns_delays)
    i = out.derived.states.index(v)
    moved = [c.receptor for c in timed if out.derived.receptors[c.receptor][i] != 0]
    resets = any(e.h[i] != out.derived.x[i] for e in out.derived.events)
    if not out.spiking and not resets and not moved:
        return ""
    why = f"arrivals at its receptor {moved[0]!r} act on {v} at once" if moved else f"its events reset {v}"
    why = "its neurons spike" if out.spiking else why
    return f"cannot run a loss of {v}(t) on population {out.name!r}: {why}; read an output of LI neurons"


def _several(plan: Plan) -> str:
    if not plan.loss.also:
        return ""
    return f"cannot read {', '.join(plan.loss.also)} beside {plan.loss.readout} in one pass"


def _inputs(plan: Plan) -> str:
    names = (c.name for c in plan.connections if c.channels)
    why = "cannot run connection {!r}, whose source is one of several inputs"
    return next((why.format(n) for n in names), "")


def _shared(plan: Plan) -> str:
    sharing = (c for c in plan.connections if c.shares)
    why = "cannot run connection {!r}, which shares the weights of {!r}"
    return next((why.format(c.name, c.shares) for c in sharing), "")


def _shared_tables(plan: Plan) -> str:
    every = {c.name: c for c in plan.connections}
    for c in (c for c in plan.connections if c.shares):
        if any(x.form == "synapses" or x.delays is not None for x in (c, every[c.shares])):
            return (
                f"shares only weights of dense connections and convolutions with one delay each, not those of "
                f"{c.shares!r} with {c.name!r}"
            )
    return ""


def _losses(plan: Plan) -> str:
    if not plan.auxiliary:
        return ""
    read = ", ".join(repr(loss.output) for loss in plan.auxiliary)
    return f"cannot add the auxiliary loss of {read}"


def _trajectory_auxiliary(plan: Plan) -> str:
    trajectory = (loss for loss in plan.auxiliary if KINDS[loss.readout].in_trial)
    return next(
        (
            f"runs one loss over the whole trial, but {loss.readout!r} of {loss.output!r} is another, or regularisers "
            "have published strengths"
            for loss in trajectory
        ),
        "",
    )


def _readouts(plan: Plan) -> str:
    readout = next((loss.readout for loss in plan.losses if not KINDS[loss.readout].everywhere), "")
    if not readout:
        return ""
    return f"cannot read {readout!r}"


def _stepwise(plan: Plan) -> str:
    if plan.spike_times == "grid":
        return ""
    for name in (*(loss.readout for loss in plan.losses), *plan.loss.also):
        reader = readout_class(name)
        stepwise = any(getattr(reader, m) is not getattr(Readout, m) for m in OF_STEPS)
        if stepwise and reader.between_events is Readout.between_events:
            return (
                f"cannot read {name!r} with exact spike times: it reads V in every step, and does not define how V is "
                "read between events"
            )
    return ""


def _voltage_after_tables(plan: Plan) -> str:
    if plan.loss.readout != "voltage":
        return ""
    # the term l(V-) - l(V+) in D of such an arrival compares all outputs at once; through a table, or with a delay a
    # synapse, each target has a time of arrival
    d = plan.output.derived
    for c in plan.into(plan.output.name):
        moved = d.receptors[c.receptor][d.states.index(d.model.readout)] != 0
        timed = c.source != plan.input.name or c.learns_delays  # whose arrival times have a gradient
        if moved and timed and (c.form != "dense" or c.delays is not None):
            return (
                f"cannot run a loss of {d.model.readout}(t) after connection {c.name!r}, whose arrivals move it at "
                "once, at different times per target; use Dense with delay=a number"
            )
    return ""


def _handwritten(plan: Plan) -> str:
    for p in plan.populations:
        if p.derived.model.snippets:
            return (
                f"cannot run population {p.name!r}: the hand-written snippets of {p.derived.model.name} make whole "
                "steps, not its equations"
            )
    return ""


def _spike_birth(plan: Plan) -> str:
    return "has no spike_birth; set spike_birth=0" * bool(plan.spike_birth)


def _spike_birth_delays(plan: Plan) -> str:
    late = (c for c in plan.connections if c.delays is not None and c.source != plan.input.name)
    name = next((c.name for c in late if plan.spike_birth), "")
    why = f"has no spike_birth through the individual delays of connection {name!r}; use one delay"
    return why if name else ""


def _currents(plan: Plan) -> str:
    name = next((c.source for c in plan.currents_into), "")
    return f"takes no currents, but {name!r} is one" if name else ""


def _exact_feedback(plan: Plan) -> str:
    c = back(plan) if plan.spike_times == "exact" else None
    if c is None:
        return ""
    least = max(plan.dt, FINEST)
    late = f"delay of {c.delay:g} ms is" if c.delays is None else "individual delays may be"
    return (
        f"cannot run connection {c.name!r} in exact time: it leads back, and its {late} shorter "
        f"than the step of {least:g} ms; make the delay {least:g} ms or more"
    )


def _of_model(feature: str) -> Callable[[Plan], str]:
    def needs(plan: Plan) -> str:
        those = (p for p in plan.populations if MODEL_FEATURES[feature](p.derived))
        wrong = (f"cannot run population {p.name!r}: {p.derived.model.name} has {feature}" for p in those)
        return next(wrong, "")

    return needs


FEATURES: dict[str, Callable[[Plan], str]] = {
    **{feature: _of_model(feature) for feature in MODEL_FEATURES},
    THRESHOLD_JUMPS: _jumps,
    LEARNED_RECEPTOR_GAIN: _receptor_gain,
    INEXACT_INTEGRALS: _integrals,
    NONLINEAR_RECEPTOR_PATH: _nonlinear_path,
    VOLTAGE_LOSS_WITH_JUMPS: _voltage_with_jumps,
    SEVERAL_INPUTS: _inputs,
    SHARED_WEIGHTS: _shared,
    SHARED_TABLE_WEIGHTS: _shared_tables,
    SEVERAL_READOUTS: _several,
    SEVERAL_LOSSES: _losses,
    TRAJECTORY_AUXILIARY_LOSS: _trajectory_auxiliary,
    VOLTAGE_LOSS_AFTER_TABLES: _voltage_after_tables,
    PROGRAM_READOUTS: _readouts,
    STEPWISE_READOUTS: _stepwise,
    HANDWRITTEN: _handwritten,
    SPIKE_BIRTH: _spike_birth,
    SPIKE_BIRTH_DELAYS: _spike_birth_delays,
    CURRENTS: _currents,
    EXACT_FEEDBACK: _exact_feedback,
}
"""Feature -> what in a plan needs it, as the rest of a sentence that begins with the engine's name, and behind a ;
what to change in the network; "" if nothing.

The order is that in which a plan is refused: neuron models first, since what they lack rules out most.
"""

ALL = frozenset(FEATURES)


def refuse(plan: Plan, engine: str, features: Mapping[str, frozenset[str]]) -> None:
    """Refuse a plan that asks for more than an engine has.

    Args:
        features: see `Engine.features`.

    Raises:
        Refusal: naming the engine, the first feature that is missing, and the part of the plan that needs it.
    """
    if plan.spike_times not in features:
        (have,) = features
        why = f"runs spike_times={have!r} only"
    elif not (why := missing(plan, features[plan.spike_times])):
        return
    raise Refusal(f"{engine} {why}{remedy(plan, why)}")


def missing(plan: Plan, features: frozenset[str]) -> str:
    """What a plan asks for that is not among the features, as in `FEATURES`; "" if nothing is."""
    return next((why for name, needs in FEATURES.items() if name not in features and (why := needs(plan))), "")


def remedy(plan: Plan, why: str, feature: str = "") -> str:
    """The end of a message: the engines that run a plan and have a feature; of these the one that "auto" may take.

    Args:
        why: the message, with what to change in the network behind a ; if there is something.
    """

    def runs(times: str, kind: Any, automatic: bool) -> bool:
        have = kind.features.get(times)
        if have is None or (automatic and not kind.automatic) or (feature and feature not in have):
            return False
        return not missing(replace(plan, spike_times=times), have)

    times, other = plan.spike_times, "grid" if plan.spike_times == "exact" else "exact"
    ways = [engines_that(partial(runs, times, automatic=True))]
    if not any(ways):
        there = engines_that(partial(runs, other, automatic=True)) or engines_that(
            partial(runs, other, automatic=False)
        )
        ways = [engines_that(partial(runs, times, automatic=False)), there and f"{there} with spike_times={other!r}"]
    ways = [way for way in ways if way]
    return (", or use " if ";" in why else "; use ") * bool(ways) + ", or ".join(ways)


def engines_that(has: Callable[[Any], bool]) -> str:
    """The engines whose class has something, as an argument: "engine='native' or 'c99'"; "" if there is none."""
    names = [repr(kind.name) for listing in _listings for kind in listing() if has(kind)]
    return f"engine={' or '.join(filter(None, (', '.join(names[:-1]), names[-1])))}" if names else ""


_listings: list[Callable[[], Iterable[Any]]] = []


def list_engines(listing: Callable[[], Iterable[Any]]) -> None:
    """How all engine classes are listed: said by `registry`, which imports engines, and these the names of features."""
    _listings.append(listing)


def can_solve(network: Network, features: Mapping[str, frozenset[str]]) -> bool:
    """Whether an engine with these features has exact spike times for the network's neurons in closed form, so that
    they cost about as much as the grid; noise and dropout have none."""
    if "exact" not in features:
        return False
    models = [derive(p.model) for p in network.populations]
    simple = not any(needs(m) for m in models for needs in NO_CLOSED_FORM.values())
    smooth = not any(moves_threshold(m, r) for m in models for r in m.receptors)
    return simple and smooth and not network.currents and all(p.noise == p.dropout == 0 for p in network.populations)
