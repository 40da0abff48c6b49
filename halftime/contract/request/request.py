"""The request that a client posts: the model, its training and measurement, and the requirements."""

from collections.abc import Collection
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from halftime.contract.models import LayersSpec, ModelSpec
from halftime.contract.models.classification import is_classification
from halftime.contract.precisions import DEFAULT_CANDIDATE, UNSUPPORTED, DeviceChoice, PrecisionName, supported
from halftime.contract.report.metrics import MetricName
from halftime.contract.report.requirements import REQUIREMENTS
from halftime.contract.report.slices import LEAST_MEASURED_STEPS
from halftime.contract.request.adapters import LoraConfig
from halftime.contract.request.data import DataConfig, SyntheticData
from halftime.contract.request.tracking import Tracking
from halftime.contract.request.training import TrainingConfig
from halftime.contract.request.webhook import WebhookConfig
from halftime.contract.strict import ACCEPTED, Input, Printable, fault_at


class MeasurementConfig(Input):
    """The number of blocks and the rule that stops the measurement."""

    min_blocks: int = Field(
        default=6,
        ge=2,
        le=64,
        description="least number of blocks, unless the time budget ends earlier; the pilot of the stopping rule",
    )
    max_blocks: int = Field(default=16, ge=2, le=64, description="largest number of blocks")
    target_ci: float = Field(
        default=0.02, ge=0.001, le=1, description="target relative half-width of the speedup interval"
    )
    time_budget_seconds: float = Field(
        default=600,
        gt=0,
        le=604_800,
        description="time limit for all blocks: no trial starts or continues after it; the report covers what was "
        "measured until then",
    )
    pairing: Literal["auto", "trials"] = Field(
        default="auto",
        description="`auto`: the legs of a block take turns of a few steps where that is fair, which gives narrower "
        "intervals; `trials`: one whole trial after the other",
    )
    control: bool = Field(
        default=False, description="run a second baseline leg in every block, to measure the noise of identical work"
    )
    capacity: bool = Field(
        default=False,
        description="search for the largest batch that fits into memory, per leg; may take another "
        "`time_budget_seconds`",
    )
    capacity_memory_mib: int | None = Field(
        default=None,
        ge=1,
        le=16_777_216,
        description="memory limit of a leg in the capacity search, in MiB; null: all of the GPU; required on a CPU",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_blocks > self.max_blocks:
            raise PydanticCustomError("blocks_out_of_order", "min_blocks must not exceed max_blocks")
        return self


class ExplainConfig(Input):
    """What the explanation of a speedup includes."""

    verify: bool = Field(
        default=False,
        description="measure the gain of the first three pieces of advice; takes about as long as a few more blocks",
    )


class BenchmarkConfig(Input):
    """Device, legs, training and measurement. Every field has a default."""

    device: DeviceChoice = Field(default="cuda", description="`auto`: CUDA if a GPU is available, else the CPU")
    gpu: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9]{1,32}$", description='word in the GPU\'s name, such as "H200"'
    )
    min_gpu_memory_gib: int | None = Field(
        default=None, ge=1, le=1024, description="smallest memory of the GPU, in GiB"
    )
    baseline: PrecisionName = Field(
        default="fp32", description="precision of the leg that all candidates are compared with"
    )
    candidates: list[PrecisionName] | None = Field(
        default=None,
        min_length=1,
        max_length=len(get_args(PrecisionName)),
        description="precisions to compare with the baseline; null: fp16 on CUDA, bf16 on a CPU",
    )
    data: DataConfig = SyntheticData()
    adapters: LoraConfig | None = Field(
        default=None, description="adapters to train instead of the model's weights; null: all weights are trained"
    )
    training: TrainingConfig = TrainingConfig()
    measurement: MeasurementConfig = MeasurementConfig()
    explain: ExplainConfig | bool = Field(
        default=True,
        description="profile a few steps of each leg after its measured ones, and say where the time goes, what bounds "
        "it and what to change",
    )
    timeout_seconds: float = Field(
        default=3600, ge=1, le=604_800, description="time limit of the whole run, without the time in the queue"
    )
    max_queue_seconds: float = Field(
        default=86_400, ge=1, le=2_592_000, description="longest time to wait for a worker"
    )

    @model_validator(mode="after")
    def _legs_are_possible(self) -> Self:
        if self.measurement.capacity and self.device == "cpu" and self.measurement.capacity_memory_mib is None:
            raise PydanticCustomError(
                "capacity_needs_a_limit",
                "capacity on a CPU needs measurement.capacity_memory_mib: a CPU has no memory limit of its own",
            )
        if self.candidates is not None and len(set(self.candidates)) < len(self.candidates):
            raise PydanticCustomError("candidates_repeat", "candidates must differ from each other")
        if self.device == "cpu":
            impossible = UNSUPPORTED["cpu"].intersection([self.baseline, *(self.candidates or [])])
            if impossible:
                raise PydanticCustomError(
                    "unsupported_precision",
                    "a CPU does not support {precision}; use {supported}",
                    {"precision": ", ".join(sorted(impossible)), "supported": supported("cpu")},
                )
            if self.gpu or self.min_gpu_memory_gib:
                raise PydanticCustomError("gpu_without_cuda", "gpu and min_gpu_memory_gib need device cuda or auto")
        return self

    @property
    def verifies_advice(self) -> bool:
        """Whether to measure what the advice is worth."""
        return isinstance(self.explain, ExplainConfig) and self.explain.verify

    def resolved_candidates(self, device: Literal["cuda", "cpu"]) -> list[PrecisionName]:
        """Returns the candidates on a device of this kind, with the default filled in."""
        return self.candidates or [DEFAULT_CANDIDATE[device]]

    def why_trials(self) -> str | None:
        """Why whole trials are run whatever the machine; None if the legs may be able to take turns."""
        if self.measurement.pairing == "trials":
            return "the request asks for whole trials"
        if self.data.loader is not None:
            return "the loader's processes would draw batches for a leg that waits"
        measured = self.training.steps - self.training.warmup_steps
        if measured < LEAST_MEASURED_STEPS:
            return f"turns need at least {LEAST_MEASURED_STEPS} measured steps, and there are {measured}"
        return None


