"""Regularisers against their written formulas, on every engine; what they refuse."""

import numpy as np
import pytest

from genn_eventprop import Dense, Events, Network, NeuronModel, Normal, Param, Trainer, losses, regularisers
from genn_eventprop.engines import ReferenceClock
from genn_eventprop.engines.native.engine import NativeEngine
from genn_eventprop.engines.reference.exact.engine import ReferenceEvent
from genn_eventprop.errors import CheckpointError, SettingError
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF
from genn_eventprop.optimisers import SGD, Adam
from genn_eventprop.plan import make_plan
from genn_eventprop.regularisers import Clamp, LayerRate, SpikeCount, WeightDecay, pushed_state
from support.compiled import as_in_a_new_process

DURATION, B = 40.0, 5
LOSSES = {
    "integral": losses.IntegratedVoltageCrossEntropy,
    "max": losses.MaxVoltageCrossEntropy,
    "first": losses.FirstSpikeCrossEntropy,
}


def network(loss="integral", tau_mem=20.0):
    net = Network()
    hidden = net.population(LIF(tau_mem=tau_mem), 9, name="hidden")
    output = net.population(
        (LIF if loss == "first" else LI)(tau_mem=Param(np.array([15.0, 20.0, 31.0]), "ms")), 3, "out"
    )
    net.connect(net.input(4), hidden, Dense(Normal(1.5, 1.0)), name="enter")
    net.connect(hidden, hidden, Dense(Normal(0.0, 0.4)), delay=1.0, name="again")
    net.connect(hidden, output, Dense(Normal(0.5, 0.5)), name="leave")
    return net, hidden, LOSSES[loss](output)


def events():
    rng = np.random.default_rng(3)
    samples = [(np.sort(rng.uniform(0, 39, 12)), rng.integers(0, 4, 12)) for _ in range(B)]
    return Events.from_samples(samples, n_channels=4, labels=rng.integers(0, 3, B))


def plan_of(net, loss, spike_times="grid", **more):
    return make_plan(net, loss, dt=1.0, duration=DURATION, spike_times=spike_times, **more)


def make(engine, plan):
    values = plan.network.initial_parameters(1)
    if engine == "native":
        return NativeEngine(plan, values, dtype="float64", threads=2)
    return (ReferenceClock if engine == "reference_clock" else ReferenceEvent)(plan, values)


def trained(engine, plan):
    """(engine, result) after one training run of the whole batch."""
    made = make(engine, plan)
    return made, made.run(made.load(events()), np.arange(B), training=True, record_spikes=True)


SPIKE_COUNT = [
    {"target": 2.0, "strength": 0.3},
    {"target": 3.0, "upper": 0.2, "lower": 0.05},
    {"target": 1.5, "upper": 0.1, "lower": 0.4, "mean": "batch"},
    {"target": 2.0, "strength": 1e-3, "published": True},
]


def written(kind, settings, counts, loss, tau_hidden):
    """(B, N) the jump of the costate as REFERENCE has it, written with loops."""
    scale = {"integral": 22.0 * tau_hidden, "max": tau_hidden * DURATION, "first": tau_hidden}[loss]
    factor = scale if settings.get("published") else np.ones(9)
    out = np.zeros((B, 9))
    for b in range(B):
        for n in range(9):
            s = counts[b, n] if settings.get("mean") != "batch" else counts[:, n].sum() / B
            if kind == "count":
                up, low = (
                    settings.get("upper", settings.get("strength")),
                    settings.get("lower", settings.get("strength")),
                )
                out[b, n] = factor[n] * (up if s > settings["target"] else low) * (s - settings["target"]) / B
            else:
                total = counts[b].sum() if settings.get("mean") != "batch" else counts.sum() / B
                out[b, n] = factor[n] * settings["strength"] * max(0.0, total - settings["most"]) / (9 * B)
    return out


