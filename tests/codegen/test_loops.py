"""Loop programs: the checker, the passes, and C that does what Python says; on programs of ten lines."""

import ctypes
import random

import numpy as np
import pytest
import sympy as sp

from genn_eventprop import Delay, Dense, Network, Uniform, losses
from genn_eventprop.codegen.c99 import generate
from genn_eventprop.codegen.c99.target import flat, runtime, text
from genn_eventprop.codegen.statements import Spelling, indent
from genn_eventprop.modelling.expressions import symbol
from genn_eventprop.models import LI, LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.program import nodes
from genn_eventprop.program.check import Checker, ProgramError
from genn_eventprop.program.nodes import (
    Access,
    Add,
    Append,
    Block,
    Buffer,
    Entries,
    Leave,
    Let,
    Range,
    Set,
    StoreEvent,
    When,
    While,
    above,
    both,
    choose,
    mapped,
    part,
    quotient,
    remainder,
)
from genn_eventprop.program.passes import buffers_of, flags, lists, shared, with_part, without_unused
from genn_eventprop.toolchain.load import build
from support.interpreter import Interpreter

X, W = Buffer("X", (5,)), Buffer("W", (5, 5), "real", "number")
K, L = Buffer("K", (5,), "int"), Buffer("L", (5,), "int", "host")
S = Buffer("S", (4, 2), "bits", "result")
BUFFERS = {b.name: b for b in (X, W, K, L, S)}
i, j, t, a, c = map(symbol, "ijtac")
ZERO, FIVE = sp.Integer(0), sp.Integer(5)


def check(*body, **locals):
    Checker(BUFFERS, {symbol(n): kind for n, kind in locals.items()}).check(body)


def each(*body, over="order"):
    return Range(i, ZERO, FIVE, body, over)


# the checker

RIGHT = {
    "a sum over lanes": (Let(t, ZERO, changes=True), each(Add(t, X.at(i) * W.at(2, i)), over="lanes"), Set(X.at(0), t)),
    "an element by its name": (each(Block((Set(a, a + c),), {a: Access(X, (i,)), c: Access(L, (i,))})),),
    "an integer becomes a real number": (Let(t, L.at(0)), Set(X.at(0), t + 1)),
    "an element as an index": (Set(X.at(L.at(3)), ZERO),),
    "a name within an inner scope": (When(above(L.at(0), 0), (Let(t, ZERO), Set(X.at(0), t))), Let(t, sp.Integer(1))),
}
WRONG = {
    "nothing declares t here": (Set(X.at(0), t),),
    "nothing declares i here": (each(Set(X.at(i), ZERO)), Set(X.at(i), ZERO)),
    "nothing declares a here": (Block((Set(a, ZERO),), {a: Access(X, (ZERO,))}), Set(X.at(1), a)),
    "nothing declares c here": (Block((Set(a, ZERO),), {a: Access(X, (c,))}),),
    "there is no buffer Y": (Set(Buffer("Y", (3,)).at(0), ZERO),),
    r"element\(K, 0\) is an integer \(int\); 0.5": (Set(K.at(0), sp.Float(0.5)),),
    r"t is an integer \(long\); element\(X, 0\)": (Let(t, X.at(0), "long"),),
    r"t is an integer \(int\); .*/": (Let(t, ZERO, "int", True), Set(t, sp.Integer(1) / L.at(0))),
    r"element\(X, 1\) is a real number, where": (each(Set(X.at(X.at(1)), ZERO)),),
    "0.50* is a real number, where": (Range(i, ZERO, sp.Float(0.5), ()),),
    "3.00* is a real number, where": (Set(K.at(0), remainder(K.at(1), sp.Float(3.0))),),
    "-1.00* is a real number, where": (Leave(sp.Float(-1)),),
    "W has 2 axes; an element of it has 1": (Set(X.at(0), W.at(1)),),
    "X has 1 axes; an element of it has 2": (Block((Set(a, ZERO),), {a: Access(X, (ZERO, ZERO))}),),
    r"W \(role 'number'\) is read only": (Set(W.at(0, 0), ZERO),),
    r"L \(role 'host'\) is read only": (Block((Add(a, ZERO),), {a: Access(L, (ZERO,))}),),
    "t is set only once": (Let(t, ZERO), Set(t, ZERO)),
    "i is set only once": (each(Add(i, sp.Integer(1))),),
    "t is declared twice": (Let(t, ZERO), Let(t, ZERO)),
    "nothing declares s here": (Entries(i, S, symbol("s"), ()),),
    "0.50* is a real number": (StoreEvent(0, (), (Append(S, sp.Float(0.5), ZERO),)),),
}


