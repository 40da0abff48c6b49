"""What a client posts: a model, how to train and measure it, and what it must reach."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from halftime.contract.models import LayersSpec, ModelSpec
from halftime.contract.precisions import DEFAULT_CANDIDATE, UNSUPPORTED, DeviceChoice, PrecisionName, supported
from halftime.contract.request.data import DataConfig, SyntheticData
from halftime.contract.request.tracking import Tracking
from halftime.contract.request.training import TrainingConfig
from halftime.contract.request.webhook import WebhookConfig
from halftime.contract.strict import Input, Printable, fault_at


class MeasurementConfig(Input):
    """How often the legs are repeated, and when it is enough."""

    min_blocks: int = Field(
        default=6,
        ge=2,
        le=64,
        description="blocks to run, unless the time budget ends earlier; the pilot of the stopping rule",
    )
    max_blocks: int = Field(default=16, ge=2, le=64, description="no more blocks than this")
    target_ci: float = Field(
        default=0.02, ge=0.001, le=1, description="wished relative half-width of the speedup interval"
    )
    time_budget_seconds: float = Field(
        default=600,
        gt=0,
        le=604_800,
        description="no trial of a block starts or goes on beyond this; what was measured until then is reported",
    )
    control: bool = Field(default=False, description="a second baseline leg in every block: identical work, paired")
    capacity: bool = Field(
        default=False,
        description="search the largest batch that fits, per leg; may take `time_budget_seconds` once more",
    )
    capacity_memory_mib: int | None = Field(
        default=None,
        ge=1,
        le=16_777_216,
        description="memory a leg may use in that search; null: all of a GPU. A CPU needs one",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_blocks > self.max_blocks:
            raise PydanticCustomError("blocks_out_of_order", "min_blocks must not exceed max_blocks")
        return self


class BenchmarkConfig(Input):
    """Device, legs, training and measurement. Everything has a default."""

    device: DeviceChoice = Field(default="cuda", description="`auto`: CUDA where there is one, else the CPU")
    gpu: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9]{1,32}$", description='a word of the GPU\'s name, such as "H200"'
    )
    min_gpu_memory_gib: int | None = Field(default=None, ge=1, le=1024, description="least memory of the GPU")
    baseline: PrecisionName = Field(default="fp32", description="the leg every other is compared with")
    candidates: list[PrecisionName] | None = Field(
        default=None,
        min_length=1,
        max_length=len(get_args(PrecisionName)),
        description="null: fp16 on CUDA, bf16 on a CPU",
    )
    data: DataConfig = SyntheticData()
    training: TrainingConfig = TrainingConfig()
    measurement: MeasurementConfig = MeasurementConfig()
    timeout_seconds: float = Field(default=3600, ge=1, le=604_800, description="of the whole run, queueing apart")
    max_queue_seconds: float = Field(default=86_400, ge=1, le=2_592_000, description="longest wait for a worker")

    @model_validator(mode="after")
    def _legs_are_possible(self) -> Self:
        if self.measurement.capacity and self.device == "cpu" and self.measurement.capacity_memory_mib is None:
            raise PydanticCustomError(
                "capacity_needs_a_limit", "capacity on a CPU needs measurement.capacity_memory_mib: a CPU has no edge"
            )
        if self.candidates is not None and len(set(self.candidates)) < len(self.candidates):
            raise PydanticCustomError("candidates_repeat", "candidates must differ from each other")
        if self.device == "cpu":
            impossible = UNSUPPORTED["cpu"].intersection([self.baseline, *(self.candidates or [])])
            if impossible:
                raise PydanticCustomError(
                    "unsupported_precision",
                    "a CPU has no {precision}; use {supported}",
                    {"precision": ", ".join(sorted(impossible)), "supported": supported("cpu")},
                )
            if self.gpu or self.min_gpu_memory_gib:
                raise PydanticCustomError("gpu_without_cuda", "gpu and min_gpu_memory_gib need device cuda or auto")
        return self

    def resolved_candidates(self, device: Literal["cuda", "cpu"]) -> list[PrecisionName]:
        """The candidate legs on a device of this kind, the default filled in."""
        return self.candidates or [DEFAULT_CANDIDATE[device]]


class Requirements(Input):
    """What the candidate must reach; null switches a requirement off."""

    min_speedup: float | None = Field(default=1.5, gt=0, le=1000, description="baseline time / candidate time")
    min_memory_reduction_percent: float | None = Field(default=40, ge=-1000, le=100)
    max_accuracy_difference: float | None = Field(default=0.01, gt=0, le=1, description="absolute, of a fraction")
    max_loss_difference: float | None = Field(default=None, gt=0, le=1e6, description="absolute, in nats")


LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]
LabelValue = Annotated[Printable, Field(max_length=255)]


class BenchmarkRequest(Input):
    """The whole request. `{"model": {"kind": "transformer"}}` is one: everything else has a default."""

    model: ModelSpec
    config: BenchmarkConfig = BenchmarkConfig()
    requirements: Requirements = Requirements()
    labels: dict[LabelKey, LabelValue] = Field(
        default={}, max_length=32, description="free for the client to filter by"
    )
    priority: int = Field(default=0, ge=-100, le=100, description="higher runs first")
    webhook: WebhookConfig | None = Field(default=None, description="whom to tell when it starts or ends")
    tracking: Tracking | None = Field(default=None, description="experiment trackers to log the report to")

    @model_validator(mode="after")
    def _norms_have_values(self) -> Self:
        training = self.config.training
        at_once = training.batch_size // training.gradient_accumulation
        if isinstance(self.model, LayersSpec) and at_once < self.model.least_batch_size():
            reason = (
                "a batch_norm of one value per channel needs two samples at once: raise batch_size, or lower "
                "gradient_accumulation"
            )
            raise fault_at(("config", "training", "batch_size"), "too_few_samples_at_once", reason)
        return self


def stored_request(body: dict[str, Any]) -> BenchmarkRequest:
    """A request as it was accepted: another release may have written fields that this one does not know."""
    return BenchmarkRequest.model_validate(body, extra="ignore")
