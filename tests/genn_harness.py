"""GeNN's order of operations without GeNN: the texts of the genn engine compiled as C++ and stepped as GeNN steps them.

In every step first the synapses: presynaptic code runs for the spikes that neurons sent in the step before (earlier by
the axonal delay), presynaptic variables are read from then, postsynaptic ones from the step before, earlier by the
back-propagation delay. Then the neurons: what arrived goes through the postsynaptic code into the input variables, then
sim code, threshold, reset. Variables that no code of a neuron writes keep their value; scalar is double here.
"""

import ctypes

import numpy as np

from genn_eventprop.engines.genn.engine import GennEngine
from genn_eventprop.engines.genn.text import POSTSYNAPTIC_CODE, REDUCE_CODE
from genn_eventprop.toolchain import build

TYPES = {"scalar": ("scalar", np.float64), "int": ("int", np.int32)}


class HarnessEngine(GennEngine):
    """The genn engine on the harness: everything but pygenn itself."""

    def _choose_backend(self, asked):
        return "single_threaded_cpu"

    def _build(self, text):
        return HarnessNetwork(text)


def neuron_source(name, size, text):
    """C++ of one neuron model: `update_NAME` does one step of all neurons."""
    lines = [f'extern "C" void update_{name}(void** memory, const double* numbers, double time, const scalar* inputs,']
    lines += ["        int* sent) {", f"    const scalar t = time; const int batch = 0, num_neurons = {size};"]
    lines += ["    (void)t; (void)batch; (void)num_neurons; (void)inputs; (void)numbers;"]
    lines += [f"    const {k} {n} = ({k})numbers[{i}]; (void){n};" for i, (n, k) in enumerate(text.params)]
    kinds = [(n, k) for n, k, _ in text.vars] + list(text.arrays)
    lines += [f"    {k}* const all_{n} = ({k}*)memory[{i}];" for i, (n, k) in enumerate(kinds)]
    lines += [f"    {k}* const {n} = all_{n}; (void){n};" for n, k in text.arrays]
    lines += [f"    for (int id = 0; id < {size}; ++id) {{"]
    for n, k, access in text.vars:
        lines.append(f"        {'' if access == 'READ_WRITE' else 'const '}{k} {n} = all_{n}[id]; (void){n};")
    lines += [f"        const scalar {n} = inputs[{i * size} + id]; (void){n};" for i, n in enumerate(text.inputs)]
    lines += [text.sim_code, "        sent[id] = 0;"]
    if text.threshold_condition_code:
        lines.append(f"        if ({text.threshold_condition_code}) {{ sent[id] = 1;\n{text.reset_code}\n        }}")
    lines += [f"        all_{n}[id] = {n};" for n, _, access in text.vars if access == "READ_WRITE"]
    return "\n".join([*lines, "    }", "}", ""])


def synapse_source(name, pre, post, text):
    """C++ of one connection: `spread_NAME` does one step for a list of spikes."""
    u = text.update
    lines = [f'extern "C" void spread_{name}(void** memory, void** pre, void** post, const int* spikes, int n_spikes,']
    lines += ["        scalar* in_syn, scalar* to_pre) {", "    for (int s = 0; s < n_spikes; ++s)"]
    lines += [f"        for (int i = spikes[s], j = 0; j < {post}; ++j) {{"]
    lines += ["            auto addToPost = [&](scalar x) { in_syn[j] += x; }; (void)addToPost;"]
    lines += ["            auto addToPre = [&](scalar x) { to_pre[i] += x; }; (void)addToPre;"]
    lines += [f"            {k}& {n} = (({k}*)memory[{v}])[i * {post} + j];" for v, (n, k, _) in enumerate(u.vars)]
    lines += [f"            const {k} {n} = (({k}*)pre[{v}])[i];" for v, (n, k, _) in enumerate(u.pre_refs)]
    lines += [f"            const {k} {n} = (({k}*)post[{v}])[j];" for v, (n, k, _) in enumerate(u.post_refs)]
    return "\n".join([*lines, u.pre_spike_syn_code, "        }", "}", ""])


def network_source(text):
    parts = ["#include <cmath>\nusing std::fmin; using std::exp;\ntypedef double scalar;\n"]
    parts += [neuron_source(n, size, t) for n, (size, t) in text.populations.items()]
    size = {n: s for n, (s, _) in text.populations.items()}
    parts += [synapse_source(n, size[s.source], size[s.target], s) for n, s in text.synapses.items()]
    parts.append(
        'extern "C" void arrive(scalar* all, scalar* input, int n) { for (int i = 0; i < n; ++i) {\n'
        "scalar& inSyn = all[i]; auto injectCurrent = [&](scalar x) { input[i] += x; };\n" + POSTSYNAPTIC_CODE + "} }\n"
        'extern "C" void reduce(scalar* all, scalar* totals, int n) { for (int i = 0; i < n; ++i) {\n'
        "scalar& gradient = all[i]; scalar& total = totals[i];\n" + REDUCE_CODE + "} }\n"
    )
    return "\n".join(parts)


