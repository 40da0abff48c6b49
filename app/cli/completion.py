"""Shell completion of arguments."""

import typer

from halftime.client import Client, ClientError

#: Kept short because the shell waits for the completion.
TIMEOUT_SECONDS = 2.0

NEWEST = 50


def benchmark_ids(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Returns the newest benchmarks' IDs, each with its status; empty when no server answers."""
    try:
        with Client(ctx.params.get("server"), timeout_seconds=TIMEOUT_SECONDS, retries=0) as client:
            items = client.list(limit=NEWEST).items
    except (ClientError, ValueError):
        return []
    return [(item.id, f"{item.status} {item.model_name}") for item in items if item.id.startswith(incomplete)]
