"""Networks, parameters and initialisers: what they hold, what they draw, what they refuse."""

import numpy as np
import pytest

from genn_eventprop import Dense, FanIn, Gamma, Network, NeuronModel, Normal, Param, Uniform
from genn_eventprop.errors import NetworkError
from genn_eventprop.modelling import Array, Constant
from genn_eventprop.modelling.parameters import as_initialiser
from genn_eventprop.models.li import LI
from genn_eventprop.models.lif import LIF


def small(connectivity=None, hidden=None, **connect):
    net = Network()
    inp = net.input(5)
    hid = net.population(hidden or LIF(), 3, name="hidden")
    net.connect(inp, hid, connectivity or Dense(Normal(1.0, 0.5)), **connect)
    return net


def draw(initialiser, shape=(200, 300), fan_in=200):
    return initialiser.sample(np.random.default_rng(1), shape, fan_in)


def test_distributions_have_their_moments():
    assert np.all(draw(Constant(0.3)) == 0.3)
    normal, uniform, fan_in = draw(Normal(1.5, 0.78)), draw(Uniform(-1.0, 3.0)), draw(FanIn(gain=2.0, mean=4.0))
    assert normal.mean() == pytest.approx(1.5, abs=0.02) and normal.std() == pytest.approx(0.78, abs=0.01)
    assert uniform.min() >= -1.0 and uniform.max() < 3.0 and uniform.mean() == pytest.approx(1.0, abs=0.02)
    assert uniform.std() == pytest.approx(4.0 / np.sqrt(12.0), abs=0.02)
    assert fan_in.mean() == pytest.approx(4.0 / 200, abs=2e-3)
    assert fan_in.std() == pytest.approx(2.0 / np.sqrt(200), rel=0.02)
    gamma = draw(Gamma(20.0, low=3.0, high=60.0))
    assert gamma.min() >= 3.0 and gamma.max() == 60.0 and gamma.mean() == pytest.approx(19.6, abs=0.3)


def test_arrays_are_copied_and_their_shape_is_checked():
    values = np.arange(15.0).reshape(5, 3)
    net = small(Dense(values))
    weights = net.initial_parameters(0)["input_hidden.weight"]
    np.testing.assert_array_equal(weights, values)
    weights[0, 0] = 99.0
    assert values[0, 0] == 0.0
    with pytest.raises(NetworkError, match=r"input_hidden.weight: .*\(3, 5\) was given where \(5, 3\).*rows.*'input'"):
        small(Dense(values.T)).initial_parameters(0)
    with pytest.raises(NetworkError, match=r"hidden.tau_mem: an array of shape \(4,\) was given where \(3,\)"):
        small(hidden=LIF(tau_mem=np.full(4, 20.0))).initial_parameters(0)


def test_every_entry_has_a_random_stream_of_its_own():
    """Another population and another connection change no draw of what was there; another seed changes all."""
    base = small(hidden=LIF(tau_mem=Gamma(20.0, low=3.0)))
    more = small(hidden=LIF(tau_mem=Gamma(20.0, low=3.0)))
    extra = more.population(LIF(tau_mem=Gamma(20.0, low=3.0)), 4, name="extra")
    more.connect(more.populations[0], extra, Dense(Normal(0.0, 1.0)))
    a, b, c = base.initial_parameters(7), more.initial_parameters(7), base.initial_parameters(8)
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])
    assert not np.array_equal(a["input_hidden.weight"], c["input_hidden.weight"])
    assert not np.array_equal(b["hidden.tau_mem"], b["extra.tau_mem"][:3])
    np.testing.assert_array_equal(
        base.initial_parameters(np.int64(7))["hidden.tau_mem"], a["hidden.tau_mem"]
    )  # fmt: skip
    generators = [base.initial_parameters(np.random.default_rng(3))["hidden.tau_mem"] for _ in range(2)]
    np.testing.assert_array_equal(*generators)
    with pytest.raises(NetworkError, match="random seed must be an integer >= 0, got -1"):
        base.initial_parameters(-1)


