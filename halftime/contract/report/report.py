"""The report: what a succeeded benchmark found, with its uncertainty and its verdict."""

from typing import Annotated, Literal

from pydantic import Field

from halftime.contract.models import ModelSpec
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.failure import Failure
from halftime.contract.report.numerics import Numerics
from halftime.contract.report.requirements import RequirementName
from halftime.contract.report.trial import DataFacts, Environment, MemoryBreakdown, TrialResult
from halftime.contract.request.training import TrainingConfig
from halftime.contract.resources.worker import KernelSupport
from halftime.contract.strict import MaybeFloat, Output

SCHEMA_VERSION = 1

#: pass: the whole interval meets the threshold. fail: none of it does. inconclusive: it straddles the threshold.
#: off: the request set the threshold to null.
RequirementStatus = Literal["pass", "fail", "inconclusive", "off"]

#: Of a comparison and of a report; invalid: the comparison itself cannot be trusted.
Verdict = Literal["pass", "fail", "inconclusive", "invalid"]

#: target_ci: the interval is as narrow as asked. leg_failed: no pair of legs was left to compare.
StoppedBy = Literal["target_ci", "max_blocks", "time_budget", "leg_failed"]


class Estimate(Output):
    """A figure with its 95 % interval."""

    value: float
    ci_low: float
    ci_high: float


class Difference(Output):
    """An absolute difference of validation metrics, baseline against candidate.

    `value` is |signed_mean|. The interval is that of the signed mean (baseline - candidate), so that it can lie
    on both sides of zero: no difference is told from a small one.
    """

    value: float
    signed_mean: float
    ci_low: float
    ci_high: float


class Requirement(Output):
    """One threshold, what was measured against it, and whether it is met."""

    name: RequirementName
    threshold: float | None
    measured: Estimate | Difference | None
    #: null where inconclusive or switched off
    met: bool | None
    status: RequirementStatus


class GradScalerSummary(Output):
    """The gradient scaler over all trials of a leg."""

    initial_scale: float
    final_scale: float
    #: Steps in a row that were skipped, at most.
    longest_skip_run: int
    #: In all trials together.
    skipped_steps: int
    #: Of the first block's trial, one entry per step.
    scale_trace: list[MaybeFloat]
    #: Modules where numbers stopped being finite in the first block's first skipped step, where it began first.
    #: Searched for up to step 32, else null.
    first_overflow: list[str] | None


class Capacity(Output):
    """The largest batch that fits, and the throughput there."""

    #: null where none was found that fits
    largest_batch_size: int | None
    #: The smallest tried that does not fit; null where all fitted.
    smallest_too_large: int | None
    #: What the leg may use; null: all of the GPU.
    limit_bytes: int | None
    #: Steady peak at the largest batch.
    peak_memory_bytes: int | None
    #: At the largest batch, of one short trial: no interval.
    samples_per_second: float | None
    #: Fresh processes that were started.
    tries: int
    stopped_by: Literal["found", "time_budget", "failure"]
    #: Why the search ended early.
    failure: Failure | None


class Leg(Output):
    """One precision of the benchmark. The figures are null where no trial of the leg succeeded."""

    precision: PrecisionName
    median_step_seconds: float | None
    #: Geometric mean over trials of the median step time, with its 95 % interval: what another report's is held
    #: against. null with fewer than two trials.
    mean_step_seconds: Estimate | None = None
    training_time_seconds: float | None
    samples_per_second: float | None
    #: Of the measured time, waiting for the data loader, median over trials; null where data lay on the device.
    data_wait_share: float | None = None
    #: Steady: of the steps after warm-up.
    peak_memory_bytes: int | None
    first_step_peak_bytes: int | None
    peak_reserved_bytes: int | None
    #: In use on the whole GPU at most, as NVML tells: with the CUDA context and what the allocator keeps.
    peak_device_bytes: int | None
    memory_source: str | None
    memory_breakdown: MemoryBreakdown | None
    final_train_loss: MaybeFloat
    validation_loss: MaybeFloat
    validation_accuracy: MaybeFloat
    #: One entry per step, warm-up included, mean over blocks.
    loss_curve: list[MaybeFloat]
    grad_scaler: GradScalerSummary | None
    #: One step against FP64; null where FP64 did not fit.
    numerics: Numerics | None
    #: null where the request did not ask, or on a CPU without a limit.
    capacity: Capacity | None
    #: Work that was done at least, over the median step time.
    achieved_flops_per_second: float | None
    #: The fastest matrix product of any trial.
    ceiling_flops_per_second: float | None
    #: Of the GPU, over the measured steps; null on a CPU, and where the region is too short to tell.
    joules_per_step: float | None
    joules_per_sample: float | None
    #: What the device can do in the precision; null where its worker did not measure it.
    kernels: KernelSupport | None = None
    #: Trials whose training the time budget ended before all steps were done.
    shortened_trials: int = 0
    #: Trials that count although they were disturbed to the last, and those thrown away for it.
    disturbed_trials: int
    repeated_trials: int
    #: Why the leg has no figures, or fewer than the others.
    failure: Failure | None
    trials: list[TrialResult]

    def without_samples(self) -> "Leg":
        """The leg with its trials' raw samples emptied."""
        return self.model_copy(update={"trials": [trial.without_samples() for trial in self.trials]})