@pytest.mark.one_in(6)
@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize(
    ("kind", "settings"),
    [*(("count", s) for s in SPIKE_COUNT), ("layer", {"most": 27.0, "strength": 0.7}),
     ("layer", {"most": 26.0, "strength": 0.7, "mean": "batch"}),
     ("layer", {"most": 27.0, "strength": 1e-3, "published": True})],
)  # fmt: skip
def test_jumps_are_the_written_formula(loss, kind, settings):
    tau = np.linspace(12.0, 30.0, 9)
    net, hidden, made = network(loss, Param(tau, "ms"))
    make_regulariser = SpikeCount if kind == "count" else LayerRate
    plan = plan_of(net, made, regularisers=[make_regulariser(hidden, **settings)])
    engine, result = trained("reference_clock", plan)
    counts = result.spike_counts["hidden"]
    want = written(kind, settings, counts, loss, tau)
    np.testing.assert_allclose(engine.spike_jumps(result.spike_counts)["hidden"], want, rtol=1e-12)
    assert want.any() and (counts.sum(1) > 27).any() and (counts.sum(1) < 27).any()


def single(spike_times, regulariser):
    """One input spike makes one LIF neuron spike once; one weight. (plan, events)"""
    net = Network()
    hidden, output = net.population(LIF(), 1, name="hidden"), net.population(LI(), 2, name="out")
    net.connect(net.input(1), hidden, Dense(8.0), name="enter")
    net.connect(hidden, output, Dense(0.0), name="leave")
    plan = make_plan(
        net, losses.IntegratedVoltageCrossEntropy(output), dt=0.5, duration=DURATION, spike_times=spike_times,
        regularisers=regulariser(hidden),
    )  # fmt: skip
    return plan, Events([2.0], [0], [0, 1], 1, labels=[0])


@pytest.mark.parametrize(("engine", "spike_times"), [("reference_clock", "grid"), ("reference_event", "exact")])
def test_the_gradient_of_one_spike_by_hand(engine, spike_times):
    """With no weight to the output the loss has no gradient; lambda_V jumps by 0.3 (1 - 3) at t_k and flows back to the
    arrival at 2 ms, where dL/dw = lambda_I = lambda_V(t_k) tau_syn / (tau_mem - tau_syn) times
    (e^(-s/tau_mem) - e^(-s/tau_syn)).
    """
    plan, data = single(spike_times, lambda hidden: [SpikeCount(hidden, target=3.0, strength=0.3)])
    made = make(engine, plan)
    result = made.run(made.load(data), [0], training=True, record_spikes=True)
    (t,) = result.spikes["hidden"].time
    s = t - 2.0
    flow = 5.0 / 15.0 * (np.exp(-s / 20.0) - np.exp(-s / 5.0))
    np.testing.assert_allclose(made.gradients["enter.weight"], [[0.3 * (1 - 3.0) * flow]], rtol=1e-9)


@pytest.mark.one_in(6)
@pytest.mark.parametrize(
    ("spike_times", "reference", "loss"),
    [("grid", "reference_clock", "integral"), ("grid", "reference_clock", "first"),
     ("exact", "reference_event", "integral"), ("exact", "reference_event", "first")],
)  # fmt: skip
def test_native_equals_the_reference(spike_times, reference, loss):
    """All kinds at once on both populations that can spike, by example and batch; tau_mem differs and is learned."""
    tau = Param(np.linspace(12.0, 30.0, 9), "ms", trainable=True)
    net, hidden, made = network(loss, tau)
    several = [SpikeCount(hidden, **s) for s in SPIKE_COUNT] + [LayerRate(hidden, 27.0, 0.7)]
    several.append(LayerRate(hidden, 9.0, 0.2, mean="batch"))
    if loss == "first":
        several.append(SpikeCount(made.population, target=1.0, strength=0.1))
    plan = plan_of(net, made, spike_times, regularisers=several)
    slow, native = (trained(e, plan)[0] for e in (reference, "native"))
    bare = trained(reference, plan_of(net, made, spike_times))[0]
    for name in plan.trainable:
        want = slow.gradients[name]
        np.testing.assert_allclose(native.gradients[name], want, rtol=1e-8, atol=1e-9 * np.abs(want).max())
        difference = np.abs(want - bare.gradients[name]).max()
        assert (difference > 1e-3 * np.abs(want).max()) == (not name.startswith("leave") or loss == "first"), name


