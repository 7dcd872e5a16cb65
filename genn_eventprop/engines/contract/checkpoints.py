"""In which order the pieces of a recording run, forwards and backwards, with few of their states kept.

The way back goes through pieces from the last to the first, and each of them has to run forwards right before it. From
a state that is kept, pieces run again up to there. With s states, the first one included, binomial(s + r, s) pieces
run again at most r times each; no order needs fewer runs (Griewank and Walther, ACM Trans. Math. Softw. 26, 19, 2000).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import comb


@dataclass(frozen=True)
class Keep:
    """The state at the start of `piece`, which pieces up to there have just reached."""

    piece: int


@dataclass(frozen=True)
class Advance:
    """From the state at the start of piece `start`, which is kept, run pieces up to and without `stop`."""

    start: int
    stop: int


@dataclass(frozen=True)
class Reverse:
    """Run `piece` backwards, which `Advance` has just run."""

    piece: int


@dataclass(frozen=True)
class Drop:
    """Nothing needs the state at the start of `piece` any more."""

    piece: int


Action = Keep | Advance | Reverse | Drop


def actions(pieces: int, states: int) -> Iterator[Action]:
    """What to do, in order; states: how many may be kept at a time, the one at the start of the recording not counted.

    The first `Advance` up to each piece comes in the order of the pieces.
    """
    todo: list[tuple[int, int, int] | Action] = [(0, pieces, states)]
    while todo:
        now = todo.pop()
        if not isinstance(now, tuple):
            yield now
            continue
        start, stop, free = now
        if stop - start == 1:
            yield Advance(start, stop)
            yield Reverse(start)
        elif free == 0:
            for piece in range(stop - 1, start - 1, -1):
                yield Advance(start, piece + 1)
                yield Reverse(piece)
        else:
            middle = start + _split(stop - start, free)
            yield Advance(start, middle)
            yield Keep(middle)
            todo += [(start, middle, free), Drop(middle), (middle, stop, free - 1)]


def runs(pieces: int, states: int) -> int:
    """How often a piece runs forwards, all pieces together."""
    s, r = states + 1, _repeats(pieces, states)  # as in the formula of the module
    return (r + 1) * pieces - (comb(s + r, r - 1) if r else 0)


def _repeats(pieces: int, states: int) -> int:
    """How often a piece runs again at most: the least r with binomial(states + 1 + r, r) >= pieces."""
    r = 0
    while comb(states + 1 + r, r) < pieces:
        r += 1
    return r


def _split(pieces: int, states: int) -> int:
    """How many of at least two pieces lie before the next state that is kept."""
    s, r = states + 1, _repeats(pieces, states)
    # binomial(s + r - 1, s) pieces before it run again at most r - 1 times, binomial(s + r - 1, r) behind it r times
    least = max(1, comb(s + r - 2, s) if r > 1 else 0, pieces - comb(s - 1 + r, r))
    return max(least, min(comb(s + r - 1, s), pieces - comb(s + r - 2, r - 1)))
