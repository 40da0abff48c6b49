"""The dtypes that a leg multiplied in: by operation, where modules' outputs alone would hide some."""

from collections.abc import Iterator

from halftime.contract.models import ModelSpec, TransformersSpec
from halftime.contract.report.report import AttestationCheck
from halftime.contract.report.trial import Attestation, MultiplyingModules
from worker.comparison.comparison_run import LegRun
from worker.training.precision_facts import FACTS

#: Share of the multiplied FLOPs in the leg's dtype below which a warning says where the rest is. A model may multiply
#: queries, keys and values in FP32 on purpose, as torch does without fused attention (dropout on a CPU): 4·s·d of
#: 24·d² + 4·s·d FLOPs per token, a tenth for sequences of s = 512 tokens in a model d = 768 wide. More is not what a
#: leg's name promises. The check has the share of every dtype in any case.
LEAST_SHARE = 0.9

#: The operator of the library's experts, which autocast does not lower.
GROUPED_PRODUCT = "aten::_grouped_mm"


def multiplied_checks(leg: LegRun) -> list[AttestationCheck]:
    """Checks that the leg's dtype was multiplied in at all; `observed` has the share of every dtype.

    A part in another dtype is a warning: it is what this model does under autocast, not a fault of the measurement.
    Returns no check if no multiplication was recorded.
    """
    least = _least(leg)
    if least is None:
        return []
    expected = FACTS[leg.precision].matmul_dtype_name
    total = sum(least.multiplied_flops.values())
    shares = [f"{dtype} {flops / total:.2%}" for dtype, flops in least.multiplied_flops.items()]
    return [
        AttestationCheck(
            leg=leg.precision,
            name="multiplied_dtypes",
            expected=f"FLOPs in {expected}",
            observed=", ".join(shares),
            ok=expected in least.multiplied_flops,
        )
    ]


def about_multiplications(leg: LegRun, model: ModelSpec) -> Iterator[str]:
    """Warns if less of a step was multiplied in the leg's dtype than its name promises, and names the modules."""
    least, expected = _least(leg), FACTS[leg.precision].matmul_dtype_name
    share = least.share_multiplied_in(expected) if least else None
    if least is None or share is None or share >= LEAST_SHARE:
        return
    modules = "; ".join(map(_describe, least.multiplied_elsewhere))
    yield (
        f"{leg.name}: {1 - share:.0%} of the FLOPs that a step multiplies are not in {expected}: {modules}. "
        f"{_remedy(leg, model, least)}"
    )


def _least(leg: LegRun) -> Attestation | None:
    """The attestation of the trial with the smallest share in the leg's dtype; None without recorded products."""
    dtype = FACTS[leg.precision].matmul_dtype_name
    shares = [(trial.attestation.share_multiplied_in(dtype), trial.attestation) for trial in leg.measured_alone]
    recorded = [(share, attestation) for share, attestation in shares if share is not None]
    return min(recorded, key=lambda one: one[0])[1] if recorded else None


def _describe(modules: MultiplyingModules) -> str:
    where = f" ({modules.module})" if modules.module else ""
    return f"{modules.module_class}{where} in {modules.dtype} ({modules.operator})"


def _remedy(leg: LegRun, model: ModelSpec, least: Attestation) -> str:
    if FACTS[leg.precision].autocast is None:
        return "The model itself casts their operands; the leg is what its name says only without that."
    grouped = any(one.operator == GROUPED_PRODUCT for one in least.multiplied_elsewhere)
    if grouped and isinstance(model, TransformersSpec):
        return 'Autocast does not cover grouped products. Set config.experts_implementation to "eager".'
    return "Autocast does not cover them, or they are in another dtype on purpose: the leg is lowered only in part."
