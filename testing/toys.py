"""A small model for every task, and a training of seconds that takes it well on the way from chance to the best."""

from dataclasses import dataclass
from typing import Any

from halftime.contract.models import DiffusersSpec, DitSpec, DlrmSpec, LayersSpec, MlpSpec
from worker.data.synthetic.scenes import CELLS


@dataclass(frozen=True)
class Toy:
    """A model of a request and its training."""

    model: dict[str, Any]
    #: The metric that must get from one side of `reached` to the other.
    metric: str
    reached: float
    rises: bool = True
    #: A metric that is at chance before training, if one is.
    chance_metric: str | None = None
    steps: int = 60
    batch_size: int = 16
    learning_rate: float = 3e-3


NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
BERT = SMALL | {"vocab_size": 24, "max_position_embeddings": 32} | NO_DROPOUT
WAV2VEC2 = SMALL | {
    "vocab_size": 6,
    "conv_dim": [32, 32, 32],
    "conv_stride": [5, 4, 4],
    "conv_kernel": [10, 8, 8],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "layer",
    "layerdrop": 0.0,
    "hidden_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "final_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
}
WHISPER = {
    "vocab_size": 12,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "num_mel_bins": 16,
    "max_source_positions": 16,
    "max_target_positions": 16,
}
CLIP_PART = SMALL | {"hidden_size": 32}
CLIP = {
    "projection_dim": 32,
    "text_config": CLIP_PART | {"vocab_size": 48, "max_position_embeddings": 16},
    "vision_config": CLIP_PART | {"patch_size": 8},
}
SEGFORMER = {
    "hidden_sizes": [16, 32],
    "num_encoder_blocks": 2,
    "depths": [1, 1],
    "sr_ratios": [2, 1],
    "patch_sizes": [3, 3],
    "strides": [2, 2],
    "num_attention_heads": [1, 2],
    "mlp_ratios": [2, 2],
    "decoder_hidden_size": 32,
}
#: A patch and a query for every cell of a scene. Queries that start alike take long to share the objects out, hence the
#: range of the initial weights.
YOLOS = SMALL | {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 8} | NO_DROPOUT
YOLOS |= {"num_detection_tokens": CELLS**2, "initializer_range": 0.1}
PATCHTST = {
    "context_length": 32,
    "prediction_length": 8,
    "num_input_channels": 2,
    "patch_length": 4,
    "patch_stride": 4,
    "d_model": 32,
    "ffn_dim": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "norm_type": "layernorm",
}


def _model(task: str, model_type: str, config: dict[str, Any], **fields: int) -> dict[str, Any]:
    return {"kind": "transformers", "task": task, "model_type": model_type, "config": config} | fields


TOYS = {
    "token-classification": Toy(
        _model("token-classification", "bert", BERT, sequence_length=12, num_classes=4), "accuracy", 0.6,
        chance_metric="loss",
    ),
    "question-answering": Toy(
        _model("question-answering", "bert", BERT, sequence_length=9), "position_accuracy", 0.5, chance_metric="loss"
    ),
    "semantic-segmentation": Toy(
        _model("semantic-segmentation", "segformer", SEGFORMER, image_size=32, num_classes=4), "pixel_accuracy", 0.8,
        steps=30,
    ),
    "object-detection": Toy(
        _model("object-detection", "yolos", YOLOS, image_size=16, num_classes=2),
        "mean_best_iou", 0.6, steps=300,
    ),
    "ctc": Toy(
        _model("ctc", "wav2vec2", WAV2VEC2, sequence_length=800), "token_error_rate", 0.5, rises=False, steps=160,
    ),
    "speech-seq2seq": Toy(
        _model("speech-seq2seq", "whisper", WHISPER, sequence_length=2), "accuracy", 0.5, chance_metric="loss",
        steps=80, learning_rate=5e-3,
    ),
    "contrastive": Toy(
        _model("contrastive", "clip", CLIP, sequence_length=5, image_size=16), "pair_accuracy", 0.8,
        chance_metric="pair_accuracy",
    ),
    "time-series-forecasting": Toy(
        _model("time-series-forecasting", "patchtst", PATCHTST), "mean_absolute_error", 0.7, rises=False,
        steps=90,
        chance_metric="mean_absolute_error",
    ),
}  # fmt: skip

TASKS = list(TOYS)

UNET = {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
HEAD = [{"type": "flatten"}, {"type": "linear", "out_features": 16}, {"type": "tanh"}]
SPECS = {
    "mlp": MlpSpec(task="regression", input_size=16, hidden_size=64, num_layers=2, num_targets=3),
    "layers": LayersSpec.model_validate(
        {
            "task": "regression",
            "input_shape": [1, 4, 4],
            "num_targets": 2,
            "layers": [*HEAD, {"type": "linear", "out_features": 2}],
        }
    ),
    "dit": DitSpec(image_size=8, channels=1, hidden_size=32, num_layers=1, num_heads=2, num_classes=4),
    "diffusers": DiffusersSpec(image_size=8, channels=1, num_classes=4, config=UNET),
    "dlrm": DlrmSpec(
        num_tables=3,
        rows_per_table=20,
        bag_size=2,
        embedding_dim=8,
        dense_features=4,
        bottom_widths=[16],
        top_widths=[32],
    ),
}
#: Enough to be well on the way from chance to the best, within seconds.
LEARNING = {
    "mlp": {"batch_size": 64, "steps": 100, "learning_rate": 0.01},
    "layers": {"batch_size": 64, "steps": 100, "learning_rate": 0.03},
    "dit": {"batch_size": 32, "steps": 80, "learning_rate": 0.01},
    "diffusers": {"batch_size": 32, "steps": 30, "learning_rate": 0.01},
    "dlrm": {"batch_size": 256, "steps": 80, "learning_rate": 0.02},
}
