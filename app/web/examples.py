"""Example requests offered by the form for a new benchmark."""

from typing import Any

#: Title and request, by the name in the URL.
EXAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "transformer": (
        "Small transformer",
        {
            "model": {"kind": "transformer", "hidden_size": 256, "num_layers": 4},
            "config": {"device": "auto", "training": {"batch_size": 16, "steps": 60}},
        },
    ),
    "convnet": (
        "Convolutional network",
        {
            "model": {"kind": "convnet", "widths": [32, 64, 128], "blocks_per_stage": 1},
            "config": {"device": "auto", "training": {"batch_size": 64, "steps": 40, "learning_rate": 0.001}},
        },
    ),
    "dit": (
        "DiT-S/2, published size",
        {
            "model": {"kind": "dit"},
            "config": {"device": "cuda", "candidates": ["bf16", "fp16"], "training": {"batch_size": 64, "steps": 60}},
        },
    ),
    "dlrm": (
        "Recommendation model",
        {
            "model": {"kind": "dlrm"},
            "config": {"device": "auto", "training": {"batch_size": 512, "steps": 60, "learning_rate": 0.001}},
        },
    ),
    "gpt2": (
        "GPT-2, published size",
        {
            "model": {"kind": "transformers", "preset": "gpt2", "sequence_length": 512},
            "config": {"device": "cuda", "candidates": ["bf16", "fp16"], "training": {"batch_size": 8, "steps": 60}},
        },
    ),
    "bert": (
        "BERT-base, source of the gain",
        {
            "model": {"kind": "transformers", "preset": "bert-base", "sequence_length": 128},
            "config": {"device": "cuda", "candidates": ["tf32", "bf16", "fp16"], "training": {"batch_size": 32}},
        },
    ),
    "text": (
        "Text at byte level",
        {
            "model": {"kind": "transformer", "hidden_size": 128, "num_layers": 2},
            "config": {
                "device": "auto",
                "data": {"kind": "text"},
                "training": {"batch_size": 16, "steps": 100, "learning_rate": 0.003},
            },
        },
    ),
    "noise": (
        "Noise check: the same precision twice",
        {
            "model": {"kind": "transformer"},
            "config": {"device": "auto", "candidates": ["fp32"]},
            "requirements": {
                "min_speedup": None,
                "min_memory_reduction_percent": None,
                "max_accuracy_difference": None,
            },
        },
    ),
}

#: Initial content of the form: a complete request that runs on any device.
FIRST: dict[str, Any] = {"model": {"kind": "transformer"}, "config": {"device": "auto"}}
