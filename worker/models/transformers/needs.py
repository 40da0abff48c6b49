"""What an architecture requires of its config, beyond the type of each setting: sizes that must fit each other."""

from collections.abc import Callable
from typing import Any

from worker.errors import TrialFailed
from worker.models.transformers.rejections import own_name, refused

Config = Any
#: A field of the config, by its general name, and what is wrong with it.
Fault = tuple[str, str]

HEADS = ("num_attention_heads", "hidden_size", "num_key_value_heads")


def require_what_it_needs(config: Config) -> None:
    """Raises TrialFailed (`invalid_model`) for sizes of an architecture that do not fit each other."""
    if (check := NEEDS.get(config.model_type)) and (fault := check(config)):
        field, why = fault
        raise refused(f"config.{field}", why)


def suspected(config: Config) -> TrialFailed | None:
    """Returns the likely fault of a model that does not run, where its error says nothing: heads that do not divide."""
    heads, width, shared = (of_all_layers(config, name) for name in HEADS)
    if not isinstance(heads, int) or heads < 1:
        return None
    if isinstance(shared, int) and shared > 0 and heads % shared:
        return _indivisible(
            config, "num_key_value_heads", f"{shared} heads of keys and values do not divide {heads} heads"
        )
    if isinstance(width, int) and width % heads and vars(config).get("head_dim") is None:
        return _indivisible(config, "num_attention_heads", f"{heads} heads do not divide the width, {width}")
    return None


def of_all_layers(config: Config, name: str) -> object:
    """A setting; None without it, or where it differs between layers, which the library says by an exception."""
    try:
        return getattr(config, name, None)
    except RuntimeError:
        return None


def _indivisible(config: Config, field: str, why: str) -> TrialFailed:
    return refused(f"config.{own_name(type(config), field)}", f"{why}, by default or as given; use a number that does.")


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


def _as_wide_as_its_stages(config: Config) -> Fault | None:
    """The classifier reads the last stage."""
    width = config.stage_out_channels[-1]
    if config.hidden_sizes[-1] == width:
        return None
    return "hidden_sizes", f"ends in {config.hidden_sizes[-1]}, and the last stage in {width} channels; use the same."


def _as_wide_as_its_stem(config: Config) -> Fault | None:
    if config.hidden_sizes[0] == config.stem_out_channels:
        return None
    return "hidden_sizes", (
        f"begins with {config.hidden_sizes[0]}, and `stem_out_channels` is {config.stem_out_channels}, by default or "
        "as given; use the same."
    )


def _decodes_the_global_width(config: Config) -> Fault | None:
    width = config.global_config.hidden_size
    if config.decoder_config.hidden_size_global == width:
        return None
    return "decoder_config.hidden_size_global", (
        f"{config.decoder_config.hidden_size_global}, by default or as given, must be the width of the global "
        f"transformer, {width}."
    )


def _rotary_settings_of_all_types(config: Config) -> Fault | None:
    missing = sorted(set(config.layer_types) - set(config.rope_parameters or {}))
    if not missing:
        return None
    example = f'{{"{missing[0]}": {{"rope_type": "default", "rope_theta": 10000.0}}}}'
    return "rope_parameters", f"has no default for layers of the type {missing[0]}; give it, such as {example}."


def _indexer(place: str) -> Callable[[Config], Fault | None]:
    def check(config: Config) -> Fault | None:
        text = config.get_text_config()
        if text.indexer_n_heads is not None or "indexed_attention" not in text.layer_types:
            return None
        return f"{place}indexer_n_heads", (
            "has no default, like the other settings of the indexer; give all five, or use layers of the type "
            "linear_attention alone."
        )

    return check


#: By the architecture.
NEEDS: dict[str, Callable[[Config], Fault | None]] = {
    "blt": _decodes_the_global_width,
    "codegen": _rotary_within_heads,
    "cohere_compass_text": _rotary_settings_of_all_types,
    "cvt": _stages_deep_enough,
    "dbrx": _clipped,
    "deepseek_v2": _without_default("num_experts_per_tok", "the number of experts for a token"),
    "dots1": _without_default("n_routed_experts", "the number of experts, and the settings of their size"),
    "gptj": _rotary_within_heads,
    "hgnet_v2": _as_wide_as_its_stages,
    "lfm2_moe": _without_default("layer_types", "the type of every layer, conv or full_attention"),
    "layoutlmv3": _boxes_as_wide_as_words,
    "qwen4_exp": _indexer("text_config."),
    "qwen4_exp_text": _indexer(""),
    "textnet": _as_wide_as_its_stem,
    "zamba": _several_shared_layers,
}
