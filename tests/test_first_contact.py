"""First contact with a GPU: a dry run on the CPU, an interrupted run, and a run with only the required wheels."""

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from halftime.contract.models import MlpSpec
from halftime.contract.request.training import TrainingConfig
from testing.first_contact import expectations, load, probes, switches, timetable, waits
from testing.first_contact.facts import environment
from testing.first_contact.lines import (
    Begun,
    Ended,
    EnergyUpdates,
    Line,
    NeighbourLine,
    NvmlAnswers,
    ProbeError,
    StageEnded,
    Switches,
    TrialLine,
    Waits,
)
from testing.first_contact.processes import Observer
from testing.first_contact.record import NAME, Record, read
from testing.first_contact.run import STAGES
from testing.first_contact.scale import DRY
from testing.first_contact.summary import crashed, summary
from testing.first_contact.wheels import PYTEST_WHEELS, WHEELS
from tests import factories
from worker.messages import TrialSpec

ROOT = Path(__file__).parents[1]

#: Long enough for some lines, short enough for a test: stages without time are skipped.
BUDGET_SECONDS = "8"

PATIENCE_SECONDS = 120

#: Modules that an installation of torch includes, from its metadata.
OF_TORCH = (
    "torch torchgen functorch typing_extensions sympy mpmath networkx jinja2 markupsafe fsspec filelock setuptools "
    "_distutils_hack"
)
#: Modules of pytest's own wheel besides `_pytest`.
OF_PYTEST = "pytest py"
OURS = "app halftime worker testing tests sitecustomize"

#: Hides all other modules, also in processes that are started later.
BLOCKER = """
import sys

class Only:
    def __init__(self, allowed, finders):
        self.allowed, self.finders = allowed, finders

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in self.allowed or top in sys.stdlib_module_names or top.startswith("_sysconfigdata"):
            specs = (finder.find_spec(name, path, target) for finder in self.finders)
            return next(filter(None, specs), None)

    def find_distributions(self, context):
        for finder in self.finders:
            yield from getattr(finder, "find_distributions", lambda context: ())(context)

sys.meta_path[:] = [Only({allowed!r}, sys.meta_path[:])]
"""


