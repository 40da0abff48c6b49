"""The main path with real processes: a request over HTTP, training in the worker's trials, a report."""

import re
import signal
from itertools import groupby

import jsonschema
import psutil
import pytest

from halftime.contract.events import EventPage, KnownEvent
from halftime.contract.report.report import Report
from testing.processes import child_with, children, command, grandchildren

SMALL_MODEL = {"kind": "mlp", "input_size": 16, "hidden_size": 32, "num_layers": 1}


def job(**config):
    quick = {"batch_size": 16, "steps": 6, "warmup_steps": 2}
    blocks = {"min_blocks": 2, "max_blocks": 2}
    return {"model": SMALL_MODEL, "config": {"device": "cpu", "training": quick, "measurement": blocks} | config}


#: Would run for many minutes, so that it can be interrupted.
LONG = job(training={"batch_size": 512, "steps": 10_000}) | {"model": {"kind": "mlp", "hidden_size": 2048}}


def trials(service):
    """Processes of trials: the worker's grandchildren."""
    workers = [child for child in children(psutil.Process(service.process.pid)) if "worker" in command(child)]
    return [trial for worker in workers for trial in grandchildren(worker)]


def test_from_a_post_to_a_validated_report(shared_service):
    benchmark_id = shared_service.post(job(device="auto", candidates=["bf16", "fp16"]))
    done = shared_service.until_status(benchmark_id, "succeeded", "failed")
    assert done["status"] == "succeeded", done["failure"]
    assert done["progress"]["fraction"] == 1
    assert done["attempt"] == 1
    assert done["worker"]["id"].endswith(":cpu")
    assert any("ran on the CPU" in warning for warning in done["warnings"])

    response = shared_service.http.get(f"/benchmarks/{benchmark_id}/report")
    raw = response.json()
    document = shared_service.http.get("/openapi.json").json()
    schema = {"$ref": "#/components/schemas/Report", "components": document["components"]}
    jsonschema.validate(raw, schema)
    report = Report.model_validate(raw)
    assert report.attestation.ok
    assert done["summary"]["speedup"] == raw["comparisons"][0]["speedup"]
    assert report.verdict in {"pass", "fail", "inconclusive"}
    assert [comparison.candidate.precision for comparison in report.comparisons] == ["bf16", "fp16"]
    assert len(report.baseline.trials) == report.blocks == 2

    tag = response.headers["ETag"]
    again = shared_service.http.get(f"/benchmarks/{benchmark_id}/report", headers={"If-None-Match": tag})
    assert again.status_code == 304
    markdown = shared_service.http.get(f"/benchmarks/{benchmark_id}/report", headers={"Accept": "text/markdown"})
    assert re.match(r"# (.* has no BF16 arithmetic and emulates it: )?BF16 is ", markdown.text)
    assert re.search(r"\| Speedup \| [\d.]+ \([\d.]+ to [\d.]+\) × \| ≥ 1.5 \|", markdown.text)

    page = shared_service.http.get(f"/benchmarks/{benchmark_id}/events").json()
    jsonschema.validate(page, schema | {"$ref": "#/components/schemas/EventPage"})
    events = EventPage.model_validate(page).items
    assert all(isinstance(event, KnownEvent) and not event.data.model_extra for event in events)
    kinds = [event.kind for event in events]
    assert kinds.count("trial_finished") >= 6  # more on a machine that disturbs trials
    distinct_kinds = [kind for kind, _ in groupby(kinds)]
    assert distinct_kinds == ["queued", "started", *["trial_finished", "block_finished"] * 2, "succeeded"]


def test_two_jobs_on_one_worker_run_one_after_the_other(shared_service):
    first, second = shared_service.post(job()), shared_service.post(job())
    ended = shared_service.until_status(second, "succeeded")
    earlier = shared_service.get(first)
    assert earlier["status"] == "succeeded"
    assert earlier["finished_at"] <= ended["started_at"]


def test_a_running_job_is_cancelled_and_no_trial_is_left(shared_service):
    running, queued = shared_service.post(LONG), shared_service.post(job())
    shared_service.until_status(running, "running")
    shared_service.until(trials, shared_service)
    cancelled = shared_service.http.post(f"/benchmarks/{queued}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert shared_service.http.post(f"/benchmarks/{running}/cancel").status_code == 202
    assert shared_service.until_status(running, "cancelled", "failed", "succeeded")["status"] == "cancelled"
    assert trials(shared_service) == []


def test_a_worker_killed_in_mid_trial_is_restarted_and_the_job_runs_again(service):
    benchmark_id = service.post(LONG)
    service.until(trials, service)
    orphans = trials(service)
    worker = child_with(service.process.pid, "worker")
    worker.send_signal(signal.SIGKILL)
    again = service.until(lambda: (row := service.get(benchmark_id))["attempt"] == 2 and row)
    assert again["status"] == "running"
    _, alive = psutil.wait_procs(orphans, timeout=30)
    assert alive == []
    service.http.post(f"/benchmarks/{benchmark_id}/cancel")
    service.until_status(benchmark_id, "cancelled")


def test_a_worker_that_is_stopped_requeues_its_job(service):
    benchmark_id = service.post(LONG)
    service.until(trials, service)
    worker = child_with(service.process.pid, "worker")
    worker.send_signal(signal.SIGTERM)
    again = service.until(
        lambda: (row := service.get(benchmark_id))["status"] == "running" and row["version"] > 3 and row
    )
    kinds = [event["kind"] for event in service.http.get(f"/benchmarks/{benchmark_id}/events").json()["items"]]
    service.until(lambda: "handed_back" in str(service.http.get(f"/benchmarks/{benchmark_id}/events").json()))
    assert again["attempt"] == 1, kinds
    service.http.post(f"/benchmarks/{benchmark_id}/cancel")
    service.until_status(benchmark_id, "cancelled")


def test_a_cuda_job_on_a_machine_without_cuda_fails_with_the_remedy(shared_service):
    if any(worker["device"]["kind"] == "cuda" for worker in shared_service.online_workers()):
        pytest.skip("this machine has CUDA")
    failed = shared_service.get(shared_service.post({"model": SMALL_MODEL}))
    assert failed["failure"]["code"] == "cuda_unavailable"
    assert "halftime worker" in failed["failure"]["detail"]


def test_a_job_past_its_timeout_fails_and_leaves_no_trial(shared_service):
    failed = shared_service.until_status(
        shared_service.post(job(**LONG["config"] | {"timeout_seconds": 2})), "failed", "succeeded"
    )
    assert failed["failure"]["code"] == "timeout"
    assert trials(shared_service) == []


def test_stopping_the_service_leaves_no_process(own_service):
    own_service.post(LONG)
    own_service.until(trials, own_service)
    family = psutil.Process(own_service.process.pid).children(recursive=True)
    own_service.process.send_signal(signal.SIGTERM)
    assert own_service.process.wait(60) == 0
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []
