"""What a gradient check found, as numbers and as a table."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .scheme import SchemeErrors


@dataclass(frozen=True, eq=False)
class Block:
    """One array of gradients against differences.

    Args:
        name: of the parameter.
        gradient, difference: arrays of one shape.
        unsettled: number of elements without a safe difference.
        rounding: what a difference of losses can show where the derivative is zero.
        resolution: the rounding of every difference, by the step that it was taken with.
    """

    name: str
    gradient: np.ndarray
    difference: np.ndarray
    unsettled: int = 0
    rounding: float = 0.0
    resolution: np.ndarray | float = 0.0

    @property
    def zero(self) -> bool:
        """True if neither gradient nor differences rise above `rounding`."""
        return bool(max(np.abs(self.gradient).max(initial=0), np.abs(self.difference).max(initial=0)) <= self.rounding)

    def right(self, tolerance: float) -> bool:
        """Whether `relative_error` and `largest_error` are below `tolerance`."""
        return bool(max(self.relative_error, self.largest_error) < tolerance)

    def unresolved(self, tolerance: float) -> bool:
        """True if all errors are rounding of the differences, and that is too much to show `tolerance`."""
        # element by element: the steps, and so the rounding of the differences, differ between them
        gap = np.abs(self.gradient - self.difference)
        return not self.right(tolerance) and bool(np.all(gap <= self.resolution))

    @property
    def relative_error(self) -> float:
        """norm(gradient - difference) / norm(difference)."""
        return _ratio(float(np.linalg.norm(self.gradient - self.difference)), float(np.linalg.norm(self.difference)))

    @property
    def largest_error(self) -> float:
        """Largest error of an element over the largest difference."""
        return _ratio(float(np.abs(self.gradient - self.difference).max()), float(np.abs(self.difference).max()))


def _ratio(error: float, scale: float) -> float:
    return error / scale if scale > 0 else (0.0 if error == 0 else np.inf)  # zero must be zero exactly


@dataclass(eq=False)
class Case:
    """One network with one loss.

    Args:
        name: of the network.
        blocks: one for each parameter.
        spikes: population -> number over the batch.
        smallest_slope: smallest |gdot|, per ms; nan if no reference runs the network.
        slope: order of the Taylor remainder, 2 for a right gradient; None on a grid, where it is that of no loss.
        tolerance: largest relative error of a block.
        may_vanish: blocks that may be all zero in this network.
        cannot_move: blocks that are zero by structure: the population spikes at arrivals of delta synapses only,
            whatever its own numbers.
        dt: step of the grid in ms; None with exact spike times.
        failures: what is wrong, a sentence each.
    """

    name: str
    blocks: list[Block]
    spikes: dict[str, int]
    smallest_slope: float
    slope: float | None
    tolerance: float
    may_vanish: frozenset[str] = frozenset()
    cannot_move: frozenset[str] = frozenset()
    dt: float | None = None
    failures: list[str] = field(default_factory=list)

    MINIMUM_SPIKES = 20  # over the batch: fewer leave most weights without an event that they could move

    def judge(self) -> None:
        """Fill `failures`: wrong blocks, and everything by which the check would prove nothing."""
        total = sum(self.spikes.values())
        if total < self.MINIMUM_SPIKES:
            self.failures.append(f"proves nothing: {total} spikes, at least {self.MINIMUM_SPIKES} are needed")
        self.failures += [f"proves nothing: layer {name!r} is silent" for name, n in self.spikes.items() if n == 0]
        for b in self.blocks:
            if b.unsettled:
                self.failures.append(f"{b.name}: spikes change under the smallest step ({b.unsettled} elements)")
            elif b.zero and b.name not in self.may_vanish | self.cannot_move:
                self.failures.append(f"proves nothing: the gradient of {b.name} is all zero")
            elif not b.zero and b.unresolved(self.tolerance):
                self.failures.append(
                    f"proves nothing: the gradient of {b.name} is below the resolution of the differences"
                )
            elif not b.zero and not b.right(self.tolerance):
                self.failures.append(f"{b.name}: relative error {b.relative_error:.1e}, largest {b.largest_error:.1e}")
        # a wrong gradient has order 1, a right one 2, less a little where the largest steps still feel the third order;
        # `not >`, so that nan fails too
        if self.slope is not None and not self.slope > 1.9:
            self.failures.append(f"Taylor remainder falls with order {self.slope:.2f}, not 2")

    @property
    def wrong(self) -> bool:
        """True if a gradient differs from differences, so that another draw would hide something."""
        return any("relative error" in f for f in self.failures)

    @property
    def worst(self) -> float:
        """Largest relative error among the blocks that do not vanish."""
        return max((b.relative_error for b in self.blocks if not b.zero), default=np.inf)

    def text(self) -> str:
        """The table of blocks, for people."""
        spikes = ", ".join(f"{name} {n}" for name, n in self.spikes.items())
        shown = f"grid of {self.dt:g} ms" if self.slope is None else f"Taylor order {self.slope:.2f}"
        slope = "" if np.isnan(self.smallest_slope) else f"smallest |gdot| {self.smallest_slope:.2e} / ms; "
        lines = [
            f"{self.name}: spikes {spikes}; {slope}{shown}",
            f"  {'block':28s} {'elements':>8s} {'norm':>9s} {'rel. error':>10s} {'largest':>9s}",
        ]
        for b in self.blocks:
            lines.append(
                f"  {b.name:28s} {b.gradient.size:8d} {np.linalg.norm(b.gradient):9.2e} "
                + ("     zero here" if b.zero else f"{b.relative_error:10.1e} {b.largest_error:9.1e}")
            )
        return "\n".join(lines + [f"  FAILED {f}" for f in self.failures])


@dataclass(eq=False)
class Report:
    """The result of a check.

    Args:
        cases: one for each network.
        failures: of hand-written snippets against the derived ones, a sentence each.
        schemes: how accurately the grid's schemes integrate a nonlinear model.

    Example:
        >>> from genn_eventprop.verify.gradients import check
        >>> report = check(LIF, quick=True)
        >>> report.passed, report.worst < 1e-6
        (True, True)
    """

    cases: list[Case]
    failures: list[str] = field(default_factory=list)
    schemes: list[SchemeErrors] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every block of every case is right."""
        sound = not self.failures and not any(c.failures for c in self.cases)
        # no case at all proves nothing either
        return bool(self.cases) and sound and all(s.passed for s in self.schemes)

    @property
    def worst(self) -> float:
        """Largest relative error of all cases."""
        return max((c.worst for c in self.cases), default=np.inf)

    @property
    def elements(self) -> int:
        """How many derivatives were compared, without blocks that are all zero."""
        return sum(b.gradient.size for c in self.cases for b in c.blocks if not b.zero)

    def text(self) -> str:
        """All tables and the verdict, for people."""
        verdict = "passed" if self.passed else "FAILED"
        networks = f"{len(self.cases)} network{'s' * (len(self.cases) != 1)}"
        tail = f"{verdict}: {networks}, {self.elements} elements, worst relative error {self.worst:.1e}"
        reasons = [*(f"{c.name}: {f}" for c in self.cases for f in c.failures), *self.failures]
        if reasons:
            tail += f"; {reasons[0]}" + (f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else "")
        parts = [c.text() for c in self.cases]
        moved = {b.name: None for c in self.cases for b in c.blocks if b.zero and b.name in c.cannot_move}
        if moved:
            parts.append(
                "note: every spike of some layers was made by the arrival of a delta synapse, so these gradients are "
                f"zero and were not tested: {', '.join(moved)}; let the input act on a current instead of the state "
                "that the threshold reads"
            )
        if self.schemes:
            parts.append("\n".join(["the grid's schemes, in trials without spikes", *(s.text() for s in self.schemes)]))
        return "\n\n".join([*parts, "\n".join([*(f"FAILED {f}" for f in self.failures), tail])])

    HEADER = (
        f"{'model':22s} {'networks':>8s} {'elements':>8s} {'spikes':>6s} {'min |gdot|':>10s} {'rel. error':>10s}  order"
    )

    def row(self, name: str) -> str:
        """One line of the table of `gradcheck --all`, under `HEADER`; `name` of the model begins it."""
        spikes = sum(n for c in self.cases for n in c.spikes.values())
        slope = min((c.smallest_slope for c in self.cases), default=np.inf)
        orders = ", ".join(f"{s.scheme} {s.order:.1f}" for s in self.schemes) or "exact"
        return (
            f"{name:22s} {len(self.cases):8d} {self.elements:8d} {spikes:6d} {slope:10.1e} {self.worst:10.1e}  {orders}"
            + ("" if self.passed else "  FAILED")
        )
