"""Which calls are worth another try, and when."""

import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

import stamina

from halftime.client.errors import CannotConnect, ProblemError, TransportError
from halftime.client.request import ApiCall

#: The server, or what stands before it, cannot answer now.
TRANSIENT = frozenset({429, 502, 503, 504})

FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 5.0

#: Who is asked to wait longer is told so instead.
LONGEST_RETRY_AFTER_SECONDS = 30.0


class Attempts(Protocol):
    """One after the other; each is a context that notes what came of it."""

    def __iter__(self) -> Iterator[stamina.Attempt]: ...

    def __aiter__(self) -> AsyncIterator[stamina.Attempt]: ...


def attempts(call: ApiCall[Any], retries: int) -> Attempts:
    """The attempts at a call, with exponential backoff and jitter between them, or what `Retry-After` asks for."""
    return stamina.retry_context(
        on=_worth_another(call),
        attempts=1 if call.within_seconds == 0 else 1 + retries,
        timeout=call.within_seconds or None,
        wait_initial=FIRST_BACKOFF_SECONDS,
        wait_max=LONGEST_BACKOFF_SECONDS,
        wait_jitter=FIRST_BACKOFF_SECONDS,
    )


def _worth_another(call: ApiCall[Any]) -> Callable[[Exception], bool | float]:
    """Whether, and after how many seconds where the server says; a call that must not be done twice, if it was not."""

    def decide(error: Exception) -> bool | float:
        if isinstance(error, TransportError):
            return call.repeatable or isinstance(error, CannotConnect)
        if not isinstance(error, ProblemError) or error.status not in TRANSIENT:
            return False
        if not call.repeatable and error.status != 429:
            return False
        asked = error.retry_after_seconds
        if asked is None:
            return True
        # So that clients that were sent away together do not come back together.
        spread = random.uniform(1, 1.25)  # noqa: S311 # nothing secret
        return asked <= LONGEST_RETRY_AFTER_SECONDS and asked * spread

    return decide
