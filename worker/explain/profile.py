"""Runs a few training steps under torch's profiler and assigns every operation's own time to a kind of work."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast, get_args

import torch
from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from halftime.contract.report.explanation import OperatorTime, ProfiledKind, StepProfile, WorkKind
from halftime.plugin import Batch
from worker.explain.kinds import is_composite, kind_of
from worker.explain.profiler_delay import operation_delay_seconds
from worker.explain.regions import Region, regions_of
from worker.explain.work import Work, watch_work
from worker.training.clock import make_clock
from worker.training.loop import Run, training_step
from worker.training.pace import PROFILED_STEPS

#: Of at most `PROFILED_STEPS` steps, fewer for long steps: those under the profiler take about so long.
SECONDS = 2.0
#: Most unknown operators that are named, and most of the slowest ones of a kind.
MAX_UNKNOWN, MAX_SLOWEST = 10, 3

#: Names of our own marks among the profiler's events.
STEP, REGION = "halftime::step", "halftime::region::"

#: Kinds of operators that call others for their own work, but for the casts that autocast adds.
_WHOLE: frozenset[WorkKind] = frozenset({"attention", "normalisation", "softmax_and_loss"})
_CASTS = frozenset({"aten::to", "aten::_to_copy"})


@dataclass
class OwnTime:
    """Own time of one kind of work, over all profiled steps."""

    seconds: float = 0.0
    recorded_inside: int = 0
    calls: int = 0
    #: Seconds of its operators, by name.
    by_operator: Counter[str] = field(default_factory=Counter)


def profile_steps(
    run: Run, batch: Batch, device: torch.device, step_seconds: float, keep: Callable[[profile], str | None]
) -> StepProfile:
    """Profiles steps on one batch. They change the weights; `step_seconds` is about the duration of one.

    `keep` stores the trace, or returns why it does not. Raises RuntimeError if the profiler recorded nothing.
    """
    steps = steps_for(step_seconds)
    plain_steps = _plain_steps(steps, device)
    work = watch_work(run, batch)
    plain = _step_seconds(run, batch, device, 1 + plain_steps, training_step)[1:]  # the first follows other work
    with profile(activities=_activities(device)) as recorded:
        profiled = _step_seconds(run, batch, device, steps, _marked_step)
    plain += _step_seconds(run, batch, device, plain_steps, training_step)
    times = Times(device.type)
    times.add(recorded.events())
    times.close(sum(profiled))
    return StepProfile(
        steps=steps,
        profiled_step_seconds=statistics.fmean(profiled),
        host_delay_seconds=host_delay_seconds(times, steps, profiled, plain),
        kinds=_kinds(times.own, work, steps, is_compiled=run.forward is not run.model),
        unknown_operators=times.unknown_operators(),
        trace_missing=keep(recorded),
    )


def steps_for(step_seconds: float) -> int:
    """Number of steps under the profiler."""
    return max(1, min(PROFILED_STEPS, round(SECONDS / max(step_seconds, 1e-9))))


def steps_in_all(step_seconds: float, device: torch.device) -> int:
    """Number of steps of a profile: one to watch the work, one after it, and those with and without the profiler."""
    steps = steps_for(step_seconds)
    return 2 + steps + 2 * _plain_steps(steps, device)


def _plain_steps(steps: int, device: torch.device) -> int:
    """Number of steps without the profiler before those under it, and as many after: on a GPU, half as many."""
    return math.ceil(steps / 2) if device.type == "cuda" else 0


class Times:
    """Splits the time of the profiled steps by kind.

    On a CPU that is the time of the thread that trains; on a GPU that of its kernels, and what they leave is time in
    which the GPU waits for the host.
    """

    def __init__(self, device_type: str) -> None:
        self.own: defaultdict[WorkKind, OwnTime] = defaultdict(OwnTime)
        self._on_cpu = device_type == "cpu"
        self._region: Region | None = None

    def add(self, events: Iterable[FunctionEvent]) -> None:
        """Adds the events of all threads. Raises RuntimeError if the device did nothing."""
        for event in events:
            is_root = event.device_type == DeviceType.CPU and event.cpu_parent is None
            if is_root and (event.name == STEP or not self._on_cpu):
                self._region = None
                self._add(event, None, is_whole=False)
        if not any(one.calls for one in self.own.values()):
            what = "no operation" if self._on_cpu else "no kernel: the driver may refuse it to a container"
            raise RuntimeError(f"torch's profiler recorded {what}")

    def close(self, seconds: float) -> None:
        """Assigns to the host what is left of the steps' duration."""
        self.own["host"].seconds += max(0.0, seconds - sum(one.seconds for one in self.own.values()))

    def unknown_operators(self) -> list[str]:
        """Returns the names of operators that are not known, the most time first."""
        unassigned = self.own.get("unassigned", OwnTime())
        return [name for name, _ in unassigned.by_operator.most_common(MAX_UNKNOWN)]

    def _add(self, event: FunctionEvent, inherited: WorkKind | None, is_whole: bool) -> bool:
        """Adds an event and all within it; returns whether any of them works.

        `inherited` is the kind of the event around it, and `is_whole` whether that one's work includes what it calls.
        """
        if event.name.startswith(REGION):
            self._region = cast("Region", event.name.removeprefix(REGION))
            return False
        kind = self._kind(event, inherited, is_whole)
        is_whole = kind in _WHOLE and (is_whole or not is_composite(event.name))
        works_inside = [self._add(child, kind, is_whole) for child in event.cpu_children]
        works = kind_of(event.name) not in {None, "host"} or kind == "unassigned"
        one = self.own[kind]
        if self._on_cpu:
            seconds = event.self_cpu_time_total / 1e6
            one.calls += works and (kind != inherited if self._region is None else not any(works_inside))
            one.recorded_inside += len(event.cpu_children)
        else:
            seconds = sum(kernel.duration for kernel in event.kernels) / 1e6
            one.calls += len(event.kernels)
        one.seconds += seconds
        if _is_operator(event.name):
            one.by_operator[event.name] += seconds
        return works or any(works_inside)

    def _kind(self, event: FunctionEvent, inherited: WorkKind | None, is_whole: bool) -> WorkKind:
        if event.name.startswith("Optimizer."):  # before its own mark
            return "optimizer"
        if self._region is not None:
            return self._region
        own = kind_of(event.name)
        if inherited is not None and _is_part(event.name, own, inherited, is_whole):
            return inherited
        return own or ("host" if event.is_user_annotation else "unassigned")


