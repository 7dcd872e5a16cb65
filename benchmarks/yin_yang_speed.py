"""Time of a training step of Yin-Yang: `native` with exact spike times, the grid at 0.01 ms, and eventax.

    python benchmarks/yin_yang_speed.py --peer-python OTHER/bin/python   # OTHER: an environment with eventax and optax

5 - 200 - 3 LIF neurons, published settings and initial weights, batches of 32 in trials of 60 ms, first-spike loss.
eventax (König et al. 2026, arXiv 2603.08146) is an event-driven EventProp code on JAX and Diffrax that locates spikes
while it integrates; it gets the same weights and samples, steps of 0.05 ms as in its own Yin-Yang example, and the
times of its first output spikes are compared with ours. A step is forward, backward and Adam, on the same processors.
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


def median(step: Callable[[], Any], repeats: int) -> float:
    """ms of one call, the first left out."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[1:])) * 1e3


def native(spike_times: str, dt: float, repeats: int) -> tuple[float, dict[str, list[Any]], np.ndarray]:
    """(ms per sample, what the peer needs, first output spikes (B, 3))."""
    step, values, events, first_spikes = native_step(spike_times, dt)
    ms = median(step, repeats)
    times = np.empty((BATCH, 5))
    for i in range(BATCH):
        when, channel = events.sample(i)
        times[i, channel] = when
    given = {k: np.asarray(v, float).tolist() for k, v in values.items() if k.endswith(".weight")}
    given |= {"times": times.tolist(), "labels": np.asarray(events.labels).tolist()}
    return ms / BATCH, given, first_spikes()


def native_step(spike_times: str, dt: float, batch: int = BATCH, threads: int | None = None) -> tuple[Any, ...]:
    """(a training step, initial values, events, function that gives the first output spikes)."""
    from genn_eventprop import Dense, Network, Normal, losses
    from genn_eventprop.data.readers import yin_yang
    from genn_eventprop.engines import create
    from genn_eventprop.models.lif import LIF
    from genn_eventprop.optimisers import Adam
    from genn_eventprop.plan import make_plan

    net = Network()
    inp, hidden = net.input(5), net.population(LIF(), 200, name="hidden")
    output = net.population(LIF(), 3, name="output")
    net.connect(inp, hidden, Dense(Normal(1.5, 0.78)))
    net.connect(hidden, output, Dense(Normal(0.93, 0.1)))
    loss = losses.FirstSpikeCrossEntropy(output, tau0=TAU0, tau1=TAU1, alpha=ALPHA)
    plan = make_plan(net, loss, dt=dt, duration=DURATION, spike_times=spike_times)
    values, events = net.initial_parameters(1), yin_yang.load("train", batch)
    engine = create(plan, values, engine="native", threads=threads)
    data, samples, optimiser = engine.load(events), np.arange(batch), Adam(0.0)

    def step() -> None:
        engine.run(data, samples, training=True)
        engine.update(optimiser)

    return step, values, events, lambda: engine.run(data, samples).readout


def eventax(given: dict[str, Any], repeats: int) -> tuple[float, list[list[float]], str]:
    """(ms per sample, first output spikes, versions)."""
    import jax

    step, first_spikes = eventax_step(given)
    ms = median(step, repeats)
    return ms / BATCH, first_spikes(), f"jax {jax.__version__} on {jax.default_backend()}"


def eventax_step(given: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[], list[list[float]]]]:
    """(a training step, the first output spikes): FFEvNN with LIF neurons, everything compiled by JAX."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax
    from eventax.evnn import FFEvNN
    from eventax.neuron_models import LIF

    weights = np.zeros((5 + 203, 203), np.float32)
    weights[203:, :200], weights[:200, 200:] = given["input_hidden.weight"], given["hidden_output.weight"]
    model = FFEvNN(
        layers=[200, 3], in_size=5, neuron_model=LIF, max_solver_time=DURATION, key=jax.random.PRNGKey(0),
        solver_stepsize=STEP, max_event_steps=EVENTS, tsyn=5.0, tmem=20.0, thresh=1.0,
        init_weights=jnp.asarray(weights), init_bias=0.0,
    )  # fmt: skip
    optimiser = optax.adam(1e-9)
    state = optimiser.init(eqx.filter(model, eqx.is_inexact_array))
    times, labels = jnp.asarray(given["times"], jnp.float32)[..., None], jnp.asarray(given["labels"])

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


def peer(python: str, given: dict[str, Any], first: np.ndarray, exact: float) -> str:
    """The line of eventax, run by another Python that has it."""
    command = [python, __file__, "--peer"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, input=json.dumps(given), capture_output=True, text=True, env=environment, check=False
    )  # fmt: skip
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if "Error" in line]
        return f"eventax absent or failed: {errors[-1] if errors else done.returncode}"
    ms, theirs, versions = json.loads(done.stdout.splitlines()[-1])
    theirs_first = np.where(np.isfinite(theirs), theirs, np.inf)
    both = np.isfinite(theirs_first) & (theirs_first < DURATION) & np.isfinite(first)
    apart = float(np.median(np.abs(theirs_first - first)[both]))
    return (
        f"eventax {ms:.3f} ms/sample = {ms / exact:.0f} x exact ({versions}; first output spikes differ from ours by "
        f"{apart:.1e} ms in the median)"
    )


def main() -> None:
    """Measure, or answer as the peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="store_true", help="eventax alone: networks as JSON in, times out")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python that has eventax")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    if options.peer:
        print(json.dumps(eventax(json.load(sys.stdin), 5)))
        return
    exact, given, first = native("exact", 1.0, options.repeats)
    print(f"native, exact spike times, steps of 1 ms: {exact:.4f} ms/sample", flush=True)
    grid, _, _ = native("grid", 0.01, options.repeats)
    print(f"native, grid of 0.01 ms: {grid:.4f} ms/sample = {grid / exact:.1f} x exact", flush=True)
    print(peer(options.peer_python, given, first, exact), flush=True)


if __name__ == "__main__":
    main()
