"""Which of several formats a client gets."""

from collections.abc import Mapping
from typing import TypeVar

from app import errors

Format = TypeVar("Format", bound=str)


def choose(accept: str, media_types: Mapping[Format, str]) -> Format:
    """The first acceptable format in the client's order of preference (RFC 9110, section 12.5.1).

    Of `media_types`, the first is what a client gets that takes anything. Raises NotAcceptable.
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
    raise errors.NotAcceptable(f"On offer are {', '.join(media_types.values())}.")
