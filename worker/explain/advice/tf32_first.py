"""TF32 in place of FP32, before half precision: it changes no tensor and needs no gradient scaler."""

from halftime.contract.report.explanation import Advice
from worker.explain.advice.facts import Facts
from worker.explain.advice.requests import changed
from worker.explain.advice.split import Split
from worker.explain.advice.words import percent


def tf32_first(facts: Facts) -> Advice | None:
    """Advises a leg in TF32 where the baseline is FP32 and the GPU has TF32; its gain is over that baseline.

    With r the ratio of the ceilings in TF32 and FP32, P the time of the baseline's matrix products and s their share of
    the FP32 ceiling: at most, they reach the same share of the TF32 ceiling, and P (1 - 1 / r) goes; at least, only
    the time that arithmetic needs shrinks, and s P (1 - 1 / r) goes.
    """
    ceilings, support = facts.device.ceilings, facts.device.support_of("tf32")
    if facts.request.config.baseline != "fp32" or "tf32" in facts.legs or ceilings is None:
        return None
    if support is None or support.kernels != "native" or not {"fp32", "tf32"} <= ceilings.flops_per_second.keys():
        return None
    split, ratio = Split.of(facts.baseline), ceilings.flops_per_second["tf32"] / ceilings.flops_per_second["fp32"]
    share = split.share_of_ceiling("matrix_products")
    if share is None or ratio <= 1:
        return None
    saved = split.seconds("matrix_products") * (1 - 1 / ratio)
    candidates = facts.request.config.resolved_candidates(facts.device.kind)
    return Advice(
        name="tf32_first",
        text=(
            "Compare TF32 too: one switch, no cast, no gradient scaler. The gain is that over fp32, not over "
            f"{facts.candidate.precision}."
        ),
        evidence=(
            f"in fp32, matrix products take {percent(split.share('matrix_products'))} of a step at no less than "
            f"{percent(share)} of the ceiling; the GPU's TF32 products run {ratio:.1f} times as fast as its FP32 ones."
        ),
        estimated_gain=split.gains(share * saved, saved),
        request=changed(facts.request, config__candidates=[*candidates, "tf32"]),
    )
