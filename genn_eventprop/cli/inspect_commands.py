"""``show MODEL``, ``gradcheck MODEL``, ``engines`` and ``cache clear``: what the package knows, can run and caches."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import sympy as sp
import tyro

from ..adjoint import Derived
from ..atomic import write_text
from ..errors import SettingError
from ..modelling import NeuronModel
from ..modelling.expressions import symbol
from .options import parse


def show(arguments: Sequence[str], program: str) -> None:
    """Print a model's equations and the code generated from them: show lif --dialect cpp."""
    parse(_show, arguments, program)


Model = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]


def _show(model: Model, dialect: Literal["genn", "cpp"] = "genn") -> None:
    """Print a model's equations and the forward and adjoint code generated from them; for a run folder, print the
    network and the cost of its connections.

    Args:
        model: Name of an installed model, or my_neuron.py:MyNeuron, or a run folder.
        dialect: genn prints exactly the strings that the genn engine passes to pygenn, cpp the snippets of native.
    """
    from ..adjoint import derive
    from ..codegen import DIALECTS, derive_snippets
    from ..engines.genn import model_texts
    from ..verify.gradients.command import find_model

    if Path(model).is_dir():
        from .show_run import show_run

        print(show_run(Path(model)))
        return
    if os.sep in model and ".py:" not in model:
        raise SettingError(f"there is no run folder {model}")
    neuron = find_model(model)
    print(describe_model(neuron))
    print("\n" + describe_adjoint(derive(neuron)))
    genn = dialect == "genn"
    parts = model_texts(neuron) if genn else derive_snippets(derive(neuron), DIALECTS[dialect]).sections()
    for title, code in parts:
        print(f"\n{title}\n" + "\n".join(f"    {line}" for line in code.strip().splitlines()))


def describe_model(model: NeuronModel) -> str:
    """Equations, parameters and events of a model in plain text."""
    lines = [model.name, "", "dynamics"]
    lines += [f"    d{name}/dt = {right}" for name, right in model.dynamics.items()]
    lines += ["initial state", *(f"    {name}(0) = {value}" for name, value in model.state.items())]
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


def gradcheck(arguments: Sequence[str], program: str) -> None:
    """Check a model's gradient against finite differences of exact forward runs: gradcheck lif."""
    parse(_gradcheck, arguments, program)


def _gradcheck(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = "",
    all: bool = False,
    quick: bool = False,
    seed: int = 0,
    engine: str = "reference_event",
    spike_times: Literal["exact", "grid"] = "exact",
) -> None:
    """Compare every gradient of a model with finite differences, in small random networks; exit with status 1 if one is
    wrong.

    Args:
        model: Name of an installed model, or my_neuron.py:MyNeuron.
        all: Check every installed model, one line each.
        quick: Use one network per model.
        seed: Random seed for the networks, parameters and input.
        engine: The engine whose gradient is checked; native is compared with differences of its own runs, the others
            with those of reference_event.
        spike_times: Only exact spike times can be checked; on a grid, differences are meaningless.
    """
    from ..verify.gradients import main

    if bool(model) == all:
        print("genn-eventprop gradcheck: give one MODEL, or --all for every installed model", file=sys.stderr)
        raise SystemExit(2)
    status = main(model or None, seed=seed, engine=engine, quick=quick, spike_times=spike_times)
    if status:
        raise SystemExit(status)


def engines(arguments: Sequence[str], program: str) -> None:
    """List the engines: which ones this machine can run, and what is missing for the others; or test one of them."""
    parse(_engines, arguments, program)


def _engines(selftest: str = "", report: Path | None = None) -> None:
    """List the engines, fastest first: which ones this machine can run, and what is missing for the others.

    Args:
        selftest: Compare this engine with the reference on representative networks, and time it; exit with status 1 if
            it fails.
        report: File for the self-test report; default: genn-eventprop-selftest-ENGINE.txt.
    """
    from ..engines import availability

    if selftest:
        raise SystemExit(_selftest(selftest, report or Path(f"genn-eventprop-selftest-{selftest}.txt")))
    for engine in availability():
        print(f"{engine.name:16} {'yes' if engine.runs else 'no ':4} {engine.detail}")


def _selftest(engine: str, path: Path) -> int:
    """Print and keep the report of a self-test. Returns 0 if nothing is wrong, else 1."""
    from ..verify.engines.selftest import selftest

    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)
        write_text(path, "\n".join(lines) + "\n")  # there is one too where the driver ends the process

    right = selftest(engine, say)
    print(f"report: {path}; please send it to the authors if they could not run this engine themselves")
    return 0 if right else 1


def cache(arguments: Sequence[str], program: str) -> None:
    """Show where compiled code and converted data sets are stored, or remove them: cache clear."""
    parse(_cache, arguments, program)


def _cache(
    action: Annotated[Literal["clear", "where"], tyro.conf.Positional, tyro.conf.arg(metavar="{clear,where}")],
    what: Literal["code", "data", "all"] = "code",
) -> None:
    """Show or clear the caches of compiled code and converted data sets, which are rebuilt when needed.

    Args:
        action: "clear" empties them, "where" prints their folders.
        what: The cache to clear: compiled code, converted data sets (never their source files), or both.
    """
    from .. import toolchain
    from ..data import cache as data_cache

    places = {"code": (toolchain.cache_folder(), "files", toolchain.clear)}
    places["data"] = (data_cache.cache_folder(), "data sets", data_cache.clear)
    for name, (folder, things, clear) in places.items():
        if action == "where":
            print(f"{name}  {folder}")
        elif what in (name, "all"):
            number, size = clear()
            print(f"removed {number} {things}, {size / 1e6:.1f} MB, from {folder}")
