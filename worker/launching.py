"""What a worker needs of whatever starts its trials."""

from collections.abc import Callable
from typing import Protocol

from app.contract.failure import Failure
from app.contract.trial import TrialResult
from worker.messages import DeviceCheck, DeviceHealth, DeviceSupport, Inspection, ModelFacts, TrialSpec


class Launcher(Protocol):
    """Starts trials, and ends those whose call is cancelled before the call returns."""

    async def warm_up(self) -> None:
        """Before the first of them."""

    async def close(self) -> None:
        """After the last."""

    async def inspect(self, inspection: Inspection, deadline_seconds: float) -> tuple[ModelFacts | Failure, str]:
        """What is known of a model, or why it cannot be trained, and what was written to standard error."""

    async def check(self, check: DeviceCheck, deadline_seconds: float) -> DeviceHealth | Failure:
        """What is wrong with a device, or why the process that looked did not come to say."""

    async def measure_support(self, device: str, deadline_seconds: float) -> DeviceSupport | Failure:
        """What a device can do in each precision, or why that is not known."""

    async def run(
        self, spec: TrialSpec, deadline_seconds: float, after_step: Callable[[int], None]
    ) -> tuple[TrialResult | Failure, str]:
        """The result of a trial or why there is none, and what it wrote to standard error."""
