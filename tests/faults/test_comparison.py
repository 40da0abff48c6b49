"""Faults of a comparison: what makes its report invalid, and what its order of blocks defends against."""

import pytest
import torch

from app.contract.report import AttestationCheck
from tests.factories import comparison, request, trial
from worker import comparison as comparing
from worker import device
from worker import trial as trials
from worker.comparison import compare
from worker.device import TrialFailed
from worker.messages import TrialSpec
from worker.precision import PRECISIONS, expected_flags, read_flags, set_flags
from worker.proof.attestation import attest
from worker.proof.probes import probe_precision
from worker.report import make_report


async def report_of(simulate, asked=None):
    async def run_trial(spec, deadline_seconds, after_step):
        return simulate(spec)

    return make_report("id", await compare(comparison(asked), run_trial, lambda progress: None))


def really(spec):
    return trials.run_trial(spec, lambda step: None)


def changed(result, **attestation):
    return result.model_copy(update={"attestation": result.attestation.model_copy(update=attestation)})


@pytest.mark.anyio
async def test_a_fair_comparison_of_real_trials_is_attested():
    report = await report_of(really, request(candidates=["bf16", "fp16"]))
    assert report.attestation.ok, [check for check in report.attestation.checks if not check.ok]
    assert report.verdict != "invalid"


@pytest.mark.anyio
@pytest.mark.parametrize(("planted", "caught"), [("weights", "initial_weights"), ("data", "data_order")])
async def test_unequal_weights_or_data_make_the_report_invalid(monkeypatch, planted, caught):
    """The fault is planted in the trial itself: its second leg draws from another seed."""
    if planted == "weights":
        build = trials.build_model

        def build_model(spec):
            torch.rand(1)  # one draw too many moves the generator
            return build(spec)

        fault = ("build_model", build_model)
    else:
        make = trials.make_data

        def make_data(model, training, seed):
            data = make(model, training, seed)
            return type(data)(data.training[::-1], data.validation, data.facts)

        fault = ("make_data", make_data)

    def simulate(spec):
        with monkeypatch.context() as patch:
            if spec.precision == "bf16":
                patch.setattr(trials, *fault)
            return really(spec)

    report = await report_of(simulate)
    assert report.verdict == "invalid"
    assert [check.name for check in report.attestation.checks if not check.ok] == [caught]
    assert any(caught in reason for reason in report.reasons)


@pytest.mark.anyio
async def test_tf32_left_on_in_the_fp32_leg_makes_the_report_invalid():
    def simulate(spec):
        flags = expected_flags(PRECISIONS["tf32"]) if spec.precision == "fp32" else None
        return changed(trial(spec), **({"flags": flags} if flags else {}))

    report = await report_of(simulate)
    assert report.verdict == "invalid"
    assert "flags" in report.reasons[0]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_probe_tells_the_precision_it_runs_under(precision):
    set_flags(PRECISIONS[precision])
    assert all(probe.ok for probe in probe_precision(PRECISIONS[precision], torch.device("cpu")))


@pytest.mark.anyio
@pytest.mark.parametrize("bits", [10, 7], ids=["as TF32 rounds", "as BF16 rounds"])
async def test_an_fp32_leg_that_rounds_its_operands_is_invalid_whatever_its_flags_say(monkeypatch, bits):
    """The fault is planted under the probe: a kernel that keeps fewer bits of each operand."""
    exact = torch.matmul

    def rounding(left, right):
        return exact(
            *(_rounded(operand, bits) if operand.dtype is torch.float32 else operand for operand in (left, right))
        )

    monkeypatch.setattr(torch, "matmul", rounding)
    report = await report_of(really)
    assert report.verdict == "invalid"
    failed = {(check.leg, check.name) for check in report.attestation.checks if not check.ok}
    assert ("fp32", "matmul_probe") in failed


def _rounded(values, bits):
    """Values with this many explicit bits of mantissa."""
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp((mantissa * 2 ** (bits + 1)).round() / 2 ** (bits + 1), exponent)


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["tf32", "bf16"])
async def test_a_mode_of_onednn_left_on_is_seen_in_the_flags(monkeypatch, mode):
    """The fault is planted in the real trial: after the switches are set, one of the CPU's is turned."""

    def careless(precision):
        set_flags(precision)
        torch.backends.mkldnn.matmul.fp32_precision = mode

    monkeypatch.setattr(trials, "set_flags", careless)
    report = await report_of(really)
    set_flags(PRECISIONS["fp32"])
    assert report.verdict == "invalid"
    assert ("fp32", "flags") in {(check.leg, check.name) for check in report.attestation.checks if not check.ok}


