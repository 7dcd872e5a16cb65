"""``to_brian``: a network with values, or a neuron, as a script for Brian 2 that runs without this package."""

from __future__ import annotations

import inspect
import io
import keyword
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...arguments import explain
from ...atomic import replaced_file
from ...errors import DescriptionError, shown
from ...fitting import FitResult
from ...fitting.forced import fitted_model
from ...modelling import Connection, Current, Dense, Input, Network, Neuron, NeuronModel, Population
from ...modelling.connection import matrix_of, synapses_of
from ...modelling.drive import drive_state, driven
from ...modelling.network import check_complete
from .package import brian_package
from .write_neuron import WrittenNeuron, dimension, times, unit_of, write_neuron

INLINE = 2000
"""Numbers up to which they stand in the script itself, not in an .npz file beside it."""
WORDS = (
    "np", "Path", "values", "build", "dt", "method", "channels", "times", "sources", "targets", "defaultclock",
    "Network", "NeuronGroup", "Synapses", "SpikeGeneratorGroup", "TimedArray", "SpikeMonitor", "EventMonitor",
    "StateMonitor",
)  # fmt: skip
"""What ``build`` uses."""


@dataclass(frozen=True)
class BrianScript:
    """A network for Brian: one function ``build`` of its input, in a script that needs Brian alone.

    Attributes:
        head: what stands above the numbers. body: what stands below. arrays: the numbers, by name.
        lost: what the script does not hold, a line each.

    Example:
        >>> from genn_eventprop.interop.brian import to_brian
        >>> script = to_brian(LIF(tau_mem=10.0))
        >>> script.save("lif_brian.py")
        >>> print(script.text.splitlines()[0])
        \"""LIF: written by genn_eventprop for Brian 2.
    """

    head: str
    body: str
    arrays: dict[str, np.ndarray] = field(repr=False)
    lost: tuple[str, ...] = ()

    @property
    def inline(self) -> bool:
        """Whether the numbers stand in the script."""
        return sum(a.size for a in self.arrays.values()) <= INLINE

    @property
    def text(self) -> str:
        """The script."""
        if not self.arrays:
            return f"{self.head}\n{self.body}"
        if not self.inline:
            return f'{self.head}\nvalues = np.load(Path(__file__).with_suffix(".npz"))\n{self.body}'
        lines = "".join(f'    "{name}": np.array({a.tolist()}),\n' for name, a in self.arrays.items())
        return f"{self.head}\nvalues = {{\n{lines}}}\n{self.body}"

    def save(self, path: Path | str) -> None:
        """Write NAME.py at `path`, and with many numbers NAME.npz beside it.

        Raises:
            DescriptionError: the name of the file does not end with .py. WriteError: it cannot be written.
        """
        path = Path(path)
        if path.suffix != ".py":
            raise DescriptionError(f"a script for Brian is a .py file, got {path}")
        if not self.inline:
            content = io.BytesIO()
            np.savez(content, **self.arrays)  # type: ignore[arg-type]
            with replaced_file(path.with_suffix(".npz")) as temporary:
                temporary.write_bytes(content.getbuffer())
        with replaced_file(path) as temporary:
            temporary.write_text(self.text, encoding="utf-8")

    def build(self, **arguments: Any) -> Any:
        """The `brian2.Network`; arguments as of the script's ``build``: dt, method, and each input by its name."""
        made: dict[str, Any] = {"__name__": "genn_eventprop_to_brian", "values": self.arrays}
        # the body holds identifiers, numbers, and arithmetic that was parsed: nothing that someone else wrote as code
        exec(compile(f"{self.head}\n{self.body}", "<to_brian>", "exec"), made)
        try:
            return made["build"](**arguments)
        except Exception as error:  # of any kind: the script's, and Brian's
            how = inspect.signature(made["build"])
            raise DescriptionError(f"build{how}: {type(error).__name__}, {' '.join(str(error).split())}") from None


