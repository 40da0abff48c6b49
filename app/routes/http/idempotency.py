"""The header that makes a submit safe to repeat."""

import contextlib
from collections.abc import Iterator
from typing import Annotated

from fastapi import Header

from app import errors
from app.store.idempotency import KeyReused

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[\x21-\x7e]+$",
        max_length=255,
        description="such as a new UUID; makes the submit safe to repeat: the same key with the same request is "
        "submitted once",
    ),
]


@contextlib.contextmanager
def refusing_reuse() -> Iterator[None]:
    """Makes a key that stands for another request an answer. Raises IdempotencyKeyReused."""
    try:
        yield
    except KeyReused as error:
        reused = "This Idempotency-Key was sent before with another request. Use a new key for a new request."
        raise errors.IdempotencyKeyReused(reused) from error
