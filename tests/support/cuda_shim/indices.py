"""Products of 32-bit integers in the indices of CUDA text: they overflow only at sizes that no test can run."""

from __future__ import annotations

import re
from dataclasses import dataclass

WIDE = ("int64_t", "uint64_t")
TYPES = (*WIDE, "int32_t", "uint32_t", "uint16_t", "int", "real", "double", "float", "scalar")
REALS = ("real", "double", "float", "scalar")
LARGEST = 2**31 - 1
DECLARATION = re.compile(rf"\b({'|'.join(TYPES)})\)? \*?(\w+)(?=([^;\n]*))")
ANOTHER = re.compile(r", \*?(\w+)(?= =|;|$)")
TOKEN = re.compile(r"\w+(?:\.\w+)*|<<|>>|[<>=!]=|&&|\|\||\S")
CONSTANT = re.compile(r"static constexpr int (\w+) = (\d+);")
LOOP = re.compile(r"for \(\w+ (\w+) = [^;]*; \1 < (\d+);")
INDEX = re.compile(r"\bt\.(\w+)(\[| \+ )")
INTEGER = re.compile(rf"\b({'|'.join(t for t in TYPES if t not in REALS)}) (\w+) = ([^;]*);")
MARK = re.compile(r"\(uint64_t\)(?=\()")


@dataclass(frozen=True)
class Number:
    """bits: 32 or 64, of an integer. most: a bound of it where the text has one."""

    bits: int
    most: int = LARGEST


class Text:
    """A generated text and the types of its names."""

    def __init__(self, text: str, blocks: int) -> None:
        self.blocks = blocks
        self.text = re.sub(r"//.*", "", text).replace("t->", "t.")
        constants: dict[str, int] = {}  # of the structs that functions of gathers.cuh are called with: the largest
        for name, value in CONSTANT.findall(self.text):
            constants[name] = max(int(value), constants.get(name, 0))
        self.text = re.sub(r"\bG::(\w+)", lambda m: str(constants.get(m[1], 1)), self.text)
        self.declared: dict[str, list[tuple[int, str]]] = {}
        for m in DECLARATION.finditer(self.text):
            for name in (m[2], *ANOTHER.findall(m[3])):
                self.declared.setdefault(name, []).append((m.start(), m[1]))
        self.arrays = set(re.findall(r" \*(\w+);", self.text))
        self.bounds: dict[str, list[tuple[int, int]]] = {}
        for m in LOOP.finditer(self.text):
            self.bounds.setdefault(m[1], []).append((m.start(), int(m[2])))

    def number(self, name: str, at: int) -> Number:
        """Of a name at a place, by its last declaration before it."""
        if re.fullmatch(r"\d+[uUlL]*", name):
            return Number(32, int(re.sub(r"\D", "", name)))
        if name.startswith(("threadIdx", "blockDim")):
            return Number(32, 1024)
        if name.startswith("blockIdx"):
            return Number(32, self.blocks)
        place, kind = self._last(self.declared, name.removeprefix("t."), at)
        loop, most = self._last(self.bounds, name, at)
        counts = loop >= 0 and abs(loop - place) < 9  # it is declared by the loop
        return Number(64 if kind in (*WIDE, *REALS) else 32, most - 1 if counts else LARGEST)

    @staticmethod
    def _last(known: dict, name: str, at: int) -> tuple:
        return next((found for found in reversed(known.get(name, [])) if found[0] <= at), (-1, ""))


class Expression:
    """One integer expression.

    narrow: its products whose factors both have 32 bits, unless literals bound them, and products of more bits that
    are cast to 32. large: whether a product of 64 bits is in it, but for indices.
    """

    def __init__(self, text: Text, source: str, at: int) -> None:
        self.text, self.at, self.narrow, self.large = text, at, list[str](), False
        self.tokens, self.i = TOKEN.findall(source), 0
        self.number = self.sum()
        assert self.i == len(self.tokens), (source, self.tokens[self.i :])

    def peek(self, *wanted: str) -> bool:
        return self.i < len(self.tokens) and self.tokens[self.i] in wanted

    def take(self) -> str:
        self.i += 1
        return self.tokens[self.i - 1]

    def sum(self) -> Number:
        first = self.product()
        while self.i < len(self.tokens) and not self.peek(")", "]", ","):
            operator = self.take()
            other = self.sum() if operator in "?:" else self.product()
            most = first.most + other.most if operator == "+" else max(first.most, other.most)
            first = Number(max(first.bits, other.bits), min(most, LARGEST))
        return first

    def product(self) -> Number:
        start, first = self.i, self.factor()
        while self.peek("*", "/", "%"):
            operator, other = self.take(), self.factor()
            most = {"*": first.most * other.most, "/": first.most, "%": other.most}[operator]
            if operator == "*" and first.bits == other.bits == 32 and most > LARGEST:
                self.narrow.append(" ".join(self.tokens[start : self.i]))
            first = Number(max(first.bits, other.bits), min(most, LARGEST))
            self.large |= operator == "*" and first.bits == 64
        return first

    def factor(self) -> Number:
        token = self.take()
        if token in ("-", "!", "~", "*", "&"):
            return self.factor()
        if token == "(" and self.tokens[self.i] in TYPES:
            start, kind = self.i, self.take()
            assert self.take() == ")"
            number = self.factor()
            if kind not in (*WIDE, *REALS) and number.bits == 64 and self.large:
                self.narrow.append(" ".join(self.tokens[start - 1 : self.i]))
            return Number(64 if kind in WIDE else 32, number.most)
        if token == "(":
            number = self.sum()
            assert self.take() == ")"
            return number
        if self.peek("("):  # a function
            self.take()
            while not self.peek(")"):
                self.sum()
                if self.peek(","):
                    self.take()
            self.take()
            number = Number(32, 31 if token == "lowest" else LARGEST)
        else:
            number = self.text.number(token, self.at)
        while self.peek("["):
            self.take()
            outside = self.large
            self.sum()
            self.large = outside
            assert self.take() == "]"
        return number


def narrow_products(text: str, blocks: int) -> list[str]:
    """Products of 32 bits in the text's indices into global memory, and in integers that it computes.

    blocks: at most so many has a kernel that uses their number as a 32-bit one.
    """
    known, found = Text(text, blocks), list[str]()
    kernels = max(known.text.find("} Trial;"), 0)
    for m in INDEX.finditer(known.text, kernels):
        if m[1] in known.arrays:
            end = _closing(known.text, m.end()) if m[2] == "[" else _end_of_sum(known.text, m.end())
            found += Expression(known, known.text[m.end() : end], m.start()).narrow
    for m in MARK.finditer(known.text, kernels):
        found += Expression(known, known.text[m.end() : _end_of_sum(known.text, m.end())], m.start()).narrow
    for m in INTEGER.finditer(known.text, kernels):
        for value in re.split(r", \w+ = ", m[3]):
            expression = Expression(known, value, m.start())
            found += expression.narrow
            if expression.large and expression.number.bits == 64 and m[1] not in WIDE:
                found.append(f"{m[1]} {m[2]} = {value}")
    return found


def _closing(text: str, at: int) -> int:
    """Where a bracket closes that was opened before `at`."""
    depth = 1
    while depth:
        depth += {"[": 1, "]": -1}.get(text[at], 0)
        at += 1
    return at - 1


def _end_of_sum(text: str, at: int) -> int:
    """Where a sum ends: at a bracket that closes what was opened before, a comma, a comparison, or the statement's."""
    depth = 0
    while depth or text[at] not in ")],;<>=?:&|":
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(text[at], 0)
        at += 1
    return at
