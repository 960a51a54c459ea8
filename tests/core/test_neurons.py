"""Every neuron's step against an independent solver, the generic split against closed forms, and conservation
of charge."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
import pytest
from jaxtyping import Array, Float

from spikejax import LIF, NIF, AbstractReset, AbstractResetNeuron, Exponential, Gate, Network, Theta, simulate
from spikejax.component import parameter, part
from spikejax.neurons import RESETS, State
from spikejax.references.lif_events import EventLIF, Waves

ALL = {name: cls(tau_mem=10.0) for name, cls in {"nif": NIF, "lif": LIF, "theta": Theta}.items()}
FIELDS = {
    "nif": lambda v, current: current,
    "lif": lambda v, current: current - v,
    "theta": lambda v, current: (1 + jnp.cos(2 * jnp.pi * v)) + (1 - jnp.cos(2 * jnp.pi * v)) * current,
}


def state_of(neuron, v):
    return neuron.init(v.shape)._replace(v=v)


class QIF(AbstractResetNeuron):
    """A user's neuron: ``tau dv/dt = v^2 + I``, peak at v_th, integrated by one Runge-Kutta step, nothing
    else given."""

    tau_mem: Float[Array, "..."] = parameter(10.0)
    v_th: Float[Array, "..."] = parameter(2.0)
    v_reset: Float[Array, "..."] = parameter(-1.5)
    v_init: Float[Array, "..."] = parameter(-1.0)
    reset: AbstractReset = part(RESETS, "split")

    def flow(self, state, current, dt):
        f = lambda v: (v**2 + current) / self.tau_mem
        v = state.v
        a = f(v)
        b = f(v + dt / 2 * a)
        c = f(v + dt / 2 * b)
        d = f(v + dt * c)
        return State(v + dt / 6 * (a + 2 * b + 2 * c + d))


class FlowLIF(LIF):
    """The LIF with its closed-form split taken away."""

    def split(self, state, free, current, dt):
        return AbstractResetNeuron.split(self, state, free, current, dt)


@pytest.mark.parametrize("name", ALL)
def test_flow_against_diffrax(name):
    v = jnp.array([0.05, 0.3, 0.5, 0.8, 0.97, 0.4])
    current = jnp.array([-4.0, -0.3, 0.0, 1e-5, 2.0, 9.0])
    term = diffrax.ODETerm(lambda t, v, current: FIELDS[name](v, current) / 10.0)
    control = diffrax.PIDController(rtol=1e-12, atol=1e-13)
    solve = lambda v: diffrax.diffeqsolve(
        term, diffrax.Dopri8(), 0.0, 3.0, 0.01, v, args=current, stepsize_controller=control, max_steps=4096
    ).ys[0]
    found = ALL[name].flow(state_of(ALL[name], v), current, 3.0)
    np.testing.assert_allclose(found.v, jax.jit(solve)(v), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_flow_is_a_flow(name):
    neuron = ALL[name]
    v, current = (
        x.ravel()
        for x in jnp.meshgrid(
            jnp.linspace(0.01, 0.99, 9), jnp.array([-50.0, -1.0, -1e-7, 0.0, 1e-7, 0.5, 3.0, 400.0])
        )
    )
    state = state_of(neuron, v)
    whole = neuron.flow(state, current, 1.0)
    halves = neuron.flow(neuron.flow(state, current, 0.5), current, 0.5)
    np.testing.assert_allclose(halves.v, whole.v, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(neuron.flow(state, current, 0.0).v, v, atol=1e-15)


def test_theta_map_against_fine_substeps():
    # Strong and weak inhibition, I on both sides of the series' bound, and up to seven turns a step.
    neuron, dt = Theta(tau_mem=25.0), 2.0
    current = np.array([-40.0, -1.0, -4e-3, -1e-9, 0.0, 1e-9, 3.9e-3, 4.1e-3, 0.5, 5.0, 30.0, 400.0, 2000.0])
    v, current = (x.ravel() for x in np.meshgrid(np.linspace(0, 0.98, 15), current))
    found = neuron.flow(state_of(neuron, jnp.asarray(v)), jnp.asarray(current), dt).v

    f = lambda v: ((1 + np.cos(2 * np.pi * v)) + (1 - np.cos(2 * np.pi * v)) * current) / 25.0
    steps = 20_000
    h = dt / steps
    slow = v
    for _ in range(steps):
        slow = slow + h * f(slow + h / 2 * f(slow))
    assert slow.max() > 7
    # The midpoint rule is itself off by (I h/tau)^2, or so: what it leaves at I = 2000 is its own error.
    strong = np.abs(current) > 100
    np.testing.assert_allclose(np.asarray(found)[~strong], slow[~strong], atol=1e-7)
    np.testing.assert_allclose(np.asarray(found)[strong], slow[strong], atol=4e-5)
    # Count and phase after the wrap.
    end, path = neuron.travel(state_of(neuron, jnp.asarray(v)), jnp.asarray(current), dt)
    np.testing.assert_array_equal(path.count, np.floor(found))
    assert float(end.v.min()) >= 0
    assert float(end.v.max()) < 1


def test_theta_is_smooth_in_current_through_zero():
    neuron, v = Theta(tau_mem=25.0), jnp.array([0.3])
    f = lambda i: neuron.flow(state_of(neuron, v), i[None], 2.0).v[0]
    currents = jnp.linspace(-0.01, 0.01, 41)
    slope, curve = jax.jit(jax.vmap(lambda i: (jax.grad(f)(i), jax.grad(jax.grad(f))(i))))(currents)
    assert np.ptp(np.asarray(curve)) < 1e-2 * abs(float(curve[20]))
    np.testing.assert_allclose(
        jnp.diff(slope), 0.5 * (curve[1:] + curve[:-1]) * (currents[1] - currents[0]), rtol=1e-5
    )


@pytest.mark.parametrize(
    "neuron", [LIF(tau_mem=10.0), FlowLIF(tau_mem=10.0), QIF()], ids=lambda n: type(n).__name__
)
def test_split_against_fine_steps_with_event(neuron):
    """The crossing located by diffrax's event handling, and the rest of the step flown from the reset."""
    field = (
        (lambda t, v, i: (v**2 + i) / 10.0) if isinstance(neuron, QIF) else (lambda t, v, i: (i - v) / 10.0)
    )
    v, current = (
        (jnp.array([1.9, 1.96]), jnp.array([2.0, 5.0]))
        if isinstance(neuron, QIF)
        else (jnp.array([0.9, 0.97]), jnp.array([2.5, 4.0]))
    )
    dt = 1.0
    end, path = neuron.travel(state_of(neuron, v), current, dt)
    np.testing.assert_array_equal(path.count, [1, 1])

    control = diffrax.PIDController(rtol=1e-12, atol=1e-13)
    crossing = diffrax.Event(
        lambda t, y, args, **_: y - neuron.v_th, root_finder=optimistix.Newton(rtol=1e-13, atol=1e-13)
    )

    def solve(v, current, end_time, event):
        out = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Dopri8(),
            0.0,
            end_time,
            1e-3,
            v,
            args=current,
            stepsize_controller=control,
            event=event,
        )
        return out.ts[0], out.ys[0]

    def step(v, current):
        at, _ = solve(v, current, dt, crossing)
        return solve(neuron.v_reset, current, dt - at, None)[1]

    expected = jnp.stack([jax.jit(step)(a, i) for a, i in zip(v, current, strict=True)])
    # The QIF's own Runge-Kutta step of 1 ms is what limits it; the LIF is exact.
    np.testing.assert_allclose(end.v, expected, atol=1e-4 if isinstance(neuron, QIF) else 1e-10)


