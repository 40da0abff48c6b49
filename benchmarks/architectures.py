"""Half precision on well-known architectures: at their original size on a GPU, reduced to fit on a CPU."""

import anyio
import torch

from benchmarks.job import run_job
from halftime.contract.report.report import Report
from halftime.contract.request.request import BenchmarkRequest

#: Preset: batch size on a GPU, and changes that make it small enough for two cores.
ARCHITECTURES: dict[str, tuple[int, dict[str, object]]] = {
    "gpt2": (16, {"sequence_length": 128, "config": {"n_layer": 2, "n_embd": 256, "n_head": 4, "vocab_size": 2048}}),
    "bert-base": (
        32,
        {
            "sequence_length": 128,
            "config": {
                "num_hidden_layers": 2,
                "hidden_size": 256,
                "num_attention_heads": 4,
                "intermediate_size": 1024,
                "vocab_size": 2048,
            },
        },
    ),
    "vit-base": (
        64,
        {
            "image_size": 64,
            "num_classes": 10,
            "config": {
                "patch_size": 8,
                "num_hidden_layers": 2,
                "hidden_size": 256,
                "num_attention_heads": 4,
                "intermediate_size": 1024,
            },
        },
    ),
    "resnet-50": (
        64,
        {
            "image_size": 64,
            "num_classes": 10,
            "config": {"embedding_size": 32, "hidden_sizes": [64, 128, 256, 512], "depths": [1, 1, 1, 1]},
        },
    ),
    "convnext-tiny": (
        64,
        {
            "image_size": 64,
            "num_classes": 10,
            "config": {"hidden_sizes": [48, 96, 192, 384], "depths": [1, 1, 2, 1]},
        },
    ),
}
CPU_BATCH_SIZE = 8


def measure() -> dict[str, object]:
    """Speedup and memory reduction with their intervals, per architecture."""
    on_gpu = torch.cuda.is_available()
    return {"architectures": {preset: _row(anyio.run(run_job, request_of(preset, on_gpu))) for preset in ARCHITECTURES}}


def request_of(preset: str, on_gpu: bool) -> BenchmarkRequest:
    """BF16 against FP32; on a GPU FP16 and TF32 too."""
    gpu_batch_size, shrunk = ARCHITECTURES[preset]
    batch_size = gpu_batch_size if on_gpu else CPU_BATCH_SIZE
    body = {
        "model": {"kind": "transformers", "preset": preset} | ({} if on_gpu else shrunk),
        "config": {
            "device": "auto",
            "candidates": ["tf32", "fp16", "bf16"] if on_gpu else ["bf16"],
            "training": {"batch_size": batch_size, "steps": 45, "warmup_steps": 5, "validation_samples": batch_size},
            "measurement": {"min_blocks": 6, "max_blocks": 32, "target_ci": 0.035, "time_budget_seconds": 300},
        },
    }
    return BenchmarkRequest.model_validate(body)


def _row(report: Report) -> dict[str, object]:
    floor = report.noise_floor.ratio.model_dump() if report.noise_floor else None
    return {
        "parameter_count": report.baseline.trials[0].parameter_count,
        "baseline_step_seconds": report.baseline.median_step_seconds,
        "attested": report.attestation.ok,
        "noise_floor": floor,
        "candidates": {
            comparison.candidate.precision: {
                "speedup": comparison.speedup.model_dump() if comparison.speedup else None,
                "memory_reduction_percent": comparison.memory_reduction_percent.model_dump()
                if comparison.memory_reduction_percent
                else None,
                "gradient_relative_rmse": comparison.candidate.numerics.gradient_relative_rmse
                if comparison.candidate.numerics
                else None,
                "explained_relative_rmse": comparison.candidate.numerics.explained_relative_rmse
                if comparison.candidate.numerics
                else None,
            }
            for comparison in report.comparisons
        },
        "warnings": report.warnings,
    }
