"""The retry policy: which requests are retried, and when."""

import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

import stamina

from halftime.client.errors import CannotConnect, ProblemError, TransportError
from halftime.client.request import ApiRequest

#: Statuses with which the server or a proxy reports a temporary problem.
TRANSIENT = frozenset({429, 502, 503, 504})

FIRST_BACKOFF_SECONDS = 0.2
LONGEST_BACKOFF_SECONDS = 5.0

#: A request is not retried if the server asks for a longer pause.
LONGEST_RETRY_AFTER_SECONDS = 30.0


class Attempts(Protocol):
    """Successive attempts; each is a context manager that records its outcome."""

    def __iter__(self) -> Iterator[stamina.Attempt]: ...

    def __aiter__(self) -> AsyncIterator[stamina.Attempt]: ...


def attempts(request: ApiRequest[Any], retries: int) -> Attempts:
    """Returns the attempts at a request, with exponential backoff and jitter, or the pause of `Retry-After`."""
    return stamina.retry_context(
        on=_should_retry(request),
        attempts=1 if request.within_seconds == 0 else 1 + retries,
        timeout=request.within_seconds or None,
        wait_initial=FIRST_BACKOFF_SECONDS,
        wait_max=LONGEST_BACKOFF_SECONDS,
        wait_jitter=FIRST_BACKOFF_SECONDS,
    )


def _should_retry(request: ApiRequest[Any]) -> Callable[[Exception], bool | float]:
    """Decides whether to retry, and after how many seconds if the server says.

    A request that is not repeatable is retried only if the server has not processed it.
    """

    def decide(error: Exception) -> bool | float:
        if isinstance(error, TransportError):
            return request.repeatable or isinstance(error, CannotConnect)
        if not isinstance(error, ProblemError) or error.status not in TRANSIENT:
            return False
        if not request.repeatable and error.status != 429:
            return False
        pause_seconds = error.retry_after_seconds
        if pause_seconds is None:
            return True
        # Jitter, so that clients that were refused together do not retry together.
        jitter = random.uniform(1, 1.25)  # noqa: S311 # not for cryptography
        return pause_seconds <= LONGEST_RETRY_AFTER_SECONDS and pause_seconds * jitter

    return decide
