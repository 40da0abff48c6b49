"""Single trials, run as a worker runs them: one of each model in each precision, then one of each edge case."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import anyio

from halftime.contract.models import ModelSpec
from halftime.contract.precisions import PrecisionName
from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.trial import TrialResult
from halftime.contract.request.data import LoaderConfig, SyntheticData
from halftime.contract.request.training import TrainingConfig
from testing.first_contact.lines import LeftOut, TrialLine
from testing.first_contact.processes import LOG_CHARACTERS
from testing.first_contact.record import Record
from testing.first_contact.scale import Scale
from testing.first_contact.timetable import Deadline
from worker.messages import Launcher, TrialSpec

#: Longest trial expected, except one that compiles.
TRIAL_SECONDS, COMPILED_SECONDS = 45.0, 120.0

#: Minimum time for a trial; with less left none is started.
LEAST_SECONDS = 3.0

#: Memory limit of the trial that must run out of memory on a GPU.
MEMORY_LIMIT_BYTES = 2**28


@dataclass(frozen=True)
class Planned:
    """A trial and its label."""

    label: str
    spec: TrialSpec

    @property
    def max_seconds(self) -> float:
        """Timeout of the trial."""
        return TRIAL_SECONDS if self.spec.training.compile is None else COMPILED_SECONDS


@dataclass(frozen=True)
class Trials:
    """Runs trials on one device and records each."""

    stage: str
    record: Record
    launcher: Launcher

    async def run_all(self, planned: list[Planned], deadline: Deadline) -> None:
        """Run the trials in order, as long as time is left."""
        for place, one in enumerate(planned):
            if deadline.seconds_left() < LEAST_SECONDS:
                self.record.write(LeftOut(stage=self.stage, names=[left.label for left in planned[place:]]))
                return
            await self.run(one.label, one.spec, deadline.within(one.max_seconds))

    async def run(self, label: str, spec: TrialSpec, deadline: Deadline) -> TrialResult | Failure:
        """Run one trial, record it, and return its outcome."""
        began, seconds = time.monotonic(), deadline.seconds_left()
        outcome: TrialResult | Failure = Failure.of(FailureCode.TIMEOUT, f"It was stopped after {seconds:.0f} s.")
        logs = ""
        with anyio.move_on_after(seconds):  # the launcher's deadline is for one try, and there may be two
            outcome, logs = await self.launcher.run(spec, seconds, lambda step: None)
        self.record.write(
            TrialLine(
                stage=self.stage,
                label=label,
                precision=spec.precision,
                model=spec.model.kind,
                seconds=time.monotonic() - began,
                result=outcome if isinstance(outcome, TrialResult) else None,
                failure=outcome if isinstance(outcome, Failure) else None,
                logs=logs[-LOG_CHARACTERS:],
            )
        )
        return outcome


def specified(
    device: str,
    scale: Scale,
    precision: PrecisionName,
    model: ModelSpec,
    **settings: object,
) -> TrialSpec:
    """A trial at this scale; `settings` are fields of its training config."""
    usual = {"batch_size": scale.batch_size, "steps": scale.steps, "warmup_steps": 5}
    return TrialSpec(
        device=device,
        precision=precision,
        block=0,
        position=0,
        model=model,
        training=TrainingConfig.model_validate(usual | settings),
    )


def usual_trials(device: str, scale: Scale) -> Iterator[Planned]:
    """Each model in each precision, compared with FP64."""
    for name, model in scale.models.items():
        for precision in scale.precisions:
            spec = specified(device, scale, precision, model)
            yield Planned(f"{name} {precision}", spec.model_copy(update={"examined": True}))


def edge_trials(device: str, scale: Scale) -> Iterator[Planned]:
    """Edge cases; one that may leave the device in a bad state is followed by an ordinary trial."""
    transformer, convnet, mlp = (scale.models[name] for name in ("transformer", "convnet", "mlp"))

    def plan(label: str, precision: PrecisionName, model: ModelSpec, **settings: object) -> Planned:
        return Planned(label, specified(device, scale, precision, model, **settings))

    yield plan("out of memory", "fp32", scale.too_large, batch_size=scale.too_large_batch_size)
    yield plan("after out of memory", "fp32", mlp)
    if device != "cpu":  # a CPU's memory is not limited
        limited = specified(device, scale, "fp32", transformer)
        yield Planned("memory limit", limited.model_copy(update={"memory_limit_bytes": MEMORY_LIMIT_BYTES}))
    overflow = plan("overflow", "fp16", mlp, grad_scaler={"init_scale": 2.0**40}, steps=40, warmup_steps=30)
    yield Planned(overflow.label, overflow.spec.model_copy(update={"examined": True}))
    yield plan("deterministic", "fp16", transformer, deterministic=True)
    loader = SyntheticData(loader=LoaderConfig(workers=2))
    loaded = specified(device, scale, "bf16", convnet)
    yield Planned("loader", loaded.model_copy(update={"data": loader}))
    yield plan("checkpointed", "bf16", transformer, activation_checkpointing=True)
    yield plan("accumulated", "fp16", transformer, gradient_accumulation=4)
    yield plan("adafactor", "fp16", mlp, optimizer="adafactor")
    yield plan("sgd foreach", "fp16", mlp, optimizer="sgd", optimizer_implementation="foreach")
    yield plan("depthwise", "fp32", scale.depthwise)
    yield plan("compiled", "fp32", mlp, compile={})  # slow ones last
    if device != "cpu":
        yield plan("CUDA graphs", "fp16", mlp, compile={"mode": "reduce-overhead"})
        yield plan("compiled tf32", "tf32", mlp, compile={"mode": "max-autotune-no-cudagraphs"})
