"""Currents: what is refused and how, samples, parts, files; and several inputs in one data set."""

import json

import h5py
import numpy as np
import pytest

from genn_eventprop import Currents, Events, Inputs
from genn_eventprop.data.audio.cochlea import Membrane
from genn_eventprop.data.audio.currents import hair_cells, mel, read_folder, wave
from genn_eventprop.data.audio.inner_ear import Ear
from genn_eventprop.data.augment import (
    Augmented,
    Blend,
    Dropout,
    Gain,
    Noise,
    ShiftChannels,
    ShiftTime,
)
from genn_eventprop.data.augment.counter import CounterRNG
from genn_eventprop.data.currents import storage
from genn_eventprop.data.currents.encode import constant
from genn_eventprop.data.inputs import require_data, split_inputs, with_targets
from genn_eventprop.data.readers.currents import from_spikes, read_hdf5, read_npy, read_npz
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
        (
            np.ma.masked_invalid(wrong(np.nan)),
            1,
            "a masked array, of which 1 numbers are hidden: leave them out, or arr",
        ),
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
        (lambda f: edit(f, steps=-1), "steps must be one integer >= 0, is '-1'"),
        (lambda f: edit(f, format="genn_eventprop currents 9"), "write the folder again"),
        (lambda f: edit(f, dt="1"), "dt must be one number"),
        (lambda f: edit(f, dt=1.0), "currents.json is damaged"),
        (lambda f: edit(f, name=3), "name must be one text, is '3'"),
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
        ({"touch": some_events(), "stin": some_currents()}, "the data has an input 'stin' that the network lacks"),
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


# augmentation


def test_augmentations_of_currents():
    ones = Currents(np.ones((50, 4, 3)), 5.0, labels=np.arange(50) % 2)
    rng = CounterRNG(1, 0, np.arange(50))
    by = Gain(0.5)(ones, rng).values
    assert np.ptp(by, axis=(1, 2)).max() == 0 and 0.6 < by.min() < 0.7 and 1.5 < by.max() < 1.65
    assert np.ptp(Gain(0.5, channels=True)(ones, rng).values, axis=2).min() > 0
    noise = Noise(0.2)(ones, rng).values - 1
    assert abs(noise.mean()) < 0.03 and abs(noise.std() - 0.2) < 0.02
    ramp = Currents(np.broadcast_to(np.arange(1, 5)[None, :, None], (50, 4, 3)), 5.0)
    moved = ShiftTime(10)(ramp, rng).values[:, :, 0]
    assert {tuple(row) for row in moved.tolist()} == {
        (3, 4, 0, 0), (2, 3, 4, 0), (1, 2, 3, 4), (0, 1, 2, 3), (0, 0, 1, 2)
    }  # fmt: skip
    assert np.array_equal(ShiftTime(4.9)(ramp, rng).values, ramp.values)  # less than a step
    across = Currents(np.broadcast_to([1, 2, 3], (50, 4, 3)), 5.0)
    rows = {tuple(row) for row in ShiftChannels(1)(across, rng).values[:, 2].tolist()}
    assert rows == {(2, 3, 0), (1, 2, 3), (0, 1, 2)}
    assert ShiftTime(1)(ones, rng).labels is ones.labels or np.array_equal(ShiftTime(1)(ones, rng).labels, ones.labels)
    for wrong_step in (lambda: Gain(-1), lambda: Noise(np.nan), lambda: ShiftTime(-1), lambda: ShiftChannels(1.5)):
        with pytest.raises(DataError, match="must be"):
            wrong_step()


@pytest.mark.parametrize("step", [Gain(), Gain(channels=True), Noise(), ShiftTime(4), ShiftChannels(1)])
def test_augmentation_depends_on_seed_epoch_and_sample_alone(step):
    train = Augmented(some_currents(), [step, step], seed=3)
    whole = train.epoch(2)
    for order in ([5, 0], [2], [3, 3]):
        assert np.array_equal(train.batch(order, 2).values, whole[order].values)
    assert not np.array_equal(whole.values, train.epoch(1).values)
    assert not np.array_equal(whole.values, Augmented(some_currents(), [step, step], seed=4).epoch(2).values)
    assert not np.array_equal(whole.values, Augmented(some_currents(), [step], seed=3).epoch(2).values)
    assert len(train.batch([], 0)) == 0