@pytest.mark.anyio
async def test_autocast_off_in_the_amp_leg_makes_the_report_invalid(monkeypatch):
    """The fault is planted in the real trial: its autocast does nothing."""
    prepare = trials.prepare

    def without_autocast(model, precision, settings, device):
        return prepare(model, PRECISIONS["fp32"], settings, device)

    monkeypatch.setattr(trials, "prepare", without_autocast)
    report = await report_of(really)
    assert report.verdict == "invalid"
    assert [(check.leg, check.name) for check in report.attestation.checks if not check.ok] == [
        ("bf16", "forward_dtypes")
    ]


@pytest.mark.anyio
async def test_an_environment_override_makes_the_report_invalid(monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    report = await report_of(really)
    assert report.verdict == "invalid"


def test_torch_s_defaults_are_not_ieee_and_every_switch_is_set_and_read_back():
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    set_flags(PRECISIONS["fp32"])
    assert set(read_flags().values()) == {"ieee"}
    set_flags(PRECISIONS["tf32"])
    assert {name for name, value in read_flags().items() if value == "tf32"} == {
        "cuda.matmul",
        "cudnn.conv",
        "cudnn.rnn",
    }
    set_flags(PRECISIONS["fp32"])


class FakeCuda:
    """An allocator that counts as CUDA's does."""

    def __init__(self, allocated, peak, resets=True):
        self.allocated, self.peak, self.resets, self.calls = allocated, peak, resets, []

    def empty_cache(self):
        self.calls.append("empty_cache")

    def reset_peak_memory_stats(self, _):
        self.calls.append("reset_peak_memory_stats")
        if self.resets:
            self.peak = self.allocated

    def memory_allocated(self, _):
        return self.allocated

    def max_memory_allocated(self, _):
        return self.peak


CUDA = torch.device("cuda", 0)


def test_the_cache_is_emptied_before_the_peak_is_reset():
    cuda = FakeCuda(allocated=512, peak=2**30)
    assert device.reset_memory(CUDA, cuda) == 512
    assert cuda.calls == ["empty_cache", "reset_peak_memory_stats"]


@pytest.mark.parametrize(
    "cuda",
    [FakeCuda(allocated=512, peak=2**30, resets=False), FakeCuda(allocated=2**24, peak=2**24)],
    ids=["peak not reset", "memory held"],
)
def test_a_trial_that_does_not_start_empty_fails(cuda):
    with pytest.raises(TrialFailed, match="does not start from an empty device"):
        device.reset_memory(CUDA, cuda)


@pytest.mark.anyio
async def test_a_slow_drift_cancels_over_blocks_and_would_not_in_a_fixed_order(monkeypatch):
    """Identical work on a machine that slows by 10 % over the job."""
    asked = request(measurement={"min_blocks": 6, "max_blocks": 6})

    async def speedup():
        clock = iter(range(100))
        report = await report_of(lambda spec: trial(spec, step_seconds=0.01 * (1 + 0.1 * next(clock) / 12)), asked)
        return report.comparisons[0].speedup

    ours = await speedup()
    assert ours.ci_low <= 1 <= ours.ci_high
    monkeypatch.setattr(comparing, "_order", lambda legs, block: legs)
    fixed = await speedup()
    assert not fixed.ci_low <= 1 <= fixed.ci_high


def test_a_failed_check_names_what_was_expected_and_what_was_seen():
    measured = comparison()
    spec = TrialSpec(
        device="cpu",
        precision="bf16",
        block=0,
        position=0,
        model=measured.request.model,
        training=measured.request.config.training,
    )
    measured.candidates[0].trials = [changed(trial(spec), forward_dtypes={"Linear": ["float32"]})]
    measured.blocks = 1
    failed = [check for check in attest(measured).checks if not check.ok]
    assert failed == [
        AttestationCheck(leg="bf16", name="forward_dtypes", expected="bfloat16", observed="float32", ok=False)
    ]
