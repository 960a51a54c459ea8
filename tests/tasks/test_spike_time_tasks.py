"""Tasks of exact spike times: what is drawn, encoded and read, by hand; and files that are none."""

import gzip

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax.encoders import step_of
from spikejax.tasks import MNIST, TargetTimes, YinYang
from spikejax.tasks.mnist import load
from spikejax.tasks.yin_yang import draw_points, region

from ..damage import bytes_damaged, each_bit, refused_or_read, same

POINTS = [
    ((0.75, 0.5), 2), ((0.25, 0.5), 2), ((0.25, 0.59), 2),  # the dots
    ((0.5, 0.8), 1), ((0.5, 0.2), 0),  # the two halves
    ((0.25, 0.7), 1), ((0.25, 0.3), 1),  # the head of yang reaches down
    ((0.75, 0.7), 0), ((0.75, 0.3), 0),  # that of yin up
]  # fmt: skip


def test_regions_by_hand():
    points, wanted = zip(*POINTS, strict=True)
    assert region(np.array(points)).tolist() == list(wanted)
    # Turned by half a turn around the centre yin is yang.
    drawn, classes = draw_points(3000, np.random.default_rng(0))
    turned = region(1 - drawn[:, :2])
    assert np.array_equal(turned, np.array([1, 0, 2])[classes])
    assert np.array_equal(region(drawn[:, :2]), classes)
    assert (np.hypot(*(drawn[:, :2] - 0.5).T) <= 0.5).all()
    np.testing.assert_allclose(drawn[:, 2:], 1 - drawn[:, :2])
    np.testing.assert_allclose(np.bincount(classes) / 3000, 1 / 3, atol=0.03)


def points_of(task, trials):
    """The points that the spikes of some trials stand for."""
    time, channel = (np.asarray(x) for x in (trials.stimulus.time, trials.stimulus.channel))
    order = np.argsort(channel, axis=1)
    assert np.array_equal(np.take_along_axis(channel, order, 1), np.tile(np.arange(5), (len(time), 1)))
    found = np.take_along_axis(time, order, 1)
    np.testing.assert_allclose(found[:, 4], task.bias)
    return (found[:, :4] - task.early) / (task.late - task.early)


def test_yin_yang_spikes_at_its_coordinates():
    task = YinYang(early=2.0, late=12.0, bias=3.0, duration=20.0, points=(300, 40, 60))
    for trials, size in ((task.batch(jax.random.key(0), 1, 50), 50), (task.split("test"), 60)):
        x = points_of(task, trials)
        assert len(x) == size
        assert np.array_equal(region(x[:, :2]), trials.label)
        assert (np.diff(trials.stimulus.time, axis=1) >= 0).all()
        assert trials.stimulus.duration == 20.0
    # All of them in an epoch, and others with another seed.
    epoch = [points_of(task, task.batch(jax.random.key(0), k, 100)) for k in range(3)]
    seen = np.unique(np.concatenate(epoch).round(9), axis=0)
    assert len(seen) == 300
    other = YinYang(early=2.0, late=12.0, bias=3.0, duration=20.0, points=(300, 40, 60), seed=1)
    again = points_of(other, other.batch(jax.random.key(0), 0, 300)).round(9)
    assert len(np.unique(np.concatenate([seen, again]), axis=0)) == 600


def test_steps_are_the_times_in_bins():
    times = YinYang(points=(20, 8, 8), duration=20.0).split("validation").stimulus
    rows = YinYang(points=(20, 8, 8), duration=20.0, form="steps", dt=0.5).split("validation").stimulus
    assert rows.shape == (8, 40, 5)
    expected = np.zeros(rows.shape)
    for trial in range(8):
        expected[trial, step_of(times.time[trial], 0.5).astype(int), times.channel[trial]] = 1
    assert np.array_equal(rows, expected)


