"""The operator's settings: environment variables with the prefix HALFTIME_."""

import base64
import binascii
import difflib
import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

#: A host name, optionally with the prefix `*.`; its last label is not a number, which distinguishes it from an address.
HOST = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*(?![0-9]+$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")

SECRET_PREFIX = "whsec_"  # noqa: S105 # prefix of secrets in Standard Webhooks

#: Length of a secret: 24 to 64 bytes (Standard Webhooks, "Signature scheme").
SECRET_BYTES = range(24, 65)


def _default_data_dir() -> Path:
    """Returns a directory outside /root for root, because the embedded PostgreSQL runs as another user."""
    return Path("/var/lib/halftime") if os.geteuid() == 0 else Path.home() / ".local/share/halftime"


def _postgresql(url: str | None) -> str | None:
    if url is None:
        return None
    from sqlalchemy import make_url  # noqa: PLC0415 # without a URL, commands start faster without it
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the error message may contain the password
        parsed = None
    if parsed is None or parsed.get_backend_name() not in {"postgresql", "postgres"}:
        raise ValueError("must look like postgresql://user:password@host:port/database")
    if "@" in (parsed.host or ""):
        raise ValueError("write an @ in the user name or the password as %40")
    return url


def _origins(text: str | None) -> str | None:
    if text is not None and not all(re.fullmatch(r"https?://[^/*\s]+", origin.strip()) for origin in text.split(",")):
        raise ValueError("must be origins separated by commas: https://host or http://host:port, without a path or *")
    return text


def _required_without_embedded(url: str | None, info: ValidationInfo) -> str | None:
    """Raises PydanticCustomError if the embedded PostgreSQL is switched off and no URL is set."""
    if url is None and info.data.get("embedded_database") is False:
        raise PydanticCustomError(
            "no_database",
            "not set, although HALFTIME_EMBEDDED_DATABASE=false, as in the images of API and worker, switches off the "
            "embedded PostgreSQL. Set it to postgresql://USER:PASSWORD@HOST/DATABASE.{misspelt}",
            {"misspelt": "".join(f" {name} is not a setting; is it misspelt?" for name in _similar_to_database_url())},
        )
    return url


def _similar_to_database_url() -> list[str]:
    """Returns environment variables that are not settings and resemble HALFTIME_DATABASE_URL."""
    settings = {f"HALFTIME_{field.upper()}" for field in Settings.model_fields}
    return difflib.get_close_matches("HALFTIME_DATABASE_URL", os.environ.keys() - settings, cutoff=0.7)


def listed_hosts(value: object) -> object:
    """Parses hosts separated by commas, in lower case. Raises PydanticCustomError for an invalid host."""
    if not isinstance(value, str):
        return value
    hosts = tuple(host.strip().lower() for host in value.split(",") if host.strip())
    for host in hosts:
        if not HOST.fullmatch(host) and not _is_address(host):
            raise PydanticCustomError(
                "not_a_host",
                "'{host}' is not a host: give hosts without scheme, port or path, separated by commas; `*.example.com` "
                "allows all subdomains of example.com",
                {"host": host},
            )
    return hosts


def signing_secret(value: SecretStr) -> SecretStr:
    """Returns the secret unchanged. Raises PydanticCustomError for an invalid secret of Standard Webhooks."""
    encoded = value.get_secret_value().removeprefix(SECRET_PREFIX)
    try:
        size = len(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if not value.get_secret_value().startswith(SECRET_PREFIX) or size not in SECRET_BYTES:
        raise PydanticCustomError(
            "not_a_webhook_secret",
            "must be `whsec_` followed by 24 to 64 bytes in base64; create one with "
            '`echo "whsec_$(openssl rand -base64 32)"`',
        )
    return value


#: A path in which a leading `~` is expanded, because no shell does that for values of an environment file.
HomePath = Annotated[Path, AfterValidator(lambda path: Path(os.path.expanduser(path)))]  # noqa: PTH111 # never raises


class Settings(BaseSettings):
    """The settings of one process. Each field has a row in docs/configuration.md."""

    model_config = SettingsConfigDict(
        env_prefix="HALFTIME_", env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    embedded_database: bool = Field(
        default=True, description="Start the embedded PostgreSQL when HALFTIME_DATABASE_URL is not set"
    )
    database_url: Annotated[str | None, AfterValidator(_required_without_embedded), AfterValidator(_postgresql)] = (
        Field(default=None, description="PostgreSQL (14 or later) to use instead of the embedded one: `postgresql://…`")
    )
    data_dir: HomePath = Field(
        default_factory=_default_data_dir, description="Data directory of the embedded PostgreSQL"
    )
    host: str = Field(default="127.0.0.1", description="Address the API listens on")
    port: int = Field(default=8000, ge=1, le=65_535, description="Port the API listens on")
    require_api_key: bool = Field(
        default=False, description="Require an API key from every client, even before a key exists"
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Accept requests without a key from any address while no valid key exists, also after a revocation",
    )
    max_queued: int = Field(
        default=10_000, ge=1, description="Largest number of queued benchmarks; further ones get 503"
    )
    max_body_bytes: int = Field(
        default=1_048_576, ge=1024, description="Largest request body in bytes; larger ones get 413"
    )
    max_parameters: int = Field(
        default=2_000_000_000,
        ge=1,
        description="Largest number of model parameters, counted without building the model",
    )
    max_attempts: int = Field(
        default=2, ge=1, le=10, description="Runs of a benchmark whose worker disappears or whose device is sick"
    )
    datasets_dir: HomePath | None = Field(
        default=None, description="Directory on the worker with the files that requests name as data"
    )
    lock_dir: HomePath = Field(
        default=Path("/run/lock/halftime"),
        description="Directory of the GPU locks of a node's workers; containers that share GPUs must share it",
    )
    cors_origins: Annotated[str | None, AfterValidator(_origins)] = Field(
        default=None, description="Origins whose web pages may call the API, separated by commas"
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed_hosts)] = Field(
        default=(),
        description="Host names that a server without keys accepts besides loopback and its bound address, separated "
        "by commas: `gpu-node`, `*.example.com`",
    )
    log_format: Literal["console", "json"] = Field(default="console", description="Format of log lines")
    webhook_allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed_hosts)] = Field(
        default=(),
        description="Hosts that webhooks may be sent to, separated by commas; `*.example.com` allows all subdomains",
    )
    webhook_secret: Annotated[SecretStr, AfterValidator(signing_secret)] | None = Field(
        default=None, description="Secret that signs webhooks: `whsec_` followed by 24 to 64 bytes in base64"
    )
    retention_days: int | None = Field(
        default=None,
        ge=1,
        le=36_500,
        description="Days after which a finished benchmark is deleted; its raw samples are dropped after half of that",
    )

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins` as a tuple."""
        return tuple(origin.strip() for origin in self.cors_origins.split(",")) if self.cors_origins else ()

    @property
    def open_without_keys(self) -> bool:
        """Whether clients need no key before one exists: if anonymous access is allowed, or on loopback only."""
        return not self.require_api_key and (self.allow_anonymous or _is_loopback(self.host))


def faults(error: ValidationError) -> str:
    """Returns one line per invalid setting."""
    return "\n".join(f"HALFTIME_{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors())


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
