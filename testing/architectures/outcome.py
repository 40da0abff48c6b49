"""What becomes of a model: it trains in every precision, or the reason why not."""

from typing import Any

from pydantic import ValidationError

from halftime.contract.models import TransformersSpec
from halftime.contract.report.trial import TrialResult
from halftime.contract.request.training import TrainingConfig
from worker.errors import TrialFailed
from worker.messages import TrialSpec
from worker.models import blueprint_of
from worker.trial.run import run_trial

TRAINS = "trains"
TRAINING = TrainingConfig(batch_size=4, steps=3, warmup_steps=1, validation_samples=8)


def outcome(model: dict[str, Any], precisions: tuple[str, ...] = ("fp32", "bf16")) -> str:
    """Trains a model for a few steps on the CPU in every precision; returns `trains`, or the first fault by stage."""
    try:
        spec = TransformersSpec(**model)
    except ValidationError as error:
        return "refused: " + "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
    try:
        blueprint_of(spec)
    except TrialFailed as error:
        return f"refused: {error.failure.detail}"
    faults = [fault for precision in precisions if (fault := _fault(spec, precision))]
    return "; ".join(faults) or TRAINS


def _fault(spec: TransformersSpec, precision: str) -> str | None:
    trial = TrialSpec(device="cpu", precision=precision, block=0, position=0, model=spec, training=TRAINING)
    try:
        result = run_trial(trial, lambda step: None)
    except Exception as error:  # of the library's own code: of any type
        return f"{precision} failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return _gap(result, precision)


def _gap(result: TrialResult, precision: str) -> str | None:
    if any(loss is None for loss in result.loss_curve):
        return f"{precision} not finite"
    missing = ", ".join(f"{what} ({why})" for what, why in result.not_examined.items())
    return f"{precision} not examined: {missing}" if missing else None
