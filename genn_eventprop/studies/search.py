"""A search over settings of one experiment with optuna (extra ``[search]``), written in a scan's TOML file.

    experiment = "spoken_digits"
    processes = 2

    [settings]
    epochs = 20

    [search]
    trials = 40
    sampler = "tpe"                    # tpe, random, gp, cmaes, qmc
    pruner = "median"                  # median, asha, hyperband, none: ends trials that are worse than others were
    objective = "accuracy"             # of validation: accuracy or loss
    seeds = "1-2"                      # repeats of every setting; the objective is their mean
    seed = 1                           # of the sampler

    [search.ranges]
    learning_rate = {low = 1e-4, high = 1e-2, log = true}
    hidden = {low = 50, high = 400, step = 50}     # integers
    neuron = ["LIF", "ALIF"]                       # a choice

The study is a journal in the scan's folder: the same command on several machines works on one study, and continues it
after a kill. Trials see the validation set only; the test set stays sealed until ``train --config best.toml``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import write_errors
from ..errors import SettingError, check_known, is_number, suggest, whole
from ..regular import open_regular
from ..runs.run_folder import mark_folder
from .repeats import whole_numbers

SAMPLERS = ("tpe", "random", "gp", "cmaes", "qmc")
PRUNERS = ("median", "asha", "hyperband", "none")
OBJECTIVES = ("accuracy", "loss")
KEYS = ("trials", "sampler", "pruner", "objective", "seeds", "seed", "ranges")
RANGE_KEYS = ("low", "high", "log", "step")
BLOCK = 4096
HOW = 'a [search] needs optuna: pip install "genn_eventprop[search]"'


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included; whole ones if `whole`."""

    low: float
    high: float
    whole: bool
    log: bool = False
    step: float | None = None


