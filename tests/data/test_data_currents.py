"""Currents: what is refused and how, samples, parts, files; and several inputs in one data set."""

import json

import numpy as np
import pytest

from genn_eventprop import Currents, Events, Inputs
from genn_eventprop.data.currents import storage
from genn_eventprop.data.currents.encode import constant
from genn_eventprop.data.inputs import require_data, split_inputs, with_targets
from genn_eventprop.errors import DataError

FIELDS = ("values", "dt", "labels", "groups", "n_classes", "name", "targets")


def some_currents(seed=0, n=6, steps=5, channels=3, dt=2.0, **annotations):
    rng = np.random.default_rng(seed)
    default = {
        "labels": rng.integers(-1, 4, n), "groups": rng.choice(["ann", "bob"], n), "n_classes": 5, "name": "some",
        "targets": {"speaker": rng.integers(0, 3, n), "place": rng.uniform(size=(n, 2))},
    }  # fmt: skip
    return Currents(rng.normal(size=(n, steps, channels)).astype(np.float32), dt, **(default | annotations))


def assert_same(a, b):
    for field in FIELDS:
        x, y = getattr(a, field), getattr(b, field)
        assert (x is None) == (y is None), field
        assert np.array_equal(x, y), field


def wrong(value):
    values = np.zeros((4, 3, 2))
    values[2, 1, 1] = value
    return values


@pytest.mark.parametrize(
    "values, dt, message",
    [
        (wrong(np.nan), 1, "sample 2, step 1, channel 1 is nan; currents must be finite"),
        (wrong(-np.inf), 1, r"sample 2, step 1, channel 1 is -inf \(or too large"),
        (wrong(1e300), 1, r"is inf \(or too large for float32\)"),
        (np.zeros((4, 3)), 1, r"got shape \(4, 3\); one channel: array\[:, :, None\]"),
        (np.zeros((4, 3, 2, 2)), 1, r"flatten the axes of the channels"),
        (np.zeros((4, 0, 2)), 1, "at least one step and channel"),
        (np.zeros((4, 3, 0)), 1, "at least one step and channel"),
        (np.zeros((4, 3, 2), complex), 1, "are complex; currents are real: give array.real"),
        (np.full((4, 3, 2), "a"), 1, "must be real numbers, got dtype <U1"),
        (np.zeros((4, 3, 2), object), 1, "must be real numbers, got dtype object"),
        (np.zeros((4, 3, 2)), 0, "dt is the positive length of a step in ms, got 0"),
        (np.zeros((4, 3, 2)), np.inf, "dt is the positive length"),
        (np.zeros((4, 3, 2)), np.nan, "dt is the positive length"),
        (np.zeros((4, 3, 2)), True, "dt is the positive length"),
        (np.zeros((4, 3, 2)), "1 ms", "dt is the positive length"),
    ],
)
def test_what_is_no_current_is_refused(values, dt, message):
    with pytest.raises(DataError, match=message):
        Currents(values, dt)


def test_annotations_are_those_of_events():
    with pytest.raises(DataError, match="3 labels for 2 samples"):
        Currents(np.zeros((2, 1, 1)), 1, labels=[0, 1, 2])
    with pytest.raises(DataError, match="one-dimensional, got shape"):
        Currents(np.zeros((2, 1, 1)), 1, labels=[[0, 1], [1, 0]])
    with pytest.raises(DataError, match="given twice"):
        Currents(np.zeros((1, 1, 1)), 1, labels=[0], targets={"label": [0]})
    both = Currents(np.zeros((2, 1, 1)), 1, targets={"label": [1, 0], "speaker": [0, -1]})
    assert both.labels.tolist() == [1, 0] and both.targets["speaker"].tolist() == [0, -1] and both.n_classes == 2


def test_values_are_float32_and_read_only():
    for dtype in (np.uint8, bool, np.float64, np.int32):
        currents = Currents(np.ones((2, 3, 1), dtype), 0.5)
        assert currents.values.dtype == np.float32 and currents.duration == 1.5
        with pytest.raises(ValueError, match="read-only"):
            currents.values[0, 0, 0] = 2
    assert len(Currents(np.zeros((0, 3, 1)), 1)) == 0


