"""Adapters: small trained matrices beside frozen weights."""

from typing import Annotated, Literal

from pydantic import Field

from halftime.contract.strict import Input, Printable


class LoraConfig(Input):
    """Low-rank adapters (Hu et al. 2021, "LoRA"), the same in every leg; all other weights are frozen."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=8, ge=1, le=65_536, description="rank of an adapter; peft's `r`")
    alpha: float = Field(
        default=8.0, gt=0, le=1e6, description="an adapter's output is multiplied by alpha / rank; peft's `lora_alpha`"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout of an adapter's input; peft's `lora_dropout`")
    target_modules: list[Annotated[Printable, Field(min_length=1, max_length=512)]] | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="modules that get an adapter: names, or their last parts, such as `q_proj`; null: all linear "
        "layers but the output, as peft's `all-linear`",
    )
    base_precision: Literal["fp32", "bf16"] = Field(
        default="fp32",
        description="dtype that frozen matrices are stored in; vectors, such as biases and norms, stay in FP32. Legs "
        "that multiply in FP32 cast them where they are used",
    )
