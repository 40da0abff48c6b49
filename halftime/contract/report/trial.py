"""One trial: one leg trained once in a fresh process, and all its measurements."""

import statistics
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from halftime.contract.precisions import PrecisionName
from halftime.contract.report.explanation import StepProfile
from halftime.contract.report.metrics import CLASSIFICATION, MetricFacts
from halftime.contract.report.numerics import Numerics
from halftime.contract.report.slices import Slice
from halftime.contract.report.telemetry import Telemetry
from halftime.contract.strict import MaybeFloat, Output

#: Stands for the class of a module where no module ran: the backward pass calls none.
NO_MODULE = "backward pass"

#: Memory that a fresh CUDA process may hold before the model is built.
NEAR_ZERO_BYTES = 2**20


class MemoryBreakdown(Output):
    """The parts of the steady peak, in bytes; they are disjoint and add up to the peak.

    `other` is the batch and the workspace of kernels.
    """

    parameters: int
    gradients: int
    optimizer: int
    buffers: int
    activations: int
    temporary: int
    other: int

    def total_bytes(self) -> int:
        """Returns the peak, which is the sum of the parts."""
        return sum(self.model_dump().values())


class Memory(Output):
    """Memory of one trial, in bytes."""

    #: Source of `peak_bytes`: `cuda_allocator`, the allocator's counter over all measured steps; `cuda_reserved`, the
    #: memory that the allocator reserved, used when steps were replayed as CUDA graphs, which that counter does not
    #: include; or `cpu_allocator`, a record of every allocation in one further step.
    source: str
    #: Highest use in a step after warm-up. Batches preloaded on the device are not counted.
    peak_bytes: int
    #: Highest use in the first step, in which the optimizer's state is created.
    first_step_peak_bytes: int
    #: Peak memory that the CUDA allocator reserved; null on a CPU.
    peak_reserved_bytes: int | None
    #: Allocated on the device before the model was built; near zero in a fresh process.
    start_bytes: int | None
    #: null if it could not be determined or there was no time for it: see `not_examined` of the trial.
    breakdown: MemoryBreakdown | None


class GradScalerTrace(Output):
    """The gradient scaler in one trial."""

    initial_scale: float
    final_scale: float
    #: Steps with an infinite or NaN gradient: the batch was consumed, the weights did not change.
    skipped_steps: list[int]
    #: The scale after every step.
    scale_trace: list[MaybeFloat]
    #: Whether the last warm-up step or a later step was skipped.
    unsettled_after_warmup: bool
    #: Modules that produced the first non-finite numbers in the first skipped step. Determined in a leg's first trial
    #: up to step 32; else null.
    first_overflow: list[str] | None
    #: Largest magnitude among the inputs of the first skipped step; FP16 ends at 65,504. null if no step was skipped,
    #: or inputs are token ids.
    largest_input: MaybeFloat = None


class Probe(Output):
    """A small computation whose result identifies the arithmetic used."""

    name: str
    expected: str
    observed: str
    ok: bool
    #: Relative error compared with FP64, by problem size; empty for other kinds of probe.
    errors: dict[str, MaybeFloat] = Field(default={})


class MultiplyingModules(Output):
    """Operations of one training step that multiplied: those of one class of modules, by one operator, in one dtype."""

    #: Class of the innermost module whose forward pass ran them; `backward pass` if it was no forward pass.
    module_class: str
    #: Name in the model of the first such module; empty for the model itself.
    module: str
    #: torch's name of the operator.
    operator: str
    dtype: str
    flops: float


