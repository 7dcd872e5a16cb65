"""GeNN's order of operations without GeNN: the texts of the genn engine compiled as C++ and stepped as GeNN steps them.

In every step first the synapses: presynaptic code runs for the spikes and for the events that neurons sent in the step
before; postsynaptic variables are read from then, earlier by the back-propagation delay; what goes to the target may
wait in its dendritic delay. Then the neurons: what arrived goes through the postsynaptic code into the input variables,
then sim code, event condition, threshold. Custom updates run between steps, all of a group at once; a reduced
variable starts from 0 or from the least number. Variables that no code of a neuron writes keep their value; scalar is
double here.
"""

import ctypes

import numpy as np

from genn_eventprop.codegen.genn.text import POSTSYNAPTIC_CODE
from genn_eventprop.engines.genn.engine import GennEngine
from genn_eventprop.engines.genn.transfer import synapse_places
from genn_eventprop.toolchain import build
from support.genn_rules import refuse

TYPES = {
    "scalar": ("scalar", np.float64), "double": ("double", np.float64), "int": ("int", np.int32),
    "uint32_t": ("uint32_t", np.uint32),
}  # fmt: skip


class HarnessEngine(GennEngine):
    """The genn engine on the harness: everything but pygenn itself. batch_size: GeNN's, None for the batch's; room: for
    events of a neuron at first."""

    def __init__(self, plan, values, *, batch_size=1, room=None, **settings):
        self.batch_size = batch_size
        super().__init__(plan, values, **settings)
        self.room[:] = self.room if room is None else [room] * len(self.room)

    def _choose_backend(self, asked):
        return "single_threaded_cpu"

    def _group_size(self, batch):
        return self.batch_size or batch

    def _build(self, text, lengths):
        return HarnessNetwork(text, self.group, lengths, self._network_tables)


def events_of(text, population):
    """(connection, condition, references) of every event that a population can send."""
    found = []
    for name, s in text.synapses.items():
        if s.source == population and s.update.pre_event_threshold_condition_code:
            found.append((name, s.update.pre_event_threshold_condition_code, s.update.pre_refs))
    return found


def neuron_source(name, size, text, events):
    """C++ of one neuron model: `update_NAME` does one step of all neurons. sent: spikes, then events, (1 + E, N)."""
    lines = [f'extern "C" void update_{name}(void** memory, const double* numbers, double time, int batch,']
    lines += [
        "        const scalar* inputs, int* sent_by) {",
        f"    const scalar t = time; const int num_neurons = {size};",
    ]
    lines += ["    (void)t; (void)batch; (void)num_neurons; (void)inputs; (void)numbers;"]
    lines += [f"    const {k} {n} = ({k})numbers[{i}]; (void){n};" for i, (n, k) in enumerate(text.params)]
    kinds = [(n, k) for n, k, _ in (*text.vars, *text.arrays)]
    lines += [f"    {k}* const all_{n} = ({k}*)memory[{i}];" for i, (n, k) in enumerate(kinds)]
    lines += [f"    {k}* const {n} = all_{n}; (void){n};" for n, k, _ in text.arrays]
    lines += [f"    for (int id = 0; id < {size}; ++id) {{"]
    for n, k, access in text.vars:
        lines.append(f"        {'' if access == 'READ_WRITE' else 'const '}{k} {n} = all_{n}[id]; (void){n};")
    lines += [f"        const scalar {n} = inputs[{i * size} + id]; (void){n};" for i, n in enumerate(text.inputs)]
    lines += [text.sim_code, "        sent_by[id] = 0;"]
    for e, (_, condition, refs) in enumerate(events):
        local = "".join(f"const {k} {n} = {v}; (void){n}; " for n, k, v in refs)
        lines.append(f"        {{ {local}sent_by[{(e + 1) * size} + id] = ({condition}) ? 1 : 0; }}")
    if text.threshold_condition_code:
        lines.append(f"        if ({text.threshold_condition_code}) sent_by[id] = 1;")
    lines += [f"        all_{n}[id] = {n};" for n, _, access in text.vars if access == "READ_WRITE"]
    return "\n".join([*lines, "    }", "}", ""])


