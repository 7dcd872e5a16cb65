"""``from_brian``: groups and networks of Brian 2 as a network with values and data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...arguments import explain
from ...data.inputs import Inputs
from ...errors import DescriptionError, check_finite, check_known, is_number, shown
from ...errors import whole as whole_number
from ...modelling import Array, Connectivity, Dense, Network, Neuron, NeuronModel, OneToOne, Sparse
from ...modelling.network import Current, Input, Population
from .package import brian_package, names_outside
from .read_expressions import evaluated, names_in, short, tree_of
from .read_inputs import Given, Source, Spikes, of_input, poisson
from .read_neurons import Reader, check_not_random
from .read_synapses import Arrivals, Sums, arrivals, changed_variables, check_synapses, summed_variables, sums, whole
from .read_units import converted

IGNORED = ("StateMonitor", "SpikeMonitor", "EventMonitor", "PopulationRateMonitor", "Subgroup", "Clock")
NO_COUNTERPART = "has no counterpart here; leave it out of the network"


@dataclass(frozen=True, eq=False)
class Imported:
    """What was read; ``network, values = from_brian(brian_network)`` takes it apart.

    Args:
        network: populations, inputs and connections are called as in Brian; times are ms, potentials mV, currents pA,
            and what follows from them: conductances nS, capacitances pF, lengths um, concentrations mM.
        values: all parameters, by the names of `Network.initial_parameters`.
        sources: where the data of inputs and currents come from, by their names; a network without any has "input", one
            silent channel.
        dt: ms, the time step of Brian's default clock.
        lost: a line for each thing that the network does not say.

    Example:
        >>> from brian2 import NeuronGroup, ms
        >>> from genn_eventprop.interop.brian import from_brian
        >>> group = NeuronGroup(3, "dv/dt = (1.2 - v) / (10 * ms) : 1", threshold="v > 1", reset="v = 0", name="cells")
        >>> from_brian(group).model.dynamics
        {'v': '(1.2 - v) / 10'}
    """

    network: Network
    values: dict[str, np.ndarray]
    sources: Mapping[str, Source]
    dt: float
    lost: tuple[str, ...]

    def __iter__(self) -> Any:
        return iter((self.network, self.values))

    @property
    def model(self) -> NeuronModel:
        """The model of the only population.

        Raises:
            DescriptionError: there are several.
        """
        models = [p.model for p in self.network.populations]
        if len(models) != 1:
            names = ", ".join(p.name for p in self.network.populations)
            raise DescriptionError(f"the network has {len(models)} groups; name one of them: {names}")
        return models[0]

    def inputs(self, duration: float, samples: int = 1, seed: int = 0) -> Inputs:
        """The inputs of the network, as a data set.

        Spikes of a SpikeGeneratorGroup and values of a TimedArray are the same in all samples. Poisson spikes are new
        ones in each, drawn with `seed` much as Brian draws them (not the same numbers): a source spikes in a step of
        its clock with probability rate dt, here at a random time of the step.

        Args:
            duration: of the trial, in ms. samples: number of trials. seed: of the draws.
        """
        if not is_number(duration):
            raise DescriptionError(f"duration is a number of ms, got {shown(duration)}")
        check_finite(duration, "duration", DescriptionError, above=True)
        samples = whole_number(samples, "samples", DescriptionError)
        rng = np.random.default_rng(whole_number(seed, "seed", DescriptionError, 0))
        return Inputs({name: source.draw(duration, samples, rng) for name, source in self.sources.items()})


def from_brian(
    what: Any, *, namespace: Mapping[str, Any] | None = None, trainable: Iterable[str] | None = None
) -> Imported:
    """A network of this package from a NeuronGroup, a Network or several objects of Brian.

    Equations, thresholds, resets and refractory periods become models, in which names, units and namespaces are
    resolved as Brian does; Synapses that add to states of their target become connections, with weights and delays as
    they are; SpikeGeneratorGroup, PoissonGroup, PoissonInput and TimedArray become inputs and currents, see
    `Imported.inputs`. What a variable holds now is its parameter or initial value. Monitors are left out.

    Args:
        what: `brian2.NeuronGroup`, `brian2.Network`, or objects, such as ``collect()``. A group alone gets a receptor
            for every state that does nothing but decay; if there is none and no TimedArray, for those that its
            threshold reads.
        namespace: name -> value, of names that the equations use; None: the names where this is called.
        trainable: what is learned, such as ``["synapses.weight", "cells.tau"]``; None: all weights of Synapses.

    Raises:
        DescriptionError: what has no exact gradient or no counterpart, with the line of the equation and what to do.
        ModelError: the equations do not make a model, such as a threshold that nothing reaches.

    Example:
        >>> from brian2 import Network, NeuronGroup, SpikeGeneratorGroup, Synapses, ms
        >>> from genn_eventprop.interop.brian import from_brian
        >>> tau, source = 10 * ms, SpikeGeneratorGroup(2, [0, 1], [1, 4] * ms, name="source")
        >>> cells = NeuronGroup(3, "dv/dt = -v / tau : 1", threshold="v > 1", reset="v = 0", name="cells")
        >>> synapses = Synapses(source, cells, "w : 1", on_pre="v += w", name="synapses")
        >>> synapses.connect(); synapses.w = 0.8
        >>> network, values = from_brian(Network(source, cells, synapses))
        >>> network.populations[0]
        <population 'cells': 3 cells, tau 10 ms>
        >>> values["synapses.weight"].shape
        (2, 3)
    """
    brian_package()
    if isinstance(trainable, (str, bytes)):
        raise DescriptionError(f"trainable is a list of names, such as ['synapses.weight'], got {shown(trainable)}")
    names = names_outside() if namespace is None else dict(namespace)
    return _Reading(what, names).imported(trainable)


def model_of(what: Any, names: Mapping[str, Any]) -> NeuronModel:
    """The model of a group, or of the only group of a network, that a script with these `names` made; its receptors are
    what the script's Synapses change.

    Raises:
        DescriptionError, ModelError: as `from_brian`.
    """
    b2 = brian_package()
    if isinstance(what, b2.Network):
        return from_brian(what, namespace=names).model
    synapses = [s for s in names.values() if isinstance(s, b2.Synapses)]
    return _Reading(what, names, synapses).imported(None).model


def _contents(what: Any) -> list[Any]:
    """The objects of a network, or of a collection, in the order of their names."""
    b2 = brian_package()
    if isinstance(what, b2.Network):
        what = what.objects
    elif isinstance(what, b2.BrianObject):
        return [whole(what)[0]]
    if not isinstance(what, Iterable) or isinstance(what, (str, bytes, Mapping)):
        raise DescriptionError(f"expected a NeuronGroup, a Network or objects of Brian, got {type(what).__name__}")
    objects = list(what)
    if wrong := [o for o in objects if not isinstance(o, b2.BrianObject)]:
        raise DescriptionError(f"expected objects of Brian, got {type(wrong[0]).__name__} among them")
    return sorted(objects, key=lambda o: str(o.name))


def _time_of(what: Any, objects: list[Any]) -> float:
    """ms that the network of these objects has run."""
    b2 = brian_package()
    names, at = {o._network for o in objects}, 0.0
    # the clock of a group shows the time of whichever network ran last
    every = [what] if isinstance(what, b2.Network) else [reference() for reference in b2.Network.__instances__()]
    for network in every:
        if network is not None and (network is what or network.name in names):
            at = float(network.t_)
    return float(converted(np.asarray(at), b2.second.dim))


class _Reading:
    """One call of `from_brian`.

    Args:
        leading: Synapses that say what the receptors of a group alone are.
    """

    def __init__(self, what: Any, namespace: Mapping[str, Any], leading: Iterable[Any] = ()) -> None:
        b2 = brian_package()
        self.namespace, self.alone = namespace, isinstance(what, b2.Group)
        objects = _contents(what)
        self.start = _time_of(what, objects)
        contained = {id(inner) for o in objects for inner in o.contained_objects}
        self.groups: dict[str, Any] = {}
        self.sources: dict[str, Source] = {}
        self.synapses: list[Any] = []
        self.poisson: list[Any] = []
        for o in objects:
            if isinstance(o, b2.Synapses):
                self.synapses.append(o)
            elif isinstance(o, b2.PoissonInput):
                self.poisson.append(o)
            elif isinstance(o, b2.SpatialNeuron):
                raise DescriptionError(f"{o.name}: a SpatialNeuron {NO_COUNTERPART}; use a NeuronGroup of its soma")
            elif (source := of_input(o, namespace, self.start)) is not None:
                self.sources[o.name] = source
            elif isinstance(o, b2.NeuronGroup):
                self.groups[o.name] = o
            elif id(o) not in contained and type(o).__name__ not in IGNORED:
                raise DescriptionError(f"{o.name}: {type(o).__name__} {NO_COUNTERPART}")
        for o in (*self.synapses, *self.groups.values()):
            if not all(part.active for part in (o, *o.contained_objects)):
                raise DescriptionError(
                    f"{o.name}: it, or a part of it, is not active; set active = True, or leave it out"
                )
        for group in self.groups.values():
            check_not_random(group)
        for o in objects:  # subgroups too
            for inner in o.contained_objects:
                if type(inner) is b2.CodeRunner and not isinstance(o, b2.Synapses):
                    raise DescriptionError(f"{o.name}: run_regularly({short(inner.abstract_code)}) {NO_COUNTERPART}")
        self.leading = [s for s in leading if whole(s.target)[0].name in self.groups]
        self.network, self.places = Network(), dict[str, Input | Current | Population]()
        self.dt = float(converted(np.asarray(b2.defaultclock.dt_), b2.second.dim))
        self.lost: list[str] = []

    def imported(self, trainable: Iterable[str] | None) -> Imported:
        readers = {name: self._reader(group) for name, group in self.groups.items()}
        if not readers:
            raise DescriptionError("there is no NeuronGroup with equations, so nothing can be learned")
        summed = {s.name: self._sums(s, readers) for s in self.synapses}
        links = [link for s in self.synapses for link in self._arrivals(s, readers, summed[s.name])]
        links += [self._poisson_input(p, readers) for p in self.poisson]
        receptors: dict[str, dict[str, dict[str, float]]] = {name: {} for name in readers}
        joined = [(link, _receptor(receptors[link.target], to)) for link, to in _joined(links)]
        if self.alone:
            for name, reader in readers.items():
                changed = set[str]().union(*map(changed_variables, self.leading)) & set(reader.states)
                changed |= self._led(reader)
                receptors[name] = {reader.here(s): {s: 1.0} for s in sorted(changed)} or _usual(reader)
        neurons = {name: reader.neuron(receptors[name]) for name, reader in readers.items()}
        wanted = None if trainable is None else set(trainable)
        used = {link.source.name for link, _ in joined}
        for name, source in self.sources.items():
            if name in used:
                assert not isinstance(source, Given)
                self.places[name] = self.network.input(source.size, name=name)
        for name, neuron in neurons.items():
            learned = {
                n: replace(p, trainable=True) for n, p in neuron.params.items() if f"{name}.{n}" in (wanted or ())
            }
            neuron = Neuron(neuron.model, {**neuron.params, **learned})
            self.places[name] = self.network.population(neuron, readers[name].size, name=name)
        for link, receptor in joined:
            self._connect(link, receptor, wanted)
        for name, reader in readers.items():
            self._currents(name, reader)
            self.lost += reader.lost
        if not self.network.inputs and not self.network.currents:  # an engine wants a source of spikes
            silent = Spikes(np.empty(0), np.empty(0, np.int32), 0.0, 1)
            name = self._free("input")
            self.places[name], self.sources[name] = self.network.input(1, name=name), silent
        if self.start > 0:
            self.lost.append(
                f"read at {self.start:g} ms: spikes on their way and refractory periods that have begun are left out"
            )
        values = self.network.initial_parameters(0)
        for name in wanted or ():
            check_known(name, values, DescriptionError, f"trainable={name!r} is no parameter (")
        sources = {n: s for n, s in self.sources.items() if n in self.places}
        return Imported(self.network, values, sources, self.dt, tuple(self.lost))

    # what synapses do

    def _reader(self, group: Any) -> Reader:
        targets, events = set[str](), set[str]()
        for s in (*self.synapses, *self.leading):
            if whole(s.target)[0] is group:
                targets |= changed_variables(s)
            if whole(s.source)[0] is group:
                events |= {p.event for p in s._pathways if p.prepost == "pre"}
        targets |= {p.target_var for p in self.poisson if whole(p._group)[0] is group}
        if len(events) > 1:
            raise DescriptionError(
                f"{group.name}: synapses follow its events {', '.join(sorted(events))}; here the targets of a group "
                "all follow one"
            )
        targets &= set(group.user_equations)
        reader = Reader(group, self.namespace, frozenset(targets), next(iter(events), "spike"), self.start)
        for s in (*self.synapses, *self.leading):
            if whole(s.target)[0] is group and len(s):
                reader.summed |= dict.fromkeys(summed_variables(s))
        return reader

    def _sums(self, synapses: Any, readers: Mapping[str, Reader]) -> Sums:
        """What the target sums over these synapses."""
        check_synapses(synapses)
        self._check_ends(synapses, readers)
        return sums(synapses, readers[whole(synapses.target)[0].name], self.namespace, readers) if len(synapses) else {}

    def _led(self, reader: Reader) -> set[str]:
        """States of a group alone that sum over the script's synapses and that these add to."""
        changed = set[str]()
        for s in self.leading:
            if len(s) and whole(s.target)[0] is reader.group and summed_variables(s):
                made = sums(s, reader, self.namespace, {reader.name: reader})
                changed |= {
                    total for name, totals in made.items() if name in changed_variables(s) for total, _ in totals
                }
        return changed

    def _check_ends(self, synapses: Any, readers: Mapping[str, Reader]) -> None:
        for end in (synapses.source, synapses.target):
            name = whole(end)[0].name
            if name in (s.name for s in self.synapses):
                raise DescriptionError(
                    f"{synapses.name}: synapses onto synapses ({name!r}) have no counterpart; what they do to a weight "
                    "is left to training"
                )
            if name not in readers and (end is synapses.target or name not in self.sources):
                what = "is an input" if name in self.sources else "is not in the network"
                raise DescriptionError(f"{synapses.name}: its end {name!r} {what}")

    def _arrivals(self, synapses: Any, readers: Mapping[str, Reader], summed: Sums) -> list[Arrivals]:
        if not len(synapses):
            self.lost.append(f"{synapses.name}: no synapses")
            return []
        target = readers[whole(synapses.target)[0].name]
        return list(arrivals(synapses, target, self.namespace, readers, summed))

    def _poisson_input(self, given: Any, readers: Mapping[str, Reader]) -> Arrivals:
        """A PoissonInput as an input of its name, a channel for each neuron."""
        target, first = whole(given._group)
        reader, where = readers.get(target.name), f"{given.name}, weight"
        if reader is None:
            raise DescriptionError(f"{given.name}: its target {target.name!r} is not in the network")
        if isinstance(given.weight, str):
            node = reader.expression(given.weight, where)
            every = np.broadcast_to(evaluated(node, reader.numbers(), where), (reader.size,))
            amounts = every[first : first + len(given._group)]
        else:
            dimensions = target.variables[given.target_var].dim
            amounts = np.full(len(given._group), float(converted(np.asarray(given.weight), dimensions)))
        channels = np.arange(len(given._group))
        self.sources[given.name] = poisson(_Sized(given), given.rate, self.namespace, self.start, int(given.N))
        pairs = np.stack([channels, channels + first], axis=1)
        zero = np.zeros(len(channels))
        name = f"{given.name}_{target.name}"
        return Arrivals(name, given, target.name, given.target_var, amounts, pairs, zero, "spike")

    # the network

    def _connect(self, link: Arrivals, receptor: str, wanted: set[str] | None) -> None:
        source, target = self.places[link.source.name], self.places[link.target]
        assert isinstance(source, (Input, Population)) and isinstance(target, Population)
        order = np.lexsort((link.pairs[:, 1], link.pairs[:, 0]))
        pairs, amounts, delays = link.pairs[order], link.amounts[order], link.delays[order]
        # several synapses between two neurons are a connection each
        new = np.r_[True, (np.diff(pairs, axis=0) != 0).any(axis=1)]
        starts = np.flatnonzero(new)
        number_of_pair = np.arange(len(pairs)) - np.repeat(starts, np.diff(np.r_[starts, len(pairs)]))
        for k in range(number_of_pair.max() + 1):
            some = number_of_pair == k
            kind, shape = _connectivity(pairs[some], amounts[some], source.size, target.size)
            delay = float(delays[some][0]) if np.unique(delays[some]).size == 1 else delays[some].reshape(shape)
            name = self._free(link.name)
            trainable = f"{name}.weight" in wanted if wanted is not None else not hasattr(link.source, "target_var")
            self.network.connect(
                source, target, kind, delay=delay, receptor=receptor, trainable=trainable, name=name
            )  # fmt: skip

    def _currents(self, name: str, reader: Reader) -> None:
        population = self.places[name]
        assert isinstance(population, Population)
        for drive, given in reader.drives.items():
            source = Given(given.array, self.start)
            if abs(source.start / source.dt - round(source.start / source.dt)) > 1e-6:
                raise DescriptionError(
                    f"{name}: its network stands at {source.start:g} ms, between two values of {drive}; read it "
                    "before a run, or after a multiple of its dt"
                )
            place = next(
                (n for n, s in self.sources.items() if isinstance(s, Given) and s.array is given.array
                 and s.start == source.start), None
            )  # fmt: skip
            if place is None:
                place = self._free(drive)
                self.sources[place] = source
                self.places[place] = self.network.current(source.values.shape[1], source.dt, name=place)
            current = self.places[place]
            assert isinstance(current, Current)
            if given.columns is None:
                kind: Connectivity = Dense(np.ones((current.size, population.size)))
            else:
                pairs = np.stack([given.columns, np.arange(population.size)], axis=1)
                kind = _connectivity(pairs, np.ones(population.size), current.size, population.size)[0]
            self.network.connect(
                current, population, kind, receptor=drive, trainable=False, name=self._free(f"{place}_{name}")
            )

    def _free(self, name: str) -> str:
        every: list[Any] = [
            *self.network.inputs, *self.network.currents, *self.network.populations, *self.network.connections
        ]  # fmt: skip
        used = {part.name for part in every}
        free, i = name, 2
        while free in used:
            free, i = f"{name}_{i}", i + 1
        return free


