"""torch.compile, where much of a step is small operations on intermediate results."""

from collections.abc import Callable

from halftime.contract.report.explanation import Advice, WorkKind
from halftime.contract.report.kinds import KIND_TITLES
from worker.explain.advice.facts import Facts
from worker.explain.advice.requests import changed
from worker.explain.advice.split import Split
from worker.explain.advice.words import milliseconds, percent
from worker.training.compilers import why_no_compiler

#: Kinds that the compiler fuses with their neighbours.
FUSIBLE: tuple[WorkKind, ...] = ("elementwise", "normalisation", "reductions", "casts_and_copies")

#: The same kinds, if they read a whole row before they write any of it: each may remain a pass of its own.
OF_WHOLE_ROWS: tuple[WorkKind, ...] = ("normalisation", "reductions")

#: Share of a step from which on such kinds are worth a try, if no limit is known that accounts for their time.
WORTH_A_TRY = 0.2

#: A linear layer or a convolution has one product in the forward pass, and two next to each other in the backward pass:
#: two gaps to fill with fused operations for three products.
GAPS_PER_PRODUCT = 2 / 3


def compile_the_model(facts: Facts) -> Advice | None:
    """Advises torch.compile where kinds that it fuses are bound by memory or launches, or else are much of the step.

    n operations between two matrix products, each of which reads and writes intermediate results, become one, which
    reads and writes once. So of C fusible operations, as many passes remain as there are gaps between matrix products
    and attention, G; a share G / C of their time remains, and of the host's time goes the share of operations that go.
    At least: norms and reductions remain passes too, and the host gains nothing. At most: all of it goes, into the
    products' kernels, and with it the softmax and loss, as far as the compiled model has them, and the host's time for
    them. The casts of weights, which products from libraries need, remain. Where no limit is known, fusing may also
    gain nothing.
    """
    if facts.training.compile is not None or why_no_compiler(facts.device.kind) is not None:
        return None
    split, (shares, is_limited) = facts.split, _fusible_shares(facts)
    seconds = sum(share * split.seconds(kind) for kind, share in shares.items())
    calls = sum(share * split.calls(kind) for kind, share in shares.items())
    if not seconds or not calls:
        return None
    gaps = GAPS_PER_PRODUCT * split.calls("matrix_products") + split.calls("attention")
    whole_rows = split.calls(*(kind for kind in OF_WHOLE_ROWS if kind in shares))
    removed, least_removed = max(0.0, 1 - gaps / calls), max(0.0, 1 - (gaps + whole_rows) / calls)
    loss: tuple[WorkKind, ...] = ("softmax_and_loss",) if _is_limited(facts, "softmax_and_loss") else ()
    saved = removed * (seconds + _of_the_host(split, calls))
    if is_limited:
        most = seconds + split.seconds(*loss) + _of_the_host(split, calls + split.calls(*loss))
        gain, limit = split.gains(least_removed * seconds, most, saved), "by memory or by how fast operations start"
    else:
        gain, limit = split.gains(0.0, saved), "by nothing that is known, so that the gain is uncertain"
    but_for = " (but for those of weights)" if shares.get("casts_and_copies", 1.0) < 1 else ""
    return Advice(
        name="compile",
        text=(
            "Compile the model (training.compile): fused operations read and write intermediate results once instead "
            "of once each. The first steps take longer."
        ),
        evidence=(
            f"{', '.join(KIND_TITLES[kind] for kind in shares)}{but_for} take {milliseconds(seconds)} "
            f"({percent(split.share_of(seconds))}) of a step, limited {limit}. "
            f"Of these {calls:.0f} operations about {gaps:.0f} would remain, between the matrix products."
        ),
        estimated_gain=gain,
        request=changed(facts.request, config__training__compile={"mode": "default"}),
    )


def _fusible_shares(facts: Facts) -> tuple[dict[WorkKind, float], bool]:
    """How much of each kind the compiler may fuse, and whether these are limited by what fusing saves.

    If those that are limited are little of the step, all that the compiler may fuse, if that is much of it.
    """
    limited, known = (_shares(facts, is_of_them) for is_of_them in (_is_limited, _is_known))
    share_of_limited, share_of_known = (
        facts.split.share_of(sum(share * facts.split.seconds(kind) for kind, share in shares.items()))
        for shares in (limited, known)
    )
    return (limited, True) if share_of_limited >= WORTH_A_TRY or share_of_known < WORTH_A_TRY else (known, False)


def _shares(facts: Facts, is_of_them: Callable[[Facts, WorkKind], bool]) -> dict[WorkKind, float]:
    """How much of each of these kinds the compiler may fuse: of casts, those that are not of weights."""
    of_weights = facts.share_of_weights("casts_and_copies")
    shares: dict[WorkKind, float] = {kind: 1.0 for kind in FUSIBLE if is_of_them(facts, kind)}
    if "casts_and_copies" in shares:
        shares["casts_and_copies"] = 0.0 if of_weights is None else 1.0 - of_weights
    return {kind: share for kind, share in shares.items() if share}


def _of_the_host(split: Split, calls: float) -> float:
    """The host's time for so many of a step's operations, all of which take it as long."""
    return split.seconds("host") * (calls / split.calls(*(kind for kind in split.kinds if kind != "host")))


def _is_known(facts: Facts, kind: WorkKind) -> bool:
    """Whether a kind's least time was derived, whatever limits it."""
    return facts.split.share_of_ceiling(kind) is not None


def _is_limited(facts: Facts, kind: WorkKind) -> bool:
    """Whether a kind was measured to be bound by memory or launches."""
    one = facts.split.kinds.get(kind)
    return one is not None and one.bound_by in {"memory", "launches"}
