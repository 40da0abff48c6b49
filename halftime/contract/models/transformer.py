"""A decoder-only transformer, trained as a causal language model."""

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from halftime.contract.strict import Input


class TransformerSpec(Input):
    """Pre-norm blocks of causal self-attention and a GELU feed-forward layer; the output layer shares the embedding.

    The architecture is that of GPT-2 (Radford et al. 2019), at any size.
    """

    kind: Literal["transformer"] = "transformer"
    vocab_size: int = Field(default=256, ge=2, le=1_000_000, description="size of the vocabulary")
    hidden_size: int = Field(default=256, ge=1, le=65_536, description="width of the residual stream")
    num_layers: int = Field(default=4, ge=1, le=512, description="transformer blocks")
    num_heads: int = Field(default=4, ge=1, le=1024, description="attention heads; must divide hidden_size")
    feed_forward_size: int | None = Field(
        default=None, ge=1, le=262_144, description="width of the feed-forward layer; null: 4 x hidden_size"
    )
    sequence_length: int = Field(default=128, ge=1, le=65_536, description="tokens in one sample")
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="dropout probability of embeddings, attention, and the outputs added to the residual stream",
    )

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise PydanticCustomError(
                "heads_do_not_divide",
                "num_heads ({heads}) must divide hidden_size ({width})",
                {"heads": self.num_heads, "width": self.hidden_size},
            )
        return self

    @property
    def feed_forward_width(self) -> int:
        """The width of the feed-forward layer, with its default filled in."""
        return self.feed_forward_size or 4 * self.hidden_size

    def parameter_count(self) -> int:
        """Counts weights, biases and norms of the module that `worker/models/transformer.py` builds."""
        width, inner = self.hidden_size, self.feed_forward_width
        attention = 4 * width * width + 4 * width
        feed_forward = 2 * width * inner + inner + width
        norms = 4 * width
        embeddings = (self.vocab_size + self.sequence_length) * width
        return embeddings + self.num_layers * (attention + feed_forward + norms) + 2 * width

    def training_flops_per_sample(self) -> int:
        """Counts 6 FLOP per weight and token, and 12 x layers x width x length per token for attention.

        Source: Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1; Chowdhery et al. 2022,
        "PaLM", appendix B.
        """
        position_embeddings = self.sequence_length * self.hidden_size
        per_token = 6 * (self.parameter_count() - position_embeddings)
        attention = 12 * self.num_layers * self.hidden_size * self.sequence_length
        return (per_token + attention) * self.sequence_length
