"""Which queue a request belongs to, and which queues a device serves."""

import pytest

from app.store.queue import GIB, queue_of, queues_of
from halftime.contract.request.request import BenchmarkConfig
from halftime.contract.resources.worker import WorkerDevice

H200 = WorkerDevice(name="cuda:0", kind="cuda", gpu="NVIDIA H200", memory_bytes=150_754_820_096)
H100 = WorkerDevice(name="cuda:0", kind="cuda", gpu="NVIDIA H100 80GB HBM3", memory_bytes=85_520_809_984)
CPU = WorkerDevice(name="cpu", kind="cpu", gpu=None, memory_bytes=24 * GIB)


@pytest.mark.parametrize(
    ("asked", "takers"),
    [
        ({}, {"H200", "H100"}),
        ({"gpu": "h200"}, {"H200"}),
        ({"gpu": "H100"}, {"H100"}),
        ({"min_gpu_memory_gib": 100}, {"H200"}),
        ({"min_gpu_memory_gib": 80}, {"H200", "H100"}),
        ({"gpu": "H100", "min_gpu_memory_gib": 100}, set()),
        ({"device": "cpu"}, {"CPU"}),
    ],
)
def test_a_job_reaches_exactly_the_devices_that_satisfy_it(asked, takers):
    queue = queue_of(BenchmarkConfig(**asked), cuda_seen=True)
    fleet = {"H200": H200, "H100": H100, "CPU": CPU}
    assert {name for name, device in fleet.items() if queue in queues_of(device)} == takers


def test_an_auto_job_that_wants_a_certain_gpu_takes_no_other_in_its_absence():
    queue = queue_of(BenchmarkConfig(device="auto", gpu="H200"), cuda_seen=False)
    assert queue in queues_of(CPU)
    assert queue not in queues_of(H100)


def test_auto_goes_to_anyone_where_no_cuda_was_seen():
    queue = queue_of(BenchmarkConfig(device="auto"), cuda_seen=False)
    assert all(queue in queues_of(device) for device in (H200, H100, CPU))
