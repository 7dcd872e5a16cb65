"""What GeNN 5.4.0 refuses of a network though C++ would take it: read from its sources, and compared with pygenn in
`tests/engine/genn/test_rules.py`. The harness refuses it too, so that such faults show without pygenn.
"""

import re
from collections import Counter

from genn_eventprop.codegen.genn.text import words
from genn_eventprop.errors import ToolchainError

TYPES = set("char short int long float double signed unsigned bool scalar timepoint size_t".split()) | {
    f"{u}int{n}_t" for u in ("", "u") for n in (8, 16, 32, 64)
}
KEYWORDS = TYPES | set(
    "const do else false for for_each_synapse if true while switch break continue case default".split()
)
OF_C = set("auto static struct return goto sizeof static_cast inline void using template typename operator".split())
FUNCTIONS = set(
    "cos sin tan acos asin atan atan2 cosh sinh tanh acosh asinh atanh exp expm1 exp2 pow log log1p log2 log10 sqrt "
    "cbrt hypot ceil floor fmod round rint trunc nearbyint nextafter remainder fabs fdim fmax fmin erf erfc tgamma "
    "lgamma copysign fma min max abs".split()
)
OF_SYNAPSES = {"addToPost", "addToPostDelay", "addToPre"}
TOKEN = re.compile(
    r"0[xX][0-9a-fA-F]+U?|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d*)?[fFdDuU]?|[A-Za-z]\w*|//[^\n]*|\s+|"
    r"[-+*&|]=|[%^!=<>]=|<<|\+\+|--|&&|\|\||[(){}\[\],.:;~?!=*%^<>+\-&|/]"
)
"""Of its scanner. Two characters that it does not read as one, such as those of >> or ->, are two tokens."""
NEVER_BESIDE = {(">", ">"), (">", ">="), ("-", ">"), (":", ":"), ("/", "="), ("/", "*"), (".", "*")}


def refuse(text):
    """Raises ToolchainError where GeNN would, with its words."""
    for fault in faults(text):
        raise ToolchainError(f"GeNN could not build the {text.name} network: {fault}")


def faults(text):
    yield from _names(text)
    yield from _arrays(text)
    for name, update in text.updates.items():
        yield from _references(text, name, update)
    for name, s in text.synapses.items():
        for row, *_ in s.update.post_refs:
            if len(set(re.findall(rf"\b{row}\b(\[?)", s.update.pre_event_syn_code))) > 1:
                yield f"{name}: Identifier {row!r} referenced both with and without delay"
    for title, code, known in _codes(text):
        yield from (f"{title}: {fault}" for fault in code_faults(code, known))


def _names(text):
    populations = [
        ("Neuron group", text.populations),
        ("Synapse group", text.synapses),
        ("Custom update", text.updates),
    ]
    populations.append(("Custom update group name", {u.group: u for u in text.updates.values()}))
    for what, group in populations:
        yield from (f"{what} name invalid: {n!r}" for n in group if not re.fullmatch(r"\w+", n, re.ASCII))
    for model, names in _models(text):
        yield from (f"{model}: name invalid: {n!r}" for n in names if not re.fullmatch(r"[A-Za-z_]\w*", n, re.ASCII))
        yield from (f"{model}: duplicate name {n!r}" for n, times in Counter(names).items() if times > 1)


def _models(text):
    """(what, names that its code can use) of every model."""
    first = lambda *lists: [row[0] for part in lists for row in part]  # noqa: E731
    for name, (_, n) in text.populations.items():
        yield name, [*first(n.params, n.vars, n.arrays), *n.inputs]
    for name, s in text.synapses.items():
        yield name, first(s.update.vars, s.update.pre_refs, s.update.post_refs)
    for name, u in text.updates.items():
        yield name, first(u.params, u.vars, u.refs, u.arrays)


def _arrays(text):
    """GeNN has a place for an array where a code names it, and looks for one (`map::at`) where the host gives it."""
    named = {(p, a) for u in text.updates.values() for n, _, p, a in u.arrays if n in words(u.code)}
    for p, (_, neuron) in text.populations.items():
        used = words(neuron.sim_code, neuron.threshold_condition_code)
        yield from (
            f"map::at: no code names the array {a!r} of {p!r}"
            for a, *_ in neuron.arrays if a not in used and (p, a) not in named
        )  # fmt: skip


def _references(text, name, update):
    """Of a custom update: what it refers to is there, of the same type and size, and may be written."""
    if not update.refs:
        yield f"Custom update models must reference variables: {name!r}"
    on_synapses = update.of in text.synapses
    for n, kind, mode, owner, variable in update.refs:
        found = {v: (k, a) for v, k, a in _variables(text, update.of, owner)}.get(variable)
        if found is None:
            yield f"Variable {variable!r} of {owner!r} not found"
        elif found[0] != kind:
            yield f"Incompatible type for variable reference {n!r} of {name!r}"
        elif mode == "READ_WRITE" and found[1] == "READ_ONLY" and _batched(text, update):
            yield f"Variable reference {n!r} in custom update {name!r} to lower-dimensional variables is read-write"
    for n, kind, owner, array in update.arrays:
        found = {a: k for a, k, _ in text.populations[owner][1].arrays}.get(array)
        if found != kind:
            yield f"Incompatible type for extra global parameter reference {n!r} of {name!r}"
    if on_synapses and any("NEURON" in access for *_, access in update.vars):
        yield f"Custom weight updates cannot use models with SHARED_NEURON variables: {name!r}"


def _variables(text, of, owner):
    """(name, type, access) of what an update of `of` can refer to by `owner`."""
    if owner != of:
        return text.updates[owner].vars if owner in text.updates else ()
    return text.synapses[of].update.vars if of in text.synapses else text.populations[of][1].vars


def _batched(text, update):
    """Whether there is one of its variables for each example."""
    kinds = {v: a for *_, owner, _ in update.refs for v, _, a in _variables(text, update.of, owner)}
    return any(kinds.get(v) == "READ_WRITE" for *_, v in update.refs)


def _codes(text):
    """(title, code, functions that it has besides) of everything that is compiled."""
    for name, (_, neuron) in text.populations.items():
        yield f"{name}: sim code", neuron.sim_code, set()
        yield f"{name}: threshold condition", neuron.threshold_condition_code, set()
    for name, s in text.synapses.items():
        for part in ("pre_spike_syn_code", "pre_event_threshold_condition_code", "pre_event_syn_code"):
            yield f"{name}: {part}", getattr(s.update, part), OF_SYNAPSES
    for name, update in text.updates.items():
        yield f"custom update {name}", update.code, set()


def code_faults(code, known):
    """What its scanner, parser or type checker refuses of a code that is C++."""
    tokens, at = [], 0
    while at < len(code):
        found = TOKEN.match(code, at)
        if found is None:
            yield f"Unexpected character {code[at]!r}"
            return
        at = found.end()
        if not found[0].isspace() and not found[0].startswith("//"):
            tokens.append(found[0])
    for a, b in zip(tokens, [*tokens[1:], ""]):
        if re.fullmatch(r"0\d+", a):
            yield f"Octal literals unsupported: {a}"
        if (a, b) in NEVER_BESIDE or a in OF_C or a == ".":
            yield f"Expect expression: {a} {b}"
        if re.match(r"[A-Za-z]", a) and b == "(" and a not in FUNCTIONS | known | KEYWORDS:
            yield f"Undefined identifier {a!r}"
