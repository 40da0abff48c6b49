"""The model and the training settings of a report, one sentence each."""

from collections.abc import Sequence

from halftime.contract.models import LayersSpec, MlpSpec, ModelSpec
from halftime.contract.models.outputs import COUNTED_BY, COUNTS
from halftime.contract.report.trial import TrialResult
from halftime.contract.request.adapters import LoraConfig
from halftime.contract.request.training import TrainingConfig

#: Settings that every report states; the others are listed only where they differ from their defaults.
ALWAYS = {
    *("batch_size", "steps", "warmup_steps", "optimizer", "optimizer_implementation", "learning_rate", "weight_decay"),
    *("schedule", "max_grad_norm", "max_grad_value", "seed"),
}


def model_line(model: ModelSpec) -> str:
    """Returns the model's kind and all its sizes that its task uses."""
    settings = model.model_dump(exclude={"kind", *_unused(model)}, exclude_none=True)
    return f"Model: {model.kind} ({_pairs(settings)})."


def _unused(model: ModelSpec) -> set[str]:
    if not isinstance(model, MlpSpec | LayersSpec):
        return set()
    other_counts = set(COUNTS) - {COUNTED_BY[model.task]}
    is_usual = isinstance(model, MlpSpec) and model.task == "classification"
    return other_counts | ({"task"} if is_usual else set())


def training_line(training: TrainingConfig) -> str:
    """Returns the main settings, then all others that differ from their defaults."""
    non_default = training.model_dump(exclude_defaults=True, exclude=ALWAYS)
    return (
        f"Training: {training.steps} steps ({training.warmup_steps} of them warm-up) of {training.batch_size} samples; "
        f"{training.optimizer} ({training.implementation}), learning rate {training.learning_rate:g} "
        f"({training.schedule}), weight decay {training.weight_decay:g}; {_clipping(training)}; seed {training.seed}"
        f"{'; ' + _pairs(non_default) if non_default else ''}."
    )


def adapters_lines(adapters: LoraConfig | None, trials: Sequence[TrialResult]) -> list[str]:
    """Returns the settings of the adapters and how many parameters are trained; nothing without adapters."""
    if adapters is None:
        return []
    counts = next(((one.trained_parameter_count, one.parameter_count) for one in trials), None)
    trained = "" if counts is None else f"; {counts[0]:,} of {counts[1]:,} parameters are trained"
    return [f"Adapters: {adapters.kind} ({_pairs(adapters.model_dump(exclude={'kind'}, exclude_none=True))}){trained}."]


def _clipping(training: TrainingConfig) -> str:
    if training.max_grad_norm is not None:
        return f"gradients clipped to norm {training.max_grad_norm:g}"
    if training.max_grad_value is not None:
        return f"gradients clipped to {training.max_grad_value:g} each"
    return "gradients not clipped"


def _pairs(settings: dict[str, object]) -> str:
    return ", ".join(f"{name}: {_value(value)}" for name, value in settings.items())


def _value(value: object) -> str:
    if isinstance(value, dict):
        return f"{{{_pairs(value)}}}"
    return str(value).lower() if isinstance(value, bool) else str(value)
