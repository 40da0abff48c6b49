"""A flow through every operation, and what the service answers in it: the source of the document's answers."""

import json

import anyio

from app.background.webhooks import Sender
from app.store import claims, traces
from app.store.webhooks import Outcome
from halftime.contract.event_data import TrialFinished
from halftime.contract.report.explanation import OperatorTime, ProfiledKind
from tests.app.acts import CEILINGS, NATIVE_BF16, claim, made_report, post, register
from tests.app.routes.shortening import shortened
from tests.factories import profile, request

#: Never spoken to.
HOOK_HOST = "hooks.example.com"

SMALL = request(candidates=["bf16"]).model_dump(mode="json") | {"labels": {"team": "ranking"}}
HOOKED = SMALL | {"webhook": {"url": f"https://{HOOK_HOST}/halftime", "events": ["succeeded"]}}
OTHER = request(candidates=["bf16"], training={"batch_size": 16, "steps": 5, "warmup_steps": 2})
SWEEP = {"request": SMALL, "vary": {"batch_sizes": [8, 16]}}

#: What a step of every trial consists of.
KINDS = [
    ProfiledKind(
        kind="matrix_products",
        profiled_seconds=0.009,
        recorded_inside=2,
        calls=6,
        slowest_operators=[OperatorTime(name="aten::mm", seconds_per_step=0.006)],
    ),
    ProfiledKind(kind="host", profiled_seconds=0.003, recorded_inside=8, calls=0),
]


class Recording:
    """Answers by operation, and then by status and media type."""

    def __init__(self, client):
        self.client = client
        self.answers = {}

    async def __call__(self, operation, path=None, keep=lambda answer: answer, body=None, **headers):
        """Asks, and keeps what comes back, or a part of it."""
        method, template = operation.split()
        response = await self.client.request(method, path or template, json=body, headers=headers)
        media_type = response.headers["Content-Type"].split(";")[0]
        answer = response.json() if media_type.endswith("json") else response.text
        self.answers.setdefault(operation, {})[f"{response.status_code} {media_type}"] = shortened(keep(answer))
        return answer


async def record(client, monkeypatch):
    """The answers of the whole flow; nothing leaves the machine, and no trial runs."""
    ask, sent = Recording(client), []
    monkeypatch.setattr(Sender, "send", lambda self, url, delivery, body: _taken(sent, body))
    await register(client, precisions=NATIVE_BF16, ceilings=CEILINGS)
    first, second = await _submits(ask), await post(client, HOOKED)
    await _ends(client, first)
    await _ends(client, second)
    await _reads(ask, first, second)
    await _webhooks(ask, second["id"])
    ask.answers["POST benchmark"] = {"body application/json": shortened(json.loads(sent[0]))}
    await _changes(ask, first)
    await _sweeps(ask)
    await _service(ask)
    return ask.answers


async def _taken(sent, body):
    sent.append(body)
    return Outcome(204)


async def _submits(ask):
    await ask("POST /benchmarks", "/benchmarks?validate_only=true", body=SMALL)
    await ask("POST /benchmarks", body={"model": {"kind": "mlp", "hidden_size": 0}})
    return await ask("POST /benchmarks", body=SMALL)


async def _ends(client, benchmark, asked=None):
    held = await claim(client, benchmark)
    of_trials = {"parameter_count": 212, "profile": profile(kinds=KINDS)}
    report = await made_report(benchmark["id"], asked or request(candidates=["bf16"]), **of_trials)
    took = {"overhead_seconds": 12.5, "proof_seconds": 2.5, "total_seconds": 13.0}
    async with client.app.state.database.sessions.begin() as session:
        told = {"leg": "fp32", "block": 0, "phase": "measure", "median_step_seconds": 0.02, "validation_loss": 1.0}
        await claims.record(session, held, TrialFinished(**told), "[block 0, fp32] UserWarning: an example\n")
        await traces.keep(session, held, "bf16", b"trace")
        timed = report.model_copy(update=took)
        await claims.succeed(session, held, timed, claims.pack(timed))


async def _reads(ask, first, second):
    one, path = f"/benchmarks/{first['id']}", "/benchmarks/{benchmark_id}"
    await ask("GET /benchmarks", "/benchmarks?limit=1")
    await ask("GET /benchmarks", "/benchmarks?cursor=none")
    await ask(f"GET {path}", one)
    await ask(f"GET {path}", "/benchmarks/019f0000-0000-7000-8000-000000000000")
    for media_type in ("application/json", "text/event-stream"):
        await ask(f"GET {path}/events", f"{one}/events", Accept=media_type)
    await ask(f"GET {path}/logs", f"{one}/logs")
    await ask(f"GET {path}/trace", f"{one}/trace?leg=bf16", keep=lambda trace: "bytes of a .json.gz")
    for media_type in ("application/json", "text/markdown", "text/csv", "image/png"):
        await ask(f"GET {path}/report", f"{one}/report", Accept=media_type)
    await ask(f"GET {path}/report", f"{one}/report", Accept="text/html", keep=lambda page: page.split("<style>")[0])
    await ask("GET /compare", f"/compare?baseline={first['id']}&contender={second['id']}")
    third = await post(ask.client, OTHER.model_dump(mode="json"))
    await ask(f"GET {path}/report", f"/benchmarks/{third['id']}/report")
    await _ends(ask.client, third, OTHER)
    await ask("GET /compare", f"/compare?baseline={first['id']}&contender={third['id']}")


async def _webhooks(ask, benchmark_id):
    listed = "GET /benchmarks/{benchmark_id}/webhook-deliveries"
    deliveries = f"/benchmarks/{benchmark_id}/webhook-deliveries"
    with anyio.fail_after(30):
        while (await ask(listed, deliveries))["items"][0]["state"] != "delivered":
            await anyio.sleep(0.02)
    (delivery,) = (await ask(listed, deliveries))["items"]
    replayed = "POST /benchmarks/{benchmark_id}/webhook-deliveries/{delivery_id}/replay"
    await ask(replayed, f"{deliveries}/{delivery['id']}/replay")


async def _changes(ask, ended):
    path = "POST /benchmarks/{benchmark_id}"
    again = await ask(f"{path}/rerun", f"/benchmarks/{ended['id']}/rerun")
    await ask("DELETE /benchmarks/{benchmark_id}", f"/benchmarks/{again['id']}")
    await claim(ask.client, again)
    waiting = await post(ask.client, SMALL)
    for one in (again, waiting, ended):
        await ask(f"{path}/cancel", f"/benchmarks/{one['id']}/cancel")


async def _sweeps(ask):
    sweep = await ask("POST /sweeps", body=SWEEP)
    await ask("POST /sweeps", body=SWEEP | {"vary": {}})
    await _ends(ask.client, {"id": sweep["rows"][0]["benchmark_id"]})
    for media_type in ("application/json", "text/csv", "text/markdown"):
        await ask("GET /sweeps/{sweep_id}", f"/sweeps/{sweep['id']}", Accept=media_type)


async def _service(ask):
    for path in ("/workers", "/livez", "/readyz", "/version"):
        await ask(f"GET {path}")
    for change in ("drain", "undrain"):
        await ask(f"POST /workers/{{worker_id}}/{change}", f"/workers/node:cpu/{change}")
    await ask("GET /models", keep=lambda found: {kinds: found[kinds][:1] for kinds in found})
    await ask("GET /metrics", keep=lambda text: "".join(_lines_of(text, "halftime_workers ", "halftime_workers{")))


def _lines_of(text, *families):
    return [line for line in text.splitlines(keepends=True) if any(name in line for name in families)]
