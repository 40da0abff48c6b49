"""What the machine did while a trial was measured."""

from halftime.contract.strict import Output


class Spread(Output):
    """Of samples taken during the measured region."""

    smallest: float
    median: float
    largest: float


class GpuTelemetry(Output):
    """The GPU, as NVML tells. A figure is null where the driver does not give it.

    Of a MIG instance, memory and processes are its own; the rest is of the whole card.
    """

    #: Samples taken in the measured region, about ten a second, and one at its end.
    samples: int
    sm_clock_mhz: Spread | None
    temperature_celsius: Spread | None
    #: Each sample is the mean of the second before it, so those of the region's first second are left out; null where
    #: the region is no longer than that.
    power_watts: Spread | None
    #: Why the driver held clocks down, with the share of samples it did so.
    clock_limits: dict[str, float]
    #: In use on the whole device at most, whoever held it: the allocator's reserve and the CUDA context included, the
    #: driver's own reserve left out where it tells that apart (since release 510).
    largest_used_bytes: int | None
    #: In use on the device before the trial's process began.
    held_before_bytes: int | None
    #: Processes that computed on the device before the trial began or after it ended; null where NVML does not tell.
    foreign_processes: list[str] | None
    #: That occurred during the measured region.
    uncorrected_ecc_errors: int | None
    #: Of the measured region; null where it is too short for NVML's counter to mean something, and on a MIG instance.
    energy_joules: float | None


class HostTelemetry(Output):
    """The machine around the trial's process, over the measured region."""

    #: Over the last minute, at the start of the region.
    load_average: float
    #: Cores that other programs kept busy or a hypervisor took, on average; null where the region is too short.
    foreign_cores: float | None
    #: CPU seconds of the trial's process per second: falls when others take its cores.
    cpu_seconds_per_second: float
    #: Times the kernel took a core from the trial.
    involuntary_context_switches: int


class Telemetry(Output):
    """Of one trial."""

    host: HostTelemetry
    #: null on a CPU
    gpu: GpuTelemetry | None
