"""What changes with the step of a stage: the gate and the learning rate."""

import numpy as np
import optax
from jaxtyping import Float

from ..config import Config
from ..gates import Gate
from ..releases import Surrogate
from ..training import Annealing, Plateau


def build_gate(config: Config) -> tuple[Gate, Gate]:
    """The gate at the start and at the end of training."""
    g, annealing = config.gate, build_annealing(config)
    gate = Gate(
        g.kernel,
        g.width,
        annealing.start,
        release=Surrogate(detach_reset=True) if g.detach_reset else g.release,
    )
    return gate, gate.sharpen(annealing.end)


def build_annealing(config: Config) -> Annealing:
    """The schedule of the sharpness over a stage."""
    g = config.gate
    end = g.sharpness if g.sharpness_end is None else g.sharpness_end
    kind = "constant" if g.sharpness_end is None else g.schedule
    values = np.broadcast_arrays(*(np.asarray(x, float) for x in (g.sharpness, end, g.hold, g.anneal)))
    return Annealing(kind, *values, plateau=Plateau(**g.plateau.model_dump()) if kind == "plateau" else None)


def sharpness_schedule(config: Config):
    """The sharpness of the gate at a step of a stage, and at the number of plateaus of the loss so far: the
    annealed one, or a mixture up to that."""
    g, annealing, steps = config.gate, build_annealing(config), config.training.steps

    def sharpness_at(step: int, level: int = 0) -> Float[np.ndarray, "*layers"]:
        stretch = 1.0
        if g.mixture is not None:
            first, last = g.mixture
            draw = np.random.default_rng((config.seed, 1, step)).random()
            stretch = min(max(draw - first, 0.0) / max(1 - first - last, 1e-9), 1.0)
        return annealing.at(step, steps, level=level, stretch=stretch)

    return sharpness_at


def learning_rate_schedule(config: Config):
    """The learning rate at a step of a stage: linear warm-up, cosine decay."""
    t = config.training
    warm = round(t.warmup * t.steps)
    rate = optax.cosine_decay_schedule(t.learning_rate, max(t.steps - warm, 1), t.final)
    if warm:
        rate = optax.join_schedules([optax.linear_schedule(0.0, t.learning_rate, warm), rate], [warm])
    return lambda step: float(rate(step))
