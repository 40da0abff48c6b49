"""Everything an operator can set, by environment variables with the prefix HALFTIME_."""

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

#: A host name, or `*.` and one; its last label is no number, as an address ends in one.
HOST = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*(?![0-9]+$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")

SECRET_PREFIX = "whsec_"  # noqa: S105 # what secrets of Standard Webhooks begin with

#: Standard Webhooks, "Signature scheme": between 24 and 64 bytes.
SECRET_BYTES = range(24, 65)


def _default_data_dir() -> Path:
    """Root's is never under a home: the embedded PostgreSQL runs as its own user and must reach it."""
    return Path("/var/lib/halftime") if os.geteuid() == 0 else Path.home() / ".local/share/halftime"


def _postgresql(url: str | None) -> str | None:
    if url is None:
        return None
    from sqlalchemy import make_url  # noqa: PLC0415 # without a URL, commands start faster without it
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        named = make_url(url)
    except (ArgumentError, ValueError):  # its words may have the password
        named = None
    if named is None or named.get_backend_name() not in {"postgresql", "postgres"}:
        raise ValueError("write it as postgresql://user:password@host:port/database")
    if "@" in (named.host or ""):
        raise ValueError("write an @ in the user or the password as %40")
    return url


def _origins(text: str | None) -> str | None:
    if text is not None and not all(re.fullmatch(r"https?://[^/*\s]+", origin.strip()) for origin in text.split(",")):
        raise ValueError("write origins as https://host or http://host:port, without a path or *, separated by commas")
    return text


def _somewhere(url: str | None, info: ValidationInfo) -> str | None:
    """Where the embedded PostgreSQL is switched off, there must be another."""
    if url is None and info.data.get("embedded_database") is False:
        raise PydanticCustomError(
            "no_database",
            "not set, and HALFTIME_EMBEDDED_DATABASE=false, as in the images of API and worker, forbids the embedded "
            "PostgreSQL. Set it to postgresql://USER:PASSWORD@HOST/DATABASE.{misspelt}",
            {"misspelt": "".join(f" {name} is no setting: is it misspelt?" for name in _like_the_url())},
        )
    return url


def _like_the_url() -> list[str]:
    """Variables of the environment that are no settings, and may be meant as HALFTIME_DATABASE_URL."""
    settings = {f"HALFTIME_{field.upper()}" for field in Settings.model_fields}
    return difflib.get_close_matches("HALFTIME_DATABASE_URL", os.environ.keys() - settings, cutoff=0.7)


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


#: No shell has seen what stands in an environment file: a `~` at its beginning is a home directory there, too.
HomePath = Annotated[Path, AfterValidator(lambda path: Path(os.path.expanduser(path)))]  # noqa: PTH111 # never raises


class Settings(BaseSettings):
    """The settings of one process. Each field has a row in docs/configuration.md."""

    model_config = SettingsConfigDict(
        env_prefix="HALFTIME_", env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    embedded_database: bool = Field(
        default=True, description="Whether the embedded PostgreSQL is started where no HALFTIME_DATABASE_URL is set"
    )
    database_url: Annotated[str | None, AfterValidator(_somewhere), AfterValidator(_postgresql)] = Field(
        default=None, description="A PostgreSQL (14 or later) to use instead of the embedded one: `postgresql://…`"
    )
    data_dir: HomePath = Field(
        default_factory=_default_data_dir, description="Where the embedded PostgreSQL keeps its data"
    )
    host: str = Field(default="127.0.0.1", description="Address the API listens on")
    port: int = Field(default=8000, ge=1, le=65_535, description="Port the API listens on")
    require_api_key: bool = Field(default=False, description="Ask every client for a key, also before one was made")
    allow_anonymous: bool = Field(
        default=False, description="While no key is valid, let everyone in, beyond loopback and after a revocation too"
    )
    max_queued: int = Field(default=10_000, ge=1, description="Benchmarks that may wait at a time; more get 503")
    max_body_bytes: int = Field(default=1_048_576, ge=1024, description="Largest request body; larger ones get 413")
    max_parameters: int = Field(
        default=2_000_000_000, ge=1, description="Largest model accepted, counted without building it"
    )
    max_attempts: int = Field(default=2, ge=1, le=10, description="Runs of a benchmark whose worker vanishes")
    datasets_dir: HomePath | None = Field(
        default=None, description="Where the worker looks for the files that a request names as data"
    )
    lock_dir: HomePath = Field(
        default=Path("/run/lock/halftime"),
        description="Where the workers of a node lock their GPUs; containers that share GPUs must share it",
    )
    cors_origins: Annotated[str | None, AfterValidator(_origins)] = Field(
        default=None, description="Origins whose pages may call the API from a browser, separated by commas"
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed_hosts)] = Field(
        default=(),
        description="Names besides loopback and the bound address that a server without keys answers to, separated by "
        "commas: `gpu-node`, `*.example.com`",
    )
    log_format: Literal["console", "json"] = Field(default="console", description="How log lines look")
    webhook_allowed_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(listed_hosts)] = Field(
        default=(), description="Where webhooks may be sent: host names by commas, `*.example.com` for all below one"
    )
    webhook_secret: Annotated[SecretStr, AfterValidator(signing_secret)] | None = Field(
        default=None, description="What webhooks are signed with: `whsec_` and 24 to 64 bytes in base64"
    )
    retention_days: int | None = Field(
        default=None, ge=1, le=36_500, description="Age at which a finished benchmark is purged; half of it for samples"
    )

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        """The origins of `cors_origins`."""
        return tuple(origin.strip() for origin in self.cors_origins.split(",")) if self.cors_origins else ()

    @property
    def open_without_keys(self) -> bool:
        """Whether clients need no key before one is made: only where told so, or where the machine alone gets in."""
        return not self.require_api_key and (self.allow_anonymous or _is_loopback(self.host))


def faults(error: ValidationError) -> str:
    """A line for each setting that is wrong."""
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
