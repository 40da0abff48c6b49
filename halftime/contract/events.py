"""What happened to a benchmark: an event of each kind, told apart by `kind`.

A reader of another release meets kinds and fields that it does not know. An event of an unknown kind, or whose data
is not that of its kind, is an `UnknownEvent`; fields beyond the known ones are kept in the data.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import TypeAliasType

from halftime.contract import event_data
from halftime.contract.strict import Json, Output


class AnyEvent(Output):
    """What events of all kinds have."""

    #: From 1, gapless per benchmark.
    seq: int
    created_at: datetime


class KnownEvent(AnyEvent):
    """An event of a kind that this release knows."""

    kind: str
    data: event_data.EventData

    def fields(self) -> Json:
        """The data as JSON, with the fields that were sent."""
        return self.data.as_json()


class QueuedEvent(KnownEvent):
    """The benchmark was submitted."""

    kind: Literal["queued"]
    data: event_data.Queued


class StartedEvent(KnownEvent):
    """A worker took the benchmark: an attempt begins."""

    kind: Literal["started"]
    data: event_data.Started


class InspectedEvent(KnownEvent):
    """The worker built the model, or looked at the data, before any trial."""

    kind: Literal["inspected"]
    data: event_data.Inspected


class InspectionFailedEvent(KnownEvent):
    """The model could not be built, or the data could not be read; `failed` follows."""

    kind: Literal["inspection_failed"]
    data: event_data.InspectionFailed


class TrialFinishedEvent(KnownEvent):
    """A trial gave a result."""

    kind: Literal["trial_finished"]
    data: event_data.TrialFinished


class TrialFailedEvent(KnownEvent):
    """A trial gave no result."""

    kind: Literal["trial_failed"]
    data: event_data.TrialFailed


class BlockFinishedEvent(KnownEvent):
    """A block ended: one trial of each leg."""

    kind: Literal["block_finished"]
    data: event_data.BlockFinished


class BlocksReusedEvent(KnownEvent):
    """An attempt goes on after blocks of the attempt before."""

    kind: Literal["blocks_reused"]
    data: event_data.BlocksReused


class BlocksDiscardedEvent(KnownEvent):
    """An attempt cannot use blocks of the attempt before."""

    kind: Literal["blocks_discarded"]
    data: event_data.BlocksDiscarded


class CancellingEvent(KnownEvent):
    """A client asked to cancel the running benchmark; `cancelled` follows."""

    kind: Literal["cancelling"]
    data: event_data.Cancelling


class HandedBackEvent(KnownEvent):
    """The worker was stopped, and the benchmark is queued again."""

    kind: Literal["handed_back"]
    data: event_data.HandedBack


class DeviceSickEvent(KnownEvent):
    """The worker's device is sick: the benchmark is queued again, or `failed` follows."""

    kind: Literal["device_sick"]
    data: event_data.DeviceSick


class WorkerLostEvent(KnownEvent):
    """The worker's lease ran out: the benchmark is queued again, or `failed` follows."""

    kind: Literal["worker_lost"]
    data: event_data.WorkerLost


class FaultEvent(KnownEvent):
    """Halftime failed with an error of its own; `failed` follows."""

    kind: Literal["fault"]
    data: event_data.InternalFault


class TrackingLoggedEvent(KnownEvent):
    """A tracker has the report. It may come after `succeeded`."""

    kind: Literal["tracking_logged"]
    data: event_data.TrackingLogged


class TrackingFailedEvent(KnownEvent):
    """A tracker does not have the report, or not all of it. It may come after `succeeded`."""

    kind: Literal["tracking_failed"]
    data: event_data.TrackingFailed


class SucceededEvent(KnownEvent):
    """The benchmark has its report."""

    kind: Literal["succeeded"]
    data: event_data.Succeeded


class FailedEvent(KnownEvent):
    """The benchmark ended without a report."""

    kind: Literal["failed"]
    data: event_data.Failed


class CancelledEvent(KnownEvent):
    """The benchmark was cancelled."""

    kind: Literal["cancelled"]
    data: event_data.Cancelled


Known = Annotated[
    QueuedEvent
    | StartedEvent
    | InspectedEvent
    | InspectionFailedEvent
    | TrialFinishedEvent
    | TrialFailedEvent
    | BlockFinishedEvent
    | BlocksReusedEvent
    | BlocksDiscardedEvent
    | CancellingEvent
    | HandedBackEvent
    | DeviceSickEvent
    | WorkerLostEvent
    | FaultEvent
    | TrackingLoggedEvent
    | TrackingFailedEvent
    | SucceededEvent
    | FailedEvent
    | CancelledEvent,
    Field(discriminator="kind"),
]

#: The event of each kind that this release knows.
EVENTS: dict[str, type[KnownEvent]] = {
    get_args(event.model_fields["kind"].annotation)[0]: event for event in get_args(get_args(Known)[0])
}


class UnknownEvent(AnyEvent):
    """An event that this release does not understand: of a kind that a newer server has added."""

    kind: str = Field(json_schema_extra={"not": {"enum": list(EVENTS)}})
    data: dict[str, Any]

    def fields(self) -> Json:
        """The data as it was sent."""
        return self.data


class _OneSchemaEach:
    """Puts the known kinds and what is none of them into one `oneOf`, where pydantic nests the first in an `anyOf`."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        known, unknown = handler(schema)["anyOf"]
        description = "Something that happened to a benchmark. `kind` says what `data` holds."
        return {"title": "Event", "description": description, **known, "oneOf": [*known["oneOf"], unknown]}


Event = TypeAliasType("Event", Annotated[Known | UnknownEvent, Field(union_mode="left_to_right"), _OneSchemaEach()])

EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class EventPage(Output):
    """Events in order."""

    items: list[Event]
    #: Pass as `after` for what comes next.
    next_after: int
