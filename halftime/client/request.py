"""One request, and what its answer means: nothing here sends anything."""

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

#: Of a refusal that is no problem document, such as a proxy's page.
SHOWN_CHARACTERS = 500


@dataclass(frozen=True)
class ApiCall(Generic[Answer]):
    """A request, how its answer is read, and whether it may be sent twice."""

    method: str
    path: str
    read: Callable[[httpx.Response], Answer]
    params: Mapping[str, str | int | float | Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    #: Done twice it is as if done once.
    repeatable: bool = True
    #: Statuses beside 2xx that are answers.
    accepts: frozenset[int] = frozenset()
    #: What the server may take beyond the client's timeout.
    hold_seconds: float = 0.0
    #: No retry begins later than this; null: retries are counted alone.
    within_seconds: float | None = None

    def answer(self, response: httpx.Response) -> Answer:
        """What the server says. Raises ProblemError, UnexpectedAnswer."""
        if not response.is_success and response.status_code not in self.accepts:
            raise refusal(response)
        try:
            return self.read(response)
        except ValidationError as error:
            raise UnexpectedAnswer(f"{response.url} gave an answer that is none of Halftime's API.") from error


def refusal(response: httpx.Response) -> ProblemError | UnexpectedAnswer:
    """Why there is no answer, from a response that was read."""
    if not response.is_error:
        return UnexpectedAnswer(f"{response.url} answered {response.status_code} {response.reason_phrase}.")
    return ProblemError(_problem(response), retry_after_seconds(response))


def retry_after_seconds(response: httpx.Response) -> float | None:
    """Seconds that the server asks to wait, from either form of `Retry-After`; null where it asks for none."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # no date, or one without a zone
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
