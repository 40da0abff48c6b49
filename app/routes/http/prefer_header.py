"""The `Prefer` request header (RFC 7240)."""

import re

from app.routes.http.long_poll import LONGEST_WAIT_SECONDS

WAIT = re.compile(r'(?:^|,)\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:[,;]|$)', re.IGNORECASE)


def preferred_wait(prefer: str | None) -> int | None:
    """Returns the seconds of `Prefer: wait=N`, at most LONGEST_WAIT_SECONDS; None without this preference.

    Unknown preferences are ignored, as the RFC requires.
    """
    match = WAIT.search(prefer or "")
    return min(int(match[1]), LONGEST_WAIT_SECONDS) if match else None
