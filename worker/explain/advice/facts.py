"""What a report knows of one candidate: all that the rules of advice look at."""

from dataclasses import dataclass
from functools import cached_property

from halftime.contract.precisions import PrecisionName
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import Bound, WorkKind
from halftime.contract.report.report import Leg
from halftime.contract.report.trial import TrialResult
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.request.training import TrainingConfig
from halftime.contract.resources.worker import WorkerDevice
from worker.explain.advice.split import Split
from worker.training.precision_facts import FACTS, PrecisionFacts

#: Share of the device's memory that a changed request may take up.
MEMORY_SHARE = 0.9

#: Share of the device's rate of matrix products from which on nothing holds a leg's products back.
FAR_FROM_PEAK = 0.5

#: Share of the measured time spent waiting for data above which the loader's processes limit training.
LOADER_BOUND = 0.1

#: Bytes of a number, by torch's name of its dtype.
ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}

#: A training step uses a weight in the forward pass and in the backward pass, and writes its gradient.
WEIGHT_PASSES = 3


@dataclass(frozen=True)
class Facts:
    """The figures of a candidate, its baseline and their device."""

    request: BenchmarkRequest
    baseline: Leg
    candidate: Leg
    speedup: Estimate | None
    bound: Bound
    device: WorkerDevice

    @cached_property
    def split(self) -> Split:
        """Where the time of the candidate's step goes."""
        return Split.of(self.candidate)

    @property
    def training(self) -> TrainingConfig:
        """The settings that all legs were trained with."""
        return self.request.config.training

    @property
    def trial(self) -> TrialResult:
        """The candidate's trial that was alone on the device and examined."""
        return self.candidate.measured_alone()[0]

    @property
    def precision(self) -> PrecisionFacts:
        """Settings of the candidate's precision."""
        return FACTS[self.candidate.precision]

    @cached_property
    def share_of_peak(self) -> float | None:
        """Most of the device's rate of matrix products that those of the candidate reach; None if unknown.

        FLOPs count as written down: the split's ceiling has those of the fastest algorithm known, which for a
        convolution are a quarter of them or none, and a library need not use it. Those of fused attention are among
        them, but not its time, so this is an upper bound.
        """
        seconds, peak = self.split.seconds("matrix_products"), self._peak_flops_per_second
        flops = sum(self.trial.attestation.multiplied_flops.values())
        return min(1.0, flops / seconds / peak) if flops and seconds and peak else None

    @property
    def _peak_flops_per_second(self) -> float | None:
        """The larger rate of those measured when the worker started and after training; None without any."""
        ceilings = self.device.ceilings.flops_per_second if self.device.ceilings else {}
        rates = (ceilings.get(self.candidate.precision), self.candidate.ceiling_flops_per_second)
        return max(filter(None, rates), default=None)

    @property
    def is_loader_bound(self) -> bool:
        """Whether processes of the loader limit training: a faster step would only wait longer for them."""
        loader, waits = self.request.config.data.loader, self.candidate.data_wait_share
        return loader is not None and loader.workers > 0 and waits is not None and waits > LOADER_BOUND

    @property
    def legs(self) -> list[PrecisionName]:
        """The precisions that the request compares."""
        return [self.request.config.baseline, *self.request.config.resolved_candidates(self.device.kind)]

    @property
    def is_half(self) -> bool:
        """Whether the candidate multiplies numbers of two bytes."""
        return ITEM_BYTES[self.precision.matmul_dtype_name] == ITEM_BYTES["bfloat16"]

    @property
    def trained_parameters(self) -> int:
        """Number of trained weights."""
        return self.trial.trained_parameter_count or self.trial.parameter_count

    def share_of_weights(self, kind: WorkKind) -> float | None:
        """Most of the bytes of casts or matrix products that are weights and their gradients, as a share.

        Autocast reads each weight in FP32 and writes it in half precision, and the reverse with its gradient, once per
        micro-batch; products read each weight twice and write its gradient. An upper bound: it includes weights that
        are neither cast nor multiplied. None if the bytes are unknown.
        """
        one = self.split.kinds.get(kind)
        if one is None or not one.least_bytes:
            return None
        item_bytes = ITEM_BYTES[self.precision.matmul_dtype_name]
        if kind == "casts_and_copies":
            per_weight = 2 * (ITEM_BYTES["float32"] + item_bytes) if self.precision.autocast else 0
        else:
            per_weight = WEIGHT_PASSES * item_bytes
        moved_bytes = per_weight * self.trained_parameters * self.training.gradient_accumulation
        return min(1.0, moved_bytes / one.least_bytes)

    @property
    def occupied_bytes(self) -> int | None:
        """Memory that the candidate takes from others; None if it is unknown."""
        return self.trial.occupied_bytes or self.candidate.peak_reserved_bytes or self.candidate.peak_memory_bytes

    def has_room_for(self, more_bytes: float) -> bool:
        """Whether the device has so much memory left beside what the candidate takes; False if that is unknown."""
        occupied, memory_bytes = self.occupied_bytes, self.device.memory_bytes
        if occupied is None or memory_bytes is None:
            return False
        return occupied + more_bytes <= MEMORY_SHARE * memory_bytes
