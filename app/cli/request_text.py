"""Parses the text of a request, in JSON or YAML, and refuses names that an object repeats."""

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from halftime.contract.strict_json import (
    AmbiguousJson,
    InvalidJson,
    parse_json,
    pointer_below,
    repeated_in,
    require_unique,
)


class UnreadableRequest(ValueError):
    """Text that is no request in JSON or YAML; the message continues a sentence that begins with its source."""


class _Loader(yaml.SafeLoader):
    """Reads YAML with JSON's scalar types: 1e-3 is a number, and 2026-11-23 is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def decode(content: bytes) -> str:
    """Decodes text in UTF-8, UTF-16 or UTF-32, with or without a byte order mark. Raises UnreadableRequest."""
    encoding = json.detect_encoding(content)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableRequest(f"is not text in UTF-8: {error.reason} at byte {error.start}") from error


def parse(text: str) -> Any:  # noqa: ANN401 # any JSON value
    """Returns the value of text in JSON or, if it is not JSON, in YAML. Raises UnreadableRequest."""
    try:
        return parse_json(text)
    except AmbiguousJson as error:
        raise UnreadableRequest(str(error)) from error
    except InvalidJson as error:
        return _parse_other_than_json(text, error)


def require_json(value: object) -> None:
    """Raises UnreadableRequest for what JSON in UTF-8 cannot represent: dates, infinities, half a surrogate pair."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        raise UnreadableRequest(f"has a lone surrogate, {half}, which is half of a character") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise UnreadableRequest(
            f"has a value that JSON does not allow: {error}. Use finite numbers, text, lists and objects"
        ) from error


def _parse_other_than_json(text: str, not_json: InvalidJson) -> Any:  # noqa: ANN401 # any JSON value
    """Parses YAML; where text that looks like JSON is not YAML either, its author wants to know the error of JSON."""
    try:
        return _parse_yaml(text)
    except AmbiguousJson as error:
        raise UnreadableRequest(str(error)) from error
    except RecursionError as error:
        raise UnreadableRequest("is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a value does not fit its tag, such as `!!int`
        if text.lstrip().startswith(("{", "[")):
            raise UnreadableRequest(f"is not JSON: {not_json}") from not_json
        raise UnreadableRequest(f"is neither JSON nor YAML: {_reason(error)}") from error


def _parse_yaml(text: str) -> Any:  # noqa: ANN401 # any JSON value
    loader = _Loader(text)
    document = loader.get_single_node()
    if document is None:
        return None
    require_unique(_repeated_keys(document))
    return loader.construct_document(document)


def _reason(error: yaml.YAMLError | ValueError) -> str:
    """Returns the reason in one line, with the line and column as in an error of JSON."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem}"
    return str(error).partition("\n")[0]


def _repeated_keys(document: yaml.Node) -> Iterator[str]:
    """Yields a JSON pointer to every key that a mapping repeats; each node counts once, because aliases share nodes."""
    pending, seen = [("", document)], set[int]()
    for place, node in pending:  # which grows as it goes
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys = [(str(key.value), value) for key, value in node.value]
            yield from (pointer_below(place, name) for name in repeated_in(name for name, _ in keys))
            pending += [(pointer_below(place, name), value) for name, value in keys]
        elif isinstance(node, yaml.SequenceNode):
            pending += [(pointer_below(place, index), value) for index, value in enumerate(node.value)]