class Attestation(Output):
    """The settings that the trial actually ran with, read back after they were set."""

    #: `torch.backends` switches by name, as read back.
    flags: dict[str, str]
    #: Environment variables that are set and override the switches or distort figures.
    environment_overrides: dict[str, str]
    #: Environment variables that are set and that CUDA, its libraries or torch may read; secrets are left out.
    environment: dict[str, str] = Field(default={})
    #: Run under the trial's switches after training.
    probes: list[Probe]
    #: Output dtype of every matrix-multiplying module in one forward pass of the training step, by module kind.
    forward_dtypes: dict[str, list[str]]
    #: FLOPs that the operations of one training step multiplied, by the dtype of their operands, forward and backward:
    #: matrix products, convolutions, attention and recurrent layers. Empty in reports of earlier releases.
    multiplied_flops: dict[str, float] = Field(default={})
    #: The modules that multiplied in another dtype than the leg's, the most work first.
    multiplied_elsewhere: list[MultiplyingModules] = Field(default=[])
    #: Numbers of elements by dtype after training: of trained `weights`, their `gradients`, and the state of the
    #: `optimizer` without its counts of steps. Empty in reports of earlier releases.
    held_dtypes: dict[str, dict[str, int]] = Field(default={})
    #: Whether training left every bit of the frozen weights as it was: `unchanged` or `changed`; null without any.
    frozen_weights: Literal["unchanged", "changed"] | None = None
    #: SHA-256 of the initial state dict, as built in FP32.
    initial_weights_sha256: str
    #: SHA-256 of all training and validation batches in order.
    data_sha256: str

    def share_multiplied_in(self, dtype: str) -> float | None:
        """Share of the multiplied FLOPs whose operands had a dtype; None if none were recorded."""
        total = sum(self.multiplied_flops.values())
        return self.multiplied_flops.get(dtype, 0.0) / total if total else None


class Environment(Output):
    """The environment that a trial ran in."""

    torch: str
    cuda: str | None
    driver: str | None
    device: str
    threads: int
    python: str
    os: str
    halftime: str


class DataFacts(Output):
    """Properties of the task's data."""

    kind: str
    #: Lowest validation loss and highest accuracy that any model can reach; null if unknown.
    best_possible_loss: float | None
    best_possible_accuracy: float | None
    #: Number of batches before the training data repeats.
    distinct_batches: int
    validation_samples: int
    #: What the task measures on held-out data, in the order of reports; empty in reports of earlier releases.
    metrics: list[MetricFacts] = Field(default=[])


def metrics_of(data: DataFacts | None) -> Sequence[MetricFacts]:
    """What a task measures; those of a classification where a report of an earlier release does not say."""
    return data.metrics if data and data.metrics else CLASSIFICATION


class Compilation(Output):
    """The results of torch.compile in a trial."""

    mode: str
    #: Time of all compilations; outside the measured steps unless one of them recompiled.
    compile_seconds: float
    graphs: int
    #: Number of places where the model's code was split into separate graphs.
    graph_breaks: int
    #: Recompilations after the first step.
    recompiles: int
    recompiles_in_measured_steps: int


