"""The training of legs: optimizer, schedule, clipping, and torch's settings for memory and kernels."""

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from halftime.contract.strict import Input

MAX_BATCH_SIZE = 65_536

Optimizer = Literal["adamw", "sgd", "adam", "adafactor"]
Implementation = Literal["fused", "foreach"]

#: Optimizers with a fused step in torch.
FUSED: frozenset[Optimizer] = frozenset({"adamw", "sgd", "adam"})

#: Settings that only some optimizers have.
USED_BY: dict[str, frozenset[Optimizer]] = {
    "momentum": frozenset({"sgd"}),
    "betas": frozenset({"adamw", "adam"}),
    "epsilon": frozenset({"adamw", "adam"}),
}

#: Modes of torch.compile that record CUDA graphs, which overwrite gradients in the next micro-batch
#: (https://github.com/pytorch/pytorch/issues/169545).
CUDA_GRAPH_MODES = frozenset({"reduce-overhead", "max-autotune"})

Beta = Annotated[float, Field(ge=0, lt=1)]


class GradScalerConfig(Input):
    """Settings of the gradient scaler of fp16 legs, with torch's defaults. The loss is multiplied by the scale."""

    init_scale: float = Field(default=65_536.0, ge=1, le=2.0**40, description="scale of the first step")
    growth_factor: float = Field(
        default=2.0, gt=1, le=1024, description="factor of the scale after `growth_interval` steps without overflow"
    )
    backoff_factor: float = Field(
        default=0.5, gt=0, lt=1, description="factor of the scale after a step that overflowed"
    )
    growth_interval: int = Field(
        default=2000, ge=1, le=1_000_000, description="consecutive steps without overflow before the scale grows"
    )


class CompileConfig(Input):
    """Compiles the model with torch.compile, in every leg with an empty cache. The worker needs a C++ compiler."""

    mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = Field(
        default="default",
        description="mode of torch.compile; `reduce-overhead` and `max-autotune` record CUDA graphs",
    )
    fullgraph: bool = Field(default=False, description="refuse a model that does not compile into a single graph")


