"""Sweeps: one request varied along lists; every combination is an ordinary benchmark, and all share a table."""

import itertools
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Self

from pydantic import Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from halftime.contract.models import ModelSpec
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.failure import Failure
from halftime.contract.report.kinds import KindShare
from halftime.contract.report.report import Verdict
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.benchmark import Status
from halftime.contract.strict import ACCEPTED, Input, Output

#: Largest number of benchmarks in a sweep.
MAX_BENCHMARKS = 100


class Variations(Input):
    """The lists of values to combine. A field that is null keeps the request's value."""

    models: list[ModelSpec] | None = Field(default=None, min_length=1, max_length=MAX_BENCHMARKS)
    batch_sizes: list[int] | None = Field(default=None, min_length=1, max_length=MAX_BENCHMARKS)
    candidates: list[list[PrecisionName]] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_BENCHMARKS,
        description="lists of candidates, one list per benchmark",
    )

    def count(self) -> int:
        """Returns the number of benchmarks that the lists make."""
        return len(self.models or [0]) * len(self.batch_sizes or [0]) * len(self.candidates or [0])


class SweepRequest(Input):
    """A request and the lists to vary it along: every combination becomes a benchmark."""

    request: BenchmarkRequest
    vary: Variations

    @model_validator(mode="after")
    def _is_a_bounded_sweep(self, info: ValidationInfo) -> Self:
        if info.context is ACCEPTED:
            return self
        if all(values is None for values in (self.vary.models, self.vary.batch_sizes, self.vary.candidates)):
            raise PydanticCustomError("nothing_varied", "vary needs one of models, batch_sizes, candidates")
        if self.vary.count() > MAX_BENCHMARKS:
            raise PydanticCustomError(
                "sweep_too_large",
                "the lists make {count} benchmarks; a sweep may have at most {limit}",
                {"count": self.vary.count(), "limit": MAX_BENCHMARKS},
            )
        if len({benchmark.model_dump_json() for benchmark in self.benchmarks()}) < self.vary.count():
            raise PydanticCustomError("sweep_repeats", "two combinations of the lists are the same benchmark")
        return self

    def benchmarks(self) -> Iterator[BenchmarkRequest]:
        """Yields every combination; batch sizes vary fastest. Raises PydanticCustomError for an invalid combination."""
        models = self.vary.models or [self.request.model]
        candidates: list[list[PrecisionName] | None] = [self.request.config.candidates]
        if self.vary.candidates is not None:
            candidates = [*self.vary.candidates]
        sizes = self.vary.batch_sizes or [self.request.config.training.batch_size]
        for number, (model, legs, size) in enumerate(itertools.product(models, candidates, sizes)):
            body = self.request.model_dump(mode="json")
            body["model"] = model.model_dump()
            body["config"]["candidates"] = legs
            body["config"]["training"]["batch_size"] = size
            try:
                yield BenchmarkRequest.model_validate(body)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                raise PydanticCustomError(
                    "combination_invalid",
                    "combination {number} ({kind}, batch size {size}): {fault}",
                    {"number": number, "kind": model.kind, "size": size, "fault": first["msg"]},
                ) from error


def stored_sweep(body: dict[str, Any]) -> SweepRequest:
    """Reads a stored sweep without validating its combinations again, which may take a second."""
    return SweepRequest.model_validate(body, extra="ignore", context=ACCEPTED)


class SweepRow(Output):
    """One candidate of one benchmark. Figures that were not measured are null."""

    benchmark_id: str
    status: Status
    model: str
    parameter_count: int | None
    batch_size: int
    baseline: PrecisionName
    candidate: PrecisionName | None
    verdict: Verdict | None
    speedup: Estimate | None
    memory_reduction_percent: Estimate | None
    baseline_samples_per_second: float | None
    candidate_samples_per_second: float | None
    baseline_peak_memory_bytes: int | None
    candidate_peak_memory_bytes: int | None
    #: Where most of the time of a step goes, the largest share first; empty if the leg was not profiled.
    baseline_largest_kinds: list[KindShare] = Field(default=[])
    candidate_largest_kinds: list[KindShare] = Field(default=[])
    failure: Failure | None


class Sweep(Output):
    """The state of a sweep."""

    id: str
    created_at: datetime
    request: SweepRequest
    #: Number of benchmarks by status; deleted ones are not counted.
    counts: dict[Status, int]
    #: Whether all benchmarks have ended.
    finished: bool
    rows: list[SweepRow]
