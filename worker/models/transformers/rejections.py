"""Says in a request's own terms why an architecture cannot be built: the field, the values and what to change.

What an architecture always requires of its config is checked before it is built. What the library and torch say of any
architecture is recognised by their words.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from halftime.contract.report.failure import FailureCode
from worker.errors import TrialFailed

Config = Any
#: A field of the config, by its general name, and what is wrong with it.
Fault = tuple[str, str]


@dataclass(frozen=True)
class Rejection:
    """Words of an exception, and what they mean; `{0}` and so on are the groups of the pattern."""

    words: re.Pattern[str]
    field: str
    why: str


REJECTIONS = (
    Rejection(
        re.compile(r"`num_hidden_layers` \((\d+)\) must be equal to the number of `layer_types` \((\d+)\)"),
        "layer_types",
        "it has {1} types, by default or as given, for {0} layers; list {0} types.",
    ),
    Rejection(
        re.compile(r"hidden size \((\d+)\) is not a multiple of the number of attention heads \((\d+)\)"),
        "num_attention_heads",
        "{1} heads do not divide the width, {0}; use a number that does.",
    ),
    Rejection(
        re.compile(r"must be divisible by num_(?:attention_)?heads \(got `\w+`: (\d+) and `\w+`: (\d+)\)"),
        "num_attention_heads",
        "{1} heads do not divide the width, {0}; use a number that does.",
    ),
    Rejection(
        re.compile(r"num_attention_heads must be divisible by num_key_value_heads: (\d+) % (\d+)"),
        "num_key_value_heads",
        "{1} heads of keys and values, by default or as given, do not divide {0} heads; use a number that does.",
    ),
    Rejection(
        re.compile(r"num_key_value_heads must match num_attention_heads"),
        "num_key_value_heads",
        "must be the number of attention heads, by default or as given.",
    ),
    Rejection(
        re.compile(r"even rotary dimension, but got `head_dim`=(\d+)"),
        "num_attention_heads",
        "makes heads of the width {0}, but rotary positions need an even one; use another number, or another width.",
    ),
    Rejection(
        re.compile(r"mamba_n_heads must divide mamba_expand \* hidden_size"),
        "mamba_n_heads",
        "must divide `mamba_expand` times `hidden_size`, by default or as given.",
    ),
    Rejection(
        re.compile(r"num_channels \((\d+)\) must be divisible by num_groups \((\d+)\)"),
        "num_groups",
        "{1} groups do not divide the {0} channels of a layer; use fewer groups, or wider layers.",
    ),
    Rejection(
        re.compile(r"num_query_pool \((\d+)\) must be less than the number of layers \((\d+)\)"),
        "num_query_pool",
        "{0} poolings, by default or as given, need more than {0} stages; `depths` has {1}.",
    ),
    Rejection(
        re.compile(r"set of layer types producing a cache is different than the set of layer types using them"),
        "num_kv_shared_layers",
        "the last layers, by default or as given, read keys and values of a type of layer that no earlier one has; "
        "use fewer, or 0.",
    ),
    Rejection(
        re.compile(
            r"k not in range for dimension|selected index k out of range|num_experts_per_tok`? must be (?:less|in \[1)"
        ),
        "num_experts_per_tok",
        "more experts are chosen for a token than there are; use fewer, or more experts.",
    ),
    Rejection(
        re.compile(r"`len\(config\.attention_layers\)` == `config\.num_layers`"),
        "attention_types",
        "must give a type of attention to every layer: [[[types], repetitions]] of as many as `num_layers`.",
    ),
    Rejection(
        re.compile(r"hidden_size \* expand \((\d+)\) must equal num_heads \* head_dim \((\d+)\)"),
        "num_heads",
        "`num_heads` times `head_dim` is {1}, by default or as given, and must be `hidden_size` times `expand`, {0}.",
    ),
    Rejection(
        re.compile(r"axial_pos_embds factors: (\([\d, ]+\)) sum to config.hidden_size: (\d+)"),
        "axial_pos_embds_dim",
        "{0}, by default or as given, must add up to `hidden_size`, {1}.",
    ),
)


def explained(error: str, config_class: Any) -> TrialFailed | None:  # noqa: ANN401 # of the library
    """Returns the failure at the field that an exception's words are about; None for words that are not known."""
    for rejection in REJECTIONS:
        if found := rejection.words.search(error):
            field = own_name(config_class, rejection.field)
            return refused(f"config.{field}", rejection.why.format(*found.groups()))
    return None


