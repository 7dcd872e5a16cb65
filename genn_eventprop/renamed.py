"""Names and modules of the previous version, which work until 0.3.0 with a `DeprecationWarning`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = __name__.rpartition(".")[0]
MODULES = {
    "cli.repeats": "cli.train",
    "cli.search_report": "cli.scan",
    "codegen.cuda.between": "codegen.cuda.connections",
    "codegen.words": "codegen.genn.learning",
    "crosscheck": "verify.engines",
    "data.aer": "data.readers.aer",
    "data.augment.distort": "data.augment.steps",
    "data.augment.rearrange": "data.augment.steps",
    "data.augment.silence": "data.augment.steps",
    "data.augmented": "data.augment.augmented",
    "data.batchwise": "data.augment.batchwise",
    "data.braille": "data.readers.braille",
    "data.check": "data.events.check",
    "data.chunks": "data.events.chunks",
    "data.cochlea": "data.audio.cochlea",
    "data.counter": "data.augment.counter",
    "data.distort": "data.augment.steps",
    "data.download": "data.readers.download",
    "data.encode": "data.events.encode",
    "data.espeak": "data.audio.espeak",
    "data.fsdd": "data.readers.fsdd",
    "data.hair_cell": "data.audio.hair_cell",
    "data.hdf5": "data.readers.hdf5",
    "data.kernels": "data.augment.kernels",
    "data.locate": "data.readers.locate",
    "data.mnist": "data.readers.mnist",
    "data.needs": "data.optional",
    "data.raster": "data.events.raster",
    "data.readers.hdf5_output": "data.readers.hdf5",
    "data.rearrange": "data.augment.steps",
    "data.same_samples": "data.events.events",
    "data.samples": "data.open",
    "data.silence": "data.augment.steps",
    "data.sources": "data.open",
    "data.splits": "data.events.splits",
    "data.statistics": "data.events.statistics",
    "data.storage": "data.events.storage",
    "data.structured": "data.readers.structured",
    "data.tonic_sets": "data.readers.tonic",
    "data.yin_yang": "data.readers.yin_yang",
    "description.connections": "description.network",
    "description.parameters": "description.network",
    "engines.around": "engines.contract.wrapper",
    "engines.base": "engines.contract.engine",
    "engines.carry": "engines.contract.state",
    "engines.clock_backward": "engines.reference.grid.backward",
    "engines.clock_connections": "engines.reference.grid.connections",
    "engines.clock_events": "engines.reference.grid.events",
    "engines.clock_forward": "engines.reference.grid.forward",
    "engines.clock_readout": "engines.reference.grid.readout",
    "engines.clock_readout_spikes": "engines.reference.grid.readouts",
    "engines.clock_readout_v": "engines.reference.grid.readout_v",
    "engines.clock_readouts": "engines.reference.grid.readouts",
    "engines.clock_step": "engines.reference.grid.step",
    "engines.dataset": "engines.contract.data",
    "engines.device_arrays": "engines.contract.device_arrays",
    "engines.event_backward": "engines.reference.exact.backward",
    "engines.event_equations": "engines.reference.exact.equations",
    "engines.event_flow": "engines.reference.exact.flow",
    "engines.event_forward": "engines.reference.exact.forward",
    "engines.event_pieces": "engines.reference.exact.pieces",
    "engines.event_population": "engines.reference.exact.population",
    "engines.event_readout": "engines.reference.exact.readout",
    "engines.event_readout_spikes": "engines.reference.exact.readouts",
    "engines.event_readout_v": "engines.reference.exact.readout_v",
    "engines.event_readouts": "engines.reference.exact.readouts",
    "engines.event_records": "engines.reference.exact.records",
    "engines.event_routes": "engines.reference.exact.routes",
    "engines.event_series": "engines.reference.exact.series",
    "engines.genn.halves": "engines.genn.phases",
    "engines.losses": "engines.contract.host_losses",
    "engines.native_arrays": "engines.native.memory",
    "engines.native_batches": "engines.native.engine",
    "engines.native_calls": "engines.native.threads",
    "engines.native_carry": "engines.native.carry",
    "engines.native_library": "engines.native.threads",
    "engines.native_memory": "engines.native.memory",
    "engines.native_routes": "engines.native.routes",
    "engines.native_tables": "engines.native.tables",
    "engines.native_threads": "engines.native.threads",
    "engines.native_values": "engines.native.engine",
    "engines.parts": "engines.contract.slices",
    "engines.program_engine": "engines.contract.program_engine",
    "engines.reference_clock": "engines.reference.grid.engine",
    "engines.reference_event": "engines.reference.exact.engine",
    "engines.refuse": "engines.contract.features",
    "engines.reordered": "engines.contract.wrapper",
    "engines.result": "engines.contract.result",
    "engines.split": "engines.contract.split",
    "engines.stochastic": "engines.contract.noise",
    "engines.tables": "engines.contract.parameters",
    "gradcheck": "verify.gradients",
    "interop.torch_spikes": "interop.torch_trial",
    "modelling.own_file": "modelling.user_file",
    "nir.equations": "nir.neurons",
    "optimisers.averaging": "optimisers.base",
    "page": "report.page",
    "plan.entries": "plan.coefficients",
    "plan.held": "plan.enforced_bounds",
    "plan.numbers": "plan.coefficients",
    "plan.tables": "plan.synapse_tables",
    "plots": "report.plots",
    "program.outer.given": "program.outer.host_slopes",
    "program.values": "program.host_values",
    "reproduce": "report.reproduce",
    "training.carried": "training.stateful",
    "training.checkpoint": "runs.checkpoint",
    "training.choices": "experiment.options",
    "training.cluster": "studies.cluster",
    "training.comparison": "studies.comparison",
    "training.convolutions": "experiment.layers",
    "training.delays": "training.results",
    "training.deploy": "deploy.c_file",
    "training.distributed": "distributed",
    "training.distributed.alone": "distributed.ranks",
    "training.evaluating": "training.evaluator",
    "training.evaluation": "training.evaluator",
    "training.experiment": "experiment.experiment",
    "training.folder_model": "training.run_recorder",
    "training.gradient_norms": "training.results",
    "training.identity": "runs.fingerprint",
    "training.imported": "experiment.imported",
    "training.jobs": "studies.jobs",
    "training.layered": "experiment.layers",
    "training.repeat_jobs": "studies.repeats",
    "training.repeats": "studies.repeats",
    "training.report": "training.results",
    "training.results_table": "studies.tables",
    "training.run_folder": "runs.run_folder",
    "training.run_index": "runs.run_index",
    "training.scan": "studies.scan",
    "training.scan_status": "studies.scan",
    "training.search": "studies.search",
    "training.search_run": "studies.search_run",
    "training.specs": "experiment.options",
    "training.stopping": "training.callbacks",
    "training.stream": "deploy.online",
    "training.streams": "training.seeds",
    "training.tabulate": "studies.tables",
    "training.trained": "deploy.trained",
    "training.weights": "runs.weights",
    "training.worker": "cli.worker",
    "training.writer": "runs.run_lock",
    "view": "report.view",
}
"""Old module -> new one, below the package. A package stands for all modules in it."""


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module some of whose names have changed.

    Args:
        module: its ``__name__``.
        names: old name -> new name in the same module, or ``"package.module:name"`` where it has moved.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = names[name].rpartition(":")
        home = home or module
        _warn(f"{module}.{name}", f"{home}.{new}", 3)
        return getattr(import_module(home), new)

    return get


class RenamedAttribute:
    """An attribute under its old name, for reading.

    Args:
        name: the new one.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self.old, self.new = f"{owner.__name__}.{name}", f"{owner.__name__}.{self.name}"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        _warn(self.old, self.new, 3)
        return getattr(instance, self.name)


