"""``show MODEL|PAGE|RUN``: equations of a model, the network of a page or run, the program that an engine runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import sympy as sp

from ..adjoint import Derived, derive
from ..compile import make_plan, program_text
from ..description import build
from ..errors import SettingError
from ..modelling import NeuronModel
from ..modelling.expressions import symbol
from ..modelling.memory import in_words
from ..plan import ConnectionRecord, Plan
from ..plan.costs import costs
from ..plan.example import example_plan
from ..runs.checkpoint import load_checkpoint
from ..runs.run_folder import MODEL, RunFolder
from ..verify.gradients.command import find_model
from .options import operand


def show(
    what: Annotated[str, *operand("MODEL|PAGE|RUN")],
    target: str = "",
    dtype: Literal["float32", "float64"] = "float32",
    spike_times: Literal["grid", "exact"] = "grid",
) -> None:
    """Print equations and generated code of a model, page or run: show lif --target native.

    Print a model's equations and the forward and adjoint code generated from them; for a page or a run folder, print
    the network and the cost of its connections. With --target, print the program that an engine runs instead.

    Args:
        what: Name of an installed model or experiment, my_neuron.py:MyNeuron, my_page.py, or a run folder.
        target: native, c99, cuda or genn: print all text that this engine compiles. A model stands in a small network:
            input, the model connected to itself, output. cpp, of a model: print equations and the snippets of native;
            without a target, the snippets are the strings that the genn engine passes to pygenn.
        dtype: Number type of the program, with --target.
        spike_times: Spike times of a model's program, with --target native; a page and a run folder have their own.
    """
    # a file without a name in it, as in my_page.py, is a page: a model is my_neuron.py:MyNeuron
    model = None if _is_page_or_run(what) else find_model(what)
    plan = example_plan(model, spike_times) if model is not None else _plan_of(what)
    if target and not (target == "cpp" and model is not None):
        for title, code in program_text(plan, target, dtype):
            print(f"// {title}\n{code.rstrip()}\n")
    elif model is not None:
        show_model(model, target or "genn")
    else:
        print(describe_network(plan))


def _is_page_or_run(what: str) -> bool:
    from ..experiment import experiment_names

    if os.sep in what and ".py" not in what and not Path(what).is_dir():
        raise SettingError(f"there is no run folder {what}")
    return Path(what).is_dir() or what.endswith(".py") or what in experiment_names()


def _plan_of(what: str) -> Plan:
    """The plan of a run folder, or of a page with its default settings.

    Raises:
        SettingError: not a run folder, or one without model.json.
    """
    from ..experiment import load_experiment

    if not Path(what).is_dir():
        page = load_experiment(what)
        return page.build(page.config()).trainer.plan
    folder = RunFolder.open(Path(what))
    if not (folder.path / MODEL).is_file():
        raise SettingError(f"{folder.path} has no {MODEL}, so show cannot describe its model")
    d = build(folder.model, load_checkpoint(folder.checkpoint("last")).section("parameters"))
    return make_plan(d.network, d.loss, dt=d.dt, duration=d.duration, spike_times=d.spike_times)


def show_model(model: NeuronModel, dialect: str) -> None:
    """Print the equations of a model, its adjoint and the snippets of one dialect."""
    from ..codegen import DIALECTS, derive_snippets
    from ..engines.genn import model_texts

    derived = derive(model)
    print(describe_model(model))
    print("\n" + describe_adjoint(derived))
    parts = model_texts(model) if dialect == "genn" else derive_snippets(derived, DIALECTS[dialect]).sections()
    for title, code in parts:
        print(f"\n{title}\n" + "\n".join(f"    {line}" for line in code.strip().splitlines()))


def describe_model(model: NeuronModel) -> str:
    """Equations, parameters and events of a model in plain text."""
    lines = [model.name, "", "dynamics"]
    lines += [f"    d{name}/dt = {right}" for name, right in model.dynamics.items()]
    lines += ["initial state", *(f"    {name}(0) = {value}" for name, value in model.state.items())]
    for drive, to in model.drive_amounts.items():
        lines += [f"    d{name}/dt gets {drive} * ({amount}), if a current leads there" for name, amount in to.items()]
    for mode in model.modes:
        lasts = f"for {mode.lasts} ms, then {mode.then or 'free'}" if mode.lasts else "until an event"
        lines += [f"mode {mode.name}, {lasts}", *(f"    d{s}/dt = {right}" for s, right in mode.dynamics.items())]
    for event in model.events:
        kind = "" if event.emits else ", silent"
        place = f" in mode {' or '.join(event.modes)}" if event.modes else ""
        lines.append(f"event {event.name}{kind}, when {event.threshold} reaches 0 from below{place}")
        lines += [f"    {name} -> {right}" for name, right in event.reset.items()] or ["    no reset"]
        lines += [f"    mode -> {event.next_mode}"] if event.next_mode else []
    for receptor, change in model.receptors.items():
        changes = [
            f"{name} -> {name} + {'' if str(by) in ('1', '1.0') else f'({by}) '}w" for name, by in change.items()
        ]
        lines.append(f"receptor {receptor}, a spike of weight w")
        lines += [f"    {text}" for text in changes]
    lines.append("parameters")
    lines += [f"    {name} = {param.value} {param.unit}".rstrip() for name, param in model.params.items()]
    return "\n".join(lines)


def describe_adjoint(d: Derived) -> str:
    """The adjoint system of a model, formulas of docs/equations.md filled in; lambda_V is dL/dV."""
    lam = [symbol(f"lambda_{s}") for s in d.states]
    lines = []
    for mode in d.modes:
        lines.append("adjoint, backwards in time" + (f", mode {mode.name}" if len(d.modes) > 1 else ""))
        for s, rate in zip(d.states, mode.df_dx.T * sp.Matrix(lam)):
            lines.append(f"    -dlambda_{s}/dt = {rate}")
    for event in d.events:
        lines.append(
            f"jump at event {event.name}, S = dL/dt_k + sum of D" + (", by mode" if len(event.gdots) > 1 else "")
        )
        lines += [f"    gdot = {gdot}" for gdot in event.gdots.values()]
        lines += [f"    E = S + {sp.Matrix(lam).dot(a)}" for a in event.jumps.values()]
        before = event.dh_dx.T * sp.Matrix(lam) - event.dg_dx * sp.Symbol("E") / sp.Symbol("gdot")
        lines += [f"    lambda_{s} <- {value}" for s, value in zip(d.states, before)]
    lines += [f"arrival at receptor {r}, dL/dw" + f"\n    {sp.Matrix(lam).dot(e)}" for r, e in d.receptors.items()]
    return "\n".join(lines)


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
