"""Benchmarks on a CPU without half-precision arithmetic, as in most laptops: their messages and their duration.

Environment variables that oneDNN and torch read at their start restrict any x86 CPU to AVX2.
"""

import pytest
import torch

from app.reports.text.wording import headline
from halftime.contract.report.report import Report
from tests.conftest import a_service

AVX2_ONLY = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}

pytestmark = pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="no x86 CPU with AVX2")

#: A step takes seconds in BF16 on such a CPU, and a tenth of a second in FP32.
TRANSFORMER = {"kind": "transformer", "vocab_size": 64, "hidden_size": 128, "num_layers": 2, "num_heads": 4,
               "sequence_length": 128}  # fmt: skip


@pytest.fixture(scope="module")
def emulating(postgres, migrated_template, tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        for name, value in AVX2_ONLY.items():
            environment.setenv(name, value)
        with a_service(postgres, migrated_template, tmp_path_factory) as service:
            yield service


def run(service, batch_size, budget_seconds):
    training = {"batch_size": batch_size, "steps": 100, "warmup_steps": 2}
    config = {"device": "cpu", "training": training, "measurement": {"time_budget_seconds": budget_seconds}}
    benchmark_id = service.post({"model": TRANSFORMER, "config": config})
    done = service.until_status(benchmark_id, "succeeded", "failed")
    assert done["status"] == "succeeded", done["failure"]
    return Report.model_validate(service.http.get(f"/benchmarks/{benchmark_id}/report").json())


def test_its_worker_says_that_it_emulates_half_precision(emulating):
    (worker,) = emulating.online_workers()
    kernels = {one["precision"]: one["kernels"] for one in worker["device"]["precisions"]}
    assert kernels == {
        "fp32": "native",
        "tf32": "absent",
        "fp16": "emulated",
        "bf16": "emulated",
        "bf16-true": "emulated",
    }


def test_a_benchmark_ends_with_its_budget_and_says_why_the_candidate_is_slow(emulating):
    report = run(emulating, batch_size=8, budget_seconds=20)
    (comparison,) = report.comparisons
    assert report.stopped_by == "time_budget"
    assert report.attestation.ok
    assert comparison.verdict != "pass"
    assert comparison.candidate.kernels == "emulated"
    assert "no BF16 arithmetic and emulates it" in headline(report)
    assert any(warning.startswith("bf16 is emulated.") for warning in report.warnings)
    assert any("of 100 steps" in line for line in [*report.warnings, *report.reasons])
