"""What the host hands over for exact spike times besides what every call has; see `plan/series.py`."""

from __future__ import annotations

from ....losses import LossRecord
from ....plan import ConnectionRecord, Plan, PopulationRecord
from ....plan.series import MODES, varies
from ....program.connectivity.windows import window_values
from ....program.events import OBSERVED
from ....program.host_values import prefixed_losses
from ....program.nodes import Buffer
from ....program.population import RECORDED
from ..context import Context
from ..grid.memory import targets_of

OF_WEIGHT = ("window_start", "window_end", "activity_rate", "activity_jump")
"""Where the time weight of a loss begins and ends, and how it follows the input."""

STATE, BACK, READ, SIZES = (f"crossing_{n}" for n in ("state", "back", "read", "size"))
"""Of a piece of a recording: what it leaves to the next one, backwards to the one before, at the end of an interval to
the way back through it; how many numbers of 8 bytes these take, and the piece itself until it has run backwards."""
ROOM = "crossing_room"
OF_PIECE = ("first_step", "last_step", "steps_before", "all_steps", "closes", "several", "n_heard", "slot", ROOM)
"""Whole numbers of a piece, see `piece_span.hpp`; slot: in which memory it runs."""


def given(names: Context) -> list[Buffer]:
    """Arrays and real numbers."""
    tables = [b for i, p in enumerate(names.plan.populations) for b in _tables(p, f"x_p{i}")]
    return given_to_all(names, tables)


def given_to_all(names: Context, tables: list[Buffer]) -> list[Buffer]:
    """The same, with other tables of populations."""
    plan, doubles = names.plan, ["duration", "slope_floor", "delta"]
    doubles += ["spike_birth"] if plan.spike_birth else []
    doubles += ["whole_duration"] if names.pieces else []
    found = [Buffer("times", ("spikes",), "double", "host"), Buffer("gauss", ("nodes",), "double", "host")]
    found += [Buffer("record_times", (RECORDED,), "double", "host")]
    if names.pieces:
        found += [Buffer("heard_times", ("spikes",), "double", "host"), Buffer(SIZES, (4,), "long", "state")]
        found += [Buffer(n, (ROOM,), "long", "state") for n in (STATE, BACK, READ)]
    for prefix, loss in prefixed_losses(plan):
        K = loss.n_classes
        found += [Buffer(f"{prefix}sample_weight", ("batch",), "double", "host")]
        found += [Buffer(f"{prefix}labels", ("batch",), "long", "host")]
        found += [Buffer(f"{prefix}weight_series", ("terms",), "double", "host")]
        if loss.compares == "targets" and not names.split:
            rows = {"spike_times": (K, f"{prefix}n_targets"), "voltage": (f"{prefix}target_rows", K)}.get(
                loss.readout, (K,)
            )
            found.append(Buffer(f"{prefix}targets", ("batch", *rows), "double", "host"))
        ends = ("dL_dr", "lambda_V_end") if names.split else ()
        found += [Buffer(f"{prefix}{n}", ("batch", K), "double", "host") for n in ends]
        doubles += [f"{prefix}{n}" for n in (*OF_WEIGHT, *(f"loss_{c}" for c in loss.constants))]
    found += [Buffer(f"dL_dr_{n}", ("batch", plan.output.size), "double", "host") for n in plan.loss.also]
    for i, c in enumerate(plan.connections):
        found.append(Buffer(f"c{i}_weight", c.weight_shape, "real", "number"))
        found += [Buffer(f"c{i}_{n}", ("routes",), "int", "host") for n in routes(c)]
        found += [Buffer(n, (len(v),), "int", "host") for n, v in window_values(c, i).items()] if c.windows else []
        found += [Buffer(f"c{i}_delays", c.delays.shape, "real", "number")] if c.delays else []
        doubles += [f"d_c{i}"] if c.delay > 0 else []
    found += tables
    for n, p in enumerate(plan.populations):
        kinds = {"times": "double", "neurons": "int", "start": "long"} if p.observed else {}
        found += [Buffer(f"p{n}_{OBSERVED}_{what}", ("spikes",), kind, "host") for what, kind in kinds.items()]
        for k, r in enumerate(plan.spike_regularisers(p.name)):
            sides = ("upper", "lower", *(["excess"] if r.mean == "batch" else []))
            found += [Buffer(f"p{n}_{side}{k}", (p.size,), "real", "host") for side in sides]
            found += [] if r.mean == "batch" else [Buffer(f"p{n}_target{k}", (), "real", "host")]
    return found + [Buffer(n, (), "double", "host") for n in doubles]


def _tables(p: PopulationRecord, x: str) -> list[Buffer]:
    """Of flows from event to event, with their derivatives; series stay in float64 where all neurons share them."""
    series, real = "real" if varies(p) else "double", "real"
    found = {f"{x}_{n}": real for n in ("dg", "curve")} | {f"{x}_rho": series}
    found |= {f"{x}_kappa_{r}": real for r in p.derived.receptors}
    for mode in MODES[: len(p.derived.modes)]:
        t = x + mode
        found |= {f"{t}_step": real, f"{t}_step_rest": real, f"{t}_spike": series, f"{t}_A": "double"}
        found |= {f"{t}_{n}_{r}": series for r in p.derived.receptors for n in ("arrive", "back")}
        for n in learned_dynamics(p):
            found |= {f"{t}_dstep_{n}": real, f"{t}_dspike_{n}": series}
    return [Buffer(name, ("entries",), kind, "number") for name, kind in found.items()]


def integers(names: Context) -> list[str]:
    """Whole numbers."""
    plan, prefixes = names.plan, [prefix for prefix, _ in prefixed_losses(names.plan)]
    found = ["exact_steps", *(f"{prefix}series_size" for prefix in prefixes)]
    found += [f"degree_p{i}" for i in range(len(plan.populations))]
    found += [f"{prefix}target_rows" for prefix, loss in series_of_targets(plan)]
    found += list(OF_PIECE) if names.pieces else []
    return [*found, *targets_of(plan)]


def series_of_targets(plan: Plan) -> list[tuple[str, LossRecord]]:
    """Losses that compare V(t) with series of targets, whose rows may be any number with exact spike times."""
    return [(n, loss) for n, loss in prefixed_losses(plan) if loss.readout == "voltage" and loss.compares == "targets"]


def routes(c: ConnectionRecord) -> list[str]:
    """Tables of whole numbers that `engines/native/routes.py` makes; see `routes.hpp`."""
    found = ["start", "first", "target", "place"] if c.spread and c.windows is None else []
    return [*found, "delay_of"] if found and c.delays else found


def learned_dynamics(p: PopulationRecord) -> list[str]:
    """Learned parameters of the dynamics."""
    return [n for n in p.trainable if n in p.derived.dynamic_params]
