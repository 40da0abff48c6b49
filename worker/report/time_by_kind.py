"""Derives where the time of a leg's step goes from its profiled steps, and what bounds each kind of work."""

from collections.abc import Mapping, Sequence

from halftime.contract.precisions import DeviceKind, PrecisionName
from halftime.contract.report.explanation import BoundBy, ProfiledKind, StepProfile, TimeByKind
from halftime.contract.report.report import Leg
from halftime.contract.resources.worker import Bandwidth, DeviceCeilings

#: Share of a kind's time that a ceiling must account for to be what bounds it.
LEAST_SHARE = 0.25

#: Largest share of a profiled step that is taken out as the profiler's delay: something must be left to split.
MOST_DELAY = 0.9

#: Size from which on a GPU's operation takes much longer than its launch.
LEAST_GPU_BYTES = 16 * 2**20

#: Kinds that are no work of the device.
IDLE = frozenset({"host", "data"})


def split_step(leg: Leg, profile: StepProfile, ceilings: DeviceCeilings | None, device: DeviceKind) -> list[TimeByKind]:
    """Splits the leg's median step by kind: the seconds of all kinds add up to it.

    What the profiler delays is taken out; then all kinds but the data are scaled alike, because the machine may have
    changed since the measured steps. The wait for data was measured in these. A kind's operators share its time as in
    the profile.
    """
    assert leg.median_step_seconds is not None
    data_seconds = (leg.data_wait_share or 0.0) * leg.median_step_seconds
    undelayed = _undelayed(profile, device)
    scale = (leg.median_step_seconds - data_seconds) / sum(undelayed)
    rows = [
        _row(one, seconds * scale, least_seconds(one, leg, ceilings, device) if ceilings else {})
        for one, seconds in zip(profile.kinds, undelayed, strict=True)
    ]
    if data_seconds:
        rows.append(_row(ProfiledKind(kind="data", profiled_seconds=0, recorded_inside=0, calls=0), data_seconds, {}))
    return rows


def _undelayed(profile: StepProfile, device: DeviceKind) -> list[float]:
    """Seconds of each kind without the profiler's delay.

    It delays the host: on a CPU, every operation that it records alike; a GPU then waits longer, and its kernels take
    as long as without it.
    """
    delay = min(profile.host_delay_seconds, MOST_DELAY * profile.profiled_step_seconds)
    if device == "cuda":
        return [max(0.0, one.profiled_seconds - delay * (one.kind == "host")) for one in profile.kinds]
    recorded = sum(one.recorded_inside for one in profile.kinds)
    each = delay / recorded if recorded else 0.0
    return [max(0.0, one.profiled_seconds - each * one.recorded_inside) for one in profile.kinds]


def _row(one: ProfiledKind, seconds: float, least: Mapping[BoundBy, float]) -> TimeByKind:
    bound_by = max(least, key=lambda what: least[what], default=None)
    share = min(1.0, least[bound_by] / seconds) if bound_by and seconds else None
    return TimeByKind(
        kind=one.kind,
        seconds_per_step=seconds,
        calls=one.calls,
        least_flops=sum(one.flops_by_dtype.values()) or None,
        least_bytes=sum(one.bytes_by_size.values()) or None if one.bytes_by_size is not None else None,
        bound_by=bound_by if share is not None and share >= LEAST_SHARE else None,
        share_of_ceiling=share,
        slowest_operators=[
            operator.model_copy(update={"seconds_per_step": operator.seconds_per_step / one.profiled_seconds * seconds})
            for operator in one.slowest_operators
        ],
    )


def least_seconds(one: ProfiledKind, leg: Leg, ceilings: DeviceCeilings, device: DeviceKind) -> dict[BoundBy, float]:
    """Returns the least time for a kind of work by each of the device's ceilings that is known (Williams, Waterman &
    Patterson 2009, "Roofline"); empty for the host, and if the work is unknown.

    The time of a GPU's kernels has no launches in it: what waits for them is the host's.
    """
    if one.kind in IDLE or (one.bytes_by_size is None and not one.flops_by_dtype):
        return {}
    peaks = {dtype: peak_flops_per_second(dtype, leg, ceilings) for dtype in one.flops_by_dtype}
    compute = [flops / peak for dtype, flops in one.flops_by_dtype.items() if (peak := peaks[dtype]) is not None]
    moved, memory = (one.bytes_by_size or {}).items(), _memory_of(ceilings, device)
    least: dict[BoundBy, float] = {
        "compute": sum(compute),
        "memory": sum(size_bytes / fastest_bandwidth(size, memory) for size, size_bytes in moved),
    }
    return least if device == "cuda" else least | {"launches": one.calls * ceilings.launch_seconds}


def _memory_of(ceilings: DeviceCeilings, device: DeviceKind) -> Sequence[Bandwidth]:
    """The bandwidths that are those of memory: on a GPU, small operations are slowed down by their launch."""
    large = [one for one in ceilings.memory if one.size_bytes >= LEAST_GPU_BYTES]
    return large if device == "cuda" and large else ceilings.memory


def peak_flops_per_second(dtype: str, leg: Leg, ceilings: DeviceCeilings) -> float | None:
    """The device's rate of matrix products in a dtype, as the leg multiplies in it; None if it was not measured.

    The leg's own products may be faster than the square ones that were measured when the worker started.
    """
    fp32: PrecisionName = "tf32" if leg.precision == "tf32" else "fp32"
    names: dict[str, PrecisionName] = {"float32": fp32, "bfloat16": "bf16", "float16": "fp16"}
    precision = names.get(dtype)
    rates = [ceilings.flops_per_second[precision]] if precision in ceilings.flops_per_second else []
    if leg.ceiling_flops_per_second and precision == leg.precision.removesuffix("-true"):
        rates.append(leg.ceiling_flops_per_second)
    return max(rates, default=None)


def fastest_bandwidth(size: int, memory: Sequence[Bandwidth]) -> float:
    """The larger bandwidth of the two measured sizes around an operation's: it may just fit into a faster cache."""
    smaller = [one for one in memory if one.size_bytes <= size][-1:]
    larger = [one for one in memory if one.size_bytes > size][:1]
    return max(one.bytes_per_second for one in [*smaller, *larger])