def crossing_steps():
    v, current = (x.ravel() for x in jnp.meshgrid(jnp.linspace(0.9, 0.999, 12), jnp.linspace(1.2, 6.0, 9)))
    return v, current


def test_generic_split_is_the_closed_form():
    v, current = crossing_steps()
    step = lambda neuron: neuron.travel(state_of(neuron, v), current, 0.5)
    (end, path), (generic, generic_path) = jax.jit(
        lambda: (step(LIF(tau_mem=10.0)), step(FlowLIF(tau_mem=10.0)))
    )()
    assert 20 < float(path.count.sum()) < v.size
    np.testing.assert_array_equal(path.count, generic_path.count)
    np.testing.assert_allclose(generic.v, end.v, atol=1e-13)


def test_generic_split_has_the_closed_forms_derivative():
    v, current = crossing_steps()

    def total(cls, v, current, tau, th, reset):
        neuron = cls(tau_mem=tau, v_th=th, v_reset=reset)
        return jnp.sum(jnp.sin(3 * neuron.travel(state_of(neuron, v), current, 0.5)[0].v))

    at = (v, current, jnp.array(10.0), jnp.array(1.0), jnp.array(0.1))
    gradient = lambda cls: jax.jit(jax.grad(lambda *at: total(cls, *at), argnums=(0, 1, 2, 3, 4)))(*at)
    exact, generic = gradient(LIF), gradient(FlowLIF)
    for a, b in zip(generic, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("neuron", [QIF(), FlowLIF(tau_mem=10.0)], ids=lambda n: type(n).__name__)
def test_generic_split_derivative_by_differences(neuron):
    if isinstance(neuron, QIF):
        v, current = (x.ravel() for x in jnp.meshgrid(jnp.linspace(1.3, 1.99, 9), jnp.linspace(1.0, 5.0, 7)))
    else:
        v, current = crossing_steps()
    end = lambda v, current: neuron.travel(state_of(neuron, v), current, 0.5)[0].v
    by_v, by_i = jax.jit(jax.vmap(jax.grad(lambda v, i: end(v[None], i[None])[0], argnums=(0, 1))))(
        v, current
    )
    end = jax.jit(end)
    count = neuron.travel(state_of(neuron, v), current, 0.5)[1].count
    assert 10 < float(count.sum()) < v.size
    e = 1e-6
    np.testing.assert_allclose(
        by_v, (end(v + e, current) - end(v - e, current)) / (2 * e), rtol=1e-6, atol=1e-7
    )
    np.testing.assert_allclose(
        by_i, (end(v, current + e) - end(v, current - e)) / (2 * e), rtol=1e-6, atol=1e-7
    )


@pytest.mark.parametrize("reset", ["subtract", "zero"])
@pytest.mark.parametrize("cls", [LIF, NIF])
def test_grid_resets(cls, reset):
    neuron = cls(tau_mem=10.0, reset=reset, v_reset=0.1)
    v, current = jnp.array([0.98, 0.2]), jnp.array([3.0, 3.0])
    free = neuron.flow(state_of(neuron, v), current, 0.5).v
    end, path = neuron.travel(state_of(neuron, v), current, 0.5)
    np.testing.assert_array_equal(path.count, [1, 0])
    np.testing.assert_allclose(end.v, [free[0] - 0.9 if reset == "subtract" else 0.1, free[1]])


def test_nif_counts_several_spikes_a_step():
    neuron = NIF(tau_mem=1.0)
    end, path = neuron.travel(State(jnp.array([0.25])), jnp.array([3.5]), 1.0)
    assert (float(path.count[0]), float(end.v[0])) == (3, 0.75)


@pytest.mark.parametrize("name", ALL)
def test_total_charge_is_the_number_of_crossings(name):
    network = Network.dense(
        1,
        (6,),
        1,
        neuron=ALL[name],
        synapse=Exponential(5.0, rate_unit=1.0),
        recurrent=False,
        key=jax.random.key(0),
        bias=(1.1, 3.0),
    )
    x = jnp.sin(jnp.arange(400.0) / 30)[:, None]
    gate = Gate("raised_cosine", 0.4)
    smooth = jax.jit(lambda n: simulate(n, x, gate=gate, dt=0.5, save=("release", "v")))(network)
    spikes = jax.jit(lambda n: simulate(n, x, gate=gate.hard(), dt=0.5).counts[0])(network)
    neuron = network.layers[0].neuron
    first, last = (
        neuron.level(gate, state).charge for state in (neuron.init((6,)), smooth.state.layers[0].neuron)
    )
    assert float(spikes.min()) >= 3
    np.testing.assert_allclose(smooth.counts[0], smooth.layers[0].release.sum(0), rtol=1e-12)
    np.testing.assert_allclose(smooth.counts[0] - (last - first), spikes, atol=1e-10)


def test_lif_spikes_are_those_of_the_event_driven_solution():
    # With a constant drive the split step has no error at all: the voltage at the grid points is exact.
    events = EventLIF(Waves(1.0, (), (), ()), Waves(0.0, (), (), ()), duration=100.0)
    theta = np.array([1.7, 0.0])
    times, _ = events.spikes(theta)
    network = Network.dense(
        1,
        (1,),
        1,
        neuron=LIF(tau_mem=10.0),
        synapse=Exponential(5.0, rate_unit=1.0),
        recurrent=False,
        key=jax.random.key(0),
        bias=(0.0, 0.0),
    )
    network = eqx.tree_at(lambda n: n.layers[0].feedforward.weight, network, jnp.array([[1.7]]))
    run = simulate(
        network, jnp.ones((100, 1)), gate=Gate(width=0.2, release="hard"), dt=1.0, save=("release", "v")
    )
    release, v = run.layers[0].release[:, 0], run.layers[0].v[:, 0]
    np.testing.assert_array_equal(np.flatnonzero(release), np.floor(times).astype(int))
    np.testing.assert_allclose(np.diff(times), 10 * np.log(1.7 / 0.7), rtol=1e-12)
    expected = 1.7 * (1 - np.exp(-(100 - times[-1]) / 10))
    assert float(v[-1]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_initial_voltages(name):
    neuron = ALL[name]
    assert np.all(np.asarray(neuron.init((4,)).v) == np.asarray(neuron.v_init))
    v = np.asarray(neuron.init((500,), key=jax.random.key(0)).v)
    assert 0 <= v.min() < 0.05 < 0.95 < v.max() < 1


def test_a_phase_begins_on_the_circle():
    """Outside of it the passage that never was would count as a spike."""
    for wrong in (-0.1, 1.5, [0.2, 3.0]):
        with pytest.raises(ValueError, match="Theta: `v_init` is"):
            Theta(v_init=jnp.asarray(wrong))

    def counts(start):  # as training may move it
        neuron = eqx.tree_at(lambda n: n.v_init, Theta(tau_mem=25.0), jnp.asarray(start))
        own = {"neuron": neuron, "synapse": Exponential(5.0), "recurrent": False, "key": jax.random.key(0)}
        network = Network.dense(1, (3,), 1, **own, bias=(-0.5, -0.4))
        run = simulate(network, jnp.zeros((20, 1)), gate=Gate(width=1.0), dt=1.0)
        return run.counts[0], run.state.layers[0].neuron.v

    for turns in (1.0, 2.0, -3.0):
        for one, other in zip(counts(0.3), counts(0.3 + turns), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
    np.testing.assert_allclose(counts(1.0)[1], counts(0.0)[1])
