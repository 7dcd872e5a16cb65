"""Own events of neurons with modes, several events, or thresholds that arrivals move (delta synapses), as GeNN text.

The definition is `engines/clock_events.py`. Beside the steps of its spikes every neuron keeps one list of all that
happened to it, in order: events and ends of timed modes, with the step, the kind (the number of the event, or the
number of events + that of the mode which ended), 1 / gdot, the mode before, whether arrivals alone put the neuron
across, and states. Backwards the list is undone from its end, and the modes with it. E of an event that arrivals made
goes to those arrivals: the host gives 1 over what all of them added to g, `own_share`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np

from ...adjoint import Derived
from ...adjoint.propagator import numeric
from ...codegen import GENN
from ...codegen.event_text import EventText, end_text, event_text
from ...codegen.printer import expression
from ...plan import ConnectionRecord, Plan, PopulationRecord
from ...plan.numbers import Value
from ...regularisers import pushed_state
from ..refuse import upward
from . import stochastic
from .readouts import Readout
from .text import OWN, indent


def pushed(plan: Plan, p: PopulationRecord) -> bool:
    """Whether arrivals move a threshold of the population by themselves."""
    return any(upward(p.derived, c.receptor) != 0 for c in plan.into(p.name))


def upward_values(p: PopulationRecord, receptor: str, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
    """`upward` as numbers, where it is positive: (N,) or (1,)."""
    values = (parameters[f"{p.name}.{n}"] for n in p.derived.params)
    return np.maximum(_upward_function(p.derived, receptor)(*values)[..., 0, 0], 0.0)


@lru_cache(maxsize=256)
def _upward_function(d: Derived, receptor: str) -> Callable[..., np.ndarray]:
    return numeric([upward(d, receptor)], d.p)


def eventful(plan: Plan, p: PopulationRecord) -> bool:
    """Whether a population needs what is in this file; so do spikes that are not sent but reset."""
    d = p.derived
    return bool(d.events) and (len(d.modes) > 1 or len(d.events) > 1 or pushed(plan, p) or _silenced(p))


def _silenced(p: PopulationRecord) -> bool:
    """Whether an event can be a spike that is not sent."""
    return p.dropout > 0 and p.dropped_reset


def durations(p: PopulationRecord) -> list[Value]:
    """Lengths of timed modes in steps, made by the host in float64: `steps_<parameter>`."""
    return [Value(f"steps_{n}", n in p.per_neuron) for n in p.derived.durations]


def _texts(p: PopulationRecord) -> list[EventText]:
    return [event_text(p.derived, e, GENN, p.trainable) for e in p.derived.events]


def _timed(p: PopulationRecord) -> list[int]:
    return [m for m, mode in enumerate(p.derived.modes) if mode.lasts]


def _moded(p: PopulationRecord) -> bool:
    return len(p.derived.modes) > 1


def _states(plan: Plan, p: PopulationRecord) -> list[str]:
    """States that are kept of what happened."""
    names = [s for t in _texts(p) for s in t.states] + [s for m in _timed(p) for s in end_text(p.derived, m, GENN)[1]]
    if p.name == plan.output.name and plan.loss.readout == "integral":
        names.append(p.derived.model.readout)
    return list(dict.fromkeys(names))


def variables(p: PopulationRecord, training: bool) -> list[tuple[str, str, str]]:
    found = [("mode", "scalar", OWN)] if _moded(p) else []
    found += [("until", "int", OWN)] if _timed(p) else []
    if training:
        found += [("n_events", "int", OWN), ("next_event", "int", OWN), ("next_event_step", "int", OWN)]
        found += [("pending", "scalar", OWN)] if _timed(p) else []
    return found


def arrays(plan: Plan, p: PopulationRecord) -> list[tuple[str, str]]:
    """Kept for the adjoint."""
    found = [("own_step", "int"), ("own_kind", "int"), ("own_slope", "scalar"), ("own_mode", "scalar")]
    found += [("own_pushed", "int"), ("own_share", "scalar")] if pushed(plan, p) else []
    return found + [(f"own_{s}", "scalar") for s in _states(plan, p)]


def begin_code(p: PopulationRecord, training: bool) -> str:
    values = {"mode": "0.0", "until": "-1", "n_events": "0", "next_event": "-1", "next_event_step": "-2"}
    return "".join(f"{n} = {values.get(n, '0.0')};\n" for n, *_ in variables(p, training))


# forwards


def before_arrivals(plan: Plan, p: PopulationRecord, training: bool) -> str:
    """Timed modes that end now, before the arrivals of the step; thresholds there, where arrivals can move them."""
    code = "".join(_end(plan, p, m, training) for m in _timed(p))
    if code:
        code = f"if (until == step) {{\n    const scalar ended = mode;\n{indent(code)}}}\n"
    if training and pushed(plan, p):
        code += "".join(f"const scalar g_early_{i} = {t.threshold};\n" for i, t in enumerate(_texts(p)))
    return code


def _end(plan: Plan, p: PopulationRecord, m: int, training: bool) -> str:
    kept = _keep(plan, p, len(p.derived.events) + m, "step", {}) if training else ""
    return f"if (ended == {m}.0) {{\n{indent(kept + _enter(p, p.derived.modes[m].then, 'step'))}}}\n"


def _enter(p: PopulationRecord, mode: int, step: str) -> str:
    lasts = p.derived.modes[mode].lasts
    until = f"until = {step} + (int)steps_{lasts};\n" if lasts else "until = -1;\n" if _timed(p) else ""
    return f"mode = {mode}.0;\n{until}"


def _keep(plan: Plan, p: PopulationRecord, kind: int, step: str, values: Mapping[str, str]) -> str:
    """One entry of the list; where it is full only its number."""
    entry = {"own_step": step, "own_kind": str(kind), "own_mode": "mode" if _moded(p) else "0.0", **values}
    entry |= {f"own_{s}": s for s in _states(plan, p)}
    known = {n for n, _ in arrays(plan, p)}
    lines = "const int place = (batch * num_neurons + id) * capacity + n_events;\n"
    lines += "".join(f"{n}[place] = {v};\n" for n, v in entry.items() if n in known)
    return (
        f"if (n_events < capacity) {{\n{indent(lines)}}}\n"
        f"next_event = n_events;\nnext_event_step = {step};\nn_events++;\n"
    )


def around_step(plan: Plan, p: PopulationRecord, step_code: str, training: bool) -> str:
    """A step, and the events found at its end in the model's order; at most one of them is a spike."""
    texts = _texts(p)
    code = "".join(f"const scalar g_before_{i} = {t.threshold};\n" for i, t in enumerate(texts)) if training else ""
    code += step_code + "\n"
    return code + "".join(_test(plan, p, i, t, training) for i, t in enumerate(texts))


