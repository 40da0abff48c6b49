"""A trace is what a viewer needs of the profiler's export, and nothing of the machine."""

import gzip
import json
import os
import socket

import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from worker.explain import trace as packing
from worker.explain.trace import TraceTooLarge, pack_trace

ANNOTATION = "reads /home/somebody/data/train.npz"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """What the profiler writes of two training steps on the CPU, with Python's stack, which names files."""
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    path = tmp_path_factory.mktemp("profile") / "trace.json"
    with profile(activities=[ProfilerActivity.CPU], with_stack=True) as profiler:
        for _ in range(2):
            with record_function(ANNOTATION):
                model(torch.ones(2, 8)).sum().backward()
            optimizer.step()
    profiler.export_chrome_trace(str(path))
    return path


@pytest.fixture
def too_small(monkeypatch):
    """Lowers a limit to almost nothing."""
    return lambda name: monkeypatch.setattr(packing, name, 1)


def unpacked(packed):
    return json.loads(gzip.decompress(packed))


def events(packed, phase="X"):
    return [event for event in unpacked(packed)["traceEvents"] if event["ph"] == phase]


def names(packed, kind="thread_name"):
    return {event["args"]["name"] for event in events(packed, "M") if event["name"] == kind}


def test_operators_keep_their_times(exported):
    def products(found):
        return [(event["ts"], event["dur"]) for event in found if event["name"] == "aten::addmm"]

    before = [event for event in json.loads(exported.read_text())["traceEvents"] if event["ph"] == "X"]
    assert len(products(before)) == 4
    assert products(events(pack_trace(exported))) == products(before)


def test_the_same_events_are_packed_from_a_file_and_from_its_content(exported):
    assert pack_trace(exported) == pack_trace(json.loads(exported.read_text()))


def test_nothing_of_the_machine_is_in_it(exported):
    assert "/home/somebody" in exported.read_text()
    packed = pack_trace(exported)
    assert "reads …" in {event["name"] for event in events(packed)}
    text = gzip.decompress(packed).decode()
    assert "/" not in text
    own = {os.environ.get(name) for name in ("HOME", "USER", "LOGNAME", "PWD", "VIRTUAL_ENV")}
    for fact in {*own, socket.gethostname(), os.path.basename(__file__), "traceName", "deviceProperties"} - {None, ""}:  # noqa: PTH119
        assert fact not in text, fact


def test_python_s_stack_and_the_ids_of_processes_are_left_out(exported):
    assert "python_function" in exported.read_text()
    packed = pack_trace(exported)
    assert {event["cat"] for event in events(packed)} <= {"cpu_op", "user_annotation"}
    assert {event["pid"] for event in unpacked(packed)["traceEvents"]} == {0}
    assert names(packed, "process_name") == {"host"}
    assert "host thread 1" in names(packed)


def on_a_gpu(**arguments):
    """What the profiler writes of a kernel that the host launched."""
    launch = {"correlation": 11, "cbid": 211, "External id": 5}
    kernel = {"device": 0, "stream": 7, "correlation": 11, "grid": [4, 1, 1], "block": [128, 1, 1], "context": 1}
    host, stream = {"pid": 321, "tid": 322}, {"pid": 0, "tid": 7}
    return {
        "deviceProperties": [{"id": 0, "name": "NVIDIA H200"}],
        "traceName": "/work/trace.json",
        "traceEvents": [
            {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", **host, "ts": 1.5, "dur": 2, "args": launch},
            {"ph": "X", "cat": "kernel", "name": "gemm", **stream, "ts": 4, "dur": 9, "args": kernel | arguments},
            {"ph": "s", "id": 11, "cat": "ac2g", "name": "ac2g", **host, "ts": 1.5},
            {"ph": "f", "id": 11, "cat": "ac2g", "name": "ac2g", "bp": "e", **stream, "ts": 4},
            {
                "ph": "X",
                "cat": "Trace",
                "name": "PyTorch Profiler (0)",
                "pid": "Spans",
                "tid": "PyTorch Profiler",
                "ts": 0,
            },
            {"ph": "i", "name": "Record Window End", "pid": "", "tid": "", "ts": 9, "s": "g"},
            {"ph": "s", "id": 12, "cat": "ac2g", "name": "ac2g", "pid": 321, "tid": 999, "ts": 1.5},
        ],
    }


def test_a_kernel_keeps_its_launch_and_the_arrow_from_the_host():
    packed = pack_trace(on_a_gpu())
    launch, kernel = events(packed)
    assert (launch["ts"], launch["dur"], launch["args"]) == (1.5, 2, {"correlation": 11})
    assert kernel["args"] == {"device": 0, "stream": 7, "correlation": 11, "grid": [4, 1, 1], "block": [128, 1, 1]}
    (start,), (end,) = events(packed, "s"), events(packed, "f")
    assert (start["id"], end["id"], end["bp"]) == (11, 11, "e")
    assert [(one["pid"], one["tid"]) for one in (start, end)] == [(one["pid"], one["tid"]) for one in (launch, kernel)]
    assert names(packed, "process_name") == {"host", "GPU 0"}
    assert names(packed) == {"host thread 1", "GPU stream 7"}


def test_a_figure_that_is_infinite_is_left_out():
    _, kernel = events(pack_trace(on_a_gpu(**{"est. achieved occupancy %": float("inf"), "shared memory": 16})))
    assert "est. achieved occupancy %" not in kernel["args"]
    assert kernel["args"]["shared memory"] == 16


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("MAX_FILE_BYTES", r"has [\d.]+ MiB as the profiler wrote it; at most"),
        ("MAX_EVENTS", r"has [\d,]+ events; at most 1 are kept"),
        ("MAX_JSON_BYTES", r"has [\d.]+ MiB uncompressed; at most"),
        ("MAX_GZIP_BYTES", r"has [\d.]+ MiB compressed; at most"),
    ],
)
def test_a_trace_that_is_too_large_is_refused_with_both_figures(exported, too_small, limit, said):
    too_small(limit)
    with pytest.raises(TraceTooLarge, match=said):
        pack_trace(exported)


@pytest.mark.parametrize(
    ("annotation", "kept"),
    [
        ("Torch-Compiled Region: 0/0", "Torch-Compiled Region: 0/0"),
        ("/data", "…"),
        ("reads/home/somebody/data", "reads…"),
        ("(file=/home/somebody/a.npz)", "(file=…)"),
    ],
)
def test_a_path_in_a_name_is_left_out(annotation, kept):
    annotated = {"ph": "X", "cat": "user_annotation", "name": annotation, "pid": 1, "tid": 1, "ts": 0, "dur": 1}
    (event,) = events(pack_trace({"traceEvents": [annotated]}))
    assert event["name"] == kept


def test_steps_without_a_recorded_event_make_an_empty_trace():
    assert unpacked(pack_trace({"traceEvents": []}))["traceEvents"] == []
