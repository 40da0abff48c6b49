"""Experiment trackers: the real libraries, read back with the libraries; and every way in which they may fail."""

import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import anyio
import psutil
import pytest

from app.cli.own_service import free_port
from halftime.contract.report.report import Report
from halftime.contract.request.tracking import Tracking
from testing.processes import gone
from tests.app.acts import made_report
from tests.app.reports.explained import explained
from tests.factories import request
from tests.worker.agent.wandb_receiver import Receiver
from worker.agent.tracking.messages import Logged, NotLogged, TrackingTask
from worker.agent.tracking.process import run_tracker
from worker.agent.tracking.record import record_of
from worker.agent.tracking.redaction import redacted

pytestmark = pytest.mark.anyio

KEY = "k" * 40


@pytest.fixture(scope="module")
def report():
    """FP32 against BF16 and FP16, whose losses were not all finite."""

    async def make():
        return await made_report("0198-benchmark", request(candidates=["bf16", "fp16"]))

    made = anyio.run(make).model_dump()
    made["comparisons"][1]["candidate"]["loss_curve"] = [2.0, 1.5, None, 1.2, 1.1]
    return Report.model_validate(made)


def task(report, tracker, **target):
    tracking = Tracking.model_validate({tracker: target})
    return TrackingTask(tracker=tracker, tracking=tracking, labels={"team": "ranking"}, report=report)


def of_wandb(report, mode="offline"):
    return task(report, "wandb", project="ours", mode=mode)


def of_mlflow(report):
    return task(report, "mlflow", experiment="half precision")


@pytest.fixture
def receiver(tmp_path, monkeypatch):
    """W&B's servers, as the worker's environment names them."""
    server = Receiver()
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    for name, value in {"DIR": str(tmp_path), "BASE_URL": server.url, "API_KEY": KEY}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield server
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Puts code in the place of a tracker's library."""

    def replace(name, code):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return replace


def check_wandb(receiver, report):
    """The servers have all that the report has."""
    record = record_of(report, {"team": "ranking"})
    assert record.figures.items() <= receiver.summary.items()
    assert record.words.items() <= receiver.summary.items()
    assert {name: receiver.config[name]["value"] for name in record.settings} == record.settings
    for name, series in record.series.items():
        assert [receiver.history[step].get(name) for step in range(5)] == series, name
    assert receiver.files["report.json"].decode() == report.model_dump_json()
    assert "halftime-0198-benchmark" in receiver.names
    assert {"halftime", "pass"} <= set(receiver.tags)


async def test_an_offline_run_of_wandb_synchronised_by_wandb_holds_the_report(report, receiver, tmp_path):
    outcome = await run_tracker(of_wandb(report))
    assert outcome == Logged(run_id=outcome.run_id, url=None)
    assert receiver.names == []
    [run] = (tmp_path / "wandb").glob(f"offline-run-*-{outcome.run_id}")
    synchronised = await anyio.run_process([sys.executable, "-m", "wandb", "sync", run])
    assert synchronised.returncode == 0
    check_wandb(receiver, report)


async def test_an_online_run_of_wandb_holds_the_report(report, receiver):
    outcome = await run_tracker(of_wandb(report, "online"))
    assert outcome == Logged(run_id="the-run", url=f"{receiver.url}/team/ours/runs/the-run")
    check_wandb(receiver, report)


