"""The C file of an integer network: NumPy's results bit for bit, here and on a Cortex-M4, and nothing but integers."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from genn_eventprop import Conv2D, Dense, Network, Normal, OneToOne, Pool2D, Uniform
from genn_eventprop.errors import NetworkError
from genn_eventprop.integer import PROFILES, Profile, integer_file, simulate
from genn_eventprop.integer.c_file import table_values
from genn_eventprop.integer.compiled import CompiledNetwork
from genn_eventprop.models import LI, LIF
from support import microcontroller
from support.extras import needs
from support.integer_networks import differences, draw, draw_for_xylo, run_xylosim

MINE = Profile(
    name="mine", weight_bits=4, state_bits=7, decay_bits=8, rounding="down", order=("membrane", "decay", "arrive"),
    reset="subtract", gain="shift", gain_limit=3, headroom=1,
)  # fmt: skip


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_c_and_numpy_are_equal_bit_for_bit(profile):
    """benchmarks/integer_networks.py compares a thousand of every profile."""
    busy = 0
    for seed in range(3):
        network, counts = draw(profile, seed)
        compiled = CompiledNetwork(network)
        ours = simulate(network, counts, record=True)
        assert not differences(ours, compiled.run(counts, record=True)), seed
        assert compiled.ram == integer_file(network).ram
        busy += sum(int(s.sum()) for s in ours.spikes.values())
    assert busy > 100


def test_a_profile_of_one_s_own():
    cut = 0
    for seed in range(3):
        network, counts = draw(MINE, seed)
        ours = simulate(network, counts, record=True)
        assert not differences(ours, CompiledNetwork(network).run(counts, record=True))
        cut += ours.limited.sum()
    assert cut > 0


def crowded(profile, **neuron):
    """(a network whose arrivals of one step are far beyond its states, input of 255 spikes a channel)."""
    net = Network()
    hidden = net.population(LIF(**neuron), 2, "hidden")
    net.connect(net.input(40), hidden, Dense(Normal(20.0, 0.1)))
    return net.quantise(profile, dt=1.0), np.full((1, 6, 40), 255, np.uint8)


@pytest.mark.parametrize(
    ("profile", "neuron"),
    [
        ("int8", {}),
        ("loihi2", {}),
        (Profile(name="mine", state_bits=8, overflow="wrap"), {}),
        ("int8", {"v_reset": -2000.0}),
    ],
)
def test_what_is_far_beyond_the_bits_is_the_same_in_c(profile, neuron):
    network, counts = crowded(profile, **neuron)
    ours, p = simulate(network, counts, record=True), network.profile
    assert not differences(ours, CompiledNetwork(network).run(counts, record=True))
    reached = np.abs([ours.V["hidden"], ours.I["hidden"]])
    assert reached.max() <= p.state_max + 1
    assert network.populations[0].reset.min() >= p.state_min


def test_large_populations_need_no_matrix_and_wider_tables():
    net, size = Network(), 70_000
    net.connect(net.input(size), net.population(LIF(), size, "hidden"), OneToOne(1.0))
    network = net.quantise("int8", dt=1.0)
    tables = {name: (values, kind) for name, values, kind in table_values(network)}
    values, kind = tables["c0_post"]
    assert kind == "uint32_t" and values.max() == size - 1


def image_network(tau_mem=20.0):
    net = Network()
    a, b = (
        net.population(LIF(tau_mem=tau_mem), shape=shape, name=n) for n, shape in (("a", (6, 6, 4)), ("b", (3, 3, 4)))
    )
    output = net.population(LI(), 3, "output")
    net.connect(net.input(shape=(8, 8, 2)), a, Conv2D(Normal(0.5, 0.5), 3, 4))
    net.connect(a, b, Pool2D(2, 3.0))
    net.connect(a, a, OneToOne(-0.2), delay=2.0)
    net.connect(b, output, Dense(Normal(0.0, 0.3)))
    return net


def test_convolutions_and_pooling_share_their_weights():
    net = image_network()
    network = net.quantise("int8", net.initial_parameters(1), dt=1.0).reading("output", "end", 30)
    assert [c.weight.size for c in network.connections] == [72, 1, 144, 108]
    counts = (np.random.default_rng(1).random((2, 30, 128)) < 0.1).astype(np.uint8)
    ours = simulate(network, counts, record=True)
    assert not differences(ours, CompiledNetwork(network).run(counts, record=True))
    assert ours.spikes["b"].sum() > 50
    varied = image_network(Uniform(10.0, 20.0))
    with pytest.raises(NetworkError, match="shares weights between neurons with different time constants"):
        varied.quantise("int8", varied.initial_parameters(1), dt=1.0)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_file_is_strict_c99_without_floats_memory_or_library(tmp_path):
    for k, profile in enumerate(sorted(PROFILES)):
        text = integer_file(draw(profile, k)[0]).text
        code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        assert not re.search(r"\b(float|double|malloc|calloc|math\.h)\b", code)
        assert re.findall(r"#include (\S+)", code) == ["<stdint.h>"]
        (tmp_path / "model.c").write_text(text)
        flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-c"]
        done = subprocess.run(["gcc", *flags, "model.c"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        needed = subprocess.run(["nm", "-u", "model.o"], cwd=tmp_path, capture_output=True, text=True).stdout.split()
        assert {n for n in needed if n != "U"} <= {"memset", "memcpy", "_GLOBAL_OFFSET_TABLE_"}


def test_comments_cannot_be_ended_by_a_title():
    text = integer_file(draw("int8", 0)[0], title="*/ int x; /*\nend").text
    assert "*/ int x" not in text and "* / int x; / *?end" in text


def test_spikes_and_states_are_those_of_xylosim():
    """benchmarks/integer_networks.py --xylosim compares a thousand."""
    xylosim = needs("xylosim.v2")
    for seed in range(20):
        network, counts = draw_for_xylo(seed)
        other = run_xylosim(xylosim, network, counts)
        ours = simulate(network, counts, record=True)
        assert [d for d in differences(ours, other) if d != "limited"] == [], seed  # which xylosim does not count


@pytest.mark.skipif(not microcontroller.available(), reason="needs gcc-arm-none-eabi and qemu-system-arm")
@pytest.mark.parametrize("profile", ["int8", "xylo"])
def test_a_cortex_m4_computes_the_same(profile, tmp_path):
    network, counts = draw(profile, 5)
    expected = simulate(network, counts)
    measured = microcontroller.run_on_cortex_m4(network, counts, tmp_path)
    np.testing.assert_array_equal(measured.sums, microcontroller.expected_sums(network, expected.spikes))
    np.testing.assert_array_equal(measured.classes, expected.classes)
    assert expected.spikes["output"].sum() or expected.spikes["h0"].sum()
    assert 0 < measured.ram <= integer_file(network).ram + 8
    assert measured.instructions > 100
