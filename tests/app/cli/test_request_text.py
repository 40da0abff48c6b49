"""Requests are read as JSON or YAML; what parsers would read differently is refused with its place."""

import codecs
import json

import pytest
import typer

from app.cli.request_text import UnreadableRequest, decode, parse, require_json
from app.cli.requests import read_request


def refused(text):
    with pytest.raises(UnreadableRequest) as raised:
        require_json(parse(text))
    return str(raised.value)


def test_json_is_read_as_json_has_it():
    written = json.dumps({"note": "\N{GRINNING FACE} 日本"}, indent="\t")
    assert "\\ud83d\\ude00" in written
    assert parse(written) == {"note": "\N{GRINNING FACE} 日本"}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"], ids=lambda name: codecs.lookup(name).name
)
def test_json_may_have_any_unicode_encoding(encoding):
    assert parse(decode('{"note": "naïve"}'.encode(encoding))) == {"note": "naïve"}


def test_yaml_may_begin_like_json():
    assert parse("{kind: mlp, betas: [.9, .95]}") == {"kind": "mlp", "betas": [0.9, 0.95]}


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('{"config": {"training": {"steps": 1, "steps": 2}}}', "/config/training/steps"),
        ('{"layers": [{"a/b": 1, "a/b": 2}]}', "/layers/0/a~1b"),
        ('{"a": {"b": 1, "b": 2}, "a": {"c": 1, "c": 2}}', "/a, /a/c"),
        ("config:\n  training:\n    steps: 1\n    'steps': 2", "/config/training/steps"),
        ("{a: [{b: 1, b: 2}]}", "/a/0/b"),
        ("one: &one {x: 1, x: 2}\ntwo: *one", "/one/x"),
    ],
)
def test_a_name_that_is_set_twice_is_refused_with_its_path(text, places):
    assert refused(text) == f"sets {places} more than once; keep one of them"


def test_yaml_may_override_what_it_merges():
    assert parse("base: &base {x: 1}\nown: {<<: *base, x: 2}")["own"] == {"x": 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1,\n "b": 2 "c": 3}', "is not JSON: line 2, column 9: "),
        ("[", "is not JSON: line 1, column 2: "),
        ("[" * 5000 + "]" * 5000, "is nested too deeply"),
        ("a: b: c", "is neither JSON nor YAML: line 1, column 5: "),
        ("a: !!int x", "is neither JSON nor YAML: "),
        ("a: !!python/name:os.system x", "is neither JSON nor YAML: "),
        ("1" + "0" * 5000, "is neither JSON nor YAML: Exceeds the limit"),
        ('a: "\x00"', "is neither JSON nor YAML: unacceptable character"),
        ('{"a": NaN}', "contains NaN"),
        ('{"a": -Infinity}', "contains -Infinity"),
        ('{"a": 1e999}', "has a value that JSON does not allow"),
        ("a: .nan", "has a value that JSON does not allow"),
        ("a: !!binary eA==", "has a value that JSON does not allow"),
        ("a: &a [*a]", "has a value that JSON does not allow"),
        ('{"a": "\\ud83d"}', r"has a lone surrogate, '\ud83d'"),
    ],
)
def test_what_is_no_request_is_refused_with_the_reason(text, words):
    assert refused(text).startswith(words)


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(UnreadableRequest, match=r"not text in UTF-8: .* at byte 5"):
        decode(b"note:\xe9\n")


@pytest.mark.parametrize("override", ['a={"b": 1, "b": 2}', "a=NaN", 'labels.note="\\ud83d"', "a=[1"])
def test_a_set_is_read_as_strictly(tmp_path, override, capsys):
    path = tmp_path / "a.json"
    path.write_text('{"model": {"kind": "mlp"}}')
    with pytest.raises(typer.Exit) as caught:
        read_request(path, [override])
    assert caught.value.exit_code == 2
    assert capsys.readouterr().err
