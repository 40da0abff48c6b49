"""Well-known architectures by name, at their published sizes."""

from dataclasses import dataclass
from typing import Any, Literal

#: The task a model is trained for; each is a family of heads in the `transformers` library.
TransformersTask = Literal[
    "causal-lm",
    "masked-lm",
    "sequence-classification",
    "image-classification",
    "seq2seq",
    "token-classification",
    "question-answering",
    "semantic-segmentation",
    "object-detection",
    "ctc",
    "speech-seq2seq",
    "contrastive",
    "time-series-forecasting",
]

PresetName = Literal[
    "bart-base",
    "bert-base",
    "bert-large",
    "convnext-large",
    "convnext-tiny",
    "distilbert",
    "gpt2",
    "gpt2-medium",
    "llama-1b",
    "qwen2-0.5b",
    "resnet-50",
    "roberta-base",
    "t5-small",
    "vit-base",
]


@dataclass(frozen=True)
class Preset:
    """An architecture and its config; omitted settings have the library's defaults for the architecture."""

    model_type: str
    task: TransformersTask
    config: dict[str, Any]
    #: Parameter count stated by `source`, with the task's head; for image models with 1,000 classes.
    published_parameters: int
    source: str


def _bert(width: int, layers: int, heads: int, published_parameters: int, source: str) -> Preset:
    sizes = {
        "vocab_size": 30_522,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "max_position_embeddings": 512,
    }
    return Preset("bert", "masked-lm", sizes, published_parameters, source)


def _gpt2(width: int, layers: int, heads: int, published_parameters: int, source: str) -> Preset:
    sizes = {"vocab_size": 50_257, "n_positions": 1024, "n_embd": width, "n_layer": layers, "n_head": heads}
    return Preset("gpt2", "causal-lm", sizes, published_parameters, source)


def _convnext(widths: list[int], depths: list[int], published_parameters: int, source: str) -> Preset:
    sizes = {"hidden_sizes": widths, "depths": depths}
    return Preset("convnext", "image-classification", sizes, published_parameters, source)


PRESETS: dict[PresetName, Preset] = {
    "bart-base": Preset(
        "bart",
        "seq2seq",
        {
            "vocab_size": 50_265,
            "max_position_embeddings": 1024,
            "d_model": 768,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "encoder_attention_heads": 12,
            "decoder_attention_heads": 12,
            "encoder_ffn_dim": 3072,
            "decoder_ffn_dim": 3072,
        },
        140_000_000,
        "Lewis et al. 2020, BART; github.com/facebookresearch/fairseq, examples/bart: 140M",
    ),
    "bert-base": _bert(768, 12, 12, 110_000_000, "Devlin et al. 2019, BERT, section 3"),
    # The paper's 340M counts the pre-training heads and rounds up.
    "bert-large": _bert(1024, 24, 16, 336_000_000, "huggingface.co/google-bert/bert-large-uncased"),
    "convnext-large": _convnext(
        [192, 384, 768, 1536],
        [3, 3, 27, 3],
        197_767_336,
        "pytorch.org/vision, convnext_large; Liu et al. 2022, table 1",
    ),
    "convnext-tiny": _convnext(
        [96, 192, 384, 768], [3, 3, 9, 3], 28_589_128, "pytorch.org/vision, convnext_tiny; Liu et al. 2022, table 1"
    ),
    "distilbert": Preset(
        "distilbert",
        "masked-lm",
        {
            "vocab_size": 30_522,
            "max_position_embeddings": 512,
            "dim": 768,
            "n_layers": 6,
            "n_heads": 12,
            "hidden_dim": 3072,
        },
        67_000_000,
        "huggingface.co/distilbert/distilbert-base-uncased",
    ),
    "gpt2": _gpt2(768, 12, 12, 124_000_000, "github.com/openai/gpt-2, model_card.md"),
    "gpt2-medium": _gpt2(1024, 24, 16, 355_000_000, "github.com/openai/gpt-2, model_card.md"),
    "llama-1b": Preset(
        "llama",
        "causal-lm",
        {
            "vocab_size": 128_256,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "max_position_embeddings": 131_072,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500_000.0,
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
        },
        1_230_000_000,
        "huggingface.co/meta-llama/Llama-3.2-1B: 1.23B",
    ),
    "qwen2-0.5b": Preset(
        "qwen2",
        "causal-lm",
        {
            "vocab_size": 151_936,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32_768,
            "tie_word_embeddings": True,
        },
        490_000_000,
        "huggingface.co/Qwen/Qwen2.5-0.5B: 0.49B",
    ),
    "resnet-50": Preset(
        "resnet",
        "image-classification",
        {
            "embedding_size": 64,
            "hidden_sizes": [256, 512, 1024, 2048],
            "depths": [3, 4, 6, 3],
            "layer_type": "bottleneck",
        },
        25_557_032,
        "pytorch.org/vision, resnet50; He et al. 2016",
    ),
    "roberta-base": Preset(
        "roberta",
        "masked-lm",
        {
            "vocab_size": 50_265,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "layer_norm_eps": 1e-5,
        },
        125_000_000,
        "Liu et al. 2019, RoBERTa; github.com/facebookresearch/fairseq, examples/roberta: 125M",
    ),
    "t5-small": Preset(
        "t5",
        "seq2seq",
        {"vocab_size": 32_128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
        60_000_000,
        "Raffel et al. 2020, T5, section 3.7",
    ),
    "vit-base": Preset(
        "vit",
        "image-classification",
        {
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "patch_size": 16,
        },
        86_567_656,
        "pytorch.org/vision, vit_b_16; Dosovitskiy et al. 2021, table 1: 86M",
    ),
}
