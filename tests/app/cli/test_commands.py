"""The commands that speak to a server, against a real one; the benchmarks' results are made up."""

import asyncio
import csv
import json
import signal
import subprocess
import sys
import uuid
from functools import partial

import anyio.to_thread
import pytest
from typer.testing import CliRunner

from app.cli import cli
from app.cli.options import labels_of
from app.cli.view.cost import cost_line
from app.reports.text.verdict_words import verdict_words
from app.routes.use_cases import retry_after
from halftime import __version__
from halftime.client import Client, ConnectionLost, operations
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.benchmark import Progress
from halftime.contract.resources.cost import Cost, Preview
from tests.app.acts import CPU_JOB, EMULATED, add_trace, finish, post, register
from tests.factories import profile

pytestmark = pytest.mark.anyio

TWO = {"request": CPU_JOB, "vary": {"batch_sizes": [8, 16]}}


@pytest.fixture
def halftime(live):
    """Runs a command against the live server."""

    async def run(*arguments, **environment):
        invoke = partial(CliRunner().invoke, cli, [*map(str, arguments)], prog_name="halftime")
        return await anyio.to_thread.run_sync(
            lambda: invoke(env={"HALFTIME_SERVER": str(live.base_url), "COLUMNS": "160"} | environment)
        )

    return run


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    """Nobody waits between two looks."""
    monkeypatch.setitem(operations.watch_sweep.__kwdefaults__, "every_seconds", 0.05)
    for status in retry_after.POLL_SECONDS:
        monkeypatch.setitem(retry_after.POLL_SECONDS, status, 0)


@pytest.fixture
def job(tmp_path):
    """Writes a request file."""

    def write(body=CPU_JOB):
        path = tmp_path / "job.json"
        path.write_text(json.dumps(body))
        return path

    return write


async def finished(live, body=CPU_JOB, **changes):
    """The id of a benchmark with a report."""
    benchmark = await post(live, body)
    await finish(live, benchmark, **changes)
    return benchmark["id"]


async def submitted(live, count=1):
    """The newest benchmarks, as soon as there are so many."""
    while len(items := (await live.get("/benchmarks")).json()["items"]) < count:
        await asyncio.sleep(0.01)
    return items


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


async def test_run_shows_the_cost_the_report_and_exits_with_the_verdict(live, halftime, job, tmp_path):
    running = asyncio.create_task(
        halftime("run", job(), "--label", "team=a", "--output", tmp_path / "r.json", "--set", "priority=3")
    )
    (benchmark,) = await submitted(live)
    await finish(live, benchmark)
    result = await running
    report = json.loads((tmp_path / "r.json").read_text())
    assert result.exit_code == {"pass": 0, "fail": 1, "inconclusive": 3}[report["verdict"]]
    assert "Estimated cost: 14 to 34 trials; duration unknown" in result.stderr
    assert "bf16 against fp32" in result.stdout
    assert (benchmark["labels"], benchmark["priority"]) == ({"team": "a"}, 3)


async def test_run_warns_once_of_an_emulated_precision_before_it_runs(live, halftime, job):
    await register(live, precisions=EMULATED)
    running = asyncio.create_task(halftime("run", job()))
    (benchmark,) = await submitted(live)
    await finish(live, benchmark)
    told = (await running).stderr.splitlines()
    warning = "warning: bf16 is emulated: The device has no bf16 arithmetic: use fp32."
    assert told[0].startswith("Estimated cost: ")
    assert told[1] == warning
    assert told.count(warning) == 1


async def test_run_of_a_sweep_gives_a_warning_of_many_benchmarks_once(live, halftime, job):
    await register(live, precisions=EMULATED)
    result = await halftime("run", job(TWO), "--no-wait", "--server", live.base_url)
    assert result.stderr.count("bf16 is emulated") == 1


async def test_a_report_is_written_in_the_format_of_each_file(live, halftime, tmp_path):
    starts = {"r.html": "<!doctype html>", "r.csv": "section,leg,", "r.md": "# BF16 is", "r.json": '{"schema_version"'}
    options = [part for name in starts for part in ("--output", tmp_path / name)]
    assert (await halftime("report", await finished(live), *options)).exit_code == 0
    for name, start in starts.items():
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)


async def test_a_trace_is_written_to_a_file(live, halftime, tmp_path):
    benchmark, file = await finished(live, profile=profile()), tmp_path / "bf16.json.gz"
    await add_trace(live, {"id": benchmark}, "bf16")
    result = await halftime("trace", benchmark, "bf16", "--output", file)
    assert result.exit_code == 0
    assert file.read_bytes() == b"a trace"
    assert str(file) in result.stdout.replace("\n", "")
    told = await halftime("trace", benchmark, "bf16", "--output", file, "--json")
    assert json.loads(told.stdout) == {"bytes": 7, "output": str(file)}


