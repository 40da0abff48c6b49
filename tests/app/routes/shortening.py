"""Recorded answers, as short as somebody reads them."""

import json
from collections import Counter

#: Of every list, and of every section of a CSV; of entries that hold others one is enough, as of a report's trials.
ENTRIES = 2

#: Characters.
LINE = 120


def shortened(answer):
    """The answer with the first entries of every list, and of every section of a CSV."""
    if isinstance(answer, dict):
        return {key: shortened(part) for key, part in answer.items()}
    if isinstance(answer, list):
        return [shortened(part) for part in answer[: 1 if any(map(_is_deep, answer)) else ENTRIES]]
    return _few_of_each_section(answer) if isinstance(answer, str) and answer.startswith("section,") else answer


def _is_deep(entry):
    return isinstance(entry, dict) and any(isinstance(part, dict | list) for part in entry.values())


def _few_of_each_section(table):
    seen, kept = Counter(), []
    for line in table.splitlines(keepends=True):
        section = line.split(",")[0]
        seen[section] += 1
        if seen[section] <= ENTRIES:
            kept.append(line)
    return "".join(kept)


def written(value, depth=0):
    """JSON, indented by a space, with as much on a line as fits."""
    whole = json.dumps(value, ensure_ascii=False)
    if depth + len(whole) < LINE or not isinstance(value, dict | list) or not value:
        return whole
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {written(part, depth + 1)}" for key, part in value.items()]
    else:
        parts = [written(part, depth + 1) for part in value]
    inner, outer = "\n" + " " * (depth + 1), "\n" + " " * depth
    return whole[0] + inner + f",{inner}".join(_filled(parts, LINE - depth - 2)) + outer + whole[-1]


def _filled(parts, width):
    """Lines of parts; one that takes several lines itself stands alone."""
    lines = []
    for part in parts:
        joined = f"{lines[-1]}, {part}" if lines else ""
        if lines and "\n" not in joined and len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(part)
    return lines
