"""A trial in exact time as C++: what `trial.hpp` asks for of every population and connection, and the memory of a thread."""

from __future__ import annotations

from ....adjoint.birth import FARTHEST, ROUNDING
from ....plan import ConnectionRecord, PopulationRecord
from ....plan.groups import groups
from ....program.events import OBSERVED
from ....program.population import RECORD
from ....program.readouts.spikes import COUNT
from ...statements import TYPES, constants, indent
from ..context import Context, by_drive, windows_of
from ..declarations import keep_spikes
from ..grid.memory import targets_of
from ..grid.work import prepare
from .program import ExactProgram, function
from .readings import reads

BIRTH_CONSTANTS = f"""\
constexpr double FARTHEST = {FARTHEST};  // maxima farther below the threshold, in widths of the noise, are none
constexpr double ROUNDING = {ROUNDING};  // slopes of g that change its terms by fewer roundings in a step are 0
"""
NO_HALVES = """\
    void prepare_back(const Args&) {}
    void trade(Work&) {}
"""
PASSES = """\
__attribute__((noinline)) int forward(const Args& args, Work& work, int64_t sample) {{
{bind}    return OneTrial{{args, work, sample}}.forward();
}}

__attribute__((noinline)) void backward(const Args& args, Work& work, int64_t sample, scalar* slice, bool first) {{
    OneTrial{{args, work, sample}}.backward(slice, first);
}}
"""
PASSES_OF_PIECE = """\
typedef Piece<Trial<Work, Groups, Populations, Connections>> OnePiece;

__attribute__((noinline)) int forward(const Args& args, Work& work, int64_t sample) {
    bind(args, work);
    return OnePiece{{args, work, sample}}.forward();
}

__attribute__((noinline)) void backward(const Args& args, Work& work, int64_t sample, scalar* slice, bool) {
    OnePiece{{args, work, sample}}.backward(slice);
}

void leave_interval(const Args& args, Work& work, int64_t sample) { OnePiece{{args, work, sample}}.close(); }
"""
LOCATE = """\
// `step` is the time, in 2^-50 of the trial.
void locate(const Args& args, Work& work, Trouble& trouble) {
    work.prepare(args);
    if (!forward(args, work, trouble.sample)) return;
    trouble.step = int64_t(work.lost.at / args.duration * 0x1p50), trouble.state = work.lost.state, trouble.neuron = work.lost.neuron;
}
"""
GIVEN = "[[maybe_unused]] const Args& args, [[maybe_unused]] Work& work"
SIGNATURE = "const Args& args, Work& work, int64_t sample"


def work(ctx: Context, program: ExactProgram) -> str:
    """Per-thread memory."""
    plan = ctx.plan
    fields = [constants("int", {"births": plan.spike_birth > 0, "connections": len(plan.connections)})]
    for p in plan.populations:
        name = ctx.p(p.name)
        fields += [f"typedef {program.flow(p)} type_{name};", f"type_{name} {name};"]
    members = program.memory.members()
    fields += [*(r.member() for r in program.readers), *program.recorders()]
    fields += [f"Buffer<{TYPES[kind]}> {n};" for n, (kind, _) in members.items()]
    fields += [f"Log log[{len(groups(plan))}];", "Lost lost;"]
    fields += [f"OnTheWay way[{len(plan.connections)}];"] if any(c.delays for c in plan.connections) else []
    if plan.spike_birth:
        fields.append(f"UnbornLog unborn[{len(groups(plan))}];")
        for name, p in ((ctx.p(p.name), p) for p in ctx.spiking):
            fields.append(f"Births<type_{name}, N_{name}> births_{name};")
            # of every candidate the changes of the readouts
            fields += [f"Buffer<scalar> moved_{name}_{ctx.p(out)};" for out in _moved_outputs(ctx, p)]
    fields += [constants("int", {"populations": len(plan.populations)})] if ctx.pieces else []
    # own spikes of earlier pieces that a piece begins with, and the first one that the next piece needs
    fields += ["int64_t carried[populations] = {}, needed[populations] = {};"] if ctx.pieces else []
    regular = [plan.populations.index(p) for p in program.regularised] if ctx.pieces else []
    fields += [f"Buffer<scalar> regular_p{i};" for i in regular]
    body = "\n".join([*fields, "int64_t guarded = 0;\n"])
    room = [f"{ctx.p(p.name)}.prepare();" for p in plan.populations]
    room += [f"{n}.zero({size});" for n, (_, size) in members.items()]
    room += [f"regular_p{i}.zero(NP_p{i});" for i in regular]
    body += prepare("prepare", "ready", "", room, targets_of(plan))
    return f"struct Work {{\n{indent(body)}{NO_HALVES}}};\n"


