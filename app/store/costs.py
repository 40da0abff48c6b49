"""The rough cost of a request, by what finished benchmarks took on such a device."""

import statistics
from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from app import queue
from app.contract.benchmark import Summary
from app.contract.cost import Cost, Preview
from app.contract.precisions import DeviceKind, PrecisionName
from app.contract.request import BenchmarkRequest
from app.store import workers
from app.store.tables import BenchmarkRow

#: Finished benchmarks that an estimate is taken from, the newest.
LOOKED_BACK = 20


async def preview(session: AsyncSession, request: BenchmarkRequest) -> Preview:
    """What would run, where, and what it would cost; stores nothing."""
    cuda_seen = (await workers.fleet(session)).cuda_seen
    queue_name = queue.queue_of(request.config, cuda_seen=cuda_seen)
    device: DeviceKind = "cuda" if queue_name.startswith("cuda") else "cpu"
    online: int = (await session.execute(select(workers.serving(literal(queue_name))))).scalar_one()
    return Preview(
        request=request,
        parameter_count=request.model.parameter_count(),
        device=device,
        workers_online=online,
        cost=_cost(request, device, await _finished(session, device)),
    )


async def _finished(session: AsyncSession, device: DeviceKind) -> list[Summary]:
    on_gpu = BenchmarkRow.worker_gpu.is_not(None)
    query = select(BenchmarkRow.summary).where(
        BenchmarkRow.status == "succeeded", on_gpu if device == "cuda" else ~on_gpu
    )
    newest = query.order_by(BenchmarkRow.id.desc()).limit(LOOKED_BACK)
    return [Summary.model_validate(summary) for summary in await session.scalars(newest)]


def _cost(request: BenchmarkRequest, device: DeviceKind, finished: Sequence[Summary]) -> Cost:
    config = request.config
    legs: list[PrecisionName] = [config.baseline, *config.resolved_candidates(device)]
    if config.measurement.control:
        legs.append(config.baseline)
    per_sample = request.model.training_flops_per_sample()
    flops = None if per_sample is None else float(per_sample * config.training.batch_size * config.training.steps)
    fewest, most = config.measurement.min_blocks, config.measurement.max_blocks
    block_seconds, basis = _block_seconds(legs, flops, finished, device)
    budget = config.measurement.time_budget_seconds
    least_seconds = None if block_seconds is None else fewest * block_seconds
    most_seconds = None if block_seconds is None else most * block_seconds
    if least_seconds is not None and most_seconds is not None:
        most_seconds = max(least_seconds, min(most_seconds, budget))
    return Cost(
        least_trials=fewest * len(legs),
        most_trials=most * len(legs),
        least_training_flops=None if flops is None else fewest * len(legs) * flops,
        most_training_flops=None if flops is None else most * len(legs) * flops,
        least_seconds=least_seconds,
        most_seconds=most_seconds,
        basis=basis,
    )


def _block_seconds(
    legs: list[PrecisionName], flops: float | None, finished: Sequence[Summary], device: DeviceKind
) -> tuple[float | None, str]:
    """Seconds of one block, and what they are taken from."""
    if flops is None:
        return None, "the work of this kind of model is counted by a worker, as its first step"
    rates: defaultdict[str, list[float]] = defaultdict(list)
    for summary in finished:
        for leg in summary.legs:
            if leg.achieved_flops_per_second:
                rates[leg.precision].append(leg.achieved_flops_per_second)
    overheads = [one.overhead_seconds_per_trial for one in finished if one.overhead_seconds_per_trial is not None]
    unknown = {leg for leg in legs if not rates[leg]}
    if unknown or not overheads:
        return None, f"no benchmark with {', '.join(sorted(unknown or legs))} has ended on a {device} device yet"
    seconds = sum(flops / statistics.median(rates[leg]) for leg in legs) + len(legs) * statistics.median(overheads)
    return seconds, f"the throughput of the last {len(finished)} benchmarks on a {device} device"
