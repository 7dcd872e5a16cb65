"""Loop programs run by Python as they stand: the definition of what their nodes mean, and c99 without C."""

import operator
from functools import reduce

import numpy as np
import sympy as sp

from genn_eventprop.adjoint.propagator import numpy_function
from genn_eventprop.codegen.c99 import generate, loops
from genn_eventprop.engines.c99 import C99Engine
from genn_eventprop.engines.contract.call import TrialCall
from genn_eventprop.engines.contract.noise import bits, quantiles
from genn_eventprop.program import nodes
from genn_eventprop.program.nodes import SAMPLE, Access

FUNCTIONS = {
    "Add": lambda *a: reduce(operator.add, a), "Mul": lambda *a: reduce(operator.mul, a), "Pow": operator.pow,
    "equal": operator.eq, "at_least": operator.ge, "above": operator.gt, "below": operator.lt, "no": operator.not_,
    "quotient": operator.floordiv, "remainder": operator.mod, "is_nan": np.isnan, "Max": max, "Min": min, "Abs": abs,
    "diverged": lambda v: not abs(v) <= 1e30, "bit": lambda n: 1 << n, "without_lowest": lambda b: b & (b - 1),
    "lowest": lambda b: (b & -b).bit_length() - 1,
}  # fmt: skip
PARTS = {
    "positive": lambda w: max(w, 0.0), "negative": lambda w: min(w, 0.0), "square": lambda w: w**2,
    "cube": lambda w: w**3, "fourth": lambda w: w**4,
}  # fmt: skip
CONSTANTS = {"o_infinity": np.inf, "o_nan": np.nan}


class Left(Exception):
    """The program has ended by a `Leave`."""


class Interpreter:
    """A program as functions of a list of its locals: each declaration has a place of its own in the list.

    locals: that the caller of `run` gives, in order.
    """

    def __init__(self, body, buffers, locals=(SAMPLE,)):
        self.buffers, self.places, self.spikes = buffers, len(locals), {}
        self._run = self.block(body, {s: i for i, s in enumerate(locals)})

    def run(self, arrays, *values):
        """Runs on arrays by the names of buffers, numbers as arrays without axes; returns what a `Leave` says."""
        self.arrays, self.spikes = arrays, {}
        try:
            with np.errstate(all="ignore"):
                self._run([*values, *[None] * (self.places - len(values))])
        except Left as left:
            return left.args[0]
        return None

    def block(self, body, scope):
        scope = dict(scope)
        steps = [self.statement(s, scope) for s in body]

        def run(env):
            for step in steps:
                step(env)

        return run

    def declare(self, s, scope):
        scope[s] = self.places
        self.places += 1
        return scope[s]

    def statement(self, s, scope):
        e = lambda x: self.expression(x, scope)  # noqa: E731
        match s:
            case nodes.Let():
                value, kind = e(s.value), float if s.kind in ("real", "double") else int
                place = self.declare(s.target, scope)
                return lambda env: env.__setitem__(place, kind(value(env)))
            case nodes.Set():
                return self.write(s.target, e(s.value), scope)
            case nodes.Add():
                old, value = e(s.target), e(s.value)
                return self.write(s.target, lambda env: old(env) + value(env), scope)
            case nodes.When():
                test, body, other = e(s.condition), self.block(s.body, scope), self.block(s.otherwise, scope)
                return lambda env: body(env) if test(env) else other(env)
            case nodes.While():
                test, body = e(s.condition), self.block(s.body, scope)

                def again(env):
                    while test(env):
                        body(env)

                return again
            case nodes.Range():
                start, stop, inner = e(s.start), e(s.stop), dict(scope)
                return self.each(lambda env: range(int(start(env)), int(stop(env)), s.by), s.index, s.body, inner)
            case nodes.Entries():
                step = e(s.step)
                of = lambda env: self.spikes.get((s.spikes.name, int(step(env))), ())  # noqa: E731
                return self.each(of, s.neuron, s.body, dict(scope))
            case nodes.Append():
                step, neuron = e(s.step), e(s.neuron)
                return lambda env: self.spikes.setdefault((s.spikes.name, int(step(env))), []).append(int(neuron(env)))
            case nodes.Block():
                return self.block(s.body, {**scope, **s.names})
            case nodes.Leave():
                status = e(s.status)

                def leave(env):
                    raise Left(status(env))

                return leave
            case nodes.StoreEvent() | nodes.Undo():
                return self.block(s.body, scope)
        raise NotImplementedError(f"{type(s).__name__} is not for Python")

    def each(self, values, index, body, scope):
        place = self.declare(index, scope)
        run = self.block(body, scope)

        def loop(env):
            for value in values(env):
                env[place] = value
                run(env)

        return loop

    def place(self, name, index, scope):
        """A function that gives (array, index) of an element."""
        index = [self.expression(sp.sympify(i), scope) for i in index]
        return lambda env: (self.arrays[name], tuple(int(i(env)) for i in index))

    def element(self, target, scope):
        if isinstance(target, nodes.element):
            return self.place(target.args[0].name, target.args[1:], scope)
        found = scope[target]
        return self.place(found.buffer.name, found.index, scope) if isinstance(found, Access) else found

    def write(self, target, value, scope):
        at = self.element(target, scope)
        if isinstance(at, int):
            return lambda env: env.__setitem__(at, value(env))

        def write(env):
            array, index = at(env)
            array[index] = value(env)

        return write

    def expression(self, e, scope):
        if isinstance(e, sp.Symbol) and e.name in CONSTANTS:
            return lambda _: CONSTANTS[e.name]
        if isinstance(e, (sp.Symbol, nodes.element)):
            at = self.element(e, scope)
            return (lambda env: env[at]) if isinstance(at, int) else lambda env: operator.getitem(*at(env))
        if e.is_Number or e.is_NumberSymbol:
            number = int(e) if e.is_Integer else float(e)
            return lambda _: number
        if isinstance(e, nodes.part):
            weight, of = self.expression(e.args[1], scope), PARTS[e.args[0].name]
            return lambda env: of(weight(env))
        args, what = [self.expression(a, scope) for a in e.args], type(e).__name__
        if what == "choose":  # what is not asked for is not looked at
            return lambda env: args[1](env) if args[0](env) else args[2](env)
        if what in ("both", "either"):
            test = all if what == "both" else any
            return lambda env: test(a(env) for a in args)
        if what in ("normal_number", "random_bits"):
            return lambda env: drawn(what, *(int(a(env)) for a in args))
        if what in FUNCTIONS:
            return lambda env: FUNCTIONS[what](*(a(env) for a in args))
        names = sp.symbols(f"a:{len(args)}", real=True)
        function = numpy_function(list(names), [e.func(*names)])
        return lambda env: float(function(*(np.float64(a(env)) for a in args))[0])