def own_name(config_class: Any, field: str) -> str:  # noqa: ANN401 # of the library
    """An architecture's own name of a field, such as `n_head`."""
    return str(getattr(config_class, "attribute_map", {}).get(field, field))


def refused(place: str, why: str) -> TrialFailed:
    """Creates the failure for a field of the request, named by its path."""
    return TrialFailed.because(FailureCode.INVALID_MODEL, f"model.{place}: {why}")


def require_what_it_needs(config: Config) -> None:
    """Raises TrialFailed (`invalid_model`) for sizes of an architecture that do not fit each other."""
    if (check := NEEDS.get(config.model_type)) and (fault := check(config)):
        field, why = fault
        raise refused(f"config.{field}", why)


def _stages_deep_enough(config: Config) -> Fault | None:
    """Stage s takes its rate of dropped paths from its layer s: the library indexes the layers by the stage."""
    depth = list(config.depth)
    if all(layers > stage for stage, layers in enumerate(depth)):
        return None
    least = [max(layers, stage + 1) for stage, layers in enumerate(depth)]
    return "depth", f"{depth} is too shallow: stage s needs s layers or more; use {least}."


def _boxes_as_wide_as_words(config: Config) -> Fault | None:
    """The embedding of a word's box: four coordinates, a height and a width."""
    width = 4 * config.coordinate_size + 2 * config.shape_size
    if width == config.hidden_size:
        return None
    return "coordinate_size", (
        f"4 × coordinate_size ({config.coordinate_size}) + 2 × shape_size ({config.shape_size}) must be hidden_size "
        f"({config.hidden_size}), by default or as given."
    )


def _several_shared_layers(config: Config) -> Fault | None:
    """The layers with attention share their weights with the first."""
    if config.layers_block_type.count("hybrid") > 1:
        return None
    return "layers_block_type", (
        f"the {len(config.layers_block_type)} layers need two or more of the type hybrid, which share weights; list "
        "the types of all layers, or use 8 or more with the default pattern."
    )


def _rotary_within_heads(config: Config) -> Fault | None:
    width = config.n_embd // config.n_head
    if config.rotary_dim is None or config.rotary_dim <= width:
        return None
    return "rotary_dim", f"{config.rotary_dim}, by default or as given, is more than the width of a head, {width}."


def _clipped(config: Config) -> Fault | None:
    if config.attn_config.clip_qkv is not None:
        return None
    return "attn_config.clip_qkv", "has no default; give the limit of queries, keys and values, such as 8.0."


def _without_default(field: str, what: str) -> Callable[[Config], Fault | None]:
    def check(config: Config) -> Fault | None:
        return (field, f"has no default; give {what}.") if getattr(config, field) is None else None

    return check


#: By the architecture.
NEEDS: dict[str, Callable[[Config], Fault | None]] = {
    "codegen": _rotary_within_heads,
    "cvt": _stages_deep_enough,
    "dbrx": _clipped,
    "deepseek_v2": _without_default("num_experts_per_tok", "the number of experts for a token"),
    "dots1": _without_default("n_routed_experts", "the number of experts, and the settings of their size"),
    "gptj": _rotary_within_heads,
    "lfm2_moe": _without_default("layer_types", "the type of every layer, conv or full_attention"),
    "layoutlmv3": _boxes_as_wide_as_words,
    "zamba": _several_shared_layers,
}
