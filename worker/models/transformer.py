"""A decoder-only transformer with pre-norm blocks: the shape of GPT-2 (Radford et al. 2019)."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from halftime.contract.models import TransformerSpec

#: Standard deviation of the initial weights, as in GPT-2.
INITIAL_STD = 0.02


class Block(nn.Module):
    """Causal self-attention and a feed-forward layer, each with a norm before it and a residual connection."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        width = spec.hidden_size
        self.num_heads = spec.num_heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, spec.feed_forward_width), nn.GELU(), nn.Linear(spec.feed_forward_width, width)
        )
        self.dropout = nn.Dropout(spec.dropout)
        #: Never called: holds the probability and the training flag of dropout inside the attention kernel.
        self.attention_dropout = nn.Dropout(spec.dropout)

    @override
    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, length, width) → (batch, length, width)."""
        hidden = hidden + self.dropout(self._attend(self.attention_norm(hidden)))
        result: Tensor = hidden + self.dropout(self.feed_forward(self.feed_forward_norm(hidden)))
        return result

    def _attend(self, hidden: Tensor) -> Tensor:
        batch, length, width = hidden.shape
        heads = self.query_key_value(hidden).view(batch, length, 3, self.num_heads, width // self.num_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        dropped = self.attention_dropout.p if self.attention_dropout.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropped, is_causal=True)
        output: Tensor = self.attention_output(mixed.transpose(1, 2).reshape(batch, length, width))
        return output


class Transformer(nn.Module):
    """Token ids (batch, length) → logits of the next token (batch, length, vocab_size)."""

    def __init__(self, spec: TransformerSpec) -> None:
        super().__init__()
        self.tokens = nn.Embedding(spec.vocab_size, spec.hidden_size)
        self.positions = nn.Embedding(spec.sequence_length, spec.hidden_size)
        self.dropout = nn.Dropout(spec.dropout)
        self.blocks = nn.Sequential(*(Block(spec) for _ in range(spec.num_layers)))
        self.norm = nn.LayerNorm(spec.hidden_size)
        self.output = nn.Linear(spec.hidden_size, spec.vocab_size, bias=False)
        self.output.weight = self.tokens.weight
        self.apply(_initialise)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """Returns the logits of the token that follows each position."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self.blocks(self.dropout(self.tokens(tokens) + self.positions(places)))
        logits: Tensor = self.output(self.norm(hidden))
        return logits


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_STD)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
