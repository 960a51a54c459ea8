"""How exact event-driven QIF neurons are: spike times, pseudospikes and gradients against a file of them.

    python experiments/event_vectors.py FILE

The file is JSON. ``single``: neurons with one weight for each input (`T`, `V0`, `I0`, `t_in`, `w_in`), and in
``exact`` their ordinary spikes `t_spikes`, the next `t_pseudo_k1_k2` after the trial, and the derivatives
`J_w`, `J_tin`, `J_V0` and `J_I0` of them all. ``nets``: recurrent networks (`W_net` and `W_in`, [post, pre],
`t_in`, `j_in`, `V0`, `I0`, `T`), the neuron of each spike (`spike_neuron`) and its factor in a loss (`coef`),
which has the next pseudospike of every neuron added; ``exact``: `t_spikes`, `t_pseudo_k1`, `loss`,
`dW_net_offdiag`, `dW_in`, `dV0`, `dI0`. All is dimensionless, with a membrane time constant of 1 and a
synaptic one of 1/2.

Prints the largest absolute error of each case, and last those of each kind, in float64; exits with 1 if one
of a time is above 1e-10 or one of a gradient above 1e-8, and with 2 for a file that cannot be read.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from spikejax import Exponential, Layer, LinearReadout, Network
from spikejax.connections import ActivationShape, Dense
from spikejax.event_driven import QIF, EventDriven, SpikeTimes, phase_of

BOUNDS = {"times": 1e-10, "gradients": 1e-8}


def network(w_in, w_net, v0):
    """A layer of QIF neurons whose weights are jumps of the current: ``tau_syn rate_unit`` is 1."""
    n, channels = w_in.shape
    shape = ActivationShape((1, n))
    recurrent = None if w_net is None else Dense(weight=w_net[:, None], in_shape=shape)
    neuron = QIF(tau_mem=1.0, v_init=phase_of(v0))
    layer = Layer(
        Dense(weight=w_in, in_shape=(channels,)), recurrent, jnp.zeros(n), neuron, Exponential(0.5, 2.0)
    )
    return Network((layer,), LinearReadout.create(shape, 1, key=jax.random.key(0)))


def spikes(stimulus, w_in, w_net, v0, i0, *, room):
    """Times, ``(room, n)``, pseudospikes after the ordinary ones, and the numbers of these."""
    net = network(w_in, w_net, v0)
    state = net.init()
    state = state._replace(layers=(state.layers[0]._replace(inputs=i0),))
    found = EventDriven(spikes=room)(net, stimulus, state=state)
    return found.spikes[0], found.counts[0]


def difference(found, expected):
    """Largest absolute difference; infinite where one is no number."""
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return np.inf
    return float(np.abs(found - expected).max(initial=0.0))


def check_singles(cases):
    """Errors of every neuron, those of one trial length in one program: lists that are shorter are filled
    up."""
    most = max((len(case["t_in"]) for case in cases), default=0)
    room = max((len(case["exact"]["t_spikes"]) for case in cases), default=0) + 2

    @partial(jax.jit, static_argnums=0)
    def solve(duration, value, *given):
        def times(w, t, v0, i0):
            stimulus = SpikeTimes(t, jnp.arange(most), value, duration=duration, channels=most)
            found, counts = spikes(stimulus, w[None], None, v0[None], i0[None], room=room)
            return found[:, 0], counts[0]

        jacobian, counts = jax.jacrev(times, argnums=(0, 1, 2, 3), has_aux=True)(*given)
        return times(*given)[0], counts, jacobian

    for case in cases:
        inputs, exact, ordinary = len(case["t_in"]), case["exact"], len(case["exact"]["t_spikes"])
        fill = lambda x, value: np.pad(np.asarray(x, float), (0, most - inputs), constant_values=value)
        given = fill(case["w_in"], 0.0), fill(case["t_in"], case["T"]), case["V0"], case["I0"]
        found, count, jacobian = solve(
            float(case["T"]), fill(np.ones(inputs), 0.0), *(jnp.asarray(x, float) for x in given)
        )
        used = slice(ordinary + 2)
        right = int(count) == ordinary
        errors = {
            "times": difference(found[:ordinary], exact["t_spikes"]) if right else np.inf,
            "pseudospikes": difference(found[ordinary : ordinary + 2], exact["t_pseudo_k1_k2"]),
        }
        names = ("J_w", "J_tin", "J_V0", "J_I0")
        for name, part in zip(names, jacobian, strict=True):
            part = part[used, :inputs] if part.ndim > 1 else part[used]
            errors[name] = difference(part, exact[name])
        yield case["id"], errors


def check_networks(cases):
    """Errors of every network."""
    for case in cases:
        exact, who = case["exact"], np.asarray(case["spike_neuron"], int)
        # Which of its neuron's spikes each one is.
        slot = np.array([np.sum(who[:k] == i) for k, i in enumerate(who)], int)
        number = np.bincount(who, minlength=case["N"])
        stimulus = SpikeTimes(case["t_in"], case["j_in"], duration=case["T"], channels=case["Nin"])
        solve = partial(spikes, stimulus, room=int(number.max(initial=0)) + 1)

        @jax.jit
        @partial(jax.value_and_grad, argnums=(0, 1, 2, 3), has_aux=True)
        def loss(w_net, w_in, v0, i0):
            times, counts = solve(w_in, w_net, v0, i0)
            ordinary, after = times[slot, who], times[number, np.arange(case["N"])]
            return jnp.asarray(case["coef"]) @ ordinary + after.sum(), (ordinary, after, counts)

        given = (jnp.asarray(case[name], float) for name in ("W_net", "W_in", "V0", "I0"))
        (value, (ordinary, after, counts)), gradients = loss(*given)
        right = np.array_equal(counts, number)
        errors = {
            "times": difference(ordinary, exact["t_spikes"]) if right else np.inf,
            "pseudospikes": difference(after, exact["t_pseudo_k1"]),
            "loss": difference(value, exact["loss"]),
        }
        names = ("dW_net_offdiag", "dW_in", "dV0", "dI0")
        for name, gradient in zip(names, gradients, strict=True):
            off = 1 - np.eye(case["N"]) if name == "dW_net_offdiag" else 1.0
            errors[name] = difference(off * gradient, exact[name])
        yield case["id"], errors


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="JSON file of cases")
    path = parser.parse_args(argv).file
    jax.config.update("jax_enable_x64", True)
    worst: dict[str, float] = {}
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))
        for checked in (check_singles(cases.get("single", [])), check_networks(cases.get("nets", []))):
            for name, errors in checked:
                print(name, *(f"{kind} {error:.1e}" for kind, error in errors.items()), flush=True)
                for kind, error in errors.items():
                    worst[kind] = max(worst.get(kind, 0.0), error)
    except OSError as error:
        parser.error(f"{path}: {error.strerror or error}")
    except KeyError as error:
        parser.error(f"{path}: a case has no {error}")
    except (ValueError, TypeError, AttributeError) as error:
        parser.error(f"{path}: {' '.join(str(error).split())}")
    if not worst:
        parser.error(f"{path}: there is no case in it, under `single` or `nets`")
    wrong = []
    for kind, error in worst.items():
        of = "times" if kind in ("times", "pseudospikes", "loss") else "gradients"
        wrong += [kind] if error > BOUNDS[of] else []
        print(f"{kind}: {error:.1e} (bound {BOUNDS[of]:.0e})")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
