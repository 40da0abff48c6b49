"""What a request may say about data and plugins, and what is refused before anything is stored."""

import pytest
from pydantic import ValidationError

from halftime.contract.models import PluginSpec
from halftime.contract.request.data import DATA_KINDS, ArraysData, LoaderConfig, PluginData, TextData
from halftime.contract.request.plugin import MAX_ARGUMENT_CHARACTERS, MAX_ARGUMENT_DEPTH
from halftime.contract.request.request import BenchmarkRequest

pytestmark = pytest.mark.anyio


async def refusal(client, data=None, model=None):
    body = {"model": model or {"kind": "transformer"}} | ({"config": {"data": data}} if data else {})
    response = await client.post("/benchmarks", json=body)
    assert response.status_code == 422, response.text
    (fault,) = response.json()["errors"]
    return fault["loc"]


BAD_NAMES = [
    "/etc/passwd",
    "../secret.txt",
    "a/../../b",
    "a/./b",
    "a//b",
    "folder/",
    ".",
    "",
    "a\x00b",
    "a\nb",
    "\x1b[31m",
    "\x85",
    "a" * 256,
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
async def test_a_name_that_is_no_relative_path_is_refused(client, name):
    assert await refusal(client, {"kind": "text", "name": name}) == "/config/data/name"


@pytest.mark.parametrize("name", [*BAD_NAMES, "digits.pkl", "digits.npz.py", "digits"], ids=ascii)
def test_arrays_are_of_a_kind_that_holds_no_code(name):
    with pytest.raises(ValidationError):
        ArraysData(name=name)


@pytest.mark.parametrize("name", ["corpus.txt", "more/corpus.txt", "ünï ©.txt", "..x", "a..b", "~/x", "C:x", "a\\b"])
def test_any_other_name_is_a_name(name):
    assert TextData(name=name).name == name


@pytest.mark.parametrize("kind", DATA_KINDS)
def test_every_kind_of_data_may_have_a_loader(kind):
    required = {"arrays": {"name": "a.npz"}, "plugin": {"name": "rings"}}.get(kind, {})
    data = {"kind": kind, "loader": {"workers": 3, "pin_memory": False}} | required
    request = BenchmarkRequest.model_validate({"model": {"kind": "mlp"}, "config": {"data": data}})
    assert request.config.data.loader == LoaderConfig(workers=3, pin_memory=False)
    assert request.config.data.kind == kind


@pytest.mark.parametrize("loader", [{"workers": -1}, {"workers": 65}, {"workers": True}, {"prefetch": 2}])
async def test_a_loader_beyond_its_bounds_is_refused(client, loader):
    (field,) = loader
    assert await refusal(client, {"kind": "synthetic", "loader": loader}) == f"/config/data/loader/{field}"


@pytest.mark.parametrize("name", ["os:system", "a b", "", "../x", "x" * 65, "a/b", "é"])
async def test_the_name_of_a_plugin_is_a_word(client, name):
    assert await refusal(client, {"kind": "plugin", "name": name}) == "/config/data/name"
    assert await refusal(client, model={"kind": "plugin", "name": name}) == "/model/name"


def nested(levels):
    return [] if levels == 0 else [nested(levels - 1)]


@pytest.mark.parametrize(
    "arguments",
    [
        {"deep": nested(MAX_ARGUMENT_DEPTH)},
        {"deep": nested(900)},
        {"long": "x" * MAX_ARGUMENT_CHARACTERS},
        {"many": [0] * MAX_ARGUMENT_CHARACTERS},
        {"number": float("nan")},
        {"number": [{"inner": float("inf")}]},
        {"text": "a\x00b"},
        {"text": {"a\x00b": 1}},
        {"text": "\ud800"},
        {"not a name": 1},
        {"x" * 65: 1},
    ],
    ids=lambda arguments: next(iter(arguments))[:10],
)
@pytest.mark.parametrize("kind", [PluginData, PluginSpec])
def test_arguments_are_bounded(kind, arguments):
    with pytest.raises(ValidationError):
        kind(name="one", arguments=arguments)


def test_arguments_are_any_json():
    arguments = {"a": 1, "b": [1.5, None, True, {"c": "line\nline"}], "deep": nested(MAX_ARGUMENT_DEPTH - 1)}
    assert PluginSpec(name="one", arguments=arguments).arguments == arguments
