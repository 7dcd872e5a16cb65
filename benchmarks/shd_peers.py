"""The same shape on other packages, for `shd_shape.py`: one training step's time in ms per sample.

mlGeNN computes the same thing (EventProp, exponentially weighted readout) on GeNN. Spyx is a surrogate-gradient code on
JAX; its current-based recurrent LIF layer has the same state and the same weights to learn.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Clock = Callable[[], float]


def mlgenn(s: Any, events: Any, repeats: int = 3, clock: Clock = time.perf_counter) -> tuple[float, str]:
    """EventPropCompiler on its default backend; batch size 1 where that is the CPU, which allows no other."""
    train, batch = mlgenn_train(s, events, events.labels, len(events))
    return _median(train, repeats, clock) / len(events), f"batch {batch}"


def mlgenn_train(s: Any, events: Any, labels: Any, count: int) -> tuple[Callable[[], Any], int]:
    """(an epoch over `count` samples, batch size); the network is compiled and loaded for good."""
    import pygenn

    os.chdir(tempfile.mkdtemp())  # mlGeNN writes its code into the working folder
    from ml_genn import Connection, Network, Population
    from ml_genn.compilers import EventPropCompiler
    from ml_genn.compilers.event_prop_compiler import default_params
    from ml_genn.connectivity import Dense
    from ml_genn.initializers import Normal
    from ml_genn.neurons import LeakyIntegrate, LeakyIntegrateFire, SpikeInput
    from ml_genn.optimisers import Adam
    from ml_genn.synapses import Exponential
    from ml_genn.utils.data import preprocess_spikes

    gpu = "cuda" in pygenn.genn_model.backend_modules
    batch = s.batch if gpu else 1
    samples = [preprocess_spikes(*events.sample(i), s.inputs) for i in range(count)]
    network = Network(default_params)
    with network:
        source = Population(SpikeInput(max_spikes=batch * s.input_spikes), s.inputs)
        hidden = Population(LeakyIntegrateFire(v_thresh=1.0, tau_mem=20.0, tau_refrac=None), s.hidden)
        output = Population(LeakyIntegrate(tau_mem=20.0, readout="avg_var_exp_weight"), s.outputs)
        Connection(source, hidden, Dense(Normal(mean=s.mean, sd=s.spread)), Exponential(5.0))
        Connection(hidden, hidden, Dense(Normal(mean=0.0, sd=0.02)), Exponential(5.0))
        Connection(hidden, output, Dense(Normal(mean=0.0, sd=0.03)), Exponential(5.0))
    compiler = EventPropCompiler(
        example_timesteps=s.steps, losses="sparse_categorical_crossentropy", optimiser=Adam(1e-9), batch_size=batch,
        max_spikes=1500,
    )  # fmt: skip
    compiled = compiler.compile(network)
    compiled.__enter__()  # until the process ends
    return lambda: compiled.train({source: samples}, {output: list(labels)}, num_epochs=1, callbacks=[]), batch


def spyx(s: Any, events: Any) -> tuple[float, str]:
    """Adam on the cross-entropy of the summed output potentials, compiled by JAX; dense input of (T, B, inputs)."""
    import jax
    import jax.numpy as jnp
    import optax
    import spyx.nn
    from flax import nnx

    dense = np.zeros((s.steps, len(events), s.inputs), np.float32)
    for i in range(len(events)):
        times, channels = events.sample(i)
        np.add.at(dense, (times.astype(int), i, channels), 1.0)
    rngs = nnx.Rngs(s.seed)
    model = spyx.nn.Sequential(
        nnx.Linear(s.inputs, s.hidden, use_bias=False, rngs=rngs), spyx.nn.RCuBaLIF((s.hidden,), rngs=rngs),
        nnx.Linear(s.hidden, s.outputs, use_bias=False, rngs=rngs), spyx.nn.LI((s.outputs,), rngs=rngs),
    )  # fmt: skip
    optimiser = nnx.Optimizer(model, optax.adam(1e-9), wrt=nnx.Param)
    x, y = jnp.asarray(dense), jnp.asarray(events.labels)

    @nnx.jit
    def step(model: Any, optimiser: Any, x: Any, y: Any) -> Any:
        def loss(model: Any) -> Any:
            out, _ = spyx.nn.run(model, x)
            return optax.softmax_cross_entropy_with_integer_labels(out.mean(0), y).mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimiser.update(model, gradients)
        return value

    train = lambda: jax.block_until_ready(step(model, optimiser, x, y))  # noqa: E731
    return _median(train, 5) / len(events), f"jax {jax.__version__} on {jax.default_backend()}"


def _median(train: Callable[[], Any], repeats: int, clock: Clock = time.perf_counter) -> float:
    """ms of one call, the first left out."""
    seconds = []
    for _ in range(repeats + 1):
        start = clock()
        train()
        seconds.append(clock() - start)
    return float(np.median(seconds[1:])) * 1e3


PEERS: dict[str, tuple[str, Callable[[Any, Any], tuple[float, str]]]] = {
    "mlGeNN": ("ml_genn", mlgenn),
    "Spyx": ("spyx", spyx),
}
