"""Lists of layers that cannot be built are refused at submit, each at its layer, with nothing allocated or stored."""

import json
import tracemalloc

import pytest
from sqlalchemy import text

from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.problem import MEDIA_TYPE

pytestmark = pytest.mark.anyio

LINEAR = {"type": "linear", "out_features": 10}
RELU = {"type": "relu"}
FLATTEN = {"type": "flatten"}
EMBEDDING = {"type": "embedding", "embedding_dim": 8}
TOKENS = {"input_shape": [16], "vocab_size": 10}
CAUSAL = TOKENS | {"task": "causal-lm"}


def model(layers, **given):
    return {"kind": "layers", "input_shape": [3, 8, 8], "layers": layers} | given


def conv(**settings):
    return {"type": "conv2d", "out_channels": 8, "kernel_size": 3} | settings


def nested(depth):
    layers = [RELU]
    for _ in range(depth):
        layers = [{"type": "residual", "layers": layers}]
    return layers


#: A model, where it is wrong, and words that must say so.
REFUSED = {
    # what does not fit
    "linear features that do not match the classes": (model([FLATTEN, LINEAR], num_classes=9), "/1", "but has [10]"),
    "no flatten before the classifier": (model([LINEAR]), "/0", "must have the output [10], but has [3, 8, 10]"),
    "a kernel larger than the image": (model([conv(), conv(kernel_size=7)]), "/1", "window of 7"),
    "pooled to nothing": (
        model([{"type": "max_pool2d", "kernel_size": 2}] * 4),
        "/3",
        "window of 2, but its padded input has the size 1",
    ),
    "groups that do not divide": (model([conv(out_channels=4, groups=2)]), "/0", "must divide its 3 input channels"),
    "groups that do not divide what goes out": (model([conv(groups=3)]), "/0", "must divide out_channels"),
    "a padding of more than half a window": (
        model([{"type": "avg_pool2d", "kernel_size": 3, "padding": 2}]),
        "/0",
        "at most half",
    ),
    "an image for a conv1d": (
        model([{"type": "conv1d", "out_channels": 3, "kernel_size": 1}]),
        "/0",
        "conv1d needs [channels, length], but its input is [3, 8, 8]",
    ),
    "a vector for a conv2d": (model([FLATTEN, conv()]), "/1", "conv2d needs [channels, height, width]"),
    "a residual that changes the shape": (
        model([conv(padding=1), {"type": "residual", "layers": [conv()]}]),
        "/1",
        "must have the same shape",
    ),
    "a fault in a residual": (
        model([RELU, {"type": "residual", "layers": [RELU, conv(kernel_size=9)]}]),
        "/1/layers/1",
        "window of 9",
    ),
    "a fault in a branch": (
        model([{"type": "parallel", "branches": [[], [RELU, FLATTEN, conv()]]}]),
        "/0/branches/1/2",
        "but its input is",
    ),
    "a fault deep down": (
        model([{"type": "parallel", "branches": [[], [{"type": "residual", "layers": [conv(groups=2)]}]]}]),
        "/0/branches/1/0/layers/0",
        "must divide its 3 input channels",
    ),
    "branches that cannot be added": (
        model([{"type": "parallel", "branches": [[], [conv()]]}]),
        "/0",
        "cannot add [8, 6, 6] of branch 1 and [3, 8, 8] of branch 0",
    ),
    "branches that cannot be joined": (
        model([{"type": "parallel", "branches": [[], [FLATTEN]], "merge": "concat"}]),
        "/0",
        "cannot concat",
    ),
    "heads that do not divide": (
        model([EMBEDDING, {"type": "self_attention", "num_heads": 3}], **TOKENS),
        "/1",
        "must divide the width",
    ),
    "group_norm of channels that do not divide": (
        model([{"type": "group_norm", "num_groups": 2}]),
        "/0",
        "must divide the 3 channels",
    ),
    "group_norm of single numbers": (
        model([LINEAR, {"type": "group_norm", "num_groups": 10}], input_shape=[4]),
        "/1",
        "single number",
    ),
    "flatten from a dimension that is not there": (
        model([FLATTEN, {"type": "flatten", "start_dim": 2}]),
        "/1",
        "start_dim 2",
    ),
    "a mean over an image": (model([{"type": "mean"}]), "/0", "mean needs [length, width]"),
    "tokens without an embedding": (model([LINEAR], **TOKENS), "/0", "put an embedding first"),
    "an embedding of numbers": (model([EMBEDDING]), "/0", "needs token IDs"),
    "a residual around an embedding": (
        model([{"type": "residual", "layers": [EMBEDDING]}], **TOKENS),
        "/0",
        "must have the same shape",
    ),
    "a sum of token ids": (model([{"type": "parallel", "branches": [[], []]}], **TOKENS), "/0", "must embed them"),
    "attention that sees what follows": (
        model([EMBEDDING, {"type": "self_attention", "num_heads": 2}], **CAUSAL),
        "/1",
        "later positions",
    ),
    "a network that reads backwards": (
        model(
            [EMBEDDING, {"type": "residual", "layers": [{"type": "lstm", "hidden_size": 4, "bidirectional": True}]}],
            **CAUSAL,
        ),
        "/1/layers/0",
        "later positions",
    ),
    "one score for a whole text": (model([EMBEDDING, {"type": "mean"}, LINEAR], **CAUSAL), "/1", "later positions"),
    "nothing that shows its precision": (model([FLATTEN], input_shape=[10]), "", "linear, a convolution"),
    # what is not on offer
    "a layer outside the allow-list": (model([RELU, {"type": "eval"}]), "/1", "must be one of"),
    "a dotted name": (model([{"type": "os.system"}]), "/0", "must be one of"),
    "a name in Unicode": (model([{"type": "ｌｉｎｅａｒ"}]), "/0", "must be one of"),
    "a type that is no name": (model([{"type": ["linear"]}]), "/0", "must be one of"),
    "no type": (model([RELU, {"out_features": 10}]), "/1", "type"),
    "no object": (model([RELU, None]), "/1", "dictionary"),
    "in-features": (model([FLATTEN, LINEAR | {"in_features": 192}]), "/1/in_features", "not permitted"),
    "an unknown field of a nested layer": (
        model([{"type": "parallel", "branches": [[RELU], [RELU | {"inplace": True}]]}]),
        "/0/branches/1/0/inplace",
        "not permitted",
    ),
    "a field with the name of its layer": (model([RELU | {"relu": 1}]), "/0/relu", "not permitted"),
    # sizes
    "no layers": (model([]), "", "at least 1"),
    "no layers in a residual": (model([{"type": "residual", "layers": []}]), "/0/layers", "at least 1"),
    "a zero size": (model([LINEAR | {"out_features": 0}]), "/0/out_features", "greater than or equal to 1"),
    "a negative size": (model([conv(stride=-1)]), "/0/stride", "greater than or equal to 1"),
    "a giant size": (model([conv(out_channels=10**9)]), "/0/out_channels", "less than or equal to"),
    "a size of 400 digits": (model([conv(padding=10**400)]), "/0/padding", "less than or equal to"),
    "a fraction": (model([conv(kernel_size=3.5)]), "/0/kernel_size", "integer"),
    "a boolean": (model([conv(kernel_size=True)]), "/0/kernel_size", "integer"),
    "a giant shape": (
        model([conv(out_channels=65_536)], input_shape=[1, 1024, 1024]),
        "/0",
        "more than 268,435,456 numbers",
    ),
    "shapes that only grow in a block": (
        model(
            [{"type": "residual", "layers": [LINEAR, LINEAR | {"out_features": 10**6}] * 2}], input_shape=[64, 64, 64]
        ),
        "/0/layers/1",
        "more than 268,435,456 numbers",
    ),
    "a probability of one": (model([{"type": "dropout", "probability": 1}]), "/0/probability", "less than 1"),
    "too many layers": (model([RELU] * 1001), "", "1,000"),
    "too many layers in blocks": (model([{"type": "residual", "layers": [RELU] * 500}] * 2), "", "1,000"),
    "too many branches": (model([{"type": "parallel", "branches": [[]] * 65}]), "/0/branches", "at most 64"),
    "too deep": (model(nested(9)), "/0" + 8 * "/layers/0", "8 deep"),
    "far too deep": (model(nested(200)), "/0" + 8 * "/layers/0", "8 deep"),
}

