"""The estimated cost of a request, from finished benchmarks on such a device, else from the workers' measurements."""

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
from halftime.contract.report.verification import VERIFICATION_TIME_SHARE, most_verification_trials
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.benchmark import Summary
from halftime.contract.resources.cost import Cost, Preview
from halftime.contract.resources.worker import WorkerDevice

#: Number of the newest finished benchmarks that an estimate uses.
HISTORY_LENGTH = 20

#: Smallest share of a device's matrix product rate that training reaches. A small transformer reached 52 % of the
#: fastest rate in FP32 and 29 % in BF16 on one CPU, 41 % and 13 % on one with AMX for BF16 (docs/results.md).
LEAST_SHARE_OF_PRODUCTS = 0.1

#: Largest assumed time of a trial outside its measured steps, without any history: the demo took 3.4 s and 2.5 s on two
#: machines of 2 cores.
OVERHEAD_SECONDS = 4.0


async def preview(session: AsyncSession, request: BenchmarkRequest) -> Preview:
    """Returns what would run, on which kind of device, and its estimated cost; stores nothing."""
    cuda_seen = (await workers.fleet(session)).cuda_seen
    queue_name = queue.queue_of(request.config, cuda_seen=cuda_seen)
    device: DeviceKind = "cuda" if queue_name.startswith("cuda") else "cpu"
    serving = await workers.serving_devices(session, queue_name)
    history = _History(device, await _finished(session, device), serving)
    return Preview(
        request=request,
        parameter_count=request.model.parameter_count(),
        device=device,
        workers_online=len(serving),
        cost=_cost(request, history),
        warnings=precision_warnings(request, serving),
    )


async def _finished(session: AsyncSession, device: DeviceKind) -> list[Summary]:
    on_gpu = BenchmarkRow.worker_gpu.is_not(None)
    query = select(BenchmarkRow.summary).where(
        BenchmarkRow.status == "succeeded", on_gpu if device == "cuda" else ~on_gpu
    )
    newest = query.order_by(BenchmarkRow.id.desc()).limit(HISTORY_LENGTH)
    return [Summary.model_validate(summary) for summary in await session.scalars(newest)]


@dataclass(frozen=True)
class _Range:
    """A range of seconds."""

    least: float
    most: float


class _History:
    """The measurements that are known for a kind of device."""

    def __init__(self, device: DeviceKind, finished: Sequence[Summary], serving: Sequence[WorkerDevice]) -> None:
        self.device, self._finished, self._serving = device, finished, serving
        self._throughputs: defaultdict[PrecisionName, list[float]] = defaultdict(list)
        for leg in (leg for summary in finished for leg in summary.legs):
            if leg.achieved_flops_per_second:
                self._throughputs[leg.precision].append(leg.achieved_flops_per_second)

    def training(self, precision: PrecisionName, flops: float) -> _Range | None:
        """Estimates the seconds of training; None if neither a benchmark nor a worker has measured the precision."""
        if throughputs := self._throughputs[precision]:
            seconds = flops / statistics.median(throughputs)
            return _Range(seconds, seconds)
        if rates := self._rates(precision):
            seconds = flops / statistics.median(rates)
            return _Range(seconds, seconds / LEAST_SHARE_OF_PRODUCTS)
        return None

    def overhead(self) -> _Range:
        """Estimates the seconds of a trial outside its measured steps."""
        overheads = [
            summary.overhead_seconds_per_trial
            for summary in self._finished
            if summary.overhead_seconds_per_trial is not None
        ]
        if not overheads:
            return _Range(0, OVERHEAD_SECONDS)
        return _Range(statistics.median(overheads), statistics.median(overheads))

    def basis(self, legs: Sequence[PrecisionName]) -> str:
        """Describes the source of the estimated seconds of all legs."""
        measured = f"the throughput of the last {len(self._finished)} benchmarks on a {self.device} device"
        by_rate = sorted({leg for leg in legs if not self._throughputs[leg]})
        if not by_rate:
            return measured
        rates = "the matrix product rates of the online workers"
        if set(by_rate) < set(legs):
            return f"{measured}, and for {', '.join(by_rate)} {rates}"
        return f"{rates} ({self._not_in_history(by_rate)})"

    def missing(self, legs: Sequence[PrecisionName]) -> str:
        """Explains why there is no estimate: the legs without any measurement."""
        unknown = sorted({leg for leg in legs if self.training(leg, 0) is None})
        absent = [leg for leg in unknown if self._is_absent(leg)]
        reason = self._not_in_history(unknown)
        return f"{reason}, and the online workers do not support {', '.join(absent)}" if absent else reason

    def _not_in_history(self, precisions: Sequence[PrecisionName]) -> str:
        return f"no benchmark with {', '.join(precisions)} has ended on a {self.device} device yet"

    def _rates(self, precision: PrecisionName) -> list[float]:
        supports = [device.support_of(precision) for device in self._serving]
        return [support.flops_per_second for support in supports if support is not None and support.flops_per_second]

    def _is_absent(self, precision: PrecisionName) -> bool:
        supports = [device.support_of(precision) for device in self._serving]
        return bool(supports) and all(support is not None and support.kernels == "absent" for support in supports)


def _cost(request: BenchmarkRequest, history: _History) -> Cost:
    config = request.config
    legs: list[PrecisionName] = [config.baseline, *config.resolved_candidates(history.device)]
    if config.measurement.control:
        legs.append(config.baseline)
    per_sample = request.model.training_flops_per_sample()
    flops = None if per_sample is None else float(per_sample * config.training.batch_size * config.training.steps)
    # A survey, one trial of each leg, comes before the blocks in turns. It takes as long as a block of either kind: in
    # all of them, all legs train all their steps, one at a time. Where it shows that turns are unfair, it is a block.
    surveys = int(config.why_trials() is None)
    fewest, most = config.measurement.min_blocks + surveys, config.measurement.max_blocks + surveys
    block, basis = _block(legs, flops, history)
    budget_seconds = config.measurement.time_budget_seconds
    candidates = len(config.resolved_candidates(history.device))
    verification_trials = most_verification_trials(candidates) if config.verifies_advice else 0
    most_trials = most * len(legs) + verification_trials
    verification_seconds = VERIFICATION_TIME_SHARE * budget_seconds if config.verifies_advice else 0.0
    return Cost(
        least_trials=fewest * len(legs),
        most_trials=most_trials,
        least_training_flops=None if flops is None else fewest * len(legs) * flops,
        most_training_flops=None if flops is None else most_trials * flops,
        least_seconds=None if block is None else min(fewest * block.least, budget_seconds),
        most_seconds=None if block is None else min(most * block.most, budget_seconds) + verification_seconds,
        basis=basis,
    )


def _block(legs: Sequence[PrecisionName], flops: float | None, history: _History) -> tuple[_Range | None, str]:
    """Estimates the seconds of one block, and describes their source or why there are none."""
    if flops is None:
        return None, "the work of this kind of model is counted by a worker when the benchmark starts"
    trainings = [seconds for leg in legs if (seconds := history.training(leg, flops)) is not None]
    if len(trainings) < len(legs):
        return None, history.missing(legs)
    parts = [*trainings, *[history.overhead()] * len(legs)]
    return _Range(sum(part.least for part in parts), sum(part.most for part in parts)), history.basis(legs)
