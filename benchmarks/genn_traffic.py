"""What crosses between host and device in a training batch of the genn engine, and its host time; no GPU needed.

    python benchmarks/genn_traffic.py
    python benchmarks/genn_traffic.py --batch-size 256

Shape of a spoken-digit network, 700 inputs, 256 recurrent, 20 outputs, 1000 steps, as `genn_vs_native.py` makes it,
with Adam. pygenn is replaced by a stand-in that holds every array on the host, counts the bytes of its copies to and
from the device, and computes nothing: every hidden neuron reports 26 spikes. What is counted is what the engine asks of
pygenn; GeNN's own spike lists and input buffers are not in the memory. Host time is CPU time of a batch without GeNN's
steps, best of the repeats.
"""

from __future__ import annotations

import argparse
import collections
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
from genn_vs_native import plan_and_events

from genn_eventprop import optimisers
from genn_eventprop.engines.genn import GennEngine, network
from genn_eventprop.training.checks import check_batch

SPIKES = 26  # of a hidden neuron in a trial
TYPES = {"scalar": np.float32, "double": np.float64, "int": np.int32, "uint32_t": np.uint32}


class Counter:
    """Bytes and calls: "to device" and "to host", per array; steps and custom updates."""

    def __init__(self) -> None:
        self.bytes: dict[str, collections.Counter[str]] = {}
        self.calls: collections.Counter[str] = collections.Counter()
        self.seconds = 0.0  # in calls that a GPU would run

    def count(self, way: str, name: str, n: int) -> None:
        self.bytes.setdefault(way, collections.Counter())[name] += n
        self.calls[way] += 1


class Array:
    """A variable or an extra global parameter."""

    def __init__(self, counter: Counter, name: str, kind: str, size: int = 0, batched: bool = False) -> None:
        self.counter, self.name, self.dtype, self.batched = counter, name, TYPES[kind.rstrip("*")], batched
        self.view = np.zeros(size, self.dtype)

    def set_init_values(self, values: np.ndarray | None) -> None:
        if values is not None:
            self.view = np.zeros(len(values), self.dtype)

    def push_to_device(self) -> None:
        self.counter.count("to device", self.name, self.view.nbytes)

    def pull_from_device(self) -> None:
        self.counter.count("to host", self.name, self.view.nbytes)
        if self.name.endswith(".w_count"):
            self.view[:] = SPIKES


class Group(SimpleNamespace):
    """A population, a connection or a custom update."""

    def set_param_dynamic(self, name: str) -> None: ...

    def set_dynamic_param_value(self, name: str, value: float) -> None:
        self.counter.calls["numbers"] += 1


class Model:
    """Stands for `pygenn.GeNNModel`."""

    def __init__(self, counter: Counter) -> None:
        self.counter, self.batch_size, self.dt, self.timestep = counter, 1, 1.0, 0
        self.neuron_populations: dict[str, Group] = {}
        self.synapse_populations: dict[str, Group] = {}
        self.custom_updates: dict[str, Group] = {}

    def _array(self, owner: str, name: str, kind: str, size: int, batched: bool) -> Array:
        return Array(self.counter, f"{owner}.{name}", kind, size * (self.batch_size if batched else 1), batched)

    def _vars(self, owner: str, kind: dict[str, Any], size: int) -> dict[str, Array]:
        return {n: self._array(owner, n, t, size, access != "READ_ONLY") for n, t, access in kind["vars"]}

    def add_neuron_population(self, name: str, size: int, kind: dict[str, Any], *rest: Any) -> Group:
        egps = {n: Array(self.counter, f"{name}.{n}", t) for n, t in kind["extra_global_params"]}
        variables = self._vars(name, kind, size)
        made = Group(counter=self.counter, name=name, size=size, vars=variables, extra_global_params=egps)
        self.neuron_populations[name] = made
        return made

    def add_synapse_population(
        self, name: str, how: str, source: Group, target: Group, kind: dict[str, Any], arrive: Any
    ) -> Group:
        size = source.size * target.size
        made = Group(counter=self.counter, name=name, size=size, vars=self._vars(name, kind, size))
        self.synapse_populations[name] = made
        return made

    def add_custom_update(
        self, name: str, group: str, kind: dict[str, Any], params: Any, values: Any, refs: dict[str, Any], *rest: Any
    ) -> Group:
        of = (
            next((owner for owner, _ in refs.values() if not hasattr(owner, "of")), None)
            or next(iter(refs.values()))[0].of
        )
        batched = any(owner.vars[variable].batched for owner, variable in refs.values())
        variables = {}
        for n, t, access in kind["vars"]:
            size = 1 if "NEURON" in access else of.size
            single = access in ("REDUCE_BATCH_SUM", "READ_ONLY_SHARED")
            variables[n] = self._array(name, n, t, size, batched and not single)
        self.custom_updates[name] = Group(counter=self.counter, name=name, of=of, vars=variables)
        return self.custom_updates[name]

    def build(self, path: str) -> None: ...

    def load(self) -> None: ...

    def unload(self) -> None: ...

    def step_time(self) -> None:
        self.counter.calls["steps"] += 1

    def custom_update(self, group: str) -> None:
        self.counter.calls["custom updates"] += 1

    def memory(self) -> int:
        """Bytes of all arrays."""
        groups = [*self.neuron_populations.values(), *self.synapse_populations.values(), *self.custom_updates.values()]
        arrays = [a for g in groups for a in (*g.vars.values(), *getattr(g, "extra_global_params", {}).values())]
        return sum(a.view.nbytes for a in arrays)

    def data_memory(self) -> int:
        """Of those the data set, which does not depend on the batch."""
        of_input = self.neuron_populations["input"].extra_global_params
        return sum(a.view.nbytes for n, a in of_input.items() if n.startswith("event_"))