class _Sized:
    """A PoissonInput as what `poisson` reads: a name, a size and a clock."""

    def __init__(self, given: Any) -> None:
        self.name, self.clock, self._size = given.name, given._group.clock, len(given._group)

    def __len__(self) -> int:
        return self._size


def _joined(links: list[Arrivals]) -> list[tuple[Arrivals, dict[str, float]]]:
    """Lines of one pathway whose amounts are multiples of each other as one connection: with state -> multiple."""
    joined: list[tuple[Arrivals, dict[str, float]]] = []
    for link in links:
        for first, to in joined:
            if (
                first.name != link.name
                or first.source is not link.source
                or link.state in to
                or not first.amounts.all()
            ):
                continue
            ratio = link.amounts / first.amounts
            if np.allclose(ratio, ratio[0], rtol=1e-13, atol=0):
                to[link.state] = float(ratio[0])
                break
        else:
            joined.append((link, {link.state: 1.0}))
    named: dict[str, int] = {}
    for i, (link, to) in enumerate(joined):
        named[link.name] = named.get(link.name, 0) + 1
        if named[link.name] > 1:
            joined[i] = replace(link, name=f"{link.name}_{'_'.join(to)}"), to
    return joined


def _receptor(receptors: dict[str, dict[str, float]], to: dict[str, float]) -> str:
    """The receptor that adds to these states, a new one if there is none."""
    for name, other in receptors.items():
        if other == to:
            return name
    stem = name = "_".join(to)
    i = 2
    while name in receptors:
        name, i = f"{stem}_{i}", i + 1
    receptors[name] = to
    return name


