"""The neurons of NIR as models, one kind after the other, and their parameters from NIR and back.

`KINDS` is read in both directions. A kind becomes a model of the zoo where that says it all, else one with rest, start
and bias. NIR has the equation tau dV/dt = v_leak - V + R I, here I is R I: the resistance R (and w_in, the weight of a
synapse) is part of the weights, as the `gain` of a population.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp

from ..description.network import describe_model
from ..errors import DescriptionError
from ..modelling import Neuron, NeuronModel, Param
from ..modelling.expressions import parse
from ..models.li import LI
from ..models.lif import LIF
from ..models.lif_delta import LIFDelta
from .dialects import Dialect
from .package import nir_package

_TAUS = {"tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms")}
_SPIKE = {"v_thresh": Param(1.0), "v_reset": Param(0.0)}
_REST = {"v_rest": Param(0.0), "v_start": Param(0.0)}

CubaLIF = NeuronModel(
    name="CubaLIF",
    state={"V": "v_start", "I": 0.0},
    params=_TAUS | _SPIKE | _REST | {"bias": Param(0.0)},
    dynamics={"V": "(v_rest + I - V) / tau_mem", "I": "(bias - I) / tau_syn"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input="I",
)
CubaLI = NeuronModel(
    name="CubaLI",
    state={"V": "v_start", "I": 0.0},
    params=_TAUS | _REST | {"bias": Param(0.0)},
    dynamics={"V": "(v_rest + I - V) / tau_mem", "I": "(bias - I) / tau_syn"},
    input="I",
)
DeltaLIF = NeuronModel(
    name="DeltaLIF",
    state={"V": "v_start"},
    params={"tau_mem": Param(20.0, "ms")} | _SPIKE | _REST,
    dynamics={"V": "(v_rest - V) / tau_mem"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input="V",
)
DeltaLI = NeuronModel(
    name="DeltaLI",
    state={"V": "v_start"},
    params={"tau_mem": Param(20.0, "ms")} | _REST,
    dynamics={"V": "(v_rest - V) / tau_mem"},
    input="V",
)
IF = NeuronModel(
    name="IF",
    state={"V": "v_start"},
    params=_SPIKE | {"v_start": Param(0.0), "bias": Param(0.0, "1/ms")},
    dynamics={"V": "bias"},
    threshold="V - v_thresh",
    reset={"V": "v_reset"},
    input="V",
)
Integrator = NeuronModel(
    name="Integrator",
    state={"V": "v_start"},
    params={"v_start": Param(0.0), "bias": Param(0.0, "1/ms")},
    dynamics={"V": "bias"},
    input="V",
)


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of neuron of NIR.

    Args:
        general: the model that says all of it. plain: the one of the zoo, if any, for v_rest = bias = 0 that starts
            at v_reset.
        tau_mem: what the membrane time constant is called in the file, "" without one. current: has a synapse.
    """

    general: NeuronModel
    plain: NeuronModel | None
    tau_mem: str
    current: bool = False

    @property
    def spiking(self) -> bool:
        return self.general.spiking


KINDS = {
    "CubaLIF": Kind(CubaLIF, LIF, "tau_mem", current=True),
    "CubaLI": Kind(CubaLI, LI, "tau_mem", current=True),
    "LIF": Kind(DeltaLIF, LIFDelta, "tau"),
    "LI": Kind(DeltaLI, None, "tau"),
    "IF": Kind(IF, None, ""),
    "I": Kind(Integrator, None, ""),
}

STARTS = "v_start"
"""Of the metadata that `to_nir` writes: V at the start of a trial, of which NIR says nothing."""


@dataclass(frozen=True)
class ImportedNeurons:
    """Neurons of a file, and their `gain`: (1,) or (N,) factors from the weights in the file to weights here."""

    neuron: Neuron
    gain: np.ndarray


def read_neuron(node: Any, name: str, size: int, constant: np.ndarray, dialect: Dialect) -> ImportedNeurons:
    """Neurons of a node.

    Args:
        constant: (N,) that arrives all the time: the bias of an Affine.

    Raises:
        DescriptionError: naming the node.
    """
    kind = KINDS[type(node).__name__]
    get = lambda field: _values(getattr(node, field), size, name, field)  # noqa: E731
    r, values = get("r"), {}
    if kind.tau_mem:
        values["tau_mem"] = dialect.tau_in(_seconds(get(kind.tau_mem), dialect), name)
        values["v_rest"] = get("v_leak")
    if kind.spiking:
        values |= {"v_thresh": get("v_threshold"), "v_reset": get("v_reset") if node.v_reset is not None else _zero()}
    if kind.current:
        seconds = _seconds(get("tau_syn"), dialect)
        values["tau_syn"] = dialect.tau_in(seconds, name)
        jump = _jump(get("w_in"), seconds, dialect)
        gain = r * jump * _per_current(values, dialect)
        values["bias"] = r * jump * (seconds if dialect.file_dt is None else seconds / dialect.file_dt) * constant
    elif kind.tau_mem:
        tau = _seconds(get("tau"), dialect)
        gain = r / tau if dialect.file_dt is None else r * (dialect.file_dt / tau) / (1 - dialect.file_dt / tau)
        values["v_rest"] = values["v_rest"] + r * constant
    else:
        gain, values["bias"] = r, r * constant / (1000.0 if dialect.dt is None else dialect.dt)
    values["v_start"] = _start(node, get("v_leak") if kind.tau_mem else _zero(), size, name)
    return ImportedNeurons(_neuron(kind, values, name), np.asarray(gain))


