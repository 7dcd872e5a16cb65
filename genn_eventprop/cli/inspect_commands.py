"""``gradcheck MODEL``, ``engines`` and ``cache clear``: what is proven, can run and is cached."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import Annotated, Literal

from ..atomic import write_text
from ..errors import UsageError
from .options import operand


def gradcheck(
    model: Annotated[str, *operand("MODEL")] = "",
    all: bool = False,
    quick: bool = False,
    seed: int = 0,
    engine: str = "reference_event",
    spike_times: Literal["exact", "grid"] | None = None,
    dt: float | None = None,
    spike_birth: float = 0.0,
) -> None:
    """Check a model's gradient against finite differences of forward runs: gradcheck lif.

    Compare every gradient of a model with finite differences, in small random networks; exit with status 1 if one is
    wrong.

    Args:
        model: Name of an installed model, or my_neuron.py:MyNeuron.
        all: Check every installed model, one line each.
        quick: Use one network per model.
        seed: Random seed for the networks, parameters and input.
        engine: The engine whose gradient is checked, against differences of its own forward runs; on a grid, spikes
            stay in their steps (docs/equations.md).
        spike_times: Exact or on a grid; default: exact if the engine has them and no dt is given.
        dt: Step of the grid, in ms.
        spike_birth: Check the gradient of spike births instead: compare it with that of the expected loss under this
            noise of thresholds, e.g. 0.1, by random draws, in feed-forward, recurrent and two-layer networks.
    """
    from ..verify.gradients import main
    from ..verify.gradients.command import births

    if bool(model) == all:
        raise UsageError("gradcheck: give one MODEL, or --all for every installed model")
    if spike_birth:
        if all or spike_times or dt:
            raise UsageError("gradcheck: --spike-birth checks one MODEL, and chooses spike times and dt itself")
        status = births(model, spike_birth, seed=seed, engine=engine, quick=quick)
    else:
        status = main(model or None, seed=seed, engine=engine, quick=quick, spike_times=spike_times, dt=dt)
    if status:
        raise SystemExit(status)


def engines(selftest: str = "", report: Path | None = None, features: bool = False) -> None:
    """List the engines: which ones this machine can run, and what is missing for the others; or test one of them.

    List the engines, fastest first: which ones this machine can run, and what is missing for the others.

    Args:
        selftest: Compare this engine with the reference on representative networks, and time it; exit with status 1 if
            it fails.
        report: File for the self-test report; default: genn-eventprop-selftest-ENGINE.txt.
        features: Instead, print which engine runs what, as a table in Markdown.
    """
    from ..engines import availability
    from ..engines.feature_table import feature_table
    from ..engines.registry import all_engines

    if selftest:
        raise SystemExit(_selftest(selftest, report or Path(f"genn-eventprop-selftest-{selftest}.txt")))
    if features:
        print(feature_table())
        return
    width = shutil.get_terminal_size((10_000, 24)).columns  # lines that go elsewhere stay whole
    options = {kind.name: kind.special_options for kind in all_engines()}
    for engine in availability():
        words = [f"{engine.name:16} {'yes' if engine.runs else 'no ':4} {engine.detail}"]
        for name, option in options.get(engine.name, {}).items():
            words.append(f"{'':21} --engine '{engine.name}({name}=...)': {option.meaning}")
        for line in words:
            print(textwrap.fill(line, width, subsequent_indent=" " * 24, break_on_hyphens=False))


def _selftest(engine: str, path: Path) -> int:
    """Print and keep the report of a self-test. Returns 0 if nothing is wrong, else 1."""
    from ..runs.mark import check_written_by_us
    from ..verify.engines.selftest import selftest

    check_written_by_us(path, "--report")
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)
        write_text(path, "\n".join(lines) + "\n")  # there is one too where the driver ends the process

    right = selftest(engine, say)
    print(f"report: {path}; please send it to the authors if they could not run this engine themselves")
    return 0 if right else 1


def cache(
    action: Annotated[Literal["clear", "where"], *operand("{clear,where}")],
    what: Literal["code", "data", "all"] = "code",
) -> None:
    """Show where compiled code and converted data sets are stored, or remove them: cache clear.

    Show or clear the caches of compiled code and converted data sets, which are rebuilt when needed.

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