def _test(plan: Plan, p: PopulationRecord, i: int, text: EventText, training: bool) -> str:
    event = p.derived.events[i]
    random = event.emits and p.dropout > 0 and training
    code = stochastic.draw_lost() if random and p.dropped_reset else ""
    code += _slope_and_entry(plan, p, i) if training else ""
    code += f"spiked = {'!stochastic_lost' if random else 'true'};\n" if event.emits else ""
    code += text.reset + "\n" + (_enter(p, event.next_mode, "step + 1") if event.next_mode is not None else "")
    again = event.emits and any(e.emits for e in p.derived.events[:i])
    once = " && !spiked" if again else ""
    once += " && !stochastic_lost" if random and (again or not p.dropped_reset) else ""
    first = stochastic.lost(p, "g >= 0.0") if random and not p.dropped_reset else ""
    inner = f"const scalar g = {text.possible};\n{first}if (g >= 0.0{once}) {{\n{indent(code)}}}\n"
    return f"{{\n{indent(inner)}}}\n"


def _slope_and_entry(plan: Plan, p: PopulationRecord, i: int) -> str:
    slope = "guarded ? guarded_inverse : ms_per_step / rise"
    values, guarded, by_arrivals = {"own_slope": slope}, "rise <= 0.0 || rise < least_rise", ""
    if pushed(plan, p):
        by_arrivals = f"const bool by_arrivals = g_before_{i} >= 0.0 && g_early_{i} < 0.0;\n"
        values = {"own_slope": f"by_arrivals ? 0.0 : ({slope})", "own_pushed": "by_arrivals ? 1 : 0"}
        guarded = f"!by_arrivals && ({guarded})"
    return f"""\
const scalar rise = g - g_before_{i};
{by_arrivals}const bool guarded = {guarded};
if (guarded) {{
    n_guarded++;
}}
{_keep(plan, p, i, "step + 1", values)}"""