@pytest.fixture
def bare(tmp_path):
    """Factory for an environment whose Python has torch and the given wheels, and nothing else installed here."""

    def environment_with(wheels):
        allowed = {*OF_TORCH.split(), *OURS.split(), *wheels}
        folder = tmp_path / "site"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(BLOCKER.format(allowed=allowed))
        return os.environ | {"PYTHONPATH": f"{folder}:{ROOT}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    return environment_with


def command(folder, *options):
    return [sys.executable, "-m", "testing.first_contact", "--device", "cpu", "--output", folder, *options]


def test_a_dry_run_needs_nothing_but_torch_and_its_wheels_and_every_stage_has_its_line(bare, tmp_path):
    ran = subprocess.run(
        command(tmp_path / "out", "--budget", BUDGET_SECONDS),
        env=bare(WHEELS),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = read(tmp_path / "out" / NAME)
    assert isinstance(lines[0], Begun)
    assert isinstance(lines[-1], Ended)
    stages = {line.name: line.outcome for line in lines if isinstance(line, StageEnded)}
    assert list(stages) == [stage.name for stage in STAGES]
    assert "crashed" not in stages.values()
    assert stages["workspaces"] == "skipped"
    assert [line.at_seconds for line in lines] == sorted(line.at_seconds for line in lines)
    assert (tmp_path / "out" / "summary.txt").read_text() in ran.stdout


def test_a_run_that_is_killed_keeps_its_lines_and_leaves_no_process(tmp_path):
    path = tmp_path / NAME
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command(tmp_path, "--budget", "300"), env=environment, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (path.exists() and b'"name":"switches"' in path.read_bytes()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
    lines = read(path)
    assert {line.name for line in lines if isinstance(line, StageEnded)} >= {"facts", "health", "switches"}
    assert not any(isinstance(line, Ended) for line in lines)
    assert "cut after" in summary(lines)
    assert psutil.wait_procs(children, timeout=PATIENCE_SECONDS)[1] == []


def test_an_incomplete_line_is_left_out(tmp_path):
    record = Record(tmp_path / NAME, began=time.monotonic())
    record.write(Ended(seconds=1.0))
    with record.path.open("ab") as file:
        file.write(b'{"kind":"fact","na')
    assert len(read(record.path)) == 1


def test_missing_wheels_are_named_with_the_command_that_fetches_them(bare, tmp_path):
    ran = subprocess.run(
        command(tmp_path / "out"),
        env=bare(set(WHEELS) - {"structlog", "anyio"}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    pins = [
        line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith(("anyio", "structlog"))
    ]
    assert ran.returncode == 2
    assert "lacks anyio, structlog" in ran.stderr
    assert "pip install --no-deps --no-compile --target .wheels " + " ".join(f"'{pin}'" for pin in pins) in ran.stderr
    assert not (tmp_path / "out").exists()


def test_gpu_tests_are_collected_with_nothing_but_torch_and_the_wheels(bare, tmp_path):
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "anyio", "-p", "no:cacheprovider", "-q", "--collect-only", "tests/gpu"],
        env=bare({*WHEELS, *PYTEST_WHEELS, *OF_PYTEST.split()}),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "test_fresh_processes.py::test_a_memory_limit_is_kept" in ran.stdout
    assert "test_within_process.py::test_the_scaler_overflows_and_recovers" in ran.stdout


@pytest.mark.parametrize("arguments", [["--budget", "0"], ["--device", "cuda:99"]])
def test_impossible_arguments_are_usage_errors(arguments, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run([*command(tmp_path / "out"), *arguments], env=environment, capture_output=True, check=False)
    assert ran.returncode == 2
    assert not (tmp_path / "out").exists()


def test_the_page_has_every_stage_and_every_wheel():
    stages, wheels = (ROOT / "docs" / "first_contact.md").read_text().split("\n## Wheels\n")
    assert re.findall(r"^\| `(\w+)` \|", stages, re.MULTILINE) == [stage.name for stage in STAGES]
    rows = [row for row in wheels.splitlines() if row.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert listed == {*WHEELS.values(), *PYTEST_WHEELS.values()}


def test_stages_share_the_budget():
    assert sum(stage.share for stage in STAGES) == pytest.approx(1)


def test_the_timetable_reserves_seconds_for_the_end():
    end = timetable.Timetable(began=100.0, budget_seconds=480.0).end_of(1.0)
    assert end.moment == pytest.approx(572)


@pytest.fixture
def observer(tmp_path):
    """An observer on the CPU in FP32, with enough time."""
    scale = DRY.__class__(**DRY.__dict__ | {"precisions": ("fp32",)})
    deadline = timetable.Deadline(time.monotonic() + PATIENCE_SECONDS)
    return Observer("stage", "cpu", scale, Record(tmp_path / NAME, time.monotonic()), deadline)


def test_every_operation_is_near_fp64_in_fp32(observer):
    probes.observe_probes(observer)
    lines = read(observer.record.path)
    assert {line.operation for line in lines} == {*probes.PRODUCTS, "conv2d", "attention", "lstm"}
    assert expectations.unmet(lines) == []


def test_switches_are_read_back(observer):
    switches.observe_switches(observer)
    (line,) = read(observer.record.path)
    assert line.flags["cuda.matmul"] == "ieee"
    assert set(line.legacy) == set(switches.LEGACY)


def test_our_check_detects_the_waits_of_an_optimizer_that_waits(observer, monkeypatch):
    def two_cases(scale):
        for settings in ({}, {"optimizer": "adafactor"}):
            config = TrainingConfig.model_validate({"batch_size": 4, "steps": 8, "warmup_steps": 2} | settings)
            yield waits.Case("mlp", scale.small_models["mlp"], "fp32", config)

    monkeypatch.setattr(waits, "cases", two_cases)
    waits.observe_waits(observer)
    usual, adafactor = read(observer.record.path)
    assert (usual.watch_saw, usual.torch_saw) == ([], None)
    assert adafactor.watch_saw


class NVMLError(Exception):
    pass


def test_nvml_queries_record_answers_and_errors():
    clocks = iter(range(1000, 2000))
    library = SimpleNamespace(
        NVMLError=NVMLError,
        NVML_CLOCK_SM=1,
        NVML_MEMORY_ERROR_TYPE_UNCORRECTED=1,
        NVML_VOLATILE_ECC=0,
        nvmlDeviceGetClockInfo=lambda handle, clock: next(clocks),
    )

    def refuses(handle):
        raise NVMLError("Not Supported")

    library.nvmlDeviceGetRemappedRows = refuses
    by_question = load.questions(library, "a GPU")
    clock = load.answers(library, "clock", by_question["SM clock (MHz)"])
    assert clock.answers == [str(1000 + index) for index in range(load.TIMES)]
    assert clock.median_milliseconds <= clock.largest_milliseconds
    assert load.answers(library, "rows", by_question["remapped rows"]).error == "NVMLError: Not Supported"
    assert "no attribute" in load.answers(library, "power", by_question["power (mW)"]).error


def test_nvml_is_queried_while_the_device_is_busy(observer, monkeypatch):
    """The device and its driver are fakes; the load is computed on the CPU."""
    energy = itertools.count(1000, 50)
    library = SimpleNamespace(
        NVMLError=NVMLError,
        NVML_MEMORY_ERROR_TYPE_UNCORRECTED=1,
        NVML_VOLATILE_ECC=0,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: next(energy),
        nvmlDeviceGetPowerUsage=lambda handle: 70_000,
    )
    monkeypatch.setattr(load.nvml, "opened", lambda: contextlib.nullcontext(library))
    monkeypatch.setattr(load.nvml, "handle_of", lambda library, device: "a GPU")
    for name in ("set_device", "synchronize"):
        monkeypatch.setattr(load.torch.cuda, name, lambda device: None)
    event = SimpleNamespace(record=lambda: None, synchronize=lambda: None)
    monkeypatch.setattr(load.torch.cuda, "Event", lambda: event)
    monkeypatch.setattr(load, "SIDE", 16)
    monkeypatch.setattr(load, "ENERGY_SECONDS", 0.2)
    load.observe_load(observer)
    lines = read(observer.record.path)
    by_question = {line.question: line for line in lines if isinstance(line, NvmlAnswers)}
    assert set(by_question) == set(load.questions(library, "a GPU"))
    assert by_question["power (mW)"].answers == ["70000"]
    (moved,) = (line for line in lines if isinstance(line, EnergyUpdates))
    assert moved.updates_per_second > 0
    assert float(lines[-1].value.removesuffix(" TFLOP/s")) >= 0


def test_no_secret_is_recorded():
    variables = {
        "CUDA_VISIBLE_DEVICES": "0",
        "NVIDIA_API_KEY": "abc",
        "TORCH_TOKEN": "def",
        "HOME": "/root",
        "WANDB_X": "y",
    }
    assert environment(variables) == {"CUDA_VISIBLE_DEVICES": "0", "NVIDIA_API_KEY": "(set)", "TORCH_TOKEN": "(set)"}


def trial_line(label="mlp fp32", precision="fp32", failure=None, **changes):
    spec = TrialSpec(
        device="cpu",
        precision=precision,
        block=0,
        position=0,
        model=MlpSpec(),
        training=TrainingConfig(batch_size=8, steps=5, warmup_steps=2),
    )
    result = None if failure else factories.trial(spec, **changes)
    return TrialLine(
        stage="trials",
        label=label,
        precision=precision,
        model="mlp",
        seconds=1.0,
        result=result,
        failure=failure,
        logs="",
    )


def probe(precision, error):
    return ProbeError(precision=precision, operation="mm NN", of="64x64x64", relative_error=error)


def failure(code, detail="why"):
    return {"code": code, "title": "", "detail": detail, "retryable": False}


UNEXPECTED: list[tuple[Line, str]] = [
    (probe("fp32", 3e-4), "mm NN of 64x64x64: relative error 3.0e-04, more than 1e-05"),
    (probe("tf32", 3e-7), "no operation used it"),
    (probe("fp16", 3e-7), "not computed in fp16"),
    (probe("bf16", None), "the error is not finite"),
    (
        Switches(precision="fp32", flags={}, legacy={"cudnn.flags()": "RuntimeError: mixed"}),
        "cudnn.flags() raises under fp32: RuntimeError: mixed",
    ),
    (
        Waits(model="mlp", precision="fp32", optimizer="adamw fused", torch_saw=["a.py:1"], watch_saw=[]),
        "our check none",
    ),
    (trial_line(failure=failure("internal")), "mlp fp32: internal: why"),
    (trial_line(label="out of memory"), "expected the failure out_of_memory"),
    (trial_line(label="overflow", precision="fp16"), "no step was skipped"),
    (trial_line(label="compiled"), "nothing was compiled"),
    (trial_line(least_flops_per_step=10**9), "more than the ceiling"),
    (trial_line(synchronisations=["aten::nonzero × 1"]), "a step waits"),
]


@pytest.mark.parametrize(("line", "complaint"), UNEXPECTED, ids=[complaint for _, complaint in UNEXPECTED])
def test_unmet_expectations_are_listed(line, complaint):
    assert complaint in "\n".join(expectations.unmet([line]))
    assert complaint in summary([line])


def test_met_expectations_are_not_listed():
    lines = [
        probe("fp32", 3e-7),
        probe("tf32", 3e-4),
        trial_line(),
        trial_line(label="out of memory", failure=failure("out_of_memory")),
        trial_line(label="sgd foreach", synchronisations=["aten::_local_scalar_dense × 1"]),
        trial_line(failure=failure("timeout")),
    ]
    assert expectations.unmet(lines) == []
    assert crashed(lines) == []


def test_a_neighbour_that_no_trial_names_is_listed():
    gpu = factories.telemetry(gpu=factories.gpu_telemetry(foreign_processes=["process 41, 64 MiB"]))
    beside = trial_line(label="neighbour", telemetry=gpu)
    named, other = (NeighbourLine(pid=pid, seen_before=[], seen_after=[]) for pid in (41, 42))
    assert expectations.unmet([beside, named]) == []
    assert "process 42 ran during the trial" in expectations.unmet([beside, other])[0]


def test_a_crashed_stage_is_named_with_the_end_of_its_traceback():
    line = StageEnded(name="probes", outcome="crashed", seconds=1.0, detail="Traceback:\n  here\nValueError: why")
    assert crashed([line]) == ["probes"]
    assert "ValueError: why" in summary([line])