PAST = """struct Past { void** at; int j; scalar operator[](int d) const { return ((const scalar*)at[d])[j]; } };
"""


def synapse_source(name, pre, post, text):
    """C++ of one connection: `spread_NAME` does one step for a list of spikes, `back_NAME` for one of events."""
    u, parts = text.update, []
    past = text.delay + 1 if text.delays else 1  # steps in which a variable of the target is read
    for function, code in (("spread", u.pre_spike_syn_code), ("back", u.pre_event_syn_code)):
        lines = [f'extern "C" void {function}_{name}(void** memory, void** pre, void** post, const int* sent, int n,']
        lines += ["        scalar* in_syn, scalar* to_pre, const int* length, const int* ind, int stride) {"]
        lines += ["    for (int s = 0; s < n; ++s)", "        for (int i = sent[s], k = 0; k < length[i]; ++k) {"]
        lines += ["            const int j = ind[i * stride + k]; (void)j;"]
        lines += ["            auto addToPost = [&](scalar x) { in_syn[j] += x; }; (void)addToPost;"]
        lines += [f"            auto addToPostDelay = [&](scalar x, int d) {{ in_syn[d * {post} + j] += x; }};"]
        lines += ["            (void)addToPostDelay;"]
        lines += ["            auto addToPre = [&](scalar x) { to_pre[i] += x; }; (void)addToPre;"]
        for kind, memory, index, names in (
            ("{}&", "memory", "i * stride + k", u.vars), ("const {}", "pre", "i", u.pre_refs),
        ):  # fmt: skip
            for v, (n, kd, access) in enumerate(names):
                of = "const {}" if access == "READ_ONLY" else kind
                lines.append(f"            {of.format(kd)} {n} = (({kd}*){memory}[{v}])[{index}]; (void){n};")
        for v, (n, kd, _) in enumerate(u.post_refs):
            now = f"const {kd} {n} = (({kd}*)post[{v}])[j]"
            lines.append(f"            {f'const Past {n}{{post + {v * past}, j}}' if text.delays else now}; (void){n};")
        parts.append("\n".join([*lines, code, "        }", "}", ""]))
    return "\n".join(parts)


def names_of(update):
    """(name, type, step of its index) of everything that an update's code uses: references, then own variables."""
    shared = ("REDUCE_NEURON_SUM", "REDUCE_NEURON_MAX", "READ_ONLY_SHARED_NEURON")
    return [(n, k, a) for n, k, a, *_ in update.refs] + [(n, k, a if a in shared else "") for n, k, a in update.vars]


def update_source(name, text, pre=0, post=0):
    """C++ of one custom update: `custom_NAME` for the `size` elements of one example; stride 0 is one value for all.

    Of a connection the elements are its synapses, `pre` x `post`, in the order of the weights.
    """
    lines = [f'extern "C" void custom_{name}(void** memory, const int* strides, const double* numbers, int size,']
    lines += ["        void** arrays, int batch) {", "    const int num_neurons = size;"]
    lines += [f"    const unsigned int num_pre = {pre}, num_post = {post};"]
    lines += ["    (void)numbers; (void)arrays; (void)batch; (void)num_neurons; (void)num_pre; (void)num_post;"]
    lines += [f"    {k}* const {n} = ({k}*)arrays[{i}];" for i, (n, k, *_) in enumerate(text.arrays)]
    lines += [f"    const {k} {n} = ({k})numbers[{i}]; (void){n};" for i, (n, k) in enumerate(text.params)]
    lines += ["    for (unsigned int id = 0; id < (unsigned int)size; ++id) {"]
    if pre:
        lines += ["        const unsigned int id_syn = id; (void)id_syn;"]
    reduced = {n: a for n, _, a in text.vars if a.startswith("REDUCE")}
    fixed = {n for n, _, a, *_ in (*text.refs, *text.vars) if a.startswith("READ_ONLY")}
    for i, (n, k, _) in enumerate(names_of(text)):
        place = f"(({k}*)memory[{i}])[id * strides[{i}]]"
        lines.append(f"        {'const ' * (n in fixed)}{k} {n} = {0 if n in reduced else place}; (void){n};")
    lines.append(text.code)
    for i, (n, k, _) in enumerate(names_of(text)):
        place = f"(({k}*)memory[{i}])[id * strides[{i}]]"
        join = {"SUM": f"{place} + {n}", "MAX": f"{place} > {n} ? {place} : {n}"}
        lines += [f"        {place} = {join[reduced[n][-3:]] if n in reduced else n};"] * (n not in fixed)
    return "\n".join([*lines, "    }", "}", ""])


