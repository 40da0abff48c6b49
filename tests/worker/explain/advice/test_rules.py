"""Rules that hold on any device: advice with evidence, and none without."""

import math

import pytest

from halftime.contract.report.report import Capacity
from tests.worker.explain.advice.reported import (
    CPU,
    GIB,
    GPU,
    advice_on,
    asked,
    memory,
    multiplying,
    plain_trial,
    range_of,
    row,
)

CONVNET = {"kind": "convnet", "image_size": 8, "widths": [16, 32], "num_classes": 4}
GPT2 = {"kind": "transformers", "preset": "gpt2", "sequence_length": 64}

#: 6 of 10 ms do not grow with the batch, of which 2 ms are certain.
MOSTLY_FIXED = [
    row("optimizer", 1),
    row("gradient_scaling_and_clipping", 1),
    row("host", 2),
    row("elementwise", 2, "launches", 0.5),
    row("matrix_products", 4, "compute", 0.8),
]


@pytest.fixture(autouse=True)
def _with_a_compiler(monkeypatch):
    monkeypatch.setattr("worker.explain.advice.compiling.why_no_compiler", lambda device: None)


def test_a_larger_batch_where_much_of_a_step_does_not_grow_with_it():
    advice = advice_on(MOSTLY_FIXED)["larger_batch"]
    assert range_of(advice) == pytest.approx((20 / 18, 20 / 15, 20 / 14))
    assert advice.request["config"]["training"]["batch_size"] == 16
    assert "4.0 GiB of 16.0 GiB" in advice.evidence


def test_part_of_a_step_may_be_little_of_it():
    advice = advice_on([row("optimizer", 1), row("matrix_products", 9, "compute", 0.8)])["larger_batch"]
    assert "part of a step takes the same time" in advice.text


@pytest.mark.parametrize(("data", "fits"), [({}, False), ({"loader": {}}, True)], ids=["on the device", "by a loader"])
def test_batches_that_wait_on_the_device_grow_too(data, fits):
    """Of 9 GiB, 1 GiB is the step's peak; twice as much of all would be 18 GiB of 16."""
    request = asked(data={"kind": "synthetic"} | data)
    found_advice = advice_on(MOSTLY_FIXED, request, occupied_bytes=9 * GIB)
    assert ("larger_batch" in found_advice) is fits


def test_on_a_gpu_the_wait_for_the_host_may_vanish():
    advice = advice_on(MOSTLY_FIXED, asked(device=GPU), GPU)["larger_batch"]
    assert range_of(advice)[2] == pytest.approx(20 / 12)


def test_weights_that_are_cast_and_multiplied_may_be_what_takes_the_time():
    """12 bytes per weight are cast, and 6 multiplied: half of the casts' bytes, and all of the products'."""
    rows = [
        row("optimizer", 1),
        row("casts_and_copies", 4, "memory", 0.8, least_bytes=24_000),
        row("matrix_products", 5, "memory", 0.8, least_bytes=6_000),
    ]
    low, value, high = range_of(advice_on(rows)["larger_batch"])
    assert (low, value, high) == pytest.approx((20 / 19, 20 / 19, 20 / 12))


def found(largest, too_large):
    return Capacity(
        largest_batch_size=largest,
        smallest_too_large=too_large,
        limit_bytes=None,
        peak_memory_bytes=None,
        samples_per_second=None,
        tries=3,
        stopped_by="found",
        failure=None,
    )


@pytest.mark.parametrize(
    "changes",
    [{"occupied_bytes": 14 * GIB}, {"memory": None}, {"leg": {"capacity": found(8, 15)}}],
    ids=["too little", "unknown", "the search for the largest batch"],
)
def test_no_larger_batch_without_room_for_it(changes):
    assert "larger_batch" not in advice_on(MOSTLY_FIXED, **changes)


