"""``evaluate RUN`` and ``resume RUN``: commands on an existing run folder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from ..atomic import write_text
from ..data.inputs import DataSet, load_data
from ..errors import SettingError, check_known
from ..experiment.experiment import open_run, run_experiment
from ..runs import mark
from ..runs.checkpoint import load_checkpoint
from ..runs.run_folder import SAMPLES, RunFolder, read_json
from ..runs.weights import save_weights
from ..training import metrics
from ..verify.gradients.command import find_model
from .options import Run, operand
from .train import describe_results

if TYPE_CHECKING:
    from ..deploy.trained import TrainedModel


def evaluate(
    run: Run,
    checkpoint: Literal["best", "last"] = "best",
    data: Literal["train", "validation", "test"] = "test",
    page: Path | None = None,
    engine: str | None = None,
    threads: int | None = None,
    profile: str | None = None,
    dt: float | None = None,
    trust: bool = False,
) -> None:
    """Evaluate the saved weights of a run on one of its data sets.

    Evaluate the saved weights of a run on one of its data sets.

    Args:
        run: The run folder.
        page: Your own experiment file, if the run was made with one; it is executed to get the data.
        checkpoint: The weights chosen on validation (best), or those of the last epoch.
        data: Data set of the experiment.
        engine: An engine other than that of the training.
        threads: Number of engine threads.
        profile: Evaluate in the integers of this profile too, rounded after the training: int8, ternary, fenn, loihi2,
            xylo, or MINE.toml (docs/integer_networks.md).
        dt: Time step in ms of the integers; default: that of the training, or a tenth of it after exact spike times.
        trust: Run and open the files that the run's settings name (--neuron FILE:NAME, --data-dir).
    """
    if dt is not None and profile is None:
        raise SettingError("--dt is the step of integers: evaluate RUN --profile int8 --dt 1")
    file, config, folder = open_run(run, page, trust, engine=engine, threads=threads)
    experiment = file.experiment(config)
    events = experiment.events(data)
    if events is None:
        raise SettingError(f"experiment {file.name} has no {data} set")
    # the page builds network and data anew; the checkpoint knows whether they are those of the run, and says so if not
    path = folder.checkpoint(checkpoint)
    experiment.trainer.load_checkpoint(path)
    result = experiment.trainer.evaluate(events)
    print(f"{path.name}, {data} set, {len(events)} samples, engine {experiment.trainer.engine.name}")
    if profile is not None:
        _evaluate_integers(run, checkpoint, profile, dt, trust, events, result.predictions)
    if math.isnan(result.explained):
        print(f"loss {result.loss:.5f}, undecided {result.undecided}")
    else:
        print(f"loss {result.loss:.5f}, explained variance {result.explained:.3f}")
    for name, part in result.parts.items():
        print(f"{name}: loss {part.loss:.5f}, accuracy {100 * part.accuracy:.2f} %")
    if (result.labels >= 0).any():
        print(metrics.describe(metrics.report(result, events.groups), result.accuracy, experiment.class_names))
    for name, activity in result.activity.items():
        print(f"{name}: {activity.spikes_per_neuron:.2f} spikes per neuron, {activity.silent} silent neurons")


def _evaluate_integers(
    run: Path, checkpoint: str, profile: str, dt: float | None, trust: bool, events: DataSet, predictions: np.ndarray
) -> None:
    from ..deploy.integer import IntegerModel
    from ..deploy.trained import load

    integers = IntegerModel(load(run, checkpoint=checkpoint, trust=trust), profile, dt)
    outputs = integers.outputs(events, prepared=True)
    same = 100 * float(np.mean(outputs.classes == predictions))
    labels = events.labels
    accuracy = "" if labels is None else f"accuracy {100 * float(np.mean(outputs.classes == labels)):.2f} %, "
    print(f"profile {profile}: {accuracy}undecided {int((outputs.classes < 0).sum())}, same class in {same:.2f} %")
    if cut := int((outputs.limited > 0).sum()):
        print(f"profile {profile}: states were cut to their bits in {cut} of {len(events)} samples")


def resume(
    run: Run,
    page: Path | None = None,
    epochs: int | None = None,
    threads: int | None = None,
    engine: str | None = None,
    trust: bool = False,
) -> None:
    """Continue a run from its last checkpoint, bit for bit as if it had never stopped.

    Continue a run from its last checkpoint, bit for bit as if it had never stopped.

    Args:
        run: The run folder.
        page: Your own experiment file, if the run was made with one; it is executed to continue.
        epochs: Total number of epochs, instead of the number with which the run was started.
        threads: Number of engine threads; results do not depend on it.
        engine: The engine of the run, if "auto" would choose another one on this machine.
        trust: Run and open the files that the run's settings name (--neuron FILE:NAME, --data-dir).
    """
    if mark.kind_of(run) == "repeats":
        raise SettingError(f"{run} holds several runs: continue with the command that started them and --run-dir {run}")
    file, config, _ = open_run(run, page, trust, epochs=epochs, threads=threads, engine=engine)
    results = run_experiment(file, dataclasses.replace(config, run_dir=run), resume=True)
    print(describe_results(results))


def export(
    run: Run,
    out: Annotated[Path, *operand("OUT")],
    checkpoint: Literal["best", "last"] = "best",
    overwrite: bool = False,
    bits: Literal[8, 16, 32] = 32,
    dt: float | None = None,
    measure: tuple[Path, ...] = (),
    profile: str | None = None,
    nir_dialect: Literal["spec", "norse", "snntorch"] = "spec",
    cell: str | None = None,
    trust: bool = False,
) -> None:
    """Write the weights of a run to npz or CSV files, or the whole model for C, NIR or Brian: export RUN model.c.

    Write the weights and other parameters of a run to one npz file or a folder of CSV files, or the whole model to
    one self-contained C99 file (docs/deploy.md), to a NIR file (docs/nir.md) or to a script for Brian 2
    (docs/from_brian.md).

    Neither the data nor the experiment file is needed. Trainer.load_weights reads npz and CSV. The folder of a fit
    becomes a script for Brian 2 of the fitted neuron and its current.

    Args:
        run: The run folder, of a training or a fit.
        out: NAME.npz, NAME.c, NAME.nir, NAME.py, or a folder for CSV files (one row per presynaptic neuron).
        checkpoint: The weights chosen on validation (best), or those of the last epoch.
        overwrite: Replace an existing file.
        bits: Bits per weight in a C file: 32 is float, 8 and 16 are integers with one scale per connection.
        dt: Time step in ms of a C file, or of a NIR file in a dialect other than spec; default: that of the training,
            or a tenth of it for a C file after exact spike times.
        measure: Recordings or data sets on which to compare the arithmetic of the C file with the run; default: the
            held-out samples in the run folder, if it differs.
        profile: Integers only (docs/integer_networks.md): a C file without floats that computes as this machine does,
            or a NIR file with the numbers that the integers stand for.
        nir_dialect: The simulator that will read the NIR file, or spec for the NIR specification.
        cell: Name of the cell, where several were fitted.
        trust: Accept hand-written code from the run folder; only for folders of your own.
    """
    of_fit = mark.kind_of(run) == "fit"
    if of_fit and out.suffix != ".py":
        raise SettingError(f"{run} is a fit, which is exported as a script for Brian 2: export RUN NAME.py")
    if cell is not None and not of_fit:
        raise SettingError("--cell is for the folder of a fit")
    if profile is not None and (bits != 32 or out.suffix not in (".c", ".nir")):
        raise SettingError("--profile is for C and NIR files, and has its own bits: export RUN NAME.c --profile int8")
    # an option of another kind of file would have no effect, and nobody would notice
    if out.suffix != ".c" and (bits != 32 or measure or (dt is not None and out.suffix != ".nir")):
        raise SettingError("--bits, --dt and --measure are for C files: export RUN NAME.c")
    if out.suffix != ".nir" and nir_dialect != "spec":
        raise SettingError("--nir-dialect is for NIR files: export RUN NAME.nir")
    _check_free(out, overwrite)
    if of_fit:
        _export_fit(run, out, cell, trust)
        return
    if out.suffix not in (".c", ".nir", ".py"):
        _export_weights(run, out, checkpoint)
        return
    from ..deploy.trained import load  # here, since `evaluate` and `resume` need it not

    model, what = load(run, checkpoint=checkpoint, trust=trust), f"{out}: {checkpoint} checkpoint of {run}"
    if out.suffix == ".nir":
        _export_nir(model, what, out, nir_dialect, dt, profile)
    elif out.suffix == ".py":
        _export_brian(model, what, out, overwrite)
    else:
        own = run / SAMPLES
        samples = load_data(own) if not measure and not model.regression and own.is_file() else None
        models = (
            _export_c(model, what, out, bits, dt)
            if profile is None
            else _export_integers(model, what, out, f"{checkpoint} checkpoint of {run.name}.", profile, dt)
        )
        _print_measured(models, measure, samples)


def _check_free(out: Path, overwrite: bool) -> None:
    if out.exists() and not overwrite:
        raise SettingError(f"{out} exists; give another name, or --overwrite")


def _export_weights(run: Path, out: Path, checkpoint: str) -> None:
    path = RunFolder.open(run).checkpoint(checkpoint)
    parameters = load_checkpoint(path).section("parameters")
    save_weights(out, parameters)
    print(f"{out}: {path.name} of {run}")
    for name, value in parameters.items():
        print(
            f"  {name:30} {' x '.join(map(str, value.shape)):12} mean {value.mean():.4g}, deviation {value.std():.4g}"
        )


def _print_lost(lines: Iterable[str]) -> None:
    """What is not in an exported file."""
    for line in lines:
        print(f"  not in the file: {line}")


def _export_brian(model: TrainedModel, what: str, out: Path, overwrite: bool) -> None:
    from ..interop.brian import to_brian

    script, plan = to_brian(model), model.plan
    if not script.inline:
        _check_free(out.with_suffix(".npz"), overwrite)
    script.save(out)
    beside = "" if script.inline else f", its numbers in {out.with_suffix('.npz').name}"
    print(f"{what}, a script for Brian 2{beside}")
    _print_lost([f"time steps of {plan.dt:g} ms; Brian's have dt=, 0.1 ms"] * (plan.spike_times == "grid"))
    print_outside(model)
    _print_lost(script.lost)


def _export_fit(run: Path, out: Path, cell: str | None, trust: bool) -> None:
    from ..interop.brian.write import script_of_cell

    config, results = read_json(run / "config.json"), read_json(run / "results.json")
    try:
        names = str(config["model"]).split(",")
        cells = {f"{c['recording']}": c for c in results["cells"]}
        if len(names) > 1:
            cells = {f"{c['recording']}:{c['model']}": c for c in results["cells"]}
        if not cells:
            raise SettingError(f"{run} holds no fitted cell yet")
        if cell is None and len(cells) > 1:
            raise SettingError(f"{run} holds several fits; choose one: --cell {' or --cell '.join(map(repr, cells))}")
        chosen = next(iter(cells)) if cell is None else cell
        check_known(chosen, cells, SettingError, f"{run} holds no fit {chosen!r} (")
        found, inject = cells[chosen], config["inject"]
        if not all(n.isidentifier() for n in names) and not trust:
            raise SettingError(
                f"{run} names its neuron by a file, {config['model']}, which would run; "
                "only for folders of your own: --trust"
            )
        model = next(m for m in map(find_model, names) if m.name == found["model"])
        values = {n: float(p["value"]) for n, p in found["parameters"].items()} | found["fixed"]
        script = script_of_cell(model, values, float(found["dt"]), inject)
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise SettingError(f"{run} is not the folder of a fit of this version ({error!r}); fit again") from None
    script.save(out)
    print(f"{out}: {model.name} as fitted to {found['recording']}, a script for Brian 2")
    _print_lost(script.lost)


def _export_nir(
    model: TrainedModel, what: str, out: Path, dialect: str, dt: float | None, profile: str | None
) -> None:  # fmt: skip
    from ..deploy.integer import IntegerModel
    from ..nir import lost, save

    plan = model.plan
    values = {k: np.array(v) for k, v in model.engine.parameters.items()}
    # the specification is in continuous time; the simulators' dialects are in steps, by default those of the training
    if dt is None and dialect != "spec" and plan.spike_times == "grid":
        dt = plan.dt
    if profile is not None:
        values |= IntegerModel(model, profile, dt).network.values
    graph = save(out, model.described.network, values, dialect, dt=dt, outputs=[plan.output.name])
    rounded = f", numbers of the profile {profile}" if profile else ""
    print(f"{what}, {len(graph.nodes)} nodes in the dialect {dialect}{rounded}")
    _print_lost([f"time steps of {plan.dt:g} ms"] * (plan.spike_times == "grid" and dialect == "spec"))
    print_outside(model)
    _print_lost(lost(graph))


def print_outside(model: TrainedModel, loss: bool = True) -> None:
    """What stands between data and network, and between readouts and predictions, and is in no exported file; and the
    loss, which a C file has."""
    plan, described = model.plan, model.described
    _print_lost([f"the loss, which reads {plan.loss.readout!r} of {plan.output.name}"] * loss)
    for step in described.preprocessing:
        words = str(step)
        print(f"  not in the file, apply beforehand: {words if len(words) < 100 else f'{words[:90]} ...)'}")
    if (scale := described.target_scale) is not None:
        for k, (mean, deviation) in enumerate(zip(scale.mean.tolist(), scale.deviation.tolist(), strict=True)):
            print(f"  not in the file, apply afterwards: target {k} = {mean:.9g} + {deviation:.9g} * readout {k}")


Models = dict[str, Any]
"""Models by what they are called, whose answers are compared: the run, and what the file computes."""


def _export_integers(
    model: TrainedModel, what: str, out: Path, title: str, profile: str, dt: float | None
) -> Models:  # fmt: skip
    from ..deploy.integer import IntegerModel

    integers = IntegerModel(model, profile, dt)
    exported = integers.c_file(title)
    write_text(out, exported.text)
    print(f"{what} in integers, profile {profile}, steps of {integers.model.plan.dt:g} ms")
    print(
        f"  state {exported.ram:,} bytes (RAM), tables {exported.constants:,} bytes (flash); no float, malloc or libm"
    )
    for name, weights in exported.weights.items():
        print(f"  a spike through {name:24} {weights:,} weights")
    print_outside(integers.model, loss=False)
    return {"run": model, profile: integers}


def _export_c(model: TrainedModel, what: str, out: Path, bits: int, dt: float | None) -> Models:
    from ..deploy.c_file import c_file, on_the_grid, rounded

    grid = on_the_grid(model, dt)
    exported = c_file(grid, bits=bits if bits < 32 else None)
    write_text(out, exported.text)
    print(f"{what}, steps of {grid.plan.dt:g} ms")
    print(f"  state {exported.ram:,} bytes, constants {exported.constants:,} bytes")
    print(f"  {exported.operations:,} operations per step, and for each spike:")
    for name, weights in exported.weights.items():
        print(f"  {name:24} {weights:,} weights")
    print_outside(grid, loss=False)
    # one change at a time, so that the table says what the grid costs and what the rounding
    models = {"run": model} | ({f"grid of {grid.plan.dt:g} ms": grid} if grid is not model else {})
    return models | ({f"weights of {bits} bits": rounded(grid, bits)} if bits < 32 else {})


def _print_measured(models: Models, measure: tuple[Path, ...], samples: DataSet | None) -> None:
    """How often the models agree, on recordings or on the held-out samples of the run folder."""
    from ..deploy.c_file import measured

    if not measure and (samples is None or len(models) == 1):
        return
    if samples is not None:
        print("  on the held-out samples in the run folder:")
    for line in measured(models, measure, samples):
        print(f"  {line}")
