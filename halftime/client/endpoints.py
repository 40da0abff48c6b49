"""The methods that send one request, defined once for both clients, which take over their docstrings."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, TypeVar, Unpack
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from halftime.client.notebook import ChartedReport
from halftime.client.request import ApiRequest, retry_after_seconds
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
    """Filters for benchmarks; omitted ones do not restrict the list."""

    #: Any of these must match.
    status: Sequence[Status]
    #: All of these must match.
    labels: Mapping[str, str]
    model_kind: str
    device: DeviceChoice
    created_after: datetime
    created_before: datetime


@dataclass(frozen=True)
class PollResult:
    """The result of a poll: the benchmark, or None if it has not changed since the given ETag."""

    benchmark: Benchmark | None
    etag: str | None
    #: Pause before the next poll that the server asks for.
    retry_after_seconds: float


def submit(
    request: BenchmarkRequest | Mapping[str, Any],
    *,
    idempotency_key: str | None = None,
    wait_seconds: int | None = None,
) -> ApiRequest[Benchmark]:
    """Submits a benchmark exactly once, even if the connection breaks: a random idempotency key is used by default.

    With `wait_seconds` (at most 30), the server holds its response until the benchmark has ended.
    """
    headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
    if wait_seconds:
        headers["Prefer"] = f"wait={wait_seconds}"
    body = _body(request)
    return ApiRequest(
        "POST", "/benchmarks", _model(Benchmark), headers=headers, body=body, hold_seconds=float(wait_seconds or 0)
    )


def preview(request: BenchmarkRequest | Mapping[str, Any]) -> ApiRequest[Preview]:
    """Returns what a request would run and its estimated cost, without submitting it."""
    return ApiRequest("POST", "/benchmarks", _model(Preview), params={"validate_only": "true"}, body=_body(request))


def get(benchmark_id: str) -> ApiRequest[Benchmark]:
    """Returns the state of a benchmark."""
    return ApiRequest("GET", _benchmark(benchmark_id), _model(Benchmark))


def poll(
    benchmark_id: str, etag: str | None, hold_seconds: float, within_seconds: float | None
) -> ApiRequest[PollResult]:
    """Requests a benchmark if it has changed since `etag`; the server may hold its response until it has ended."""
    headers = {"If-None-Match": etag} if etag else {}
    params = {"wait": round(hold_seconds, 3)} if hold_seconds else {}
    return ApiRequest(
        "GET",
        _benchmark(benchmark_id),
        _poll_result,
        params=params,
        headers=headers,
        accepts=frozenset({304}),
        hold_seconds=hold_seconds,
        within_seconds=within_seconds,
    )


def list_page(
    *, cursor: str | None = None, limit: int = 50, **filters: Unpack[BenchmarkFilters]
) -> ApiRequest[BenchmarkPage]:
    """Returns one page of benchmarks, newest first; pass its `next_cursor` as `cursor` for the next page."""
    params: dict[str, str | int | list[str]] = {"limit": limit}
    if cursor:
        params["cursor"] = cursor
    return ApiRequest("GET", "/benchmarks", _model(BenchmarkPage), params=params | _filtered(filters))


def cancel(benchmark_id: str) -> ApiRequest[Benchmark]:
    """Cancels a benchmark; can be repeated safely. Raises ProblemError if it has ended already."""
    return ApiRequest("POST", _benchmark(benchmark_id, "cancel"), _model(Benchmark))


def cancel_unless_ended(benchmark_id: str) -> ApiRequest[bool]:
    """Cancels a benchmark; returns False if it has ended already."""
    return ApiRequest(
        "POST", _benchmark(benchmark_id, "cancel"), lambda response: response.is_success, accepts=frozenset({409})
    )


def rerun(benchmark_id: str) -> ApiRequest[Benchmark]:
    """Submits the same request again as a new benchmark. Not retried if the server may have processed it."""
    return ApiRequest("POST", _benchmark(benchmark_id, "rerun"), _model(Benchmark), repeatable=False)


def delete(benchmark_id: str) -> ApiRequest[None]:
    """Deletes a finished benchmark with all its data. Not retried if the server may have processed it."""
    return ApiRequest("DELETE", _benchmark(benchmark_id), lambda response: None, repeatable=False)


def report(benchmark_id: str) -> ApiRequest[ChartedReport]:
    """Returns the report of a succeeded benchmark; its `charts` draw it in a notebook."""
    return ApiRequest("GET", _benchmark(benchmark_id, "report"), _model(ChartedReport), params={"format": "json"})


def report_text(benchmark_id: str, report_format: str) -> ApiRequest[str]:
    """Returns the report as text in one of the server's formats: `json`, `html`, `md`, `csv`."""
    return ApiRequest("GET", _benchmark(benchmark_id, "report"), _text, params={"format": report_format})