def _start(node: Any, rest: np.ndarray, size: int, name: str) -> np.ndarray:
    metadata = node.metadata if isinstance(node.metadata, dict) else {}
    return _values(metadata[STARTS], size, name, STARTS) if STARTS in metadata else rest


def _neuron(kind: Kind, values: dict[str, np.ndarray], name: str) -> Neuron:
    """A neuron of the zoo where that says it all."""
    model = kind.general
    if kind.plain is not None:
        rest = [values["v_rest"], values.get("bias", _zero())]
        starts = np.subtract(*np.broadcast_arrays(values["v_start"], values.get("v_reset", _zero())))
        model = model if np.any(starts) or any(np.any(v) for v in rest) else kind.plain
    params = {n: _number(values[n]) for n in model.params}
    if kind.spiking and np.any(values["v_reset"] >= values["v_thresh"]):
        raise DescriptionError(f"node {name!r}: v_reset must be below v_threshold")
    return model(**params)


def _seconds(values: np.ndarray, dialect: Dialect) -> np.ndarray:
    """Times of a file, without the factor dt of norse's writer."""
    return values / dialect.file_dt if dialect.times_dt and dialect.file_dt is not None else values


def _jump(w_in: np.ndarray, tau_syn: np.ndarray, dialect: Dialect) -> np.ndarray:
    """By how much a spike of weight 1 moves the current, without R. tau_syn: seconds."""
    if dialect.file_dt is None:
        return w_in / tau_syn
    if dialect.name == "norse" and np.all(w_in == 1):  # LIFCell, whose current jumps by the weight
        return np.ones_like(tau_syn)
    return w_in * dialect.file_dt / tau_syn


def _per_current(values: dict[str, np.ndarray], dialect: Dialect) -> np.ndarray:
    """What forward Euler makes of a current in a step, over what it really does in that time."""
    if dialect.dt is None:
        return np.ones(1)
    return -np.expm1(-dialect.dt / values["tau_mem"]) / dialect.drive(values["tau_mem"], values["tau_syn"])


def _zero() -> np.ndarray:
    return np.zeros(1)


def _values(array: Any, size: int, name: str, field: str) -> np.ndarray:
    """(1,) or (N,) float64."""
    if np.asarray(array).dtype.kind not in "biuf":
        raise DescriptionError(f"node {name!r}: {field} must be real numbers, got {np.asarray(array).dtype}")
    values = np.asarray(array, np.float64).reshape(-1)
    if values.size not in (1, size) or not np.all(np.isfinite(values)):
        raise DescriptionError(f"node {name!r}: {field} must be 1 or {size} finite numbers, it is {values.size}")
    return values


def _number(values: np.ndarray) -> Any:
    """A number where all values are the same."""
    return float(values[0]) if np.all(values == values[0]) else values


# writing


def kind_of(model: NeuronModel, where: str) -> tuple[str, Kind]:
    """The kind of NIR that has the equations of a model, whatever its name and however they are written.

    Raises:
        DescriptionError: NIR has none.
    """
    for name, kind in KINDS.items():
        for known in (kind.general, kind.plain):
            if known is not None and _same(model, known):
                return name, kind
    raise DescriptionError(
        f"population {where!r} ({model.name}) has no counterpart in NIR, which knows {', '.join(KINDS)}: "
        f"{_reason(model)}"
    )


def _same(model: NeuronModel, known: NeuronModel) -> bool:
    if set(model.params) != set(known.params) or set(model.state) != set(known.state) or model.snippets:
        return False
    a, b = describe_model(model), describe_model(known)
    if any(len(a[part]) != len(b[part]) for part in ("events", "modes")) or set(a["receptors"]) != set(b["receptors"]):
        return False
    pairs = [(a["state"][s], b["state"][s]) for s in model.state]
    pairs += [(a["dynamics"][s], b["dynamics"][s]) for s in model.state]
    pairs += [(a["receptors"][r].get(s, 0), b["receptors"][r].get(s, 0)) for r in a["receptors"] for s in model.state]
    for one, other in zip(a["events"], b["events"], strict=True):
        pairs += [(one["threshold"], other["threshold"])]
        pairs += [(one["reset"].get(s, s), other["reset"].get(s, s)) for s in model.state]
    symbols = model.symbols()
    return all(sp.simplify(parse(x, symbols, "") - parse(y, symbols, "")) == 0 for x, y in pairs)


