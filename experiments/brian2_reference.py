"""Spike times of a small deterministic recurrent network by Brian2, for `tests/data/brian2_network.json`.

    python -m venv brian && brian/bin/pip install brian2==2.9.0 'numpy<2.4'
    brian/bin/python experiments/brian2_reference.py

Brian2 is not a dependency of the tests: its releases lag behind NumPy's. Eight leaky integrate-and-fire
neurons, six excitatory and two inhibitory, with exponential synaptic currents and a refractory period;
Brian2's exact integration of the linear equations, its thresholds and resets on the grid.
"""

import json
from pathlib import Path

import brian2 as b2
import numpy as np

SIZE, TAU_MEM, TAU_SYN, TAU_REF, DURATION = 8, 20.0, 5.0, 2.0, 150.0
DRIVE = np.linspace(1.5, 2.2, SIZE)
PRE, POST = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
# A ring of excitation whose strength differs, and two neurons that inhibit all others. Row: to, column: from.
WEIGHT = np.where(PRE < 6, 1.2 * np.exp(-(((POST - PRE) % SIZE) - 1.0)), -1.0) * (PRE != POST)


def spikes(dt: float) -> list[list[float]]:
    """Spike times of every neuron, ms. A spike adds area: the integral of s is the weight in ms."""
    b2.start_scope()
    b2.defaultclock.dt = dt * b2.ms
    group = b2.NeuronGroup(
        SIZE,
        "dv/dt = (-v + drive + s)/tau_mem : 1 (unless refractory)\nds/dt = -s/tau_syn : 1\ndrive : 1",
        threshold="v >= 1", reset="v = 0", refractory=TAU_REF * b2.ms, method="exact",
        namespace={"tau_mem": TAU_MEM * b2.ms, "tau_syn": TAU_SYN * b2.ms},
    )  # fmt: skip
    group.drive = DRIVE
    synapses = b2.Synapses(group, group, "w : 1", on_pre="s_post += w")
    rows, columns = np.nonzero(WEIGHT)
    synapses.connect(i=columns, j=rows)
    synapses.w = WEIGHT[rows, columns] / TAU_SYN
    monitor = b2.SpikeMonitor(group)
    b2.run(DURATION * b2.ms)
    trains = monitor.spike_trains()
    return [np.round(np.asarray(trains[i] / b2.ms), 6).tolist() for i in range(SIZE)]


if __name__ == "__main__":
    b2.prefs.codegen.target = "numpy"
    found = {
        "source": f"experiments/brian2_reference.py, Brian2 {b2.__version__}",
        "tau_mem": TAU_MEM, "tau_syn": TAU_SYN, "tau_ref": TAU_REF, "duration": DURATION,
        "drive": DRIVE.tolist(), "weight": WEIGHT.tolist(),
        "spikes": {f"{dt:g}": spikes(dt) for dt in (0.1, 0.05, 0.01)},
    }  # fmt: skip
    Path("tests/data/brian2_network.json").write_text(json.dumps(found) + "\n")
