"""JSON without the choices that are left to parsers, and numbers in another notation than the contract's."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.faults import field_errors
from halftime.contract.strict_json import AmbiguousJson, InvalidJson, parse_json, repeated_names

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_what_json_can_say_is_read_as_it_was_written(value):
    for is_ascii in (True, False):
        assert parse_json(json.dumps(value, ensure_ascii=is_ascii)) == value
        assert repeated_names(json.dumps(value, ensure_ascii=is_ascii)) == []


def test_every_repeated_name_has_its_path():
    text = '{"a": [{"b": 1, "b": 2}], "a/~": 1, "a/~": {"c": 1, "c": 2, "c": 3}}'
    assert repeated_names(text) == ["/a~1~0", "/a~1~0/c", "/a/0/b"]
    with pytest.raises(AmbiguousJson, match="/a/0/b"):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1,\n  "b"}', "line 2, column 6: "),
        ("", "line 1, column 1: "),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "Exceeds the limit"),
        (b'{"a": "\xff"}', "can't decode byte"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(text, words):
    with pytest.raises(InvalidJson, match=words):
        parse_json(text)


def message(field, written):
    body = json.loads(f'{{"model": {{"kind": "mlp"}}, "config": {{"training": {{"{field}": {written}}}}}}}')
    with pytest.raises(ValidationError) as raised:
        BenchmarkRequest.model_validate(body)
    (fault,) = field_errors(raised.value.errors(), body)
    assert fault.loc == f"/config/training/{field}"
    return fault.msg


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("1e2", "must be an integer, written without a decimal point or exponent: 100"),
        ("16.0", "must be an integer, written without a decimal point or exponent: 16"),
        ('"100"', "must be an integer, written without quotes: 100"),
        ('"1e2"', "must be an integer, written without quotes: 100"),
        ("6.5", "Input should be a valid integer"),
        ("1e30", "Input should be a valid integer"),
        ("1e999", "Input should be a valid integer"),
        ("true", "Input should be a valid integer"),
        ('"many"', "Input should be a valid integer"),
    ],
)
def test_an_integer_in_another_notation_is_told_in_the_right_one(written, words):
    assert message("steps", written) == words


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ('"1e-3"', "must be a number, written without quotes: 0.001"),
        ("true", "Input should be a valid number"),
        ('"small"', "Input should be a valid number"),
    ],
)
def test_a_number_in_quotes_is_told_without_them(written, words):
    assert message("learning_rate", written) == words
