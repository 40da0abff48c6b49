"""Explanations of well-known architectures, and what explaining costs the figures that are measured.

Every preset is compared in BF16 and FP32, with the split of both steps, the bound beside the speedup, and the first
three pieces of advice measured. Then one request is compared with itself: trials that are explained beside trials that
are not, and trials that are not beside one another.
"""

import math
from typing import Any

import anyio
import torch

from benchmarks.architectures import ARCHITECTURES, request_of
from benchmarks.job import run_job
from halftime.contract.report.explanation import Advice
from halftime.contract.report.report import Leg, Report
from halftime.contract.request.request import BenchmarkRequest
from worker.messages import TrialSpec

PRESETS = (*ARCHITECTURES, "llama-1b")
#: Made small enough for two cores.
LLAMA = {
    "sequence_length": 128,
    "config": {
        "vocab_size": 2048,
        "hidden_size": 256,
        "intermediate_size": 1024,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    },
}
#: Half of the time budget is for advice: a model is compiled anew in every trial, which takes most of a minute here.
MEASUREMENT = {"min_blocks": 4, "max_blocks": 6, "target_ci": 0.04, "time_budget_seconds": 600}
#: How far apart estimate and measurement may be.
FACTOR = 1.5

#: A short request, whose trials are compared one after the other: in turns none of them is explained.
REPEATED: dict[str, Any] = {
    "model": {"kind": "transformer", "vocab_size": 64, "hidden_size": 128, "num_layers": 2, "sequence_length": 64},
    "config": {
        "device": "auto",
        "candidates": ["fp32"],
        "training": {"batch_size": 16, "steps": 40, "warmup_steps": 5},
        "measurement": {"min_blocks": 12, "max_blocks": 12, "pairing": "trials"},
    },
}


def measure() -> dict[str, object]:
    """Explanations by preset, the share of measured gains near their estimates, and the cost of explaining."""
    rows = {preset: _row(preset) for preset in PRESETS}
    gains = [one for row in rows.values() for one in row["advice"] if one["measured_gain"] is not None]
    return {
        "presets": rows,
        "measured_gains": len(gains),
        "within_a_factor_of_1.5": sum(one["is_near"] for one in gains),
        "explained_over_not": _against_itself(explains=True),
        "not_over_not": _against_itself(explains=False),
    }


def _request(preset: str) -> BenchmarkRequest:
    on_gpu = torch.cuda.is_available()
    body = request_of(preset if preset in ARCHITECTURES else "gpt2", on_gpu).model_dump(mode="json", exclude_unset=True)
    if preset not in ARCHITECTURES:
        body["model"] = {"kind": "transformers", "preset": preset} | ({} if on_gpu else LLAMA)
    body["config"] |= {"measurement": MEASUREMENT, "explain": {"verify": True}}
    return BenchmarkRequest.model_validate(body)


def _row(preset: str) -> dict[str, Any]:
    report = anyio.run(run_job, _request(preset))
    (found,) = report.comparisons
    explained = found.explanation
    assert explained is not None, found.explanation_missing
    assert found.speedup is not None
    return {
        "speedup": found.speedup.model_dump(),
        "cause": explained.cause,
        "bound": explained.bound.model_dump(),
        "legs": {leg.precision: _split(leg) for leg in (report.baseline, found.candidate)},
        "advice": [_advice(one) for one in explained.advice],
        "proof_seconds": report.proof_seconds,
        "total_seconds": report.total_seconds,
    }


def _split(leg: Leg) -> dict[str, object]:
    profile = leg.measured_alone()[0].profile
    assert profile is not None
    assert leg.median_step_seconds is not None
    survey = leg.measured_alone()[0].median_step_seconds
    assert survey is not None
    return {
        "median_step_seconds": leg.median_step_seconds,
        "sum_of_kinds_over_median_step": sum(row.seconds_per_step for row in leg.time_by_kind)
        / leg.median_step_seconds,
        "profiled_step_over_measured_step_of_the_same_trial": profile.profiled_step_seconds / survey,
        "profilers_delay_over_profiled_step": profile.host_delay_seconds / profile.profiled_step_seconds,
        "unknown_operators": profile.unknown_operators,
        "kinds": {
            row.kind: row.model_dump(exclude={"kind"})
            | {"share_of_step": row.seconds_per_step / leg.median_step_seconds}
            for row in leg.time_by_kind
        },
    }


def _advice(one: Advice) -> dict[str, Any]:
    row = one.model_dump(exclude={"request", "text"})
    if one.measured_gain is None:
        return row | {"is_near": None}
    return row | {"is_near": abs(math.log(one.measured_gain.value / one.estimated_gain.value)) <= math.log(FACTOR)}


def _against_itself(explains: bool) -> dict[str, object]:
    """The first leg's step time over the second's, which alone is explained if any is."""

    def planted(spec: TrialSpec) -> TrialSpec:
        return spec.model_copy(update={"explained": explains and spec.leg == "fp32 again"})

    report: Report = anyio.run(run_job, BenchmarkRequest.model_validate(REPEATED), lambda progress: None, planted)
    (found,) = report.comparisons
    assert found.speedup is not None
    return {
        "ratio": found.speedup.model_dump(),
        "noise_floor": report.noise_floor.ratio.model_dump() if report.noise_floor else None,
        "indistinguishable_from_noise": found.indistinguishable_from_noise,
        "profiled_trials": sum(trial.profile is not None for trial in found.candidate.trials),
    }
