"""Trials that were never run, for tests of what is made of trials."""

from datetime import UTC, datetime

from app.contract.request import BenchmarkRequest
from app.contract.trial import (
    Attestation,
    DataFacts,
    Environment,
    GradScalerTrace,
    Memory,
    MemoryBreakdown,
    TrialResult,
)
from app.contract.worker import WorkerDevice
from worker.comparison import Comparison
from worker.precision import PRECISIONS, expected_flags

CPU = WorkerDevice(name="cpu", kind="cpu", gpu=None, memory_bytes=2**34)


def request(**config):
    """An MLP on the CPU, five steps, two blocks, unless told otherwise."""
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
    """The result of a trial whose steps all took the same time."""
    steps, measured = spec.training.steps, spec.training.steps - spec.training.warmup_steps
    dtype = str(PRECISIONS[spec.precision].matmul_dtype).removeprefix("torch.")
    scaler = GradScalerTrace(
        initial_scale=65536,
        final_scale=65536,
        skipped_steps=[],
        scale_trace=[65536.0] * steps,
        unsettled_after_warmup=False,
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
            source="tensor_account",
            peak_bytes=peak_bytes,
            first_step_peak_bytes=None,
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
    }
    return TrialResult.model_validate(values | changes)


def comparison(asked=None, device=CPU):
    """A comparison about to begin."""
    return Comparison.of(asked or request(), device)
