"""Batches made in advance are those that would have been made."""

import threading

import jax
import jax.numpy as jnp
import pytest

from spikejax.training.ahead import Ahead


def test_what_was_begun_is_handed_over_once():
    made, where = [], []

    def make(name):
        made.append(name)
        where.append(threading.current_thread() is threading.main_thread())
        return jnp.asarray(name)

    ahead = Ahead()
    assert ahead.take(0, lambda: make(0)) == 0
    ahead.begin(1, lambda: make(1))
    assert ahead.take(1, lambda: make(-1)) == 1
    assert ahead.take(2, lambda: make(2)) == 2  # nothing was begun
    ahead.begin(3, lambda: make(3))
    assert ahead.take(7, lambda: make(7)) == 7  # another one is wanted
    assert ahead.take(3, lambda: make(30)) == 30
    assert made == [0, 1, 2, 3, 7, 30]
    assert where == [True, False, True, False, True, True]


def test_precision_and_errors_are_those_of_the_caller():
    ahead = Ahead()
    with jax.enable_x64(True):
        ahead.begin("wide", lambda: jnp.zeros(2) + 1.0)
    assert ahead.take("wide", lambda: None).dtype == jnp.float64
    with jax.enable_x64(False):
        ahead.begin("narrow", lambda: jnp.zeros(2) + 1.0)
    assert ahead.take("narrow", lambda: None).dtype == jnp.float32

    def broken():
        raise OSError("the disk is gone")

    ahead.begin("file", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        ahead.take("file", broken)
    ahead.begin("file", broken)
    assert ahead.take("other", lambda: 1) == 1  # nobody asked for it
