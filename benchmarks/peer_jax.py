"""The tasks of `peers.py` on codes for JAX: Spyx (surrogate gradients) and eventax (EventProp, event by event)."""

from __future__ import annotations

import os
from typing import Any

from peer_worker import Shape, Step

os.environ["XLA_FLAGS"] = (
    "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"  # one thread, as everybody
)


def prepare(peer: str) -> None:
    """The package is loaded before memory is counted."""
    import jax

    __import__(peer)
    jax.block_until_ready(jax.numpy.zeros(1))


def _spyx(shape: Shape, model: Any, adam: bool) -> Step:
    """A compiled step: cross-entropy of the sum (counts) or the mean (V) of what the model gives."""
    import jax
    import jax.numpy as jnp
    import optax
    import spyx.nn
    from flax import nnx

    optimiser = nnx.Optimizer(model, optax.adam(1e-9), wrt=nnx.Param)
    x, y = jnp.asarray(shape.dense()), jnp.asarray(shape.labels())

    @nnx.jit
    def step(model: Any, optimiser: Any, x: Any, y: Any) -> Any:
        def loss(model: Any) -> Any:
            out, _ = spyx.nn.run(model, x)
            scores = out.mean(0) if adam else out.sum(0)
            return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        if adam:
            optimiser.update(model, gradients)
            return value
        return value, gradients

    return lambda: jax.block_until_ready(step(model, optimiser, x, y))


def spyx_layer(shape: Shape) -> Step:
    """Linear + LIF."""
    import spyx.nn
    from flax import nnx

    rngs = nnx.Rngs(shape.seed)
    linear = nnx.Linear(shape.inputs, shape.hidden, use_bias=False, rngs=rngs)
    return _spyx(shape, spyx.nn.Sequential(linear, spyx.nn.LIF((shape.hidden,), rngs=rngs)), False)


def spyx_shd(shape: Shape) -> Step:
    """Linear + RCuBaLIF + Linear + LI."""
    import spyx.nn
    from flax import nnx

    rngs = nnx.Rngs(shape.seed)
    model = spyx.nn.Sequential(
        nnx.Linear(shape.inputs, shape.hidden, use_bias=False, rngs=rngs), spyx.nn.RCuBaLIF((shape.hidden,), rngs=rngs),
        nnx.Linear(shape.hidden, shape.outputs, use_bias=False, rngs=rngs), spyx.nn.LI((shape.outputs,), rngs=rngs),
    )  # fmt: skip
    return _spyx(shape, model, True)


def eventax_yin_yang(shape: Shape) -> Step:
    """5 - 200 - 3 by first spike times, Adam; as in `yin_yang_speed.py`, weights from the same distributions."""
    import numpy as np
    from yin_yang_speed import eventax_step

    rng = np.random.default_rng(shape.seed)
    given = {
        "input_hidden.weight": rng.normal(1.5, 0.78, (5, 200)).tolist(),
        "hidden_output.weight": rng.normal(0.93, 0.1, (200, 3)).tolist(),
        "times": rng.uniform(0.0, 30.0, (shape.batch, 5)).tolist(),
        "labels": rng.integers(0, 3, shape.batch).tolist(),
    }
    return eventax_step(given)[0]


TASKS = {
    ("spyx", "layer"): spyx_layer, ("spyx", "shd"): spyx_shd, ("eventax", "yin-yang"): eventax_yin_yang,
}  # fmt: skip
