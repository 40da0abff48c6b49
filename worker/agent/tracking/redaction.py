"""Keeps secrets of the worker's environment out of what a tracker says of its failure."""

import re
from collections.abc import Mapping

SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)

#: User and password of a URL.
USERINFO = re.compile(r"(?<=://)[^/\s@]+@")

#: A shorter value is no secret worth the name, and would blot out words.
SHORTEST = 6


def redacted(text: str, environment: Mapping[str, str]) -> str:
    """The text without the values of variables named like secrets, and without users and passwords of URLs."""
    secrets = {value for name, value in environment.items() if SECRET_NAMES.search(name) and len(value) >= SHORTEST}
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return USERINFO.sub("***@", text)
