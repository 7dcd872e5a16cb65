"""A network becomes an engine that runs: the whole pipeline, one function a stage.

    stage         input                                   output
    make_plan     Network, losses, regularisers, dt, T    Plan: frozen records, all that the later stages may see
    make_trial    Plan                                    Trial: what a trial does, as operations on named buffers
    program_text  Plan, name of an engine                 the text that this engine compiles, written from the trial
    build         text                                    library, from the code cache or compiled into it
    create        Plan, values of the parameters          Engine: its library loaded, its memory laid out

`create` runs the middle stages, since only an engine knows its device and when a text is needed; they stand here by
themselves for whoever wants to look. Exact spike times have a trial of their own (`codegen.cpp.exact`). `Trainer`,
the layers of PyTorch and JAX, trained models and ``genn-eventprop show`` come through here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .engines import Engine, create, engine_class
from .engines.registry import all_engines, inner_plan
from .errors import SettingError, check_known
from .losses import Loss
from .modelling import Network
from .plan import Plan, make_plan
from .program.trial import make_trial
from .regularisers import Regulariser
from .toolchain import build

__all__ = ["build", "compile_network", "create", "make_plan", "make_trial", "program_text", "targets"]


def targets() -> tuple[str, ...]:
    """Names of the engines that generate code, fastest first."""
    return tuple(kind.name for kind in all_engines() if kind.generates)


def program_text(plan: Plan, target: str, dtype: str = "float32") -> list[tuple[str, str]]:
    """(title, code) of the text that an engine compiles to train `plan`; nothing is compiled.

    Args:
        plan: from `make_plan`.
        target: one of `targets`.
        dtype: "float32" or "float64".

    Raises:
        SettingError: an engine that generates no code, or no engine.
        EngineError: the engine cannot run this plan; the message says why and what to use.
    """
    check_known(target, targets(), SettingError, f"no engine {target!r} that generates code (")
    kind = engine_class(target)
    return kind.program(inner_plan(kind, plan) or plan, dtype)


def compile_network(
    network: Network,
    loss: Loss | Sequence[Loss],
    parameters: Mapping[str, np.ndarray] | None = None,
    *,
    duration: float,
    dt: float,
    spike_times: str = "grid",
    regularisers: Sequence[Regulariser] = (),
    spike_birth: float = 0.0,
    seed: int = 0,
    **settings: Any,
) -> Engine:
    """All stages at once.

    Args:
        network, loss: as of `Trainer`. duration, dt: in ms. spike_times: "grid" or "exact".
        spike_birth: as of `Trainer`.
        parameters: values by the names of `Network.initial_parameters`; None: initial values drawn with `seed`.
        settings: as of `engines.create`: engine, dtype, threads, ...

    Raises:
        PlanError, NetworkError, EngineError, SettingError: naming what does not fit.

    Example:
        >>> engine = compile_network(net, SpikeCountCrossEntropy(output), duration=20.0, dt=0.1)
        >>> result = engine.run(engine.load(events), range(32), training=True)
    """
    plan = make_plan(
        network, loss, dt=dt, duration=duration, spike_times=spike_times, regularisers=regularisers,
        spike_birth=spike_birth,
    )  # fmt: skip
    if parameters is None:
        parameters = network.initial_parameters(seed)
    return create(plan, parameters, **settings)
