"""Webhooks: the events that a client wants to be sent, and the address."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, HttpUrl
from pydantic_core import PydanticCustomError

from halftime.contract.strict import Input

WebhookEvent = Literal["started", "succeeded", "failed", "cancelled"]


def _without_credentials_or_fragment(url: HttpUrl) -> HttpUrl:
    if url.username is not None or url.password is not None:
        raise PydanticCustomError("url_with_credentials", "user names and passwords in a URL are not allowed")
    if url.fragment is not None:
        raise PydanticCustomError("url_with_fragment", "a fragment is never sent: remove `#` and the text after it")
    return url


def _unrepeated(events: list[WebhookEvent]) -> list[WebhookEvent]:
    if len(set(events)) < len(events):
        raise PydanticCustomError("events_repeat", "events must differ from each other")
    return events


class WebhookConfig(Input):
    """The receiver of signed messages when a benchmark starts or ends. The operator defines the allowed hosts."""

    url: Annotated[HttpUrl, AfterValidator(_without_credentials_or_fragment)]
    events: Annotated[list[WebhookEvent], AfterValidator(_unrepeated)] = Field(
        default=["succeeded", "failed", "cancelled"], min_length=1, max_length=4
    )
