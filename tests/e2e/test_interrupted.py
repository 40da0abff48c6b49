"""A benchmark whose worker is lost while it runs, with real processes: completed blocks are not measured again."""

import signal

from halftime.contract.report.report import Report
from testing.processes import child_with

JOB = {
    "model": {"kind": "mlp", "input_size": 16, "hidden_size": 32, "num_layers": 1},
    "config": {
        "device": "cpu",
        "training": {"batch_size": 16, "steps": 30, "warmup_steps": 5},
        "measurement": {"min_blocks": 6, "max_blocks": 6},
    },
}


def events(service, benchmark_id):
    return service.http.get(f"/benchmarks/{benchmark_id}/events").json()["items"]


def blocks_run(items):
    """Blocks with a finished trial, counted from 1; a disturbed trial runs more than once."""
    return {event["data"]["block"] + 1 for event in items if event["kind"] == "trial_finished"}


def test_completed_blocks_are_kept_when_the_worker_is_killed(service):
    benchmark_id = service.post(JOB)
    service.until(lambda: 3 in blocks_run(events(service, benchmark_id)))
    worker = child_with(service.process.pid, "worker")
    worker.send_signal(signal.SIGKILL)
    done = service.until_status(benchmark_id, "succeeded", "failed")
    assert (done["status"], done["attempt"]) == ("succeeded", 2), done["failure"]

    items = events(service, benchmark_id)
    assert [event["seq"] for event in items] == list(range(1, len(items) + 1))
    (reused,) = [event["data"]["blocks"] for event in items if event["kind"] == "blocks_reused"]
    assert reused in {2, 4}
    last_start = max(event["seq"] for event in items if event["kind"] == "started")
    assert blocks_run(items[last_start:]) == set(range(reused + 1, 7))
    report = Report.model_validate(service.http.get(f"/benchmarks/{benchmark_id}/report").json())
    assert report.attestation.ok
    assert (report.blocks, report.reused_blocks) == (6, reused)
    assert [trial.block for trial in report.baseline.trials] == list(range(6))
    expected = f"Blocks 1 to {reused} were measured in attempt 1 by worker {done['worker']['id']}"
    assert any(warning.startswith(expected) for warning in report.warnings)
