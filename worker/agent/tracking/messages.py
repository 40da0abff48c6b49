"""What a worker and a tracker's process say to each other: JSON on standard input and output."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter

from halftime.contract.report.report import Report
from halftime.contract.request.tracking import TrackerName, Tracking

#: What all trackers of a report may take together, side by side: meanwhile the device waits for its next benchmark.
LIMIT_SECONDS = 60


class TrackingTask(BaseModel):
    """A report for one of the trackers that a request names."""

    tracker: TrackerName
    tracking: Tracking
    labels: dict[str, str]
    report: Report


class Logged(BaseModel):
    """The tracker has the report."""

    kind: Literal["logged"] = "logged"
    run_id: str
    #: null where the run has no page.
    url: str | None


class NotLogged(BaseModel):
    """The tracker does not have the report, or not all of it."""

    kind: Literal["not_logged"] = "not_logged"
    reason: str


Outcome = Annotated[Logged | NotLogged, Field(discriminator="kind")]
OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)
