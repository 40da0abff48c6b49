"""Experiment trackers that a report is logged to. Keys and addresses are set on the worker, never in a request."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from halftime.contract.strict import Input, Printable

TrackerName = Literal["wandb", "mlflow"]


def _trimmed(name: str) -> str:
    if name != name.strip():
        raise PydanticCustomError("space_around", "must not begin or end with white space")
    return name


#: A name that both trackers can display and look up.
TargetName = Annotated[Printable, AfterValidator(_trimmed)]


class WandbTracking(Input):
    """A run in Weights & Biases that the report is logged to."""

    project: Annotated[TargetName, Field(min_length=1, max_length=128, pattern=r"^[^/\\#?%:]+$")] = Field(
        description=r"name of the project; W&B does not allow / \ # ? % :"
    )
    mode: Literal["online", "offline"] = Field(
        default="online", description="`offline`: write the run to the worker's WANDB_DIR, for `wandb sync`"
    )


class MlflowTracking(Input):
    """A run in MLflow that the report is logged to."""

    experiment: Annotated[TargetName, Field(min_length=1, max_length=255)] = Field(
        description="name of the experiment; created if it does not exist"
    )


class Tracking(Input):
    """Trackers that a report is logged to after it is stored. An error in a tracker is an event, not a failure."""

    wandb: WandbTracking | None = None
    mlflow: MlflowTracking | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if not self.named():
            raise PydanticCustomError("no_tracker", "name a tracker: wandb, mlflow or both")
        return self

    def named(self) -> list[TrackerName]:
        """Returns the names of the requested trackers."""
        targets: dict[TrackerName, object] = {"wandb": self.wandb, "mlflow": self.mlflow}
        return [name for name, target in targets.items() if target]
