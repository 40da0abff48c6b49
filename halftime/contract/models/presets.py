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
    "clip-vit-b32",
    "convnext-large",
    "convnext-tiny",
    "detr-resnet-50",
    "distilbert",
    "gemma-3-270m",
    "gpt2",
    "gpt2-medium",
    "llama-1b",
    "llama-3.2-1b",
    "modernbert-base",
    "qwen2-0.5b",
    "qwen3-0.6b",
    "qwen3-moe",
    "resnet-50",
    "roberta-base",
    "segformer-b0",
    "t5-small",
    "vit-base",
    "whisper-tiny",
]


@dataclass(frozen=True)
class Preset:
    """An architecture and its config; omitted settings have the library's defaults for the architecture."""

    model_type: str
    task: TransformersTask
    config: dict[str, Any]
    #: Parameter count stated by `source`, with the task's head; for classified images with 1,000 classes.
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


_LLAMA_1B = Preset(
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
)


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
    "clip-vit-b32": Preset(
        "clip",
        "contrastive",
        {
            "projection_dim": 512,
            "text_config": {
                "vocab_size": 49_408,
                "hidden_size": 512,
                "intermediate_size": 2048,
                "num_hidden_layers": 12,
                "num_attention_heads": 8,
                "max_position_embeddings": 77,
            },
            "vision_config": {
                "hidden_size": 768,
                "intermediate_size": 3072,
                "num_hidden_layers": 12,
                "num_attention_heads": 12,
                "image_size": 224,
                "patch_size": 32,
            },
        },
        151_277_313,
        "Radford et al. 2021, CLIP; github.com/openai/CLIP, notebooks/Interacting_with_CLIP.ipynb: 151,277,313",
    ),
    "convnext-large": _convnext(
        [192, 384, 768, 1536],
        [3, 3, 27, 3],
        197_767_336,
        "pytorch.org/vision, convnext_large; Liu et al. 2022, table 1",
    ),
    "convnext-tiny": _convnext(
        [96, 192, 384, 768], [3, 3, 9, 3], 28_589_128, "pytorch.org/vision, convnext_tiny; Liu et al. 2022, table 1"
    ),
    "detr-resnet-50": Preset(
        "detr",
        "object-detection",
        {
            "d_model": 256,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "encoder_attention_heads": 8,
            "decoder_attention_heads": 8,
            "encoder_ffn_dim": 2048,
            "decoder_ffn_dim": 2048,
            "num_queries": 100,
        },
        41_000_000,
        "Carion et al. 2020, DETR, table 1: 41M",
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
    "gemma-3-270m": Preset(
        "gemma3_text",
        "causal-lm",
        {
            "vocab_size": 262_144,
            "hidden_size": 640,
            "intermediate_size": 2048,
            "num_hidden_layers": 18,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "max_position_embeddings": 32_768,
            "sliding_window": 512,
            "tie_word_embeddings": True,
        },
        270_000_000,
        "developers.googleblog.com, Introducing Gemma 3 270M: 170M of embeddings and 100M of transformer blocks",
    ),
    "gpt2": _gpt2(768, 12, 12, 124_000_000, "github.com/openai/gpt-2, model_card.md"),
    "gpt2-medium": _gpt2(1024, 24, 16, 355_000_000, "github.com/openai/gpt-2, model_card.md"),
    "llama-1b": _LLAMA_1B,
    "llama-3.2-1b": _LLAMA_1B,
    "modernbert-base": Preset(
        "modernbert",
        "masked-lm",
        {
            "vocab_size": 50_368,
            "hidden_size": 768,
            "intermediate_size": 1152,
            "num_hidden_layers": 22,
            "num_attention_heads": 12,
            "max_position_embeddings": 8192,
        },
        149_000_000,
        "Warner et al. 2024, ModernBERT; huggingface.co/answerdotai/ModernBERT-base: 149M",
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
    "qwen3-0.6b": Preset(
        "qwen3",
        "causal-lm",
        {
            "vocab_size": 151_936,
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 40_960,
            "tie_word_embeddings": True,
        },
        600_000_000,
        "Yang et al. 2025, Qwen3; huggingface.co/Qwen/Qwen3-0.6B: 0.6B",
    ),
    "qwen3-moe": Preset(
        "qwen3_moe",
        "causal-lm",
        {
            "vocab_size": 151_936,
            "hidden_size": 1024,
            "intermediate_size": 3072,
            "moe_intermediate_size": 384,
            "num_experts": 32,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 12,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "max_position_embeddings": 40_960,
            "tie_word_embeddings": True,
        },
        # 12 layers of 32 experts of 3 matrices, router, attention and norms; the embedding and the last norm.
        12 * (32 * 3 * 1024 * 384 + 1024 * 32 + 1024 * 128 * (16 + 2 * 4 + 16) + 2 * 128 + 2 * 1024)
        + 151_936 * 1024
        + 1024,
        "Qwen3-30B-A3B (Yang et al. 2025, Qwen3) with half its width and a quarter of its layers and experts; counted",
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
    "segformer-b0": Preset(
        "segformer",
        "semantic-segmentation",
        {
            "hidden_sizes": [32, 64, 160, 256],
            "depths": [2, 2, 2, 2],
            "num_attention_heads": [1, 2, 5, 8],
            "decoder_hidden_size": 256,
        },
        3_800_000,
        "Xie et al. 2021, SegFormer, table 1: 3.8M on ADE20K",
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
    "whisper-tiny": Preset(
        "whisper",
        "speech-seq2seq",
        {
            "vocab_size": 51_865,
            "d_model": 384,
            "encoder_layers": 4,
            "decoder_layers": 4,
            "encoder_attention_heads": 6,
            "decoder_attention_heads": 6,
            "encoder_ffn_dim": 1536,
            "decoder_ffn_dim": 1536,
        },
        39_000_000,
        "Radford et al. 2022, Whisper, table 1: 39M",
    ),
}
