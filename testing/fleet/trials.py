"""Results of trials that never ran, in the shape of real ones: times, memory and losses drawn from a seed."""

import math
import random
from datetime import UTC, datetime

from halftime.contract.precisions import PrecisionName
from halftime.contract.report.numerics import LayerError, Numerics
from halftime.contract.report.telemetry import GpuTelemetry, HostTelemetry, Spread, Telemetry
from halftime.contract.report.trial import (
    Attestation,
    DataFacts,
    Environment,
    GradScalerTrace,
    Memory,
    MemoryBreakdown,
    Probe,
    TrialResult,
)
from halftime.contract.resources.worker import WorkerDevice
from worker.messages import TrialSpec
from worker.training.precision_facts import FACTS, expected_flags

#: Seconds of a step in FP32, and the speedups of the other precisions.
STEP_SECONDS = 0.02
SPEEDUPS: dict[PrecisionName, float] = {"fp32": 1.0, "tf32": 1.6, "fp16": 2.2, "bf16": 2.1, "bf16-true": 2.3}

#: Relative standard deviations between the steps of a trial, and between trials.
STEP_NOISE, TRIAL_NOISE = 0.02, 0.005

MIB = 2**20


def draw_for(spec: TrialSpec) -> random.Random:
    """Random generator of one trial: the same trial has the same numbers."""
    return random.Random(f"{spec.seed} {spec.precision} {spec.block}")  # noqa: S311 # nothing secret is drawn


def simulated_result(spec: TrialSpec, device: WorkerDevice, *, finite: bool = True) -> TrialResult:
    """Result of a simulated trial. If not `finite`, its loss becomes NaN half-way."""
    draw, training = draw_for(spec), spec.training
    usual = STEP_SECONDS / SPEEDUPS[spec.precision] * draw.lognormvariate(0, TRIAL_NOISE)
    steps = [usual * draw.lognormvariate(0, STEP_NOISE) for _ in range(training.steps)]
    measured = steps[training.warmup_steps :]
    losses: list[float | None] = [2.3 * math.exp(-0.05 * step) + draw.gauss(0.5, 0.01) for step in range(len(steps))]
    if not finite:
        losses[len(losses) // 2 :] = [None] * (len(losses) - len(losses) // 2)
    return TrialResult(
        block=spec.block,
        seed=spec.seed,
        precision=spec.precision,
        position=spec.position,
        training_started_at=datetime.now(UTC),
        step_seconds=measured,
        measured_wall_seconds=sum(measured),
        host_issue_seconds=usual / 10,
        training_time_seconds=sum(steps),
        trial_seconds=sum(steps) + 0.5,
        loss_curve=losses,
        gradient_norms=[draw.lognormvariate(0, 0.3) for _ in steps],
        applied_steps=training.steps,
        final_learning_rate=0.0,
        fused_optimizer=True,
        grad_scaler=_scaler(spec) if FACTS[spec.precision].uses_grad_scaler else None,
        validation_loss=losses[-1],
        validation_accuracy=draw.gauss(0.5, 0.005),
        memory=_memory(spec, device),
        attestation=_attestation(spec),
        data=DataFacts(
            kind="synthetic",
            best_possible_loss=0.5,
            best_possible_accuracy=0.9,
            distinct_batches=training.steps,
            validation_samples=4096,
        ),
        environment=Environment(
            torch="simulated",
            cuda="simulated" if device.kind == "cuda" else None,
            driver=None,
            device=device.gpu or "a simulated CPU",
            threads=1,
            python="simulated",
            os="simulated",
            halftime="simulated",
        ),
        parameter_count=1_000_000,
        least_flops_per_step=10**9,
        ceiling_flops_per_second=1e12,
        synchronisations=[],
        numerics=_numerics() if spec.examined else None,
        telemetry=Telemetry(host=_host(), gpu=_gpu(draw) if device.kind == "cuda" else None),
        proof_seconds=0.3,
    )


def _scaler(spec: TrialSpec) -> GradScalerTrace:
    return GradScalerTrace(
        initial_scale=65_536,
        final_scale=65_536,
        skipped_steps=[],
        scale_trace=[65_536.0] * spec.training.steps,
        unsettled_after_warmup=False,
        first_overflow=None,
    )


def _memory(spec: TrialSpec, device: WorkerDevice) -> Memory:
    activations = 600 * MIB // (2 if FACTS[spec.precision].autocast else 1)
    breakdown = MemoryBreakdown(
        parameters=100 * MIB,
        gradients=100 * MIB,
        optimizer=200 * MIB,
        buffers=0,
        activations=activations,
        temporary=20 * MIB,
        other=4 * MIB,
    )
    on_cuda = device.kind == "cuda"
    return Memory(
        source="cuda_allocator" if on_cuda else "cpu_allocator",
        peak_bytes=breakdown.total_bytes(),
        first_step_peak_bytes=breakdown.total_bytes(),
        peak_reserved_bytes=breakdown.total_bytes() + 50 * MIB if on_cuda else None,
        start_bytes=0 if on_cuda else None,
        breakdown=breakdown,
    )


def _attestation(spec: TrialSpec) -> Attestation:
    facts = FACTS[spec.precision]
    probe = Probe(name="matmul_probe", expected="simulated", observed="simulated", ok=True)
    return Attestation(
        flags=expected_flags(facts),
        environment_overrides={},
        probes=[probe],
        forward_dtypes={"Linear": [facts.matmul_dtype_name]},
        initial_weights_sha256=f"weights of {spec.seed}",
        data_sha256=f"data of {spec.seed}",
    )


def _numerics() -> Numerics:
    return Numerics(
        samples=8,
        loss_scale=1.0,
        loss_relative_error=1e-6,
        gradient_relative_rmse=0.004,
        explained_relative_rmse=0.005,
        worst_layers=[LayerError(name="layers.0.weight", relative_rmse=0.01, share_of_error=0.6)],
    )


def _host() -> HostTelemetry:
    return HostTelemetry(
        load_average=0.1, foreign_cores=0.0, cpu_seconds_per_second=1.0, involuntary_context_switches=3
    )


def _gpu(draw: random.Random) -> GpuTelemetry:
    def around(value: float) -> Spread:
        median = value * draw.uniform(0.99, 1.01)
        return Spread(smallest=0.99 * median, median=median, largest=1.01 * median)

    return GpuTelemetry(
        samples=10,
        sm_clock_mhz=around(1980),
        temperature_celsius=around(50),
        power_watts=around(400),
        clock_limits={},
        largest_used_bytes=1200 * MIB,
        held_before_bytes=0,
        foreign_processes=[],
        uncorrected_ecc_errors=0,
        energy_joules=None,
    )
