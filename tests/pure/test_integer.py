"""Networks of integers: profiles, what quantising does to numbers, and traces that others recorded."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genn_eventprop import Delay, Dense, Events, Network, Normal, Uniform
from genn_eventprop.compile import create
from genn_eventprop.errors import DescriptionError, NetworkError
from genn_eventprop.integer import PROFILES, IntegerNetwork, Profile, simulate
from genn_eventprop.integer.network import IntegerConnection, IntegerPopulation
from genn_eventprop.integer.profile import as_profile
from genn_eventprop.losses import MaxVoltageCrossEntropy
from genn_eventprop.models import ALIF, LI, LIF, AdEx
from genn_eventprop.plan import make_plan
from support.guides import blocks
from support.integer_networks import draw

# NIR's LIF example (Pedersen et al. 2024, doi 10.1038/s41467-024-52259-9): 1,000 steps of 0.1 ms, input in these ones
NIR_INPUT = [
    60,
    220,
    270,
    310,
    320,
    350,
    370,
    400,
    410,
    430,
    440,
    450,
    460,
    470,
    480,
    490,
    500,
    510,
    520,
    530,
    670,
    680,
    690,
    700,
    710,
    720,
    730,
    740,
    750,
    760,
    770,
    780,
    840,
    850,
]
LOIHI_TRACE, LAVA_TRACE = 2487375106, 2760314781


def test_a_network_of_every_profile_stands_for_nearly_the_numbers_it_came_from():
    for name, profile in PROFILES.items():
        net = Network()
        hidden = net.population(LIF(tau_mem=Uniform(15.0, 25.0), v_thresh=0.8), 12, "hidden")
        net.connect(net.input(9), hidden, Dense(Normal(0.2, 1.0)), name="in_hidden")
        values = net.initial_parameters(3)
        made = net.quantise(name, values, dt=1.0)
        scale = np.abs(values["in_hidden.weight"]).max()
        # half a step of the largest weight, and what the time constants of shifts add
        step = {"ternary": 1.2, "fenn": 0.01}.get(name, 1.0 / 127) * scale
        assert np.abs(made.values["in_hidden.weight"] - values["in_hidden.weight"]).max() <= step
        assert made.values["hidden.v_thresh"] == pytest.approx(0.8, rel=1e-3)
        loose = 0.55 if profile.decay == "shift" else 0.01
        assert made.values["hidden.tau_mem"] == pytest.approx(values["hidden.tau_mem"], rel=loose)
        assert np.abs(made.connections[0].weight).max() <= profile.weight_max


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1 << 30), st.sampled_from(sorted(PROFILES)))
def test_states_stay_within_their_bits(seed, profile):
    network, counts = draw(profile, seed)
    trial, top = simulate(network, counts, record=True), network.profile.state_max + (profile == "loihi2")
    for states in (trial.V, trial.I):
        for name, x in states.items():
            assert network.profile.state_min <= x.min(initial=0) and x.max(initial=0) <= top, name


def test_many_bits_give_the_spikes_of_the_grid():
    """With the numbers that the integers stand for, engines on the grid spike in the same steps."""
    fine = Profile(name="fine", weight_bits=16, state_bits=32, decay_bits=16, headroom=1 << 8)
    for seed in range(3):
        net = Network()
        hidden = net.population([LIF(), ALIF(tau_B=40.0)][seed % 2], 30, "hidden")
        output = net.population(LI(), 3, "output")
        inputs = net.input(20)
        net.connect(inputs, hidden, Dense(Normal(0.6, 0.8)), delay=Delay(Uniform(0, 7), max=8.0))
        net.connect(hidden, hidden, Dense(Normal(0.0, 0.3)), delay=2.0)
        net.connect(hidden, output, Dense(Normal(0.0, 0.3)))
        integers = net.quantise(fine, net.initial_parameters(seed), dt=0.5)
        counts = (np.random.default_rng(seed).random((1, 80, 20)) < 0.06).astype(np.uint8)
        trial = simulate(integers, counts, record=True)
        plan = make_plan(net, MaxVoltageCrossEntropy(output), dt=0.5, duration=40.0)
        engine = create(plan, dict(integers.values), engine="reference_clock")
        steps, channels = np.nonzero(counts[0])
        data = engine.load(Events.from_samples([(0.5 * steps, channels)], n_channels=20, labels=[0]))
        result = engine.run(data, [0], record_spikes=True)
        spikes = result.spikes["hidden"]
        expected = np.zeros((81, 30), int)
        np.add.at(expected, (np.rint(spikes.time / 0.5).astype(int), spikes.neuron), 1)
        assert expected.sum() > 50
        np.testing.assert_array_equal(trial.spikes["hidden"][0], expected[1:])
        V = trial.V["output"][0].max(axis=0) / integers.populations[1].unit
        np.testing.assert_allclose(np.maximum(V, 0), np.maximum(result.readout[0], 0), rtol=1e-3, atol=1e-4)


def one_neuron(profile, weight, gain, decay, threshold, delay):
    constant = {n: np.zeros(1, np.int64) for n in ("decay_I", "decay_B", "reset", "jump", "start")}
    neuron = IntegerPopulation(
        name="1", size=1, spiking=True, decay_V=np.array([decay]), threshold=np.array([threshold]), adaptive=False,
        max_spikes=1, slots=delay + 1, unit=1.0, **constant,
    )  # fmt: skip
    ways = IntegerConnection("0", -1, 0, 1, 0, np.array([[weight]]), np.array([gain]), delay=delay)
    network = IntegerNetwork(profile, 0.1, 1, (neuron,), (ways,), {})
    counts = np.zeros((1, 1000, 1), np.uint8)
    counts[0, NIR_INPUT] = 1
    return simulate(network, counts, record=True)


def test_loihi_s_recorded_trace_of_nir_s_neuron():
    """All values of V (by their checksum) and all spikes that Loihi and Lava recorded: lif_lava_loihi_fixed.csv and
    lif_lava_cpu_fixed.csv in paper/01_lif of NIR's repository. The weight is 0.04 * 256, the decay 0.04 * 4095, the
    threshold 25 << 6; the current is gone after a step, and it takes one from the input's process to the neuron's."""
    trial = one_neuron(PROFILES["loihi2"], 10, 64, 4096 - 163, (25 << 6) + 1, 1)
    V, spikes = trial.V["1"][0, :, 0], np.flatnonzero(trial.spikes["1"])
    assert spikes.tolist() == [461, 511, 711, 761]
    assert V[61:66].tolist() == [640, 614, 589, 565, 542]
    assert zlib.crc32(V.astype("<i4").tobytes()) == LAVA_TRACE
    V = V.copy()
    V[spikes] = 128  # what the chip's probe reads in the step of a spike, where V is 0 in the next
    assert zlib.crc32(V.astype("<i4").tobytes()) == LOIHI_TRACE


def test_spinnaker_2_s_recorded_trace_of_nir_s_neuron():
    """Spikes, and V to 1e-3: lif_spinnaker2.csv, whose decays are floats; the weight is 102, the unit 102.02."""
    mine = Profile(name="mine", state_bits=32, decay_bits=16)
    unit = 1 << 16
    trial = one_neuron(mine, 102, unit, round(0.96 * 65536), round(2.5 * 102.02 * unit), 0)
    V = trial.V["1"][0, :, 0] / unit / 102.02
    assert np.flatnonzero(trial.spikes["1"]).tolist() == [460, 510, 710, 760]
    np.testing.assert_allclose(V[60:63], [0.99980396, 0.95981178, 0.92141929], atol=1e-3)
    assert V.max() == pytest.approx(2.49561615, abs=1e-3)


def some_network(model=LIF, **options):
    net = Network()
    hidden = net.population(model, 3, "hidden")
    net.connect(net.input(2), hidden, Dense(Normal(1.0, 1.0)), **options)
    return net


@pytest.mark.parametrize(
    ("make", "profile", "message"),
    [
        (lambda: some_network(AdEx), "int8", "networks have the models LIF, LIFRelativeReset, ALIF, LI, not AdEx"),
        (lambda: some_network(ALIF), "loihi2", "'loihi2' has no adaptive threshold"),
        (lambda: some_network(LIF(v_reset=0.2)), "xylo", "'xylo' cannot reset V to 0.2"),
        (lambda: some_network(delay=2.0), "xylo", "'xylo' has no delays, not of 2"),
        (lambda: some_network(delay=99.0), "loihi2", "delays of at most 62 steps, not of 99"),
        (some_network, "loihi3", "unknown profile 'loihi3'.*loihi2"),
        (some_network, replace(PROFILES["int8"], dt=0.1), "steps of 0.1 ms, not of 1 ms"),
    ],
)  # fmt: skip
def test_what_a_profile_cannot_do_is_an_error_in_one_line(make, profile, message):
    with pytest.raises(NetworkError, match=message) as error:
        make().quantise(profile, dt=1.0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("input_hidden.weight", np.full((2, 3), np.nan), "values must be finite; 6 of 6"),
        ("input_hidden.weight", np.ones((3, 3)), r"has shape \(3, 3\), this network needs \(2, 3\)"),
        ("hidden.tau_mem", -1.0, "must be positive, got -1 ms"),
        ("hidden.v_thresh", 0.0, "thresholds above 0, not v_thresh=0"),
        ("hidden.v_thresh", None, "no value is given for hidden.v_thresh"),
    ],
)
def test_values_that_no_network_has(name, value, message):
    net = some_network(LIF(v_reset=-1.0))
    values = net.initial_parameters(0) | {name: np.atleast_1d(value)}
    if value is None:
        del values[name]
    with pytest.raises((NetworkError, DescriptionError), match=message):
        net.quantise("int8", values, dt=1.0)


def test_a_profile_is_a_file_of_its_fields(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'weight_bits = 4\nrounding = "down"\ndt = 1\nstrict = true\norder = ["decay", "arrive", "membrane"]'
    )
    order = ("decay", "arrive", "membrane")
    mine = Profile(name="mine", weight_bits=4, rounding="down", dt=1, strict=True, order=order)
    assert as_profile(str(path)) == mine
    assert some_network().quantise(str(path), dt=1.0).connections[0].weight.max() <= 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight_bit = 4", "has a line 'weight_bit'.*weight_bits"),
        ('weight_bits = "4"', "weight_bits = '4' is not of type int"),
        ("symmetric = 1", "symmetric = 1 is not of type bool"),
        ("weight_bits = 40", "must be a whole number from 2 to 16"),
        ("order = 3", "order must have each of"),
        ('order = ["arrive", 3, "decay"]', "order must have each of"),
        ("weight_bits =", "cannot be read"),
    ],
)
def test_a_file_that_is_no_profile_says_why(text, message, tmp_path):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(NetworkError, match=message) as error:
        as_profile(str(tmp_path / "mine.toml"))
    assert "\n" not in str(error.value)
    with pytest.raises(NetworkError, match="none.toml cannot be read"):
        as_profile(str(tmp_path / "none.toml"))


def test_currents_and_shared_weights_are_refused():
    net = Network()
    hidden = net.population(LIF(), 3, "hidden")
    net.connect(net.current(2), hidden, Dense(Normal(1.0, 1.0)))
    with pytest.raises(NetworkError, match="take spikes, not currents"):
        net.quantise("int8")
    net = Network()
    inputs, hidden = net.input(2), net.population(LIF(), 2, "hidden")
    first = net.connect(inputs, hidden, Dense(Normal(1.0, 1.0)))
    net.connect(inputs, hidden, share=first, name="again", delay=2.0)
    with pytest.raises(NetworkError, match="do not share weights"):
        net.quantise("int8")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rounding": "up"}, "rounding='up'"),
        ({"state_bits": 33}, "state_bits must be a whole number from 4 to 32"),
        ({"order": ("arrive", "decay")}, "order must have each of"),
        ({"arrivals": "each", "order": ("decay", "arrive", "membrane")}, "order must begin with 'arrive'"),
        ({"state_bits": 6, "threshold_shift": 6}, "no threshold fits into 6 bits with threshold_shift=6"),
        ({"decay": "shift"}, "decay_bits must be a whole number from 1 to 4"),
    ],
)
def test_a_profile_that_no_machine_has(settings, message):
    with pytest.raises(NetworkError, match=message):
        Profile(name="mine", **settings)


def test_every_threshold_can_be_reached():
    mine = Profile(name="mine", headroom=1, strict=True)
    assert some_network().quantise(mine).populations[0].threshold.max() <= mine.state_max


def test_profiles_by_name_and_as_they_are():
    assert as_profile("xylo") is PROFILES["xylo"]
    mine = Profile(name="mine")
    assert as_profile(mine) is mine


def test_input_and_readouts_are_checked():
    network = some_network().quantise("int8")
    with pytest.raises(NetworkError, match=r"shape \(samples, steps, 2\)"):
        simulate(network, np.zeros((1, 5, 3), np.uint8))
    with pytest.raises(NetworkError, match="no readout 'mean'"):
        network.reading("hidden", "mean")
    with pytest.raises(NetworkError, match="a trial has 7 steps, the input has 5"):
        simulate(network.reading("hidden", "count", 7), np.zeros((1, 5, 2), np.uint8))
    with pytest.raises(NetworkError, match="a trial has one or more steps, the input has 0"):
        simulate(network, np.zeros((1, 0, 2), np.uint8))
    with pytest.raises(NetworkError, match="n_steps must be an integer >= 0, got -3"):
        network.reading("hidden", "count", -3)
    with pytest.raises(NetworkError, match="weights of a readout must be finite"):
        network.reading("hidden", "integral", 2, np.array([1.0, np.nan]))
    with pytest.raises(NetworkError, match="dt must be a finite number > 0, got -1"):
        some_network().quantise("int8", dt=-1.0)
    with pytest.raises(NetworkError, match="never spikes"):
        some_network(LI).quantise("int8").reading("hidden", "count")


def test_the_page_of_integer_networks_runs():
    names = {}
    for block in blocks("docs/integer_networks.md"):
        if block.language == "python":
            exec(compile(block.text, "docs/integer_networks.md", "exec"), names)
    assert names["trial"].spikes["hidden"].sum() > 0 and names["mine"].weight_bits == 4
