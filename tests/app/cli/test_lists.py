"""How `list`, `show` and `workers` look at a fixed width, and what they do to hostile text."""

import io
from datetime import UTC, datetime, timedelta

import pytest
import typer
from rich.console import Console

from app.cli.shared import fail
from app.cli.view.describing import described
from app.cli.view.listing import benchmarks_list, workers_list
from app.reports.text.relative_time import ago, duration
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.resources.benchmark import (
    Benchmark,
    BenchmarkItem,
    LegSummary,
    Links,
    Progress,
    QueuePlace,
    Summary,
    WorkerRef,
)
from halftime.contract.resources.worker import Quarantine, Worker, WorkerDevice
from tests.app.acts import CEILINGS, EMULATED
from tests.factories import request

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ID = "019f0000-0000-7000-8000-000000000000"
HOSTILE = "[bold red]x[/]\x1b[31m\x9b2J\x07\u202eevil"
SPEEDUP = Estimate(value=1.24, ci_low=1.15, ci_high=1.34)
FASTER = LegSummary(
    precision="bf16", samples_per_second=900, peak_memory_bytes=2**20, verdict="fail", speedup=SPEEDUP,
    memory_reduction_percent=None,
)  # fmt: skip
SUMMARY = Summary(
    verdict="fail", speedup=SPEEDUP, memory_reduction_percent=Estimate(value=-3, ci_low=-3, ci_high=-3),
    accuracy_difference=None, loss_difference=None, legs=[FASTER],
)  # fmt: skip
SHARED = {
    "id": ID, "status": "succeeded", "labels": {}, "priority": 0, "created_at": NOW - timedelta(minutes=5),
    "started_at": NOW - timedelta(minutes=4), "finished_at": NOW - timedelta(minutes=1), "attempt": 1,
    "worker": WorkerRef(id="node:cpu", gpu=None), "summary": SUMMARY, "failure": None,
    "links": Links(self="", cancel="", events="", report="", logs=""),
}  # fmt: skip


def item(**changes):
    return BenchmarkItem(**SHARED | {"model_kind": "mlp", "model_name": "mlp", "device": "cpu"} | changes)


def benchmark(**changes):
    own = {
        "version": 1, "request": request(), "parameter_count": None, "progress": None, "warnings": [],
        "queue": QueuePlace(position=0, workers_online=1),
    }  # fmt: skip
    return Benchmark(**SHARED | own | changes)


def worker(**changes):
    values = {
        "id": "node:cuda:0", "device": WorkerDevice(name="cuda:0", kind="cuda", gpu="NVIDIA H200", memory_bytes=2**37),
        "state": "busy", "current_benchmark": ID, "started_at": NOW, "last_heartbeat": NOW - timedelta(seconds=12),
        "version": "1.0",
    }  # fmt: skip
    return Worker(**values | changes)


def cpu_worker(**changes):
    measured = {"precisions": EMULATED, "ceilings": CEILINGS}
    device = WorkerDevice(name="cpu", kind="cpu", gpu=None, memory_bytes=2**34, **measured)
    return worker(**{"id": "node:cpu", "device": device, "state": "idle", "current_benchmark": None} | changes)


def one_line(text):
    return " ".join(text.split())


def drawn(renderable, width=140, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    console.print(renderable)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 100, 120, 140])
def test_a_list_has_id_state_speedup_verdict_and_age_at_every_width(width):
    text = drawn(benchmarks_list([item()], NOW, width), width)
    told = " ".join(text.split())
    assert all(shown in told for shown in (ID, "succeeded", "1.24× (1.15–1.34)", "5 minutes ago"))
    assert "requirements not met" in told


def test_an_empty_list_says_so():
    assert "No benchmark matches." in drawn(benchmarks_list([], NOW, 80))
    assert "halftime worker" in drawn(workers_list([], NOW, 80))


@pytest.mark.parametrize("width", [40, 140])
def test_workers_tell_state_device_work_and_heartbeat(width):
    sick = worker(id="node:cuda:1", state="quarantined", quarantine=Quarantine(reason="reset it", since=NOW))
    told = " ".join(drawn(workers_list([worker(), sick], NOW, width), width).split())
    assert all(shown in told for shown in ("node:cuda:0", "busy", "NVIDIA H200, 128 GiB", "12 seconds ago"))
    assert "node:cuda:1 is quarantined (now): reset it" in told


