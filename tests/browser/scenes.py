"""Benchmarks that ended in every way, of trials that were never run."""

from app.store import claims
from halftime.contract.request.request import BenchmarkRequest
from tests.app.acts import claim, post
from tests.app.reports.reported import mislabelled, reported_for, simulated
from tests.app.web.browsing import failed

LABELS = {"team": "ranking", "note": "<script>alert(1)</script> \u202eright to left"}


def unsteady(spec):
    """A candidate that is now far above what is required, now far below."""
    made = simulated(spec)
    factor = 1.4 if spec.precision != "fp32" and spec.block % 2 else 1
    return made.model_copy(update={"step_seconds": [factor * seconds for seconds in made.step_seconds]})


async def reported_on(client, simulate=simulated, **requirements):
    """A benchmark with a report of such trials; BF16 and FP16 against FP32."""
    config = {"device": "cpu", "candidates": ["bf16", "fp16"], "measurement": {"min_blocks": 4, "max_blocks": 4}}
    body = {"model": {"kind": "mlp"}, "config": config, "requirements": requirements, "labels": LABELS}
    benchmark = await post(client, body)
    held = await claim(client, benchmark)
    report = await reported_for(BenchmarkRequest.model_validate(benchmark["request"]), simulate)
    async with client.app.state.database.sessions.begin() as session:
        named = report.model_copy(update={"benchmark_id": benchmark["id"]})
        await claims.succeed(session, held, named, claims.pack(named))
    return benchmark


#: What each makes, by the word on its badge.
SCENES = {
    "pass": lambda client: reported_on(client, min_memory_reduction_percent=30),
    "fail": reported_on,
    "inconclusive": lambda client: reported_on(client, unsteady, min_memory_reduction_percent=30),
    "invalid": lambda client: reported_on(client, mislabelled),
    "failed": failed,
}