class Names:
    """An enumeration whose members are their names."""

    def __getattr__(self, name: str) -> str:
        return name


def stand_in(counter: Counter, models: list[Model]) -> Any:
    """What `import_pygenn` gives."""

    def model(*given: Any, **settings: Any) -> Model:
        models.append(Model(counter))
        return models[-1]

    described = lambda name, **settings: settings  # noqa: E731
    first = lambda kind, *rest: kind  # noqa: E731
    reference = lambda group, name: (group, name)  # noqa: E731
    return SimpleNamespace(
        GeNNModel=model, VarAccess=Names(), VarAccessMode=Names(), CustomUpdateVarAccess=Names(),
        create_neuron_model=described, create_weight_update_model=described, create_postsynaptic_model=described,
        create_custom_update_model=described, init_weight_update=first, init_postsynaptic=first,
        create_var_ref=reference, create_wu_var_ref=reference, create_egp_ref=reference,
    )  # fmt: skip


class StandInEngine(GennEngine):
    """The genn engine as on cuda: the examples of a batch run side by side."""

    def _choose_backend(self, asked: str | None) -> str:
        return "cuda"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most", type=int, default=8, help="arrays to list")
    arguments = parser.parse_args()
    counter, models = Counter(), list[Model]()
    network.import_pygenn = lambda: stand_in(counter, models)
    plan, events = plan_and_events(2 * arguments.batch_size, arguments.seed)
    engine = StandInEngine(plan, plan.network.initial_parameters(arguments.seed))
    optimiser, data = optimisers.Adam(1e-9), engine.load(events)
    engine.use(optimiser)
    best = np.inf
    for i in range(arguments.repeats + 2):
        samples = (np.arange(arguments.batch_size) + i) % len(data)
        if i >= 2:  # the first two build, load and settle
            counter.bytes, counter.calls = {}, collections.Counter()
        start = time.process_time()
        batch(engine, data, samples, optimiser)
        best = min(best, time.process_time() - start)
    start, steps = time.process_time(), counter.calls["steps"]
    for _ in range(steps):
        models[-1].step_time()
    counter.calls["steps"] = steps
    report(arguments, counter, models[-1], 1e3 * (best - (time.process_time() - start)))


def batch(engine: GennEngine, data: Any, samples: np.ndarray, optimiser: Any) -> None:
    """What the trainer does with a batch."""
    result = engine.run(data, samples, training=True)
    finite = getattr(engine, "finite", None)
    check_batch(engine.plan, result, engine.gradients, "batch", *([finite] if finite else []))
    engine.update(optimiser)


def report(arguments: argparse.Namespace, counter: Counter, model: Model, host: float) -> None:
    for way in ("to device", "to host"):
        arrays = counter.bytes.get(way, collections.Counter())
        print(f"{way:10}{sum(arrays.values()) / 1e3:12.1f} kB in {counter.calls[way]} copies")
        for name, n in arrays.most_common(arguments.most):
            print(f"    {name:34}{n / 1e3:12.1f} kB")
    print(f"numbers set: {counter.calls['numbers']}; GeNN steps {counter.calls['steps']}, custom updates", end=" ")
    print(f"{counter.calls['custom updates']}; host {host:.2f} ms per batch")
    held, of_data = model.memory(), model.data_memory()
    per = (held - of_data) / arguments.batch_size / 1e6
    print(f"memory: {per:.2f} MB per sample (weights, moments and all), data set {of_data / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