#: Faults of the model itself.
OF_THE_MODEL = {
    "an input of two dimensions": (model([LINEAR], input_shape=[3, 8]), "/input_shape"),
    "an input of four dimensions": (model([LINEAR], input_shape=[1, 3, 8, 8]), "/input_shape"),
    "no input": (model([LINEAR], input_shape=[]), "/input_shape"),
    "an input of size zero": (model([LINEAR], input_shape=[0]), "/input_shape/0"),
    "a negative input": (model([LINEAR], input_shape=[3, -8, 8]), "/input_shape/1"),
    "a giant input": (model([LINEAR], input_shape=[65_536, 65_536, 65_536]), "/input_shape"),
    "an image of one number": (model([FLATTEN, LINEAR], input_shape=[1, 1, 1]), "/input_shape"),
    "an image of tokens": (model([EMBEDDING], vocab_size=10), "/input_shape"),
    "a language without a vocabulary": (model([LINEAR], input_shape=[8], task="causal-lm"), "/vocab_size"),
    "a task that is not on offer": (model([LINEAR], task="ranking"), "/task"),
    "a number of layers": (model([LINEAR], num_layers=10**9), "/num_layers"),
    "layers that are no list": (model({"type": "linear"}), "/layers"),
    "layers as a name": (model("resnet"), "/layers"),
}

