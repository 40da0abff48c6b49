"""One trial: one leg trained once in a fresh process, with everything it measured."""

from datetime import datetime

from pydantic import Field

from halftime.contract.precisions import PrecisionName
from halftime.contract.report.numerics import Numerics
from halftime.contract.report.telemetry import Telemetry
from halftime.contract.strict import MaybeFloat, Output

#: What a fresh CUDA process may hold before anything is built.
NEAR_ZERO_BYTES = 2**20


class MemoryBreakdown(Output):
    """What the steady peak consists of, in bytes; the parts are disjoint and add up to the peak.

    `other` is the batch, and what kernels allocate for themselves.
    """

    parameters: int
    gradients: int
    optimizer: int
    buffers: int
    activations: int
    temporary: int
    other: int

    def total_bytes(self) -> int:
        """The peak the parts add up to."""
        return sum(self.model_dump().values())


class Memory(Output):
    """Memory of one trial, in bytes."""

    #: Where `peak_bytes` comes from: `cuda_allocator`, the allocator's counter over all measured steps;
    #: `cuda_reserved`, what the allocator held from the device, where steps were replayed as CUDA graphs, which that
    #: counter does not see; or `cpu_allocator`, its record of every allocation in one further step.
    source: str
    #: Highest use in a step after warm-up. Batches that wait on the device for their turn are not counted.
    peak_bytes: int
    #: Highest use in the first step, when optimizer state comes to exist.
    first_step_peak_bytes: int
    #: What the CUDA allocator held from the device at most; null on a CPU.
    peak_reserved_bytes: int | None
    #: Allocated on the device before the model was built: near zero in a fresh process.
    start_bytes: int | None
    #: null where the account failed or there was no time for it: see `not_examined` of the trial.
    breakdown: MemoryBreakdown | None


class GradScalerTrace(Output):
    """What the gradient scaler did."""

    initial_scale: float
    final_scale: float
    #: Steps whose gradients held an infinity or NaN: the batch was consumed, the weights stayed.
    skipped_steps: list[int]
    #: The scale after every step.
    scale_trace: list[MaybeFloat]
    #: A step was skipped in the last warm-up step or after it.
    unsettled_after_warmup: bool
    #: Modules where numbers stopped being finite in the first skipped step, where it began first. Searched for in a
    #: leg's first trial, up to step 32; else null.
    first_overflow: list[str] | None


class Probe(Output):
    """A small computation whose result tells the arithmetic it was done in."""

    name: str
    expected: str
    observed: str
    ok: bool
    #: Relative error against FP64 by the size of what was computed; empty for a probe of another kind.
    errors: dict[str, MaybeFloat] = Field(default={})


class Attestation(Output):
    """What the trial really ran with, read back after it was set."""

    #: `torch.backends` switches by name, as read back.
    flags: dict[str, str]
    #: Environment variables that override the switches or spoil figures, where any is set.
    environment_overrides: dict[str, str]
    #: Every variable that CUDA, its libraries or torch may read, where any is set; secrets are left out.
    environment: dict[str, str] = Field(default={})
    #: Under the trial's switches, after it trained.
    probes: list[Probe]
    #: Output dtype of every matrix-multiplying module in one forward pass of the training step, by module kind.
    forward_dtypes: dict[str, list[str]]
    #: SHA-256 of the initial state dict.
    initial_weights_sha256: str
    #: SHA-256 of all training and validation batches in order.
    data_sha256: str


class Environment(Output):
    """Where a trial ran."""

    torch: str
    cuda: str | None
    driver: str | None
    device: str
    threads: int
    python: str
    os: str
    halftime: str


class DataFacts(Output):
    """What is known about the task's data."""

    kind: str
    #: No model can have a lower validation loss (nats), nor a higher accuracy; null where it is not known.
    best_possible_loss: float | None
    best_possible_accuracy: float | None
    #: Batches before the training data repeats.
    distinct_batches: int
    validation_samples: int


