"""The report: the results of a succeeded benchmark with their uncertainty and verdict."""

from typing import Annotated, Literal

from pydantic import Field

from halftime.contract.models import ModelSpec
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import Explanation, TimeByKind
from halftime.contract.report.failure import Failure
from halftime.contract.report.numerics import Numerics
from halftime.contract.report.requirements import RequirementName
from halftime.contract.report.slices import Pairing, TurnsPlan
from halftime.contract.report.trial import DataFacts, Environment, MemoryBreakdown, TrialResult
from halftime.contract.request.adapters import LoraConfig
from halftime.contract.request.training import TrainingConfig
from halftime.contract.resources.worker import DeviceCeilings, KernelSupport
from halftime.contract.strict import MaybeFloat, Output

SCHEMA_VERSION = 1

#: pass: the whole interval meets the threshold. fail: no part of it does. inconclusive: the threshold lies within the
#: interval. off: the request set the threshold to null.
RequirementStatus = Literal["pass", "fail", "inconclusive", "off"]

#: Verdict of a comparison or a report; invalid: the comparison itself is not trustworthy.
Verdict = Literal["pass", "fail", "inconclusive", "invalid"]

#: Why no more blocks were run. target_ci: the interval reached the target width. leg_failed: no pair of legs was left
#: to compare.
StoppedBy = Literal["target_ci", "max_blocks", "time_budget", "leg_failed"]


class Difference(Output):
    """An absolute difference of validation metrics between baseline and candidate.

    `value` is |signed_mean|. The interval is that of the signed mean (baseline - candidate) and can include zero,
    which distinguishes no difference from a small one.
    """

    value: float
    signed_mean: float
    ci_low: float
    ci_high: float


class Requirement(Output):
    """One threshold, the figure measured for it, and whether it is met."""

    name: RequirementName
    #: The metric that a threshold of `max_metric_differences` is for; null for the other requirements.
    metric: str | None = None
    threshold: float | None
    measured: Estimate | Difference | None
    #: null if inconclusive or switched off
    met: bool | None
    status: RequirementStatus

    @property
    def key(self) -> str:
        """Its name among all requirements of a comparison."""
        return self.name if self.metric is None else f"{self.name}.{self.metric}"


class GradScalerSummary(Output):
    """The gradient scaler over all trials of a leg."""

    initial_scale: float
    final_scale: float
    #: Largest number of consecutive skipped steps.
    longest_skip_run: int
    #: Skipped steps in all trials together.
    skipped_steps: int
    #: Loss scale of the first block's trial, one entry per step.
    scale_trace: list[MaybeFloat]
    #: Modules that produced the first non-finite numbers in the first skipped step of the survey, or else of the first
    #: block; null if that step is after step 32.
    first_overflow: list[str] | None


class Capacity(Output):
    """The largest batch that fits into memory, and the throughput with it."""

    #: null if no batch size fits, or if none was tried that does: see `tries` and `stopped_by`.
    largest_batch_size: int | None
    #: The smallest batch size tried that does not fit; null if all of them fitted.
    smallest_too_large: int | None
    #: Memory that the leg may use; null: all of the GPU.
    limit_bytes: int | None
    #: Steady peak at the largest batch.
    peak_memory_bytes: int | None
    #: Throughput at the largest batch in one short trial, hence without an interval.
    samples_per_second: float | None
    #: Fresh processes started for the search; 0 if there was no time for it, or the leg had failed.
    tries: int
    stopped_by: Literal["found", "time_budget", "failure"]
    #: Why the search ended early.
    failure: Failure | None


