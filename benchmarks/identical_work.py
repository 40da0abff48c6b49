"""Twenty A/A jobs: both legs are FP32, so every difference is noise. Next to each, the reference method's result.

The reference method measures each leg once, the baseline first, in one process, and divides the two times. It gets
the same model and the same batches, and as fresh a start as one process allows.
"""

import time

import anyio
import torch

from benchmarks.job import run_job
from halftime.contract.request.data import SyntheticData
from halftime.contract.request.request import BenchmarkRequest
from worker.data import make_data
from worker.models import blueprint_of
from worker.training.loop import prepare, training_step
from worker.training.precision import PRECISIONS, set_flags

JOBS = 20
REQUEST = BenchmarkRequest.model_validate(
    {
        "model": {"kind": "transformer", "vocab_size": 64, "hidden_size": 256, "num_layers": 2, "sequence_length": 64},
        "config": {
            "device": "auto",
            "candidates": ["fp32"],
            "training": {"batch_size": 16, "steps": 20, "warmup_steps": 5},
            "measurement": {"min_blocks": 6, "max_blocks": 6},
        },
    }
)


def measure() -> dict[str, object]:
    """For each job: our speedup with its interval, the noise floor, and the reference's single ratio."""
    rows = [anyio.run(_job, seed) | {"reference_speedup": _reference(seed)} for seed in range(JOBS)]
    counts = {name: sum(bool(row[name]) for row in rows) for name in ("covers_one", "indistinguishable_from_noise")}
    return {"request": REQUEST.model_dump(mode="json"), **counts, "jobs": rows}


async def _job(seed: int) -> dict[str, object]:
    training = REQUEST.config.training.model_copy(update={"seed": 100 * seed})
    request = REQUEST.model_copy(update={"config": REQUEST.config.model_copy(update={"training": training})})
    report = await run_job(request)
    (found,) = report.comparisons
    assert found.speedup is not None
    assert report.noise_floor is not None
    return {
        "speedup": found.speedup.model_dump(),
        "covers_one": found.speedup.ci_low <= 1 <= found.speedup.ci_high,
        "noise_floor": report.noise_floor.ratio.model_dump(),
        "indistinguishable_from_noise": found.indistinguishable_from_noise,
        "disturbed_trials": report.baseline.disturbed_trials + found.candidate.disturbed_trials,
        "total_seconds": report.total_seconds,
        "proof_seconds": report.proof_seconds,
    }


def _reference(seed: int) -> float:
    """Time of the first leg over that of the second; both are FP32."""
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    first, second = (_train_once(seed, device) for _ in range(2))
    return first / second


def _train_once(seed: int, device: torch.device) -> float:
    set_flags(PRECISIONS["fp32"])
    torch.manual_seed(seed)
    settings = REQUEST.config.training
    blueprint = blueprint_of(REQUEST.model)
    batches = make_data(blueprint.task, SyntheticData(), settings, seed).to(device).training
    run = prepare(blueprint.build().to(device), blueprint.task, PRECISIONS["fp32"], settings, device)
    began = time.perf_counter()
    losses = [training_step(run, batch).loss for batch in batches]
    float(losses[-1])  # waits for the device
    return time.perf_counter() - began
