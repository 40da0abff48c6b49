"""Reads requests from files and applies options to them."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.cli.request_text import UnreadableRequest, decode, parse, require_json
from app.cli.shared import fail
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.faults import field_errors
from halftime.contract.resources.sweep import SweepRequest


def read_request(path: Path, overrides: list[str], labels: dict[str, str] | None = None) -> dict[str, Any]:
    """Reads a benchmark or sweep request and applies `--set` and `--label`. Ends the command for an invalid file.

    A path of `--set` whose first part is no field of the request is taken to be within `config`.
    """
    try:
        body = parse(decode(path.read_bytes()))
    except UnreadableRequest as error:
        fail(f"{path} {error}.", 2)
    if not isinstance(body, dict):
        fail(f"{path} is not a request: it must be an object with `model`.", 2)
    request = body.setdefault("request", {}) if is_sweep(body) else body
    if not isinstance(request, dict):
        fail(f"{path} is not a request: `request` must be an object with `model`.", 2)
    for override in overrides:
        _apply(request, override)
    if labels:
        _section(request, "labels", "--label").update(labels)
    _check(path, body)
    return body


def check_request(path: Path, body: dict[str, Any]) -> None:
    """Ends the command for a benchmark or sweep request that a server of this release would refuse."""
    contract = SweepRequest if is_sweep(body) else BenchmarkRequest
    try:
        contract.model_validate_json(json.dumps(body))
    except ValidationError as error:
        faults = [f"  {fault.loc or '/'}: {fault.msg}" for fault in field_errors(error.errors(), body)]
        fail("\n".join([f"{path} is not a valid request:", *faults]), 2)


def is_sweep(body: dict[str, Any]) -> bool:
    """Whether a request is for a sweep."""
    return "vary" in body


def _check(path: Path, body: dict[str, Any]) -> None:
    try:
        require_json(body)
    except UnreadableRequest as error:
        fail(f"{path} {error}.", 2)


def _apply(body: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals:
        fail(f"--set {override!r} must look like training.batch_size=64", 2)
    steps = dotted.split(".")
    if steps[0] not in BenchmarkRequest.model_fields:
        steps.insert(0, "config")
    place = body
    for step in steps[:-1]:
        place = _section(place, step, f"--set {dotted}")
    try:
        place[steps[-1]] = parse(text)
    except UnreadableRequest as error:
        fail(f"--set {override!r}: the value {error}.", 2)


def _section(place: dict[str, Any], name: str, option: str) -> dict[str, Any]:
    section = place.setdefault(name, {})
    if not isinstance(section, dict):
        fail(f"{option}: {name} is not an object", 2)
    return section
