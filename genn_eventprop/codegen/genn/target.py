"""A plan as one GeNN network: forward and adjoint in the same neurons and synapses, a phase after the other.

GeNN updates synapses, then neurons, then time, and a spike sent in GeNN step t acts in step t + 1, also one of the
input. Its own dt is 1, so that its time is the number of the step, exact in any precision. With lead = 1 + the longest
delay, a phase takes K + lead + 1 GeNN steps:

* forwards the input sends the spikes of step k at t = lead + k, and neurons make step k at t = start + k, start = lead
  + 1. In the steps before, what is still under way from the last trial runs out and is dropped.
* backwards, turn - t counts down. Neurons are idle until it is K, act until it is 0. In the idle steps what they show
  is zero, whatever the delays.

Custom updates run between the phases, by groups: `reset` before a trial, `read` after its last step, `totals` over
neurons, `outer` the outer loss, `turn` before the way back; `zero`, `copy` and `parts` before a batch.
"""

from __future__ import annotations

from ...errors import EngineError
from ...losses.kinds import READOUTS
from ...plan import Plan
from ...program.compare import RUNNING, comparison, further_slopes
from ...program.nodes import NEURON, Kernel, name
from ...program.operations import EachNeuron, FeedInput, GatherDelays, Total
from ...program.trial import Trial, make_trial
from ..safe_text import check_identifiers
from ..statements import indent
from . import gather, synapses
from .learning import Rule, learning_updates
from .population import Population
from .source import SLOPES, source, sources
from .text import NetworkText, SynapseText, UpdateText
from .writer import DIVERGED, Declared


def network_text(plan: Plan, *, training: bool = True, rule: Rule | None = None, split: bool = False) -> NetworkText:
    """The network of a plan.

    Args:
        training: with the adjoint. rule: the optimiser that changes weights on the device, if one does. split: the host
            gives dL/dr, and reads all that the loss names in `also`.
    """
    check_identifiers(plan)
    return _Text(plan, training, rule, split).text()