def write_points(folder, **changed):
    rng = np.random.default_rng(0)
    for name, n in (("train", 30), ("validation", 10), ("test", 12)):
        x, y = draw_points(n, rng)
        np.savez(folder / f"yinyang_{name}.npz", **({"x": x, "y": y.astype(np.uint8)} | changed))


def test_published_points_take_their_place(tmp_path):
    write_points(tmp_path)
    task = YinYang(folder=tmp_path)
    test = np.load(tmp_path / "yinyang_test.npz")
    np.testing.assert_allclose(points_of(task, task.split("test")), test["x"], atol=1e-9)
    assert np.array_equal(task.split("test").label, test["y"])
    assert task.trials == 30


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"x": np.zeros((4, 2))}, r"x has shape \(4, 2\)"),
        ({"y": np.zeros(3, int)}, r"y \(3,\)"),
        ({"x": np.full((2, 4), 1.5), "y": np.zeros(2, int)}, "x goes from 1.5 to 1.5"),
        ({"x": np.zeros((2, 4)), "y": np.array([0, 3])}, "classes from 0 to 3"),
    ],
)
def test_points_that_are_none_are_refused(tmp_path, changed, match):
    write_points(tmp_path, **changed)
    with pytest.raises(ValueError, match=f"yinyang_train.npz.*{match}") as caught:
        YinYang(folder=tmp_path).batch(jax.random.key(0), 0, 2)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"yinyang_train\.npz cannot be read"):
        YinYang(folder=tmp_path / "nothing").split("test")


# --- MNIST

RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (40, 3, 4)).astype(np.uint8)
CLASSES = (np.arange(40) % 10).astype(np.uint8)


def idx(array) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_idx(folder, part="train", images=IMAGES, classes=CLASSES, packed=False):
    """The two files of a set; returns that of the images."""
    for word, axes, array in (("images", 3, images), ("labels", 1, classes)):
        content = idx(array)
        path = folder / f"{part}-{word}-idx{axes}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    return folder / f"{part}-images-idx3-ubyte{'.gz' if packed else ''}"


@pytest.mark.parametrize("kind", ["plain", "packed", "npz"])
def test_all_kinds_of_files_are_the_same(tmp_path, kind):
    path = tmp_path / "own.npz"
    if kind == "npz":
        np.savez(path, x=IMAGES, y=CLASSES)
    else:
        path = write_idx(tmp_path, packed=kind == "packed")
    x, y = load(path)
    assert np.array_equal(x, IMAGES)
    assert np.array_equal(y, CLASSES)
    if kind == "packed":  # a packed and a plain one belong together
        labels = tmp_path / "train-labels-idx1-ubyte.gz"
        (tmp_path / "train-labels-idx1-ubyte").write_bytes(gzip.decompress(labels.read_bytes()))
        labels.unlink()
        assert np.array_equal(load(path)[1], CLASSES)


def test_bright_pixels_spike_at_once(tmp_path):
    task = MNIST(train=write_idx(tmp_path), threshold=0.2, early=1.5, validation=0.3, test_fraction=0.25)
    trials, images = task.batch(jax.random.key(0), 0, 20), []
    assert trials.stimulus.shape[2:] == task.channels == (1, 3, 4)
    for trial in range(20):
        there = np.asarray(trials.stimulus.value[trial]) > 0
        assert (np.asarray(trials.stimulus.time[trial])[there] == 1.5).all()
        seen = np.zeros(12, bool)
        seen[np.asarray(trials.stimulus.channel[trial])[there]] = True
        images.append(seen)
    # 20 trials of training: an epoch, each image once.
    bright = (IMAGES > 51).reshape(40, 12)
    labels = np.asarray(trials.label)
    found = [np.flatnonzero((bright == images[k]).all(1) & (labels[k] == CLASSES)) for k in range(20)]
    assert all(len(x) for x in found)
    assert len(np.unique(np.concatenate(found))) == task.trials == 20
    counts = [np.bincount(task.split(name).label) for name in ("validation", "test")]
    assert np.array_equal(counts, np.ones((2, 10)))