def test_several_inputs_are_augmented_each_by_its_own():
    currents, events = some_currents(), some_events()
    data = {"touch": events, "a": currents, "b": currents}
    train = Augmented(data, {"a": [Noise()], "b": [Noise()], "touch": [Dropout(0.5)]}, seed=1)
    batch = train.batch([4, 1], 0)
    assert isinstance(batch, Inputs) and len(batch) == 2 and batch.labels.tolist() == currents.labels[[4, 1]].tolist()
    assert not np.array_equal(batch["a"].values, batch["b"].values)
    assert np.array_equal(train.epoch(0)["a"].values[[4, 1]], batch["a"].values)
    assert train.epoch(0)["touch"].counts.sum() < events.counts.sum()
    assert np.array_equal(Augmented(data).batch([3], 0)["a"].values, currents.values[[3]])
    with pytest.raises(DataError, match="give a dictionary of steps"):
        Augmented(data, [Noise()])
    with pytest.raises(DataError, match="give a dictionary of steps"):
        Augmented(currents, {"stim": [Noise()]})
    with pytest.raises(DataError, match="no input 'c' in the data"):
        Augmented(data, {"c": [Noise()]})
    with pytest.raises(DataError, match="Noise is no augmentation of spikes; for these there are Affine"):
        Augmented(data, {"touch": [Noise()]})
    with pytest.raises(DataError, match="Dropout is no augmentation of currents; for these there are Gain, Noise"):
        Augmented(currents, [Dropout()])
    with pytest.raises(DataError, match="Blend mixes recordings of spikes"):
        Augmented(currents, [], Blend())


# files of arrays


