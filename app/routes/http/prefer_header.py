"""What a client would like (RFC 7240)."""

import re

from app.routes.http.long_poll import LONGEST_WAIT_SECONDS

WAIT = re.compile(r'(?:^|,)\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:[,;]|$)', re.IGNORECASE)


def preferred_wait(prefer: str | None) -> int | None:
    """Seconds of `Prefer: wait=N` that are granted, LONGEST_WAIT_SECONDS at most; None without such a preference.

    A preference that is not understood is ignored, as the RFC asks.
    """
    found = WAIT.search(prefer or "")
    return min(int(found[1]), LONGEST_WAIT_SECONDS) if found else None
