"""BF16 in place of FP16, where the gradient scaler keeps skipping steps."""

import statistics

from halftime.contract.report.explanation import Advice
from worker.comparison.comparison_run import applied_share
from worker.explain.advice.facts import Facts
from worker.explain.advice.requests import changed
from worker.explain.advice.split import between
from worker.explain.advice.words import percent


def bf16_instead_of_fp16(facts: Facts) -> Advice | None:
    """Advises BF16, whose range is that of FP32, so that no step is skipped; both multiply at the same rate.

    If a share q of the measured steps is skipped, 1 / (1 - q) times as many samples count without that. From the
    smallest q of any trial to the largest; at most, the time of gradient scaling and clipping goes as well.
    """
    support = facts.device.support_of("bf16")
    if facts.candidate.precision != "fp16" or "bf16" in facts.legs or support is None or support.kernels != "native":
        return None
    skipped = [1 - applied_share(trial) for trial in facts.candidate.trials if trial.grad_scaler]
    if not skipped or max(skipped) >= 1:
        return None
    low, value, high = (1 / (1 - share) for share in (min(skipped), statistics.fmean(skipped), max(skipped)))
    scaling = facts.split.gain(facts.split.seconds("gradient_scaling_and_clipping"))
    others = [one for one in facts.request.config.resolved_candidates(facts.device.kind) if one != "fp16"]
    return Advice(
        name="bf16_instead_of_fp16",
        text="Use bf16 in place of fp16: it has the range of fp32 and needs no gradient scaler.",
        evidence=(
            f"the gradient scaler skipped {percent(statistics.fmean(skipped))} of the measured steps, whose batches "
            "did not change the weights; the device has arithmetic for BF16."
        ),
        estimated_gain=between(low, high * scaling, value),
        request=changed(facts.request, config__candidates=["bf16", *others]),
    )