def test_shapes_say_who_shares_a_parameter():
    spread = LIF(
        tau_mem=Param(20.0, trainable=True),
        tau_syn=Param(5.0, trainable=True, shared=True),
        v_thresh=np.array([1.0, 1.1, 1.2]),
        v_reset=Uniform(-0.1, 0.0),
    )
    net = small(hidden=spread)
    shapes = {k: v.shape for k, v in net.initial_parameters(0).items()}
    assert shapes == {
        "input_hidden.weight": (5, 3), "hidden.tau_mem": (3,), "hidden.tau_syn": (1,), "hidden.v_thresh": (3,),
        "hidden.v_reset": (3,),
    }  # fmt: skip
    assert small().initial_parameters(0)["hidden.tau_mem"].shape == (1,)
    assert net.trainable() == ("input_hidden.weight", "hidden.tau_mem", "hidden.tau_syn")
    assert small(trainable=False).trainable() == ()
    assert net.populations[0].neuron.params["tau_syn"].unit == "ms"  # kept although the new Param names none


def test_bounds_are_named_and_start_values_must_keep_them():
    hidden = LIF(tau_mem=Param(20.0, "ms", trainable=True, bounds=(3.0, None)))
    net = small(Dense(Normal(0.0, 1.0), bounds=(None, 2.0)), hidden)
    assert net.bounds() == {"input_hidden.weight": (None, 2.0), "hidden.tau_mem": (3.0, None)}
    low = small(hidden=LIF(tau_mem=Param(Uniform(1.0, 2.0), "ms", bounds=(3.0, None))))
    with pytest.raises(
        NetworkError, match=r"hidden.tau_mem: the initial value 1\.\S+ to 1\.\S+ lies outside the bounds"
    ):
        low.initial_parameters(0)
    with pytest.raises(
        NetworkError, match=r"hidden.tau_mem: the initial value 2 lies outside the bounds \(None, 1\.0\)"
    ):
        small(hidden=LIF(tau_mem=Param(2.0, bounds=(None, 1.0)))).initial_parameters(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: small(hidden=LIF(tau_mem=-20.0)),
            r"LIF: tau_mem: a time constant must be positive, got -20 ms; give a number above 0",
        ),
        (lambda: small(hidden=LIF(tau_syn=0.0)), r"LIF: tau_syn: a time constant must be positive, got 0 ms"),
        (lambda: small(hidden=LIF(tau_mem=[20.0, -1.0, 5.0])), r"LIF: tau_mem: .*positive, got -1 ms"),
        (lambda: small(hidden=LIF(v_thresh="one")), r"LIF: v_thresh: expected a number.*got 'one'"),
        (lambda: small(hidden=LIF(v_thresh=float("nan"))), r"LIF: v_thresh: values must be finite"),
        (lambda: small(Dense([[1.0, np.inf, 0.0]])), r"Dense: values .*; 1 of 3 are not, the first is inf at \[0, 1\]"),
        (lambda: small(Dense("normal")), r"Dense: expected a number, an array or an initialiser, got 'normal'"),
    ],
)
def test_wrong_values_name_the_parameter(make, message):
    with pytest.raises(NetworkError, match=message):
        make().initial_parameters(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normal(0.0, -1.0), "Normal: .*std >= 0, got 0.0 and -1.0"),
        (lambda: Normal(np.nan, 1.0), "Normal: needs a finite mean"),
        (lambda: Uniform(1.0, 0.0), "Uniform: needs finite low <= high, got 1.0 and 0.0"),
        (lambda: FanIn(gain=-1.0), "FanIn: .*gain >= 0"),
        (lambda: Gamma(-5.0), "Gamma: mean and shape must be positive"),
        (lambda: Gamma(5.0, shape=0.0), "Gamma: mean and shape must be positive"),
        (lambda: Gamma(5.0, low=7.0, high=6.0), "Gamma: low must not exceed high"),
    ],
)
def test_wrong_distributions_are_refused_when_written(make, message):
    with pytest.raises(NetworkError, match=message):
        make()


def test_numbers_and_arrays_become_initialisers():
    assert as_initialiser(2, "here") == Constant(2.0)
    assert isinstance(as_initialiser([1.0, 2.0], "here"), Array)
    normal = Normal(0.0, 1.0)
    assert as_initialiser(normal, "here") is normal


def parts():
    net = Network()
    return net, net.input(5), net.population(LIF(), 3, name="hidden"), net.population(LI(), 2, name="output")


