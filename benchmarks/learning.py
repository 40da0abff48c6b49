"""Whether every built-in task learns in FP32, BF16 and `bf16-true`: its metrics before and after, its loss curve.

`python -m benchmarks.learning TASK ...` measures the named tasks anew and leaves the other results as they are.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from halftime.contract.models import ModelSpec, TransformersSpec
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.trial import TrialResult
from halftime.contract.request.training import TrainingConfig
from testing.machine import machine
from testing.toys import LEARNING, SPECS, TOYS
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.training.loop import validate
from worker.trial.preparation import prepare_run
from worker.trial.run import run_trial

PRECISIONS: tuple[PrecisionName, ...] = ("fp32", "bf16", "bf16-true")
CPU = torch.device("cpu")
RESULTS = Path(__file__).parent / "results" / "learning.cpu.json"


def measure() -> dict[str, object]:
    """By task: every metric of a model that has not been trained, and after training in each precision."""
    return {"tasks": {name: _task(model, training) for name, model, training in _toys()}}


def measure_anew(tasks: list[str]) -> None:
    """Replaces the results of some tasks, and notes on which machine and when they were measured."""
    results = json.loads(RESULTS.read_text())
    toys = {name: (model, training) for name, model, training in _toys()}
    for task in tasks:
        facts = machine()
        results["tasks"][task] = _task(*toys[task]) | {"machine": facts}
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


def _toys() -> Iterator[tuple[str, ModelSpec, TrainingConfig]]:
    for kind, spec in SPECS.items():
        yield kind, spec, TrainingConfig(warmup_steps=1, validation_samples=1024, **LEARNING[kind])
    for task, toy in TOYS.items():
        settings = {"batch_size": toy.batch_size, "steps": toy.steps, "learning_rate": toy.learning_rate}
        training = TrainingConfig(warmup_steps=1, validation_samples=96, schedule="constant", **settings)
        yield task, TransformersSpec.model_validate(toy.model), training


def _task(model: ModelSpec, training: TrainingConfig) -> dict[str, object]:
    specs = {
        name: TrialSpec(device="cpu", precision=name, block=0, position=0, model=model, training=training)
        for name in PRECISIONS
    }
    untrained = _untrained(specs["fp32"])
    trained, failed = {}, {}
    for name, spec in specs.items():
        try:
            trained[name] = run_trial(spec, lambda step: None)
        except TrialFailed as error:
            failed[name] = error.failure.detail
    return {
        "failed": failed,
        "metrics": [
            facts.model_dump() | {"untrained": untrained[facts.name]} | _values(trained, facts.name)
            for facts in trained["fp32"].data.metrics
        ],
        "loss_curves": {name: [_rounded(loss) for loss in trial.loss_curve] for name, trial in trained.items()},
    }


def _untrained(spec: TrialSpec) -> dict[str, float]:
    prepared = prepare_run(spec, CPU)
    return validate(prepared.model, prepared.task, prepared.data.validation).values


def _values(trained: dict[PrecisionName, TrialResult], metric: str) -> dict[str, float | None]:
    return {name: trial.metric(metric) for name, trial in trained.items()}


def _rounded(loss: float | None) -> float | None:
    return None if loss is None else round(loss, 4)


if __name__ == "__main__":
    measure_anew(sys.argv[1:])
