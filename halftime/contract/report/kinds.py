"""The kinds of work in words, and the share of a step that each takes."""

from collections.abc import Sequence

from halftime.contract.report.explanation import TimeByKind, WorkKind
from halftime.contract.strict import Output

#: Short enough for a table on a phone.
KIND_TITLES: dict[WorkKind, str] = {
    "matrix_products": "matrix products",
    "attention": "attention",
    "normalisation": "normalisation",
    "softmax_and_loss": "softmax and loss",
    "elementwise": "elementwise",
    "reductions": "reductions",
    "embedding_and_indexing": "embedding, indexing",
    "casts_and_copies": "casts and copies",
    "fused": "fused by the compiler",
    "optimizer": "optimizer",
    "gradient_scaling_and_clipping": "clipping, scaling",
    "data": "data loading",
    "host": "host",
    "unassigned": "unassigned",
}

#: Kinds that multiply matrices, whether their arithmetic was counted or not.
MULTIPLYING: frozenset[WorkKind] = frozenset({"matrix_products", "attention"})

#: Kinds that a compact split names.
LARGEST = 3


class KindShare(Output):
    """One kind of work and the share of a step that it takes."""

    kind: WorkKind
    share_of_step: float


def shares_of_step(times: Sequence[TimeByKind]) -> list[KindShare]:
    """Returns the share of every kind in a leg's step, the largest first; empty without any time."""
    step_seconds = sum(time.seconds_per_step for time in times)
    if not step_seconds:
        return []
    largest_first = sorted(times, key=lambda time: -time.seconds_per_step)
    return [KindShare(kind=time.kind, share_of_step=time.seconds_per_step / step_seconds) for time in largest_first]
