"""Every call of one request, described once for both clients: its docstring is that of their method."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from halftime.client.notebook import ChartedReport
from halftime.client.request import ApiCall, retry_after_seconds
from halftime.contract.events import EventPage
from halftime.contract.precisions import DeviceChoice
from halftime.contract.report.report_comparison import ReportComparison
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.benchmark import Benchmark, BenchmarkPage, Status
from halftime.contract.resources.catalogue import Catalogue, Version
from halftime.contract.resources.cost import Preview
from halftime.contract.resources.delivery import WebhookDelivery, WebhookDeliveryPage
from halftime.contract.resources.sweep import Sweep, SweepRequest
from halftime.contract.resources.worker import Worker, WorkerPage

Model = TypeVar("Model", bound=BaseModel)


class BenchmarkFilters(TypedDict, total=False):
    """Which benchmarks; what is left out does not matter."""

    #: Any of these.
    status: Sequence[Status]
    #: All of these.
    labels: Mapping[str, str]
    model_kind: str
    device: DeviceChoice
    created_after: datetime
    created_before: datetime


@dataclass(frozen=True)
class PollResult:
    """A benchmark as it was seen; null where it had not changed."""

    benchmark: Benchmark | None
    etag: str | None
    #: What the server asks a client to leave between two looks.
    retry_after_seconds: float


def submit(
    request: BenchmarkRequest | Mapping[str, Any],
    *,
    idempotency_key: str | None = None,
    wait_seconds: int | None = None,
) -> ApiCall[Benchmark]:
    """Submits a benchmark, once, however often the connection breaks: the key is made up where none is given.

    `wait_seconds` (at most 30) holds the answer until the benchmark has ended.
    """
    headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
    if wait_seconds:
        headers["Prefer"] = f"wait={wait_seconds}"
    body = _body(request)
    return ApiCall(
        "POST", "/benchmarks", _model(Benchmark), headers=headers, body=body, hold_seconds=float(wait_seconds or 0)
    )


def preview(request: BenchmarkRequest | Mapping[str, Any]) -> ApiCall[Preview]:
    """Says what a request would run and cost, roughly; submits nothing."""
    return ApiCall("POST", "/benchmarks", _model(Preview), params={"validate_only": "true"}, body=_body(request))


def get(benchmark_id: str) -> ApiCall[Benchmark]:
    """Says where a benchmark stands."""
    return ApiCall("GET", _benchmark(benchmark_id), _model(Benchmark))


def look(benchmark_id: str, etag: str | None, hold_seconds: float, within_seconds: float | None) -> ApiCall[PollResult]:
    """Asks for a benchmark that was seen before, and for the answer to be held until it has ended."""
    headers = {"If-None-Match": etag} if etag else {}
    params = {"wait": round(hold_seconds, 3)} if hold_seconds else {}
    return ApiCall(
        "GET",
        _benchmark(benchmark_id),
        _look,
        params=params,
        headers=headers,
        accepts=frozenset({304}),
        hold_seconds=hold_seconds,
        within_seconds=within_seconds,
    )


def list_page(
    *, cursor: str | None = None, limit: int = 50, **filters: Unpack[BenchmarkFilters]
) -> ApiCall[BenchmarkPage]:
    """Lists one page of benchmarks, newest first; `next_cursor` of a page is the `cursor` of the next."""
    params: dict[str, str | int | list[str]] = {"limit": limit}
    if cursor:
        params["cursor"] = cursor
    return ApiCall("GET", "/benchmarks", _model(BenchmarkPage), params=params | _filtered(filters))


def cancel(benchmark_id: str) -> ApiCall[Benchmark]:
    """Cancels a benchmark; repeating it is harmless. A ProblemError says that it has ended already."""
    return ApiCall("POST", _benchmark(benchmark_id, "cancel"), _model(Benchmark))


def cancel_unless_ended(benchmark_id: str) -> ApiCall[bool]:
    """Cancels a benchmark; false where it has ended already."""
    return ApiCall(
        "POST", _benchmark(benchmark_id, "cancel"), lambda response: response.is_success, accepts=frozenset({409})
    )


def rerun(benchmark_id: str) -> ApiCall[Benchmark]:
    """Submits the same request again, as a new benchmark. Not retried once it may have been done."""
    return ApiCall("POST", _benchmark(benchmark_id, "rerun"), _model(Benchmark), repeatable=False)


def delete(benchmark_id: str) -> ApiCall[None]:
    """Deletes a benchmark that has ended, with all that belongs to it. Not retried once it may have been done."""
    return ApiCall("DELETE", _benchmark(benchmark_id), lambda response: None, repeatable=False)


def report(benchmark_id: str) -> ApiCall[ChartedReport]:
    """Gives the report of a succeeded benchmark; its `charts` draws it in a notebook."""
    return ApiCall("GET", _benchmark(benchmark_id, "report"), _model(ChartedReport), params={"format": "json"})


def report_text(benchmark_id: str, report_format: str) -> ApiCall[str]:
    """Gives the report as the server writes it: `json`, `html`, `md`, `csv`."""
    return ApiCall("GET", _benchmark(benchmark_id, "report"), _text, params={"format": report_format})


def logs(benchmark_id: str) -> ApiCall[str]:
    """Gives what the trials wrote to standard error."""
    return ApiCall("GET", _benchmark(benchmark_id, "logs"), _text)


def deliveries(benchmark_id: str) -> ApiCall[WebhookDeliveryPage]:
    """Lists what was or will be sent to the benchmark's webhook."""
    return ApiCall("GET", _benchmark(benchmark_id, "webhook-deliveries"), _model(WebhookDeliveryPage))


