"""Slices: the turns in which a leg trains while the other legs of its block wait."""

from typing import Literal

from pydantic import Field

from halftime.contract.strict import Output

#: How the legs of a block are measured side by side. turns: their processes live at the same time and train in turns,
#: a few steps each. trials: one whole trial after the other.
Pairing = Literal["turns", "trials"]

#: Steps after a wait that are timed apart: caches have to be filled again, and a GPU waits for its first launches.
PICK_UP_STEPS = 1

#: Fewest rounds of a block: one in either order of the legs.
LEAST_ROUNDS = 2

#: Fewest measured steps for turns: in each round one that picks up and one that counts.
LEAST_MEASURED_STEPS = LEAST_ROUNDS * (PICK_UP_STEPS + 1)


class Slice(Output):
    """Consecutive measured steps of a trial, between two waits for the other legs; the device is idle at both ends."""

    #: Index of its first step, from 0; warm-up counts.
    first_step: int
    steps: int
    #: How many of its steps, from the first on, pick up after the wait: they are left out of the times compared.
    pick_up_steps: int
    #: When it began and ended, in seconds from the start of the block, on a clock that the legs share.
    began_seconds: float
    ended_seconds: float
    #: How long the process had waited for it, and the CPU time it used meanwhile.
    waited_seconds: float
    waiting_cpu_seconds: float
    #: CPU time during the slice: of the process, and of all others on the machine.
    own_cpu_seconds: float
    foreign_cpu_seconds: float
    #: The part of the others' that a hypervisor took; null in earlier reports.
    stolen_cpu_seconds: float | None = None
    #: How long that of the process's threads which waited longest was able to run and waited for a core (the kernel's
    #: run delay); null if the kernel does not say, and in earlier reports.
    run_delay_seconds: float | None = None
    #: Median SM clock, and the share of samples by reason for which the driver limited clocks; null and empty on a CPU.
    sm_clock_mhz: float | None = None
    clock_limits: dict[str, float] = Field(default={})
    #: Reasons why the slice may be distorted: what the machine did, never how long it took.
    disturbances: list[str] = Field(default=[])

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.ended_seconds - self.began_seconds


class TurnsPlan(Output):
    """How the legs take turns, and why so."""

    #: Steps of a slice; the first slices may have one more.
    slice_steps: int
    pick_up_steps: int
    #: Slices of each leg in a block.
    rounds: int
    #: Expected duration of a slice, mean over the legs.
    slice_seconds: float
    reason: str
