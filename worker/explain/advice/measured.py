"""Measured gains beside the estimated ones."""

from collections.abc import Mapping, Sequence

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import Advice, AdviceName
from worker.comparison.comparison_run import VerifiedGain

#: How far a measured gain may be from the estimate without a remark, if their intervals overlap.
TOLERANCE = 1.5

#: What the estimate of each rule does not know, and so the likely reason of a difference.
UNKNOWN: dict[AdviceName, str] = {
    "larger_batch": "how much faster or slower operations become on larger operands",
    "compile": "how fast the compiler's kernels are, and where its graphs break",
    "fused_optimizer": "how fast the fused kernel is",
    "fused_attention": "how much of the softmax was the loss's, and which kernel torch chooses",
    "channels_last": "whether the layout is what held the convolutions back",
    "padded_dimensions": "whether the dimensions are what held the products back",
    "tf32_first": "which products the library computes in TF32",
    "bf16_instead_of_fp16": "which steps the gradient scaler skips in another run",
    "more_loader_workers": "what the processes share, such as cores and disk",
    "no_activation_checkpointing": "how much of the work is in the blocks that were recomputed",
}


def with_measured(advice: Sequence[Advice], verified: Mapping[AdviceName, VerifiedGain]) -> list[Advice]:
    """The advice with measured gains, and a remark where there is none or it is far from the estimate."""
    return [_with_gain(one, verified[one.name]) if one.name in verified else one for one in advice]


def _with_gain(advice: Advice, verified: VerifiedGain) -> Advice:
    remark = verified.remark
    if verified.gain is not None:
        remark = remark or why_different(advice, verified.gain)
    return advice.model_copy(update={"measured_gain": verified.gain, "remark": remark})


def why_different(advice: Advice, measured: Estimate) -> str | None:
    """Why a measured gain is outside the estimate's range, or far from the estimate; None if it is not."""
    estimated = advice.estimated_gain
    overlap = measured.ci_low <= estimated.ci_high and measured.ci_high >= estimated.ci_low
    if overlap and estimated.value / TOLERANCE <= measured.value <= estimated.value * TOLERANCE:
        return None
    more_or_less = "more" if measured.value > estimated.value else "less"
    return f"It gained {more_or_less} than estimated: the estimate does not know {UNKNOWN[advice.name]}."
