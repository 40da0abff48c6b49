"""Sizes that do not fit each other are refused in our words at the field, under the architecture's own name of it."""

import pytest

from halftime.contract.models import TransformersSpec
from halftime.contract.report.failure import FailureCode
from worker.errors import TrialFailed
from worker.models import blueprint_of
from worker.models.transformers.rejections import explained

SIZES = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
GPT2 = {"vocab_size": 64, "n_layer": 1, "n_embd": 32, "n_positions": 32}
BIT = {"embedding_size": 32, "hidden_sizes": [32, 64], "depths": [1, 1]}
CVT = {"embed_dim": [8, 16, 32], "num_heads": [1, 2, 4]}
HIERA = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2]}
ZAMBA = SIZES | {"num_key_value_heads": 4, "mamba_d_state": 8, "n_mamba_heads": 2}
AFMOE = {"num_key_value_heads": 4, "num_experts": 4, "num_experts_per_tok": 9, "num_dense_layers": 1}
MIXTRAL = {"num_key_value_heads": 4, "num_local_experts": 2, "num_experts_per_tok": 3}
GPT_OSS = {"num_local_experts": 4, "head_dim": 8}
HGNET = {"stem_channels": [3, 4, 6], "stage_in_channels": [6, 16, 64, 128], "stage_out_channels": [16, 64, 128, 256]}
BLT = {
    "vocab_size": 64,
    "encoder_hash_byte_group_vocab": 64,
    "patcher_config": {"hidden_size": 96, "num_hidden_layers": 1},
    "encoder_config": {"hidden_size": 128},
    "decoder_config": {"hidden_size": 128, "num_hidden_layers": 1},
    "global_config": {"hidden_size": 256, "num_hidden_layers": 1},
}
VISION = {"num_hidden_layers": 2, "mlp_layer_types": ["dense", "dense"]}
TYPES = ["linear_attention", "hybrid"]

#: Task, architecture and config, what is said, and the settings that make it a model.
CASES = {
    "zamba": (
        "causal-lm", "zamba", ZAMBA | {"num_hidden_layers": 6},
        "config.layers_block_type: the 6 layers need two or more of the type hybrid, which share weights; list",
        {"num_hidden_layers": 8},
    ),
    "zamba2": (
        "causal-lm", "zamba2", ZAMBA,
        "config.layers_block_type: it has 54 types, by default or as given, for 2 layers; list 2 types.",
        {"layers_block_type": TYPES},
    ),
    "cvt": (
        "image-classification", "cvt", CVT | {"depth": [1, 1, 4]},
        "config.depth: [1, 1, 4] is too shallow: stage s needs s layers or more; use [1, 2, 4].",
        {"depth": [1, 2, 4]},
    ),
    "bit": (
        "image-classification", "bit", BIT,
        "config.num_groups: 32 groups do not divide the 8 channels of a layer; use fewer groups, or wider layers.",
        {"num_groups": 4},
    ),
    "layoutlmv3": (
        "sequence-classification", "layoutlmv3", SIZES | {"max_position_embeddings": 64},
        "config.coordinate_size: 4 × coordinate_size (128) + 2 × shape_size (128) must be hidden_size (32)",
        {"coordinate_size": 6, "shape_size": 4},
    ),
    "hiera": (
        "image-classification", "hiera", HIERA,
        "config.num_query_pool: 3 poolings, by default or as given, need more than 3 stages; `depths` has 2.",
        None,
    ),
    "gemma3n": (
        "causal-lm", "gemma3n_text", SIZES | {"num_key_value_heads": 2, "head_dim": 8},
        "config.num_kv_shared_layers: the last layers, by default or as given, read keys and values of a type",
        {"num_kv_shared_layers": 0},
    ),
    "heads": (
        "causal-lm", "gpt2", GPT2 | {"n_head": 3},
        "config.n_head: 3 heads do not divide the width, 32; use a number that does.",
        {"n_head": 4},
    ),
    "checked heads": (
        "causal-lm", "arcee", SIZES | {"num_attention_heads": 3, "num_key_value_heads": 3},
        "config.num_attention_heads: 3 heads do not divide the width, 32; use a number that does.",
        {"num_attention_heads": 4, "num_key_value_heads": 2},
    ),
    "experts": (
        "causal-lm", "afmoe", SIZES | AFMOE,
        "config.num_experts_per_tok: more experts are chosen for a token than there are; use fewer, or more experts.",
        {"num_experts_per_tok": 2},
    ),
    "rotary positions": (
        "causal-lm", "gptj", GPT2 | {"n_head": 4},
        "config.rotary_dim: 64, by default or as given, is more than the width of a head, 8.",
        {"rotary_dim": 4},
    ),
    "experts of a token": (
        "causal-lm", "deepseek_v2", SIZES,
        "config.num_experts_per_tok: has no default; give the number of experts for a token.",
        {"num_experts_per_tok": 2, "n_routed_experts": 4},
    ),
    "clipping": (
        "causal-lm", "dbrx", {"attn_config": {"rope_theta": 10_000.0}},
        "config.attn_config.clip_qkv: has no default; give the limit of queries, keys and values, such as 8.0.",
        None,
    ),
    "heads found as it runs": (
        "masked-lm", "electra", SIZES | {"embedding_size": 32, "num_attention_heads": 3},
        "config.num_attention_heads: 3 heads do not divide the width, 32, by default or as given; use a number that",
        {"num_attention_heads": 4},
    ),
    "heads found after a question about values": (
        "causal-lm", "ctrl", {"vocab_size": 64, "n_embd": 32, "dff": 64, "n_layer": 1, "n_head": 3},
        "config.n_head: 3 heads do not divide the width, 32, by default or as given; use a number that does.",
        {"n_head": 4},
    ),
    "heads in the words of a check": (
        "masked-lm", "distilbert", {"vocab_size": 64, "dim": 32, "hidden_dim": 64, "n_layers": 1, "n_heads": 3},
        "config.n_heads: the heads, by default or as given, do not divide the width; use a number that does.",
        {"n_heads": 4},
    ),
    "heads of keys and values": (
        "causal-lm", "gpt_oss", SIZES | GPT_OSS,
        "config.num_key_value_heads: 8 heads of keys and values do not divide 4 heads, by default or as given; use",
        {"num_key_value_heads": 4},
    ),
    "experts found after a question about values": (
        "causal-lm", "mixtral", SIZES | MIXTRAL,
        "config.num_experts_per_tok: more experts are chosen for a token than there are; use fewer, or more experts.",
        {"num_experts_per_tok": 2},
    ),
    "global width": (
        "causal-lm", "blt", BLT,
        "config.decoder_config.hidden_size_global: 2048, by default or as given, must be the width of the global",
        {"decoder_config": {"hidden_size": 128, "num_hidden_layers": 1, "hidden_size_global": 256}},
    ),
    "rotary settings by type": (
        "causal-lm", "cohere_compass_text", SIZES,
        'config.rope_parameters: has no default for layers of the type full_attention; give it, such as {"full_att',
        {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10_000.0}}},
    ),
    "indexer": (
        "causal-lm", "qwen4_exp_text", SIZES | {"num_hidden_layers": 4},
        "config.indexer_n_heads: has no default, like the other settings of the indexer; give all five, or use",
        {"layer_types": ["linear_attention"] * 4},
    ),
    "indexer of a part": (
        "causal-lm", "qwen4_exp", {"text_config": SIZES | {"num_hidden_layers": 4}},
        "config.text_config.indexer_n_heads: has no default",
        None,
    ),
    "stem": (
        "image-classification", "textnet", {"hidden_sizes": [8, 8, 16, 32, 64]},
        "config.hidden_sizes: begins with 8, and `stem_out_channels` is 64, by default or as given; use the same.",
        {"stem_out_channels": 8},
    ),
    "last stage": (
        "image-classification", "hgnet_v2", HGNET,
        "config.hidden_sizes: ends in 2048, and the last stage in 256 channels; use the same.",
        {"hidden_sizes": [32, 64, 128, 256]},
    ),
    "settings of single layers": (
        "causal-lm", "dots3_note", {"vision_config": {"num_hidden_layers": 2}},
        "config.per_layer_config: settings of single layers, by default or as given, are of layers that a part of 2",
        {"vision_config": VISION},
    ),
    "types without a default": (
        "causal-lm", "lfm2_moe", SIZES,
        "config.layer_types: has no default; give the type of every layer, conv or full_attention.",
        None,
    ),
}  # fmt: skip