async def test_a_leg_without_a_trace_is_refused_with_the_reason(live, halftime, tmp_path):
    result = await halftime("trace", await finished(live), "bf16", "--output", tmp_path / "bf16.json.gz")
    assert result.exit_code == 2
    assert "It was not profiled." in result.stderr
    assert list(tmp_path.iterdir()) == []


async def test_run_without_waiting_names_the_benchmark(live, halftime, job):
    result = await halftime("run", job(), "--no-wait", "--json")
    (benchmark,) = await submitted(live)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["id"] == benchmark["id"]


async def test_a_request_is_submitted_as_json_has_it(live, halftime, job):
    note = "\N{GRINNING FACE} 日本"
    assert (await halftime("run", job(CPU_JOB | {"labels": {"note": note}}), "--no-wait")).exit_code == 0
    (benchmark,) = await submitted(live)
    assert benchmark["labels"] == {"note": note}


async def test_run_of_a_failing_benchmark_says_why(live, halftime, job):
    await register(live)
    result = await halftime("run", job({"model": {"kind": "mlp"}, "config": {"device": "cuda"}}))
    assert result.exit_code == 4
    assert "cuda_unavailable" in result.stderr


async def test_run_goes_on_by_polling_when_the_stream_breaks(live, halftime, job, monkeypatch, tmp_path):
    def broken(self, benchmark_id, after=0):
        yield Progress(
            phase="measure", block=1, max_blocks=2, leg="fp32", step=1, total_steps=2, fraction=0.5, eta_seconds=9
        )
        raise ConnectionLost("cut")

    monkeypatch.setattr(Client, "events", broken)
    running = asyncio.create_task(halftime("run", job(), "--output", tmp_path / "r.json"))
    (benchmark,) = await submitted(live)
    await finish(live, benchmark)
    result = await running
    assert "polling the server" in result.stderr
    assert json.loads((tmp_path / "r.json").read_text())["benchmark_id"] == benchmark["id"]


async def test_run_for_a_program_says_nothing_but_the_json(live, halftime, job):
    running = asyncio.create_task(halftime("run", job(), "--json"))
    (benchmark,) = await submitted(live)
    await finish(live, benchmark)
    result = await running
    assert json.loads(result.stdout)["benchmark_id"] == benchmark["id"]
    assert result.stderr == ""


async def test_watch_tells_what_happens_and_ends_in_the_report(live, halftime):
    await register(live)
    benchmark = await post(live)
    watching = asyncio.create_task(halftime("watch", benchmark["id"]))
    await until_listened(live)
    report = await finish(live, benchmark)
    result = await watching
    assert result.exit_code == {"pass": 0, "fail": 1, "inconclusive": 3}[report.verdict]
    assert [line.strip() for line in result.stderr.splitlines()] == ["queued, position 1", "running", "succeeded"]
    assert result.stdout.rstrip().endswith(f"{verdict_words(report.verdict)}.")


async def test_ctrl_c_stops_watching_and_leaves_the_benchmark_alone(live):
    benchmark = await post(live)
    command = [sys.executable, "-m", "app.cli", "watch", benchmark["id"], "--server", str(live.base_url)]
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE)
    await until_listened(live)
    process.send_signal(signal.SIGINT)
    _, told = await process.communicate()
    assert process.returncode == 130
    assert b"continues" in told
    assert (await live.get(f"/benchmarks/{benchmark['id']}")).json()["status"] == "queued"


async def test_ctrl_c_cancels_what_runs_and_says_so(live, job):
    command = [sys.executable, "-m", "app.cli", "run", str(job()), "--server", str(live.base_url)]
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    (benchmark,) = await submitted(live)
    await until_listened(live)
    process.send_signal(signal.SIGINT)
    _, told = await process.communicate()
    assert process.returncode == 4
    assert b"Cancelling" in told
    assert b"The benchmark was cancelled." in told
    assert (await live.get(f"/benchmarks/{benchmark['id']}")).json()["status"] == "cancelled"


async def until_listened(live):
    """Returns when the server watches a benchmark for somebody."""
    while not live.app.state.notifications.topics:
        await asyncio.sleep(0.01)


async def test_a_sweep_runs_to_its_table(live, halftime, job, tmp_path):
    running = asyncio.create_task(
        halftime("run", job(TWO), "--output", tmp_path / "t.csv", "--set", "training.steps=30")
    )
    for benchmark in await submitted(live, 2):
        await finish(live, benchmark)
    result = await running
    assert "Estimated cost: 2 benchmarks, 28 to 68 trials" in result.stderr
    rows = rows_of(tmp_path / "t.csv")
    assert [row["batch_size"] for row in rows] == ["8", "16"]
    assert result.exit_code == {"pass": 0, "fail": 1, "inconclusive": 3}[rows[0]["verdict"]]
    assert "Batch size" in result.stdout


