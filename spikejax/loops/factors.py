"""The derivatives of a neuron's step, for many steps at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import Literal
from jaxtyping import Array, PyTree

from ..cell import Cell

FEWEST, MOST = 60, 12
"""A step is worth it from so many operations on, up to so many derivatives."""


class Fired(NamedTuple):
    """What a step of a neuron gives."""

    neuron: PyTree
    """Its state; None where that is no real number."""
    charge: Array
    prompt: Array | None
    """None: all of the charge is."""


class Factors(NamedTuple):
    """Derivatives of what a step gives (`Fired`) by what it is given, the state and the input of a neuron."""

    columns: tuple[tuple[Array | None, ...], ...]
    """For every array that is given, of every array that comes out, ``(*n)``; None where it is 0."""

    def pull(self, cotangents: list[Array]) -> list[Array]:
        """The cotangents of what is given."""

        def one(column):
            terms = [a * c for a, c in zip(column, cotangents, strict=True) if a is not None]
            return sum(terms[1:], terms[0]) if terms else jnp.zeros_like(cotangents[0])

        return [one(column) for column in self.columns]


def fires(cell: Cell, still: Any) -> Callable[[Any, Any], Fired]:
    """The step of the neurons of a cell through its gate, as a function of the real numbers of their state, and
    of their input; `still` is the rest of their state."""

    def fire(moving, given) -> Fired:
        neuron, released = cell.gate.step(cell.neuron, eqx.combine(moving, still), given, cell.dt)
        prompt = None if released.prompt is released.charge else released.prompt
        return Fired(eqx.filter(neuron, eqx.is_inexact_array), released.charge, prompt)

    return fire


def worthwhile(cell: Cell, neuron: Any, current: Array) -> bool:
    """Whether the derivatives of a step are computed before the loop.

    They are the more numbers to write and to read, the more variables a neuron has; in the loop each of the arrays
    that it writes is a kernel of its own on a CPU, which computes the whole step again.

    **Arguments:** `neuron`, `current`: of one step.
    """
    moving, still = eqx.partition(neuron, eqx.is_inexact_array)
    given, shape = cell.input(current), neuron.v.shape
    if any(x.shape != shape for x in jax.tree.leaves((moving, given))):
        return False
    fire = fires(cell, still)
    operations = _count(jax.make_jaxpr(fire)(moving, given).jaxpr)
    return operations >= FEWEST and sum(map(sum, _present(fire, moving, given))) <= MOST


def factors(cell: Cell, neuron: Any, current: Array) -> Factors:
    """The derivatives of the steps of a series of states ``(time, *n)`` and currents."""
    moving, still = eqx.partition(neuron, eqx.is_inexact_array)
    first = lambda tree: jax.tree.map(lambda x: x[0], tree)
    given = jax.vmap(cell.input)(current)
    present = _present(fires(cell, first(still)), first(moving), first(given))
    every = jax.vmap(lambda moving, still, given: _columns(fires(cell, still), moving, given))
    found = every(moving, still, given)
    kept = lambda column, there: tuple(x if b else None for x, b in zip(column, there, strict=True))
    return Factors(tuple(map(kept, found, present)))


def _columns(fire, moving, given) -> list[list[Array]]:
    leaves, tree = jax.tree.flatten((moving, given))

    def column(i):
        run = lambda x: jax.tree.leaves(fire(*tree.unflatten([*leaves[:i], x, *leaves[i + 1 :]])))
        return jax.jvp(run, (leaves[i],), (jnp.ones_like(leaves[i]),))[1]

    return [column(i) for i in range(len(leaves))]


def _present(fire, moving, given) -> list[list[bool]]:
    """Which of the derivatives are not 0 by the structure of the step alone."""
    shapes = jax.eval_shape(lambda *x: x, moving, given)
    jaxpr = jax.make_jaxpr(lambda moving, given: _columns(fire, moving, given))(*shapes).jaxpr
    zeros = {out for eqn in jaxpr.eqns if _is_zero(eqn) for out in eqn.outvars}
    there = [not (isinstance(v, Literal) or v in zeros) for v in jaxpr.outvars]
    count = len(jax.tree.leaves(shapes))
    size = len(there) // count
    return [there[size * i : size * (i + 1)] for i in range(count)]


def _is_zero(eqn) -> bool:
    of = eqn.invars[0] if eqn.primitive.name == "broadcast_in_dim" else None
    return isinstance(of, Literal) and jnp.issubdtype(of.aval.dtype, jnp.floating) and bool(of.val == 0)


def _count(jaxpr) -> int:
    """Operations of a program, those of the programs within it too."""
    inner = [p for eqn in jaxpr.eqns for p in jax.tree.leaves(tuple(eqn.params.values()), is_leaf=_is_program)]
    return len(jaxpr.eqns) + sum(_count(getattr(p, "jaxpr", p)) for p in inner if _is_program(p))


def _is_program(x: Any) -> bool:
    return hasattr(x, "eqns") or hasattr(getattr(x, "jaxpr", None), "eqns")


__all__ = ["Factors", "factors", "fires", "worthwhile"]
