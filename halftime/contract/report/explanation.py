"""Where the time of a step goes, what bounds it, where a speedup comes from, and what to change."""

from typing import Literal

from pydantic import Field

from halftime.contract.report.estimate import Estimate
from halftime.contract.strict import Json, Output

#: Kinds of work, in the order of reports. `matrix_products`: linear layers and convolutions. `fused`: what
#: torch.compile made of several operations. `host`: time of the host alone, in Python, dispatch and bookkeeping; on a
#: GPU, the time in which it waits for the host. `unassigned`: operators that are not known.
WorkKind = Literal[
    "matrix_products",
    "attention",
    "normalisation",
    "softmax_and_loss",
    "elementwise",
    "reductions",
    "embedding_and_indexing",
    "casts_and_copies",
    "fused",
    "optimizer",
    "gradient_scaling_and_clipping",
    "data",
    "host",
    "unassigned",
]

#: What limits a kind of work: the device's arithmetic, its memory, or how fast operations can be launched.
BoundBy = Literal["compute", "memory", "launches"]

AdviceName = Literal[
    "larger_batch",
    "compile",
    "fused_optimizer",
    "fused_attention",
    "channels_last",
    "padded_dimensions",
    "tf32_first",
    "bf16_instead_of_fp16",
    "more_loader_workers",
    "no_activation_checkpointing",
    "stop_here",
]

#: Smallest expected gain for which a change is advised; a few short blocks could hardly tell a smaller one from none.
LEAST_ADVISED_GAIN = 1.05


class OperatorTime(Output):
    """An operator and the own time of all its calls in a step."""

    name: str
    seconds_per_step: float


class ProfiledKind(Output):
    """One kind of work in the profiled steps of a trial, per step."""

    kind: WorkKind
    #: Own time of its operations under the profiler; on a GPU, that of their kernels.
    profiled_seconds: float
    #: Operations that the profiler recorded directly within those of this kind, and each of which it delayed.
    recorded_inside: float
    #: Operations.
    calls: float
    #: Lower bound of the work, by the dtype of the operands.
    flops_by_dtype: dict[str, float] = Field(default={})
    #: Lower bound of the bytes read and written, by the size class of an operation: its bytes are at most this many.
    #: null if that is unknown: if the compiler fused operations, less may be moved.
    bytes_by_size: dict[int, float] | None = Field(default={})
    #: Up to three operators, the slowest first; all may be more. On a GPU, the time of their kernels.
    slowest_operators: list[OperatorTime] = Field(default=[])


class StepProfile(Output):
    """A few steps of a trial, after the measured ones, under torch's profiler."""

    #: Steps under the profiler.
    steps: int
    #: Mean duration of a step under the profiler.
    profiled_step_seconds: float
    #: How long the profiler delays the host in such a step.
    host_delay_seconds: float
    kinds: list[ProfiledKind]
    #: Operators of the kind `unassigned`, the most time first.
    unknown_operators: list[str] = Field(default=[])
    #: Why there is no trace of these steps; null if there is one, see `GET /benchmarks/{id}/trace`.
    trace_missing: str | None = None


class TimeByKind(Output):
    """One kind of work of a leg, per step. The seconds of all kinds add up to the leg's median step."""

    kind: WorkKind
    seconds_per_step: float
    #: Operations, or on a GPU kernels.
    calls: float
    #: Lower bounds of the work and of the bytes read and written; null if unknown.
    least_flops: float | None
    least_bytes: float | None
    #: null if nothing known limits it.
    bound_by: BoundBy | None
    #: Least time that the device needs for this work / measured time. null if unknown.
    share_of_ceiling: float | None
    #: Up to three operators, the slowest first. They need not add up to the time of the kind.
    slowest_operators: list[OperatorTime] = Field(default=[])


class Bound(Output):
    """How fast the candidate could be at most relative to the baseline as measured."""

    #: If the candidate's matrix products and attention cost nothing (Amdahl 1967). null if nothing else was
    #: measured, or they were not apart from what the compiler fused.
    matmul_free: Estimate | None
    #: If every kind of the candidate's work ran at the device's ceiling; null without ceilings.
    all_at_ceiling: Estimate | None


class WaterfallStep(Output):
    """One kind of work in both legs, in seconds per step."""

    kind: WorkKind
    baseline_seconds: float
    candidate_seconds: float


class Advice(Output):
    """A change, why it is expected to help, by how much, and the request with it."""

    name: AdviceName
    text: str
    #: The measurements that it follows from.
    evidence: str
    #: Expected factor of the candidate's training throughput, whatever the change, such as another precision; the
    #: interval is the range that the evidence allows.
    estimated_gain: Estimate
    #: To post to `/benchmarks`; null for advice that changes nothing.
    request: Json | None
    #: The same factor as measured, if the request asked for it.
    measured_gain: Estimate | None = None
    #: Why it was not measured though it was asked for, or why it differs from the estimate.
    remark: str | None = None


class Explanation(Output):
    """Why a comparison has its speedup."""

    #: The cause in half a sentence, which follows the speedup.
    cause: str
    bound: Bound
    #: From the baseline's step to the candidate's, kind by kind.
    waterfall: list[WaterfallStep]
    #: The most promising change first.
    advice: list[Advice]
