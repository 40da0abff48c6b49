"""Results of trials that never ran, for tests of code that uses trials."""

from datetime import UTC, datetime

import torch

from halftime.contract.report.explanation import StepProfile
from halftime.contract.report.numerics import LayerError, Numerics
from halftime.contract.report.telemetry import GpuTelemetry, HostTelemetry, Spread, Telemetry
from halftime.contract.report.trial import (
    Attestation,
    DataFacts,
    Environment,
    GradScalerTrace,
    Memory,
    MemoryBreakdown,
    TrialResult,
)
from halftime.contract.request.data import SyntheticData
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.worker import WorkerDevice
from worker.comparison.comparison_run import ComparisonRun
from worker.data import make_data
from worker.models import blueprint_of
from worker.training.held import hold
from worker.training.loop import prepare
from worker.training.precision import PRECISIONS
from worker.training.precision_facts import expected_flags

CPU = WorkerDevice(name="cpu", kind="cpu", gpu=None, memory_bytes=2**34)


def request(**config):
    """A request for an MLP on the CPU, with five steps and two blocks; `config` replaces fields."""
    body = {
        "model": {"kind": "mlp", "input_size": 8, "hidden_size": 16, "num_layers": 1, "num_classes": 4},
        "config": {
            "device": "cpu",
            "training": {"batch_size": 8, "steps": 5, "warmup_steps": 2},
            "measurement": {"min_blocks": 2, "max_blocks": 2},
        }
        | config,
    }
    return BenchmarkRequest.model_validate(body)


def trial(spec, step_seconds=0.01, peak_bytes=1000, loss=1.0, accuracy=0.5, **changes):
    """Result of a trial whose steps all took the same time."""
    steps, measured = spec.training.steps, spec.training.steps - spec.training.warmup_steps
    dtype = str(PRECISIONS[spec.precision].matmul_dtype).removeprefix("torch.")
    scaler = GradScalerTrace(
        initial_scale=65536,
        final_scale=65536,
        skipped_steps=[],
        scale_trace=[65536.0] * steps,
        unsettled_after_warmup=False,
        first_overflow=None,
    )
    values = {
        "block": spec.block,
        "seed": spec.seed,
        "precision": spec.precision,
        "position": spec.position,
        "training_started_at": datetime.now(UTC),
        "step_seconds": [step_seconds] * measured,
        "measured_wall_seconds": step_seconds * measured,
        "host_issue_seconds": step_seconds * measured,
        "training_time_seconds": step_seconds * steps,
        "trial_seconds": step_seconds * steps,
        "loss_curve": [loss] * steps,
        "gradient_norms": [1.0] * steps,
        "applied_steps": steps,
        "final_learning_rate": 0.0,
        "fused_optimizer": True,
        "grad_scaler": scaler if spec.precision == "fp16" else None,
        "validation_loss": loss,
        "validation_accuracy": accuracy,
        "memory": Memory(
            source="cpu_allocator",
            peak_bytes=peak_bytes,
            first_step_peak_bytes=peak_bytes,
            peak_reserved_bytes=None,
            start_bytes=None,
            breakdown=MemoryBreakdown(
                parameters=peak_bytes, gradients=0, optimizer=0, buffers=0, activations=0, temporary=0, other=0
            ),
        ),
        "attestation": Attestation(
            flags=expected_flags(PRECISIONS[spec.precision]),
            environment_overrides={},
            probes=[],
            forward_dtypes={"Linear": [dtype]},
            initial_weights_sha256=f"weights {spec.seed}",
            data_sha256=f"data {spec.seed}",
        ),
        "data": DataFacts(
            kind="synthetic",
            best_possible_loss=0.5,
            best_possible_accuracy=0.9,
            distinct_batches=steps,
            validation_samples=64,
        ),
        "environment": Environment(
            torch="2", cuda=None, driver=None, device="a CPU", threads=2, python="3", os="an OS", halftime="0"
        ),
        "parameter_count": 10,
        "least_flops_per_step": 1000,
        "ceiling_flops_per_second": 1e9,
        "synchronisations": [],
        "numerics": numerics(),
        "telemetry": telemetry(),
        "proof_seconds": 0.1,
    }
    return TrialResult.model_validate(values | changes)


def numerics(**changes):
    """Numerics of a step whose gradient error is explained by rounding."""
    values = {
        "samples": 8,
        "loss_scale": 1.0,
        "loss_relative_error": 1e-6,
        "gradient_relative_rmse": 0.004,
        "explained_relative_rmse": 0.005,
        "worst_layers": [LayerError(name="layers.0.weight", relative_rmse=0.01, share_of_error=0.6)],
    }
    return Numerics.model_validate(values | changes)


def profile(**changes):
    """Profile of steps that were never run, with a trace."""
    values = {"steps": 3, "profiled_step_seconds": 0.012, "host_delay_seconds": 0.002, "kinds": []}
    return StepProfile.model_validate(values | changes)


def telemetry(gpu=None, **host):
    """Telemetry of a quiet machine."""
    values = {
        "load_average": 0.1,
        "foreign_cores": 0.0,
        "cpu_seconds_per_second": 1.9,
        "involuntary_context_switches": 3,
    }
    return Telemetry(host=HostTelemetry.model_validate(values | host), gpu=gpu)


def gpu_telemetry(**changes):
    """Telemetry of a cool GPU at full clock, without other processes."""
    values = {
        "samples": 10,
        "sm_clock_mhz": spread(1980),
        "temperature_celsius": spread(50),
        "power_watts": spread(600),
        "clock_limits": {},
        "largest_used_bytes": 2**30,
        "held_before_bytes": 2**20,
        "foreign_processes": [],
        "uncorrected_ecc_errors": 0,
        "energy_joules": None,
    }
    return GpuTelemetry.model_validate(values | changes)


def spread(value):
    """Spread of identical samples."""
    return Spread(smallest=value, median=value, largest=value)


def run_of(spec, precision, settings, device="cpu"):
    """A run of a freshly built model, before its first step."""
    blueprint, place = blueprint_of(spec), torch.device(device)
    model = blueprint.build().to(place)
    hold(model, PRECISIONS[precision].weights_dtype)
    return prepare(model, blueprint.task, PRECISIONS[precision], settings, place)


def data_of(model, training, block_seed=0):
    """Synthetic data for a model."""
    return make_data(blueprint_of(model).task, SyntheticData(), training, block_seed)


def comparison(benchmark_request=None, device=CPU):
    """A comparison before its first trial."""
    return ComparisonRun.of(benchmark_request or request(), device)


async def well():
    """Result of checking a healthy device."""
    return