def to_brian(network: Any, values: Mapping[str, np.ndarray] | None = None, *, inject: str | None = None) -> BrianScript:
    """A network, a neuron or a fitted neuron as a script for Brian 2.

    Equations, units, thresholds, resets, refractory periods, modes, initial values, connections with their delays: the
    same equations, integrated by Brian's steps. Brian's spikes are those of the exact engines up to a few of its dt.

    Args:
        network: a `Network`, a model that was loaded (`load`), a `Neuron` or `NeuronModel` (one neuron with an input of
            weight 1 for each receptor, and a current for each drive), or a `FitResult` (with the injected current).
        values: of a `Network`: parameters by the names of `Network.initial_parameters`.
        inject: of a `FitResult`: as of `fit`.

    Returns:
        The script: ``save`` writes it, ``build`` makes the `brian2.Network`.

    Example:
        >>> from genn_eventprop.interop.brian import to_brian
        >>> script = to_brian(net, net.initial_parameters(1))
        >>> brian = script.build(input=([0, 3], [1.0, 2.5]))  # channels, times in ms
        >>> [name for name in ("hidden_spikes", "output_states") if name in brian]
        ['hidden_spikes', 'output_states']

    Raises:
        DescriptionError: what Brian cannot express, or values that are missing; the message names the part.
    """
    brian_package()
    if isinstance(network, FitResult):
        return _script(*_of_fit(network, inject))
    if inject is not None:
        raise DescriptionError("inject= is for the result of a fit")
    if isinstance(network, (Neuron, NeuronModel)):
        if values is not None:
            raise DescriptionError("values= is for a Network; a neuron has its own: LIF(tau_mem=10.0)")
        alone = _alone(network if isinstance(network, Neuron) else network())
        return _script(alone, alone.initial_parameters(0))
    described = getattr(network, "described", None)
    if described is not None and values is None:
        network, values = described.network, dict(network.engine.parameters)
    if not isinstance(network, Network):
        raise DescriptionError(f"to_brian takes a Network, a neuron or the result of a fit, got {shown(network)}")
    if values is None:
        raise DescriptionError(
            "give values= for the network, such as trainer.engine.parameters or initial_parameters(1)"
        )
    return _script(network, values)


def _alone(neuron: Neuron) -> Network:
    """A network of one neuron, or as many as its arrays have values."""
    sizes = [np.size(getattr(p.value, "values", p.value)) for p in neuron.params.values() if p.per_neuron]
    net = Network()
    name = re.sub(r"\W", "_", neuron.name, flags=re.ASCII)
    name = name if name.isidentifier() and name not in (*neuron.model.drives, *neuron.model.receptors) else "neuron"
    group = net.population(neuron, max(sizes, default=1), name=name)
    for receptor in neuron.model.receptors:
        spikes = net.input(group.size, name=f"spikes_{receptor}")
        net.connect(spikes, group, Dense(np.eye(group.size)), receptor=receptor)
    for drive in neuron.model.drives:
        current = net.current(group.size, name=drive)
        net.connect(current, group, Dense(np.eye(group.size)), receptor=drive)
    return net


def _of_fit(result: FitResult, inject: str | None) -> tuple[Network, dict[str, np.ndarray], dict[str, str]]:
    return _of_cell(result.model, result.parameters, result.recording.dt, inject)


def script_of_cell(
    model: NeuronModel, parameters: Mapping[str, float], dt: float, inject: str | None = None
) -> BrianScript:
    """A neuron with fitted parameters and the current that is injected into it, as values every `dt` ms.

    Raises:
        DescriptionError: what Brian cannot express.
    """
    return _script(*_of_cell(model, parameters, dt, inject))