async def test_of_a_sweep_the_worst_benchmark_counts(live, halftime, job):
    running = asyncio.create_task(halftime("run", job(TWO)))
    first, second = await submitted(live, 2)
    await live.post(f"/benchmarks/{first['id']}/cancel")
    await finish(live, second)
    assert (await running).exit_code == 4


async def test_a_sweep_is_found_again(live, halftime, job, tmp_path):
    made = json.loads((await halftime("run", job(TWO), "--no-wait", "--json")).stdout)
    assert made["id"] in (await halftime("sweep", made["id"])).stdout
    await halftime("sweep", made["id"], "--output", tmp_path / "t.md")
    assert (tmp_path / "t.md").read_text().startswith("# Sweep")


async def test_two_benchmarks_are_compared(live, halftime):
    first, second = await finished(live), await finished(live)
    result = await halftime("compare", first, second)
    assert result.exit_code == 0
    assert "1.000" in result.stdout
    assert json.loads((await halftime("compare", first, second, "--json")).stdout)["baseline_id"] == first


async def test_benchmarks_that_cannot_be_compared_are_refused_with_the_reasons(live, halftime):
    first, second = await finished(live), (await post(live))["id"]
    result = await halftime("compare", first, second)
    assert result.exit_code == 2
    assert "No report yet" in result.stderr
    assert f"Retry in {retry_after.POLL_SECONDS['queued']} s" in result.stderr


async def test_an_export_has_every_benchmark_that_matches(live, halftime, tmp_path):
    mine = CPU_JOB | {"labels": {"team": "a"}}
    done, queued = await finished(live, mine), (await post(live, mine))["id"]
    await post(live)
    for name in ("all.csv", "all.jsonl", "folder"):
        result = await halftime("export", "--label", "team=a", "--output", tmp_path / name)
        assert result.stdout.startswith("2 →"), result.stderr
    rows = {row["benchmark_id"]: row for row in rows_of(tmp_path / "all.csv")}
    assert float(rows[done]["speedup"]) == pytest.approx(2)
    assert (rows[queued]["status"], rows[queued]["speedup"]) == ("queued", "")
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [line["benchmark"]["id"] for line in lines] == [queued, done]
    report = (await live.get(f"/benchmarks/{done}/report")).json()
    assert [line["report"] for line in lines] == [None, report]
    assert json.loads((tmp_path / "folder" / f"{done}.json").read_text())["report"] == report
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.csv", "all.jsonl", "folder"]


async def test_an_export_that_breaks_leaves_the_file_before_as_it_was(live, halftime, tmp_path, monkeypatch):
    await finished(live)
    output = tmp_path / "all.csv"
    output.write_text("before")

    def broken(*arguments):
        raise ConnectionLost("cut")

    monkeypatch.setattr(Client, "report_text", broken)
    assert (await halftime("export", "--output", output)).exit_code == 4
    assert output.read_text() == "before"
    assert list(tmp_path.iterdir()) == [output]


async def test_an_export_of_nothing_is_empty_and_says_so(live, halftime, tmp_path):
    await post(live)
    for options in [("--status", "succeeded"), ("--model-kind", "convnet"), ("--device", "cuda")]:
        result = await halftime("export", *options, "--output", tmp_path / "all.jsonl", "--json")
        assert json.loads(result.stdout)["benchmarks"] == 0
        assert (tmp_path / "all.jsonl").read_text() == ""


async def test_lists_are_filtered_by_time(live, halftime):
    benchmark = await post(live)
    assert benchmark["id"] in (await halftime("list", "--created-after", "2020-01-01")).stdout
    assert benchmark["id"] not in (await halftime("list", "--created-before", "2020-01-01T12:00:00")).stdout


async def test_events_are_listed_and_followed_to_the_end(live, halftime):
    benchmark = await post(live)
    assert "queued" in (await halftime("events", benchmark["id"])).stdout
    following = asyncio.create_task(halftime("events", benchmark["id"], "--follow", "--after", 1, "--json"))
    await finish(live, benchmark)
    heard = [json.loads(line)["kind"] for line in (await following).stdout.splitlines()]
    assert heard == ["started", "succeeded"]


async def test_a_benchmark_is_cancelled_run_again_and_deleted(live, halftime):
    benchmark = await post(live)
    assert "cancelled" in (await halftime("cancel", benchmark["id"])).stdout
    again = json.loads((await halftime("rerun", benchmark["id"], "--json")).stdout)
    assert again["status"] == "queued"
    assert json.loads((await halftime("delete", benchmark["id"], "--json")).stdout)["deleted"]
    refused = await halftime("delete", again["id"])
    assert refused.exit_code == 2
    assert "Cancel it first" in refused.stderr


