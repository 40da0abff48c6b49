"""Nodes that can be cut off: network namespaces of this machine, or loopback addresses behind proxies."""

import contextlib
import functools
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from testing.fault_injection.fleet import Fleet, Node, running_fleet
from testing.fault_injection.postgres import external_server
from testing.fault_injection.proxy import proxied

NAMES = ("near", "far")

#: Address range reserved for benchmarking networks (RFC 2544): no real host has one.
SUBNET = "198.18.{}"


@dataclass(frozen=True)
class CuttableNode:
    """A worker's node, and how to cut and restore its network. Nothing signals the cut: packets are lost or delayed."""

    node: Node
    cut: Callable[[], None]
    restore: Callable[[], None]


@contextlib.contextmanager
def two_nodes(folder: Path, *, namespaces: bool) -> Iterator[tuple[Fleet, dict[str, CuttableNode], str]]:
    """Start an API, an external PostgreSQL and two nodes with a worker each; yield fleet, nodes and database URL."""
    with contextlib.ExitStack() as stack:
        if namespaces:
            hosts = {name: stack.enter_context(_namespace(number)) for number, name in enumerate(NAMES)}
            server = stack.enter_context(external_server(folder, ("127.0.0.1", *(ours for ours, *_ in hosts.values()))))
            nodes = {name: _inside(name, server.url(ours), *rest) for name, (ours, *rest) in hosts.items()}
        else:
            server = stack.enter_context(external_server(folder))
            proxies = {
                name: stack.enter_context(proxied(f"127.0.0.{2 + n}", server.port)) for n, name in enumerate(NAMES)
            }
            nodes = {
                name: CuttableNode(_node(name, server.url(proxy.host, proxy.port)), proxy.stall, proxy.resume)
                for name, proxy in proxies.items()
            }
        workers = [each.node for each in nodes.values()]
        fleet = stack.enter_context(running_fleet(folder, workers, HALFTIME_DATABASE_URL=server.url()))
        yield fleet, nodes, server.url()


def why_no_namespaces() -> str | None:
    """Why this process cannot make network namespaces; None if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    try:
        with _namespace(99):
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        return f"network namespaces cannot be made here (CAP_NET_ADMIN and iproute2 are needed): {error}"


@contextlib.contextmanager
def _namespace(number: int) -> Iterator[tuple[str, str, str]]:
    """Create a namespace; return our address towards it, its name, and the name of our end of the veth pair."""
    name = f"ht{uuid.uuid4().hex[:8]}"
    ours, theirs, veth = f"{SUBNET.format(number)}.1", f"{SUBNET.format(number)}.2", f"{name}-o"
    with contextlib.ExitStack() as stack:
        _ip("netns", "add", name)
        stack.callback(_ip, "netns", "delete", name)  # removes the veth pair too
        _ip("link", "add", veth, "type", "veth", "peer", "name", "cable", "netns", name)
        _ip("address", "add", f"{ours}/30", "dev", veth)
        _ip("link", "set", veth, "up")
        _ip("-n", name, "address", "add", f"{theirs}/30", "dev", "cable")
        _ip("-n", name, "link", "set", "cable", "up")
        yield ours, name, veth


def _inside(name: str, url: str, namespace: str, veth: str) -> CuttableNode:
    prefix = ["ip", "netns", "exec", namespace]
    set_link = functools.partial(_ip, "link", "set", veth)
    return CuttableNode(
        _node(name, url, *prefix), functools.partial(set_link, "down"), functools.partial(set_link, "up")
    )


def _node(name: str, url: str, *prefix: str) -> Node:
    return Node(name, {"HALFTIME_DATABASE_URL": url}, prefix)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