def test_the_search_for_the_largest_batch_knows_better_than_the_account_of_memory():
    changes = {"leg": {"capacity": found(16, 17)}, "occupied_bytes": 14 * GIB}
    advice = advice_on(MOSTLY_FIXED, loading(2), **changes)["larger_batch"]
    assert "the largest batch that fits is 16" in advice.evidence


def test_the_search_for_the_largest_batch_does_not_know_of_batches_that_wait_on_the_device():
    assert "larger_batch" in advice_on(MOSTLY_FIXED, leg={"capacity": found(16, 17)})
    assert "larger_batch" not in advice_on(MOSTLY_FIXED, leg={"capacity": found(16, 17)}, occupied_bytes=14 * GIB)


def test_no_larger_batch_where_all_work_grows_with_it():
    assert "larger_batch" not in advice_on([row("matrix_products", 9, "compute", 0.8), row("optimizer", 0.5)])


def test_no_larger_batch_beyond_what_a_request_may_ask_for():
    request = asked(training={"batch_size": 65_536})
    assert "larger_batch" not in advice_on(MOSTLY_FIXED, request)


#: 60 operations between 30 products, that is 20 gaps.
MANY_SMALL = [
    row("elementwise", 5, "memory", 0.7, calls=40),
    row("normalisation", 1, "memory", 0.7, calls=20),
    row("matrix_products", 4, "compute", 0.8, calls=30),
]


def test_compiling_where_memory_bounds_what_can_be_fused():
    """Of 60 operations 20 remain, 40 if each norm is a pass of its own: of 6 ms go 4, at least 2, and at most all."""
    advice = advice_on(MANY_SMALL)["compile"]
    assert range_of(advice) == pytest.approx((10 / 8, 10 / 6, 10 / 4))
    assert advice.request["config"]["training"]["compile"] == {"mode": "default", "fullgraph": False}


def test_the_casts_of_weights_remain_in_a_compiled_model():
    """1,000 weights and their gradients: 12,000 of the bytes that casts move."""
    rows = [row("casts_and_copies", 8, "memory", 0.7, calls=40, least_bytes=48_000), row("matrix_products", 2, calls=3)]
    assert range_of(advice_on(rows)["compile"])[2] == pytest.approx(10 / 4)
    only_weights = [row("casts_and_copies", 8, "memory", 0.7, calls=40, least_bytes=12_000), rows[1]]
    assert "compile" not in advice_on(only_weights)


def test_compiling_is_worth_a_try_where_much_is_bound_by_nothing_known():
    """Of 60 operations 20 remain, or fusing gains nothing; what memory bounds is too little to explain the time."""
    elementwise = row("elementwise", 5, None, 0.1, calls=40)
    rows = [elementwise, row("normalisation", 1, "memory", 0.7, calls=20), *MANY_SMALL[2:]]
    advice = advice_on(rows)["compile"]
    assert range_of(advice) == pytest.approx((1, math.sqrt(10 / 6), 10 / 6))
    assert "the gain is uncertain" in advice.evidence


@pytest.mark.parametrize("why", ["compiled", "little is bound by nothing known", "no compiler"])
def test_no_compiling_without_evidence(monkeypatch, why):
    request, rows = asked(), MANY_SMALL
    if why == "compiled":
        request = asked(training={"compile": {"mode": "default"}})
    elif why == "no compiler":
        monkeypatch.setattr("worker.explain.advice.compiling.why_no_compiler", lambda device: "no g++")
    else:
        rows = [row("elementwise", 1.9, None, 0.1, calls=9), row("matrix_products", 8.1)]
    assert "compile" not in advice_on(rows, request)


def test_a_fused_optimizer_moves_fewer_bytes_and_at_most_at_the_ceiling():
    """A million weights: 7 numbers of 4 bytes each, 2.8 ms at 10 GB/s; the present one moves twice as many."""
    request = asked(training={"optimizer_implementation": "foreach"})
    rows = [row("optimizer", 10, "memory", 0.5, least_bytes=56e6), row("matrix_products", 10)]
    advice = advice_on(rows, request, fused_optimizer=False, trained_parameter_count=10**6)["fused_optimizer"]
    low, high = 20 / 15, 20 / 12.8
    assert range_of(advice) == pytest.approx((low, math.sqrt(low * high), high))
    assert advice.request["config"]["training"]["optimizer_implementation"] == "fused"


