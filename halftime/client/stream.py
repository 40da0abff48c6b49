"""The position in a stream of server-sent events, which survives reconnections."""

import httpx
from httpx_sse import ServerSentEvent
from pydantic import ValidationError

from halftime.client.endpoints import event_page
from halftime.client.errors import UnexpectedAnswer
from halftime.client.request import ApiRequest
from halftime.contract.events import EVENT, Event
from halftime.contract.resources.benchmark import Progress

#: The server sends data every 15 s; a stream that is silent for this long counts as broken.
SILENCE_SECONDS = 45.0

#: Pause before reconnecting after a broken connection.
RECONNECT_SECONDS = 0.5


class EventFeed:
    """The position in a stream: the last event read, and whether the stream has ended."""

    def __init__(self, benchmark_id: str, after: int = 0) -> None:
        self._path = event_page(benchmark_id).path
        self._last_seq = after
        self.ended = False

    def request(self) -> ApiRequest[httpx.Response]:
        """Returns the request for the events after the last one read."""
        headers = {
            "Accept": "text/event-stream",
            "Cache-Control": "no-store",
            "Last-Event-ID": str(self._last_seq),
        }
        return ApiRequest("GET", self._path, lambda response: response, headers=headers, hold_seconds=SILENCE_SECONDS)

    def read(self, frame: ServerSentEvent) -> Event | Progress | None:
        """Parses a frame; returns None for one that was read before or that is not for the caller.

        Raises UnexpectedAnswer for a frame that does not match the contract.
        """
        try:
            if frame.event == "done":
                self.ended = True
                return None
            if frame.event == "progress":
                return Progress.model_validate_json(frame.data)
            if frame.id in {"", str(self._last_seq)}:  # an ID applies until the next one
                return None
            event = EVENT.validate_json(frame.data)
        except ValidationError as error:
            raise UnexpectedAnswer(f"An event of {self._path} is not one of Halftime's API.") from error
        self._last_seq = event.seq
        return event
