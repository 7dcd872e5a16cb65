"""How a connection is run: one of four ways on the grid (see `grid/connections.py`), two in exact time.

By rows: dense weights with a single delay. By synapses: a table of synapses, or dense weights with a delay for each.
Axonal, dendritic: dense weights with a delay for each source or target.
"""

from __future__ import annotations

from ...plan import ConnectionRecord, Plan


def by_rows(c: ConnectionRecord) -> bool:
    return c.form == "dense" and c.delays is None


def by_synapses(c: ConnectionRecord) -> bool:
    return c.form == "synapses" or (c.delays is not None and c.delays.kind == "synaptic")


def axonal(c: ConnectionRecord) -> bool:
    return not by_synapses(c) and c.delays is not None and c.delays.kind == "axonal"


def dendritic(c: ConnectionRecord) -> bool:
    return not by_synapses(c) and c.delays is not None and c.delays.kind == "dendritic"


def listed(c: ConnectionRecord) -> bool:
    """Whether gradients are gathered synapse by synapse, step by step."""
    return c.form == "synapses" and bool(learned(c))


def learned(c: ConnectionRecord) -> list[tuple[str, tuple[int, ...]]]:
    """(parameter, shape) of what a connection learns."""
    found = [(c.weight, c.weight_shape)] if c.trainable else []
    return found + ([(c.delays_name, c.delays.shape)] if c.delays is not None and c.delays.trainable else [])


def tables(c: ConnectionRecord) -> list[tuple[str, str]]:
    """(C type, name) of the arrays that `engines/native/tables.py` makes of the values of a connection."""
    if by_synapses(c) and c.form == "dense":
        return [("const uint16_t*", f"c_{c.name}_delay")]
    tails = {
        by_rows: (),
        axonal: ("delay",),
        dendritic: ("delay", "order", "back", "late", "forth"),
        by_synapses: ("start", "offset"),
    }
    given = [("const scalar*", f"c_{c.name}_sorted")] if dendritic(c) else []
    found = list(next(names for is_kind, names in tails.items() if is_kind(c)))
    if by_synapses(c):
        found += ["weight_of"] if learned(c) else []
        found += ["delay_of"] if c.learns_delays else []
    return given + [("const int32_t*", f"c_{c.name}_{tail}") for tail in found]


# with exact spike times, see `exact/routes.py`


def delayed(c: ConnectionRecord) -> bool:
    """Whether it has individual delays."""
    return c.delays is not None


def spread(c: ConnectionRecord) -> bool:
    """Whether the weights of an arrival are not a row of a matrix."""
    return c.form != "dense" or (c.delays is not None and c.delays.kind != "axonal")


def routes(c: ConnectionRecord) -> list[str]:
    """Tables of whole numbers that `engines/native/routes.py` makes."""
    found = ["start", "first", "target", "place"] if spread(c) else []
    return [*found, "delay_of"] if found and delayed(c) else found


def stream(c: ConnectionRecord) -> str:
    """Prefix of the arrays of input spikes of a connection; "" if the network has a single input."""
    return f"in_{c.channels[0]}_{c.channels[1]}_" if c.channels else ""


def streams(plan: Plan) -> dict[str, tuple[int, int]]:
    """If there are several inputs: prefix -> channels, for all of them."""
    return {stream(c): c.channels for c in plan.connections if c.channels}


def ends(plan: Plan) -> list[str]:
    """Declares the range of the input spikes of a trial, `from` and `to`, for each of several inputs too."""
    lines = []
    for s in ("", *streams(plan)):
        at = f"args.{s}offsets[args.samples[sample]"
        lines += [f"const int64_t {s}from = {at}], {s}to = {at} + 1];", f"(void){s}from; (void){s}to;"]
    return lines
