"""Brian's own examples through `from_brian`: which are read, whether their spikes and gradients are right, and why the
others are not.

    git clone --depth 1 https://github.com/brian-team/brian2
    python benchmarks/brian_examples.py brian2/examples --write docs/brian_examples.md
    python benchmarks/brian_examples.py brian2/examples --only Brette_Gerstner_2005

Runs every program in frompapers and synapses, in a process of its own. At each of its calls of `run` the network is
read, and instead of the whole simulation its first `WINDOW` ms run in Brian and here; large networks are made smaller
(`SMALLER`). Brian finds spikes at the end of a step; so its steps become smaller: of the step in which a spike happens,
down to 1e-9 ms ("located"); where there are many spikes or delays, by factors of ten of all of the run, in half the
time where a step decides which arrival crosses the threshold. Random inputs are those that this package drew, at whole
steps. The method is Runge-Kutta 4, or exact; where it does not find the spikes, and without it, the one of the example.
Gradients are those of `genn-eventprop gradcheck --quick`, see `gradient`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

WINDOW, MOST = 40.0, 24  # ms, spikes that are located
WINDOWS, ENOUGH = (40.0, 100.0, 200.0, 400.0, 800.0), 20  # ms, spikes in a check of gradients
STEPS = (0.1, 0.01, 0.001)
SMALL = 50  # steps by which spikes may be late; by more, a step has decided which arrival crosses the threshold
LOCATED = (1e-3, 1e-5, 1e-7, 1e-9)
TIMEOUT = int(os.environ.get("T", 1800))
DIGITS = """def read_mnist(training):
    return 32 * (np.random.random((9, N_INP)) < 0.2), np.zeros(9, int)
