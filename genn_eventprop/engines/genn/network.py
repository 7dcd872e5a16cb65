"""A `NetworkText` as a running pygenn model. The only file that talks to pygenn."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import EngineError
from .install import import_pygenn
from .text import POSTSYNAPTIC_CODE, REDUCE_CODE, NetworkText, NeuronText, SynapseText

_numbers = itertools.count()


class Network:
    """A built and loaded GeNN model.

    Args:
        text: what to build. dtype: "float32" or "float64". batch: GeNN's batch size, 1 on single_threaded_cpu.
        backend: a GeNN backend. optimize_code: -O3 and -ffast-math in the code that GeNN compiles.

    Raises:
        EngineError: if GeNN cannot build or load it; the folder with its code is kept and named.
    """

    def __init__(self, text: NetworkText, dtype: str, batch: int, backend: str, optimize_code: bool = True) -> None:
        self.text, self.batch = text, batch
        self._pygenn = import_pygenn()
        self._numbers: dict[tuple[str, str], float] = {}
        self._kept: list[Any] = []  # GeNN holds no reference to model classes; without one they are freed under it
        self._lengths = {(p, a): 1 for p, (_, t) in text.populations.items() for a, _ in t.arrays}
        self.folder = Path(tempfile.mkdtemp(prefix="genn_eventprop_genn_"))
        self._remove = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        log = self.folder / "build.log"
        try:
            with _output_to(log):
                self._model = self._describe(dtype, backend, optimize_code)
                self._model.build(str(self.folder))
                self._load()
        except Exception as error:
            self._remove.detach()
            raise EngineError(_failure(text.name, backend, error, log)) from error

    def close(self) -> None:
        """Free its memory and delete its code."""
        if self._model is not None:
            self._model.unload()
            self._model = None
            self._remove()

    # building

    def _describe(self, dtype: str, backend: str, optimize_code: bool) -> Any:
        model = self._pygenn.GeNNModel(
            {"float32": "float", "float64": "double"}[dtype],
            f"eventprop_{self.text.name}_{os.getpid()}_{next(_numbers)}", backend=backend, optimize_code=optimize_code,
        )  # fmt: skip
        model.dt = 1.0
        model.batch_size = self.batch
        for name, (size, neuron) in self.text.populations.items():
            self._add_neurons(model, name, size, neuron)
        for name, synapse in self.text.synapses.items():
            self._add_synapses(model, name, synapse)
        for name in self.text.reduced:
            self._add_reduction(model, name)
        return model

    def _add_neurons(self, model: Any, name: str, size: int, text: NeuronText) -> None:
        access = self._pygenn.VarAccess
        kind = self._pygenn.create_neuron_model(
            name, params=list(text.params), vars=[(n, t, getattr(access, a)) for n, t, a in text.vars],
            extra_global_params=[(n, f"{t}*") for n, t in text.arrays],
            additional_input_vars=[(n, "scalar", 0.0) for n in text.inputs], sim_code=text.sim_code,
            threshold_condition_code=text.threshold_condition_code or None, reset_code=text.reset_code or None,
        )  # fmt: skip
        self._kept.append(kind)
        zero = {n: 0.0 if t == "scalar" else 0 for n, t, _ in text.vars}
        group = model.add_neuron_population(name, size, kind, dict.fromkeys((n for n, _ in text.params), 1), zero)
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
        )  # fmt: skip
        arrive = genn.create_postsynaptic_model("arrive", sim_code=POSTSYNAPTIC_CODE)
        self._kept += [kind, arrive]
        group = model.add_synapse_population(
            name, "DENSE", model.neuron_populations[text.source], model.neuron_populations[text.target],
            genn.init_weight_update(
                kind, {}, dict.fromkeys((v[0] for v in update.vars), 0.0), {}, {}, ref(update.pre_refs, text.source),
                ref(update.post_refs, text.target),
            ),
            genn.init_postsynaptic(arrive),
        )  # fmt: skip
        if text.post_input:
            group.post_target_var = text.post_input
        if text.pre_input:
            group.pre_target_var = text.pre_input
        group.axonal_delay_steps = text.delay
        group.back_prop_delay_steps = text.look_back

    def _add_reduction(self, model: Any, name: str) -> None:
        genn = self._pygenn
        kind = genn.create_custom_update_model(
            "reduce", vars=[("total", "scalar", genn.CustomUpdateVarAccess.REDUCE_BATCH_SUM)],
            var_refs=[("gradient", "scalar", genn.VarAccessMode.READ_WRITE)], update_code=REDUCE_CODE,
        )  # fmt: skip
        self._kept.append(kind)
        refs = {"gradient": genn.create_wu_var_ref(model.synapse_populations[name], "gradient")}
        model.add_custom_update(f"reduce_{name}", "reduce", kind, {}, {"total": 0.0}, refs)

    def _load(self) -> None:
        for (p, a), length in self._lengths.items():
            group = self._model.neuron_populations[p]
            kind = next(t for n, t in self.text.populations[p][1].arrays if n == a)
            dtype = np.int32 if kind == "int" else np.float64
            group.extra_global_params[a].set_init_values(np.zeros(length, dtype))
        self._model.load()
        for (p, n), value in self._numbers.items():
            self._model.neuron_populations[p].set_dynamic_param_value(n, value)

    def reload(self) -> None:
        """Start again with fresh memory; everything but the numbers must be set anew."""
        self._model.unload()
        self._load()

    # data: arrays are views of the host's copy; push after writing, pull before reading

    def set_number(self, population: str, name: str, value: float) -> None:
        """A parameter of a neuron model."""
        integer = dict(self.text.populations[population][1].params)[name] == "int"
        value = int(value) if integer else float(value)
        if self._numbers.get((population, name)) != value:
            self._numbers[population, name] = value
            self._model.neuron_populations[population].set_dynamic_param_value(name, value)

    def neurons(self, population: str, name: str, *, pull: bool = False) -> np.ndarray:
        """(B, N) view of a neuron variable; (N,) for one that all examples share."""
        variable = self._model.neuron_populations[population].vars[name]
        if pull:
            variable.pull_from_device()
        access = next(a for n, _, a in self.text.populations[population][1].vars if n == name)
        return variable.view if access == "READ_ONLY" else variable.view.reshape(self.batch, -1)

    def synapses(self, name: str, variable: str) -> np.ndarray:
        """(B, M * N) view of a variable of a connection; (M * N,) for weights."""
        return self._model.synapse_populations[name].vars[variable].view

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

    def fits(self, lengths: Mapping[tuple[str, str], int]) -> bool:
        """Whether arrays have these lengths."""
        return all(self._lengths[key] == length for key, length in lengths.items())

    def fit(self, lengths: Mapping[tuple[str, str], int]) -> bool:
        """Give arrays these lengths; True if that meant a `reload`."""
        if self.fits(lengths):
            return False
        self._lengths.update(lengths)
        self.reload()
        return True

    # running

    def run(self, steps: int) -> None:
        """`steps` steps from time 0."""
        self._model.timestep = 0
        for _ in range(steps):
            self._model.step_time()

    def reduced(self) -> Iterator[tuple[str, np.ndarray]]:
        """(connection, (M * N,) gradient summed over the examples since the last call)."""
        if self.text.reduced:
            self._model.custom_update("reduce")
        for name in self.text.reduced:
            total = self._model.custom_updates[f"reduce_{name}"].vars["total"]
            total.pull_from_device()
            yield name, total.view


def _failure(name: str, backend: str, error: Exception, log: Path) -> str:
    """A message with the end of the compiler's output."""
    text = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    tail = "".join(f"\n    {line}" for line in text[-12:])
    if backend in ("cuda", "hip") and not isinstance(error, subprocess.CalledProcessError):
        advice = "see `genn-eventprop engines` for its devices, or use --genn-backend single_threaded_cpu"
    else:
        advice = "engine='native' runs the same network without GeNN"
    what = str(error) or type(error).__name__
    return f"GeNN could not build the {name} network for {backend}: {what}; {advice}. Its code is in {log.parent}{tail}"


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