def test_arrays_in_files(tmp_path):
    currents = some_currents()
    arrays = {"x": currents.values, "y": currents.labels, "who": currents.groups}
    np.save(tmp_path / "x.npy", currents.values)
    mapped = read_npy(tmp_path / "x.npy", 2.0, labels=currents.labels)
    assert mapped.mapped and np.array_equal(mapped.values, currents.values) and mapped.name == "x"
    assert not read_npy(tmp_path / "x.npy", 2.0, mmap=False).mapped
    np.savez(tmp_path / "x.npz", **arrays, dt=2.0)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for name, array in arrays.items():
            file[f"deep/{name}"] = array.astype("S") if array.dtype.kind == "U" else array
        file.attrs["dt"] = 2.0
    for read, at in ((lambda **s: read_npz(tmp_path / "x.npz", **s), ""),
                     (lambda **s: read_hdf5(tmp_path / "x.h5", **s), "deep/")):  # fmt: skip
        whole = read(values=at + "x", labels=at + "y", groups=at + "who")
        assert np.array_equal(whole.values, currents.values) and whole.labels.tolist() == currents.labels.tolist()
        assert whole.groups.tolist() == currents.groups.tolist() and whole.dt == 2.0
        bare = read(values=at + "x", dt=3.0)
        assert bare.labels is None and bare.dt == 3.0
        with pytest.raises(DataError, match="z"):
            read(values=at + "z")
        with pytest.raises(DataError, match="z"):
            read(values=at + "x", labels="z")
        with pytest.raises(DataError, match=rf"x.*one channel|{tmp_path}"):
            read(values=at + "y")
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match="not a readable .npy file"):
        read_npy(tmp_path / "bad.npy", 1.0)
    with pytest.raises(DataError, match="several arrays"):
        read_npy(tmp_path / "x.npz", 1.0)
    with pytest.raises(DataError, match="no such file"):
        read_npy(tmp_path / "none.npy", 1.0)
    np.save(tmp_path / "flat.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(DataError, match=r"flat.npy: .*\(samples, steps, channels\)"):
        read_npy(tmp_path / "flat.npy", 1.0)
    np.savez(tmp_path / "z.npz", values=currents.values)
    with pytest.raises(DataError, match="no array 'dt'"):
        read_npz(tmp_path / "z.npz")
    with h5py.File(tmp_path / "z.h5", "w") as file:
        file["values"] = currents.values
    with pytest.raises(DataError, match="give dt= in ms, or an attribute dt"):
        read_hdf5(tmp_path / "z.h5")


def test_rates_of_spikes_are_currents():
    events = Events.from_samples([([0.0, 9.9, 10.0, 31.0], [0, 1, 4, 2]), ([], [])], 5, labels=[1, 0])
    rates = from_spikes(events, dt=10.0, merge=2)
    assert rates.values.shape == (2, 4, 3) and rates.labels.tolist() == [1, 0]
    assert np.allclose(rates.values[0], [[0.1, 0, 0], [0, 0, 0.1], [0, 0, 0], [0, 0.05, 0]])  # channel 4 is alone
    assert from_spikes(events, 10.0, duration=20.0).values.sum() == pytest.approx(0.3)
    with pytest.raises(DataError, match="no whole number of bins"):
        from_spikes(events, 10.0, duration=25.0)
    with pytest.raises(DataError, match="merge >= 1"):
        from_spikes(events, 10.0, merge=0)
    with pytest.raises(DataError, match="of memory"):
        from_spikes(Events.from_samples([([1e9], [0])], 2**31), 1e-3)


# sound


def tone(frequency, rate=8000, seconds=0.2, start=0.05):
    t = np.arange(int(rate * seconds)) / rate
    return np.where(t >= start, 1000 * np.sin(2 * np.pi * frequency * t), 0.0), rate


def test_mel_spectrogram_has_a_tone_where_it_is():
    for rate in (8000, 16000):
        currents = mel([tone(1000, rate), tone(300, rate)], bands=20, labels=[0, 1])
        assert currents.values.shape == (2, 20, 20) and currents.dt == 10.0 and currents.labels.tolist() == [0, 1]
        assert currents.values.max() == 1 and currents.values.min() >= 0
        assert currents.values[0, :3].max() < 0.5 and currents.values[0, 8:17].max(axis=1).min() > 0.95
        # 21 edges equally far apart on the mel scale
        centres = np.linspace(*(2595 * np.log10(1 + np.array([60, 4000]) / 700)), 22)[1:-1]
        for b, frequency in enumerate((1000, 300)):
            nearest = np.abs(centres - 2595 * np.log10(1 + frequency / 700)).argmin()
            assert abs(int(currents.values[b, 10].argmax()) - nearest) <= 1
    assert not mel([(np.zeros(800), 8000)]).values.any()
    assert mel([tone(1000, 4000)], highest=4000.0).values[0, :, -5:].max() == 0  # beyond half the rate
    with pytest.raises(DataError, match="mel needs bands >= 1"):
        mel([tone(300)], bands=0)


def test_wave_is_the_sound_itself():
    (sound, rate), short = tone(300), (np.ones(3), 8000)
    currents = wave([(sound, rate), short])
    assert currents.dt == 0.125 and np.allclose(currents.values[0, :, 0], sound) and currents.values[1].sum() == 3
    with pytest.raises(DataError, match="sound 1 has 16000 Hz, sound 0 has 8000 Hz"):
        wave([short, (np.ones(3), 16000)])


@pytest.mark.ci
def test_hair_cells_answer_to_their_frequency():
    ear = Ear(membrane=Membrane(n_channels=70))
    currents = hair_cells([tone(2000, seconds=0.1), tone(500, seconds=0.1)], dt=10.0, merge=2, ear=ear)
    assert currents.values.shape == (2, 10, 35) and currents.values.min() == 0 and 1 < currents.values.max() < 10
    high, low = (int(currents.values[b, 8].argmax()) for b in (0, 1))
    assert high < low  # channel 0 is the highest frequency
    assert currents.values[0, :4].max() < 1e-2 < 1 < currents.values[0, 8].max()
    with pytest.raises(DataError, match="whole number of steps of 0.25 ms"):
        hair_cells([], dt=0.3)
    with pytest.raises(DataError, match="merge must divide 700"):
        hair_cells([], merge=3)


def test_a_folder_of_recordings(data_dir):
    currents, names = read_folder(data_dir / "fsdd" / "wav", mel, bands=24)
    assert len(currents) == 100 and currents.n_channels == 24 and names == [str(k) for k in range(10)]
    assert set(currents.groups.tolist()) >= {"george", "theo"} and currents.n_classes == 10