def unused(training):"""
SPIKES = """
    n, k = np.nonzero(np.random.random((N_INP, 400)) < sample[:, None] * intensity * 0.0005)
    net['inp'].set_spikes(n, net.t + k * 0.5 * ms)"""
SMALLER = {
    "Brette_2004": [("N = 2000", "N = 4")],
    "Brunel_2000": [("N_E = 10000", "N_E = 160")],
    "Brunel_Hakim_1999": [("N = 5000", "N = 100")],
    "Brunel_Wang_2001": [("N = 1000", "N = 100")],
    "Kremer_et_al_2011_barrel_cortex": [("barrelarraysize = 5", "barrelarraysize = 1")],
    "Nicola_Clopath_2017": [("N = 2000", "N = 40")],
    "Platkiewicz_Brette_2011": [("N = 200", "N = 4")],
    "Touboul_Brette_2008": [("N = 200", "N = 1")],
    "Vogels_et_al_2011": [("NE = 8000", "NE = 200")],
    "Wang_2002": [("N = 2000", "N = 100")],
    "example_1_COBA": [("N_e = 3200", "N_e = 80")],
    "Izhikevich_2003": [("Ne = 800", "Ne = 40")],
    # without a refractory period Brian repeats a spike in every step above the threshold
    "example_3_bisection": [
        ("NeuronGroup(100,", "NeuronGroup(24,"),
        ('reset="")', 'reset="", refractory="v > 50*mV")'),
    ],
    "STDP": [("N = 1000", "N = 10")],
    # its data and the weights that it has learned are not with it: spots, and weights of the same sums
    "Diehl_Cook_2015": [
        ("from progressbar import progressbar", "progressbar = list"),
        ("MODE = 'test'", "MODE = 'observe'"),
        ("N_NEURONS = 400", "N_NEURONS = 10"),
        ("def read_mnist(training):", DIGITS),
        (
            "    arr = np.load(path)",
            "    arr = np.full(1, 0.02) if path.stem == 'theta' else np.random.random(N_INP * N_NEURONS) / 5",
        ),
        ("PoissonGroup(N_INP, 0 * Hz,", "SpikeGeneratorGroup(N_INP, [], [] * ms,"),
        ("    net['inp'].rates = sample * intensity * Hz", SPIKES),
        ("    net['inp'].rates = 0 * Hz", ""),
    ],
}
"""Example -> its lines that set the number of neurons, or need what is not here, and those that stand for them."""
DIVERGES = "Runge-Kutta 4 diverges before the threshold, so that the steps are those of the example's own method"
ADVICE = re.compile(
    r" \(a random equation[^)]*\)|; (leave it out|use a Neuron|training changes|a neuron (has|sees)|what they do to).*"
    r"|: a weight is a number.*"
)  # what a refusal says to do
FOLDERS = ("frompapers", "synapses")
READ_ONLY = "BRIAN_EXAMPLES_READ_ONLY" in os.environ


class Finished(BaseException):
    """The example has been looked at."""


class Serial:
    """A pool of processes that is this one."""

    def __init__(self, *arguments: Any, **settings: Any) -> None: ...

    def __enter__(self) -> Serial:
        return self

    def __exit__(self, *error: Any) -> None: ...

    def map(self, function: Any, items: Any, *rest: Any) -> list[Any]:
        return [function(item) for item in items]


def child(file: Path) -> None:
    """Run an example up to the call of `run` that tells something; prints one line of JSON."""
    import matplotlib

    matplotlib.use("Agg")
    import brian2 as b2

    b2.prefs.codegen.target = "numpy"
    b2.BrianLogger.suppress_hierarchy("brian2")
    run, latest = b2.Network.run, {"refused": "it never calls run"}

    def looked_at(self: Any, duration: Any, report: Any = None, *rest: Any, **more: Any) -> None:
        names: dict[str, Any] = {}
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename != str(file):
            frame = frame.f_back
        if frame is not None:
            names = {**frame.f_globals, **frame.f_locals}
        names |= more.get("namespace") or {}
        length = float(duration / b2.ms)
        if not length:
            return run(self, duration, namespace=names)
        result = look_at(self, length, names, run)
        if "refused" in result or result["spikes"] != 0 or "spiking" not in result or READ_ONLY:
            latest.clear()
            latest.update(result)
            raise Finished
        latest.clear()
        latest.update(result)
        run(self, min(length, 300.0) * b2.ms, namespace=names)

    b2.Network.run = looked_at
    vars(multiprocessing)["Pool"] = Serial
    b2.set_device = lambda *a, **k: None
    os.chdir(file.parent)
    sys.path.insert(0, str(file.parent))
    sys.argv = [str(file)]
    np.random.seed(1)  # noqa: NPY002  (what the examples draw from)
    b2.seed(1)
    text = file.read_text()
    for old, new in SMALLER.get(file.stem, []):
        text = text.replace(old, new, 1)
    try:
        with contextlib.suppress(Finished):  # how `looked_at` ends a script
            exec(
                compile(text, str(file), "exec"),
                {"__name__": "__main__", "__file__": str(file)},
            )
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        if latest.get("refused") == "it never calls run":
            latest = {"failed": f"{type(error).__name__}: {error}"}
    print(f"\nRESULT {json.dumps(latest)}", flush=True)
    os._exit(0)


def look_at(network: Any, length: float, names: dict[str, Any], run: Any) -> dict[str, Any]:
    """What `from_brian` makes of a network."""
    import brian2 as b2

    from genn_eventprop.errors import EventPropError
    from genn_eventprop.interop.brian import from_brian

    duration = min(length, WINDOW)
    try:
        imported = from_brian(network, namespace=names)
        used = [g for g in network.objects if type(g) is b2.NeuronGroup and g.name in
                {p.name for p in imported.network.populations}]  # fmt: skip
        result: dict[str, Any] = {
            "neurons": sum(p.size for p in imported.network.populations), "lost": list(imported.lost),
            "window": duration, "spikes": 0,
        }  # fmt: skip
        checks = [gradient(g, network, names) for g in used if not READ_ONLY]
        result["gradient"] = max((worst for worst, _, _ in checks), default=0.0)
        result["checked"] = (
            min((spikes for _, spikes, _ in checks), default=0),
            max((ms for *_, ms in checks), default=0),
        )
    except EventPropError as error:
        return {"refused": str(error)}
    spiking = [g for g in used if any(p.name == g.name and p.model.spiking for p in imported.network.populations)]
    if spiking and not READ_ONLY:
        result["spiking"] = True
        try:
            result |= spikes(network, imported, spiking, duration, length, names, run)
        except EventPropError as error:
            result["spikes"] = f"{type(error).__name__}: {error}"
    return result


def gradient(group: Any, network: Any, names: dict[str, Any]) -> tuple[float, int, float]:
    """(the worst relative error of a block, spikes, ms): in a network of this group alone, with all its parameters, if
    it has no threshold or spikes by itself; else in a small random network of the model, as `gradcheck` makes it."""
    from dataclasses import replace

    import brian2 as b2

    from genn_eventprop import Inputs
    from genn_eventprop.errors import EventPropError
    from genn_eventprop.interop.brian import from_brian
    from genn_eventprop.interop.brian.read import model_of
    from genn_eventprop.losses import SquaredError
    from genn_eventprop.verify.gradients import check, check_network

    def checked(what: Any, window: float) -> Any:
        """Of all parameters of the group, in a network as it is."""
        model = from_brian(group, namespace=names).model
        read = from_brian(what, namespace=names, trainable=[f"{group.name}.{n}" for n in model.params])
        output = read.network.populations[0]
        parts = read.inputs(window).parts
        data = Inputs({n: replace(part, targets=np.zeros((1, output.size))) for n, part in parts.items()})
        loss = SquaredError(output)
        return check_network(read.network, loss, events=data, duration=window, engine="native", spike_times="exact")

    def enough(what: Any) -> float:
        """ms in which the group spikes often enough; 0 if there are none."""
        read = from_brian(what, namespace=names)
        return next((w for w in WINDOWS if len(here_spikes(read, w, [group.name])[0]) >= ENOUGH), 0.0)

    spiking = from_brian(group, namespace=names).model.spiking
    window = enough(group) if spiking else WINDOWS[2]
    if window:
        report = checked(group, window)
    else:
        leading = {s.name: s for s in network.objects if isinstance(s, b2.Synapses)}
        try:
            report, window = check(model_of(group, names | leading), quick=True), WINDOW
        except (
            EventPropError
        ) as error:  # it needs longer to spike than those networks run, or has no input that does it
            print(error)
            window = enough(network)
            report = checked(network if window else group, window := window or WINDOWS[2])
    print(report.text())
    wrong = [f for f in (*report.failures, *(f for c in report.cases for f in c.failures)) if "proves nothing" not in f]
    count = min((sum(c.spikes.values()) for c in report.cases), default=0)
    return (float("nan") if wrong else report.worst), count, window


def spikes(
    network: Any, imported: Any, groups: list[Any], duration: float, length: float, names: dict[str, Any], run: Any
) -> Any:
    """How far the spikes of Brian are from those here, for smaller and smaller steps."""
    import brian2 as b2

    names_of = [g.name for g in groups]
    neuron, here = here_spikes(imported, duration, names_of)
    for longer in WINDOWS[1:4]:
        if len(here) or length < longer:
            break
        duration = longer
        neuron, here = here_spikes(imported, duration, names_of)
    result: dict[str, Any] = {"spikes": len(here), "window": duration, "errors": []}
    if not len(here) or any(isinstance(o, b2.PoissonGroup) for o in network.objects):
        return result
    monitors = [b2.SpikeMonitor(g) for g in groups]
    for o in network.objects:  # the example ends here: they may change to a network that can be run several times
        for each in (o, *o.contained_objects):
            each._network = None
    inputs = [o for o in network.objects if isinstance(o, b2.PoissonInput)]
    drawn = rounded_inputs(imported, duration) if inputs else {}
    network = b2.Network(*(o for o in network.objects if o not in inputs), *monitors)
    methods = [group.state_updater.method_choice for group in groups]
    for group, method in zip(groups, methods):
        group.state_updater.method_choice = method if method in ("exact", "linear") else "rk4"
    network.store("before")
    delays = any(np.any(np.asarray(s.delay) > 0) for s in network.objects if isinstance(s, b2.Synapses) and len(s))
    numbers = not any(isinstance(o.weight, str) for o in inputs)
    if len(here) <= MOST and not delays and numbers:
        locate(network, monitors, duration, names, run, kicks(inputs, drawn))
        result["located"] = distance(monitors, groups, neuron, here)
        finite = all(np.isfinite(g.get_states(units=False)[v]).all() for g in groups for v in g.equations.diff_eq_names)
        result["why"] = "delta synapses: a step decides which arrival crosses" if finite else DIVERGES
    else:
        why = [f"{len(here)} spikes"] * (len(here) > MOST) + ["delays"] * delays + ["random inputs"] * (not numbers)
        result["why"] = ", ".join(why)
    if result.get("located") is None:
        network.restore("before")
        given = [g for o in inputs for g in as_given(o, drawn[o.name])]
        network.add(*given)
        network.store("before")
        for group, method in zip(groups, methods):  # the equations may diverge before a step of Runge-Kutta ends
            group.state_updater.method_choice = method
        while True:
            for dt in STEPS:
                network.restore("before")
                b2.defaultclock.dt = dt * b2.ms
                run(network, duration * b2.ms, namespace=names)
                result["errors"].append(distance(monitors, groups, neuron, here))
            if inputs:
                network.restore("before")
                at_whole_steps(network, given, duration, names, run)
                result["aligned"] = distance(monitors, groups, neuron, here)
            last = result["errors"][-1]
            if (last is not None and last < SMALL * STEPS[-1]) or duration < WINDOW:
                break
            duration /= 2
            neuron, here = here_spikes(imported, duration, names_of)
            result |= {"spikes": len(here), "window": duration, "longer": result["errors"], "errors": []}
        if delays and "longer" in result:
            network.restore("before")
            result["moved"] = moved(network, 2 * duration, names_of, names)
    return result


def rounded_inputs(imported: Any, duration: float) -> dict[str, Any]:
    """The inputs of a trial. Random spikes are at whole steps of the finest clock, the first ones of the same draw."""
    from genn_eventprop import Events

    parts = dict(imported.inputs(duration).parts)
    for name, long in imported.inputs(WINDOWS[3]).parts.items():
        if type(imported.sources[name]).__name__ == "Poisson":
            times, channels = long.sample(0)
            times = np.clip(np.floor(times / STEPS[-1]), 1, None) * STEPS[-1]
            inside = times < duration
            parts[name] = Events.from_samples([(times[inside], channels[inside])], long.n_channels)
    return parts


def at_whole_steps(network: Any, given: list[Any], duration: float, names: dict[str, Any], run: Any) -> None:
    """Run with arrivals at whole steps and thresholds before the next one, so that a spike at an arrival has its time:
    Brian brings it a step later, which delays and given spikes are shorter by here."""
    import brian2 as b2

    dt, schedule = STEPS[-1] * b2.ms, network.schedule
    generators = [o for o in network.objects if isinstance(o, b2.SpikeGeneratorGroup) and o in given]
    network.schedule = ["start", "thresholds", "resets", "groups", "synapses", "end"]
    b2.defaultclock.dt = dt
    for o in generators:
        o.set_spikes(o._neuron_index, o._spike_time * b2.second - dt)
    recurrent = [o for o in network.objects if isinstance(o, b2.Synapses) and o not in given]
    for o in recurrent:
        o.delay = o.delay - dt
    run(network, duration * b2.ms, namespace=names)
    network.schedule = schedule
    for o in generators:
        o.set_spikes(o._neuron_index, o._spike_time * b2.second + dt)
    for o in recurrent:
        o.delay = o.delay + dt


def moved(network: Any, duration: float, groups: list[str], names: dict[str, Any]) -> float | None:
    """By how many ms spikes here move at most where all delays are longer by a step; None if others spike."""
    import brian2 as b2

    from genn_eventprop.interop.brian import from_brian

    neuron, times = here_spikes(from_brian(network, namespace=names), duration, groups)
    for o in network.objects:
        if isinstance(o, b2.Synapses) and np.any(np.asarray(o.delay) > 0):
            o.delay = o.delay + STEPS[-1] * b2.ms
    others, later = here_spikes(from_brian(network, namespace=names), duration, groups)
    return float(np.abs(later - times).max()) if np.array_equal(others, neuron) else None


def as_given(poisson: Any, events: Any) -> tuple[Any, Any]:
    """A PoissonInput as a generator of the spikes that it has here, and its synapses."""
    import brian2 as b2

    count = len(events.times)  # a neuron of a generator may spike once in a step, so that each has one spike
    source = b2.SpikeGeneratorGroup(count, np.arange(count), events.times * b2.ms)
    weight = poisson.weight if isinstance(poisson.weight, str) else repr(poisson.weight)
    synapses = b2.Synapses(source, poisson._group, on_pre=f"{poisson.target_var} += {weight}")
    synapses.connect(i=np.arange(count), j=events.channels.astype(int))
    return source, synapses


def here_spikes(imported: Any, duration: float, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(neuron, ms) sorted by neuron; neurons of several populations are counted on."""
    from dataclasses import replace

    from genn_eventprop import Inputs
    from genn_eventprop.compile import compile_network
    from genn_eventprop.losses import EndVoltageCrossEntropy

    output = imported.network.populations[-1]
    engine = compile_network(
        imported.network, EndVoltageCrossEntropy(output), imported.values, duration=duration, dt=duration,
        spike_times="exact", engine="native", dtype="float64",
    )  # fmt: skip
    parts = rounded_inputs(imported, duration)
    data = Inputs({n: replace(part, labels=np.zeros(1, int)) for n, part in parts.items()})
    found = engine.run(engine.load(data), [0], record_spikes=True).spikes
    assert found is not None  # they are recorded
    return ordered([(found[n].neuron, found[n].time) for n in names])