def trace(benchmark_id: str, leg: str) -> ApiRequest[bytes]:
    """Returns the trace of a leg's profiled steps as gzip-compressed JSON, for https://ui.perfetto.dev.

    Raises ProblemError, with the reason, if the leg has none.
    """
    return ApiRequest("GET", _benchmark(benchmark_id, "trace"), _content, params={"leg": leg})


def logs(benchmark_id: str) -> ApiRequest[str]:
    """Returns the standard error of the trials."""
    return ApiRequest("GET", _benchmark(benchmark_id, "logs"), _text)


def deliveries(benchmark_id: str) -> ApiRequest[WebhookDeliveryPage]:
    """Returns the deliveries to the benchmark's webhook, past and pending."""
    return ApiRequest("GET", _benchmark(benchmark_id, "webhook-deliveries"), _model(WebhookDeliveryPage))


def replay(benchmark_id: str, delivery_id: str) -> ApiRequest[WebhookDelivery]:
    """Sends a webhook message again that was delivered or given up."""
    path = _benchmark(benchmark_id, "webhook-deliveries", quote(delivery_id, safe=""), "replay")
    return ApiRequest("POST", path, _model(WebhookDelivery))


def event_page(benchmark_id: str, *, after: int = 0, limit: int = 200) -> ApiRequest[EventPage]:
    """Returns one page of a benchmark's past events with sequence numbers above `after`."""
    return ApiRequest(
        "GET", _benchmark(benchmark_id, "events"), _model(EventPage), params={"after": after, "limit": limit}
    )


def compare(baseline_id: str, contender_id: str) -> ApiRequest[ReportComparison]:
    """Compares two reports of the same work. Raises ProblemError, with the reasons, if the work differs."""
    params = {"baseline": baseline_id, "contender": contender_id}
    return ApiRequest("GET", "/compare", _model(ReportComparison), params=params)


def submit_sweep(request: SweepRequest | Mapping[str, Any], *, idempotency_key: str | None = None) -> ApiRequest[Sweep]:
    """Submits a benchmark for every combination, exactly once like `submit`."""
    headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
    return ApiRequest("POST", "/sweeps", _model(Sweep), headers=headers, body=_body(request))


def sweep(sweep_id: str) -> ApiRequest[Sweep]:
    """Returns the state of a sweep with its table."""
    return ApiRequest("GET", f"/sweeps/{quote(sweep_id, safe='')}", _model(Sweep), params={"format": "json"})


def sweep_text(sweep_id: str, sweep_format: str) -> ApiRequest[str]:
    """Returns the table of a sweep as text in one of the server's formats: `csv`, `json`, `md`."""
    return ApiRequest("GET", f"/sweeps/{quote(sweep_id, safe='')}", _text, params={"format": sweep_format})


def workers() -> ApiRequest[WorkerPage]:
    """Returns the workers of the last seven days, live ones first."""
    return ApiRequest("GET", "/workers", _model(WorkerPage))


def drain(worker_id: str) -> ApiRequest[Worker]:
    """Drains a worker: it finishes its benchmark and takes no more until `undrain`."""
    return ApiRequest("POST", f"/workers/{quote(worker_id, safe='')}/drain", _model(Worker))


def undrain(worker_id: str) -> ApiRequest[Worker]:
    """Ends the draining of a worker: it takes benchmarks again."""
    return ApiRequest("POST", f"/workers/{quote(worker_id, safe='')}/undrain", _model(Worker))


def models() -> ApiRequest[Catalogue]:
    """Returns the supported kinds of model and data, each with its schema, defaults and an example."""
    return ApiRequest("GET", "/models", _model(Catalogue))


def version() -> ApiRequest[Version]:
    """Returns the versions of Halftime and Python on the server."""
    return ApiRequest("GET", "/version", _model(Version))


def _benchmark(benchmark_id: str, *below: str) -> str:
    return "/".join(["/benchmarks", quote(benchmark_id, safe=""), *below])


def _body(request: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    return request.model_dump(mode="json") if isinstance(request, BaseModel) else dict(request)


def _filtered(filters: BenchmarkFilters) -> dict[str, str | int | list[str]]:
    unknown = filters.keys() - BenchmarkFilters.__annotations__.keys()
    if unknown:  # ignoring it would widen the result
        raise TypeError(
            f"Unknown filter {', '.join(sorted(unknown))}; use {', '.join(BenchmarkFilters.__annotations__)}."
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
    # A server of a later release may add fields, also within the request that it returns.
    return lambda response: kind.model_validate_json(response.content, extra="ignore")


def _text(response: httpx.Response) -> str:
    return response.text


def _content(response: httpx.Response) -> bytes:
    return response.content


def _poll_result(response: httpx.Response) -> PollResult:
    benchmark = None if response.status_code == 304 else Benchmark.model_validate_json(response.content)
    return PollResult(benchmark, response.headers.get("ETag"), retry_after_seconds(response) or 0.0)
