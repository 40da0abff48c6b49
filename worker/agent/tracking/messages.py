"""Messages between a worker and a tracker's process: JSON on standard input and output."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

from halftime.contract.report.report import Report
from halftime.contract.request.tracking import TrackerName, Tracking

#: Limit of the concurrent exports of one report, during which the worker claims no other benchmark.
LIMIT_SECONDS = 60


class TrackingTask(BaseModel):
    """Request to export a report to one tracker."""

    tracker: TrackerName
    tracking: Tracking
    labels: dict[str, str]
    report: Report


class Logged(BaseModel):
    """The report was exported."""

    kind: Literal["logged"] = "logged"
    run_id: str
    #: URL of the run's page; null if there is none.
    url: str | None


class NotLogged(BaseModel):
    """The report was not, or not completely, exported."""

    kind: Literal["not_logged"] = "not_logged"
    reason: str


Outcome = Annotated[Logged | NotLogged, Field(discriminator="kind")]
OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)