@pytest.mark.parametrize(
    ("training", "fused"), [({}, True), ({"optimizer": "adafactor"}, False)], ids=["it is fused", "none is there"]
)
def test_no_fused_optimizer_where_it_is_one_or_there_is_none(training, fused):
    rows = [row("optimizer", 10, "memory", 0.5), row("matrix_products", 10)]
    assert "fused_optimizer" not in advice_on(rows, asked(training=training), fused_optimizer=fused)


def test_fused_attention_where_the_request_chose_the_eager_one():
    rows = [row("softmax_and_loss", 2, calls=28), row("elementwise", 3), row("matrix_products", 5)]
    for name in ("attn_implementation", "_attn_implementation"):
        request = asked(GPT2 | {"config": {"n_embd": 768, name: "eager"}})
        advice = advice_on(rows, request)["fused_attention"]
        assert range_of(advice) == pytest.approx((1, math.sqrt(2), 2))
        assert advice.request["model"]["config"] == {"n_embd": 768, "attn_implementation": "sdpa"}


@pytest.mark.parametrize(("config", "calls"), [({"attn_implementation": "eager"}, 4), ({}, 28)])
def test_no_fused_attention_where_the_loss_has_the_only_softmax_or_nobody_chose_an_eager_one(config, calls):
    rows = [row("softmax_and_loss", 2, calls=calls), row("elementwise", 3), row("matrix_products", 5)]
    assert "fused_attention" not in advice_on(rows, asked(GPT2 | {"config": config}))


def convolving(flops=16e9):
    """What a trial with convolutions attests; in 8 ms, at 8 TFLOP/s, 16 GFLOP are a quarter of what the device can."""
    return multiplying(flops, forward_dtypes={"Conv2d": ["bfloat16"]})


SLOW_PRODUCTS = [row("matrix_products", 8, "memory", 0.25), row("normalisation", 2)]


def test_channels_last_where_convolutions_are_far_from_the_ceiling():
    advice = advice_on(SLOW_PRODUCTS, asked(CONVNET), attestation=convolving())["channels_last"]
    assert range_of(advice) == pytest.approx((1, math.sqrt(10 / 4), 10 / 4))
    assert advice.request["config"]["training"]["channels_last"] is True
    assert "at most 25 % of the rate" in advice.evidence


@pytest.mark.parametrize("flops", [64e9, 32e9, 0], ids=["at the peak", "at half of it", "unknown"])
def test_convolutions_whose_fastest_algorithm_would_need_fewer_flops_are_not_slow(flops):
    """The least work of a kernel of 3 is a quarter of what is written down, and that of a longer one nothing."""
    advice = advice_on(SLOW_PRODUCTS, asked(CONVNET), attestation=convolving(flops))
    assert "channels_last" not in advice


@pytest.mark.parametrize(
    ("request_", "rows"),
    [
        (asked(CONVNET | {"channels_last": True}), SLOW_PRODUCTS),
        (asked(CONVNET, training={"channels_last": True}), SLOW_PRODUCTS),
        (asked(CONVNET), [row("matrix_products", 1, "memory", 0.1), row("normalisation", 9)]),
        (asked(CONVNET), [*SLOW_PRODUCTS, row("attention", 1)]),
    ],
    ids=["the model has it", "the legs have it", "a small share", "an image transformer"],
)
def test_no_channels_last_without_evidence(request_, rows):
    assert "channels_last" not in advice_on(rows, request_, attestation=convolving())


def test_no_channels_last_without_convolutions():
    assert "channels_last" not in advice_on(SLOW_PRODUCTS, asked(CONVNET), attestation=multiplying(16e9))


def loading(workers):
    return asked(data={"kind": "synthetic", "loader": {"workers": workers}})


