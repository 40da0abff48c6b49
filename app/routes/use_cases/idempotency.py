"""Reuse of an idempotency key with another request, as an error of the API."""

import contextlib
from collections.abc import Iterator

from app import errors
from app.store.idempotency import KeyReused


@contextlib.contextmanager
def key_reuse_as_api_error() -> Iterator[None]:
    """Turns the store's KeyReused into IdempotencyKeyReused."""
    try:
        yield
    except KeyReused as error:
        reused = "This Idempotency-Key was already used with a different request. Use a new key for a new request."
        raise errors.IdempotencyKeyReused(reused) from error