def _of_cell(
    model: NeuronModel, parameters: Mapping[str, float], dt: float, inject: str | None
) -> tuple[Network, dict[str, np.ndarray], dict[str, str]]:
    fitted = fitted_model(model, inject)
    free = replace(fitted.free, input=None, threshold=None, reset=None, events=fitted.free.events)
    net = Network()
    cell = net.population(free(**{n: v for n, v in parameters.items() if n in free.params}), 1, name="cell")
    net.current(1, dt=dt, name=fitted.current)
    return net, net.initial_parameters(0), {cell.name: fitted.current}


@dataclass
class _Text:
    """The lines of ``build``, and the names in it."""

    lines: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    reserved: Collection[str] = ()

    def variable(self, name: str, part: bool = True) -> str:
        """A free name in ``build`` for an object that is called `name` in the network."""
        new = name
        while new in self.reserved or new in self.variables.values() or keyword.iskeyword(new):
            new += "_"
        self.variables[name] = new
        self.parts += [new] * part
        return new

    def array(self, name: str, value: Any) -> str:
        """How a script calls some numbers; (1,), one for all neurons, stands for itself."""
        value = np.asarray(value)
        if value.shape == (1,):
            return repr(value.item())
        self.arrays[name] = value
        return f'values["{name}"]'


def _script(
    network: Network, values: Mapping[str, np.ndarray], injected: Mapping[str, str] | None = None
) -> BrianScript:  # fmt: skip
    check_complete(network, values)
    brian = brian_package()
    text = _Text(reserved={*WORDS, *brian.core.namespace.DEFAULT_UNITS})
    arguments = list[tuple[str, str, Input | Current]]()
    sources: list[Input | Current] = [*network.inputs, *network.currents]
    for source in sources:
        argument = text.variable(source.name, part=False)
        empty = "((), ())" if isinstance(source, Input) else f"np.zeros((1, {source.size}))"
        arguments.append((argument, empty, source))
    add = text.lines.append
    objects = dict[str, str]()
    for argument, _, source in arguments:
        if isinstance(source, Input):
            objects[source.name] = text.variable(f"{source.name}_source")
            add(f"channels, times = {argument}")
            add(
                f"{objects[source.name]} = SpikeGeneratorGroup({source.size}, np.asarray(channels, int), "
                f'np.asarray(times, float)*ms, name="{source.name}")'
            )
        else:
            # after its last value a current is 0; a TimedArray keeps that value
            add(f"{argument} = np.vstack([np.reshape({argument}, (-1, {source.size})), np.zeros((1, {source.size}))])")
    written = dict[str, WrittenNeuron]()
    monitors = []
    for p in network.populations:
        written[p.name] = _population(network, p, values, text, objects, (injected or {}).get(p.name))
        group, neuron = objects[p.name], written[p.name]
        for event in neuron.emitting:
            if event == "spike":
                monitors.append((_free(network, f"{p.name}_spikes"), f"SpikeMonitor({group}", "num_spikes"))
            else:
                monitors.append((_free(network, f"{p.name}_{event}"), f'EventMonitor({group}, "{event}"', "num_events"))
        if not neuron.emitting or p.size == 1:
            readout = neuron.names[p.model.readout]
            monitors.append((_free(network, f"{p.name}_states"), f'StateMonitor({group}, "{readout}", record=True', ""))
    for c in network.connections:
        if not c.of_current:
            _synapses(c, values, written[c.target.name], written.get(c.source.name), text, objects)
    for name, made, _ in monitors:
        add(f'{text.variable(name)} = {made}, name="{name}")')
    signature = ", ".join(["dt=0.1*ms", 'method="rk4"', *(f"{argument}={empty}" for argument, empty, _ in arguments)])
    what = [f"{p.name}: {p.size} {p.model.name}" for p in network.populations]
    title = what[0].split(" ", 2)[2] if len(what) == 1 else ", ".join(what)
    head = f'"""{title}: written by genn_eventprop for Brian 2.\n\n{_usage(network, arguments, monitors)}"""\n\n'
    head += ("from pathlib import Path\n\n" if text.arrays else "") + "import numpy as np\nfrom brian2 import *\n"
    body = f"\n\ndef build({signature}):\n    defaultclock.dt = dt\n"
    body += "".join(f"    {line}\n" for line in text.lines)
    body += f"    return Network({', '.join(text.parts)})\n"
    body += '\n\nif __name__ == "__main__":\n    network = build()\n    network.run(100*ms)\n'
    body += "".join(f'    print("{name}:", network["{name}"].{count})\n' for name, _, count in monitors if count)
    return BrianScript(head, body, text.arrays, tuple(_lost(network)))


