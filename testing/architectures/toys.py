"""A request for every offered pair of task and architecture, at toy size."""

from typing import Any

import transformers

from halftime.contract.models.model_types import MODEL_TYPES, NOT_TRAINED
from halftime.contract.models.presets import TransformersTask
from halftime.contract.models.transformers import DEFAULT_CLASSES, IMAGE_TASKS, WITHOUT_LENGTH
from testing.architectures.shrink import shrink

Request = dict[str, Any]

SEQUENCE_LENGTH = 16
#: In samples of a waveform, and in steps of a series.
LENGTHS: dict[TransformersTask, int] = {"ctc": 4000, "time-series-forecasting": 32}
#: Of architectures that read spectrograms.
FRAMES = {"wav2vec2-bert": 64}
IMAGE_SIZE = 64
CLASSES = 4

FOUR_LAYERS = {"num_hidden_layers": 4, "hidden_size": 48, "num_attention_heads": 4}

#: Settings of architectures whose sizes depend on each other, or whose defaults the library itself cannot build.
EXCEPTIONS: dict[str, dict[str, Any]] = {
    "arcee": {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2},
    "beit": FOUR_LAYERS | {"out_indices": [0, 1, 2, 3]},
    "bit": {"num_groups": 4},
    "data2vec-vision": FOUR_LAYERS | {"out_indices": [0, 1, 2, 3]},
    "codegen": {"rotary_dim": 16},
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10_000.0}}},
    "cvt": {"depth": [1, 2, 3]},
    "dbrx": {"attn_config": {"rope_theta": 10_000.0, "clip_qkv": 8.0}},
    "deepseek_v2": {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 32},
    "dots3_note": {
        "vision_config": {
            "hidden_size": 48,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "mlp_layer_types": ["dense", "dense"],
            "adapter_in_dim": 48,
            "adapter_out_dim": 160,
        },
        "audio_config": {
            "hidden_size": 40,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "adapter_input_size": 40,
            "adapter_out_dim": 160,
        },
    },
    "dpt": FOUR_LAYERS
    | {"backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [12, 24, 48, 96], "fusion_hidden_size": 32},
    "efficientnet": {"hidden_dim": 2560},
    "esm": {"vocab_size": 64, "esmfold_config": None},
    "gemma3n_text": {"num_kv_shared_layers": 0},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 16},
    "hgnet_v2": {"stem_channels": [3, 4, 6]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mobilevit": {"hidden_sizes": [16, 24, 32], "num_attention_heads": 4},
    "moshi": {"audio_vocab_size": 64},
    "neomme": {"head_dim": 16},
    "perceiver": {"max_position_embeddings": SEQUENCE_LENGTH},
    "reformer": {
        "hidden_size": 32,
        "axial_pos_embds_dim": [8, 24],
        "axial_pos_shape": [4, 4],
        "max_position_embeddings": SEQUENCE_LENGTH,
    },
    "swin": {"window_size": 2},
    "donut-swin": {"window_size": 2},
    "upernet": {
        "hidden_size": 32,
        "auxiliary_in_channels": 64,
        "backbone_config": {
            "model_type": "resnet",
            "embedding_size": 8,
            "hidden_sizes": [16, 32, 64, 64],
            "depths": [1, 1, 1, 1],
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        },
    },
    "wav2vec2-bert": {"vocab_size": 32},
    "wav2vec2-conformer": {"vocab_size": 32},
    "zamba": {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"]},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"]},
}

#: Detectors that no size of their own makes small, and image sizes that give them enough candidates for their queries.
AT_FULL_SIZE = {"d_fine": 160, "deimv2": 160, "rt_detr": 160, "rt_detr_v2": 160}

PAIRS: list[tuple[TransformersTask, str]] = [
    (task, model_type)
    for task, model_types in MODEL_TYPES.items()
    for model_type in sorted(model_types)
    if model_type not in NOT_TRAINED[task]
]


def toy(task: TransformersTask, model_type: str) -> Request:
    """Returns the model of a request."""
    settings = {} if model_type in AT_FULL_SIZE else shrink(transformers.CONFIG_MAPPING[model_type])
    settings |= EXCEPTIONS.get(model_type, {})
    size: Request = {}
    if task not in WITHOUT_LENGTH:
        size["sequence_length"] = FRAMES.get(model_type, LENGTHS.get(task, SEQUENCE_LENGTH))
    if task in IMAGE_TASKS:
        size["image_size"] = AT_FULL_SIZE.get(model_type, IMAGE_SIZE)
        settings.pop("image_size", None)
    classes = {"num_classes": CLASSES} if task in DEFAULT_CLASSES else {}
    return {"kind": "transformers", "task": task, "model_type": model_type, "config": settings} | size | classes