ATTACKS = {name: (body, "/layers" + place, words) for name, (body, place, words) in REFUSED.items()}
ATTACKS |= {name: (body, place, "") for name, (body, place) in OF_THE_MODEL.items()}


async def nothing_stored(client):
    async with client.app.state.database.sessions() as session:
        entries = "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'run_benchmark'"
        return [await session.scalar(text(count)) for count in ("SELECT count(*) FROM benchmarks", entries)] == [0, 0]


async def test_every_attack_is_refused_at_its_place(client):
    for name, (body, place, words) in ATTACKS.items():
        response = await client.post("/benchmarks", json={"model": body})
        assert response.status_code == 422, f"{name}: {response.text}"
        assert response.headers["Content-Type"] == MEDIA_TYPE
        found = {fault["loc"]: fault["msg"] for fault in response.json()["errors"]}
        assert f"/model{place}" in found, f"{name}: {found}"
        assert words in found[f"/model{place}"], f"{name}: {found}"
    assert await nothing_stored(client)


async def test_every_layer_that_is_wrong_is_named(client):
    layers = [RELU, conv(stride=0), RELU, {"type": "residual", "layers": [RELU, LINEAR | {"out_features": -1}]}]
    response = await client.post("/benchmarks", json={"model": model(layers)})
    found = [fault["loc"] for fault in response.json()["errors"]]
    assert found == ["/model/layers/1/stride", "/model/layers/3/layers/1/out_features"]


async def test_a_body_nested_beyond_any_parser_is_refused(client):
    for depth in (500, 100_000):
        opened = b'{"type": "residual", "layers": [' * depth
        body = b'{"model": {"kind": "layers", "layers": [' + opened + b"]}" * depth + b"]}}"
        response = await client.post("/benchmarks", content=body[: 2**20], headers={"Content-Type": "application/json"})
        assert response.status_code in {400, 422}
        assert response.headers["Content-Type"] == MEDIA_TYPE
    assert await nothing_stored(client)


async def test_a_megabyte_of_layers_is_refused_as_one_fault(client):
    layers = json.dumps([RELU] * 50_000)
    body = '{"model": {"kind": "layers", "layers": ' + layers + "}}"
    response = await client.post("/benchmarks", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422, response.text
    assert [fault["loc"] for fault in response.json()["errors"]] == ["/model/layers"]


async def test_a_model_of_giant_layers_is_refused_by_its_count_and_never_allocated(client):
    giants = [LINEAR | {"out_features": 10**6}] * 50 + [LINEAR]
    tracemalloc.start()
    response = await client.post("/benchmarks", json={"model": model(giants, input_shape=[65_536])})
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert response.json()["type"] == "/problems/too_many_parameters"
    assert peak_bytes < 64 * 2**20


@pytest.mark.parametrize(("batch_size", "parts", "accepted"), [(1, 1, False), (4, 4, False), (4, 2, True)])
async def test_a_batch_norm_of_vectors_needs_two_samples_at_once(client, batch_size, parts, accepted):
    layers = [LINEAR, {"type": "batch_norm"}]
    training = {"batch_size": batch_size, "gradient_accumulation": parts}
    body = {"model": model(layers, input_shape=[4]), "config": {"training": training}}
    response = await client.post("/benchmarks", json=body)
    if accepted:
        assert response.status_code == 202, response.text
    else:
        assert [fault["loc"] for fault in response.json()["errors"]] == ["/config/training/batch_size"]


async def test_the_count_is_known_at_submit(client):
    response = await client.post("/benchmarks", json={"model": model([FLATTEN, LINEAR])})
    assert response.status_code == 202, response.text
    assert response.json()["parameter_count"] == 193 * 10


async def test_a_spec_outlives_being_stored(client):
    sent = {"model": model([conv(padding=1), {"type": "residual", "layers": [RELU]}, FLATTEN, LINEAR])}
    made = (await client.post("/benchmarks", json=sent)).json()
    assert BenchmarkRequest.model_validate(made["request"]) == BenchmarkRequest.model_validate(sent)


async def test_a_label_named_like_what_it_says_keeps_its_place(client):
    body = {"model": {"kind": "layers"}, "labels": {"kind": "a", "a": "\x00"}}
    response = await client.post("/benchmarks", json=body)
    assert [fault["loc"] for fault in response.json()["errors"]] == ["/labels/a"]
