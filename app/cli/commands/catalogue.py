"""The command `models`: lists the kinds of model and data that a request can name."""

import json
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from app.cli.shared import SERVER, JsonOption, ServerOption, cli, connected, out, print_json
from app.reports.text.sanitize import safe_text
from halftime.contract.resources.catalogue import Kind


@cli.command()
def models(server: ServerOption = SERVER, as_json: JsonOption = False) -> None:
    """Lists the kinds of model and data with their defaults, and the model presets."""
    with connected(server) as client:
        catalogue = client.models()
    if as_json:
        print_json(catalogue)
        return
    out.print(_table("Models", catalogue.models))
    for kind in catalogue.models:
        presets = _choices(kind.json_schema.get("properties", {}).get("preset", {}))
        if presets:
            out.print(safe_text(f"Presets of {kind.kind}: {', '.join(presets)}", most=4000))
    out.print(_table("Data", catalogue.data))


def _table(title: str, kinds: Sequence[Kind]) -> Table:
    table = Table("Kind", "What it is", "Defaults", title=title)
    for kind in kinds:
        defaults = {name: value for name, value in kind.defaults.items() if name != "kind" and value is not None}
        defaults_text = ", ".join(f"{name}: {json.dumps(value)}" for name, value in defaults.items())
        table.add_row(
            safe_text(kind.kind),
            safe_text(kind.description.split("\n", maxsplit=1)[0]),
            safe_text(defaults_text, most=4000),
        )
    return table


def _choices(schema: dict[str, Any]) -> list[str]:
    return [str(choice) for part in [schema, *schema.get("anyOf", [])] for choice in part.get("enum", [])]
