"""Delayed-memory XOR: remember two pulses, and answer whether their signs differ when asked to."""

from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..component import option
from ..stimulus import as_array, steps_in
from .base import TASKS, AbstractTask, Probe, Trial

KINDS = ("++", "+-", "-+", "--", "+0", "-0")
"""Signs of the two pulses; 0 where only one comes."""
PULSES = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1], [1, 0], [-1, 0]])
ANSWERS = ("-", "none", "+")
SIGNS = np.array([-1, 1, 1, -1, 0, 0])
"""Sign of the answer to each kind."""


GRID = 4.0
"""Delays are multiples of this, ms, so that a trial is the same at every `dt` that divides it."""


class Response(NamedTuple):
    """What is expected of the readout, and what it is judged by."""

    signal: Float[Array, "*batch time 1"]
    """Target of the readout."""
    weight: Float[Array, "*batch time"]
    """Weight of each step in the squared error."""
    template: Float[Array, "*batch time"]
    """``shape/|shape|^2`` of the answer's pulse, 0 outside its window: the readout's projection on it is its
    amplitude."""


@TASKS.register("delayed_xor")
class DelayedXOR(AbstractTask):
    """Two pulses to remember, and whether their signs differ to answer after a go cue; generated.

    Delayed-memory exclusive or, on the timing of one trial (ms):
    ```
    baseline | pulse 1 | delay 1 | pulse 2 | delay 2 | go cue
                                              lag after the cue's begin: response window | tail
    ```
    Channel 0 carries the pulses, +-1; channel 1 the go cue, 1. In the response window the readout owes a
    pulse ``sin^2``: positive if the two pulses had opposite signs, negative if equal, none if only one came
    (the first or the second). The six kinds of trial are balanced. Both delays are drawn uniformly for every
    trial, on a grid of 4 ms.

    **Arguments:** `dt` (ms); `delays`: shortest and longest delay of held-out trials, ms; `buckets`: longest
    delays of training batches, ms, one drawn for each batch with probability in proportion to `odds` (a batch
    is as long as its longest trial could be: mixing short with long costs less than always long, and short
    delays are learned first); `pulse`, `cue`, `response`, `lag`, `baseline`, `tail`: durations, ms;
    `weights`: of response, baseline and tail in the squared error, each window's mean; `held_out`: trials of
    the validation and of the test split.

    **Reference:** Huh & Sejnowski 2018, section 3.2. Durations of the pulses and windows, the mixture and the
    weights are ours.
    """

    target: ClassVar[str] = "response"

    dt: float = option(unit="ms", doc="time step", above=0.0, in_table=False, kw_only=False)
    delays: tuple[float, float] = option(
        (20.0, 700.0),
        unit="ms",
        doc="shortest and longest delay of held-out trials",
        at_least=0.0,
        length=(2, 2),
        staged=False,
    )
    buckets: tuple[float, ...] = option(
        (80.0, 248.0, 700.0),
        unit="ms",
        doc="longest delays of training batches, one drawn for each batch",
        above=0.0,
        length=(1, None),
    )
    odds: tuple[float, ...] = option(
        (0.25, 0.4, 0.35), doc="probability of each bucket, up to a factor", at_least=0.0, length=(1, None)
    )
    pulse: float = option(24.0, unit="ms", doc="duration of a pulse", above=0.0)
    cue: float = option(24.0, unit="ms", doc="duration of the go cue", above=0.0)
    lag: float = option(20.0, unit="ms", doc="from the cue's begin to the response window", at_least=0.0)
    response: float = option(80.0, unit="ms", doc="response window", above=0.0)
    baseline: float = option(40.0, unit="ms", doc="before the first pulse", above=0.0)
    tail: float = option(60.0, unit="ms", doc="after the response window", above=0.0)
    weights: tuple[float, float, float] = option(
        (1.0, 0.3, 0.1),
        doc="weight of response, baseline and tail in the squared error",
        at_least=0.0,
        length=(3, 3),
    )
    held_out: tuple[int, int] = option(
        (240, 600),
        doc="trials of the validation and of the test split",
        at_least=1.0,
        length=(2, 2),
        staged=False,
    )
    channels: int = eqx.field(static=True, default=2, init=False)
    outputs: int = eqx.field(static=True, default=1, init=False)
    labels: tuple[str, ...] = eqx.field(static=True, default=ANSWERS, init=False)

    def __check_init__(self):
        super().__check_init__()
        if len(self.buckets) != len(self.odds):
            raise ValueError(
                f"`odds` has {len(self.odds)} entries, `buckets` {len(self.buckets)}: give one probability "
                "for each bucket"
            )
        longest = min(self.delays[1], *self.buckets)
        if self.delays[0] > longest:
            raise ValueError(
                f"`delays` begin at {self.delays[0]:g} ms, above the longest delay of {longest:g} ms"
            )
        if not sum(self.odds) > 0:
            raise ValueError("`odds` are all 0: give at least one bucket a probability")
        longest = max(self.delays[1], *self.buckets)
        steps_in(self._duration(longest), self.dt, "a trial")
        if abs(GRID / self.dt - round(GRID / self.dt)) > 1e-6:
            raise ValueError(f"`dt` of {self.dt:g} ms does not divide {GRID:g} ms, the grid of the delays")
        for value in (*self.delays, *self.buckets):
            if value % GRID:
                raise ValueError(
                    f"a delay of {value:g} ms is not on the grid of delays: use multiples of {GRID:g} ms"
                )
        for name in ("pulse", "cue", "lag", "response", "baseline", "tail"):
            value = getattr(self, name)
            steps = steps_in(value, self.dt, f"`{name}`")
            if abs(steps - round(steps)) > 1e-6:
                raise ValueError(
                    f"`{name}` of {value:g} ms is not a whole number of steps of `dt` = {self.dt:g} ms"
                )

    @property
    def draws_length(self) -> bool:
        """With more than one bucket."""
        return len(self.buckets) > 1

    def steps(self, longest: float) -> int:
        """Steps of a trial whose delays are at most `longest` ms."""
        return round(self._duration(longest) / self.dt)

    def _duration(self, longest: float) -> float:
        """Length of such a trial, ms."""
        return self.baseline + 2 * self.pulse + 2 * longest + self.lag + self.response + self.tail

    def moments(self, delays: Float[Array, " 2"] | tuple[float, float]) -> tuple:
        """Begin of pulse 1, pulse 2, cue and response window, ms."""
        first = self.baseline
        second = first + self.pulse + delays[0]
        cue = second + self.pulse + delays[1]
        return first, second, cue, cue + self.lag

    def batch(self, key, step, size):
        key = jax.random.fold_in(key, step)
        odds = np.asarray(self.odds) / sum(self.odds)
        # On the host, since it decides the length of the arrays.
        longest = float(
            np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist()).choice(self.buckets, p=odds)
        )
        return _trials(self, key, size, self.delays[0], longest, longest)

    def split(self, name):
        seed, size = {"validation": (1, self.held_out[0]), "test": (2, self.held_out[1])}[name]
        return _trials(self, jax.random.key(seed), size, *self.delays, self.delays[1])

    def aligned(self, delay: float, size: int) -> Trial:
        """Fresh trials whose two delays are both `delay` ms, so that all moments coincide; kinds in turn."""
        return _trials(self, jax.random.key(3), size, delay, delay, delay)

    def probe(self, dt, size):
        delay = min(400.0, self.delays[1])
        trials = self.aligned(delay, size)
        first, second, cue, begin = (float(m) for m in self.moments((delay, delay)))
        sign = np.asarray(as_array(trials.stimulus)[:, round(first / dt), 0]).astype(int)
        kind = np.arange(size) % len(KINDS)
        # Trials whose only pulse is the second one have nothing to remember before it.
        groups = {"first pulse": sign + 1, "answer": np.asarray(trials.label), "kind": kind}
        end = begin + self.response
        return Probe(
            trials,
            groups,
            {"first pulse": ("-", "none", "+"), "answer": ANSWERS, "kind": KINDS},
            {"pulse 1": first, "pulse 2": second, "cue": cue, "response": begin},
            {"after pulse 1": (first, second, "first pulse"), "after the cue": (cue, end, "answer")},
        )

    def _trial(
        self, key: PRNGKeyArray, kind: Int[Array, ""], low: float, high: float, longest: float
    ) -> Trial:
        key_delay, key_order, key_state = jax.random.split(key, 3)
        delays = jnp.round(jax.random.uniform(key_delay, (2,), minval=low, maxval=high) / GRID) * GRID
        dtype = jnp.result_type(float)
        pulses = jnp.asarray(PULSES, dtype)[kind]
        swap = jax.random.bernoulli(key_order) & (pulses[1] == 0)
        pulses = jnp.where(swap, pulses[::-1], pulses)
        t = jnp.arange(self.steps(longest), dtype=dtype) * self.dt
        first, second, cue, begin = self.moments(delays)

        def during(start, duration):
            return ((t > start - self.dt / 2) & (t < start + duration - self.dt / 2)).astype(dtype)

        signal = pulses[0] * during(first, self.pulse) + pulses[1] * during(second, self.pulse)
        stimulus = jnp.stack([signal, during(cue, self.cue)], axis=-1)
        window, before, after = (
            during(begin, self.response),
            during(0.0, begin),
            during(begin + self.response, self.tail),
        )
        shape = window * jnp.sin(jnp.pi * (t + self.dt / 2 - begin) / self.response) ** 2
        weight = jnp.zeros_like(t)
        for w, stretch in zip(self.weights, (window, before, after), strict=True):
            weight = weight + w * stretch / jnp.sum(stretch)
        sign = jnp.asarray(SIGNS)[kind]
        target = Response((sign.astype(dtype) * shape)[:, None], weight, shape / jnp.sum(shape**2))
        mask = t < begin + self.response + self.tail - self.dt / 2
        return Trial(stimulus, target, mask, label=sign + 1, key=key_state)


@eqx.filter_jit
def _trials(task: DelayedXOR, key: PRNGKeyArray, size: int, low: float, high: float, longest: float) -> Trial:
    kinds = jnp.arange(size) % len(KINDS)
    return jax.vmap(lambda k, kind: task._trial(k, kind, low, high, longest))(
        jax.random.split(key, size), kinds
    )


__all__ = ["ANSWERS", "GRID", "KINDS", "PULSES", "SIGNS", "DelayedXOR", "Response"]
