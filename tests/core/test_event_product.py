"""Products of lists of events with weights: every path, under every transformation, is the dense product."""

import itertools
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spikejax import Events
from spikejax.connections import AbstractConnection, AbstractInstant, base
from spikejax.event_path import Shape, chosen_path, costs
from spikejax.event_product import event_product, explain_product

from ..command_line import environment

LISTS, COUNT, STEPS, CHANNELS, OUT = 3, 14, 6, 5, 4
PATHS = ("auto", "dense", "rows", "loop", "scatter")


def drawn(ordered: bool = True, lists: tuple[int, ...] = (LISTS,), seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    step = rng.integers(0, STEPS, (*lists, COUNT))
    step = np.sort(step) if ordered else step
    value = rng.normal(size=step.shape) * (rng.random(step.shape) < 0.8)
    events = Events(step, rng.integers(0, CHANNELS, step.shape), value, steps=STEPS, channels=CHANNELS)
    assert events.ordered == ordered
    return events


def weights(*lead: int) -> jax.Array:
    return jax.random.normal(jax.random.key(len(lead)), (*lead, CHANNELS, OUT))


def loss(product):
    """Of values, weights and a list: no sum of squares, which would be blind to signs."""
    signal = jax.random.normal(jax.random.key(7), (STEPS, OUT))
    run = lambda v, w, e: product(eqx.tree_at(lambda one: one.value, e, v), w)
    return run, lambda v, w, e: jnp.sum(jnp.sin(run(v, w, e)) * signal)


def transformed(product) -> dict:
    """What the transformations make of a product, by name."""
    run, value = loss(product)
    both = jax.grad(value, argnums=(0, 1))
    several = lambda v, w, e: jnp.sum(jax.vmap(value, (0, None, 0))(v, w, e))
    return {
        "batch": lambda v, w, e: jax.vmap(run, (0, None, 0))(v, w, e),
        "grad(vmap)": jax.grad(several, argnums=(0, 1)),
        "vmap(grad)": lambda v, w, e: jax.vmap(both, (0, None, 0))(v, w, e),
        "batched weights": lambda v, w, e: jax.vmap(both)(v, w * jnp.arange(1.0, 4)[:, None, None], e),
        "several weights": lambda v, w, e: jax.vmap(jax.grad(several, argnums=(0, 1)), (None, 0, None))(
            v, jnp.stack([w, w**2]), e
        ),
        "jvp": lambda v, w, e: jax.jvp(
            lambda v, w: jax.vmap(run, (0, None, 0))(v, w, e), (v, w), (v**2, w**2)
        ),
        "transpose": lambda v, w, e: jax.linear_transpose(lambda w: jax.vmap(run, (0, None, 0))(v, w, e), w)(
            jnp.cos(jnp.arange(LISTS * STEPS * OUT * 1.0)).reshape(LISTS, STEPS, OUT)
        ),
        "hessian": lambda v, w, e: jax.vmap(jax.hessian(value, argnums=(0, 1)), (0, None, 0))(v, w, e),
        "networks side by side": lambda v, w, e: jax.vmap(
            lambda v, w, e: jax.grad(several, argnums=(0, 1))(v, w, e), (0, 0, None)
        )(jnp.stack([v, 2 * v]), jnp.stack([w, w**2]), e),
    }


def dense(events: Events, w):
    return events.dense().reshape(events.steps, -1) @ w


def compare(path: str, ordered: bool, names, relative) -> None:
    events, w = drawn(ordered), weights()
    for name in names:
        run, expected = (
            jax.jit(transformed(product)[name])(events.value, w, events.by(path))
            for product in (event_product, dense)
        )
        assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(expected)) > 0.1, name
        assert relative(run, expected) < 1e-12, (path, ordered, name)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("path", PATHS)
def test_every_path_is_the_dense_product(path, ordered, relative):
    compare(path, ordered, ("grad(vmap)", "vmap(grad)"), relative)


@pytest.mark.parametrize("name", [n for n in transformed(dense) if n not in ("grad(vmap)", "vmap(grad)")])
def test_every_transformation_is_that_of_the_dense_product(name, relative):
    compare("rows", True, (name,), relative)


@pytest.mark.nightly
@pytest.mark.parametrize("name", transformed(dense))
def test_every_path_under_every_transformation(name, relative):
    for path, ordered in itertools.product(PATHS, (True, False)):
        compare(path, ordered, (name,), relative)


def test_single_precision_and_bfloat16():
    events, w = drawn(), weights()
    expected = jax.vmap(dense, (0, None))(events, w)
    for dtype, error in ((jnp.float32, 1e-6), (jnp.bfloat16, 2e-2)):
        for path in PATHS if dtype == jnp.float32 else ("auto", "loop"):
            y = jax.vmap(event_product, (0, None))(events.by(path), w.astype(dtype))
            assert y.dtype == dtype
            np.testing.assert_allclose(y.astype(float), expected, atol=error * float(jnp.abs(expected).max()))