@pytest.mark.parametrize("what", RIGHT)
def test_a_right_program_is_accepted(what):
    check(*RIGHT[what])


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_program_is_refused(message):
    with pytest.raises(ProgramError, match=message):
        check(*WRONG[message])


def test_what_a_caller_declares():
    check(Set(X.at(t), sp.Integer(1)), t="long")
    with pytest.raises(ProgramError, match="a is a real number"):
        check(Set(X.at(a), sp.Integer(1)), a="real")


# C and Python


class Dice(random.Random):
    """Random programs that the checker accepts; every real number in them is an exact multiple of 1/8."""

    def whole(self, names, depth=2):
        kind = self.randrange(6) if depth else 0
        one, two = (lambda: self.whole(names, depth - 1)), sp.Integer(self.randint(1, 4))
        return [
            lambda: self.choice([*names["int"], sp.Integer(self.randint(0, 4))]), lambda: one() + one(),
            lambda: quotient(one(), two), lambda: remainder(one(), two), lambda: L.at(remainder(one(), 5)),
            lambda: choose(self.test(names, depth - 1), one(), one()),
        ][kind]()  # fmt: skip

    def real(self, names, depth=2):
        kind = self.randrange(6) if depth else 0
        one = lambda: self.real(names, depth - 1)  # noqa: E731
        return [
            lambda: self.choice([*names["real"], sp.Float(self.randint(-8, 8) / 8)]), lambda: one() + one(),
            lambda: one() * self.choice([1, -1, sp.Rational(1, 2)]), lambda: X.at(remainder(self.whole(names, 1), 5)),
            lambda: part(symbol(self.choice(["positive", "negative", "square"])), W.at(self.randrange(5), 2)),
            lambda: choose(self.test(names, depth - 1), one(), one()),
        ][kind]()  # fmt: skip

    def test(self, names, depth=1):
        kind = self.choice([nodes.at_least, above, nodes.below, nodes.equal])
        one = kind(self.whole(names, depth), self.whole(names, depth))
        other = kind(self.whole(names, depth), self.whole(names, depth))
        return self.choice([one, both(one, other), nodes.either(one, other), nodes.no(one)])

    def body(self, names, depth=3):
        names, out = {k: list(v) for k, v in names.items()}, []
        for _ in range(self.randint(1, 4)):
            out += self.statement(names, depth)
        return tuple(out)

    def statement(self, names, depth):
        new, kind = symbol(f"v{self.randrange(10**9)}"), self.randrange(8 if depth else 4)
        inside = lambda **more: self.body({k: [*v, *more.get(k, ())] for k, v in names.items()}, depth - 1)  # noqa: E731
        if kind < 2:
            which = self.choice(["int", "real"])
            let = Let(new, self.whole(names) if which == "int" else self.real(names), which)
            names[which].append(new)
            return [let]
        if kind == 2:
            return [Set(X.at(remainder(self.whole(names), 5)), self.real(names))]
        if kind == 3:
            return [Add(K.at(remainder(self.whole(names), 5)), self.whole(names, 1))]
        if kind == 4:
            return [When(self.test(names), inside(), inside() if self.randrange(2) else ())]
        if kind == 5:
            return [
                Range(new, ZERO, sp.Integer(self.randint(0, 5)), inside(int=[new]), self.choice(["order", "lanes"]))
            ]
        if kind == 6:
            down = (
                Let(new, sp.Integer(3), "int", changes=True),
                While(above(new, 0), (*inside(), Add(new, -1 + ZERO))),
            )
            return list(down)
        element = symbol(f"e{self.randrange(10**9)}")
        return [
            Block(
                (Add(element, self.real(names)), *inside(real=[element])),
                {element: Access(X, (L.at(self.randrange(5)),))},
            )
        ]


def memory(rng):
    arrays = {"X": rng.integers(-8, 8, 5) / 8, "W": rng.integers(-8, 8, (5, 5)) / 8}
    return arrays | {
        "K": rng.integers(0, 5, 5, np.int32),
        "L": rng.integers(0, 5, 5, np.int32),
        "S": np.zeros((4, 2), np.uint32),
    }


SPELLING = Spelling(
    lambda a, write: f"{a.buffer.name}{flat(a, write, str)}", lambda *_: "", {}, lambda line: f"/* {line} */\n", BUFFERS
)


