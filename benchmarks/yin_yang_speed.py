"""Time of a training step of Yin-Yang: `native` with exact spike times, the grid at 0.01 ms, and eventax.

    python benchmarks/yin_yang_speed.py --peer-python OTHER/bin/python   # OTHER: an environment with eventax and optax
    python benchmarks/yin_yang_speed.py --neuron EIF --solvers euler,tsit5 --peer-python OTHER/bin/python

5 - 200 - 3 LIF neurons, published settings and initial weights, batches of 32 in trials of 60 ms, first-spike loss; or
EIF neurons with the same time constants, the same weights, and parameters as eventax has them by default.
eventax (König et al. 2026, arXiv 2603.08146) is an event-driven EventProp code on JAX and Diffrax that locates spikes
while it integrates; it gets the same weights and samples, and the times of its first output spikes are compared with
ours. Its solver is Euler in steps of 0.05 ms and in float32, as in its own Yin-Yang example, or (tsit5) of order 5 in
the same steps, with spikes located to 1e-8 and in float64. A step is forward, backward and Adam, on the same
processors. Beside the elapsed time stands that of the processor, which other programs change less.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

BATCH, DURATION, TAU0, TAU1, ALPHA, STEP, EVENTS = 32, 60.0, 0.5, 6.4, 3e-3, 0.05, 300
TOLERANCE = 1e-8  # of native's series, and to which eventax locates spikes in float64
EIF = {"tau_mem": 20.0, "v_rest": 0.0, "v_thresh": 1.0, "delta_t": 0.2, "v_peak": 2.0, "v_reset": 0.0}
ITS_EIF = {"EL": 0.0, "vT": 1.0, "deltaT": 0.2, "v_peak": 2.0, "vreset": 0.0, "spike_time_tol": None}


def median(step: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """ms of one call, the first left out: elapsed, and of the processor."""
    seconds = []
    for _ in range(repeats + 1):
        start, used = time.perf_counter(), time.process_time()
        step()
        seconds.append((time.perf_counter() - start, time.process_time() - used))
    elapsed, used = np.median(seconds[1:], axis=0) * 1e3
    return float(elapsed), float(used)


def native(
    spike_times: str, dt: float, repeats: int, neuron: str
) -> tuple[tuple[float, float], dict[str, Any], np.ndarray]:
    """(ms per sample, what the peer needs, first output spikes (B, 3))."""
    step, values, events, first_spikes = native_step(spike_times, dt, neuron=neuron)
    ms, used = median(step, repeats)
    times = np.empty((BATCH, 5))
    for i in range(BATCH):
        when, channel = events.sample(i)
        times[i, channel] = when
    given = {k: np.asarray(v, float).tolist() for k, v in values.items() if k.endswith(".weight")}
    given |= {"times": times.tolist(), "labels": np.asarray(events.labels).tolist(), "neuron": neuron}
    return (ms / BATCH, used / BATCH), given, first_spikes()


def native_step(
    spike_times: str, dt: float, batch: int = BATCH, threads: int | None = None, neuron: str = "LIF"
) -> tuple[Any, ...]:
    """(a training step, initial values, events, function that gives the first output spikes)."""
    from genn_eventprop import Dense, Network, Normal, losses
    from genn_eventprop.data.readers import yin_yang
    from genn_eventprop.engines import create
    from genn_eventprop.models import ZOO
    from genn_eventprop.optimisers import Adam
    from genn_eventprop.plan import make_plan

    net, model = Network(), ZOO[neuron](**(EIF if neuron == "EIF" else {}))
    inp, hidden = net.input(5), net.population(model, 200, name="hidden")
    output = net.population(model, 3, name="output")
    net.connect(inp, hidden, Dense(Normal(1.5, 0.78)))
    net.connect(hidden, output, Dense(Normal(0.93, 0.1)))
    loss = losses.FirstSpikeCrossEntropy(output, tau0=TAU0, tau1=TAU1, alpha=ALPHA)
    plan = make_plan(net, loss, dt=dt, duration=DURATION, spike_times=spike_times)
    values, events = net.initial_parameters(1), yin_yang.load("train", batch)
    exact = {"tolerance": TOLERANCE, "dtype": "float64"} if neuron != "LIF" and spike_times == "exact" else {}
    engine = create(plan, values, engine="native", threads=threads, **exact)
    data, samples, optimiser = engine.load(events), np.arange(batch), Adam(0.0)

    def step() -> None:
        engine.run(data, samples, training=True)
        engine.update(optimiser)

    return step, values, events, lambda: engine.run(data, samples).readout


def eventax(given: dict[str, Any], repeats: int) -> tuple[float, float, list[list[float]], str]:
    """(ms per sample, those of the processor, first output spikes, versions)."""
    import jax

    jax.config.update("jax_enable_x64", given["solver"] != "euler")
    step, first_spikes = eventax_step(given)
    ms, used = median(step, repeats)
    return ms / BATCH, used / BATCH, first_spikes(), f"jax {jax.__version__} on {jax.default_backend()}"


def eventax_step(given: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[], list[list[float]]]]:
    """(a training step, the first output spikes): FFEvNN with neurons of one kind, everything compiled by JAX."""
    import diffrax
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax
    import optimistix
    from eventax import neuron_models
    from eventax.evnn import FFEvNN

    real, how = np.float32, dict[str, Any]()
    if given.get("solver", "euler") != "euler":
        real = np.float64
        how = {
            "solver": diffrax.Tsit5(), "dtype": jnp.float64,
            "root_finder": optimistix.Newton(TOLERANCE, TOLERANCE),
        }  # fmt: skip
    neuron = given.get("neuron", "LIF")
    weights = np.zeros((5 + 203, 203), real)
    weights[203:, :200], weights[:200, 200:] = given["input_hidden.weight"], given["hidden_output.weight"]
    model = FFEvNN(
        layers=[200, 3], in_size=5, neuron_model=getattr(neuron_models, neuron), max_solver_time=DURATION,
        key=jax.random.PRNGKey(0), solver_stepsize=STEP, max_event_steps=EVENTS, tsyn=5.0, tmem=20.0,
        init_weights=jnp.asarray(weights), init_bias=0.0, **(ITS_EIF if neuron == "EIF" else {"thresh": 1.0}), **how,
    )  # fmt: skip
    optimiser = optax.adam(1e-9)
    state = optimiser.init(eqx.filter(model, eqx.is_inexact_array))
    times, labels = jnp.asarray(given["times"], real)[..., None], jnp.asarray(given["labels"])

    def loss(model: Any, times: Any, labels: Any) -> Any:
        def one(when: Any, label: Any) -> Any:
            first = jnp.minimum(model.ttfs(when), DURATION)
            late = ALPHA * (jnp.exp(first[label] / TAU1) - 1)
            return -jax.nn.log_softmax(-first / TAU0)[label] + late

        return jax.vmap(one)(times, labels).mean()

    @eqx.filter_jit
    def train(model: Any, state: Any, times: Any, labels: Any) -> Any:
        value, gradient = eqx.filter_value_and_grad(loss)(model, times, labels)
        updates, state = optimiser.update(gradient, state, eqx.filter(model, eqx.is_inexact_array))
        return eqx.apply_updates(model, updates), state, value

    first = eqx.filter_jit(jax.vmap(model.ttfs))
    return (
        lambda: jax.block_until_ready(train(model, state, times, labels)[2]),
        lambda: np.asarray(first(times), float).tolist(),
    )


def peer(python: str, given: dict[str, Any], first: np.ndarray, exact: tuple[float, float], repeats: int) -> str:
    """The line of eventax, run by another Python that has it; given: also its ``solver``."""
    command = [python, __file__, "--peer", "--repeats", str(repeats)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, input=json.dumps(given), capture_output=True, text=True, env=environment, check=False
    )  # fmt: skip
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if "Error" in line]
        return f"eventax absent or failed: {errors[-1] if errors else done.returncode}"
    ms, used, theirs, versions = json.loads(done.stdout.splitlines()[-1])
    theirs_first = np.where(np.isfinite(theirs), theirs, np.inf)
    both = np.isfinite(theirs_first) & (theirs_first < DURATION) & np.isfinite(first)
    apart = np.abs(theirs_first - first)[both]
    return (
        f"eventax, {given['solver']} {ms:.3f} ms/sample = {ms / exact[0]:.0f} x exact, processor {used:.3f} = "
        f"{used / exact[1]:.0f} x ({versions}; first output spikes differ from ours by {np.median(apart):.1e} ms in "
        f"the median, at most {apart.max():.1e})"
    )


def main() -> None:
    """Measure, or answer as the peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="store_true", help="eventax alone: networks as JSON in, times out")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python that has eventax")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--neuron", choices=("LIF", "EIF"), default="LIF")
    parser.add_argument("--solvers", default="euler", help="of eventax: euler, tsit5, or both")
    options = parser.parse_args()
    if options.peer:
        print(json.dumps(eventax(json.load(sys.stdin), min(options.repeats, 5))))
        return
    exact, given, first = native("exact", 1.0, options.repeats, options.neuron)
    print(f"native, exact spike times: {exact[0]:.4f} ms/sample, processor {exact[1]:.4f}", flush=True)
    grid, _, _ = native("grid", 0.01, options.repeats, options.neuron)
    print(
        f"native, grid of 0.01 ms: {grid[0]:.4f} ms/sample = {grid[0] / exact[0]:.1f} x exact, processor {grid[1]:.4f}",
        flush=True,
    )
    for solver in options.solvers.split(","):
        print(peer(options.peer_python, given | {"solver": solver}, first, exact, options.repeats), flush=True)


if __name__ == "__main__":
    main()
