"""Rules for a GPU: dimensions, TF32, and a gradient scaler that keeps skipping."""

import math

import pytest

from halftime.contract.report.trial import GradScalerTrace
from tests.worker.explain.advice.reported import CEILINGS, GPU, NATIVE, advice_on, asked, multiplying, range_of, row

SLOW_PRODUCTS = [row("matrix_products", 8, "memory", 0.25), row("elementwise", 2)]


def wanted(model, flops=16e9, **trial):
    """In 8 ms, at 8 TFLOP/s, 16 GFLOP are a quarter of what the GPU can."""
    trial |= {"attestation": multiplying(flops)}
    return advice_on(SLOW_PRODUCTS, asked(model, GPU), GPU, **trial).get("padded_dimensions")


TRANSFORMER = {"kind": "transformer", "vocab_size": 100, "hidden_size": 36, "num_layers": 1, "num_heads": 6}
PADDED = [
    (TRANSFORMER, {"vocab_size": 128, "hidden_size": 48}),
    ({"kind": "mlp", "hidden_size": 100}, {"hidden_size": 104}),
    ({"kind": "convnet", "image_size": 8, "widths": [12, 32]}, {"widths": [16, 32]}),
    ({"kind": "dit", "hidden_size": 36, "num_heads": 3}, {"hidden_size": 48}),
    ({"kind": "dlrm", "embedding_dim": 12}, {"embedding_dim": 16}),
    ({"kind": "transformers", "preset": "gpt2", "config": {"n_embd": 764, "n_head": 4}}, {}),
]


@pytest.mark.parametrize(("model", "changes"), PADDED, ids=[model["kind"] for model, _ in PADDED])
def test_dimensions_are_padded_where_products_are_far_from_the_ceiling(model, changes):
    advice = wanted(model)
    assert range_of(advice) == pytest.approx((1, math.sqrt(10 / 4), 10 / 4))
    assert changes.items() <= advice.request["model"].items()
    if not changes:
        assert advice.request["model"]["config"] == {"n_embd": 768, "n_head": 4, "vocab_size": 50_304}


def test_where_the_vocabulary_alone_is_odd_only_its_products_gain():
    model = {"kind": "transformers", "preset": "gpt2"}
    advice = wanted(model, parameter_count=2 * 50_257 * 768)
    assert range_of(advice)[2] == pytest.approx(10 / 7)


@pytest.mark.parametrize(
    ("model", "flops"),
    [(TRANSFORMER, 40e9), (TRANSFORMER, 0), ({"kind": "mlp", "hidden_size": 64}, 16e9), ({"kind": "layers"}, 16e9)],
    ids=["near the peak", "unknown", "nothing is odd", "unknown dimensions"],
)
def test_nothing_is_padded_without_evidence(model, flops):
    """The split's share of the ceiling, a quarter in all of them, has the least work of the products."""
    assert wanted(model, flops) is None


FP32 = [row("matrix_products", 8, "compute", 0.5), row("elementwise", 2)]


def test_tf32_gains_at_most_what_the_ratio_of_ceilings_allows():
    """FP32 products take 8 of 10 ms at half of the ceiling; TF32 ones are four times as fast."""
    advice = advice_on([], asked(device=GPU), GPU, baseline_rows=FP32, speedup=1.0)["tf32_first"]
    low, high = 10 / 7, 10 / 4
    assert range_of(advice) == pytest.approx((low, math.sqrt(low * high), high))
    assert advice.request["config"]["candidates"] == ["bf16", "tf32"]
    assert "in place of bf16" in advice.text


def test_the_gain_of_tf32_is_that_over_the_candidate():
    advice = advice_on([], asked(device=GPU), GPU, baseline_rows=FP32, speedup=1.6)["tf32_first"]
    low, high = 10 / 7 / 1.6, 10 / 4 / 1.6
    assert range_of(advice) == pytest.approx((low, math.sqrt(low * high), high))


def test_no_tf32_where_the_candidate_is_as_fast():
    assert "tf32_first" not in advice_on([], asked(device=GPU), GPU, baseline_rows=FP32, speedup=1.9)


@pytest.mark.parametrize(
    ("config", "device"),
    [
        ({"baseline": "tf32"}, GPU),
        ({"candidates": ["bf16", "tf32"]}, GPU),
        ({}, GPU.model_copy(update={"precisions": [one for one in NATIVE if one.precision != "tf32"]})),
        ({}, GPU.model_copy(update={"ceilings": None})),
        ({}, GPU.model_copy(update={"ceilings": CEILINGS.model_copy(update={"flops_per_second": {"fp32": 1e12}})})),
    ],
    ids=["the baseline has it", "a leg has it", "the GPU lacks it", "no ceilings", "no ceiling of it"],
)
def test_no_tf32_without_evidence(config, device):
    found = advice_on([], asked(device=GPU, **config), device, baseline_rows=FP32, speedup=1.0)
    assert "tf32_first" not in found


def scaler(skipped):
    return GradScalerTrace(
        initial_scale=65536,
        final_scale=1,
        skipped_steps=skipped,
        scale_trace=[],
        unsettled_after_warmup=True,
        first_overflow=None,
    )


def test_bf16_where_the_scaler_keeps_skipping():
    """5 of 25 measured steps: those of the warm-up are not counted."""
    request = asked(device=GPU, candidate="fp16")
    rows = [row("gradient_scaling_and_clipping", 1), row("matrix_products", 9)]
    advice = advice_on(rows, request, GPU, grad_scaler=scaler([0, 1, 5, 10, 15, 20, 25]))["bf16_instead_of_fp16"]
    assert range_of(advice) == pytest.approx((1.25, 1.25, 1.25 / 0.9))
    assert advice.request["config"]["candidates"] == ["bf16"]
    assert "skipped 20 %" in advice.evidence


@pytest.mark.parametrize(
    ("skipped", "config", "device"),
    [
        ([0, 1], {}, GPU),
        ([5, 10, 15], {"candidates": ["fp16", "bf16"]}, GPU),
        ([5, 10, 15], {}, GPU.model_copy(update={"precisions": None})),
        (list(range(30)), {}, GPU),
    ],
    ids=["it settles in the warm-up", "a leg has it", "unknown support", "nothing is trained"],
)
def test_no_bf16_without_evidence(skipped, config, device):
    request = asked(device=GPU, **({"candidate": "fp16"} | config))
    rows = [row("matrix_products", 10)]
    assert "bf16_instead_of_fp16" not in advice_on(rows, request, device, grad_scaler=scaler(skipped))