class Leg(Output):
    """One precision of the benchmark. The figures are null if no trial of the leg succeeded."""

    precision: PrecisionName
    median_step_seconds: float | None
    #: Geometric mean over trials of the median step time, with its 95 % interval, for comparison with other reports.
    #: null with fewer than two trials.
    mean_step_seconds: Estimate | None = None
    training_time_seconds: float | None
    samples_per_second: float | None
    #: Share of the measured time spent waiting for the data loader, median over trials; null if the data was preloaded
    #: on the device.
    data_wait_share: float | None = None
    #: Steady peak: highest use in the steps after warm-up.
    peak_memory_bytes: int | None
    first_step_peak_bytes: int | None
    peak_reserved_bytes: int | None
    #: Peak use of the whole GPU reported by NVML, including the CUDA context and memory cached by the allocator.
    peak_device_bytes: int | None
    memory_source: str | None
    memory_breakdown: MemoryBreakdown | None
    final_train_loss: MaybeFloat
    validation_loss: MaybeFloat
    #: null for a task without an accuracy.
    validation_accuracy: MaybeFloat
    #: The task's further metrics, by name; `Report.data.metrics` has their units.
    validation_metrics: dict[str, MaybeFloat] = Field(default={})
    #: By the name of a metric, how far the leg got beyond chance, in the metric's direction of improvement: mean over
    #: trials with its interval. Without metrics whose chance is unknown; empty with fewer than two trials.
    gains_over_chance: dict[str, Estimate] = Field(default={})
    #: Training loss, one entry per step, warm-up included, mean over blocks.
    loss_curve: list[MaybeFloat]
    grad_scaler: GradScalerSummary | None
    #: One step compared with FP64; null if FP64 did not fit into memory.
    numerics: Numerics | None
    #: null if the request did not ask for it, or on a CPU without a limit.
    capacity: Capacity | None
    #: Lower bound of the work of a step / median step time.
    achieved_flops_per_second: float | None
    #: Rate of the fastest matrix product in any trial.
    ceiling_flops_per_second: float | None
    #: Work of the model's step, without what activation checkpointing repeats, per second / the ceiling of matrix
    #: products in the leg's dtype (Chowdhery et al. 2022, "PaLM", appendix B). null if either is unknown.
    model_flops_utilisation: float | None = None
    #: The vendor's dense peak for the leg's dtype; null if the device is not in the table.
    vendor_peak_flops_per_second: float | None = None
    #: Where the time of a step goes; empty without it, with the reason.
    time_by_kind: list[TimeByKind] = Field(default=[])
    time_by_kind_missing: str | None = None
    #: Energy of the GPU over the measured steps; null on a CPU, and if the measured region is too short.
    joules_per_step: float | None
    joules_per_sample: float | None
    #: The device's support for the precision; null if its worker did not measure it.
    kernels: KernelSupport | None = None
    #: Trials whose training was ended by the time budget before all steps were done.
    shortened_trials: int = 0
    #: `disturbed_trials` count although every repetition was disturbed; `repeated_trials` were discarded as disturbed.
    disturbed_trials: int
    repeated_trials: int
    #: How much longer the first step after a wait took than those that are compared: the median over slices of their
    #: ratio. null if the legs did not take turns.
    pick_up_ratio: float | None = None
    #: CPU cores that the leg's processes used while they waited for their turn; null if the legs did not take turns.
    waiting_cpu_cores: float | None = None
    #: Why the leg ended before the others in its blocks; null if it did not.
    ended_early_reason: str | None = None
    #: Why the leg has no figures, or fewer than the other legs.
    failure: Failure | None
    #: The leg trained once, alone on the device, before the blocks in which the legs take turns: it has what such a
    #: block cannot measure. null if the legs did not take turns: then the first trial has it.
    survey: TrialResult | None = None
    trials: list[TrialResult]

    def measured_alone(self) -> list[TrialResult]:
        """The trials that were alone on the device from start to end, which alone are examined."""
        return [self.survey] if self.survey else self.trials

    def all_trials(self) -> list[TrialResult]:
        """The survey, if there is one, and the trials of all blocks."""
        return [self.survey, *self.trials] if self.survey else self.trials

    def metric(self, name: str) -> float | None:
        """The value of a metric on held-out data, by its name in `DataFacts.metrics`; None if it is not finite."""
        own = {"loss": self.validation_loss, "accuracy": self.validation_accuracy}
        return own[name] if name in own else self.validation_metrics.get(name)

    def without_samples(self) -> "Leg":
        """Returns a copy of the leg without its trials' raw samples."""
        survey = self.survey.without_samples() if self.survey else None
        return self.model_copy(update={"survey": survey, "trials": [trial.without_samples() for trial in self.trials]})


