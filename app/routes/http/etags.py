"""Entity tags (RFC 9110, section 8.8.3)."""

import hashlib


def strong_etag(content: bytes, *rendering: str) -> str:
    """Returns a strong entity tag for what a rendering makes of some content."""
    return f'"{hashlib.sha256(content + "|".join(rendering).encode()).hexdigest()[:32]}"'


def matches(if_none_match: str | None, tag: str) -> bool:
    """Returns whether `If-None-Match` names a tag, by weak comparison (RFC 9110, section 13.1.2)."""
    known = {candidate.strip().removeprefix("W/") for candidate in (if_none_match or "").split(",")}
    return tag.removeprefix("W/") in known or "*" in known