class TrialResult(Output):
    """All measurements of one trial: the raw samples that every figure of a report is derived from."""

    block: int
    seed: int
    precision: PrecisionName
    #: Position of the trial within its block, from 0; earlier trials run on a colder machine.
    position: int
    #: When the first training step began.
    training_started_at: datetime
    #: Step time, one entry per measured step, warm-up excluded.
    step_seconds: list[float]
    #: The measured steps by turn, if the legs of the block took turns; else empty.
    slices: list[Slice] = Field(default=[])
    #: Host time of the measured steps, from the start of the first to the end of the last, with an idle device at both
    #: ends; without waits for other legs.
    measured_wall_seconds: float
    #: Host time to issue the first measured step to an idle device. On a GPU it is less than the step time, unless the
    #: host is slower than the device or an operation of the step waits for the device.
    host_issue_seconds: float
    #: Time spent waiting for the device at the end of the measured region; almost zero if the host is slower than the
    #: device. A long step fills the device's queue and takes as long to issue as to run, and this figure shows that
    #: queue. null in reports of earlier releases.
    final_wait_seconds: float | None = None
    #: Part of the measured region spent waiting for the data loader; null if the data was preloaded on the device.
    data_wait_seconds: float | None = None
    #: Time of all steps, warm-up included, without waits for other legs.
    training_time_seconds: float
    #: Time of the trial's process from its start to its result.
    trial_seconds: float
    #: Training loss, one entry per step, warm-up included.
    loss_curve: list[MaybeFloat]
    #: Global gradient norm before clipping, unscaled, one entry per step.
    gradient_norms: list[MaybeFloat]
    #: Steps that changed the weights.
    applied_steps: int
    final_learning_rate: float
    fused_optimizer: bool
    #: null if the request does not ask for compilation.
    compilation: Compilation | None = None
    #: Whether torch was limited to deterministic kernels, as read back.
    deterministic: bool = False
    grad_scaler: GradScalerTrace | None
    validation_loss: MaybeFloat
    #: null for a task without an accuracy.
    validation_accuracy: MaybeFloat
    #: The task's further metrics on held-out data, by name.
    validation_metrics: dict[str, MaybeFloat] = Field(default={})
    #: What each metric is a mean over, such as predictions; empty in reports of earlier releases.
    validation_counts: dict[str, float] = Field(default={})
    #: Share of the held-out data that loss and accuracy are computed on; below 1 only if time ran out.
    validation_share: float = 1.0
    #: null if time ran out, see `not_examined`; and on a CPU in a block whose legs take turns.
    memory: Memory | None
    attestation: Attestation
    data: DataFacts
    environment: Environment
    parameter_count: int
    #: Without frozen weights. null in reports of earlier releases.
    trained_parameter_count: int | None = None
    #: Share of trained weights whose value after training is the initial one, as the leg holds it: no step moved them,
    #: or all moves cancelled. Determined in the leg's survey or first trial; null in the
    #: others.
    unmoved_weight_share: float | None = None
    #: Lower bound for the matrix products and convolutions of one step. A convolution with kernels of up to 3 counts a
    #: quarter and one with larger kernels nothing, because fast algorithms need no more; fused attention counts
    #: nothing, because a causal kernel skips part of what a counter would count. null if no step could be observed:
    #: see `not_examined`.
    least_flops_per_step: int | None
    #: Highest rate of large matrix products in this precision, measured after training; null if memory did not suffice.
    ceiling_flops_per_second: float | None
    #: Operations of a step that make the host wait for the device.
    synchronisations: list[str]
    #: Measured in the leg's survey or first trial; null in the others, and if FP64 does not fit into memory.
    numerics: Numerics | None
    #: Where the time of a step goes, in the leg's survey or first trial; null in the others, and if it failed or was
    #: switched off: see `not_examined`.
    profile: StepProfile | None = None
    telemetry: Telemetry
    #: Most memory that the process took from others until the end of validation: on a CPU its resident set, on a GPU
    #: what the device had in use. null in reports of earlier releases.
    occupied_bytes: int | None = None
    #: Time after training for probes, the profile, the memory breakdown, and numerics.
    proof_seconds: float
    #: Whether training ended before all steps of the request; entries per step cover the steps that were done.
    ended_early: bool = False
    #: Examinations that were omitted after training, each with the reason.
    not_examined: dict[str, str] = Field(default={})
    #: Reasons why the trial may be distorted; empty for an undisturbed one.
    disturbances: list[str] = Field(default=[])
    #: Number of earlier runs of this trial that were discarded as disturbed.
    repeats: int = 0

    def compared_step_seconds(self) -> list[float]:
        """The times of the measured steps without those that pick up after a wait; empty if retention dropped them."""
        if not self.slices or not self.step_seconds:
            return self.step_seconds
        return [seconds for one in self.slices for seconds in self.slice_step_seconds(one)[one.pick_up_steps :]]

    def slice_step_seconds(self, of: Slice) -> list[float]:
        """The times of all steps of a slice; empty if retention dropped them."""
        first = of.first_step - self.slices[0].first_step
        return self.step_seconds[first : first + of.steps]

    @property
    def median_step_seconds(self) -> float | None:
        """Median of the step times that are compared; None if retention dropped them."""
        seconds = self.compared_step_seconds()
        return statistics.median(seconds) if seconds else None

    def metric(self, name: str) -> float | None:
        """The value of a metric on held-out data, by its name in `DataFacts.metrics`; None if it is not finite."""
        own = {"loss": self.validation_loss, "accuracy": self.validation_accuracy}
        return own[name] if name in own else self.validation_metrics.get(name)

    def without_samples(self) -> "TrialResult":
        """Returns a copy of the trial without its per-step entries; all figures stay."""
        scaler = self.grad_scaler.model_copy(update={"scale_trace": []}) if self.grad_scaler else None
        return self.model_copy(
            update={"step_seconds": [], "loss_curve": [], "gradient_norms": [], "grad_scaler": scaler}
        )