def at_spike(readout: Readout, training: bool) -> str:
    """GeNN's reset code: the list of spikes; the states were reset among the events."""
    code = "const int slot = (batch * num_neurons + id) * capacity + n_spikes;\nspike_step[slot] = step + 1;\n"
    code = f"if (n_spikes < capacity) {{\n{indent(code)}}}\n"
    code += "next = n_spikes;\nnext_step = step + 1;\n" if training else ""
    return code + f"{readout.at_spike()}n_spikes++;\n"


# backwards


def shown(plan: Plan, p: PopulationRecord) -> list[str]:
    """Variables for adjoint events: E of what the arrivals of a step caused, per unit of positive weight."""
    receptors = (c.receptor for c in plan.into(p.name) if c.source != plan.input.name)
    return [f"push_{r}" for r in dict.fromkeys(receptors) if upward(p.derived, r) != 0]


def jumps(plan: Plan, p: PopulationRecord, readout: Readout) -> str:
    """Undo what happened at `back`, the last thing first; then what of E goes to the arrivals at `back` - 1."""
    code = "const int base = (batch * num_neurons + id) * capacity;\n"
    code += "scalar push_now = 0.0;\n" if pushed(plan, p) else ""
    code += "".join(_undo(p, len(p.derived.events) + m, _ended(p, m)) for m in _timed(p))
    for i in reversed(range(len(p.derived.events))):
        code += _undo(p, i, _jump(plan, p, i, readout))
    for name in shown(plan, p):
        up = expression(upward(p.derived, name.removeprefix("push_")), GENN)
        code += f"{name} = fmax({up}, 0.0) * push_now;\n"
    return code


def _undo(p: PopulationRecord, kind: int, code: str) -> str:
    head = "const int place = base + next_event;\n" + ("mode = own_mode[place];\n" if _moded(p) else "")
    after = "next_event--;\nnext_event_step = next_event >= 0 ? own_step[base + next_event] : -2;\n"
    test = f"next_event_step == back && own_kind[base + next_event] == {kind}"
    return f"if ({test}) {{\n{indent(head + code + after)}}}\n"


def _ended(p: PopulationRecord, m: int) -> str:
    """D of the end of a timed mode: to its duration, and to the event that began it."""
    D, states = end_text(p.derived, m, GENN)
    lasts = p.derived.modes[m].lasts
    code = _given(states) + f"const scalar end_term = {D};\npending += end_term;\n"
    return code + (f"grad_{lasts} += end_term;\n" if lasts in p.trainable else "")


def _given(states: tuple[str, ...]) -> str:
    return "".join(f"const scalar {s} = own_{s}[place];\n" for s in states)


def _jump(plan: Plan, p: PopulationRecord, i: int, readout: Readout) -> str:
    event, text, output = p.derived.events[i], _texts(p)[i], p.name == plan.output.name
    read = output and event.emits and plan.loss.readout == "integral"
    states = dict.fromkeys((*text.states, *((p.derived.model.readout,) if read else ())))
    code = f"scalar dl_dt = {'feedback' if event.emits else '0.0'};\nconst scalar inv_gdot = own_slope[place];\n"
    code += _given(tuple(states)) + (readout.own_spike() if output and event.emits else "")
    if event.next_mode is not None and p.derived.modes[event.next_mode].lasts:
        code += "dl_dt += pending;\npending = 0.0;\n"
    head, _, jump = text.jump.partition("\n")
    code += head + "\n"
    if pushed(plan, p):
        code += "if (own_pushed[place] > 0) {\n    push_now += (dl_dt + along) * own_share[place];\n}\n"
    code += "".join(f"grad_{n} += {change};\n" for n, change in text.gradients.items()) + jump + "\n"
    if event.emits:
        code += readout.at_own_spike() if output else ""
        sent = f"lambda_{pushed_state(p.derived.model)} += spike_push;\n" if plan.spike_regularisers(p.name) else ""
        sent += "next--;\nnext_step = next >= 0 ? spike_step[base + next] : -2;\n"
        code += f"if (next_step == back) {{\n{indent(sent)}}}\n" if _silenced(p) else sent
    return code


def used_connection(plan: Plan, c: ConnectionRecord) -> bool:
    """Whether an arrival through a connection can put its target across."""
    return upward(plan.population(c.target).derived, c.receptor) != 0