def test_latencies_of_pixels(tmp_path):
    write_idx(tmp_path)
    test = write_idx(tmp_path, "t10k", IMAGES[::-1], CLASSES[::-1], packed=True)
    task = MNIST(
        train=tmp_path / "train-images-idx3-ubyte", test=test, code="latency", threshold=0.4, early=2.0,
        late=10.0, duration=15.0, validation=0.25,
    )  # fmt: skip
    trials = task.split("test")
    assert np.array_equal(trials.label, CLASSES[::-1])
    x = IMAGES[::-1].reshape(40, 12) / 255
    expected = np.where(x > 0.4, 2 + 8 * (1 - x) / 0.6, np.inf)
    found = np.full((40, 12), np.inf)
    there = np.asarray(trials.stimulus.value) > 0
    time, channel = (np.asarray(x) for x in (trials.stimulus.time, trials.stimulus.channel))
    found[np.nonzero(there)[0], channel[there]] = time[there]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_dark_pixels_in_training_only(tmp_path):
    parts = {"train": write_idx(tmp_path), "validation": 0.3, "test_fraction": 0.25}
    count = lambda trials: float(jnp.mean(trials.stimulus.value.sum(1)))
    plain, thin = (MNIST(**parts, drop=drop) for drop in (0.0, 0.5))
    ratio = count(thin.batch(jax.random.key(0), 0, 400)) / count(plain.batch(jax.random.key(0), 0, 400))
    assert abs(ratio - 0.5) < 0.05
    assert count(thin.split("test")) == count(plain.split("test"))
    one = MNIST(**parts, form="steps", dt=40.0).split("test")
    assert one.stimulus.shape == (10, 1, 1, 3, 4)
    assert float(jnp.mean(one.stimulus.sum((1, 2, 3, 4)))) == count(plain.split("test"))


