"""The training tasks: what models are trained to do, one file each. The interface is in `halftime/plugin.py`."""

from dataclasses import replace

from halftime.contract.report.failure import FailureCode
from halftime.plugin import DataShape, TrainingTask
from worker.errors import TrialFailed
from worker.tasks.cross_entropy import CrossEntropy


def as_task(task: TrainingTask | DataShape) -> TrainingTask:
    """Returns the task itself, or that of a model that has only the shape of its samples."""
    return task if isinstance(task, TrainingTask) else CrossEntropy(task)


def smoothed(task: TrainingTask, label_smoothing: float) -> TrainingTask:
    """Returns the task with label smoothing. Raises TrialFailed (`invalid_model`) when it has no labels to smooth."""
    if isinstance(task, CrossEntropy):
        return replace(task, label_smoothing=label_smoothing)
    if label_smoothing:
        raise TrialFailed.because(
            FailureCode.INVALID_MODEL, "config.training.label_smoothing: this model is not trained by cross-entropy."
        )
    return task
