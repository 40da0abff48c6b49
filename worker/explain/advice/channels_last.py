"""The NHWC memory layout, where convolutions are far from the device's rate of matrix products."""

from halftime.contract.models import ConvnetSpec, DiffusersSpec
from halftime.contract.report.explanation import Advice
from worker.explain.advice.facts import FAR_FROM_PEAK, Facts
from worker.explain.advice.requests import changed
from worker.explain.advice.words import percent

#: Least share of a step that convolutions take.
LEAST_SHARE = 0.2


def channels_last(facts: Facts) -> Advice | None:
    """Advises the layout in which tensor cores, and oneDNN on a CPU, convolve without transposing first.

    At most, the products run at the device's rate of matrix products: of their time P, at a share s of it, P (1 - s)
    goes. At least nothing, because the layout need not be what holds them back.
    """
    split, share = facts.split, facts.share_of_peak
    if _is_channels_last(facts) or not _is_convolutional(facts) or not _has_kernels(facts):
        return None
    if share is None or share >= FAR_FROM_PEAK or split.share("matrix_products") < LEAST_SHARE:
        return None
    return Advice(
        name="channels_last",
        text="Keep images and convolutions in the NHWC layout (training.channels_last).",
        evidence=(
            f"convolutions in the NCHW layout take {percent(split.share('matrix_products'))} of a step and reach "
            f"at most {percent(share)} of the rate of the device's fastest matrix product."
        ),
        estimated_gain=split.gains(0.0, split.seconds("matrix_products") * (1 - share)),
        request=changed(facts.request, config__training__channels_last=True),
    )


def _is_channels_last(facts: Facts) -> bool:
    model = facts.request.model
    return facts.training.channels_last or (isinstance(model, ConvnetSpec) and model.channels_last)


def _is_convolutional(facts: Facts) -> bool:
    """Whether the products are mostly convolutions: an image transformer has one too, in front of its attention."""
    if "Conv2d" not in facts.trial.attestation.forward_dtypes:
        return False
    return isinstance(facts.request.model, DiffusersSpec) or not facts.split.seconds("attention")


def _has_kernels(facts: Facts) -> bool:
    """Whether the device has kernels that want this layout: oneDNN's on a CPU, tensor cores on a GPU."""
    return facts.device.kind == "cpu" or facts.is_half or facts.candidate.precision == "tf32"