@pytest.mark.parametrize(
    ("workers", "waits", "wanted", "high"),
    [(1, 0.5, 2, 2), (2, 0.8, 8, 4), (0, 0.75, 3, 4)],
    ids=["twice as many", "as many as there are cores", "the first ones"],
)
def test_more_processes_load_data_until_the_wait_ends(workers, waits, wanted, high):
    environment = environment_of(8)
    advice = advice_on([], loading(workers), leg={"data_wait_share": waits}, environment=environment)
    found_advice = advice["more_loader_workers"]
    assert range_of(found_advice) == pytest.approx((1, math.sqrt(high), high))
    assert found_advice.request["config"]["data"]["loader"]["workers"] == wanted


def environment_of(threads):
    return plain_trial().environment.model_copy(update={"threads": threads})


@pytest.mark.parametrize(("request_", "waits"), [(loading(2), 0.5), (loading(1), 0.01), (asked(), None)])
def test_no_more_loader_workers_than_cores_nor_without_a_wait(request_, waits):
    rows = [row("matrix_products", 10)]
    advice = advice_on(rows, request_, leg={"data_wait_share": waits}, environment=environment_of(2))
    assert "more_loader_workers" not in advice


BOTH_PASSES = [row("matrix_products", 4), row("elementwise", 4), row("optimizer", 2)]
TRANSFORMER = {"kind": "transformer", "vocab_size": 64, "hidden_size": 32, "num_layers": 4, "num_heads": 2}
CHECKPOINTED = {"activation_checkpointing": True}


def test_no_checkpointing_where_all_activations_fit():
    """Of 8 ms, a quarter is the repeated forward pass; at least of the products' 4 ms, at most a third of all."""
    advice = advice_on(BOTH_PASSES, asked(TRANSFORMER, training=CHECKPOINTED))["no_activation_checkpointing"]
    assert range_of(advice) == pytest.approx((10 / 9, 10 / 8, 10 / (10 - 8 / 3)))
    assert advice.request["config"]["training"]["activation_checkpointing"] is False
    assert "at most 3.0 GiB more" in advice.evidence


@pytest.mark.parametrize(
    ("request_", "activations"),
    [
        (asked(TRANSFORMER), GIB),
        (asked(TRANSFORMER, training=CHECKPOINTED), 5 * GIB),
        (asked({"kind": "plugin", "name": "gated-mlp"}, training=CHECKPOINTED), GIB),
    ],
    ids=["it is off", "they may not fit", "the number of blocks is unknown"],
)
def test_checkpointing_stays_without_evidence(request_, activations):
    assert "no_activation_checkpointing" not in advice_on(BOTH_PASSES, request_, memory=memory(activations))


def test_stop_where_the_bound_is_near():
    advice = advice_on([row("matrix_products", 10, "compute", 0.94)], speedup=1.88, bound=2.0)
    assert list(advice) == ["stop_here"]
    assert advice["stop_here"].text == "Stop here: 94 % of what is possible."
    assert range_of(advice["stop_here"]) == pytest.approx((1, 1, 2 / 1.88))
    assert advice["stop_here"].request is None


@pytest.mark.parametrize(("speedup", "bound"), [(1.2, 2.0), (None, 2.0), (1.2, None)])
def test_no_stop_where_the_bound_is_far_or_unknown(speedup, bound):
    assert advice_on([row("matrix_products", 10, "compute", 0.6)], speedup=speedup, bound=bound) == {}


def test_a_bound_that_is_only_near_is_no_reason_to_stop_where_something_helps():
    assert "stop_here" not in advice_on(MOSTLY_FIXED, speedup=1.6, bound=2.0)
    assert "stop_here" in advice_on([row("matrix_products", 10)], speedup=1.6, bound=2.0)


def test_on_a_cpu_nothing_is_padded_and_tf32_does_not_exist():
    rows = [row("matrix_products", 10, "memory", 0.1)]
    assert advice_on(rows, asked(GPT2), CPU, baseline_rows=rows) == {}