def drawn(what, key, step, neuron):
    """As `engines/contract/noise.py` says."""
    row = bits(np.array([key], np.uint64), step, neuron + 1)
    word = int(np.ravel(row)[neuron])
    q = quantiles()
    return word if what == "random_bits" else q[word & 4095] + q[(word >> 12) & 4095]


class InterpretedEngine(C99Engine):
    """c99 without C: the same loops, run by Python."""

    def _program(self, split):
        if split not in self._programs:
            source = generate(self.plan, self.dtype.name, split)
            call = TrialCall(source, self.dtype, lambda b, arguments: self.shape(b, arguments, False))
            self._programs[split] = source, call, loops(source.trial)
        return self._programs[split]

    def _run(self, arguments, split, stored):
        source, call, (body, buffers) = self._program(split)
        program = Interpreter(body, buffers)
        while True:
            arrays = call.arrays(arguments, stored)
            numbers = {n: np.array(arguments.get(n) or 0.0) for n in (b.name for b in source.doubles)}
            numbers |= {n: np.array(int(arguments.get(n) or 0)) for n in source.integers}
            state = {b.name: np.array(0) for b in buffers.values() if not b.axes and b.role != "host"}
            shaped = {n: self._shaped(buffers[n], a, arguments) for n, a in arrays.items()}
            status = 0
            for sample in range(int(arguments["batch"])):
                status = program.run(shaped | numbers | state, sample) or 0
                if status:
                    break
            if status >= 0:
                assert status == 0, "a network of the tests left its dynamics"
                return arrays
            self.room[-1 - status] = 1 << int(arrays["trouble"][3] - 1).bit_length()
            arguments |= {f"p{-1 - status}_room": self.room[-1 - status]}

    def _shaped(self, b, array, arguments):
        """An array as a program sees it. Lists of the data set are as long as they are; what a call does without is not
        there."""
        lengths = self.lengths(arguments)
        axes = [a if isinstance(a, int) else lengths.get(a, -1) for a in b.axes]
        return array.reshape(axes) if -1 in axes or array.size == np.prod(axes) else array