def compiled(bodies):
    """A function of C for every program."""
    arguments = "double *X, const double *W, int32_t *K, const int32_t *L, uint32_t *S"
    used = "".join(f"(void){n};\n" for n in BUFFERS)
    texts = (indent(used + text(SPELLING, b)) for b in bodies)
    functions = [f"int program{k}({arguments}) {{\n{t}    return 0;\n}}\n" for k, t in enumerate(texts)]
    library = build("\n".join(["typedef double real;\n", runtime(), *functions]), "c")
    return [getattr(library, f"program{k}") for k in range(len(bodies))]


def run_c(function, arrays):
    return function(*(arrays[n].ctypes.data_as(ctypes.c_void_p) for n in "XWKLS"))


def test_c_does_what_python_says():
    bodies = [Dice(k).body({"int": [], "real": []}, 4) for k in range(150)]
    moved = 0
    for k, (body, function) in enumerate(zip(bodies, compiled(bodies))):
        check(*body)
        start = memory(np.random.default_rng(k))
        c, python = ({n: v.copy() for n, v in start.items()} for _ in range(2))
        run_c(function, c)
        Interpreter(body, BUFFERS, ()).run(python)
        for n in c:
            np.testing.assert_array_equal(c[n], python[n], err_msg=f"{n} of program {k}")
        moved += any((c[n] != start[n]).any() for n in c)
    assert moved > 100


def test_leaving_ends_the_program():
    body = (each(When(above(i, 2), (Leave(-1 - i),)), Set(X.at(i), sp.Integer(7))),)
    (function,) = compiled([body])
    for run in (lambda m: run_c(function, m), Interpreter(body, BUFFERS, ()).run):
        arrays = memory(np.random.default_rng(1))
        assert run(arrays) == -4
        assert (arrays["X"][:3] == 7).all() and not (arrays["X"][3:] == 7).any()


# passes


def spiking():
    """Neurons with X > 0 spike at step 1; then X of their neighbours grows."""
    n = Range(i, ZERO, sp.Integer(40), (When(above(i * i - 30 * i, -200), (Append(S, sp.Integer(1), i),)),), "lanes")
    grow = Entries(j, S, sp.Integer(1), (Add(X.at(remainder(j, 5)), sp.Integer(1) + j),))
    return [n, grow, Entries(j, S, ZERO, (Set(X.at(0), sp.Float(-1)),))]


def row(spikes, step, word):
    return spikes.at(step, word)


def test_spikes_as_flags_are_the_same_spikes():
    listed, bits = memory(np.random.default_rng(2)), memory(np.random.default_rng(2))
    Interpreter(spiking(), BUFFERS, ()).run(listed)
    Interpreter(flags(spiking(), row), BUFFERS, ()).run(bits)
    np.testing.assert_array_equal(bits["X"], listed["X"])
    neurons = np.flatnonzero(np.unpackbits(bits["S"][1].view(np.uint8), bitorder="little"))
    np.testing.assert_array_equal(neurons, [n for n in range(40) if n * n - 30 * n > -200])
    assert not any(isinstance(s, (Append, Entries)) for s in nodes.walk(flags(spiking(), row)))


def test_the_place_of_a_delay_does_not_overflow():
    """Source 50,000 times 50,000 targets is beyond 32 bits."""
    net = Network()
    cells = [net.population(LIF(), 50_000, name=name) for name in "ab"]
    net.connect(net.input(1), cells[0], Dense(1.0))
    net.connect(*cells, Dense(0.1), delay=Delay(Uniform(1.0, 5.0)))
    output = net.population(LI(), 2, name="output")
    net.connect(cells[1], output, Dense(1.0))
    code = generate(make_plan(net, losses.MaxVoltageCrossEntropy(output), dt=1.0, duration=10.0), "float64").text
    assert "c1_delays[n + 50000*source]" in code and "int64_t source" in code and "int32_t source" not in code


def test_spikes_in_lists_are_visited_in_order():
    start, neurons = Buffer("start", (4,), "int", "host"), Buffer("neurons", (5,), "int", "host")
    seen = (Add(X.at(1), j * X.at(0)), Add(X.at(0), sp.Integer(1)))
    body = lists([Range(t, ZERO, sp.Integer(3), (Entries(j, S, t, seen),))], lambda _: (start, neurons))
    Checker(BUFFERS | {"start": start, "neurons": neurons}).check(body)
    arrays = {"X": np.zeros(5), "start": np.array([1, 3, 3, 5]), "neurons": np.array([9, 7, 2, 4, 3])}
    Interpreter(body, BUFFERS | {"start": start, "neurons": neurons}, ()).run(arrays)
    np.testing.assert_array_equal(arrays["X"], [4, 0 * 7 + 1 * 2 + 2 * 4 + 3 * 3, 0, 0, 0])


