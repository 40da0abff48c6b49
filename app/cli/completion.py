"""What the shell completes."""

import typer

from halftime.client import Client, ClientError

#: A shell does not wait for long.
PATIENCE_SECONDS = 2.0

NEWEST = 50


def benchmark_ids(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The newest benchmarks' ids, each with its status; none where no server answers."""
    try:
        with Client(ctx.params.get("server"), timeout_seconds=PATIENCE_SECONDS, retries=0) as client:
            found = client.list(limit=NEWEST).items
    except (ClientError, ValueError):
        return []
    return [(item.id, f"{item.status} {item.model_name}") for item in found if item.id.startswith(incomplete)]
