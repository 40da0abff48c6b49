"""Bad input gets a 4xx problem with the place of the fault, and stores nothing."""

import json

import pytest
from sqlalchemy import text

from halftime.contract.resources.problem import MEDIA_TYPE

pytestmark = pytest.mark.anyio

MODEL = {"kind": "transformer"}


def training(**settings):
    return {"model": MODEL, "config": {"training": settings}}


def gpt2(**config):
    return {"model": {"kind": "transformers", "preset": "gpt2", "config": config}}


def architecture(**fields):
    return {"model": {"kind": "transformers"} | fields}


def classifier(**fields):
    return architecture(preset="bert-base", task="sequence-classification", **fields)


INVALID = {
    "unknown field": ({"model": MODEL, "modle": 1}, "/modle"),
    "unknown field deep down": (training(stepz=3), "/config/training/stepz"),
    "no model": ({}, "/model"),
    "model without a kind": ({"model": {}}, "/model"),
    "unknown kind": ({"model": {"kind": "rnn"}}, "/model"),
    "heads do not divide the width": ({"model": MODEL | {"hidden_size": 250}}, "/model"),
    "a size too small for a model": ({"model": MODEL | {"num_layers": 0}}, "/model/num_layers"),
    "a string for a number": (training(steps="60"), "/config/training/steps"),
    "a boolean for a number": (training(steps=True), "/config/training/steps"),
    "a float for an integer": (training(steps=6.5), "/config/training/steps"),
    "too small": (training(batch_size=0), "/config/training/batch_size"),
    "too large": (training(steps=10**30), "/config/training/steps"),
    "warm-up as long as the run": (training(steps=5, warmup_steps=5), "/config/training"),
    "accumulation does not divide": (training(batch_size=10, gradient_accumulation=3), "/config/training"),
    "an optimizer without a fused step": (
        training(optimizer="adafactor", optimizer_implementation="fused"),
        "/config/training/optimizer_implementation",
    ),
    "clipping twice": (training(max_grad_value=1.0), "/config/training/max_grad_value"),
    "a scaler that never backs off": (
        training(grad_scaler={"backoff_factor": 1}),
        "/config/training/grad_scaler/backoff_factor",
    ),
    "fewer blocks than least": (
        {"model": MODEL, "config": {"measurement": {"min_blocks": 9, "max_blocks": 8}}},
        "/config/measurement",
    ),
    "one block": ({"model": MODEL, "config": {"measurement": {"min_blocks": 1}}}, "/config/measurement/min_blocks"),
    "candidates repeat": ({"model": MODEL, "config": {"candidates": ["fp16", "fp16"]}}, "/config"),
    "no candidates": ({"model": MODEL, "config": {"candidates": []}}, "/config/candidates"),
    "tf32 on a CPU": ({"model": MODEL, "config": {"device": "cpu", "candidates": ["tf32"]}}, "/config"),
    "a GPU name on a CPU": ({"model": MODEL, "config": {"device": "cpu", "gpu": "H200"}}, "/config"),
    "a label with a NUL": ({"model": MODEL, "labels": {"a": "\x00"}}, "/labels/a"),
    "a label key with a blank": ({"model": MODEL, "labels": {"a b": "c"}}, "/labels/a b"),
    "remote code": (gpt2(auto_map={"AutoModel": "evil/repo--model.Model"}), "/model/config/auto_map"),
    "trust in remote code": (gpt2(trust_remote_code=True), "/model/config/trust_remote_code"),
    "remote code deep down": (gpt2(text_config={"auto_map": {}}), "/model/config/text_config/auto_map"),
    "a name to download": (gpt2(name_or_path="gpt2"), "/model/config/name_or_path"),
    "an attention kernel to download": (gpt2(attn_implementation="a"), "/model/config/attn_implementation"),
    "a private setting": (gpt2(_attn_implementation_internal="a"), "/model/config/_attn_implementation_internal"),
    "a pretrained backbone": (gpt2(use_pretrained_backbone=True), "/model/config/use_pretrained_backbone"),
    "quantisation": (gpt2(quantization_config={}), "/model/config/quantization_config"),
    "checkpointing in the config": (gpt2(gradient_checkpointing=True), "/model/config/gradient_checkpointing"),
    "attentions in the config": (gpt2(output_attentions=True), "/model/config/output_attentions"),
    "another architecture": (gpt2(model_type="llama"), "/model/config/model_type"),
    "one label": (classifier(config={"num_labels": 1}), "/model/config/num_labels"),
    "one named label": (classifier(config={"id2label": {"0": "x"}}), "/model/config/id2label"),
    "classes twice": (classifier(config={"num_labels": 7}, num_classes=3), "/model/config/num_labels"),
    "a regression": (classifier(config={"problem_type": "regression"}), "/model/config/problem_type"),
    "a class with a NUL": (classifier(config={"id2label": {"0": "\0", "1": "b"}}), "/model/config/id2label"),
    "a backbone to download": (gpt2(backbone="resnet50"), "/model/config/backbone"),
    "a module by name": (gpt2(structure_module="os"), "/model/config/structure_module"),
    "experts to download": (gpt2(experts_implementation="a/b"), "/model/config/experts_implementation"),
    "image sizes that differ": (
        architecture(preset="vit-base", image_size=32, config={"image_size": 64}),
        "/model/config/image_size",
    ),
    "an image model of clusters": (architecture(model_type="imagegpt", task="image-classification"), "/model/task"),
    "a path for a word": (gpt2(activation_function="../../etc/passwd"), "/model/config/activation_function"),
    "a Unicode setting": (gpt2(**{"n_láyer": 3}), "/model/config/n_láyer"),
    "a setting with a slash": (gpt2(**{"a/b": 3}), "/model/config/a~1b"),
    "a billion layers": (gpt2(n_layer=10**9), "/model/config/n_layer"),
    "no layers": (gpt2(n_layer=0), "/model/config/n_layer"),
    "a negative width": (gpt2(n_embd=-8), "/model/config/n_embd"),
    "a giant vocabulary": (gpt2(vocab_size=10**9), "/model/config/vocab_size"),
    "a giant number": (gpt2(layer_norm_epsilon=1e300), "/model/config/layer_norm_epsilon"),
    "a giant depth of a stage": (gpt2(depths=[3, 10**6]), "/model/config/depths/1"),
    "a config nested too deeply": (gpt2(a={"b": {"c": {"d": {"e": 1}}}}), "/model/config/a/b/c/d"),
    "a config of many values": (gpt2(layer_types=["full_attention"] * 5000), "/model/config"),
    "a config that is a list": (architecture(preset="gpt2", config=[]), "/model/config"),
    "no architecture": (architecture(), "/model/preset"),
    "two architectures": (architecture(preset="gpt2", model_type="gpt2"), "/model/preset"),
    "an unknown preset": (architecture(preset="gpt9"), "/model/preset"),
    "an unknown architecture": (architecture(model_type="gpt9", task="causal-lm"), "/model/model_type"),
    "an architecture without a task": (architecture(model_type="gpt2"), "/model/task"),
    "a task the architecture has not": (architecture(preset="gpt2", task="seq2seq"), "/model/task"),
    "an architecture that sees ahead": (architecture(model_type="xlnet", task="causal-lm"), "/model/task"),
    "one that always reads both ways": (architecture(model_type="cpmant", task="causal-lm"), "/model/task"),
    "an architecture that drafts": (architecture(model_type="gemma4_assistant", task="causal-lm"), "/model/task"),
    "a sequence of images": (architecture(preset="vit-base", sequence_length=8), "/model/sequence_length"),
    "an image of text": (architecture(preset="gpt2", image_size=32), "/model/image_size"),
    "classes of a language model": (architecture(preset="gpt2", num_classes=2), "/model/num_classes"),
    "nothing to hide": (architecture(preset="bert-base", sequence_length=2), "/model/sequence_length"),
    "a list for an object": ({"model": [MODEL]}, "/model"),
    "null": (None, ""),
    "a list": ([], ""),
}