def test_a_row_of_flags_that_is_used_again_is_cleared_first():
    twice, once = memory(np.random.default_rng(2)), memory(np.random.default_rng(2))
    for again in (True, False):
        arrays = once if again else twice
        arrays["S"][1] = 0xF0
        Interpreter(flags(spiking(), row, again=again), BUFFERS, ()).run(arrays)
    assert (once["S"] != twice["S"]).any()
    check(*flags(spiking(), row, again=True))


def test_a_part_for_every_sample():
    """Of X, also where it is an index, or has another name."""
    sample, body = (
        symbol("sample"),
        [Block((Set(a, X.at(1)), Set(K.at(L.at(0)), sp.Integer(2))), {a: Access(X, (L.at(2),))})],
    )
    parts = {"X": np.arange(15.0).reshape(3, 5)}
    wide = BUFFERS | {"X": Buffer("X", ("batch", 5))}
    moved = with_part(body, {"X"}, sample)
    Checker(wide, {sample: "long"}).check(moved)
    program = Interpreter(moved, wide, (sample,))
    for k in range(3):
        arrays, alone = memory(np.random.default_rng(k)) | parts, memory(np.random.default_rng(k))
        alone["X"] = parts["X"][k].copy()
        program.run(arrays, k)
        Interpreter(body, BUFFERS, ()).run(alone)
        np.testing.assert_array_equal(parts["X"][k], alone["X"])
        np.testing.assert_array_equal(arrays["K"], alone["K"])


def test_lanes_that_threads_share():
    """Each element is of one thread, with the whole of a loop inside; loops in order are run by all."""
    inner = Range(j, ZERO, FIVE, (Add(X.at(i), j),), over="lanes")
    body = shared([each(inner, over="lanes"), Range(a, ZERO, FIVE, (Add(K.at(a), sp.Integer(1)),))], t, 2)
    check(*body, t="int")
    arrays = {"X": np.zeros(5), "K": np.zeros(5, int)}
    for thread in range(2):
        Interpreter(body, BUFFERS, (t,)).run(arrays, thread)
    np.testing.assert_array_equal(arrays["X"], [10] * 5)
    np.testing.assert_array_equal(arrays["K"], [2] * 5)


def test_locals_that_nothing_reads_go():
    names = {a: Access(X, (remainder(t + symbol("used"), 5),)), c: Access(X, (ZERO,))}
    used, unused, only_unused = symbol("used"), symbol("unused"), symbol("only_unused")
    body = [
        Let(only_unused, L.at(0), "int"), Let(unused, only_unused + 1, "int"), Let(used, L.at(1), "int"),
        Range(j, ZERO, FIVE, (Let(t, j, "int"), Block((Set(a, ZERO),), names))),
        When(above(L.at(0), 1), (Let(used, ZERO, "int"),)),  # another local of that name
    ]  # fmt: skip
    left = without_unused(body)
    assert [s.target for s in nodes.walk(left) if isinstance(s, Let)] == [used, t]
    assert [list(s.names) for s in nodes.walk(left) if isinstance(s, Block)] == [[a]]
    check(*left)


def test_the_buffers_of_a_program():
    body = [Block((Set(a, W.at(L.at(0), 1)),), {a: Access(X, (K.at(0),))})]
    assert buffers_of(body) == {"X", "W", "L", "K"}


def test_mapped_reaches_every_expression():
    every = [
        Let(t, i), Set(X.at(i), i), Add(X.at(i), i), When(above(i, 0), (Set(X.at(0), i),), (Set(X.at(1), i),)),
        Range(j, i, i, (Leave(i),)), While(above(i, 0), (Append(S, i, i),)), Entries(j, S, i, (Leave(i),)),
        Block((Leave(i),), {a: Access(X, (i,))}), StoreEvent(0, (("inv", i),), (Leave(i),)),
        nodes.Undo(0, (Leave(i),), (Leave(i),)),
    ]  # fmt: skip
    moved = mapped(every, lambda e: e.xreplace({i: j}))
    assert "'i'" not in sp.srepr(
        sp.Tuple(*(e for s in nodes.walk(moved) for e in (*nodes.expressions(s), *nodes.targets(s))))
    )
    assert moved[7].names[a].index == (j,) and moved[8].fields == (("inv", j),)
    assert moved[9].changes == (Leave(j),)
