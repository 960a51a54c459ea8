"""What every schedule of the sharpness owes."""

import numpy as np
import pytest

from spikejax.training.annealing import SCHEDULES, Annealing

STEPS = 50
MOVING = [name for name in SCHEDULES if name != "constant"]


def path(annealing: Annealing) -> np.ndarray:
    """Sharpness of every update, where the loss stops falling every fourth one."""
    return np.array([annealing.at(step, STEPS, level=step // 4) for step in range(STEPS)])


@pytest.mark.parametrize("name", MOVING)
def test_from_the_first_to_the_last_and_never_back(name):
    sharpness = path(Annealing(sharpness=1.0, sharpness_end=8.0, schedule=name))
    assert sharpness[0] == 1.0
    assert sharpness[-1] == pytest.approx(8.0)
    assert np.all(np.diff(sharpness) >= 0)
    assert np.all(np.isfinite(sharpness))


@pytest.mark.parametrize("name", MOVING)
def test_held_at_either_end(name):
    if not SCHEDULES[name].by_time:
        pytest.skip("goes by the loss, and not by time")
    sharpness = path(Annealing(sharpness=1.0, sharpness_end=8.0, schedule=name, hold=0.2, anneal=0.6))
    assert np.all(sharpness[:11] == 1.0)
    np.testing.assert_allclose(sharpness[29:], 8.0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_layer_is_as_if_alone(name):
    ends = {} if name == "constant" else {"sharpness_end": (8.0, 3.0)}
    both = path(Annealing(sharpness=(1.0, 2.0), schedule=name, **ends))
    for layer, first in enumerate((1.0, 2.0)):
        alone = {key: value[layer] for key, value in ends.items()}
        np.testing.assert_allclose(
            both[:, layer], path(Annealing(sharpness=first, schedule=name, **alone)), rtol=1e-12
        )


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_number_of_updates_of_one(name):
    ends = {} if name == "constant" else {"sharpness_end": 8.0}
    assert np.isfinite(Annealing(sharpness=1.0, schedule=name, **ends).at(0, 1))