def test_the_gradient_pushes_the_count_towards_its_target():
    """A surrogate, but in the right direction: descent brings the mean count from both sides nearer to the target."""
    for target, worse in ((0.5, 1.0), (6.0, -1.0)):
        net, hidden, loss = network()
        plan = plan_of(net, loss, regularisers=SpikeCount(hidden, target, 0.02))
        engine, result = trained("native", plan)
        before, optimiser = result.spike_counts["hidden"].mean(), SGD(0.5)
        for _ in range(40):
            engine.update(optimiser)
            result = engine.run(engine.load(events()), np.arange(B), training=True)
        after = result.spike_counts["hidden"].mean()
        assert worse * (before - target) > 0 and abs(after - target) < 0.5 * abs(before - target)


def test_weight_decay_is_its_penalty_and_clamps_hold():
    net, _, loss = network()
    plan = plan_of(net, loss, regularisers=(WeightDecay(0.3), WeightDecay(0.1, "leave.*"), Clamp(0.1, None, "leave.*")))
    assert plan.decay() == {"enter.weight": 0.3, "again.weight": 0.3, "leave.weight": 0.4}
    assert plan.bounds() == {"leave.weight": (0.1, None)}
    for engine in ("reference_clock", "native"):
        made = make(engine, plan)
        made.parameters["leave.weight"][...] = np.maximum(made.parameters["leave.weight"], 0.1)
        before = {k: made.parameters[k].copy() for k in plan.trainable}
        made.run(made.load(events()), np.arange(B), training=True)
        gradients = {k: g.copy() for k, g in made.gradients.items()}
        made.update(SGD(0.5, clip_norm=1e9))
        for name, strength in plan.decay().items():
            want = before[name] - 0.5 * (gradients[name] + strength * before[name])
            want = np.maximum(want, 0.1) if name == "leave.weight" else want
            np.testing.assert_allclose(made.parameters[name], want, rtol=1e-12, atol=1e-15)
        assert made.parameters["leave.weight"].min() == 0.1


def test_bounds_tighten():
    net = Network()
    hidden = net.population(LIF(tau_mem=Param(20.0, "ms", trainable=True, bounds=(5.0, 60.0))), 2, name="hidden")
    net.connect(net.input(1), hidden, Dense(1.0))
    clamps = [Clamp(3.0, 40.0, "hidden.*"), Clamp(8.0, None, "hidden.tau_mem")]
    plan = make_plan(net, losses.FirstSpikeCrossEntropy(hidden), dt=1.0, duration=10.0, regularisers=clamps)
    assert plan.bounds() == {"hidden.tau_mem": (8.0, 40.0)}
    with pytest.raises(SettingError, match=r"initial values of hidden.tau_mem, 20 to 20, lie outside its bounds \(30"):
        Adam(bounds={"*.tau_mem": (30.0, None)}).prepare({"hidden.tau_mem": np.full(2, 20.0)})


def test_gradient_checks_leave_them_out():
    from genn_eventprop.verify.gradients.compare import Problem

    net, hidden, loss = network()
    plan = plan_of(net, loss, "exact", regularisers=[SpikeCount(hidden)])
    assert Problem(plan, net.initial_parameters(1), events()).plan.pushes == ()


def test_the_pushed_state():
    other = NeuronModel(
        name="Other", state={"A": 0.0, "U": 0.0, "Z": 0.0}, params={"tau": Param(5.0, "ms")},
        dynamics={"A": "-A / tau", "U": "(A - U) / tau", "Z": "-Z / tau"}, threshold="U - Z - 1", reset={"U": 0},
        input="A", readout="A",
    )  # fmt: skip
    assert pushed_state(LIF) == "V"
    assert pushed_state(other) == "U"  # the threshold does not read A


