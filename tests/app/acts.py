"""Actions of clients and workers, for tests."""

import uuid

from sqlalchemy import text

from app.store import claims, workers
from app.store.database.tables import TraceRow
from halftime.contract.resources.worker import Bandwidth, DeviceCeilings, PrecisionSupport, WorkerDevice
from tests.factories import comparison, request, trial
from worker.comparison.blocks import compare
from worker.report.build import make_report

CPU_JOB = {"model": {"kind": "mlp"}, "config": {"device": "cpu"}}
MIB = 2**20


def support(precision, flops_per_second=None, kernels="native"):
    """A worker's measurement of one precision."""
    remedy = None if kernels == "native" else f"The device has no {precision} arithmetic: use fp32."
    return PrecisionSupport(precision=precision, kernels=kernels, flops_per_second=flops_per_second, remedy=remedy)


#: Measurements of a CPU with BF16 arithmetic, and of one without any half precision.
NATIVE_BF16 = [
    support("fp32", 2.2e11), support("tf32", kernels="absent"), support("fp16", 4.1e9, "emulated"),
    support("bf16", 4.8e11),
]  # fmt: skip
EMULATED = [*NATIVE_BF16[:3], support("bf16", 3.8e9, "emulated")]

CEILINGS = DeviceCeilings(
    flops_per_second={"fp32": 2.32e11, "bf16": 8.1e11},
    memory=[
        Bandwidth(size_bytes=2**16, bytes_per_second=4.01e10),
        Bandwidth(size_bytes=2**28, bytes_per_second=1.23e10),
    ],
    launch_seconds=6.2e-7,
    torch="2.13.0",
    driver=None,
)


async def post(client, body=CPU_JOB, **headers):
    response = await client.post("/benchmarks", json=body, headers=headers)
    assert response.status_code == 202, response.text
    return response.json()


async def claim(client, benchmark, worker_id="node:cpu"):
    """Claim a queued benchmark as a worker would."""
    database = client.app.state.database
    async with database.sessions.begin() as session:
        entry = await session.scalar(
            text("SELECT queue_entry_id FROM benchmarks WHERE id = :id").bindparams(id=uuid.UUID(benchmark["id"]))
        )
        return await claims.take(session, uuid.UUID(benchmark["id"]), entry, worker_id, None)


async def finish(client, benchmark, benchmark_request=None, completed=lambda report: report, **changes):
    """End a queued benchmark as a worker would, with a report of trials that never ran.

    A step of the baseline takes 20 ms and 2 MiB, one of a candidate half of both, unless `changes` say otherwise;
    `completed` adds to the report what no trial measured.
    """
    held = await claim(client, benchmark)
    report = completed(await made_report(benchmark["id"], benchmark_request, **changes))
    async with client.app.state.database.sessions.begin() as session:
        await claims.succeed(session, held, report, claims.pack(report))
    return report


async def made_report(benchmark_id, benchmark_request=None, baseline_seconds=0.02, **changes):
    async def run_trial(spec, deadline_seconds, after_step):
        faster = spec.precision != "fp32"
        seconds = baseline_seconds * (0.5 if faster else 1) * (1 + 0.01 * spec.block)
        return trial(spec, **{"step_seconds": seconds, "peak_bytes": MIB if faster else 2 * MIB} | changes)

    return make_report(
        benchmark_id, await compare(comparison(benchmark_request or request()), run_trial, lambda progress: None)
    )


async def add_trace(client, benchmark, leg, data=b"a trace"):
    """Add the trace of a leg, as if a worker had kept it."""
    async with client.app.state.database.sessions.begin() as session:
        session.add(TraceRow(benchmark_id=uuid.UUID(benchmark["id"]), leg=leg, data=data))


async def register(client, kind="cpu", worker_id="node:cpu", precisions=None, ceilings=None):
    gpu = "NVIDIA H200" if kind == "cuda" else None
    measured = {"precisions": precisions, "ceilings": ceilings}
    device = WorkerDevice(name=kind, kind=kind, gpu=gpu, memory_bytes=2**34, **measured)
    async with client.app.state.database.sessions.begin() as session:
        await workers.register(session, worker_id, uuid.uuid4(), device)
