"""Setups that a fleet runs on: the embedded PostgreSQL, or an external one behind proxies that can be broken."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from testing.fault_injection.database import View
from testing.fault_injection.fleet import Fleet, Node, running_fleet
from testing.fault_injection.postgres import ExternalServer, external_server
from testing.fault_injection.proxy import Proxy, proxied
from testing.processes import postmaster_of

WORKERS = ("first", "second", "third")

MAX_ATTEMPTS = 4


@dataclass
class Site:
    """A running fleet with its database."""

    fleet: Fleet
    view: View
    workers: tuple[str, ...]
    #: Halftime's data directory, with the embedded server.
    data_dir: Path | None = None
    external: ExternalServer | None = None
    proxies: list[Proxy] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the site in campaigns."""
        return "external" if self.external else "embedded"

    def postmaster(self) -> psutil.Process:
        """First process of the embedded server. Raises OSError or psutil.NoSuchProcess while it is down."""
        assert self.data_dir is not None
        return postmaster_of(self.data_dir)


@contextlib.contextmanager
def embedded_site(folder: Path, workers: int) -> Iterator[Site]:
    """Fleet on the embedded PostgreSQL, which the fleet starts itself."""
    names = WORKERS[:workers]
    with running_fleet(folder, [Node(name) for name in names], HALFTIME_MAX_ATTEMPTS=str(MAX_ATTEMPTS)) as fleet:
        yield Site(fleet, View(f"postgresql://postgres@/postgres?host={folder}/postgres"), names, data_dir=folder)


@contextlib.contextmanager
def external_site(folder: Path, workers: int) -> Iterator[Site]:
    """Fleet on an external PostgreSQL; each worker but the first connects through its own proxy, on its own address."""
    names = WORKERS[:workers]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(external_server(folder))
        proxies = [stack.enter_context(proxied(f"127.0.0.{2 + n}", server.port)) for n in range(workers - 1)]
        ways = [server.url(), *(server.url(proxy.host, proxy.port) for proxy in proxies)]
        nodes = [Node(name, {"HALFTIME_DATABASE_URL": way}) for name, way in zip(names, ways, strict=True)]
        environment = {"HALFTIME_DATABASE_URL": server.url(), "HALFTIME_MAX_ATTEMPTS": str(MAX_ATTEMPTS)}
        fleet = stack.enter_context(running_fleet(folder, nodes, **environment))
        yield Site(fleet, View(server.url()), names, external=server, proxies=proxies)
