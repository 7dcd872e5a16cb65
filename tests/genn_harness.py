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
    """The genn engine on the harness: everything but pygenn itself. `batch_size` is GeNN's, None for the batch's."""

    batch_size = 1

    def _choose_backend(self, asked):
        return "single_threaded_cpu"

    def _group_size(self, batch):
        return self.batch_size or batch

    def _build(self, text):
        return HarnessNetwork(text, self.group)


def neuron_source(name, size, text):
    """C++ of one neuron model: `update_NAME` does one step of all neurons."""
    lines = [f'extern "C" void update_{name}(void** memory, const double* numbers, double time, int batch,']
    lines += [
        "        const scalar* inputs, int* sent) {",
        f"    const scalar t = time; const int num_neurons = {size};",
    ]
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
    """Has the methods of `genn_eventprop.engines.genn.network.Network`."""

    def __init__(self, text, batch):
        self.text, self.batch = text, batch
        self.library = build(network_source(text))
        self.numbers = {(p, n): 1.0 for p, (_, t) in text.populations.items() for n, _ in t.params}
        self.lengths = {(p, n): 1 for p, (_, t) in text.populations.items() for n, _ in t.arrays}
        self.reload()

    def reload(self):
        """Memory: (N,) of shared variables, (B, N) of others, flat arrays."""
        self.memory = {}
        for p, (size, t) in self.text.populations.items():
            for n, k, access in t.vars:
                self.memory[p, n] = np.zeros(size if access == "READ_ONLY" else (self.batch, size), TYPES[k][1])
            self.memory |= {(p, n): np.zeros(self.lengths[p, n], TYPES[k][1]) for n, k in t.arrays}
        for c, s in self.text.synapses.items():
            size = self.size(s.source) * self.size(s.target)
            for n, k, access in s.update.vars:
                self.memory[c, n] = np.zeros(size if access == "READ_ONLY" else (self.batch, size), TYPES[k][1])
        self.in_syn = {c: np.zeros((self.batch, self.size(s.target))) for c, s in self.text.synapses.items()}
        self.past = []  # of every step and example: population -> (spikes, copies of the variables that synapses read)

    def size(self, population):
        return self.text.populations[population][0]

    def of(self, b, group, names):
        """Example b's memory of variables and arrays."""
        parts = [(n, self.memory[group, n]) for n in names]
        return [x[b] if x.ndim == 2 else x for _, x in parts]

    def close(self):
        self.memory = {}

    def set_number(self, population, name, value):
        self.numbers[population, name] = float(value)

    def neurons(self, population, name, *, pull=False):
        return self.memory[population, name]

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
            self.past.append([self.step(t, b) for b in range(self.batch)])

    def step(self, t, b):
        """One step of example b: synapses, then neurons."""
        inputs = {p: np.zeros((max(1, len(x.inputs)), n)) for p, (n, x) in self.text.populations.items()}
        row = lambda p, i: inputs[p][self.text.populations[p][1].inputs.index(i)]  # noqa: E731
        for name, s in self.text.synapses.items():
            self.spread(b, name, s, row(s.source, s.pre_input) if s.pre_input else np.zeros(self.size(s.source)))
        for name, s in self.text.synapses.items():
            if s.post_input:
                self.call("arrive", [self.in_syn[name][b]], [row(s.target, s.post_input)], self.size(s.target))
        return {p: self.update(t, b, p, x, inputs[p]) for p, (_, x) in self.text.populations.items()}

    def update(self, t, b, p, x, inputs):
        sent = np.zeros(self.size(p), np.int32)
        memory = pointers(self.of(b, p, [n for n, *_ in (*x.vars, *x.arrays)]))
        numbers = np.array([self.numbers[p, n] for n, _ in x.params])
        self.call(f"update_{p}", memory, [numbers], float(t), b, [inputs], [sent])
        copies = {v: self.memory[p, v][b].copy() for v in self.read_of(p)}
        return np.flatnonzero(sent).astype(np.int32), copies

    def read_of(self, p):
        """Variables of a population that synapses read."""
        read = set()
        for s in self.text.synapses.values():
            read |= {v for _, _, v in s.update.pre_refs} if s.source == p else set()
            read |= {v for _, _, v in s.update.post_refs} if s.target == p else set()
        return read

    def spread(self, b, name, s, to_pre):
        if len(self.past) <= max(s.delay, s.look_back):
            return
        spikes, pre = self.past[-1 - s.delay][b][s.source]
        post = self.past[-1 - s.look_back][b][s.target][1]
        if len(spikes):
            memory = pointers(self.of(b, name, [n for n, *_ in s.update.vars]))
            refs = [
                pointers([x[v] for _, _, v in r]) for x, r in ((pre, s.update.pre_refs), (post, s.update.post_refs))
            ]
            self.call(f"spread_{name}", memory, *refs, [spikes], len(spikes), [self.in_syn[name][b]], [to_pre])

    def call(self, function, *given):
        """Numbers as they are, a list of one array as its pointer."""
        kinds = {int: ctypes.c_int, float: ctypes.c_double, list: lambda x: ctypes.c_void_p(x[0].ctypes.data)}
        getattr(self.library, function)(*[kinds.get(type(g), lambda x: x)(g) for g in given])

    def reduced(self):
        for name in self.text.reduced:
            total = np.zeros(self.memory[name, "gradient"].shape[1])
            for gradient in self.memory[name, "gradient"]:
                part = np.full_like(total, np.nan)
                self.call("reduce", [gradient], [part], total.size)
                total += part
            yield name, total
