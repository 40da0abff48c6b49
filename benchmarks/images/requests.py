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
        "training": {"batch_size": 128, "steps": 100},
        "measurement": {"min_blocks": 2, "max_blocks": 2},
    },
}

COMPILED: dict[str, Any] = {
    **SHORT,
    "config": {**SHORT["config"], "training": {**SHORT["config"]["training"], "compile": {}}},
}

#: A batch is 75 MB: more than Docker's 64 MB of shared memory, and with all that lies ready less than 1 GiB.
LARGE_BATCHES: dict[str, Any] = {
    "model": {"kind": "convnet", "image_size": 256, "widths": [4], "blocks_per_stage": 1},
    "config": {
        "device": "cpu",
        "data": {"kind": "synthetic", "loader": {"workers": 2}},
        "training": {"batch_size": 96, "steps": 3, "warmup_steps": 1},
        "measurement": {"min_blocks": 2, "max_blocks": 2},
        "timeout_seconds": 150,
    },
}