class _Text:
    def __init__(self, plan: Plan, training: bool, rule: Rule | None, split: bool) -> None:
        # a loss that needs more than one number of every output is taken where the trial keeps that
        adjoint = training or any(READOUTS[loss.readout].in_trial for loss in plan.losses)
        self.plan, self.rule = plan, rule
        self.trial: Trial = make_trial(plan, adjoint=adjoint, split=split)
        self.training = adjoint
        self.delivered = {o.connection: synapses.without_powers(o) for o in self.trial.arrivals}
        self.compared = self._compared()
        self.feeds = split and adjoint  # whether input spikes get back what they caused
        terms = [t for o in self.trial.feedback for t in o.terms]
        terms += [t for o in self.trial.end_back if isinstance(o, FeedInput) for t in o.terms] if self.feeds else []
        for i, part, _ in terms:
            if part not in gather.OF_WEIGHT:
                raise EngineError(
                    f"genn: connection {plan.connections[i].name!r} has feedback of {part!r}, unknown here"
                )
        self.terms = {i: [(p, row) for j, p, row in terms if j == i] for i, _, _ in terms} if adjoint else {}
        inputs = {b.name for o in self.delivered.values() for _, b in o.sums}
        inputs |= {o.into.name for o in self.trial.feedback}
        late = [o for o in self.trial.end_back if isinstance(o, GatherDelays)] if adjoint else []
        self.late = {o.connection: o.terms for o in late}
        delay_rows = {
            row.name for o in late for _, row in o.terms
        }  # D of a window's steps, for delays that are learned
        rows = {row.name for _, _, row in terms} | delay_rows
        arrays = self._arrays()
        self.populations = [
            Population(self.trial, i, arrays, inputs, rows, delay_rows) for i in range(len(plan.populations))
        ]  # fmt: skip
        self.updates: dict[str, UpdateText] = {}
        self.results: dict[str, tuple[str, str, str]] = {}

    def _compared(self) -> dict[int, list[tuple[Kernel, str]]]:
        """Population -> (the outer loss, how often it is taken: "once", "each step" or "each neuron")."""
        host_slopes, kernels_of = self.trial.host_slopes, {}
        for i, readout in self.trial.readouts.items() if self.training or not host_slopes else ():
            once, each = comparison(self.trial.scopes[i], readout, host_slopes)
            others = further_slopes(readout) if host_slopes else None
            kernels = ((once, "once"), (each, "each step"), (others, "each neuron"))
            kernels_of[i] = [(kernel, often) for kernel, often in kernels if kernel]
        return kernels_of

    def _arrays(self) -> set[str]:
        """Buffers with a number for each output that the outer loss reads all of."""
        names = set()
        for kernel, _ in (pair for pairs in self.compared.values() for pair in pairs):
            accesses = (kernel.table[s] for s in kernel.named)
            names |= {a.buffer.name for a in accesses if len(a.buffer.axes) == 1 and a.index != (NEURON,)}
        return names

    def text(self) -> NetworkText:
        plan = self.plan
        sims = [p.sim_code() for p in self.populations]
        for p in self.populations:
            self.updates[f"reset_{p.p.name}"] = p.update("reset", p.begin())
        for o in (o for o in self.trial.end if isinstance(o, EachNeuron)):
            p = self.populations[o.population]
            code = "const int step = g_n_steps;\n" + p.kernel(o.kernel)
            self.updates[f"read_{p.p.name}"] = p.update("read", code)
        for i, kernels in self.compared.items():
            self._outer(self.populations[i], kernels)
        if self.training:
            self._turn()
        called = {b.name: p.names.called(b) for p in self.populations for b in self.trial.buffers.values()
                  if b.name.startswith(p.s.prefix)}  # fmt: skip
        connections: dict[str, SynapseText] = {}
        for i, c in enumerate(plan.connections):
            sends = i in self.terms and (self.feeds or c.source != plan.input.name)
            back = synapses.events(c, self.terms[i], called) if sends else ""
            connections |= synapses.synapses(plan, c, self.delivered[i], called, back)
        if self.training:
            self._learning()
        self._results()
        neurons = {p.p.name: (p.p.size, p.neuron(sim)) for p, sim in zip(self.populations, sims)}
        sizes = {name: last - first for name, (first, last) in sources(plan).items()}
        neurons = {n: (size, source(plan, n, size, self.training, self.feeds)) for n, size in sizes.items()} | neurons
        kind = "training" if self.training else "inference"
        return NetworkText(kind, neurons, connections, self.updates, self.results)

    def _outer(self, out: Population, kernels: list[tuple[Kernel, str]]) -> None:
        """Once: the first neuron of an example does it; at every step: neuron number i does steps i, i + K, ..."""
        code = ""
        for kernel, often in kernels:
            if often == "once":
                code += f"if (id == 0) {{\n{indent(out.kernel(kernel, double=True))}}}\n"
            if often == "each neuron":
                code += out.kernel(kernel)
            if often != "each step":
                continue
            parts = out.names.add(Declared("g_loss_parts", "array", "double", ("batch", out.p.size)))
            head = "for (int o_row = id; o_row < g_n_steps; o_row += num_neurons)"
            code += f"double {RUNNING} = 0.0;\n{head} {{\n{indent(out.kernel(kernel))}}}\n"
            code += f"{parts}[batch * num_neurons + id] = {RUNNING};\n"
        self.updates[f"outer_{out.p.name}"] = out.update("outer", code)
        if not self.trial.host_slopes:
            every = any(often == "each step" for _, often in kernels)
            self.results[f"{out.s.of_loss}loss"] = ("array", out.p.name, "g_loss_parts" if every else "g_loss")

    def _turn(self) -> None:
        """Sums over neurons, and what the way back begins with."""
        totals = {o.of.name: o.into.name for o in self.trial.begin_back if isinstance(o, Total)}
        for p in self.populations:
            sums = [(b, f"{b.removeprefix(p.s.prefix)}_sum") for b in p.buffers if b.endswith(("w_count", "w_guarded"))]
            refs: tuple[tuple[str, str, str, str, str], ...] = ()
            for b, short in sorted(sums):
                if b.endswith("w_count") and b not in totals:
                    continue
                update = f"{short}_{p.p.name}"
                code = f"total = {p.element(self.trial.buffers[b])};\n"
                self.updates[update] = p.update("totals", code, vars=(("total", "int", "REDUCE_NEURON_SUM"),))
                if b in totals:
                    refs = (("w_total", "int", "READ_ONLY", update, "total"),)
                else:
                    self.results[b] = ("update", update, "total")
            if p.may_diverge:
                update, code = f"diverged_{p.p.name}", f"total = {DIVERGED.name};\n"
                self.updates[update] = p.update("totals", code, vars=(("total", "int", "REDUCE_NEURON_SUM"),))
                self.results[f"{p.s.prefix}{DIVERGED.name}"] = ("update", update, "total")
            self.updates[f"turn_{p.p.name}"] = p.update("turn", p.begin_back(), refs=refs)

    def _learning(self) -> None:
        for p in self.populations:
            if p.p.trainable:
                code = "".join(f"G_{n} = 0.0;\n" for n in p.p.trainable)
                self.updates[f"zero_{p.p.name}"] = p.update("zero", code)
        of = {p.p.name: p for p in self.populations}
        for i, c in enumerate(self.plan.connections):
            if any(part != "all" for part, _ in self.delivered[i].sums):
                array = Declared(synapses.copy_array(c), "array", "scalar", gather.places(i, c))
                of[c.target].names.add(array)
            self.updates |= synapses.copies(c, self.delivered[i])
            if gather.is_gathered(c):
                steps, room = "event_step", ""
                if c.source != self.plan.input.name:
                    steps, room = of[c.source].spikes()[0], f"{of[c.source].s.prefix}room"
                late = [(part, of[c.target].names.called(row)) for part, row in self.late.get(i, ())]
                self.updates |= gather.updates(self.plan, c, steps, room, late)
                self.updates |= learning_updates(c, self.rule)

    def _results(self) -> None:
        """Where the host finds what it reads."""
        if self.feeds:
            self.results |= {f"{n}_{SLOPES}": ("array", n, SLOPES) for n in sources(self.plan)}
        for p in self.populations:
            wanted = [name("w", n) for n in ("count", "r", "first", *(() if p.only_spikes else ("happened",)))]
            wanted += [name("w", "r", n) for n in p.s.plan.loss.also]
            wanted += [name("w", r, "by_drive") for r in p.p.drives]
            for b in (p.s.table[s].buffer for s in wanted if s in p.s.table):
                d = p.names.declarations.get(p.names.called(b))
                if d is not None:
                    self.results[b.name] = (d.how, p.p.name, d.name)
            if p.p.spiking:
                self.results[f"{p.s.prefix}steps"] = ("array", p.p.name, p.spikes()[0])