@pytest.mark.parametrize("width", [40, 80, 140])
def test_workers_tell_what_their_device_can_do_in_each_precision(width):
    told = drawn(workers_list([cpu_worker()], NOW, width), width)
    assert "fp32 220 GFLOP/s · fp16 emulated, 4.1 GFLOP/s · bf16 emulated, 3.8 GFLOP/s · no tf32" in one_line(told)
    assert "at most fp32 232 GFLOP/s · bf16 810 GFLOP/s · 64 KiB at 40.1 GB/s" in one_line(told)
    assert "node:cpu: The device has no bf16 arithmetic: use fp32." in one_line(told)
    assert max(map(len, told.splitlines())) <= width


def test_a_remedy_is_told_once_for_all_workers_online_that_need_it():
    workers = [cpu_worker(), cpu_worker(id="other:cpu"), cpu_worker(id="gone:cpu", state="offline")]
    told = one_line(drawn(workers_list(workers, NOW, 140)))
    assert told.count("use fp32") == 2
    assert "node:cpu, other:cpu: The device has no bf16 arithmetic: use fp32." in told


def test_of_workers_that_measured_nothing_neither_precisions_nor_ceilings_are_told():
    told = drawn(workers_list([worker()], NOW, 140))
    assert "Precisions" not in told
    assert "Ceilings" not in told


def test_show_tells_the_findings_the_times_and_what_to_do_next():
    told = " ".join(drawn(described(benchmark(), NOW)).split())
    for shown in (
        "Verdict requirements not met",
        "1.24× (1.15–1.34)",
        "3.0 % more",
        "ran 3:00",
        "5 minutes ago",
        "node:cpu",
    ):
        assert shown in told
    assert told.endswith(f"halftime report {ID}")


@pytest.mark.parametrize(
    ("measured", "place"),
    [
        ({"is_survey": True}, "survey, bf16"),
        ({"in_turns": True}, "block 1 of 4, legs take turns"),
        ({}, "block 1 of 4, bf16"),
        ({"phase": "verify"}, "measuring what the advice is worth"),
    ],
)
def test_show_says_how_far_a_running_benchmark_is(measured, place):
    figures = {"block": 1, "max_blocks": 4, "step": 1, "total_steps": 5, "fraction": 0.1, "eta_seconds": 80}
    progress = Progress(**{"phase": "measure", "leg": "bf16"} | measured | figures)
    told = drawn(described(benchmark(status="running", progress=progress, summary=None, finished_at=None), NOW))
    assert f"10%: {place}, about 1:20 left" in told


def test_show_of_a_failure_has_its_detail_and_the_way_on():
    failure = Failure.of(FailureCode.WORKER_LOST, "It vanished twice.")
    told = drawn(described(benchmark(status="failed", failure=failure, summary=None), NOW))
    assert "The worker disappeared (worker_lost)" in told
    assert "It vanished twice." in told
    assert f"halftime rerun {ID}" in told


def test_states_are_coloured_in_a_terminal():
    assert "\x1b[32msucceeded" in drawn(
        benchmarks_list([item()], NOW, 140), force_terminal=True, color_system="standard", no_color=False
    )


def test_hostile_text_is_shown_as_text():
    failure = Failure.of(FailureCode.INTERNAL, HOSTILE)
    shown = [
        described(benchmark(warnings=[HOSTILE], labels={"a": HOSTILE}, failure=failure), NOW),
        workers_list([worker(id=HOSTILE, quarantine=Quarantine(reason=HOSTILE, since=NOW))], NOW, 140),
        workers_list([worker(id=HOSTILE)], NOW, 40),
    ]
    for renderable in shown:
        text = drawn(renderable, 400)
        assert not set(text) & set("\x1b\x9b\x07\u202e")
        assert "[bold red]x[/]" in text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "now"), (9, "9 seconds ago"), (60, "a minute ago"), (300, "5 minutes ago"), (7200, "2 hours ago"),
     (172_800, "2 days ago"), (40 * 86_400, "2026-10-14")],
)  # fmt: skip
def test_ages_are_told_in_words(seconds, said):
    assert ago(NOW - timedelta(seconds=seconds), NOW) == said


@pytest.mark.parametrize(("seconds", "said"), [(-1, "0:00"), (67, "1:07"), (3723, "1:02:03")])
def test_a_duration_reads_like_a_clock(seconds, said):
    assert duration(seconds) == said


def test_a_message_cannot_command_the_terminal(capsys):
    with pytest.raises(typer.Exit):
        fail(HOSTILE, 2)
    told = capsys.readouterr().err
    assert "[bold red]x[/]" in told
    assert not set(told) & set("\x9b\x07\u202e")