def network_source(text):
    head = "#include <cmath>\n#include <cstdint>\nusing std::fmin; using std::fmax; using std::fabs; using std::sqrt;\n"
    parts = [head + "using std::exp; using std::log; using std::pow;\ntypedef double scalar;\n" + PAST]
    parts += [neuron_source(n, size, t, events_of(text, n)) for n, (size, t) in text.populations.items()]
    size = {n: s for n, (s, _) in text.populations.items()}
    parts += [synapse_source(n, size[s.source], size[s.target], s) for n, s in text.synapses.items()]
    for n, u in text.updates.items():
        s = text.synapses.get(u.of)
        parts.append(update_source(n, u, *((size[s.source], size[s.target]) if s else ())))
    parts.append(
        'extern "C" void arrive(scalar* all, scalar* input, int n) { for (int i = 0; i < n; ++i) {\n'
        "scalar& inSyn = all[i]; auto injectCurrent = [&](scalar x) { input[i] += x; };\n" + POSTSYNAPTIC_CODE + "} }\n"
    )
    return "\n".join(parts)


def pointers(arrays):
    return (ctypes.c_void_p * max(1, len(arrays)))(*map(address, arrays))


def address(array):
    return array.__array_interface__["data"][0]  # array.ctypes takes twice as long


PASSED = {int: ctypes.c_int, float: ctypes.c_double, list: lambda one: ctypes.c_void_p(address(one[0]))}
"""Type of a number, or of a list of one array, -> what C gets."""


