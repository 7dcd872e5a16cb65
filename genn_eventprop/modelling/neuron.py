"""`NeuronModel` and `SynapseModel`: a model is data, written once as equations.

Between events the state x follows dx/dt = f(x, p). An event of the neuron happens when a threshold g(x, p) crosses zero
from below, and sets x to h(x, p). All else (adjoint, propagators, generated code) is derived from these strings.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import sympy as sp

from ..errors import ModelError, check_known, shown, suggest
from .checks import check_model
from .expressions import parse, symbol
from .parameters import Param, as_initialiser
from .source_location import caller, located
from .units import check_same_unit

Expression = str | float | int
FREE = "free"

_T = TypeVar("_T")


def named_arguments(**meant: str) -> Callable[[type[_T]], type[_T]]:
    """For a class: arguments that its constructor does not have are refused, with the name that was probably meant.

    Args:
        meant: other words for arguments, and their names.

    Raises:
        ModelError: by the constructor, naming the first one.
    """

    def decorate(cls: type[_T]) -> type[_T]:
        init: Any = cls.__init__
        known = list(inspect.signature(cls).parameters)

        @functools.wraps(init)
        def checked(self: _T, *values: Any, **arguments: Any) -> None:
            for name in arguments:
                if name not in known:
                    hint = suggest(meant.get(name, name), known)
                    raise ModelError(f"{cls.__name__} has no argument {name!r} ({hint})")
            init(self, *values, **arguments)

        cls.__init__ = checked  # type: ignore[assignment]
        return cls

    return decorate


@named_arguments(
    spike="emits", spikes="emits", emit="emits", sends="emits", silent="emits", condition="threshold",
    when="threshold", mode="modes", jump="reset", to="next_mode", then="next_mode",
)  # fmt: skip
@dataclass(frozen=True)
class Event:
    """One kind of event of a neuron, such as its spike.

    Args:
        name: unique in the model; "spike" for the usual one.
        threshold: g(x, p); the event happens when it crosses zero from below.
        reset: state -> value right after the event, from the state right before it; states not named keep theirs.
        emits: whether targets receive a spike.
        modes: the modes in which the event can happen; empty means all. The model's own dynamics are mode "free".
        next_mode: the mode after the event, "free" or the name of a `Mode`; None to stay. A timed mode named here
            starts again even if the neuron is already in it.

    Example:
        >>> spike = Event("spike", threshold="V - 1", reset={"V": "0"}, next_mode="refractory")
    """

    name: str
    threshold: Expression
    reset: Mapping[str, Expression] = field(default_factory=dict)
    emits: bool = True
    modes: tuple[str, ...] = ()
    next_mode: str | None = None


@dataclass(frozen=True)
class Mode:
    """A mode with other dynamics, e.g. a refractory period that freezes V.

    Every neuron starts in the mode "free", the model's own dynamics. The state does not jump when a timed mode ends. An
    event whose threshold has been passed by the time that a mode allows it happens at once, on the grid at the next
    step. With exact spike times an event happens again only after its threshold function has been below zero: a neuron
    that a reset such as V - 1 leaves above the threshold spikes once, and on the grid in every step that allows it.

    Args:
        name: unique in the model, not "free".
        dynamics: the right-hand sides that differ from the model's.
        lasts: name of the parameter that gives the duration in ms after which `then` begins; None: until an event.
        then: the mode that follows; None is "free".

    Example:
        >>> refractory = Mode("refractory", dynamics={"V": "0"}, lasts="tau_ref")  # V stands still for tau_ref ms
    """

    name: str
    dynamics: Mapping[str, Expression]
    lasts: str | None = None
    then: str | None = None


@dataclass(frozen=True)
class SynapseModel:
    """Synaptic states on which arriving spikes act, to be added before a neuron's input current.

    Args:
        name: of the model.
        state: state -> initial value.
        params: parameter -> `Param`.
        dynamics: state -> right-hand side of its ODE.
        input: the state to which an arriving spike adds its weight (or state -> amount per unit weight).
        current: expression that the neuron sees as its input current.

    Example:
        >>> alpha = SynapseModel(
        ...     name="alpha", state={"x": 0.0, "y": 0.0}, params={"tau": Param(5.0, "ms")},
        ...     dynamics={"x": "-x / tau", "y": "(x - y) / tau"}, input="x", current="y",
        ... )
        >>> neuron = NeuronModel(
        ...     name="LIF", state={"V": 0.0}, params={"tau_mem": Param(20.0, "ms"), "I": Param(0.0)},
        ...     dynamics={"V": "(I - V) / tau_mem"}, threshold="V - 1", reset={"V": "0"},
        ... )
        >>> neuron.with_synapses("I", exc=alpha, inh=alpha).receptors
        {'exc': {'x_exc': '1'}, 'inh': {'x_inh': '1'}}
    """

    name: str
    state: Mapping[str, Expression]
    params: Mapping[str, Param]
    dynamics: Mapping[str, Expression]
    input: str | Mapping[str, Expression]
    current: Expression


@dataclass(frozen=True, eq=False)
class NeuronModel:
    """A neuron as equations.

    Args:
        name: of the model.
        state: state -> initial value, a number or an expression in parameters.
        params: parameter -> `Param`; times are in ms.
        dynamics: state -> right-hand side of its ODE, an expression in states and parameters, per ms.
        threshold: g(x, p), shorthand for one event called "spike"; None for a readout that never spikes.
        reset: state -> value after the spike; shorthand like `threshold`.
        input: the state to which an arriving spike adds its weight; or receptor -> state; or receptor ->
            {state: amount per unit weight}. A single name makes the receptor "input".
        drives: currents from outside, which connections of `Network.current` name as their receptor, such as
            ``{"I_ext": {"V": "1 / c_mem"}}``: drive -> {state: what a unit of it adds to the state's derivative},
            expressions in states and parameters; or drive -> state, for 1. They belong to `dynamics`: a mode that
            replaces the equation of a state replaces them too.
        events: the events in full, instead of `threshold` and `reset`.
        modes: further modes in addition to "free", the model's own dynamics.
        scheme: how grid engines integrate between events: "exact" (linear dynamics only), "exponential_euler", "rk4",
            or "auto": "exact" where every mode is linear in the state, else "rk4".
        readout: the state that losses read, "V" unless said otherwise.
        snippets: hand-written GeNN code instead of the derived one, see `modelling.handwritten`: "sim_code" (one step
            of dt ms), "reset_code", "adjoint_sim_code" (lambda_<state> one step back), "adjoint_jump_code" (lambda at
            an own spike, from the states right before it, dl_dt and inv_gdot).

    Raises:
        ModelError: naming the model, the line and the symbol.

    Example:
        >>> MyLIF = NeuronModel(
        ...     name="MyLIF",
        ...     state={"V": "v_reset", "I": 0.0},
        ...     params={"tau_mem": Param(20.0, "ms"), "tau_syn": Param(5.0, "ms"),
        ...             "v_thresh": Param(1.0), "v_reset": Param(0.0)},
        ...     dynamics={"V": "(I - V) / tau_mem", "I": "-I / tau_syn"},
        ...     threshold="V - v_thresh",
        ...     reset={"V": "v_reset"},
        ...     input="I",
        ... )
        >>> mine = net.population(MyLIF(tau_mem=10.0), 20, name="mine")
    """

    name: str
    state: Mapping[str, Expression]
    params: Mapping[str, Param]
    dynamics: Mapping[str, Expression]
    threshold: Expression | None = None
    reset: Mapping[str, Expression] | None = None
    input: str | Mapping[str, str | Mapping[str, Expression]] | None = None
    drives: Mapping[str, str | Mapping[str, Expression]] = field(default_factory=dict)
    events: Sequence[Event] = ()
    modes: Sequence[Mode] = ()
    readout: str = "V"
    scheme: str = "auto"
    snippets: Mapping[str, str] = field(default_factory=dict)
    made_at: tuple[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        events = (self.events,) if isinstance(self.events, Event) else tuple(self.events)
        object.__setattr__(self, "made_at", caller())  # before the checks, whose errors name the user's line
        with located(self.made_at):
            if self.threshold is not None:
                if events:
                    raise ModelError(f"{self.name}: give either threshold/reset or events, not both")
                if not isinstance(self.reset or {}, Mapping):
                    raise ModelError(
                        f"{self.name}: reset must be a dictionary, e.g. {{'V': '0'}}, got {shown(self.reset)}"
                    )
                events = (Event("spike", self.threshold, dict(self.reset or {})),)
            elif self.reset:
                raise ModelError(f"{self.name}: a reset without a threshold; add threshold= or remove reset=")
            object.__setattr__(self, "events", events)
            object.__setattr__(self, "modes", tuple(self.modes))
            check_model(self)

    def __call__(self, *unnamed: Any, **values: Any) -> Neuron:
        """The model with parameter values: numbers, arrays (one value per neuron), initialisers or `Param`.

        Raises:
            ModelError: for a value without a name, or a parameter that the model does not have.
            NetworkError: values that are no numbers, in another unit than the model's, or not positive where they are
                times.
        """
        if unnamed:
            first = next(iter(self.params), "tau_mem")
            raise ModelError(
                f"{self.name}: got {shown(unnamed[0])} without a name; write {self.name}({first}=...), one of "
                f"{', '.join(self.params)}"
            )
        for name in values:
            check_known(name, self.params, ModelError, f"{self.name} has no parameter {name!r} (")
            if not isinstance(values[name], Param):
                as_initialiser(values[name], f"{self.name}: {name}")
        params = {n: p.with_value(values[n]) if n in values else p for n, p in self.params.items()}
        for name in values:
            check_same_unit(f"{self.name}: {name}", self.params[name].unit, getattr(values[name], "unit", ""))
            params[name].check_positive(f"{self.name}: {name}")
        return Neuron(self, params)

    def __getstate__(self) -> dict[str, Any]:
        """Without functions that were made of the equations: a pickle holds data."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def receptors(self) -> dict[str, dict[str, Expression]]:
        """receptor -> {state: amount that an arriving spike of unit weight adds}."""
        if self.input is None:
            return {}
        return _amounts({"input": self.input} if isinstance(self.input, str) else self.input)

    @property
    def drive_amounts(self) -> dict[str, dict[str, Expression]]:
        """drive -> {state: what a unit of the current adds to its derivative}."""
        return _amounts(self.drives)

    @property
    def spiking(self) -> bool:
        """True if some event sends spikes."""
        return any(e.emits for e in self.events)

    def symbols(self) -> dict[str, sp.Symbol]:
        """name -> sympy symbol of every state and parameter."""
        return {n: symbol(n) for n in (*self.state, *self.params)}

    def waiting(self, beyond: Expression) -> NeuronModel:
        """The same neuron, which waits at its peak for a spike that others compute and a device may have lost.

        An upstroke that is in the equations ends only with the reset, so V would run to infinity. Here it stops
        `beyond` above the threshold and stands still until the next spike is given. How long it has waited is a state,
        ``waited``, with which the threshold rises, so that lambda takes the change of the time of a spike back to the
        time at which the wait began: what lambda_V is before it. As long as spikes are own ones nothing is different.

        Args:
            beyond: in the unit of the threshold, above 0; a spike of the model comes before it.

        Example:
            >>> QIF = NeuronModel(
            ...     name="QIF", state={"V": 0.0, "I": 0.0}, params={"tau_syn": Param(5.0, "ms"), "v_peak": Param(5.0)},
            ...     dynamics={"V": "V**2 + I", "I": "-I / tau_syn"}, threshold="V - v_peak", reset={"V": "-v_peak"},
            ...     input="I",
            ... )
            >>> [event.name for event in QIF.waiting(1).events]
            ['spike', 'peak']

        Raises:
            ModelError: more than one event, modes, or a threshold that is not V minus something.
        """
        V, (spike, *others) = symbol(self.readout), self.events or (None,)
        g = None if spike is None else parse(spike.threshold, self.symbols(), self.name)
        if spike is None or g is None or others or self.modes or sp.diff(g, V) != 1:
            raise ModelError(
                f"{self.name}: waiting() is for neurons of one mode with one event, whose threshold is {V} minus "
                "something"
            )
        top = f"{spike.threshold} - ({beyond})"
        peak = Event("peak", top, {str(V): f"{V} - ({top})"}, emits=False, modes=(FREE,), next_mode="waiting")
        spike = replace(
            spike, threshold=f"{spike.threshold} + ({beyond}) * waited", reset={**spike.reset, "waited": "0"},
            next_mode=FREE,
        )  # fmt: skip
        return replace(
            self, state={**self.state, "waited": 0.0}, dynamics={**self.dynamics, "waited": "0"}, threshold=None,
            reset=None, events=(spike, peak), modes=(Mode("waiting", {str(V): "0", "waited": "1"}),),
        )  # fmt: skip

    def with_synapses(self, current: str = "I", **synapses: SynapseModel) -> NeuronModel:
        """The same neuron with its parameter `current` replaced by the sum of the synapses' currents.

        Each synapse becomes a receptor of its name; its states and parameters get the suffix ``_name``. The neuron
        must use `current` in its dynamics without defining it as a state; declare it as a parameter.

        Args:
            current: the parameter that is replaced.
            synapses: name=`SynapseModel` for each receptor.

        Raises:
            ModelError: no such parameter, or names that collide.
        """
        if self.snippets:
            raise ModelError(
                f"{self.name}: with_synapses changes the equations that its hand-written snippets implement"
            )
        used = any(symbol(current) in parse(f, self.symbols(), self.name).free_symbols for f in self.dynamics.values())
        if current not in self.params or not used:
            raise ModelError(f"{self.name}: with_synapses needs {current!r} as a parameter that the dynamics use")
        state, dynamics = dict(self.state), dict(self.dynamics)
        params = {n: p for n, p in self.params.items() if n != current}
        inputs: dict[str, Any] = dict(self.receptors)
        currents = []
        for receptor, synapse in synapses.items():
            rename = {n: f"{n}_{receptor}" for n in (*synapse.state, *synapse.params)}
            where = f"{self.name}, synapse {receptor}"
            currents.append(f"({renamed(synapse.current, rename, where)})")
            state |= {rename[s]: renamed(v, rename, where) for s, v in synapse.state.items()}
            params |= {rename[n]: p for n, p in synapse.params.items()}
            dynamics |= {rename[s]: renamed(f, rename, where) for s, f in synapse.dynamics.items()}
            target = {synapse.input: 1} if isinstance(synapse.input, str) else synapse.input
            inputs[receptor] = {rename[s]: renamed(e, rename, where) for s, e in target.items()}
        # the neuron's equations only: those of the synapses were renamed above, and may use the same word otherwise
        total = {current: " + ".join(currents)}
        for name in self.dynamics:
            dynamics[name] = renamed(self.dynamics[name], total, self.name)
        return replace(
            self, state=state, params=params, dynamics=dynamics, input=inputs, threshold=None, reset=None,
            events=self.events,
        )  # fmt: skip


def _amounts(to: Mapping[str, str | Mapping[str, Expression]]) -> dict[str, dict[str, Expression]]:
    return {r: {e: 1} if isinstance(e, str) else dict(e) for r, e in to.items()}


@dataclass(frozen=True, eq=False)
class Neuron:
    """A model together with its parameter values; what a population is made of.

    Args:
        model: its equations.
        params: name -> `Param`.

    Example:
        >>> LIF(tau_mem=10.0).params["tau_mem"].value  # calling a model makes one
        10.0
    """

    model: NeuronModel
    params: Mapping[str, Param]

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.model.name

    def __repr__(self) -> str:
        return f"<neuron {', '.join([self.name, *(f'{name} {param}' for name, param in self.params.items())])}>"


def renamed(text: Expression, names: Mapping[str, str], where: str) -> str:
    """`text` with symbols replaced by other names or bracketed expressions; names not listed stay."""
    import ast

    class Rename(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:
            if node.id not in names:
                return node
            return ast.parse(f"({names[node.id]})", mode="eval").body

    try:
        return ast.unparse(Rename().visit(ast.parse(str(text), mode="eval")))
    except SyntaxError:
        raise ModelError(f"{where}: {text!r} is not an expression") from None
