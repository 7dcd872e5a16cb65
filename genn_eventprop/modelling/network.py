"""`Network`: populations and the connections between them. It holds no arrays and knows no engine."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import DescriptionError, NetworkError, check_finite, shown
from ..integer.network import IntegerNetwork
from ..integer.profile import Profile, as_profile
from .connection import Connection, as_learned, as_sign, check_array, check_memory, draw
from .connectivity import Connectivity, Dense, Sparse, Synapses
from .delay import Delay, as_delay
from .integers import integer_network
from .neuron import Neuron, NeuronModel
from .parameters import Array, Param, is_open, not_finite
from .places import Current, Input, Population, check_current, size_and_shape
from .reach import check_below


class Network:
    """A spiking network: inputs, currents, populations, connections.

    Attributes:
        inputs, currents, populations, connections: lists of `Input`, `Current`, `Population` and `Connection`, in the
            order in which they were made.

    Example:
        >>> net = Network()
        >>> inp = net.input(5)
        >>> hidden = net.population(LIF(tau_mem=20.0), 200, name="hidden")
        >>> net.connect(inp, hidden, Dense(Normal(1.5, 0.78)))
        <connection 'input_hidden': input -> hidden, Dense 5 x 200, ...
        >>> net.initial_parameters(1)["input_hidden.weight"].shape
        (5, 200)
    """

    def __init__(self) -> None:
        self.inputs: list[Input] = []
        self.currents: list[Current] = []
        self.populations: list[Population] = []
        self.connections: list[Connection] = []

    def __repr__(self) -> str:
        """Inputs, currents, populations and connections, one a line, with sizes, parameters and what is learned."""
        inputs, neurons = (sum(p.size for p in places) for places in (self.inputs, self.populations))
        every = (*self.inputs, *self.currents, *self.populations, *self.connections)
        parts = "".join(f"\n  {part!r}" for part in every)
        learned = ", ".join(self.trainable()) or "nothing"
        return f"<Network: {inputs} input channels, {neurons} neurons; learned: {learned}{parts}>"

    def input(self, size: int | None = None, name: str = "input", *, shape: tuple[int, ...] | None = None) -> Input:
        """A source of input spikes from the data: `size` channels, or an image of shape (height, width, channels).

        Several inputs share the channels of the data in the order of their creation: after ``net.input(20,
        name="audio")`` and ``net.input(10, name="touch")``, channels 20 to 29 of the data belong to "touch"; see
        `Events.side_by_side`.

        Args:
            size: number of channels. shape: (height, width, channels) instead.
            name: in the network.
        """
        self.inputs.append(Input(self._free_name(name), *size_and_shape(size, shape, name)))
        return self.inputs[-1]

    def current(
        self, size: int | None = None, dt: float = 1.0, name: str = "current", *,
        shape: tuple[int, ...] | None = None, interpolation: str = "constant",
    ) -> Current:  # fmt: skip
        """A source of currents from the data, see `Currents`: `size` channels c_j(t), or an image of this `shape`.

        Connections lead them to neurons: ``net.connect(stim, hidden, Dense(...))`` gives neuron i the current
        u_i(t) = sum_j w_ij c_j(t - delay). It enters the equations of a receptor's states as a stream of arrivals,
        x' = f(x) + a u, where a spike of weight w adds a w to x: weights mean the same for both, and a current of c is
        c spikes a ms in the limit. A model may have `NeuronModel.drives`, named by ``receptor=``; currents go to the
        only drive of a model if no receptor is named.

        Args:
            name: of the source, under which a data set of several inputs has its `Currents`.
            dt: ms from one value to the next; it need not fit the dt of the trial. A step of the grid takes the mean
                of the current over the step.
            interpolation: "constant": value k holds from k dt to (k + 1) dt. "linear": from value k at k dt straight to
                value k + 1 at (k + 1) dt; the last value holds. After (number of values) dt the current is 0.

        Raises:
            NetworkError: a setting that no current has.
        """
        check_current(dt, interpolation, name)
        sides = size_and_shape(size, shape, name)
        self.currents.append(Current(self._free_name(name), *sides, float(dt), interpolation))
        return self.currents[-1]

    def population(
        self,
        neuron: Neuron | NeuronModel,
        size: int | None = None,
        name: str = "",
        *,
        shape: tuple[int, ...] | None = None,
        noise: float = 0.0,
        dropout: float = 0.0,
        dropped_reset: bool = False,
    ) -> Population:
        """`size` neurons of a model, e.g. ``net.population(LIF(tau_mem=20.0), 256, name="hidden")``.

        Noise and dropout act in training runs only, on the grid (see `engines.contract.noise`); for the input's spikes
        use `data.augment.Dropout`.

        Args:
            neuron: a model with parameters, ``LIF(tau_mem=20.0)``, or the model alone.
            size: number of neurons.
            name: in the network; required.
            shape: (height, width, channels) instead of `size`, for convolutions and pooling.
            noise: strength of white noise on V in units of V per square root of ms; a step adds
                noise sqrt(dt) N(0, 1).
            dropout: probability that a spike is not sent.
            dropped_reset: whether a dropped spike still resets its neuron. As published, it does not: the neuron stays
                above threshold and may spike again in the next step.

        Raises:
            NetworkError: a value that is invalid for the model.
        """
        if isinstance(neuron, NeuronModel):
            neuron = neuron()
        if not isinstance(neuron, Neuron):
            raise NetworkError(
                f"population {name!r}: expected a neuron such as LIF(), got {shown(neuron)}; the neuron comes first, "
                'as in net.population(LIF(), 256, name="hidden")'
            )
        _check_stochastic(name, neuron.model, noise, dropout)
        population = Population(
            self._free_name(name), *size_and_shape(size, shape, name), neuron, float(noise), float(dropout),
            bool(dropped_reset),
        )  # fmt: skip
        self.populations.append(population)
        return population

    def connect(
        self,
        source: Input | Current | Population,
        target: Population,
        connectivity: Connectivity | None = None,
        *,
        delay: Any = 0.0,
        receptor: str | None = None,
        trainable: Any = True,
        sign: Any = None,
        share: Connection | None = None,
        name: str | None = None,
    ) -> Connection:
        """Connect two populations.

        Args:
            source, target: what `input`, `current` or `population` returned.
            connectivity: which pairs have a synapse, and the initial weights: ``Dense()``, ``Sparse(...)``, ...
            delay: ms for all synapses, an array with one for each weight, or a `Delay`; from a current a number, which
                need not be whole steps.
            receptor: name of the target's receptor, or for a current of its drive; needed if it has several.
            trainable: learn the weights; or a boolean array in their shape, True for those that are learned.
            sign: 1 or -1, or an array of signs that sources (M,) or weights keep; None: any.
            share: another connection, whose weights and connectivity this one uses: they are learned once, with the
                sum of both gradients. Delay and receptor are not shared.
            name: defaults to ``source_target``.

        Raises:
            NetworkError: ends that are not of this network, shapes that do not fit, a name that is taken.
        """
        name = name or f"{getattr(source, 'name', '?')}_{getattr(target, 'name', '?')}"
        self._check_ends(source, target, name)
        if share is not None:
            if connectivity is not None or sign is not None or trainable is not True:
                raise NetworkError(
                    f"connection {name!r}: connectivity, sign and trainable come from share=; leave them out"
                )
            share = self._shared(share, name, isinstance(source, Current))
            connectivity = share.connectivity
        if not isinstance(connectivity, Connectivity):
            missing = connectivity is None or isinstance(connectivity, type)
            example = "Dense()" if missing else f"Dense({shown(connectivity)})"
            example = "Dense(array)" if hasattr(connectivity, "shape") else example
            raise NetworkError(
                f"connection {name!r}: expected Dense(...), got {shown(connectivity)}; write {example} for all-to-all "
                "weights; other kinds are Sparse, OneToOne, Conv1D, Conv2D, Pool2D and Grouped"
            )
        shape = _weight_shape(connectivity, source, target, share, name)
        fixed, delays = as_delay(delay, name)
        if delays is not None and isinstance(source, Current):
            raise NetworkError(f"connection {name!r}: currents have one delay for all weights; give a number")
        learned = as_learned(trainable, shape, name)
        signs = as_sign(sign, (connectivity, source.shape, target.shape), name)
        connection = Connection(
            self._free_name(name),
            source,
            target,
            connectivity,
            fixed,
            delays,
            _receptor(receptor, target, name, isinstance(source, Current)),
            *(learned if share is None else (share.trainable, share.learned)),
            signs if share is None else share.sign,
            share,
        )
        self.connections.append(connection)
        return connection

    def _check_ends(self, source: Input | Current | Population, target: Population, name: str) -> None:
        for end, place in (("source", source), ("target", target)):
            if isinstance(place, str):
                raise NetworkError(
                    f"connect: the {end} is the name {place!r}; give the object that net.input(...), "
                    "net.current(...) or net.population(...) returned"
                )
        if isinstance(source, Connectivity):
            raise NetworkError(f"connect: the order is source, target, connectivity; got {shown(source)} first")
        if source not in (*self.inputs, *self.currents, *self.populations):
            raise NetworkError(
                f"connection {name!r}: its source is not part of this network; make it with this network's input(...), "
                "current(...) or population(...)"
            )
        if isinstance(target, (Input, Current)):
            kind = "an input" if isinstance(target, Input) else "a current"
            raise NetworkError(
                f"connection {name!r}: its target {target.name!r} is {kind}, which receives nothing and is not a "
                "population of this network; swap source and target"
            )
        if target not in self.populations:
            raise NetworkError(
                f"connection {name!r}: its target is not a population of this network; make it with this network's "
                "population(...)"
            )
        if isinstance(source, Population) and not source.model.spiking:
            raise NetworkError(
                f"connection {name!r}: {source.name!r} ({source.model.name}) never spikes, so nothing can follow it; "
                "use a spiking model such as LIF() for it"
            )

    def _shared(self, share: Connection, name: str, of_current: bool) -> Connection:
        """The connection whose weights connection `name` uses."""
        if share not in self.connections:
            raise NetworkError(f"connection {name!r}: share= is not a connection of this network")
        share = share.share or share
        if share.of_current != of_current:
            raise NetworkError(
                f"connection {name!r}: {share.name!r} cannot share its weights, as one of the two has a current as its "
                "source and the other spikes"
            )
        if isinstance(share.connectivity, Sparse):
            raise NetworkError(f"connection {name!r}: the weights of a Sparse connection belong to its own pairs")
        return share

    def initial_parameters(self, rng: np.random.Generator | int) -> dict[str, np.ndarray]:
        """Initial values of all parameters, float64.

        Returns ``"connection.weight"`` in the shape of the connectivity, (M, N) if it is dense; ``"connection.delay"``
        in ms for individual delays, ``"connection.pairs"`` (S, 2) int32 for random synapses, and
        ``"population.parameter"`` of shape (N,), or (1,) if one value serves the whole population. Each entry has
        its own random stream, derived from its name, so adding a population does not change the other values.

        Args:
            rng: a seed, or a generator.

        Raises:
            NetworkError: for arrays of the wrong shape, values that are not finite or outside their bounds, and time
                constants that are not positive.
        """
        base = int(rng) if isinstance(rng, (int, np.integer)) else int(rng.integers(2**63))
        if base < 0:
            raise NetworkError(f"a random seed must be an integer >= 0, got {base}")
        stream = lambda name: np.random.default_rng([base, zlib.crc32(name.encode())])  # noqa: E731
        values: dict[str, np.ndarray] = {}
        self.check_memory()
        for c in self.connections:
            values |= draw(c, stream)
        for p in self.populations:
            for n, param in p.neuron.params.items():
                values[f"{p.name}.{n}"] = param.draw(stream(f"{p.name}.{n}"), p.size, f"{p.name}.{n}")
        self.check_parameters(values)
        return values

    def quantise(
        self, profile: Profile | str, parameters: Mapping[str, np.ndarray] | None = None, *, dt: float | None = None
    ) -> IntegerNetwork:
        """The network in the integers of a machine: weights, decays, thresholds and states.

        Args:
            profile: how the machine computes, or the name of one in `integer.PROFILES`.
            parameters: values by the names of `initial_parameters`, such as those after training; None: the initial
                ones of seed 0.
            dt: ms of a step; None: that of the profile, or 1.

        Raises:
            NetworkError: what the profile cannot do: models, delays, currents, resets.
            DescriptionError: a parameter without values, or with too many.

        Example:
            >>> integers = net.quantise("int8", dt=1.0)
            >>> integers.populations[0].decay_V, integers.profile.weight_bits
            (array([31170]), 8)
        """
        values = self.initial_parameters(0) if parameters is None else parameters
        check_complete(self, values)
        if dt is not None:
            check_finite(dt, "quantise: dt", NetworkError, above=True)
        parts = (self.inputs, self.populations, self.connections)
        return integer_network(as_profile(profile), *parts, values, dt)

    def check_memory(self) -> None:
        """Raise `NetworkError` if the initial weights need more memory than this machine has."""
        check_memory(self.connections)

    def check_parameters(self, values: dict[str, np.ndarray]) -> None:
        """Check `values` that are put in the place of the initial ones, by the same names.

        Raises:
            NetworkError: numbers that are not finite, time constants that are not positive, delays outside their
                bounds, weights that are not 0 where a mask is.
            ModelError: a neuron starts, or a reset lands, at or above its threshold.
        """
        check_values(values, ((p.name, p.model, p.neuron.params) for p in self.populations))
        for c in self.connections:
            check_synapses(values, c.name, c.source.size, c.target.size, c.delays.max if c.delays else math.inf)
            _check_mask(c, values)

    def check_connected(self) -> None:
        """Raise `NetworkError` if no connection leads to a population that takes input."""
        for p in self.populations:
            if (p.model.receptors or p.model.drives) and not any(c.target is p for c in self.connections):
                raise NetworkError(f"no connection leads to population {p.name!r}; connect it, or leave it out")

    def notes(self) -> list[str]:
        """What is allowed but may be a slip: inputs and currents that lead nowhere."""
        used = {id(c.source) for c in self.connections}
        idle = [f"input {i.name!r}; its spikes have" for i in self.inputs if id(i) not in used]
        idle += [f"current {c.name!r}; it has" for c in self.currents if id(c) not in used]
        return [f"no connection leads from {source} no effect" for source in idle]

    def bounds(self) -> dict[str, tuple[float | None, float | None]]:
        """Bounds of all parameters that have any, under the names of `initial_parameters`."""
        pairs: dict[str, tuple[Any, Any]] = {}
        for c in self.connections:
            pairs |= {c.weight_name: c.connectivity.bounds}
            pairs |= {f"{c.name}.delay": c.delays.bounds} if c.delays else {}
        for p in self.populations:
            pairs |= {f"{p.name}.{n}": q.bounds for n, q in p.neuron.params.items()}
        return {k: b for k, b in pairs.items() if not is_open(b)}

    def trainable(self) -> tuple[str, ...]:
        """Names of the learned parameters, in the order of `initial_parameters`."""
        names = []
        for c in self.connections:
            names += [c.weight_name] if c.trainable and c.share is None else []
            names += [f"{c.name}.delay"] if c.delays and c.delays.trainable else []
        names += [f"{p.name}.{n}" for p in self.populations for n, q in p.neuron.params.items() if q.trainable]
        return tuple(names)

    def _free_name(self, name: str) -> str:
        parts: list[Any] = [*self.inputs, *self.currents, *self.populations, *self.connections]
        used = [x.name for x in parts]
        if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
            example = re.sub(r"\W|^(?=\d)", "_", name, flags=re.ASCII) if isinstance(name, str) and name else "hidden"
            if name == "":
                raise NetworkError(f"a name is needed, e.g. name={example!r}")
            raise NetworkError(
                f"{name!r} cannot name a part of a network; use ASCII letters, digits and underscores, e.g. "
                f"name={example!r}"
            )
        if name in used:
            raise NetworkError(f"the name {name!r} is taken; names in a network are unique, choose another with name=")
        return name


def _check_stochastic(name: str, model: NeuronModel, noise: float, dropout: float) -> None:
    for what, value, limit in (("noise", noise, math.inf), ("dropout", dropout, 1.0)):
        if not isinstance(value, (int, float, np.number)) or not 0 <= value < limit:
            allowed = ">= 0" if what == "noise" else ">= 0 and < 1"
            raise NetworkError(f"population {name!r}: {what} must be a number {allowed}, got {value!r}")
    if dropout > 0 and not model.spiking:
        raise NetworkError(f"population {name!r}: dropout={dropout:g}, but {model.name} sends no spikes to drop")


__all__ = ["Connection", "Current", "Delay", "Dense", "Input", "Network", "Param", "Population"]


def check_values(
    values: Mapping[str, np.ndarray], populations: Iterable[tuple[str, NeuronModel, Mapping[str, Param]]]
) -> None:
    """`Network.check_parameters` for populations, each as (name, model, parameters)."""
    for key, value in values.items():
        if not np.all(np.isfinite(value)):
            raise NetworkError(f"{key}: values must be finite{not_finite(np.asarray(value))}")
    for name, model, params in populations:
        for n, param in params.items():
            key = f"{name}.{n}"
            if param.unit == "ms" and key in values and np.any(values[key] <= 0):
                raise NetworkError(f"{key}: a time constant must be positive, got {values[key].min():g} ms")
        current = {n: values.get(f"{name}.{n}", param.value) for n, param in params.items()}
        check_below(model, current, f"population {name!r} ({model.name})")


def check_complete(network: Network, values: Mapping[str, np.ndarray]) -> None:
    """Raise `DescriptionError` unless there is a value of the right shape for every parameter, and what
    `Network.check_parameters` raises."""
    names = [c.weight_name for c in network.connections]
    names += [f"{c.name}.pairs" for c in network.connections if isinstance(c.connectivity, Sparse)]
    names += [f"{c.name}.delay" for c in network.connections if c.delays]
    names += [f"{p.name}.{n}" for p in network.populations for n in p.model.params]
    if missing := [name for name in names if name not in values]:
        raise DescriptionError(f"no value is given for {', '.join(missing)}; see Network.initial_parameters")
    for c in network.connections:
        if (got := np.shape(values[c.weight_name])) != c.weight_shape:
            raise DescriptionError(f"{c.name}.weight has shape {got}, this network needs {c.weight_shape}")
    for p in network.populations:
        for n in p.model.params:
            if (count := np.size(values[f"{p.name}.{n}"])) not in (1, p.size):
                raise DescriptionError(f"{p.name}.{n} has {count} values for {p.size} neurons")
    network.check_parameters({k: np.asarray(v) for k, v in values.items()})


def check_synapses(values: Mapping[str, np.ndarray], name: str, pre: int, post: int, longest: float) -> None:
    """`Network.check_parameters` for the pairs and delays (at most `longest` ms) of connection `name`."""
    delays, pairs = values.get(f"{name}.delay"), values.get(f"{name}.pairs")
    if delays is not None:
        low, high = float(np.min(delays)), float(np.max(delays))
        # a bound that float32 rounds up is no longer delay
        if low < 0 or high > longest * (1 + 1e-6):
            raise NetworkError(f"{name}.delay: delays are from 0 to max={longest:g} ms, got {low:g} to {high:g}")
    if pairs is not None:
        try:
            Synapses.of_pairs(pairs, pre, post)
        except NetworkError as error:
            raise NetworkError(f"{name}.pairs: {error}") from None


def _check_mask(c: Connection, values: Mapping[str, np.ndarray]) -> None:
    """Raise `NetworkError` for weights where the mask of a dense connection is 0: nothing would ever remove them."""
    mask = c.connectivity.mask if isinstance(c.connectivity, Dense) else None
    if mask is not None and c.weight_name in values and (wrong := np.count_nonzero(values[c.weight_name][~mask])):
        raise NetworkError(f"{c.weight_name}: {wrong} weights are not 0 where the mask is; they are no synapses")


def _weight_shape(
    connectivity: Connectivity,
    source: Input | Current | Population,
    target: Population,
    share: Connection | None,
    name: str,
) -> tuple[int, ...]:
    """The shape of the weights of a connection, which fits both populations and the weights that it shares."""
    try:
        connectivity.check(source.shape, target.shape)
    except NetworkError as error:
        raise NetworkError(f"connection {name!r}: {error}") from None
    wanted = connectivity.weight_shape(source.shape, target.shape)
    if isinstance(connectivity.weight, Array) and share is None:
        check_array(connectivity, wanted, f"{name}.weight", source.name)
    if share is not None and wanted != share.weight_shape:
        raise NetworkError(
            f"connection {name!r}: weights of shape {wanted} are needed, but those of {share.name!r} have "
            f"{share.weight_shape}"
        )
    return wanted


def _receptor(asked: str | None, target: Population, name: str, of_current: bool) -> str:
    """The receptor that a connection acts on; the only one of its target if none is named.

    Currents may act on drives too, and go to the only one there is before any receptor of spikes.
    """
    receptors, drives = list(target.model.receptors), list(target.model.drives)
    if of_current and drives:
        if asked is None and len(drives) == 1:
            return drives[0]
        receptors += drives
    elif asked in drives:
        raise NetworkError(f"connection {name!r}: {asked!r} of {target.model.name} takes currents, not spikes")
    if not receptors:
        states = ", ".join(map(repr, target.model.state))
        raise NetworkError(
            f"connection {name!r}: {target.model.name} takes no input; give its NeuronModel input=STATE, the state to "
            f"which an arriving spike adds its weight, one of {states}"
        )
    if asked is None and len(receptors) > 1:
        raise NetworkError(f"connection {name!r}: give receptor=, one of {', '.join(receptors)}")
    if asked is not None and asked not in receptors:
        raise NetworkError(f"connection {name!r}: no receptor {asked!r}; one of {', '.join(receptors)}")
    return asked or receptors[0]