# MLflow's own use of SQLAlchemy, which warns of what will go.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
async def test_a_run_of_mlflow_read_back_by_mlflow_holds_the_report(report, tmp_path, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    outcome = await run_tracker(of_mlflow(report))
    record = record_of(report, {"team": "ranking"})
    client = MlflowClient("sqlite:///mlflow.db")
    run = client.get_run(outcome.run_id)
    assert client.get_experiment(run.info.experiment_id).name == "half precision"
    assert (run.info.status, run.info.run_name) == ("FINISHED", record.name)
    assert record.figures.items() <= run.data.metrics.items()
    assert record.words.items() <= run.data.tags.items()
    assert run.data.params["training/learning_rate"] == str(report.training.learning_rate)
    assert run.data.params["labels/team"] == "ranking"
    for name, series in record.series.items():
        logged = {metric.step: metric.value for metric in client.get_metric_history(outcome.run_id, name)}
        assert [logged.get(step) for step in range(5)] == series, name
    assert (tmp_path / "mlruns" / run.info.experiment_id / outcome.run_id / "artifacts/report.json").read_text() == (
        report.model_dump_json()
    )


def test_a_record_has_every_figure_of_a_comparison_with_its_interval(report):
    record, comparison = record_of(report, {}), report.comparisons[1]
    for name in ("speedup", "training_time_ratio", "memory_reduction_percent"):
        measured = getattr(comparison, name)
        assert record.figures[f"fp16/{name}"] == measured.value
        assert record.figures[f"fp16/{name}_ci_low"] == measured.ci_low
        assert record.figures[f"fp16/{name}_ci_high"] == measured.ci_high
    assert record.figures["fp16/loss_difference_signed_mean"] == comparison.loss_difference.signed_mean
    assert record.figures["fp32/median_step_seconds"] == report.baseline.median_step_seconds
    assert record.figures["fp32/peak_memory_bytes"] == report.baseline.peak_memory_bytes
    assert record.figures["fp16/grad_scaler/skipped_steps"] == 0
    assert record.words["fp16/verdict"] == comparison.verdict
    assert record.series["fp16/loss_scale"] == comparison.candidate.grad_scaler.scale_trace


def test_a_record_has_the_explanation(report):
    told = explained(report)
    record, comparison = record_of(told, {}), told.comparisons[0]
    name = comparison.candidate.precision
    explanation = comparison.explanation
    for time in told.baseline.time_by_kind:
        assert record.figures[f"fp32/time_by_kind/{time.kind}/seconds_per_step"] == time.seconds_per_step
    assert record.figures["fp32/time_by_kind/elementwise/share_of_ceiling"] == 0.83
    assert record.figures[f"{name}/explanation/bound/matmul_free_ci_low"] == explanation.bound.matmul_free.ci_low
    assert record.figures[f"{name}/explanation/compile/estimated_gain"] == explanation.advice[0].estimated_gain.value
    assert record.figures[f"{name}/explanation/compile/measured_gain"] == explanation.advice[0].measured_gain.value
    assert record.words[f"{name}/explanation/cause"] == explanation.cause
    assert not [one for one in record.figures if "/request" in one]


async def test_legs_of_one_precision_are_told_apart():
    asked = request(candidates=["fp32"], measurement={"min_blocks": 2, "max_blocks": 2, "control": True})
    record = record_of(await made_report("0198-aa", asked), {})
    assert {"fp32/loss", "fp32_candidate/loss", "control/loss"} == record.series.keys()
    assert "fp32_candidate/speedup" in record.figures
    assert "fp32/speedup" not in record.figures


@pytest.mark.parametrize("make", [of_wandb, of_mlflow])
async def test_a_library_that_is_not_installed_is_named_with_the_remedy(report, library, make):
    asked = make(report)
    library(asked.tracker, f"raise ModuleNotFoundError(\"No module named '{asked.tracker}'\")")
    outcome = await run_tracker(asked)
    assert f"pip install 'halftime[{asked.tracker}]'" in outcome.reason


async def test_mlflow_without_an_address_is_told_which_variable_to_set(report, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    outcome = await run_tracker(of_mlflow(report))
    assert "MLFLOW_TRACKING_URI is not set" in outcome.reason


async def test_wandb_without_a_key_says_so(report, receiver, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    outcome = await run_tracker(of_wandb(report, "online"))
    assert "API key" in outcome.reason


async def test_a_server_that_is_away_is_a_reason_without_the_password(report, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://someone:hunter22@127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    outcome = await run_tracker(of_mlflow(report))
    assert "refused" in outcome.reason
    assert "hunter22" not in outcome.reason


async def test_what_a_library_raises_is_the_reason_without_secrets_of_the_environment(report, library, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    library(
        "wandb",
        """
        import os

        class Settings:
            def __init__(self, **settings): pass

        def init(**asked):
            raise ValueError("bad key " + os.environ["WANDB_API_KEY"])
        """,
    )
    assert await run_tracker(of_wandb(report)) == NotLogged(reason="ValueError: bad key ***")


async def test_a_library_sees_no_setting_of_halftimes(report, library, monkeypatch):
    monkeypatch.setenv("HALFTIME_DATABASE_URL", "postgresql://of:ours@here/halftime")
    library("mlflow", "import os\nraise ImportError([name for name in os.environ if name.startswith('HALFTIME_')])")
    assert "([])" in (await run_tracker(of_mlflow(report))).reason


async def test_a_crash_is_named_by_its_signal(report, library):
    library("wandb", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")
    assert "SIGSEGV" in (await run_tracker(of_wandb(report))).reason


async def test_an_exit_of_its_own_is_named_by_its_code(report, library):
    library("wandb", "import os\nos._exit(3)")
    assert "exit code 3" in (await run_tracker(of_wandb(report))).reason


async def test_a_hanging_library_is_cut(report, library):
    library("wandb", "import time\ntime.sleep(3600)")
    outcome = await run_tracker(of_wandb(report), limit_seconds=0.5)
    assert "longer than 0.5 s" in outcome.reason


async def test_cancelling_ends_the_process_and_its_children(report, library, tmp_path):
    told = tmp_path / "pids"
    library(
        "wandb",
        f"""
        import os, pathlib, subprocess, time
        child = subprocess.Popen(["sleep", "3600"])
        unfinished = pathlib.Path("{told}.part")
        unfinished.write_text(f"{{os.getpid()}} {{child.pid}}")
        unfinished.rename("{told}")
        time.sleep(3600)
        """,
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_tracker, of_wandb(report))
        while not told.exists():
            await anyio.sleep(0.02)
        started = [psutil.Process(int(pid)) for pid in told.read_text().split()]
        tasks.cancel_scope.cancel()
    while not gone(started):
        await anyio.sleep(0.02)


def test_the_process_ends_without_its_worker():
    """Where nobody ends it, an alarm does."""
    code = "import signal\nsignal.alarm = print\nfrom worker.agent.tracking.__main__ import main\nmain()"
    ended = subprocess.run([sys.executable, "-c", code], input="", capture_output=True, text=True, check=False)
    assert ended.stdout.splitlines() == ["60"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("403 for sesame-open", "403 for ***"),
        ("postgresql://me:pass@host/runs", "postgresql://***@host/runs"),
        ("mode is on", "mode is on"),
        ("see https://wandb.ai/team", "see https://wandb.ai/team"),
    ],
)
def test_secrets_are_blotted_out(text, expected):
    environment = {"MLFLOW_TRACKING_PASSWORD": "sesame-open", "USE_TOKEN": "on", "WANDB_ENTITY": "team"}
    assert redacted(text, environment) == expected
