"""A client of the API on httpx, typed with the contract's own models."""

import os
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import httpx

from app.contract.benchmark import TERMINAL, Benchmark, BenchmarkPage
from app.contract.problem import Problem
from app.contract.report import Report
from app.contract.worker import WorkerPage

DEFAULT_SERVER = "http://127.0.0.1:8000"


class ProblemError(Exception):
    """The server refused a request; `problem` says why."""

    def __init__(self, problem: Problem, faults: list[str]) -> None:
        super().__init__("\n".join([f"{problem.title}: {problem.detail}", *faults]))
        self.problem = problem


class Client:
    """Synchronous. Every method raises ProblemError for a refusal and httpx.TransportError for a lost connection.

    The key is that of HALFTIME_API_KEY, unless told otherwise. Raises ValueError for one that no header can carry.
    """

    def __init__(
        self, server: str = DEFAULT_SERVER, *, api_key: str | None = None, timeout_seconds: float = 30.0
    ) -> None:
        headers = _authorization(os.environ.get("HALFTIME_API_KEY") if api_key is None else api_key)
        self._http = httpx.Client(base_url=server, timeout=timeout_seconds, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def submit(self, request: dict[str, Any]) -> Benchmark:
        """Posts a benchmark; the server validates it."""
        return Benchmark.model_validate_json(self._send("POST", "/benchmarks", json=request).content)

    def get(self, benchmark_id: str) -> Benchmark:
        """Where a benchmark stands."""
        return Benchmark.model_validate_json(self._send("GET", f"/benchmarks/{benchmark_id}").content)

    def watch(self, benchmark_id: str, *, every_seconds: float | None = None) -> Iterator[Benchmark]:
        """The benchmark again and again until it is terminal; as often as the server asks, unless told otherwise."""
        while True:
            response = self._send("GET", f"/benchmarks/{benchmark_id}")
            benchmark = Benchmark.model_validate_json(response.content)
            yield benchmark
            if benchmark.status in TERMINAL:
                return
            time.sleep(every_seconds or float(response.headers.get("Retry-After", 2)))

    def page(self, params: dict[str, Any]) -> BenchmarkPage:
        """One page of benchmarks, newest first."""
        return BenchmarkPage.model_validate_json(self._send("GET", "/benchmarks", params=params).content)

    def cancel(self, benchmark_id: str) -> Benchmark:
        """Asks for the end of a benchmark."""
        return Benchmark.model_validate_json(self._send("POST", f"/benchmarks/{benchmark_id}/cancel").content)

    def report(self, benchmark_id: str) -> Report:
        """The report of a succeeded benchmark."""
        return Report.model_validate_json(self.report_text(benchmark_id, "json"))

    def report_text(self, benchmark_id: str, report_format: str) -> str:
        """The report as the server writes it: `json` or `md`."""
        return self._send("GET", f"/benchmarks/{benchmark_id}/report", params={"format": report_format}).text

    def logs(self, benchmark_id: str) -> str:
        """What the trials wrote to standard error."""
        return self._send("GET", f"/benchmarks/{benchmark_id}/logs").text

    def workers(self) -> WorkerPage:
        """Every worker ever seen."""
        return WorkerPage.model_validate_json(self._send("GET", "/workers").content)

    def ready(self) -> bool:
        """Whether the server answers and has its database."""
        try:
            return self._http.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def _send(
        self, method: str, path: str, *, params: dict[str, Any] | None = None, json: dict[str, Any] | None = None
    ) -> httpx.Response:
        response = self._http.request(method, path, params=params, json=json)
        if response.is_success:
            return response
        body = response.json() if "json" in response.headers.get("Content-Type", "") else {}
        unknown = {"type": "about:blank", "title": response.reason_phrase, "detail": response.text[:500]}
        problem = Problem.model_validate({**unknown, "status": response.status_code, "instance": path} | body)
        raise ProblemError(problem, [f"  {fault['loc']}: {fault['msg']}" for fault in body.get("errors", [])])


def _authorization(api_key: str | None) -> dict[str, str]:
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ValueError("The API key holds characters that no key has. Is HALFTIME_API_KEY set to what was printed?")
    return {"Authorization": f"Bearer {key}"} if key else {}