class HarnessNetwork:
    """Has the methods of `genn_eventprop.engines.genn.network.Network`."""

    def __init__(self, text, batch, lengths, tables):
        refuse(text)
        self.text, self.batch = text, batch
        self.rows = {c: self.rows_of(s, tables.get(s.of)) for c, s in text.synapses.items()}
        self.library = build(network_source(text))
        self.numbers = {(p, n): 1.0 for p, (_, t) in text.populations.items() for n, _ in t.params}
        self.of_population = {}  # its numbers as one array, until one is set
        self.update_numbers = {(u, n): 1.0 for u, t in text.updates.items() for n, _ in t.params}
        self.lengths = {(p, n): 1 for p, (_, t) in text.populations.items() for n, *_ in t.arrays} | dict(lengths)
        self.reload()

    def rows_of(self, s, table):
        """(length (M,), targets (M, longest row)) of a connection, as GeNN keeps them."""
        M, N = self.size(s.source), self.size(s.target)
        if table is None:
            return np.full(M, N, np.int32), np.tile(np.arange(N, dtype=np.int32), (M, 1))
        at = synapse_places(table)
        return np.diff(table.start).astype(np.int32), np.where(at >= 0, table.target[at], 0).astype(np.int32)

    def reload(self):
        """Memory: (N,) of shared variables, (B, N) of others, flat arrays."""
        self.memory = {}
        for p, (size, t) in self.text.populations.items():
            for n, k, access in t.vars:
                self.memory[p, n] = np.zeros(size if access == "READ_ONLY" else (self.batch, size), TYPES[k][1])
            self.memory |= {(p, n): np.zeros(self.lengths[p, n], TYPES[k][1]) for n, k, _ in t.arrays}
        for c, s in self.text.synapses.items():
            size = self.rows[c][1].size
            for n, k, access in s.update.vars:
                self.memory[c, n] = np.zeros(size if access == "READ_ONLY" else (self.batch, size), TYPES[k][1])
        for name, u in self.text.updates.items():
            for n, k, access in u.vars:
                shared = 1 if "NEURON" in access else self.elements(u)
                single = access in ("REDUCE_BATCH_SUM", "READ_ONLY_SHARED") or not self.batched(u)
                self.memory[f"update {name}", n] = np.zeros(shared if single else (self.batch, shared), TYPES[k][1])
        # what is on its way to each target, by the steps until it arrives
        self.in_syn = {
            c: np.zeros((self.batch, s.delay + 1, self.size(s.target))) for c, s in self.text.synapses.items()
        }
        self.past = []  # of every step and example: population -> (spikes, events, copies of what synapses read)
        self.addresses = {}  # of the variables of a group in an example; they hold until memory is made again
        self.events = {p: events_of(self.text, p) for p in self.text.populations}
        self.read = {p: self.read_of(p) for p in self.text.populations}

    def size(self, population):
        return self.text.populations[population][0]

    def elements(self, update):
        if update.of in self.text.populations:
            return self.size(update.of)
        return self.rows[update.of][1].size

    def batched(self, update):
        """Whether an update runs for every example: if anything it refers to is there for each."""
        return any(self.memory[self.owner(update, o), v].ndim == 2 for *_, o, v in update.refs)

    def owner(self, update, owner):
        return owner if owner == update.of else f"update {owner}"

    def variables(self, b, group, names):
        """Addresses of example b's variables and arrays."""
        if (b, group) not in self.addresses:
            parts = [self.memory[group, n] for n in names]
            self.addresses[b, group] = pointers([x[b] if x.ndim == 2 else x for x in parts])
        return self.addresses[b, group]

    def close(self):
        self.memory = {}

    def set_number(self, population, name, value):
        assert (population, name) in self.numbers
        self.numbers[population, name] = float(value)
        self.of_population.pop(population, None)

    def set_update_number(self, update, name, value):
        assert (update, name) in self.update_numbers
        self.update_numbers[update, name] = float(value)

    def neurons(self, population, name, *, pull=False):
        return self.memory[population, name]

    def synapses(self, name, variable, *, pull=False):
        return self.memory[name, variable]

    def write_synapses(self, name, variable, values):
        length, ind = self.rows[name]
        there = np.arange(ind.shape[1]) < length[:, None]
        self.memory[name, variable].reshape(ind.shape)[there] = np.ravel(values)

    def update_variable(self, update, name, *, pull=False):
        return self.memory[f"update {update}", name]

    def array(self, population, name, *, pull=False):
        return self.memory[population, name]

    def push(self, group, *names):
        assert all((group, n) in self.memory for n in names)

    def push_update(self, update, name):
        self.push(f"update {update}", name)

    def fits(self, lengths):
        return all(self.lengths[key] == n for key, n in lengths.items())

    def fit(self, lengths):
        self.lengths.update(lengths)
        self.reload()

    def launch(self, group):
        for name, update in self.text.updates.items():
            if update.group == group:
                self.custom_update(name, update)

    def custom_update(self, name, update):
        places = [(self.owner(update, o), v) for *_, o, v in update.refs]
        places += [(f"update {name}", n) for n, *_ in update.vars]
        for n, _, access in update.vars:
            if access.startswith("REDUCE"):
                least = -np.finfo(np.float64).max if access.endswith("MAX") else 0.0
                self.memory[f"update {name}", n][...] = least
        numbers = np.array([self.update_numbers[name, n] for n, _ in update.params])
        for b in range(self.batch if self.batched(update) else 1):
            parts = [x[b] if x.ndim == 2 else x for x in (self.memory[p] for p in places)]
            strides = np.array([int(x.size > 1 or self.elements(update) == 1) for x in parts], np.int32)
            arrays = pointers([self.memory[o, a] for _, _, o, a in update.arrays])
            self.call(f"custom_{name}", pointers(parts), [strides], [numbers], self.elements(update), arrays, b)

    def run(self, first, last):
        longest = max((s.delay for s in self.text.synapses.values()), default=0)
        for t in range(first, last):
            self.past = [*self.past[-1 - longest :], [self.step(t, b) for b in range(self.batch)]]

    def step(self, t, b):
        """One step of example b: synapses, then neurons."""
        inputs = {p: np.zeros((max(1, len(x.inputs)), n)) for p, (n, x) in self.text.populations.items()}
        row = lambda p, i: inputs[p][self.text.populations[p][1].inputs.index(i)]  # noqa: E731
        for name, s in self.text.synapses.items():
            self.spread(b, name, s, row(s.source, s.pre_input) if s.pre_input else np.zeros(self.size(s.source)))
        for name, s in self.text.synapses.items():
            waiting = self.in_syn[name][b]
            self.call("arrive", [waiting[0]], [row(s.target, s.post_input)], self.size(s.target))
            waiting[:-1] = waiting[1:].copy()
            waiting[-1] = 0.0
        return {p: self.update(t, b, p, x, inputs[p]) for p, (_, x) in self.text.populations.items()}

    def update(self, t, b, p, x, inputs):
        sent = np.zeros((1 + len(self.events[p]), self.size(p)), np.int32)
        memory = self.variables(b, p, [n for n, *_ in (*x.vars, *x.arrays)])
        if p not in self.of_population:
            self.of_population[p] = np.array([self.numbers[p, n] for n, _ in x.params])
        self.call(f"update_{p}", memory, [self.of_population[p]], float(t), b, [inputs], [sent])
        copies = {v: self.memory[p, v][b].copy() for v in self.read[p]}
        lists = [np.flatnonzero(s).astype(np.int32) for s in sent]
        return lists[0], {c: lists[1 + e] for e, (c, *_) in enumerate(self.events[p])}, copies

    def read_of(self, p):
        """Variables of a population that synapses read."""
        read = set()
        for s in self.text.synapses.values():
            read |= {v for _, _, v in s.update.pre_refs} if s.source == p else set()
            read |= {v for _, _, v in s.update.post_refs} if s.target == p else set()
        return read

    def spread(self, b, name, s, to_pre):
        look_back = s.delay if s.update.post_refs and not s.delays else 0
        if len(self.past) <= look_back:
            return
        spikes, events, pre = self.past[-1][b][s.source]
        sent_off = [(f, sent) for f, sent in (("spread", spikes), ("back", events.get(name, ()))) if len(sent)]
        if not sent_off:
            return
        nothing = {v: np.zeros(self.size(s.target)) for _, _, v in s.update.post_refs}
        when = range(s.delay + 1) if s.delays else [look_back]
        post = [self.past[-1 - d][b][s.target][2] if d < len(self.past) else nothing for d in when]
        length, ind = self.rows[name]
        memory = self.variables(b, name, [n for n, *_ in s.update.vars])
        refs = [pointers([pre[v] for _, _, v in s.update.pre_refs])]
        refs.append(pointers([x[v] for _, _, v in s.update.post_refs for x in post]))
        table = [length], [ind], ind.shape[1]
        for function, sent in sent_off:
            self.call(f"{function}_{name}", memory, *refs, [sent], len(sent), [self.in_syn[name][b]], [to_pre], *table)

    def call(self, function, *given):
        """Numbers as they are, a list of one array as its pointer."""
        getattr(self.library, function)(*[PASSED[type(g)](g) if type(g) in PASSED else g for g in given])