class Compilation(Output):
    """What torch.compile did in a trial."""

    mode: str
    #: Of all compilations, apart from the measured steps unless some recompiled.
    compile_seconds: float
    graphs: int
    #: Where the model's code fell apart into more than one graph.
    graph_breaks: int
    #: After the first step.
    recompiles: int
    recompiles_in_measured_steps: int


class TrialResult(Output):
    """Everything one trial measured: the raw samples that every figure of a report is derived from."""

    block: int
    seed: int
    precision: PrecisionName
    #: Position of the trial within its block, from 0: what came first ran on the colder machine.
    position: int
    #: When the first training step began.
    training_started_at: datetime
    #: One entry per measured step, warm-up excluded.
    step_seconds: list[float]
    #: Host time of the measured region, first step's start to the end of the last, the device idle at both.
    measured_wall_seconds: float
    #: Host time to issue the first measured step, from an idle device: below a step's time on a GPU, unless the host
    #: is the slower of the two, or something in the step waits for the device.
    host_issue_seconds: float
    #: At the end of the measured region, waiting for the device: next to nothing where the host is the slower one.
    #: A long step fills the device's queue, and takes as long to issue as to run; here the queue shows. null in reports
    #: of earlier releases.
    final_wait_seconds: float | None = None
    #: Of the measured region, waiting for the data loader; null where data lay on the device.
    data_wait_seconds: float | None = None
    #: All steps, warm-up included.
    training_time_seconds: float
    #: The trial process from its start to its result.
    trial_seconds: float
    #: One entry per step, warm-up included.
    loss_curve: list[MaybeFloat]
    #: Global gradient norm before clipping, unscaled, one entry per step.
    gradient_norms: list[MaybeFloat]
    #: Steps that changed the weights.
    applied_steps: int
    final_learning_rate: float
    fused_optimizer: bool
    #: null where the request asks for no compilation.
    compilation: Compilation | None = None
    #: Read back: deterministic kernels only.
    deterministic: bool = False
    grad_scaler: GradScalerTrace | None
    validation_loss: MaybeFloat
    validation_accuracy: float
    #: Of the held-out data, what loss and accuracy are of: less than all only for lack of time.
    validation_share: float = 1.0
    #: null where the time did not suffice: see `not_examined`.
    memory: Memory | None
    attestation: Attestation
    data: DataFacts
    environment: Environment
    parameter_count: int
    #: Of the matrix products and convolutions of one step, counted low: a convolution by kernels of up to 3 a quarter
    #: and by larger ones nothing, as fast algorithms need no more, and fused attention nothing, as a causal kernel
    #: skips what a counter would count. null where no step could be observed: see `not_examined`.
    least_flops_per_step: int | None
    #: Best of large matrix products in this precision, measured after training; null where there was no room for one.
    ceiling_flops_per_second: float | None
    #: Operations of a step that make the host wait for the device.
    synchronisations: list[str]
    #: Of the leg's first trial; null in the others, and where FP64 does not fit into memory.
    numerics: Numerics | None
    telemetry: Telemetry
    #: Seconds spent after training on probes, the account of memory, and numerics.
    proof_seconds: float
    #: Training ended before all steps of the request: the entries per step are those of the steps that were done.
    ended_early: bool = False
    #: What was not examined after training, each with the reason.
    not_examined: dict[str, str] = Field(default={})
    #: Why the trial may be spoiled; empty for a quiet one.
    disturbances: list[str] = Field(default=[])
    #: Times the trial was run before and thrown away as disturbed.
    repeats: int = 0

    def without_samples(self) -> "TrialResult":
        """The trial with everything that has an entry per step emptied, and what it found kept."""
        scaler = self.grad_scaler.model_copy(update={"scale_trace": []}) if self.grad_scaler else None
        return self.model_copy(
            update={"step_seconds": [], "loss_curve": [], "gradient_norms": [], "grad_scaler": scaler}
        )
