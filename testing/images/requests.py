"""Benchmarks that the checks submit."""

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

#: Would run for many minutes, so that it can be interrupted.
LONG: dict[str, Any] = {
    "model": {"kind": "mlp", "hidden_size": 1024},
    "config": {"device": "cpu", "training": {"batch_size": 256, "steps": 10_000}},
}

#: Two blocks of trials of some seconds each: still running when something is killed, and over soon.
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

#: A batch is 79 MB: more than Docker's 64 MB of shared memory; with prefetching, all batches take less than 1 GiB.
#: The model is small, so that training is fast.
LARGE_BATCHES: dict[str, Any] = {
    "model": {"kind": "mlp", "input_size": 65_536, "hidden_size": 8, "num_layers": 1},
    "config": {
        "device": "cpu",
        "data": {"kind": "synthetic", "loader": {"workers": 2}},
        "training": {"batch_size": 300, "steps": 3, "warmup_steps": 1},
        "measurement": {"min_blocks": 2, "max_blocks": 2},
    },
}
