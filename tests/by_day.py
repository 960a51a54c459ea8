"""Which parameters of a test are run by day."""

import pytest


def by_day(values, chosen) -> list:
    """All `values` as parameters, a tuple for several names: those that are not `chosen` are run at night."""
    several = lambda value: value if isinstance(value, tuple) else (value,)
    return [
        pytest.param(*several(value), marks=() if value in chosen else pytest.mark.nightly)
        for value in values
    ]