class Comparison(Output):
    """One candidate compared with the baseline. An estimate is null if it could not be made."""

    candidate: Leg
    #: Ratio of step times, baseline / candidate, which `min_speedup` applies to.
    speedup: Estimate | None
    #: Pairs of neighbouring slices that the speedup comes from, and those left out as disturbed; null if the legs did
    #: not take turns.
    pairs: int | None = None
    disturbed_pairs: int | None = None
    #: The same ratio if only one block has both legs, else null. It has no interval and decides no requirement.
    speedup_of_one_block: float | None = None
    #: Whether the speedup's interval overlaps the noise floor, so that identical work could give it. null if either is
    #: missing.
    indistinguishable_from_noise: bool | None
    #: Ratio of whole training times.
    training_time_ratio: Estimate | None
    #: Reduction of the steady peak; the interval ranges from the smallest to the largest value over blocks.
    memory_reduction_percent: Estimate | None
    accuracy_difference: Difference | None
    loss_difference: Difference | None
    #: Of the task's further metrics, by name.
    metric_differences: dict[str, Difference] = Field(default={})
    requirements: list[Requirement]
    verdict: Verdict
    #: null without it: `explanation_missing` says why.
    explanation: Explanation | None = None
    explanation_missing: str | None = None

    def difference(self, metric: str) -> Difference | None:
        """The difference of a metric by its name; None if it was not measured in both legs."""
        own = {"loss": self.loss_difference, "accuracy": self.accuracy_difference}
        return own[metric] if metric in own else self.metric_differences.get(metric)


class NoiseFloor(Output):
    """The differences that this machine shows for identical work."""

    #: 95 % range of the speedup between two runs of the baseline, from the spread of its trials.
    ratio: Estimate
    #: Speedup of the control leg, paired by block; null without a control leg.
    control_ratio: Estimate | None
    #: Standard deviation between two runs of the baseline from the same seed; null without a control leg.
    same_seed_loss_spread: float | None
    same_seed_accuracy_spread: float | None
    #: Standard deviation over seeds of the baseline's validation loss and accuracy.
    loss_spread: MaybeFloat
    accuracy_spread: MaybeFloat
    #: The same of the task's further metrics, by name.
    same_seed_metric_spreads: dict[str, float] = Field(default={})
    metric_spreads: dict[str, float] = Field(default={})


class AttestationCheck(Output):
    """One expected property of a leg and the observed one."""

    leg: str
    name: str
    expected: str
    observed: str
    ok: bool


class ReportAttestation(Output):
    """Checks that each leg ran in its stated precision and that the comparison was fair."""

    ok: bool
    checks: list[AttestationCheck]


class Report(Output):
    """The results of a benchmark. Every derived figure can be recomputed from the raw samples in `trials`.

    A report is immutable, except that the operator's retention may drop the samples; the figures stay.
    """

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    benchmark_id: str
    verdict: Verdict
    #: Explanations of a verdict other than `pass`.
    reasons: list[str]
    #: The model and its training, the same in every leg, with every default filled in.
    model: ModelSpec
    training: TrainingConfig
    #: null if all weights were trained.
    adapters: LoraConfig | None = None
    baseline: Leg
    comparisons: list[Comparison]
    #: A second leg of the baseline's precision, if the request asked for one.
    control: Leg | None
    #: null if fewer than two trials of the baseline succeeded
    noise_floor: NoiseFloor | None
    data: DataFacts | None
    blocks: int
    #: Number of initial blocks that were measured by an earlier attempt; the warnings name the attempts.
    reused_blocks: int = 0
    stopped_by: StoppedBy
    #: How the legs of a block were measured side by side, and why.
    pairing: Pairing = "trials"
    pairing_reason: str = ""
    #: null if the legs did not take turns.
    turns: TurnsPlan | None = None
    attestation: ReportAttestation
    environment: Environment | None
    #: The device's ceilings, measured when its worker started; null if they were not.
    ceilings: DeviceCeilings | None = None
    warnings: list[str]
    #: Time outside measured steps.
    overhead_seconds: float
    #: Part of the overhead: time after training for probes, the profile, the memory breakdown, and numerics.
    proof_seconds: float
    total_seconds: float
    #: Whether retention emptied `step_seconds`, `loss_curve`, `gradient_norms` and the scale trace of every trial.
    samples_dropped: bool = False

    def without_samples(self) -> "Report":
        """Returns a copy of the report without raw samples, marked by `samples_dropped`."""
        return self.model_copy(
            update={
                "baseline": self.baseline.without_samples(),
                "comparisons": [
                    comparison.model_copy(update={"candidate": comparison.candidate.without_samples()})
                    for comparison in self.comparisons
                ],
                "control": self.control.without_samples() if self.control else None,
                "samples_dropped": True,
            }
        )
