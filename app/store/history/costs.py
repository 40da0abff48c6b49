"""The rough cost of a request: by what finished benchmarks took on such a device, else by what its workers measured."""

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.store import queue, workers
from app.store.database.tables import BenchmarkRow
from app.store.history.forewarnings import precision_warnings
from halftime.contract.precisions import DeviceKind, PrecisionName
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.benchmark import Summary
from halftime.contract.resources.cost import Cost, Preview
from halftime.contract.resources.worker import WorkerDevice

#: Finished benchmarks that an estimate is taken from, the newest.
LOOKED_BACK = 20

#: Of the rate of a device's matrix products, what training reaches at least. A small transformer reached 52 % of the
#: fastest in FP32 and 29 % in BF16 on one CPU, 39 % and 12 % on one that has AMX for BF16
#: (the demo in docs/results.md).
LEAST_SHARE_OF_PRODUCTS = 0.1

#: Of a trial outside its measured steps, at most, where no benchmark has told it: 3.4 s in the demo of docs/results.md.
OVERHEAD_SECONDS = 4.0


async def preview(session: AsyncSession, request: BenchmarkRequest) -> Preview:
    """What would run, where, and what it would cost; stores nothing."""
    cuda_seen = (await workers.fleet(session)).cuda_seen
    queue_name = queue.queue_of(request.config, cuda_seen=cuda_seen)
    device: DeviceKind = "cuda" if queue_name.startswith("cuda") else "cpu"
    serving = await workers.serving_devices(session, queue_name)
    known = _Known(device, await _finished(session, device), serving)
    return Preview(
        request=request,
        parameter_count=request.model.parameter_count(),
        device=device,
        workers_online=len(serving),
        cost=_cost(request, known),
        warnings=precision_warnings(request, serving),
    )


async def _finished(session: AsyncSession, device: DeviceKind) -> list[Summary]:
    on_gpu = BenchmarkRow.worker_gpu.is_not(None)
    query = select(BenchmarkRow.summary).where(
        BenchmarkRow.status == "succeeded", on_gpu if device == "cuda" else ~on_gpu
    )
    newest = query.order_by(BenchmarkRow.id.desc()).limit(LOOKED_BACK)
    return [Summary.model_validate(summary) for summary in await session.scalars(newest)]


@dataclass(frozen=True)
class _Range:
    """Seconds, at least and at most."""

    least: float
    most: float


class _Known:
    """What there is to go by for a kind of device."""

    def __init__(self, device: DeviceKind, finished: Sequence[Summary], serving: Sequence[WorkerDevice]) -> None:
        self.device, self._finished, self._serving = device, finished, serving
        self._throughputs: defaultdict[PrecisionName, list[float]] = defaultdict(list)
        for leg in (leg for summary in finished for leg in summary.legs):
            if leg.achieved_flops_per_second:
                self._throughputs[leg.precision].append(leg.achieved_flops_per_second)

    def training(self, precision: PrecisionName, flops: float) -> _Range | None:
        """Seconds of so much training; None where neither a benchmark nor a worker has measured the precision."""
        if throughputs := self._throughputs[precision]:
            seconds = flops / statistics.median(throughputs)
            return _Range(seconds, seconds)
        if rates := self._rates(precision):
            seconds = flops / statistics.median(rates)
            return _Range(seconds, seconds / LEAST_SHARE_OF_PRODUCTS)
        return None

    def overhead(self) -> _Range:
        """Seconds of a trial outside its measured steps."""
        told = [one.overhead_seconds_per_trial for one in self._finished if one.overhead_seconds_per_trial is not None]
        return _Range(statistics.median(told), statistics.median(told)) if told else _Range(0, OVERHEAD_SECONDS)

    def basis(self, legs: Sequence[PrecisionName]) -> str:
        """What the seconds of all legs are taken from."""
        measured = f"the throughput of the last {len(self._finished)} benchmarks on a {self.device} device"
        by_rate = sorted({leg for leg in legs if not self._throughputs[leg]})
        if not by_rate:
            return measured
        rates = "the matrix product rates of the workers that are online"
        if set(by_rate) < set(legs):
            return f"{measured}, and for {', '.join(by_rate)} {rates}"
        return f"{rates} ({self._unheard_of(by_rate)})"

    def missing(self, legs: Sequence[PrecisionName]) -> str:
        """Why there are no seconds: legs that nothing is known of."""
        unknown = sorted({leg for leg in legs if self.training(leg, 0) is None})
        absent = [leg for leg in unknown if self._is_absent(leg)]
        why = self._unheard_of(unknown)
        return f"{why}, and {', '.join(absent)} is absent on the workers that are online" if absent else why

    def _unheard_of(self, precisions: Sequence[PrecisionName]) -> str:
        return f"no benchmark with {', '.join(precisions)} has ended on a {self.device} device yet"

    def _rates(self, precision: PrecisionName) -> list[float]:
        found = [device.support_of(precision) for device in self._serving]
        return [one.flops_per_second for one in found if one is not None and one.flops_per_second]

    def _is_absent(self, precision: PrecisionName) -> bool:
        found = [device.support_of(precision) for device in self._serving]
        return bool(found) and all(one is not None and one.kernels == "absent" for one in found)


def _cost(request: BenchmarkRequest, known: _Known) -> Cost:
    config = request.config
    legs: list[PrecisionName] = [config.baseline, *config.resolved_candidates(known.device)]
    if config.measurement.control:
        legs.append(config.baseline)
    per_sample = request.model.training_flops_per_sample()
    flops = None if per_sample is None else float(per_sample * config.training.batch_size * config.training.steps)
    fewest, most = config.measurement.min_blocks, config.measurement.max_blocks
    block, basis = _block(legs, flops, known)
    budget_seconds = config.measurement.time_budget_seconds
    return Cost(
        least_trials=fewest * len(legs),
        most_trials=most * len(legs),
        least_training_flops=None if flops is None else fewest * len(legs) * flops,
        most_training_flops=None if flops is None else most * len(legs) * flops,
        least_seconds=None if block is None else min(fewest * block.least, budget_seconds),
        most_seconds=None if block is None else min(most * block.most, budget_seconds),
        basis=basis,
    )


def _block(legs: Sequence[PrecisionName], flops: float | None, known: _Known) -> tuple[_Range | None, str]:
    """Seconds of one block, and what they are taken from."""
    if flops is None:
        return None, "the work of this kind of model is counted by a worker, as its first step"
    trainings = [found for leg in legs if (found := known.training(leg, flops)) is not None]
    if len(trainings) < len(legs):
        return None, known.missing(legs)
    trials = [*trainings, *[known.overhead()] * len(legs)]
    return _Range(sum(one.least for one in trials), sum(one.most for one in trials)), known.basis(legs)