async def nothing_stored(client):
    async with client.app.state.database.sessions() as session:
        entries = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'run_benchmark'"
        return [await session.scalar(text(count)) for count in ("SELECT count(*) FROM benchmarks", entries)] == [0, 0]


@pytest.mark.parametrize("name", INVALID)
async def test_an_invalid_request_is_refused_at_its_fault(client, name):
    body, place = INVALID[name]
    response = await client.post("/benchmarks", json=body)
    assert response.status_code == 422, response.text
    assert response.headers["Content-Type"] == MEDIA_TYPE
    problem = response.json()
    assert problem["status"] == 422
    assert place in [fault["loc"] for fault in problem["errors"]]
    assert await nothing_stored(client)


RAW = {
    "NaN": (b'{"model": {"kind": "mlp"}, "config": {"training": {"learning_rate": NaN}}}', 422),
    "NaN in a config": (b'{"model": {"kind": "transformers", "preset": "gpt2", "config": {"a": NaN}}}', 422),
    "an integer beyond any float": (
        b'{"model": {"kind": "transformers", "preset": "gpt2", "config": {"a": 1' + b"0" * 400 + b"}}}",
        422,
    ),
    "Infinity": (b'{"model": {"kind": "mlp"}, "config": {"timeout_seconds": Infinity}}', 422),
    "1e999": (b'{"model": {"kind": "mlp"}, "config": {"training": {"learning_rate": 1e999}}}', 422),
    "a lone surrogate": (b'{"model": {"kind": "mlp"}, "labels": {"a": "\\ud800"}}', 422),
    "a lone surrogate as a name": (b'{"model": {"kind": "mlp"}, "\\ud800": 1}', 422),
    "not JSON": (b"{", 400),
    "not UTF-8": (b'{"model": "\xff"}', 400),
    "deeply nested lists": (b"[" * 100_000, 400),
    "deeply nested objects": (b'{"model":' * 50_000, 400),
    "an integer of 5,000 digits": (b'{"priority": ' + b"9" * 5000 + b"}", 400),
    "nothing": (b"", 422),
}


