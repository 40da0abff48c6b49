"""Devices that simulated workers report, and requests for them."""

import itertools
import random
from collections.abc import Iterator
from typing import Any

from app.store.queue import GIB
from halftime.contract.resources.worker import WorkerDevice

H200 = WorkerDevice(name="cuda:0", kind="cuda", gpu="NVIDIA H200", memory_bytes=150_754_820_096)
H100 = WorkerDevice(name="cuda:0", kind="cuda", gpu="NVIDIA H100 80GB HBM3", memory_bytes=85_520_809_984)
A100 = WorkerDevice(name="cuda:0", kind="cuda", gpu="NVIDIA A100-SXM4-40GB", memory_bytes=42_298_834_944)
CPU = WorkerDevice(name="cpu", kind="cpu", gpu=None, memory_bytes=64 * GIB)

#: Kinds of requests with their weights. A fleet of four workers or more serves all of them.
CONFIGS: list[tuple[dict[str, Any], int]] = [
    ({"device": "cuda"}, 30),
    ({"device": "auto"}, 15),
    ({"device": "cpu"}, 10),
    ({"device": "cuda", "gpu": "H200"}, 15),
    ({"device": "cuda", "gpu": "H100"}, 10),
    ({"device": "cuda", "gpu": "A100"}, 5),
    ({"device": "cuda", "min_gpu_memory_gib": 80}, 10),
    ({"device": "cuda", "gpu": "H200", "min_gpu_memory_gib": 100}, 5),
]

PRIORITIES = (-10, 0, 0, 0, 10, 50)


def mixed_fleet(workers: int) -> list[WorkerDevice]:
    """This many devices: H200, H100, A100 and CPU in turn."""
    return list(itertools.islice(itertools.cycle([H200, H100, A100, CPU]), workers))


def request(seed: int, priority: int = 0, **config: object) -> dict[str, Any]:
    """A small benchmark: two blocks, 20 steps. Its seed decides its outcome."""
    training = {"steps": 20, "warmup_steps": 5, "seed": seed}
    blocks = {"min_blocks": 2, "max_blocks": 2}
    return {
        "model": {"kind": "mlp"},
        "config": {"device": "auto", "training": training, "measurement": blocks} | config,
        "labels": {"seed": str(seed)},
        "priority": priority,
    }


def mixed_requests(seed: int) -> Iterator[dict[str, Any]]:
    """Endless requests for mixed devices, with mixed priorities; the same ones for the same seed."""
    draw = random.Random(seed)  # noqa: S311 # nothing secret is drawn
    configs, weights = zip(*CONFIGS, strict=True)
    for number in itertools.count(1000 * seed):
        (config_fields,) = draw.choices(configs, weights)
        yield request(number, draw.choice(PRIORITIES), **config_fields)