def _usage(
    network: Network, arguments: list[tuple[str, str, Input | Current]], monitors: list[tuple[str, str, str]]
) -> str:
    lines = []
    for argument, _, source in arguments:
        if isinstance(source, Input):
            lines.append(f"{argument}: (channels, times in ms) of the input spikes, channels 0 to {source.size - 1}")
        else:
            lines.append(f"{argument}: ({source.size} columns) values of the current, each for {source.dt:g} ms")
    recorded = ", ".join(f'net["{name}"]' for name, _, _ in monitors)
    return "\n".join([*lines, f"net = build(...); net.run(100*ms); {recorded}", ""])


def _free(network: Network, name: str) -> str:
    """A name for a monitor that no part of the network has."""
    parts: list[Any] = [*network.inputs, *network.currents, *network.populations, *network.connections]
    while name in {p.name for p in parts}:
        name += "_monitor"
    return name


def _population(
    network: Network, p: Population, values: Mapping[str, np.ndarray], text: _Text, objects: dict[str, str],
    injected: str | None,
) -> WrittenNeuron:  # fmt: skip
    """Lines that make the group of a population."""
    currents = [c for c in network.connections if c.target is p and c.of_current]
    for c in currents:
        if c.source.interpolation != "constant":  # type: ignore[union-attr]
            raise DescriptionError(
                f"current {c.source.name!r} is linear between its values, and a TimedArray of Brian is constant; "
                "sample it finely, and give it as one that is constant"
            )
    model = driven(p.model, tuple((r, False) for r in dict.fromkeys(c.receptor for c in currents)))
    given, namespace = dict[str, list[str]](), list[str]()
    for c in currents:
        state = drive_state(p.model, c.receptor)
        name = text.variable(f"{c.name}_current", part=False)
        matrix, source = matrix_of(c, values), text.variables[c.source.name]
        total = f"({source} @ {text.array(f'{c.name}.weight', matrix)})"
        if np.array_equal(matrix, np.eye(p.size)):
            total = source
        text.lines.append(f"{name} = TimedArray({times(total, unit_of(model, state))}, dt={c.source.dt!r}*ms)")  # type: ignore[union-attr]
        late = f"{c.delay!r}*ms"
        given.setdefault(state, []).append(
            f"{name}(t - {late}, i)*int(t >= {late})" if c.delay else f"{name}(t, i)"
        )  # fmt: skip
        namespace.append(name)
    if injected is not None:
        source = text.variables[injected]
        name = text.variable(f"{injected}_current", part=False)
        unit = unit_of(model, injected)
        text.lines.append(f"{name} = TimedArray({times(source, unit)}, dt={network.currents[0].dt!r}*ms)")
        given[injected] = [f"{name}(t, i)"]
        namespace.append(name)
    params = {n: np.asarray(values[f"{p.name}.{n}"], np.float64) for n in p.model.params}
    shared = [n for n, value in params.items() if value.size == 1]
    neuron = write_neuron(model, shared, {s: " + ".join(texts) for s, texts in given.items()})
    group = objects[p.name] = text.variable(p.name)
    add = text.lines.append
    add(f'{group} = NeuronGroup({p.size}, """')
    text.lines += [f"    {line}" for line in neuron.equations]
    settings = [f'threshold="{neuron.threshold}", reset="{"; ".join(neuron.reset)}"'] if neuron.threshold else []
    if neuron.refractory:
        settings.append(f'refractory="{neuron.refractory}"')
    if neuron.events:
        conditions = (f'"{name}": "{condition}"' for name, (condition, _) in neuron.events.items())
        settings.append(f"events={{{', '.join(conditions)}}}")
    names = ", ".join(f'"{name}": {name}' for name in namespace)
    text.lines += ['""",', *(f"    {line}," for line in settings)]
    add(f'    namespace={{{names}}}, method=method, name="{p.name}")')
    for event, (_, code) in neuron.events.items():
        if code:
            add(f'{group}.run_on_event("{event}", "{"; ".join(code)}")')
    for n, value in params.items():
        add(f"{group}.{neuron.names[n]} = {times(text.array(f'{p.name}.{n}', value), neuron.units[n])}")
    for variable, start in neuron.start.items():
        add(f"{group}.{variable} = {start}")
    return neuron


