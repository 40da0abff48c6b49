"""Experiment trackers that a report goes to. Keys and addresses are the worker's own: a request carries no secret."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from halftime.contract.strict import Input, Printable

TrackerName = Literal["wandb", "mlflow"]


def _trimmed(name: str) -> str:
    if name != name.strip():
        raise PydanticCustomError("space_around", "must not begin or end with white space")
    return name


#: What both trackers can show and find again.
TargetName = Annotated[Printable, AfterValidator(_trimmed)]


class WandbTracking(Input):
    """A run in Weights & Biases."""

    project: Annotated[TargetName, Field(min_length=1, max_length=128, pattern=r"^[^/\\#?%:]+$")] = Field(
        description=r"its name; W&B allows none of / \ # ? % :"
    )
    mode: Literal["online", "offline"] = Field(
        default="online", description="`offline`: written to the worker's WANDB_DIR, for `wandb sync`"
    )


class MlflowTracking(Input):
    """A run in MLflow."""

    experiment: Annotated[TargetName, Field(min_length=1, max_length=255)] = Field(
        description="its name; made where there is none"
    )


class Tracking(Input):
    """Where a report is logged once it is stored. That it cannot be is an event, never a failure."""

    wandb: WandbTracking | None = None
    mlflow: MlflowTracking | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if not self.named():
            raise PydanticCustomError("no_tracker", "name a tracker: wandb, mlflow or both")
        return self

    def named(self) -> list[TrackerName]:
        """The trackers that were asked for."""
        asked: dict[TrackerName, object] = {"wandb": self.wandb, "mlflow": self.mlflow}
        return [name for name, target in asked.items() if target]
