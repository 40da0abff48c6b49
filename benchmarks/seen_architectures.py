"""Architectures that users tried at toy size: what they saw, and what becomes of each now."""

import json
from pathlib import Path

from testing.architectures.outcome import outcome

SEEN = Path("testing/architectures/seen.json")


def measure() -> dict[str, object]:
    """Task, architecture, and the outcome before and after, per request; FP32 and BF16 on this machine's CPU."""
    return {"architectures": [_row(entry["model"], entry["seen"]) for entry in json.loads(SEEN.read_text())]}


def _row(model: dict[str, object], seen: str) -> dict[str, object]:
    return {"task": model["task"], "model_type": model["model_type"], "before": seen, "after": outcome(model)}