def pointers(arrays):
    return (ctypes.c_void_p * max(1, len(arrays)))(*[a.ctypes.data for a in arrays])


class HarnessNetwork:
    """Has the methods of `genn_eventprop.engines.genn.network.Network`, batch size 1."""

    def __init__(self, text):
        self.text = text
        self.library = build(network_source(text))
        self.numbers = {(p, n): 1.0 for p, (_, t) in text.populations.items() for n, _ in t.params}
        self.lengths = {(p, n): 1 for p, (_, t) in text.populations.items() for n, _ in t.arrays}
        self.reload()

    def reload(self):
        self.memory = {}
        for p, (size, t) in self.text.populations.items():
            self.memory |= {(p, n): np.zeros(size, TYPES[k][1]) for n, k, _ in t.vars}
            self.memory |= {(p, n): np.zeros(self.lengths[p, n], TYPES[k][1]) for n, k in t.arrays}
        for c, s in self.text.synapses.items():
            size = self.text.populations[s.source][0] * self.text.populations[s.target][0]
            self.memory |= {(c, n): np.zeros(size, TYPES[k][1]) for n, k, _ in s.update.vars}
        self.in_syn = {c: np.zeros(self.text.populations[s.target][0]) for c, s in self.text.synapses.items()}
        self.past = []  # of every step: population -> (spikes, copies of the variables that synapses read)

    def close(self):
        self.memory = {}

    def set_number(self, population, name, value):
        self.numbers[population, name] = float(value)

    def neurons(self, population, name, *, pull=False):
        access = next(a for n, _, a in self.text.populations[population][1].vars if n == name)
        view = self.memory[population, name]
        return view if access == "READ_ONLY" else view.reshape(1, -1)

    def synapses(self, name, variable):
        return self.memory[name, variable]

    def array(self, population, name, *, pull=False):
        return self.memory[population, name]

    def push(self, group, *names):
        assert all((group, n) in self.memory for n in names)

    def fits(self, lengths):
        return all(self.lengths[key] == n for key, n in lengths.items())

    def fit(self, lengths):
        if self.fits(lengths):
            return False
        self.lengths.update(lengths)
        self.reload()
        return True

    def run(self, steps):
        for t in range(steps):
            self.step(t)

    def step(self, t):
        sizes = {p: size for p, (size, _) in self.text.populations.items()}
        inputs = {p: np.zeros((max(1, len(x.inputs)), sizes[p])) for p, (_, x) in self.text.populations.items()}
        for name, s in self.text.synapses.items():
            row = lambda p, i: inputs[p][self.text.populations[p][1].inputs.index(i)]  # noqa: E731
            to_pre = row(s.source, s.pre_input) if s.pre_input else np.zeros(sizes[s.source])
            self.spread(name, s, to_pre)
        for name, s in self.text.synapses.items():
            if s.post_input:
                target = inputs[s.target][self.text.populations[s.target][1].inputs.index(s.post_input)]
                self.library.arrive(
                    *map(ctypes.c_void_p, pointers([self.in_syn[name], target])), ctypes.c_int(target.size)
                )
        sent = {p: np.zeros(size, np.int32) for p, size in sizes.items()}
        for p, (_, x) in self.text.populations.items():
            memory = [self.memory[p, n] for n, *_ in (*x.vars, *x.arrays)]
            numbers = np.array([self.numbers[p, n] for n, _ in x.params])
            getattr(self.library, f"update_{p}")(
                pointers(memory), ctypes.c_void_p(numbers.ctypes.data), ctypes.c_double(t),
                ctypes.c_void_p(inputs[p].ctypes.data), ctypes.c_void_p(sent[p].ctypes.data),
            )  # fmt: skip
        self.past.append({p: (np.flatnonzero(sent[p]).astype(np.int32), self.copies(p)) for p in sizes})

    def copies(self, p):
        read = set()
        for s in self.text.synapses.values():
            read |= {v for _, _, v in s.update.pre_refs} if s.source == p else set()
            read |= {v for _, _, v in s.update.post_refs} if s.target == p else set()
        return {v: self.memory[p, v].copy() for v in read}

    def spread(self, name, s, to_pre):
        if len(self.past) <= max(s.delay, s.look_back):
            return
        spikes, pre = self.past[-1 - s.delay][s.source]
        post = self.past[-1 - s.look_back][s.target][1]
        if len(spikes):
            getattr(self.library, f"spread_{name}")(
                pointers([self.memory[name, n] for n, *_ in s.update.vars]),
                pointers([pre[v] for _, _, v in s.update.pre_refs]),
                pointers([post[v] for _, _, v in s.update.post_refs]),
                ctypes.c_void_p(spikes.ctypes.data), ctypes.c_int(len(spikes)),
                ctypes.c_void_p(self.in_syn[name].ctypes.data), ctypes.c_void_p(to_pre.ctypes.data),
            )  # fmt: skip

    def reduced(self):
        for name in self.text.reduced:
            gradient = self.memory[name, "gradient"]
            total = np.full_like(gradient, np.nan)
            self.library.reduce(*map(ctypes.c_void_p, pointers([gradient, total])), ctypes.c_int(gradient.size))
            yield name, total
