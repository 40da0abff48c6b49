"""What to change, from a report's figures: one file for each rule, which gives advice only with evidence.

| file | what it does |
| --- | --- |
| `facts.py` | what a rule looks at |
| `split.py` | where the time of a step goes, and the gain from saving some of it |
| `requests.py` | the request with a change made |
| `measured.py` | measured gains beside the estimated ones |

A rule is a pure function of `Facts` that returns a piece of advice or None; `docs/method.md` has its formula. A new one
is a name in `AdviceName`, a file here, and an entry in `RULES`.
"""

from collections.abc import Callable

from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import LEAST_ADVISED_GAIN, Advice, Bound
from halftime.contract.report.report import Leg
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.worker import WorkerDevice
from worker.explain.advice.bf16_instead_of_fp16 import bf16_instead_of_fp16
from worker.explain.advice.channels_last import channels_last
from worker.explain.advice.compiling import compile_the_model
from worker.explain.advice.facts import Facts
from worker.explain.advice.fused_attention import fused_attention
from worker.explain.advice.fused_optimizer import fused_optimizer
from worker.explain.advice.larger_batch import larger_batch
from worker.explain.advice.more_loader_workers import more_loader_workers
from worker.explain.advice.no_activation_checkpointing import no_activation_checkpointing
from worker.explain.advice.padded_dimensions import padded_dimensions
from worker.explain.advice.stop_here import stop_here
from worker.explain.advice.tf32_first import tf32_first

#: Most pieces of advice on a candidate.
MOST_ADVICE = 5

RULES: tuple[Callable[[Facts], Advice | None], ...] = (
    larger_batch,
    compile_the_model,
    fused_optimizer,
    fused_attention,
    channels_last,
    padded_dimensions,
    tf32_first,
    bf16_instead_of_fp16,
    more_loader_workers,
    no_activation_checkpointing,
)

#: The same where processes that load data limit training: what saves time in a step gains nothing.
LOADER_RULES: tuple[Callable[[Facts], Advice | None], ...] = (more_loader_workers,)


def advise(
    request: BenchmarkRequest,
    baseline: Leg,
    candidate: Leg,
    speedup: Estimate | None,
    bound: Bound,
    device: WorkerDevice,
) -> list[Advice]:
    """Returns what to change about a candidate, the largest expected gain first; empty for one without a trial."""
    if not (candidate.trials or candidate.survey):
        return []
    facts = Facts(request, baseline, candidate, speedup, bound, device)
    rules = LOADER_RULES if facts.is_loader_bound else RULES
    found = [advice for rule in rules if (advice := rule(facts)) is not None and _is_worth_it(advice)]
    stop = stop_here(facts, is_alone=not found)
    ranked = sorted(found, key=lambda advice: -advice.estimated_gain.value)
    return [*ranked, *([stop] if stop else [])][:MOST_ADVICE]


def _is_worth_it(advice: Advice) -> bool:
    """Whether the changed request is valid, and its expected gain is not too small."""
    return advice.request is not None and advice.estimated_gain.value >= LEAST_ADVISED_GAIN
