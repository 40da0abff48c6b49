"""Trackers of a benchmark that real processes ran."""

import pytest

SMALL = {
    "model": {"kind": "mlp", "input_size": 8, "hidden_size": 16, "num_layers": 1, "num_classes": 4},
    "config": {
        "device": "cpu",
        "training": {"batch_size": 8, "steps": 5, "warmup_steps": 2},
        "measurement": {"min_blocks": 2, "max_blocks": 2},
    },
}


@pytest.fixture(autouse=True)
def worker_environment(tmp_path, monkeypatch):
    """Of the service, which starts after this: a place for W&B's files, and no address for MLflow."""
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_the_report_is_handed_over_once_the_benchmark_has_succeeded(service, tmp_path):
    trackers = {"wandb": {"project": "ours", "mode": "offline"}, "mlflow": {"experiment": "ours"}}
    benchmark_id = service.post(SMALL | {"tracking": trackers})

    def handed_over():
        items = service.http.get(f"/benchmarks/{benchmark_id}/events").json()["items"]
        return items if len([event for event in items if event["kind"].startswith("tracking_")]) == 2 else None

    events = service.until(handed_over)
    kinds = [event["kind"] for event in events]
    assert sorted(kinds[kinds.index("succeeded") + 1 :]) == ["tracking_failed", "tracking_logged"]
    logged = events[kinds.index("tracking_logged")]["data"]
    [run] = (tmp_path / "wandb").glob(f"offline-run-*-{logged['run_id']}/*.wandb")
    assert b"bf16/speedup_ci_low" in run.read_bytes()
    assert "MLFLOW_TRACKING_URI" in events[kinds.index("tracking_failed")]["data"]["reason"]
