"""Reports with an explanation, of steps that were never profiled."""

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import Advice, Bound, Explanation, OperatorTime, TimeByKind, WaterfallStep
from halftime.contract.resources.worker import Bandwidth, DeviceCeilings

CAUSE = (
    "limited mostly by memory-bound work other than matrix products and attention: 61 ms of its step (64 ms in fp32), "
    "which is 61 % of it, most of that elementwise (31 % of the step) and normalisation (18 %)"
)
MISSING = "the profiler recorded no operation"

#: What the step of the baseline has of each kind of work: its share, calls, FLOP per byte (0: it multiplies nothing),
#: bytes per second (0: unknown), what limits it, and its share of that ceiling.
BASELINE = {
    "matrix_products": (0.46, 96, 42.0, 3.7e9, "compute", 0.71),
    "attention": (0.11, 12, 9.0, 1.0e10, "compute", 0.42),
    "elementwise": (0.16, 240, 0, 1.5e10, "memory", 0.83),
    "normalisation": (0.09, 50, 0, 9.0e9, "memory", 0.55),
    "optimizer": (0.08, 6, 0, 1.6e10, "memory", 0.9),
    "softmax_and_loss": (0.05, 6, 0, 1.1e10, "memory", 0.6),
    "embedding_and_indexing": (0.01, 8, 0, 2.0e9, None, 0.1),
    "host": (0.03, 0, 0, 0, None, None),
    "unassigned": (0.01, 3, 0, 0, None, None),
}

#: How much faster a candidate does each kind of work, and what it does besides.
GAIN = {"matrix_products": 2.4, "attention": 2.1, "elementwise": 1.15, "host": 0.7}
BESIDES = {"casts_and_copies": (0.06, 310, 0, 7.0e9, "memory", 0.4)}
SCALING = {"gradient_scaling_and_clipping": (0.03, 90, 0, 6.0e8, "launches", 0.6)}


#: The slowest operators of some kinds, with their share of its time.
OPERATORS = {
    "matrix_products": {"aten::mm": 0.6, "aten::addmm": 0.4},
    "elementwise": {"aten::gelu_backward": 0.5, "aten::gelu": 0.3, "aten::add_": 0.1},
    "optimizer": {"aten::_fused_adamw_": 1.0},
}


def ceilings(**changes):
    """The ceilings of a small CPU with BF16 arithmetic."""
    values = {
        "flops_per_second": {"fp32": 2.2e11, "bf16": 4.8e11, "fp16": 4.4e11},
        "memory": [
            Bandwidth(size_bytes=2**16, bytes_per_second=9.0e10),
            Bandwidth(size_bytes=2**28, bytes_per_second=1.8e10),
        ],
        "launch_seconds": 2.1e-6,
        "torch": "2.13.0",
        "driver": None,
    }
    return DeviceCeilings.model_validate(values | changes)


def explained(report, **changes):
    """The report with the split of every leg's step, an explanation of every comparison, and the ceilings."""
    baseline = profiled(report.baseline, BASELINE)
    comparisons = [with_explanation(one, baseline) for one in report.comparisons]
    return report.model_copy(
        update={"baseline": baseline, "comparisons": comparisons, "ceilings": ceilings()} | changes
    )


def unexplained(report, reason=MISSING):
    """The report, which says why nothing of it is explained; without a reason, as one of an earlier release."""
    baseline = report.baseline.model_copy(update={"time_by_kind_missing": reason})
    comparisons = [
        one.model_copy(
            update={
                "candidate": one.candidate.model_copy(update={"time_by_kind_missing": reason}),
                "explanation_missing": reason,
            }
        )
        for one in report.comparisons
    ]
    return report.model_copy(update={"baseline": baseline, "comparisons": comparisons})


def profiled(leg, kinds):
    """The leg with these kinds of work, which add up to its median step."""
    scale = leg.median_step_seconds / sum(share for share, *_ in kinds.values())
    times = [
        TimeByKind(
            kind=kind,
            seconds_per_step=share * scale,
            calls=calls,
            least_flops=flops_per_byte * bandwidth * share * scale or None,
            least_bytes=bandwidth * share * scale or None,
            bound_by=bound_by,
            share_of_ceiling=of_ceiling,
            slowest_operators=[
                OperatorTime(name=name, seconds_per_step=of_kind * share * scale)
                for name, of_kind in OPERATORS.get(kind, {}).items()
            ],
        )
        for kind, (share, calls, flops_per_byte, bandwidth, bound_by, of_ceiling) in kinds.items()
    ]
    return leg.model_copy(
        update={
            "time_by_kind": times,
            "time_by_kind_missing": None,
            "model_flops_utilisation": 0.41,
            "vendor_peak_flops_per_second": 9.89e14,
        }
    )


def with_explanation(comparison, baseline):
    """The comparison with the split of its candidate and what follows from it."""
    more = BESIDES | (SCALING if comparison.candidate.precision == "fp16" else {})
    faster = {kind: sped_up(facts, GAIN.get(kind, 1)) for kind, facts in BASELINE.items()}
    candidate = profiled(comparison.candidate, faster | more)
    explanation = Explanation(
        cause=CAUSE,
        bound=Bound(matmul_free=estimate(2.44, 0.03), all_at_ceiling=estimate(3.1, 0.1)),
        waterfall=waterfall(baseline, candidate),
        advice=[
            Advice(
                name="compile",
                text="Compile the model: `training.compile`.",
                evidence="41 % of the step is elementwise work and normalisation, each operation of which reads and "
                "writes memory on its own.",
                estimated_gain=estimate(1.32, 0.12),
                request={"model": {"kind": "mlp"}, "config": {"device": "cpu", "training": {"compile": {}}}},
                measured_gain=estimate(1.27, 0.04),
            ),
            Advice(
                name="larger_batch",
                text="Double the batch to 32 samples.",
                evidence="18 % of the step is bound by launches, which do not grow with the batch.",
                estimated_gain=estimate(1.12, 0.06),
                request={"model": {"kind": "mlp"}, "config": {"device": "cpu", "training": {"batch_size": 32}}},
                remark="Not measured: the time budget was spent.",
            ),
            Advice(
                name="stop_here",
                text="Then stop: 94 % of what is possible is reached.",
                evidence="All other kinds of work are within 6 % of their ceilings.",
                estimated_gain=estimate(1.0, 0.01),
                request=None,
            ),
        ],
    )
    return comparison.model_copy(
        update={"candidate": candidate, "explanation": explanation, "explanation_missing": None}
    )


def sped_up(facts, gain):
    """What a step has of a kind of work that takes less time for the same."""
    share, calls, flops_per_byte, bandwidth, *limits = facts
    return (share / gain, calls, flops_per_byte, bandwidth * gain, *limits)


def waterfall(baseline, candidate):
    """Both legs' seconds of every kind that either has."""
    before, after = ({one.kind: one.seconds_per_step for one in leg.time_by_kind} for leg in (baseline, candidate))
    return [
        WaterfallStep(kind=kind, baseline_seconds=before.get(kind, 0.0), candidate_seconds=after.get(kind, 0.0))
        for kind in before | after
    ]


def estimate(value, margin):
    return Estimate(value=value, ci_low=value - margin, ci_high=value + margin)
