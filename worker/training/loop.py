"""The training loop, the same for every precision.

A disabled `GradScaler` changes nothing, so all precisions run the same code. Nothing in the loop waits for
the device: losses, norms, scales and skips stay on it and are read after the loop.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from halftime.contract.request.training import TrainingConfig
from halftime.plugin import Batch, TrainingTask
from worker.data import Feed
from worker.data.batches import chunks, device_of
from worker.training.clock import StepClock
from worker.training.held import called_in
from worker.training.optimizers import make_optimizer
from worker.training.pace import Pace, Part
from worker.training.precision import Precision
from worker.training.schedule import LearningRate


@dataclass(frozen=True)
class Run:
    """A model and what it needs to train in one precision."""

    model: nn.Module
    #: Called in training: the model itself, or its compiled form.
    forward: Callable[..., Any]
    task: TrainingTask
    #: Those that are trained.
    parameters: list[nn.Parameter]
    #: The dtype that the model is held in.
    held_in: torch.dtype
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    autocast: torch.autocast
    learning_rate: LearningRate
    settings: TrainingConfig

    def uncompiled(self) -> "Run":
        """Returns the run with the module itself as `forward`, for inspection."""
        return replace(self, forward=self.model)


@dataclass(frozen=True)
class Step:
    """Results of one step: scalars on the device."""

    #: The training loss, with label smoothing.
    loss: Tensor
    #: Global norm before clipping, of the unscaled gradients.
    gradient_norm: Tensor
    #: 1 if the scaler found an infinity or NaN and skipped the step, else 0.
    found_inf: Tensor
    #: The scale after the step; 1 without a scaler.
    scale: Tensor


@dataclass(frozen=True)
class Curves:
    """Results of all steps, including warm-up, on the device: one row per step."""

    losses: Tensor
    gradient_norms: Tensor
    found_infs: Tensor
    scales: Tensor

    @classmethod
    def empty(cls, steps: int, device: torch.device) -> "Curves":
        """Allocates the rows of all steps before the first."""
        return cls(*(torch.full((steps,), math.nan, device=device) for _ in range(4)))

    def first(self, steps: int) -> "Curves":
        """Returns the rows of the first steps, those that were run, on the CPU."""
        return Curves(
            *(rows[:steps].cpu() for rows in (self.losses, self.gradient_norms, self.found_infs, self.scales))
        )

    def record(self, index: int, step: Step) -> None:
        """Stores the results of a step."""
        self.losses[index].copy_(step.loss)
        self.gradient_norms[index].copy_(step.gradient_norm)
        self.found_infs[index].copy_(step.found_inf)
        self.scales[index].copy_(step.scale)


@dataclass(frozen=True)
class Timing:
    """Host times of a run, in seconds, without waits for other legs."""

    #: Steps that were run, including warm-up.
    steps: int
    measured_wall_seconds: float
    #: Issue time of the first measured step, before which the device is idle, so that a full queue does not delay it.
    host_issue_seconds: float
    training_time_seconds: float
    #: Duration of the last synchronisation: the device's remaining work after the host has issued everything.
    final_wait_seconds: float


@dataclass(frozen=True)
class LoopHooks:
    """Callbacks of the loop, which must not wait for the device."""

    #: After the first step, whose memory peak is read separately.
    after_first_step: Callable[[], None]
    #: Before and after consecutive measured steps, when the device is idle.
    before_measured: Callable[[], None]
    after_measured: Callable[[], None]
    #: After every step, with the number of completed steps.
    after_step: Callable[[int], None]


def prepare(
    model: nn.Module, task: TrainingTask, precision: Precision, settings: TrainingConfig, device: torch.device
) -> Run:
    """Creates optimizer, scaler, autocast and schedule for a model that is already on its device."""
    learning_rate = LearningRate(settings, device)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return Run(
        model=model,
        forward=model,
        task=task,
        parameters=parameters,
        held_in=precision.weights_dtype,
        optimizer=make_optimizer(parameters, settings, learning_rate),
        scaler=torch.amp.GradScaler(
            device.type, enabled=precision.uses_grad_scaler, **settings.grad_scaler.model_dump()
        ),
        autocast=torch.autocast(
            device.type,
            dtype=precision.autocast_dtype,
            enabled=precision.autocast_dtype is not None,
            cache_enabled=settings.autocast_cache,
        ),
        learning_rate=learning_rate,
        settings=settings,
    )


def train(
    run: Run,
    feed: Feed,
    clock: StepClock,
    curves: Curves,
    hooks: LoopHooks,
    pace: Pace | None = None,
    parts: Iterable[Part] | None = None,
) -> Timing:
    """Trains in `parts` (default: those of `pace`); afterwards `clock` has the durations of the measured steps."""
    pace = pace or Pace(run.settings)
    clock.synchronise()
    pace.start()
    training_seconds = measured_seconds = 0.0
    issue_seconds: float | None = None
    for part in parts or pace.parts():
        began = measured_from = time.perf_counter()
        if part.is_measured:
            hooks.before_measured()
            measured_from = time.perf_counter()
            clock.start()
        while True:
            curves.record(pace.done, training_step(run, feed.next()))
            if part.is_measured:
                clock.mark()
                issue_seconds = issue_seconds or time.perf_counter() - measured_from
            pace.count(pace.done + 1)
            if pace.done == 1:
                hooks.after_first_step()
            hooks.after_step(pace.done)
            if part.is_over():
                break
        issued = time.perf_counter()
        clock.synchronise()
        ended = time.perf_counter()
        training_seconds += ended - began
        if part.is_measured:
            measured_seconds += ended - measured_from
            hooks.after_measured()
    assert issue_seconds is not None
    return Timing(pace.done, measured_seconds, issue_seconds, training_seconds, ended - issued)


def training_step(run: Run, batch: Batch) -> Step:
    """Runs one step: forward and loss under autocast, scaled backward, unscale, clip, step, update."""
    run.optimizer.zero_grad(set_to_none=True)
    loss = add_gradients(run, batch)
    run.scaler.unscale_(run.optimizer)
    gradient_norm = clip_gradients(run)
    run.scaler.step(run.optimizer)
    found_inf = _found_inf(run.scaler, run.optimizer, loss)
    run.scaler.update()
    run.learning_rate.advance(found_inf)
    return Step(loss, gradient_norm, found_inf, _scale(run.scaler, loss))


def add_gradients(run: Run, batch: Batch) -> Tensor:
    """Returns the loss of a batch and adds its gradients, times the scaler's scale, to those of the parameters.

    The loss is the mean over all predictions of the batch: a part counts by how many of them it has.
    """
    parts = chunks(batch, run.settings.gradient_accumulation)
    predictions = [run.task.predictions(part) for part in parts] if len(parts) > 1 else [1]
    model = called_in(run.held_in, run.forward)
    loss = torch.zeros((), device=device_of(batch))
    for part, predicted in zip(parts, predictions, strict=True):
        with run.autocast:
            part_loss = run.task.loss(model, part) / (sum(predictions) / predicted)
        torch.autograd.backward(run.scaler.scale(part_loss))
        loss += part_loss.detach()
    return loss


def clip_gradients(run: Run) -> Tensor:
    """Clips by norm, by value or not at all; returns the global norm before clipping."""
    gradient_norm = nn.utils.clip_grad_norm_(run.parameters, run.settings.max_grad_norm or math.inf)
    if run.settings.max_grad_value is not None:
        nn.utils.clip_grad_value_(run.parameters, run.settings.max_grad_value)
    return gradient_norm


@dataclass(frozen=True)
class Validation:
    """Metrics of a model on held-out data."""

    values: dict[str, float]
    #: What each is a mean over, such as predictions.
    counts: dict[str, float]
    #: Share of the held-out batches used.
    share: float


#: Of a trial that ended before the legs that it is compared with.
NOT_VALIDATED = Validation({}, {}, 0.0)


@torch.no_grad()
def validate(
    model: nn.Module, task: TrainingTask, batches: list[Batch], seconds_left: Callable[[], float] = lambda: math.inf
) -> Validation:
    """Measures a task's metrics in FP32, outside autocast. Ends after the batch during which the time runs out."""
    model.eval()
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, float] = defaultdict(float)
    done = 0
    for batch in batches:
        for name, (total, count) in task.metrics(model, batch).items():
            sums[name] += float(total)
            counts[name] += float(count)
        done += 1
        if seconds_left() <= 0:
            break
    model.train()
    values = {name: sums[name] / counts[name] if counts[name] else math.nan for name in sums}
    return Validation(values, dict(counts), done / len(batches))


def _found_inf(scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer, like: Tensor) -> Tensor:
    """1 if `unscale_` found an infinity or NaN, else 0; read before `update` clears it.

    Reads the scaler's own tensor: a falling scale does not show it reliably (a scale of 0 stays 0), and wrapping the
    optimizer's `step` breaks fused ones.
    """
    if not scaler.is_enabled():
        return torch.zeros_like(like)
    found_inf: Tensor
    (found_inf,) = scaler._found_inf_per_device(optimizer).values()
    return found_inf.clone().reshape(())


def _scale(scaler: torch.amp.GradScaler, like: Tensor) -> Tensor:
    """The scale as a tensor on the device: `get_scale()` would wait for it."""
    if not scaler.is_enabled():
        return torch.ones_like(like)
    assert scaler._scale is not None
    return scaler._scale
