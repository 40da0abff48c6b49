"""Clients that submit, lose responses, retry, and remember the first version of every report."""

import hashlib
import itertools
import random
import threading
import time
from collections import Counter
from typing import Any

import httpx

from halftime.contract.resources.benchmark import TERMINAL

#: Timeout short enough to lose the response to a request that arrived.
LOST_SECONDS = 0.003

#: Share of the submits whose first response is lost.
LOST_SHARE = 0.3

#: Benchmarks that have not ended: enough that no worker idles, few enough that all faults hit some that run.
AT_ONCE = 5

PAUSE_SECONDS = 0.1


def request(rng: random.Random) -> dict[str, Any]:
    """A benchmark of an MLP: most take a second, some several, a few have data loader processes."""
    steps = rng.choice([4, 4, 50, 200])
    loader = {"workers": 1} if rng.random() < 0.2 else None
    return {
        "model": {"kind": "mlp", "input_size": 16, "hidden_size": 32, "num_layers": 1},
        "config": {
            "device": "cpu",
            "training": {"batch_size": 16, "steps": steps, "warmup_steps": 1},
            "measurement": {"min_blocks": 2, "max_blocks": 2},
            "data": {"kind": "synthetic", "loader": loader},
        },
    }


class Clients:
    """One client that submits and one that watches, each in a thread. Both retry until `stop`."""

    def __init__(self, http: httpx.Client, at_least: int, seed: int) -> None:
        self._http, self._at_least, self._seed = http, at_least, seed
        self._rng = random.Random(seed)  # noqa: S311 # to be repeated
        #: Ids by Idempotency-Key, of all that were accepted with 202.
        self.accepted: dict[str, str] = {}
        self.statuses: dict[str, str] = {}
        #: Entity tag and digest of each report as first read, by benchmark id.
        self.reports: dict[str, tuple[str, str]] = {}
        self.counts: Counter[str] = Counter()
        self.failure: Exception | None = None
        #: Minimum number of submits.
        self.enough = threading.Event()
        self._all_submitted, self._stopping = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._guarded, args=(what,)) for what in (self._submit, self._watch)]

    def start(self) -> None:
        """Start both threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop both threads."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def done(self) -> bool:
        """Whether everything was accepted and is terminal. Raises the error of a thread that failed."""
        if self.failure:
            raise self.failure
        return self._all_submitted.is_set() and len(self.statuses) == len(self.accepted)

    def report(self, benchmark_id: str) -> tuple[str, str] | None:
        """Entity tag and digest of a report at this moment; None if there is no response."""
        response = self._request("GET", f"/benchmarks/{benchmark_id}/report")
        return (response.headers["ETag"], hashlib.sha256(response.content).hexdigest()) if response else None

    def _guarded(self, work: Any) -> None:
        try:
            work()
        except Exception as error:
            self.failure = error

    def _submit(self) -> None:
        for number in itertools.count():
            if self._stopping.is_set() or (number >= self._at_least and self.enough.is_set()):
                break
            self._submit_one(request(self._rng), {"Idempotency-Key": f"{self._seed}-{number}"})
            while len(self.accepted) - len(self.statuses) >= AT_ONCE and not self._stopping.is_set():
                time.sleep(PAUSE_SECONDS)
        self._all_submitted.set()

    def _submit_one(self, body: dict[str, Any], headers: dict[str, str]) -> None:
        if self._rng.random() < LOST_SHARE:
            self._lose_response(body, headers)
        while not self._stopping.is_set():
            response = self._request("POST", "/benchmarks", json=body, headers=headers)
            if response:
                self.accepted[headers["Idempotency-Key"]] = response.json()["id"]
                return

    def _lose_response(self, body: dict[str, Any], headers: dict[str, str]) -> None:
        try:
            self._http.post("/benchmarks", json=body, headers=headers, timeout=httpx.Timeout(5, read=LOST_SECONDS))
        except httpx.TransportError:
            self.counts["answers lost on purpose"] += 1

    def _watch(self) -> None:
        while not self._stopping.is_set():
            for benchmark_id in list(self.accepted.values()):
                if benchmark_id not in self.statuses:
                    self._check_end(benchmark_id)
            time.sleep(PAUSE_SECONDS)

    def _check_end(self, benchmark_id: str) -> None:
        response = self._request("GET", f"/benchmarks/{benchmark_id}")
        if not response or (status := response.json()["status"]) not in TERMINAL:
            return
        if status == "succeeded":
            report = self.report(benchmark_id)
            if report is None:
                return
            self.reports[benchmark_id] = report
        self.statuses[benchmark_id] = status

    def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response | None:
        """The response; None, after a pause, if there was none or a server error."""
        try:
            response = self._http.request(method, path, **arguments)
        except httpx.TransportError:
            self.counts["requests without an answer"] += 1
        else:
            if response.is_success:
                return response
            if response.status_code != 503:
                response.raise_for_status()
            self.counts["answers 503"] += 1
        time.sleep(PAUSE_SECONDS)
        return None
