"""Says in a request's own terms why an architecture cannot be built: the field, the values and what to change.

What the library and torch say of any architecture is recognised by their words.
"""

import re
from dataclasses import dataclass
from typing import Any

from halftime.contract.report.failure import FailureCode
from worker.errors import TrialFailed


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
        re.compile(r"`per_layer_config` keys must be integer layer indices in the range \[0, (\d+)\)"),
        "per_layer_config",
        "settings of single layers, by default or as given, are of layers that a part of {0} layers does not have; "
        "give its types of layers.",
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
        re.compile(
            r"hidden size is not divisible by the number of attention heads|'d_model % n_head' \(\d+\) should be"
            r"|transformer dim must be a multiple of n_heads|n_heads \d+ must divide config.dim"
        ),
        "num_attention_heads",
        "the heads, by default or as given, do not divide the width; use a number that does.",
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
