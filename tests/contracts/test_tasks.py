"""What every task owes: trials that are a pure function of key and step, whose shapes are those it states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import Events
from spikejax.component import declarations
from spikejax.event_driven import SpikeTimes
from spikejax.losses import LOSSES
from spikejax.tasks import TASKS
from spikejax.tasks.base import first_trials

from ..spike_recordings import DATA, camera_arrays, own_arrays

SMALL = {
    "braille": (25.0, {"clock": 25.0, "drop": 0.1, "shift": 25.0}),
    "delayed_xor": (2.0, {"delays": (20.0, 60.0), "buckets": (60.0,), "odds": (1.0,), "held_out": (6, 12)}),
    "lags": (1.0, {"held_out": (6, 12)}),
    "predictive_coding": (0.5, {"duration": 20.0, "test_duration": 30.0, "held_out": (2, 8)}),
    "spike_trains": (5.0, {"duration": 300.0}),
    "spoken_digits": (
        10.0,
        {
            "folder": DATA,
            "train": "digits_train.h5",
            "test": "digits_test.h5",
            "window": 500.0,
            "drop": 0.1,
            "validation": 0.4,
        },
    ),
    "target_times": (1.0, {"channels": 3, "rate": 50.0, "times": (10.0, 40.0, 20.0), "counts": (2, 1)}),
    "yin_yang": (1.0, {"points": (20, 8, 8)}),
}
"""Time step and options that make it small: a task that is registered has its line here."""
SIZE = 6


@pytest.fixture(scope="module", autouse=True)
def own_file(tmp_path_factory):
    """A user's own recordings, which no package brings."""
    path = tmp_path_factory.mktemp("own") / "own.npz"
    np.savez(path, **own_arrays("events"))
    camera = tmp_path_factory.mktemp("camera") / "many.npz"
    np.savez(camera, **camera_arrays())
    SMALL["event_camera"] = (
        2.0,
        {"train": camera, "sensor": (5, 4), "drop": 0.1, "shift": 4.0, "shift_pixels": 1}
        | {"validation": 0.3, "test_fraction": 0.3},
    )
    digits = tmp_path_factory.mktemp("digits") / "digits.npz"
    rng = np.random.default_rng(0)
    np.savez(digits, x=rng.integers(0, 256, (60, 4, 5)).astype(np.uint8), y=np.arange(60) % 10)
    SMALL["mnist"] = 1.0, {"train": digits, "validation": 0.3, "test_fraction": 0.3}
    SMALL["recordings"] = 2.0, {"file": path, "drop": 0.1, "shift": 4.0, "validation": 0.3, "test": 0.3}


def make(name: str, **more):
    dt, options = SMALL[name]
    # One whose trials are exact spike times knows no step.
    own = {"dt": dt} if "dt" in declarations(TASKS[name]) else {}
    return TASKS.make(name, **own, **options, **more)


def fits(task, trials, size: int):
    """Shapes, types and numbers of a batch."""
    x = trials.stimulus
    channels = (task.channels,) if isinstance(task.channels, int) else task.channels
    assert x.shape == (size, x.shape[1], *channels)
    assert jax.tree.leaves(x)[-1].dtype == jnp.result_type(float)
    for part in jax.tree.leaves(trials):
        assert part.shape[0] == size
        if jnp.issubdtype(part.dtype, jnp.inexact):
            # A time of inf is that of no spike.
            assert bool(jnp.isfinite(part).all()) or (task.target == "times" and part is trials.target)
    if trials.mask is not None:
        assert trials.mask.shape == x.shape[:2]
        assert trials.mask.dtype == bool
        # A trial that is over stays over.
        assert bool((trials.mask[:, 1:] <= trials.mask[:, :-1]).all())
    if task.labels:
        assert trials.label.shape == (size,)
        assert 0 <= int(trials.label.min()) <= int(trials.label.max()) < len(task.labels)
    if task.target == "class":
        assert task.outputs == len(task.labels)
        assert np.array_equal(trials.target, trials.label)
    elif task.target == "times":
        assert trials.target.shape == (size, trials.target.shape[1], task.outputs)
        assert not np.isnan(trials.target).any()
    else:
        signal = getattr(trials.target, "signal", trials.target)
        assert signal.shape == (size, x.shape[1], task.outputs)


def same(one, other) -> bool:
    """Of arrays, of lists of events as arrays, or of spike times."""
    if isinstance(one, SpikeTimes):
        return all(map(same, jax.tree.leaves(one), jax.tree.leaves(other)))
    one, other = (jax.vmap(Events.dense)(x) if isinstance(x, Events) else x for x in (one, other))
    one, other = (
        jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in (one, other)
    )
    return np.array_equal(one, other)


@pytest.mark.parametrize("name", TASKS)
def test_a_batch_is_a_pure_function_of_key_and_step(name):
    task, key = make(name), jax.random.key(3)
    batch = task.batch(key, jnp.asarray(2), SIZE)
    fits(task, batch, SIZE)
    # Drawn again after others, and by a task that was made anew, as after an interruption.
    task.batch(jax.random.key(1), jnp.asarray(5), SIZE)
    for again in (task.batch(key, 2, SIZE), make(name).batch(key, jnp.asarray(2), SIZE)):
        assert jax.tree.all(jax.tree.map(same, batch, again))
    if task.trials == 1:  # there is no other
        return
    for other in (task.batch(key, 3, SIZE), task.batch(jax.random.key(4), 2, SIZE)):
        assert not same(batch.stimulus, other.stimulus)
        assert batch.key is None or not same(batch.key, other.key)


@pytest.mark.parametrize("name", TASKS)
def test_splits_are_fixed_and_come_whole_or_in_parts(name):
    task = make(name)
    for split in ("validation", "test"):
        trials = task.split(split)
        size = len(trials.stimulus)
        fits(task, trials, size)
        for again in (make(name).split(split), first_trials(task.parts(split), size)):
            assert jax.tree.all(jax.tree.map(same, trials, again))
    if task.trials != 1:
        firsts = [first_trials(task.parts(split), 1).stimulus for split in ("validation", "test")]
        assert not same(*firsts)
    probe = task.probe(SMALL[name][0], SIZE)
    fits(task, probe.trials, min(SIZE, task.trials or SIZE))
    assert probe.groups.keys() == probe.names.keys()
    for property, names in probe.names.items():
        assert probe.groups[property].shape == (SIZE,)
        assert probe.groups[property].max() < len(names)
    assert all(group in probe.groups for *_, group in probe.windows.values())


@pytest.mark.parametrize("name", TASKS)
def test_a_loss_is_made_for_it(name):
    task = make(name)
    losses = [LOSSES.make(loss) for loss, cls in LOSSES.items() if task.target in cls.targets]
    assert losses
    for loss in losses:
        loss.check(task)
        assert loss.outputs(task) >= 1


@pytest.mark.parametrize("name", TASKS)
def test_it_says_how_many_trials_there_are(name):
    task = make(name)
    assert task.trials is None or task.trials > 0
    if "seed" in declarations(TASKS[name]):
        # The seed is of the validation split: the test split knows nothing of it.
        other = make(name, seed=1)
        assert jax.tree.all(jax.tree.map(same, task.split("test"), other.split("test")))
        assert not same(task.split("validation").stimulus, other.split("validation").stimulus)
