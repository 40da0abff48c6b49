"""Reports with the split of a step of one's choice, for rules of advice."""

from typing import get_args

from halftime.contract.precisions import PrecisionName
from halftime.contract.report.estimate import Estimate
from halftime.contract.report.explanation import Bound, TimeByKind
from halftime.contract.report.trial import Memory, MemoryBreakdown
from halftime.contract.request.request import BenchmarkRequest
from halftime.contract.resources.worker import Bandwidth, DeviceCeilings, PrecisionSupport, WorkerDevice
from tests import factories
from worker.comparison.comparison_run import ComparisonRun
from worker.comparison.specs import spec_of
from worker.explain.advice import advise
from worker.report.legs import make_leg

GIB = 2**30

CEILINGS = DeviceCeilings(
    flops_per_second={"fp32": 1e12, "tf32": 4e12, "fp16": 8e12, "bf16": 8e12},
    memory=[Bandwidth(size_bytes=2**20, bytes_per_second=1e11), Bandwidth(size_bytes=2**30, bytes_per_second=1e10)],
    launch_seconds=1e-6,
    torch="2",
    driver=None,
)
NATIVE = [
    PrecisionSupport(precision=name, kernels="native", flops_per_second=1e12, remedy=None)
    for name in get_args(PrecisionName)
]
CPU = WorkerDevice(name="cpu", kind="cpu", gpu=None, memory_bytes=16 * GIB, precisions=NATIVE, ceilings=CEILINGS)
GPU = WorkerDevice(
    name="cuda:0", kind="cuda", gpu="NVIDIA H200", memory_bytes=16 * GIB, precisions=NATIVE, ceilings=CEILINGS
)
MLP = {"kind": "mlp", "input_size": 8, "hidden_size": 16, "num_layers": 1, "num_classes": 4}


def row(kind, milliseconds, bound_by=None, share=None, calls=10.0, least_bytes=None):
    """One kind of work of a step."""
    return TimeByKind(
        kind=kind,
        seconds_per_step=milliseconds / 1000,
        calls=calls,
        least_flops=None,
        least_bytes=least_bytes,
        bound_by=bound_by,
        share_of_ceiling=share,
    )


def memory(activations=GIB, **parts):
    """The account of a trial's memory."""
    values = dict.fromkeys(MemoryBreakdown.model_fields, 0) | {"activations": activations} | parts
    peak_bytes = sum(values.values())
    return Memory(
        source="cpu_allocator",
        peak_bytes=peak_bytes,
        first_step_peak_bytes=peak_bytes,
        peak_reserved_bytes=None,
        start_bytes=None,
        breakdown=MemoryBreakdown(**values),
    )


def asked(model=None, device=CPU, training=None, candidate="bf16", **config):
    """A request for one candidate; `config` replaces fields."""
    settings = {"batch_size": 8, "steps": 30, "warmup_steps": 5} | (training or {})
    body = {
        "model": model or MLP,
        "config": {"device": device.kind, "candidates": [candidate], "training": settings} | config,
    }
    return BenchmarkRequest.model_validate(body)


def advice_on(rows, request=None, device=CPU, baseline_rows=(), speedup=None, bound=None, leg=None, **trial):
    """The advice on the candidate of a request, by name; `trial` and `leg` replace fields of its trial and its leg."""
    request = request or asked(device=device)
    run = ComparisonRun.of(request, device)
    figures = {"memory": memory(), "occupied_bytes": 2 * GIB, "trained_parameter_count": 1000} | trial
    for one in run.legs:
        of_leg = figures if one is run.candidates[0] else {}
        one.trials = [factories.trial(spec_of(run, one, 0), **of_leg)]
    baseline, candidate = (make_leg(one, request.config, device) for one in (run.baseline, run.candidates[0]))
    found = advise(
        request,
        baseline.model_copy(update={"time_by_kind": list(baseline_rows)}),
        candidate.model_copy(update={"time_by_kind": list(rows)} | (leg or {})),
        speedup and exactly(speedup),
        Bound(matmul_free=None, all_at_ceiling=bound and exactly(bound)),
        device,
    )
    return {one.name: one for one in found}


def plain_trial(candidate="bf16"):
    """A trial of a candidate, as the factories make it."""
    run = ComparisonRun.of(asked(device=GPU, candidate=candidate), GPU)
    return factories.trial(spec_of(run, run.candidates[0], 0))


def multiplying(flops, **attested):
    """What a trial attests that multiplied so many FLOPs in a step."""
    update = {"multiplied_flops": {"bfloat16": flops}} | attested
    return plain_trial().attestation.model_copy(update=update)


def exactly(value):
    """An estimate without uncertainty."""
    return Estimate(value=value, ci_low=value, ci_high=value)


def range_of(advice):
    """The three numbers of an estimated gain."""
    gain = advice.estimated_gain
    return gain.ci_low, gain.value, gain.ci_high
