"""Trackers of a benchmark run by real processes."""

import pytest

SMALL = {
    "model": {"kind": "mlp", "input_size": 8, "hidden_size": 16, "num_layers": 1, "num_classes": 4},
    "config": {
        "device": "cpu",
        "training": {"batch_size": 8, "steps": 5, "warmup_steps": 2},
        "measurement": {"min_blocks": 2, "max_blocks": 2},
    },
}


@pytest.fixture(scope="module", autouse=True)
def wandb_files(tmp_path_factory):
    """W&B's folder, set before the service starts; the service has no MLflow address."""
    folder = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WANDB_DIR", str(folder))
        environment.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


def test_the_report_is_exported_once_the_benchmark_has_succeeded(service, wandb_files):
    trackers = {"wandb": {"project": "ours", "mode": "offline"}, "mlflow": {"experiment": "ours"}}
    benchmark_id = service.post(SMALL | {"tracking": trackers})

    def exported():
        items = service.http.get(f"/benchmarks/{benchmark_id}/events").json()["items"]
        return items if len([event for event in items if event["kind"].startswith("tracking_")]) == 2 else None

    events = service.until(exported)
    kinds = [event["kind"] for event in events]
    assert sorted(kinds[kinds.index("succeeded") + 1 :]) == ["tracking_failed", "tracking_logged"]
    logged = events[kinds.index("tracking_logged")]["data"]
    [run] = (wandb_files / "wandb").glob(f"offline-run-*-{logged['run_id']}/*.wandb")
    assert b"bf16/speedup_ci_low" in run.read_bytes()
    assert "MLFLOW_TRACKING_URI" in events[kinds.index("tracking_failed")]["data"]["reason"]