def structs(ctx: Context, program: ExactProgram) -> str:
    """A struct of every population and connection, and their lists."""
    text, found = [], groups(ctx.plan)
    number = {p.name: i for i, group in enumerate(found) for p in group}
    text += [_population(ctx, program, p, number[p.name]) for p in ctx.plan.populations]
    text += [_connection(ctx, c) for c in ctx.plan.connections]
    each = [f"Types<{', '.join(f'Population_{ctx.p(p.name)}' for p in group)}>" for group in found]
    every = ", ".join(f"Population_{ctx.p(p.name)}" for group in found for p in group)
    connections = ", ".join(f"Connection_{ctx.c(c)}" for c in ctx.plan.connections)
    text.append(f"typedef Types<{', '.join(each)}> Groups;\ntypedef Types<{every}> Populations;\n")
    text.append(f"typedef Types<{connections}> Connections;\n")
    return "\n".join(text)


def passes(program: ExactProgram) -> str:
    if program.names.pieces:
        return PASSES_OF_PIECE
    return f"typedef Trial<Work, Groups, Populations, Connections> OneTrial;\n\n{PASSES.format(bind=program.bind)}"


def keep(ctx: Context) -> str:
    """Hands the spikes of a trial to the host if they are recorded; and where a trial could not go on."""
    call = "host.keep_times(host, {0}, sample, {1}.spikes.neuron{2}, {1}.spike_time{2}, {1}.spikes.count{3})"
    calls = []
    for i, p in enumerate(ctx.spiking):
        before = f"work.carried[{ctx.plan.populations.index(p)}]" if ctx.pieces else ""
        new = (f" + {before}", f" - {before}") if before else ("", "")
        calls.append(call.format(i, f"work.{ctx.p(p.name)}", *new))
    return keep_spikes(calls) + LOCATE


def _population(ctx: Context, program: ExactProgram, p: PopulationRecord, group: int) -> str:
    name, born = ctx.p(p.name), ctx.plan.births(p.name)
    readers = "Readers<>()"
    for r in reversed(reads(program.readers, p)):
        readers = f"with({r.name}, {r.dr}, {readers})"
    numbers = {
        "number": ctx.plan.populations.index(p), "group": group, "size": p.size, "events": len(p.derived.events),
    }  # fmt: skip
    regular = ctx.pieces and p in program.regularised
    flags = {"born": born, "keeps": p.stores_states, "driven": bool(p.drives), "observed": p.observed}
    flags |= {"regularised": regular} if ctx.pieces else {}
    body = [
        f"typedef Model_{name} Model;\n",
        constants("int", numbers),
        constants("bool", flags),
        constants("int64_t", {"gradients[]": [*(f"AT_{name}_G_{n}" for n in p.trainable), 0]}),
        function("auto& flow(Work& work)", f"return work.{name};\n"),
        function("auto readers(Work& work)", f"return {readers};\n"),
        function("scalar* record(const Args& args)", f"return args.{name}_{RECORD};\n"),
        *(
            [function("int32_t* counts(const Args& args)", f"return args.{name}_{COUNT};\n")]
            if ctx.pieces and p.spiking
            else []
        ),
        *([function("auto& regular(Work& work)", f"return work.regular_{name};\n")] if regular else []),
        *([function("auto& recorder(Work& work)", f"return work.record_{name};\n")] if program.recorders() else []),
        function("void initial(const Args& args, Work& work)", program.initial(p)),
        function("void initial_gradient(const Args& args, Work& work)", program.initial_gradient(p)),
        program.said(p),
        *(_births(ctx, program, p) if born else []),
        *(_currents(ctx, p) if p.drives else []),
        *([_observed(name)] if p.observed else []),
    ]
    return f"struct Population_{name} {{\n{indent(''.join(body))}}};\n"


