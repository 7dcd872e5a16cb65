"""Hand-written snippets against the code derived from the equations, compiled and run side by side on random states."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass, replace
from importlib.resources import files

import numpy as np

from ... import codegen
from ...adjoint.propagator import numeric
from ...codegen import DIALECTS, derive_snippets
from ...codegen.snippets import Snippets
from ...losses import FirstSpikeCrossEntropy, MaxVoltageCrossEntropy
from ...modelling import Dense, Network, Neuron
from ...modelling.handwritten import SECTIONS
from ...plan import NetworkPlan, Plan, make_plan
from ...plan.coefficients import coefficient_values
from ...toolchain import build

TRIALS, TOLERANCE = 40, 1e-9


@dataclass(frozen=True)
class Suspect:
    """A variable on which hand-written code disagrees; error: largest difference over largest derived value."""

    section: str
    variable: str
    error: float
    derived: str

    def text(self, model: str) -> str:
        return (
            f"{model}: {self.section} gives another {self.variable} than the equations (relative difference "
            f"{self.error:.1e} on random states); derived from them:\n"
            + "\n".join(f"    {line}" for line in self.derived.splitlines())
        )


def suspects(neuron: Neuron, dt: float = 0.5, seed: int = 0) -> list[Suspect]:
    """Compare every hand-written section of a model in float64, one result for each variable that differs.

    Args:
        neuron: the model, with parameter values (`TRIALS` of them, or one).
    """
    model = neuron.model
    derived = replace(model, snippets={}, threshold=None, reset=None)
    plan = _plan(neuron, dt)
    p = plan.populations[0]
    values = coefficient_values(plan, p, plan.network.initial_parameters(seed))
    names = {n: np.broadcast_to(v, TRIALS) for n, v in values.items()}
    rng = np.random.default_rng(seed)
    x0 = [np.broadcast_to(np.asarray(v, dtype=np.float64), TRIALS) for v in _starts(plan, names)]
    names |= {s: v + rng.normal(size=TRIALS) * np.maximum(1.0, 0.05 * np.abs(v)) for s, v in zip(model.state, x0)}
    names |= {n: rng.normal(size=TRIALS) for n in (*(f"lambda_{s}" for s in model.state), "dl_dt", "inv_gdot")}
    own, ours = (derive_snippets(replace(p.derived, model=m), DIALECTS["cpp"]) for m in (model, derived))
    found = []
    for section in (s for s in SECTIONS if s in model.snippets):
        changed = [f"lambda_{s}" if section.startswith("adjoint") else s for s in model.state]
        mine, right = (_run(_code(s, section), names, changed) for s in (own, ours))
        for i, variable in enumerate(changed):
            gap = np.abs(mine[i] - right[i]).max() / max(np.abs(right[i]).max(), 1e-300)
            if not gap <= TOLERANCE:
                found.append(Suspect(section, variable, float(gap), getattr(ours, section)))
    return found


def _plan(neuron: Neuron, dt: float) -> NetworkPlan:
    network = Network()
    source, target = network.input(1), network.population(neuron, TRIALS, "neuron")
    for receptor in neuron.model.receptors:
        network.connect(source, target, Dense(1.0), receptor=receptor, name=f"weight_{receptor}")
    loss = FirstSpikeCrossEntropy if neuron.model.spiking else MaxVoltageCrossEntropy
    return make_plan(network, loss(target), dt=dt, duration=100 * dt)


def _starts(plan: Plan, names: dict[str, np.ndarray]) -> list[np.ndarray]:
    d = plan.populations[0].derived
    return list(np.moveaxis(numeric(d.x0, d.p)(*(names[n] for n in d.params)), -2, 0)[..., 0])


def _code(snippets: Snippets, section: str) -> str:
    return (f"{snippets.stages}\n" if section == "adjoint_sim_code" else "") + str(getattr(snippets, section))


def _run(code: str, names: dict[str, np.ndarray], changed: list[str]) -> np.ndarray:
    """The values of `changed` after the statements, (variables, TRIALS)."""
    used = [n for n in names if n in set(re.findall(r"[A-Za-z_]\w*", code)) | set(changed)]
    lines = [files(codegen).joinpath("cpp/functions.hpp").read_text()]
    lines += [
        'extern "C" void run(const double* in, double* out, int trials) {',
        "for (int k_ = 0; k_ < trials; ++k_) {",
    ]
    lines += [f"[[maybe_unused]] scalar {n} = in[{i} * trials + k_];" for i, n in enumerate(used)]
    lines += ["{", code, "}"]  # a scope of its own, as wherever snippets go
    lines += [f"out[{i} * trials + k_] = {n};" for i, n in enumerate(changed)]
    head = "".join(f"#include <{h}>\n" for h in ("cmath", "cstdint", "cstring", "limits", "type_traits"))
    source = head + "using namespace std;\ntypedef double scalar;\n" + "\n".join([*lines, "}}", ""])
    library = build(source)
    inputs = np.ascontiguousarray(np.stack([names[n] for n in used]), dtype=np.float64)
    out = np.zeros((len(changed), TRIALS))
    pointer = ctypes.POINTER(ctypes.c_double)
    library.run(inputs.ctypes.data_as(pointer), out.ctypes.data_as(pointer), ctypes.c_int(TRIALS))
    return out