def test_samples_are_chosen_as_in_events():
    currents = some_currents()
    for index in (slice(1, 4), [4, 1, 1], np.arange(6) % 2 == 0, -1, slice(None, None, -2)):
        part, places = currents[index], np.atleast_1d(np.arange(6)[index])
        assert np.array_equal(part.values, currents.values[places]) and part.dt == 2.0 and part.n_classes == 5
        assert part.labels.tolist() == currents.labels[places].tolist()
        assert part.groups.tolist() == currents.groups[places].tolist()
        assert np.array_equal(part.targets, currents.targets[places])
    assert np.shares_memory(currents[1:3].values, currents.values)
    assert [len(sample) for sample in currents] == [1] * 6
    with pytest.raises(DataError, match="no sample 6"):
        currents[6]


def test_samples_of_different_length_end_with_zeros():
    currents = Currents.from_samples([np.ones((3, 2)), np.ones((1, 2)), np.ones((0, 2))], 1.0, labels=[0, 1, 0])
    assert currents.values[:, :, 1].tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    with pytest.raises(DataError, match=r"sample 1 has shape \(1, 3\); every sample is an array \(steps, 2\)"):
        Currents.from_samples([np.ones((3, 2)), np.ones((1, 3))], 1.0)
    with pytest.raises(DataError, match="sample 0: the values are complex"):
        Currents.from_samples([np.ones((3, 2), complex)], 1.0)
    with pytest.raises(DataError, match="no samples"):
        Currents.from_samples([], 1.0)


def test_constant_currents_are_one_value():
    images = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
    currents = Currents.constant(images, 20.0, labels=[0, 1])
    assert currents.values.shape == (2, 1, 6) and currents.duration == 20.0
    assert currents.values[1, 0].tolist() == [6, 7, 8, 9, 10, 11]
    scaled = constant(images, [0, 1], duration=5.0, gain=2.0, n_classes=3)
    assert np.allclose(scaled.values, currents.values * 2 / 255) and scaled.n_classes == 3 and scaled.dt == 5.0
    with pytest.raises(DataError, match="an array \\(samples, channels\\), or images"):
        Currents.constant(np.zeros(3), 1.0)


def test_crop_takes_whole_steps():
    currents = some_currents(steps=5, dt=0.1)
    assert np.array_equal(currents.crop(0.1, 0.3).values, currents.values[:, 1:3])
    assert currents.crop(0.2).n_steps == 3 and currents.crop(0, 99).n_steps == 5
    with pytest.raises(DataError, match="start must be a whole number of steps of 0.1 ms, got 0.15"):
        currents.crop(0.15)
    with pytest.raises(DataError, match="nothing is left"):
        currents.crop(0.3, 0.3)


def test_concatenate():
    a, b = some_currents(0), some_currents(1)
    both = Currents.concatenate([a, b])
    assert np.array_equal(both.values, np.concatenate([a.values, b.values])) and len(both.targets) == 12
    with pytest.raises(DataError, match="part 1 is 4 steps of 2 ms, 3 channels, part 0 5 steps of 2 ms, 3 channels"):
        Currents.concatenate([a, some_currents(1, steps=4)])
    with pytest.raises(DataError, match="only one of them has labels"):
        Currents.concatenate([a, some_currents(1, labels=None)])
    with pytest.raises(DataError, match="nothing to concatenate"):
        Currents.concatenate([])


@pytest.mark.parametrize("name", ["currents.npz", "folder"])
@pytest.mark.parametrize("annotated", [True, False])
def test_what_is_saved_is_loaded(tmp_path, name, annotated):
    currents = some_currents() if annotated else Currents(np.ones((2, 3, 4)), 0.25, name="plain")
    currents.save(tmp_path / "deep" / name)
    assert_same(Currents.load(tmp_path / "deep" / name), currents)
    some_currents(1).save(tmp_path / "deep" / name)  # replaces
    assert_same(Currents.load(tmp_path / "deep" / name), some_currents(1))
    assert [p.name for p in (tmp_path / "deep").iterdir()] == [name]


def test_folder_is_mapped_and_slices_stay_on_disk(tmp_path):
    some_currents().save(tmp_path / "set")
    currents = Currents.load(tmp_path / "set")
    assert currents.mapped and currents[2:4].mapped and currents.crop(0, 4).mapped and not currents[[3, 1]].mapped
    assert not Currents.load(tmp_path / "set", mmap=False).mapped
    with pytest.raises(ValueError, match="read-only"):
        currents.values[0, 0, 0] = 1
    some_currents()[:0].save(tmp_path / "empty")
    assert len(Currents.load(tmp_path / "empty")) == 0