def new_module(old: str) -> str | None:
    """The present name of a module of the previous version; None if its name has not changed."""
    path = old.removeprefix(f"{PACKAGE}.")
    if path == old:
        return None
    head, tail = path, ""
    while head:
        if head in MODULES:
            return f"{PACKAGE}.{MODULES[head]}{tail}"
        head, _, last = head.rpartition(".")
        tail = f".{last}{tail}"
    return None


class RenamedModules(MetaPathFinder, Loader):
    """Imports modules of the previous version as views of the present ones.

    A view, not the module itself: the import system writes `__spec__` into what a loader returns.
    """

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        new = new_module(name)
        # as a package, or the import system would not ask for what lay below it
        return None if new is None else ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = new_module(spec.name)
        assert new is not None
        present = import_module(new)  # before the warning: a module that cannot be imported has its own error
        _warn(spec.name, new, 2)
        module = ModuleType(spec.name, present.__doc__)
        module.__getattr__ = lambda name: getattr(present, name)  # type: ignore[method-assign]
        module.__dir__ = lambda: dir(present)  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: the view reads the present module."""


def accept_old_modules() -> None:
    """Lets imports of the previous version's modules work, after everything that the package itself has."""
    if not any(isinstance(finder, RenamedModules) for finder in sys.meta_path):
        # last, so that it is asked only for what nothing else finds: a present module is never shadowed
        sys.meta_path.append(RenamedModules())


def warn_renamed(old: str, new: str) -> None:
    """Say that a name of the previous version was used, at the caller's caller."""
    _warn(old, new, 4)


def _warn(old: str, new: str, level: int) -> None:
    # `level` leads to the line that used the old name, which Python shows and filters of warnings look at
    message = f"{old} is now {new}; the old name will be removed in 0.3.0"
    warnings.warn(message, DeprecationWarning, stacklevel=level)
