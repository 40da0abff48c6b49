"""What an operator may write into the settings of webhooks."""

import base64
import binascii
import ipaddress
import re

from pydantic import SecretStr
from pydantic_core import PydanticCustomError

#: A host name, or `*.` and one; its last label is no number, as an address ends in one.
HOST = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*(?![0-9]+$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")

SECRET_PREFIX = "whsec_"  # noqa: S105 # what secrets of Standard Webhooks begin with

#: Standard Webhooks, "Signature scheme": between 24 and 64 bytes.
SECRET_BYTES = range(24, 65)


def listed_hosts(value: object) -> object:
    """The hosts of a list by commas, in lower case. Raises PydanticCustomError for what is no host."""
    if not isinstance(value, str):
        return value
    hosts = tuple(host.strip().lower() for host in value.split(",") if host.strip())
    for host in hosts:
        if not HOST.fullmatch(host) and not _is_address(host):
            raise PydanticCustomError(
                "not_a_host",
                "'{host}' is no host: name hosts without scheme, port or path, by commas; `*.example.com` allows all "
                "below example.com",
                {"host": host},
            )
    return hosts


def signing_secret(value: SecretStr) -> SecretStr:
    """The secret as it came. Raises PydanticCustomError for one that is no secret of Standard Webhooks."""
    encoded = value.get_secret_value().removeprefix(SECRET_PREFIX)
    try:
        size = len(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if not value.get_secret_value().startswith(SECRET_PREFIX) or size not in SECRET_BYTES:
        raise PydanticCustomError(
            "not_a_webhook_secret",
            'must be `whsec_` and 24 to 64 bytes in base64; make one with `echo "whsec_$(openssl rand -base64 32)"`',
        )
    return value


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