async def test_models_lists_kinds_presets_and_defaults(halftime):
    result = await halftime("models")
    for word in ("transformer", "hidden_size: 256", "Presets of transformers: ", "bert-base", "synthetic"):
        assert word in result.stdout
    assert json.loads((await halftime("models", "--json")).stdout)["models"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "--status", "lost"), "must be one of queued"),
        (("list", "--label", "team"), "must look like team=ranking"),
        (("report", "x", "--output", "r.pdf"), "must end in .html or .json or .md or .csv"),
        (("report", "x", "--output", "nowhere/r.md"), "does not exist"),
        (("trace", "x", "bf16", "--output", "trace.json"), "must end in .gz"),
        (("export", "--output", "all.xlsx"), "end in .csv or .jsonl"),
        (("show", "x", "--server", "node-1:8000"), "must look like http://127.0.0.1:8000"),
    ],
)
def test_a_mistake_is_said_with_the_remedy(arguments, said):
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


async def test_an_id_of_nothing_is_refused(halftime):
    for given, said in [("no-id", "/path/benchmark_id"), (uuid.UUID(int=0), "No benchmark has this id")]:
        result = await halftime("show", given)
        assert result.exit_code == 2
        assert said in result.stderr


async def test_no_wait_has_no_report_to_write(halftime, job, tmp_path):
    result = await halftime("run", job(), "--no-wait", "--output", tmp_path / "r.md")
    assert result.exit_code == 2
    assert "cannot be combined with --no-wait" in result.stderr


async def test_the_shell_completes_ids_and_statuses(live, halftime):
    benchmark = await post(live)
    ids = await halftime(
        _HALFTIME_COMPLETE="complete_bash", COMP_WORDS=f"halftime show {benchmark['id'][:8]}", COMP_CWORD="2"
    )
    assert benchmark["id"] in ids.stdout
    statuses = await halftime(
        _HALFTIME_COMPLETE="complete_bash", COMP_WORDS="halftime list --status su", COMP_CWORD="3"
    )
    assert statuses.stdout.split() == ["succeeded"]


def test_the_version_is_told():
    assert CliRunner().invoke(cli, ["--version"]).stdout == f"halftime {__version__}\n"


@pytest.mark.parametrize("pair", ["team=ranking", "team:ranking"])
def test_a_label_is_written_either_way(pair):
    assert labels_of([pair]) == {"team": "ranking"}
    assert labels_of(["url=http://x", "time:a=b"]) == {"url": "http://x", "time": "a=b"}


@pytest.mark.parametrize(("device", "unit"), [("cuda", "GPU-minutes"), ("cpu", "minutes")])
def test_a_cost_is_told_in_minutes_where_it_is_known(device, unit):
    cost = Cost(
        least_trials=12,
        most_trials=32,
        least_training_flops=None,
        most_training_flops=None,
        least_seconds=60,
        most_seconds=240,
        basis="the throughput of the last 3 benchmarks on a device",
    )
    preview = Preview(
        request=BenchmarkRequest.model_validate(CPU_JOB),
        parameter_count=1,
        device=device,
        workers_online=1,
        cost=cost,
    )
    assert cost_line([preview]) == f"Estimated cost: 12 to 32 trials, 1.0 to 4.0 {unit}, based on {cost.basis}."
    assert "2 benchmarks, 24 to 64 trials, 2.0 to 8.0" in cost_line([preview, preview])


def test_a_cost_that_may_be_next_to_nothing_is_up_to_its_most():
    cost = Cost(
        least_trials=12, most_trials=32, least_training_flops=1.0, most_training_flops=1.0, least_seconds=0.2,
        most_seconds=90.0, basis="their rates",
    )  # fmt: skip
    preview = Preview(
        request=BenchmarkRequest.model_validate(CPU_JOB), parameter_count=1, device="cpu", workers_online=1, cost=cost
    )
    assert cost_line([preview]) == "Estimated cost: 12 to 32 trials, up to 1.5 minutes, based on their rates."


async def test_a_worker_is_drained_and_undrained(live, halftime):
    await register(live)
    assert "node:cpu is draining" in (await halftime("workers", "drain", "node:cpu")).stdout
    assert "draining" in (await halftime("workers")).stdout
    assert json.loads((await halftime("workers", "undrain", "node:cpu", "--json")).stdout)["state"] == "idle"
    assert (await halftime("workers", "drain", "gone")).exit_code == 2


async def test_an_option_of_the_list_is_not_lost_before_a_command(halftime):
    result = await halftime("workers", "--server", "http://127.0.0.1:9", "drain", "node:cpu")
    assert result.exit_code == 2
    assert "after the command" in result.stderr
