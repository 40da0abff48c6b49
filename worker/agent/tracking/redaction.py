"""Redacts secrets of the worker's environment from a tracker's error messages."""

import re
from collections.abc import Mapping

SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)

#: User and password of a URL.
USERINFO = re.compile(r"(?<=://)[^/\s@]+@")

#: Shorter values are not treated as secrets: redacting them would remove parts of ordinary words.
MIN_SECRET_CHARACTERS = 6


def redacted(text: str, environment: Mapping[str, str]) -> str:
    """Removes the values of variables named like secrets, and user and password in URLs."""
    secrets = {
        value
        for name, value in environment.items()
        if SECRET_NAMES.search(name) and len(value) >= MIN_SECRET_CHARACTERS
    }
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return USERINFO.sub("***@", text)