class TrainingConfig(Input):
    """The training settings, the same for all legs."""

    batch_size: int = Field(default=16, ge=1, le=MAX_BATCH_SIZE, description="samples per batch, the same in every leg")
    steps: int = Field(default=60, ge=2, le=10_000, description="batches that each trial trains on, warm-up included")
    warmup_steps: int = Field(
        default=5, ge=1, le=1_000, description="steps at the beginning of a trial that are trained but not timed"
    )
    optimizer: Optimizer = Field(
        default="adamw",
        description="optimizer of torch.optim; its adafactor makes the host wait for the device in every step",
    )
    optimizer_implementation: Literal["auto", "fused", "foreach"] = Field(
        default="auto",
        description="`auto`: fused; foreach for adafactor, which has no fused step. With foreach, the gradient scaler "
        "of an fp16 leg makes the host wait for the device in every step",
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of sgd")
    betas: list[Beta] = Field(
        default=[0.9, 0.999], min_length=2, max_length=2, description="decay rates of the moments of adamw and adam"
    )
    epsilon: float = Field(default=1e-8, gt=0, le=1, description="term added to the denominator of adamw and adam")
    learning_rate: float = Field(default=3e-4, gt=0, le=10, description="highest learning rate of the schedule")
    weight_decay: float = Field(default=0.01, ge=0, le=10, description="weight decay; decoupled in adamw and adafactor")
    max_grad_norm: float | None = Field(
        default=1.0, gt=0, le=1e9, description="limit for the global norm of the gradient; null: no clipping by norm"
    )
    max_grad_value: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="limit for every entry of the gradient; null: no clipping by value; needs max_grad_norm null",
    )
    gradient_accumulation: int = Field(default=1, ge=1, le=1024, description="micro-batches per batch")
    schedule: Literal["constant", "cosine", "linear"] = Field(
        default="cosine", description="schedule of the learning rate"
    )
    schedule_warmup_steps: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="steps at the beginning in which the learning rate rises linearly; fewer than steps",
    )
    final_learning_rate_ratio: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="final learning rate of the schedules cosine and linear, as a share of learning_rate",
    )
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="label smoothing of the training loss; validation uses plain cross-entropy"
    )
    activation_checkpointing: bool = Field(
        default=False, description="store only the inputs of the model's blocks and recompute the rest in backward"
    )
    channels_last: bool = Field(default=False, description="use the NHWC memory layout for images and convolutions")
    compile: CompileConfig | None = Field(default=None, description="torch.compile; null: no compilation")
    grad_scaler: GradScalerConfig = GradScalerConfig()
    autocast_cache: bool = Field(default=True, description="let autocast cache cast weights until its end")
    deterministic: bool = Field(
        default=False, description="use deterministic kernels only; a model that needs others is refused"
    )
    seed: int = Field(
        default=0, ge=0, le=2**31 - 1, description="seed of weights and data; block b (from 0) uses seed + b"
    )
    validation_samples: int | None = Field(
        default=None, ge=1, le=1_000_000, description="held-out samples; null: enough for 4096 predictions"
    )

    @property
    def implementation(self) -> Implementation:
        """The implementation of the optimizer, with `auto` resolved."""
        if self.optimizer_implementation == "auto":
            return "fused" if self.optimizer in FUSED else "foreach"
        return self.optimizer_implementation

    def resolved(self) -> Self:
        """Returns the settings as legs are trained with them, with `auto` resolved."""
        return self.model_copy(update={"optimizer_implementation": self.implementation})

    @field_validator("optimizer_implementation")
    @classmethod
    def _exists(cls, value: str, info: ValidationInfo) -> str:
        optimizer = info.data.get("optimizer", "adamw")
        if value == "fused" and optimizer not in FUSED:
            raise PydanticCustomError(
                "no_fused_step",
                "torch has no fused step for {optimizer}; use auto or foreach",
                {"optimizer": optimizer},
            )
        return value

    @field_validator("momentum", "betas", "epsilon")
    @classmethod
    def _is_used(cls, value: object, info: ValidationInfo) -> object:
        assert info.field_name is not None
        users, optimizer = USED_BY[info.field_name], info.data.get("optimizer")
        if optimizer not in {None, *users} and value != cls.model_fields[info.field_name].default:
            raise PydanticCustomError(
                "not_of_the_optimizer",
                "{name} is a setting of {users} and has no effect on {optimizer}",
                {"name": info.field_name, "users": " and ".join(sorted(users)), "optimizer": optimizer},
            )
        return value

    @field_validator("max_grad_value")
    @classmethod
    def _clips_once(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("max_grad_norm") is not None:
            raise PydanticCustomError(
                "clips_twice",
                "gradients can be clipped by norm or by value, not both: set max_grad_norm (1.0 by default) to null",
            )
        return value

    @field_validator("schedule_warmup_steps")
    @classmethod
    def _ends(cls, value: int, info: ValidationInfo) -> int:
        if value and value >= info.data.get("steps", value + 1):
            raise PydanticCustomError("schedule_warmup_too_long", "schedule_warmup_steps must be smaller than steps")
        return value

    @field_validator("final_learning_rate_ratio")
    @classmethod
    def _decays(cls, value: float, info: ValidationInfo) -> float:
        if value and info.data.get("schedule") == "constant":
            raise PydanticCustomError(
                "does_not_decay", "the schedule constant does not decay: final_learning_rate_ratio must be 0"
            )
        return value

    @field_validator("compile")
    @classmethod
    def _keeps_gradients(cls, value: CompileConfig | None, info: ValidationInfo) -> CompileConfig | None:
        if value is not None and value.mode in CUDA_GRAPH_MODES and info.data.get("gradient_accumulation", 1) > 1:
            raise PydanticCustomError(
                "cuda_graphs_overwrite_gradients",
                "the mode {mode} records CUDA graphs, which overwrite the gradients of earlier micro-batches; use the "
                "mode default or max-autotune-no-cudagraphs, or gradient_accumulation 1",
                {"mode": value.mode},
            )
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.warmup_steps >= self.steps:
            raise PydanticCustomError("warmup_too_long", "warmup_steps must be smaller than steps")
        if self.batch_size % self.gradient_accumulation:
            raise PydanticCustomError("accumulation_does_not_divide", "gradient_accumulation must divide batch_size")
        return self
