"""What the tests of adjoints and gradients share: the adjoints, a stimulus, the neurons."""

import jax

from spikejax import LIF, NIF, Checkpointed, Costate, Theta
from spikejax.adjoints import ADJOINTS

DT, STEPS = 0.5, 30
# The default chunk, 6, divides the 30 steps; 7 does not.
VARIANTS = {
    **{name: cls() for name, cls in ADJOINTS.items()},
    "checkpointed costate": Checkpointed(7, inner=Costate()),
}
STIMULUS = 1.2 * jax.random.normal(jax.random.key(1), (2, STEPS, 3)) + 1.0
NEURONS = {"nif": NIF, "lif": LIF, "theta": Theta}
"""Those that the tests make by name, each with a membrane time constant of 10 ms."""
