"""Fused attention, where a model was told to compute attention step by step."""

from halftime.contract.models import TransformersSpec
from halftime.contract.models.published import implementation_of
from halftime.contract.report.explanation import Advice
from worker.explain.advice.facts import Facts
from worker.explain.advice.requests import changed
from worker.explain.advice.words import milliseconds, percent

SETTING, FUSED, UNFUSED = "attn_implementation", "sdpa", "eager"

#: Operations of the loss itself in a micro-batch: softmax and likelihood, each in the forward and the backward pass.
CALLS_OF_THE_LOSS = 4

#: Passes over the attention scores beside the softmax: scaling, masking, and the casts to FP32 and back.
OTHER_PASSES = 4


def fused_attention(facts: Facts) -> Advice | None:
    """Advises torch's fused attention where the request chose the eager one and its softmax shows.

    A fused kernel never writes the scores of all pairs of tokens to memory (Dao et al. 2022, "FlashAttention"); their
    products remain. At most, the time of the softmax goes, and four times as much of elementwise work and casts, which
    pass over the same scores, as far as there is so much. At least nothing: how much of the softmax is that of the loss
    is not measured.
    """
    model = facts.request.model
    if not isinstance(model, TransformersSpec) or not _is_eager(model):
        return None
    split = facts.split
    seconds = split.seconds("softmax_and_loss")
    if split.calls("softmax_and_loss") <= CALLS_OF_THE_LOSS * facts.training.gradient_accumulation:
        return None
    around = min(OTHER_PASSES * seconds, split.seconds("elementwise", "casts_and_copies"))
    config = {name: value for name, value in model.config.items() if implementation_of(name) != SETTING}
    return Advice(
        name="fused_attention",
        text=f"Use torch's fused attention (model.config.{SETTING}: {FUSED}), if the architecture has it.",
        evidence=(
            f"attention is {UNFUSED}: softmax and loss take {milliseconds(seconds)} "
            f"({percent(split.share_of(seconds))}) of a step in {split.calls('softmax_and_loss'):.0f} operations, more "
            "than a loss has."
        ),
        estimated_gain=split.gains(0.0, seconds + around),
        request=changed(facts.request, model__config=config | {SETTING: FUSED}),
    )


def _is_eager(model: TransformersSpec) -> bool:
    """Whether the model's attention, or that of a part of it, is the eager one by request."""
    for name, value in model.settings.items():
        if implementation_of(name) == SETTING:
            return UNFUSED in (value.values() if isinstance(value, dict) else [value])
    return False