class Comparison(Output):
    """One candidate against the baseline. An estimate is null where it could not be made."""

    candidate: Leg
    #: Ratio of median step times, baseline / candidate: the one `min_speedup` judges.
    speedup: Estimate | None
    #: The same ratio where only one block has both legs: without an interval, nothing is judged by it. Else null.
    speedup_of_one_block: float | None = None
    #: The speedup's interval overlaps the noise floor: identical work could look like this. null without either.
    indistinguishable_from_noise: bool | None
    #: Ratio of whole training times.
    training_time_ratio: Estimate | None
    #: Of steady peaks; the interval is the smallest and the largest over blocks.
    memory_reduction_percent: Estimate | None
    accuracy_difference: Difference | None
    loss_difference: Difference | None
    requirements: list[Requirement]
    verdict: Verdict


class NoiseFloor(Output):
    """What this machine reports for identical work."""

    #: 95 % range of the speedup between two runs of the baseline, from the spread of its trials.
    ratio: Estimate
    #: The speedup of the control leg, block by block; null without one.
    control_ratio: Estimate | None
    #: Standard deviation between two runs of the baseline from the same seed (nats); null without a control leg.
    same_seed_loss_spread: float | None
    same_seed_accuracy_spread: float | None
    #: Standard deviation over seeds of the baseline's validation loss (nats) and accuracy.
    loss_spread: MaybeFloat
    accuracy_spread: MaybeFloat


class AttestationCheck(Output):
    """One thing that had to be true of a leg, and what was seen."""

    leg: str
    name: str
    expected: str
    observed: str
    ok: bool


class ReportAttestation(Output):
    """Proof that the precisions were what they are called, and the comparison fair."""

    ok: bool
    checks: list[AttestationCheck]


class Report(Output):
    """Every derived figure can be recomputed from the raw samples in `trials`.

    Immutable, until the operator's retention drops the samples: the figures stay.
    """

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    benchmark_id: str
    verdict: Verdict
    #: Why the verdict is not `pass`, in words.
    reasons: list[str]
    #: What was trained, and how: the same in every leg, every default filled in.
    model: ModelSpec
    training: TrainingConfig
    baseline: Leg
    comparisons: list[Comparison]
    #: A second leg of the baseline's precision, where the request asked for one.
    control: Leg | None
    #: null where fewer than two trials of the baseline succeeded
    noise_floor: NoiseFloor | None
    data: DataFacts | None
    blocks: int
    #: Of the blocks, the first so many were measured by an attempt before the last; the warnings say by which.
    reused_blocks: int = 0
    stopped_by: StoppedBy
    attestation: ReportAttestation
    environment: Environment | None
    warnings: list[str]
    #: Everything outside measured steps.
    overhead_seconds: float
    #: Of those, what was spent after training on probes, the account of memory, and numerics.
    proof_seconds: float
    total_seconds: float
    #: Retention emptied `step_seconds`, `loss_curve`, `gradient_norms` and the scale trace of every trial.
    samples_dropped: bool = False

    def without_samples(self) -> "Report":
        """The report with every trial's raw samples emptied, and saying so; all else stays."""
        return self.model_copy(
            update={
                "baseline": self.baseline.without_samples(),
                "comparisons": [
                    found.model_copy(update={"candidate": found.candidate.without_samples()})
                    for found in self.comparisons
                ],
                "control": self.control.without_samples() if self.control else None,
                "samples_dropped": True,
            }
        )