def _synapses(
    c: Connection, values: Mapping[str, np.ndarray], target: WrittenNeuron, source: WrittenNeuron | None, text: _Text,
    objects: dict[str, str],
) -> None:  # fmt: skip
    """Lines that make the synapses of a connection: one `Synapses` for each kind of spike of its source."""
    delays = values[f"{c.name}.delay"] if c.delays else None
    add = text.lines.append
    if c.connectivity.form == "dense":
        weight = text.array(f"{c.name}.weight", values[c.weight_name])
        add(f"sources, targets = np.nonzero({weight})")
        weight += "[sources, targets]"
        index = {"synaptic": "[sources, targets]", "axonal": "[sources]", "dendritic": "[targets]"}
    else:
        table = synapses_of(c, values)
        flat = np.asarray(values[c.weight_name]).ravel()[table.weights]
        add(f"sources = np.atleast_1d({text.array(f'{c.name}.source', table.source)})")
        add(f"targets = np.atleast_1d({text.array(f'{c.name}.target', table.target)})")
        weight = text.array(f"{c.name}.weight", flat)
        index = {"synaptic": "", "axonal": "[sources]", "dendritic": "[targets]"}
        if delays is not None and c.delays is not None and c.delays.kind == "synaptic":
            delays = np.asarray(delays).ravel()[table.weights]
    unit = target.weights[c.receptor]
    there = {*target.names.values(), *(source.names.values() if source else ())}
    w = next(
        name
        for name in ("w", "weight", "w_syn", "synaptic_weight", *(f"w{k}" for k in range(100)))
        if name not in there
    )
    action = "; ".join(
        f"{s}_post += {w}{f'*({amount})' if amount else ''}" for s, amount in target.amounts[c.receptor].items()
    )  # fmt: skip
    for event in ["spike"] if source is None else source.emitting:
        name = c.name if event == "spike" else f"{c.name}_{event}"
        made = text.variable(name)
        on = "" if event == "spike" else f', on_event={{"pre": "{event}"}}'
        add(
            f'{made} = Synapses({objects[c.source.name]}, {objects[c.target.name]}, "{w} : {dimension(unit)}", '
            f'on_pre="{action}"{on}, namespace={{}}, name="{name}")'
        )
        add(f"{made}.connect(i=sources, j=targets)")
        add(f"{made}.{w} = {times(weight, unit)}")
        if c.delays is not None:
            late = np.asarray(delays, np.float64)
            text.arrays[f"{c.name}.delay"] = late
            add(f'{made}.delay = values["{c.name}.delay"]{index[c.delays.kind]}*ms')
        elif c.delay:
            add(f"{made}.delay = {c.delay!r}*ms")


def _lost(network: Network) -> list[str]:
    random = {p.name: [w for w, x in (("noise", p.noise), ("dropout", p.dropout)) if x] for p in network.populations}
    return [f"{name}: {' and '.join(words)}, which act in training" for name, words in random.items() if words]


explain(globals(), ("BrianScript", "to_brian"), DescriptionError)
