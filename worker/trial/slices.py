"""Puts together what is known of each slice of a trial whose leg took turns."""

from halftime.contract.report.slices import PICK_UP_STEPS, Slice
from worker.device.gpu_sampler import GpuUse
from worker.device.host_counters import HostUse
from worker.device.measured_region import MeasuredRegion
from worker.messages import TrialSpec
from worker.training.loop import Timing
from worker.training.turns import Turns, Wait


def slices_of(spec: TrialSpec, turns: Turns, region: MeasuredRegion, timing: Timing) -> list[Slice]:
    """Returns the slices in order; together they are the measured steps."""
    assert spec.turns_began is not None
    slices: list[Slice] = []
    first_step = timing.steps - sum(turns.measured_steps)
    for steps, wait, (host, gpu) in zip(turns.measured_steps, turns.waits, region.parts, strict=True):
        slices.append(_slice(first_step, steps, wait, host, gpu, spec.turns_began))
        first_step += steps
    return slices


def _slice(first_step: int, steps: int, wait: Wait, host: HostUse, gpu: GpuUse | None, block_began: float) -> Slice:
    return Slice(
        first_step=first_step,
        steps=steps,
        pick_up_steps=PICK_UP_STEPS,
        began_seconds=host.start.at_seconds - block_began,
        ended_seconds=host.end.at_seconds - block_began,
        waited_seconds=wait.seconds,
        waiting_cpu_seconds=wait.cpu_seconds,
        own_cpu_seconds=host.own_cpu_seconds,
        foreign_cpu_seconds=host.foreign_cpu_seconds,
        stolen_cpu_seconds=host.stolen_cpu_seconds,
        run_delay_seconds=host.run_delay_seconds,
        sm_clock_mhz=gpu.sm_clock_mhz if gpu else None,
        clock_limits=gpu.clock_limits if gpu else {},
    )
