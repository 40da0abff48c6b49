"""Shrinks the default config of an architecture to toy size, by the names of its sizes.

Widths are divided by one factor, so that their ratios and the number of heads stay valid; counts of layers, experts,
positions and tokens are cut to a few.
"""

import dataclasses
import re
from typing import Any

import transformers

WIDTH_FACTOR = 8
#: Width from which another factor is used: the quadratic cost of a few architectures of many billion parameters.
LARGE_WIDTH = 12_288
LARGE_WIDTH_FACTOR = 32

#: Patterns of counts, and how many remain.
FEW = (
    (re.compile(r"depths?$"), 1),
    (
        re.compile(
            r"^(num|n)_(hidden_)?layers?$|^num_(encoder|decoder)_layers$|(encoder|decoder)_layers$|^num_blocks$"
            r"|^n_block$|^depth$|^num_self_attends_per_block$"
        ),
        2,
    ),
    (re.compile(r"vocab_size|^num_hash_buckets$|encoder_hash_byte_group_vocab"), 64),
    (re.compile(r"max_(source_|target_)?position(_embedding)?s$|^n_positions$|^max_seq_len$|^n_ctx$"), 64),
    (re.compile(r"^(n_routed|num|num_local|n|moe_num)_experts$"), 4),
    (re.compile(r"^(n|topk)_group$"), 1),
    (re.compile(r"^(mamba_)?chunk_size$"), 16),
    (re.compile(r"^num_experts_per_tok(en)?$|^moe_k$|^(moe_)?top_?k$|^num_selected_experts$|_top_?k$"), 2),
)
WIDTH = re.compile(
    r"(hidden|intermediate|embed(ding)?|model|inner|latents?|entity_emb|bottleneck|emb)_(size|dim)s?$|hidden_dims?$"
    r"|^hidden_sizes$|^d_(model|ff|kv|inner|latents|embed)$|^dff$|ffn_(dim|hidden_size)$|^dim$|^hidden_dim$|^n_embd$"
    r"|head_dim$|_lora_rank$|^embed_dims?$|^neck_hidden_sizes$|^dim_(head|model|ff)$|embed_proj_dim$"
    r"|^coordinate_size$|^shape_size$|^hidden_size_global$|^stem_out_channels$|^stage_\w+_channels$"
)


def shrink(config_class: Any) -> dict[str, Any]:
    """Returns the settings that make the default config of a class a toy."""
    fields = {field.name: field.default for field in dataclasses.fields(config_class)}
    factor = _width_factor(fields)
    settings: dict[str, Any] = {}
    for name, value in fields.items():
        if name in config_class.sub_configs_defaults:
            settings[name] = _shrink_part(config_class.sub_configs_defaults[name])
        elif (small := _small(name, value, factor)) != value:
            settings[name] = list(small) if isinstance(small, tuple) else small
    return {name: value for name, value in settings.items() if value != {}}


def _shrink_part(part: Any) -> dict[str, Any]:
    """The settings of a nested config, whose class may follow from its type."""
    if part.optional:
        return {}
    if dataclasses.is_dataclass(part.config_class):
        return shrink(part.config_class)
    return shrink(transformers.CONFIG_MAPPING[part.model_type]) | {"model_type": part.model_type}


def _width_factor(fields: dict[str, Any]) -> int:
    widths = [value for name, value in fields.items() if WIDTH.search(name) and isinstance(value, int)]
    return LARGE_WIDTH_FACTOR if max(widths, default=0) >= LARGE_WIDTH else WIDTH_FACTOR


def _small(name: str, value: Any, factor: int) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_small(name, item, factor) for item in value)
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    for names, limit in FEW:
        if names.search(name):
            return min(value, limit)
    return value // factor if WIDTH.search(name) and value >= factor else value
