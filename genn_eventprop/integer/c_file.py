"""An integer network as one C99 file: tables of its numbers, and `model.h`, which computes with them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from string import Template

import numpy as np

from .network import IntegerConnection, IntegerNetwork, IntegerPopulation

ROUNDINGS = {"nearest": "NEAREST", "down": "DOWN", "zero": "TO_ZERO", "stochastic": "STOCHASTIC"}
READS = {
    "integral": "INTEGRAL",
    "end": "END",
    "max": "MAXIMUM",
    "first_spike": "FIRST_SPIKE",
    "count": "COUNT_OF_SPIKES",
}


@dataclass(frozen=True)
class IntegerFile:
    """text: the file. ram: bytes of the state. constants: bytes of weights and tables. weights: connection -> weights
    that each of its spikes adds, on average.

    Example:
        >>> file = integer_file(net.quantise("int8"))
        >>> file.weights["input_hidden"], "float" in file.text.partition("#include")[2]
        (8, False)
    """

    text: str
    ram: int
    constants: int
    weights: dict[str, int]


def integer_file(
    network: IntegerNetwork, title: str = "An integer network.", tables: str = "static const"
) -> IntegerFile:
    """The file of an integer network.

    Args:
        network: what `Network.quantise` returned.
        title: a line of its first comment.
        tables: storage of the weights and the other numbers; "static": those of a process that exchanges them.

    Example:
        >>> integer_file(net.quantise("int8").reading("output", "max", 50), "Mine.").ram < 400
        True
    """
    profile, neurons, made = network.profile, network.first_neuron[-1], _Tables(network, tables)
    state = f"int{_width(profile.state_bits)}_t"
    if profile.overflow == "wrap":
        state = f"int{_width(profile.state_bits + 1)}_t"
    arrival = state if profile.arrivals == "each" else "int32_t"
    rings = sum(p.size * p.slots for p in network.populations)
    adaptive = max(
        (network.first_neuron[i] + p.size for i, p in enumerate(network.populations) if p.adaptive), default=1
    )
    read = network.readout
    outputs = network.populations[read.population].size if read else 1
    ram = _struct(state, arrival, neurons, adaptive, rings, outputs)
    weights = "1"
    if read and read.weights is not None:
        weights = f"{made.array('read_weights', read.weights, 'int16_t')}[m->step]"
    wraps, each = profile.overflow == "wrap", profile.arrivals == "each"
    words = {
        "TITLE": _comment(f"{title} Profile {profile.name}."), "STEP_MS": f"{network.dt:g}",
        "POPULATIONS": _comment(", ".join(f"{i} {p.name}" for i, p in enumerate(network.populations))),
        "STATE": state, "ARRIVAL": arrival, "WIDE": "int64_t" if profile.wide else "int32_t",
        "WEIGHT": f"int{_width(profile.weight_bits)}_t", "DECAY_BITS": profile.decay_bits,
        "ROUNDING": ROUNDINGS[profile.rounding], "SHIFTS": int(profile.decay == "shift"),
        "SUBTRACTS": int(profile.reset == "subtract"), "EACH": int(each), "WRAPS": int(wraps),
        "MAX_INPUT": profile.max_input_spikes, "N_IN": network.n_channels, "N_NEURONS": neurons,
        "N_STEPS": network.n_steps, "N_CONNECTIONS": len(network.connections),
        "N_POPULATIONS": len(network.populations), "READ": read.population if read else -1,
        "READS": READS[read.kind] if read else "END", "K_OUT": outputs, "STATE_MAX": profile.state_max,
        "STATE_MIN": f"-INT64_C({-profile.state_min})", "SEED": f"{profile.seed}u", "N_ADAPTIVE": adaptive,
        "N_RING": rings, "POST": made.post, "READ_WEIGHT": weights, "FIRST": profile.order[0],
        "SECOND": profile.order[1], "THIRD": profile.order[2], "RAM": f"{ram:,}",
        "FLASH": f"{made.size:,}", "TABLES": made.text(),
    }  # fmt: skip
    fan_out = {c.name: _fan_out(c, network.populations[c.target].size) for c in network.connections}
    return IntegerFile(Template(_skeleton("model.h")).substitute(words), ram, made.size, fan_out)


def runner_source(network: IntegerNetwork) -> str:
    """The file followed by a loop over samples, for `compiled.py`, which also exchanges the tables."""
    tables = ", ".join(name for name, _, _ in table_values(network))
    code = integer_file(network, tables="static").text
    return code + Template(_skeleton("run.h")).substitute({"ADDRESSES": tables})


def table_values(network: IntegerNetwork) -> list[tuple[str, np.ndarray, str]]:
    """Name, values and type of every table, in the order of the file."""
    tables = _Tables(network, "static")
    if network.readout and network.readout.weights is not None:
        tables.array("read_weights", network.readout.weights, "int16_t")
    return tables.entries


class _Tables:
    """The constants as C arrays.

    Attributes:
        entries: name, values and type of each array. structs: texts of the records of populations and connections,
            which refer to them.
    """

    def __init__(self, network: IntegerNetwork, storage: str) -> None:
        self.storage, self.entries, self.structs = storage, list[tuple[str, np.ndarray, str]](), list[str]()
        self.weight = f"int{_width(network.profile.weight_bits)}_t"
        self.post = f"uint{_width(max(16, max(p.size - 1 for p in network.populations).bit_length()))}_t"
        first, ring, rows = network.first_neuron, 0, list[str]()
        for i, p in enumerate(network.populations):
            rows.append(self._population(i, p, first[i], ring))
            ring += p.size * p.slots
        self.structs.append(f"static const Population populations[] = {{\n{''.join(rows)}}};\n")
        rows = [self._connection(k, c) for k, c in enumerate(network.connections)]
        self.structs.append(
            f"static const Connection connections[{len(rows) or 1}] = {{\n{''.join(rows) or '    {0}'}}};\n"
        )

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(values.size * int(kind.strip("uint_")) // 8 for _, values, kind in self.entries)

    def text(self) -> str:
        """The declarations; twenty constants a line."""
        arrays = []
        for name, values, kind in self.entries:
            texts = list(map(str, np.asarray(values, np.int64).ravel().tolist()))
            lines = ",\n".join(f"    {', '.join(texts[k : k + 20])}" for k in range(0, len(texts), 20))
            arrays.append(f"{self.storage} {kind} {name}[{len(texts)}] = {{\n{lines}\n}};\n")
        return "\n".join([*arrays, *self.structs])

    def array(self, name: str, values: np.ndarray, kind: str) -> str:
        """Adds an array of constants; its name."""
        self.entries.append((name, np.asarray(values), kind))
        return name

    def _values(self, name: str, values: np.ndarray) -> str:
        return f"{{{self.array(name, values, 'int32_t')}, {int(values.size > 1)}}}"

    def _population(self, i: int, p: IntegerPopulation, first: int, ring: int) -> str:
        constants = ("decay_V", "decay_I", "decay_B", "threshold", "reset", "jump", "start")
        values = ", ".join(self._values(f"p{i}_{n}", getattr(p, n)) for n in constants)
        numbers = (first, p.size, int(p.spiking), int(p.adaptive), p.max_spikes, p.slots, ring)
        return f"    {{{', '.join(map(str, numbers))}, {values}}}, /* {_comment(p.name)} */\n"

    def _connection(self, k: int, c: IntegerConnection) -> str:
        def optional(name: str, values: np.ndarray | None, kind: str) -> str:
            return "0" if values is None else self.array(f"c{k}_{name}", values, kind)

        listed = c.start is None or c.weight_of is None
        in_order = listed or np.array_equal(c.weight_of, np.arange(len(c.weight_of)))  # type: ignore[arg-type]
        parts = [
            *map(str, (c.source, c.first, c.pre, c.target, c.delay)),
            self.array(f"c{k}_weight", c.weight, self.weight),
            self._values(f"c{k}_gain", c.gain),
            optional("delays", c.delays, "uint16_t"),
            optional("start", c.start, "int32_t"),
            optional("post", c.post, self.post),
            optional("weight_of", None if in_order else c.weight_of, "int32_t"),
        ]
        return f"    {{{', '.join(parts)}}}, /* {_comment(c.name)} */\n"


def _skeleton(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text()


def _width(bits: int) -> int:
    """Bits of the type of a number."""
    return next(w for w in (8, 16, 32, 64) if bits <= w)


def _fan_out(c: IntegerConnection, size: int) -> int:
    return size if c.post is None else round(len(c.post) / c.pre)


def _struct(state: str, arrival: str, neurons: int, adaptive: int, rings: int, outputs: int) -> int:
    """sizeof(Model): fields in order, each on a multiple of its size."""
    size = 8
    fields = ((state, neurons), (state, neurons), (state, adaptive), (arrival, rings), ("uint8_t", neurons))
    for kind, count in (*fields, ("int64_t", outputs)):
        width = int(kind.strip("uint_")) // 8
        size = -(-size // width) * width + width * count
    return size


def _comment(text: str) -> str:
    """Text that cannot end a comment, on one line of printable ASCII."""
    plain = "".join(c if " " <= c <= "~" else "?" for c in text)
    return plain.replace("*/", "* /").replace("/*", "/ *")