def test_wrong_connections_say_what_and_where():
    net, inp, hidden, output = parts()
    other = parts()[2]
    dense = Dense(1.0)
    two = net.population(
        NeuronModel("Two", {"V": 0.0}, {}, {"V": "-V"}, input={"exc": "V", "inh": "V"}), 2, name="two"
    )  # fmt: skip
    deaf = net.population(NeuronModel("Deaf", {"V": 0.0}, {}, {"V": "-V"}), 2, name="deaf")
    cases = [
        (lambda: net.connect(other, hidden, dense), r"connection 'hidden_hidden': its source is not part of"),
        (lambda: net.connect(inp, other, dense), r"connection 'input_hidden': its target is not a population"),
        (lambda: net.connect(hidden, inp, dense), r"connection 'hidden_input': its target 'input' is an input.* swap"),
        (lambda: net.connect(output, hidden, dense), r"connection 'output_hidden': 'output' \(LI\) never spikes"),
        (lambda: net.connect(inp, hidden, Normal(0, 1)), r"expected Dense\(...\), got Normal"),
        (lambda: net.connect(inp, hidden, dense, delay=-1.0), r"delay must be a finite time >= 0 ms, got -1.0"),
        (lambda: net.connect(inp, hidden, dense, delay=np.inf), r"delay must be a finite time >= 0 ms, got inf"),
        (lambda: net.connect(inp, hidden, dense, delay="1"), r"delay must be a finite time >= 0 ms, got '1'"),
        (lambda: net.connect(inp, deaf, dense), r"Deaf takes no input; give its NeuronModel input=..."),
        (lambda: net.connect(inp, two, dense), r"connection 'input_two': give receptor=, one of exc, inh"),
        (lambda: net.connect(inp, two, dense, receptor="ex"), r"no receptor 'ex'; one of exc, inh"),
        (lambda: net.connect(inp, hidden, dense, name="hidden"), r"the name 'hidden' is taken; .*choose another"),
        (lambda: net.connect("input", hidden, dense), r"connect: the source is the name 'input'; give the object that"),
    ]  # fmt: skip
    for make, message in cases:
        with pytest.raises(NetworkError, match=message):
            make()
    assert not net.connections
    first = net.connect(inp, hidden, dense)
    assert (first.name, first.shape, first.receptor, first.delay) == ("input_hidden", (5, 3), "input", 0.0)
    with pytest.raises(NetworkError, match="the name 'input_hidden' is taken"):
        net.connect(inp, hidden, dense)


def test_wrong_populations_say_what_and_where():
    net = parts()[0]
    for size in (0, -3, 2.5, True, "3"):
        with pytest.raises(NetworkError, match="'more': the size must be an integer >= 1, got"):
            net.population(LIF(), size, name="more")
    with pytest.raises(
        NetworkError, match=r"population 'more': expected a neuron such as LIF\(\), got 'LIF'; the neuron"
    ):
        net.population("LIF", 3, name="more")
    with pytest.raises(NetworkError, match="the name 'hidden' is taken"):
        net.population(LIF(), 3, name="hidden")
    for name in ("two words", "größe", "1st"):
        with pytest.raises(NetworkError, match="cannot name a part of a network; use ASCII letters"):
            net.population(LIF(), 3, name=name)
    with pytest.raises(NetworkError, match="the name 'hidden' is taken"):
        net.input(3, name="hidden")
    assert net.population(LIF, np.int64(3), name="bare").size == 3


def test_bounds_hold_from_the_start():
    for bounds, message in ((3.0, "bounds are a pair"), ((1.0, 0.0), "the wrong way round")):
        with pytest.raises(NetworkError, match=message):
            Dense(0.5, bounds=bounds)
        with pytest.raises(NetworkError, match=message):
            Param(0.5, bounds=bounds)
    net = Network()
    source, target = net.input(40), net.population(LIF(), 30, name="target")
    net.connect(source, target, Dense(Normal(0.1, 0.3), bounds=(0.0, 0.2)))
    weight = net.initial_parameters(1)["input_target.weight"]
    assert weight.min() == 0.0 and weight.max() == 0.2
    given = Network()
    given.connect(given.input(2), given.population(LIF(), 1, name="target"), Dense(5.0, bounds=(0.0, 1.0)))
    with pytest.raises(NetworkError, match="input_target.weight: given weights of 5 to 5 lie outside the bounds"):
        given.initial_parameters(1)