def spec_of(task, model_type, config):
    size = {"image_size": 64} if task == "image-classification" else {"sequence_length": 16}
    return TransformersSpec(task=task, model_type=model_type, config=config, **size)


@pytest.mark.parametrize("name", CASES)
def test_a_config_that_cannot_be_is_refused_at_the_field_with_what_to_change(name):
    task, model_type, config, said, _ = CASES[name]
    with pytest.raises(TrialFailed) as caught:
        blueprint_of(spec_of(task, model_type, config))
    assert caught.value.failure.code is FailureCode.INVALID_MODEL
    assert caught.value.failure.detail.startswith(f"model.{said}")


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[-1] is not None])
def test_what_it_says_to_change_makes_it_a_model(name):
    task, model_type, config, _, remedy = CASES[name]
    blueprint_of(spec_of(task, model_type, config | remedy))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("ValueError: num_attention_heads must be divisible by num_key_value_heads: 4 % 8 != 0", "8 heads of keys"),
        ("RoPE requires an even rotary dimension, but got `head_dim`=85 with `partial_rotary_factor`=1.0", "width 85"),
        ("mamba_n_heads must divide mamba_expand * hidden_size", "config.mamba_n_heads: must divide"),
        ("`len(config.attention_layers)` == `config.num_layers` but is 24", "config.attention_types: must give"),
        ("hidden_size * expand (64) must equal num_heads * head_dim (8192).", "is 8192, by default or as given, and"),
        ("axial_pos_embds factors: (64, 192) sum to config.hidden_size: 32", "(64, 192), by default or as given, must"),
        ("num_experts_per_tok must be in [1, num_experts], got 9 and 4.", "config.num_experts_per_tok: more experts"),
        ("num_key_value_heads must match num_attention_heads", "config.num_key_value_heads: must be"),
    ],
)
def test_other_words_of_the_library_are_known(words, said):
    assert said in explained(words, None).failure.detail


def test_unknown_words_are_left_to_be_quoted():
    assert explained("list index out of range", None) is None


def test_sizes_that_cannot_be_compared_are_refused_too():
    with pytest.raises(TrialFailed) as caught:
        blueprint_of(spec_of("image-classification", "textnet", {"hidden_sizes": []}))
    assert caught.value.failure.code is FailureCode.INVALID_MODEL
