"""One request to the API and the interpretation of its response, without any I/O."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar

import httpx
from pydantic import ValidationError

from halftime.client.errors import ProblemError, UnexpectedAnswer
from halftime.contract.resources.problem import Problem, ValidationProblem

Answer = TypeVar("Answer")

#: Length of the excerpt of an error response that is not a problem document, such as a proxy's page.
SHOWN_CHARACTERS = 500


@dataclass(frozen=True)
class ApiRequest(Generic[Answer]):
    """A request, how its response is read, and whether it may be repeated."""

    method: str
    path: str
    read: Callable[[httpx.Response], Answer]
    params: Mapping[str, str | int | float | Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    #: Whether processing it twice has the same effect as once.
    repeatable: bool = True
    #: Statuses besides 2xx that `read` accepts.
    accepts: frozenset[int] = frozenset()
    #: Time that the server may take in addition to the client's timeout.
    hold_seconds: float = 0.0
    #: No retry begins later than this; None: only the number of retries is limited.
    within_seconds: float | None = None

    def result(self, response: httpx.Response) -> Answer:
        """Returns the content of a response. Raises ProblemError for a refusal, UnexpectedAnswer for other content."""
        if not response.is_success and response.status_code not in self.accepts:
            raise refusal(response)
        try:
            return self.read(response)
        except ValidationError as error:
            raise UnexpectedAnswer(f"The response of {response.url} is not one of Halftime's API.") from error


def refusal(response: httpx.Response) -> ProblemError | UnexpectedAnswer:
    """Creates the error for an unsuccessful response whose body was read."""
    if not response.is_error:
        return UnexpectedAnswer(f"{response.url} answered {response.status_code} {response.reason_phrase}.")
    return ProblemError(_problem(response), retry_after_seconds(response))


def retry_after_seconds(response: httpx.Response) -> float | None:
    """Returns the seconds of `Retry-After`, in either of its forms; None without a valid header."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # not a date, or one without a zone
        return None


def _problem(response: httpx.Response) -> Problem:
    for kind in (ValidationProblem, Problem):
        with contextlib.suppress(ValidationError):
            return kind.model_validate_json(response.content)
    return Problem(
        type="about:blank",
        title=f"{response.status_code} {response.reason_phrase}",
        status=response.status_code,
        detail=response.text[:SHOWN_CHARACTERS],
        instance=response.url.path,
    )
