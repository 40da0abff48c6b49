"""The state of the machine while a trial was measured."""

from halftime.contract.strict import Output


class Spread(Output):
    """Smallest, median and largest of the samples taken during the measured region."""

    smallest: float
    median: float
    largest: float


class GpuTelemetry(Output):
    """The GPU's state reported by NVML. A figure is null if the driver does not provide it.

    On a MIG instance, memory and processes are those of the instance; the rest is of the whole card.
    """

    #: Samples taken in the measured region, about ten per second and one at its end.
    samples: int
    sm_clock_mhz: Spread | None
    temperature_celsius: Spread | None
    #: Each sample is the mean of the preceding second, so samples of the region's first second are left out; null if
    #: the region is not longer than that.
    power_watts: Spread | None
    #: Reasons for which the driver limited clocks, each with the share of samples it applied to.
    clock_limits: dict[str, float]
    #: Peak use of the whole device by all processes, including the allocator's cache and the CUDA context; the driver's
    #: own reserve is excluded if the driver reports it separately (since release 510).
    largest_used_bytes: int | None
    #: Use of the device before the trial's process began.
    held_before_bytes: int | None
    #: Other processes that used the device before the trial began or after it ended; null if NVML does not list them.
    foreign_processes: list[str] | None
    #: Errors during the measured region.
    uncorrected_ecc_errors: int | None
    #: Energy of the measured region; null if it is too short for NVML's counter, and on a MIG instance.
    energy_joules: float | None


class HostTelemetry(Output):
    """The host's state over the measured region."""

    #: One-minute load average at the start of the region.
    load_average: float
    #: Mean number of cores used by other programs or taken by a hypervisor; null if the region is too short.
    foreign_cores: float | None
    #: CPU seconds of the trial's process per second; lower when other programs use its cores.
    cpu_seconds_per_second: float
    #: Number of times the kernel preempted the trial's process.
    involuntary_context_switches: int
    #: How long that of the trial's threads which waited longest was able to run and waited for a core, summed over the
    #: parts of the measured steps; null if the kernel does not say.
    run_delay_seconds: float | None = None


class Telemetry(Output):
    """The state of the machine during one trial."""

    host: HostTelemetry
    #: null on a CPU
    gpu: GpuTelemetry | None