def _births(ctx: Context, program: ExactProgram, p: PopulationRecord) -> list[str]:
    """The candidates of a population, and by how much L changes with the spike of one."""
    name, outputs = ctx.p(p.name), [ctx.p(out) for out in _moved_outputs(ctx, p)]
    moved = "".join(f"f(work.moved_{name}_{q}, int64_t(NP_{q}));\n" for q in outputs)
    change, several = "double change = b.change;\n", "if (!args.several) " if ctx.pieces else ""
    for q in outputs:
        change += (
            f"{several}change += double(birth_moved_{q}(args, work, sample, work.moved_{name}_{q} + index * NP_{q}));\n"
        )
    return [
        function("auto& births(Work& work)", f"return work.births_{name};\n"),
        "template <class F>\n",
        function("void each_moved([[maybe_unused]] Work& work, [[maybe_unused]] const F& f)", moved),
        function(
            f"double change({SIGNATURE}, const Candidate& b, int64_t index)",
            f"{change}{program.born(p)}return change;\n",
        ),
    ]


def _observed(name: str) -> str:
    """The spikes of a trial that others computed."""
    first, of_sample = (
        f"const int64_t first = args.{name}_{OBSERVED}_start[sample];\n",
        f"args.{name}_{OBSERVED}_start[sample + 1] - first",
    )
    spikes = f"{{args.{name}_{OBSERVED}_times + first, args.{name}_{OBSERVED}_neurons + first, {of_sample}}}"
    return function("ObservedSpikes observed_spikes(const Args& args, int64_t sample)", f"{first}return {spikes};\n")


def _currents(ctx: Context, p: PopulationRecord) -> list[str]:
    """The states that stand for currents take the values that these change to; and dL/du."""
    name, drives = ctx.p(p.name), ctx.drives(p)
    row = f"const int64_t row = (sample * args.{name}_changes + number) * NP_{name};\n"
    loop, flow = f"for (int k = 0; k < N_{name}; ++k) ", f"work.{name}"
    to, back = row, row
    for n, state in drives.items():
        i = p.derived.states.index(state)
        to += f"{loop}{flow}.now_x[{i}][k] = double(args.{name}_{n}[row + k]);\n"
        back += f"{loop}args.{by_drive(name, n)}[row + k] = scalar({flow}.lambda[{i}][k]), {flow}.lambda[{i}][k] = 0;\n"
    return [
        function("int64_t changes(const Args& args)", f"return args.{name}_changes;\n"),
        function("double change_time(const Args& args, int64_t i)", f"return args.{name}_change_times[i];\n"),
        function(f"void set_currents({SIGNATURE}, int64_t number)", to),
        function(f"void by_currents({SIGNATURE}, int64_t number)", back),
    ]


