"""The benchmarks that are posted."""

from typing import Any

#: Ends within seconds.
SHORT: dict[str, Any] = {
    "model": {"kind": "mlp", "input_size": 16, "hidden_size": 32, "num_layers": 1},
    "config": {
        "device": "cpu",
        "training": {"batch_size": 16, "steps": 3, "warmup_steps": 1},
        "measurement": {"min_blocks": 2, "max_blocks": 2},
    },
}

#: Would train for many minutes: to be interrupted.
LONG: dict[str, Any] = {
    "model": {"kind": "mlp", "hidden_size": 1024},
    "config": {"device": "cpu", "training": {"batch_size": 256, "steps": 10_000}},
}

#: Two blocks of trials of some seconds each: it is under way when something is killed, and ends soon.
BLOCKS: dict[str, Any] = {
    "model": {"kind": "mlp", "hidden_size": 1024},
    "config": {
        "device": "cpu",
        "training": {"batch_size": 64, "steps": 60},
        "measurement": {"min_blocks": 2, "max_blocks": 2},
    },
}

COMPILED: dict[str, Any] = {
    **SHORT,
    "config": {**SHORT["config"], "training": {**SHORT["config"]["training"], "compile": {}}},
}

#: A batch is 79 MB: more than Docker's 64 MB of shared memory, and with all that lies ready less than 1 GiB. What is
#: done with it is little.
LARGE_BATCHES: dict[str, Any] = {
    "model": {"kind": "mlp", "input_size": 65_536, "hidden_size": 8, "num_layers": 1},
    "config": {
        "device": "cpu",
        "data": {"kind": "synthetic", "loader": {"workers": 2}},
        "training": {"batch_size": 300, "steps": 3, "warmup_steps": 1},
        "measurement": {"min_blocks": 2, "max_blocks": 2},
    },
}