@pytest.mark.parametrize("name", RAW)
async def test_a_body_that_cannot_be_read_is_refused(client, name):
    body, status = RAW[name]
    response = await client.post("/benchmarks", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == MEDIA_TYPE
    assert await nothing_stored(client)


@pytest.mark.parametrize("path", ["/benchmarks", "/benchmarks?validate_only=true", "/sweeps"])
async def test_a_name_that_is_set_twice_is_refused_at_its_place(client, path):
    body = b'{"model": {"kind": "mlp"}, "config": {"training": {"steps": 8, "steps": 9}}}'
    response = await client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422, response.text
    assert response.json()["errors"] == [
        {"loc": "/config/training/steps", "msg": "is set more than once", "type": "repeated_name"}
    ]
    assert await nothing_stored(client)


async def test_a_body_that_is_not_json_is_refused_with_the_place(client):
    headers = {"Content-Type": "application/json"}
    response = await client.post("/benchmarks", content=b'{"model": 1,\n "config" 2}', headers=headers)
    assert response.status_code == 400
    assert "line 2, column 11: Expecting ':' delimiter" in response.json()["detail"]


async def test_an_integer_with_an_exponent_is_told_without_it(client):
    headers = {"Content-Type": "application/json"}
    body = b'{"model": {"kind": "mlp"}, "config": {"training": {"steps": 1e2}}}'
    problem = (await client.post("/benchmarks", content=body, headers=headers)).json()
    assert [fault["msg"] for fault in problem["errors"]] == [
        "must be an integer, written without a decimal point or exponent: 100"
    ]


#: Values that a request may nest as it likes, as far as the contract goes.
NESTED = {
    "a setting": '{"model": {"kind": "transformers", "preset": "gpt2", "config": {"a": %s}}}',
    "a plugin's argument": '{"model": {"kind": "plugin", "name": "x", "arguments": {"a": %s}}}',
    "a list of layers": '{"model": {"kind": "layers", "input_shape": [3], "layers": %s}}',
}


@pytest.mark.parametrize("place", NESTED)
@pytest.mark.parametrize("depth", [30, 300, 900, 10_000])
async def test_a_value_nested_too_deeply_is_refused_whether_it_can_be_parsed_or_not(client, place, depth):
    for opened, closed in (("[", "]"), ('{"type": "residual", "layers": [', "]}"), ('{"a":', "}")):
        value = opened * depth + ("1" if opened.endswith(":") else "") + closed * depth
        body = NESTED[place] % value
        response = await client.post("/benchmarks", content=body, headers={"Content-Type": "application/json"})
        assert response.status_code in {400, 422}, response.text
        assert response.headers["Content-Type"] == MEDIA_TYPE
    assert await nothing_stored(client)


async def test_a_body_that_is_not_called_json_says_how_to_send_it(client):
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    response = await client.post("/benchmarks", content=b'{"model": {"kind": "mlp"}}', headers=form)
    assert response.status_code == 422
    assert "Content-Type: application/json" in response.json()["detail"]


async def test_a_body_over_the_limit_is_refused_while_it_arrives(client, settings):
    async def endless():
        for _ in range(settings.max_body_bytes // 1024 + 2):
            yield b" " * 1024

    response = await client.post("/benchmarks", content=endless(), headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert response.json()["type"] == "/problems/body_too_large"
    assert await nothing_stored(client)


async def test_the_offending_input_is_never_echoed(client):
    secret = "hunter2-hunter2"  # noqa: S105
    response = await client.post("/benchmarks", json={"model": {"kind": secret}, "labels": secret})
    assert response.status_code == 422
    assert secret not in response.text


async def test_a_model_over_the_limit_is_refused_from_its_count(client):
    body = {"model": MODEL | {"hidden_size": 65_536, "num_heads": 1, "num_layers": 512}}
    response = await client.post("/benchmarks", json=body)
    assert response.status_code == 422
    assert response.json()["type"] == "/problems/too_many_parameters"
    assert "HALFTIME_MAX_PARAMETERS" in response.json()["detail"]
    assert await nothing_stored(client)


@pytest.mark.parametrize("path", ["", "/report", "/trace?leg=bf16", "/events", "/logs"])
async def test_an_id_that_is_no_id_is_refused(client, path):
    assert (await client.get(f"/benchmarks/not-an-id{path}")).status_code == 422


@pytest.mark.parametrize("path", ["", "/report", "/trace?leg=bf16", "/events", "/logs"])
async def test_an_unknown_id_is_not_found(client, path):
    response = await client.get(f"/benchmarks/00000000-0000-7000-8000-000000000000{path}")
    assert response.status_code == 404
    assert response.headers["Content-Type"] == MEDIA_TYPE


@pytest.mark.parametrize(
    "params",
    [
        {"cursor": "x"},
        {"cursor": "AAAA"},
        {"cursor": "é"},
        {"limit": 0},
        {"limit": 201},
        {"limit": "many"},
        {"status": "sleeping"},
        {"label": "no-colon"},
        {"label": "a:\x00"},
        {"created_after": "yesterday"},
        {"created_after": "2026-01-01T00:00:00"},
        {"created_after": "0.5"},
        {"created_after": "6.850158489479364e-199"},
        {"created_after": "1_767_225_600"},
        {"created_before": "-1767225600"},
        {"model_kind": "\x00"},
    ],
)
async def test_a_bad_list_parameter_is_refused(client, params):
    response = await client.get("/benchmarks", params=params)
    assert response.status_code == 422, response.text
    assert response.headers["Content-Type"] == MEDIA_TYPE


async def test_an_unknown_path_and_method_are_problems_too(client):
    for response in (await client.get("/nothing"), await client.put("/benchmarks")):
        assert response.status_code in {404, 405}
        assert response.headers["Content-Type"] == MEDIA_TYPE


async def test_a_method_that_is_not_allowed_is_answered_with_those_that_are(client):
    allowed = [(await client.options(path)).headers["Allow"] for path in ("/benchmarks", "/livez")]
    assert allowed == ["GET, HEAD, POST", "GET, HEAD"]
    one = await client.put("/benchmarks/00000000-0000-7000-8000-000000000000")
    assert one.headers["Allow"] == "DELETE, GET, HEAD"


async def test_a_format_nobody_offers_is_not_acceptable(client):
    made = (await client.post("/benchmarks", json={"model": {"kind": "mlp"}})).json()
    response = await client.get(f"/benchmarks/{made['id']}/report", headers={"Accept": "image/png"})
    assert response.status_code == 406


async def test_every_problem_fits_its_schema(client):
    schemas = client.app.openapi()["components"]["schemas"]
    problem = (await client.post("/benchmarks", json={})).json()
    assert set(problem) == set(schemas["ValidationProblem"]["properties"])
    json.dumps(problem, allow_nan=False)