def test_the_kernel_of_compressed_rows_is_what_is_lowered():
    run = jax.jit(lambda e, w: jax.vmap(event_product, (0, None))(e, w))
    lowered = run.lower(drawn().by("rows"), weights()).as_text()
    assert "cpu_csr_sparse_dense" in lowered
    assert "stablehlo.sort" not in lowered
    unordered = drawn(ordered=False).by("rows")
    assert "stablehlo.sort" in run.lower(unordered, weights()).as_text()
    assert "cpu_csr_sparse_dense" not in run.lower(drawn().by("loop"), weights()).as_text()


def test_no_events():
    none = Events(np.zeros((2, 0), int), np.zeros((2, 0), int), steps=STEPS, channels=CHANNELS)
    assert not np.any(jax.vmap(event_product, (0, None))(none, weights()))
    gradient = jax.grad(lambda w: jnp.sum(jax.vmap(event_product, (0, None))(none, w)))(weights())
    assert not np.any(gradient)


def test_the_choice_follows_density_and_shape():
    sparse = Shape(32, 4300, 300, 2312, 512, results=32, ordered=True)
    assert chosen_path(sparse, "cpu") == "rows"
    assert chosen_path(sparse._replace(ordered=False), "cpu") == "loop"
    assert chosen_path(sparse, "cpu", floats=False) == "loop"
    assert chosen_path(Shape(32, 4300, 300, 20, 512, results=32, ordered=True), "cpu") == "dense"
    # The gradient of the weights: rows of the matrix instead of steps.
    assert chosen_path(Shape(32, 4300, 2312, 300, 512, matrices=32), "cpu") == "loop"
    assert chosen_path(sparse, "gpu") == "dense"
    assert chosen_path(sparse._replace(lists=512, results=512), "gpu") == "scatter"
    assert costs(sparse)["dense"] > 20 * costs(sparse)["rows"]


def test_the_choice_is_explained():
    said = explain_product(drawn(), OUT, "cpu")
    assert f"{LISTS} x {COUNT} events in {STEPS} steps of {CHANNELS} channels (density 46.67%" in said
    assert "product: " in said
    assert "gradient of the matrix: " in said
    assert "product: loop, as it was asked for" in explain_product(drawn().by("loop"), OUT)
    with pytest.raises(ValueError, match="`path` is 'quick': choose from auto, dense, rows, loop, scatter"):
        drawn().by("quick")
    with pytest.raises(ValueError, match=r"`matrix` has shape \(4, 5\), but there are 5 channels"):
        event_product(drawn(lists=()), weights().T)


def test_a_list_that_is_not_in_order_is_not_taken_for_one():
    with pytest.raises(ValueError, match="said to be in the order of steps"):
        Events([2, 1], [0, 0], steps=3, channels=1, ordered=True)


@pytest.mark.parametrize("path", PATHS)
def test_delays_shift_events(path, relative):
    """Against the array of the undelayed events, interpolated."""
    events, w = drawn(lists=()).by(path), weights()
    delay = jnp.array([0.0, 1.25, 3.0, 2.5, 7.75])

    def interpolated(delay):
        at = jnp.arange(STEPS)[:, None] - delay
        low = jnp.floor(at)
        part = at - low
        rows = jnp.pad(events.dense(), ((20, 1), (0, 0)))
        take = lambda i: jnp.take_along_axis(rows, i.astype(int) + 20, axis=0)
        return (1 - part) * take(low) + part * take(low + 1)

    signal = jax.random.normal(jax.random.key(1), (STEPS, OUT))
    found = jax.value_and_grad(lambda d: jnp.sum(event_product(events.delayed(d), w) * signal))(delay)
    # The derivative at a whole delay is that of the longer side, which interpolation in time has too.
    expected = jax.value_and_grad(lambda d: jnp.sum((interpolated(d) @ w) * signal))(delay)
    assert relative(found[0], expected[0]) < 1e-12
    odd = np.array([1, 3, 4])
    assert relative(found[1][odd], expected[1][odd]) < 1e-12
    later = events.delayed(delay)
    assert relative(later.dense(), interpolated(delay)) < 1e-12
    assert later.path == path
    np.testing.assert_allclose(events.delayed(jnp.zeros(CHANNELS)).dense(), events.dense(), rtol=1e-15)
    assert not np.any(events.delayed(jnp.full(CHANNELS, 6.0)).dense())


def test_a_window_is_a_part_of_the_array():
    events = drawn(lists=())
    wide = np.pad(np.asarray(events.dense()), ((3, 9), (0, 0)))
    for start, length in ((0, STEPS), (2, 3), (-2, 4), (4, 6), (9, 2)):
        np.testing.assert_array_equal(events.window(start, length), wide[start + 3 :][:length])