def test_mapped_values_are_not_converted_in_memory(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 3, 1)))
    with pytest.raises(DataError, match="mapped values must be float32, got float64; convert them once"):
        Currents(np.load(tmp_path / "x.npy", mmap_mode="r"), 1.0)
    np.save(tmp_path / "y.npy", np.ones((2, 3, 1), np.float32))
    assert Currents(np.load(tmp_path / "y.npy", mmap_mode="r"), 1.0).mapped


def test_written_a_piece_at_a_time(tmp_path):
    currents = some_currents()
    with storage.CurrentsWriter(tmp_path / "set", 5, 3, 2.0, "some") as writer:
        writer.append(currents.values[:2].astype(np.float64))
        writer.append(currents.values[2])
        writer.append(currents.values[3:])
        with pytest.raises(DataError, match=r"sample 6 must be \(5, 3\) real numbers, got \(5, 2\) float64"):
            writer.append(np.zeros((5, 2)))
        writer.finish(currents.labels, currents.groups, currents.targets, 5)
    assert_same(Currents.load(tmp_path / "set"), currents)
    with pytest.raises(RuntimeError), storage.CurrentsWriter(tmp_path / "half", 1, 1, 1.0) as writer:
        raise RuntimeError
    with storage.CurrentsWriter(tmp_path / "bad", 1, 1, 1.0) as writer:
        writer.append(np.array([[[1.0]], [[1e300]]]))
        writer.finish()
    with pytest.raises(DataError, match="sample 1, step 0, channel 0 is inf"):
        Currents.load(tmp_path / "bad")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad", "set"]


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda f: (f / "values.f4").write_bytes((f / "values.f4").read_bytes()[:-4]), "missing or not 360 bytes long"),
        (lambda f: (f / "values.f4").unlink(), "missing or not 360 bytes"),
        (lambda f: flip(f / "values.f4"), "do not match its checksum"),
        (lambda f: flip(f / "samples.npz"), "samples.npz"),
        (lambda f: (f / "currents.json").write_text("{"), "not a folder of currents"),
        (lambda f: edit(f, steps=-1), "must say samples, steps and channels"),
        (lambda f: edit(f, format="genn_eventprop currents 9"), "write the folder again"),
        (lambda f: edit(f, dt="1"), "dt must be one number"),
        (lambda f: edit(f, dt=1.0), "currents.json is damaged"),
        (lambda f: edit(f, name=3), "name is 3"),
        (lambda f: (f / "samples.npz").unlink(), "no such file"),
    ],
)
def test_damage_is_noticed(tmp_path, damage, message):
    some_currents().save(tmp_path / "set")
    damage(tmp_path / "set")
    with pytest.raises(DataError, match=message) as error:
        Currents.load(tmp_path / "set")
    assert str(error.value).startswith(str(tmp_path))


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def edit(folder, **facts):
    record = json.loads((folder / "currents.json").read_text())
    (folder / "currents.json").write_text(json.dumps(record | facts))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file or folder of currents"):
        Currents.load(tmp_path / "nothing")
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with pytest.raises(DataError, match="no array dt, values"):
        Currents.load(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", values=np.zeros((1, 1, 1)), dt=np.zeros(3))
    with pytest.raises(DataError, match="dt must be one number"):
        Currents.load(tmp_path / "y.npz")
    Events.from_samples([([1.0], [0])], 1).save(tmp_path / "events")
    with pytest.raises(DataError, match="is no folder of currents|no file of currents"):
        some_currents().save(tmp_path / "events")
    some_currents().save(tmp_path / "currents")
    with pytest.raises(DataError, match="no file of events"):
        Events.from_samples([([1.0], [0])], 1).save(tmp_path / "currents")


# several inputs


def some_events(n=6, channels=4, **annotations):
    rng = np.random.default_rng(5)
    samples = [(np.sort(rng.uniform(0, 9, k)), rng.integers(0, channels, k)) for k in rng.integers(0, 5, n)]
    return Events.from_samples(samples, channels, **annotations)


def test_inputs_are_one_data_set():
    events, currents = some_events(), some_currents()
    data = Inputs({"touch": events, "stim": currents})
    assert len(data) == 6 and data.labels is currents.labels and data.name == "some" and not data.mapped
    part = data[[4, 0]]
    assert part["touch"].times.tolist() == events[[4, 0]].times.tolist()
    assert np.array_equal(part["stim"].values, currents.values[[4, 0]])
    assert part.labels.tolist() == currents.labels[[4, 0]].tolist() and part.n_classes == 5
    assert part.targets["speaker"].tolist() == currents.targets["speaker"][[4, 0]].tolist()
    assert [len(sample) for sample in data] == [1] * 6
    with pytest.raises(DataError, match="no input 'stin' in the data \\(did you mean 'stim'"):
        data["stin"]


@pytest.mark.parametrize(
    "parts, message",
    [
        ({}, "dictionary of inputs is empty"),
        ({"a": np.zeros((2, 3, 1))}, r"input 'a' must be Events \(spikes\) or Currents, got ndarray of shape"),
        ({"a": some_currents(), "b": some_events(5)}, "all inputs need the same samples, got {'a': 6, 'b': 5}"),
        ({"a": some_currents(), "b": some_events(labels=[0] * 6)}, "inputs: the parts have different labels"),
    ],
)
def test_what_is_no_data_set_of_inputs(parts, message):
    with pytest.raises(DataError, match=message):
        Inputs(parts)


def test_a_network_gets_spikes_side_by_side_and_currents_by_name():
    currents, touch, audio = some_currents(), some_events(), some_events(channels=2)
    data = {"audio": audio, "stim": currents, "touch": touch}
    spikes, by_name = split_inputs(data, {"touch": 4, "audio": 2}, {"stim": 3})
    assert spikes.n_channels == 6 and by_name == {"stim": currents}
    assert np.array_equal(spikes.labels, currents.labels)
    assert spikes.counts.tolist() == (touch.counts + audio.counts).tolist()
    assert spikes.sample(1)[1].max() >= 4  # those of audio follow those of touch
    assert spikes.targets["speaker"].tolist() == currents.targets["speaker"].tolist()

    spikes, by_name = split_inputs(currents, {}, {"stim": 3})
    assert len(spikes) == 6 and len(spikes.times) == 0 and spikes.n_channels == 0
    assert np.array_equal(spikes.labels, currents.labels)
    assert by_name["stim"] is currents
    assert split_inputs(touch, {"touch": 4}, {}) == (touch, {})
    assert split_inputs({"touch": touch}, {"touch": 4}, {})[0].times is not None


@pytest.mark.parametrize(
    "data, message",
    [
        (some_events(), "the data are spikes alone, but the network has the inputs touch, stim; give a dictionary"),
        (some_currents(), "the data are currents alone, .* {'touch': Events, 'stim': Currents}"),
        ({"touch": some_events()}, "no input 'stim' in the data"),
        ({"touch": some_events(), "stin": some_currents()}, "the data has the input 'stin', the network has not"),
        ({"touch": some_currents(), "stim": some_currents()}, "'touch' of the network takes spikes, the data has cur"),
        ({"touch": some_events(), "stim": some_events()}, "'stim' of the network takes currents, the data has spikes"),
        ({"touch": some_events(channels=3), "stim": some_currents()}, r"3 channels for 'touch'.*net.input\(3"),
        ({"touch": some_events(), "stim": some_currents(channels=1)}, r"1 channels for 'stim'.*net.current\(1"),
    ],
)
def test_data_that_do_not_fit_the_network(data, message):
    with pytest.raises(DataError, match=message):
        split_inputs(data, {"touch": 4}, {"stim": 3})


def test_data_sets_are_recognised():
    events, currents = some_events(), some_currents()
    for data in (events, currents, Inputs({"stim": currents})):
        assert require_data(data, "training set") is data
        replaced = with_targets(data, np.ones((6, 2)))
        assert replaced.targets.shape == (6, 2) and len(replaced) == 6
        assert np.array_equal(replaced.labels, data.labels) if data.labels is not None else replaced.labels is None
    assert isinstance(require_data({"stim": currents}, "training set"), Inputs)
    with pytest.raises(DataError, match="the training set must be Events"):
        require_data(np.zeros((3, 2, 1)), "training set")