def _connection(ctx: Context, c: ConnectionRecord) -> str:
    plan, x, q = ctx.plan, ctx.c(c), ctx.p(c.target)
    is_input = c.source == plan.input.name
    source = "Input" if is_input else f"Population_{ctx.p(c.source)}"
    receptor = list(plan.population(c.target).derived.receptors).index(c.receptor)
    numbers = {"number": plan.connections.index(c), "receptor": receptor}
    hand_back = _hand_back(ctx, c)
    flags = {
        "trainable": c.trainable, "delayed": c.delays is not None, "all": c.by_rows, "hands": bool(hand_back),
        "unborn": plan.births_through(c),
    }  # fmt: skip
    lag = f"args.d_{x}" if c.delay > 0 else "0.0"
    moves = plan.births_through(c) and _moves(ctx, c)
    moved = f"work.moved_{ctx.p(c.source)}_{q} + index * NP_{q}" if moves else "nullptr"
    if moves and ctx.pieces:  # of several labels a spike is known to change each to first order alone
        moved = f"args.several ? nullptr : {moved}"
    body = [
        f"typedef {source} Source;\ntypedef Population_{q} Target;\n",
        constants("int", numbers),
        constants("bool", flags),
        constants("int64_t", {"gradient": f"AT_{x}_gradient" if c.trainable else 0}),
        function("auto synapses(const Args& args)", f"return {_synapses(ctx, c)};\n"),
        "// The delay of all synapses; and what a route has beside it.\n",
        function("double lag(const Args& args)", f"return {lag};\n"),
        function("double late(const Args& args, int32_t route)", f"return {_late(ctx, c)};\n"),
        *([function("auto& way(Work& work)", "return work.way[number];\n")] if c.delays else []),
        *([function("int32_t sender(int32_t channel)", _sender(c))] if is_input else []),
        "// The spike that arrived, and its delay, get D.\n",
        function(f"void hand_back({SIGNATURE}, scalar* slice, const LogEntry& arrival, double D)", "".join(hand_back)),
        function(f"scalar* moved({GIVEN}, int64_t index)", f"return {moved};\n"),
        function("const scalar* slope(Work& work)", f"return {f'work.{q}_w_dr' if moves else 'nullptr'};\n"),
    ]
    return f"struct Connection_{x} {{\n{indent(''.join(body))}}};\n"


def _synapses(ctx: Context, c: ConnectionRecord) -> str:
    """See `routes.hpp`."""
    x, sizes = ctx.c(c), f"N_{ctx.p(c.target)}, NP_{ctx.p(c.target)}"
    if c.windows is not None:
        return f"window_routes<{sizes}>({windows_of(c.windows, f'args.{x}')})"
    if c.spread:
        return f"Table{{{', '.join(f'args.{x}_{n}' for n in ('start', 'first', 'target', 'place', 'weight'))}}}"
    size = f"N_{ctx.p(c.target)}"
    return f"Dense<{size}, {size if ctx.device else f'NP_{ctx.p(c.target)}'}>{{args.{x}_weight}}"


def _delay_place(ctx: Context, c: ConnectionRecord, route: str) -> str:
    return f"args.{ctx.c(c)}_delay_of[{route}]" if c.spread else route


def _late(ctx: Context, c: ConnectionRecord) -> str:
    return f"double(args.{ctx.c(c)}_delays[{_delay_place(ctx, c, 'route')}])" if c.delays else "0.0"


def _sender(c: ConnectionRecord) -> str:
    """The source that a channel of the input is, -1 if it belongs to another one."""
    if not c.channels:
        return "return channel;\n"
    return f"const int32_t sender = channel - {c.channels[0]};\nreturn sender < {c.pre} ? sender : -1;\n"


def _hand_back(ctx: Context, c: ConnectionRecord) -> list[str]:
    """``D`` of an arrival goes to its delay, and to the spike or the input that arrived."""
    lines = []
    if c.learns_delays:
        place = _delay_place(ctx, c, "arrival.source")
        lines.append(f"slice[AT_{ctx.c(c)}_delay_gradient + {place}] += scalar(D);\n")
    if c.source != ctx.plan.input.name:
        lines.append(f"work.{ctx.p(c.source)}.credit(arrival.index, D);\n")
    elif ctx.split:
        lines.append("args.input_gradient[args.input_start[sample] + arrival.index] += scalar(D);\n")
    return lines


def _moves(ctx: Context, c: ConnectionRecord) -> bool:
    """Whether an arrival through a connection changes a readout by a known amount, so that the outer loss is evaluated again."""
    return not ctx.split and ctx.plan.adds_up(c.target)


def _moved_outputs(ctx: Context, p: PopulationRecord) -> list[str]:
    """The outputs whose readouts a spike of a population changes so."""
    return list(dict.fromkeys(c.target for c in ctx.plan.out_of(p.name) if _moves(ctx, c)))