@dataclass(frozen=True)
class Search:
    """The table [search]. ranges: setting -> `Range`, or the list of its choices."""

    trials: int
    ranges: Mapping[str, Range | list[Any]]
    sampler: str = "tpe"
    pruner: str = "median"
    objective: str = "accuracy"
    seeds: tuple[int, ...] = (1,)
    seed: int = 1

    @property
    def worse(self) -> float:
        """-1 where a smaller objective is better, else 1."""
        return -1.0 if self.objective == "loss" else 1.0

    def distributions(self) -> dict[str, Any]:
        """Setting -> optuna's distribution."""
        optuna = import_optuna()
        return {name: _distribution(optuna, choices) for name, choices in self.ranges.items()}

    def settings(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of the experiment from the parameters of a trial.

        Raises:
            SettingError: a value that is not in [search.ranges]: the journal of a study may come from anybody.
        """
        settings = {}
        for name, value in parameters.items():
            choices = self.ranges.get(name, [])
            settings[name] = json.loads(value) if _coded(choices) else value
            if not (settings[name] in choices if isinstance(choices, list) else is_number(value)):
                raise SettingError(
                    f"study.journal has {name} = {str(value)[:80]!r}, which is not in [search.ranges] of the scan; "
                    "choose another folder"
                )
        return settings


def search_of(table: Mapping[str, Any], where: str) -> Search:
    """The table [search] of a scan.

    Raises:
        SettingError: an unknown key, or a value that cannot be used.
    """
    where = f"{where}, [search]"
    for key in table:
        check_known(key, KEYS, SettingError, f"{where}: unknown key {key!r}; ")
    for key, names in (("sampler", SAMPLERS), ("pruner", PRUNERS), ("objective", OBJECTIVES)):
        if table.get(key, names[0]) not in names:
            raise SettingError(f"{where}: {key} = {table[key]!r}; {suggest(str(table[key]), names)}")
    ranges = table.get("ranges")
    if not isinstance(ranges, Mapping) or not ranges:
        raise SettingError(f"{where}: list the settings to search in [search.ranges], a line for each")
    seeds = tuple(whole_numbers(str(table.get("seeds", "1")), f"{where}: seeds"))
    search_ranges = {name.replace("-", "_"): _range(name, choices, where) for name, choices in ranges.items()}
    if "seed" in search_ranges:
        raise SettingError(f'{where}: seed is not searched; give seeds = "1-3" for repeats of every setting')
    rest = {key: table[key] for key in ("sampler", "pruner", "objective") if key in table}
    trials = whole(table.get("trials", 20), f"{where}: trials", SettingError)
    seed = whole(table.get("seed", 1), f"{where}: seed", SettingError)
    return Search(trials, search_ranges, seeds=seeds, seed=seed, **rest)


def _range(name: str, choices: Any, where: str) -> Range | list[Any]:
    where = f"{where}: {name}"
    if isinstance(choices, list):
        if len(choices) < 2:
            raise SettingError(f"{where} needs at least two choices, got {choices!r}")
        return choices
    if not isinstance(choices, Mapping) or not {"low", "high"} <= set(choices):
        raise SettingError(
            f"{where} = {choices!r}; write a list of choices, or {{low = 1e-4, high = 1e-2, log = true}}"
        )
    for key in choices:
        check_known(key, RANGE_KEYS, SettingError, f"{where}: unknown key {key!r}; ")
    low, high, log, step = choices["low"], choices["high"], choices.get("log", False), choices.get("step")
    if not (is_number(low) and is_number(high)) or not low < high:
        raise SettingError(f"{where}: low and high must be two numbers, the smaller first, got {low!r} and {high!r}")
    if log and (low <= 0 or step is not None):
        raise SettingError(f"{where}: a logarithmic range must start above 0 and has no step")
    return Range(low, high, isinstance(low, int) and isinstance(high, int) and not isinstance(step, float), log, step)


def _coded(choices: Range | list[Any]) -> bool:
    """Whether choices go to optuna as JSON, which takes plain values only."""
    return isinstance(choices, list) and any(isinstance(v, (list, Mapping)) for v in choices)


def _distribution(optuna: Any, choices: Range | list[Any]) -> Any:
    if isinstance(choices, list):
        return optuna.distributions.CategoricalDistribution(
            [json.dumps(v) for v in choices] if _coded(choices) else choices
        )
    if choices.whole:
        return optuna.distributions.IntDistribution(
            int(choices.low), int(choices.high), choices.log, int(choices.step or 1)
        )
    return optuna.distributions.FloatDistribution(choices.low, choices.high, choices.log, choices.step)


def study_of(search: Search, folder: Path) -> Any:
    """The study in `folder`, begun if it is not there."""
    optuna = import_optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruners = optuna.pruners
    ends = {
        "median": lambda: pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2),
        "asha": lambda: pruners.SuccessiveHalvingPruner(), "hyperband": lambda: pruners.HyperbandPruner(),
        "none": lambda: pruners.NopPruner(),
    }  # fmt: skip
    mark_folder(folder, "scan", "folder")
    if os.path.lexists(journal := folder / "study.journal"):
        try:
            open_regular(journal, folder).close()
        except OSError as error:
            raise SettingError(f"{journal} cannot be read ({error.strerror}); choose another folder") from None
    return optuna.create_study(
        storage=optuna.storages.JournalStorage(journal_of(journal)), study_name="search",
        load_if_exists=True, sampler=sampler_of(search, 0), pruner=ends[search.pruner](),
        direction="maximize" if search.worse > 0 else "minimize",
    )  # fmt: skip


def sampler_of(search: Search, number: int) -> Any:
    """The sampler of a search's trial `number`, from 0.

    Its seed follows from the search's and the number: the same whichever process asks, and however often the study was
    opened before; no two trials have the same one.
    """
    samplers = import_optuna().samplers
    seed = int(np.random.SeedSequence([search.seed, number]).generate_state(1)[0])
    choices = {
        "tpe": lambda: samplers.TPESampler(seed=seed, constant_liar=True), "gp": lambda: samplers.GPSampler(seed=seed),
        "random": lambda: samplers.RandomSampler(seed=seed), "cmaes": lambda: samplers.CmaEsSampler(seed=seed),
        "qmc": lambda: samplers.QMCSampler(seed=seed),  # its sequence goes on in the study; the seed is for choices
    }  # fmt: skip
    try:
        return choices[search.sampler]()
    except ImportError as error:
        raise SettingError(f"sampler = {search.sampler!r} needs another package: {error}") from None


def journal_of(path: Path) -> Any:
    """Optuna's journal, in which a full disk or a kill leaves no half line: everything behind one would be lost.

    A journal is read line by line, and optuna's own writer appends to whatever is there: the first record after a half
    line would become part of it, and the study of every process could not be read any more.
    """
    journal = import_optuna().storages.journal

    class Journal(journal.JournalFileBackend):  # type: ignore[name-defined]
        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            lock = journal.JournalFileSymlinkLock(str(path))  # atomic on NFS too, where several machines share a study
            with write_errors(path):
                lock.acquire()
                try:
                    whole = _cut_half_line(path)  # of a process that was killed while it wrote
                    try:
                        with open(path, "ab") as file:
                            file.write("".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode())
                            file.flush()
                            os.fsync(file.fileno())
                    except OSError:  # a full disk: take back what part of the lines it still took
                        os.truncate(path, whole)
                        raise
                finally:
                    lock.release()

    with write_errors(path):
        return Journal(str(path))


def _cut_half_line(path: Path) -> int:
    """Remove a last line that was not written to its end, by a process that was killed; returns the size in bytes."""
    with open(path, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        # From the end, block by block: the journal may have grown large, and a whole line is nearly always in the last.
        whole, tail = size, b""
        while whole and not tail.endswith(b"\n"):
            start = max(0, whole - BLOCK)
            file.seek(start)
            tail = file.read(whole - start)
            tail = tail[: tail.rfind(b"\n") + 1]
            whole = start + len(tail)
        if whole < size:
            file.truncate(whole)
    return whole


def import_optuna() -> Any:
    """The module optuna."""
    try:
        import optuna
        import optuna.storages.journal
    except ImportError:
        raise SettingError(HOW) from None
    return optuna