def refused():
    net, hidden, loss = network()
    output, other = loss.population, network()[1]
    plan = lambda *r: plan_of(net, loss, regularisers=r)  # noqa: E731
    bare = NeuronModel(name="Bare", state={"V": 0.0}, params={"tau": Param(5.0, "ms")}, dynamics={"V": "-V / tau"},
                       threshold="V - 1", reset={"V": 0}, input="V")  # fmt: skip
    bare_net = Network()
    bare_population = bare_net.population(bare, 2, name="bare")
    return [
        (lambda: SpikeCount(output), "SpikeCount of 'out': LI never spikes, so there is no spike count to regularise"),
        (
            lambda: SpikeCount(hidden, target=-1.0),
            "SpikeCount of 'hidden': target must be a finite number >= 0, got -1.0",
        ),
        (lambda: SpikeCount(hidden, upper=np.nan), "upper must be a finite number >= 0, got nan"),
        (lambda: SpikeCount(hidden, mean="mean"), "mean='mean' .*known: batch, example"),
        (lambda: SpikeCount(bare_population, published=True), "scales by tau_mem, which Bare does not have"),
        (lambda: plan(SpikeCount(other)), "SpikeCount of 'hidden': not a population of this network"),
        (
            lambda: plan_of(net, losses.Loss(output, "end"), regularisers=[SpikeCount(hidden, published=True)]),
            "SpikeCount of 'hidden': published=True has no factor for the readout 'end'",
        ),
        (lambda: plan(3), "a regulariser must be e.g. SpikeCount.*got 3; known: spike_count, layer_rate"),
        (lambda: plan(WeightDecay(0.1, "hiden.*")), "WeightDecay: no learned parameter matches 'hiden.*'"),
        (lambda: plan(Clamp(0.0, 1.0, "hidden.tau_mem")), "Clamp: no learned parameter matches 'hidden.tau_mem'"),
        (lambda: WeightDecay(-1.0), "WeightDecay: strength must be a finite number >= 0, got -1.0"),
        (lambda: Clamp(2.0, 1.0), "Clamp: bounds .2.0, 1.0. are the wrong way round"),
        (lambda: Clamp(None, None), "Clamp: give a lower bound, an upper bound or both"),
    ]


@pytest.mark.parametrize("case", range(13))
def test_refused(case):
    action, message = refused()[case]
    with pytest.raises(SettingError, match=message):
        action()


def test_the_trainer_learns_with_them_and_resumes_only_the_same(tmp_path):
    def trainer(*several):
        net, hidden, loss = network()
        return Trainer(
            net, loss, duration=DURATION, dt=1.0, spike_times="grid", engine="native", progress=False, batch_size=B,
            run_dir=tmp_path / "run", optimiser=SGD(0.5), regularisers=[r(hidden) for r in several],
        )  # fmt: skip

    fewer = lambda hidden: SpikeCount(hidden, 0.5, 0.02)  # noqa: E731
    t = trainer(fewer)
    before = t.evaluate(events()).activity["hidden"].spikes_per_neuron
    t.fit(events(), epochs=40)
    assert t.evaluate(events()).activity["hidden"].spikes_per_neuron < 0.6 * before
    trainer(fewer).resume(tmp_path / "run")
    with pytest.raises(CheckpointError, match="regularisers is .'SpikeCount: population hidden, target 0.5, upper"):
        trainer().resume(tmp_path / "run")


def test_misfits_are_refused_before_compilation(monkeypatch, tmp_path):
    as_in_a_new_process(monkeypatch)
    monkeypatch.setenv("GENN_EVENTPROP_CACHE", str(tmp_path))
    net, hidden, loss = network()
    settings = {"duration": DURATION, "dt": 1.0, "spike_times": "grid", "engine": "native", "progress": False}
    with pytest.raises(SettingError, match="initial values of enter.weight, .* lie outside its bounds .0.0, None"):
        Trainer(net, loss, optimiser=Adam(bounds={"enter.*": (0.0, None)}), **settings)
    with pytest.raises(SettingError, match="no parameter matches 'hidden.tau_mem'"):
        Trainer(net, loss, optimiser=Adam(groups={"hidden.tau_mem": {"learning_rate": 1.0}}), **settings)
    with pytest.raises(SettingError, match="LI never spikes"):
        Trainer(net, loss, regularisers=[SpikeCount(loss.population)], **settings)
    assert not list(tmp_path.iterdir())


def test_registry():
    assert set(regularisers.REGULARISERS) == {"spike_count", "layer_rate", "weight_decay", "clamp"}
    hidden = network()[1]
    assert regularisers.REGULARISERS["spike_count"](hidden).target == 14.0
