"""Trajectories in segments: what the forward pass keeps of the populations whose states the backward pass needs.

A trial of K steps is cut into segments of S. If all K steps fit the engine's limit, S = K. Else S is about the square
root of K: only the states at the start of every segment and one segment's trajectory are kept, and the backward pass
runs each segment once more (`replay_steps.py`) from the spikes that the forward pass has recorded.
"""

from __future__ import annotations

from ...plan import PopulationRecord

SEGMENTS = """\
        const int64_t segment = args.segment, kept = segment < n_steps ? (n_steps + segment - 1) / segment : 0;
"""
ROW = "const int64_t row = step % args.segment;"


def kept_arrays(p: PopulationRecord) -> tuple[str, ...]:
    """What a segment starts from besides the states."""
    return ("mode",) if len(p.derived.modes) > 1 else ()


def keep_states(p: PopulationRecord) -> str:
    """The states of `step` into the segment's trajectory."""
    return "".join(
        f"std::memcpy(work.p_{p.name}_trace_{s} + row * NP_p_{p.name}, p_{p.name}_{s}, NP_p_{p.name} * sizeof(scalar));\n"
        for s in p.derived.states
    )


def keep_start(p: PopulationRecord) -> str:
    """What the segment that begins with `step` starts from."""
    copies = "".join(
        f"std::memcpy(work.p_{p.name}_kept_{s} + step / args.segment * NP_p_{p.name}, p_{p.name}_{s}, "
        f"NP_p_{p.name} * sizeof(scalar));\n"
        for s in (*p.derived.states, *kept_arrays(p))
    )
    return f"if (row == 0 && args.segment < n_steps) {{\n{copies}}}\n"


def noise(p: PopulationRecord) -> str:
    """Draws the noise of `step`."""
    return (
        f"draw_noise<NP_p_{p.name}>(p_{p.name}_noise, scalar(args.noise_{p.name}), args.quantiles, "
        f"args.noise_key_{p.name}[sample], step + 1);\n"
    )
