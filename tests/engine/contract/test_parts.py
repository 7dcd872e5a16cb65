"""Batches in parts: what several processes run of a batch adds up to the bits of one process."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, Normal, losses
from genn_eventprop.engines import create
from genn_eventprop.engines.contract.slices import BatchShard, add_in_tree
from genn_eventprop.engines.contract.wrapper import SwappedLosses
from genn_eventprop.models.lif import LIF
from genn_eventprop.plan import make_plan
from genn_eventprop.regularisers import SpikeCount
from support.sweeps import sweep


@pytest.mark.parametrize("slices", [1, 2, 3, 5, 8, 13, 16])
def test_the_tree_is_the_same_however_the_slices_are_shared_out(slices):
    """Float32 numbers of very different size, so that another order of adding shows."""
    numbers = (10.0 ** np.random.default_rng(1).uniform(-6, 6, (slices, 50))).astype(np.float32)
    wanted = add_in_tree({s: numbers[s].copy() for s in range(slices)}, slices)
    for ranks in (1, 2, 3, 4, 7):
        sums = {}
        for rank in range(ranks):
            part = BatchShard.of_rank(3 * slices, slices, rank, ranks)
            edges = [*part.subtrees, part.last]
            for root, end in zip(edges, edges[1:]):  # a root is the sum of its own subtree
                own = {s - root: numbers[s].copy() for s in range(root, end)}
                sums[root] = add_in_tree(own, end - root)
        assert np.array_equal(add_in_tree(sums, slices), wanted)


def test_parts_cover_a_batch_once_and_some_may_be_empty():
    for batch, slices, ranks in ((3, 3, 4), (32, 16, 3), (37, 16, 5)):
        parts = [BatchShard.of_rank(batch, slices, rank, ranks) for rank in range(ranks)]
        covered = np.concatenate([np.arange(batch)[p.samples] for p in parts])
        assert covered.tolist() == list(range(batch)) and sum(len(p) for p in parts) == batch
    assert len(BatchShard.of_rank(3, 3, 0, 4)) == 0 and BatchShard.of_rank(3, 3, 0, 4).subtrees == []


def setting(engine, spike_times, mean="batch", noise=0.0):
    rng = np.random.default_rng(3)
    net = Network()
    inp = net.input(6)
    hidden = net.population(LIF(tau_mem=10.0), 8, name="hidden", noise=noise)
    output = net.population(LIF(), 3, name="output")
    net.connect(inp, hidden, Dense(Normal(2.0, 1.0)))
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)))
    net.connect(hidden, output, Dense(Normal(1.0, 0.5)))
    push = SpikeCount(hidden, target=2.0, strength=1e-3, mean=mean)
    loss = losses.FirstSpikeCrossEntropy(output)
    plan = make_plan(net, loss, dt=1.0, duration=30.0, spike_times=spike_times, regularisers=[push])
    options = {"threads": 2} if engine == "native" else {"dtype": "float64"} if engine == "c99" else {}
    made = create(plan, net.initial_parameters(1), engine=engine, **options)
    samples = [(np.sort(rng.uniform(0, 20, 12)), rng.integers(0, 6, 12)) for _ in range(160)]
    return made, made.load(Events.from_samples(samples, 6, rng.integers(0, 3, 160)))


def in_parts(engine, data, samples, ranks):
    """Losses and the gradient of a batch run part by part; the counts of all parts are known to each."""
    slices = engine.slices_of(len(samples))
    parts = [BatchShard.of_rank(len(samples), slices, rank, ranks) for rank in range(ranks)]
    counts = {c.shape[1]: c for c in engine.run(data, samples, training=True).spike_counts.values()}
    engine.whole_counts = lambda own: counts[own.shape[1]]
    loss, sums = [], {}
    for part in parts:
        if len(part):
            result, found = engine.run_shard(data, samples, part, training=True)
            assert list(found) == engine.subtrees_of(part)
            loss.append(result.loss)
            sums |= {root: total.copy() for root, total in found.items()}
    engine.set_gradient(add_in_tree(sums, slices))
    del engine.whole_counts
    return np.concatenate(loss), {k: engine.gradients[k].copy() for k in engine.plan.trainable}


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("spike_times", "noise", "batch"),
    sweep(
        [(*how, batch) for how in (("grid", 0.05), ("exact", 0.0)) for batch in (3, 37, 160)],
        [("grid", 0.05, 3), ("grid", 0.05, 160), ("exact", 0.0, 37)],
    ),
)
def test_native_gives_the_same_bits_in_any_number_of_parts(spike_times, noise, batch):
    engine, data = setting("native", spike_times, noise=noise)
    samples = np.random.default_rng(batch).permutation(160)[:batch]
    result = engine.run(data, samples, training=True)
    wanted = {k: engine.gradients[k].copy() for k in engine.plan.trainable}
    assert all(np.abs(g).max() > 0 for g in wanted.values())
    for ranks in (1, 2, 3, 4):
        loss, found = in_parts(engine, data, samples, ranks)
        np.testing.assert_array_equal(loss, result.loss)
        for name, gradient in wanted.items():
            np.testing.assert_array_equal(found[name], gradient, err_msg=f"{name}, {ranks} parts")


@pytest.mark.parametrize(
    "engine, spike_times", [("reference_clock", "grid"), ("reference_event", "exact"), ("c99", "grid")]
)
@pytest.mark.one_in(2)
def test_other_engines_give_the_batch_mean_too(engine, spike_times):
    made, data = setting(engine, spike_times)
    samples = np.arange(7)
    made.run(data, samples, training=True)
    wanted = {k: made.gradients[k].copy() for k in made.plan.trainable}
    _, found = in_parts(made, data, samples, 3)
    for name, gradient in wanted.items():
        np.testing.assert_allclose(found[name], gradient, rtol=1e-12, atol=1e-15)


def test_each_process_of_a_machine_takes_a_device_of_its_own(monkeypatch):
    """Three processes on two devices, where CUDA is a shim."""
    from genn_eventprop.engines.cuda import engine as cuda
    from support.cuda_shim import ShimDevice

    opened = []
    monkeypatch.setattr(cuda, "open_device", lambda number: opened.append(number) or ShimDevice())
    monkeypatch.setattr(cuda, "visible_devices", lambda: (["one", "two"], ""))
    plan = setting("reference_clock", "grid")[0].plan
    engines = [cuda.CudaEngine(plan, plan.network.initial_parameters(1), dtype="float64") for _ in range(3)]
    for number, engine in enumerate(engines):
        engine.share_machine(number, 3)
    assert opened == [0, 0, 0, 1] and [e._number for e in engines] == [0, 1, 0]
    assert engines[1].remarks[-1] == "3 processes share 2 devices of this machine"


def test_an_engine_around_another_hands_on_who_it_is():
    """Otherwise all ranks of a reordered engine would stay on the first device."""
    inner, _ = setting("c99", "grid")
    asked = []
    inner.share_machine = lambda number, processes: asked.append((number, processes))
    SwappedLosses(inner, inner.plan).share_machine(1, 3)
    assert asked == [(1, 3)]


@pytest.mark.parametrize(
    "launcher",
    [
        "LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "PALS_LOCAL_RANKID",
        "FLUX_TASK_LOCAL_ID", "SLURM_LOCALID",
    ],
)  # fmt: skip
def test_a_rank_opens_its_own_device_first(launcher, monkeypatch):
    """A context on device 0 would take memory there, or the device, from the rank that owns it."""
    from genn_eventprop.engines.cuda import engine as cuda
    from genn_eventprop.engines.cuda.visible import RANKS
    from support.cuda_shim import ShimDevice

    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    opened = []
    monkeypatch.setattr(cuda, "open_device", lambda number: opened.append(number) or ShimDevice())
    monkeypatch.setattr(cuda, "visible_devices", lambda: (["one", "two"], ""))
    plan = setting("reference_clock", "grid")[0].plan
    for rank in range(3):
        monkeypatch.setenv(launcher, str(rank))
        cuda.CudaEngine(plan, plan.network.initial_parameters(1)).share_machine(rank, 3)
    assert opened == [0, 1, 0]