def replay(benchmark_id: str, delivery_id: str) -> ApiCall[WebhookDelivery]:
    """Sends a message again that was delivered or given up."""
    path = _benchmark(benchmark_id, "webhook-deliveries", quote(delivery_id, safe=""), "replay")
    return ApiCall("POST", path, _model(WebhookDelivery))


def event_page(benchmark_id: str, *, after: int = 0, limit: int = 200) -> ApiCall[EventPage]:
    """Lists what happened to a benchmark until now, after a sequence number."""
    return ApiCall(
        "GET", _benchmark(benchmark_id, "events"), _model(EventPage), params={"after": after, "limit": limit}
    )


def compare(baseline_id: str, contender_id: str) -> ApiCall[ReportComparison]:
    """Compares two reports of the same work. A ProblemError has the reasons where it is not the same."""
    params = {"baseline": baseline_id, "contender": contender_id}
    return ApiCall("GET", "/compare", _model(ReportComparison), params=params)


def submit_sweep(request: SweepRequest | Mapping[str, Any], *, idempotency_key: str | None = None) -> ApiCall[Sweep]:
    """Submits a benchmark of every combination, once, as `submit` does: the key is made up where none is given."""
    headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
    return ApiCall("POST", "/sweeps", _model(Sweep), headers=headers, body=_body(request))


def sweep(sweep_id: str) -> ApiCall[Sweep]:
    """Says where a sweep stands, with its table."""
    return ApiCall("GET", f"/sweeps/{quote(sweep_id, safe='')}", _model(Sweep), params={"format": "json"})


def sweep_text(sweep_id: str, sweep_format: str) -> ApiCall[str]:
    """Gives the table of a sweep as the server writes it: `csv`, `json`, `md`."""
    return ApiCall("GET", f"/sweeps/{quote(sweep_id, safe='')}", _text, params={"format": sweep_format})


def workers() -> ApiCall[WorkerPage]:
    """Lists the workers of the last days, live ones first."""
    return ApiCall("GET", "/workers", _model(WorkerPage))


def drain(worker_id: str) -> ApiCall[Worker]:
    """Lets a worker finish what it runs and take no more, until it is undrained."""
    return ApiCall("POST", f"/workers/{quote(worker_id, safe='')}/drain", _model(Worker))


def undrain(worker_id: str) -> ApiCall[Worker]:
    """Lets a worker take benchmarks again."""
    return ApiCall("POST", f"/workers/{quote(worker_id, safe='')}/undrain", _model(Worker))


def models() -> ApiCall[Catalogue]:
    """Lists the kinds of model and data on offer, each with its schema, defaults and an example."""
    return ApiCall("GET", "/models", _model(Catalogue))


def version() -> ApiCall[Version]:
    """Says what the server runs."""
    return ApiCall("GET", "/version", _model(Version))


def _benchmark(benchmark_id: str, *below: str) -> str:
    return "/".join(["/benchmarks", quote(benchmark_id, safe=""), *below])


def _body(request: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    return request.model_dump(mode="json") if isinstance(request, BaseModel) else dict(request)


def _filtered(filters: BenchmarkFilters) -> dict[str, str | int | list[str]]:
    unknown = filters.keys() - BenchmarkFilters.__annotations__.keys()
    if unknown:  # left out, it would widen what is found
        raise TypeError(
            f"There is no filter {', '.join(sorted(unknown))}; use {', '.join(BenchmarkFilters.__annotations__)}."
        )
    params: dict[str, str | int | list[str]] = {
        "status": list(filters.get("status", [])),
        "label": [f"{name}:{value}" for name, value in filters.get("labels", {}).items()],
        "model_kind": filters.get("model_kind", ""),
        "device": filters.get("device", ""),
    }
    params |= {name: filters[name].isoformat() for name in ("created_after", "created_before") if name in filters}
    return {name: value for name, value in params.items() if value}


def _model(kind: type[Model]) -> Callable[[httpx.Response], Model]:
    # A server of a later release may say more, within the request that it gives back too.
    return lambda response: kind.model_validate_json(response.content, extra="ignore")


def _text(response: httpx.Response) -> str:
    return response.text


def _look(response: httpx.Response) -> PollResult:
    found = None if response.status_code == 304 else Benchmark.model_validate_json(response.content)
    return PollResult(found, response.headers.get("ETag"), retry_after_seconds(response) or 0.0)
