"""What a contestant is once it is built."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Built(NamedTuple):
    """A gradient step that is ready to be run."""

    step: Callable[[], Any]
    """One step, to its end."""
    result: Callable[[Any], tuple[float, dict[str, np.ndarray]]]
    """What `step` gave as the loss and the gradients of the weights of the problem, by their names."""
    facts: dict[str, float]
    """What is known beside the time: ``compile_s``, ``temporaries_mib``."""
    traces: Callable[[], int | None] = lambda: None
    """How often the loss has been run as Python so far, where that is once for every compilation."""