def ordered(found: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    neuron = np.concatenate([i + 10**6 * k for k, (i, _) in enumerate(found)])
    times = np.concatenate([t for _, t in found])
    order = np.lexsort((times, neuron))
    return neuron[order], times[order]


def distance(monitors: list[Any], groups: list[Any], neuron: np.ndarray, here: np.ndarray) -> float | None:
    """The largest difference in ms; None if the spikes are not the same ones."""
    import brian2 as b2

    there, times = ordered([(np.asarray(m.i), np.asarray(m.t / b2.ms)) for m in monitors])
    if not np.array_equal(there, neuron):
        return None
    return float(np.abs(times - here).max(initial=0.0))


def kicks(inputs: list[Any], drawn: dict[str, Any]) -> dict[int, list[Any]]:
    """Step of the first level -> what arrives there from random inputs: (group, variable, neuron, amount)."""
    arrive: dict[int, list[Any]] = {}
    for o in inputs:
        for time_of, neuron in zip(drawn[o.name].times, drawn[o.name].channels):
            arrive.setdefault(round(time_of / LOCATED[0]), []).append((o._group, o.target_var, int(neuron), o.weight))
    return arrive


def locate(
    network: Any, monitors: list[Any], duration: float, names: dict[str, Any], run: Any, arrive: dict[int, list[Any]]
) -> None:
    """Run to `duration` ms with steps that become small where there is a spike; `arrive` is of `kicks`."""
    import brian2 as b2

    def steps_to(end: int, level: int, size: int) -> None:
        """To `end` steps of this level; never more than `size` before it is looked for spikes."""
        dt = LOCATED[level]
        at = round(float(network.t / b2.ms) / dt)
        while at < end:
            to = min(end, at + size)
            if level == 0:
                for group, variable, neuron, amount in arrive.get(at, []):
                    getattr(group, variable)[neuron] += amount
                to = min(to, min((k for k in arrive if k > at), default=to))
            name, before = f"level {level}", sum(m.num_spikes for m in monitors)
            network.store(name)
            step(at, to, dt)
            if sum(m.num_spikes for m in monitors) > before:
                first = min(float(m.t[before_m:][0] / b2.ms) for m, before_m in zip(monitors, counts[level])
                            if m.num_spikes > before_m)  # fmt: skip
                spike = round(first / dt)
                start = max(at, spike - 1)  # a refractory period may have ended in the step before
                network.restore(name)
                step(at, start, dt)
                if level + 1 < len(LOCATED):
                    ratio = round(dt / LOCATED[level + 1])
                    counts[level + 1] = [m.num_spikes for m in monitors]
                    steps_to((spike + 1) * ratio, level + 1, ratio)
                else:
                    step(start, spike + 1, dt)
                to = spike + 1
                counts[level] = [m.num_spikes for m in monitors]
            at = to

    def step(start: int, end: int, dt: float) -> None:
        if end > start:
            b2.defaultclock.dt = dt * b2.ms
            run(network, (end - start) * dt * b2.ms, namespace=names)

    counts = {level: [m.num_spikes for m in monitors] for level in range(len(LOCATED))}
    steps_to(round(duration / LOCATED[0]), 0, 5000)


def of_example(file: Path) -> dict[str, Any]:
    """The result of an example, from a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, str(Path(__file__).resolve()), "--child", str(file.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return {"failed": f"not finished after {TIMEOUT} s"}
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    result = json.loads(lines[-1][7:]) if lines else {"failed": (done.stderr or "no output").strip().splitlines()[-1]}
    return result | {"seconds": round(time.perf_counter() - started)}


HEADER = """# Brian's examples

What [`from_brian`](from_brian.md) makes of the programs in `examples/frompapers` and `examples/synapses` of Brian 2. Written by
`python benchmarks/brian_examples.py brian2/examples --write docs/brian_examples.md`, whose docstring says how.

## Read: {}

Spikes are those of the first ms of the first `run` that has any, with the random inputs that were drawn here. "Off by" is the largest
difference in ms to a run of Brian whose steps are 1e-9 ms where spikes are, or, with its steps in brackets, of the example's own method,
which finds a spike at the end of a step ("others": not the same spikes). Gradients: the worst relative error of `genn-eventprop gradcheck
--quick`, or of all parameters in the group alone where it spikes often enough by itself or has no threshold.

| example | neurons | ms | spikes | off by | gradient |
|---|---|---|---|---|---|"""  # noqa: E501


def reason_of(refused: str) -> str:
    """A refusal without where the model was made, the names and the code of the example, and what it says to do."""
    reason = re.sub(r"^\S+\.py:\d+: ", "", refused)
    reason = re.sub(r"(, in )?'.*'", "", ADVICE.sub("", reason.partition(": ")[2]))
    reason = re.sub(r"^[\s:]*(in )?|\(\)", "", reason).removeprefix("on_pre: ").strip(" :")
    reason = re.sub(r"^\w+ of the (\w+) changes", r"a state of the \1 changes", reason.replace("xi_pop", "xi"))
    return re.sub(r"^is not", "an equation that is not", reason).replace("  ", " ")


def page(results: dict[str, dict[str, Any]]) -> str:
    """The tables, as Markdown."""
    read = {n: r for n, r in results.items() if "gradient" in r}
    refused = {n: r for n, r in results.items() if "refused" in r}
    failed = {n: r for n, r in results.items() if "failed" in r}
    lines = [HEADER.format(len(read))]
    for name, r in sorted(read.items()):
        errors, located = r.get("errors") or [], r.get("located")
        own = "" if not errors else f"{'others' if errors[-1] is None else f'{errors[-1]:.1e}'} ({STEPS[-1]:g} ms)"
        off = own if located is None else f"{located:.1e}"
        spikes_of = r["spikes"] if "spiking" in r else "no threshold"
        lines.append(f"| {name} | {r['neurons']} | {r['window']:g} | {spikes_of} | {off} | {r['gradient']:.1e} |")
    lines += ["", f"## Not read: {len(refused)}", "", "| reason | examples |", "|---|---|"]
    reasons: dict[str, list[str]] = {}
    for name, r in sorted(refused.items()):
        reasons.setdefault(reason_of(r["refused"]), []).append(name)
    lines += [f"| {reason} | {', '.join(names)} |" for reason, names in sorted(reasons.items())]
    if failed:
        lines += ["", "Not run:", ""]
        lines += [f"* {name}: {r['failed']}" for name, r in sorted(failed.items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="brian2/examples")
    parser.add_argument("--only", default="", help="examples with this in their name")
    parser.add_argument("--write", type=Path, help="the page")
    parser.add_argument("--json", type=Path, help="results, which are read again if they are there")
    arguments = parser.parse_args()
    files = [f for part in FOLDERS for f in sorted((arguments.folder / part).rglob("*.py"))]
    results: dict[str, dict[str, Any]] = {}
    if arguments.json and arguments.json.exists():
        results = json.loads(arguments.json.read_text())
    for file in files:
        name = str(file.relative_to(arguments.folder).with_suffix(""))
        if arguments.only not in name or not re.search(r"\brun\(", file.read_text()) or name.endswith("_standalone"):
            continue  # for Brian's standalone devices is the same model as without
        if name not in results or arguments.only:
            results[name] = of_example(file)
            print(name, results[name], flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(results, indent=1))
    if arguments.write:
        arguments.write.write_text(page(results))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        try:
            child(Path(sys.argv[2]))
        except BaseException:
            traceback.print_exc()
            raise
    main()
