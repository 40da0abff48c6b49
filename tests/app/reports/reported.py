"""Reports in every shape, of trials that were never run."""

from halftime.contract.report.failure import Failure, FailureCode
from halftime.contract.report.trial import GradScalerTrace, Memory, MemoryBreakdown
from tests.factories import comparison, gpu_telemetry, request, spread, telemetry, trial
from tests.worker.comparison.in_turns import Machine
from worker.comparison.blocks import compare
from worker.report.build import make_report

SPEED = {"fp32": 1.0, "fp16": 1.6, "bf16": 2.0}
MIB = 2**20
SKIPPED = [0, 3]


def simulated(spec):
    """A trial whose steps, losses and memory all differ from each other's."""
    steps, warmup = spec.training.steps, spec.training.warmup_steps
    seconds = 0.02 / SPEED[spec.precision] * (1 + 0.01 * spec.block)
    half = spec.precision != "fp32"
    parts = MemoryBreakdown(
        parameters=20 * MIB,
        gradients=20 * MIB,
        optimizer=40 * MIB,
        buffers=0,
        activations=(40 if half else 100) * MIB,
        temporary=3 * MIB,
        other=MIB,
    )
    peak = parts.total_bytes()
    scaler = GradScalerTrace(
        initial_scale=1024,
        final_scale=256,
        skipped_steps=SKIPPED,
        scale_trace=[512.0 if step < SKIPPED[1] else 256.0 for step in range(steps)],
        unsettled_after_warmup=False,
        first_overflow=None,
    )
    made = trial(spec, loss=1.0 + 0.001 * spec.block, accuracy=0.5)
    return made.model_copy(
        update={
            "step_seconds": [seconds * (1 + 0.001 * step) for step in range(steps - warmup)],
            "loss_curve": [4 / (1 + step) + 0.1 * half for step in range(steps)],
            "memory": Memory(
                source="cuda",
                peak_bytes=peak,
                first_step_peak_bytes=peak,
                peak_reserved_bytes=None,
                start_bytes=None,
                breakdown=parts,
            ),
            "grad_scaler": scaler if spec.precision == "fp16" else None,
        }
    )


def on_a_gpu(spec):
    """The same with a GPU that slows down as it gets warm."""
    place = 2 * spec.block + spec.position
    seen = gpu_telemetry(sm_clock_mhz=spread(1980 - place), temperature_celsius=spread(40 + place))
    return simulated(spec).model_copy(update={"telemetry": telemetry(gpu=seen)})


def without_a_candidate(spec):
    """Half precision does not fit."""
    if spec.precision == "fp32":
        return simulated(spec)
    return Failure.of(FailureCode.OUT_OF_MEMORY, "asked for 9 GiB, 1 GiB was free")


def without_a_baseline(spec):
    """Nothing can be compared."""
    if spec.precision != "fp32":
        return simulated(spec)
    return Failure.of(FailureCode.OUT_OF_MEMORY, "asked for 9 GiB, 1 GiB was free")


def cut_short(spec):
    """The time budget ended the candidate's training after its second step, and its second trial before that."""
    made = simulated(spec)
    if spec.precision == "fp32":
        return made
    if spec.block > 0:
        return Failure.of(FailureCode.TIME_BUDGET, "The time budget ended before the trial finished.")
    missing = dict.fromkeys(("memory", "numerics", "ceiling"), "for lack of time (7.0 s needed, 1.0 s left)")
    shown = {"step_seconds": [7.3], "loss_curve": [4.0, 3.9], "gradient_norms": [1.0, 1.0], "memory": None}
    return made.model_copy(
        update=shown
        | {"numerics": None, "ceiling_flops_per_second": None, "ended_early": True, "not_examined": missing}
    )


def mislabelled(spec):
    """A candidate that was never half precision."""
    made = simulated(spec)
    if spec.precision == "fp32":
        return made
    forward = made.attestation.model_copy(update={"forward_dtypes": {"Linear": ["float32"]}})
    return made.model_copy(update={"attestation": forward})


async def reported(simulate=simulated, **config):
    """The report of such trials; BF16 and FP16 against FP32, unless told otherwise."""
    asked = request(**{"candidates": ["bf16", "fp16"]} | config)
    return await reported_for(asked, simulate)


async def reported_in_turns(machine=None, **config):
    """The report of legs that took turns in four blocks; BF16 against FP32, unless told otherwise."""
    machine = machine or Machine()
    usual = {
        "candidates": ["bf16"],
        "training": {"batch_size": 8, "steps": 85, "warmup_steps": 5},
        "measurement": {"min_blocks": 4, "max_blocks": 4},
    }
    asked = request(**usual | config)
    measured = await compare(comparison(asked), machine.run_trial, lambda progress: None, run_turns=machine.run_turns)
    return make_report("0198c0de", measured)


async def reported_for(asked, simulate=simulated):
    async def run_trial(spec, deadline_seconds, after_step):
        return simulate(spec)

    return make_report("0198c0de", await compare(comparison(asked), run_trial, lambda progress: None))
