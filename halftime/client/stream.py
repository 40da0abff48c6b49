"""A stream of server-sent events, read across however many connections it takes."""

import httpx
from httpx_sse import ServerSentEvent
from pydantic import ValidationError

from halftime.client.endpoints import event_page
from halftime.client.errors import UnexpectedAnswer
from halftime.client.request import ApiCall
from halftime.contract.events import EVENT, Event
from halftime.contract.resources.benchmark import Progress

#: The server says something every 15 s; a stream that is silent for longer is broken.
SILENCE_SECONDS = 45.0

#: Between a broken connection and the next.
RECONNECT_SECONDS = 0.5


class EventFeed:
    """Where a stream is: what was heard last, and whether that was its end."""

    def __init__(self, benchmark_id: str, after: int = 0) -> None:
        self._path = event_page(benchmark_id).path
        self._last_seq = after
        self.ended = False

    def call(self) -> ApiCall[httpx.Response]:
        """The request for what follows."""
        headers = {
            "Accept": "text/event-stream",
            "Cache-Control": "no-store",
            "Last-Event-ID": str(self._last_seq),
        }
        return ApiCall("GET", self._path, lambda response: response, headers=headers, hold_seconds=SILENCE_SECONDS)

    def hear(self, frame: ServerSentEvent) -> Event | Progress | None:
        """What a frame says; null for one that was heard before, or that is not for the caller.

        Raises UnexpectedAnswer.
        """
        try:
            if frame.event == "done":
                self.ended = True
                return None
            if frame.event == "progress":
                return Progress.model_validate_json(frame.data)
            if frame.id in {"", str(self._last_seq)}:  # an id stays until the next
                return None
            event = EVENT.validate_json(frame.data)
        except ValidationError as error:
            raise UnexpectedAnswer(f"{self._path} sent an event that is none of Halftime's API.") from error
        self._last_seq = event.seq
        return event