def _usual(reader: Reader) -> dict[str, dict[str, float]]:
    """Receptors of a group without synapses: states that do nothing but decay, or, where no current drives it, those
    that the threshold reads."""
    touched = {s for code in reader.codes.values() for s, _, _ in code}
    decaying, crossing = [], []
    for s in reader.states:
        if reader.equations[s].type == "parameter":
            continue
        used = names_in(reader.rate(s, {}))
        if used & {reader.here(x) for x in reader.states} == {reader.here(s)} and s not in touched:
            decaying.append(s)
        conditions = [tree_of(str(c), reader.name) for c in reader.group.events.values()]
        crossing += [s] if any(s in names_in(c) for c in conditions) else []
    chosen = [s for s in decaying if s not in crossing]
    if not chosen and not reader.drives:
        chosen = crossing or reader.states[:1]
    return {reader.here(s): {s: 1.0} for s in chosen}


def _connectivity(
    pairs: np.ndarray, amounts: np.ndarray, M: int, N: int
) -> tuple[Connectivity, tuple[int, ...]]:  # fmt: skip
    """Sorted pairs as Dense or OneToOne where they are that, and the shape of the weights."""
    if len(pairs) == M * N:
        return Dense(Array(amounts.reshape(M, N))), (M, N)
    if M == N == len(pairs) and (pairs[:, 0] == pairs[:, 1]).all():
        return OneToOne(Array(amounts)), (N,)
    return Sparse(Array(amounts), pairs=pairs), (len(pairs),)


explain(globals(), ("Imported", "from_brian"), DescriptionError)
