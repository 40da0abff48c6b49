"""Operations that make the host wait in a training step, according to torch's debug mode and Halftime's own check."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from halftime.contract.models import ModelSpec
from halftime.contract.precisions import PrecisionName
from halftime.contract.request.data import SyntheticData
from halftime.contract.request.training import TrainingConfig
from testing.first_contact.lines import Waits
from testing.first_contact.processes import Observer
from testing.first_contact.scale import Scale
from worker.data import Batch, make_data
from worker.models import blueprint_of
from worker.proof.observed_step import observe_step
from worker.training import loop as training
from worker.training.loop import Run, training_step
from worker.training.precision import PRECISIONS, set_flags

#: Steps before the observed one, which create the optimizer state.
FIRST_STEPS = 3

#: Text of a warning by torch's debug mode.
WAITED = "synchronizing CUDA operation"

#: Last parts of a path that the record keeps.
PARTS_OF_PATH = 3


@dataclass(frozen=True)
class Case:
    """A model and its training settings."""

    name: str
    model: ModelSpec
    precision: PrecisionName
    settings: TrainingConfig

    def __str__(self) -> str:
        return f"{self.name} {self.precision} {self.settings.optimizer} {self.settings.implementation}"


def cases(scale: Scale) -> Iterator[Case]:
    """Every model in every precision, and two optimizers that are known to wait."""
    usual = {"batch_size": scale.batch_size, "steps": 8, "warmup_steps": 2}
    for name, model in scale.small_models.items():
        for precision in scale.precisions:
            yield Case(name, model, precision, TrainingConfig.model_validate(usual))
    mlp = scale.small_models["mlp"]
    foreach = usual | {"optimizer": "sgd", "optimizer_implementation": "foreach"}
    yield Case("mlp", mlp, "fp16", TrainingConfig.model_validate(foreach))
    yield Case("mlp", mlp, "fp32", TrainingConfig.model_validate(usual | {"optimizer": "adafactor"}))


def observe_waits(observer: Observer) -> None:
    """Observe two steps of each case, one with torch's debug mode and one with Halftime's check."""
    if observer.on_cuda:
        torch.cuda.set_device(observer.device)
    for case in observer.in_time(cases(observer.scale)):
        observer.write(_watched(case, observer.device))


def _watched(case: Case, device: torch.device) -> Waits:
    set_flags(PRECISIONS[case.precision])
    blueprint = blueprint_of(case.model)
    data = make_data(blueprint.task, SyntheticData(), case.settings, 0).to(device)
    run = training.prepare(
        blueprint.build().to(device), blueprint.task, PRECISIONS[case.precision], case.settings, device
    )
    batches = [data.training[index] for index in range(FIRST_STEPS)]
    for batch in batches:
        training_step(run, batch)
    return Waits(
        model=case.name,
        precision=case.precision,
        optimizer=f"{case.settings.optimizer} {case.settings.implementation}",
        torch_saw=_waits_torch_sees(run, batches[0], device) if device.type == "cuda" else None,
        watch_saw=observe_step(run, batches[0]).synchronisations,
    )


def _waits_torch_sees(run: Run, batch: Batch, device: torch.device) -> list[str]:
    torch.cuda.synchronize(device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            training_step(run, batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return [_place(warning) for warning in caught if WAITED in str(warning.message)]


def _place(warning: warnings.WarningMessage) -> str:
    path = "/".join(Path(warning.filename).parts[-PARTS_OF_PATH:])
    return f"{path}:{warning.lineno}: {str(warning.message)[:100]}"