def _reason(model: NeuronModel) -> str:
    if model.snippets:
        return "it has hand-written code"
    if any(m.lasts for m in model.modes):
        return "a refractory period"
    if len(model.receptors) > 1:
        return "several receptors"
    return "its equations, reset or parameter names differ (see docs/nir.md)"


def write_neuron(model: NeuronModel, values: dict[str, np.ndarray], size: int, where: str, dialect: Dialect) -> Any:
    """The node of a population.

    Args:
        values: parameter -> (1,) or (N,), ms.

    Raises:
        DescriptionError: no counterpart, or one that the reader of the dialect does not take.
    """
    name, kind = kind_of(model, where)
    v = {n: np.broadcast_to(np.asarray(x, np.float64), size) for n, x in values.items()}
    zero = np.zeros(size)
    rest, reset = v.get("v_rest", zero), v.get("v_reset", zero)
    start = v.get("v_start", reset)
    fields: dict[str, np.ndarray] = {"r": np.ones(size)}
    scale = np.ones(size)  # of V in the file
    if kind.tau_mem:
        fields[kind.tau_mem] = dialect.tau_out(v["tau_mem"])
        fields["r"], scale = _resistance(kind, v, fields[kind.tau_mem], dialect)
        fields["v_leak"] = rest * scale
    if kind.current:
        fields["tau_syn"] = dialect.tau_out(v["tau_syn"])
        fields["w_in"] = fields["tau_syn"] / (dialect.file_dt or 1.0)
    if kind.spiking:
        fields |= {"v_threshold": v["v_thresh"] * scale, "v_reset": reset * scale}
    if dialect.name == "snntorch":
        _check_snntorch(name, fields, rest, where)
    metadata = {"unit": "s", **({STARTS: start * scale} if np.any(start != rest) else {})}
    return getattr(nir_package(), name)(**fields, metadata=metadata)


def _resistance(
    kind: Kind, v: dict[str, np.ndarray], tau: np.ndarray, dialect: Dialect
) -> tuple[np.ndarray, np.ndarray]:
    """R, and by what V is larger in the file than here. tau: membrane time constant in the file, seconds."""
    one = np.ones_like(tau)
    if dialect.file_dt is None:
        return (one if kind.current else tau), one
    fraction = -np.expm1(-float(dialect.dt or 0) / v["tau_mem"])  # dt / tau of the file
    per_weight = dialect.drive(v["tau_mem"], v["tau_syn"]) if kind.current else dialect.decay(v["tau_mem"])
    if dialect.name == "snntorch":  # R dt / tau is 1 there
        return 1 / fraction, 1 / per_weight
    if kind.spiking and not kind.current:  # norse's LIF has no R
        return one, fraction / per_weight
    return per_weight / fraction, one


SPIKING_OUTPUT = "train with outputs that spike, LIF() (--output LIF), and a loss of spikes (--loss spike_count)"
"""What helps where a simulator has no readout without spikes."""


def _check_snntorch(name: str, fields: dict[str, np.ndarray], rest: np.ndarray, where: str) -> None:
    problem = ""
    if name not in ("LIF", "CubaLIF"):
        problem = f"it reads only LIF and CubaLIF, this is {name}"
        problem += "" if KINDS[name].spiking else f"; {SPIKING_OUTPUT}"
    elif np.any(rest) or np.any(fields["v_reset"]):
        problem = "v_reset and the resting potential must be 0"
    elif np.ptp(fields["v_threshold"]) > 1e-6 * np.abs(fields["v_threshold"]).max():
        problem = "a layer has one threshold and one membrane time constant"
    if problem:
        raise DescriptionError(f"population {where!r} cannot be written for snnTorch: {problem}")


def written_bias(model: NeuronModel, values: dict[str, np.ndarray], size: int, dialect: Dialect) -> np.ndarray | None:
    """(N,) bias of an Affine that is the constant current of a population, as `read_neuron` reads it; None without."""
    if "bias" not in values or not np.any(values["bias"]):
        return None
    bias = np.broadcast_to(np.asarray(values["bias"], np.float64), size)
    if "tau_syn" not in values:
        return bias * (1000.0 if dialect.dt is None else dialect.dt)
    seconds = dialect.tau_out(values["tau_syn"])
    steps = seconds if dialect.file_dt is None else seconds / dialect.file_dt
    if dialect.file_dt is None:
        return bias / steps
    r, scale = _resistance(KINDS["CubaLIF"], values, dialect.tau_out(values["tau_mem"]), dialect)
    return bias * scale / (steps * r)
