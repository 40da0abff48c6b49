"""Sweeps: one request, varied along lists, as ordinary benchmarks with one table."""

import itertools
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Self

from pydantic import Field, ValidationError, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from halftime.contract.models import ModelSpec
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.failure import Failure
from halftime.contract.report.report import Estimate, Verdict
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.benchmark import Status
from halftime.contract.strict import Input, Output

#: Benchmarks of one sweep.
MAX_BENCHMARKS = 100


#: Context of a validation: what is read was validated when it came in.
ACCEPTED = {"accepted": True}


class Variations(Input):
    """The lists. What is null stays as the request has it."""

    models: list[ModelSpec] | None = Field(default=None, min_length=1, max_length=MAX_BENCHMARKS)
    batch_sizes: list[int] | None = Field(default=None, min_length=1, max_length=MAX_BENCHMARKS)
    candidates: list[list[PrecisionName]] | None = Field(
        default=None, min_length=1, max_length=MAX_BENCHMARKS, description="each a list of candidates"
    )

    def count(self) -> int:
        """Benchmarks that they make."""
        return len(self.models or [0]) * len(self.batch_sizes or [0]) * len(self.candidates or [0])


class SweepRequest(Input):
    """A request, and what of it is varied: every combination becomes a benchmark."""

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
                "the lists make {count} benchmarks; a sweep may have {limit}",
                {"count": self.vary.count(), "limit": MAX_BENCHMARKS},
            )
        if len({benchmark.model_dump_json() for benchmark in self.benchmarks()}) < self.vary.count():
            raise PydanticCustomError("sweep_repeats", "two combinations of the lists are the same benchmark")
        return self

    def benchmarks(self) -> Iterator[BenchmarkRequest]:
        """Every combination, batch sizes fastest. Raises PydanticCustomError for one that is no valid request."""
        models = self.vary.models or [self.request.model]
        candidates: list[list[PrecisionName] | None] = [self.request.config.candidates]
        if self.vary.candidates is not None:
            candidates = [*self.vary.candidates]
        sizes = self.vary.batch_sizes or [self.request.config.training.batch_size]
        for number, (model, legs, size) in enumerate(itertools.product(models, candidates, sizes)):
            body = self.request.model_dump()
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
    """A sweep as it was accepted: to combine its lists once more may take a second."""
    return SweepRequest.model_validate(body, extra="ignore", context=ACCEPTED)


class SweepRow(Output):
    """One candidate of one benchmark. What is not measured is null."""

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
    failure: Failure | None


class Sweep(Output):
    """Where a sweep stands."""

    id: str
    created_at: datetime
    request: SweepRequest
    #: Benchmarks by status; a deleted one is in none.
    counts: dict[Status, int]
    #: No benchmark has anything left to do.
    finished: bool
    rows: list[SweepRow]
