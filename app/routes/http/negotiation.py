"""Content negotiation by the `Accept` header."""

from collections.abc import Mapping
from typing import TypeVar

from app import errors

Format = TypeVar("Format", bound=str)


def choose(accept: str, media_types: Mapping[Format, str]) -> Format:
    """Returns the acceptable format that the client prefers (RFC 9110, section 12.5.1).

    The first of `media_types` is the default, for a client that accepts anything. Raises NotAcceptable.
    """
    ranges = []
    for position, entry in enumerate((accept or "*/*").split(",")):
        media_range, *parameters = (part.strip() for part in entry.lower().split(";"))
        quality = next((part.removeprefix("q=") for part in parameters if part.startswith("q=")), "1")
        try:
            ranges.append((-float(quality), position, media_range))
        except ValueError:
            continue
    for weight, _, media_range in sorted(ranges):
        for offer, media_type in media_types.items():
            if weight < 0 and media_range in {media_type, f"{media_type.split('/')[0]}/*", "*/*"}:
                return offer
    raise errors.NotAcceptable(f"Accept one of {', '.join(media_types.values())}.")
