"""Small configurations that the tests train, each of one shape: what one test compiles serves the others."""

import tomli_w

PREDICTIVE = {
    "dt": 0.5,
    "task": {
        "kind": "predictive_coding",
        "duration": 20.0,
        "test_duration": 30.0,
        "held_out": [2, 2],
    },
    "network": {
        "layers": [
            {
                "size": 5,
                "bias": [1.1, 1.6],
                "recurrent": {"scale": 0.05},
                "neuron": {"kind": "lif", "tau_mem": 10.0},
                "synapse": {"tau_syn": [2.0, 10.0]},
            }
        ]
    },
    "loss": {"kind": "squared_error"},
    "gate": {"width": 0.4},
    "training": {
        "steps": 5,
        "batch": 4,
        "learning_rate": 0.01,
        "evaluate_every": 2,
        "checkpoint_every": 2,
    },
}
"""Follows a signal: an error at every moment. For sweeps, searches, devices, and schedules of the gate."""

BRAILLE = {
    "dt": 25.0,
    "task": {"clock": 25.0},
    "network": {
        "layers": [
            {
                "size": 8,
                "neuron": {"kind": "lif", "tau_mem": 100.0},
                "synapse": {"tau_syn": [50.0]},
                "bias": [0.5, 1.2],
            }
        ]
    },
    "training": {"steps": 4, "batch": 27, "evaluate_every": 2, "checkpoint_every": 2},
}
"""Classes of recordings that the package brings; defaults wherever it says nothing. For the command line."""

XOR = {
    "dt": 2.0,
    "task": {
        "kind": "delayed_xor",
        "delays": [20.0, 60.0],
        "buckets": [40.0, 60.0],
        "odds": [1.0, 1.0],
        "held_out": [12, 12],
    },
    "network": {
        "layers": [
            {
                "size": 10,
                "neuron": {"kind": "theta", "tau_mem": 25.0, "v_init": 0.25},
                "synapse": {"tau_syn": [5.0, 20.0]},
                "feedforward": {"scale": [3.0, 6.0]},
                "recurrent": {"scale": [0.1, 0.2], "self_excitation": [0.3, 0.9]},
                "bias": [-1.2, -1.0],
            }
        ],
        "readout": {"init": "ridge", "batches": 2},
    },
    "gate": {"width": 1.0},
    "loss": {"kind": "response", "margin": 0.1},
    "noise": {"initial": 0.05},
    "training": {"steps": 4, "batch": 12, "evaluate_every": 2, "checkpoint_every": 2},
}
"""Trials of several lengths, masks, a solved readout, noise. For curricula and analyses."""


def changed(config: dict, **tables) -> dict:
    """`config` with keys of its tables replaced or added: ``changed(XOR, training={"steps": 2})``."""
    merged = {
        k: (v | tables[k] if k in tables and isinstance(v, dict) else tables.get(k, v))
        for k, v in config.items()
    }
    return merged | {k: v for k, v in tables.items() if k not in config}


def toml(config: dict, **tables) -> str:
    """The text of a file with ``changed(config, **tables)``."""
    return tomli_w.dumps(changed(config, **tables))
