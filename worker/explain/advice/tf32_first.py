"""TF32 in place of FP32, before half precision: it changes no tensor and needs no gradient scaler."""

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import Advice
from worker.explain.advice.facts import Facts
from worker.explain.advice.requests import changed
from worker.explain.advice.split import Split
from worker.explain.advice.words import percent


def tf32_first(facts: Facts) -> Advice | None:
    """Advises a leg in TF32 where the baseline is FP32, the GPU has TF32, and it may be faster than the candidate.

    With r the ratio of the ceilings in TF32 and FP32, P the time of the baseline's matrix products and s their share of
    the FP32 ceiling: at most, they reach the same share of the TF32 ceiling, and P (1 - 1 / r) goes; at least, only
    the time that arithmetic needs shrinks, and s P (1 - 1 / r) goes. That is the gain over the baseline; divided by the
    candidate's speedup, it is the gain over the candidate.
    """
    ceilings, support = facts.device.ceilings, facts.device.support_of("tf32")
    if facts.request.config.baseline != "fp32" or "tf32" in facts.legs or ceilings is None:
        return None
    if support is None or support.kernels != "native" or not {"fp32", "tf32"} <= ceilings.flops_per_second.keys():
        return None
    split, ratio = Split.of(facts.baseline), ceilings.flops_per_second["tf32"] / ceilings.flops_per_second["fp32"]
    share = split.share_of_ceiling("matrix_products")
    if share is None or ratio <= 1 or facts.speedup is None:
        return None
    saved = split.seconds("matrix_products") * (1 - 1 / ratio)
    candidates = facts.request.config.resolved_candidates(facts.device.kind)
    return Advice(
        name="tf32_first",
        text=f"Try TF32 in place of {facts.candidate.precision}: one switch, no cast, no gradient scaler.",
        evidence=(
            f"in fp32, matrix products take {percent(split.share('matrix_products'))} of a step at no less than "
            f"{percent(share)} of the ceiling; the GPU's TF32 products run {ratio:.1f} times as fast as its FP32 ones."
        ),
        estimated_gain=_over_the_candidate(split.gains(share * saved, saved), facts.speedup),
        request=changed(facts.request, config__candidates=[*candidates, "tf32"]),
    )


def _over_the_candidate(gain: Estimate, speedup: Estimate) -> Estimate:
    """A gain over the baseline as a gain over the candidate; both ranges are wide at worst."""
    return Estimate(
        value=gain.value / speedup.value,
        ci_low=gain.ci_low / speedup.ci_high,
        ci_high=gain.ci_high / speedup.ci_low,
    )
