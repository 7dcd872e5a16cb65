"""A `NetworkText` as a running pygenn model. The only file that talks to pygenn."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import re
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...codegen.genn.text import POSTSYNAPTIC_CODE, NetworkText, NeuronText, SynapseText, UpdateText
from ...codegen.printer import C_REAL
from ...errors import EngineError, ToolchainError
from ...modelling.connectivity import Synapses
from .install import import_pygenn

_numbers = itertools.count()
_OF_DEVICES = re.compile(r"\b(cuda|hip|devices?|drivers?|memory|gpu)", re.IGNORECASE)  # what GeNN says of those


class Network:
    """A built and loaded GeNN model.

    Args:
        text: what to build. dtype: "float32" or "float64". batch: GeNN's batch size, 1 on single_threaded_cpu.
        backend: a GeNN backend. optimize_code: -O3 and -ffast-math in the code that GeNN compiles.
        lengths: of arrays, by population and name; 1 where it has none.
        device: number of the device; None: the one that GeNN chooses. tables: synapses of sparse connections.

    Raises:
        EngineError, ToolchainError: if GeNN cannot build or load it, for want of a device or because of its code; the
            folder with that stays, and is named.
    """

    def __init__(
        self, text: NetworkText, dtype: str, batch: int, backend: str, optimize_code: bool = True,
        lengths: Mapping[tuple[str, str], int] | None = None, device: int | None = None,
        tables: Mapping[str, Synapses] | None = None,
    ) -> None:  # fmt: skip
        self.text, self.batch, self._tables = text, batch, tables or {}
        self._pygenn = import_pygenn()
        self._numbers: dict[tuple[str, str], float] = {}
        self._update_numbers: dict[tuple[str, str], float] = {}
        self._model_classes: list[Any] = []  # GeNN has no reference to them; without one they are freed under it
        self._lengths = {(p, a): 1 for p, (_, t) in text.populations.items() for a, *_ in t.arrays}
        self._lengths.update(lengths or {})
        self.folder = Path(tempfile.mkdtemp(prefix="genn_eventprop_genn_"))
        self._remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        log = self.folder / "build.log"
        try:
            with _output_to(log):
                self._model = self._describe(dtype, backend, optimize_code, device)
                self._model.build(str(self.folder))
                self._load()
        except Exception as error:
            self._remove.detach()
            raise _failure(text.name, backend, error, log) from error

    def close(self) -> None:
        """Free its memory and delete its code."""
        if self._model is not None:
            self._model.unload()
            self._model = None
            self._remove()

    # building

    def _describe(self, dtype: str, backend: str, optimize_code: bool, device: int | None) -> Any:
        choice: dict[str, Any] = {}
        if device is not None:
            select = importlib.import_module(f"pygenn.{backend}_backend").DeviceSelect
            choice = {"device_select_method": select.MANUAL, "manual_device_id": device}
        model = self._pygenn.GeNNModel(
            C_REAL[dtype],
            f"eventprop_{self.text.name}_{os.getpid()}_{next(_numbers)}", backend=backend, optimize_code=optimize_code,
            **choice,
        )  # fmt: skip
        model.dt = 1.0  # time in GeNN counts steps; dt in ms is in the coefficients of the code
        model.batch_size = self.batch
        for name, (size, neuron) in self.text.populations.items():
            self._add_neurons(model, name, size, neuron)
        for name, synapse in self.text.synapses.items():
            self._add_synapses(model, name, synapse)
        for name, update in self.text.updates.items():
            self._add_update(model, name, update)
        return model

    def _add_neurons(self, model: Any, name: str, size: int, text: NeuronText) -> None:
        access = self._pygenn.VarAccess
        kind = self._pygenn.create_neuron_model(
            name, params=list(text.params), vars=[(n, t, getattr(access, a)) for n, t, a in text.vars],
            extra_global_params=[(n, f"{t}*") for n, t, _ in text.arrays],
            additional_input_vars=[(n, "scalar", 0.0) for n in text.inputs], sim_code=text.sim_code,
            threshold_condition_code=text.threshold_condition_code or None,
        )  # fmt: skip
        self._model_classes.append(kind)
        group = model.add_neuron_population(
            name, size, kind, dict.fromkeys((n for n, _ in text.params), 1), _zeros(text.vars)
        )
        for n, _ in text.params:
            group.set_param_dynamic(n)

    def _add_synapses(self, model: Any, name: str, text: SynapseText) -> None:
        genn, update = self._pygenn, text.update
        ref = lambda refs, pop: {  # noqa: E731
            n: genn.create_var_ref(model.neuron_populations[pop], v) for n, _, v in refs
        }
        read = genn.VarAccessMode.READ_ONLY
        kind = genn.create_weight_update_model(
            name, vars=[(n, t, getattr(genn.VarAccess, a)) for n, t, a in update.vars],
            pre_neuron_var_refs=[(n, t, read) for n, t, _ in update.pre_refs],
            post_neuron_var_refs=[(n, t, read) for n, t, _ in update.post_refs],
            pre_spike_syn_code=update.pre_spike_syn_code,
            pre_event_threshold_condition_code=update.pre_event_threshold_condition_code or None,
            pre_event_syn_code=update.pre_event_syn_code or None,
        )  # fmt: skip
        arrive = genn.create_postsynaptic_model("arrive", sim_code=POSTSYNAPTIC_CODE)
        self._model_classes += [kind, arrive]
        group = model.add_synapse_population(
            name, "SPARSE" if text.sparse else "DENSE",
            model.neuron_populations[text.source], model.neuron_populations[text.target],
            genn.init_weight_update(
                kind, {}, _zeros(update.vars), {}, {}, ref(update.pre_refs, text.source),
                ref(update.post_refs, text.target),
            ),
            genn.init_postsynaptic(arrive),
        )  # fmt: skip
        group.post_target_var = text.post_input
        if text.pre_input:
            group.pre_target_var = text.pre_input
        group.max_dendritic_delay_timesteps = text.delay + 1  # GeNN's ring has one place more than the delay
        if text.sparse:
            table = self._tables[text.of]
            group.set_sparse_connections(table.source, table.target)
        # backwards a synapse reads its target as it was `delay` steps before: D travels from target to source
        if update.post_refs and not text.delays:
            group.back_prop_delay_steps = text.delay

    def _add_update(self, model: Any, name: str, text: UpdateText) -> None:
        genn = self._pygenn
        kind = genn.create_custom_update_model(
            name, params=list(text.params),
            vars=[(n, t, getattr(genn.CustomUpdateVarAccess, a)) for n, t, a in text.vars],
            var_refs=[(n, t, getattr(genn.VarAccessMode, m)) for n, t, m, _, _ in text.refs], update_code=text.code,
            extra_global_param_refs=[(n, f"{t}*") for n, t, *_ in text.arrays],
        )  # fmt: skip
        self._model_classes.append(kind)
        on_synapses = text.of in self.text.synapses
        places = model.synapse_populations if on_synapses else model.neuron_populations
        create = genn.create_wu_var_ref if on_synapses else genn.create_var_ref
        refs = {n: create(places[o] if o == text.of else model.custom_updates[o], v) for n, _, _, o, v in text.refs}
        arrays = {n: genn.create_egp_ref(model.neuron_populations[o], a) for n, _, o, a in text.arrays}
        update = model.add_custom_update(
            name, text.group, kind, dict.fromkeys((n for n, _ in text.params), 1), _zeros(text.vars), refs, arrays
        )
        for n, _ in text.params:
            update.set_param_dynamic(n)

    def _load(self) -> None:
        for (p, a), length in self._lengths.items():
            group = self._model.neuron_populations[p]
            kind = next(t for n, t, _ in self.text.populations[p][1].arrays if n == a)
            dtype = {"int": np.int32, "uint32_t": np.uint32}.get(kind, np.float64)
            group.extra_global_params[a].set_init_values(np.zeros(length, dtype))
        self._model.load()
        for array in (e for g in self._model.neuron_populations.values() for e in g.extra_global_params.values()):
            array.set_init_values(None)  # the zeros stay allocated beside the array otherwise
        for (p, n), value in self._numbers.items():
            self._model.neuron_populations[p].set_dynamic_param_value(n, value)
        for (u, n), value in self._update_numbers.items():
            self._model.custom_updates[u].set_dynamic_param_value(n, value)

    def reload(self) -> None:
        """Start again with fresh memory; everything but the numbers must be set again."""
        # fresh memory is all zeros; the numbers are set by `_load`, from the copies here
        self._model.unload()
        self._load()

    # data: arrays are views of the host's copy; push after writing, pull before reading

    def set_number(self, population: str, name: str, value: float) -> None:
        """A parameter of a neuron model."""
        kinds, groups = dict(self.text.populations[population][1].params), self._model.neuron_populations
        self._set(self._numbers, (population, name), kinds[name], value, groups[population])

    def set_update_number(self, update: str, name: str, value: float) -> None:
        """A parameter of a custom update."""
        kinds = dict(self.text.updates[update].params)
        self._set(self._update_numbers, (update, name), kinds[name], value, self._model.custom_updates[update])

    def _set(self, known: dict[Any, float], key: tuple[str, str], kind: str, value: float, group: Any) -> None:
        value = float(value) if kind == "scalar" else int(value)
        if known.get(key) != value:
            known[key] = value
            group.set_dynamic_param_value(key[1], value)

    def neurons(self, population: str, name: str, *, pull: bool = False) -> np.ndarray:
        """(B, N) view of a neuron variable; (N,) for one that all examples share."""
        variable = self._model.neuron_populations[population].vars[name]
        if pull:
            variable.pull_from_device()
        access = next(a for n, _, a in self.text.populations[population][1].vars if n == name)
        return variable.view if access == "READ_ONLY" else variable.view.reshape(self.batch, -1)

    def synapses(self, name: str, variable: str, *, pull: bool = False) -> np.ndarray:
        """(M * N,) view of a variable of a dense connection."""
        array = self._model.synapse_populations[name].vars[variable]
        if pull:
            array.pull_from_device()
        return array.view

    def write_synapses(self, name: str, variable: str, values: np.ndarray) -> None:
        """Hand a variable of a connection to the device: a number for every synapse, sorted by source."""
        array = self._model.synapse_populations[name].vars[variable]
        array.values = np.ravel(values)
        array.push_to_device()

    def update_variable(self, update: str, name: str, *, pull: bool = False) -> np.ndarray:
        """View of a variable of a custom update: (M * N,), or (B, 1) for one that neurons share."""
        array = self._model.custom_updates[update].vars[name]
        if pull:
            array.pull_from_device()
        return array.view

    def array(self, population: str, name: str, *, pull: bool = False) -> np.ndarray:
        """Flat view of an extra global parameter."""
        array = self._model.neuron_populations[population].extra_global_params[name]
        if pull:
            array.pull_from_device()
        return array.view

    def push(self, group: str, *names: str) -> None:
        """Hand variables or arrays of a population or connection to the device."""
        for name in names:
            if group in self.text.synapses:
                self._model.synapse_populations[group].vars[name].push_to_device()
            else:
                p = self._model.neuron_populations[group]
                (p.vars[name] if name in p.vars else p.extra_global_params[name]).push_to_device()

    def push_update(self, update: str, name: str) -> None:
        """Hand a variable of a custom update to the device."""
        self._model.custom_updates[update].vars[name].push_to_device()

    def fits(self, lengths: Mapping[tuple[str, str], int]) -> bool:
        """Whether arrays have these lengths."""
        return all(self._lengths[key] == length for key, length in lengths.items())

    def fit(self, lengths: Mapping[tuple[str, str], int]) -> None:
        """Give arrays these lengths, with a `reload`."""
        self._lengths.update(lengths)
        self.reload()

    # running

    def run(self, first: int, last: int) -> None:
        """GeNN steps `first` to `last` - 1."""
        self._model.timestep = first
        step = self._model.step_time
        for _ in range(last - first):
            step()

    def launch(self, group: str) -> None:
        """All custom updates of a group, if it has any."""
        if self.text.has(group):
            self._model.custom_update(group)


def _zeros(variables: tuple[tuple[str, str, str], ...]) -> dict[str, float]:
    return {n: 0.0 if kind == "scalar" else 0 for n, kind, _ in variables}


def _failure(name: str, backend: str, error: Exception, log: Path) -> EngineError | ToolchainError:
    """An error of the device, or of the code, with the end of the compiler's output."""
    text = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    tail = "".join(f"\n    {line}" for line in text[-12:])
    what = str(error) or type(error).__name__
    kind: type[EngineError | ToolchainError] = ToolchainError
    advice = "engine='native' runs the same network without GeNN"
    if isinstance(error, FileNotFoundError):  # of a program
        advice = f"GeNN builds with make and a C++ compiler: install them, or {advice}"
    if backend in ("cuda", "hip") and _OF_DEVICES.search(what) and not isinstance(error, subprocess.CalledProcessError):
        kind = EngineError
        advice = "see `genn-eventprop engines` for its devices, or use the engine genn(backend=single_threaded_cpu)"
    return kind(
        f"GeNN could not build the {name} network for {backend}: {what}; {advice}. Its code is in {log.parent}{tail}"
    )


@contextlib.contextmanager
def _output_to(file: Path) -> Iterator[None]:
    """Send what make and the compiler print to a file."""
    saved = [(fd, os.dup(fd)) for fd in (1, 2)]
    try:
        with open(file, "w") as log:
            for fd, _ in saved:
                os.dup2(log.fileno(), fd)
            yield
    finally:
        for fd, copy in saved:
            os.dup2(copy, fd)
            os.close(copy)
