"""The task of docs/long_recordings.md by e-prop, beside the exact and the truncated gradient of that page.

    python benchmarks/recordings_e_prop.py --seeds 1-10

e-prop (Bellec et al. 2020, Nature Communications 11, 3625; with the true output weights) goes forwards only: each
synapse has an eligibility trace, which lasts over chunks, and a neuron learns from the errors of the outputs that it
reaches directly. What its spikes do to other neurons, and to itself later, is left out; the derivative of a spike is
0.3 max(0, 1 - |V - v_thresh|). Network, initial weights, data, losses, Adam, batches and epochs are those of the page,
as is what counts the right answers; nothing was tuned for e-prop.

Axis letters: T steps, B recordings of a batch, M inputs, N hidden neurons, K classes.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from seeds import seeds_of

from genn_eventprop import Trainer

PAGE = Path(__file__).parents[1] / "docs" / "long_recordings.md"
EPOCHS, BATCH, RATE = 30, 8, 5e-3
WEIGHTS = np.array([1.0, 1.0, 0.1])
"""Of the classes, as on the page."""


def page() -> dict[str, Any]:
    """What the first program of the page defines; its last lines, which train, are left out."""
    program = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert program is not None
    defined: dict[str, Any] = {}
    exec(program[1].partition("\nfor carry in")[0], defined)  # noqa: S102 - our own page
    return defined


def kernel(tau_mem: float, tau_syn: float, dt: float) -> tuple[float, float, float]:
    """a, b, c of V' = a V + c I, I' = b I over a step."""
    a, b = np.exp(-dt / tau_mem), np.exp(-dt / tau_syn)
    return a, b, tau_syn / (tau_syn - tau_mem) * (b - a)


def gradients(w: dict[str, np.ndarray], x: np.ndarray, labels: np.ndarray, of: dict[str, Any]) -> dict[str, np.ndarray]:
    """Of the mean loss of a batch; x (T, B, M) spikes, labels (B, chunks)."""
    T, B, M = x.shape
    dt, steps = of["DT"], round(of["CHUNK"] / of["DT"])
    N, K = w["slow_output"].shape
    a, b, c = kernel(20.0, 200.0, dt)
    a_out, b_out, c_out = kernel(20.0, 5.0, dt)
    V, current = np.zeros((B, N)), np.zeros((B, N))
    trace_V, trace_I = np.zeros((B, M)), np.zeros((B, M))  # of an input in V of a neuron
    y, y_I = np.zeros((B, K)), np.zeros((B, K))
    # what a weight does to an output, but for its error: input -> hidden, hidden -> output, input -> output
    seen = {n: (np.zeros(s), np.zeros(s)) for n, s in (("in", (B, M, N)), ("out", (B, N)), ("direct", (B, M)))}
    total = {n: np.zeros_like(pair[0]) for n, pair in seen.items()} | {"y": np.zeros((B, K))}
    found = {name: np.zeros_like(value) for name, value in w.items()}
    for k in range(T):
        current, trace_I = current + x[k] @ w["input_slow"], trace_I + x[k]
        y_I = y_I + x[k] @ w["input_output"]
        seen["direct"] = seen["direct"][0], seen["direct"][1] + x[k]
        V, current = a * V + c * current, b * current
        trace_V, trace_I = a * trace_V + c * trace_I, b * trace_I
        y, y_I = a_out * y + c_out * y_I, b_out * y_I
        seen = {n: (a_out * v + c_out * i, b_out * i) for n, (v, i) in seen.items()}
        spikes = (V >= 1.0).astype(float)
        eligible = 0.3 * np.maximum(0.0, 1.0 - np.abs(V - 1.0))[:, None] * trace_V[:, :, None]
        V = V * (1 - spikes)
        # spikes found at the end of a step arrive in the next one
        y_I = y_I + spikes @ w["slow_output"]
        seen["in"] = seen["in"][0], seen["in"][1] + eligible
        seen["out"] = seen["out"][0], seen["out"][1] + spikes
        total = {n: total[n] + seen[n][0] / steps for n in seen} | {"y": total["y"] + y / steps}
        if (k + 1) % steps == 0:
            label = labels[:, k // steps]
            shares = np.exp(total["y"] - total["y"].max(1, keepdims=True))
            error = shares / shares.sum(1, keepdims=True)
            error[np.arange(B), label] -= 1
            error *= (WEIGHTS[label] / labels.size)[:, None]
            found["input_slow"] += np.einsum("bmn,bn->mn", total["in"], error @ w["slow_output"].T)
            found["slow_output"] += total["out"].T @ error
            found["input_output"] += total["direct"].T @ error
            total = {n: np.zeros_like(value) for n, value in total.items()}
    return found


def dense(cut: Any, of: dict[str, Any]) -> np.ndarray:
    """(T, S, M) spikes of whole recordings in steps."""
    dt, n = of["DT"], round(of["CHUNK"] / of["DT"])
    owner, chunks = cut.sample_of_event, of["CHUNKS"]
    x = np.zeros((n * chunks, len(cut) // chunks, cut.n_channels))
    steps = np.minimum(np.floor(cut.times / dt + 0.5).astype(int), n - 1) + owner % chunks * n
    np.add.at(x, (steps, owner // chunks, cut.channels), 1.0)
    return x


def by_e_prop(trainer: Trainer, cut: Any, epochs: int, of: dict[str, Any]) -> None:
    """Trains the weights of the page's trainer in place of its `fit`."""
    parameters = {n.removesuffix(".weight"): v for n, v in trainer.engine.parameters.items() if n.endswith(".weight")}
    w = {name: np.array(value, float) for name, value in parameters.items()}
    x, labels = dense(cut, of), cut.labels.reshape(-1, of["CHUNKS"])
    m, v = ({name: np.zeros_like(value) for name, value in w.items()} for _ in range(2))
    rng, number = np.random.default_rng(1), 0
    for _ in range(epochs):
        for rows in np.split(rng.permutation(len(labels)), range(BATCH, len(labels), BATCH)):
            number += 1
            for name, g in gradients(w, x[:, rows], labels[rows], of).items():
                m[name] += 0.1 * (g - m[name])
                v[name] += 0.001 * (g**2 - v[name])
                w[name] -= RATE * (m[name] / (1 - 0.9**number)) / (np.sqrt(v[name] / (1 - 0.999**number)) + 1e-8)
    for name, value in parameters.items():
        value[...] = w[name]


def main() -> None:
    """Print the share of right answers of every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, default=[1])
    asked = parser.parse_args()
    sys.argv = sys.argv[:1]
    of = page()

    class ByEprop(Trainer):
        """The page's trainer, which trains otherwise."""

        def fit(self, cut: Any, epochs: int) -> Any:
            by_e_prop(self, cut, epochs, of)

    of["Trainer"] = ByEprop
    found = [f"{100 * of['trained']('exact', seed):.0f}" for seed in asked.seeds]
    print(f"e-prop: {', '.join(found)} % of the answers right")


if __name__ == "__main__":
    main()