LABELS = "train-labels-idx1-ubyte"
WRONG = {
    "cut off": (lambda c: c[:200], "damaged or cut off: it says 40 x 3 x 4 bytes"),
    "too long": (lambda c: c + b"a", "holds 481"),
    "within its head": (lambda c: c[:9], "ends within its first 16 bytes"),
    "empty": (lambda c: b"", "begins with nothing"),
    "other": (lambda c: b"<html>" + c, "is no IDX file of bytes: it begins with 3c68746d"),
    "floats": (lambda c: bytes([0, 0, 13, 3]) + c[4:], "begins with 00000d03, not with 00000803"),
    "classes": (lambda c: idx(CLASSES), "has 1 axes, but images have 3"),
    "packed, cut off": (lambda c: gzip.compress(c)[:100], "cannot be unpacked, it is damaged or cut off"),
    "none": (lambda c: idx(IMAGES[:0]), "has 0 images of 3 x 4 and 40 classes"),
    "a bomb": (lambda c: gzip.compress(bytes(1 << 27), 9), "unpacks to more than"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_images_that_are_none_are_refused(tmp_path, kind):
    damage, told = WRONG[kind]
    path = write_idx(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=told) as caught:
        MNIST(train=path).batch(jax.random.key(0), 0, 2)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_classes_that_are_none_are_refused(tmp_path):
    path = write_idx(tmp_path, classes=CLASSES + 1)
    with pytest.raises(ValueError, match=rf"{LABELS} has classes from 1 to 10, but there are 10"):
        load(path)
    (tmp_path / LABELS).write_bytes(idx(CLASSES[:30]))
    with pytest.raises(ValueError, match="40 images of 3 x 4 and 30 classes"):
        load(path)
    (tmp_path / LABELS).unlink()
    with pytest.raises(ValueError, match=rf"{LABELS} cannot be read \(No such file or directory\)"):
        load(path)
    with pytest.raises(ValueError, match=r"nothing cannot be read .*give the images of MNIST"):
        load(tmp_path / "nothing")
    path.rename(tmp_path / "own")
    with pytest.raises(ValueError, match="own: the file of its classes is not known: name it like"):
        load(tmp_path / "own")
    np.savez(tmp_path / "own.npz", x=IMAGES / 255, y=CLASSES)
    with pytest.raises(ValueError, match="x goes from 0 to 1, but pixels are whole numbers"):
        load(tmp_path / "own.npz")
    small = write_idx(tmp_path, "small", IMAGES[:, :2])
    write_idx(tmp_path)
    with pytest.raises(ValueError, match="have images of different size"):
        MNIST(train=tmp_path / "train-images-idx3-ubyte", test=small).split("test")


def survives(tmp_path, damaged, packed):
    """What is read of a damaged file is what was there, or other pixels: bytes have no checksums."""
    path = write_idx(tmp_path, packed=packed)
    intact = load(path)
    for content in damaged(path.read_bytes()):
        path.write_bytes(content)
        found = refused_or_read(lambda: load(path), path)
        if found is not None and packed:
            assert same(found, intact)
        elif found is not None:
            assert found[0].shape == IMAGES.shape
            assert np.array_equal(found[1], CLASSES)


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_idx(tmp_path, packed):
    rng = np.random.default_rng(0)
    survives(tmp_path, lambda content: (bytes_damaged(content, rng) for _ in range(150)), packed)


@pytest.mark.nightly
@pytest.mark.parametrize("packed", [False, True])
def test_every_bit_of_an_idx(tmp_path, packed):
    survives(tmp_path, each_bit, packed)


# --- Target times


def test_target_times_are_neuron_by_neuron():
    task = TargetTimes(times=(10.0, 40.0, 20.0), counts=(2, 0, 1), duration=50.0, rate=40.0, channels=5)
    trials = task.batch(jax.random.key(0), 0, 2)
    assert trials.target.tolist() == 2 * [[[10.0, np.inf, 20.0], [40.0, np.inf, np.inf]]]
    assert task.outputs == 3
    time, channel = trials.stimulus.time, trials.stimulus.channel
    assert (np.diff(time) >= 0).all()
    assert np.array_equal(time[0], time[1])
    many = TargetTimes(duration=2000.0, channels=50, rate=20.0, pattern=3).split("test").stimulus
    counts = np.bincount(many.channel[0], minlength=50)
    # Poisson: the variance of a count is its mean, 40.
    assert abs(counts.mean() - 40) < 4
    assert 0.5 < counts.var() / counts.mean() < 1.8
    assert TargetTimes().outputs == 1
    assert channel.max() < 5


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: TargetTimes(times=(30.0, 10.0)), r"are \[30.0, 10.0\] ms, but must be in order"),
        (lambda: TargetTimes(times=(30.0, 110.0)), "within the trial of 100 ms"),
        (lambda: TargetTimes(counts=(1, 2)), "add up to 3 spikes, but there are 2"),
        (lambda: TargetTimes(rate=1e-6), "no channel has a spike"),
        (lambda: YinYang(early=5.0, late=4.0), "`late` is 4 ms, but must come after `early`, 5 ms"),
        (lambda: YinYang(late=45.0), "a spike may come at 45 ms, after the trial: its `duration` is 45 ms"),
        (lambda: YinYang(bias=50.0), "a spike may come at 50 ms"),
        (lambda: YinYang(points=(10, 0, 10)), "`points`"),
        (lambda: MNIST(train="x", code="latency", early=4.0, late=3.0), "`late` is 3 ms"),
        (lambda: MNIST(train="x", early=40.0), "a spike may come at 40 ms"),
        (lambda: MNIST(train="x", code="rate"), "`code` is 'rate'"),
    ],
)
def test_what_does_not_fit_together_is_refused(make, match):
    with pytest.raises(ValueError, match=match) as caught:
        make()
    assert "\n" not in str(caught.value)
