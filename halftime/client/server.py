"""The server that a client speaks to, and how."""

import os
import re
from dataclasses import dataclass, field
from typing import Any

import httpx

from halftime import __version__
from halftime.client.request import ApiCall

DEFAULT_SERVER = "http://127.0.0.1:8000"

#: What a header can carry.
API_KEY = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Server:
    """Address, key and patience. Raises ValueError for an address or a key that cannot be used."""

    address: str
    api_key: str = field(repr=False)
    timeout_seconds: float
    retries: int

    @classmethod
    def of(cls, address: str | None, api_key: str | None, timeout_seconds: float, retries: int) -> "Server":
        """With what the environment says where an argument is null."""
        found = address or os.environ.get("HALFTIME_SERVER") or DEFAULT_SERVER
        key = os.environ.get("HALFTIME_API_KEY", "") if api_key is None else api_key
        return cls(found, key.strip(), timeout_seconds, retries)

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.address)
        except httpx.InvalidURL as error:
            raise ValueError(f"{self.address!r} is no address: {error}.") from error
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError(f"{self.address!r} is no address: it must look like {DEFAULT_SERVER}.")
        if self.api_key and not API_KEY.fullmatch(self.api_key):
            raise ValueError("The API key holds characters that no key has. Is HALFTIME_API_KEY what was printed?")

    def headers(self) -> dict[str, str]:
        """Those of every request."""
        named = {"User-Agent": f"halftime/{__version__}"}
        return named | ({"Authorization": f"Bearer {self.api_key}"} if self.api_key else {})

    def request(self, http: httpx.Client | httpx.AsyncClient, call: ApiCall[Any]) -> httpx.Request:
        """A call as a request. The server may hold its answer as long as the call lets it."""
        return http.build_request(
            call.method,
            call.path,
            params=dict(call.params),
            headers=dict(call.headers),
            json=call.body,
            timeout=httpx.Timeout(self.timeout_seconds, read=self.timeout_seconds + call.hold_seconds),
        )