class Slow(AbstractConnection):
    """Remembers the last two inputs, and has no way of its own for events."""

    weight: jax.Array
    in_shape: tuple[int, ...] = eqx.field(static=True)
    out_shape: tuple[int, ...] = eqx.field(static=True)

    @classmethod
    def create(cls, in_shape, out_shape, *, key):
        return cls(jax.random.normal(key, (*out_shape, *in_shape)), in_shape, out_shape)

    def init(self, dtype):
        return jnp.zeros((2, *self.in_shape), dtype)

    def step(self, x, memory=None):
        memory = self.init(x.dtype) if memory is None else memory
        now = self.weight @ (x + 0.5 * memory[0] - 0.25 * memory[1])
        return now, jnp.stack([x, memory[0]])


class Now(AbstractInstant):
    """The same without a memory."""

    weight: jax.Array
    in_shape: tuple[int, ...] = eqx.field(static=True)
    out_shape: tuple[int, ...] = eqx.field(static=True)
    create = Slow.create

    def __call__(self, x):
        return self.weight @ x


@pytest.mark.parametrize("cells", [CHANNELS, 2 * CHANNELS, 4 * CHANNELS + 1, 100])
@pytest.mark.parametrize("kind", [Slow, Now])
def test_chunks_of_steps_are_the_whole(kind, cells, relative, monkeypatch):
    monkeypatch.setattr(base, "CELLS", cells)
    connection = kind(weights().T, (CHANNELS,), (OUT,))
    events, mask = drawn(lists=()), jnp.arange(STEPS) < 5
    start = None if kind is Now else jax.random.normal(jax.random.key(4), (2, CHANNELS))
    value = lambda c, x: jax.tree.map(lambda y: jnp.sum(jnp.sin(y)), c.over_time(x, start, mask))
    found, expected = (
        (
            connection.over_time(x, start, mask),
            jax.grad(lambda c, x=x: sum(jax.tree.leaves(value(c, x))))(connection),
        )
        for x in (events, events.dense())
    )
    assert relative(found, expected) < 1e-12


def test_no_array_of_the_whole_trial_is_made(monkeypatch):
    """Nor kept for the way back."""
    monkeypatch.setattr(base, "CELLS", 4 * CHANNELS)
    steps = 64
    connection = Now(weights().T, (CHANNELS,), (OUT,))
    events = Events([3, 60], [0, 1], steps=steps, channels=CHANNELS)
    run = lambda c, e: jnp.sum(jnp.sin(c.over_time(e)[0]))
    program = str(jax.make_jaxpr(jax.grad(run))(connection, events))
    assert f"[4,{CHANNELS}]" in program
    for whole in (f"[{steps},{CHANNELS}]", f"[{steps // 4},4,{CHANNELS}]"):
        assert whole not in program
    assert f"[{steps},{CHANNELS}]" in str(jax.make_jaxpr(jax.grad(run))(connection, events.dense()))


PARTED = """
import sys
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from spikejax import Events, Exponential, Gate, LIF, Network, simulate
key, synapse = jax.random.key(0), Exponential(5.0)
network = Network.dense(5, (4,), 2, neuron=LIF(), synapse=synapse, key=key, bias=(0.8, 1.2))
rng = np.random.default_rng(0)
step, channel = np.sort(rng.integers(0, 9, (4, 20))), rng.integers(0, 5, (4, 20))
mesh = Mesh(np.array(jax.devices()), ("trials",))
assert mesh.size == 2

def loss(network, x):
    run = lambda x: jnp.sum(simulate(network, x, gate=Gate(), dt=1.0).readout ** 2)
    return jnp.sum(jax.vmap(run)(x))

for path in sys.argv[1:]:
    events = Events(step, channel, steps=9, channels=5, path=path)
    array = jax.vmap(lambda e: e.dense())(events)
    expected = jax.jit(jax.grad(loss))(network, array)
    parted = jax.jit(jax.shard_map(jax.grad(loss), mesh=mesh, in_specs=(P(), P("trials")), out_specs=P()))
    cut = jax.device_put(events, NamedSharding(mesh, P("trials")))
    for found in (parted(network, events), jax.jit(jax.grad(loss))(network, cut)):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-10, atol=1e-12, err_msg=path)
print("the same")
"""


@pytest.mark.parametrize(
    "paths", [["rows"], pytest.param(["dense", "loop", "scatter"], marks=pytest.mark.nightly)]
)
def test_over_two_devices(paths):
    """In a `jax.shard_map`, which sums the gradients of weights, and in a program that the compiler cuts."""
    run = subprocess.run(
        [sys.executable, "-c", PARTED, *paths], env=environment(2), capture_output=True, text=True
    )
    assert "the same" in run.stdout, run.stderr
