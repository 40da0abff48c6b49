"""The address of a server, and the settings for requests to it."""

import os
import re
from dataclasses import dataclass, field
from typing import Any

import httpx

from halftime import __version__
from halftime.client.request import ApiRequest

DEFAULT_SERVER = "http://127.0.0.1:8000"

#: Characters that an HTTP header can contain.
API_KEY = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Server:
    """A server's address, API key, timeout and number of retries. Raises ValueError for an invalid address or key."""

    address: str
    api_key: str = field(repr=False)
    timeout_seconds: float
    retries: int

    @classmethod
    def of(cls, address: str | None, api_key: str | None, timeout_seconds: float, retries: int) -> "Server":
        """Creates a server; arguments that are None are taken from the environment."""
        address = address or os.environ.get("HALFTIME_SERVER") or DEFAULT_SERVER
        key = os.environ.get("HALFTIME_API_KEY", "") if api_key is None else api_key
        return cls(address, key.strip(), timeout_seconds, retries)

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.address)
        except httpx.InvalidURL as error:
            raise ValueError(f"{self.address!r} is not a valid address: {error}.") from error
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError(f"{self.address!r} is not a valid address: it must look like {DEFAULT_SERVER}.")
        if self.api_key and not API_KEY.fullmatch(self.api_key):
            raise ValueError("The API key has invalid characters. Set HALFTIME_API_KEY to a key exactly as printed.")

    def headers(self) -> dict[str, str]:
        """Returns the headers of every request."""
        headers = {"User-Agent": f"halftime/{__version__}"}
        return headers | ({"Authorization": f"Bearer {self.api_key}"} if self.api_key else {})

    def build_request(self, http: httpx.Client | httpx.AsyncClient, request: ApiRequest[Any]) -> httpx.Request:
        """Builds httpx's request; its read timeout includes the time that the server may hold the response."""
        return http.build_request(
            request.method,
            request.path,
            params=dict(request.params),
            headers=dict(request.headers),
            json=request.body,
            timeout=httpx.Timeout(self.timeout_seconds, read=self.timeout_seconds + request.hold_seconds),
        )
