"""Shrinks the default config of an architecture to toy size, by the names of its sizes.

Widths are divided by one factor, so that their ratios and the number of heads stay valid; counts of layers, experts and
tokens are cut to a few.
"""

import dataclasses
import re
from typing import Any

WIDTH_FACTOR = 8
FEW_LAYERS = 2
FEW_TOKENS = 64
FEW_EXPERTS = 4

LAYERS = re.compile(r"^(num|n)_(hidden_)?layers?$|^num_(encoder|decoder|hidden|self_attends|blocks)_?(layers|per_block)?$"
                    r"|(encoder|decoder)_layers$|^num_blocks$|^n_block$")
TOKENS = re.compile(r"vocab_size|^num_hash_buckets$")
POSITIONS = re.compile(r"max_(source_|target_)?position(_embedding)?s$|^n_positions$|^max_seq_len$|^n_ctx$")
EXPERTS = re.compile(r"^(n_routed|num|num_local|n|moe_num)_experts$|^moe_num_experts$|^num_local_experts$")
CHOSEN = re.compile(r"^num_experts_per_tok(en)?$|^moe_k$|^(moe_)?top_?k$|^num_selected_experts$|_top_?k$")
DEPTHS = re.compile(r"depths?$")
WIDTH = re.compile(
    r"(hidden|intermediate|embed(ding)?|model|inner|latents?|entity_emb|bottleneck)_(size|dim)s?$|hidden_dims?$|^hidden_sizes$"
    r"|^d_(model|ff|kv|inner|latents|embed)$|^dff$|ffn_(dim|hidden_size)$|^dim$|^hidden_dim$|^n_embd$|^head_dim$"
    r"|_head_dim$|_lora_rank$|^embed_dims?$|^neck_hidden_sizes$|^encoder_hidden_size$|^dim_(head|model|ff)$|embed_proj_dim$"
)


def shrink(config_class: Any, vocab_size: int = FEW_TOKENS) -> dict[str, Any]:
    """Returns the settings that make the default config of a class a toy."""
    settings: dict[str, Any] = {}
    for field in dataclasses.fields(config_class):
        if field.name in config_class.sub_configs:
            part = config_class.sub_configs[field.name]
            if dataclasses.is_dataclass(part):
                settings[field.name] = shrink(part, vocab_size)
        elif (value := _small(field.name, field.default, vocab_size)) != field.default:
            settings[field.name] = value
    return {name: value for name, value in settings.items() if value != {}}


def _small(name: str, value: Any, vocab_size: int) -> Any:
    if isinstance(value, list | tuple):
        return [_small(name, item, vocab_size) for item in value]
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    if DEPTHS.search(name):
        return min(value, 1)
    for names, limit in ((LAYERS, FEW_LAYERS), (TOKENS, vocab_size), (POSITIONS, FEW_TOKENS), (EXPERTS, FEW_EXPERTS), (CHOSEN, 2)):
        if names.search(name):
            return min(value, limit)
    return max(value // WIDTH_FACTOR, 1) if WIDTH.search(name) and value >= WIDTH_FACTOR else value