#: Largest absolute difference of a metric, in its unit.
MetricTolerance = Annotated[float, Field(gt=0, le=1e12)]


class Requirements(Input):
    """Thresholds that a candidate must meet; null switches a requirement off."""

    min_speedup: float | None = Field(
        default=1.5, gt=0, le=1000, description="smallest ratio of step times, baseline / candidate"
    )
    min_memory_reduction_percent: float | None = Field(
        default=40, ge=-1000, le=100, description="smallest reduction of peak memory, in percent of the baseline"
    )
    max_accuracy_difference: float | None = Field(
        default=0.01, gt=0, le=1, description="largest absolute difference of validation accuracy, as a fraction"
    )
    max_loss_difference: float | None = Field(
        default=None, gt=0, le=1e6, description="largest absolute difference of validation loss, in its unit"
    )
    max_metric_differences: dict[MetricName, MetricTolerance] = Field(
        default={},
        max_length=32,
        description="by the name of a further metric of the model's task, its largest absolute difference",
    )

    @model_validator(mode="after")
    def _further_metrics(self) -> Self:
        for name, kind in ((kind.metric, kind) for kind in REQUIREMENTS.values()):
            if name in self.max_metric_differences:
                reason = f"the metric {name} has a requirement of its own: {kind.name}"
                raise fault_at(("max_metric_differences", name), "has_its_own_requirement", reason)
        return self

    def metrics(self) -> list[str]:
        """The metrics that the client named a threshold for, which the model's task must have."""
        chosen = self.max_accuracy_difference not in {None, self._usual_accuracy_difference()}
        return [*(["accuracy"] if chosen else []), *self.max_metric_differences]

    def of_task(self, metrics: Collection[str]) -> "Requirements":
        """The requirements on a task with these metrics: the default one on accuracy is off if it has none."""
        if "accuracy" in metrics or self.max_accuracy_difference != self._usual_accuracy_difference():
            return self
        return self.model_copy(update={"max_accuracy_difference": None})

    @classmethod
    def _usual_accuracy_difference(cls) -> float:
        """The default. A request that was read back states it too, so nobody is known to have chosen it."""
        default: float = cls.model_fields["max_accuracy_difference"].default
        return default


LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]
LabelValue = Annotated[Printable, Field(max_length=255)]


class BenchmarkRequest(Input):
    """A complete request. Only `model` is required: `{"model": {"kind": "transformer"}}` is valid."""

    model: ModelSpec
    config: BenchmarkConfig = BenchmarkConfig()
    requirements: Requirements = Requirements()
    labels: dict[LabelKey, LabelValue] = Field(
        default={}, max_length=32, description="names and values of the client's choice, to filter benchmarks by"
    )
    priority: int = Field(default=0, ge=-100, le=100, description="benchmarks with a higher priority run first")
    webhook: WebhookConfig | None = Field(
        default=None, description="receiver of messages when the benchmark starts or ends"
    )
    tracking: Tracking | None = Field(default=None, description="experiment trackers that the report is logged to")

    @model_validator(mode="after")
    def _task_has_the_metrics(self) -> Self:
        further = self.requirements.max_metric_differences
        if further and is_classification(self.model):
            reason = (
                "this model is trained to classify; its metrics are the loss and the accuracy, which "
                "max_loss_difference and max_accuracy_difference are for"
            )
            raise fault_at(("requirements", "max_metric_differences", next(iter(further))), "unknown_metric", reason)
        return self

    @model_validator(mode="after")
    def _norms_have_values(self) -> Self:
        training = self.config.training
        micro_batch_size = training.batch_size // training.gradient_accumulation
        if isinstance(self.model, LayersSpec) and micro_batch_size < self.model.least_batch_size():
            reason = (
                "a batch_norm of one value per channel needs at least two samples per micro-batch: raise batch_size "
                "or lower gradient_accumulation"
            )
            raise fault_at(("config", "training", "batch_size"), "too_few_samples_at_once", reason)
        return self


def stored_request(body: dict[str, Any]) -> BenchmarkRequest:
    """Reads a stored request. Fields that another release wrote and this one does not know are ignored."""
    return BenchmarkRequest.model_validate(body, extra="ignore", context=ACCEPTED)