def _is_operator(name: str) -> bool:
    """Whether an event is an operator or a kernel, known or not; a whole compiled graph is neither."""
    return kind_of(name) != "host" and not name.startswith("## ")


def _is_part(name: str, own: WorkKind | None, of: WorkKind, is_whole: bool) -> bool:
    """Whether an operation within another counts as that one's kind, not as its own."""
    if is_whole:
        return name not in _CASTS
    if of == "elementwise" and own == "casts_and_copies":  # of a number, or to the dtype of the result
        return True
    return own == "host" or (own is None and of != "host")  # bookkeeping for it, or what nobody knows


def host_delay_seconds(times: Times, steps: int, profiled: Sequence[float], plain: Sequence[float]) -> float:
    """How long the profiler delays the host in a step.

    On a GPU also launches are recorded, which takes longer and is measured with the steps alone.
    """
    if plain:
        return max(0.0, statistics.fmean(profiled) - statistics.median(plain))
    return operation_delay_seconds() * sum(one.recorded_inside for one in times.own.values()) / steps


def _activities(device: torch.device) -> list[ProfilerActivity]:
    return [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]


def _step_seconds(
    run: Run, batch: Batch, device: torch.device, steps: int, step: Callable[[Run, Batch], object]
) -> list[float]:
    clock = make_clock(device, steps)
    clock.synchronise()
    clock.start()
    for _ in range(steps):
        step(run, batch)
        clock.mark()
    clock.synchronise()
    return clock.step_seconds()


def _marked_step(run: Run, batch: Batch) -> None:
    """A step with marks of its regions among the profiler's events."""
    with record_function(STEP), regions_of(run, _mark):
        training_step(run, batch)


def _mark(region: Region) -> None:
    with record_function(REGION + region):
        pass


def _kinds(
    own: dict[WorkKind, OwnTime], work: dict[WorkKind, Work], steps: int, is_compiled: bool
) -> list[ProfiledKind]:
    """The kinds in the order of reports."""
    return [
        ProfiledKind(
            kind=kind,
            profiled_seconds=own[kind].seconds / steps,
            recorded_inside=own[kind].recorded_inside / steps,
            calls=own[kind].calls / steps,
            flops_by_dtype=work[kind].flops_by_dtype if kind in work else {},
            bytes_by_size=work[kind].bytes_by_size if kind in work and not is_compiled else None,
            slowest_operators=[
                OperatorTime(name=name, seconds_per_step=seconds / steps)
                for name, seconds in own[kind].by_operator.most_common(MAX_SLOWEST)
                if seconds > 0 and kind != "host"
            ],
        )
        for kind in get_args(WorkKind)
        if kind in own
    ]
